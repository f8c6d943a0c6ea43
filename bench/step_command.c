/* A local training step, timed where it happens: in fq_client_turn, the one training loop of the
 * project. The algorithm of the turn is federated averaging whose hook on the gradient reads the
 * clock and does nothing else; from one reading to the next is one whole step: weights as the
 * methods show them, forward, backward, gradient pulled back, SGD, and the next batch gathered. */
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/commands.h"
#include "bench/peak.h"
#include "math/gemm.h"
#include "train/client_turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 1 << 18, BATCHES = 8, MAX_THREADS = 256 };

/* When the gradients of a turn were ready: seconds of the clock, and of this thread's processor
 * time. */
typedef struct stamps {
    size_t n;
    double at[MAX_STEPS], cpu[MAX_STEPS];
} stamps;

/* One thread: a client of its own with a plan and a recipe of its own. */
typedef struct trainer {
    fq_recipe  recipe;
    fq_plan    plan;
    fq_client  client;
    fq_worker *worker;
    stamps    *times;
    double    *step_ms, *step_cpu_ms; /* [MAX_STEPS] */
    size_t     n_steps;
} trainer;

typedef struct step_job {
    const char    *model, *robustness;
    bool           activations;
    uint64_t       batch, threads;
    double         seconds, last; /* to measure; the instant at which it is over */
    char           folder[PATH_MAX];
    fq_experiment *experiment;
    fq_setup       setup;
    fq_pool       *pool;
    float         *w;
    trainer       *trainers; /* [threads] */
    double         peak, measured_seconds;
    fq_spread      ms, cpu_ms;
    size_t         n_steps; /* of all threads */
} step_job;

/* Its config in the recipe is the address of the stamps. */
static void stamp(const fq_algo_client *client, const float *w, float *grad) {
    stamps *times;
    (void)w;
    (void)grad;
    memcpy(&times, client->config, sizeof times);
    if (times->n == MAX_STEPS)
        return;
    times->cpu[times->n] = fq_thread_seconds();
    times->at[times->n++] = fq_now();
}

static const fq_algorithm stamping = {.name = "fedavg", .n_up = 1, .client_grad = stamp};

static fq_status set_up(const fq_cli *cli, step_job *job) {
    char         yaml[PATH_MAX + 1024], methods[512] = "[]";
    fq_made_data data = fq_made_data_for(job->model);
    data.examples = job->batch * BATCHES;
    data.test_examples = 1;
    FQ_TRY(fq_bench_folder_make(job->folder));
    FQ_TRY(fq_made_data_write(&data, job->folder));
    if (strcmp(job->robustness, "none") != 0)
        snprintf(methods, sizeof methods, "[%s]%s%s", job->robustness,
                 job->activations ? "\n  " : "",
                 !job->activations                      ? ""
                 : strcmp(job->robustness, "mqat") == 0 ? "mqat: {activations: [4, 8]}"
                                                        : "qat: {activations: 8}");
    snprintf(yaml, sizeof yaml,
             "name: step\n"
             "data: {set: npy, path: \"%s\", clients: 1, split: iid}\n"
             "model: %s\n"
             "train:\n"
             "  batch: %llu\n"
             "  rate: 0.001\n"
             "  epochs: 1000\n"
             "  clients_per_round: 1\n"
             "  robustness: %s\n",
             job->folder, job->model, (unsigned long long)job->batch, methods);
    FQ_TRY(fq_bench_experiment(cli, yaml, &job->experiment));
    FQ_TRY(fq_setup_create(job->experiment, &job->setup));
    FQ_TRY(fq_pool_create(&job->pool, (size_t)job->threads));
    fq_gemm_start();

    const fq_model *model = job->setup.model;
    job->w = calloc(fq_model_size(model), sizeof *job->w);
    job->trainers = calloc((size_t)job->threads, sizeof *job->trainers);
    if (job->w == NULL || job->trainers == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu weights", fq_model_size(model));
    fq_recipe_init(&job->experiment->recipe, model, 1, job->w);
    for (size_t i = 0; i < job->threads; i++) {
        trainer *one = &job->trainers[i];
        one->recipe = job->experiment->recipe;
        one->recipe.algorithm = &stamping;
        one->times = calloc(1, sizeof *one->times);
        one->step_ms = calloc(MAX_STEPS, sizeof *one->step_ms);
        one->step_cpu_ms = calloc(MAX_STEPS, sizeof *one->step_cpu_ms);
        if (one->times == NULL || one->step_ms == NULL || one->step_cpu_ms == NULL)
            return fq_fail(FQ_ENOMEM, "no memory for the times of %d steps", MAX_STEPS);
        memcpy(one->recipe.algorithm_config.bytes, &one->times, sizeof one->times);
        FQ_TRY(fq_worker_create(&one->worker, model, &one->recipe, job->setup.max_examples));
        one->client = (fq_client){.id = i, .shard = fq_partition_shard(job->setup.partition, 0)};
        one->plan = (fq_plan){.recipe = &one->recipe,
                              .model = model,
                              .seed = 1,
                              .rate = one->recipe.rate,
                              .w = job->w};
    }
    return FQ_OK;
}

static void release(step_job *job) {
    for (size_t i = 0; job->trainers != NULL && i < job->threads; i++) {
        fq_worker_destroy(&job->trainers[i].worker);
        free(job->trainers[i].times);
        free(job->trainers[i].step_ms);
        free(job->trainers[i].step_cpu_ms);
    }
    free(job->trainers);
    free(job->w);
    fq_pool_destroy(&job->pool);
    fq_setup_fini(&job->setup);
    free(job->experiment);
    fq_bench_folder_remove(job->folder);
}

/* A turn of `steps` steps; what lies between the stamps goes to step_ms if `keep`. */
static fq_status take_turn(trainer *one, size_t steps, bool keep) {
    fq_update update;
    one->times->n = 0;
    one->recipe.max_steps = (int64_t)steps;
    FQ_TRY(fq_client_turn(one->worker, &one->plan, &one->client, &update));
    for (size_t i = 1; keep && i < one->times->n && one->n_steps < MAX_STEPS; i++) {
        one->step_cpu_ms[one->n_steps] = 1e3 * (one->times->cpu[i] - one->times->cpu[i - 1]);
        one->step_ms[one->n_steps++] = 1e3 * (one->times->at[i] - one->times->at[i - 1]);
    }
    return FQ_OK;
}

/* Turns of a tenth of the time, each from the same weights, until the time is over. The first steps
 * find cold memory and do not count. */
static fq_status train(void *context, size_t task, size_t worker) {
    step_job *job = context;
    trainer  *one = &job->trainers[task];
    (void)worker;
    FQ_TRY(take_turn(one, 4, false));
    double each = (one->times->at[3] - one->times->at[0]) / 3.0;
    double wanted = 0.1 * job->seconds / each;
    size_t most = BATCHES * 1000, steps = wanted < 4.0            ? 4
                                          : wanted > (double)most ? most
                                                                  : (size_t)wanted;
    do {
        FQ_TRY(take_turn(one, steps, true));
        if (fq_interrupted())
            return fq_fail(FQ_ESTATE, "interrupted");
    } while (fq_now() < job->last && one->n_steps < MAX_STEPS);
    return FQ_OK;
}

/* Of the steps of all threads. */
static fq_status spread_of(const step_job *job, bool cpu, fq_spread *out) {
    double *all = calloc(job->n_steps, sizeof *all);
    size_t  n = 0;
    if (all == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the times of %zu steps", job->n_steps);
    for (size_t i = 0; i < job->threads; i++) {
        const trainer *one = &job->trainers[i];
        memcpy(all + n, cpu ? one->step_cpu_ms : one->step_ms, one->n_steps * sizeof *all);
        n += one->n_steps;
    }
    *out = fq_spread_of(all, n);
    free(all);
    return FQ_OK;
}

static fq_status measure(const fq_cli *cli, step_job *job) {
    FQ_TRY(set_up(cli, job));
    double burst = job->seconds < 1.0 ? 0.1 * job->seconds : 0.1;
    job->peak = fq_peak_gflops(burst);
    double began = fq_now();
    job->last = began + job->seconds;
    FQ_TRY(fq_pool_for(job->pool, (size_t)job->threads, train, job));
    job->measured_seconds = fq_now() - began;
    double again = fq_peak_gflops(burst); /* the machine may have had other work the first time */
    if (again > job->peak)
        job->peak = again;
    for (size_t i = 0; i < job->threads; i++)
        job->n_steps += job->trainers[i].n_steps;
    FQ_TRY(spread_of(job, false, &job->ms));
    return spread_of(job, true, &job->cpu_ms);
}

/* Multiply-adds of the layers that read the network's input, whose gradient by the input nobody
 * computes: of the first tensor, in all networks of the zoo. */
static double first_layer_macs(const fq_model *model) {
    const fq_tensor *first = fq_model_tensor(model, 0);
    const fq_shape   out = fq_model_value_shape(model, first->layer + 1);
    return (double)first->count * (double)out.h * (double)out.w;
}

static json_t *result_of(const step_job *job) {
    const fq_model *model = job->setup.model;
    fq_shape        input = fq_model_network(model)->input;
    double          macs = fq_model_macs(model);
    double          flops = 2.0 * (double)job->batch * (3.0 * macs - first_layer_macs(model));
    double          gflops = 1e-6 * flops / job->ms.median * (double)job->threads;
    json_t         *result = json_pack(
                "{s:s, s:I, s:s, s:b, s:I, s:[i,i,i], s:I, s:f, s:f}", "model", job->model, "batch",
                (json_int_t)job->batch, "robustness", job->robustness, "activations", job->activations,
                "threads", (json_int_t)job->threads, "input", input.c, input.h, input.w, "parameters",
                (json_int_t)fq_model_parameters(model), "macs_per_example", macs, "flops_per_step", flops);
    if (result == NULL)
        return NULL;
    json_t *figures =
        json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "steps",
                  (json_int_t)job->n_steps, "ms_per_step_median", job->ms.median, "ms_per_step_low",
                  job->ms.low, "ms_per_step_quarter", job->ms.quarter, "ms_per_step_three_quarters",
                  job->ms.three_quarters, "cpu_ms_per_step_median", job->cpu_ms.median,
                  "steps_per_second", 1e3 / job->ms.median * (double)job->threads, "gflops", gflops,
                  "peak_gflops", job->peak, "share_of_peak",
                  gflops / (job->peak * (double)job->threads), "seconds", job->measured_seconds);
    json_object_update_new(result, figures);
    fq_bench_identify(result);
    return result;
}

static fq_status read_options(const fq_cli *cli, step_job *job) {
    job->model = fq_cli_text(cli, "model", "lenet5");
    job->robustness = fq_cli_text(cli, "robustness", "none");
    job->activations = fq_cli_has(cli, "activations");
    job->batch = 32;
    job->threads = 1;
    FQ_TRY(fq_cli_u64(cli, "batch", 1, 4096, &job->batch));
    FQ_TRY(fq_cli_u64(cli, "threads", 1, MAX_THREADS, &job->threads));
    FQ_TRY(fq_bench_real(cli, "seconds", 0.001, 3600.0, 3.0, &job->seconds));
    if (job->activations && strcmp(job->robustness, "mqat") != 0 &&
        strcmp(job->robustness, "qat") != 0)
        return fq_fail(FQ_EINVAL, "--activations: goes with --robustness mqat or qat");
    return FQ_OK;
}

int fq_bench_step_command(const fq_cli *cli, const char *command_line) {
    step_job job = {0};
    (void)command_line;
    if (read_options(cli, &job) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = measure(cli, &job);
    int       code = fq_bench_print(cli, status, status == FQ_OK ? result_of(&job) : NULL);
    release(&job);
    return code;
}

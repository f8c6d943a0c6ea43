#include "base/clock.h"
#include "base/file.h"
#include "round/exact_sum.h"
#include "sim/simulation_impl.h"
#include "wire/codec.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* ---- memory ---- */
static size_t available_memory(void) {
    static const char key[] = "MemAvailable:";
    FILE             *file = fopen("/proc/meminfo", "re");
    char              line[128];
    size_t            kib = 0;
    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, sizeof key - 1) == 0)
            kib = strtoull(line + sizeof key - 1, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib == 0 ? SIZE_MAX : kib * 1024;
}

/* Where the folder will be, if it is not there yet: in the nearest one above it that is. */
static size_t available_disk(const char *folder) {
    char           path[PATH_MAX];
    struct statvfs info;
    snprintf(path, sizeof path, "%s", folder == NULL || folder[0] == '\0' ? "." : folder);
    while (statvfs(path, &info) != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            snprintf(path, sizeof path, ".");
        else
            slash[slash == path] = '\0';
        if (errno != ENOENT)
            return SIZE_MAX; /* whoever makes the folder says what is wrong with it */
    }
    size_t bytes;
    return fq_size_mul(info.f_bavail, info.f_frsize, &bytes) ? bytes : SIZE_MAX;
}

/* A run that goes on has its states already. */
static bool goes_on(const fq_sim_options *options) {
    char path[PATH_MAX];
    if (options->folder == NULL || options->existing != FQ_EXISTING_RESUME)
        return false;
    fq_path_join(options->folder, "checkpoint.fq", path);
    return fq_file_exists(path);
}

/* The examples, a byte for each value (float sets take four), as far as they are in memory at all:
 * a mapped file can be dropped and read again. */
static size_t dataset_bytes(const fq_dataset *set) {
    fq_shape shape = fq_dataset_shape(set);
    return (fq_dataset_train_count(set) + fq_dataset_test_count(set)) * shape.c * shape.h * shape.w;
}

/* a + b, at most SIZE_MAX. */
static size_t add_bytes(size_t a, size_t b) {
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static fq_status fail_memory(const fq_sim_estimate *estimate) {
    return fq_fail(
        FQ_ELIMIT,
        "the run needs %.1f GiB (workers %.1f, server %.1f, evaluation %.1f, messages %.1f, "
        "clients' states %.1f, checkpoint %.1f) and %.1f GiB are available; use fewer workers, "
        "clients a round or clients, or a smaller evaluate.batch",
        (double)estimate->total * 0x1p-30, (double)estimate->workers * 0x1p-30,
        (double)estimate->server * 0x1p-30, (double)estimate->evaluator * 0x1p-30,
        (double)estimate->messages * 0x1p-30, (double)estimate->client_states * 0x1p-30,
        (double)estimate->checkpoint * 0x1p-30, (double)estimate->available * 0x1p-30);
}

fq_status simulation_memory(const simulation *sim, fq_sim_estimate *estimate) {
    const fq_experiment *e = sim->experiment;
    size_t               worker;
    FQ_TRY(fq_worker_bytes(sim->setup.model, &e->recipe, sim->setup.max_examples, &worker));
    size_t size = fq_model_size(sim->setup.model), cohort = (size_t)e->train.clients_per_round;
    *estimate = (fq_sim_estimate){
        .dataset_and_partition =
            fq_partition_bytes(sim->setup.partition) + dataset_bytes(sim->setup.dataset),
        .cohort = cohort * (sizeof *sim->cohort + sizeof *sim->turns + sizeof *sim->rows),
        .workers = worker * sim->n_workers,
        .server = fq_server_bytes(sim->setup.model, &e->recipe, &e->server, sim->n_workers),
        .messages = fq_link_bytes(sim->link),
        .available = available_memory()};
    fq_eval_needs needs;
    FQ_TRY(fq_evaluator_measure(sim->setup.model, sim->setup.dataset, sim->setup.partition,
                                &e->evaluate, (uint64_t)e->head.seed, sim->options->pool, &needs));
    estimate->evaluator = needs.bytes;
    estimate->examples_evaluation = needs.examples;
    /* At most every client, and at most all that the rounds ask. */
    uint64_t asked = (uint64_t)e->train.rounds * (uint64_t)e->train.clients_per_round;
    if (asked > e->server.clients)
        asked = e->server.clients;
    if (sim->client_values > 0) {
        estimate->client_states =
            fq_client_states_memory(sim->client_values, asked, sim->n_workers);
        estimate->disk = fq_client_states_disk(sim->client_values, asked);
    }
    /* A checkpoint is put together in memory, in a buffer that doubles as it grows. */
    estimate->checkpoint = 2 * (1 + e->recipe.algorithm->n_server) * size * sizeof(float);
    if (e->server.aggregator->keeps)
        estimate->updates_held = cohort * size * sizeof(float);
    estimate->disk_available = available_disk(sim->options->folder);
    if (estimate->disk > estimate->disk_available && !goes_on(sim->options))
        return fq_fail(FQ_ELIMIT,
                       "the run needs %.1f GiB of disk for its clients' states and %.1f GiB are "
                       "available; use fewer clients or rounds, or a method that has clients keep "
                       "nothing",
                       (double)estimate->disk * 0x1p-30,
                       (double)estimate->disk_available * 0x1p-30);
    const size_t parts[] = {estimate->dataset_and_partition,
                            estimate->workers,
                            estimate->server,
                            estimate->client_states,
                            estimate->cohort,
                            estimate->checkpoint,
                            estimate->evaluator,
                            estimate->messages};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        estimate->total = add_bytes(estimate->total, parts[i]);
    return estimate->total > estimate->available ? fail_memory(estimate) : FQ_OK;
}

/* ---- check ---- */

/* At most so many clients, evenly spread, stand for all when a check looks at them one by one. */
enum { SAMPLE = 10000 };

static uint64_t sample_step(uint64_t clients) {
    return clients / SAMPLE + 1;
}

static fq_status measure_step(simulation *sim, fq_server *server, fq_sim_estimate *estimate) {
    /* A few steps of the largest client seen: the plan is the first round's. */
    fq_experiment *e = sim->experiment;
    uint64_t       client = 0, largest = 0;
    for (uint64_t k = 0; k < e->server.clients; k += sample_step(e->server.clients))
        if (fq_partition_shard(sim->setup.partition, k).n > largest) {
            largest = fq_partition_shard(sim->setup.partition, k).n;
            client = k;
        }
    fq_plan plan;
    FQ_TRY(fq_round_open(server, &client, 1, largest, &plan));
    FQ_TRY(fq_link_open_round(sim->link, server, &plan));
    size_t    vectors = fq_client_state_vectors(&e->recipe) * fq_model_size(sim->setup.model);
    float    *state = calloc(vectors == 0 ? 1 : vectors, sizeof *state);
    fq_client one = {
        .id = client, .shard = fq_partition_shard(sim->setup.partition, client), .state = state};
    fq_update update;
    int64_t   kept = e->recipe.max_steps;
    fq_status status = state == NULL ? fq_fail(FQ_ENOMEM, "no memory for a client's state") : FQ_OK;
    double    best = HUGE_VAL;
    if (e->recipe.max_steps == 0 || e->recipe.max_steps > 8)
        e->recipe.max_steps = 8;
    for (int i = 0; status == FQ_OK && i < 3; i++) {
        double began = fq_now();
        status = fq_client_turn(sim->workers[0], &plan, &one, &update);
        double seconds = fq_now() - began;
        if (status == FQ_OK && seconds / update.n_steps < best)
            best = seconds / update.n_steps;
    }
    e->recipe.max_steps = kept;
    free(state);
    uint64_t cohort = (uint64_t)e->train.clients_per_round;
    estimate->bytes_down = cohort * fq_link_model_bytes(sim->link);
    estimate->bytes_up =
        status == FQ_OK ? cohort * fq_update_bytes(&update, e->recipe.upload.block) : 0;
    estimate->seconds_per_step = best;
    return status;
}

/* Seconds of one example's forward pass in float, from a batch of the test set; the best of a few,
 * as the first ones find cold memory. */
static fq_status measure_pass(const simulation *sim, const float *w, double *seconds) {
    const fq_dataset *set = sim->setup.dataset;
    const fq_model   *model = sim->setup.model;
    fq_workspace     *workspace;
    fq_arena          arena;
    size_t            batch = (size_t)sim->experiment->evaluate.batch;
    if (batch > fq_dataset_test_count(set))
        batch = fq_dataset_test_count(set);
    uint16_t *labels = calloc(batch, sizeof *labels);
    fq_status status = fq_arena_init(&arena, fq_workspace_bytes(model, batch, false, false));
    if (status == FQ_OK && labels == NULL)
        status = fq_fail(FQ_ENOMEM, "no memory for %zu labels", batch);
    if (status == FQ_OK)
        status = fq_workspace_create(&workspace, model, batch, false, false, &arena);
    *seconds = HUGE_VAL;
    for (int i = 0; status == FQ_OK && i < 3; i++) {
        double began = fq_now();
        fq_dataset_gather_test(set, 0, batch, fq_lanes(batch), fq_workspace_input(workspace),
                               labels);
        (void)fq_model_forward(model, workspace, w, &(fq_pass){.batch = batch});
        double each = (fq_now() - began) / (double)batch;
        if (each < *seconds)
            *seconds = each;
    }
    fq_arena_fini(&arena);
    free(labels);
    return status;
}

static double mean_steps(const simulation *sim) {
    const fq_experiment *e = sim->experiment;
    double               steps = 0.0;
    uint64_t             seen = 0;
    for (uint64_t k = 0; k < e->server.clients; k += sample_step(e->server.clients), seen++) {
        double own = (double)e->recipe.epochs *
                     (double)fq_batches_per_epoch(fq_partition_shard(sim->setup.partition, k).n,
                                                  (size_t)e->recipe.batch);
        steps += e->recipe.max_steps > 0 && own > (double)e->recipe.max_steps
                     ? (double)e->recipe.max_steps
                     : own;
    }
    return steps / (double)seen;
}

static fq_status fill_estimate(simulation *sim, fq_server *server, fq_sim_estimate *estimate) {
    const fq_experiment *e = sim->experiment;
    size_t               cohort = (size_t)e->train.clients_per_round;
    FQ_TRY(simulation_memory(sim, estimate));
    FQ_TRY(measure_step(sim, server, estimate));
    double pass;
    FQ_TRY(measure_pass(sim, fq_server_weights(server), &pass));
    estimate->seconds_per_evaluation =
        pass * (double)estimate->examples_evaluation / (double)sim->n_workers;
    estimate->clients = e->server.clients;
    estimate->examples_largest = sim->setup.max_examples;
    estimate->parameters = fq_model_parameters(sim->setup.model);
    estimate->macs = fq_model_macs(sim->setup.model);
    estimate->model_values = fq_model_size(sim->setup.model);
    estimate->steps_per_round = mean_steps(sim) * (double)cohort;
    estimate->rounds = (uint64_t)e->train.rounds;
    estimate->evaluations =
        (estimate->rounds + (uint64_t)e->evaluate.every - 1) / (uint64_t)e->evaluate.every;
    size_t parallel = sim->n_workers < cohort ? sim->n_workers : cohort;
    estimate->seconds_total = (double)estimate->rounds * estimate->steps_per_round *
                                  estimate->seconds_per_step / (double)parallel +
                              (double)estimate->evaluations * estimate->seconds_per_evaluation;
    return fq_exact_shift(
        e->server.limits.max_value,
        e->server.equal_weights ? cohort : cohort * fq_example_bucket(sim->setup.max_examples),
        &estimate->sum_bits);
}

fq_status fq_sim_check(fq_experiment *experiment, fq_pool *pool, fq_sim_estimate *estimate) {
    const fq_sim_options options = {.pool = pool};
    simulation           sim = {.experiment = experiment, .options = &options};
    fq_server           *server = NULL;
    fq_status            status = simulation_prepare(&sim);
    if (status == FQ_OK)
        status =
            fq_server_create(&server, sim.setup.model, &experiment->recipe, &experiment->server,
                             (uint64_t)experiment->head.seed, sim.n_workers);
    if (status == FQ_OK)
        status = fill_estimate(&sim, server, estimate);
    fq_server_destroy(&server);
    simulation_release(&sim);
    return status;
}

/* Federated averaging of logistic regression as a bare loop: the arithmetic that a simulation
 * cannot do without, and nothing else. No coding, no files, no checks, one thread. What a
 * simulation takes more than this is its overhead. */
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/commands.h"
#include "bench/loop.h"
#include "data/dataset.h"
#include "round/round.h"

#include <stdlib.h>
#include <string.h>

typedef struct loop_job {
    uint64_t       rounds, cohort, batch;
    double         rate;
    fq_experiment *experiment;
    fq_dataset    *dataset;
    fq_partition  *partition;
    size_t         features, classes, largest, size; /* size: floats of a model */
    size_t        *begin;                            /* [clients + 1] of each client's examples */
    float         *x;                                /* [examples, features] */
    uint16_t      *y;
    float         *global, *local, *sum; /* [size], loop.h */
    double         seconds, cpu_seconds, accuracy;
    uint64_t       steps;
} loop_job;

/* Examples client by client in rows. */
static fq_status load(const fq_cli *cli, loop_job *job) {
    char yaml[PATH_MAX + 256];
    snprintf(yaml, sizeof yaml,
             "data: {set: npy, path: \"%s\", clients: 0, split: natural}\nmodel: logreg\n",
             cli->operands[0]);
    FQ_TRY(fq_bench_experiment(cli, yaml, &job->experiment));
    FQ_TRY(fq_dataset_open(&job->experiment->data, 1, &job->dataset));
    FQ_TRY(fq_partition_create(&job->partition, job->dataset, &job->experiment->data, 1));
    const size_t clients = fq_partition_clients(job->partition);
    job->features = fq_shape_count(fq_dataset_shape(job->dataset));
    job->classes = fq_dataset_classes(job->dataset);
    job->largest = fq_partition_largest(job->partition);
    job->size = (job->features + 1) * FQ_LOOP_CLASSES;
    if (job->classes > FQ_LOOP_CLASSES)
        return fq_fail(FQ_EINVAL, "%s has %zu classes; at most %d are possible", cli->operands[0],
                       job->classes, FQ_LOOP_CLASSES);
    if (job->cohort > clients)
        return fq_fail(FQ_EINVAL, "--cohort: %llu of %zu clients is impossible",
                       (unsigned long long)job->cohort, clients);
    size_t n = fq_dataset_train_count(job->dataset), lanes = fq_lanes(job->largest);
    job->begin = calloc(clients + 1, sizeof *job->begin);
    job->x = calloc(n * job->features, sizeof *job->x);
    job->y = calloc(n, sizeof *job->y);
    uint32_t *order = calloc(job->largest, sizeof *order);
    float    *columns = calloc(lanes * job->features, sizeof *columns);
    fq_status status = FQ_OK;
    if (job->begin == NULL || job->x == NULL || job->y == NULL || order == NULL || columns == NULL)
        status = fq_fail(FQ_ENOMEM, "no memory for %zu examples", n);
    for (size_t i = 0; status == FQ_OK && i < job->largest; i++)
        order[i] = (uint32_t)i;
    for (size_t k = 0; status == FQ_OK && k < clients; k++) {
        fq_shard shard = fq_partition_shard(job->partition, k);
        size_t   at = job->begin[k], width = fq_lanes(shard.n);
        job->begin[k + 1] = at + shard.n;
        fq_shard_gather(&shard, order, shard.n, width, columns, job->y + at);
        for (size_t i = 0; i < shard.n; i++)
            for (size_t f = 0; f < job->features; f++)
                job->x[(at + i) * job->features + f] = columns[f * width + i];
    }
    free(order);
    free(columns);
    return status;
}

static fq_status run_rounds(loop_job *job) {
    const size_t features = job->features;
    uint64_t    *cohort = calloc(job->cohort, sizeof *cohort);
    fq_status    status = FQ_OK;
    if (cohort == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a cohort");
    double began = fq_now(), cpu_began = fq_bench_cpu_seconds();
    for (uint32_t round = 0; status == FQ_OK && round < job->rounds; round++) {
        double weight = 0.0;
        status =
            fq_cohort_sample(1, round, fq_partition_clients(job->partition), job->cohort, cohort);
        memset(job->sum, 0, job->size * sizeof *job->sum);
        for (size_t k = 0; status == FQ_OK && k < job->cohort; k++) {
            size_t first = job->begin[cohort[k]], n = job->begin[cohort[k] + 1] - first;
            memcpy(job->local, job->global, job->size * sizeof *job->local);
            for (size_t i = 0; i < n; i += job->batch, job->steps++) {
                size_t batch = n - i < job->batch ? n - i : job->batch;
                fq_loop_step(job->local, features, job->classes, batch,
                             job->x + (first + i) * features, job->y + first + i, (float)job->rate);
            }
            for (size_t i = 0; i < job->size; i++)
                job->sum[i] += (float)n * job->local[i];
            weight += (double)n;
        }
        for (size_t i = 0; i < job->size; i++)
            job->global[i] = (float)(1.0 / weight) * job->sum[i];
        if (fq_interrupted())
            status = fq_fail(FQ_ESTATE, "interrupted");
    }
    job->seconds = fq_now() - began;
    job->cpu_seconds = fq_bench_cpu_seconds() - cpu_began;
    free(cohort);
    return status;
}

static fq_status measure(const fq_cli *cli, loop_job *job) {
    FQ_TRY(load(cli, job));
    job->global = calloc(job->size, sizeof *job->global);
    job->local = calloc(job->size, sizeof *job->local);
    job->sum = calloc(job->size, sizeof *job->sum);
    if (job->global == NULL || job->local == NULL || job->sum == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a model");
    FQ_TRY(run_rounds(job));
    size_t right = 0, n = fq_dataset_train_count(job->dataset);
    for (size_t i = 0; i < n; i++)
        right += fq_loop_predict(job->global, job->features, job->classes,
                                 job->x + i * job->features) == job->y[i];
    job->accuracy = (double)right / (double)n;
    return FQ_OK;
}

int fq_bench_loop_command(const fq_cli *cli, const char *command_line) {
    loop_job job = {.rounds = 100, .cohort = 10, .batch = 10};
    (void)command_line;
    if (fq_cli_u64(cli, "rounds", 1, 1000000, &job.rounds) != FQ_OK ||
        fq_cli_u64(cli, "cohort", 1, 100000, &job.cohort) != FQ_OK ||
        fq_cli_u64(cli, "batch", 1, FQ_LOOP_BATCH, &job.batch) != FQ_OK ||
        fq_bench_real(cli, "rate", 1e-9, 1000.0, 0.03, &job.rate) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = measure(cli, &job);
    json_t   *result = json_pack(
          "{s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "rounds", (json_int_t)job.rounds, "steps",
          (json_int_t)job.steps, "train_seconds", job.seconds, "train_cpu_seconds", job.cpu_seconds,
          "rounds_per_second", (double)job.rounds / (job.seconds > 0.0 ? job.seconds : 1.0),
          "client_steps_per_second", (double)job.steps / (job.seconds > 0.0 ? job.seconds : 1.0),
          "train_accuracy", job.accuracy);
    if (result != NULL)
        fq_bench_identify(result);
    int code = fq_bench_print(cli, status, result);
    free(job.begin);
    free(job.x);
    free(job.y);
    free(job.global);
    free(job.local);
    free(job.sum);
    fq_partition_destroy(&job.partition);
    fq_dataset_close(&job.dataset);
    free(job.experiment);
    return code;
}

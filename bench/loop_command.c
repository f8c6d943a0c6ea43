/* Federated averaging of logistic regression as a bare loop: the arithmetic that a simulation
 * cannot do without, and nothing else. No coding, no checks, no files but the mapped data; one
 * thread. What a simulation takes more than this is its overhead. */
#include "base/clock.h"
#include "base/file.h"
#include "bench/bench.h"
#include "bench/commands.h"
#include "bench/loop.h"
#include "round/round.h"

#include <stdlib.h>
#include <string.h>

/* Arrays as fq_made_data_write lays them down: a header of 128 bytes, then the values. */
enum { HEADER = 128 };

typedef struct part {
    fq_cbytes            x_file, y_file, users_file;
    const unsigned char *x; /* [n, features] */
    const uint16_t      *y; /* [n] */
    size_t               n;
} part;

typedef struct loop_job {
    uint64_t rounds, cohort, batch;
    double   rate;
    part     train, test;
    size_t   features, classes, clients, size; /* size: floats of a model */
    size_t  *begin;                            /* [clients + 1] of each client's examples */
    float   *x;                                /* [examples of the largest client, features] */
    float   *global, *local, *sum;             /* [size], loop.h */
    double   seconds, cpu_seconds, accuracy;
    uint64_t steps;
} loop_job;

static fq_status map_array(const char *folder, const char *name, fq_cbytes *out) {
    char path[PATH_MAX];
    fq_path_join(folder, name, path);
    FQ_TRY(fq_file_map(path, out));
    if (out->size <= HEADER || memcmp(out->data, "\x93NUMPY\x01\x00\x76\x00", 10) != 0)
        return fq_fail(FQ_EPROTO, "%s was not made by `fedq-bench data`", path);
    return FQ_OK;
}

static fq_status map_part(const char *folder, const char *x_name, const char *y_name, part *out,
                          size_t *features) {
    FQ_TRY(map_array(folder, x_name, &out->x_file));
    FQ_TRY(map_array(folder, y_name, &out->y_file));
    out->x = out->x_file.data + HEADER;
    out->y = (const uint16_t *)(const void *)(out->y_file.data + HEADER);
    out->n = (out->y_file.size - HEADER) / sizeof *out->y;
    *features = out->n == 0 ? 0 : (out->x_file.size - HEADER) / out->n;
    if (*features == 0 || *features * out->n != out->x_file.size - HEADER)
        return fq_fail(FQ_EPROTO, "%s/%s and %s do not belong together", folder, x_name, y_name);
    return FQ_OK;
}

static void unmap_part(part *one) {
    fq_file_unmap(&one->x_file);
    fq_file_unmap(&one->y_file);
    fq_file_unmap(&one->users_file);
}

/* Bytes as numbers in 0..1. */
static void to_floats(const unsigned char *bytes, size_t n, float *x) {
    for (size_t i = 0; i < n; i++)
        x[i] = (float)bytes[i] * (1.0f / 255.0f);
}

static fq_status load(const fq_cli *cli, loop_job *job) {
    const char *folder = cli->operands[0];
    part       *train = &job->train;
    size_t      features, largest = 1; /* arrays that were checked have examples */
    FQ_TRY(map_part(folder, "features.npy", "labels.npy", train, &job->features));
    FQ_TRY(map_part(folder, "test_features.npy", "test_labels.npy", &job->test, &features));
    FQ_TRY(map_array(folder, "users.npy", &train->users_file));
    const uint32_t *users = (const uint32_t *)(const void *)(train->users_file.data + HEADER);
    if (features != job->features || train->users_file.size != HEADER + train->n * sizeof *users)
        return fq_fail(FQ_EPROTO, "%s: the arrays do not belong together", folder);
    for (size_t i = 0; i < train->n; i++)
        job->classes = train->y[i] >= job->classes ? train->y[i] + (size_t)1 : job->classes;
    if (job->classes > FQ_LOOP_CLASSES)
        return fq_fail(FQ_EINVAL, "%s has %zu classes; at most %d are possible", folder,
                       job->classes, FQ_LOOP_CLASSES);
    job->begin = calloc(train->n + 1, sizeof *job->begin);
    if (job->begin == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a list of clients");
    for (size_t i = 1; i <= train->n; i++)
        if (i == train->n || users[i] != users[i - 1]) {
            job->begin[++job->clients] = i;
            size_t n = i - job->begin[job->clients - 1];
            largest = n > largest ? n : largest;
        }
    if (job->cohort > job->clients)
        return fq_fail(FQ_EINVAL, "--cohort: %llu of %zu clients is impossible",
                       (unsigned long long)job->cohort, job->clients);
    job->size = (job->features + 1) * FQ_LOOP_CLASSES;
    job->x = calloc(largest * job->features, sizeof *job->x);
    job->global = calloc(job->size, sizeof *job->global);
    job->local = calloc(job->size, sizeof *job->local);
    job->sum = calloc(job->size, sizeof *job->sum);
    if (job->x == NULL || job->global == NULL || job->local == NULL || job->sum == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a model and a client");
    return FQ_OK;
}

static fq_status run_rounds(loop_job *job) {
    const size_t features = job->features;
    uint64_t    *cohort = calloc(job->cohort, sizeof *cohort);
    fq_status    status = FQ_OK;
    if (cohort == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a cohort");
    double began = fq_now(), cpu_began = fq_process_seconds();
    for (uint32_t round = 0; status == FQ_OK && round < job->rounds; round++) {
        double weight = 0.0;
        status = fq_cohort_sample(1, round, job->clients, job->cohort, cohort);
        memset(job->sum, 0, job->size * sizeof *job->sum);
        for (size_t k = 0; status == FQ_OK && k < job->cohort; k++) {
            size_t first = job->begin[cohort[k]], n = job->begin[cohort[k] + 1] - first;
            to_floats(job->train.x + first * features, n * features, job->x);
            memcpy(job->local, job->global, job->size * sizeof *job->local);
            for (size_t i = 0; i < n; i += job->batch, job->steps++) {
                size_t batch = n - i < job->batch ? n - i : job->batch;
                fq_loop_step(job->local, features, job->classes, batch, job->x + i * features,
                             job->train.y + first + i, (float)job->rate);
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
    job->cpu_seconds = fq_process_seconds() - cpu_began;
    free(cohort);
    return status;
}

static fq_status measure(const fq_cli *cli, loop_job *job) {
    FQ_TRY(load(cli, job));
    FQ_TRY(run_rounds(job));
    size_t right = 0;
    for (size_t i = 0; i < job->test.n; i++) {
        to_floats(job->test.x + i * job->features, job->features, job->x);
        right +=
            fq_loop_predict(job->global, job->features, job->classes, job->x) == job->test.y[i];
    }
    job->accuracy = (double)right / (double)job->test.n;
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
          "accuracy", job.accuracy);
    if (result != NULL)
        fq_bench_identify(result);
    int code = fq_bench_print(cli, status, result);
    free(job.begin);
    free(job.x);
    free(job.global);
    free(job.local);
    free(job.sum);
    unmap_part(&job.train);
    unmap_part(&job.test);
    return code;
}

/* Many virtual clients, most of them idle: a whole run by the simulator's own code, on data made on
 * the fly. Each run is a process of its own, so that its memory is its own. */
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/commands.h"
#include "sim/simulation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of one run. */
typedef struct timing {
    double set_up, rounds; /* seconds until the first round begins; from there to the end */
    double resident;       /* bytes, at most */
} timing;

typedef struct scale_job {
    uint64_t clients, cohort, rounds, workers;
    double   seconds;
    timing   base, first, all; /* a round with no idle clients; with all clients; all rounds */
} scale_job;

/* What a process sends back. */
typedef struct outcome {
    fq_status status;
    timing    times;
    char      text[512];
} outcome;

/* Two layers on 60 features, a batch of 10, 30 examples a client on average, one epoch. */
static fq_status simulate(const fq_cli *cli, const scale_job *job, uint64_t clients,
                          uint64_t rounds, timing *times) {
    char           yaml[1024], folder[PATH_MAX] = "";
    fq_experiment *e = NULL;
    fq_pool       *pool = NULL;
    fq_progress    progress = {.quiet = true};
    fq_sim_result  result;
    fq_status      status;
    double         began = fq_now();
    snprintf(yaml, sizeof yaml,
             "name: scale\n"
             "data: {set: synthetic, clients: %llu, features: 60, classes: 10, examples: 30,\n"
             "       test_examples: 1000}\n"
             "model: [{layer: dense, out: 64}, {layer: relu}, {layer: dense, out: 10}]\n"
             "train: {rounds: %llu, clients_per_round: %llu, batch: 10, rate: 0.05}\n"
             "evaluate: {every: 1000000, weights: [32]}\n",
             (unsigned long long)clients, (unsigned long long)rounds,
             (unsigned long long)job->cohort);
    FQ_GO(status, fq_bench_folder_make(folder));
    FQ_GO(status, fq_bench_experiment(cli, yaml, &e));
    FQ_GO(status, fq_pool_create(&pool, (size_t)job->workers));
    const fq_sim_options options = {.folder = folder,
                                    .existing = FQ_EXISTING_REPLACE,
                                    .pool = pool,
                                    .command = "fedq-bench scale",
                                    .label = "",
                                    .progress = &progress};
    FQ_GO(status, fq_simulate(e, &options, &result));
    times->set_up = progress.began - began;
    times->rounds = fq_now() - progress.began;
done:
    fq_pool_destroy(&pool);
    free(e);
    fq_bench_folder_remove(folder);
    return status;
}

/* The same in a process of its own. */
static fq_status measure_run(const fq_cli *cli, const scale_job *job, uint64_t clients,
                             uint64_t rounds, timing *times) {
    int     ends[2];
    outcome end = {.status = FQ_EIO, .text = "the run ended without a result"};
    if (pipe(ends) != 0)
        return fq_fail(FQ_EIO, "cannot make a pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        end.status = simulate(cli, job, clients, rounds, &end.times);
        snprintf(end.text, sizeof end.text, "%s", fq_status_text());
        ssize_t sent = write(ends[1], &end, sizeof end);
        _exit(sent == (ssize_t)sizeof end ? 0 : 1);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return fq_fail(FQ_EIO, "cannot start a process: %s", strerror(errno));
    }
    outcome received;
    if (read(ends[0], &received, sizeof received) == (ssize_t)sizeof received)
        end = received;
    close(ends[0]);
    struct rusage usage;
    int           wait_status;
    if (wait4(child, &wait_status, 0, &usage) != child)
        return fq_fail(FQ_EIO, "cannot wait for a process: %s", strerror(errno));
    if (end.status != FQ_OK)
        return fq_fail(end.status, "%s", end.text);
    *times = end.times;
    times->resident = 1024.0 * (double)usage.ru_maxrss;
    return FQ_OK;
}

/* Rounds that fill the time if one takes as long as in this run. */
static uint64_t rounds_for(double seconds, const timing *times, uint64_t rounds) {
    double wanted = seconds * (double)rounds / times->rounds;
    return wanted < 5.0 ? 5 : wanted > 10000.0 ? 10000 : (uint64_t)wanted;
}

/* One round with evaluation and files is dearer than many are each, so a first guess from it may be
 * too low, and is made once more from what came of it. */
static fq_status measure(const fq_cli *cli, scale_job *job) {
    const bool given = job->rounds > 0;
    FQ_TRY(measure_run(cli, job, job->cohort, 1, &job->base));
    FQ_TRY(measure_run(cli, job, job->clients, 1, &job->first));
    if (!given)
        job->rounds = rounds_for(job->seconds, &job->first, 1);
    FQ_TRY(measure_run(cli, job, job->clients, job->rounds, &job->all));
    if (given || job->all.rounds > 0.5 * job->seconds)
        return FQ_OK;
    job->rounds = rounds_for(job->seconds, &job->all, job->rounds);
    return measure_run(cli, job, job->clients, job->rounds, &job->all);
}

static json_t *result_of(const scale_job *job) {
    double  rate = (double)job->rounds / job->all.rounds;
    double  idle = (double)(job->clients - job->cohort);
    json_t *result = json_pack(
        "{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "clients", (json_int_t)job->clients,
        "cohort", (json_int_t)job->cohort, "rounds", (json_int_t)job->rounds, "workers",
        (json_int_t)job->workers, "rounds_per_second", rate, "client_updates_per_second",
        (double)job->cohort * rate, "seconds_first_round", job->first.set_up + job->first.rounds,
        "peak_mib", job->all.resident * 0x1p-20, "bytes_per_idle_client",
        idle > 0.0 ? (job->first.resident - job->base.resident) / idle : 0.0);
    if (result != NULL)
        fq_bench_identify(result);
    return result;
}

static fq_status read_options(const fq_cli *cli, scale_job *job) {
    job->clients = 10000;
    job->cohort = 100;
    job->workers = fq_processors();
    FQ_TRY(fq_cli_u64(cli, "clients", 1, 100000000, &job->clients));
    FQ_TRY(fq_cli_u64(cli, "cohort", 1, 1000000, &job->cohort));
    FQ_TRY(fq_cli_u64(cli, "rounds", 2, 1000000, &job->rounds));
    FQ_TRY(fq_cli_u64(cli, "workers", 1, 1024, &job->workers));
    FQ_TRY(fq_bench_real(cli, "seconds", 0.001, 3600.0, 3.0, &job->seconds));
    if (job->cohort > job->clients)
        return fq_fail(FQ_EINVAL, "--cohort: %llu of %llu clients is impossible",
                       (unsigned long long)job->cohort, (unsigned long long)job->clients);
    return FQ_OK;
}

int fq_bench_scale_command(const fq_cli *cli, const char *command_line) {
    scale_job job = {0};
    (void)command_line;
    if (read_options(cli, &job) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = measure(cli, &job);
    return fq_bench_print(cli, status, status == FQ_OK ? result_of(&job) : NULL);
}

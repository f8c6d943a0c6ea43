#include "sim/commands.h"
#include "sim/settings.h"
#include "sim/simulation.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static double mib(size_t bytes) {
    return (double)bytes * 0x1p-20;
}

static void print_text(const char *label, const fq_experiment *e, const fq_sim_estimate *s) {
    if (label[0] != '\0')
        printf("run           %s, seed %lld\n", label, (long long)e->head.seed);
    printf("model         %" PRIu64 " parameters, %.3g million multiply-adds an example\n",
           s->parameters, 1e-6 * s->macs);
    printf("clients       %" PRIu64 ", %lld a round, the largest with %" PRIu64 " examples\n",
           s->clients, (long long)e->train.clients_per_round, s->examples_largest);
    printf("memory        %.1f MiB of %.0f available: workers %.1f, server %.1f, evaluation %.1f, "
           "clients' states %.1f, "
           "data %.1f, cohort %.1f, checkpoint %.1f\n",
           mib(s->total), mib(s->available), mib(s->workers), mib(s->server), mib(s->evaluator),
           mib(s->client_states), mib(s->dataset_and_partition), mib(s->cohort),
           mib(s->checkpoint));
    if (s->updates_held > 0)
        printf("updates       all held until the round closes, as %s needs: %.1f MiB of the "
               "server's\n",
               e->server.aggregator->name, mib(s->updates_held));
    else
        printf("updates       added as they come\n");
    if (s->disk > 0)
        printf("disk          %.1f MiB of %.0f available: what clients keep from round to round\n",
               mib(s->disk), mib(s->disk_available));
    printf("bytes a round %.3f MiB up, %.3f MiB down\n", (double)s->bytes_up * 0x1p-20,
           (double)s->bytes_down * 0x1p-20);
    printf("exact sums    %d bits after the point\n", s->sum_bits);
    printf("time          %.0f steps a round at %.3f ms, %" PRIu64
           " evaluations at %.2f s: about %.0f s in all\n",
           s->steps_per_round, 1e3 * s->seconds_per_step, s->evaluations, s->seconds_per_evaluation,
           s->seconds_total);
}

static json_t *to_json(const char *label, const fq_experiment *e, const fq_sim_estimate *s) {
    return json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:f, s:f, s:f, s:f, s:I, s:I, s:I, "
        "s:I}",
        "label", label, "seed", (json_int_t)e->head.seed, "parameters", (json_int_t)s->parameters,
        "clients", (json_int_t)s->clients, "examples_largest", (json_int_t)s->examples_largest,
        "bytes_memory", (json_int_t)s->total, "bytes_available", (json_int_t)s->available,
        "bytes_up", (json_int_t)s->bytes_up, "bytes_down", (json_int_t)s->bytes_down, "sum_bits",
        s->sum_bits, "steps_per_round", s->steps_per_round, "seconds_per_step", s->seconds_per_step,
        "seconds_per_evaluation", s->seconds_per_evaluation, "seconds_total", s->seconds_total,
        "bytes_updates_held", (json_int_t)s->updates_held, "bytes_disk", (json_int_t)s->disk,
        "rounds", (json_int_t)s->rounds, "evaluations", (json_int_t)s->evaluations);
}

/* Check every run of the file; the sum of their times is the last line of a sweep. */
static fq_status check_all(const fq_cli *cli, const fq_sweep *sweep, fq_pool *pool, json_t *array) {
    fq_experiment *e = malloc(sizeof *e);
    fq_status      status = e == NULL ? fq_fail(FQ_ENOMEM, "no memory for the settings") : FQ_OK;
    double         seconds = 0.0;
    for (size_t i = 0; status == FQ_OK && i < sweep->n; i++) {
        fq_sim_estimate estimate;
        FQ_GO(status, fq_experiment_load(sweep->runs[i].document, e));
        FQ_GO(status, fq_sim_check(e, pool, &estimate));
        seconds += estimate.seconds_total;
        if (fq_cli_has(cli, "json"))
            json_array_append_new(array, to_json(sweep->runs[i].label, e, &estimate));
        else
            print_text(sweep->runs[i].label, e, &estimate);
    }
    if (status == FQ_OK && sweep->n > 1 && !fq_cli_has(cli, "json"))
        printf("%zu runs      about %.0f s in all\n", sweep->n, seconds);
done:
    free(e);
    return status;
}

int fq_sim_check_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    fq_document *document = NULL;
    fq_sweep     sweep = {0};
    fq_pool     *pool = NULL;
    size_t       workers;
    uint64_t     seed;
    int          code = FQ_EXIT_USAGE;
    if (fq_sim_workers(cli, &workers) != FQ_OK || fq_sim_seed(cli, &seed) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    json_t   *array = json_array();
    fq_status status = fq_sim_load_sweep(cli, seed, &document, &sweep);
    if (status == FQ_OK || status == FQ_EIO)
        code = FQ_EXIT_FAILED;
    if (status == FQ_OK)
        status = fq_pool_create(&pool, workers);
    if (status == FQ_OK)
        status = check_all(cli, &sweep, pool, array);
    if (status == FQ_OK) {
        code = FQ_EXIT_OK;
        if (fq_cli_has(cli, "json")) {
            json_dumpf(array, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
            putchar('\n');
        }
    } else {
        (void)fq_command_failed(cli, status);
        if (status == FQ_EINVAL)
            code = FQ_EXIT_USAGE;
    }
    json_decref(array);
    fq_pool_destroy(&pool);
    fq_sweep_fini(&sweep);
    fq_document_destroy(&document);
    return code;
}

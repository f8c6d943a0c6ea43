#include "sim/commands.h"
#include "sim/federation.h"
#include "sim/output.h"
#include "sim/settings.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run_job {
    const fq_cli  *cli;
    const char    *command_line;
    fq_document   *document;
    fq_sweep       sweep;
    fq_pool       *pool;
    fq_experiment *experiment;
    fq_progress    progress;
    fq_transport   transport;
    char           folder[PATH_MAX]; /* of the run, or of the whole sweep */
    char (*folders)[PATH_MAX];       /* [sweep.n] */
    fq_sim_result *results;          /* [sweep.n] */
} run_job;

static bool is_sweep(const run_job *job) {
    return fq_node_find(fq_document_root(job->document), "sweep") != NULL;
}

/* "runs/NAME-SEED" for a run; "runs/NAME" for a sweep, with "LABEL-SEED" in it for each run. */
static fq_status name_folders(run_job *job) {
    const fq_cli  *cli = job->cli;
    const char    *out = fq_cli_text(cli, "out", NULL);
    fq_experiment *e = job->experiment;
    for (size_t i = 0; i < job->sweep.n; i++) {
        const fq_sweep_run *run = &job->sweep.runs[i];
        FQ_TRY(fq_experiment_load(run->document, e));
        long long seed = (long long)e->head.seed;
        int       length;
        if (i == 0 && out != NULL)
            snprintf(job->folder, sizeof job->folder, "%s", out);
        else if (i == 0 && is_sweep(job))
            snprintf(job->folder, sizeof job->folder, "runs/%s", e->head.name);
        else if (i == 0)
            snprintf(job->folder, sizeof job->folder, "runs/%s-%lld", e->head.name, seed);
        if (!is_sweep(job))
            length = snprintf(job->folders[i], PATH_MAX, "%s", job->folder);
        else
            length = snprintf(job->folders[i], PATH_MAX, "%s/%s-%lld", job->folder,
                              run->label[0] == '\0' ? e->head.name : run->label, seed);
        if (length >= PATH_MAX)
            return fq_fail(FQ_EINVAL, "the name of a run's folder is too long");
        if (!fq_cli_has(cli, "resume") && !fq_cli_has(cli, "force"))
            FQ_TRY(fq_sim_check_folder(job->folders[i]));
        for (size_t k = 0; k < i; k++)
            if (strcmp(job->folders[k], job->folders[i]) == 0)
                return fq_fail(
                    FQ_EINVAL,
                    "two runs of the sweep would share the folder %s; give them names under "
                    "sweep.variants",
                    job->folders[i]);
    }
    return FQ_OK;
}

static fq_status run_all(run_job *job) {
    const fq_cli  *cli = job->cli;
    fq_sim_options options = {.pool = job->pool,
                              .command = job->command_line,
                              .progress = &job->progress,
                              .transport = job->transport};
    if (fq_cli_has(cli, "resume"))
        options.existing = FQ_EXISTING_RESUME;
    else if (fq_cli_has(cli, "force"))
        options.existing = FQ_EXISTING_REPLACE;
    job->progress.quiet = fq_cli_has(cli, "quiet");
    for (size_t i = 0; i < job->sweep.n; i++) {
        const char *folder = job->folders[i];
        options.folder = folder;
        options.label = job->sweep.runs[i].label;
        FQ_TRY(fq_experiment_load(job->sweep.runs[i].document, job->experiment));
        fq_status status = job->transport == FQ_TRANSPORT_TCP
                               ? fq_federate(job->experiment, &options, &job->results[i])
                               : fq_simulate(job->experiment, &options, &job->results[i]);
        if (status != FQ_OK) {
            if (job->sweep.n > 1)
                fq_add_context("%s", folder);
            return status;
        }
    }
    return FQ_OK;
}

/* Page, table and text files over all runs. */
static fq_status report(run_job *job) {
    char         page[PATH_MAX + 16];
    const char **folders = calloc(job->sweep.n, sizeof *folders);
    if (folders == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a report");
    for (size_t i = 0; i < job->sweep.n; i++)
        folders[i] = job->folders[i];
    snprintf(page, sizeof page, "%s/report.html", job->folder);
    fq_status status = fq_sim_output(job->cli, folders, job->sweep.n, page);
    for (size_t i = 0; status == FQ_OK && is_sweep(job) && i < job->sweep.n; i++) {
        char own[PATH_MAX + 16];
        snprintf(own, sizeof own, "%s/report.html", folders[i]);
        status = fq_sim_page(&folders[i], 1, own);
    }
    free(folders);
    for (size_t i = 0; i < job->sweep.n; i++)
        if (job->results[i].run.n_unapplied > 0)
            fprintf(stderr,
                    "fedq-sim run: warning: %s: in %u of %u rounds fewer updates than "
                    "aggregate.min_clients were "
                    "accepted, and the model stayed as it was\n",
                    job->folders[i], job->results[i].run.n_unapplied, job->results[i].run.rounds);
    if (status != FQ_OK || fq_cli_has(job->cli, "json"))
        return status;
    for (size_t i = 0; i < job->sweep.n; i++) {
        const fq_run_result *result = &job->results[i].run;
        printf("%s  %u rounds%s  %.1f s  sha256 %s\n", job->folders[i], result->rounds,
               result->stopped_early ? " (stopped early)" : "", job->results[i].seconds,
               result->hash);
    }
    printf("report: %s\n", page);
    return FQ_OK;
}

/* A word as a shell takes it. */
static void print_quoted(const char *word) {
    static const char safe[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (word[0] != '\0' && word[strspn(word, safe)] == '\0') {
        fputs(word, stderr);
        return;
    }
    fputc('\'', stderr);
    for (const char *at = word; *at != '\0'; at++)
        fputs(*at == '\'' ? "'\\''" : (const char[]){*at, '\0'}, stderr);
    fputc('\'', stderr);
}

/* What to type to go on: the command as it was, with --resume in place of --force. */
static void explain_resume(const run_job *job) {
    const fq_cli *cli = job->cli;
    fprintf(stderr, "fedq-sim run: %s; all rounds so far are saved; go on with: fedq-sim run ",
            fq_status_text());
    print_quoted(cli->operands[0]);
    for (size_t i = 0; i < cli->n_values; i++) {
        const fq_cli_value *value = &cli->values[i];
        if (strcmp(value->option->name, "force") == 0 || strcmp(value->option->name, "resume") == 0)
            continue;
        fprintf(stderr, " --%s", value->option->name);
        if (value->text != NULL) {
            fputc(' ', stderr);
            print_quoted(value->text);
        }
    }
    fputs(" --resume\n", stderr);
}

static fq_status read_transport(const fq_cli *cli, fq_transport *out) {
    const char *wanted = fq_cli_text(cli, "transport", fq_transport_names[FQ_TRANSPORT_DIRECT]);
    for (size_t i = 0; fq_transport_names[i] != NULL; i++) {
        *out = (fq_transport)i;
        if (strcmp(wanted, fq_transport_names[i]) == 0)
            return FQ_OK;
    }
    return fq_fail(FQ_EINVAL, "--transport: '%s' is unknown; known: %s, %s, %s", wanted,
                   fq_transport_names[0], fq_transport_names[1], fq_transport_names[2]);
}

static int run(run_job *job) {
    const fq_cli *cli = job->cli;
    size_t        workers;
    uint64_t      seed;
    fq_status     status;
    if (fq_cli_has(cli, "resume") && fq_cli_has(cli, "force")) {
        (void)fq_fail(FQ_EINVAL, "--resume and --force exclude each other");
        return fq_cli_wrong(cli, stderr);
    }
    if (fq_sim_workers(cli, &workers) != FQ_OK || fq_sim_seed(cli, &seed) != FQ_OK ||
        read_transport(cli, &job->transport) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    status = fq_sim_load_sweep(cli, seed, &job->document, &job->sweep);
    if (status != FQ_OK) {
        (void)fq_command_failed(cli, status);
        return status == FQ_EIO ? FQ_EXIT_FAILED : FQ_EXIT_USAGE;
    }
    job->experiment = malloc(sizeof *job->experiment);
    job->folders = calloc(job->sweep.n, sizeof *job->folders);
    job->results = calloc(job->sweep.n, sizeof *job->results);
    if (job->experiment == NULL || job->folders == NULL || job->results == NULL)
        FQ_GO(status, fq_fail(FQ_ENOMEM, "no memory for %zu runs", job->sweep.n));
    FQ_GO(status, name_folders(job));
    FQ_GO(status, fq_sim_output_check(cli));
    FQ_GO(status, fq_pool_create(&job->pool, workers));
    FQ_GO(status, run_all(job));
    FQ_GO(status, report(job));
done:
    if (status == FQ_OK)
        return FQ_EXIT_OK;
    if (status == FQ_ESTATE && fq_interrupted())
        explain_resume(job);
    else
        (void)fq_command_failed(cli, status);
    /* Some settings show their faults only with the data and the model at hand. */
    return status == FQ_EINVAL ? FQ_EXIT_USAGE : FQ_EXIT_FAILED;
}

int fq_sim_run_command(const fq_cli *cli, const char *command_line) {
    run_job job = {.cli = cli, .command_line = command_line};
    int     code = run(&job);
    fq_pool_destroy(&job.pool);
    fq_sweep_fini(&job.sweep);
    fq_document_destroy(&job.document);
    free(job.experiment);
    free(job.folders);
    free(job.results);
    return code;
}

#include "base/file.h"
#include "base/pool.h"
#include "client/commands.h"
#include "client/participant.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct stand {
    const fq_cli          *cli;
    const char            *home;
    fq_client_config       config;
    fq_data_settings       data;
    bool                   has_data;
    fq_public_key          server;
    fq_keypair            *keys;
    int                    lock;
    fq_log                 log;
    fq_participant_options options;
} stand;

/* ---- options ---- */
static fq_status read_range(const char *text, fq_work_options *work) {
    char *end;
    errno = 0;
    uint64_t first = strtoull(text, &end, 10), last = first;
    bool     good = end != text && text[0] != '-';
    if (good && *end == '-') {
        const char *from = end + 1;
        last = strtoull(from, &end, 10);
        good = end != from && *from != '-';
    }
    if (!good || *end != '\0' || errno != 0 || last < first)
        return fq_fail(FQ_EINVAL, "--simulate-clients: '%s' is not A-B", text);
    if (last - first >= FQ_MAX_HOSTED)
        return fq_fail(FQ_EINVAL, "--simulate-clients: at most %d clients in one process",
                       FQ_MAX_HOSTED);
    work->simulation = true;
    work->first = first;
    work->n = last - first + 1;
    return FQ_OK;
}

/* "48M", "1G"; bytes without a letter. */
static fq_status read_size(const char *text, size_t *out) {
    char              *end;
    unsigned long long value = strtoull(text, &end, 10);
    const char        *units = "KMG", *unit = *end == '\0' ? NULL : strchr(units, *end);
    int                shift = unit == NULL ? 0 : 10 * (int)(unit - units + 1);
    bool good = end != text && text[0] != '-' && value > 0 && value <= (SIZE_MAX >> shift) &&
                (*end == '\0' || (unit != NULL && end[1] == '\0'));
    if (!good)
        return fq_fail(FQ_EINVAL, "--max-rss: '%s' is not a size such as 48M or 1G", text);
    *out = (size_t)value << shift;
    return FQ_OK;
}

static fq_status read_options(stand *s) {
    const fq_cli           *cli = s->cli;
    fq_participant_options *options = &s->options;
    uint64_t                threads = 1, niceness = 0;
    const char             *range = fq_cli_text(cli, "simulate-clients", NULL);
    const char             *most = fq_cli_text(cli, "max-rss", NULL);
    if (range != NULL) {
        FQ_TRY(read_range(range, &options->work));
        threads = fq_processors();
    }
    FQ_TRY(fq_cli_u64(cli, "threads", 1, 1024, &threads));
    FQ_TRY(fq_cli_u64(cli, "nice", 0, 19, &niceness));
    options->work.threads = (size_t)threads;
    if (most != NULL)
        FQ_TRY(read_size(most, &options->work.max_bytes));
    for (size_t i = 0; i < fq_cli_count(cli, "window"); i++)
        FQ_TRY(fq_hours_add(&options->hours, fq_cli_nth(cli, "window", i)));
    if (niceness > 0 && setpriority(PRIO_PROCESS, 0, (int)niceness) != 0)
        return fq_fail(FQ_EINVAL, "--nice %" PRIu64 ": %s", niceness, strerror(errno));
    options->keep = fq_cli_has(cli, "keep");
    return FQ_OK;
}

/* ---- set-up ---- */
static fq_status take_home(stand *s) {
    s->lock = open(s->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->lock < 0)
        return fq_fail(FQ_EIO, "cannot open folder %s: %s", s->home, strerror(errno));
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0)
        return fq_fail(FQ_ESTATE, "%s is in use by another process", s->home);
    return FQ_OK;
}

static fq_status prepare(stand *s) {
    char        path[PATH_MAX];
    const char *data_path = fq_cli_text(s->cli, "data-path", NULL);
    FQ_TRY(fq_home_read(s->home, &s->config, &s->data, &s->has_data, &s->server));
    if (data_path != NULL)
        snprintf(s->data.path, sizeof s->data.path, "%.255s", data_path);
    fq_home_path(s->home, "client.key", path);
    FQ_TRY(fq_keypair_load(&s->keys, path));
    FQ_TRY(take_home(s));
    fq_participant_options *options = &s->options;
    if (!options->work.simulation && !s->has_data)
        return fq_fail(FQ_EINVAL,
                       "%s/client.yaml names no data: add a line such as `data: {set: npy, path: "
                       "/var/lib/fedq/data}` (or give --simulate-clients A-B)",
                       s->home);
    if (!options->work.simulation)
        FQ_TRY(fq_work_count(&s->data, &options->examples));
    else if (data_path == NULL && !s->has_data)
        s->data.path[0] = '\0'; /* as the experiment says */
    options->work.home = s->home;
    options->work.data = &s->data;
    options->work.widths = s->config.widths;
    options->work.keys = s->keys;
    options->work.server = &s->server;
    options->server = s->config.server;
    options->name = s->config.name;
    options->model_bits = (uint8_t)s->config.model_bits;
    s->log = (fq_log){.file = fq_cli_has(s->cli, "quiet") ? NULL : stderr,
                      .level = fq_cli_has(s->cli, "verbose") ? FQ_LOG_DEBUG : FQ_LOG_INFO};
    options->log = &s->log;
    return FQ_OK;
}

/* What it will need, from the settings of the run that it last joined. */
static fq_status dry_run(stand *s) {
    char           path[PATH_MAX];
    fq_document   *document = NULL;
    fq_experiment *e = malloc(sizeof *e);
    fq_setup       setup = {0};
    fq_dataset    *set = NULL;
    fq_status      status = FQ_OK;
    printf("coordinator  %s\n", s->config.server);
    if (!s->options.work.simulation)
        printf("data         %s, %" PRIu64 " examples\n", s->data.set, s->options.examples);
    fq_home_path(s->home, "settings.yaml", path);
    if (e == NULL || !fq_file_exists(path)) {
        printf("model        unknown until the coordinator has been reached once\n");
        free(e);
        return FQ_OK;
    }
    FQ_GO(status, fq_document_read(&document, path));
    FQ_GO(status, fq_experiment_load(document, e));
    const char      *data_path = s->data.path;
    fq_data_settings data = s->options.work.simulation ? e->data : s->data;
    if (data_path[0] != '\0')
        memcpy(data.path, s->data.path, sizeof data.path);
    FQ_GO(status, fq_dataset_open(&data, (uint64_t)e->head.seed, &set));
    FQ_GO(status, fq_setup_model(e, fq_dataset_shape(set), fq_dataset_classes(set), &setup.model));
    size_t examples = s->options.work.simulation ? fq_dataset_train_count(set)
                                                 : (size_t)s->options.examples,
           one;
    FQ_GO(status, fq_worker_bytes(setup.model, &e->recipe, examples, &one));
    const fq_coding *upload = &e->recipe.upload;
    fq_blocks        blocks;
    FQ_GO(status, fq_blocks_of_model(setup.model, upload->block, &blocks));
    size_t size = fq_model_size(setup.model);
    size_t up =
        e->recipe.algorithm->n_up * upload->quantizer->body_bytes(size, blocks.n, upload->bits);
    fq_blocks_free(&blocks);
    printf("run          %s\n", e->head.name);
    printf("model        %zu parameters\n", (size_t)fq_model_parameters(setup.model));
    printf("memory       %.1f MiB for turns on %zu thread%s%s\n",
           (double)(one * s->options.work.threads) * 0x1p-20, s->options.work.threads,
           s->options.work.threads == 1 ? "" : "s",
           s->options.work.max_bytes > 0 &&
                   one * s->options.work.threads > s->options.work.max_bytes
               ? ", MORE than --max-rss allows"
               : "");
    printf("a round      %.1f KiB up, %.1f KiB down, before entropy coding\n", (double)up / 1024.0,
           (double)size * 4.0 / 1024.0);
done:
    fq_dataset_close(&set);
    fq_setup_fini(&setup);
    fq_document_destroy(&document);
    free(e);
    return status;
}

int fq_client_run_command(const fq_cli *cli) {
    stand                 s = {.cli = cli, .home = cli->operands[0], .lock = -1};
    fq_participant_result result = {0};
    if (read_options(&s) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = prepare(&s);
    bool      dry = status == FQ_OK && fq_cli_has(cli, "dry-run");
    if (dry)
        status = dry_run(&s);
    else if (status == FQ_OK)
        status = fq_participant_run(&s.options, &result);
    int code = FQ_EXIT_OK;
    if (status == FQ_ESTATE && fq_participant_interrupted()) {
        fprintf(stderr,
                "fedq-client run: interrupted; finished updates are in %s/outbox; go on with the "
                "same command\n",
                s.home);
        code = FQ_EXIT_FAILED;
    } else if (status != FQ_OK) {
        code = fq_client_failed(cli, status);
    } else if (!dry) {
        printf("run over after %" PRIu32 " rounds; %" PRIu64 " updates accepted, %" PRIu64
               " refused; sha256 %s\n",
               result.rounds, result.accepted, result.refused, result.hash);
    }
    fq_keypair_destroy(&s.keys);
    if (s.lock >= 0)
        close(s.lock);
    return code;
}

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
    const char *set = fq_cli_text(s->cli, "data", NULL);
    const char *data_path = fq_cli_text(s->cli, "data-path", NULL);
    FQ_TRY(fq_home_read(s->home, &s->config, &s->data, &s->has_data, &s->server));
    if (set != NULL) {
        snprintf(s->data.set, sizeof s->data.set, "%.255s", set);
        s->has_data = true;
        FQ_TRY(fq_data_settings_check(&s->data));
    }
    if (data_path != NULL)
        snprintf(s->data.path, sizeof s->data.path, "%.255s", data_path);
    fq_path_join(s->home, "client.key", path);
    FQ_TRY(fq_keypair_load(&s->keys, path));
    FQ_TRY(take_home(s));
    fq_participant_options *options = &s->options;
    if (!options->work.simulation && !s->has_data)
        return fq_fail(
            FQ_EINVAL,
            "%s/client.yaml names no data: add a line such as `data: {set: npy, path: "
            "/var/lib/fedq/data}` (or give --data SET --data-path DIR, or --simulate-clients A-B)",
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
    options->gates = s->config.gates;
    options->root = "";
    options->model_bits = (uint8_t)s->config.model_bits;
    s->log = (fq_log){.file = fq_cli_has(s->cli, "quiet") ? NULL : stderr,
                      .level = fq_cli_has(s->cli, "verbose") ? FQ_LOG_DEBUG : FQ_LOG_INFO};
    options->log = &s->log;
    if (!fq_keypair_is_locked(s->keys))
        fq_log_write(&s->log, FQ_LOG_WARN, "key_not_locked",
                     "text=\"the secret key may be written to swap space; raise ulimit -l\"");
    return FQ_OK;
}

/* ---- --dry-run: what it will need, from the settings of the run that it last
 * joined, or of a file ---- */
static fq_status open_simulation(const stand *s, fq_experiment *e, fq_setup *setup,
                                 size_t *examples) {
    const fq_work_options *work = &s->options.work;
    if (s->data.path[0] != '\0')
        memcpy(e->data.path, s->data.path, sizeof e->data.path);
    FQ_TRY(fq_setup_create(e, setup));
    uint64_t clients = fq_partition_clients(setup->partition);
    if (work->first + work->n > clients)
        return fq_fail(FQ_EINVAL, "--simulate-clients: the run has clients 0 to %" PRIu64,
                       clients - 1);
    for (uint64_t k = 0; k < work->n; k++) {
        size_t own = fq_partition_shard(setup->partition, work->first + k).n;
        *examples = own > *examples ? own : *examples;
    }
    return FQ_OK;
}

static fq_status open_device(const stand *s, fq_experiment *e, fq_setup *setup, size_t *examples) {
    FQ_TRY(fq_dataset_open(&s->data, (uint64_t)e->head.seed, &setup->dataset));
    *examples = (size_t)s->options.examples;
    return fq_setup_model(e, fq_dataset_shape(setup->dataset), fq_dataset_classes(setup->dataset),
                          &setup->model);
}

static fq_status body_bytes(const fq_model *model, const fq_coding *coding, size_t vectors,
                            double *kib) {
    fq_blocks blocks;
    FQ_TRY(fq_blocks_of_model(model, coding->block, &blocks));
    size_t one = coding->quantizer->body_bytes(fq_model_size(model), blocks.n, coding->bits);
    fq_blocks_free(&blocks);
    *kib = (double)(vectors * one) / 1024.0;
    return FQ_OK;
}

static fq_status print_needs(const stand *s, const fq_experiment *e, const fq_setup *setup,
                             size_t examples) {
    const fq_work_options *work = &s->options.work;
    size_t                 need, disk, held = fq_resident_bytes();
    double                 up, down;
    FQ_TRY(fq_work_estimate(setup->model, e, examples, work, &need, &disk));
    FQ_TRY(body_bytes(setup->model, &e->recipe.upload, e->recipe.algorithm->n_up, &up));
    FQ_TRY(body_bytes(setup->model, &e->server.download, 1 + e->recipe.algorithm->n_down, &down));
    bool too_much = work->max_bytes > 0 && held + need > work->max_bytes;
    printf("run          %s\n", e->head.name);
    printf("model        %zu parameters\n", (size_t)fq_model_parameters(setup->model));
    printf("memory       %.1f MiB in all: %.1f for turns on %zu thread%s, %.1f for program and "
           "data%s\n",
           (double)(held + need) * 0x1p-20, (double)need * 0x1p-20, work->threads,
           work->threads == 1 ? "" : "s", (double)held * 0x1p-20,
           too_much ? "; MORE than --max-rss allows" : "");
    printf("disk         %.1f MiB in %s, until updates have their receipts\n",
           (double)disk * 0x1p-20, s->home);
    printf("a round      %.1f KiB up, %.1f KiB down, before entropy coding%s\n", up, down,
           s->options.model_bits > 0 ? ", the model at its own bit-width" : "");
    return FQ_OK;
}

static fq_status dry_run(const stand *s) {
    char           path[PATH_MAX];
    fq_document   *document = NULL;
    fq_experiment *e;
    fq_setup       setup = {0};
    size_t         examples = 0;
    fq_status      status;
    printf("coordinator  %s\n", s->config.server);
    if (!s->options.work.simulation)
        printf("data         %s, %" PRIu64 " examples\n", s->data.set, s->options.examples);
    const char *settings = fq_cli_text(s->cli, "settings", NULL);
    if (settings != NULL)
        snprintf(path, sizeof path, "%s", settings);
    else
        fq_path_join(s->home, "settings.yaml", path);
    if (settings == NULL && !fq_file_exists(path)) {
        printf("model, memory and bytes of a round: unknown until a run has been joined once "
               "(--settings FILE names one)\n");
        return FQ_OK;
    }
    e = malloc(sizeof *e);
    if (e == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    FQ_GO(status, fq_document_read(&document, path));
    FQ_GO(status, fq_experiment_load(document, e));
    FQ_GO(status, s->options.work.simulation ? open_simulation(s, e, &setup, &examples)
                                             : open_device(s, e, &setup, &examples));
    status = print_needs(s, e, &setup, examples);
done:
    fq_setup_fini(&setup);
    fq_document_destroy(&document);
    free(e);
    return status;
}

int fq_client_run_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
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
    if (status == FQ_ESTATE && fq_interrupted()) {
        fprintf(stderr,
                "fedq-client run: interrupted; finished updates are in %s/outbox; go on with the "
                "same command\n",
                s.home);
        code = FQ_EXIT_FAILED;
    } else if (status != FQ_OK) {
        code = fq_command_failed(cli, status);
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

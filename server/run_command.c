#include "base/file.h"
#include "math/gemm.h"
#include "report/report.h"
#include "server/commands.h"
#include "server/service.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct host {
    const fq_cli    *cli;
    const char      *folder, *command;
    fq_server_config config;
    fq_document     *document;
    fq_experiment   *experiment;
    fq_setup         setup;
    fq_keypair      *keys;
    fq_pool         *pool;
    fq_run          *run;
    fq_board_place  *place;
    fq_http         *http;
    fq_log           log, audit;
    char             page[128];
    fq_run_result    result;
} host;

static fq_status load_settings(host *h) {
    char     path[PATH_MAX];
    fq_sweep sweep;
    fq_path_join(h->folder, "experiment.yaml", path);
    FQ_TRY(fq_document_read(&h->document, path));
    FQ_TRY(fq_sweep_expand(h->document, &sweep));
    fq_status status = sweep.n == 1 ? fq_experiment_load(sweep.runs[0].document, h->experiment)
                                    : fq_fail(FQ_EINVAL,
                                              "%s has a sweep; a coordinator keeps one "
                                              "run",
                                              path);
    fq_sweep_fini(&sweep);
    return status;
}

/* What the coordinator's own settings add to the experiment's. */
static void complete(host *h) {
    fq_server_settings *server = &h->experiment->server;
    double              clients = (double)h->experiment->train.clients_per_round;
    double              asked = ceil(h->config.over_selection * clients);
    server->cohort = asked > (double)server->clients ? (size_t)server->clients : (size_t)asked;
    uint64_t quorum = (uint64_t)ceil(h->config.quorum * clients);
    if (server->min_clients < quorum)
        server->min_clients = quorum;
}

static size_t workers_of(const host *h) {
    return h->config.workers > 0 ? (size_t)h->config.workers : fq_processors();
}

static fq_status start_http(host *h) {
    char address[FQ_TEXT_BYTES];
    if (h->config.http[0] == '\0')
        return FQ_OK;
    snprintf(address, sizeof address, "%s", h->config.http);
    char *colon = strrchr(address, ':'), *end = NULL;
    long  port = colon == NULL ? -1 : strtol(colon + 1, &end, 10);
    if (port < 0 || port > 65535 || *end != '\0' || end == colon + 1)
        return fq_fail(FQ_EINVAL, "server.yaml: http: '%s' is not ADDRESS:PORT", h->config.http);
    *colon = '\0';
    const fq_http_options options = {
        .address = address, .port = (uint16_t)port, .place = h->place, .folder = h->folder};
    FQ_TRY(fq_http_start(&h->http, &options));
    snprintf(h->page, sizeof h->page, "http://%.100s:%u/", address,
             (unsigned)fq_http_port(h->http));
    fq_log_write(&h->log, FQ_LOG_INFO, "page", "url=%s", h->page);
    return FQ_OK;
}

static fq_status open_logs(host *h) {
    char path[PATH_MAX];
    h->log = (fq_log){.file = fq_cli_has(h->cli, "quiet") ? NULL : stderr,
                      .level = fq_cli_has(h->cli, "verbose") ? FQ_LOG_DEBUG : FQ_LOG_INFO};
    fq_path_join(h->folder, "audit.log", path);
    h->audit = (fq_log){.file = fopen(path, "ae"), .level = FQ_LOG_INFO};
    return h->audit.file == NULL ? fq_fail(FQ_EIO, "cannot open %s", path) : FQ_OK;
}

/* A connection is a descriptor: as many as the system lets us have. */
static void raise_limits(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static fq_status open_host(host *h) {
    char path[PATH_MAX];
    FQ_TRY(fq_server_config_read(h->folder, &h->config));
    h->experiment = malloc(sizeof *h->experiment);
    if (h->experiment == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    FQ_TRY(load_settings(h));
    fq_path_join(h->folder, "server.key", path);
    FQ_TRY(fq_keypair_load(&h->keys, path));
    FQ_TRY(open_logs(h));
    if (!fq_keypair_is_locked(h->keys))
        fq_log_write(&h->log, FQ_LOG_WARN, "key_not_locked",
                     "text=\"the secret key may be written to swap space; raise ulimit -l\"");
    h->experiment->data.use = FQ_USE_TEST;
    FQ_TRY(fq_setup_create(h->experiment, &h->setup));
    complete(h);
    fq_gemm_start();
    FQ_TRY(fq_pool_create(&h->pool, workers_of(h)));
    const fq_run_options run = {.folder = h->folder,
                                .existing = FQ_EXISTING_RESUME,
                                .pool = h->pool,
                                .command = h->command,
                                .label = fq_cli_text(h->cli, "label", ""),
                                .hint = "",
                                .durable = true};
    FQ_TRY(fq_run_open(&h->run, h->experiment, &h->setup, &run));
    FQ_TRY(fq_board_place_create(&h->place));
    return start_http(h);
}

/* As a simulation ends: the table, the page, the hash. */
static fq_status report(host *h) {
    char       page[PATH_MAX];
    fq_report *made;
    fq_path_join(h->folder, "report.html", page);
    FQ_TRY(fq_report_create(&made, &h->folder, 1));
    fq_status status = fq_report_put(made, fq_report_page, page);
    if (status == FQ_OK)
        status = fq_report_put(made, fq_cli_has(h->cli, "json") ? fq_report_json : fq_report_table,
                               NULL);
    fq_report_destroy(&made);
    if (status == FQ_OK && !fq_cli_has(h->cli, "json"))
        printf("%s  %" PRIu32 " rounds%s  sha256 %s\nreport: %s\n", h->folder, h->result.rounds,
               h->result.stopped_early ? " (stopped early)" : "", h->result.hash, page);
    return status;
}

static fq_status serve(host *h) {
    const fq_service_options options = {.folder = h->folder,
                                        .config = &h->config,
                                        .experiment = h->experiment,
                                        .setup = &h->setup,
                                        .keys = h->keys,
                                        .run = h->run,
                                        .workers = workers_of(h),
                                        .place = h->place,
                                        .page = h->page,
                                        .log = &h->log,
                                        .audit = &h->audit};
    return fq_service_run(&options, &h->result);
}

int fq_server_run_command(const fq_cli *cli, const char *command_line) {
    raise_limits();
    host h = {.cli = cli, .folder = cli->operands[0], .command = command_line};
    raise_limits();
    fq_status status = open_host(&h);
    if (status == FQ_OK)
        status = serve(&h);
    fq_http_stop(&h.http);
    status = fq_run_close(&h.run, status);
    if (status == FQ_OK)
        status = report(&h);
    int code = status == FQ_OK ? FQ_EXIT_OK : FQ_EXIT_FAILED;
    if (status == FQ_ESTATE && fq_interrupted())
        fprintf(stderr,
                "fedq-server run: %s; all that was acknowledged is on disk; go on with: "
                "fedq-server run %s\n",
                fq_status_text(), h.folder);
    else if (status != FQ_OK)
        code = fq_command_failed(cli, status);
    fq_board_place_destroy(&h.place);
    fq_pool_destroy(&h.pool);
    fq_setup_fini(&h.setup);
    fq_keypair_destroy(&h.keys);
    fq_document_destroy(&h.document);
    free(h.experiment);
    if (h.audit.file != NULL)
        fclose(h.audit.file);
    return code;
}

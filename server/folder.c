#include "server/folder.h"

#include "base/file.h"
#include "experiment/experiment.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEY(field) .offset = offsetof(fq_server_config, field)
static const char *const simulated_names[] = {"auto", "yes", "no", NULL};
const fq_key             fq_server_keys[] = {
                {.name = "listen",
                 .type = FQ_TYPE_TEXT,
                 KEY(listen),
                 .help =
                     "Where clients connect: tcp://ADDRESS:PORT; the address 0.0.0.0 is all of this machine's, "
                                 "the port * any free one."},
                {.name = "http",
                 .type = FQ_TYPE_TEXT,
                 KEY(http),
                 .fallback = "127.0.0.1:0",
                 .help = "ADDRESS:PORT of the page, the metrics and the JSON; port 0 takes a free one; empty: "
                                     "none."},
                {.name = "deadline_s",
                 .type = FQ_TYPE_REAL,
                 KEY(deadline_s),
                 .fallback = "600",
                 .min = 0.1,
                 .max = 1e7,
                 .help = "Seconds that a round waits for its updates."},
                {.name = "gather_s",
                 .type = FQ_TYPE_REAL,
                 KEY(gather_s),
                 .fallback = "30",
                 .min = 0,
                 .max = 1e7,
                 .help =
                     "Seconds that a round waits, before it begins, for the clients that its draw names; then "
                                 "clients that are there take the places of those that are not."},
                {.name = "over_selection",
                 .type = FQ_TYPE_REAL,
                 KEY(over_selection),
                 .fallback = "1",
                 .min = 1,
                 .max = 10,
                 .help = "Ask so many times train.clients_per_round; the round closes when clients_per_round "
                                     "updates are in. Above 1 the result depends on who was faster."},
                {.name = "quorum",
                 .type = FQ_TYPE_REAL,
                 KEY(quorum),
                 .fallback = "0.5",
                 .min = 0,
                 .max = 1,
                 .help = "Share of train.clients_per_round that must be there for a round to begin; with fewer "
                                     "updates than that at its deadline it changes nothing."},
                {.name = "heartbeat_s",
                 .type = FQ_TYPE_REAL,
                 KEY(heartbeat_s),
                 .fallback = "5",
                 .min = 0.05,
                 .max = 3600,
                 .help = "Seconds between heartbeats; a client is away when three are missing."},
                {.name = "linger_s",
                 .type = FQ_TYPE_REAL,
                 KEY(linger_s),
                 .fallback = "5",
                 .min = 0,
                 .max = 3600,
                 .help = "Seconds, at most, for telling the clients that the run is over."},
                {.name = "window",
                 .type = FQ_TYPE_INT,
                 KEY(window),
                 .fallback = "4",
                 .min = 1,
                 .max = 64,
                 .help = "Chunks of 256 KiB that may be on their way to or from one client."},
                {.name = "io_threads",
                 .type = FQ_TYPE_INT,
                 KEY(io_threads),
                 .fallback = "2",
                 .min = 1,
                 .max = 64,
                 .help = "Threads for the network and its encryption."},
                {.name = "workers",
                 .type = FQ_TYPE_INT,
                 KEY(workers),
                 .fallback = "0",
                 .min = 0,
                 .max = 1024,
                 .help = "Threads for updates and evaluation; 0: one for each processor."},
                {.name = "upload_mib",
                 .type = FQ_TYPE_INT,
                 KEY(upload_mib),
                 .fallback = "256",
                 .min = 1,
                 .max = 1048576,
                 .help = "MiB of updates that may be arriving at once; further ones wait for their turn."},
                {.name = "max_refusals",
                 .type = FQ_TYPE_INT,
                 KEY(max_refusals),
                 .fallback = "20",
                 .min = 1,
                 .max = 1e9,
                 .help =
                     "Refused messages and updates after which a client is dropped; it may come back after a "
                                 "pause."},
                {.name = "ban_s",
                 .type = FQ_TYPE_REAL,
                 KEY(ban_s),
                 .fallback = "30",
                 .min = 0,
                 .max = 86400,
                 .help = "Seconds that a client stays out after it was dropped."},
                {.name = "simulated",
                 .type = FQ_TYPE_CHOICE,
                 KEY(simulated),
                 .fallback = "auto",
                 .choices = simulated_names,
                 .help = "May one registered client stand for several of the experiment's own split "
                                     "(--simulate-clients)? auto: only if `listen` is an address of this machine alone."},
                {.name = NULL},
};

/* ---- making one ---- */
static fq_status check_listen(const char *listen) {
    const char *port = strrchr(listen, ':');
    if (strncmp(listen, "tcp://", 6) != 0 || port == NULL || port < listen + 7 || port[1] == '\0' ||
        strlen(listen) > 200)
        return fq_fail(FQ_EINVAL, "--listen: '%s' is not an address; expected tcp://ADDRESS:PORT",
                       listen);
    char         *end;
    unsigned long number = strtoul(port + 1, &end, 10);
    if (strcmp(port, ":*") != 0 && (*end != '\0' || number == 0 || number > 65535))
        return fq_fail(FQ_EINVAL, "--listen: port '%s'; expected 1 to 65535, or *", port + 1);
    return FQ_OK;
}

/* The settings must be those of one run that can begin: better said now than at the first start. */
static fq_status check_settings(const char *path, fq_cbytes *text) {
    fq_document   *document = NULL;
    fq_experiment *e = malloc(sizeof *e);
    fq_sweep       sweep = {0};
    fq_status      status;
    *text = (fq_cbytes){0};
    if (e == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    FQ_GO(status, fq_document_read(&document, path));
    FQ_GO(status, fq_sweep_expand(document, &sweep));
    if (sweep.n != 1)
        FQ_GO(status, fq_fail(FQ_EINVAL,
                              "%s: has a sweep of %zu runs; a coordinator keeps one run, so leave "
                              "out `sweep`",
                              path, sweep.n));
    FQ_GO(status, fq_experiment_load(sweep.runs[0].document, e));
    FQ_GO(status, fq_file_read(path, 1 << 20, text));
done:
    fq_sweep_fini(&sweep);
    fq_document_destroy(&document);
    free(e);
    return status;
}

static fq_status write_config(const char *folder, const char *listen) {
    char             path[PATH_MAX];
    fq_server_config config;
    fq_document     *document;
    fq_buffer        yaml = {0};
    FQ_TRY(fq_document_parse(&document, "server.yaml", (fq_cbytes){(const unsigned char *)"", 0}));
    fq_status status =
        fq_section_load(document, fq_document_root(document), "", fq_server_keys, NULL, &config);
    fq_document_destroy(&document);
    FQ_TRY(status);
    snprintf(config.listen, sizeof config.listen, "%.200s", listen);
    fq_section_write(&yaml, fq_server_keys, &config, 0);
    fq_path_join(folder, "server.yaml", path);
    status = yaml.failed ? fq_fail(FQ_ENOMEM, "no memory for server.yaml")
                         : fq_file_replace(path, (fq_cbytes){yaml.data, yaml.size}, true);
    fq_buffer_fini(&yaml);
    return status;
}

static fq_status fill(const char *folder, const char *listen, fq_cbytes settings,
                      fq_public_key *key) {
    char          path[PATH_MAX];
    unsigned char id[FQ_RUN_ID_BYTES];
    fq_keypair   *keys = NULL;
    FQ_TRY(write_config(folder, listen));
    fq_path_join(folder, "experiment.yaml", path);
    FQ_TRY(fq_file_replace(path, settings, true));
    fq_random_bytes(id, sizeof id);
    fq_path_join(folder, "run.id", path);
    FQ_TRY(fq_file_replace(path, (fq_cbytes){id, sizeof id}, true));
    /* The key comes last: a folder with a key is whole. */
    fq_path_join(folder, "server.key", path);
    FQ_TRY(fq_keypair_create(&keys));
    fq_status status = fq_keypair_save(keys, path);
    *key = *fq_keypair_public(keys);
    fq_keypair_destroy(&keys);
    return status;
}

fq_status fq_server_folder_make(const char *folder, const char *settings, const char *listen,
                                fq_public_key *key) {
    char      path[PATH_MAX];
    fq_cbytes text;
    FQ_TRY(check_listen(listen));
    fq_path_join(folder, "server.key", path);
    if (fq_file_exists(path))
        return fq_fail(FQ_ESTATE, "%s is a coordinator's folder already; name another one", folder);
    FQ_TRY(check_settings(settings, &text));
    fq_status status = fq_folder_make(folder);
    if (status == FQ_OK && chmod(folder, 0700) != 0)
        status = fq_fail(FQ_EIO, "cannot close %s to others: %s", folder, strerror(errno));
    if (status == FQ_OK)
        status = fill(folder, listen, text, key);
    free((void *)(uintptr_t)text.data);
    return status;
}

/* ---- reading one ---- */
fq_status fq_server_config_read(const char *folder, fq_server_config *out) {
    char         path[PATH_MAX], key[PATH_MAX];
    fq_document *document;
    fq_path_join(folder, "server.yaml", path);
    fq_path_join(folder, "server.key", key);
    if (!fq_file_exists(path))
        return fq_fail(FQ_EINVAL,
                       "%s is not a coordinator's folder; make one with: fedq-server init %s "
                       "--settings FILE --listen tcp://ADDRESS:PORT",
                       folder, folder);
    if (!fq_file_exists(key))
        return fq_fail(FQ_EINVAL,
                       "%s has no server.key: its init was cut short; make it anew with: "
                       "fedq-server init %s --settings FILE --listen tcp://ADDRESS:PORT",
                       folder, folder);
    FQ_TRY(fq_document_read(&document, path));
    fq_status status =
        fq_section_load(document, fq_document_root(document), "", fq_server_keys, NULL, out);
    if (status == FQ_OK && check_listen(out->listen) != FQ_OK)
        status =
            fq_fail(FQ_EINVAL, "%s: listen: '%s'; expected tcp://ADDRESS:PORT", path, out->listen);
    fq_document_destroy(&document);
    return status;
}

fq_status fq_run_id_read(const char *folder, unsigned char id[FQ_RUN_ID_BYTES]) {
    char      path[PATH_MAX];
    fq_cbytes bytes;
    fq_path_join(folder, "run.id", path);
    FQ_TRY(fq_file_read(path, FQ_RUN_ID_BYTES, &bytes));
    fq_status status = FQ_OK;
    if (bytes.size == FQ_RUN_ID_BYTES)
        memcpy(id, bytes.data, FQ_RUN_ID_BYTES);
    else
        status = fq_fail(FQ_EPROTO, "%s has %zu bytes; %d are needed", path, bytes.size,
                         FQ_RUN_ID_BYTES);
    free((void *)(uintptr_t)bytes.data);
    return status;
}

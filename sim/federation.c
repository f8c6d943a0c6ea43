#include "sim/federation.h"

#include "base/clock.h"
#include "base/file.h"
#include "program/program.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char HINT[] =
    "--resume goes on with it, --force replaces it, --out DIR writes elsewhere";
static const double ALONE_SECONDS = 10.0;
enum { KEY_TEXT = 65 };

typedef struct federation {
    const fq_sim_options *options;
    char                  server[PATH_MAX], client[PATH_MAX]; /* programs */
    char                  home[PATH_MAX];                     /* of the client */
    uint64_t              n_clients;
} federation;

/* ---- programs ---- */
/* Beside this program as installed, or in the tree that it was built in; else by its name. */
static void find_program(const char *name, const char *folder, char out[PATH_MAX]) {
    char    self[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char   *slash = n < 0 ? NULL : strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
        snprintf(out, PATH_MAX, "%.4000s/%s", self, name);
        if (access(out, X_OK) == 0)
            return;
        snprintf(out, PATH_MAX, "%.4000s/../%s/%s", self, folder, name);
        if (access(out, X_OK) == 0)
            return;
    }
    snprintf(out, PATH_MAX, "%s", name);
}

/* Start a program, its output in files of the run's folder (appended). */
static fq_status start(const federation *f, const char *const *arguments, const char *out,
                       const char *err, pid_t *pid) {
    char out_path[PATH_MAX], err_path[PATH_MAX];
    fq_path_join(f->options->folder, out, out_path);
    fq_path_join(f->options->folder, err, err_path);
    *pid = fork();
    if (*pid < 0)
        return fq_fail(FQ_ENOMEM, "cannot start %s: %s", arguments[0], strerror(errno));
    if (*pid > 0)
        return FQ_OK;
    int input = open("/dev/null", O_RDONLY);
    int output = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int errors = open(err_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (input >= 0 && output >= 0 && errors >= 0 && dup2(input, 0) >= 0 && dup2(output, 1) >= 0 &&
        dup2(errors, 2) >= 0)
        execvp(arguments[0], (char *const *)(uintptr_t)arguments);
    _exit(127);
}

static fq_status ended(const federation *f, const char *program, const char *err, int how) {
    char path[PATH_MAX], line[512] = "", last[512] = "";
    fq_path_join(f->options->folder, err, path);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return FQ_OK;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 127)
        return fq_fail(FQ_EIO, "%s could not be started; it should be beside this program",
                       program);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        snprintf(last, sizeof last, "%s", line);
    if (file != NULL)
        fclose(file);
    last[strcspn(last, "\n")] = '\0';
    return fq_fail(FQ_EIO, "%s has failed (%s): %s", program, path, last);
}

/* Run to its end; the last word of what it prints -> word, unless NULL. */
static fq_status call(const federation *f, const char *const *arguments, char word[KEY_TEXT]) {
    pid_t pid;
    int   how;
    FQ_TRY(start(f, arguments, "setup.out", "setup.log", &pid));
    while (waitpid(pid, &how, 0) < 0)
        if (errno != EINTR)
            return fq_fail(FQ_EIO, "cannot wait for %s: %s", arguments[0], strerror(errno));
    FQ_TRY(ended(f, arguments[0], "setup.log", how));
    if (word == NULL)
        return FQ_OK;
    char path[PATH_MAX], text[1024] = "";
    fq_path_join(f->options->folder, "setup.out", path);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        size_t n = fread(text, 1, sizeof text - 1, file);
        fclose(file);
        while (n > 0 && text[n - 1] == '\n')
            text[--n] = '\0';
    }
    const char *last = strrchr(text, ' ');
    snprintf(word, KEY_TEXT, "%.64s", last == NULL ? text : last + 1);
    return FQ_OK;
}

/* ---- set-up ---- */
/* A port of 127.0.0.1 that nobody uses now. */
static fq_status free_port(unsigned *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          length = sizeof address;
    int                descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool               found = descriptor >= 0 &&
                 bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0 &&
                 getsockname(descriptor, (struct sockaddr *)&address, &length) == 0;
    if (descriptor >= 0)
        close(descriptor);
    *port = ntohs(address.sin_port);
    return found ? FQ_OK : fq_fail(FQ_EIO, "no free port: %s", strerror(errno));
}

static fq_status write_settings(const federation *f, const fq_experiment *e, const char *name,
                                char path[PATH_MAX]) {
    fq_buffer yaml = {0};
    fq_path_join(f->options->folder, name, path);
    fq_status status = fq_experiment_write(e, &yaml);
    if (status == FQ_OK)
        status = fq_file_replace(path, (fq_cbytes){yaml.data, yaml.size}, false);
    fq_buffer_fini(&yaml);
    return status;
}

static fq_status make_folders(const federation *f, const fq_experiment *e) {
    const char *folder = f->options->folder;
    char        settings[PATH_MAX], address[64], server_key[KEY_TEXT], client_key[KEY_TEXT];
    unsigned    port;
    FQ_TRY(free_port(&port));
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", port);
    FQ_TRY(write_settings(f, e, "settings.given.yaml", settings));
    const char *const init[] = {f->server, "init",     folder,  "--settings",
                                settings,  "--listen", address, NULL};
    FQ_TRY(call(f, init, server_key));
    const char *const join[] = {f->client,      "init",     f->home,  "--server",        address,
                                "--server-key", server_key, "--name", "virtual-clients", NULL};
    FQ_TRY(call(f, join, client_key));
    const char *const add[] = {f->server,         "clients",  "add", folder,
                               "virtual-clients", client_key, NULL};
    return call(f, add, NULL);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

/* A run that is replaced leaves none of its files behind: keys, lists and outbox go too. What
 * others have put into the folder stays. */
static fq_status clear(const federation *f) {
    static const char *const files[] = {"server.key",      "server.yaml",
                                        "experiment.yaml", "run.id",
                                        "clients.txt",     "clients.lock",
                                        "round.journal",   "audit.log",
                                        "status.json",     "settings.given.yaml",
                                        "setup.out",       "setup.log",
                                        "server.out",      "server.log",
                                        "client.out",      "client.log",
                                        "checkpoint.fq",   "model.fq",
                                        "run.db",          "run.db-wal",
                                        "run.db-shm",      "report.html",
                                        "settings.yaml",   "checkpoint-synced.fq"};
    char                     path[PATH_MAX];
    fq_path_join(f->home, "client.key", path);
    if (fq_file_exists(path) && nftw(f->home, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return fq_fail(FQ_EIO, "cannot remove %s: %s", f->home, strerror(errno));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        fq_path_join(f->options->folder, files[i], path);
        if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
            return fq_fail(FQ_EIO, "cannot remove %s: %s", path, strerror(errno));
    }
    return fq_client_states_remove(f->options->folder, 0);
}

/* ---- the run ---- */
static fq_status serve(const federation *f) {
    char range[64], workers[16];
    snprintf(range, sizeof range, "0-%" PRIu64, f->n_clients - 1);
    snprintf(workers, sizeof workers, "%zu", fq_pool_workers(f->options->pool));
    const char *const server[] = {f->server,         "run", f->options->folder, "--label",
                                  f->options->label, NULL};
    const char *const client[] = {f->client, "run",       f->home, "--simulate-clients",
                                  range,     "--threads", workers, NULL};
    pid_t             pids[2] = {-1, -1};
    int               how[2] = {0, 0};
    bool              told = false;
    double            gone = 0.0; /* when the coordinator ended */
    fq_status         status = start(f, server, "server.out", "server.log", &pids[0]);
    if (status == FQ_OK)
        status = start(f, client, "client.out", "client.log", &pids[1]);
    while (pids[0] > 0 || pids[1] > 0) {
        for (int i = 0; i < 2; i++)
            if (pids[i] > 0 && waitpid(pids[i], &how[i], WNOHANG) == pids[i])
                pids[i] = -1;
        bool failed = (pids[0] < 0 && how[0] != 0) || (pids[1] < 0 && how[1] != 0);
        if (pids[0] < 0 && gone == 0.0)
            gone = fq_now();
        /* A client that came too late to hear that the run is over would wait for ever. */
        bool alone = pids[0] < 0 && fq_now() - gone > ALONE_SECONDS;
        if ((fq_interrupted() || failed || alone || status != FQ_OK) && !told) {
            for (int i = 0; i < 2; i++)
                if (pids[i] > 0)
                    kill(pids[i], SIGTERM);
            told = true;
        }
        usleep(20000);
    }
    FQ_TRY(status);
    if (fq_interrupted())
        return fq_fail(FQ_ESTATE, "interrupted");
    FQ_TRY(ended(f, f->server, "server.log", how[0]));
    return told ? FQ_OK : ended(f, f->client, "client.log", how[1]);
}

static fq_status read_result(const federation *f, fq_run_result *result) {
    char       path[PATH_MAX];
    fq_store  *store;
    fq_run_row row;
    fq_path_join(f->options->folder, "run.db", path);
    FQ_TRY(fq_store_open_read(&store, path));
    fq_status status = fq_store_get_run(store, &row);
    fq_status closed = fq_store_close(&store);
    FQ_TRY(status);
    memcpy(result->hash, row.final_hash, sizeof result->hash);
    result->stopped_early = strcmp(row.status, "stopped") == 0;
    return closed;
}

fq_status fq_federate(fq_experiment *experiment, const fq_sim_options *options,
                      fq_sim_result *result) {
    federation f = {.options = options};
    fq_setup   setup;
    char       key[PATH_MAX], given[PATH_MAX];
    double     began = fq_now();
    *result = (fq_sim_result){0};
    find_program("fedq-server", "server", f.server);
    find_program("fedq-client", "client", f.client);
    fq_path_join(options->folder, "client", f.home);
    FQ_TRY(fq_setup_create(experiment, &setup));
    f.n_clients = experiment->server.clients;
    fq_setup_fini(&setup);
    if (options->existing == FQ_EXISTING_REFUSE)
        FQ_TRY(fq_run_check_folder(options->folder, HINT));
    if (options->existing == FQ_EXISTING_REPLACE)
        FQ_TRY(clear(&f));
    fq_path_join(options->folder, "server.key", key);
    FQ_TRY(fq_folder_make(options->folder));
    /* A run that goes on may have more rounds than it had. */
    FQ_TRY(fq_file_exists(key) ? write_settings(&f, experiment, "experiment.yaml", given)
                               : make_folders(&f, experiment));
    FQ_TRY(serve(&f));
    FQ_TRY(read_result(&f, &result->run));
    result->run.rounds = (uint32_t)experiment->train.rounds;
    result->seconds = fq_now() - began;
    return FQ_OK;
}

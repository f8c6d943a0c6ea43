/* A client as a process of its own, against a scripted coordinator: what it sends, and what becomes
 * of it wherever it dies. */
#include "base/file.h"
#include "client/participant.h"
#include "client/status.h"
#include "coordinator.h"
#include "suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIED = 77, EXIT_OF_STATUS = 100 };

#ifdef __SANITIZE_THREAD__ /* a process takes seconds to start there, and so does a turn */
enum { LIVES = 2 };
#define SLOW_EPOCHS "2"
#else
enum { LIVES = 15 }; /* a round takes ten steps */
#define SLOW_EPOCHS "40"
#endif

/* Every client keeps a control vector (SCAFFOLD) and what coding owes (error feedback), so each
 * update depends on all receipts before it. */
static const char SETTINGS[] =
    "name: scripted\nseed: 7\n"
    "data: {set: synthetic, clients: 30, features: 20, classes: 5, examples: 40, "
    "test_examples: 20}\n"
    "model: mlp\n"
    "train: {algorithm: scaffold, rounds: 12, clients_per_round: 2, batch: 8, rate: 0.05}\n"
    "upload: {quantizer: stochastic, bits: 4, error_feedback: true}\n"
    "evaluate: {every: 5, weights: [32]}\n";
static const char SLOW_SETTINGS[] =
    "name: slow\nseed: 7\n"
    "data: {set: synthetic, clients: 30, features: 200, classes: 5, examples: 200, "
    "test_examples: 20}\n"
    "model: mlp\n"
    "train: {rounds: 12, clients_per_round: 2, batch: 8, rate: 0.0001, epochs: " SLOW_EPOCHS "}\n"
    "evaluate: {every: 5, weights: [32]}\n";

/* ---- death by number, in the client's process ---- */
typedef enum death {
    NEVER,
    KILLED,    /* what the process did stays */
    POWER_CUT, /* names that no fsync of their folder has made durable are as they were before; what
                  was removed is gone: the worst that a file system may do */
} death;
static death how_to_die;
static int   steps_left;

typedef struct renamed {
    char from[PATH_MAX], to[PATH_MAX], saved[PATH_MAX + 8];
    bool replaced;
} renamed;
static renamed unsynced[16];
static size_t  n_unsynced;
/* The loop and the turns both change the folder. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __real_fsync(int file);
int __wrap_fsync(int file);

static void count_step(void) {
    if (how_to_die == NEVER || --steps_left > 0)
        return;
    while (how_to_die == POWER_CUT && n_unsynced > 0) {
        const renamed *r = &unsynced[--n_unsynced];
        (void)__real_rename(r->to, r->from);
        if (r->replaced)
            (void)__real_rename(r->saved, r->to);
    }
    _exit(DIED);
}

int __wrap_rename(const char *from, const char *to) {
    pthread_mutex_lock(&one_at_a_time);
    count_step();
    if (how_to_die == POWER_CUT && n_unsynced < 16) {
        renamed *r = &unsynced[n_unsynced];
        snprintf(r->from, sizeof r->from, "%s", from);
        snprintf(r->to, sizeof r->to, "%s", to);
        snprintf(r->saved, sizeof r->saved, "%s.saved", to);
        (void)__real_unlink(r->saved);
        r->replaced = link(to, r->saved) == 0;
        n_unsynced += access(from, F_OK) == 0;
    }
    int result = __real_rename(from, to), reason = errno;
    pthread_mutex_unlock(&one_at_a_time);
    errno = reason;
    return result;
}

int __wrap_unlink(const char *path) {
    pthread_mutex_lock(&one_at_a_time);
    count_step();
    int result = __real_unlink(path), reason = errno;
    pthread_mutex_unlock(&one_at_a_time);
    errno = reason;
    return result;
}

/* Of a folder: the names in it are safe now. */
static void keep_names_in(int file) {
    char   name[64], folder[PATH_MAX];
    size_t kept = 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, folder, sizeof folder - 1);
    for (size_t i = 0; length > 0 && i < n_unsynced; i++) {
        const char *slash = strrchr(unsynced[i].to, '/');
        bool        safe =
            slash == unsynced[i].to + length && memcmp(unsynced[i].to, folder, (size_t)length) == 0;
        if (safe)
            (void)__real_unlink(unsynced[i].saved);
        else
            unsynced[kept++] = unsynced[i];
    }
    n_unsynced = kept;
}

int __wrap_fsync(int file) {
    pthread_mutex_lock(&one_at_a_time);
    count_step();
    keep_names_in(file);
    int result = __real_fsync(file), reason = errno;
    pthread_mutex_unlock(&one_at_a_time);
    errno = reason;
    return result;
}

/* ---- the client's process ---- */
/* --client HOME CLIENTS THREADS MEMORY DEATH STEPS: exit code 0, DIED, or EXIT_OF_STATUS + status.
 */
static int be_client(char **arguments) {
    const char      *home = arguments[0];
    char             path[PATH_MAX];
    fq_client_config config;
    fq_data_settings data;
    bool             has_data;
    fq_public_key    server;
    fq_keypair      *keys;
    fq_path_join(home, "log.txt", path);
    fq_log log = {.file = fopen(path, "a"), .level = FQ_LOG_DEBUG};
    if (log.file == NULL || fq_home_read(home, &config, &data, &has_data, &server) != FQ_OK)
        return 1;
    fq_path_join(home, "client.key", path);
    if (fq_keypair_load(&keys, path) != FQ_OK)
        return 1;
    data.path[0] = '\0';
    fq_participant_options options = {.work = {.home = home,
                                               .simulation = true,
                                               .n = strtoul(arguments[1], NULL, 10),
                                               .data = &data,
                                               .threads = strtoul(arguments[2], NULL, 10),
                                               .max_bytes = strtoul(arguments[3], NULL, 10),
                                               .keys = keys,
                                               .server = &server},
                                      .server = config.server,
                                      .name = config.name,
                                      .gates = config.gates,
                                      .root = home, /* so that a test can be its machine */
                                      .log = &log};
    how_to_die = (death)atoi(arguments[4]);
    steps_left = atoi(arguments[5]);
    fq_participant_result result;
    fq_status             status = fq_participant_run(&options, &result);
    how_to_die = NEVER;
    fq_keypair_destroy(&keys);
    if (status != FQ_OK)
        fprintf(log.file, "failed: %s\n", fq_status_text());
    else
        fprintf(log.file, "over: %s\n", result.hash);
    fclose(log.file);
    return status == FQ_OK ? 0 : EXIT_OF_STATUS + (int)status;
}

typedef struct client {
    const char *home;
    uint64_t    n;
    size_t      threads, max_bytes;
} client;

static int run_client(coordinator *c, const client *who, death how, int steps) {
    char words[5][24];
    snprintf(words[0], sizeof words[0], "%llu", (unsigned long long)who->n);
    snprintf(words[1], sizeof words[1], "%zu", who->threads);
    snprintf(words[2], sizeof words[2], "%zu", who->max_bytes);
    snprintf(words[3], sizeof words[3], "%d", (int)how);
    snprintf(words[4], sizeof words[4], "%d", steps);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "client", "--client", who->home, words[0], words[1], words[2],
              words[3], words[4], (char *)NULL);
        _exit(1);
    }
    return coordinator_serve(c, pid);
}

static client make_client(coordinator *c, const char *name, uint64_t n) {
    char   key[FQ_KEY_TEXT];
    client who = {.home = strdup(fq_test_path(name)), .n = n, .threads = 1};
    fq_public_key_text(fq_keypair_public(c->keys), key);
    FQ_ASSERT_OK(fq_home_make(who.home, fq_listener_endpoint(c->listener), key, name, &c->client));
    return who;
}

static void forget_client(client *who) {
    free((void *)(uintptr_t)who->home);
}

static size_t files_in(const client *who, const char *name, const char *ending) {
    char path[PATH_MAX];
    fq_path_join(who->home, name, path);
    DIR   *folder = opendir(path);
    size_t n = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        size_t length = strlen(entry->d_name), more = strlen(ending);
        n += length > more && strcmp(entry->d_name + length - more, ending) == 0;
    }
    closedir(folder);
    return n;
}

static bool log_says(const client *who, const char *text) {
    char      path[PATH_MAX];
    fq_cbytes log;
    fq_path_join(who->home, "log.txt", path);
    FQ_ASSERT_OK(fq_file_read(path, 1 << 22, &log));
    bool said = memmem(log.data, log.size, text, strlen(text)) != NULL;
    if (!said)
        fprintf(stderr, "%s is not in:\n%.*s\n", text, (int)log.size, (const char *)log.data);
    free((void *)(uintptr_t)log.data);
    return said;
}

/* ---- undisturbed, and then in every way ---- */
typedef unsigned char digests[MOST_ROUNDS][MOST_CLIENTS][FQ_DIGEST_BYTES];
enum { ROUNDS = 18 };
static digests expected;

static void check_same(const coordinator *c) {
    CU_ASSERT_EQUAL(c->round, c->rounds);
    CU_ASSERT_EQUAL(c->changed, 0);
    CU_ASSERT_EQUAL(c->unsealed, 0);
    for (uint32_t r = 0; r < c->rounds; r++)
        for (uint64_t k = 0; k < c->n_clients; k++)
            if (memcmp(c->digest[r][k], expected[r][k], FQ_DIGEST_BYTES) != 0) {
                fprintf(stderr, "client %d: another update in round %d\n", (int)k, (int)r + 1);
                CU_FAIL("the state has parted from what was accepted");
                return;
            }
}

static void test_undisturbed(void) {
    coordinator      c;
    fq_client_status status;
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, "calm", 2);
    coordinator_restart(&c, KIND, ROUNDS, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    memcpy(expected, c.digest, sizeof expected);
    check_same(&c);
    CU_ASSERT_EQUAL(c.offers, 2 * ROUNDS);
    CU_ASSERT_NOT_EQUAL(memcmp(expected[1][0], expected[2][0], FQ_DIGEST_BYTES), 0);
    CU_ASSERT_EQUAL(files_in(&who, "outbox", ".update"), 0);
    CU_ASSERT_EQUAL(files_in(&who, "state", ".next"), 0);
    FQ_ASSERT_OK(fq_client_status_read(who.home, &status));
    CU_ASSERT_EQUAL(status.accepted, 2 * ROUNDS);
    CU_ASSERT_EQUAL(status.round, ROUNDS);
    CU_ASSERT(status.over);
    /* Another run begins with nothing owed. */
    coordinator_restart(&c, KIND, 3, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    check_same(&c);
    forget_client(&who);
    coordinator_end(&c);
}

/* A client one minor version older than its coordinator keeps working. */
static void test_newer_coordinator(void) {
    coordinator c;
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, "older", 2);
    coordinator_restart(&c, NEWER, ROUNDS, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    check_same(&c);
    CU_ASSERT_EQUAL(c.offers, 2 * ROUNDS);
    forget_client(&who);
    coordinator_end(&c);
}

/* Each life of the client ends one step later than the one before: at every rename, removal and
 * sync of the first rounds that it takes part in. */
static void die_everywhere(const char *name, death how) {
    coordinator c;
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, name, 1);
    coordinator_restart(&c, KIND, ROUNDS, 1);
    int deaths = 0;
    for (int steps = 1; steps <= LIVES && c.round < ROUNDS; steps++)
        deaths += run_client(&c, &who, how, steps) == DIED;
    CU_ASSERT_EQUAL(deaths, LIVES);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    check_same(&c);
    CU_ASSERT_EQUAL(files_in(&who, "outbox", ".update"), 0);
    CU_ASSERT_EQUAL(files_in(&who, "state", ".next"), 0);
    forget_client(&who);
    coordinator_end(&c);
}

static void test_killed(void) {
    die_everywhere("killed", KILLED);
}

static void test_power_cut(void) {
    die_everywhere("power", POWER_CUT);
}

static void test_rogue(void) {
    coordinator c;
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, "rogue", 2);
    coordinator_restart(&c, ROGUE, 3, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    check_same(&c);
    CU_ASSERT_EQUAL(c.offers, 6);
    CU_ASSERT(log_says(&who, "event=plan_ignored round=1 client=1000000"));
    CU_ASSERT(log_says(&who, "event=plan_ignored round=1 model_bytes=9223372036854775807"));
    CU_ASSERT(log_says(&who, "event=unreadable"));
    CU_ASSERT(log_says(&who, "event=unexpected kind=update-offer"));
    CU_ASSERT(log_says(&who, "text=\"a \\\"text\\\"\\x0a with lines\"")); /* still one line */
    CU_ASSERT(log_says(&who, "over: unknown"));
    forget_client(&who);
    coordinator_end(&c);
}

/* A refused update moves no state: the round after is as if it had been the first. */
static void test_refused(void) {
    coordinator      c;
    fq_client_status status;
    digests          first;
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, "refused", 1);
    coordinator_restart(&c, UNIMPRESSED, 2, 1);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    memcpy(first, c.digest, sizeof first);
    FQ_ASSERT_OK(fq_client_status_read(who.home, &status));
    CU_ASSERT_EQUAL(status.refused, 1);
    CU_ASSERT_EQUAL(status.refusals[FQ_REASON_TOO_LARGE], 1);
    CU_ASSERT_EQUAL(status.accepted, 1);
    /* The same round with a client that has nothing owed: its first one there. */
    coordinator_restart(&c, KIND, 2, 1);
    c.round = 1;
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    CU_ASSERT_EQUAL(memcmp(c.digest[1][0], first[1][0], FQ_DIGEST_BYTES), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(c.digest[1][0], expected[1][0], FQ_DIGEST_BYTES), 0);
    forget_client(&who);
    coordinator_end(&c);
}

static void test_lost_receipt(void) {
    coordinator c;
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, "lost", 1);
    coordinator_restart(&c, FORGETFUL, 2, 1);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    check_same(&c);
    CU_ASSERT_EQUAL(c.offers, 4);
    CU_ASSERT_EQUAL(c.hellos, 3);
    forget_client(&who);
    coordinator_end(&c);
}

/* Twenty turns are asked, on one thread; when the first is done, the round is over. */
static void test_round_over(void) {
    coordinator c;
    coordinator_begin(&c, SLOW_SETTINGS);
    client who = make_client(&c, "hasty", 20);
    coordinator_restart(&c, HASTY, 2, 20);
    for (uint64_t k = 1; k < 20; k++) /* and the next one asks a single client */
        c.taken[1][k] = true;
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    CU_ASSERT_EQUAL(c.round, 2);
    CU_ASSERT(c.offers < 15);
    forget_client(&who);
    coordinator_end(&c);
}

static void test_ends(void) {
    coordinator c;
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, "ends", 2);
    coordinator_restart(&c, NOT_YOURS, 2, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), EXIT_OF_STATUS + FQ_EINVAL);
    coordinator_restart(&c, OTHER, 2, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), EXIT_OF_STATUS + FQ_EAUTH);
    CU_ASSERT(log_says(&who, "failed: the coordinator refuses us: no more"));
    coordinator_restart(&c, REVOKED, 2, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), EXIT_OF_STATUS + FQ_EAUTH);
    CU_ASSERT(log_says(&who, "failed: the coordinator refuses us: no more"));
    who.max_bytes = 1 << 20;
    coordinator_restart(&c, KIND, 2, 2);
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), EXIT_OF_STATUS + FQ_ELIMIT);
    CU_ASSERT(log_says(&who, "--max-rss allows 1.0 MiB"));
    CU_ASSERT_EQUAL(c.requests, 0);
    who.max_bytes = 0;
    who.n = 31;
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), EXIT_OF_STATUS + FQ_EINVAL);
    CU_ASSERT(log_says(&who, "the run has clients 0 to 29"));
    forget_client(&who);
    coordinator_end(&c);
}

/* While its gate is closed a client says no word; when it opens, it takes part. */
static void test_gate(void) {
    static const char gates[] = "gates: {on_power: true}\n";
    coordinator       c;
    char              path[PATH_MAX];
    coordinator_begin(&c, SETTINGS);
    client who = make_client(&c, "gate", 1);
    fq_path_join(who.home, "client.yaml", path);
    FILE *config = fopen(path, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    fputs(gates, config);
    fclose(config);
    fq_path_join(who.home, "sys/class/power_supply/BAT0", path);
    FQ_ASSERT_OK(fq_folder_make(path));
    fq_path_join(who.home, "sys/class/power_supply/BAT0/type", path);
    fq_test_write(path, "Battery\n", 8);
    coordinator_restart(&c, KIND, 2, 1);
    fflush(NULL);
    pid_t plug = fork();
    if (plug == 0) {
        usleep(1500000);
        _exit(unlink(path) != 0);
    }
    CU_ASSERT_EQUAL(run_client(&c, &who, NEVER, 0), 0);
    CU_ASSERT_EQUAL(waitpid(plug, NULL, 0), plug);
    check_same(&c);
    CU_ASSERT_EQUAL(c.hellos, 1);
    CU_ASSERT(log_says(&who, "event=gate_closed text=\"not on mains power\""));
    CU_ASSERT(log_says(&who, "event=gate_open"));
    forget_client(&who);
    coordinator_end(&c);
}

int main(int argc, char **argv) {
    if (argc == 8 && strcmp(argv[1], "--client") == 0)
        return be_client(argv + 2);
    static const fq_case cases[] = {
        {"rounds of two clients, one run after another", test_undisturbed},
        {"a coordinator of a later minor version", test_newer_coordinator},
        {"killed at every step", test_killed},
        {"a power cut at every step", test_power_cut},
        {"a coordinator that talks nonsense", test_rogue},
        {"a refused update moves no state", test_refused},
        {"a lost receipt is asked for again", test_lost_receipt},
        {"turns of a round that is over are not begun", test_round_over},
        {"when it gives up", test_ends},
        {"behind a closed gate", test_gate},
        {NULL, NULL}};
    return fq_run_suite("participant", cases);
}

#include "base/file.h"
#include "run/run.h"
#include "suite.h"
#include "tiny.h"
#include "train/client_turn.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CLIENTS = 6, COHORT = 3 };
#define YAML                                                                                       \
    "name: tiny\nseed: 5\ndata: {set: synthetic, clients: 6, features: 10, classes: 3, "           \
    "examples: 20, test_examples: 16}\nmodel:\n- {layer: dense, out: 3}\n"                         \
    "train: {clients_per_round: 3, rounds: 4, rate: 0.1}\n"
#define EVALUATE "evaluate: {every: 2, weights: [32, 4], ranges: [minmax]}\n"
static const char HINT[] = "the hint";

/* A program that keeps a run: what the simulator and the coordinator have in common. */
typedef struct keeper {
    fq_tiny       tiny;
    fq_pool      *pool;
    fq_worker    *worker;
    fq_run       *run;
    fq_client_row rows[COHORT];
    fq_run_result result;
    bool          careless; /* not every checkpoint is durable */
} keeper;

static void keeper_begin(keeper *k, const char *yaml) {
    *k = (keeper){0};
    fq_tiny_create(&k->tiny, yaml);
    FQ_ASSERT_OK(fq_pool_create(&k->pool, 2));
    FQ_ASSERT_OK(fq_worker_create(&k->worker, k->tiny.setup.model, &k->tiny.experiment->recipe,
                                  k->tiny.setup.max_examples));
}

static size_t state_values(const keeper *k) {
    return fq_client_state_vectors(&k->tiny.experiment->recipe) *
           fq_model_size(k->tiny.setup.model);
}

static fq_status keeper_open(keeper *k, const char *folder, fq_existing existing) {
    const fq_run_options options = {.folder = folder,
                                    .existing = existing,
                                    .pool = k->pool,
                                    .command = "test",
                                    .label = "",
                                    .hint = HINT,
                                    .client_values = state_values(k),
                                    .durable = !k->careless};
    return fq_run_open(&k->run, k->tiny.experiment, &k->tiny.setup, &options);
}

static void keeper_end(keeper *k) {
    fq_worker_destroy(&k->worker);
    fq_pool_destroy(&k->pool);
    fq_tiny_destroy(&k->tiny);
}

/* One round up to its close: `answering` clients of the cohort train, the others have diverged. */
static void train_round(keeper *k, size_t answering) {
    fq_server *server = fq_run_server(k->run);
    uint64_t   cohort[COHORT], examples = 0;
    fq_plan    plan;
    FQ_ASSERT_OK(fq_cohort_sample((uint64_t)k->tiny.experiment->head.seed, fq_server_round(server),
                                  CLIENTS, COHORT, cohort));
    for (size_t i = 0; i < COHORT; i++)
        examples += fq_example_bucket(fq_partition_shard(k->tiny.setup.partition, cohort[i]).n);
    FQ_ASSERT_OK(fq_round_open(server, cohort, COHORT, examples, &plan));
    for (size_t i = 0; i < COHORT; i++) {
        fq_client         client = {.id = cohort[i],
                                    .shard = fq_partition_shard(k->tiny.setup.partition, cohort[i])};
        fq_client_states *states = fq_run_states(k->run);
        fq_update         update;
        bool              answers = i < answering;
        if (states != NULL)
            FQ_ASSERT_OK(fq_client_states_get(states, 0, client.id, &client.state));
        k->rows[i] = (fq_client_row){.client = cohort[i]};
        snprintf(k->rows[i].verdict, sizeof k->rows[i].verdict, "%s",
                 answers ? "accepted" : fq_status_name(FQ_ENONFINITE));
        if (answers) {
            FQ_ASSERT_OK(fq_client_turn(k->worker, &plan, &client, &update));
            FQ_ASSERT_OK(fq_round_accept(server, 0, &update));
            fq_client_commit(k->worker, &client);
            if (states != NULL)
                FQ_ASSERT_OK(fq_client_states_put(states, 0, client.id, plan.round));
        }
    }
}

static fq_status close_round(keeper *k) {
    fq_round_row     row = {0};
    fq_round_summary summary;
    return fq_run_close_round(k->run, &row, k->rows, COHORT, &summary);
}

/* At most so many rounds. */
static void keeper_play(keeper *k, uint32_t rounds) {
    for (uint32_t r = 0; r < rounds && !fq_run_over(k->run); r++) {
        train_round(k, COHORT);
        FQ_ASSERT_OK(close_round(k));
    }
}

static void keeper_finish(keeper *k) {
    keeper_play(k, UINT32_MAX);
    FQ_ASSERT_OK(fq_run_finish(k->run, &k->result));
    FQ_ASSERT_OK(fq_run_close(&k->run, FQ_OK));
    CU_ASSERT_PTR_NULL(k->run);
}

/* A whole run in one go, in a folder of that name. */
static void run_whole(const char *yaml, const char *folder, fq_run_result *result) {
    keeper k;
    keeper_begin(&k, yaml);
    FQ_ASSERT_OK(keeper_open(&k, fq_test_path(folder), FQ_EXISTING_REFUSE));
    keeper_finish(&k);
    *result = k.result;
    keeper_end(&k);
}

/* ---- what a run leaves ---- */
typedef struct stored {
    fq_run_row run;
    size_t     n_rounds, n_figures, n_clients;
    uint32_t   last_round;
} stored;

static fq_status see_round(void *context, const fq_round_row *row) {
    stored *s = context;
    CU_ASSERT_EQUAL(row->round, s->last_round + 1);
    s->last_round = row->round;
    s->n_rounds++;
    return FQ_OK;
}

static fq_status see_figure(void *context, uint32_t round, const fq_figure *figure) {
    (void)round;
    (void)figure;
    ((stored *)context)->n_figures++;
    return FQ_OK;
}

static fq_status see_client(void *context, uint32_t round, const fq_client_row *client) {
    (void)round;
    (void)client;
    ((stored *)context)->n_clients++;
    return FQ_OK;
}

static void read_back(const char *folder, stored *s) {
    char      path[4096];
    fq_store *store;
    *s = (stored){0};
    snprintf(path, sizeof path, "%s/run.db", folder);
    FQ_ASSERT_OK(fq_store_open_read(&store, path));
    FQ_ASSERT_OK(fq_store_get_run(store, &s->run));
    FQ_ASSERT_OK(fq_store_each_round(store, see_round, s));
    FQ_ASSERT_OK(fq_store_each_figure(store, see_figure, s));
    FQ_ASSERT_OK(fq_store_each_client(store, see_client, s));
    FQ_ASSERT_OK(fq_store_close(&store));
}

static void hash_file(const char *path, char hash[FQ_HASH_TEXT]) {
    fq_cbytes     bytes;
    unsigned char digest[FQ_HASH_BYTES];
    FQ_ASSERT_OK(fq_file_read(path, 1 << 20, &bytes));
    fq_sha256(bytes, digest);
    fq_hash_text(digest, hash);
    free((void *)(uintptr_t)bytes.data);
}

static void test_a_run_from_start_to_end(void) {
    fq_run_result result;
    stored        s;
    char          hash[FQ_HASH_TEXT];
    run_whole(YAML EVALUATE, "whole", &result);
    CU_ASSERT_EQUAL(result.rounds, 4);
    CU_ASSERT_EQUAL(result.n_unapplied, 0);
    CU_ASSERT_FALSE(result.stopped_early);
    CU_ASSERT_EQUAL(result.n_figures, 2);
    CU_ASSERT_EQUAL(result.figures[1].weight_bits, 4);
    hash_file(fq_test_path("whole/model.fq"), hash);
    CU_ASSERT_STRING_EQUAL(hash, result.hash);
    CU_ASSERT_TRUE(fq_file_exists(fq_test_path("whole/settings.yaml")));
    CU_ASSERT_TRUE(fq_file_exists(fq_test_path("whole/checkpoint.fq")));
    read_back(fq_test_path("whole"), &s);
    CU_ASSERT_STRING_EQUAL(s.run.status, "finished");
    CU_ASSERT_STRING_EQUAL(s.run.final_hash, result.hash);
    CU_ASSERT_STRING_EQUAL(s.run.name, "tiny");
    CU_ASSERT_EQUAL(s.n_rounds, 4);
    CU_ASSERT_EQUAL(s.n_figures, 4); /* rounds 2 and 4, float and 4 bits */
    CU_ASSERT_EQUAL(s.n_clients, 12);
}

/* ---- what is in the folder already ---- */
static const char LONG_AGO[] = "2001-02-03T04:05:06Z";

/* As if the run had begun then. */
static void begin_long_ago(const char *folder, const stored *s) {
    char       path[4096];
    fq_store  *store;
    fq_run_row run = s->run;
    memcpy(run.started, LONG_AGO, sizeof LONG_AGO);
    snprintf(path, sizeof path, "%s/run.db", folder);
    FQ_ASSERT_OK(fq_store_open(&store, path, s->last_round));
    FQ_ASSERT_OK(fq_store_put_run(store, &run));
    FQ_ASSERT_OK(fq_store_close(&store));
}

static void test_resume_goes_on_to_the_same_end(void) {
    fq_run_result whole;
    stored        before, after;
    keeper        k;
    run_whole(YAML EVALUATE, "resume-whole", &whole);
    const char           *folder = fq_test_path("resume");
    static const uint32_t stops[] = {0, 1, 3}; /* rounds at the start, and when interrupted */
    for (size_t i = 0; i < 2; i++) {
        keeper_begin(&k, YAML EVALUATE);
        FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_RESUME)); /* the first time: begins */
        CU_ASSERT_EQUAL(fq_server_round(fq_run_server(k.run)), stops[i]);
        keeper_play(&k, stops[i + 1] - stops[i]);
        CU_ASSERT_EQUAL(fq_run_close(&k.run, fq_fail(FQ_ESTATE, "interrupted here")), FQ_ESTATE);
        CU_ASSERT_STRING_EQUAL(fq_status_text(), "interrupted here");
        keeper_end(&k);
        read_back(folder, &before);
        CU_ASSERT_STRING_EQUAL(before.run.status, "interrupted");
        CU_ASSERT_EQUAL(before.n_rounds, stops[i + 1]);
    }
    begin_long_ago(folder, &before);
    keeper_begin(&k, YAML EVALUATE);
    FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_RESUME));
    keeper_finish(&k);
    CU_ASSERT_STRING_EQUAL(k.result.hash, whole.hash);
    read_back(folder, &after);
    CU_ASSERT_STRING_EQUAL(after.run.status, "finished");
    CU_ASSERT_STRING_EQUAL(after.run.started, LONG_AGO);
    CU_ASSERT_EQUAL(after.n_rounds, 4);
    /* Nothing is left to do: the same result once more, with figures made anew. */
    FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_RESUME));
    CU_ASSERT_TRUE(fq_run_over(k.run));
    keeper_finish(&k);
    CU_ASSERT_STRING_EQUAL(k.result.hash, whole.hash);
    CU_ASSERT_EQUAL(k.result.figures[0].accuracy, whole.figures[0].accuracy);
    read_back(folder, &after);
    CU_ASSERT_EQUAL(after.n_figures, 4);
    keeper_end(&k);
}

static void test_a_folder_with_a_run(void) {
    fq_run_result result;
    keeper        k;
    stored        s;
    run_whole(YAML EVALUATE, "taken", &result);
    const char *folder = fq_test_path("taken");
    FQ_ASSERT_FAILS(fq_run_check_folder(folder, HINT), FQ_ESTATE, "already holds a run; the hint");
    FQ_ASSERT_OK(fq_run_check_folder(fq_test_path("nothing-here"), HINT));
    keeper_begin(&k, YAML EVALUATE);
    FQ_ASSERT_FAILS(keeper_open(&k, folder, FQ_EXISTING_REFUSE), FQ_ESTATE, "the hint");
    CU_ASSERT_PTR_NULL(k.run);
    read_back(folder, &s);
    CU_ASSERT_STRING_EQUAL(s.run.status, "finished"); /* refused is not failed */
    FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_REPLACE));
    CU_ASSERT_FALSE(fq_file_exists(fq_test_path("taken/model.fq")));
    CU_ASSERT_EQUAL(fq_server_round(fq_run_server(k.run)), 0);
    keeper_finish(&k);
    CU_ASSERT_STRING_EQUAL(k.result.hash, result.hash);
    keeper_end(&k);
}

static void test_other_settings_are_explained(void) {
    fq_run_result result;
    keeper        k;
    char          before[FQ_HASH_TEXT], after[FQ_HASH_TEXT];
    run_whole(YAML EVALUATE, "other", &result);
    hash_file(fq_test_path("other/run.db"), before);
    keeper_begin(&k, YAML EVALUATE "aggregate: {max_value: 7}\n");
    FQ_ASSERT_FAILS(keeper_open(&k, fq_test_path("other"), FQ_EXISTING_RESUME), FQ_ESTALE,
                    "aggregate: 'max_value: ");
    FQ_ASSERT_FAILS(keeper_open(&k, fq_test_path("other"), FQ_EXISTING_RESUME), FQ_ESTALE,
                    "here 'max_value: 7'");
    keeper_end(&k);
    hash_file(fq_test_path("other/run.db"), after);
    CU_ASSERT_STRING_EQUAL(before, after);
}

static void test_a_damaged_checkpoint_is_named(void) {
    fq_run_result result;
    keeper        k;
    run_whole(YAML EVALUATE, "damaged", &result);
    fq_test_write(fq_test_path("damaged/checkpoint.fq"), "not ours", 8);
    keeper_begin(&k, YAML EVALUATE);
    FQ_ASSERT_FAILS(keeper_open(&k, fq_test_path("damaged"), FQ_EXISTING_RESUME), FQ_EPROTO,
                    "damaged/checkpoint.fq");
    keeper_end(&k);
}

/* A second process must not even replace the run. Its exit code is the status it got. */
static int open_in_child(const char *folder) {
    pid_t child = fork();
    if (child == 0) {
        keeper k;
        keeper_begin(&k, YAML EVALUATE);
        fq_status status = keeper_open(&k, folder, FQ_EXISTING_REPLACE);
        bool      said = status == FQ_OK || strstr(fq_status_text(), "in use by another process");
        _exit(said ? (int)status : 255);
    }
    int code = 0;
    CU_ASSERT_EQUAL_FATAL(waitpid(child, &code, 0), child);
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static void test_one_process_at_a_time(void) {
    keeper      k;
    stored      s;
    const char *folder = fq_test_path("locked");
    keeper_begin(&k, YAML EVALUATE);
    FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_REFUSE));
    keeper_play(&k, 2);
    CU_ASSERT_EQUAL(open_in_child(folder), FQ_ESTATE);
    keeper_finish(&k);
    keeper_end(&k);
    read_back(folder, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 4);
    CU_ASSERT_EQUAL(open_in_child(folder), FQ_OK);
}

/* ---- failures ---- */
/* No file may grow beyond `bytes` from now on; returns the limit so far. */
static struct rlimit limit_files(rlim_t bytes) {
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){bytes, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    return old;
}

static void test_full_disk_waits_for_room(void) {
    fq_run_result whole;
    keeper        k;
    stored        s;
    run_whole(YAML EVALUATE, "full-whole", &whole);
    keeper_begin(&k, YAML EVALUATE);
    FQ_ASSERT_OK(keeper_open(&k, fq_test_path("full"), FQ_EXISTING_REFUSE));
    keeper_play(&k, 1);
    train_round(&k, COHORT);
    struct rlimit old = limit_files(16);
    fq_status     closed = close_round(&k), saved = fq_run_save(k.run);
    setrlimit(RLIMIT_FSIZE, &old);
    CU_ASSERT_EQUAL(closed, FQ_EIO);
    CU_ASSERT_EQUAL(saved, FQ_EIO);
    CU_ASSERT_EQUAL(fq_server_round(fq_run_server(k.run)), 2); /* closed, in memory */
    FQ_ASSERT_OK(fq_run_save(k.run));
    keeper_finish(&k);
    CU_ASSERT_STRING_EQUAL(k.result.hash, whole.hash);
    keeper_end(&k);
    read_back(fq_test_path("full"), &s);
    CU_ASSERT_EQUAL(s.n_rounds, 4);
    CU_ASSERT_EQUAL(s.n_figures, 4);
}

/* The database gets the round, the checkpoint does not: a folder stands where it is written. */
static void test_checkpoint_that_cannot_be_written(void) {
    fq_run_result whole;
    keeper        k;
    stored        s;
    run_whole(YAML EVALUATE, "half-whole", &whole);
    for (int again = 0; again < 2; again++) {
        const char *folder = fq_test_path(again ? "half-again" : "half-resumed");
        char        part[4096];
        snprintf(part, sizeof part, "%s/checkpoint.fq.part", folder);
        keeper_begin(&k, YAML EVALUATE);
        FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_REFUSE));
        keeper_play(&k, 1);
        train_round(&k, COHORT);
        CU_ASSERT_EQUAL(mkdir(part, 0777), 0);
        FQ_ASSERT_FAILS(close_round(&k), FQ_EIO, "checkpoint.fq.part");
        CU_ASSERT_EQUAL(rmdir(part), 0);
        if (again) {
            FQ_ASSERT_OK(fq_run_save(k.run));
        } else {
            CU_ASSERT_EQUAL(fq_run_close(&k.run, FQ_EIO), FQ_EIO);
            read_back(folder, &s);
            CU_ASSERT_STRING_EQUAL(s.run.status, "failed");
            CU_ASSERT_EQUAL(s.n_rounds, 2);
            FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_RESUME));
            CU_ASSERT_EQUAL(fq_server_round(fq_run_server(k.run)), 1); /* trains it again */
        }
        keeper_finish(&k);
        keeper_end(&k);
        CU_ASSERT_STRING_EQUAL(k.result.hash, whole.hash);
        read_back(folder, &s);
        CU_ASSERT_EQUAL(s.n_rounds, 4);
    }
}

static void test_nobody_can_train(void) {
    keeper k;
    stored s;
    keeper_begin(&k, YAML EVALUATE);
    FQ_ASSERT_OK(keeper_open(&k, fq_test_path("diverged"), FQ_EXISTING_REFUSE));
    train_round(&k, 1); /* one of three is enough to go on */
    FQ_ASSERT_OK(close_round(&k));
    train_round(&k, 0);
    FQ_ASSERT_FAILS(close_round(&k), FQ_ENONFINITE, "all 3 updates were refused");
    CU_ASSERT_EQUAL(fq_run_close(&k.run, FQ_ENONFINITE), FQ_ENONFINITE);
    keeper_end(&k);
    read_back(fq_test_path("diverged"), &s);
    CU_ASSERT_STRING_EQUAL(s.run.status, "failed");
    CU_ASSERT_EQUAL(s.n_rounds, 1);
}

/* ---- the end before the last round ---- */
/* No accuracy can grow by 1 after the first evaluation: the run stops `patience` evaluations later,
 * however often it was resumed in between. */
static void test_early_stopping_survives_resume(void) {
    static const char yaml[] = YAML "evaluate: {every: 1, weights: [32, 4], ranges: [minmax]}\n"
                                    "stop: {metric: float, patience: 2, min_gain: 1}\n";
    keeper            k;
    stored            s;
    const char       *folder = fq_test_path("stop");
    for (int part = 0; part < 3; part++) {
        keeper_begin(&k, yaml);
        FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_RESUME));
        CU_ASSERT_FALSE(fq_run_over(k.run));
        keeper_play(&k, 1);
        CU_ASSERT_EQUAL(fq_run_over(k.run), part == 2);
        CU_ASSERT_EQUAL(fq_run_close(&k.run, FQ_ESTATE), FQ_ESTATE);
        keeper_end(&k);
    }
    keeper_begin(&k, yaml);
    FQ_ASSERT_OK(keeper_open(&k, folder, FQ_EXISTING_RESUME));
    CU_ASSERT_TRUE(fq_run_over(k.run)); /* it had stopped, and was ended before it could say so */
    keeper_finish(&k);
    keeper_end(&k);
    CU_ASSERT_TRUE(k.result.stopped_early);
    CU_ASSERT_EQUAL(k.result.rounds, 3);
    read_back(folder, &s);
    CU_ASSERT_STRING_EQUAL(s.run.status, "stopped");
    CU_ASSERT_EQUAL(s.n_rounds, 3);
}

/* Take the last byte of the clients' states away. */
static void shorten_states(const char *folder) {
    char        path[PATH_MAX], name[32];
    struct stat info;
    bool        found = false;
    for (unsigned generation = 1; !found && generation < 1000; generation++) {
        snprintf(name, sizeof name, "states-%u.fq", generation);
        fq_path_join(folder, name, path);
        found = stat(path, &info) == 0;
    }
    CU_ASSERT_TRUE_FATAL(found);
    CU_ASSERT_EQUAL_FATAL(truncate(path, info.st_size - 1), 0);
}

/* A power cut may leave the last checkpoint without the states or the rows that it counts on: the
 * run goes on from the last one that was synced, to the same end. */
static void test_a_checkpoint_that_counts_on_what_is_lost(void) {
    static const char yaml[] =
        "name: tiny\nseed: 5\ndata: {set: synthetic, clients: 6, features: 10, classes: 3, "
        "examples: 20, test_examples: 16}\nmodel:\n- {layer: dense, out: 3}\n"
        "train: {algorithm: scaffold, clients_per_round: 3, rounds: 60, rate: 0.1}\n"
        "evaluate: {every: 60, weights: [32]}\n";
    fq_run_result whole;
    keeper        k;
    char          synced[PATH_MAX];
    run_whole(yaml, "uncut", &whole);
    fq_path_join(fq_test_path("uncut"), "checkpoint-synced.fq", synced);
    CU_ASSERT_FALSE(fq_file_exists(synced));

    keeper_begin(&k, yaml);
    k.careless = true;
    FQ_ASSERT_OK(keeper_open(&k, fq_test_path("cut"), FQ_EXISTING_REFUSE));
    fq_path_join(fq_test_path("cut"), "checkpoint-synced.fq", synced);
    while (!fq_file_exists(synced) && !fq_run_over(k.run))
        keeper_play(&k, 1);
    CU_ASSERT_TRUE_FATAL(fq_file_exists(synced));
    uint32_t round = fq_server_round(fq_run_server(k.run));
    FQ_ASSERT_FAILS(fq_run_close(&k.run, fq_fail(FQ_ESTATE, "cut")), FQ_ESTATE, "cut");
    shorten_states(fq_test_path("cut"));
    FQ_ASSERT_OK(keeper_open(&k, fq_test_path("cut"), FQ_EXISTING_RESUME));
    CU_ASSERT_EQUAL(fq_server_round(fq_run_server(k.run)), round - 1);
    keeper_finish(&k);
    CU_ASSERT_STRING_EQUAL(k.result.hash, whole.hash);

    /* Without the one that was synced there is nothing to go on from. */
    CU_ASSERT_FALSE(fq_file_exists(synced));
    shorten_states(fq_test_path("cut"));
    FQ_ASSERT_FAILS(keeper_open(&k, fq_test_path("cut"), FQ_EXISTING_RESUME), FQ_EPROTO,
                    "the checkpoint counts on");
    keeper_end(&k);
}

int main(void) {
    static const fq_case cases[] = {
        {"a run from start to end", test_a_run_from_start_to_end},
        {"resume goes on to the same end", test_resume_goes_on_to_the_same_end},
        {"a folder with a run", test_a_folder_with_a_run},
        {"other settings are explained", test_other_settings_are_explained},
        {"a damaged checkpoint is named", test_a_damaged_checkpoint_is_named},
        {"one process at a time", test_one_process_at_a_time},
        {"a full disk waits for room", test_full_disk_waits_for_room},
        {"a checkpoint that cannot be written", test_checkpoint_that_cannot_be_written},
        {"nobody can train", test_nobody_can_train},
        {"early stopping survives resume", test_early_stopping_survives_resume},
        {"a checkpoint that counts on what is lost", test_a_checkpoint_that_counts_on_what_is_lost},
        {NULL, NULL},
    };
    return fq_run_suite("run", cases);
}

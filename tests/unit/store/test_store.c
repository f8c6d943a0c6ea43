#include "base/file.h"
#include "store/store.h"
#include "suite.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static fq_run_row some_run(void) {
    return (fq_run_row){.name = "fashion-mnist-mqat",
                        .label = "mqat",
                        .settings_hash = "ab12",
                        .model = "lenet5",
                        .dataset = "fashion-mnist",
                        .algorithm = "fedavg",
                        .robustness = "mqat",
                        .seed = 3,
                        .clients = 100,
                        .parameters = 61706,
                        .version = "0.1.0",
                        .build = "gcc",
                        .machine = "2 cores",
                        .command = "fedq-sim run x.yaml",
                        .started = "2024-01-02T03:04:05Z",
                        .status = "running"};
}

/* Two clients, three figures and one tensor, each with values that tell the round. */
static fq_status put_round(fq_store *store, uint32_t round) {
    double        r = (double)round;
    fq_round_row  row = {.round = round,
                         .n_asked = 10,
                         .n_accepted = 9,
                         .n_refused = 1,
                         .loss = 2.0 / r,
                         .drift = 0.5,
                         .update_norm = 0.25,
                         .bytes_up_raw = 4000,
                         .bytes_up = 1000,
                         .bytes_down_raw = 8000,
                         .bytes_down = 7000,
                         .seconds_train = 0.1,
                         .seconds_close = 0.2,
                         .seconds_evaluate = 0.3,
                         .seconds_save = 0.4};
    fq_client_row clients[] = {{.client = 7,
                                .n_examples = 60,
                                .n_steps = 2,
                                .loss = 1.5,
                                .drift = 0.1,
                                .bytes_up = 500,
                                .verdict = "accepted"},
                               {.client = 3,
                                .n_examples = 61,
                                .n_steps = 3,
                                .loss = (double)INFINITY,
                                .drift = (double)NAN,
                                .bytes_up = 501,
                                .verdict = "non-finite"}};
    fq_figure     figures[] = {
            {32, 32, "none", 0.8 + r / 1000, 0.6, 0, 32},
            {4, 32, "mse", 0.7 + r / 1000, 0.7, 0.01, 4.002},
            {2, 32, "mse", 0.4 + r / 1000, (double)NAN, 0.2, 2.002},
    };
    fq_tensor_figure tensor = {.name = "conv2d1.weight",
                               .count = 150,
                               .kurtosis = 1.8,
                               .std = 0.1,
                               .low = -0.2,
                               .high = 0.2};
    for (size_t i = 0; i < 64; i++)
        tensor.histogram[i] = i == 63 ? UINT64_MAX : i * round;
    return fq_store_put_round(store, &row, clients, 2, figures, 3, &tensor, 1);
}

static void make_database(const char *path, uint32_t rounds) {
    fq_store  *store;
    fq_run_row run = some_run();
    FQ_ASSERT_OK(fq_store_open(&store, path, 0));
    FQ_ASSERT_OK(fq_store_put_run(store, &run));
    for (uint32_t r = 1; r <= rounds; r++)
        FQ_ASSERT_OK(put_round(store, r));
    FQ_ASSERT_OK(fq_store_close(&store));
}

typedef struct seen {
    size_t           n_rounds, n_figures, n_clients, n_tensors;
    uint32_t         last_round;
    fq_round_row     round;
    fq_figure        figures[8];
    fq_client_row    clients[4];
    fq_tensor_figure tensor;
} seen;

static fq_status see_round(void *context, const fq_round_row *row) {
    seen *s = context;
    CU_ASSERT_TRUE(row->round > s->last_round);
    s->last_round = row->round;
    s->round = *row;
    s->n_rounds++;
    return FQ_OK;
}

static fq_status see_figure(void *context, uint32_t round, const fq_figure *figure) {
    seen *s = context;
    (void)round;
    s->figures[s->n_figures++ % 8] = *figure;
    return FQ_OK;
}

static fq_status see_client(void *context, uint32_t round, const fq_client_row *client) {
    seen *s = context;
    (void)round;
    s->clients[s->n_clients++ % 4] = *client;
    return FQ_OK;
}

static fq_status see_tensor(void *context, uint32_t round, const fq_tensor_figure *tensor) {
    seen *s = context;
    (void)round;
    s->tensor = *tensor;
    s->n_tensors++;
    return FQ_OK;
}

static void read_all(const char *path, seen *out) {
    fq_store *store;
    *out = (seen){0};
    FQ_ASSERT_OK(fq_store_open_read(&store, path));
    FQ_ASSERT_OK(fq_store_each_round(store, see_round, out));
    FQ_ASSERT_OK(fq_store_each_figure(store, see_figure, out));
    FQ_ASSERT_OK(fq_store_each_client(store, see_client, out));
    FQ_ASSERT_OK(fq_store_each_tensor(store, see_tensor, out));
    FQ_ASSERT_OK(fq_store_close(&store));
}

static void same_run(const fq_run_row *a, const fq_run_row *b) {
    CU_ASSERT_STRING_EQUAL(a->name, b->name);
    CU_ASSERT_STRING_EQUAL(a->label, b->label);
    CU_ASSERT_STRING_EQUAL(a->settings_hash, b->settings_hash);
    CU_ASSERT_STRING_EQUAL(a->model, b->model);
    CU_ASSERT_STRING_EQUAL(a->dataset, b->dataset);
    CU_ASSERT_STRING_EQUAL(a->algorithm, b->algorithm);
    CU_ASSERT_STRING_EQUAL(a->robustness, b->robustness);
    CU_ASSERT_EQUAL(a->seed, b->seed);
    CU_ASSERT_EQUAL(a->clients, b->clients);
    CU_ASSERT_EQUAL(a->parameters, b->parameters);
    CU_ASSERT_STRING_EQUAL(a->version, b->version);
    CU_ASSERT_STRING_EQUAL(a->build, b->build);
    CU_ASSERT_STRING_EQUAL(a->machine, b->machine);
    CU_ASSERT_STRING_EQUAL(a->command, b->command);
    CU_ASSERT_STRING_EQUAL(a->started, b->started);
    CU_ASSERT_STRING_EQUAL(a->final_hash, b->final_hash);
    CU_ASSERT_STRING_EQUAL(a->status, b->status);
}

static void test_round_trip(void) {
    const char *path = fq_test_path("trip.db");
    make_database(path, 2);
    fq_store  *store;
    fq_run_row run, expected = some_run();
    FQ_ASSERT_OK(fq_store_open_read(&store, path));
    FQ_ASSERT_OK(fq_store_get_run(store, &run));
    FQ_ASSERT_OK(fq_store_close(&store));
    same_run(&run, &expected);
    seen s;
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 2);
    CU_ASSERT_EQUAL(s.round.round, 2);
    CU_ASSERT_EQUAL(s.round.n_accepted, 9);
    CU_ASSERT_EQUAL(s.round.loss, 1.0);
    CU_ASSERT_EQUAL(s.round.bytes_up_raw, 4000);
    CU_ASSERT_EQUAL(s.round.bytes_down, 7000);
    CU_ASSERT_EQUAL(s.round.seconds_save, 0.4);
    CU_ASSERT_EQUAL(s.n_figures, 6);
    /* Figures come back in the order in which they were put: float first. */
    CU_ASSERT_EQUAL(s.figures[3].weight_bits, 32);
    CU_ASSERT_STRING_EQUAL(s.figures[3].rule, "none");
    CU_ASSERT_EQUAL(s.figures[4].accuracy, 0.7 + 2.0 / 1000);
    CU_ASSERT_EQUAL(s.figures[4].step_bits, 4.002);
    CU_ASSERT_EQUAL(s.n_clients, 4);
    CU_ASSERT_EQUAL(s.clients[2].client, 7);
    CU_ASSERT_EQUAL(s.clients[3].n_steps, 3);
    CU_ASSERT_STRING_EQUAL(s.clients[3].verdict, "non-finite");
    CU_ASSERT_EQUAL(s.n_tensors, 2);
    CU_ASSERT_STRING_EQUAL(s.tensor.name, "conv2d1.weight");
    CU_ASSERT_EQUAL(s.tensor.histogram[62], 124);
    CU_ASSERT_EQUAL(s.tensor.histogram[63], UINT64_MAX);
}

static void test_non_finite(void) {
    const char *path = fq_test_path("diverged.db");
    make_database(path, 1);
    seen s;
    read_all(path, &s);
    CU_ASSERT_TRUE(isnan(s.figures[2].loss));
    CU_ASSERT_TRUE(isnan(s.clients[1].loss));
    CU_ASSERT_TRUE(isnan(s.clients[1].drift));
}

static void test_extreme_integers(void) {
    const char *path = fq_test_path("extreme.db");
    fq_store   *store;
    fq_run_row  run = some_run(), back;
    run.seed = UINT64_MAX;
    memset(run.command, 'x', sizeof run.command - 1);
    FQ_ASSERT_OK(fq_store_open(&store, path, 0));
    FQ_ASSERT_OK(fq_store_put_run(store, &run));
    FQ_ASSERT_OK(fq_store_close(&store));
    FQ_ASSERT_OK(fq_store_open_read(&store, path));
    FQ_ASSERT_OK(fq_store_get_run(store, &back));
    FQ_ASSERT_OK(fq_store_close(&store));
    CU_ASSERT_EQUAL(back.seed, UINT64_MAX);
    CU_ASSERT_STRING_EQUAL(back.command, run.command);
}

static void test_no_files_beside(void) {
    const char *path = fq_test_path("clean.db");
    make_database(path, 3);
    CU_ASSERT_TRUE(fq_file_exists(path));
    CU_ASSERT_FALSE(fq_file_exists(fq_test_path("clean.db-wal")));
    CU_ASSERT_FALSE(fq_file_exists(fq_test_path("clean.db-shm")));
    CU_ASSERT_FALSE(fq_file_exists(fq_test_path("clean.db-journal")));
}

static void test_resume(void) {
    const char *path = fq_test_path("resume.db");
    make_database(path, 9);
    fq_store *store;
    FQ_ASSERT_OK(fq_store_open(&store, path, 6));
    FQ_ASSERT_OK(put_round(store, 7));
    FQ_ASSERT_OK(put_round(store, 7)); /* the same round once more replaces it */
    FQ_ASSERT_OK(fq_store_close(&store));
    seen s;
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 7);
    CU_ASSERT_EQUAL(s.n_figures, 21);
    CU_ASSERT_EQUAL(s.n_clients, 14);
    CU_ASSERT_EQUAL(s.n_tensors, 7);
    /* A checkpoint that is ahead of the database, or missing: nothing is thrown away. */
    FQ_ASSERT_FAILS(fq_store_open(&store, path, 8), FQ_ESTALE, "rounds up to 7");
    FQ_ASSERT_FAILS(fq_store_open(&store, path, 0), FQ_ESTALE, "no checkpoint");
    FQ_ASSERT_FAILS(fq_store_open(&store, fq_test_path("gone.db"), 3), FQ_ESTALE, "missing");
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 7);
    FQ_ASSERT_OK(fq_store_open(&store, path, 1));
    FQ_ASSERT_OK(fq_store_close(&store));
    FQ_ASSERT_OK(fq_store_open(&store, path, 0));
    FQ_ASSERT_OK(fq_store_close(&store));
    FQ_ASSERT_OK(fq_store_open_read(&store, path));
    fq_run_row run;
    FQ_ASSERT_FAILS(fq_store_get_run(store, &run), FQ_EPROTO, "which run");
    FQ_ASSERT_OK(fq_store_close(&store));
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds + s.n_figures + s.n_clients + s.n_tensors, 0);
}

static void test_evaluated_later(void) {
    const char *path = fq_test_path("later.db");
    make_database(path, 2);
    fq_store *store;
    fq_figure figure = {8, 32, "mse", 0.9, 0.3, 0.001, 8.002};
    FQ_ASSERT_OK(fq_store_open(&store, path, 2));
    FQ_ASSERT_OK(fq_store_set_durable(store, true));
    FQ_ASSERT_OK(fq_store_put_evaluation(store, 2, &figure, 1, NULL, 0));
    FQ_ASSERT_FAILS(fq_store_put_evaluation(store, 9, &figure, 1, NULL, 0), FQ_EPROTO, path);
    FQ_ASSERT_OK(fq_store_close(&store));
    seen s;
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 2);
    CU_ASSERT_EQUAL(s.n_figures, 3 + 1);
    CU_ASSERT_EQUAL(s.n_tensors, 1);
    CU_ASSERT_EQUAL(s.n_clients, 4);
}

static void test_reader_beside_writer(void) {
    const char *path = fq_test_path("live.db");
    fq_store   *writer, *reader;
    fq_run_row  run = some_run();
    FQ_ASSERT_OK(fq_store_open(&writer, path, 0));
    FQ_ASSERT_OK(fq_store_put_run(writer, &run));
    FQ_ASSERT_OK(put_round(writer, 1));
    FQ_ASSERT_OK(fq_store_open_read(&reader, path));
    seen s = {0};
    FQ_ASSERT_OK(fq_store_each_round(reader, see_round, &s));
    FQ_ASSERT_OK(put_round(writer, 2));
    FQ_ASSERT_OK(fq_store_each_figure(reader, see_figure, &s));
    CU_ASSERT_EQUAL(s.n_rounds, 1);
    CU_ASSERT_EQUAL(s.n_figures, 3); /* the reader keeps to its instant */
    FQ_ASSERT_OK(fq_store_close(&writer));
    FQ_ASSERT_OK(fq_store_close(&reader));
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 2);
}

/* The process ends in the middle of a run: whole rounds stay, and a next writer finds them. */
static void test_killed_writer(void) {
    const char *path = fq_test_path("killed.db");
    pid_t       child = fork();
    if (child == 0) {
        fq_store  *store;
        fq_run_row run = some_run();
        if (fq_store_open(&store, path, 0) == FQ_OK && fq_store_put_run(store, &run) == FQ_OK &&
            put_round(store, 1) == FQ_OK && put_round(store, 2) == FQ_OK)
            raise(SIGKILL);
        _exit(1);
    }
    int how;
    CU_ASSERT_EQUAL(waitpid(child, &how, 0), child);
    CU_ASSERT_TRUE_FATAL(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    seen s;
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 2);
    fq_store *store;
    FQ_ASSERT_OK(fq_store_open(&store, path, 1));
    FQ_ASSERT_OK(put_round(store, 2));
    FQ_ASSERT_OK(fq_store_close(&store));
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, 2);
}

static void alter(const char *path, const char *sql) {
    sqlite3 *db;
    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void refuses(const char *path, fq_status code, const char *part) {
    fq_store *store;
    FQ_ASSERT_FAILS(fq_store_open(&store, path, 0), code, part);
    CU_ASSERT_PTR_NULL(store);
    CU_ASSERT_TRUE(strstr(fq_status_text(), path) != NULL);
    FQ_ASSERT_FAILS(fq_store_open_read(&store, path), code, part);
    CU_ASSERT_PTR_NULL(store);
}

static void test_strange_files(void) {
    const char *path = fq_test_path("text.db");
    static char text[4096];
    memset(text, 'x', sizeof text);
    fq_test_write(path, text, sizeof text);
    refuses(path, FQ_EPROTO, "not a database");

    path = fq_test_path("foreign.db");
    alter(path, "CREATE TABLE mine (x); PRAGMA application_id = 77");
    refuses(path, FQ_EPROTO, "application id 77");

    path = fq_test_path("newer.db");
    make_database(path, 1);
    alter(path, "PRAGMA user_version = 99");
    refuses(path, FQ_EPROTO, "schema version 99, this program expects 1");

    fq_store *store;
    path = fq_test_path("empty.db");
    fq_test_write(path, "", 0);
    FQ_ASSERT_FAILS(fq_store_open_read(&store, path), FQ_EPROTO, "no tables");
    FQ_ASSERT_FAILS(fq_store_open_read(&store, fq_test_path("nothing.db")), FQ_EIO, "nothing.db");
    FQ_ASSERT_FAILS(fq_store_open(&store, fq_test_path("no/such/folder.db"), 0), FQ_EIO,
                    "No such file");
    FQ_ASSERT_FAILS(fq_store_open(&store, fq_test_folder(), 0), FQ_EIO, fq_test_folder());
}

static void test_strange_rows(void) {
    static const struct {
        const char *sql, *table;
    } cases[] = {
        {"UPDATE tensor SET histogram = '[1,2]'", "tensor"},
        {"UPDATE tensor SET histogram = ''", "tensor"},
        {"UPDATE evaluation SET weight_bits = 99 WHERE weight_bits = 4", "evaluation"},
        {"UPDATE round SET n_asked = -1", "round"},
        {"UPDATE client_update SET n_steps = 5000000000", "client_update"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32];
        snprintf(name, sizeof name, "strange%zu.db", i);
        const char *path = fq_test_path(name);
        make_database(path, 1);
        alter(path, cases[i].sql);
        fq_store *store;
        seen      s = {0};
        FQ_ASSERT_OK(fq_store_open_read(&store, path));
        fq_status status = fq_store_each_round(store, see_round, &s);
        if (status == FQ_OK)
            status = fq_store_each_figure(store, see_figure, &s);
        if (status == FQ_OK)
            status = fq_store_each_client(store, see_client, &s);
        if (status == FQ_OK)
            status = fq_store_each_tensor(store, see_tensor, &s);
        FQ_ASSERT_FAILS(status, FQ_EPROTO, cases[i].table);
        FQ_ASSERT_OK(fq_store_close(&store));
    }
    const char *path = fq_test_path("missing-table.db");
    make_database(path, 1);
    alter(path, "DROP TABLE tensor");
    fq_store *store;
    seen      s = {0};
    FQ_ASSERT_OK(fq_store_open_read(&store, path));
    FQ_ASSERT_FAILS(fq_store_each_tensor(store, see_tensor, &s), FQ_EPROTO, "no such table");
    FQ_ASSERT_OK(fq_store_close(&store));
}

static void test_locked(void) {
    const char *path = fq_test_path("locked.db");
    make_database(path, 1);
    sqlite3 *other;
    CU_ASSERT_EQUAL(sqlite3_open(path, &other), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    fq_store *store;
    FQ_ASSERT_FAILS(fq_store_open(&store, path, 1), FQ_ESTATE, "another process");
    CU_ASSERT_TRUE(strstr(fq_status_text(), path) != NULL);
    sqlite3_close(other);
}

/* A file that may not grow stands for a full disk. The failed round leaves nothing behind. */
static void test_cannot_grow(void) {
    const char *path = fq_test_path("full.db");
    fq_store   *store;
    fq_run_row  run = some_run();
    FQ_ASSERT_OK(fq_store_open(&store, path, 0));
    FQ_ASSERT_OK(fq_store_put_run(store, &run));
    FQ_ASSERT_OK(put_round(store, 1));
    struct stat   info;
    struct rlimit old, small;
    CU_ASSERT_EQUAL(stat(fq_test_path("full.db-wal"), &info), 0);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){(rlim_t)info.st_size + 8192, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    fq_status status = FQ_OK;
    uint32_t  round = 1;
    while (status == FQ_OK && round < 1000)
        status = put_round(store, ++round);
    char text[1024];
    snprintf(text, sizeof text, "%s", fq_status_text());
    setrlimit(RLIMIT_FSIZE, &old);
    CU_ASSERT_EQUAL(status, FQ_EIO);
    CU_ASSERT_TRUE(strstr(text, path) != NULL);
    FQ_ASSERT_OK(put_round(store, round)); /* there is room again */
    FQ_ASSERT_OK(fq_store_close(&store));
    seen s;
    read_all(path, &s);
    CU_ASSERT_EQUAL(s.n_rounds, round);
    CU_ASSERT_EQUAL(s.n_figures, 3 * (size_t)round);
}

static void test_read_only_folder(void) {
    if (geteuid() == 0)
        return; /* root may write anywhere */
    const char *path = fq_test_path("readonly.db");
    make_database(path, 1);
    chmod(path, 0400);
    fq_store *store;
    FQ_ASSERT_FAILS(fq_store_open(&store, path, 1), FQ_EIO, path);
    chmod(fq_test_folder(), 0500);
    seen s;
    read_all(path, &s); /* reading works all the same */
    FQ_ASSERT_FAILS(fq_store_open(&store, fq_test_path("new.db"), 0), FQ_EIO, "new.db");
    chmod(fq_test_folder(), 0700);
    CU_ASSERT_EQUAL(s.n_rounds, 1);
}

static fq_status refuse_second(void *context, const fq_round_row *row) {
    size_t *n = context;
    ++*n;
    return row->round == 2 ? fq_fail(FQ_ELIMIT, "enough") : FQ_OK;
}

static void test_visitor_ends_visit(void) {
    const char *path = fq_test_path("visit.db");
    make_database(path, 5);
    fq_store *store;
    size_t    n = 0;
    FQ_ASSERT_OK(fq_store_open_read(&store, path));
    FQ_ASSERT_FAILS(fq_store_each_round(store, refuse_second, &n), FQ_ELIMIT, "enough");
    CU_ASSERT_EQUAL(n, 2);
    FQ_ASSERT_OK(fq_store_close(&store));
    FQ_ASSERT_OK(fq_store_close(&store)); /* of NULL */
}

/* Every block of SQL in the documentation is a query that gives at least one row. */
static void test_documented_queries(void) {
    const char *path = fq_test_path("documented.db");
    make_database(path, 5);
    fq_store        *store;
    fq_figure        figures[] = {{32, 32, "none", 0.8, 0.6, 0, 32},
                                  {8, 32, "mse", 0.79, 0.6, 0.0001, 8.002},
                                  {4, 32, "mse", 0.7, 0.7, 0.01, 4.002},
                                  {2, 32, "mse", 0.4, 1.2, 0.2, 2.002},
                                  {4, 32, "mse*0.5", 0.6, 0.8, 0.02, 4.002}};
    fq_tensor_figure tensor = {
        .name = "conv2d1.weight", .count = 64, .low = -1, .high = 1, .histogram = {64}};
    FQ_ASSERT_OK(fq_store_open(&store, path, 5));
    FQ_ASSERT_OK(fq_store_put_evaluation(store, 5, figures, 5, &tensor, 1));
    FQ_ASSERT_OK(fq_store_close(&store));
    fq_cbytes file;
    FQ_ASSERT_OK(fq_file_read(FQ_DOCS "/run-database.md", 1 << 20, &file));
    char *text = calloc(1, file.size + 1);
    memcpy(text, file.data, file.size);
    sqlite3 *db;
    CU_ASSERT_EQUAL_FATAL(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    size_t n = 0;
    for (char *at = text; (at = strstr(at, "```sql\n")) != NULL; n++) {
        at += strlen("```sql\n");
        char *end = strstr(at, "```");
        CU_ASSERT_PTR_NOT_NULL_FATAL(end);
        *end = '\0';
        sqlite3_stmt *row = NULL;
        bool          gives = sqlite3_prepare_v2(db, at, -1, &row, NULL) == SQLITE_OK &&
                     sqlite3_step(row) == SQLITE_ROW;
        if (!gives)
            fprintf(stderr, "%s: %s\n", sqlite3_errmsg(db), at);
        CU_ASSERT_TRUE(gives);
        sqlite3_finalize(row);
        at = end + 3;
    }
    CU_ASSERT_TRUE(n >= 4);
    sqlite3_close(db);
    free(text);
    free((void *)file.data);
}

/* Every column of the schema has a line in the documentation. */
static void test_documented_columns(void) {
    const char *path = fq_test_path("columns.db");
    make_database(path, 1);
    fq_cbytes file;
    FQ_ASSERT_OK(fq_file_read(FQ_DOCS "/run-database.md", 1 << 20, &file));
    char *text = calloc(1, file.size + 1);
    memcpy(text, file.data, file.size);
    sqlite3      *db;
    sqlite3_stmt *row = NULL;
    CU_ASSERT_EQUAL_FATAL(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_prepare_v2(db,
                       "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c"
                       " WHERE t.type = 'table' AND c.name <> 'id'",
                       -1, &row, NULL);
    size_t n = 0;
    for (; sqlite3_step(row) == SQLITE_ROW; n++) {
        char heading[64], line[64];
        snprintf(heading, sizeof heading, "## `%s`", (const char *)sqlite3_column_text(row, 0));
        snprintf(line, sizeof line, "| `%s` |", (const char *)sqlite3_column_text(row, 1));
        const char *section = strstr(text, heading);
        const char *found = section != NULL ? strstr(section, line) : NULL;
        const char *next = section != NULL ? strstr(section + 3, "\n## ") : NULL;
        if (found == NULL || (next != NULL && found > next))
            CU_FAIL("a column is not documented");
    }
    CU_ASSERT_TRUE(n > 40);
    sqlite3_finalize(row);
    sqlite3_close(db);
    free(text);
    free((void *)file.data);
}

int main(void) {
    static const fq_case cases[] = {
        {"what is put comes back", test_round_trip},
        {"NaN and infinity come back as NaN", test_non_finite},
        {"integers of 64 bits and long texts", test_extreme_integers},
        {"a closed database is one file", test_no_files_beside},
        {"a resumed run forgets later rounds", test_resume},
        {"a round is evaluated later", test_evaluated_later},
        {"a reader works beside a writer", test_reader_beside_writer},
        {"a killed writer leaves whole rounds", test_killed_writer},
        {"strange files are refused", test_strange_files},
        {"strange rows are refused", test_strange_rows},
        {"a locked database", test_locked},
        {"a file that cannot grow", test_cannot_grow},
        {"a folder that cannot be written", test_read_only_folder},
        {"a failing visitor ends the visit", test_visitor_ends_visit},
        {"the documented queries run", test_documented_queries},
        {"every column is documented", test_documented_columns},
        {NULL, NULL},
    };
    return fq_run_suite("store", cases);
}

#include "store/store.h"

#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    APPLICATION_ID = 0x46514442, /* "FQDB": says in the file's header that it is one of ours */
    SCHEMA_VERSION = 1,
    BUSY_MS = 1000,
    HISTOGRAM_BINS = sizeof((fq_tensor_figure *)NULL)->histogram / sizeof(uint64_t),
    HISTOGRAM_TEXT = HISTOGRAM_BINS * 21 + 3, /* 20 digits and a comma each, brackets, NUL */
};

/* docs/run-database.md says what each column means. */
static const char schema[] =
    "CREATE TABLE run ("
    " id INTEGER PRIMARY KEY CHECK (id = 1),"
    " name TEXT NOT NULL, label TEXT NOT NULL, settings_hash TEXT NOT NULL, model TEXT NOT NULL, "
    "dataset TEXT NOT NULL,"
    " algorithm TEXT NOT NULL, robustness TEXT NOT NULL,"
    " seed INTEGER NOT NULL, clients INTEGER NOT NULL, parameters INTEGER NOT NULL,"
    " version TEXT NOT NULL, build TEXT NOT NULL, machine TEXT NOT NULL, command TEXT NOT NULL,"
    " started TEXT NOT NULL, final_hash TEXT NOT NULL, status TEXT NOT NULL);"
    "CREATE TABLE round ("
    " round INTEGER PRIMARY KEY,"
    " n_asked INTEGER NOT NULL, n_accepted INTEGER NOT NULL, n_refused INTEGER NOT NULL,"
    " loss REAL, drift REAL, update_norm REAL,"
    " bytes_up_raw INTEGER NOT NULL, bytes_up INTEGER NOT NULL,"
    " bytes_down_raw INTEGER NOT NULL, bytes_down INTEGER NOT NULL,"
    " seconds_train REAL, seconds_close REAL, seconds_evaluate REAL, seconds_save REAL);"
    "CREATE TABLE evaluation ("
    " id INTEGER PRIMARY KEY,"
    " round INTEGER NOT NULL REFERENCES round (round) ON DELETE CASCADE,"
    " rule TEXT NOT NULL, weight_bits INTEGER NOT NULL, activation_bits INTEGER NOT NULL,"
    " accuracy REAL, loss REAL, noise REAL, bits_per_weight REAL,"
    " UNIQUE (round, rule, weight_bits, activation_bits));"
    "CREATE TABLE client_update ("
    " id INTEGER PRIMARY KEY,"
    " round INTEGER NOT NULL REFERENCES round (round) ON DELETE CASCADE,"
    " client INTEGER NOT NULL, n_examples INTEGER NOT NULL, n_steps INTEGER NOT NULL,"
    " loss REAL, drift REAL, bytes_up INTEGER NOT NULL, verdict TEXT NOT NULL);"
    "CREATE INDEX client_update_round ON client_update (round, client);"
    "CREATE TABLE tensor ("
    " id INTEGER PRIMARY KEY,"
    " round INTEGER NOT NULL REFERENCES round (round) ON DELETE CASCADE,"
    " name TEXT NOT NULL, count INTEGER NOT NULL,"
    " kurtosis REAL, std REAL, low REAL, high REAL, histogram TEXT NOT NULL,"
    " UNIQUE (round, name));";

typedef enum command {
    BEGIN,
    COMMIT,
    PUT_RUN,
    DELETE_ROUND,
    DELETE_FIGURES,
    DELETE_TENSORS,
    PUT_ROUND,
    PUT_FIGURE,
    PUT_CLIENT,
    PUT_TENSOR,
    N_COMMANDS
} command;

/* Columns in the order in which the put_ functions bind and the get_ functions read them. */
#define RUN_COLUMNS                                                                                \
    "name, label, settings_hash, model, dataset, algorithm, robustness, seed, clients, "           \
    "parameters,"                                                                                  \
    " version, build, machine, command, started, final_hash, status"
#define ROUND_COLUMNS                                                                              \
    "round, n_asked, n_accepted, n_refused, loss, drift, update_norm, bytes_up_raw, bytes_up,"     \
    " bytes_down_raw, bytes_down, seconds_train, seconds_close, seconds_evaluate, seconds_save"
#define FIGURE_COLUMNS                                                                             \
    "round, weight_bits, activation_bits, rule, accuracy, loss, noise, bits_per_weight"
#define CLIENT_COLUMNS "round, client, n_examples, n_steps, loss, drift, bytes_up, verdict"
#define TENSOR_COLUMNS "round, name, count, kurtosis, std, low, high, histogram"

static const char *const statements[N_COMMANDS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [PUT_RUN] = "INSERT OR REPLACE INTO run (id, " RUN_COLUMNS
                ") VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [DELETE_ROUND] = "DELETE FROM round WHERE round = ?",
    [DELETE_FIGURES] = "DELETE FROM evaluation WHERE round = ?",
    [DELETE_TENSORS] = "DELETE FROM tensor WHERE round = ?",
    [PUT_ROUND] = "INSERT INTO round (" ROUND_COLUMNS
                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_FIGURE] = "INSERT INTO evaluation (" FIGURE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_CLIENT] = "INSERT INTO client_update (" CLIENT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [PUT_TENSOR] = "INSERT INTO tensor (" TENSOR_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
};

struct fq_store {
    sqlite3      *db;
    sqlite3_stmt *prepared[N_COMMANDS]; /* NULL in a reader */
    bool          writes;
    char         *path;
};

/* ---- errors ---- */

static fq_status fail(const fq_store *store, const char *doing) {
    int       code = sqlite3_extended_errcode(store->db);
    int       system = sqlite3_system_errno(store->db);
    fq_status status = FQ_EIO;
    switch (code & 0xff) {
    case SQLITE_NOMEM: status = FQ_ENOMEM; break;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_CONSTRAINT:
    case SQLITE_ERROR: /* a table or column is missing */ status = FQ_EPROTO; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return fq_fail(FQ_ESTATE, "%s: cannot %s: another process is using it (%s)", store->path,
                       doing, sqlite3_errmsg(store->db));
    default:
        if (system != 0)
            return fq_fail(FQ_EIO, "%s: cannot %s: %s (%s)", store->path, doing,
                           sqlite3_errmsg(store->db), strerror(system));
    }
    return fq_fail(status, "%s: cannot %s: %s", store->path, doing, sqlite3_errmsg(store->db));
}

static fq_status execute(fq_store *store, const char *sql, const char *doing) {
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? FQ_OK : fail(store, doing);
}

static fq_status get_integer(fq_store *store, const char *sql, int64_t *out) {
    sqlite3_stmt *row = NULL;
    bool          found = sqlite3_prepare_v2(store->db, sql, -1, &row, NULL) == SQLITE_OK &&
                 sqlite3_step(row) == SQLITE_ROW;
    if (found)
        *out = sqlite3_column_int64(row, 0);
    fq_status status = found ? FQ_OK : fail(store, "read");
    sqlite3_finalize(row);
    return status;
}

/* ---- opening and closing ---- */

static fq_status create(fq_store **out, const char *path, int flags) {
    *out = NULL;
    fq_store *store = calloc(1, sizeof *store);
    if (store == NULL || (store->path = strdup(path)) == NULL) {
        free(store);
        return fq_fail(FQ_ENOMEM, "%s: no memory to open it", path);
    }
    *out = store;
    /* One thread per handle, and no names that begin with "file:" as URIs. */
    if (sqlite3_open_v2(path, &store->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return store->db != NULL ? fail(store, "open")
                                 : fq_fail(FQ_ENOMEM, "%s: no memory to open it", path);
    sqlite3_busy_timeout(store->db, BUSY_MS);
    return FQ_OK;
}

static void destroy(fq_store **slot) {
    fq_store *store = *slot;
    if (store == NULL)
        return;
    for (size_t i = 0; i < N_COMMANDS; i++)
        sqlite3_finalize(store->prepared[i]);
    sqlite3_close(store->db);
    free(store->path);
    free(store);
    *slot = NULL;
}

/* Is the file one of ours, of this version? `empty`: it has no tables yet. */
static fq_status check_kind(fq_store *store, bool *empty) {
    int64_t application = 0, version = 0, tables = 0;
    FQ_TRY(get_integer(store, "SELECT count(*) FROM sqlite_schema", &tables));
    FQ_TRY(get_integer(store, "PRAGMA application_id", &application));
    FQ_TRY(get_integer(store, "PRAGMA user_version", &version));
    *empty = tables == 0 && application == 0;
    if (*empty)
        return FQ_OK;
    if (application != APPLICATION_ID)
        return fq_fail(FQ_EPROTO,
                       "%s: is a database, but not one of a run (application id %" PRId64
                       ", expected %d)",
                       store->path, application, APPLICATION_ID);
    if (version != SCHEMA_VERSION)
        return fq_fail(FQ_EPROTO, "%s: has schema version %" PRId64 ", this program expects %d",
                       store->path, version, SCHEMA_VERSION);
    return FQ_OK;
}

static fq_status create_schema(fq_store *store) {
    char identity[96];
    snprintf(identity, sizeof identity, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             APPLICATION_ID, SCHEMA_VERSION);
    FQ_TRY(execute(store, schema, "create the tables"));
    return execute(store, identity, "create the tables");
}

static fq_status prepare(fq_store *store) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (sqlite3_prepare_v3(store->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->prepared[i], NULL) != SQLITE_OK)
            return fail(store, "prepare for writing");
    return FQ_OK;
}

/* Do the rows belong to a checkpoint after round `keep`? A round is written before its checkpoint.
 */
static fq_status check_rounds(fq_store *store, uint32_t keep) {
    int64_t last = 0;
    FQ_TRY(get_integer(store, "SELECT coalesce(max(round), 0) FROM round", &last));
    if (last < (int64_t)keep)
        return fq_fail(FQ_ESTALE,
                       "%s: has rounds up to %" PRId64
                       ", but the checkpoint beside it is of round %" PRIu32
                       "; put the database of that run back, or begin again",
                       store->path, last, keep);
    if (keep == 0 && last > 1)
        return fq_fail(
            FQ_ESTALE,
            "%s: has rounds up to %" PRId64
            ", but there is no checkpoint beside it to go on from; put it back, or begin again",
            store->path, last);
    return FQ_OK;
}

fq_status fq_store_set_durable(fq_store *store, bool durable) {
    return execute(store, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
                   "write");
}

static fq_status set_up(fq_store *store, uint32_t keep_rounds) {
    bool empty;
    FQ_TRY(check_kind(store, &empty));
    if (empty && keep_rounds > 0)
        return fq_fail(FQ_ESTALE,
                       "%s: is missing or empty, but the checkpoint beside it is of round %" PRIu32
                       "; put the database of that run back, or begin again",
                       store->path, keep_rounds);
    if (!empty)
        FQ_TRY(check_rounds(store, keep_rounds));
    /* With a log of its own, a reader never waits for the writer. */
    FQ_TRY(execute(store, "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON", "write"));
    FQ_TRY(fq_store_set_durable(store, false));
    FQ_TRY(execute(store, "BEGIN IMMEDIATE", "write"));
    if (empty)
        FQ_TRY(create_schema(store));
    char forget[96];
    snprintf(forget, sizeof forget, "DELETE FROM round WHERE round > %" PRIu32, keep_rounds);
    FQ_TRY(execute(store, forget, "delete rows"));
    if (keep_rounds == 0)
        FQ_TRY(execute(store, "DELETE FROM run", "delete rows"));
    FQ_TRY(execute(store, "COMMIT", "write"));
    return prepare(store);
}

fq_status fq_store_open(fq_store **out, const char *path, uint32_t keep_rounds) {
    fq_status status = create(out, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (status == FQ_OK) {
        (*out)->writes = true;
        status = set_up(*out, keep_rounds);
    }
    if (status != FQ_OK)
        destroy(out);
    return status;
}

fq_status fq_store_open_read(fq_store **out, const char *path) {
    *out = NULL;
    if (!fq_file_exists(path))
        return fq_fail(FQ_EIO, "%s: there is no run database here", path);
    fq_status status = create(out, path, SQLITE_OPEN_READONLY);
    bool      empty = false;
    /* One transaction from here to close: all that is read belongs to one instant. */
    if (status == FQ_OK)
        status = execute(*out, "BEGIN", "read");
    if (status == FQ_OK)
        status = check_kind(*out, &empty);
    if (status == FQ_OK && empty)
        status = fq_fail(FQ_EPROTO, "%s: has no tables, expected the database of a run", path);
    if (status != FQ_OK)
        destroy(out);
    return status;
}

fq_status fq_store_close(fq_store **slot) {
    fq_store *store = *slot;
    if (store == NULL)
        return FQ_OK;
    fq_status status = FQ_OK;
    if (store->writes) {
        /* Leave one file that can be copied, and read from a folder that cannot be written. A
         * reader who is still there keeps the log alive until the next writer; that is no failure.
         */
        for (size_t i = 0; i < N_COMMANDS; i++) {
            sqlite3_finalize(store->prepared[i]);
            store->prepared[i] = NULL;
        }
        sqlite3_busy_timeout(store->db, 0);
        int64_t ignored;
        status = get_integer(store, "PRAGMA wal_checkpoint(TRUNCATE)", &ignored);
        if (status == FQ_OK &&
            sqlite3_exec(store->db, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) !=
                SQLITE_OK &&
            (sqlite3_errcode(store->db) & 0xff) != SQLITE_BUSY)
            status = fail(store, "close");
    }
    destroy(slot);
    return status;
}

/* ---- writing ---- */

/* Binds one value after the other; NaN and infinity become NULL. */
typedef struct binder {
    sqlite3_stmt *statement;
    int           next;
} binder;

static binder bind(fq_store *store, command which) {
    return (binder){store->prepared[which], 1};
}

static void put_u64(binder *to, uint64_t value) {
    sqlite3_bind_int64(to->statement, to->next++, (int64_t)value);
}

static void put_int(binder *to, int value) {
    sqlite3_bind_int(to->statement, to->next++, value);
}

static void put_real(binder *to, double value) {
    if (isfinite(value))
        sqlite3_bind_double(to->statement, to->next++, value);
    else
        sqlite3_bind_null(to->statement, to->next++);
}

static void put_text(binder *to, const char *text) {
    sqlite3_bind_text(to->statement, to->next++, text, -1, SQLITE_STATIC);
}

/* Runs a statement that gives no rows. Failures of the binds show here, as a NULL where none may
 * be. */
static fq_status run(fq_store *store, command which) {
    sqlite3_stmt *statement = store->prepared[which];
    fq_status     status = sqlite3_step(statement) == SQLITE_DONE ? FQ_OK : fail(store, "write");
    sqlite3_reset(statement);
    return status;
}

fq_status fq_store_put_run(fq_store *store, const fq_run_row *row) {
    assert(store->writes);
    binder to = bind(store, PUT_RUN);
    put_text(&to, row->name);
    put_text(&to, row->label);
    put_text(&to, row->settings_hash);
    put_text(&to, row->model);
    put_text(&to, row->dataset);
    put_text(&to, row->algorithm);
    put_text(&to, row->robustness);
    put_u64(&to, row->seed);
    put_u64(&to, row->clients);
    put_u64(&to, row->parameters);
    put_text(&to, row->version);
    put_text(&to, row->build);
    put_text(&to, row->machine);
    put_text(&to, row->command);
    put_text(&to, row->started);
    put_text(&to, row->final_hash);
    put_text(&to, row->status);
    return run(store, PUT_RUN);
}

static fq_status delete_of_round(fq_store *store, command which, uint32_t round) {
    binder to = bind(store, which);
    put_u64(&to, round);
    return run(store, which);
}

static fq_status put_round(fq_store *store, const fq_round_row *row) {
    FQ_TRY(delete_of_round(store, DELETE_ROUND, row->round));
    binder to = bind(store, PUT_ROUND);
    put_u64(&to, row->round);
    put_u64(&to, row->n_asked);
    put_u64(&to, row->n_accepted);
    put_u64(&to, row->n_refused);
    put_real(&to, row->loss);
    put_real(&to, row->drift);
    put_real(&to, row->update_norm);
    put_u64(&to, row->bytes_up_raw);
    put_u64(&to, row->bytes_up);
    put_u64(&to, row->bytes_down_raw);
    put_u64(&to, row->bytes_down);
    put_real(&to, row->seconds_train);
    put_real(&to, row->seconds_close);
    put_real(&to, row->seconds_evaluate);
    put_real(&to, row->seconds_save);
    return run(store, PUT_ROUND);
}

static fq_status put_figure(fq_store *store, uint32_t round, const fq_figure *row) {
    binder to = bind(store, PUT_FIGURE);
    put_u64(&to, round);
    put_int(&to, row->weight_bits);
    put_int(&to, row->activation_bits);
    put_text(&to, row->rule);
    put_real(&to, row->accuracy);
    put_real(&to, row->loss);
    put_real(&to, row->noise);
    put_real(&to, row->step_bits);
    return run(store, PUT_FIGURE);
}

static fq_status put_client(fq_store *store, uint32_t round, const fq_client_row *row) {
    binder to = bind(store, PUT_CLIENT);
    put_u64(&to, round);
    put_u64(&to, row->client);
    put_u64(&to, row->n_examples);
    put_u64(&to, row->n_steps);
    put_real(&to, row->loss);
    put_real(&to, row->drift);
    put_u64(&to, row->bytes_up);
    put_text(&to, row->verdict);
    return run(store, PUT_CLIENT);
}

static fq_status put_tensor(fq_store *store, uint32_t round, const fq_tensor_figure *row) {
    char   histogram[HISTOGRAM_TEXT] = "[";
    size_t at = 1;
    for (size_t i = 0; i < HISTOGRAM_BINS; i++)
        at += (size_t)snprintf(histogram + at, sizeof histogram - at, "%s%" PRIu64,
                               i == 0 ? "" : ",", row->histogram[i]);
    snprintf(histogram + at, sizeof histogram - at, "]");
    binder to = bind(store, PUT_TENSOR);
    put_u64(&to, round);
    put_text(&to, row->name);
    put_u64(&to, row->count);
    put_real(&to, row->kurtosis);
    put_real(&to, row->std);
    put_real(&to, row->low);
    put_real(&to, row->high);
    put_text(&to, histogram);
    return run(store, PUT_TENSOR);
}

static fq_status put_evaluation(fq_store *store, uint32_t round, const fq_figure *figures,
                                size_t n_figures, const fq_tensor_figure *tensors,
                                size_t n_tensors) {
    for (size_t i = 0; i < n_figures; i++)
        FQ_TRY(put_figure(store, round, &figures[i]));
    for (size_t i = 0; i < n_tensors; i++)
        FQ_TRY(put_tensor(store, round, &tensors[i]));
    return FQ_OK;
}

/* A failed statement may have ended the transaction by itself; then the rollback does nothing. */
static fq_status end_transaction(fq_store *store, fq_status status) {
    if (status == FQ_OK)
        status = run(store, COMMIT);
    if (status != FQ_OK)
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

fq_status fq_store_put_evaluation(fq_store *store, uint32_t round, const fq_figure *figures,
                                  size_t n_figures, const fq_tensor_figure *tensors,
                                  size_t n_tensors) {
    assert(store->writes);
    FQ_TRY(run(store, BEGIN));
    fq_status status = delete_of_round(store, DELETE_FIGURES, round);
    if (status == FQ_OK)
        status = delete_of_round(store, DELETE_TENSORS, round);
    if (status == FQ_OK)
        status = put_evaluation(store, round, figures, n_figures, tensors, n_tensors);
    return end_transaction(store, status);
}

fq_status fq_store_put_round(fq_store *store, const fq_round_row *round,
                             const fq_client_row *clients, size_t n_clients,
                             const fq_figure *figures, size_t n_figures,
                             const fq_tensor_figure *tensors, size_t n_tensors) {
    assert(store->writes);
    FQ_TRY(run(store, BEGIN));
    fq_status status = put_round(store, round);
    for (size_t i = 0; status == FQ_OK && i < n_clients; i++)
        status = put_client(store, round->round, &clients[i]);
    if (status == FQ_OK)
        status = put_evaluation(store, round->round, figures, n_figures, tensors, n_tensors);
    return end_transaction(store, status);
}

/* ---- reading ---- */

/* Reads one column after the other. Text that is too long is cut, a number out of its type's range
 * marks the row as `bad`: the file may come from anywhere. */
typedef struct columns {
    sqlite3_stmt *row;
    int           next;
    bool          bad;
} columns;

static uint64_t get_u64(columns *from) {
    return (uint64_t)sqlite3_column_int64(from->row, from->next++);
}

static uint32_t get_u32(columns *from) {
    int64_t value = sqlite3_column_int64(from->row, from->next++);
    if (value < 0 || value > UINT32_MAX)
        from->bad = true;
    return (uint32_t)value;
}

static int get_bits(columns *from) {
    int64_t value = sqlite3_column_int64(from->row, from->next++);
    if (value < 1 || value > 32)
        from->bad = true;
    return (int)value;
}

static double get_real(columns *from) {
    int at = from->next++;
    return sqlite3_column_type(from->row, at) == SQLITE_NULL ? (double)NAN
                                                             : sqlite3_column_double(from->row, at);
}

static void get_text(columns *from, char *out, size_t capacity) {
    const unsigned char *text = sqlite3_column_text(from->row, from->next++);
    snprintf(out, capacity, "%s", text != NULL ? (const char *)text : "");
}

static void get_histogram(columns *from, uint64_t bins[HISTOGRAM_BINS]) {
    const unsigned char *column = sqlite3_column_text(from->row, from->next++);
    const char          *at = column != NULL ? (const char *)column : "";
    for (size_t i = 0; i < HISTOGRAM_BINS; i++) {
        char *end = NULL;
        bins[i] = 0;
        if (*at != (i == 0 ? '[' : ',') || at[1] < '0' || at[1] > '9') {
            from->bad = true;
            return;
        }
        bins[i] = strtoull(at + 1, &end, 10);
        at = end;
    }
    if (strcmp(at, "]") != 0)
        from->bad = true;
}

typedef fq_status row_reader(columns *from, void *visit, void *context);

static fq_status each(fq_store *store, const char *sql, row_reader *read, void *visit,
                      void *context) {
    sqlite3_stmt *row = NULL;
    if (sqlite3_prepare_v2(store->db, sql, -1, &row, NULL) != SQLITE_OK)
        return fail(store, "read");
    fq_status status = FQ_OK;
    int       step;
    while ((step = sqlite3_step(row)) == SQLITE_ROW) {
        columns from = {row, 0, false};
        FQ_GO(status, read(&from, visit, context));
    }
    if (step != SQLITE_DONE)
        status = fail(store, "read");
done:
    sqlite3_finalize(row);
    return status;
}

static fq_status bad_row(const char *table, uint32_t round) {
    return fq_fail(FQ_EPROTO,
                   "the run database has a row of table %s at round %" PRIu32
                   " with a value out of its range",
                   table, round);
}

static fq_status read_run(columns *from, void *visit, void *context) {
    (void)visit;
    fq_run_row *row = context;
    get_text(from, row->name, sizeof row->name);
    get_text(from, row->label, sizeof row->label);
    get_text(from, row->settings_hash, sizeof row->settings_hash);
    get_text(from, row->model, sizeof row->model);
    get_text(from, row->dataset, sizeof row->dataset);
    get_text(from, row->algorithm, sizeof row->algorithm);
    get_text(from, row->robustness, sizeof row->robustness);
    row->seed = get_u64(from);
    row->clients = get_u64(from);
    row->parameters = get_u64(from);
    get_text(from, row->version, sizeof row->version);
    get_text(from, row->build, sizeof row->build);
    get_text(from, row->machine, sizeof row->machine);
    get_text(from, row->command, sizeof row->command);
    get_text(from, row->started, sizeof row->started);
    get_text(from, row->final_hash, sizeof row->final_hash);
    get_text(from, row->status, sizeof row->status);
    return FQ_OK;
}

fq_status fq_store_get_run(fq_store *store, fq_run_row *out) {
    *out = (fq_run_row){0};
    FQ_TRY(each(store, "SELECT " RUN_COLUMNS " FROM run", read_run, NULL, out));
    if (out->status[0] == '\0')
        return fq_fail(FQ_EPROTO, "%s: does not say which run it belongs to", store->path);
    return FQ_OK;
}

/* A visitor travels through `each` as the address of the caller's function pointer: the standard
 * does not let a function pointer become a void pointer. */
static fq_status read_round(columns *from, void *visit, void *context) {
    fq_round_row row;
    row.round = get_u32(from);
    row.n_asked = get_u32(from);
    row.n_accepted = get_u32(from);
    row.n_refused = get_u32(from);
    row.loss = get_real(from);
    row.drift = get_real(from);
    row.update_norm = get_real(from);
    row.bytes_up_raw = get_u64(from);
    row.bytes_up = get_u64(from);
    row.bytes_down_raw = get_u64(from);
    row.bytes_down = get_u64(from);
    row.seconds_train = get_real(from);
    row.seconds_close = get_real(from);
    row.seconds_evaluate = get_real(from);
    row.seconds_save = get_real(from);
    return from->bad ? bad_row("round", row.round) : (*(fq_round_visit **)visit)(context, &row);
}

fq_status fq_store_each_round(fq_store *store, fq_round_visit *visit, void *context) {
    return each(store, "SELECT " ROUND_COLUMNS " FROM round ORDER BY round", read_round, &visit,
                context);
}

static fq_status read_figure(columns *from, void *visit, void *context) {
    fq_figure row;
    uint32_t  round = get_u32(from);
    row.weight_bits = get_bits(from);
    row.activation_bits = get_bits(from);
    get_text(from, row.rule, sizeof row.rule);
    row.accuracy = get_real(from);
    row.loss = get_real(from);
    row.noise = get_real(from);
    row.step_bits = get_real(from);
    return from->bad ? bad_row("evaluation", round)
                     : (*(fq_figure_visit **)visit)(context, round, &row);
}

fq_status fq_store_each_figure(fq_store *store, fq_figure_visit *visit, void *context) {
    return each(store, "SELECT " FIGURE_COLUMNS " FROM evaluation ORDER BY round, id", read_figure,
                &visit, context);
}

static fq_status read_tensor(columns *from, void *visit, void *context) {
    fq_tensor_figure row;
    uint32_t         round = get_u32(from);
    get_text(from, row.name, sizeof row.name);
    row.count = get_u64(from);
    row.kurtosis = get_real(from);
    row.std = get_real(from);
    row.low = get_real(from);
    row.high = get_real(from);
    get_histogram(from, row.histogram);
    return from->bad ? bad_row("tensor", round)
                     : (*(fq_tensor_visit **)visit)(context, round, &row);
}

fq_status fq_store_each_tensor(fq_store *store, fq_tensor_visit *visit, void *context) {
    return each(store, "SELECT " TENSOR_COLUMNS " FROM tensor ORDER BY round, id", read_tensor,
                &visit, context);
}

static fq_status read_client(columns *from, void *visit, void *context) {
    fq_client_row row;
    uint32_t      round = get_u32(from);
    row.client = get_u64(from);
    row.n_examples = get_u64(from);
    row.n_steps = get_u32(from);
    row.loss = get_real(from);
    row.drift = get_real(from);
    row.bytes_up = get_u64(from);
    get_text(from, row.verdict, sizeof row.verdict);
    return from->bad ? bad_row("client_update", round)
                     : (*(fq_client_visit **)visit)(context, round, &row);
}

fq_status fq_store_each_client(fq_store *store, fq_client_visit *visit, void *context) {
    return each(store, "SELECT " CLIENT_COLUMNS " FROM client_update ORDER BY round, id",
                read_client, &visit, context);
}

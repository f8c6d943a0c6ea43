/* run.db: what happened in a run, in SQLite. The only user of SQLite.
 *
 * One row per fact; schema and units in docs/run-database.md. All of a round's rows are written in
 * one transaction, so a run killed at any moment leaves whole rounds.
 */
#ifndef FQ_STORE_STORE_H
#define FQ_STORE_STORE_H

#include "base/status.h"
#include "eval/evaluate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fq_store fq_store;

typedef struct fq_run_row {
    char name[256],
        label[96]; /* label: which variant of a sweep this is; "" if there is no sweep */
    char     settings_hash[65], model[64], dataset[64], algorithm[32], robustness[128];
    uint64_t seed, clients, parameters;
    char     version[32], build[128], machine[256], command[512],
        started[32];     /* started: UTC, ISO 8601 */
    char final_hash[65]; /* of model.fq; "" until the run ends */
    char status[16];     /* running, finished, stopped, interrupted, failed */
} fq_run_row;

typedef struct fq_round_row {
    uint32_t round; /* 1 is the first */
    uint32_t n_asked, n_accepted, n_refused;
    double   loss;      /* clients' mean training loss, weighted by examples */
    double   drift;     /* mean 2-norm of the clients' deltas */
    double update_norm; /* 2-norm of the change of the global weights; NaN: too few updates, no step
                           was taken */
    uint64_t bytes_up_raw, bytes_up, bytes_down_raw,
        bytes_down; /* raw: as float32; the others: encoded messages */
    double seconds_train, seconds_close, seconds_evaluate, seconds_save;
} fq_round_row;

typedef struct fq_client_row {
    uint64_t client;
    uint64_t n_examples;
    uint32_t n_steps;
    double   loss, drift;
    uint64_t bytes_up;
    char     verdict[16]; /* accepted, or fq_status_name() of the refusal */
} fq_client_row;

/* NaN and infinity (the loss of a run that diverged) are stored as NULL and read as NaN.
 *
 * Open for writing (made if not there). `keep_rounds`: how far the checkpoint goes. Rows of later
 * rounds are deleted, so that a resumed run writes them again; 0 begins afresh. FQ_ESTALE: database
 * and checkpoint do not belong together, because it lacks rounds that are to be kept, or would lose
 * more than the one round that can come before the first checkpoint; it is left as it is.
 * FQ_EPROTO: a file that is not ours, or of another version of the schema, which is left as it is;
 * FQ_EIO; FQ_ESTATE: another process holds it. Texts name the path. */
FQ_MUST_CHECK fq_status fq_store_open(fq_store **out, const char *path, uint32_t keep_rounds);
/* Also of NULL. Leaves one file, without -wal and -shm beside it (unless a reader has it open). */
FQ_MUST_CHECK fq_status fq_store_close(fq_store **store);
FQ_MUST_CHECK fq_status fq_store_put_run(fq_store         *store,
                                         const fq_run_row *run); /* inserts or replaces */
/* From now on each transaction survives a power cut, with all before it; otherwise only the end of
 * the process. */
FQ_MUST_CHECK fq_status fq_store_set_durable(fq_store *store, bool durable);
/* One transaction; replaces a round that is there. figures and tensors may be empty (a round that
 * was not evaluated). */
FQ_MUST_CHECK fq_status fq_store_put_round(fq_store *store, const fq_round_row *round,
                                           const fq_client_row *clients, size_t n_clients,
                                           const fq_figure *figures, size_t n_figures,
                                           const fq_tensor_figure *tensors, size_t n_tensors);

/* One transaction; replaces the figures and tensors of a round that is there. */
FQ_MUST_CHECK fq_status fq_store_put_evaluation(fq_store *store, uint32_t round,
                                                const fq_figure *figures, size_t n_figures,
                                                const fq_tensor_figure *tensors, size_t n_tensors);

/* ---- reading, for reports ----
 * A reader works while a run writes, and sees the state of one instant: open it anew to see later
 * rounds. Rows come by round, then in the order in which they were put. A visitor that fails ends
 * the visit. */
FQ_MUST_CHECK fq_status fq_store_open_read(fq_store  **out,
                                           const char *path); /* FQ_EIO / FQ_EPROTO */
FQ_MUST_CHECK fq_status fq_store_get_run(fq_store *store, fq_run_row *out);
typedef fq_status       fq_round_visit(void *context, const fq_round_row *row);
typedef fq_status       fq_figure_visit(void *context, uint32_t round, const fq_figure *figure);
typedef fq_status fq_tensor_visit(void *context, uint32_t round, const fq_tensor_figure *tensor);
typedef fq_status fq_client_visit(void *context, uint32_t round, const fq_client_row *client);
FQ_MUST_CHECK fq_status fq_store_each_round(fq_store *store, fq_round_visit *visit, void *context);
FQ_MUST_CHECK fq_status fq_store_each_figure(fq_store *store, fq_figure_visit *visit,
                                             void *context);
FQ_MUST_CHECK fq_status fq_store_each_tensor(fq_store *store, fq_tensor_visit *visit,
                                             void *context);
FQ_MUST_CHECK fq_status fq_store_each_client(fq_store *store, fq_client_visit *visit,
                                             void *context);

#endif

/* A run on disk: its folder, with settings.yaml, run.db, checkpoint.fq, the clients' states and
 * model.fq; what is evaluated and when it stops. The simulator and the coordinator keep their runs
 * with this, so that both leave the same files.
 *
 *     fq_run_open(&run, &experiment, &setup, &options);   new, or where it stopped
 *     while (!fq_run_over(run)) {
 *         ... fq_round_open, fq_round_accept on fq_run_server(run) ...
 *         fq_run_close_round(run, &row, rows, n, &summary);
 *     }
 *     fq_run_finish(run, &result);
 *     fq_run_close(&run, status);
 */
#ifndef FQ_RUN_RUN_H
#define FQ_RUN_RUN_H

#include "base/pool.h"
#include "experiment/experiment.h"
#include "store/client_states.h"
#include "store/store.h"

typedef enum fq_existing {
    FQ_EXISTING_REFUSE, /* a folder that already holds a run is an error */
    FQ_EXISTING_RESUME, /* go on where it stopped; a folder without a run begins one */
    FQ_EXISTING_REPLACE,
} fq_existing;

typedef struct fq_run_options {
    const char *folder;
    fq_existing existing;
    fq_pool    *pool;     /* for evaluation and for combining updates */
    const char *command;  /* as typed, for the record */
    const char *label;    /* of the run in its sweep, or "" */
    const char *hint;     /* how to resume or replace, for the error of an existing run */
    size_t client_values; /* that each client keeps from round to round, in the folder; 0: none, or
                             clients keep their own */
    bool durable; /* every checkpoint survives a power cut; otherwise at most a second is lost */
} fq_run_options;

typedef struct fq_run_result {
    uint32_t  rounds;
    uint32_t  n_unapplied; /* rounds with fewer updates than aggregate.min_clients */
    bool      stopped_early;
    char      hash[FQ_HASH_TEXT]; /* SHA-256 of model.fq */
    size_t    n_figures;
    fq_figure figures[FQ_MAX_FIGURES]; /* of the last evaluation */
} fq_run_result;

typedef struct fq_run fq_run;

/* FQ_ESTATE if the folder holds a run, with what to do about it (`hint`). */
FQ_MUST_CHECK fq_status fq_run_check_folder(const char *folder, const char *hint);

/* Locks the folder (one process at a time), opens or makes the files, restores the checkpoint.
 * `experiment` and `setup` are borrowed and completed. */
FQ_MUST_CHECK fq_status fq_run_open(fq_run **out, fq_experiment *experiment, const fq_setup *setup,
                                    const fq_run_options *options);
fq_server              *fq_run_server(fq_run *run);
fq_client_states       *fq_run_states(fq_run *run);     /* NULL without options.client_values */
bool                    fq_run_over(const fq_run *run); /* all rounds done, or stopped early */

/* Close the open round: combine, evaluate if it is due, store, save. The caller has filled in what
 * only it knows of the row (n_asked, bytes_up, bytes_up_raw, bytes_down, bytes_down_raw,
 * seconds_train); the rest is filled in here. A failure to write leaves the round closed in memory
 * and not on disk: fq_run_save may be called again when there is room. */
FQ_MUST_CHECK fq_status fq_run_close_round(fq_run *run, fq_round_row *row,
                                           const fq_client_row *rows, size_t n,
                                           fq_round_summary *summary);
/* Store and save the last closed round again, after fq_run_close_round failed with FQ_EIO. */
FQ_MUST_CHECK fq_status fq_run_save(fq_run *run);
/* Of the last evaluation in this process; 0: none yet. */
size_t fq_run_figures(const fq_run *run, const fq_figure **figures);

/* Write the final model and say so in the database. */
FQ_MUST_CHECK fq_status fq_run_finish(fq_run *run, fq_run_result *result);
/* `status`: how the run ended here (FQ_OK after finish; FQ_ESTATE: interrupted), for the database.
 * Returns the first failure, its text kept. Also of NULL. */
fq_status fq_run_close(fq_run **run, fq_status status);

#endif

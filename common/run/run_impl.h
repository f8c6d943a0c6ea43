/* What the files of this folder share. */
#ifndef FQ_RUN_RUN_IMPL_H
#define FQ_RUN_RUN_IMPL_H

#include "run/run.h"

#include <limits.h>

struct fq_run {
    fq_experiment    *experiment;
    const fq_setup   *setup;
    fq_run_options    options;
    char              folder[PATH_MAX];
    fq_server        *server;
    fq_evaluator     *evaluator;
    fq_store         *store;
    fq_client_states *states; /* NULL: none here */
    int               lock;   /* descriptor of the folder */
    fq_run_row        record;
    /* the last closed round */
    fq_round_row         row;
    const fq_client_row *rows; /* [n_rows] the caller's */
    size_t               n_rows;
    bool                 due; /* it was evaluated */
    double               saved;
    fq_figure            figures[FQ_MAX_FIGURES];
    size_t               n_figures;
    fq_tensor_figure    *tensors; /* [n_tensors] */
    size_t               n_tensors;
    /* early stopping */
    double  best;
    int64_t stale; /* evaluations since `best` */
    bool    stopped;
    double  last_sync;
    bool    synced; /* the last checkpoint is durable */
};

/* ---- run_folder.c ---- */
void      fq_run_path(const fq_run *run, const char *name, char out[PATH_MAX]);
fq_status fq_run_take_folder(fq_run *run);
fq_status fq_run_write_settings(const fq_run *run);
/* FQ_ESTALE, with the first setting that differs from those of the run in the folder. */
fq_status fq_run_explain_settings(const fq_run *run);

/* ---- run_record.c ---- */
void fq_run_describe(fq_run *run);

#endif

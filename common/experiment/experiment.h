/* An experiment: everything that its settings file says, checked and typed. The same file drives a
 * simulation and a coordinator.
 */
#ifndef FQ_EXPERIMENT_EXPERIMENT_H
#define FQ_EXPERIMENT_EXPERIMENT_H

#include "base/hash.h"
#include "data/dataset.h"
#include "eval/evaluate.h"
#include "round/round.h"

/* The sections as written; see the key tables in experiment.c for what each means. */
typedef struct fq_head_section {
    char    name[FQ_TEXT_BYTES];
    int64_t seed;
} fq_head_section;

typedef struct fq_train_section {
    char     algorithm[FQ_TEXT_BYTES];
    fq_words robustness;
    int64_t  rounds, clients_per_round, epochs, batch, max_steps;
    double   rate, rate_decay, momentum, weight_decay, clip_norm;
    bool     nesterov;
} fq_train_section;

typedef struct fq_aggregate_section {
    char    method[FQ_TEXT_BYTES];
    int     weights; /* index into "examples", "equal" */
    int64_t min_clients, max_examples;
    double  max_value;
} fq_aggregate_section;

typedef struct fq_coding_section {
    char    quantizer[FQ_TEXT_BYTES];
    int64_t bits, block;
    int     entropy; /* index into "none", "zstd" */
    bool    error_feedback;
} fq_coding_section;

typedef enum fq_stop_metric {
    FQ_STOP_NEVER,
    FQ_STOP_WORST,
    FQ_STOP_MEAN,
    FQ_STOP_AREA,
    FQ_STOP_FLOAT
} fq_stop_metric;

typedef struct fq_stop_section {
    int     metric;   /* fq_stop_metric */
    int64_t patience; /* evaluations without a better value */
    double  min_gain; /* what counts as better, share of right answers */
} fq_stop_section;

/* Where keys stand that only the data can prove wrong, for the errors of fq_setup_create. */
enum { FQ_PLACE_BYTES = 128, FQ_MAX_PLACES = 32 };
typedef struct fq_places {
    size_t n;
    struct {
        char key[64], text[FQ_PLACE_BYTES]; /* "data.clients", "a.yaml:3" */
    } of[FQ_MAX_PLACES];
    char file[FQ_PLACE_BYTES], model[FQ_PLACE_BYTES], layers[FQ_MAX_LAYERS][FQ_PLACE_BYTES];
} fq_places;

typedef struct fq_experiment {
    fq_head_section      head;
    fq_data_settings     data;
    char                 model[FQ_TEXT_BYTES]; /* name in the zoo; "" if the layers are given */
    fq_network           network; /* input and n_classes are filled in by fq_setup_create */
    fq_train_section     train;
    fq_aggregate_section aggregate;
    fq_coding_section    upload, download;
    fq_eval_settings     evaluate;
    fq_stop_section      stop;
    /* what follows from the sections */
    fq_recipe          recipe;
    fq_server_settings server;
    /* Of the resolved settings that determine the weights after a round: of all but name,
     * train.rounds, evaluate and stop. A run can be resumed with other values of those. */
    char      hash[FQ_HASH_TEXT];
    fq_places places;
} fq_experiment;

/* Check a whole document and fill in the experiment. Errors name file, line, key, value, and what
 * is allowed. */
FQ_MUST_CHECK fq_status fq_experiment_load(const fq_document *document, fq_experiment *out);
/* The resolved settings as YAML: every key, defaults included. Loading them gives an equal
 * experiment. */
FQ_MUST_CHECK fq_status fq_experiment_write(const fq_experiment *experiment, fq_buffer *yaml);
/* docs/settings.md. */
void fq_experiment_document(fq_buffer *markdown);

/* ---- sweeps ---- */
enum { FQ_MAX_RUNS = 1024, FQ_LABEL_BYTES = 96 };
/* One run of a sweep: a label for people and folders ("mqat", "alpha=0.1_kure"), and its document.
 */
typedef struct fq_sweep_run {
    char         label[FQ_LABEL_BYTES];
    fq_document *document;
} fq_sweep_run;
typedef struct fq_sweep {
    size_t        n;
    fq_sweep_run *runs;
} fq_sweep;
/* The product of the lists under `sweep:` (and of its `variants`, each a named set of settings). A
 * document without a sweep gives one run with an empty label. */
FQ_MUST_CHECK fq_status fq_sweep_expand(const fq_document *document, fq_sweep *out);
void                    fq_sweep_fini(fq_sweep *sweep);

/* ---- set-up: data, partition and model of an experiment ---- */
typedef struct fq_setup {
    fq_dataset   *dataset;
    fq_partition *partition; /* NULL: a coordinator's data with a test part only */
    fq_model     *model;
    size_t        max_examples; /* of one client */
} fq_setup;
/* Opens the data, divides it, builds the model, and completes experiment->network and ->server.
 * FQ_EINVAL: the settings do not fit the data; the text says file, line and key. */
FQ_MUST_CHECK fq_status fq_setup_create(fq_experiment *experiment, fq_setup *out);
/* The model alone, for examples of this shape: what a client needs that has data of its own. */
FQ_MUST_CHECK fq_status fq_setup_model(fq_experiment *experiment, fq_shape input,
                                       uint32_t n_classes, fq_model **out);
void                    fq_setup_fini(fq_setup *setup); /* also of a zeroed struct */

#endif

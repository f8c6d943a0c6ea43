/* What round.c and checkpoint.c share. */
#ifndef FQ_ROUND_ROUND_IMPL_H
#define FQ_ROUND_ROUND_IMPL_H

#include "round/round.h"

#include <pthread.h>

/* What has been accepted so far, under the mutex. */
typedef struct fq_tally {
    size_t   n_accepted, n_refused;
    uint64_t weight, max_weight;
    uint64_t weight_of[FQ_MAX_PARTS]; /* of the clients that hold each part and none larger */
} fq_tally;

typedef struct fq_answer {
    bool     accepted;
    uint64_t examples;
    double   loss, drift, first_loss;
} fq_answer;

struct fq_server {
    const fq_model           *model;
    const fq_recipe          *recipe;
    const fq_server_settings *settings;
    uint64_t                  seed;
    uint32_t                  round;
    size_t                    size, n_vectors; /* P; server vectors */
    uint8_t *first_part;      /* [P] first part that holds each value (protocol/plan.h), or NULL */
    float   *w;               /* [P] */
    float   *vectors;         /* [n_server * P] */
    fq_level_history history; /* if the upload's levels adapt */
    /* the open round */
    fq_levels       levels;
    bool            open;
    uint64_t       *cohort;  /* [settings->cohort] ascending */
    fq_answer      *answers; /* [settings->cohort] */
    uint64_t       *sizes;   /* [settings->cohort] scratch of fq_round_size_clients */
    size_t          n_cohort;
    int             shift;
    int64_t        *sums[FQ_MAX_VECTORS]; /* [P] each; [0] is NULL if the aggregator keeps */
    float         **kept;                 /* [settings->cohort] of [P], if the aggregator keeps */
    float          *sent; /* [(1 + n_down) * P] weights and server vectors as clients decode them */
    fq_blocks       upload_blocks, download_blocks;
    fq_arena        download_arena;
    fq_packed       download[1 + FQ_MAX_VECTORS];
    pthread_mutex_t mutex;
    fq_tally        tally;
    /* scratch */
    size_t    workers;
    fq_arena *arenas;               /* [workers] */
    float   **decoded;              /* [workers] of [n_up * P], or of [cohort] if that is more */
    float    *mean, *extra, *old_w; /* [P] */
    float    *old_vectors;
};

#endif

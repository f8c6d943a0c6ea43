/* A federation on paper: clients with quadratic losses, and whole rounds through an algorithm's
 * hooks. Value RIG_DIMS of the vectors is a statistic. */
#ifndef FQ_TESTS_ALGO_RIG_H
#define FQ_TESTS_ALGO_RIG_H

#include "algo/algo_impl.h"

enum { RIG_DIMS = 2, RIG_SIZE = RIG_DIMS + 1, RIG_CLIENTS = 3 };

/* Client k has the loss sum over i of curvature[k][i] / 2 (x_i - minimum[k][i])^2. */
typedef struct rig {
    const fq_algorithm *algorithm;
    const void         *config;
    size_t              n_clients;
    uint32_t            n_steps[RIG_CLIENTS], max_steps;
    double              rate;
    double              curvature[RIG_CLIENTS][RIG_DIMS], minimum[RIG_CLIENTS][RIG_DIMS];
    /* What the coding makes of a vector, in place; NULL: it loses nothing. */
    void (*code)(float x[RIG_SIZE]);
    bool  error_feedback; /* as a client of train/client_turn.h keeps it */
    float w[RIG_SIZE], server[RIG_SIZE];
    float client[RIG_CLIENTS][RIG_SIZE], owed[RIG_CLIENTS][RIG_SIZE];
    float delta[RIG_CLIENTS][RIG_SIZE], sent[RIG_CLIENTS][RIG_SIZE]; /* first vector, last round */
} rig;

/* One round of the clients `from` to `to` - 1. */
void rig_round(rig *r, size_t from, size_t to);

#endif

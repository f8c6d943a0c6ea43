/* A variant of federated averaging: what a client does to its gradient and what the server does
 * with the mean. One file and one row of algorithm_table.c each.
 *
 * All vectors are the model's flat vector [P] (model/model.h); SGD's part is its first n_trainable
 * values.
 */
#ifndef FQ_ALGO_ALGORITHM_H
#define FQ_ALGO_ALGORITHM_H

#include "base/config.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fq_algo_client {
    const void  *config;
    size_t       size, n_trainable;
    const float *global;         /* [P] weights that the round began with */
    const float *server_vectors; /* [n_down * P] sent with the plan (SCAFFOLD: c) */
    float *client_vectors; /* [n_client * P] kept by the client across rounds (SCAFFOLD: c_k), or
                              NULL */
    double   rate;         /* of this round */
    uint32_t max_steps;    /* that a client may take in a round; 0: no common bound */
    uint32_t n_steps;      /* taken, in client_finish and client_sent */
} fq_algo_client;

typedef struct fq_algo_server {
    const void  *config;
    size_t       size, n_trainable;
    uint32_t     round;     /* from 0 */
    double       share;     /* participants / all clients */
    double       rate;      /* the clients' in this round */
    uint32_t     max_steps; /* as the clients have it */
    float       *vectors;   /* [n_server * P] zero at the start, part of the checkpoint */
    const float *mean;      /* [P] weighted mean of the deltas */
    const float *extra;     /* [P] PLAIN mean of the second vectors; NULL if n_up is 1 */
    float       *w;         /* [P] */
} fq_algo_server;

typedef struct fq_algorithm {
    const char   *name, *summary, *source;
    const fq_key *keys; /* of the settings under train.<name>; NULL: none */
    size_t        config_size;
    size_t        n_up;   /* vectors in an update: 1, or 2 */
    size_t        n_down; /* server vectors that clients get: the first so many of n_server */
    size_t        n_server, n_client;
    bool plain_steps; /* valid only if a local step is w -= rate * grad: settings with momentum are
                         refused */
    bool plain_mean;  /* valid only if `mean` is the plain mean of what the clients sent: example
                         weights and other aggregators are refused */
    bool bounded_steps; /* needs max_steps */
    bool own_feedback;  /* codes what is missing of an earlier message already: error feedback on
                           top of it is refused */
    /* After backward and regularizers, before clipping and momentum: change grad [n_trainable].
     * NULL: no. */
    void (*client_grad)(const fq_algo_client *client, const float *w, float *grad);
    /* delta [P] = w_local - w_global is ready. Change it into what is to be coded, and write the
     * second vector `extra` [P], if there is one. NULL: delta is coded as it is. */
    void (*client_finish)(const fq_algo_client *client, float *delta, float *extra);
    /* sent [n_up] of [P]: what the server will decode of each coded vector. Move the client's
     * persistent vectors by it and by nothing else, so that both sides move alike however coarse
     * the coding is. They count from the server's acceptance on. NULL: n_client is 0. */
    void (*client_sent)(const fq_algo_client *client, const float *const *sent);
    /* Statistics and ranges (past n_trainable) always move by the plain mean: server_step sees to
     * it by calling fq_server_apply_statistics. */
    void (*server_step)(const fq_algo_server *server);
} fq_algorithm;

/* fedavg fedprox scaffold fedcomgate ef21 fedavgm fedadagrad fedadam fedyogi */
extern const fq_algorithm *const fq_algorithms[];                     /* NULL-terminated */
const fq_algorithm              *fq_algorithm_find(const char *name); /* NULL if unknown */

/* w[i] += mean[i] for i >= n_trainable. */
void fq_server_apply_statistics(const fq_algo_server *server);

#endif

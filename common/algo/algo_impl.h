/* What the algorithms share: their settings, the rows of the table, and the plain server step. */
#ifndef FQ_ALGO_ALGO_IMPL_H
#define FQ_ALGO_ALGO_IMPL_H

#include "algo/algorithm.h"

typedef struct fq_fedavg_config {
    double server_rate;
} fq_fedavg_config;

typedef struct fq_fedprox_config {
    double mu, server_rate;
} fq_fedprox_config;

typedef struct fq_scaffold_config {
    double server_rate;
} fq_scaffold_config;

typedef struct fq_fedcomgate_config {
    double server_rate;
} fq_fedcomgate_config;

typedef struct fq_ef21_config {
    double server_rate;
} fq_ef21_config;

typedef struct fq_fedavgm_config {
    double server_rate, momentum;
} fq_fedavgm_config;

typedef struct fq_adaptive_config {
    double server_rate, beta1, beta2, tau;
} fq_adaptive_config;

/* The row of `server_rate` in a table of keys. */
#define FQ_SERVER_RATE_KEY(config, fallback)                                                       \
    {                                                                                              \
        "server_rate", FQ_TYPE_REAL, offsetof(config, server_rate), fallback, 1e-6, 1e6, NULL,     \
            "Factor of the server's step along the mean of the updates."                           \
    }

/* w[i] += rate * mean[i] for i < n_trainable, then the statistics. */
void fq_server_apply_mean(const fq_algo_server *server, double rate);

extern const fq_algorithm fq_algorithm_fedavg, fq_algorithm_fedprox, fq_algorithm_scaffold,
    fq_algorithm_fedcomgate, fq_algorithm_ef21, fq_algorithm_fedavgm, fq_algorithm_fedadagrad,
    fq_algorithm_fedadam, fq_algorithm_fedyogi;

#endif

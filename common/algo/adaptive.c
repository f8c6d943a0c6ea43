/* Adaptive server optimizers (Reddi et al. 2021, arXiv 2003.00295, algorithm 2). With d =
 * mean(delta):
 *
 *   m <- beta1 m + (1 - beta1) d
 *   FedAdagrad   v <- v + d^2
 *   FedAdam      v <- beta2 v + (1 - beta2) d^2
 *   FedYogi      v <- v - (1 - beta2) d^2 sign(v - d^2)
 *   w <- w + server_rate m / (sqrt(v) + tau)
 *
 * v begins at tau^2; no bias correction, as in the paper. Server vectors: m and v - tau^2, which
 * are zero at the start and need no mark of it.
 */
#include "algo/algo_impl.h"

#include <math.h>

/* clang-format off */
#define ADAPTIVE_KEYS                                                                              \
    FQ_SERVER_RATE_KEY(fq_adaptive_config, "0.1"),                                                 \
    {"beta1", FQ_TYPE_REAL, offsetof(fq_adaptive_config, beta1), "0.9", 0.0, 0.9999, NULL,         \
     "Decay of the mean of the updates."},                                                         \
    {"tau", FQ_TYPE_REAL, offsetof(fq_adaptive_config, tau), "0.001", 1e-12, 1e6, NULL,            \
     "Size of update, in weight units, below which steps stop adapting."}

static const fq_key adagrad_keys[] = {ADAPTIVE_KEYS, {.name = NULL}};
static const fq_key decaying_keys[] = {
    ADAPTIVE_KEYS,
    {"beta2", FQ_TYPE_REAL, offsetof(fq_adaptive_config, beta2), "0.99", 0.0, 0.999999, NULL,
     "Decay of the mean of the squared updates."},
    {.name = NULL},
};
/* clang-format on */

typedef double second_moment(const fq_adaptive_config *config, double v, double d);

static double adagrad(const fq_adaptive_config *config, double v, double d) {
    (void)config;
    return v + d * d;
}

static double adam(const fq_adaptive_config *config, double v, double d) {
    return config->beta2 * v + (1.0 - config->beta2) * d * d;
}

static double yogi(const fq_adaptive_config *config, double v, double d) {
    double excess = v - d * d, sign = (double)((excess > 0.0) - (excess < 0.0));
    return v - (1.0 - config->beta2) * d * d * sign;
}

static void step(const fq_algo_server *server, second_moment *next_v) {
    const fq_adaptive_config *config = server->config;
    const double              beta1 = config->beta1, tau = config->tau;
    float                    *m = server->vectors, *v_excess = server->vectors + server->size;
    for (size_t i = 0; i < server->n_trainable; i++) {
        const double d = (double)server->mean[i];
        m[i] = (float)(beta1 * (double)m[i] + (1.0 - beta1) * d);
        const double v = fmax(next_v(config, tau * tau + (double)v_excess[i], d), 0.0);
        v_excess[i] = (float)(v - tau * tau);
        const double move = config->server_rate * (double)m[i] / (sqrt(v) + tau);
        server->w[i] = (float)((double)server->w[i] + move);
    }
    fq_server_apply_statistics(server);
}

static void adagrad_step(const fq_algo_server *server) {
    step(server, adagrad);
}

static void adam_step(const fq_algo_server *server) {
    step(server, adam);
}

static void yogi_step(const fq_algo_server *server) {
    step(server, yogi);
}

static const char source[] = "Reddi et al. 2021, arXiv 2003.00295";

const fq_algorithm fq_algorithm_fedadagrad = {
    .name = "fedadagrad",
    .summary = "server steps divided by the root of the summed squares of all updates",
    .source = source,
    .keys = adagrad_keys,
    .config_size = sizeof(fq_adaptive_config),
    .n_up = 1,
    .n_server = 2,
    .server_step = adagrad_step,
};

const fq_algorithm fq_algorithm_fedadam = {
    .name = "fedadam",
    .summary = "server steps divided by the root of the mean square of recent updates",
    .source = source,
    .keys = decaying_keys,
    .config_size = sizeof(fq_adaptive_config),
    .n_up = 1,
    .n_server = 2,
    .server_step = adam_step,
};

const fq_algorithm fq_algorithm_fedyogi = {
    .name = "fedyogi",
    .summary = "like fedadam, with a mean square that falls slowly",
    .source = source,
    .keys = decaying_keys,
    .config_size = sizeof(fq_adaptive_config),
    .n_up = 1,
    .n_server = 2,
    .server_step = yogi_step,
};

/* FedProx (Li et al. 2020, arXiv 1812.06127): the local loss gets + mu/2 |w - w_global|^2, which
 * holds clients with unlike data near the global weights. The server is federated averaging's. */
#include "algo/algo_impl.h"

static const fq_key keys[] = {
    {"mu", FQ_TYPE_REAL, offsetof(fq_fedprox_config, mu), "0.01", 0.0, 1e6, NULL,
     "Pull of the local weights towards the global ones; 0 is federated averaging."},
    FQ_SERVER_RATE_KEY(fq_fedprox_config, "1"),
    {.name = NULL},
};

static void client_grad(const fq_algo_client *client, const float *w, float *grad) {
    const fq_fedprox_config *config = client->config;
    const float              mu = (float)config->mu;
    /* grad <- grad + mu (w - w_global) */
    for (size_t i = 0; i < client->n_trainable; i++)
        grad[i] += mu * (w[i] - client->global[i]);
}

static void server_step(const fq_algo_server *server) {
    const fq_fedprox_config *config = server->config;
    fq_server_apply_mean(server, config->server_rate);
}

const fq_algorithm fq_algorithm_fedprox = {
    .name = "fedprox",
    .summary = "a penalty on the distance to the global weights",
    .source = "Li et al. 2020, arXiv 1812.06127",
    .keys = keys,
    .config_size = sizeof(fq_fedprox_config),
    .n_up = 1,
    .client_grad = client_grad,
    .server_step = server_step,
};

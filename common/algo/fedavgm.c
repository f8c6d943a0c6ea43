/* FedAvgM (Hsu et al. 2019, arXiv 1909.06335): momentum on the server.
 * v <- momentum v + mean(delta);  w <- w + server_rate v */
#include "algo/algo_impl.h"

static const fq_key keys[] = {
    FQ_SERVER_RATE_KEY(fq_fedavgm_config, "1"),
    {"momentum", FQ_TYPE_REAL, offsetof(fq_fedavgm_config, momentum), "0.9", 0.0, 0.9999, NULL,
     "Share of the last step that the server keeps; 0 is federated averaging."},
    {.name = NULL},
};

static void server_step(const fq_algo_server *server) {
    const fq_fedavgm_config *config = server->config;
    float                   *v = server->vectors;
    for (size_t i = 0; i < server->n_trainable; i++) {
        v[i] = (float)(config->momentum * (double)v[i] + (double)server->mean[i]);
        server->w[i] = (float)((double)server->w[i] + config->server_rate * (double)v[i]);
    }
    fq_server_apply_statistics(server);
}

const fq_algorithm fq_algorithm_fedavgm = {
    .name = "fedavgm",
    .summary = "federated averaging with momentum on the server",
    .source = "Hsu et al. 2019, arXiv 1909.06335",
    .keys = keys,
    .config_size = sizeof(fq_fedavgm_config),
    .n_up = 1,
    .n_server = 1,
    .server_step = server_step,
};

/* Federated averaging (McMahan et al. 2017, arXiv 1602.05629): w <- w + server_rate * mean(delta).
 */
#include "algo/algo_impl.h"

static const fq_key keys[] = {
    FQ_SERVER_RATE_KEY(fq_fedavg_config, "1"),
    {.name = NULL},
};

static void server_step(const fq_algo_server *server) {
    const fq_fedavg_config *config = server->config;
    fq_server_apply_mean(server, config->server_rate);
}

const fq_algorithm fq_algorithm_fedavg = {
    .name = "fedavg",
    .summary = "the server adds the mean of the clients' updates",
    .source = "McMahan et al. 2017, arXiv 1602.05629",
    .keys = keys,
    .config_size = sizeof(fq_fedavg_config),
    .n_up = 1,
    .server_step = server_step,
};

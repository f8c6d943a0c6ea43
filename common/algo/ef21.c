/* EF21 (Richtarik et al. 2021, arXiv 2106.05203), with updates in the place of gradients: a client
 * codes only what its update adds to what it has sent before, so that even a biased and very coarse
 * coding loses nothing in the end.
 *
 *   client   c_k = C(delta_k - h_k),  h_k <- h_k + c_k
 *   server   g   <- g + share mean(c_k),  w <- w + server_rate g
 *
 * g is the mean of h_k over all clients, those included that are not in the round: they keep their
 * h_k, so the mean of c_k counts by the share of participants. Hence plain_mean.
 */
#include "algo/algo_impl.h"

static const fq_key keys[] = {
    FQ_SERVER_RATE_KEY(fq_ef21_config, "1"),
    {.name = NULL},
};

static void client_finish(const fq_algo_client *client, float *delta, float *extra) {
    (void)extra;
    const float *h = client->client_vectors;
    for (size_t i = 0; i < client->n_trainable; i++)
        delta[i] -= h[i];
}

static void client_sent(const fq_algo_client *client, const float *const *sent) {
    float *h = client->client_vectors;
    for (size_t i = 0; i < client->n_trainable; i++)
        h[i] += sent[0][i];
}

static void server_step(const fq_algo_server *server) {
    const fq_ef21_config *config = server->config;
    float                *g = server->vectors;
    for (size_t i = 0; i < server->n_trainable; i++) {
        g[i] = (float)((double)g[i] + server->share * (double)server->mean[i]);
        server->w[i] = (float)((double)server->w[i] + config->server_rate * (double)g[i]);
    }
    fq_server_apply_statistics(server);
}

const fq_algorithm fq_algorithm_ef21 = {
    .name = "ef21",
    .summary = "clients code the change of their update; for coarse uploads, clients keep a state",
    .source = "Richtarik et al. 2021, arXiv 2106.05203",
    .keys = keys,
    .config_size = sizeof(fq_ef21_config),
    .n_up = 1,
    .n_server = 1,
    .n_client = 1,
    .plain_mean = true,
    .own_feedback = true,
    .client_finish = client_finish,
    .client_sent = client_sent,
    .server_step = server_step,
};

/* SCAFFOLD, option II (Karimireddy et al. 2020, arXiv 1910.06378): control variates take the
 * clients' drift out of their steps.
 *
 *   client step   w   <- w - rate (g - c_k + c)
 *   client end    c_k+ = c_k - c + (w_global - w) / (K rate),  sends c_k+ - c_k
 *   server        w   <- w + server_rate mean(delta),  c <- c + share mean(c_k+ - c_k)
 *
 * c_k+ is the mean gradient along the way only if each of the K steps moves by rate times the
 * gradient: hence plain_steps.
 */
#include "algo/algo_impl.h"

#include <string.h>

static const fq_key keys[] = {
    FQ_SERVER_RATE_KEY(fq_scaffold_config, "1"),
    {.name = NULL},
};

static void client_grad(const fq_algo_client *client, const float *w, float *grad) {
    (void)w;
    const float *c = client->server_vectors, *c_k = client->client_vectors;
    for (size_t i = 0; i < client->n_trainable; i++)
        grad[i] += c[i] - c_k[i];
}

static void client_finish(const fq_algo_client *client, float *delta, float *extra) {
    memset(extra, 0, client->size * sizeof *extra);
    const double way = (double)client->n_steps * client->rate;
    if (!(way > 0.0))
        return; /* no step taken: nothing new is known of the client's gradient */
    const float *c = client->server_vectors;
    /* extra = c_k+ - c_k = -c - delta / (K rate) */
    for (size_t i = 0; i < client->n_trainable; i++)
        extra[i] = (float)(-(double)c[i] - (double)delta[i] / way);
}

static void client_sent(const fq_algo_client *client, const float *const *sent) {
    float *c_k = client->client_vectors;
    for (size_t i = 0; i < client->n_trainable; i++)
        c_k[i] += sent[1][i];
}

static void server_step(const fq_algo_server *server) {
    const fq_scaffold_config *config = server->config;
    float                    *c = server->vectors;
    for (size_t i = 0; i < server->n_trainable; i++)
        c[i] = (float)((double)c[i] + server->share * (double)server->extra[i]);
    fq_server_apply_mean(server, config->server_rate);
}

const fq_algorithm fq_algorithm_scaffold = {
    .name = "scaffold",
    .summary = "control variates correct the clients' drift; twice the bytes, clients keep a state",
    .source = "Karimireddy et al. 2020, arXiv 1910.06378, option II",
    .keys = keys,
    .config_size = sizeof(fq_scaffold_config),
    .n_up = 2,
    .n_down = 1,
    .n_server = 1,
    .n_client = 1,
    .plain_steps = true,
    .client_grad = client_grad,
    .client_finish = client_finish,
    .client_sent = client_sent,
    .server_step = server_step,
};

/* FedCOMGATE (Haddadpour et al. 2021, arXiv 2007.01154): coded updates and gradient tracking, which
 * takes the clients' drift out of their steps. With D_k = -delta_k / rate, the sum of a client's
 * local gradients, as the server decodes it, and tau local steps:
 *
 *   client step   w   <- w - rate (g - h_k)
 *   server        w   <- w + server_rate mean(delta_k)
 *   all clients   h_k <- h_k + (D_k - mean(D_k)) / tau
 *
 * h_k = a_k - a, where the client keeps a_k and the server sends a:
 *
 *   a_k <- a_k + D_k / tau,   a <- a + share mean(D_k) / tau
 *
 * With everybody in the round that is the paper's h_k. Otherwise a stays the mean of all a_k, so
 * the h_k add up to zero, and a client that comes back needs nothing of the rounds that it missed.
 * tau is max_steps, the same for all. A client with K < tau steps has a shorter D_k, and its h_k
 * goes the share K / tau of the way: the point at which all rest, D_k = 0 and h_k = g_k, stays.
 */
#include "algo/algo_impl.h"

static const fq_key keys[] = {
    FQ_SERVER_RATE_KEY(fq_fedcomgate_config, "1"),
    {.name = NULL},
};

/* x -= factor y / (rate tau); nothing if a vanishing rate or a missing tau would divide by zero. */
static void track(double rate, uint32_t tau, double factor, const float *y, size_t n, float *x) {
    const double way = rate * (double)tau;
    if (!(way > 0.0))
        return;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] - factor * (double)y[i] / way);
}

static void client_grad(const fq_algo_client *client, const float *w, float *grad) {
    (void)w;
    const float *a = client->server_vectors, *a_k = client->client_vectors;
    for (size_t i = 0; i < client->n_trainable; i++)
        grad[i] -= a_k[i] - a[i];
}

static void client_sent(const fq_algo_client *client, const float *const *sent) {
    track(client->rate, client->max_steps, 1.0, sent[0], client->n_trainable,
          client->client_vectors);
}

static void server_step(const fq_algo_server *server) {
    const fq_fedcomgate_config *config = server->config;
    track(server->rate, server->max_steps, server->share, server->mean, server->n_trainable,
          server->vectors);
    fq_server_apply_mean(server, config->server_rate);
}

const fq_algorithm fq_algorithm_fedcomgate = {
    .name = "fedcomgate",
    .summary = "gradient tracking from coded updates: scaffold's correction at fedavg's bytes up",
    .source = "Haddadpour et al. 2021, arXiv 2007.01154",
    .keys = keys,
    .config_size = sizeof(fq_fedcomgate_config),
    .n_up = 1,
    .n_down = 1,
    .n_server = 1,
    .n_client = 1,
    .plain_steps = true,
    .plain_mean = true,
    .bounded_steps = true,
    .client_grad = client_grad,
    .client_sent = client_sent,
    .server_step = server_step,
};

#include "algo_rig.h"

#include <string.h>

static void take_turn(rig *r, size_t k, float sent[2][RIG_SIZE]) {
    fq_algo_client      client = {.config = r->config,
                                  .size = RIG_SIZE,
                                  .n_trainable = RIG_DIMS,
                                  .global = r->w,
                                  .server_vectors = r->server,
                                  .client_vectors = r->client[k],
                                  .rate = r->rate,
                                  .max_steps = r->max_steps,
                                  .n_steps = r->n_steps[k]};
    const fq_algorithm *algorithm = r->algorithm;
    float               w[RIG_SIZE];
    memcpy(w, r->w, sizeof w);
    for (uint32_t s = 0; s < r->n_steps[k]; s++) {
        float grad[RIG_DIMS];
        for (size_t i = 0; i < RIG_DIMS; i++)
            grad[i] = (float)(r->curvature[k][i] * ((double)w[i] - r->minimum[k][i]));
        if (algorithm->client_grad != NULL)
            algorithm->client_grad(&client, w, grad);
        for (size_t i = 0; i < RIG_DIMS; i++)
            w[i] -= (float)r->rate * grad[i];
    }
    memset(sent, 0, 2 * sizeof *sent);
    for (size_t i = 0; i < RIG_SIZE; i++)
        r->delta[k][i] = sent[0][i] = w[i] - r->w[i];
    if (algorithm->client_finish != NULL)
        algorithm->client_finish(&client, sent[0], sent[1]);
    for (size_t i = 0; r->error_feedback && i < RIG_SIZE; i++)
        r->owed[k][i] = sent[0][i] += r->owed[k][i];
    for (size_t v = 0; r->code != NULL && v < algorithm->n_up; v++)
        r->code(sent[v]);
    for (size_t i = 0; r->error_feedback && i < RIG_SIZE; i++)
        r->owed[k][i] -= sent[0][i];
    memcpy(r->sent[k], sent[0], sizeof r->sent[k]);
    const float *const vectors[2] = {sent[0], sent[1]};
    if (algorithm->client_sent != NULL)
        algorithm->client_sent(&client, vectors);
}

void rig_round(rig *r, size_t from, size_t to) {
    float mean[2][RIG_SIZE] = {{0}};
    for (size_t k = from; k < to; k++) {
        float sent[2][RIG_SIZE];
        take_turn(r, k, sent);
        for (size_t v = 0; v < 2; v++)
            for (size_t i = 0; i < RIG_SIZE; i++)
                mean[v][i] += sent[v][i] / (float)(to - from);
    }
    const fq_algo_server server = {.config = r->config,
                                   .size = RIG_SIZE,
                                   .n_trainable = RIG_DIMS,
                                   .share = (double)(to - from) / (double)r->n_clients,
                                   .rate = r->rate,
                                   .max_steps = r->max_steps,
                                   .vectors = r->server,
                                   .mean = mean[0],
                                   .extra = r->algorithm->n_up > 1 ? mean[1] : NULL,
                                   .w = r->w};
    r->algorithm->server_step(&server);
}

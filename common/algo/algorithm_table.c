#include "algo/algo_impl.h"

#include <string.h>

const fq_algorithm *const fq_algorithms[] = {
    &fq_algorithm_fedavg,     &fq_algorithm_fedprox,
    &fq_algorithm_scaffold,   &fq_algorithm_fedcomgate,
    &fq_algorithm_ef21,       &fq_algorithm_fedavgm,
    &fq_algorithm_fedadagrad, &fq_algorithm_fedadam,
    &fq_algorithm_fedyogi,    NULL,
};

const fq_algorithm *fq_algorithm_find(const char *name) {
    for (const fq_algorithm *const *row = fq_algorithms; *row != NULL; row++)
        if (strcmp((*row)->name, name) == 0)
            return *row;
    return NULL;
}

void fq_server_apply_statistics(const fq_algo_server *server) {
    for (size_t i = server->n_trainable; i < server->size; i++)
        server->w[i] += server->mean[i];
}

void fq_server_apply_mean(const fq_algo_server *server, double rate) {
    /* In double, so that a rate of 1 gives the rounded sum itself. */
    for (size_t i = 0; i < server->n_trainable; i++)
        server->w[i] = (float)((double)server->w[i] + rate * (double)server->mean[i]);
    fq_server_apply_statistics(server);
}

#include <inttypes.h>

#include "experiment/experiment.h"

fq_status fq_setup_create(fq_experiment *e, fq_setup *out) {
    *out = (fq_setup){0};
    uint64_t  seed = (uint64_t)e->head.seed, clients;
    fq_status status;
    FQ_GO(status, fq_dataset_open(&e->data, seed, &out->dataset));
    FQ_GO(status, fq_partition_create(&out->partition, out->dataset, &e->data, seed));
    if (e->model[0] != '\0') {
        FQ_GO(status, fq_zoo_build(e->model, fq_dataset_shape(out->dataset), fq_dataset_classes(out->dataset),
                                   &e->network));
    } else {
        e->network.input = fq_dataset_shape(out->dataset);
        e->network.n_classes = fq_dataset_classes(out->dataset);
    }
    status = fq_recipe_model(&e->recipe, &e->network, &out->model);
    if (status != FQ_OK) {
        fq_add_context("model");
        goto done;
    }
    clients = fq_partition_clients(out->partition);
    if ((uint64_t)e->train.clients_per_round > clients)
        FQ_GO(status, fq_fail(FQ_EINVAL, "train.clients_per_round: %lld of the %" PRIu64 " clients of %s is impossible",
                              (long long)e->train.clients_per_round, clients, fq_dataset_name(out->dataset)));
    out->max_examples = fq_partition_largest(out->partition);
    if (out->max_examples > e->server.limits.max_examples)
        FQ_GO(status, fq_fail(FQ_EINVAL, "aggregate.max_examples: a client has %zu examples; %" PRIu64 " are allowed",
                              out->max_examples, e->server.limits.max_examples));
    e->server.clients = clients;
done:
    if (status != FQ_OK)
        fq_setup_fini(out);
    return status;
}

void fq_setup_fini(fq_setup *setup) {
    fq_model_destroy(&setup->model);
    fq_partition_destroy(&setup->partition);
    fq_dataset_close(&setup->dataset);
}

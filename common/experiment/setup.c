#include "experiment/experiment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Put before the failure's text where the first key stands that it names; the file, if the key has
 * its default. */
static void add_place(const fq_places *places) {
    const char *place = places->file, *first = NULL;
    size_t      longest = 0;
    for (size_t i = 0; i < places->n; i++) {
        const char *at = strstr(fq_status_text(), places->of[i].key);
        size_t      length = strlen(places->of[i].key);
        if (at != NULL && (first == NULL || at < first || (at == first && length > longest))) {
            first = at;
            longest = length;
            place = places->of[i].text;
        }
    }
    fq_add_context("%s", place);
}

/* "layer 3 (dense1): ..." of a model becomes "a.yaml:9: model[2] (dense1): ..." if the settings
 * list the layers. */
static fq_status fail_model(const fq_experiment *e) {
    const fq_places  *places = &e->places;
    static const char begin[] = "layer ";
    const char       *text = fq_status_text();
    char             *rest = NULL;
    unsigned long     layer = 0;
    if (strncmp(text, begin, sizeof begin - 1) == 0)
        layer = strtoul(text + sizeof begin - 1, &rest, 10);
    if (e->model[0] == '\0' && layer >= 1 && layer <= e->network.n_layers &&
        strncmp(rest, " (", 2) == 0)
        return fq_fail(FQ_EINVAL, "%s: model[%lu]%s", places->layers[layer - 1], layer - 1, rest);
    fq_add_context("%s: model", places->model);
    return FQ_EINVAL;
}

/* The examples to train on are the devices', so there is nothing to divide. */
static fq_status count_devices(fq_experiment *e, const fq_dataset *set) {
    e->server.clients = (uint64_t)e->data.clients;
    if (e->data.clients == 0)
        return fq_fail(FQ_EINVAL,
                       "data.clients: 0 is every user of the training part, which %s does not have "
                       "here; expected how many devices there can be",
                       fq_dataset_name(set));
    return FQ_OK;
}

static fq_status open_data(fq_experiment *e, fq_setup *out) {
    uint64_t seed = (uint64_t)e->head.seed;
    FQ_TRY(fq_dataset_open(&e->data, seed, &out->dataset));
    if (!fq_dataset_can_train(out->dataset))
        return count_devices(e, out->dataset);
    FQ_TRY(fq_partition_create(&out->partition, out->dataset, &e->data, seed));
    uint64_t clients = fq_partition_clients(out->partition);
    if ((uint64_t)e->train.clients_per_round > clients)
        return fq_fail(
            FQ_EINVAL,
            "train.clients_per_round: %lld of the %" PRIu64 " clients of %s is impossible",
            (long long)e->train.clients_per_round, clients, fq_dataset_name(out->dataset));
    out->max_examples = fq_partition_largest(out->partition);
    if (out->max_examples > e->server.limits.max_examples)
        return fq_fail(FQ_EINVAL,
                       "aggregate.max_examples: a client has %zu examples; %" PRIu64 " are allowed",
                       out->max_examples, e->server.limits.max_examples);
    e->server.clients = clients;
    return FQ_OK;
}

fq_status fq_setup_model(fq_experiment *e, fq_shape input, uint32_t n_classes, fq_model **out) {
    fq_status status = FQ_OK;
    e->network.input = input;
    e->network.n_classes = n_classes;
    if (e->model[0] != '\0')
        status = fq_zoo_build(e->model, input, n_classes, &e->network);
    if (status == FQ_OK)
        status = fq_recipe_model(&e->recipe, &e->network, out);
    return status == FQ_EINVAL || status == FQ_ELIMIT ? fail_model(e) : status;
}

fq_status fq_setup_create(fq_experiment *e, fq_setup *out) {
    *out = (fq_setup){0};
    fq_status status = open_data(e, out);
    if (status == FQ_EINVAL)
        add_place(&e->places);
    if (status == FQ_OK)
        status = fq_setup_model(e, fq_dataset_shape(out->dataset), fq_dataset_classes(out->dataset),
                                &out->model);
    if (status != FQ_OK)
        fq_setup_fini(out);
    return status;
}

void fq_setup_fini(fq_setup *setup) {
    fq_model_destroy(&setup->model);
    fq_partition_destroy(&setup->partition);
    fq_dataset_close(&setup->dataset);
}

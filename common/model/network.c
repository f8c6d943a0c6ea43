#include "model/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(fq_layer_spec, field)

const fq_key fq_layer_keys[] = {
    {"layer", FQ_TYPE_TEXT, AT(layer), "", 0, 0, NULL,
     "Kind of layer: a name that `fedq-sim list layers` knows."},
    {"name", FQ_TYPE_TEXT, AT(name), "", 0, 0, NULL,
     "Name for `from` and for the tensors: letters, digits, _ and -, at most 31; empty: the kind "
     "and a "
     "running number, conv2d1."},
    {"from", FQ_TYPE_WORDS, AT(from), "[]", 0, 0, NULL,
     "Names of the earlier layers that are read, or input; empty: the layer before."},
    {"out", FQ_TYPE_INT, AT(out), "0", 0, 1 << 24, NULL,
     "Output channels of conv2d and shortcut, units of dense; must be given there."},
    {"kernel", FQ_TYPE_INT, AT(kernel), "0", 0, 1 << 10, NULL,
     "Height and width of the window in pixels; must be given for conv2d and the pools."},
    {"stride", FQ_TYPE_INT, AT(stride), "0", 0, 1 << 10, NULL,
     "Pixels from one window to the next; 0: 1 for conv2d and shortcut, the kernel for the pools."},
    {"pad", FQ_TYPE_INT, AT(pad), "0", 0, 1 << 10, NULL,
     "Pixels of padding on each of the four sides: zeros, but never the maximum of max_pool2d."},
    {"groups", FQ_TYPE_INT, AT(groups), "0", 0, 1 << 24, NULL,
     "Groups of channels; 0: 1 for conv2d, and for group_norm the largest divisor of the channels "
     "up to 8."},
    {"rate", FQ_TYPE_REAL, AT(rate), "0.5", 0, 0.999, NULL,
     "Share of the values that dropout zeroes."},
    {"epsilon", FQ_TYPE_REAL, AT(epsilon), "0.00001", 1e-12, 1, NULL,
     "Added to the variance by group_norm and batch_norm."},
    {"momentum", FQ_TYPE_REAL, AT(momentum), "0.1", 0, 1, NULL,
     "Weight of the new batch in the running moments of batch_norm."},
    {"bias", FQ_TYPE_BOOL, AT(bias), "true", 0, 0, NULL, "Whether conv2d and dense add a bias."},
    {0},
};

void fq_layer_spec_init(fq_layer_spec *spec, const char *layer) {
    memset(spec, 0, sizeof *spec);
    for (const fq_key *key = fq_layer_keys; key->name != NULL; key++) {
        char *field = (char *)spec + key->offset;
        if (key->type == FQ_TYPE_INT)
            *(int64_t *)(void *)field = strtoll(key->fallback, NULL, 10);
        else if (key->type == FQ_TYPE_REAL)
            *(double *)(void *)field = strtod(key->fallback, NULL);
        else if (key->type == FQ_TYPE_BOOL)
            *(bool *)(void *)field = strcmp(key->fallback, "true") == 0;
    }
    snprintf(spec->layer, sizeof spec->layer, "%s", layer);
}

#include "round/aggregator_impl.h"

#include <stdlib.h>
#include <string.h>

const fq_aggregator *const fq_aggregators[] = {
    &fq_aggregator_mean,
    &fq_aggregator_clipped_mean,
    &fq_aggregator_median,
    &fq_aggregator_trimmed_mean,
    NULL,
};

const fq_aggregator *fq_aggregator_find(const char *name) {
    for (const fq_aggregator *const *row = fq_aggregators; *row != NULL; row++)
        if (strcmp((*row)->name, name) == 0)
            return *row;
    return NULL;
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void fq_column_sort(float *x, size_t n) {
    if (n > 32) {
        qsort(x, n, sizeof *x, compare_floats);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        float  value = x[i];
        size_t j = i;
        for (; j > 0 && x[j - 1] > value; j--)
            x[j] = x[j - 1];
        x[j] = value;
    }
}

#include "data/dataset.h"

#include <assert.h>

/* From the identity each time, so that an epoch's order depends on its name alone and not on the
 * epochs before it. */
static void shuffle(fq_batches *batches) {
    for (size_t i = 0; i < batches->n; i++)
        batches->order[i] = (uint32_t)i;
    fq_rng rng = fq_rng_stream(batches->seed, FQ_RNG_BATCHES, batches->round, batches->client,
                               batches->epoch, 0);
    fq_rng_shuffle(&rng, batches->order, batches->n);
    batches->next = 0;
}

void fq_batches_begin(fq_batches *batches, uint32_t *order, size_t n, size_t batch, uint64_t seed,
                      uint32_t round, uint64_t client) {
    assert(n > 0 && n <= UINT32_MAX && batch > 0);
    *batches = (fq_batches){
        .order = order, .n = n, .batch = batch, .round = round, .seed = seed, .client = client};
    shuffle(batches);
}

const uint32_t *fq_batches_next(fq_batches *batches, size_t *size) {
    size_t left = batches->n - batches->next;
    bool   short_end = left < batches->batch && batches->next > 0;
    if (left == 0 || (batches->drop_last && short_end)) {
        batches->epoch++;
        shuffle(batches);
        left = batches->n;
    }
    const uint32_t *positions = batches->order + batches->next;
    *size = left < batches->batch ? left : batches->batch;
    batches->next += *size;
    return positions;
}

size_t fq_batches_per_epoch(size_t n, size_t batch) {
    return n / batch + (n % batch != 0);
}

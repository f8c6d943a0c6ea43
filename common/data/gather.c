#include "data/data_impl.h"

#include <assert.h>

/* Lanes written together: 16 floats are one cache line of x. */
enum { LANE_BLOCK = 16 };

/* x [features, width] (rows `lanes` apart) from rows [n][features], n <= width <= LANE_BLOCK. The
 * loop of fixed length is for full blocks. Transposing in words of eight bytes and converting in
 * vectors was measured and is no faster: what takes the time is fetching rows and writing x. */
static void write_bytes(const fq_dataset *set, const uint8_t *const rows[LANE_BLOCK], size_t n,
                        size_t width, size_t lanes, float *x) {
    for (size_t t = 0, f = 0; t < set->n_tables; t++) {
        const float *table = set->table[t];
        for (size_t end = f + set->plane; f < end; f++, x += lanes) {
            if (n == LANE_BLOCK) {
                for (size_t i = 0; i < LANE_BLOCK; i++)
                    x[i] = table[rows[i][f]];
            } else {
                for (size_t i = 0; i < n; i++)
                    x[i] = table[rows[i][f]];
                for (size_t i = n; i < width; i++)
                    x[i] = 0.0f;
            }
        }
    }
}

static void write_floats(const fq_dataset *set, const float *const rows[LANE_BLOCK], size_t n,
                         size_t width, size_t lanes, float *x) {
    for (size_t t = 0, f = 0; t < set->n_tables; t++) {
        float mean = 0.0f, std = 1.0f;
        if (set->normalization.n > 0) {
            mean = (float)set->normalization.mean[t];
            std = (float)set->normalization.std[t];
        }
        for (size_t end = f + set->plane; f < end; f++, x += lanes) {
            for (size_t i = 0; i < n; i++)
                x[i] = (rows[i][f] - mean) / std;
            for (size_t i = n; i < width; i++)
                x[i] = 0.0f;
        }
    }
}

/* Examples by number: index[order[i]], or first + i if order is NULL. */
typedef struct choice {
    const uint32_t *index, *order;
    size_t          first;
} choice;

static size_t chosen(const choice *c, size_t i) {
    return c->order == NULL ? c->first + i : c->index[c->order[i]];
}

static void gather(const fq_dataset *set, const fq_examples *examples, const choice *c,
                   size_t batch, size_t lanes, float *x, uint16_t *labels) {
    assert(batch <= lanes);
    size_t features = fq_shape_count(set->shape);
    for (size_t i = 0; i < batch; i++) {
        assert(chosen(c, i) < examples->n);
        labels[i] = examples->labels[chosen(c, i)];
    }
    for (size_t lane = 0; lane < lanes; lane += LANE_BLOCK) {
        size_t         width = lanes - lane < LANE_BLOCK ? lanes - lane : LANE_BLOCK;
        size_t         left = batch > lane ? batch - lane : 0, n = left < width ? left : width;
        const uint8_t *bytes[LANE_BLOCK];
        const float   *floats[LANE_BLOCK];
        for (size_t i = 0; i < n; i++) {
            size_t at = chosen(c, lane + i) * features;
            if (examples->bytes != NULL)
                bytes[i] = examples->bytes + at;
            else
                floats[i] = examples->floats + at;
        }
        if (examples->bytes != NULL)
            write_bytes(set, bytes, n, width, lanes, x + lane);
        else
            write_floats(set, floats, n, width, lanes, x + lane);
    }
}

void fq_shard_gather(const fq_shard *shard, const uint32_t *order, size_t batch, size_t lanes,
                     float *x, uint16_t *labels) {
    const fq_dataset *set = shard->set;
    if (set->synthetic != NULL) {
        fq_synthetic_gather(set->synthetic, shard->client, order, batch, lanes, x, labels);
        return;
    }
    const choice c = {.index = shard->index, .order = order};
    gather(set, &set->train, &c, batch, lanes, x, labels);
}

void fq_dataset_gather_test(const fq_dataset *set, size_t first, size_t batch, size_t lanes,
                            float *x, uint16_t *labels) {
    const choice c = {.first = first};
    gather(set, &set->test, &c, batch, lanes, x, labels);
}

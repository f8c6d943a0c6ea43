#include "base/rng.h"

#include "base/rng_impl.h"

#include <math.h>

void fq_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < FQ_PHILOX_ROUNDS; i++) {
        uint64_t p0 = (uint64_t)FQ_PHILOX_MULTIPLIERS[0] * c0;
        uint64_t p1 = (uint64_t)FQ_PHILOX_MULTIPLIERS[1] * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += FQ_PHILOX_WEYL[0];
        k1 += FQ_PHILOX_WEYL[1];
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

fq_rng fq_rng_stream(uint64_t seed, fq_purpose purpose, uint32_t round, uint64_t client,
                     uint32_t step, uint32_t layer) {
    /* The names do not fit one counter, so purpose, round and client make the stream's key, and
     * step and layer the upper words of its counter. */
    const uint32_t seed_key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t name[4] = {(uint32_t)purpose, round, (uint32_t)client, (uint32_t)(client >> 32)};
    uint32_t       derived[4];
    fq_philox4x32(name, seed_key, derived);
    return (fq_rng){.key = {derived[0], derived[1]},
                    .counter = {0, derived[2] ^ layer, step, derived[3]}};
}

static void next_block(fq_rng *rng) {
    fq_philox4x32(rng->counter, rng->key, rng->block);
    rng->counter[0]++;
    rng->left = 4;
}

uint32_t fq_rng_u32(fq_rng *rng) {
    if (rng->left == 0)
        next_block(rng);
    return rng->block[4 - rng->left--];
}

uint64_t fq_rng_u64(fq_rng *rng) {
    uint64_t high = fq_rng_u32(rng);
    return high << 32 | fq_rng_u32(rng);
}

static float to_uniform(uint32_t word) {
    return (float)(word >> 8) * 0x1p-24f;
}

float fq_rng_uniform(fq_rng *rng) {
    return to_uniform(fq_rng_u32(rng));
}

double fq_rng_uniform_double(fq_rng *rng) {
    return ((double)(fq_rng_u64(rng) >> 11) + 0.5) * 0x1p-53;
}

uint32_t fq_rng_below(fq_rng *rng, uint32_t n) {
    /* Lemire 2019: multiply, and reject the few words that would make some results more likely. */
    uint64_t product = (uint64_t)fq_rng_u32(rng) * n;
    if ((uint32_t)product < n) {
        uint32_t threshold = (0U - n) % n;
        while ((uint32_t)product < threshold)
            product = (uint64_t)fq_rng_u32(rng) * n;
    }
    return (uint32_t)(product >> 32);
}

double fq_rng_normal(fq_rng *rng) {
    double radius = sqrt(-2.0 * log(fq_rng_uniform_double(rng)));
    return radius * cos(6.283185307179586 * fq_rng_uniform_double(rng));
}

double fq_rng_log_gamma(fq_rng *rng, double shape) {
    /* Marsaglia and Tsang 2000; below 1, Gamma(shape + 1) * U^(1/shape), in logs since the power
     * underflows for small shapes. */
    double boost = 0.0;
    if (shape < 1.0) {
        boost = log(fq_rng_uniform_double(rng)) / shape;
        shape += 1.0;
    }
    double d = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = fq_rng_normal(rng), v = 1.0 + c * x;
        if (v <= 0.0)
            continue;
        v = v * v * v;
        if (log(fq_rng_uniform_double(rng)) < 0.5 * x * x + d - d * v + d * log(v))
            return log(d) + log(v) + boost;
    }
}

static const fq_rng_fills *fills(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return &fq_rng_fills_avx2;
#endif
    return &fq_rng_fills_baseline;
}

/* The stream goes on after the last block of which a word was used. */
static void skip(fq_rng *rng, size_t words) {
    rng->counter[0] += (uint32_t)((words + 3) / 4);
    rng->left = 0;
}

void fq_rng_fill_uniform(fq_rng *rng, float *out, size_t n) {
    fills()->uniform(rng, out, n);
    skip(rng, n);
}

void fq_rng_fill_normal(fq_rng *rng, float *out, size_t n) {
    fills()->normal(rng, out, n);
    skip(rng, n);
}

void fq_rng_shuffle(fq_rng *rng, uint32_t *items, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t   j = fq_rng_below(rng, (uint32_t)i);
        uint32_t kept = items[i - 1];
        items[i - 1] = items[j];
        items[j] = kept;
    }
}

#include "quant/block_float.h"

#include "math/kernels.h"
#include "quant/quantizer_impl.h"

#include <assert.h>
#include <math.h>

enum { PIECE = 512 }; /* a multiple of FQ_LANES */

/* Both ways between values and levels: by a power of two, as the product of two that a float holds.
 * Of a block that is left as it is, all are 0. */
typedef struct scale {
    float up[2], down[2];
} scale;

static scale scale_of(float peak, int bits) {
    assert(bits >= FQ_BLOCK_FLOAT_LEAST && bits <= FQ_BLOCK_FLOAT_MOST);
    if (peak <= 0.0f || !(peak < 0x1p127f))
        return (scale){0};
    int exponent;
    (void)frexpf(peak, &exponent);                        /* peak = m 2^exponent, 1/2 <= m < 1 */
    exponent = exponent - 1 < -128 ? -128 : exponent - 1; /* at most 126 */
    const int power = bits - 2 - exponent, half = power / 2;
    return (scale){.up = {ldexpf(1.0f, half), ldexpf(1.0f, power - half)},
                   .down = {ldexpf(1.0f, -half), ldexpf(1.0f, half - power)}};
}

static inline float round_value(float x, scale s, float low, float high, float u) {
    const bool scaled = s.up[0] > 0.0f;
    float      level = (float)fq_round_at_random(scaled ? x * s.up[0] * s.up[1] : 0.0f, u);
    level = level < high ? level : high;
    level = level > low ? level : low;
    return scaled ? level * s.down[0] * s.down[1] : x;
}

/* A NaN does not show in a maximum, but in the sum of what is 0 of all finite values. */
void fq_block_float_round(const float *x, size_t n, int bits, fq_rng *rng, float *y) {
    float peak = 0.0f, nothing = 0.0f;
    for (size_t i = 0; i < n; i++) {
        peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
        nothing += 0.0f * x[i];
    }
    const scale s = scale_of(nothing == 0.0f ? peak : 0.0f, bits);
    const float low = ldexpf(-1.0f, bits - 1), high = -low - 1.0f;
    for (size_t begin = 0; begin < n; begin += PIECE) {
        float        u[PIECE];
        const size_t size = n - begin < PIECE ? n - begin : PIECE;
        fq_rng_fill_uniform(rng, u, size);
        for (size_t i = 0; i < size; i++)
            y[begin + i] = round_value(x[begin + i], s, low, high, u[i]);
    }
}

void fq_block_float_round_lanes(const float *x, size_t n, size_t lanes, int bits, fq_rng *rng,
                                float *y) {
    const float low = ldexpf(-1.0f, bits - 1), high = -low - 1.0f;
    for (size_t group = 0; group < lanes; group += FQ_LANES) {
        float peak[FQ_LANES] = {0.0f}, nothing[FQ_LANES] = {0.0f}, u[PIECE];
        scale s[FQ_LANES];
        for (size_t f = 0; f < n; f++)
            for (size_t i = 0; i < FQ_LANES; i++) {
                const float value = x[f * lanes + group + i];
                peak[i] = fabsf(value) > peak[i] ? fabsf(value) : peak[i];
                nothing[i] += 0.0f * value;
            }
        for (size_t i = 0; i < FQ_LANES; i++)
            s[i] = scale_of(nothing[i] == 0.0f ? peak[i] : 0.0f, bits);
        for (size_t f = 0; f < n; f++) {
            const size_t at = f % (PIECE / FQ_LANES) * FQ_LANES;
            if (at == 0)
                fq_rng_fill_uniform(rng, u, PIECE);
            for (size_t i = 0; i < FQ_LANES; i++)
                y[f * lanes + group + i] =
                    round_value(x[f * lanes + group + i], s[i], low, high, u[at + i]);
        }
    }
}

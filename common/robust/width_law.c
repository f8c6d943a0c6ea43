/* Bit-widths drawn in training. */
#include "robust/robust_impl.h"

static bool contains(const fq_ints *set, int64_t value) {
    for (size_t i = 0; i < set->n; i++)
        if (set->v[i] == value)
            return true;
    return false;
}

/* Chance of bits[i], up to a common factor. */
static double chance(const fq_width_law *law, size_t i) {
    if (law->weights != NULL && law->weights->n > 0)
        return law->weights->v[i];
    return law->odds == FQ_ODDS_PROPORTIONAL ? (double)law->bits->v[i] : 1.0;
}

int fq_width_draw(const fq_width_law *law, const fq_ints *capability, fq_rng *rng) {
    const bool restricted = capability != NULL && capability->n > 0;
    double     p[FQ_LIST_LENGTH], total = 0.0;
    for (size_t i = 0; i < law->bits->n; i++) {
        p[i] = restricted && !contains(capability, law->bits->v[i]) ? 0.0 : chance(law, i);
        total += p[i];
    }
    if (restricted && !(total > 0.0)) {
        const fq_width_law own = {.bits = capability, .odds = law->odds};
        return fq_width_draw(&own, NULL, rng);
    }
    /* The first width whose cumulated chance passes a uniform point; a width without any is never
     * taken. */
    double point = fq_rng_uniform_double(rng) * total;
    size_t last = 0;
    for (size_t i = 0; i < law->bits->n; i++) {
        if (p[i] > 0.0) {
            last = i;
            if (point < p[i])
                break;
            point -= p[i];
        }
    }
    return (int)law->bits->v[last];
}

fq_status fq_widths_check(const char *key, const fq_ints *bits) {
    if (bits->n == 0)
        return fq_fail(FQ_EINVAL, "%s: the list is empty; expected widths from 1 to 8, or 32", key);
    for (size_t i = 0; i < bits->n; i++) {
        const int64_t b = bits->v[i];
        if ((b < 1 || b > FQ_MAX_BITS) && b != FQ_FLOAT_BITS)
            return fq_fail(FQ_EINVAL, "%s: %lld is not a width; allowed are 1 to 8 and 32", key,
                           (long long)b);
        for (size_t j = 0; j < i; j++)
            if (bits->v[j] == b)
                return fq_fail(FQ_EINVAL, "%s: %lld is listed twice", key, (long long)b);
    }
    return FQ_OK;
}

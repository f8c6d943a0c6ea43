/* Figures about figures, and about weights. */
#include "eval/eval_impl.h"
#include "eval/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- rules and changes of their steps ---- */

/* The power of two nearest in log2: for step = m 2^e, m in [1/2, 1), the lower neighbour 2^(e-1) up
 * to m = sqrt(1/2), then 2^e. */
static float nearest_power(float step) {
    int    exponent;
    double m = (double)frexpf(step, &exponent);
    return ldexpf(1.0f, 2.0 * m * m > 1.0 ? exponent : exponent - 1);
}

float fq_step_changed(fq_step_change change, float step) {
    switch (change.kind) {
    case FQ_STEP_SCALED: return change.scale * step;
    case FQ_STEP_POWER_OF_TWO: return nearest_power(step);
    default: return step;
    }
}

void fq_rule_print(const char *rule, fq_step_change change, char out[FQ_RULE_BYTES]) {
    switch (change.kind) {
    case FQ_STEP_SCALED: snprintf(out, FQ_RULE_BYTES, "%s*%.6g", rule, (double)change.scale); break;
    case FQ_STEP_POWER_OF_TWO: snprintf(out, FQ_RULE_BYTES, "%s~2^k", rule); break;
    default: snprintf(out, FQ_RULE_BYTES, "%s", rule);
    }
}

bool fq_rule_is_plain(const char *rule) {
    return strpbrk(rule, "*~") == NULL;
}

/* ---- accuracy over bit-widths ---- */

typedef struct point {
    int    bits;
    double accuracy;
} point;

static size_t insert_by_bits(point *points, size_t n, point fresh) {
    size_t at = n;
    for (; at > 0 && points[at - 1].bits > fresh.bits; at--)
        points[at] = points[at - 1];
    points[at] = fresh;
    return n + 1;
}

/* area = 1 / (b_n - b_1) * sum (b_{i+1} - b_i) (a_i + a_{i+1}) / 2 */
static double area_under(const point *points, size_t n) {
    if (n == 1)
        return points[0].accuracy;
    double area = 0;
    for (size_t i = 0; i + 1 < n; i++)
        area += (points[i + 1].bits - points[i].bits) *
                (points[i].accuracy + points[i + 1].accuracy) / 2;
    return area / (points[n - 1].bits - points[0].bits);
}

bool fq_bits_summarize(const fq_figure *figures, size_t n, const char *rule, fq_bits_summary *out) {
    point  points[FQ_MAX_BITS];
    size_t n_points = 0;
    *out = (fq_bits_summary){.float_accuracy = (double)NAN};
    for (size_t i = 0; i < n; i++) {
        const fq_figure *figure = &figures[i];
        if (figure->activation_bits != FQ_FLOAT_BITS)
            continue;
        if (figure->weight_bits == FQ_FLOAT_BITS)
            out->float_accuracy = figure->accuracy;
        else if (strcmp(figure->rule, rule) == 0 && n_points < FQ_MAX_BITS)
            n_points =
                insert_by_bits(points, n_points, (point){figure->weight_bits, figure->accuracy});
    }
    if (n_points == 0)
        return false;
    out->worst = points[0].accuracy;
    out->worst_bits = points[0].bits;
    for (size_t i = 0; i < n_points; i++) {
        out->mean += points[i].accuracy / (double)n_points;
        if (points[i].accuracy < out->worst) {
            out->worst = points[i].accuracy;
            out->worst_bits = points[i].bits;
        }
    }
    out->area = area_under(points, n_points);
    return true;
}

/* ---- distribution of weights ---- */

enum { BINS = sizeof((fq_tensor_figure *)NULL)->histogram / sizeof(uint64_t) };

static void count_bins(const float *x, size_t n, double low, double high, uint64_t bins[BINS]) {
    double scale = high > low ? BINS / (high - low) : 0;
    for (size_t i = 0; i < n; i++) {
        size_t bin = (size_t)(((double)x[i] - low) * scale);
        bins[bin < BINS ? bin : BINS - 1]++;
    }
}

static bool all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static fq_tensor_figure describe(const fq_tensor *tensor, const float *x) {
    fq_tensor_figure out = {.count = tensor->count,
                            .kurtosis = (double)NAN,
                            .std = (double)NAN,
                            .low = (double)NAN,
                            .high = (double)NAN};
    memcpy(out.name, tensor->name, sizeof out.name);
    if (tensor->count == 0 || !all_finite(x, tensor->count))
        return out;
    const fq_kernels *kernels = fq_kernels_get();
    fq_moments        moments;
    float             low, high;
    kernels->moments(tensor->count, x, &moments);
    kernels->min_max(tensor->count, x, &low, &high);
    if (moments.m2 > 0)
        out.kurtosis = moments.m4 / (moments.m2 * moments.m2);
    out.std = sqrt(moments.m2);
    out.low = (double)low;
    out.high = (double)high;
    count_bins(x, tensor->count, out.low, out.high, out.histogram);
    return out;
}

size_t fq_tensor_figures(const fq_model *model, const float *w, fq_tensor_figure *out, size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < fq_model_tensor_count(model); i++) {
        const fq_tensor *tensor = fq_model_tensor(model, i);
        if (tensor->kind != FQ_WEIGHT)
            continue;
        if (n < max)
            out[n] = describe(tensor, w + tensor->offset);
        n++;
    }
    return n;
}

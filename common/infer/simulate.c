/* The meaning of an integer model, in real numbers.
 *
 * Every value x is fake-quantized: x = scale (q - zero) for a whole number q of its grid. Values
 * are kept here as x / scale, which is whole, in doubles, and laid out [C, H, W] as in training;
 * every layer computes its real function of them, and its result is brought to its own grid by
 *
 *   q = clip(floor(y ratio + 1/2) + zero)
 *
 * with the ratio of scales a double of 22 bits. All sums are below 2^31 and all products below
 * 2^53, so that no operation rounds but the floor: what follows is exact, and equal to the integer
 * engine's result by what the numbers mean, not by how they are computed. */
#include "infer/infer_impl.h"
#include "model/modelfile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double value_of(fq_ratio ratio) {
    return ldexp((double)ratio.factor, -ratio.shift);
}

/* y / ratio -> q - zero */
static double to_grid(const fq_op *op, double y) {
    double q = floor(y + 0.5) + op->out.form.zero;
    return fmin(fmax(q, op->low), op->high) - op->out.form.zero;
}

static double weight_at(const fq_op *op, size_t i) {
    size_t   bit = i * op->bits;
    unsigned code = 0;
    for (unsigned b = 0; b < op->bits; b++)
        code |= (unsigned)(op->packed[(bit + b) / 8] >> (bit + b) % 8 & 1) << b;
    return (double)code * op->unit + op->least;
}

/* sum of w x over the window; what lies beside the picture is 0 */
static double window_product(const fq_op *op, const double *w, const double *x, size_t channel,
                             size_t row, size_t column) {
    size_t h = op->in[0].shape.h, width = op->in[0].shape.w;
    size_t depth = op->in[0].shape.c / op->groups;
    size_t group = channel / (op->out.shape.c / op->groups);
    double sum = 0;
    for (size_t c = 0; c < depth; c++)
        for (size_t i = 0; i < op->kernel_h; i++)
            for (size_t j = 0; j < op->kernel_w; j++) {
                size_t y = row * op->stride + i - op->pad, z = column * op->stride + j - op->pad;
                if (y < h && z < width)
                    sum += w[(c * op->kernel_h + i) * op->kernel_w + j] *
                           x[((group * depth + c) * h + y) * width + z];
            }
    return sum;
}

static fq_status simulate_matmul(const fq_op *op, const double *x, double *y) {
    double *w = calloc(op->row, sizeof *w);
    if (w == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a row of %zu weights", op->row);
    size_t h = op->out.shape.h, width = op->out.shape.w;
    for (size_t c = 0; c < op->out.shape.c; c++) {
        double factor = op->ratios[c].factor, bias = (double)op->bias[c];
        int    shift = op->ratios[c].shift;
        for (size_t i = 0; i < op->row; i++)
            w[i] = weight_at(op, c * op->row + i);
        for (size_t i = 0; i < h; i++)
            for (size_t j = 0; j < width; j++)
                y[(c * h + i) * width + j] =
                    to_grid(op, ldexp(window_product(op, w, x, c, i, j) * factor + bias, -shift));
    }
    free(w);
    return FQ_OK;
}

/* Largest, or sum, of a window in one channel. */
static double window_fold(const fq_op *op, const double *x, size_t row, size_t column,
                          bool largest) {
    double found = largest ? -HUGE_VAL : 0;
    for (size_t i = 0; i < op->kernel_h; i++)
        for (size_t j = 0; j < op->kernel_w; j++) {
            size_t y = row * op->stride + i - op->pad, z = column * op->stride + j - op->pad;
            if (y >= op->in[0].shape.h || z >= op->in[0].shape.w)
                continue;
            double value = x[y * op->in[0].shape.w + z];
            found = largest ? fmax(found, value) : found + value;
        }
    return found;
}

static void simulate_pool(const fq_op *op, const double *x, double *y) {
    size_t h = op->out.shape.h, w = op->out.shape.w;
    bool   largest = op->kind == FQ_OP_MAX_POOL;
    for (size_t c = 0; c < op->out.shape.c; c++)
        for (size_t i = 0; i < h; i++)
            for (size_t j = 0; j < w; j++) {
                double found =
                    window_fold(op, x + c * op->in[0].shape.h * op->in[0].shape.w, i, j, largest);
                y[(c * h + i) * w + j] =
                    to_grid(op, largest ? found : found * value_of(op->ratio[0]));
            }
}

static void simulate_shortcut(const fq_op *op, const double *x, double *y) {
    size_t h = op->out.shape.h, w = op->out.shape.w;
    for (size_t c = 0; c < op->out.shape.c; c++)
        for (size_t i = 0; i < h; i++)
            for (size_t j = 0; j < w; j++)
                y[(c * h + i) * w + j] =
                    c < op->in[0].shape.c
                        ? x[(c * op->in[0].shape.h + i * op->stride) * op->in[0].shape.w +
                            j * op->stride]
                        : 0.0;
}

/* 1 / sqrt(v) = root 2^-48 2^twice: v is halved or doubled in pairs to lie in [2^48, 2^50), cut to
 * a whole number, and both root and quotient are cut. v may have 64 bits, hence its type. */
static double inverse_root(uint64_t v, int *twice) {
    double scaled = (double)v;
    int    half = 0;
    while (scaled >= 0x1p50) {
        half++;
        scaled = (double)(v >> 2 * half);
    }
    while (scaled < 0x1p48) {
        half--;
        scaled *= 4;
    }
    *twice = -half;
    return floor(0x1p48 / floor(sqrt(scaled)));
}

static void simulate_norm(const fq_op *op, const double *x, double *y) {
    size_t depth = op->out.shape.c / op->groups;
    size_t pixels = (size_t)op->out.shape.h * op->out.shape.w, n = depth * pixels;
    for (size_t g = 0; g < op->groups; g++) {
        const double *from = x + g * n;
        double        sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++) {
            sum += from[i];
            squares += from[i] * from[i];
        }
        uint64_t v = (uint64_t)n * (uint64_t)squares - (uint64_t)((int64_t)sum * (int64_t)sum);
        int      twice;
        double   root = inverse_root(v + op->epsilon > 0 ? v + op->epsilon : 1, &twice);
        int      shift = 22 + op->gain_shift - twice - FQ_NORM_FRACTION;
        for (size_t i = 0; i < n; i++) {
            size_t c = g * depth + i / pixels;
            double gain = floor(root * op->gain[c] * 0x1p-26 + 0.5);
            double d = (double)n * from[i] - sum;
            double scaled = fmin(fmax(floor(ldexp(d * gain, -shift) + 0.5), -0x1p40), 0x1p40);
            y[g * n + i] = to_grid(op, ldexp(scaled + op->shift[c], -FQ_NORM_FRACTION));
        }
    }
}

static fq_status simulate_op(const fq_op *op, const double *a, const double *b, double *y) {
    size_t n = fq_shape_count(op->out.shape);
    switch (op->kind) {
    case FQ_OP_MATMUL: return simulate_matmul(op, a, y);
    case FQ_OP_NARROW:
        for (size_t i = 0; i < n; i++)
            y[i] = to_grid(op, a[i] * value_of(op->ratio[0]));
        break;
    case FQ_OP_CLAMP:
        for (size_t i = 0; i < n; i++)
            y[i] = to_grid(op, a[i]);
        break;
    case FQ_OP_ADD:
        for (size_t i = 0; i < n; i++)
            y[i] = to_grid(op, a[i] * value_of(op->ratio[0]) + b[i] * value_of(op->ratio[1]));
        break;
    case FQ_OP_MAX_POOL:
    case FQ_OP_AVERAGE: simulate_pool(op, a, y); break;
    case FQ_OP_SHORTCUT: simulate_shortcut(op, a, y); break;
    case FQ_OP_NORM: simulate_norm(op, a, y); break;
    case FQ_OP_TRANSPOSE: memcpy(y, a, n * sizeof *y); break; /* features are in this order here */
    }
    return FQ_OK;
}

/* The operation before number `end` whose result lies at `place`; results are kept by operation. */
static const double *find(const fq_infer *infer, double *const *results, size_t end, size_t place,
                          const double *input) {
    for (size_t i = end; i-- > 0;)
        if (infer->ops[i].out.place == place)
            return results[i];
    return input;
}

fq_status fq_infer_simulate(const fq_infer *infer, const float *x, int32_t *logits) {
    size_t    features = fq_infer_features(infer);
    double   *input = calloc(features, sizeof *input);
    double  **results = calloc(infer->n_ops + 1, sizeof *results);
    fq_status status = FQ_OK;
    if (input == NULL || results == NULL)
        status = fq_fail(FQ_ENOMEM, "no memory for a simulation");
    for (size_t i = 0; status == FQ_OK && i < features; i++)
        input[i] = fq_form_code(&infer->input.form, x[i]) - infer->input.form.zero;
    for (size_t i = 0; status == FQ_OK && i < infer->n_ops; i++) {
        const fq_op *op = &infer->ops[i];
        results[i] = calloc(fq_shape_count(op->out.shape), sizeof **results);
        if (results[i] == NULL)
            status = fq_fail(FQ_ENOMEM, "no memory for a simulation");
        else
            status = simulate_op(op, find(infer, results, i, op->in[0].place, input),
                                 find(infer, results, i, op->in[1].place, input), results[i]);
    }
    if (status == FQ_OK) {
        const double *y = find(infer, results, infer->n_ops, infer->output.place, input);
        for (size_t i = 0; i < fq_infer_classes(infer); i++)
            logits[i] = (int32_t)y[i];
    }
    for (size_t i = 0; results != NULL && i < infer->n_ops; i++)
        free(results[i]);
    free(results);
    free(input);
    return status;
}

/* The integer operations. Values lie [H, W, C]. */
#include "infer/infer_impl.h"
#include "quant/quantizer.h"

#include <math.h>
#include <string.h>

/* ---- arithmetic ---- */

int32_t fq_form_code(const fq_form *form, float x) {
    double q = rint((double)(x / (float)form->scale)) + form->zero;
    double low = fq_form_low(form);
    return (int32_t)(q < low ? low : q > form->top ? form->top : q);
}

int64_t fq_scale_down(int64_t x, int shift) {
    const int64_t limit = (int64_t)1 << 40;
    if (shift > 53)
        return 0;
    if (shift < 1) {
        int up = shift < -40 ? 40 : -shift;
        if (x > limit >> up || x < -(limit >> up))
            return x > 0 ? limit : -limit;
        return x * ((int64_t)1 << up);
    }
    int64_t y = (x + ((int64_t)1 << (shift - 1))) >> shift;
    return y > limit ? limit : y < -limit ? -limit : y;
}

/* floor(sqrt(v)), v < 2^50, digit by digit */
static uint64_t integer_root(uint64_t v) {
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 24; bit != 0; bit >>= 1)
        if ((root + bit) * (root + bit) <= v)
            root += bit;
    return root;
}

fq_root fq_inverse_root(uint64_t v) {
    int twice = 0;
    while (v >= (uint64_t)1 << 50) {
        v >>= 2;
        twice--;
    }
    while (v < (uint64_t)1 << 48) {
        v <<= 2;
        twice++;
    }
    return (fq_root){(int64_t)(((uint64_t)1 << 48) / integer_root(v)), twice};
}

/* ---- where values are ---- */

static void *at(void *workspace, size_t place) {
    return (unsigned char *)workspace + place;
}

static void store(const fq_op *op, void *out, size_t i, int64_t code) {
    int32_t clipped = fq_clip(code, op->low, op->high);
    switch (op->out.form.holding) {
    case FQ_NARROW: ((uint8_t *)out)[i] = (uint8_t)clipped; break;
    case FQ_WIDE: ((int16_t *)out)[i] = (int16_t)clipped; break;
    case FQ_LOGITS: ((int32_t *)out)[i] = clipped; break;
    }
}

/* ---- matrix products ---- */

/* A pixel's window as a row [kernel_h, kernel_w, C of the group], zeros (codes of 0) beside the
 * picture, filled up to the padded row. */
static void gather_pixel(const fq_op *op, const uint8_t *x, size_t group, size_t pixel,
                         uint8_t *row) {
    size_t  in_h = op->in[0].shape.h, in_w = op->in[0].shape.w, channels = op->in[0].shape.c;
    size_t  depth = channels / op->groups;
    size_t  top = pixel / op->out.shape.w * op->stride, left = pixel % op->out.shape.w * op->stride;
    uint8_t zero = (uint8_t)op->in[0].form.zero;
    for (size_t i = 0; i < op->kernel_h; i++)
        for (size_t j = 0; j < op->kernel_w; j++, row += depth) {
            size_t y = top + i - op->pad, z = left + j - op->pad; /* outside: wraps, too large */
            if (y < in_h && z < in_w)
                memcpy(row, x + (y * in_w + z) * channels + group * depth, depth);
            else
                memset(row, zero, depth);
        }
}

/* Without groups, a row of the window lies together if it is inside the picture. */
static void gather_rows(const fq_op *op, const uint8_t *x, size_t pixel, uint8_t *row) {
    size_t in_h = op->in[0].shape.h, in_w = op->in[0].shape.w, channels = op->in[0].shape.c;
    size_t top = pixel / op->out.shape.w * op->stride, left = pixel % op->out.shape.w * op->stride;
    size_t line = op->kernel_w * channels;
    if (left < op->pad || left + op->kernel_w - op->pad > in_w) {
        gather_pixel(op, x, 0, pixel, row);
        return;
    }
    for (size_t i = 0; i < op->kernel_h; i++, row += line) {
        size_t y = top + i - op->pad;
        if (y < in_h)
            memcpy(row, x + (y * in_w + left - op->pad) * channels, line);
        else
            memset(row, op->in[0].form.zero, line);
    }
}

static void gather(const fq_op *op, const uint8_t *x, size_t group, size_t first, size_t n,
                   size_t padded, uint8_t *rows) {
    for (size_t p = 0; p < n; p++, rows += padded) {
        if (op->groups == 1)
            gather_rows(op, x, first + p, rows);
        else
            gather_pixel(op, x, group, first + p, rows);
        memset(rows + op->row, 0, padded - op->row);
    }
}

/* A row of weights [C of the group, kernel_h, kernel_w] from its codes -> [kernel_h, kernel_w, C],
 * filled up with zeros. */
static void unpack_row(const fq_infer *infer, const fq_op *op, size_t number, size_t padded,
                       int8_t *spare, int8_t *row) {
    size_t depth = op->in[0].shape.c / op->groups, window = op->kernel_h * op->kernel_w;
    bool   same = depth == 1 || window == 1;
    const unsigned char *end = op->packed + fq_packed_bytes(op->out.shape.c * op->row, op->bits);
    infer->kernels->unpack(op->packed, end, number * op->row, op->row, op->bits, op->unit,
                           op->least, same ? row : spare);
    for (size_t c = 0; !same && c < depth; c++)
        for (size_t k = 0; k < window; k++)
            row[k * depth + c] = spare[c * window + k];
    memset(row + op->row, 0, padded - op->row);
}

/* Rows first .. first + n, then zeros up to FQ_INT_ROWS. */
static void unpack_rows(const fq_infer *infer, const fq_op *op, size_t first, size_t n,
                        size_t padded, int8_t *spare, int8_t *rows) {
    for (size_t r = 0; r < n; r++)
        unpack_row(infer, op, first + r, padded, spare, rows + r * padded);
    memset(rows + n * padded, 0, (FQ_INT_ROWS - n) * padded);
}

/* code = round(((sum + offset) factor + bias) 2^-shift) + zero, clipped; the loops over rows are
 * without branches, for the vectorizer. */
static void rescale_block(const fq_op *op, const int32_t *sums, size_t first_row, size_t rows,
                          size_t first_pixel, size_t pixels, void *out) {
    size_t  channels = op->out.shape.c, place = first_pixel * channels + first_row;
    int64_t start[FQ_INT_ROWS] = {0}, factor[FQ_INT_ROWS] = {0};
    int     shift[FQ_INT_ROWS] = {0};
    int32_t codes[FQ_INT_ROWS], zero = op->out.form.zero, low = op->low, high = op->high;
    for (size_t r = 0; r < rows; r++) {
        fq_ratio ratio = op->ratios[first_row + r];
        factor[r] = ratio.factor;
        shift[r] = ratio.shift;
        start[r] = op->offset[first_row + r] * factor[r] + op->bias[first_row + r] +
                   ((int64_t)1 << (shift[r] - 1));
    }
    for (size_t p = 0; p < pixels; p++, place += channels) {
        const int32_t *sum = sums + p * FQ_INT_ROWS;
        for (size_t r = 0; r < rows; r++)
            codes[r] = fq_clip(((sum[r] * factor[r] + start[r]) >> shift[r]) + zero, low, high);
        if (op->out.form.holding == FQ_NARROW)
            for (size_t r = 0; r < rows; r++)
                ((uint8_t *)out)[place + r] = (uint8_t)codes[r];
        else if (op->out.form.holding == FQ_WIDE)
            for (size_t r = 0; r < rows; r++)
                ((int16_t *)out)[place + r] = (int16_t)codes[r];
        else
            memcpy((int32_t *)out + place, codes, rows * sizeof *codes);
    }
}

/* The parts of the scratch, each 64-byte aligned. */
typedef struct scratch {
    int8_t  *rows, *spare;
    void    *arranged;
    uint8_t *pixels;
    int32_t *sums;
} scratch;

static scratch parts_of(const fq_infer *infer, void *workspace) {
    size_t  padded = infer->padded_row, begin = infer->scratch;
    scratch s = {.rows = at(workspace, begin)};
    s.arranged = at(workspace, begin + FQ_INT_ROWS * padded);
    s.sums = at(workspace, begin + 3 * FQ_INT_ROWS * padded);
    begin += 3 * FQ_INT_ROWS * padded + FQ_INT_ROWS * FQ_PIXEL_BLOCK * sizeof(int32_t);
    s.pixels = at(workspace, begin);
    s.spare = at(workspace, begin + FQ_PIXEL_BLOCK * padded);
    return s;
}

/* Few pixels: each row meets them as soon as it is unpacked. */
static void run_rows(const fq_infer *infer, const fq_op *op, void *workspace, const uint8_t *x) {
    scratch s = parts_of(infer, workspace);
    size_t  padded = fq_padded_row(op->row), per_group = op->out.shape.c / op->groups;
    size_t  pixels = (size_t)op->out.shape.h * op->out.shape.w;
    for (size_t c = 0; c < op->out.shape.c; c++) {
        if (c % per_group == 0)
            gather(op, x, c / per_group, 0, pixels, padded, s.pixels);
        unpack_row(infer, op, c, padded, s.spare, s.rows);
        for (size_t p = 0; p < pixels; p++)
            s.sums[p * FQ_INT_ROWS] =
                infer->kernels->dot(padded, s.rows, s.pixels + p * padded, op->groups_of_16);
        rescale_block(op, s.sums, c, 1, 0, pixels, at(workspace, op->out.place));
    }
}

static void run_blocks(const fq_infer *infer, const fq_op *op, void *workspace, const uint8_t *x) {
    scratch s = parts_of(infer, workspace);
    size_t  padded = fq_padded_row(op->row), per_group = op->out.shape.c / op->groups;
    size_t  pixels = (size_t)op->out.shape.h * op->out.shape.w;
    for (size_t g = 0; g < op->groups; g++)
        for (size_t done = 0; done < per_group; done += FQ_INT_ROWS) {
            size_t left = per_group - done, n = left < FQ_INT_ROWS ? left : FQ_INT_ROWS;
            size_t first = g * per_group + done;
            unpack_rows(infer, op, first, n, padded, s.spare, s.rows);
            infer->kernels->arrange(padded, s.rows, op->groups_of_16, s.arranged);
            for (size_t p = 0; p < pixels; p += FQ_PIXEL_BLOCK) {
                size_t m = pixels - p < FQ_PIXEL_BLOCK ? pixels - p : FQ_PIXEL_BLOCK;
                gather(op, x, g, p, m, padded, s.pixels);
                infer->kernels->multiply(m, padded, s.arranged, s.pixels, op->groups_of_16, s.sums);
                rescale_block(op, s.sums, first, n, p, m, at(workspace, op->out.place));
            }
        }
}

static void run_matmul(const fq_infer *infer, const fq_op *op, void *workspace) {
    const uint8_t *x = at(workspace, op->in[0].place);
    if ((size_t)op->out.shape.h * op->out.shape.w < FQ_FEW_PIXELS)
        run_rows(infer, op, workspace, x);
    else
        run_blocks(infer, op, workspace, x);
}

/* ---- the others ---- */

static void run_narrow(const fq_op *op, void *workspace) {
    const int16_t *x = at(workspace, op->in[0].place);
    void          *out = at(workspace, op->out.place);
    for (size_t i = 0; i < fq_shape_count(op->out.shape); i++)
        store(op, out, i, fq_rescale(x[i], op->ratio[0]) + op->out.form.zero);
}

static int32_t load(const fq_operand *operand, const void *x, size_t i) {
    return operand->form.holding == FQ_NARROW ? (int32_t)((const uint8_t *)x)[i]
                                              : (int32_t)((const int16_t *)x)[i];
}

static void run_clamp(const fq_op *op, void *workspace) {
    const void *x = at(workspace, op->in[0].place);
    void       *out = at(workspace, op->out.place);
    for (size_t i = 0; i < fq_shape_count(op->out.shape); i++)
        store(op, out, i, load(&op->in[0], x, i));
}

/* The part of a pool's window that lies in the picture. */
typedef struct part {
    size_t top, bottom, left, right;
} part;

static part window_part(const fq_op *op, size_t pixel) {
    size_t in_h = op->in[0].shape.h, in_w = op->in[0].shape.w;
    size_t y = pixel / op->out.shape.w * op->stride, x = pixel % op->out.shape.w * op->stride;
    size_t bottom = y + op->kernel_h - op->pad, right = x + op->kernel_w - op->pad;
    return (part){y > op->pad ? y - op->pad : 0, bottom < in_h ? bottom : in_h,
                  x > op->pad ? x - op->pad : 0, right < in_w ? right : in_w};
}

static void larger_narrow(size_t n, const uint8_t *restrict x, uint8_t *restrict y) {
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] > y[i] ? x[i] : y[i];
}

static void larger_wide(size_t n, const int16_t *restrict x, int16_t *restrict y) {
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] > y[i] ? x[i] : y[i];
}

/* Codes keep their grid, and none is outside it: nothing to clip. */
static void run_max_pool(const fq_op *op, void *workspace) {
    bool   narrow = op->out.form.holding == FQ_NARROW;
    size_t channels = op->out.shape.c, in_w = op->in[0].shape.w, size = narrow ? 1 : 2;
    const unsigned char *x = at(workspace, op->in[0].place);
    unsigned char       *y = at(workspace, op->out.place);
    for (size_t p = 0; p < (size_t)op->out.shape.h * op->out.shape.w; p++) {
        part  w = window_part(op, p);
        void *best = y + p * channels * size;
        memcpy(best, x + (w.top * in_w + w.left) * channels * size, channels * size);
        for (size_t i = w.top; i < w.bottom; i++)
            for (size_t j = w.left; j < w.right; j++) {
                const void *pixel = x + (i * in_w + j) * channels * size;
                if (narrow)
                    larger_narrow(channels, pixel, best);
                else
                    larger_wide(channels, pixel, best);
            }
    }
}

/* The padding counts as zeros: the ratio divides by the whole window. */
static void run_average(const fq_op *op, void *workspace) {
    const int16_t *x = at(workspace, op->in[0].place);
    void          *out = at(workspace, op->out.place);
    size_t         channels = op->out.shape.c, in_w = op->in[0].shape.w;
    for (size_t p = 0; p < (size_t)op->out.shape.h * op->out.shape.w; p++) {
        part w = window_part(op, p);
        for (size_t c = 0; c < channels; c++) {
            int64_t sum = 0;
            for (size_t i = w.top; i < w.bottom; i++)
                for (size_t j = w.left; j < w.right; j++)
                    sum += x[(i * in_w + j) * channels + c];
            store(op, out, p * channels + c, fq_rescale(sum, op->ratio[0]) + op->out.form.zero);
        }
    }
}

static void run_add(const fq_op *op, void *workspace) {
    const int16_t *a = at(workspace, op->in[0].place), *b = at(workspace, op->in[1].place);
    void          *out = at(workspace, op->out.place);
    int64_t        half = (int64_t)1 << (op->ratio[0].shift - 1);
    for (size_t i = 0; i < fq_shape_count(op->out.shape); i++) {
        int64_t sum = (int64_t)a[i] * op->ratio[0].factor + (int64_t)b[i] * op->ratio[1].factor;
        store(op, out, i, ((sum + half) >> op->ratio[0].shift) + op->out.form.zero);
    }
}

static void run_shortcut(const fq_op *op, void *workspace) {
    const void *x = at(workspace, op->in[0].place);
    void       *out = at(workspace, op->out.place);
    size_t      channels = op->in[0].shape.c, width = op->out.shape.c;
    for (size_t i = 0; i < op->out.shape.h; i++)
        for (size_t j = 0; j < op->out.shape.w; j++) {
            size_t from = (i * op->stride * op->in[0].shape.w + j * op->stride) * channels;
            size_t to = (i * op->out.shape.w + j) * width;
            for (size_t c = 0; c < width; c++)
                store(op, out, to + c,
                      c < channels ? load(&op->in[0], x, from + c) : op->in[0].form.zero);
        }
}

/* With n values q of an example's group, S = sum q, V = n sum q^2 - S^2 + n^2 epsilon:
 *   y = (n q - S) / sqrt(V) * scale_c + shift_c */
static void run_norm(const fq_op *op, void *workspace) {
    const int16_t *x = at(workspace, op->in[0].place);
    void          *out = at(workspace, op->out.place);
    size_t         channels = op->out.shape.c, depth = channels / op->groups;
    size_t         pixels = (size_t)op->out.shape.h * op->out.shape.w;
    int64_t        n = (int64_t)(depth * pixels);
    for (size_t g = 0; g < op->groups; g++) {
        int64_t sum = 0, squares = 0;
        for (size_t p = 0; p < pixels; p++)
            for (size_t c = g * depth; c < (g + 1) * depth; c++) {
                int32_t q = x[p * channels + c];
                sum += q;
                squares += (int64_t)q * q;
            }
        uint64_t v = (uint64_t)n * (uint64_t)squares - (uint64_t)(sum * sum) + op->epsilon;
        fq_root  r = fq_inverse_root(v > 0 ? v : 1);
        int      shift = 22 + op->gain_shift - r.twice - FQ_NORM_FRACTION;
        for (size_t c = g * depth; c < (g + 1) * depth; c++) {
            int64_t gain = (r.root * op->gain[c] + ((int64_t)1 << 25)) >> 26;
            for (size_t p = 0; p < pixels; p++) {
                int64_t d = n * x[p * channels + c] - sum;
                int64_t y = fq_scale_down(d * gain, shift) + op->shift[c];
                y = (y + (1 << (FQ_NORM_FRACTION - 1))) >> FQ_NORM_FRACTION;
                store(op, out, p * channels + c, y + op->out.form.zero);
            }
        }
    }
}

static void run_transpose(const fq_op *op, void *workspace) {
    size_t channels = op->in[0].shape.c, pixels = (size_t)op->in[0].shape.h * op->in[0].shape.w;
    bool   narrow = op->in[0].form.holding == FQ_NARROW;
    const uint8_t *x8 = at(workspace, op->in[0].place);
    const int16_t *x16 = at(workspace, op->in[0].place);
    uint8_t       *y8 = at(workspace, op->out.place);
    int16_t       *y16 = at(workspace, op->out.place);
    for (size_t c = 0; c < channels; c++)
        for (size_t p = 0; p < pixels; p++) {
            if (narrow)
                y8[c * pixels + p] = x8[p * channels + c];
            else
                y16[c * pixels + p] = x16[p * channels + c];
        }
}

/* ---- the whole ---- */

static void run_op(const fq_infer *infer, const fq_op *op, void *workspace) {
    switch (op->kind) {
    case FQ_OP_MATMUL: run_matmul(infer, op, workspace); break;
    case FQ_OP_NARROW: run_narrow(op, workspace); break;
    case FQ_OP_CLAMP: run_clamp(op, workspace); break;
    case FQ_OP_MAX_POOL: run_max_pool(op, workspace); break;
    case FQ_OP_AVERAGE: run_average(op, workspace); break;
    case FQ_OP_ADD: run_add(op, workspace); break;
    case FQ_OP_SHORTCUT: run_shortcut(op, workspace); break;
    case FQ_OP_NORM: run_norm(op, workspace); break;
    case FQ_OP_TRANSPOSE: run_transpose(op, workspace); break;
    }
}

/* The only place where numbers are not integers: x [C, H, W] becomes codes [H, W, C]. */
static void enter(const fq_operand *input, const float *x, void *to) {
    size_t channels = input->shape.c, pixels = (size_t)input->shape.h * input->shape.w;
    for (size_t c = 0; c < channels; c++)
        for (size_t p = 0; p < pixels; p++) {
            int32_t code = fq_form_code(&input->form, x[c * pixels + p]);
            if (input->form.holding == FQ_NARROW)
                ((uint8_t *)to)[p * channels + c] = (uint8_t)code;
            else
                ((int16_t *)to)[p * channels + c] = (int16_t)code;
        }
}

void fq_infer_run(const fq_infer *infer, void *workspace, const float *x, int32_t *logits) {
    enter(&infer->input, x, at(workspace, infer->input.place));
    for (size_t i = 0; i < infer->n_ops; i++)
        run_op(infer, &infer->ops[i], workspace);
    const void *y = at(workspace, infer->output.place);
    for (size_t i = 0; i < fq_infer_classes(infer); i++)
        logits[i] = infer->output.form.holding == FQ_LOGITS ? ((const int32_t *)y)[i]
                                                            : load(&infer->output, y, i);
}

size_t fq_infer_features(const fq_infer *infer) {
    return fq_shape_count(infer->input.shape);
}

size_t fq_infer_classes(const fq_infer *infer) {
    return fq_shape_count(infer->output.shape);
}

size_t fq_infer_bytes(const fq_infer *infer) {
    return infer->bytes;
}

size_t fq_infer_packed_bytes(const fq_infer *infer) {
    return infer->packed_bytes;
}

size_t fq_infer_workspace_bytes(const fq_infer *infer) {
    return infer->workspace;
}

float fq_infer_scale(const fq_infer *infer) {
    return (float)infer->output.form.scale;
}

size_t fq_infer_best(const int32_t *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

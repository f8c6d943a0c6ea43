/* From a quantized model to integer operations.
 *
 * A value is held in the narrow grid of a site if nothing but that site reads it, directly or
 * through layers that only select among its codes; all other values are wide. */
#include "infer/infer_impl.h"
#include "quant/grid.h"
#include "quant/quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VALUES = FQ_MAX_LAYERS + 1, MAX_BUFFERS = 4 * MAX_VALUES, ALIGNMENT = 64 };
#define NONE SIZE_MAX

/* A piece of the workspace, from the operation that writes it to the last that reads it. */
typedef struct buffer {
    size_t size, first, last, place;
} buffer;

typedef struct lowering {
    fq_infer              *infer;
    const fq_modelfile    *file;
    const fq_model        *model;
    const fq_network      *network;
    const fq_quantization *quantization;
    size_t                 readers[MAX_VALUES];
    const fq_site_range   *grid[MAX_VALUES];   /* narrow; NULL: wide */
    size_t                 buffer[MAX_VALUES]; /* where a value is */
    fq_form                form[MAX_VALUES];
    size_t                 maker[MAX_VALUES]; /* operation whose result it is, and only it; NONE */
    buffer                 buffers[MAX_BUFFERS];
    size_t                 n_buffers;
    size_t                 in_buffer[3 * MAX_VALUES][2], out_buffer[3 * MAX_VALUES];
} lowering;

/* ---- memory ---- */

static void *take(fq_infer *infer, size_t count, size_t size) {
    size_t bytes;
    if (!fq_size_mul(count > 0 ? count : 1, size, &bytes))
        return NULL;
    void *memory = infer->allocator.allocate(infer->allocator.context, bytes);
    if (memory != NULL) {
        memset(memory, 0, bytes);
        infer->bytes += bytes;
    }
    return memory;
}

static fq_status no_memory(void) {
    return fq_fail(FQ_ENOMEM, "no memory for integer inference");
}

/* ---- what kind of layer ---- */

static bool is_layer(const lowering *l, size_t layer, const char *name) {
    return strcmp(l->network->layers[layer].layer, name) == 0;
}

static bool has_weights(const lowering *l, size_t layer) {
    return is_layer(l, layer, "conv2d") || is_layer(l, layer, "dense");
}

/* Its output is some of the codes of its input, in another order or clipped. */
static bool only_selects(const lowering *l, size_t layer) {
    static const char *const names[] = {"relu",    "relu6",   "max_pool2d",
                                        "flatten", "dropout", "shortcut"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_layer(l, layer, names[i]))
            return true;
    return false;
}

static size_t site_of(const lowering *l, size_t layer) {
    for (size_t s = 0; s < fq_model_site_count(l->model); s++)
        if (fq_model_site_layer(l->model, s) == layer)
            return s;
    return NONE;
}

/* ---- forms ---- */

static fq_form narrow_form(const fq_site_range *site) {
    return (fq_form){FQ_NARROW, (double)site->scale, site->zero, (1 << site->bits) - 1};
}

/* Twice the magnitude that calibration saw has room. */
static fq_form wide_form(const lowering *l, size_t value) {
    double peak = (double)l->quantization->peaks[value];
    return (fq_form){FQ_WIDE, 2.0 * (peak > 0 ? peak : 1.0) / FQ_WIDE_TOP, 0, FQ_WIDE_TOP};
}

static fq_form form_of(const lowering *l, size_t value) {
    return l->grid[value] != NULL ? narrow_form(l->grid[value]) : wide_form(l, value);
}

static bool same_grid(const fq_site_range *a, const fq_site_range *b) {
    return a->bits == b->bits && a->zero == b->zero &&
           memcmp(&a->scale, &b->scale, sizeof a->scale) == 0;
}

/* From the last value to the first: which grid, if any, all readers agree on. */
static void choose_grids(lowering *l) {
    for (size_t v = l->network->n_layers + 1; v-- > 0;) {
        const fq_site_range *grid = NULL;
        bool                 agreed = v != l->network->n_layers;
        for (size_t i = 0; i < l->network->n_layers; i++)
            for (size_t k = 0; k < fq_model_layer_inputs(l->model, i); k++) {
                if (fq_model_layer_input(l->model, i, k) != v)
                    continue;
                const fq_site_range *wanted = NULL;
                if (has_weights(l, i))
                    wanted = &l->quantization->sites[site_of(l, i)];
                else if (only_selects(l, i))
                    wanted = l->grid[i + 1];
                agreed = agreed && wanted != NULL && (grid == NULL || same_grid(grid, wanted));
                grid = wanted;
            }
        l->grid[v] = agreed ? grid : NULL;
    }
}

static void count_readers(lowering *l) {
    l->readers[l->network->n_layers] = 1;
    for (size_t i = 0; i < l->network->n_layers; i++)
        for (size_t k = 0; k < fq_model_layer_inputs(l->model, i); k++)
            l->readers[fq_model_layer_input(l->model, i, k)]++;
}

/* ---- ratios ---- */

static fq_status ratio_make(double ratio, fq_ratio *out) {
    int    exponent;
    double mantissa = frexp(ratio, &exponent);
    double factor = floor(ldexp(mantissa, 22) + 0.5);
    if (factor >= 4194304.0) {
        factor /= 2;
        exponent++;
    }
    int shift = 22 - exponent;
    if (!(ratio >= 0.0) || shift < 1)
        return fq_fail(FQ_ELIMIT, "a ratio of scales of %g; expected less than 2^21", ratio);
    /* Less than half a code whatever the sum. */
    *out =
        shift > 53 || ratio == 0.0 ? (fq_ratio){0, 1} : (fq_ratio){(int32_t)factor, (uint8_t)shift};
    return FQ_OK;
}

/* ---- buffers and operations ---- */

static size_t holding_bytes(fq_holding holding) {
    return holding == FQ_NARROW ? 1 : holding == FQ_WIDE ? 2 : 4;
}

static size_t new_buffer(lowering *l, fq_shape shape, const fq_form *form) {
    l->buffers[l->n_buffers] =
        (buffer){.size = (fq_shape_count(shape) * holding_bytes(form->holding) + ALIGNMENT - 1) /
                         ALIGNMENT * ALIGNMENT,
                 .first = l->infer->n_ops,
                 .last = l->infer->n_ops};
    return l->n_buffers++;
}

static fq_operand operand_of(const lowering *l, size_t value) {
    return (fq_operand){.shape = fq_model_value_shape(l->model, value), .form = l->form[value]};
}

/* Append an operation that reads buffers a and b (or NONE) and writes buffer `out`. */
static fq_op *append(lowering *l, fq_op_kind kind, size_t a, size_t b, size_t out) {
    size_t at = l->infer->n_ops++;
    fq_op *op = &l->infer->ops[at];
    l->in_buffer[at][0] = a;
    l->in_buffer[at][1] = b;
    l->out_buffer[at] = out;
    l->buffers[a].last = at;
    if (b != NONE)
        l->buffers[b].last = at;
    *op = (fq_op){.kind = kind, .groups = 1};
    return op;
}

/* The layer's output is the next operation's result. */
static fq_op *append_layer(lowering *l, fq_op_kind kind, size_t layer, fq_form form) {
    size_t a = fq_model_layer_input(l->model, layer, 0), b = NONE;
    size_t value = layer + 1;
    l->form[value] = form;
    l->buffer[value] = new_buffer(l, fq_model_value_shape(l->model, value), &form);
    l->maker[value] = l->infer->n_ops;
    if (fq_model_layer_inputs(l->model, layer) > 1)
        b = fq_model_layer_input(l->model, layer, 1);
    fq_op *op = append(l, kind, l->buffer[a], b == NONE ? NONE : l->buffer[b], l->buffer[value]);
    op->in[0] = operand_of(l, a);
    if (b != NONE)
        op->in[1] = operand_of(l, b);
    op->out = operand_of(l, value);
    op->low = fq_form_low(&form);
    op->high = form.top;
    return op;
}

/* The layer's output is its input, where that lies. */
static void alias(lowering *l, size_t layer) {
    size_t from = fq_model_layer_input(l->model, layer, 0), value = layer + 1;
    l->form[value] = l->form[from];
    l->buffer[value] = l->buffer[from];
    l->maker[value] = l->readers[from] == 1 ? l->maker[from] : NONE;
}

/* ---- layers ---- */

static void set_window(const lowering *l, size_t layer, size_t usual_stride, fq_op *op) {
    const fq_layer_spec *spec = &l->network->layers[layer];
    op->kernel_h = op->kernel_w = (size_t)spec->kernel;
    op->stride = spec->stride > 0 ? (size_t)spec->stride : usual_stride;
    op->pad = (size_t)spec->pad;
}

/* [H, W, C] -> [C, H, W] in front of a layer that counts features so. Returns the buffer. */
static size_t transpose(lowering *l, size_t from, fq_shape shape, const fq_form *form) {
    size_t out = new_buffer(l, shape, form);
    fq_op *op = append(l, FQ_OP_TRANSPOSE, from, NONE, out);
    op->in[0] = op->out = (fq_operand){.shape = shape, .form = *form};
    return out;
}

static bool order_matters(fq_shape shape) {
    return shape.c > 1 && (size_t)shape.h * shape.w > 1;
}

static fq_status lower_flatten(lowering *l, size_t layer) {
    size_t   from = fq_model_layer_input(l->model, layer, 0), value = layer + 1;
    fq_shape shape = fq_model_value_shape(l->model, from);
    if (!order_matters(shape)) {
        alias(l, layer);
        return FQ_OK;
    }
    l->form[value] = l->form[from];
    l->maker[value] = NONE;
    l->buffer[value] = transpose(l, l->buffer[from], shape, &l->form[from]);
    return FQ_OK;
}

static void read_tensor(const lowering *l, const fq_tensor *tensor, float *out) {
    for (size_t t = 0; t < fq_model_tensor_count(l->model); t++)
        if (fq_model_tensor(l->model, t) == tensor)
            fq_modelfile_values(l->file, t, out);
}

/* Weights of one channel as numbers: their sum, and that of their magnitudes. */
static fq_status sum_rows(lowering *l, const fq_op *op, size_t channels, int64_t *sums,
                          int64_t *magnitudes) {
    int8_t *row = malloc(op->row);
    if (row == NULL)
        return no_memory();
    const unsigned char *end = l->file->data.data + l->file->data.size;
    for (size_t c = 0; c < channels; c++) {
        l->infer->kernels->unpack(op->packed, end, c * op->row, op->row, op->bits, op->unit,
                                  op->least, row);
        sums[c] = magnitudes[c] = 0;
        for (size_t i = 0; i < op->row; i++) {
            sums[c] += row[i];
            magnitudes[c] += row[i] < 0 ? -row[i] : row[i];
        }
    }
    free(row);
    return FQ_OK;
}

/* What is done with the sum of channel c, whose scale is `scale`. Sum and bias are below 2^30 such
 * scales, so that with the factor they are below 2^53 together. */
static fq_status set_channel(const fq_op *op, size_t c, double scale, double bias, int64_t sum,
                             int64_t magnitude) {
    const int64_t limit = (int64_t)1 << 30;
    int64_t       offset = -(int64_t)op->in[0].form.zero * sum;
    if (!(fabs(bias) < scale * (double)limit))
        return fq_fail(FQ_ELIMIT,
                       "channel %zu: a bias of %g at a scale of %g; expected less than 2^30 scales",
                       c, bias, scale);
    if (magnitude * op->in[0].form.top + llabs(offset) >= limit)
        return fq_fail(FQ_ELIMIT, "channel %zu: %zu products do not fit into 30 bits", c, op->row);
    FQ_TRY(ratio_make(scale / op->out.form.scale, &op->ratios[c]));
    op->offset[c] = (int32_t)offset;
    if (op->ratios[c].factor > 0)
        op->bias[c] = (int64_t)floor(bias / scale * op->ratios[c].factor + 0.5);
    return FQ_OK;
}

static fq_status set_channels(lowering *l, size_t layer, const fq_codes *codes, const fq_op *op) {
    size_t           channels = op->out.shape.c;
    const fq_tensor *bias = fq_model_layer_tensor(l->model, layer, FQ_BIAS);
    float           *values = calloc(channels, sizeof *values);
    int64_t         *sums = calloc(2 * channels, sizeof *sums);
    fq_status        status = values == NULL || sums == NULL ? no_memory() : FQ_OK;
    if (status == FQ_OK && bias != NULL)
        read_tensor(l, bias, values);
    if (status == FQ_OK)
        status = sum_rows(l, op, channels, sums, sums + channels);
    for (size_t c = 0; status == FQ_OK && c < channels; c++) {
        double scale = (double)codes->scales[codes->groups == 1 ? 0 : c] / op->unit;
        status = set_channel(op, c, op->in[0].form.scale * scale, (double)values[c], sums[c],
                             sums[channels + c]);
    }
    free(values);
    free(sums);
    return status;
}

/* Logits share a scale, which is finer than that of the channels' sums as far as 30 bits allow. */
static fq_form logits_form(const fq_codes *codes, const fq_form *in, int32_t unit, size_t row) {
    double largest = 0, sum = (double)row * in->top * (double)(1 << codes->bits);
    int    finer = 0;
    for (uint32_t g = 0; g < codes->groups; g++)
        largest = fmax(largest, (double)codes->scales[g]);
    while (finer < 8 && ldexp(sum, finer) < 0x1p29)
        finer++;
    return (fq_form){FQ_LOGITS, ldexp(in->scale * (largest / unit), -finer), 0, INT32_MAX};
}

static fq_status lower_matmul(lowering *l, size_t layer) {
    size_t               value = fq_model_layer_input(l->model, layer, 0), from = l->buffer[value];
    size_t               site = site_of(l, layer);
    const fq_codes      *codes = &l->quantization->codes[site];
    const fq_layer_spec *spec = &l->network->layers[layer];
    bool                 dense = is_layer(l, layer, "dense");
    fq_shape             shape = fq_model_value_shape(l->model, value);
    fq_form              grid = narrow_form(&l->quantization->sites[site]);
    if (codes->grid != FQ_GRID_SIGNED && codes->grid != FQ_GRID_NARROW)
        return fq_fail(FQ_EINVAL, "weights on the grid %s; expected signed or narrow ones",
                       fq_grid_names[codes->grid]);
    if (l->form[value].holding == FQ_WIDE) {
        from = new_buffer(l, shape, &grid);
        fq_op *narrow = append(l, FQ_OP_NARROW, l->buffer[value], NONE, from);
        narrow->in[0] = operand_of(l, value);
        narrow->out = (fq_operand){.shape = shape, .form = grid};
        narrow->high = grid.top;
        FQ_TRY(ratio_make(l->form[value].scale / grid.scale, &narrow->ratio[0]));
    }
    if (dense && order_matters(shape))
        from = transpose(l, from, shape, &grid);
    int32_t          unit = codes->bits == 1 ? 2 : 1;
    bool             last = layer + 1 == l->network->n_layers;
    const fq_tensor *weights = fq_model_layer_tensor(l->model, layer, FQ_WEIGHT);
    fq_op           *op =
        append_layer(l, FQ_OP_MATMUL, layer,
                     last ? logits_form(codes, &grid, unit, weights->count / weights->shape[0])
                          : form_of(l, layer + 1));
    l->in_buffer[l->infer->n_ops - 1][0] = from;
    l->buffers[from].last = l->infer->n_ops - 1;
    op->in[0] = (fq_operand){.shape = shape, .form = grid};
    op->packed = codes->packed;
    op->bits = codes->bits;
    op->unit = unit;
    op->least = unit == 2 ? -1 : fq_codes_low(codes);
    op->groups = dense ? 1 : fq_model_layer_groups(l->model, layer);
    if (dense) { /* a convolution of one pixel */
        op->in[0].shape = (fq_shape){(uint32_t)fq_shape_count(shape), 1, 1};
        op->kernel_h = op->kernel_w = op->stride = 1;
    } else {
        set_window(l, layer, 1, op);
    }
    op->row = op->in[0].shape.c / op->groups * op->kernel_h * op->kernel_w;
    /* The largest magnitude of two products. */
    int32_t pair = 2 * grid.top * (unit == 2 ? 1 : 1 << (codes->bits - 1));
    op->groups_of_16 = (unsigned)(INT16_MAX / pair);
    size_t channels = (size_t)spec->out;
    l->infer->packed_bytes += fq_packed_bytes(channels * op->row, op->bits);
    op->offset = take(l->infer, channels, sizeof *op->offset);
    op->ratios = take(l->infer, channels, sizeof *op->ratios);
    op->bias = take(l->infer, channels, sizeof *op->bias);
    if (op->offset == NULL || op->ratios == NULL || op->bias == NULL)
        return no_memory();
    if (fq_padded_row(op->row) > l->infer->padded_row)
        l->infer->padded_row = fq_padded_row(op->row);
    return set_channels(l, layer, codes, op);
}

/* y = max(x, 0), or min(max(x, 0), 6): where x alone is the result of an operation that clips, it
 * clips to fewer codes. */
static fq_status lower_relu(lowering *l, size_t layer) {
    size_t  from = fq_model_layer_input(l->model, layer, 0), maker = l->maker[from];
    fq_form form = l->form[from];
    int32_t high = form.top;
    if (is_layer(l, layer, "relu6"))
        high = fq_form_code(&form, 6.0f);
    bool joins = maker != NONE && l->readers[from] == 1 &&
                 l->infer->ops[maker].kind != FQ_OP_MAX_POOL &&
                 l->infer->ops[maker].kind != FQ_OP_SHORTCUT;
    fq_op *op = joins ? &l->infer->ops[maker] : append_layer(l, FQ_OP_CLAMP, layer, form);
    if (joins)
        alias(l, layer);
    op->low = op->low > form.zero ? op->low : form.zero;
    op->high = op->high < high ? op->high : high;
    return FQ_OK;
}

static fq_status lower_max_pool(lowering *l, size_t layer) {
    fq_form form = l->form[fq_model_layer_input(l->model, layer, 0)];
    fq_op  *op = append_layer(l, FQ_OP_MAX_POOL, layer, form);
    set_window(l, layer, (size_t)l->network->layers[layer].kernel, op);
    return FQ_OK;
}

static fq_status lower_average(lowering *l, size_t layer) {
    fq_op *op = append_layer(l, FQ_OP_AVERAGE, layer, form_of(l, layer + 1));
    if (is_layer(l, layer, "avg_pool2d")) {
        set_window(l, layer, (size_t)l->network->layers[layer].kernel, op);
    } else {
        op->kernel_h = op->in[0].shape.h;
        op->kernel_w = op->in[0].shape.w;
        op->stride = 1;
    }
    double n = (double)op->kernel_h * (double)op->kernel_w;
    if (n > 65536.0)
        return fq_fail(FQ_ELIMIT, "a mean of %g pixels; expected at most 65536", n);
    return ratio_make(op->in[0].form.scale / n / op->out.form.scale, &op->ratio[0]);
}

static fq_status lower_add(lowering *l, size_t layer) {
    fq_op *op = append_layer(l, FQ_OP_ADD, layer, form_of(l, layer + 1));
    double a = op->in[0].form.scale / op->out.form.scale;
    double b = op->in[1].form.scale / op->out.form.scale;
    FQ_TRY(ratio_make(fmax(a, b), &op->ratio[0]));
    op->ratio[1] = op->ratio[0];
    if (op->ratio[0].factor > 0) {
        op->ratio[0].factor = (int32_t)floor(ldexp(a, op->ratio[0].shift) + 0.5);
        op->ratio[1].factor = (int32_t)floor(ldexp(b, op->ratio[1].shift) + 0.5);
    }
    return FQ_OK;
}

static fq_status lower_shortcut(lowering *l, size_t layer) {
    fq_form form = l->form[fq_model_layer_input(l->model, layer, 0)];
    fq_op  *op = append_layer(l, FQ_OP_SHORTCUT, layer, form);
    set_window(l, layer, 1, op);
    return FQ_OK;
}

static double clamp_to(double x, double limit) {
    return x < -limit ? -limit : x > limit ? limit : x;
}

static fq_status set_gains(lowering *l, size_t layer, fq_op *op) {
    size_t channels = op->out.shape.c;
    float *gain = calloc(2 * channels, sizeof *gain), *shift = gain + channels, largest = 0;
    if (gain == NULL)
        return no_memory();
    read_tensor(l, fq_model_layer_tensor(l->model, layer, FQ_NORM_SCALE), gain);
    read_tensor(l, fq_model_layer_tensor(l->model, layer, FQ_NORM_SHIFT), shift);
    for (size_t c = 0; c < channels; c++)
        largest = fmaxf(largest, fabsf(gain[c]));
    int exponent;
    (void)frexp((double)largest / op->out.form.scale, &exponent);
    op->gain_shift = 22 - exponent;
    for (size_t c = 0; c < channels; c++) {
        op->gain[c] =
            (int32_t)floor(ldexp((double)gain[c] / op->out.form.scale, op->gain_shift) + 0.5);
        op->shift[c] = (int32_t)clamp_to(
            floor(ldexp((double)shift[c] / op->out.form.scale, FQ_NORM_FRACTION) + 0.5),
            1073741824.0);
    }
    free(gain);
    return FQ_OK;
}

static fq_status lower_norm(lowering *l, size_t layer) {
    fq_op *op = append_layer(l, FQ_OP_NORM, layer, form_of(l, layer + 1));
    op->groups = fq_model_layer_groups(l->model, layer);
    double n = (double)fq_shape_count(op->in[0].shape) / (double)op->groups;
    if (n > FQ_NORM_VALUES)
        return fq_fail(FQ_ELIMIT, "groups of %g values; expected at most %d", n, FQ_NORM_VALUES);
    double epsilon = l->network->layers[layer].epsilon, scale = op->in[0].form.scale;
    epsilon = floor(n * n * epsilon / (scale * scale) + 0.5);
    op->epsilon = epsilon >= 4611686018427387904.0 ? (uint64_t)1 << 62
                  : epsilon > 0                    ? (uint64_t)epsilon
                                                   : 0;
    op->gain = take(l->infer, op->out.shape.c, sizeof *op->gain);
    op->shift = take(l->infer, op->out.shape.c, sizeof *op->shift);
    if (op->gain == NULL || op->shift == NULL)
        return no_memory();
    return set_gains(l, layer, op);
}

static fq_status lower_dropout(lowering *l, size_t layer) {
    alias(l, layer);
    return FQ_OK;
}

static const struct {
    const char *layer;
    fq_status (*lower)(lowering *l, size_t layer);
} lowerings[] = {
    {"conv2d", lower_matmul},
    {"dense", lower_matmul},
    {"relu", lower_relu},
    {"relu6", lower_relu},
    {"max_pool2d", lower_max_pool},
    {"avg_pool2d", lower_average},
    {"global_avg_pool", lower_average},
    {"add", lower_add},
    {"shortcut", lower_shortcut},
    {"group_norm", lower_norm},
    {"flatten", lower_flatten},
    {"dropout", lower_dropout},
};

static fq_status lower_layer(lowering *l, size_t layer) {
    for (size_t i = 0; i < sizeof lowerings / sizeof *lowerings; i++)
        if (is_layer(l, layer, lowerings[i].layer))
            return lowerings[i].lower(l, layer);
    if (is_layer(l, layer, "batch_norm"))
        return fq_fail(FQ_EINVAL,
                       "batch_norm in integers; expected one that alone reads a conv2d or "
                       "dense layer, into which an export folds it");
    return fq_fail(FQ_EINVAL, "%s cannot run in integers", l->network->layers[layer].layer);
}

/* ---- places ---- */

static bool collide(const buffer *a, const buffer *b) {
    bool apart = b->last < a->first || a->last < b->first;
    return !apart && a->place < b->place + b->size && b->place < a->place + a->size;
}

/* Lowest places first; buffers that are needed at one time do not overlap. */
static void place_buffers(lowering *l) {
    size_t end = 0;
    for (size_t i = 0; i < l->n_buffers; i++) {
        buffer *b = &l->buffers[i];
        b->place = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (size_t k = 0; k < i; k++)
                if (collide(b, &l->buffers[k])) {
                    b->place = l->buffers[k].place + l->buffers[k].size;
                    moved = true;
                }
        }
        end = b->place + b->size > end ? b->place + b->size : end;
    }
    for (size_t i = 0; i < l->infer->n_ops; i++) {
        fq_op *op = &l->infer->ops[i];
        op->in[0].place = l->buffers[l->in_buffer[i][0]].place;
        if (l->in_buffer[i][1] != NONE)
            op->in[1].place = l->buffers[l->in_buffer[i][1]].place;
        op->out.place = l->buffers[l->out_buffer[i]].place;
    }
    size_t n = l->network->n_layers;
    l->infer->input = operand_of(l, 0);
    l->infer->input.place = l->buffers[l->buffer[0]].place;
    l->infer->output = operand_of(l, n);
    l->infer->output.place = l->buffers[l->buffer[n]].place;
    l->infer->scratch = end;
    /* Rows, twice that arranged, one row as it is unpacked, pixels, sums. */
    l->infer->workspace = end + (3 * FQ_INT_ROWS + 1 + FQ_PIXEL_BLOCK) * l->infer->padded_row +
                          FQ_INT_ROWS * FQ_PIXEL_BLOCK * sizeof(int32_t);
}

static fq_status lower_model(lowering *l) {
    count_readers(l);
    choose_grids(l);
    l->form[0] = form_of(l, 0);
    l->buffer[0] = new_buffer(l, l->network->input, &l->form[0]);
    l->maker[0] = NONE;
    for (size_t i = 0; i < l->network->n_layers; i++) {
        fq_status status = lower_layer(l, i);
        if (status != FQ_OK) {
            fq_add_context("layer %zu (%s)", i + 1, l->network->layers[i].name);
            return status;
        }
    }
    l->buffers[l->buffer[l->network->n_layers]].last = l->infer->n_ops;
    place_buffers(l);
    return FQ_OK;
}

static fq_status check_file(const fq_modelfile *file) {
    if (!file->quantized)
        return fq_fail(FQ_EINVAL, "the model is float; `fedq-sim export` quantizes it");
    if (file->quantization.sites == NULL)
        return fq_fail(FQ_EINVAL,
                       "only the weights are quantized; expected activations of 8 bits or less");
    for (size_t s = 0; s < file->quantization.n; s++)
        if (file->quantization.codes[s].bits == 0)
            return fq_fail(FQ_EINVAL, "weights %zu are float; expected codes everywhere", s + 1);
    return FQ_OK;
}

static void *allocate(void *context, size_t size) {
    (void)context;
    return malloc(size);
}

static void release(void *context, void *memory) {
    (void)context;
    free(memory);
}

const fq_allocator fq_allocator_malloc = {NULL, allocate, release};

fq_status fq_infer_create(fq_infer **out, const fq_modelfile *file, const fq_allocator *allocator) {
    *out = NULL;
    FQ_TRY(check_file(file));
    fq_allocator memory = allocator != NULL ? *allocator : fq_allocator_malloc;
    fq_infer    *infer = memory.allocate(memory.context, sizeof *infer);
    lowering    *l = calloc(1, sizeof *l);
    if (infer == NULL || l == NULL) {
        if (infer != NULL)
            memory.release(memory.context, infer);
        free(l);
        return no_memory();
    }
    *infer =
        (fq_infer){.allocator = memory, .kernels = fq_int_kernels_get(), .bytes = sizeof *infer};
    *l = (lowering){.infer = infer,
                    .file = file,
                    .model = file->model,
                    .network = fq_model_network(file->model),
                    .quantization = &file->quantization};
    /* At most a narrowing, a transposition and itself for each layer. */
    infer->ops = take(infer, 3 * l->network->n_layers, sizeof *infer->ops);
    fq_status status = infer->ops == NULL ? no_memory() : lower_model(l);
    free(l);
    *out = infer;
    if (status != FQ_OK)
        fq_infer_destroy(out);
    return status;
}

void fq_infer_destroy(fq_infer **infer) {
    if (*infer == NULL)
        return;
    fq_allocator memory = (*infer)->allocator;
    for (size_t i = 0; (*infer)->ops != NULL && i < (*infer)->n_ops; i++) {
        fq_op *op = &(*infer)->ops[i];
        void  *pieces[] = {op->offset, op->ratios, op->bias, op->gain, op->shift};
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++)
            if (pieces[k] != NULL)
                memory.release(memory.context, pieces[k]);
    }
    if ((*infer)->ops != NULL)
        memory.release(memory.context, (*infer)->ops);
    memory.release(memory.context, *infer);
    *infer = NULL;
}

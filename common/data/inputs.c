#include "data/inputs.h"

#include "base/file.h"
#include "data/data_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const fq_raw_type_names[] = {"u8", "f32", NULL};

static const size_t value_bytes[] = {1, 4, 8};

static fq_status misfit(const fq_inputs *inputs, size_t values) {
    fq_shape s = inputs->shape;
    return fq_fail(FQ_EPROTO,
                   "%s holds %zu values; the model takes examples of %" PRIu32 "x%" PRIu32
                   "x%" PRIu32,
                   inputs->path, values, s.c, s.h, s.w);
}

/* So many examples of the shape, if `values` is a multiple of it. */
static fq_status count_examples(fq_inputs *inputs, size_t values) {
    size_t features = fq_shape_count(inputs->shape);
    if (values == 0 || values % features != 0)
        return misfit(inputs, values);
    inputs->n = values / features;
    return FQ_OK;
}

/* One example, or a first dimension that counts examples. */
static fq_status check_dims(const fq_inputs *inputs, const size_t *dims, size_t values) {
    return inputs->n == 1 || dims[0] == inputs->n ? FQ_OK : misfit(inputs, values);
}

static fq_status read_npy(fq_inputs *inputs) {
    fq_npy array;
    size_t values = 1;
    FQ_TRY(fq_npy_parse(inputs->path, inputs->bytes, &array));
    for (unsigned i = 0; i < array.rank; i++) /* the parser has checked the product */
        values *= array.dims[i];
    switch (array.type) {
    case FQ_NPY_U8: inputs->type = FQ_INPUT_U8; break;
    case FQ_NPY_F32: inputs->type = FQ_INPUT_F32; break;
    case FQ_NPY_F64: inputs->type = FQ_INPUT_F64; break;
    default:
        return fq_fail(FQ_EPROTO,
                       "%s: whole numbers of this type; expected uint8, float32 or "
                       "float64",
                       inputs->path);
    }
    inputs->data = array.data;
    FQ_TRY(count_examples(inputs, values));
    return check_dims(inputs, array.dims, values);
}

static fq_status read_idx(fq_inputs *inputs, unsigned rank) {
    fq_idx idx;
    size_t values = 1;
    FQ_TRY(fq_idx_parse(inputs->path, inputs->bytes, rank, &idx));
    for (unsigned i = 0; i < rank; i++)
        values *= idx.dims[i];
    inputs->type = FQ_INPUT_U8;
    inputs->data = idx.data;
    FQ_TRY(count_examples(inputs, values));
    return check_dims(inputs, idx.dims, values);
}

static fq_status read_raw(fq_inputs *inputs, fq_raw_type raw) {
    inputs->type = raw == FQ_RAW_U8 ? FQ_INPUT_U8 : FQ_INPUT_F32;
    inputs->data = inputs->bytes.data;
    size_t size = value_bytes[inputs->type];
    if (inputs->bytes.size % size != 0)
        return fq_fail(FQ_EPROTO, "%s has %zu bytes; expected a multiple of %zu", inputs->path,
                       inputs->bytes.size, size);
    return count_examples(inputs, inputs->bytes.size / size);
}

static fq_status interpret(fq_inputs *inputs, fq_raw_type raw) {
    static const unsigned char npy[] = "\x93NUMPY";
    fq_cbytes                  b = inputs->bytes;
    if (b.size >= 6 && memcmp(b.data, npy, 6) == 0)
        return read_npy(inputs);
    if (b.size >= 4 && b.data[0] == 0 && b.data[1] == 0 && b.data[2] == 8 && b.data[3] >= 1 &&
        b.data[3] <= 3)
        return read_idx(inputs, b.data[3]);
    return read_raw(inputs, raw);
}

fq_status fq_inputs_read(const char *path, fq_raw_type raw, fq_shape shape, fq_input_norm norm,
                         fq_inputs *out) {
    *out = (fq_inputs){.shape = shape, .norm = norm};
    snprintf(out->path, sizeof out->path, "%s", path);
    FQ_TRY(fq_file_read(path, FQ_DATA_FILE_LIMIT, &out->bytes));
    fq_status status = interpret(out, raw);
    if (status != FQ_OK)
        fq_inputs_fini(out);
    return status;
}

void fq_inputs_fini(fq_inputs *inputs) {
    free((void *)(uintptr_t)inputs->bytes.data);
    *inputs = (fq_inputs){0};
}

/* As data/gather.c has them: bytes in double, others in float. */
static float normalised(const fq_inputs *inputs, const unsigned char *at, float mean, float std) {
    if (inputs->type == FQ_INPUT_U8)
        return (float)((*at / 255.0 - (double)mean) / (double)std);
    float x;
    if (inputs->type == FQ_INPUT_F32) {
        memcpy(&x, at, sizeof x);
    } else {
        double wide;
        memcpy(&wide, at, sizeof wide);
        x = (float)wide;
    }
    return (x - mean) / std;
}

fq_status fq_inputs_get(const fq_inputs *inputs, size_t i, float *x) {
    size_t               plane = (size_t)inputs->shape.h * inputs->shape.w;
    size_t               features = fq_shape_count(inputs->shape), size = value_bytes[inputs->type];
    const unsigned char *at = inputs->data + i * features * size;
    for (size_t f = 0; f < features; f++, at += size) {
        size_t c = inputs->norm.n > 1 ? f / plane : 0;
        bool   norm = c < inputs->norm.n;
        x[f] = normalised(inputs, at, norm ? inputs->norm.mean[c] : 0.0f,
                          norm ? inputs->norm.std[c] : 1.0f);
        if (!isfinite(x[f]))
            return fq_fail(FQ_ENONFINITE, "%s: value %zu of example %zu is not a finite number",
                           inputs->path, f, i);
    }
    return FQ_OK;
}

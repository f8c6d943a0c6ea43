/* Layout and limits: docs/model-format.md. */
#include "model/modelfile.h"

#include "base/file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char MAGIC[8] = {'F', 'Q', 'M', 'O', 'D', 'E', 'L', 0};
enum {
    VERSION_FLOAT = 1, /* float32 values without gaps */
    VERSION_CODES = 2, /* codes, ranges of activations; every tensor aligned */
    PREFIX_BYTES = 16, /* magic, version, length of the header */
    CHECKSUM_BYTES = 4,
    MAX_HEADER_BYTES = 1 << 22,
    ALIGNMENT = 64, /* of the data */
    ENCODING_FLOAT32 = 0,
    ENCODING_CODES = 1,
    MAX_BITS = 8,
    LEAST_RECORD_BYTES = 29 /* of a tensor: no name, no axes */
};

/* Kinds by name, in the order of fq_tensor_kind. */
static const char *const KINDS[] = {"weight", "bias",      "scale", "shift",
                                    "step",   "statistic", "range"};
enum { N_KINDS = sizeof KINDS / sizeof *KINDS };

/* Grids of quant/grid.h, in the order of its enum, which the file keeps. */
enum { GRID_SIGNED, GRID_NARROW, GRID_UNSIGNED, GRID_ASYMMETRIC, N_GRIDS };

static size_t aligned(size_t size) {
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* ---- codes ---- */

int32_t fq_codes_low(const fq_codes *codes) {
    int32_t half = (int32_t)1 << (codes->bits - 1);
    if (codes->grid >= GRID_UNSIGNED)
        return 0;
    return codes->grid == GRID_NARROW && codes->bits > 1 ? 1 - half : -half;
}

/* The largest stored code. */
static unsigned largest_code(const fq_codes *codes) {
    unsigned all = (1U << codes->bits) - 1;
    return codes->grid == GRID_NARROW && codes->bits > 1 ? all - 1 : all;
}

unsigned fq_codes_stored(const fq_codes *codes, size_t i) {
    /* i * bits without overflow: eight codes take `bits` bytes. */
    size_t   bit = i % 8 * codes->bits, byte = i / 8 * codes->bits + bit / 8;
    unsigned shift = (unsigned)(bit % 8), value = (unsigned)codes->packed[byte] >> shift;
    if (shift + codes->bits > 8)
        value |= (unsigned)codes->packed[byte + 1] << (8 - shift);
    return value & ((1U << codes->bits) - 1);
}

/* scale (q - zero); of two levels scale (q + 1/2) */
float fq_codes_value(const fq_codes *codes, size_t group, unsigned stored) {
    bool    two_levels = codes->bits == 1 && codes->grid < GRID_UNSIGNED;
    int32_t q = (int32_t)stored + fq_codes_low(codes);
    if (codes->zeros != NULL)
        q -= codes->zeros[group];
    return codes->scales[group] * ((float)q + (two_levels ? 0.5f : 0.0f));
}

static size_t packed_bytes(size_t count, unsigned bits) {
    return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

/* Scales and zero points, before the codes. */
static size_t scale_bytes(const fq_codes *codes) {
    return aligned((size_t)codes->groups * (codes->grid == GRID_ASYMMETRIC ? 8 : 4));
}

static size_t tensor_bytes(const fq_tensor *tensor, const fq_codes *codes) {
    if (codes == NULL)
        return tensor->count * sizeof(float);
    return scale_bytes(codes) + packed_bytes(tensor->count, codes->bits);
}

void fq_quantization_fini(fq_quantization *quantization) {
    for (size_t i = 0; quantization->codes != NULL && i < quantization->n; i++) {
        free(quantization->codes[i].scales);
        free(quantization->codes[i].zeros);
    }
    free(quantization->codes);
    free(quantization->sites);
    free(quantization->peaks);
    *quantization = (fq_quantization){0};
}

/* Codes of a tensor, the `*next`-th of the weights if it is one; NULL: it is float. */
static const fq_codes *codes_of(const fq_quantization *quantization, const fq_tensor *tensor,
                                size_t *next) {
    if (quantization == NULL || quantization->n == 0 || tensor->kind != FQ_WEIGHT)
        return NULL;
    const fq_codes *codes = &quantization->codes[(*next)++];
    return codes->bits == 0 ? NULL : codes;
}

/* Where each tensor begins: version 1 has no gaps, and version 2 begins each at a multiple of 64.
 * Returns the size of the data. offsets [tensors]; no overflow: models have fewer than 2^31
 * values. */
static size_t lay_out(const fq_model *model, const fq_quantization *quantization, size_t *offsets) {
    size_t end = 0, next = 0;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        offsets[t] = quantization == NULL ? end : aligned(end);
        end = offsets[t] + tensor_bytes(tensor, codes_of(quantization, tensor, &next));
    }
    return end;
}

/* ---- writing ---- */

static void put_provenance(fq_buffer *out, const fq_provenance *from) {
    fq_put_text(out, from->dataset);
    fq_put_text(out, from->name);
    fq_put_text(out, from->settings_hash);
    fq_put_u64(out, from->seed);
    fq_put_u32(out, from->rounds);
    fq_put_u32(out, from->n_norm);
    fq_put_floats(out, from->mean, from->n_norm);
    fq_put_floats(out, from->std, from->n_norm);
}

static void put_network(fq_buffer *out, const fq_network *network) {
    fq_put_u32(out, network->input.c);
    fq_put_u32(out, network->input.h);
    fq_put_u32(out, network->input.w);
    fq_put_u32(out, network->n_classes);
    fq_put_u32(out, (uint32_t)network->n_layers);
    for (size_t i = 0; i < network->n_layers; i++) {
        const fq_layer_spec *spec = &network->layers[i];
        fq_put_text(out, spec->layer);
        fq_put_text(out, spec->name);
        fq_put_u32(out, (uint32_t)spec->from.n);
        for (size_t k = 0; k < spec->from.n; k++)
            fq_put_text(out, spec->from.v[k]);
        fq_put_u64(out, (uint64_t)spec->out);
        fq_put_u64(out, (uint64_t)spec->kernel);
        fq_put_u64(out, (uint64_t)spec->stride);
        fq_put_u64(out, (uint64_t)spec->pad);
        fq_put_u64(out, (uint64_t)spec->groups);
        fq_put_f64(out, spec->rate);
        fq_put_f64(out, spec->epsilon);
        fq_put_f64(out, spec->momentum);
        fq_put_u8(out, spec->bias);
    }
}

static void put_tensors(fq_buffer *out, const fq_model *model, const fq_quantization *quantization,
                        const size_t *offsets) {
    size_t next = 0;
    fq_put_u32(out, (uint32_t)fq_model_tensor_count(model));
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        const fq_codes  *codes = codes_of(quantization, tensor, &next);
        fq_put_text(out, tensor->name);
        fq_put_text(out, KINDS[tensor->kind]);
        fq_put_u8(out, codes == NULL ? ENCODING_FLOAT32 : ENCODING_CODES);
        fq_put_u32(out, tensor->layer);
        fq_put_floats(out, &tensor->initial, 1);
        fq_put_u32(out, tensor->n_axes);
        for (uint32_t axis = 0; axis < tensor->n_axes; axis++)
            fq_put_u32(out, tensor->shape[axis]);
        fq_put_u64(out, (uint64_t)offsets[t]);
        if (codes != NULL) {
            fq_put_u8(out, codes->bits);
            fq_put_u8(out, codes->grid);
            fq_put_u32(out, codes->groups);
        }
    }
}

static void put_ranges(fq_buffer *out, const fq_quantization *quantization) {
    size_t n = quantization->sites == NULL ? 0 : quantization->n;
    fq_put_u32(out, (uint32_t)n);
    for (size_t s = 0; s < n; s++) {
        const fq_site_range *site = &quantization->sites[s];
        fq_put_u8(out, site->bits);
        fq_put_u8(out, site->grid);
        fq_put_floats(out, &site->scale, 1);
        fq_put_u32(out, (uint32_t)site->zero);
    }
    size_t n_peaks = n == 0 ? 0 : quantization->n_values;
    fq_put_u32(out, (uint32_t)n_peaks);
    fq_put_floats(out, quantization->peaks, n_peaks);
}

static void put_data(fq_buffer *out, const fq_model *model, const float *w,
                     const fq_quantization *quantization) {
    size_t next = 0;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        const fq_codes  *codes = codes_of(quantization, tensor, &next);
        if (quantization != NULL)
            fq_put_padding(out, ALIGNMENT);
        if (codes == NULL) {
            fq_put_floats(out, w + tensor->offset, tensor->count);
            continue;
        }
        fq_put_floats(out, codes->scales, codes->groups);
        for (uint32_t g = 0; codes->grid == GRID_ASYMMETRIC && g < codes->groups; g++)
            fq_put_u32(out, (uint32_t)codes->zeros[g]);
        fq_put_padding(out, ALIGNMENT);
        fq_put_bytes(out, codes->packed, packed_bytes(tensor->count, codes->bits));
    }
}

static fq_status check_floats(const fq_tensor *tensor, const float *x) {
    for (size_t i = 0; i < tensor->count; i++)
        if (!isfinite(x[i]))
            return fq_fail(FQ_ENONFINITE, "%s: value %zu is not finite", tensor->name, i);
    return FQ_OK;
}

static fq_status check_values(const fq_model *model, const float *w,
                              const fq_quantization *quantization) {
    size_t next = 0;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        if (codes_of(quantization, tensor, &next) == NULL)
            FQ_TRY(check_floats(tensor, w + tensor->offset));
    }
    return FQ_OK;
}

static fq_status encode(const fq_model *model, const float *w, const fq_quantization *quantization,
                        const fq_provenance *from, fq_buffer *out) {
    if (from->n_norm > sizeof from->mean / sizeof *from->mean)
        return fq_fail(FQ_EINVAL, "a normalisation of %" PRIu32 " channels; expected at most 16",
                       from->n_norm);
    FQ_TRY(check_values(model, w, quantization));
    fq_buffer header = {0}, file = {0};
    size_t    n = fq_model_tensor_count(model), *offsets = calloc(n > 0 ? n : 1, sizeof *offsets);
    if (offsets == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a table of %zu tensors", n);
    lay_out(model, quantization, offsets);
    put_provenance(&header, from);
    if (quantization != NULL)
        fq_put_text(&header, quantization->float_hash);
    put_network(&header, fq_model_network(model));
    put_tensors(&header, model, quantization, offsets);
    if (quantization != NULL)
        put_ranges(&header, quantization);
    free(offsets);
    fq_put_bytes(&file, MAGIC, sizeof MAGIC);
    fq_put_u32(&file, quantization == NULL ? VERSION_FLOAT : VERSION_CODES);
    fq_put_u32(&file, (uint32_t)header.size);
    fq_put_bytes(&file, header.data, header.size);
    fq_put_padding(&file, ALIGNMENT);
    put_data(&file, model, w, quantization);
    if (!file.failed)
        fq_put_u32(&file, fq_crc32((fq_cbytes){file.data, file.size}));
    fq_put_bytes(out, file.data, file.size);
    bool failed = header.failed || file.failed || out->failed;
    fq_buffer_fini(&header);
    fq_buffer_fini(&file);
    return failed ? fq_fail(FQ_ENOMEM, "no memory for a model file of %zu values",
                            fq_model_size(model))
                  : FQ_OK;
}

fq_status fq_modelfile_encode(const fq_model *model, const float *w, const fq_provenance *from,
                              fq_buffer *out) {
    return encode(model, w, NULL, from, out);
}

fq_status fq_modelfile_encode_quantized(const fq_model *model, const float *w,
                                        const fq_quantization *quantization,
                                        const fq_provenance *from, fq_buffer *out) {
    return encode(model, w, quantization, from, out);
}

/* ---- reading ---- */

/* A text without control characters: it will be printed. */
static void get_text(fq_reader *reader, char *out, size_t capacity) {
    fq_get_text(reader, out, capacity);
    for (const char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            reader->failed = true;
}

static fq_status get_provenance(fq_reader *reader, fq_provenance *from) {
    memset(from, 0, sizeof *from);
    get_text(reader, from->dataset, sizeof from->dataset);
    get_text(reader, from->name, sizeof from->name);
    get_text(reader, from->settings_hash, sizeof from->settings_hash);
    from->seed = fq_get_u64(reader);
    from->rounds = fq_get_u32(reader);
    from->n_norm = fq_get_u32(reader);
    if (from->n_norm > sizeof from->mean / sizeof *from->mean)
        return fq_fail(FQ_ELIMIT, "a normalisation of %" PRIu32 " channels; expected at most 16",
                       from->n_norm);
    fq_get_floats(reader, from->mean, from->n_norm);
    fq_get_floats(reader, from->std, from->n_norm);
    for (uint32_t c = 0; c < from->n_norm && !reader->failed; c++)
        if (!isfinite(from->mean[c]) || !isfinite(from->std[c]) || from->std[c] <= 0.0f)
            return fq_fail(FQ_EPROTO,
                           "normalisation of channel %" PRIu32
                           ": mean %g, std %g; expected finite, std more than 0",
                           c, (double)from->mean[c], (double)from->std[c]);
    return FQ_OK;
}

static fq_status get_layer(fq_reader *reader, fq_layer_spec *spec) {
    get_text(reader, spec->layer, sizeof spec->layer);
    get_text(reader, spec->name, sizeof spec->name);
    spec->from.n = fq_get_u32(reader);
    if (spec->from.n > FQ_WORDS_LENGTH)
        return fq_fail(FQ_ELIMIT, "a layer reads %zu others; expected at most %d", spec->from.n,
                       FQ_WORDS_LENGTH);
    for (size_t k = 0; k < spec->from.n; k++)
        get_text(reader, spec->from.v[k], sizeof spec->from.v[k]);
    spec->out = (int64_t)fq_get_u64(reader);
    spec->kernel = (int64_t)fq_get_u64(reader);
    spec->stride = (int64_t)fq_get_u64(reader);
    spec->pad = (int64_t)fq_get_u64(reader);
    spec->groups = (int64_t)fq_get_u64(reader);
    spec->rate = fq_get_f64(reader);
    spec->epsilon = fq_get_f64(reader);
    spec->momentum = fq_get_f64(reader);
    uint8_t bias = fq_get_u8(reader);
    spec->bias = bias != 0;
    if (bias > 1)
        return fq_fail(FQ_EPROTO, "a layer's bias is %u; expected 0 or 1", (unsigned)bias);
    return FQ_OK;
}

static fq_status get_network(fq_reader *reader, fq_network *network) {
    network->input.c = fq_get_u32(reader);
    network->input.h = fq_get_u32(reader);
    network->input.w = fq_get_u32(reader);
    network->n_classes = fq_get_u32(reader);
    network->n_layers = fq_get_u32(reader);
    if (network->n_layers > FQ_MAX_LAYERS)
        return fq_fail(FQ_ELIMIT, "%zu layers; expected at most %d", network->n_layers,
                       FQ_MAX_LAYERS);
    for (size_t i = 0; i < network->n_layers && !reader->failed; i++)
        FQ_TRY(get_layer(reader, &network->layers[i]));
    return FQ_OK;
}

/* A tensor as the file records it; `offset` in bytes from the beginning of the data. */
typedef struct record {
    fq_tensor tensor;
    uint64_t  offset;
    fq_codes  codes; /* bits 0: float32 */
} record;

static fq_status get_code_record(fq_reader *reader, const fq_tensor *tensor, fq_codes *out) {
    out->bits = fq_get_u8(reader);
    out->grid = fq_get_u8(reader);
    out->groups = fq_get_u32(reader);
    if (reader->failed)
        return FQ_OK;
    if (tensor->kind != FQ_WEIGHT)
        return fq_fail(FQ_EPROTO, "%s: codes; only weights have any", tensor->name);
    if (out->bits < 1 || out->bits > MAX_BITS)
        return fq_fail(FQ_EPROTO, "%s: codes of %u bits; expected 1 to 8", tensor->name,
                       (unsigned)out->bits);
    if (out->grid >= N_GRIDS)
        return fq_fail(FQ_EPROTO, "%s: grid %u is not known", tensor->name, (unsigned)out->grid);
    if (out->groups != 1 && out->groups != tensor->shape[0])
        return fq_fail(FQ_EPROTO,
                       "%s: %" PRIu32 " scales; expected one, or one for each of the %" PRIu32
                       " channels",
                       tensor->name, out->groups, tensor->shape[0]);
    return FQ_OK;
}

static fq_status get_record(fq_reader *reader, uint32_t version, record *out) {
    char kind[16];
    memset(out, 0, sizeof *out);
    get_text(reader, out->tensor.name, sizeof out->tensor.name);
    get_text(reader, kind, sizeof kind);
    uint8_t encoding = fq_get_u8(reader);
    out->tensor.layer = fq_get_u32(reader);
    fq_get_floats(reader, &out->tensor.initial, 1);
    out->tensor.n_axes = fq_get_u32(reader);
    if (out->tensor.n_axes > 4)
        return fq_fail(FQ_EPROTO, "%s: %" PRIu32 " axes; expected at most 4", out->tensor.name,
                       out->tensor.n_axes);
    for (uint32_t axis = 0; axis < out->tensor.n_axes; axis++)
        out->tensor.shape[axis] = fq_get_u32(reader);
    out->offset = fq_get_u64(reader);
    if (reader->failed)
        return FQ_OK; /* the caller says so, once for all */
    size_t k = 0;
    while (k < N_KINDS && strcmp(kind, KINDS[k]) != 0)
        k++;
    if (k == N_KINDS)
        return fq_fail(FQ_EPROTO, "%s: a tensor of kind \"%s\" is not known", out->tensor.name,
                       kind);
    out->tensor.kind = (fq_tensor_kind)k;
    if (encoding > (version == VERSION_FLOAT ? ENCODING_FLOAT32 : ENCODING_CODES))
        return fq_fail(FQ_EPROTO, "%s: encoding %u; version %" PRIu32 " has %s", out->tensor.name,
                       (unsigned)encoding, version,
                       version == VERSION_FLOAT ? "0 (float32)" : "0 (float32) and 1 (codes)");
    return encoding == ENCODING_CODES ? get_code_record(reader, &out->tensor, &out->codes) : FQ_OK;
}

/* Steps and ranges, which do not follow from the network, as fq_model_create wants them. */
static fq_status get_extra(fq_reader reader, uint32_t version, size_t n_tensors,
                           fq_extra_tensor *extra, size_t *n_extra) {
    *n_extra = 0;
    for (size_t t = 0; t < n_tensors && !reader.failed; t++) {
        record found;
        FQ_TRY(get_record(&reader, version, &found));
        if (found.tensor.kind != FQ_STEP && found.tensor.kind != FQ_RANGE)
            continue;
        fq_extra_tensor *added = &extra[(*n_extra)++];
        memcpy(added->name, found.tensor.name, sizeof added->name);
        added->kind = found.tensor.kind;
        added->count = found.tensor.shape[0];
        added->layer = found.tensor.layer;
        added->initial = found.tensor.initial;
    }
    return FQ_OK;
}

static bool same_tensor(const fq_tensor *a, const fq_tensor *b) {
    return strcmp(a->name, b->name) == 0 && a->kind == b->kind && a->layer == b->layer &&
           a->n_axes == b->n_axes && memcmp(a->shape, b->shape, sizeof a->shape) == 0 &&
           memcmp(&a->initial, &b->initial, sizeof a->initial) == 0;
}

/* Takes the records, which must be those of the network; offsets are checked once all sizes are
 * known. */
static fq_status take_records(fq_reader *reader, uint32_t version, size_t n_tensors,
                              fq_modelfile *out) {
    size_t next = 0;
    if (n_tensors != fq_model_tensor_count(out->model))
        return fq_fail(FQ_EPROTO, "%zu tensors; the network has %zu", n_tensors,
                       fq_model_tensor_count(out->model));
    for (size_t t = 0; t < n_tensors; t++) {
        const fq_tensor *expected = fq_model_tensor(out->model, t);
        record           found;
        FQ_TRY(get_record(reader, version, &found));
        if (!same_tensor(&found.tensor, expected) || found.offset > SIZE_MAX)
            return fq_fail(FQ_EPROTO,
                           "tensor %zu (%s) differs from what the network has there (%s)", t + 1,
                           found.tensor.name, expected->name);
        out->offsets[t] = (size_t)found.offset;
        if (out->quantized && expected->kind == FQ_WEIGHT)
            out->quantization.codes[next++] = found.codes;
    }
    return FQ_OK;
}

static fq_status get_site(fq_reader *reader, size_t s, fq_site_range *site) {
    site->bits = fq_get_u8(reader);
    site->grid = fq_get_u8(reader);
    fq_get_floats(reader, &site->scale, 1);
    site->zero = (int32_t)fq_get_u32(reader);
    if (reader->failed)
        return FQ_OK;
    int32_t top = site->bits >= 1 && site->bits <= MAX_BITS ? (1 << site->bits) - 1 : -1;
    if (top < 0 || (site->grid != GRID_UNSIGNED && site->grid != GRID_ASYMMETRIC))
        return fq_fail(FQ_EPROTO,
                       "activations %zu: %u bits on grid %u; expected 1 to 8 on grid 2 or 3", s + 1,
                       (unsigned)site->bits, (unsigned)site->grid);
    if (!isfinite(site->scale * 256.0f) || !(site->scale > 0.0f))
        return fq_fail(FQ_EPROTO, "activations %zu: scale %g; expected a number above 0", s + 1,
                       (double)site->scale);
    if (site->zero < 0 || site->zero > (site->grid == GRID_UNSIGNED ? 0 : top))
        return fq_fail(FQ_EPROTO, "activations %zu: zero point %" PRId32 " is not a code", s + 1,
                       site->zero);
    return FQ_OK;
}

static fq_status get_ranges(fq_reader *reader, fq_quantization *out) {
    size_t n = fq_get_u32(reader);
    if (n != 0 && n != out->n)
        return fq_fail(FQ_EPROTO, "%zu ranges of activations; expected none, or %zu", n, out->n);
    for (size_t s = 0; s < n; s++)
        FQ_TRY(get_site(reader, s, &out->sites[s]));
    size_t n_peaks = fq_get_u32(reader), expected = n == 0 ? 0 : out->n_values;
    if (n_peaks != expected)
        return fq_fail(FQ_EPROTO, "%zu magnitudes of activations; expected %zu", n_peaks, expected);
    fq_get_floats(reader, out->peaks, n_peaks);
    for (size_t v = 0; v < n_peaks && !reader->failed; v++)
        if (!isfinite(out->peaks[v]) || out->peaks[v] < 0.0f)
            return fq_fail(FQ_EPROTO, "magnitude %zu of the activations is %g", v + 1,
                           (double)out->peaks[v]);
    if (n == 0) {
        free(out->sites);
        free(out->peaks);
        out->sites = NULL;
        out->peaks = NULL;
        out->n_values = 0;
    }
    return FQ_OK;
}

static fq_status make_tables(fq_modelfile *out) {
    size_t           n_tensors = fq_model_tensor_count(out->model);
    fq_quantization *q = &out->quantization;
    out->offsets = calloc(n_tensors + 1, sizeof *out->offsets);
    if (out->quantized) {
        q->n = fq_model_site_count(out->model);
        q->n_values = fq_model_network(out->model)->n_layers + 1;
        q->codes = calloc(q->n + 1, sizeof *q->codes);
        q->sites = calloc(q->n + 1, sizeof *q->sites);
        q->peaks = calloc(q->n_values, sizeof *q->peaks);
    }
    if (out->offsets == NULL ||
        (out->quantized && (q->codes == NULL || q->sites == NULL || q->peaks == NULL)))
        return fq_fail(FQ_ENOMEM, "no memory for a table of %zu tensors", n_tensors);
    return FQ_OK;
}

static fq_status truncated(void) {
    return fq_fail(FQ_EPROTO, "the header of the model file is malformed or cut short");
}

static fq_status read_header(fq_cbytes header, uint32_t version, fq_modelfile *out) {
    fq_reader        reader = fq_reader_of(header);
    fq_extra_tensor *extra = NULL;
    size_t           n_extra;
    fq_network      *network = calloc(1, sizeof *network);
    fq_status        status;
    if (network == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a network");
    FQ_GO(status, get_provenance(&reader, &out->from));
    if (out->quantized)
        get_text(&reader, out->quantization.float_hash, sizeof out->quantization.float_hash);
    FQ_GO(status, get_network(&reader, network));
    size_t n_tensors = fq_get_u32(&reader);
    if (reader.failed || n_tensors > fq_reader_left(&reader) / LEAST_RECORD_BYTES)
        FQ_GO(status, truncated());
    extra = calloc(n_tensors > 0 ? n_tensors : 1, sizeof *extra);
    if (extra == NULL)
        FQ_GO(status, fq_fail(FQ_ENOMEM, "no memory for a table of %zu tensors", n_tensors));
    FQ_GO(status, get_extra(reader, version, n_tensors, extra, &n_extra));
    FQ_GO(status, fq_model_create(&out->model, network, extra, n_extra));
    FQ_GO(status, make_tables(out));
    FQ_GO(status, take_records(&reader, version, n_tensors, out));
    if (out->quantized)
        FQ_GO(status, get_ranges(&reader, &out->quantization));
    if (reader.failed || fq_reader_left(&reader) != 0)
        status = truncated();
done:
    free(extra);
    free(network);
    return status == FQ_EINVAL ? FQ_EPROTO : status; /* the file's mistake, not our caller's */
}

/* Magic, version, checksum and the extent of the header. */
static fq_status check_frame(fq_cbytes bytes, uint32_t *version, fq_cbytes *header) {
    fq_reader            reader = fq_reader_of(bytes);
    const unsigned char *magic = fq_get_bytes(&reader, sizeof MAGIC);
    if (magic == NULL || memcmp(magic, MAGIC, sizeof MAGIC) != 0)
        return fq_fail(FQ_EPROTO, "this is not a model file");
    if (bytes.size < PREFIX_BYTES + CHECKSUM_BYTES)
        return fq_fail(FQ_EPROTO, "a model file of %zu bytes is cut short", bytes.size);
    *version = fq_get_u32(&reader);
    if (*version > VERSION_CODES)
        return fq_fail(FQ_EPROTO, "written by a newer version: %" PRIu32 ", this program reads %d",
                       *version, VERSION_CODES);
    if (*version < VERSION_FLOAT)
        return fq_fail(FQ_EPROTO, "version %" PRIu32 " is not known; this program reads %d and %d",
                       *version, VERSION_FLOAT, VERSION_CODES);
    fq_reader end =
        fq_reader_of((fq_cbytes){bytes.data + bytes.size - CHECKSUM_BYTES, CHECKSUM_BYTES});
    uint32_t stored = fq_get_u32(&end),
             found = fq_crc32((fq_cbytes){bytes.data, bytes.size - CHECKSUM_BYTES});
    if (stored != found)
        return fq_fail(FQ_EPROTO,
                       "the model file is damaged: its checksum is %08" PRIx32
                       ", expected %08" PRIx32,
                       found, stored);
    uint32_t size = fq_get_u32(&reader);
    if (size > MAX_HEADER_BYTES)
        return fq_fail(FQ_ELIMIT, "a header of %" PRIu32 " bytes; expected at most %d", size,
                       MAX_HEADER_BYTES);
    if (size > bytes.size - PREFIX_BYTES - CHECKSUM_BYTES)
        return truncated();
    *header = (fq_cbytes){bytes.data + PREFIX_BYTES, size};
    return FQ_OK;
}

static fq_status check_zeros(fq_cbytes bytes, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++)
        if (bytes.data[i] != 0)
            return fq_fail(FQ_EPROTO, "padding byte %zu of the model file is %u; expected 0", i,
                           (unsigned)bytes.data[i]);
    return FQ_OK;
}

/* The part of the file between header and checksum. */
static fq_status find_data(fq_cbytes bytes, size_t header_size, fq_modelfile *out) {
    const fq_model *model = out->model;
    size_t          n = fq_model_tensor_count(model), begin = aligned(PREFIX_BYTES + header_size);
    size_t         *expected = calloc(n + 1, sizeof *expected), end, size;
    if (expected == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a table of %zu tensors", n);
    size = lay_out(model, out->quantized ? &out->quantization : NULL, expected);
    size_t wrong = 0;
    while (wrong < n && expected[wrong] == out->offsets[wrong])
        wrong++;
    size_t wanted = expected[wrong];
    free(expected);
    if (wrong < n)
        return fq_fail(FQ_EPROTO, "%s lies at %zu; expected %zu",
                       fq_model_tensor(model, wrong)->name, out->offsets[wrong], wanted);
    if (!fq_size_add(begin + CHECKSUM_BYTES, size, &end) || end != bytes.size)
        return fq_fail(
            FQ_EPROTO,
            "the model file has %zu bytes; expected %zu for the %zu values of its network",
            bytes.size, begin + CHECKSUM_BYTES + size, fq_model_size(model));
    FQ_TRY(check_zeros(bytes, PREFIX_BYTES + header_size, begin));
    out->data = (fq_cbytes){bytes.data + begin, size};
    return FQ_OK;
}

static fq_status check_scales(const fq_tensor *tensor, const fq_codes *codes) {
    for (uint32_t g = 0; g < codes->groups; g++) {
        if (!isfinite(codes->scales[g] * 256.0f) || !(codes->scales[g] > 0.0f))
            return fq_fail(FQ_EPROTO, "%s: scale %" PRIu32 " is %g; expected a number above 0",
                           tensor->name, g, (double)codes->scales[g]);
        if (codes->zeros != NULL &&
            (codes->zeros[g] < 0 || codes->zeros[g] > (int32_t)largest_code(codes)))
            return fq_fail(FQ_EPROTO, "%s: zero point %" PRId32 " is not a code", tensor->name,
                           codes->zeros[g]);
    }
    return FQ_OK;
}

static fq_status check_codes(const fq_tensor *tensor, const fq_codes *codes) {
    unsigned largest = largest_code(codes), all = (1U << codes->bits) - 1;
    size_t   used = tensor->count % 8 * codes->bits % 8, size;
    for (size_t i = 0; largest < all && i < tensor->count; i++)
        if (fq_codes_stored(codes, i) > largest)
            return fq_fail(FQ_EPROTO, "%s: code %zu is not one of the narrow grid's", tensor->name,
                           i);
    size = packed_bytes(tensor->count, codes->bits);
    if (used != 0 && codes->packed[size - 1] >> used != 0)
        return fq_fail(FQ_EPROTO, "%s: bits after the last code are not 0", tensor->name);
    return FQ_OK;
}

static fq_status take_codes(const fq_tensor *tensor, fq_cbytes data, size_t offset,
                            fq_codes *codes) {
    fq_reader reader = fq_reader_of((fq_cbytes){data.data + offset, data.size - offset});
    size_t    scales = scale_bytes(codes);
    codes->packed = data.data + offset + scales;
    codes->scales = calloc(codes->groups, sizeof *codes->scales);
    if (codes->grid == GRID_ASYMMETRIC)
        codes->zeros = calloc(codes->groups, sizeof *codes->zeros);
    if (codes->scales == NULL || (codes->grid == GRID_ASYMMETRIC && codes->zeros == NULL))
        return fq_fail(FQ_ENOMEM, "no memory for %" PRIu32 " scales", codes->groups);
    fq_get_floats(&reader, codes->scales, codes->groups);
    for (uint32_t g = 0; codes->zeros != NULL && g < codes->groups; g++)
        codes->zeros[g] = (int32_t)fq_get_u32(&reader);
    size_t used = offset + (size_t)(reader.at - reader.begin);
    FQ_TRY(check_zeros(data, used, offset + scales));
    FQ_TRY(check_scales(tensor, codes));
    return check_codes(tensor, codes);
}

static fq_status check_stored_floats(const fq_tensor *tensor, fq_cbytes data, size_t offset) {
    fq_reader reader = fq_reader_of((fq_cbytes){data.data + offset, data.size - offset});
    for (size_t i = 0; i < tensor->count; i++) {
        float x;
        fq_get_floats(&reader, &x, 1);
        if (!isfinite(x))
            return fq_fail(FQ_ENONFINITE, "%s: value %zu is not finite", tensor->name, i);
    }
    return FQ_OK;
}

static fq_status read_data(fq_modelfile *out) {
    size_t end = 0, next = 0;
    for (size_t t = 0; t < fq_model_tensor_count(out->model); t++) {
        const fq_tensor *tensor = fq_model_tensor(out->model, t);
        size_t           which = next, offset = out->offsets[t];
        const fq_codes  *codes = codes_of(&out->quantization, tensor, &next);
        FQ_TRY(check_zeros(out->data, end, offset));
        if (codes == NULL)
            FQ_TRY(check_stored_floats(tensor, out->data, offset));
        else
            FQ_TRY(take_codes(tensor, out->data, offset, &out->quantization.codes[which]));
        end = offset + tensor_bytes(tensor, codes);
    }
    return FQ_OK;
}

fq_status fq_modelfile_open(fq_cbytes bytes, fq_modelfile *out) {
    fq_cbytes header;
    uint32_t  version;
    fq_status status;
    *out = (fq_modelfile){0};
    FQ_GO(status, check_frame(bytes, &version, &header));
    out->quantized = version == VERSION_CODES;
    FQ_GO(status, read_header(header, version, out));
    FQ_GO(status, find_data(bytes, header.size, out));
    FQ_GO(status, read_data(out));
    return FQ_OK;
done:
    fq_modelfile_close(out);
    return status;
}

void fq_modelfile_close(fq_modelfile *file) {
    fq_quantization_fini(&file->quantization);
    free(file->offsets);
    fq_model_destroy(&file->model);
    *file = (fq_modelfile){0};
}

/* Codes of tensor t, or NULL. */
static const fq_codes *find_codes(const fq_modelfile *file, size_t t) {
    const fq_codes *codes = NULL;
    size_t          next = 0;
    for (size_t i = 0; i <= t; i++)
        codes = codes_of(&file->quantization, fq_model_tensor(file->model, i), &next);
    return codes;
}

void fq_modelfile_values(const fq_modelfile *file, size_t t, float *out) {
    const fq_tensor *tensor = fq_model_tensor(file->model, t);
    const fq_codes  *codes = find_codes(file, t);
    if (codes == NULL) {
        fq_reader reader = fq_reader_of(
            (fq_cbytes){file->data.data + file->offsets[t], tensor->count * sizeof(float)});
        fq_get_floats(&reader, out, tensor->count);
        return;
    }
    size_t size = tensor->count / codes->groups;
    for (size_t i = 0; i < tensor->count; i++)
        out[i] = fq_codes_value(codes, i / size, fq_codes_stored(codes, i));
}

fq_status fq_modelfile_take(fq_modelfile *file, fq_model **model, float **w) {
    size_t n = fq_model_size(file->model);
    *model = NULL;
    *w = malloc(n > 0 ? n * sizeof **w : 1);
    if (*w == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu values", n);
    for (size_t t = 0; t < fq_model_tensor_count(file->model); t++)
        fq_modelfile_values(file, t, *w + fq_model_tensor(file->model, t)->offset);
    *model = file->model;
    file->model = NULL;
    return FQ_OK;
}

fq_status fq_modelfile_decode(fq_cbytes bytes, fq_model **model, float **w, fq_provenance *from) {
    fq_modelfile file;
    *model = NULL;
    *w = NULL;
    FQ_TRY(fq_modelfile_open(bytes, &file));
    *from = file.from;
    fq_status status = fq_modelfile_take(&file, model, w);
    fq_modelfile_close(&file);
    return status;
}

fq_status fq_modelfile_read(const char *path, fq_model **model, float **w, fq_provenance *from) {
    fq_cbytes bytes;
    *model = NULL;
    *w = NULL;
    FQ_TRY(fq_file_map(path, &bytes));
    fq_status status = fq_modelfile_decode(bytes, model, w, from);
    fq_file_unmap(&bytes);
    if (status != FQ_OK)
        fq_add_context("%s", path);
    return status;
}

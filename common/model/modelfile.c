/* Layout and limits: docs/model-format.md. */
#include "model/modelfile.h"

#include "base/file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char MAGIC[8] = {'F', 'Q', 'M', 'O', 'D', 'E', 'L', 0};
enum {
    VERSION = 1,
    PREFIX_BYTES = 16, /* magic, version, length of the header */
    CHECKSUM_BYTES = 4,
    MAX_HEADER_BYTES = 1 << 22,
    ALIGNMENT = 64, /* of the data */
    ENCODING_FLOAT32 = 0,
    LEAST_RECORD_BYTES = 29 /* of a tensor: no name, no axes */
};

/* Kinds by name, in the order of fq_tensor_kind. */
static const char *const KINDS[] = {"weight", "bias",      "scale", "shift",
                                    "step",   "statistic", "range"};
enum { N_KINDS = sizeof KINDS / sizeof *KINDS };

static size_t aligned(size_t size) {
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
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

static void put_tensors(fq_buffer *out, const fq_model *model) {
    fq_put_u32(out, (uint32_t)fq_model_tensor_count(model));
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        fq_put_text(out, tensor->name);
        fq_put_text(out, KINDS[tensor->kind]);
        fq_put_u8(out, ENCODING_FLOAT32);
        fq_put_u32(out, tensor->layer);
        fq_put_floats(out, &tensor->initial, 1);
        fq_put_u32(out, tensor->n_axes);
        for (uint32_t axis = 0; axis < tensor->n_axes; axis++)
            fq_put_u32(out, tensor->shape[axis]);
        fq_put_u64(out, (uint64_t)tensor->offset * sizeof(float));
    }
}

static fq_status check_values(const fq_model *model, const float *w) {
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        for (size_t i = 0; i < tensor->count; i++) {
            if (!isfinite(w[tensor->offset + i]))
                return fq_fail(FQ_ENONFINITE, "%s: value %zu is not finite", tensor->name, i);
        }
    }
    return FQ_OK;
}

fq_status fq_modelfile_encode(const fq_model *model, const float *w, const fq_provenance *from,
                              fq_buffer *out) {
    if (from->n_norm > sizeof from->mean / sizeof *from->mean)
        return fq_fail(FQ_EINVAL, "a normalisation of %" PRIu32 " channels; expected at most 16",
                       from->n_norm);
    FQ_TRY(check_values(model, w));
    fq_buffer header = {0}, file = {0};
    put_provenance(&header, from);
    put_network(&header, fq_model_network(model));
    put_tensors(&header, model);
    fq_put_bytes(&file, MAGIC, sizeof MAGIC);
    fq_put_u32(&file, VERSION);
    fq_put_u32(&file, (uint32_t)header.size);
    fq_put_bytes(&file, header.data, header.size);
    fq_put_padding(&file, ALIGNMENT);
    fq_put_floats(&file, w, fq_model_size(model));
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
} record;

static fq_status get_record(fq_reader *reader, record *out) {
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
    if (encoding != ENCODING_FLOAT32)
        return fq_fail(FQ_EPROTO, "%s: encoding %u; this program reads 0 (float32)",
                       out->tensor.name, (unsigned)encoding);
    return FQ_OK;
}

/* Steps and ranges, which do not follow from the network, as fq_model_create wants them. */
static fq_status get_extra(fq_reader reader, size_t n_tensors, fq_extra_tensor *extra,
                           size_t *n_extra) {
    *n_extra = 0;
    for (size_t t = 0; t < n_tensors && !reader.failed; t++) {
        record found;
        FQ_TRY(get_record(&reader, &found));
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

static fq_status check_records(fq_reader *reader, size_t n_tensors, const fq_model *model) {
    if (n_tensors != fq_model_tensor_count(model))
        return fq_fail(FQ_EPROTO, "%zu tensors; the network has %zu", n_tensors,
                       fq_model_tensor_count(model));
    for (size_t t = 0; t < n_tensors; t++) {
        const fq_tensor *expected = fq_model_tensor(model, t);
        record           found;
        FQ_TRY(get_record(reader, &found));
        if (!same_tensor(&found.tensor, expected) ||
            found.offset != (uint64_t)expected->offset * sizeof(float))
            return fq_fail(FQ_EPROTO,
                           "tensor %zu (%s) differs from what the network has there (%s)", t + 1,
                           found.tensor.name, expected->name);
    }
    return FQ_OK;
}

static fq_status truncated(void) {
    return fq_fail(FQ_EPROTO, "the header of the model file is malformed or cut short");
}

/* Header -> model. */
static fq_status read_header(fq_cbytes header, fq_model **model, fq_provenance *from) {
    fq_reader        reader = fq_reader_of(header);
    fq_extra_tensor *extra = NULL;
    size_t           n_extra;
    fq_network      *network = calloc(1, sizeof *network);
    fq_status        status;
    if (network == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a network");
    FQ_GO(status, get_provenance(&reader, from));
    FQ_GO(status, get_network(&reader, network));
    size_t n_tensors = fq_get_u32(&reader);
    if (reader.failed || n_tensors > fq_reader_left(&reader) / LEAST_RECORD_BYTES)
        FQ_GO(status, truncated());
    extra = calloc(n_tensors > 0 ? n_tensors : 1, sizeof *extra);
    if (extra == NULL)
        FQ_GO(status, fq_fail(FQ_ENOMEM, "no memory for a table of %zu tensors", n_tensors));
    FQ_GO(status, get_extra(reader, n_tensors, extra, &n_extra));
    FQ_GO(status, fq_model_create(model, network, extra, n_extra));
    FQ_GO(status, check_records(&reader, n_tensors, *model));
    if (reader.failed || fq_reader_left(&reader) != 0)
        status = truncated();
done:
    free(extra);
    free(network);
    return status == FQ_EINVAL ? FQ_EPROTO : status; /* the file's mistake, not our caller's */
}

/* Magic, version, checksum and the extent of the header. */
static fq_status check_frame(fq_cbytes bytes, fq_cbytes *header) {
    fq_reader            reader = fq_reader_of(bytes);
    const unsigned char *magic = fq_get_bytes(&reader, sizeof MAGIC);
    if (magic == NULL || memcmp(magic, MAGIC, sizeof MAGIC) != 0)
        return fq_fail(FQ_EPROTO, "this is not a model file");
    if (bytes.size < PREFIX_BYTES + CHECKSUM_BYTES)
        return fq_fail(FQ_EPROTO, "a model file of %zu bytes is cut short", bytes.size);
    uint32_t version = fq_get_u32(&reader);
    if (version > VERSION)
        return fq_fail(FQ_EPROTO, "written by a newer version: %" PRIu32 ", this program reads %d",
                       version, VERSION);
    if (version != VERSION)
        return fq_fail(FQ_EPROTO, "version %" PRIu32 " is not known; this program reads %d",
                       version, VERSION);
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

/* The values between header and checksum. */
static fq_status read_data(fq_cbytes bytes, size_t header_size, const fq_model *model, float **w) {
    size_t n = fq_model_size(model), begin = aligned(PREFIX_BYTES + header_size), data, end;
    if (!fq_size_mul(n, sizeof(float), &data) || !fq_size_add(begin + CHECKSUM_BYTES, data, &end) ||
        end != bytes.size)
        return fq_fail(
            FQ_EPROTO,
            "the model file has %zu bytes; expected %zu for the %zu values of its network",
            bytes.size, begin + CHECKSUM_BYTES + n * sizeof(float), n);
    for (size_t i = PREFIX_BYTES + header_size; i < begin; i++)
        if (bytes.data[i] != 0)
            return fq_fail(FQ_EPROTO, "padding byte %zu of the model file is %u; expected 0", i,
                           (unsigned)bytes.data[i]);
    *w = malloc(n > 0 ? data : 1);
    if (*w == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu values", n);
    fq_reader reader = fq_reader_of((fq_cbytes){bytes.data + begin, data});
    fq_get_floats(&reader, *w, n);
    return check_values(model, *w);
}

fq_status fq_modelfile_decode(fq_cbytes bytes, fq_model **model, float **w, fq_provenance *from) {
    fq_cbytes header;
    fq_status status;
    *model = NULL;
    *w = NULL;
    FQ_TRY(check_frame(bytes, &header));
    FQ_GO(status, read_header(header, model, from));
    FQ_GO(status, read_data(bytes, header.size, *model, w));
    return FQ_OK;
done:
    fq_model_destroy(model);
    free(*w);
    *w = NULL;
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

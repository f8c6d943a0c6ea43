/* model.fq (docs/model-format.md). */
#include "sim/export.h"

static fq_status write_fq(const fq_export *what, fq_buffer *out) {
    if (what->quantization == NULL)
        return fq_modelfile_encode(what->model, what->w, what->from, out);
    return fq_modelfile_encode_quantized(what->model, what->w, what->quantization, what->from, out);
}

const fq_export_format fq_export_fq = {
    .name = "fq",
    .summary = "model.fq: packed codes, for fedq-client infer and libfedq",
    .write = write_fq,
};

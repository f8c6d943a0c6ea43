/* Examples without labels in a file: what a trained model is asked about. */
#ifndef FQ_DATA_INPUTS_H
#define FQ_DATA_INPUTS_H

#include "base/bytes.h"
#include "data/dataset.h"

/* Type of the values of a file that does not say it. */
typedef enum fq_raw_type { FQ_RAW_U8, FQ_RAW_F32 } fq_raw_type;
extern const char *const fq_raw_type_names[]; /* "u8", "f32"; NULL-terminated, in enum order */

/* x = (raw - mean[c]) / std[c]; raw is byte / 255 for bytes. n: one for each channel, 1 for all
 * alike, 0 for none. */
typedef struct fq_input_norm {
    uint32_t     n;
    const float *mean, *std;
} fq_input_norm;

typedef struct fq_inputs {
    size_t               n; /* examples */
    fq_shape             shape;
    const unsigned char *data; /* [n, C, H, W] in the file */
    enum { FQ_INPUT_U8, FQ_INPUT_F32, FQ_INPUT_F64 } type;
    fq_input_norm norm;
    fq_cbytes     bytes;
    char          path[256]; /* for errors */
} fq_inputs;

/* Reads npy (float32, float64, uint8), IDX of bytes, each also gzip, or raw values of `raw`: as
 * many examples of `shape` as there are. FQ_EIO, FQ_EPROTO, FQ_ELIMIT. */
FQ_MUST_CHECK fq_status fq_inputs_read(const char *path, fq_raw_type raw, fq_shape shape,
                                       fq_input_norm norm, fq_inputs *out);
void                    fq_inputs_fini(fq_inputs *inputs); /* also of a zeroed struct */
/* Example i -> x [C, H, W], normalised. FQ_ENONFINITE: a value is not a finite number. */
FQ_MUST_CHECK fq_status fq_inputs_get(const fq_inputs *inputs, size_t i, float *x);

#endif

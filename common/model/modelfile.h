/* model.fq: a network and its values in one file, versioned, checksummed, fit for mapping.
 *
 * Layout in docs/model-format.md. Values may be float32 or b-bit codes with scales; this version of
 * the writer stores float32. The bytes are a function of the arguments alone: no time, host or
 * path.
 */
#ifndef FQ_MODEL_MODELFILE_H
#define FQ_MODEL_MODELFILE_H

#include "base/bytes.h"
#include "model/model.h"

/* Where the model came from, and how its input must be prepared. */
typedef struct fq_provenance {
    char     dataset[FQ_TEXT_BYTES];
    char     name[FQ_TEXT_BYTES]; /* of the experiment */
    char     settings_hash[65];   /* SHA-256 of the resolved settings, hex */
    uint64_t seed;
    uint32_t rounds;
    uint32_t n_norm; /* channels with a normalisation: x = (raw - mean) / std */
    float    mean[16], std[16];
} fq_provenance;

FQ_MUST_CHECK fq_status fq_modelfile_encode(const fq_model *model, const float *w,
                                            const fq_provenance *from, fq_buffer *out);
/* Bounds everything before it allocates. *w [fq_model_size] is freed with free(). FQ_EPROTO /
 * FQ_ELIMIT with a text that says what is wrong. */
FQ_MUST_CHECK fq_status fq_modelfile_decode(fq_cbytes bytes, fq_model **model, float **w,
                                            fq_provenance *from);
FQ_MUST_CHECK fq_status fq_modelfile_read(const char *path, fq_model **model, float **w,
                                          fq_provenance *from);

#endif

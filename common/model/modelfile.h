/* model.fq: a network and its values in one file, versioned, checksummed, fit for mapping.
 *
 * Layout in docs/model-format.md. Version 1 holds float32 values; version 2 also codes of 1 to 8
 * bits with their scales, and the ranges of the activations. The bytes are a function of the
 * arguments alone: no time, host or path.
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

/* Codes of one weight tensor [channels, ...]: stored distances from the lowest code of the grid,
 * value i in bits i * bits .. of `packed`, which is borrowed. */
typedef struct fq_codes {
    uint8_t              bits;   /* 1..8; 0: this tensor is float32, and the rest is unused */
    uint8_t              grid;   /* fq_grid_kind: signed, narrow, unsigned, asymmetric */
    uint32_t             groups; /* with a scale of their own: 1, or the channels */
    float               *scales; /* [groups] */
    int32_t             *zeros;  /* [groups]; NULL unless asymmetric */
    const unsigned char *packed; /* [count * bits / 8], rounded up */
} fq_codes;
/* The lowest code of a grid as a number, q = stored + low. */
int32_t  fq_codes_low(const fq_codes *codes);
unsigned fq_codes_stored(const fq_codes *codes, size_t i);
float    fq_codes_value(const fq_codes *codes, size_t group, unsigned stored);

/* Grid of the activations that enter a conv2d or dense layer. */
typedef struct fq_site_range {
    uint8_t bits; /* 1..8 */
    uint8_t grid; /* unsigned or asymmetric */
    float   scale;
    int32_t zero; /* code of the value 0; 0 if unsigned */
} fq_site_range;

/* What a quantized model has besides a network. */
typedef struct fq_quantization {
    char           float_hash[65]; /* SHA-256 of the model.fq that was quantized, hex; or empty */
    size_t         n;              /* weight tensors, and sites: the s-th site feeds the s-th */
    fq_codes      *codes;          /* [n] */
    fq_site_range *sites;          /* [n]; NULL: activations are float */
    size_t         n_values;       /* the input and the output of every layer */
    float         *peaks; /* [n_values] largest magnitude of each seen in calibration; with sites */
} fq_quantization;
/* Frees the arrays, scales and zeros; also of a zeroed struct. */
void fq_quantization_fini(fq_quantization *quantization);

FQ_MUST_CHECK fq_status fq_modelfile_encode(const fq_model *model, const float *w,
                                            const fq_provenance *from, fq_buffer *out);
/* w gives the values of tensors without codes. */
FQ_MUST_CHECK fq_status fq_modelfile_encode_quantized(const fq_model *model, const float *w,
                                                      const fq_quantization *quantization,
                                                      const fq_provenance *from, fq_buffer *out);

/* A file whose codes stay packed where they are: `bytes` must outlive it. */
typedef struct fq_modelfile {
    fq_model       *model;
    fq_provenance   from;
    bool            quantized; /* else quantization is empty */
    fq_quantization quantization;
    fq_cbytes       data;
    size_t         *offsets; /* [tensors] in data */
} fq_modelfile;
/* Bounds everything before it allocates. FQ_EPROTO / FQ_ELIMIT with a text that says what is
 * wrong; *out is zeroed then. */
FQ_MUST_CHECK fq_status fq_modelfile_open(fq_cbytes bytes, fq_modelfile *out);
void                    fq_modelfile_close(fq_modelfile *file); /* also of a zeroed struct */
/* Values of a tensor, what codes stand for included -> out [count]. */
void fq_modelfile_values(const fq_modelfile *file, size_t tensor, float *out);

/* The model, which the file then has no longer, and all values in one vector, *w [fq_model_size],
 * freed with free(). Nothing but closing may follow. FQ_ENOMEM. */
FQ_MUST_CHECK fq_status fq_modelfile_take(fq_modelfile *file, fq_model **model, float **w);
/* Open, take and close. */
FQ_MUST_CHECK fq_status fq_modelfile_decode(fq_cbytes bytes, fq_model **model, float **w,
                                            fq_provenance *from);
FQ_MUST_CHECK fq_status fq_modelfile_read(const char *path, fq_model **model, float **w,
                                          fq_provenance *from);

#endif

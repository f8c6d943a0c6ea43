/* A quantized model run in integers (docs/methods.md, "Integer inference").
 *
 * Weights stay packed where the model file has them; activations that enter a layer with weights
 * are codes of at most 8 bits, all others 16; sums are int32, and every change of scale is a
 * multiplication and a shift. No layer computes in floating point, so all kernels, processors and
 * the simulation below give the same bits.
 */
#ifndef FQ_INFER_INFER_H
#define FQ_INFER_INFER_H

#include "model/modelfile.h"

/* Memory that lives as long as the model. */
typedef struct fq_allocator {
    void *context;
    void *(*allocate)(void *context, size_t size); /* NULL: no memory */
    void (*release)(void *context, void *memory);
} fq_allocator;
extern const fq_allocator fq_allocator_malloc;

/* Read-only after create; shared by all threads. */
typedef struct fq_infer fq_infer;

/* `file` has codes for all weights, and ranges of activations; its bytes must outlive `out`, the
 * file itself need not. FQ_EINVAL: not such a file, or a layer that cannot run in integers; the
 * text names it. FQ_ELIMIT: sums that int32 cannot hold, scales that do not go together. */
FQ_MUST_CHECK fq_status fq_infer_create(fq_infer **out, const fq_modelfile *file,
                                        const fq_allocator *allocator);
void                    fq_infer_destroy(fq_infer **infer);

size_t fq_infer_features(const fq_infer *infer); /* values of an example, [C, H, W] */
size_t fq_infer_classes(const fq_infer *infer);
size_t fq_infer_bytes(const fq_infer *infer); /* held, packed codes in the file not counted */
size_t fq_infer_packed_bytes(const fq_infer *infer); /* of the codes */
/* Scratch of one thread, aligned to 64. */
size_t fq_infer_workspace_bytes(const fq_infer *infer);

/* One example x [features], normalised as the file says -> logits [classes], integers; times
 * fq_infer_scale they are the model's logits. */
void  fq_infer_run(const fq_infer *infer, void *workspace, const float *x, int32_t *logits);
float fq_infer_scale(const fq_infer *infer);
/* The class with the largest logit, the first of equals. */
size_t fq_infer_best(const int32_t *logits, size_t n);

/* The same function in double arithmetic on fake-quantized values, slow, written apart from the
 * integer engine: every value a code times its scale, every layer its real function, every result
 * rounded to the grid of its place. Ratios of scales are the engine's, 22 bits and an exponent, and
 * so exact in double: the logits are equal, bit for bit. FQ_ENOMEM. */
FQ_MUST_CHECK fq_status fq_infer_simulate(const fq_infer *infer, const float *x, int32_t *logits);

#endif

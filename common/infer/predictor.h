/* A model file as a function from an example to logits, whether it holds floats or integers.
 *
 * A predictor is read-only and shared by threads; each thread has a session.
 */
#ifndef FQ_INFER_PREDICTOR_H
#define FQ_INFER_PREDICTOR_H

#include "infer/infer.h"

typedef struct fq_predictor fq_predictor;
typedef struct fq_session   fq_session;

/* How it computes. Integer: codes and integer arithmetic. Float: float32, codes (if any) expanded.
 */
typedef enum fq_arithmetic { FQ_ARITHMETIC_FLOAT, FQ_ARITHMETIC_INTEGER } fq_arithmetic;

/* Maps the file and keeps it mapped. `allocator` NULL: malloc. Integer memory comes from it, what a
 * float model needs and what opening needs for a moment from malloc. */
FQ_MUST_CHECK fq_status fq_predictor_open(fq_predictor **out, const char *path,
                                          const fq_allocator *allocator);
/* The same from memory, which must outlive it. */
FQ_MUST_CHECK fq_status fq_predictor_of(fq_predictor **out, fq_cbytes bytes,
                                        const fq_allocator *allocator);
void                    fq_predictor_close(fq_predictor **predictor); /* after its sessions */

fq_shape             fq_predictor_input(const fq_predictor *predictor);
size_t               fq_predictor_classes(const fq_predictor *predictor);
fq_arithmetic        fq_predictor_arithmetic(const fq_predictor *predictor);
const fq_provenance *fq_predictor_from(const fq_predictor *predictor);
/* The integer model, NULL if it is float. */
const fq_infer *fq_predictor_integers(const fq_predictor *predictor);
/* Memory of the model: codes or values, and tables. */
size_t fq_predictor_bytes(const fq_predictor *predictor);

FQ_MUST_CHECK fq_status fq_session_open(fq_session **out, const fq_predictor *predictor);
void                    fq_session_close(fq_session **session);
size_t                  fq_session_bytes(const fq_session *session);
/* x [C, H, W], normalised as fq_predictor_from says -> logits [classes]. No allocation. Returns the
 * class with the largest, the first of equals. */
size_t fq_session_run(fq_session *session, const float *x, float *logits);

#endif

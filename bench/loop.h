/* Logistic regression written out, for the bare loop. A model is [features + 1, FQ_LOOP_CLASSES]:
 * the weights of each feature, then the biases; classes that the data do not have stay zero. */
#ifndef FQ_BENCH_LOOP_H
#define FQ_BENCH_LOOP_H

#include <stddef.h>
#include <stdint.h>

enum { FQ_LOOP_CLASSES = 16, FQ_LOOP_BATCH = 64 };

/* One step of SGD on the mean softmax cross-entropy of x [batch, features], y [batch]; batch <=
 * FQ_LOOP_BATCH. */
void fq_loop_step(float *w, size_t features, size_t classes, size_t batch, const float *x,
                  const uint16_t *y, float rate);
/* The class with the largest logit. */
uint16_t fq_loop_predict(const float *w, size_t features, size_t classes, const float *x);

#endif

#include "math/kernels.h"
#include "model/model.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLASSES = 5, BATCH = 11, LANES = 16 };
static const uint16_t LABELS[BATCH] = {0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 2};

static void fill(float *logits, float scale) {
    fq_rng rng = fq_rng_stream(1, FQ_RNG_DATA, 0, 0, 0, 0);
    for (size_t i = 0; i < CLASSES * LANES; i++)
        logits[i] = scale * (2.0f * fq_rng_uniform(&rng) - 1.0f);
}

/* p [CLASSES] in double */
static double reference(const float *logits, size_t lane, double *p) {
    double sum = 0.0;
    for (size_t c = 0; c < CLASSES; c++)
        sum += exp((double)logits[c * LANES + lane]);
    for (size_t c = 0; c < CLASSES; c++)
        p[c] = exp((double)logits[c * LANES + lane]) / sum;
    return -log(p[LABELS[lane]]);
}

static void test_values(void) {
    float  logits[CLASSES * LANES], gradient[CLASSES * LANES];
    size_t correct, expected_correct = 0;
    double expected = 0.0, p[CLASSES];
    fill(logits, 4.0f);
    double loss = fq_cross_entropy(logits, LABELS, CLASSES, BATCH, LANES, gradient, &correct);
    for (size_t l = 0; l < LANES; l++) {
        if (l < BATCH)
            expected += reference(logits, l, p);
        size_t best = 0;
        for (size_t c = 0; c < CLASSES; c++) {
            double g = l < BATCH ? (p[c] - (LABELS[l] == c)) / BATCH : 0.0;
            CU_ASSERT_DOUBLE_EQUAL((double)gradient[c * LANES + l], g, 1e-7);
            if (logits[c * LANES + l] > logits[best * LANES + l])
                best = c;
        }
        expected_correct += l < BATCH && best == LABELS[l];
    }
    CU_ASSERT_DOUBLE_EQUAL(loss, expected, 1e-5);
    CU_ASSERT_EQUAL(correct, expected_correct);
    size_t again;
    CU_ASSERT_EQUAL(fq_cross_entropy(logits, LABELS, CLASSES, BATCH, LANES, NULL, &again), loss);
    CU_ASSERT_EQUAL(again, correct);
}

static void test_extremes(void) {
    float  logits[CLASSES * LANES], gradient[CLASSES * LANES];
    size_t correct;
    fill(logits, 1e30f);
    CU_ASSERT(
        isfinite(fq_cross_entropy(logits, LABELS, CLASSES, BATCH, LANES, gradient, &correct)));
    for (size_t i = 0; i < CLASSES * LANES; i++)
        CU_ASSERT(isfinite(gradient[i]));
    /* All equal: the first class wins, and the loss is log(CLASSES) each. */
    memset(logits, 0, sizeof logits);
    double loss = fq_cross_entropy(logits, LABELS, CLASSES, BATCH, LANES, NULL, &correct);
    CU_ASSERT_DOUBLE_EQUAL(loss, BATCH * log(CLASSES), 1e-5);
    CU_ASSERT_EQUAL(correct, 2);
    /* A NaN shows. */
    logits[3] = NAN;
    CU_ASSERT(isnan(fq_cross_entropy(logits, LABELS, CLASSES, BATCH, LANES, NULL, &correct)));
}

int main(void) {
    static const fq_case cases[] = {
        {"values and gradient", test_values}, {"extremes", test_extremes}, {NULL, NULL}};
    return fq_run_suite("loss", cases);
}

#include "suite.h"
#include "train/sgd.h"

#include <math.h>
#include <string.h>

static void test_plain_step(void) {
    float w[3] = {1.0f, -2.0f, 0.5f}, g[3] = {0.5f, 0.25f, -1.0f};
    fq_sgd_step(&(fq_sgd){.rate = 0.5}, 3, 3, w, g, NULL);
    CU_ASSERT_EQUAL(w[0], 0.75f);
    CU_ASSERT_EQUAL(w[1], -2.125f);
    CU_ASSERT_EQUAL(w[2], 1.0f);
}

/* Two steps against the formulas of the header, in double. */
static void check_momentum(bool nesterov) {
    float        w[2] = {1.0f, -1.0f}, v[2] = {0.0f, 0.0f};
    double       dw[2] = {1.0, -1.0}, dv[2] = {0.0, 0.0};
    const double rate = 0.1, momentum = 0.9, decay = 0.01;
    for (int step = 0; step < 2; step++) {
        float g[2] = {0.3f, -0.7f};
        for (int i = 0; i < 2; i++) {
            double gi =
                (double)g[i] + (i == 0 ? decay * dw[i] : 0.0); /* decay on the first value only */
            dv[i] = momentum * dv[i] + gi;
            dw[i] -= rate * (nesterov ? gi + momentum * dv[i] : dv[i]);
        }
        const fq_sgd sgd = {
            .rate = rate, .momentum = momentum, .weight_decay = decay, .nesterov = nesterov};
        fq_sgd_step(&sgd, 2, 1, w, g, v);
    }
    CU_ASSERT_DOUBLE_EQUAL(w[0], dw[0], 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(w[1], dw[1], 1e-6);
}

static void test_momentum(void) {
    check_momentum(false);
}

static void test_nesterov(void) {
    check_momentum(true);
}

static void test_clipping(void) {
    float w[2] = {0.0f, 0.0f}, g[2] = {3.0f, 4.0f};
    fq_sgd_step(&(fq_sgd){.rate = 1.0, .clip_norm = 1.0}, 2, 2, w, g, NULL);
    CU_ASSERT_DOUBLE_EQUAL(w[0], -0.6, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(w[1], -0.8, 1e-6);
    float short_g[2] = {0.3f, 0.4f}, w2[2] = {0.0f, 0.0f};
    fq_sgd_step(&(fq_sgd){.rate = 1.0, .clip_norm = 1.0}, 2, 2, w2, short_g, NULL);
    CU_ASSERT_EQUAL(w2[0], -0.3f);
}

int main(void) {
    static const fq_case cases[] = {
        {"plain step", test_plain_step},
        {"momentum", test_momentum},
        {"nesterov", test_nesterov},
        {"clipping", test_clipping},
        {NULL, NULL},
    };
    return fq_run_suite("sgd", cases);
}

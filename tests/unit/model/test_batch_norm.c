#include "model_rig.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One channel of 1x2 pixels; the logits of the two pixels are taken as they are. */
static fq_network one_channel(void) {
    fq_network network = {.input = {1, 1, 2}, .n_classes = 2};
    rig_append(&network, "batch_norm", "norm", "");
    rig_append(&network, "flatten", "", "");
    return network;
}

enum { SCALE, SHIFT, FIRST, SECOND }; /* the flat vector: one value each */

static void test_moments(void) {
    fq_network network = one_channel();
    model_rig  rig;
    rig_init(&rig, &network, 2, true, false);
    CU_ASSERT_EQUAL(fq_model_trainable(rig.model), 2);
    CU_ASSERT_EQUAL(fq_model_parameters(rig.model), 2);
    CU_ASSERT_EQUAL(fq_model_size(rig.model), 4);
    CU_ASSERT(rig.w[SCALE] == 1.0f && rig.w[SHIFT] == 0.0f && rig.w[FIRST] == 0.0f &&
              rig.w[SECOND] == 1.0f);
    /* Examples (1, 2) and (3, 6): E[x] = 3, E[x^2] = 12.5, var 3.5. A seventh lane must not count.
     */
    float *x = fq_workspace_input(rig.ws);
    x[0] = 1.0f, x[1] = 3.0f, x[6] = 99.0f;
    x[8] = 2.0f, x[9] = 6.0f, x[14] = -99.0f;
    rig.pass.statistics = rig.w;
    const float *y = fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass);
    CU_ASSERT_DOUBLE_EQUAL((double)rig.w[FIRST], 0.1 * 3.0, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL((double)rig.w[SECOND], 0.9 * 1.0 + 0.1 * 12.5, 1e-6);
    double r = 1.0 / sqrt(3.5 + 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)y[0], -2.0 * r, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL((double)y[9], 3.0 * r, 1e-6);
    /* Without a place for statistics nothing moves. */
    float before[4];
    memcpy(before, rig.w, sizeof before);
    rig.pass.statistics = NULL;
    fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass);
    CU_ASSERT_EQUAL(memcmp(before, rig.w, sizeof before), 0);
    rig_fini(&rig);
}

static void test_evaluation(void) {
    fq_network network = one_channel();
    model_rig  rig;
    rig_init(&rig, &network, 1, false, false);
    rig.w[FIRST] = 3.0f;
    rig.w[SECOND] = 12.5f;
    rig.w[SCALE] = 2.0f;
    rig.w[SHIFT] = 0.5f;
    rig.pass.statistics = rig.w;
    fq_workspace_input(rig.ws)[0] = 5.0f;
    CU_ASSERT_DOUBLE_EQUAL((double)fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass)[0],
                           2.0 * 2.0 / sqrt(3.5 + 1e-5) + 0.5, 1e-6);
    CU_ASSERT(rig.w[FIRST] == 3.0f && rig.w[SECOND] == 12.5f);
    /* Averaged and rounded moments may give a variance below 0. */
    rig.w[SECOND] = 8.9f;
    CU_ASSERT_DOUBLE_EQUAL((double)fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass)[0],
                           2.0 * 2.0 / sqrt(1e-5) + 0.5, 1e-2);
    rig_fini(&rig);
}

/* The average of two clients' moments is the moment of all their examples; of their variances it is
 * not. */
static void test_averaging(void) {
    fq_network network = one_channel();
    network.layers[0].momentum = 1.0;
    model_rig rig;
    rig_init(&rig, &network, 8, true, false);
    float *x = fq_workspace_input(rig.ws), mean[4] = {0};
    double first = 0.0, second = 0.0;
    for (uint32_t client = 0; client < 2; client++) {
        rig_fill(&rig, client);
        for (size_t i = 0; i < 16; i++) {
            x[i] += 5.0f * (float)client;
            first += (double)x[i] / 32.0;
            second += (double)x[i] * (double)x[i] / 32.0;
        }
        rig.pass.statistics = rig.w;
        fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass);
        for (size_t i = 0; i < 4; i++)
            mean[i] += 0.5f * rig.w[i];
    }
    CU_ASSERT_DOUBLE_EQUAL((double)mean[FIRST], first, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)mean[SECOND], second, 1e-5);
    rig_fini(&rig);
}

int main(void) {
    static const fq_case cases[] = {
        {"moments of the valid lanes", test_moments},
        {"evaluation by running moments", test_evaluation},
        {"averaging", test_averaging},
        {NULL, NULL},
    };
    return fq_run_suite("batch_norm", cases);
}

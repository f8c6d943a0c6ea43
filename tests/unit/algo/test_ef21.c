#include "algo_rig.h"
#include "suite.h"

#include <math.h>
#include <string.h>

static const fq_ef21_config   ef21 = {.server_rate = 1.0};
static const fq_fedavg_config fedavg = {.server_rate = 1.0};

/* The larger of the two values, the other one lost. */
static void top_1(float x[RIG_SIZE]) {
    x[fabsf(x[0]) >= fabsf(x[1]) ? 1 : 0] = 0.0f;
}

/* Signs, times the mean magnitude. */
static void scaled_sign(float x[RIG_SIZE]) {
    const float scale = 0.5f * (fabsf(x[0]) + fabsf(x[1]));
    for (size_t i = 0; i < RIG_DIMS; i++)
        x[i] = x[i] < 0.0f ? -scale : scale;
}

/* Two clients with the optimum (0.8, -0.428571), one local step a round. */
static rig unlike_clients(const fq_algorithm *algorithm, const void *config,
                          void (*code)(float x[RIG_SIZE])) {
    return (rig){.algorithm = algorithm,
                 .config = config,
                 .n_clients = 2,
                 .n_steps = {1, 1},
                 .rate = 0.05,
                 .curvature = {{1.0, 3.0}, {4.0, 0.5}},
                 .minimum = {{2.0, -1.0}, {0.5, 3.0}},
                 .code = code};
}

static void run(rig *r, int rounds) {
    for (int round = 0; round < rounds; round++)
        rig_round(r, 0, r->n_clients);
}

static void test_top_1_reaches_the_optimum(void) {
    rig r = unlike_clients(&fq_algorithm_ef21, &ef21, top_1);
    run(&r, 3000);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], 0.8, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[1], -0.428571, 1e-5);
}

static void test_top_1_without_memory_does_not(void) {
    rig r = unlike_clients(&fq_algorithm_fedavg, &fedavg, top_1);
    run(&r, 3000);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], 0.315074, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[1], -0.428571, 1e-5);
}

/* Without loss the server's g is the mean of the deltas themselves. */
static void test_identity_is_fedavg(void) {
    rig a = unlike_clients(&fq_algorithm_ef21, &ef21, NULL);
    rig b = unlike_clients(&fq_algorithm_fedavg, &fedavg, NULL);
    for (int round = 0; round < 50; round++) {
        rig_round(&a, 0, 2);
        rig_round(&b, 0, 2);
        CU_ASSERT_DOUBLE_EQUAL((double)a.w[0], (double)b.w[0], 1e-6);
        CU_ASSERT_DOUBLE_EQUAL((double)a.w[1], (double)b.w[1], 1e-6);
    }
}

/* Whoever takes part, g is the mean of the h_k of all clients, and the others keep theirs. */
static void test_running_mean(void) {
    rig r = {.algorithm = &fq_algorithm_ef21,
             .config = &ef21,
             .n_clients = 3,
             .n_steps = {2, 2, 2},
             .rate = 0.05,
             .curvature = {{1.0, 3.0}, {4.0, 0.5}, {2.0, 1.0}},
             .minimum = {{2.0, -1.0}, {0.5, 3.0}, {-1.0, 1.0}},
             .code = top_1};
    for (size_t round = 0; round < 60; round++) {
        const size_t from = round % 3, to = round % 4 == 0 ? 3 : from + 1;
        const rig    before = r;
        rig_round(&r, from, to);
        for (size_t i = 0; i < RIG_DIMS; i++) {
            double sum = 0.0;
            for (size_t k = 0; k < 3; k++)
                sum += (double)r.client[k][i];
            CU_ASSERT_DOUBLE_EQUAL((double)r.server[i], sum / 3.0, 1e-6);
        }
        for (size_t k = 0; k < 3; k++)
            if (k < from || k >= to)
                CU_ASSERT_EQUAL(memcmp(r.client[k], before.client[k], sizeof r.client[k]), 0);
    }
    CU_ASSERT_TRUE(fabs((double)r.client[0][0]) > 1e-3);
}

/* Half the server's rate is half the step along the same g. */
static void test_server_rate(void) {
    const fq_ef21_config half = {.server_rate = 0.5};
    rig                  a = unlike_clients(&fq_algorithm_ef21, &ef21, top_1);
    rig                  b = unlike_clients(&fq_algorithm_ef21, &half, top_1);
    run(&a, 1);
    run(&b, 1);
    CU_ASSERT_TRUE(a.w[0] != 0.0f);
    CU_ASSERT_EQUAL(b.w[0], 0.5f * a.w[0]);
    CU_ASSERT_EQUAL(b.w[1], 0.5f * a.w[1]);
}

/* Three clients with the optimum (2/7, -1/9), whose gradients there add up to zero and whose signs
 * do not. (Those of two clients would: their gradients are opposite, so have one scale.) */
static rig three_signs(bool error_feedback) {
    return (rig){.algorithm = &fq_algorithm_fedavg,
                 .config = &fedavg,
                 .n_clients = 3,
                 .n_steps = {1, 1, 1},
                 .rate = 0.01,
                 .curvature = {{1.0, 3.0}, {4.0, 0.5}, {2.0, 1.0}},
                 .minimum = {{2.0, -1.0}, {0.5, 3.0}, {-1.0, 1.0}},
                 .code = scaled_sign,
                 .error_feedback = error_feedback};
}

static double distance(const rig *r) {
    return hypot((double)r->w[0] - 2.0 / 7.0, (double)r->w[1] + 1.0 / 9.0);
}

/* What is owed is never paid in full, so error feedback ends within the size of a few steps. */
static void test_signs_need_error_feedback(void) {
    rig without = three_signs(false), with = three_signs(true);
    run(&without, 4000);
    run(&with, 4000);
    CU_ASSERT_TRUE(distance(&with) < 0.02);
    CU_ASSERT_TRUE(distance(&without) > 0.3);
    rig ef = three_signs(false);
    ef.algorithm = &fq_algorithm_ef21;
    ef.config = &ef21;
    run(&ef, 4000);
    CU_ASSERT_TRUE(distance(&ef) < 1e-4);
}

/* Error feedback: what was sent, and what is still owed, is what was meant. */
static void test_telescopes(void) {
    rig    r = three_signs(true);
    double meant[RIG_DIMS] = {0}, sent[RIG_DIMS] = {0};
    for (int round = 0; round < 40; round++) {
        rig_round(&r, 0, 1);
        for (size_t i = 0; i < RIG_DIMS; i++) {
            meant[i] += (double)r.delta[0][i];
            sent[i] += (double)r.sent[0][i];
            CU_ASSERT_DOUBLE_EQUAL(sent[i] + (double)r.owed[0][i], meant[i], 1e-5);
        }
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"top-1 reaches the optimum", test_top_1_reaches_the_optimum},
        {"top-1 without memory does not", test_top_1_without_memory_does_not},
        {"a coding without loss is fedavg", test_identity_is_fedavg},
        {"g is the mean of all h_k", test_running_mean},
        {"server rate", test_server_rate},
        {"signs need error feedback", test_signs_need_error_feedback},
        {"error feedback telescopes", test_telescopes},
        {NULL, NULL}};
    return fq_run_suite("ef21", cases);
}

#include "algo/algo_impl.h"
#include "suite.h"

#include <math.h>
#include <string.h>

/* Two steps with the means 0.5 and -0.25 from w = 1; value 1 is a statistic. */
enum { SIZE = 2, MAX_VECTORS = 2 };
static const float means[2] = {0.5f, -0.25f};

typedef struct trace {
    float w[2], vectors[2][MAX_VECTORS * SIZE], statistic;
} trace;

static trace run(const fq_algorithm *algorithm, const void *config) {
    trace t;
    float w[SIZE] = {1.0f, 10.0f}, vectors[MAX_VECTORS * SIZE] = {0};
    for (uint32_t round = 0; round < 2; round++) {
        const float          mean[SIZE] = {means[round], 0.125f};
        const fq_algo_server server = {.config = config,
                                       .size = SIZE,
                                       .n_trainable = 1,
                                       .round = round,
                                       .share = 1.0,
                                       .vectors = vectors,
                                       .mean = mean,
                                       .w = w};
        algorithm->server_step(&server);
        t.w[round] = w[0];
        memcpy(t.vectors[round], vectors, sizeof vectors);
    }
    t.statistic = w[1];
    return t;
}

static void test_fedavg(void) {
    fq_fedavg_config config = {.server_rate = 1.0};
    trace            t = run(&fq_algorithm_fedavg, &config);
    CU_ASSERT_EQUAL(t.w[0], 1.5f);
    CU_ASSERT_EQUAL(t.w[1], 1.25f);
    CU_ASSERT_EQUAL(t.statistic, 10.25f);
    config.server_rate = 0.5;
    t = run(&fq_algorithm_fedavg, &config);
    CU_ASSERT_EQUAL(t.w[0], 1.25f);
    CU_ASSERT_EQUAL(t.statistic, 10.25f); /* by the plain mean, whatever the rate */
}

static void test_fedavgm(void) {
    fq_fedavgm_config config = {.server_rate = 2.0, .momentum = 0.5};
    trace             t = run(&fq_algorithm_fedavgm, &config);
    CU_ASSERT_EQUAL(t.w[0], 2.0f); /* v = 0.5 */
    CU_ASSERT_EQUAL(t.w[1], 2.0f); /* v = 0.25 - 0.25 */
    CU_ASSERT_EQUAL(t.vectors[1][0], 0.0f);
    CU_ASSERT_EQUAL(t.statistic, 10.25f);
    config = (fq_fedavgm_config){.server_rate = 1.0, .momentum = 0.0};
    t = run(&fq_algorithm_fedavgm, &config); /* no momentum: fedavg */
    CU_ASSERT_EQUAL(t.w[1], 1.25f);
}

typedef struct golden {
    double m, v, w;
} golden;

static void check_adaptive(const fq_algorithm *algorithm, const golden expected[2]) {
    const fq_adaptive_config config = {
        .server_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .tau = 1e-3};
    const trace t = run(algorithm, &config);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)t.vectors[i][0], expected[i].m, 1e-7);
        /* What is kept is v - tau^2. */
        CU_ASSERT_DOUBLE_EQUAL((double)t.vectors[i][SIZE] + 1e-6, expected[i].v,
                               1e-7 * expected[i].v + 1e-10);
        CU_ASSERT_DOUBLE_EQUAL((double)t.w[i], expected[i].w, 3e-7);
    }
    CU_ASSERT_EQUAL(t.vectors[1][1], 0.0f); /* no state for statistics */
    CU_ASSERT_EQUAL(t.statistic, 10.25f);
}

/* Computed by hand from the equations in adaptive.c. */
static void test_fedadagrad(void) {
    static const golden expected[2] = {{0.05, 0.250001, 1.00998002},
                                       {0.02, 0.312501, 1.0135513344883}};
    check_adaptive(&fq_algorithm_fedadagrad, expected);
}

static void test_fedadam(void) {
    static const golden expected[2] = {{0.05, 0.00250099, 1.0980201901209},
                                       {0.02, 0.0031009801, 1.1333019936981}};
    check_adaptive(&fq_algorithm_fedadam, expected);
}

static void test_fedyogi(void) {
    static const golden expected[2] = {{0.05, 0.002501, 1.0980199980004},
                                       {0.02, 0.003126, 1.1331628095165}};
    check_adaptive(&fq_algorithm_fedyogi, expected);
}

/* beta1 = 0, v held at 1 and tau negligible leave w += server_rate * d. */
static void test_adaptive_reduces_to_fedavg(void) {
    const fq_adaptive_config config = {
        .server_rate = 0.5, .beta1 = 0.0, .beta2 = 0.0, .tau = 1e-12};
    float                w[SIZE] = {1.0f, 0.0f}, vectors[MAX_VECTORS * SIZE] = {0};
    const float          mean[SIZE] = {-1.0f, 0.0f}; /* d^2 = 1, so v = 1 */
    const fq_algo_server server = {.config = &config,
                                   .size = SIZE,
                                   .n_trainable = 1,
                                   .vectors = vectors,
                                   .mean = mean,
                                   .w = w};
    fq_algorithm_fedadam.server_step(&server);
    CU_ASSERT_DOUBLE_EQUAL((double)w[0], 0.5, 1e-7);
}

/* Yogi's v falls by at most (1 - beta2) d^2 in a step, however large it is; Adam's falls by a share
 * of v. */
static void test_yogi_forgets_slowly(void) {
    const fq_adaptive_config config = {
        .server_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .tau = 1e-3};
    float          w[SIZE] = {0};
    const float    mean[SIZE] = {0.1f, 0.0f};
    float          yogi[MAX_VECTORS * SIZE] = {0.0f, 0.0f, 100.0f, 0.0f};
    float          adam[MAX_VECTORS * SIZE] = {0.0f, 0.0f, 100.0f, 0.0f};
    fq_algo_server server = {
        .config = &config, .size = SIZE, .n_trainable = 1, .vectors = yogi, .mean = mean, .w = w};
    fq_algorithm_fedyogi.server_step(&server);
    server.vectors = adam;
    fq_algorithm_fedadam.server_step(&server);
    CU_ASSERT_DOUBLE_EQUAL(100.0 - (double)yogi[SIZE], 0.01 * 0.01, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL(100.0 - (double)adam[SIZE], 1.0, 1e-2);
}

/* A weight that is long left alone loses all of v, which must not begin anew: then
 *   v = (1 - beta2) d^2,   w += m / (sqrt(v) + tau) = 1 / (sqrt(1/2) + 1)   with d = tau. */
static void test_v_begins_once(void) {
    const fq_adaptive_config config = {
        .server_rate = 1.0, .beta1 = 0.0, .beta2 = 0.5, .tau = 1e-12};
    for (uint32_t last = 60; last < 80; last++) { /* 2^-70 tau^2 is less than any float */
        float w[SIZE] = {0}, vectors[MAX_VECTORS * SIZE] = {0}, mean[SIZE] = {0};
        for (uint32_t round = 0; round <= last; round++) {
            const fq_algo_server server = {.config = &config,
                                           .size = SIZE,
                                           .n_trainable = 1,
                                           .round = round,
                                           .vectors = vectors,
                                           .mean = mean,
                                           .w = w};
            mean[0] = round == last ? 1e-12f : 0.0f;
            fq_algorithm_fedadam.server_step(&server);
        }
        CU_ASSERT_DOUBLE_EQUAL((double)w[0], 1.0 / (sqrt(0.5) + 1.0), 1e-3);
    }
}

/* Steps mirror with the sign of the updates. */
static void test_symmetry(void) {
    const fq_adaptive_config config = {
        .server_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .tau = 1e-3};
    const fq_algorithm *const rows[] = {&fq_algorithm_fedadagrad, &fq_algorithm_fedadam,
                                        &fq_algorithm_fedyogi};
    for (size_t r = 0; r < 3; r++) {
        float       w[2] = {0}, vectors[4] = {0};
        const float mean[2] = {0.3f, -0.3f};
        for (int round = 0; round < 3; round++) {
            const fq_algo_server server = {.config = &config,
                                           .size = 2,
                                           .n_trainable = 2,
                                           .vectors = vectors,
                                           .mean = mean,
                                           .w = w};
            rows[r]->server_step(&server);
        }
        CU_ASSERT_TRUE(w[0] > 0.0f);
        CU_ASSERT_EQUAL(w[0], -w[1]);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"fedavg", test_fedavg},
        {"fedavgm", test_fedavgm},
        {"fedadagrad", test_fedadagrad},
        {"fedadam", test_fedadam},
        {"fedyogi", test_fedyogi},
        {"adaptive rules reduce to fedavg", test_adaptive_reduces_to_fedavg},
        {"yogi forgets slowly", test_yogi_forgets_slowly},
        {"v begins once", test_v_begins_once},
        {"symmetry", test_symmetry},
        {NULL, NULL}};
    return fq_run_suite("server_steps", cases);
}

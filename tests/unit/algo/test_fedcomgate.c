#include "algo_rig.h"
#include "suite.h"

#include <math.h>

static const fq_fedcomgate_config gate = {.server_rate = 1.0};
static const fq_fedavg_config     fedavg = {.server_rate = 1.0};

/* The two clients whose plain average stops short: optimum -0.25, federated averaging (FedCOM with
 * a coding that loses nothing) ends at -0.132722. */
static rig unlike_clients(const fq_algorithm *algorithm, const void *config) {
    return (rig){.algorithm = algorithm,
                 .config = config,
                 .n_clients = 2,
                 .n_steps = {5, 5},
                 .max_steps = 5,
                 .rate = 0.05,
                 .curvature = {{1.0}, {3.0}},
                 .minimum = {{2.0}, {-1.0}}};
}

static double h(const rig *r, size_t k) {
    return (double)r->client[k][0] - (double)r->server[0];
}

static void test_reaches_the_optimum(void) {
    rig r = unlike_clients(&fq_algorithm_fedcomgate, &gate);
    for (int round = 0; round < 400; round++)
        rig_round(&r, 0, 2);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], -0.25, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL(h(&r, 0), -2.25, 1e-4);
    CU_ASSERT_DOUBLE_EQUAL(h(&r, 1), 2.25, 1e-4);
}

static void test_fedcom_stops_short(void) {
    rig r = unlike_clients(&fq_algorithm_fedavg, &fedavg);
    for (int round = 0; round < 400; round++)
        rig_round(&r, 0, 2);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], -0.132722, 1e-5);
}

/* FedCOM is fedavg with a server rate: w <- w - eta gamma mean(C(D_k)), D_k = (w - w_k) / eta. */
static void keep_largest(float x[RIG_SIZE]) {
    x[fabsf(x[0]) >= fabsf(x[1]) ? 1 : 0] = 0.0f;
}

static void test_fedcom(void) {
    for (int coded = 0; coded < 2; coded++)
        for (double gamma = 0.5; gamma <= 2.0; gamma *= 2.0) {
            const fq_fedavg_config config = {.server_rate = gamma};
            rig                    r = unlike_clients(&fq_algorithm_fedavg, &config);
            r.curvature[0][1] = 2.0;
            r.minimum[0][1] = 3.0;
            r.code = coded ? keep_largest : NULL;
            for (int round = 0; round < 3; round++) {
                const rig before = r;
                rig_round(&r, 0, 2);
                for (size_t i = 0; i < RIG_DIMS; i++) {
                    double mean = 0.0;
                    for (size_t k = 0; k < 2; k++) {
                        float d_k[RIG_SIZE] = {0};
                        for (size_t j = 0; j < RIG_DIMS; j++)
                            d_k[j] = -r.delta[k][j] / 0.05f;
                        if (coded)
                            keep_largest(d_k);
                        mean += (double)d_k[i] / 2.0;
                    }
                    CU_ASSERT_DOUBLE_EQUAL((double)r.w[i],
                                           (double)before.w[i] - 0.05 * gamma * mean, 1e-6);
                }
            }
        }
}

/* Every h_k is the paper's, h_k <- h_k + (D_k - mean(D)) / tau, and they add up to zero. */
static void test_is_the_papers(void) {
    rig    r = {.algorithm = &fq_algorithm_fedcomgate,
                .config = &gate,
                .n_clients = 3,
                .n_steps = {3, 3, 3},
                .max_steps = 3,
                .rate = 0.05,
                .curvature = {{1.0}, {3.0}, {0.5}},
                .minimum = {{2.0}, {-1.0}, {4.0}}};
    double expected[3] = {0};
    for (int round = 0; round < 20; round++) {
        rig_round(&r, 0, 3);
        double mean = 0.0, sum = 0.0;
        for (size_t k = 0; k < 3; k++)
            mean -= (double)r.sent[k][0] / 0.05 / 3.0;
        for (size_t k = 0; k < 3; k++) {
            expected[k] += (-(double)r.sent[k][0] / 0.05 - mean) / 3.0;
            CU_ASSERT_DOUBLE_EQUAL(h(&r, k), expected[k], 1e-5);
            sum += h(&r, k);
        }
        CU_ASSERT_DOUBLE_EQUAL(sum, 0.0, 1e-5);
    }
    CU_ASSERT_TRUE(fabs(h(&r, 0)) > 0.1);
}

/* One client of the two at a time: the h_k still add up to zero, and the optimum is reached. */
static void test_some_of_the_clients(void) {
    rig r = unlike_clients(&fq_algorithm_fedcomgate, &(fq_fedcomgate_config){.server_rate = 0.5});
    for (size_t round = 0; round < 4000; round++) {
        rig_round(&r, round % 2, round % 2 + 1);
        if (round % 100 == 0)
            CU_ASSERT_DOUBLE_EQUAL(h(&r, 0) + h(&r, 1), 0.0, 1e-5);
    }
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], -0.25, 1e-3);
}

/* A client with fewer steps than tau moves the end point no more than the others do. */
static void test_unequal_steps(void) {
    rig r = unlike_clients(&fq_algorithm_fedcomgate, &gate);
    r.n_steps[1] = 2;
    for (int round = 0; round < 1000; round++)
        rig_round(&r, 0, 2);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], -0.25, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL(h(&r, 1), 2.25, 1e-4);
    rig plain = unlike_clients(&fq_algorithm_fedavg, &fedavg);
    plain.n_steps[1] = 2;
    for (int round = 0; round < 1000; round++)
        rig_round(&plain, 0, 2);
    CU_ASSERT_TRUE(fabs((double)plain.w[0] + 0.25) > 0.1);
}

/* A rate so small that it vanishes divides nothing. */
static void test_no_rate(void) {
    rig r = unlike_clients(&fq_algorithm_fedcomgate, &gate);
    r.rate = 0.0;
    rig_round(&r, 0, 2);
    CU_ASSERT_EQUAL(r.client[0][0], 0.0f);
    CU_ASSERT_EQUAL(r.server[0], 0.0f);
    CU_ASSERT_EQUAL(r.w[0], 0.0f);
}

int main(void) {
    static const fq_case cases[] = {{"unlike clients reach the optimum", test_reaches_the_optimum},
                                    {"fedcom stops short of it", test_fedcom_stops_short},
                                    {"fedcom is fedavg with a server rate", test_fedcom},
                                    {"h_k are the paper's", test_is_the_papers},
                                    {"some of the clients", test_some_of_the_clients},
                                    {"unequal steps", test_unequal_steps},
                                    {"no rate", test_no_rate},
                                    {NULL, NULL}};
    return fq_run_suite("fedcomgate", cases);
}

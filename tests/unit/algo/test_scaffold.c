#include "algo_rig.h"
#include "suite.h"

#include <math.h>
#include <string.h>

enum { SIZE = 2 }; /* value 1 is a statistic */

/* The two clients whose plain average stops short: optimum -0.25, federated averaging ends at
 * -0.132722. */
static rig unlike_clients(const fq_algorithm *algorithm, const void *config) {
    return (rig){.algorithm = algorithm,
                 .config = config,
                 .n_clients = 2,
                 .n_steps = {5, 5},
                 .rate = 0.05,
                 .curvature = {{1.0}, {3.0}},
                 .minimum = {{2.0}, {-1.0}}};
}

static void test_reaches_the_optimum(void) {
    const fq_scaffold_config config = {.server_rate = 1.0};
    rig                      r = unlike_clients(&fq_algorithm_scaffold, &config);
    for (int round = 0; round < 400; round++)
        rig_round(&r, 0, 2);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], -0.25, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)r.server[0], 0.0, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)r.client[0][0], -2.25, 1e-4);
    CU_ASSERT_DOUBLE_EQUAL((double)r.client[1][0], 2.25, 1e-4);
}

static void test_fedavg_stops_short(void) {
    const fq_fedavg_config config = {.server_rate = 1.0};
    rig                    r = unlike_clients(&fq_algorithm_fedavg, &config);
    for (int round = 0; round < 400; round++)
        rig_round(&r, 0, 2);
    CU_ASSERT_DOUBLE_EQUAL((double)r.w[0], -0.132722, 1e-5);
}

/* With everybody taking part, c is the mean of the c_k after every round. */
static void test_sum_rule(void) {
    const fq_scaffold_config config = {.server_rate = 0.7};
    rig                      r = {.algorithm = &fq_algorithm_scaffold,
                                  .config = &config,
                                  .n_clients = 3,
                                  .n_steps = {3, 3, 3},
                                  .rate = 0.05,
                                  .curvature = {{1.0}, {3.0}, {0.5}},
                                  .minimum = {{2.0}, {-1.0}, {4.0}}};
    for (int round = 0; round < 20; round++) {
        rig_round(&r, 0, 3);
        const double sum = (double)r.client[0][0] + (double)r.client[1][0] + (double)r.client[2][0];
        CU_ASSERT_DOUBLE_EQUAL(sum / 3.0, (double)r.server[0], 1e-5);
    }
    CU_ASSERT_TRUE(fabs((double)r.client[0][0] - (double)r.client[1][0]) >
                   0.1); /* and not because all are zero */
}

static void test_identical_clients_are_fedavg(void) {
    const fq_scaffold_config scaffold = {.server_rate = 1.0};
    const fq_fedavg_config   fedavg = {.server_rate = 1.0};
    rig                      a = {.algorithm = &fq_algorithm_scaffold,
                                  .config = &scaffold,
                                  .n_clients = 2,
                                  .n_steps = {4, 4},
                                  .rate = 0.05,
                                  .curvature = {{2.0}, {2.0}},
                                  .minimum = {{1.5}, {1.5}}};
    rig                      b = a;
    b.algorithm = &fq_algorithm_fedavg;
    b.config = &fedavg;
    for (int round = 0; round < 10; round++) {
        rig_round(&a, 0, 2);
        rig_round(&b, 0, 2);
        CU_ASSERT_DOUBLE_EQUAL((double)a.w[0], (double)b.w[0], 1e-6);
    }
}

/* A share of the clients moves c by that share. */
static void test_share(void) {
    const fq_scaffold_config config = {.server_rate = 1.0};
    float                    c[SIZE] = {1.0f, 0.0f}, w[SIZE] = {0};
    const float              mean[SIZE] = {0}, extra[SIZE] = {4.0f, 7.0f};
    const fq_algo_server     server = {.config = &config,
                                       .size = SIZE,
                                       .n_trainable = 1,
                                       .share = 0.25,
                                       .vectors = c,
                                       .mean = mean,
                                       .extra = extra,
                                       .w = w};
    fq_algorithm_scaffold.server_step(&server);
    CU_ASSERT_EQUAL(c[0], 2.0f);
    CU_ASSERT_EQUAL(c[1], 0.0f); /* statistics have no control variate */
}

/* No local step, or a rate of zero: no division, and the client keeps what it knew. */
static void test_no_steps(void) {
    const fq_scaffold_config config = {.server_rate = 1.0};
    const float              c[SIZE] = {1.0f, 0.0f};
    float                    delta[SIZE] = {0};
    for (uint32_t n_steps = 0; n_steps < 2; n_steps++) {
        float          c_k[SIZE] = {3.0f, 0.0f}, extra[SIZE] = {5.0f, 5.0f};
        fq_algo_client client = {.config = &config,
                                 .size = SIZE,
                                 .n_trainable = 1,
                                 .server_vectors = c,
                                 .client_vectors = c_k,
                                 .rate = n_steps == 0 ? 0.1 : 0.0,
                                 .n_steps = n_steps};
        fq_algorithm_scaffold.client_finish(&client, delta, extra);
        CU_ASSERT_EQUAL(extra[0], 0.0f);
        CU_ASSERT_EQUAL(extra[1], 0.0f);
        CU_ASSERT_EQUAL(c_k[0], 3.0f);
    }
    CU_ASSERT_TRUE(fq_algorithm_scaffold.plain_steps);
}

int main(void) {
    static const fq_case cases[] = {
        {"unlike clients reach the optimum", test_reaches_the_optimum},
        {"fedavg stops short of it", test_fedavg_stops_short},
        {"c is the mean of the c_k", test_sum_rule},
        {"identical clients are fedavg", test_identical_clients_are_fedavg},
        {"c moves by the share of participants", test_share},
        {"no steps", test_no_steps},
        {NULL, NULL}};
    return fq_run_suite("scaffold", cases);
}

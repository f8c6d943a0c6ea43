#include "algo/algo_impl.h"
#include "suite.h"

#include <math.h>
#include <string.h>

/* Clients with the losses a/2 (x - b)^2. Value 1 of the vector is a statistic. */
enum { SIZE = 2, MAX_CLIENTS = 3 };

typedef struct federation {
    size_t   n_clients;
    uint32_t n_steps;
    double   curvature[MAX_CLIENTS], minimum[MAX_CLIENTS];
    float    w[SIZE], c[SIZE], c_k[MAX_CLIENTS][SIZE];
} federation;

static const double RATE = 0.05;

static void run_round(federation *f, const fq_algorithm *algorithm, const void *config) {
    float mean[SIZE] = {0}, mean_extra[SIZE] = {0};
    for (size_t k = 0; k < f->n_clients; k++) {
        fq_algo_client client = {.config = config,
                                 .size = SIZE,
                                 .n_trainable = 1,
                                 .global = f->w,
                                 .server_vectors = f->c,
                                 .client_vectors = f->c_k[k],
                                 .rate = RATE,
                                 .n_steps = f->n_steps};
        float          w[SIZE], delta[SIZE], extra[SIZE] = {0};
        memcpy(w, f->w, sizeof w);
        for (uint32_t s = 0; s < f->n_steps; s++) {
            float grad[1] = {(float)(f->curvature[k] * ((double)w[0] - f->minimum[k]))};
            if (algorithm->client_grad != NULL)
                algorithm->client_grad(&client, w, grad);
            w[0] -= (float)RATE * grad[0];
        }
        for (int i = 0; i < SIZE; i++)
            delta[i] = w[i] - f->w[i];
        if (algorithm->client_finish != NULL)
            algorithm->client_finish(&client, delta, extra);
        for (int i = 0; i < SIZE; i++) {
            if (algorithm->n_client > 0)
                f->c_k[k][i] += extra[i]; /* as the client does, whatever the algorithm */
            mean[i] += delta[i] / (float)f->n_clients;
            mean_extra[i] += extra[i] / (float)f->n_clients;
        }
    }
    const fq_algo_server server = {.config = config,
                                   .size = SIZE,
                                   .n_trainable = 1,
                                   .share = 1.0,
                                   .vectors = f->c,
                                   .mean = mean,
                                   .extra = algorithm->n_up > 1 ? mean_extra : NULL,
                                   .w = f->w};
    algorithm->server_step(&server);
}

/* The two clients whose plain average stops short: optimum -0.25, federated averaging ends at
 * -0.132722. */
static federation unlike_clients(void) {
    return (federation){
        .n_clients = 2, .n_steps = 5, .curvature = {1.0, 3.0}, .minimum = {2.0, -1.0}};
}

static void test_reaches_the_optimum(void) {
    const fq_scaffold_config config = {.server_rate = 1.0};
    federation               f = unlike_clients();
    for (int round = 0; round < 400; round++)
        run_round(&f, &fq_algorithm_scaffold, &config);
    CU_ASSERT_DOUBLE_EQUAL((double)f.w[0], -0.25, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)f.c[0], 0.0, 1e-5);
    CU_ASSERT_DOUBLE_EQUAL((double)f.c_k[0][0], -2.25, 1e-4);
    CU_ASSERT_DOUBLE_EQUAL((double)f.c_k[1][0], 2.25, 1e-4);
}

static void test_fedavg_stops_short(void) {
    const fq_fedavg_config config = {.server_rate = 1.0};
    federation             f = unlike_clients();
    for (int round = 0; round < 400; round++)
        run_round(&f, &fq_algorithm_fedavg, &config);
    CU_ASSERT_DOUBLE_EQUAL((double)f.w[0], -0.132722, 1e-5);
}

/* With everybody taking part, c is the mean of the c_k after every round. */
static void test_sum_rule(void) {
    const fq_scaffold_config config = {.server_rate = 0.7};
    federation               f = {
                      .n_clients = 3, .n_steps = 3, .curvature = {1.0, 3.0, 0.5}, .minimum = {2.0, -1.0, 4.0}};
    for (int round = 0; round < 20; round++) {
        run_round(&f, &fq_algorithm_scaffold, &config);
        const double sum = (double)f.c_k[0][0] + (double)f.c_k[1][0] + (double)f.c_k[2][0];
        CU_ASSERT_DOUBLE_EQUAL(sum / 3.0, (double)f.c[0], 1e-5);
    }
    CU_ASSERT_TRUE(fabs((double)f.c_k[0][0] - (double)f.c_k[1][0]) >
                   0.1); /* and not because all are zero */
}

static void test_identical_clients_are_fedavg(void) {
    const fq_scaffold_config scaffold = {.server_rate = 1.0};
    const fq_fedavg_config   fedavg = {.server_rate = 1.0};
    federation a = {.n_clients = 2, .n_steps = 4, .curvature = {2.0, 2.0}, .minimum = {1.5, 1.5}};
    federation b = a;
    for (int round = 0; round < 10; round++) {
        run_round(&a, &fq_algorithm_scaffold, &scaffold);
        run_round(&b, &fq_algorithm_fedavg, &fedavg);
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
    const float              c[SIZE] = {1.0f, 0.0f}, delta[SIZE] = {0};
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

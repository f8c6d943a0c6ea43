#include "algo/algo_impl.h"
#include "suite.h"

#include <math.h>

enum { N = 4 };

static const float global[N] = {1.0f, -2.0f, 0.5f, 9.0f};

static fq_algo_client client_of(const fq_fedprox_config *config) {
    return (fq_algo_client){
        .config = config, .size = N, .n_trainable = 3, .global = global, .rate = 0.1};
}

static void test_gradient(void) {
    const fq_fedprox_config config = {.mu = 0.5, .server_rate = 1.0};
    const fq_algo_client    client = client_of(&config);
    const float             w[N] = {1.5f, -2.0f, 0.0f, 10.0f};
    float                   grad[N] = {1.0f, 2.0f, 3.0f, 4.0f};
    fq_algorithm_fedprox.client_grad(&client, w, grad);
    const float expected[N] = {1.25f, 2.0f, 2.75f, 4.0f}; /* the last value is a statistic */
    for (int i = 0; i < N; i++)
        CU_ASSERT_EQUAL(grad[i], expected[i]);
}

static void test_mu_zero_is_fedavg(void) {
    const fq_fedprox_config config = {.mu = 0.0, .server_rate = 1.0};
    const fq_algo_client    client = client_of(&config);
    const float             w[N] = {1.3f, -7.1f, 0.3f, 0.0f};
    float                   grad[N] = {0.1f, -0.2f, 0.7f, 4.0f};
    fq_algorithm_fedprox.client_grad(&client, w, grad);
    CU_ASSERT_EQUAL(grad[0], 0.1f);
    CU_ASSERT_EQUAL(grad[1], -0.2f);
    CU_ASSERT_EQUAL(grad[2], 0.7f);
}

/* At the local optimum of a constant gradient, mu (w - w_global) = -gradient: |delta| = |gradient|
 * / mu. */
static void test_large_mu_holds(void) {
    const fq_fedprox_config config = {.mu = 100.0, .server_rate = 1.0};
    const fq_algo_client    client = client_of(&config);
    float                   w[N] = {1.0f, -2.0f, 0.5f, 9.0f};
    for (int step = 0; step < 200; step++) {
        float grad[N] = {3.0f, 0.0f, -4.0f, 0.0f};
        fq_algorithm_fedprox.client_grad(&client, w, grad);
        for (int i = 0; i < 3; i++)
            w[i] -= 0.005f * grad[i];
    }
    double squares = 0.0;
    for (int i = 0; i < 3; i++)
        squares += pow((double)(w[i] - global[i]), 2.0);
    CU_ASSERT_DOUBLE_EQUAL(sqrt(squares), 5.0 / 100.0, 1e-5);
}

int main(void) {
    static const fq_case cases[] = {{"gradient", test_gradient},
                                    {"mu of zero is fedavg", test_mu_zero_is_fedavg},
                                    {"large mu holds the client", test_large_mu_holds},
                                    {NULL, NULL}};
    return fq_run_suite("fedprox", cases);
}

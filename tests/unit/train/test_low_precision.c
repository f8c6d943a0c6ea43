/* Local training in block floating point, through whole rounds. */
#include "algo/algorithm.h"
#include "suite.h"
#include "tiny.h"
#include "train/client_turn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATA                                                                                       \
    "seed: 5\n"                                                                                    \
    "data: {set: synthetic, clients: 6, features: 20, classes: 4, examples: 40, "                  \
    "test_examples: 64}\n"                                                                         \
    "model: [{layer: dense, out: 16}, relu, {layer: dense, out: 4}]\n"

static void create(fq_tiny *tiny, const char *train) {
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             DATA "train: {clients_per_round: 3, epochs: 2, batch: 12, rate: 0.1, %s}\n", train);
    fq_tiny_create(tiny, yaml);
}

static float *weights_after(const char *train, uint32_t rounds) {
    fq_tiny tiny;
    create(&tiny, train);
    fq_tiny_run(&tiny, rounds, 2);
    const size_t size = fq_model_size(tiny.setup.model);
    float       *w = malloc(size * sizeof *w);
    memcpy(w, fq_server_weights(tiny.server), size * sizeof *w);
    fq_tiny_destroy(&tiny);
    return w;
}

enum { SIZE = 20 * 16 + 16 + 16 * 4 + 4 };

/* 32 bits and lambda = 0 are federated averaging, bit for bit; 8 bits are not. */
static void test_float(void) {
    float *plain = weights_after("robustness: []", 4);
    float *wide = weights_after("robustness: [block_float], fedavg: {server_rate: 1}, "
                                "block_float: {bits: 32, activations: 32, gradients: 32}",
                                4);
    CU_ASSERT_EQUAL(memcmp(plain, wide, SIZE * sizeof *plain), 0);
    static const char *const narrow[] = {"bits: 8, activations: 32, gradients: 32",
                                         "bits: 32, activations: 8, gradients: 32",
                                         "bits: 32, activations: 32, gradients: 8"};
    for (size_t i = 0; i < 3; i++) {
        char train[128];
        snprintf(train, sizeof train, "robustness: [block_float], block_float: {%s}", narrow[i]);
        float *w = weights_after(train, 4);
        CU_ASSERT_NOT_EQUAL(memcmp(plain, w, SIZE * sizeof *plain), 0);
        for (size_t j = 0; j < SIZE; j++)
            CU_ASSERT_DOUBLE_EQUAL((double)w[j], (double)plain[j], 0.2);
        free(w);
    }
    free(plain);
    free(wide);
}

static bool on_one_grid(const float *x, size_t n, int bits) {
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++)
        peak = fmaxf(peak, fabsf(x[i]));
    if (peak <= 0.0f)
        return true;
    /* A step finer than the largest value asks for, where that was rounded up to a power of two. */
    const double step = exp2(floor(log2((double)peak)) - bits + 1);
    for (size_t i = 0; i < n; i++)
        if ((double)x[i] / step != rint((double)x[i] / step))
            return false;
    return true;
}

/* A client that got weights on the grid comes back with weights on the grid, row by row. */
static void test_local_weights(void) {
    fq_tiny tiny;
    create(&tiny, "robustness: [block_float], block_float: {bits: 6}");
    const fq_model *model = tiny.setup.model;
    fq_worker      *worker;
    fq_plan         plan;
    fq_update       update;
    const uint64_t  cohort = 2;
    float           w[SIZE], zeros[SIZE] = {0.0f};
    fq_client       client = {.id = 2, .shard = fq_partition_shard(tiny.setup.partition, 2)};
    FQ_ASSERT_OK(
        fq_worker_create(&worker, model, &tiny.experiment->recipe, tiny.setup.max_examples));
    FQ_ASSERT_OK(fq_round_open(tiny.server, &cohort, 1, 1000, &plan));
    plan.w = zeros; /* so that the update is the client's weights */
    FQ_ASSERT_OK(fq_client_turn(worker, &plan, &client, &update));
    CU_ASSERT_EQUAL_FATAL(update.vectors[0].body.size, sizeof w);
    memcpy(w, update.vectors[0].body.data, sizeof w); /* float32 */
    size_t moved = 0;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        const size_t row = tensor->n_axes > 1 ? tensor->count / tensor->shape[0] : tensor->count;
        for (size_t k = 0; k < tensor->count; k += row)
            CU_ASSERT_TRUE(on_one_grid(w + tensor->offset + k, row, 6));
    }
    for (size_t i = 0; i < SIZE; i++)
        moved += w[i] != 0.0f;
    CU_ASSERT_TRUE(moved > 0);
    fq_worker_destroy(&worker);
    fq_tiny_destroy(&tiny);
}

/* The moving average: server_rate = 1 - lambda gives wbar_t = lambda^t wbar_0 +
 * (1 - lambda) sum_j lambda^(t-1-j) w_j, with w_j the clients' mean in round j. */
static void test_moving_average(void) {
    const fq_algorithm        *fedavg = fq_algorithm_find("fedavg");
    _Alignas(16) unsigned char config[256];
    const double               lambda = 0.9;
    const float                means[6] = {3.0f, -1.0f, 0.5f, 2.0f, 7.0f, -4.0f};
    fq_tiny                    tiny;
    create(&tiny, "fedavg: {server_rate: 0.1}");
    memcpy(config, &tiny.experiment->recipe.algorithm_config, sizeof config);
    float  w = 5.0f;
    double expected = 5.0 * pow(lambda, 6.0);
    for (int j = 0; j < 6; j++) {
        const float          delta = means[j] - w;
        const fq_algo_server server = {
            .config = config, .size = 1, .n_trainable = 1, .mean = &delta, .w = &w};
        fedavg->server_step(&server);
        expected += (1.0 - lambda) * pow(lambda, 5.0 - j) * (double)means[j];
    }
    CU_ASSERT_DOUBLE_EQUAL((double)w, expected, 1e-5);
    fq_tiny_destroy(&tiny);
}

/* Repeatable, whatever the number of workers; and it learns. */
static void test_runs(void) {
    const char *train = "robustness: [block_float], block_float: {bits: 6, block: plane}";
    float      *a = weights_after(train, 3), *b = weights_after(train, 3);
    CU_ASSERT_EQUAL(memcmp(a, b, SIZE * sizeof *a), 0);
    free(a);
    free(b);
    float *both = weights_after("robustness: [qat, block_float], qat: {bits: 4}", 2);
    for (size_t i = 0; i < SIZE; i++)
        CU_ASSERT_TRUE(isfinite(both[i]));
    free(both);
}

int main(void) {
    static const fq_case cases[] = {
        {"32 bits are federated averaging", test_float},
        {"clients' weights stay on the grid", test_local_weights},
        {"moving average", test_moving_average},
        {"repeatable", test_runs},
        {NULL, NULL},
    };
    return fq_run_suite("low_precision", cases);
}

/* Examples, activation ranges and moments of batch norm from training data. */
#include "eval/eval_impl.h"
#include "eval_rig.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 20 };

/* What create() of an evaluator makes, for one worker. */
typedef struct rig {
    fq_pool       *pool;
    fq_arena       arena;
    fq_eval_worker worker;
    fq_model      *train;
} rig;

static rig make_rig(const fq_model *model, fq_model *train) {
    rig r = {.train = train};
    FQ_ASSERT_OK(fq_pool_create(&r.pool, 1));
    FQ_ASSERT_OK(fq_arena_init(&r.arena, 16 << 20));
    FQ_ASSERT_OK(fq_workspace_create(&r.worker.forward, model, 64, false, true, &r.arena));
    if (train != NULL)
        FQ_ASSERT_OK(fq_workspace_create(&r.worker.train, train, 64, true, false, &r.arena));
    r.worker.x = FQ_ARENA_NEW(&r.arena, float, FEATURES * 64);
    r.worker.column = FQ_ARENA_NEW(&r.arena, float, FEATURES *FQ_LANES);
    r.worker.statistics = FQ_ARENA_NEW(&r.arena, float, fq_model_size(model));
    FQ_ASSERT_OK(fq_arena_check(&r.arena));
    return r;
}

static void drop_rig(rig *r) {
    fq_model_destroy(&r->train);
    fq_arena_fini(&r->arena);
    fq_pool_destroy(&r->pool);
}

static void test_examples(void) {
    eval_data      data = eval_open_synthetic();
    fq_calibration all, some, again;
    size_t         total = 0;
    for (uint64_t k = 0; k < fq_partition_clients(data.partition); k++)
        total += fq_partition_shard(data.partition, k).n;
    FQ_ASSERT_OK(fq_calibration_init(&all, data.partition, 100, 1000000, 3));
    CU_ASSERT_EQUAL(all.n_shards, fq_partition_clients(data.partition));
    CU_ASSERT_EQUAL_FATAL(all.n, total);
    /* Each example once. */
    unsigned char *seen = calloc(total, 1);
    size_t         first[8] = {0};
    for (size_t s = 1; s < all.n_shards; s++)
        first[s] = first[s - 1] + all.shards[s - 1].n;
    for (size_t i = 0; i < all.n; i++)
        CU_ASSERT_EQUAL(seen[first[all.examples[i].shard] + all.examples[i].position]++, 0);
    free(seen);
    /* Fewer clients, and a function of the seed. */
    FQ_ASSERT_OK(fq_calibration_init(&some, data.partition, 2, 20, 3));
    FQ_ASSERT_OK(fq_calibration_init(&again, data.partition, 2, 20, 3));
    CU_ASSERT_EQUAL(some.n_shards, 2);
    CU_ASSERT_EQUAL(some.n, 20);
    CU_ASSERT_NOT_EQUAL(some.shards[0].client, some.shards[1].client);
    CU_ASSERT_EQUAL(memcmp(some.examples, again.examples, some.n * sizeof *some.examples), 0);
    fq_calibration_fini(&again);
    FQ_ASSERT_OK(fq_calibration_init(&again, data.partition, 2, 20, 4));
    CU_ASSERT_NOT_EQUAL(memcmp(some.examples, again.examples, some.n * sizeof *some.examples), 0);
    fq_calibration_fini(&again);
    fq_calibration_fini(&some);
    fq_calibration_fini(&all);
    fq_calibration_fini(&all);
    eval_close(&data);
}

/* The grid at the input is that of one search over all the drawn inputs at once. */
static void test_input_grid(void) {
    eval_data      data = eval_open_synthetic();
    fq_model      *model = eval_conv_model(false);
    rig            r = make_rig(model, NULL);
    fq_calibration calibration;
    float         *w = calloc(fq_model_size(model), sizeof *w);
    fq_model_init(model, 1, w);
    enum { EXAMPLES = 75 };
    FQ_ASSERT_OK(fq_calibration_init(&calibration, data.partition, 3, EXAMPLES, 9));
    CU_ASSERT_EQUAL_FATAL(calibration.n, EXAMPLES);
    int              bits[2] = {4, 4};
    fq_grid          grids[2];
    fq_activations   activations = {4, 2, bits, grids};
    fq_range_search *searches =
        fq_calibration_searches(model, FQ_LAYERS_ALL, &activations, 1, 3, &r.arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(searches);
    FQ_ASSERT_OK(fq_activations_calibrate(&activations, 1, &calibration, EXAMPLES, model, w,
                                          &r.worker, searches, r.pool));
    float x[FEATURES * EXAMPLES], y[FEATURES * FQ_LANES];
    for (size_t i = 0; i < EXAMPLES; i++) {
        fq_calibration_gather(&calibration, i, 1, FQ_LANES, FEATURES, r.worker.column, y);
        for (size_t f = 0; f < FEATURES; f++)
            x[i * FEATURES + f] = y[f * FQ_LANES];
    }
    fq_range_search search;
    double          error[FQ_MAX_CANDIDATES];
    fq_range_search_begin(&search, FQ_GRID_ASYMMETRIC, 4, error);
    fq_range_search_widen(&search, x, FEATURES * EXAMPLES);
    fq_range_search_add(&search, x, FEATURES * EXAMPLES);
    fq_grid best = fq_range_search_best(&search);
    CU_ASSERT_EQUAL(memcmp(&best, &grids[0], sizeof best), 0);
    /* What comes from a ReLU has no negative codes. */
    CU_ASSERT_EQUAL(grids[1].low, 0);
    CU_ASSERT_EQUAL(grids[1].high, 15);
    fq_calibration_fini(&calibration);
    free(w);
    drop_rig(&r);
    fq_model_destroy(&model);
    eval_close(&data);
}

/* Two sets that differ in nothing but their test part give the same grids. */
static void test_never_from_test_data(void) {
    fq_grid  grids[2][2];
    float    x[200 * FEATURES], test[10 * FEATURES];
    uint16_t labels[200];
    fq_rng   rng = fq_rng_stream(1, FQ_RNG_DATA, 0, 0, 0, 0);
    for (size_t i = 0; i < 200 * FEATURES; i++)
        x[i] = (float)fq_rng_normal(&rng);
    for (size_t i = 0; i < 200; i++)
        labels[i] = i % 4;
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < 10 * FEATURES; i++)
            test[i] = round == 0 ? 0.0f : 1000.0f + (float)i;
        eval_write_npy(fq_test_folder(), "", x, labels, 200, FEATURES);
        eval_write_npy(fq_test_folder(), "test_", test, labels, 10, FEATURES);
        eval_data      data = eval_open_npy(fq_test_folder());
        fq_model      *model = eval_conv_model(false);
        rig            r = make_rig(model, NULL);
        fq_calibration calibration;
        float         *w = calloc(fq_model_size(model), sizeof *w);
        fq_model_init(model, 1, w);
        FQ_ASSERT_OK(fq_calibration_init(&calibration, data.partition, 16, 128, 9));
        int              bits[2] = {8, 8};
        fq_activations   activations = {8, 2, bits, grids[round]};
        fq_range_search *searches =
            fq_calibration_searches(model, FQ_LAYERS_ALL, &activations, 1, 4, &r.arena);
        CU_ASSERT_PTR_NOT_NULL_FATAL(searches);
        FQ_ASSERT_OK(fq_activations_calibrate(&activations, 1, &calibration, 128, model, w,
                                              &r.worker, searches, r.pool));
        fq_calibration_fini(&calibration);
        free(w);
        drop_rig(&r);
        fq_model_destroy(&model);
        eval_close(&data);
    }
    CU_ASSERT_EQUAL(memcmp(grids[0], grids[1], sizeof grids[0]), 0);
    CU_ASSERT_TRUE(grids[0][0].step < 0.1f);
}

/* Batch norm right after the input, so that its moments can be computed from the examples. */
static void test_moments(void) {
    eval_data         data = eval_open_synthetic();
    static fq_network network;
    network = (fq_network){.input = {FEATURES, 1, 1}, .n_classes = 4, .n_layers = 2};
    fq_layer_spec_init(&network.layers[0], "batch_norm");
    fq_layer_spec_init(&network.layers[1], "dense");
    network.layers[1].out = 4;
    fq_extra_tensor extra = {"steps", FQ_STEP, 3, 1, 0.25f};
    fq_model       *model, *train;
    FQ_ASSERT_OK(fq_model_create(&model, &network, &extra, 1));
    FQ_ASSERT_OK(fq_moments_model(&train, model));
    CU_ASSERT_EQUAL_FATAL(fq_model_size(train), fq_model_size(model));
    for (size_t i = 0; i < fq_model_tensor_count(model); i++)
        CU_ASSERT_EQUAL(fq_model_tensor(model, i)->offset, fq_model_tensor(train, i)->offset);
    rig    r = make_rig(model, train);
    float *w = calloc(fq_model_size(model), sizeof *w),
          *before = calloc(fq_model_size(model), sizeof *w);
    fq_model_init(model, 1, w);
    memcpy(before, w, fq_model_size(model) * sizeof *w);
    fq_calibration calibration;
    FQ_ASSERT_OK(fq_calibration_init(&calibration, data.partition, 16, 128, 2));
    CU_ASSERT_EQUAL_FATAL(calibration.n, 128);
    size_t first, count;
    CU_ASSERT_TRUE(fq_moments_span(model, &first, &count));
    CU_ASSERT_EQUAL(count, 2 * FEATURES);
    float results[2 * 2 * FEATURES];
    FQ_ASSERT_OK(fq_moments_estimate(train, &w, 1, &calibration, 2, &r.worker, results, r.pool));
    float x[FEATURES * 128];
    fq_calibration_gather(&calibration, 0, 128, 128, FEATURES, r.worker.column, x);
    for (size_t f = 0; f < FEATURES; f++) {
        double mean = 0, square = 0;
        for (size_t i = 0; i < 128; i++) {
            mean += (double)x[f * 128 + i] / 128;
            square += (double)x[f * 128 + i] * (double)x[f * 128 + i] / 128;
        }
        CU_ASSERT_DOUBLE_EQUAL((double)w[first + f], mean, 1e-4);
        CU_ASSERT_DOUBLE_EQUAL((double)w[first + FEATURES + f], square, 1e-3 * (1 + square));
    }
    for (size_t i = 0; i < fq_model_size(model); i++)
        if (i < first || i >= first + count)
            CU_ASSERT_EQUAL(w[i], before[i]);
    fq_calibration_fini(&calibration);
    free(w);
    free(before);
    drop_rig(&r);
    fq_model_destroy(&model);
    eval_close(&data);
}

int main(void) {
    static const fq_case cases[] = {
        {"examples come once, from few clients, by seed", test_examples},
        {"the grid at the input is that of a plain search", test_input_grid},
        {"test data does not touch the grids", test_never_from_test_data},
        {"moments of batch norm are those of the examples", test_moments},
        {NULL, NULL},
    };
    return fq_run_suite("calibrate", cases);
}

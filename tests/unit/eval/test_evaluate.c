/* Figures at every bit-width, against plain loops and values by hand. */
#include "eval/eval_impl.h"
#include "eval/evaluate.h"
#include "eval_rig.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_ints(fq_ints *list, size_t n, const int *v) {
    list->n = n;
    for (size_t i = 0; i < n; i++)
        list->v[i] = v[i];
}

static void set_words(fq_words *list, size_t n, const char *const *v) {
    list->n = n;
    for (size_t i = 0; i < n; i++)
        strcpy(list->v[i], v[i]);
}

static void set_scales(fq_eval_settings *settings, size_t n, const double *v) {
    settings->step_scales.n = n;
    memcpy(settings->step_scales.v, v, n * sizeof *v);
}

static const fq_figure *find(const fq_figure *figures, size_t n, const char *rule, int weights,
                             int activations) {
    for (size_t i = 0; i < n; i++)
        if (figures[i].weight_bits == weights && figures[i].activation_bits == activations &&
            strcmp(figures[i].rule, rule) == 0)
            return &figures[i];
    CU_FAIL_FATAL("no such figure");
    return NULL;
}

/* One evaluation from create to destroy. */
static size_t evaluate(const fq_model *model, const eval_data *data,
                       const fq_eval_settings *settings, size_t workers, const float *w,
                       fq_figure *figures) {
    fq_pool      *pool;
    fq_evaluator *evaluator;
    FQ_ASSERT_OK(fq_pool_create(&pool, workers));
    FQ_ASSERT_OK(
        fq_evaluator_create(&evaluator, model, data->set, data->partition, settings, 5, pool));
    size_t n = fq_evaluator_count(evaluator);
    memset(figures, 0xa5, FQ_MAX_FIGURES * sizeof *figures);
    FQ_ASSERT_OK(fq_evaluator_run(evaluator, w, figures));
    CU_ASSERT_TRUE(fq_evaluator_bytes(evaluator) > fq_model_size(model) * sizeof *w);
    fq_eval_needs needs;
    FQ_ASSERT_OK(
        fq_evaluator_measure(model, data->set, data->partition, settings, 5, pool, &needs));
    CU_ASSERT_EQUAL(needs.bytes, fq_evaluator_bytes(evaluator));
    size_t tested = n * fq_dataset_test_count(data->set);
    bool   trains = settings->activations.n > 1 || settings->pairs.n > 0 ||
                  settings->batch_norm_batches > 0; /* may pass training examples too */
    CU_ASSERT_TRUE(trains ? needs.examples >= tested : needs.examples == tested);
    fq_evaluator_destroy(&evaluator);
    fq_evaluator_destroy(&evaluator);
    fq_pool_destroy(&pool);
    return n;
}

static float *initial(const fq_model *model, uint64_t seed) {
    float *w = calloc(fq_model_size(model), sizeof *w);
    fq_model_init(model, seed, w);
    return w;
}

static void test_defaults(void) {
    fq_eval_settings s = eval_defaults();
    CU_ASSERT_EQUAL(s.every, 5);
    CU_ASSERT_EQUAL(s.weights.n, 7);
    CU_ASSERT_EQUAL(s.weights.v[0], 32);
    CU_ASSERT_EQUAL(s.weights.v[6], 2);
    CU_ASSERT_EQUAL(s.activations.n, 1);
    CU_ASSERT_EQUAL(s.pairs.n, 0);
    CU_ASSERT_STRING_EQUAL(s.ranges.v[0], "mse");
    CU_ASSERT_EQUAL(s.granularity.n, 1);
    CU_ASSERT_STRING_EQUAL(s.granularity.v[0], "tensor");
    CU_ASSERT_STRING_EQUAL(fq_grid_names[s.grid], "signed");
    CU_ASSERT_STRING_EQUAL(fq_layer_policy_names[s.layers], "all");
    CU_ASSERT_EQUAL(s.step_scales.n, 0);
    CU_ASSERT_FALSE(s.power_of_two);
    CU_ASSERT_EQUAL(s.margin, 0);
    CU_ASSERT_EQUAL(s.percentile, 0.01);
    CU_ASSERT_EQUAL(s.batch, 128);
    CU_ASSERT_EQUAL(s.calibration_examples, 512);
    CU_ASSERT_EQUAL(s.calibration_clients, 16);
    CU_ASSERT_EQUAL(s.batch_norm_batches, 50);
    FQ_ASSERT_OK(fq_eval_settings_check(&s));
}

static void test_bad_settings(void) {
    fq_eval_settings s = eval_defaults();
    s.weights.v[1] = 12;
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.weights: 12");
    s = eval_defaults();
    s.activations.v[0] = 0;
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.activations: 0");
    s = eval_defaults();
    s.weights.n = 0;
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.weights: is empty");
    static const char *const pairs[] = {"4",     "4/",   "/8",  "4/9",  "0/8",
                                        "4/8/2", "4/ 8", "a/b", "4/-8", ""};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        s = eval_defaults();
        set_words(&s.pairs, 1, &pairs[i]);
        FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.pairs: \"");
    }
    static const char *const rules[] = {"running_minmax", "best"};
    for (size_t i = 0; i < 2; i++) {
        s = eval_defaults();
        set_words(&s.ranges, 1, &rules[i]);
        FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.ranges: \"");
    }
    static const char *const twice[] = {"mse", "mse"};
    set_words(&s.ranges, 2, twice);
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "twice");
    s.ranges.n = 0;
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.ranges: is empty");
    static const int float_only[] = {32};
    set_ints(&s.weights, 1, float_only);
    FQ_ASSERT_OK(fq_eval_settings_check(&s));
    static const int         all[] = {1, 2, 3, 4, 5, 6, 7, 8, 32};
    static const char *const four[] = {"minmax", "percentile", "mse", "gauss"};
    set_ints(&s.weights, 9, all);
    set_ints(&s.activations, 9, all);
    set_words(&s.ranges, 4, four);
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "297 figures");
    static const double bad[] = {0, 0.09, 10.5, -1, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        s = eval_defaults();
        set_scales(&s, 1, &bad[i]);
        FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.step_scales: ");
    }
    static const double same[] = {0.85, 1, 0.85000001}; /* prints as 0.85 */
    set_scales(&s, 3, same);
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.step_scales: has 0.85 twice");
    /* 6 widths, 2 rules: as found, 20 scales, powers of two, and float. */
    double many[20];
    for (size_t i = 0; i < 20; i++)
        many[i] = 0.5 + 0.05 * (double)i;
    s = eval_defaults();
    set_words(&s.ranges, 2, four);
    set_scales(&s, 20, many);
    s.power_of_two = true;
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "step_scales and power_of_two ask for");
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, " 265 figures");
    s.ranges.n = 1;
    FQ_ASSERT_OK(fq_eval_settings_check(&s));
}

static void test_plan(void) {
    fq_eval_settings         s = eval_defaults();
    static const int         weights[] = {2, 8, 2}, activations[] = {32, 8};
    static const char *const pairs[] = {"4/4", "8/8"}, *const ranges[] = {"minmax", "mse"};
    static const double scales[] = {1.25, 0.123456789};
    set_scales(&s, 2, scales);
    s.power_of_two = true;
    set_ints(&s.weights, 3, weights);
    set_ints(&s.activations, 2, activations);
    set_words(&s.pairs, 2, pairs);
    set_words(&s.ranges, 2, ranges);
    /* float although it is not listed; no figure twice */
    static const fq_figure expected[] = {
        {32, 32, "none", 0, 0, 0, 0},
        {8, 32, "minmax", 0, 0, 0, 0},
        {2, 32, "minmax", 0, 0, 0, 0},
        {8, 8, "minmax", 0, 0, 0, 0},
        {2, 8, "minmax", 0, 0, 0, 0},
        {4, 4, "minmax", 0, 0, 0, 0},
        {8, 32, "mse", 0, 0, 0, 0},
        {2, 32, "mse", 0, 0, 0, 0},
        {8, 8, "mse", 0, 0, 0, 0},
        {2, 8, "mse", 0, 0, 0, 0},
        {4, 4, "mse", 0, 0, 0, 0},
        /* changed steps: with float activations only */
        {8, 32, "minmax*1.25", 0, 0, 0, 0},
        {2, 32, "minmax*1.25", 0, 0, 0, 0},
        {8, 32, "minmax*0.123457", 0, 0, 0, 0},
        {2, 32, "minmax*0.123457", 0, 0, 0, 0},
        {8, 32, "minmax~2^k", 0, 0, 0, 0},
        {2, 32, "minmax~2^k", 0, 0, 0, 0},
        {8, 32, "mse*1.25", 0, 0, 0, 0},
        {2, 32, "mse*1.25", 0, 0, 0, 0},
        {8, 32, "mse*0.123457", 0, 0, 0, 0},
        {2, 32, "mse*0.123457", 0, 0, 0, 0},
        {8, 32, "mse~2^k", 0, 0, 0, 0},
        {2, 32, "mse~2^k", 0, 0, 0, 0},
    };
    eval_data     data = eval_open_synthetic();
    fq_model     *model = eval_conv_model(false);
    fq_pool      *pool;
    fq_evaluator *evaluator;
    FQ_ASSERT_OK(fq_pool_create(&pool, 1));
    FQ_ASSERT_OK(fq_evaluator_create(&evaluator, model, data.set, data.partition, &s, 5, pool));
    CU_ASSERT_EQUAL_FATAL(fq_evaluator_count(evaluator), sizeof expected / sizeof *expected);
    const fq_figure *plan = fq_evaluator_plan(evaluator);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        CU_ASSERT_EQUAL(plan[i].weight_bits, expected[i].weight_bits);
        CU_ASSERT_EQUAL(plan[i].activation_bits, expected[i].activation_bits);
        CU_ASSERT_STRING_EQUAL(plan[i].rule, expected[i].rule);
    }
    fq_evaluator_destroy(&evaluator);
    fq_pool_destroy(&pool);
    fq_model_destroy(&model);
    eval_close(&data);
}

/* Both granularities in one evaluation: the figures of the two evaluations, to the digit. */
static void test_both_granularities(void) {
    fq_eval_settings         s = eval_defaults();
    static const int         bits[] = {4, 2};
    static const double      scales[] = {0.85};
    static const char *const ranges[] = {"mse", "percentile"}, *const both[] = {"channel",
                                                                                "tensor"};
    set_ints(&s.weights, 2, bits);
    set_words(&s.ranges, 2, ranges);
    set_scales(&s, 1, scales);
    eval_data         data = eval_open_synthetic();
    fq_model         *model = eval_conv_model(false);
    float            *w = initial(model, 1);
    static fq_figure  one[2][FQ_MAX_FIGURES], together[FQ_MAX_FIGURES];
    const char *const rows[2][4] = {
        {"mse", "percentile", "mse*0.85", "percentile*0.85"},
        {"mse/tensor", "percentile/tensor", "mse/tensor*0.85", "percentile/tensor*0.85"}};
    size_t n = 0;
    for (size_t g = 0; g < 2; g++) {
        set_words(&s.granularity, 1, &both[g]);
        n = evaluate(model, &data, &s, 1, w, one[g]);
    }
    set_words(&s.granularity, 2, both);
    CU_ASSERT_EQUAL_FATAL(evaluate(model, &data, &s, 1, w, together), 2 * n - 1);
    for (size_t g = 0; g < 2; g++)
        for (size_t r = 0; r < 4; r++)
            for (size_t b = 0; b < 2; b++) {
                fq_figure expected = *find(one[g], n, rows[0][r], bits[b], 32);
                fq_figure found = *find(together, 2 * n - 1, rows[g][r], bits[b], 32);
                CU_ASSERT_EQUAL(found.accuracy, expected.accuracy);
                CU_ASSERT_EQUAL(found.loss, expected.loss);
                CU_ASSERT_EQUAL(found.noise, expected.noise);
                CU_ASSERT_EQUAL(found.step_bits, expected.step_bits);
            }
    CU_ASSERT_NOT_EQUAL(find(together, 2 * n - 1, "mse", 2, 32)->noise,
                        find(together, 2 * n - 1, "mse/tensor", 2, 32)->noise);
    /* Plain rules come first, by rule. */
    CU_ASSERT_STRING_EQUAL(together[1].rule, "mse");
    CU_ASSERT_STRING_EQUAL(together[3].rule, "mse/tensor");
    CU_ASSERT_STRING_EQUAL(together[5].rule, "percentile");
    CU_ASSERT_TRUE(fq_rule_is_plain("percentile/tensor"));
    free(w);
    fq_model_destroy(&model);
    eval_close(&data);
    static const char *const bad[] = {"channel", "channel", "pixel"};
    set_words(&s.granularity, 2, bad);
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL,
                    "evaluate.granularity: has \"channel\" twice");
    set_words(&s.granularity, 1, &bad[2]);
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.granularity: \"pixel\"");
    s.granularity.n = 0;
    FQ_ASSERT_FAILS(fq_eval_settings_check(&s), FQ_EINVAL, "evaluate.granularity: is empty");
}

/* Float accuracy and mean loss, one example after the other. */
static void plain_loop(const fq_model *model, const eval_data *data, const float *w,
                       double *accuracy, double *loss) {
    fq_arena      arena;
    fq_workspace *ws;
    FQ_ASSERT_OK(fq_arena_init(&arena, 8 << 20));
    FQ_ASSERT_OK(fq_workspace_create(&ws, model, 1, false, false, &arena));
    size_t n = fq_dataset_test_count(data->set), n_correct = 0;
    *loss = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t label;
        size_t   correct;
        fq_pass  pass = {.batch = 1};
        fq_dataset_gather_test(data->set, i, 1, FQ_LANES, fq_workspace_input(ws), &label);
        const float *logits = fq_model_forward(model, ws, w, &pass);
        *loss += fq_cross_entropy(logits, &label, 4, 1, FQ_LANES, NULL, &correct);
        n_correct += correct;
    }
    *accuracy = (double)n_correct / (double)n;
    *loss /= (double)n;
    fq_arena_fini(&arena);
}

/* Weights quantized here, tensor by tensor, and then evaluated as if they were float. */
static void test_against_plain_loop(void) {
    eval_data        data = eval_open_synthetic();
    fq_model        *model = eval_conv_model(false);
    fq_eval_settings s = eval_defaults();
    fq_figure        figures[FQ_MAX_FIGURES];
    float           *w = initial(model, 1), *q = initial(model, 1);
    size_t           n = evaluate(model, &data, &s, 1, w, figures);
    CU_ASSERT_EQUAL(n, 7);
    for (size_t f = 0; f < n; f++) {
        double noise = 0, energy = 0, count = 0, accuracy, loss;
        int    bits = figures[f].weight_bits;
        memcpy(q, w, fq_model_size(model) * sizeof *w);
        for (size_t i = 0; i < fq_model_tensor_count(model); i++) {
            const fq_tensor *t = fq_model_tensor(model, i);
            if (t->kind != FQ_WEIGHT)
                continue;
            fq_range_options options = {0.01, 0};
            if (bits != 32) {
                fq_grid grid = fq_range_find("mse")->fit(&options, FQ_GRID_SIGNED, bits,
                                                         w + t->offset, t->count, NULL);
                fq_kernels_get()->fake_quantize(t->count, w + t->offset, &grid, q + t->offset);
            }
            for (size_t k = t->offset; k < t->offset + t->count; k++) {
                noise += pow((double)w[k] - (double)q[k], 2);
                energy += pow((double)w[k], 2);
            }
            count += (double)t->count;
        }
        plain_loop(model, &data, q, &accuracy, &loss);
        CU_ASSERT_EQUAL(figures[f].accuracy, accuracy);
        CU_ASSERT_DOUBLE_EQUAL(figures[f].loss, loss, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(figures[f].noise, noise / energy, 1e-9);
        double expected = bits == 32 ? 32 : bits + 2 * 32 / count;
        CU_ASSERT_DOUBLE_EQUAL(figures[f].step_bits, expected, 1e-12);
    }
    /* Each bit less is more noise. */
    for (size_t f = 1; f < n; f++)
        CU_ASSERT_TRUE(figures[f].noise > figures[f - 1].noise);
    free(w);
    free(q);
    fq_model_destroy(&model);
    eval_close(&data);
}

/* Two inputs, two classes, weights that quantize badly: logits = (0.3 x0, x1). */
typedef struct by_hand {
    eval_data        data;
    fq_model        *model;
    float           *w;
    fq_eval_settings settings; /* minmax */
} by_hand;

static by_hand make_by_hand(void) {
    static const float    x[] = {10, 1, 1, 10, 10, -1, 1, 0.25f, 20, 2};
    static const uint16_t labels[] = {0, 1, 0, 0, 1};
    float                 train[40];
    uint16_t              train_labels[20];
    for (size_t i = 0; i < 20; i++) {
        train[2 * i] = 1;
        train[2 * i + 1] = -1;
        train_labels[i] = i % 2;
    }
    eval_write_npy(fq_test_folder(), "", train, train_labels, 20, 2);
    eval_write_npy(fq_test_folder(), "test_", x, labels, 5, 2);
    by_hand           hand = {.data = eval_open_npy(fq_test_folder()), .settings = eval_defaults()};
    static fq_network network;
    FQ_ASSERT_OK(fq_zoo_build("logreg", (fq_shape){2, 1, 1}, 2, &network));
    FQ_ASSERT_OK(fq_model_create(&hand.model, &network, NULL, 0));
    hand.w = calloc(fq_model_size(hand.model), sizeof *hand.w);
    float *weight = hand.w + fq_model_tensor(hand.model, 0)->offset;
    weight[0] = 0.3f;
    weight[3] = 1;
    static const char *const ranges[] = {"minmax"};
    set_words(&hand.settings.ranges, 1, ranges);
    return hand;
}

static void drop_by_hand(by_hand *hand) {
    free(hand->w);
    fq_model_destroy(&hand->model);
    eval_close(&hand->data);
}

static void test_by_hand(void) {
    by_hand   hand = make_by_hand();
    fq_figure figures[FQ_MAX_FIGURES];
    size_t    n = evaluate(hand.model, &hand.data, &hand.settings, 1, hand.w, figures);
    /* Float: 3 > 1, 0.3 < 10, 3 > -1, 0.3 > 0.25, 6 > 2: four of five. */
    CU_ASSERT_EQUAL(find(figures, n, "none", 32, 32)->accuracy, 0.8);
    CU_ASSERT_EQUAL(find(figures, n, "minmax", 8, 32)->accuracy, 0.8);
    /* 3 bits, step 1/3: 0.3 becomes 1/3, the same answers. */
    CU_ASSERT_EQUAL(find(figures, n, "minmax", 3, 32)->accuracy, 0.8);
    /* 2 bits, step 1: the logits are (0, x1), and the first example is lost too. */
    CU_ASSERT_EQUAL(find(figures, n, "minmax", 2, 32)->accuracy, 0.6);
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "minmax", 2, 32)->noise, 0.09 / 1.09, 1e-7);
    CU_ASSERT_EQUAL(find(figures, n, "minmax", 2, 32)->step_bits, 2 + 32.0 / 4);
    drop_by_hand(&hand);
}

/* Step and codes of 0.3 and 1 at 4 bits, where minmax finds 1/7 and the codes 2 and 7. */
static void test_changed_steps_by_hand(void) {
    by_hand             hand = make_by_hand();
    static const double scales[] = {0.7, 1, 1.75};
    set_scales(&hand.settings, 3, scales);
    hand.settings.power_of_two = true;
    fq_figure figures[FQ_MAX_FIGURES];
    size_t    n = evaluate(hand.model, &hand.data, &hand.settings, 1, hand.w, figures);
    CU_ASSERT_EQUAL(n, 1 + 6 * 5);
    /* 0.1: 3 and, clipped, 7; 1/4: 1 and 4; 1/8, the nearest power of two: 2 and, clipped, 7. */
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "minmax*0.7", 4, 32)->noise, 0.09 / 1.09, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "minmax*1.75", 4, 32)->noise, 0.0025 / 1.09, 1e-7);
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "minmax~2^k", 4, 32)->noise, (0.0025 + 0.015625) / 1.09,
                           1e-7);
    /* At 2 bits the weights become 0 and 1.75: the answers of step 1. */
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "minmax*1.75", 2, 32)->noise, (0.09 + 0.5625) / 1.09,
                           1e-7);
    CU_ASSERT_EQUAL(find(figures, n, "minmax*1.75", 2, 32)->accuracy, 0.6);
    CU_ASSERT_EQUAL(find(figures, n, "minmax*1.75", 2, 32)->step_bits, 2 + 32.0 / 4);
    drop_by_hand(&hand);
}

/* Scale 1 is what the rule found, to the last bit; per channel, every step is changed. */
static void test_scale_one(void) {
    static const char *const ranges[] = {"minmax", "percentile", "mse", "gauss"};
    static const double      scales[] = {1, 0.5};
    eval_data                data = eval_open_synthetic();
    fq_model                *model = eval_conv_model(false);
    fq_eval_settings         s = eval_defaults();
    fq_figure                figures[FQ_MAX_FIGURES];
    float                   *w = initial(model, 1);
    set_words(&s.ranges, 4, ranges);
    set_scales(&s, 2, scales);
    for (int granularity = FQ_PER_TENSOR; granularity <= FQ_PER_CHANNEL; granularity++) {
        set_words(&s.granularity, 1, &fq_granularity_names[granularity]);
        size_t n = evaluate(model, &data, &s, 1, w, figures);
        for (size_t r = 0; r < 4; r++)
            for (int bits = 2; bits <= 8; bits += bits == 6 ? 2 : 1) {
                char one[32], half[32];
                snprintf(one, sizeof one, "%s*1", ranges[r]);
                snprintf(half, sizeof half, "%s*0.5", ranges[r]);
                const fq_figure *plain = find(figures, n, ranges[r], bits, 32);
                const fq_figure *same = find(figures, n, one, bits, 32);
                CU_ASSERT_EQUAL(plain->accuracy, same->accuracy);
                CU_ASSERT_EQUAL(plain->loss, same->loss);
                CU_ASSERT_EQUAL(plain->noise, same->noise);
                CU_ASSERT_NOT_EQUAL(plain->noise, find(figures, n, half, bits, 32)->noise);
            }
    }
    free(w);
    fq_model_destroy(&model);
    eval_close(&data);
}

static void test_powers_of_two(void) {
    const fq_step_change power = {.kind = FQ_STEP_POWER_OF_TWO};
    for (float step = 1e-8f; step < 1e36f; step *= 1.37f) {
        int   exponent;
        float changed = fq_step_changed(power, step);
        CU_ASSERT_EQUAL(frexpf(changed, &exponent), 0.5f);
        CU_ASSERT_TRUE(fabs(log2((double)changed / (double)step)) <= 0.5 + 1e-12);
        CU_ASSERT_EQUAL(fq_step_changed(power, changed), changed);
    }
    /* Nearest in log2: the middle of 1 and 2 is sqrt(2). */
    CU_ASSERT_EQUAL(fq_step_changed(power, 1.4142135f), 1.0f);
    CU_ASSERT_EQUAL(fq_step_changed(power, 1.4142137f), 2.0f);
}

static void test_bits_per_weight(void) {
    eval_data        data = eval_open_synthetic();
    fq_model        *model = eval_conv_model(false); /* 3 x 20 x 9 and 4 x 3 weights */
    fq_eval_settings s = eval_defaults();
    fq_figure        figures[FQ_MAX_FIGURES];
    float           *w = initial(model, 1);
    set_words(&s.granularity, 1, &fq_granularity_names[FQ_PER_CHANNEL]);
    size_t n = evaluate(model, &data, &s, 1, w, figures);
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "mse", 4, 32)->step_bits, 4 + 32.0 * 7 / 552, 1e-12);
    set_words(&s.granularity, 1, &fq_granularity_names[FQ_PER_TENSOR]);
    s.layers = FQ_LAYERS_FIRST_LAST_8; /* both layers are first or last */
    n = evaluate(model, &data, &s, 1, w, figures);
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "mse", 2, 32)->step_bits, 8 + 32.0 * 2 / 552, 1e-12);
    CU_ASSERT_EQUAL(find(figures, n, "mse", 2, 32)->accuracy,
                    find(figures, n, "mse", 8, 32)->accuracy);
    s.layers = FQ_LAYERS_FIRST_LAST_FLOAT;
    n = evaluate(model, &data, &s, 1, w, figures);
    CU_ASSERT_EQUAL(find(figures, n, "mse", 2, 32)->step_bits, 32);
    CU_ASSERT_EQUAL(find(figures, n, "mse", 2, 32)->noise, 0);
    CU_ASSERT_EQUAL(find(figures, n, "mse", 2, 32)->loss, find(figures, n, "none", 32, 32)->loss);
    free(w);
    fq_model_destroy(&model);
    eval_close(&data);
}

/* Everything at once: rules, activations, pairs, channels, batch norm, batches that do not divide.
 */
static void test_workers(void) {
    static const int         weights[] = {32, 8, 4, 1}, activations[] = {32, 8, 2};
    static const char *const pairs[] = {"3/4"}, *const ranges[] = {"minmax", "percentile", "mse",
                                                                   "gauss"};
    static const size_t workers[] = {1, 2, 5};
    eval_data           data = eval_open_synthetic();
    fq_model           *model = eval_conv_model(true);
    fq_figure           first[FQ_MAX_FIGURES], figures[FQ_MAX_FIGURES];
    float              *w = initial(model, 1);
    fq_eval_settings    s = eval_defaults();
    set_ints(&s.weights, 4, weights);
    set_ints(&s.activations, 3, activations);
    set_words(&s.pairs, 1, pairs);
    set_words(&s.ranges, 4, ranges);
    static const double scales[] = {0.85, 1.3};
    set_scales(&s, 2, scales);
    s.power_of_two = true;
    set_words(&s.granularity, 1, &fq_granularity_names[FQ_PER_CHANNEL]);
    s.batch = 47;
    s.calibration_examples = 70;
    s.batch_norm_batches = 2;
    size_t n = evaluate(model, &data, &s, 1, w, first);
    CU_ASSERT_EQUAL(n, 3 + 4 * (9 + 1 + 3 * 3));
    for (size_t k = 0; k < 3; k++) {
        evaluate(model, &data, &s, workers[k], w, figures);
        for (size_t i = 0; i < n; i++) {
            CU_ASSERT_EQUAL(first[i].accuracy, figures[i].accuracy);
            CU_ASSERT_EQUAL(first[i].loss, figures[i].loss);
            CU_ASSERT_EQUAL(first[i].noise, figures[i].noise);
        }
    }
    s.batch = 1000; /* memory, not results */
    evaluate(model, &data, &s, 2, w, figures);
    for (size_t i = 0; i < n; i++) {
        CU_ASSERT_EQUAL(first[i].accuracy, figures[i].accuracy);
        CU_ASSERT_DOUBLE_EQUAL(first[i].loss, figures[i].loss, 1e-5);
    }
    free(w);
    fq_model_destroy(&model);
    eval_close(&data);
}

static void test_activations(void) {
    static const int activations[] = {32, 8, 1};
    eval_data        data = eval_open_synthetic();
    fq_model        *model = eval_conv_model(false);
    fq_eval_settings s = eval_defaults();
    fq_figure        figures[FQ_MAX_FIGURES];
    float           *w = initial(model, 1);
    set_ints(&s.activations, 3, activations);
    size_t           n = evaluate(model, &data, &s, 2, w, figures);
    const fq_figure *plain = find(figures, n, "none", 32, 32);
    /* 8 bits hardly show, one bit shows. */
    CU_ASSERT_NOT_EQUAL(find(figures, n, "none", 32, 8)->loss, plain->loss);
    CU_ASSERT_DOUBLE_EQUAL(find(figures, n, "none", 32, 8)->loss, plain->loss, 0.02 * plain->loss);
    CU_ASSERT_TRUE(fabs(find(figures, n, "none", 32, 1)->loss - plain->loss) >
                   fabs(find(figures, n, "none", 32, 8)->loss - plain->loss));
    CU_ASSERT_EQUAL(find(figures, n, "mse", 4, 8)->noise, find(figures, n, "mse", 4, 32)->noise);
    free(w);
    fq_model_destroy(&model);
    eval_close(&data);
}

static void test_batch_norm(void) {
    eval_data        data = eval_open_synthetic();
    fq_model        *model = eval_conv_model(true);
    fq_eval_settings s = eval_defaults();
    fq_figure        kept[FQ_MAX_FIGURES], fresh[FQ_MAX_FIGURES];
    float           *w = initial(model, 1);
    s.batch_norm_batches = 0;
    size_t n = evaluate(model, &data, &s, 1, w, kept);
    s.batch_norm_batches = 2;
    evaluate(model, &data, &s, 1, w, fresh);
    /* The moments of an untrained model are not those of the data; float keeps them. */
    CU_ASSERT_EQUAL(find(kept, n, "none", 32, 32)->loss, find(fresh, n, "none", 32, 32)->loss);
    CU_ASSERT_NOT_EQUAL(find(kept, n, "mse", 8, 32)->loss, find(fresh, n, "mse", 8, 32)->loss);
    CU_ASSERT_EQUAL(find(kept, n, "mse", 8, 32)->noise, find(fresh, n, "mse", 8, 32)->noise);
    free(w);
    fq_model_destroy(&model);
    eval_close(&data);
}

static fq_status try_create(const fq_model *model, const fq_dataset *set,
                            const fq_partition *partition, const fq_eval_settings *settings) {
    fq_pool      *pool;
    fq_evaluator *evaluator;
    FQ_ASSERT_OK(fq_pool_create(&pool, 1));
    fq_status status = fq_evaluator_create(&evaluator, model, set, partition, settings, 1, pool);
    CU_ASSERT_TRUE(status == FQ_OK || evaluator == NULL);
    fq_evaluator_destroy(&evaluator);
    fq_pool_destroy(&pool);
    return status;
}

static void test_what_cannot_be(void) {
    eval_data        data = eval_open_synthetic();
    fq_model        *plain = eval_conv_model(false), *norm = eval_conv_model(true), *other;
    fq_eval_settings s = eval_defaults();
    FQ_ASSERT_OK(try_create(plain, data.set, NULL, &s));
    FQ_ASSERT_FAILS(try_create(norm, data.set, NULL, &s), FQ_EINVAL, "evaluate.batch_norm_batches");
    s.batch_norm_batches = 0;
    FQ_ASSERT_OK(try_create(norm, data.set, NULL, &s));
    static const char *const pairs[] = {"8/8"};
    set_words(&s.pairs, 1, pairs);
    FQ_ASSERT_FAILS(try_create(plain, data.set, NULL, &s), FQ_EINVAL, "evaluate.activations");
    s = eval_defaults();
    s.weights.v[0] = 9;
    FQ_ASSERT_FAILS(try_create(plain, data.set, NULL, &s), FQ_EINVAL, "evaluate.weights");
    static fq_network network;
    FQ_ASSERT_OK(fq_zoo_build("logreg", (fq_shape){3, 1, 1}, 4, &network));
    FQ_ASSERT_OK(fq_model_create(&other, &network, NULL, 0));
    s = eval_defaults();
    FQ_ASSERT_FAILS(try_create(other, data.set, NULL, &s), FQ_EINVAL, "20x1x1");
    fq_model_destroy(&other);
    FQ_ASSERT_OK(fq_zoo_build("logreg", (fq_shape){20, 1, 1}, 3, &network));
    FQ_ASSERT_OK(fq_model_create(&other, &network, NULL, 0));
    FQ_ASSERT_FAILS(try_create(other, data.set, NULL, &s), FQ_EINVAL, "4 classes");
    fq_model_destroy(&other);
    fq_model_destroy(&plain);
    fq_model_destroy(&norm);
    eval_close(&data);
}

static void test_diverged(void) {
    eval_data        data = eval_open_synthetic();
    fq_model        *model = eval_conv_model(false);
    fq_eval_settings s = eval_defaults();
    fq_figure        figures[FQ_MAX_FIGURES];
    float           *w = initial(model, 1);
    fq_pool         *pool;
    fq_evaluator    *evaluator;
    FQ_ASSERT_OK(fq_pool_create(&pool, 2));
    FQ_ASSERT_OK(fq_evaluator_create(&evaluator, model, data.set, NULL, &s, 1, pool));
    w[3] = NAN;
    FQ_ASSERT_FAILS(fq_evaluator_run(evaluator, w, figures), FQ_ENONFINITE,
                    "tensor conv2d1.weight is nan");
    w[3] = INFINITY;
    FQ_ASSERT_FAILS(fq_evaluator_run(evaluator, w, figures), FQ_ENONFINITE, "is inf");
    fq_evaluator_destroy(&evaluator);
    /* Finite weights whose activations overflow are figures like any other. */
    for (size_t i = 0; i < fq_model_size(model); i++)
        w[i] = i % 2 == 0 ? 3e38f : -3e38f;
    static const char *const pairs[] = {"8/8"};
    set_words(&s.pairs, 1, pairs);
    FQ_ASSERT_OK(fq_evaluator_create(&evaluator, model, data.set, data.partition, &s, 1, pool));
    FQ_ASSERT_OK(fq_evaluator_run(evaluator, w, figures));
    fq_evaluator_destroy(&evaluator);
    fq_pool_destroy(&pool);
    free(w);
    fq_model_destroy(&model);
    eval_close(&data);
}

int main(void) {
    static const fq_case cases[] = {
        {"defaults", test_defaults},
        {"bad settings name their key", test_bad_settings},
        {"the order of the figures", test_plan},
        {"both granularities", test_both_granularities},
        {"all widths against a plain loop", test_against_plain_loop},
        {"accuracy by hand", test_by_hand},
        {"changed steps by hand", test_changed_steps_by_hand},
        {"scale 1 is the plain rule", test_scale_one},
        {"powers of two", test_powers_of_two},
        {"bits per weight by hand", test_bits_per_weight},
        {"the same figures for 1, 2 and 5 workers", test_workers},
        {"quantized activations", test_activations},
        {"batch norm with quantized weights", test_batch_norm},
        {"what cannot be evaluated", test_what_cannot_be},
        {"weights that are not finite, or huge", test_diverged},
        {NULL, NULL},
    };
    return fq_run_suite("evaluate", cases);
}

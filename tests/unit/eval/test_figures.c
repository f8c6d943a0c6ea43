/* Summaries over bit-widths, and the figures of weight tensors, against values by hand. */
#include "eval/evaluate.h"
#include "suite.h"

#include <math.h>
#include <string.h>

static void test_summary_by_hand(void) {
    /* In no order, with other rules and quantized activations between. */
    static const fq_figure figures[] = {
        {32, 32, "none", 0.90, 0, 0, 32},  {32, 8, "none", 0.11, 0, 0, 32},
        {2, 32, "mse", 0.40, 0, 0, 2},     {8, 32, "mse", 0.88, 0, 0, 8},
        {4, 32, "mse", 0.80, 0, 0, 4},     {4, 8, "mse", 0.10, 0, 0, 4},
        {3, 32, "mse", 0.60, 0, 0, 3},     {2, 32, "minmax", 0.20, 0, 0, 2},
        {8, 32, "minmax", 0.10, 0, 0, 8},  {2, 32, "mse*0.85", 0.01, 0, 0, 2},
        {2, 32, "mse~2^k", 0.02, 0, 0, 2},
    };
    fq_bits_summary s;
    CU_ASSERT_TRUE_FATAL(fq_bits_summarize(figures, 11, "mse", &s));
    CU_ASSERT_EQUAL(s.float_accuracy, 0.90);
    CU_ASSERT_DOUBLE_EQUAL(s.mean, (0.40 + 0.60 + 0.80 + 0.88) / 4, 1e-15);
    CU_ASSERT_EQUAL(s.worst, 0.40);
    CU_ASSERT_EQUAL(s.worst_bits, 2);
    /* 1 * 0.5 + 1 * 0.7 + 4 * 0.84, over a span of 6 */
    CU_ASSERT_DOUBLE_EQUAL(s.area, (0.5 + 0.7 + 3.36) / 6, 1e-15);
    CU_ASSERT_TRUE_FATAL(fq_bits_summarize(figures, 11, "minmax", &s));
    CU_ASSERT_DOUBLE_EQUAL(s.area, 0.15, 1e-15);
    CU_ASSERT_EQUAL(s.worst_bits, 8);
    CU_ASSERT_FALSE(fq_bits_summarize(figures, 11, "gauss", &s));
    CU_ASSERT_TRUE(fq_rule_is_plain("mse"));
    CU_ASSERT_TRUE(fq_rule_is_plain("none"));
    CU_ASSERT_FALSE(fq_rule_is_plain("mse*0.85"));
    CU_ASSERT_FALSE(fq_rule_is_plain("mse~2^k"));
}

static void test_summary_of_one(void) {
    static const fq_figure one[] = {{4, 32, "mse", 0.5, 0, 0, 4}};
    fq_bits_summary        s;
    CU_ASSERT_TRUE_FATAL(fq_bits_summarize(one, 1, "mse", &s));
    CU_ASSERT_EQUAL(s.area, 0.5);
    CU_ASSERT_EQUAL(s.mean, 0.5);
    CU_ASSERT_TRUE(isnan(s.float_accuracy));
    CU_ASSERT_FALSE(fq_bits_summarize(one, 0, "mse", &s));
}

static void test_constant_accuracy(void) {
    fq_figure all[8];
    for (int b = 1; b <= 8; b++)
        all[b - 1] = (fq_figure){b, 32, "mse", 0.75, 0, 0, b};
    fq_bits_summary s;
    CU_ASSERT_TRUE_FATAL(fq_bits_summarize(all, 8, "mse", &s));
    CU_ASSERT_DOUBLE_EQUAL(s.area, 0.75, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(s.mean, 0.75, 1e-15);
}

/* 64 inputs and one unit: one weight tensor of 64 values. */
static fq_model *one_tensor(void) {
    static fq_network network;
    FQ_ASSERT_OK(fq_zoo_build("logreg", (fq_shape){64, 1, 1}, 2, &network));
    fq_model *model;
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    return model;
}

static void test_tensor_figures(void) {
    fq_model *model = one_tensor();
    float     w[200] = {0};
    size_t    n = 128; /* 2 x 64 weights */
    for (size_t i = 0; i < n; i++)
        w[fq_model_tensor(model, 0)->offset + i] = (float)(i % 64) / 32.0f - 1.0f;
    fq_tensor_figure t;
    CU_ASSERT_EQUAL(fq_tensor_figures(model, w, &t, 1), 1);
    CU_ASSERT_STRING_EQUAL(t.name, fq_model_tensor(model, 0)->name);
    CU_ASSERT_EQUAL(t.count, n);
    CU_ASSERT_EQUAL(t.low, -1);
    CU_ASSERT_EQUAL(t.high, 31.0 / 32);
    /* m levels in equal steps d: variance d^2 (m^2 - 1) / 12, kurtosis 3/5 (3 m^2 - 7) / (m^2 - 1)
     */
    CU_ASSERT_DOUBLE_EQUAL(t.std, sqrt(4095.0 / 12) / 32, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(t.kurtosis, 0.6 * (3 * 4096.0 - 7) / 4095, 1e-5);
    for (size_t i = 0; i < 64; i++)
        CU_ASSERT_EQUAL(t.histogram[i], 2);
    CU_ASSERT_EQUAL(fq_tensor_figures(model, w, NULL, 0), 1);
    fq_model_destroy(&model);
}

static void test_strange_tensors(void) {
    fq_model        *model = one_tensor();
    float            w[200] = {0};
    size_t           at = fq_model_tensor(model, 0)->offset;
    fq_tensor_figure t;
    CU_ASSERT_EQUAL(fq_tensor_figures(model, w, &t, 1), 1);
    CU_ASSERT_TRUE(isnan(t.kurtosis));
    CU_ASSERT_EQUAL(t.std, 0);
    CU_ASSERT_EQUAL(t.histogram[0], 128);
    w[at + 5] = NAN;
    CU_ASSERT_EQUAL(fq_tensor_figures(model, w, &t, 1), 1);
    CU_ASSERT_TRUE(isnan(t.kurtosis) && isnan(t.low));
    w[at + 5] = 3e38f;
    w[at + 6] = -3e38f;
    CU_ASSERT_EQUAL(fq_tensor_figures(model, w, &t, 1), 1);
    CU_ASSERT_EQUAL(t.histogram[0] + t.histogram[32] + t.histogram[63], 128);
    fq_model_destroy(&model);
}

int main(void) {
    static const fq_case cases[] = {
        {"a summary by hand", test_summary_by_hand},
        {"a summary of one width", test_summary_of_one},
        {"constant accuracy is its own area", test_constant_accuracy},
        {"figures of a tensor by hand", test_tensor_figures},
        {"constant, non-finite and huge tensors", test_strange_tensors},
        {NULL, NULL},
    };
    return fq_run_suite("figures", cases);
}

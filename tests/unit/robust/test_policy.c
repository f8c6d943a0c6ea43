#include "robust/robust_impl.h"
#include "suite.h"

static void test_widths(void) {
    static const struct {
        fq_layer_policy policy;
        size_t          index, n;
        int             bits, expected;
    } rows[] = {
        {FQ_LAYERS_ALL, 0, 5, 3, 3},
        {FQ_LAYERS_ALL, 4, 5, 2, 2},
        {FQ_LAYERS_FIRST_LAST_8, 0, 5, 3, 8},
        {FQ_LAYERS_FIRST_LAST_8, 1, 5, 3, 3},
        {FQ_LAYERS_FIRST_LAST_8, 4, 5, 1, 8},
        {FQ_LAYERS_FIRST_LAST_8, 0, 1, 4, 8},
        {FQ_LAYERS_FIRST_LAST_8, 0, 5, 32, 32}, /* a float pass is float everywhere */
        {FQ_LAYERS_FIRST_LAST_FLOAT, 0, 5, 3, 32},
        {FQ_LAYERS_FIRST_LAST_FLOAT, 3, 5, 3, 3},
        {FQ_LAYERS_FIRST_LAST_FLOAT, 4, 5, 3, 32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(
            fq_policy_weight_bits(rows[i].policy, rows[i].index, rows[i].n, rows[i].bits),
            rows[i].expected);
        CU_ASSERT_EQUAL(fq_policy_site_bits(rows[i].policy, rows[i].index, rows[i].n, rows[i].bits),
                        rows[i].expected);
    }
}

static void test_names(void) {
    CU_ASSERT_STRING_EQUAL(fq_layer_policy_names[FQ_LAYERS_ALL], "all");
    CU_ASSERT_STRING_EQUAL(fq_layer_policy_names[FQ_LAYERS_FIRST_LAST_8], "first_last_8");
    CU_ASSERT_STRING_EQUAL(fq_layer_policy_names[FQ_LAYERS_FIRST_LAST_FLOAT], "first_last_float");
    CU_ASSERT_PTR_NULL(fq_layer_policy_names[3]);
}

int main(void) {
    static const fq_case cases[] = {{"widths", test_widths}, {"names", test_names}, {NULL, NULL}};
    return fq_run_suite("policy", cases);
}

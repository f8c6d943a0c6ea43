/* Half precision through the quantizer: every half, and rounding against exact arithmetic in
 * double. */
#include "quant/quantizer.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint16_t encode(float x) {
    const size_t  end = 1;
    unsigned char body[2];
    fq_quantizer_find("float16")->encode(&x, (fq_blocks){.ends = &end, .n = 1}, 16, NULL, body);
    return (uint16_t)(body[0] | body[1] << 8);
}

static fq_status decode(uint16_t half, float *y) {
    const size_t  end = 1;
    unsigned char body[2] = {(unsigned char)(half & 0xffU), (unsigned char)(half >> 8)};
    return fq_quantizer_find("float16")->decode(body, (fq_blocks){.ends = &end, .n = 1}, 16, y);
}

static double value_of(unsigned half) {
    unsigned exponent = half >> 10 & 31U, fraction = half & 1023U;
    double   magnitude =
        exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, (int)exponent - 25);
    return (half & 0x8000U) != 0 ? -magnitude : magnitude;
}

static void test_every_half(void) {
    int wrong = 0;
    for (unsigned half = 0; half <= 0xffffU; half++) {
        float y = 0.0f;
        if ((half & 0x7c00U) == 0x7c00U) {
            wrong += decode((uint16_t)half, &y) != FQ_ENONFINITE;
            continue;
        }
        wrong += decode((uint16_t)half, &y) != FQ_OK || (double)y != value_of(half);
        wrong += encode(y) != half;
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* Between two neighbors: the nearer one, the even one from the middle. */
static void test_rounding(void) {
    int wrong = 0;
    for (unsigned half = 0; half < 0x7bffU; half++) {
        float low = (float)value_of(half), high = (float)value_of(half + 1),
              middle = 0.5f * (low + high);
        wrong += encode(middle) != half + (half & 1U);
        wrong += encode(nextafterf(middle, 0.0f)) != half;
        wrong += encode(nextafterf(middle, INFINITY)) != half + 1;
        wrong += encode(-middle) != (0x8000U | (half + (half & 1U)));
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void test_ends(void) {
    CU_ASSERT_EQUAL(encode(1.0f), 0x3c00);
    CU_ASSERT_EQUAL(encode(65504.0f), 0x7bff);
    CU_ASSERT_EQUAL(encode(65519.996f), 0x7bff);
    CU_ASSERT_EQUAL(encode(65520.0f), 0x7bff);
    CU_ASSERT_EQUAL(encode(-3e38f), 0xfbff);
    CU_ASSERT_EQUAL(encode(0x1p-25f), 0x0000); /* half of the smallest, ties to even */
    CU_ASSERT_EQUAL(encode(0x1.8p-25f), 0x0001);
    CU_ASSERT_EQUAL(encode(1e-45f), 0x0000);
    CU_ASSERT_EQUAL(encode(-0.0f), 0x8000);
}

int main(void) {
    static const fq_case cases[] = {
        {"every half survives", test_every_half},
        {"rounds to nearest, ties to even", test_rounding},
        {"saturates and underflows", test_ends},
        {NULL, NULL},
    };
    return fq_run_suite("float16", cases);
}

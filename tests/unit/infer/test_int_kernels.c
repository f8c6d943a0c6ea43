#include "base/rng.h"
#include "infer/int_kernels.h"
#include "quant/quantizer.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 8, LARGEST_K = 1024, PIXELS = 13 };

static const fq_int_kernels *rows[MAX_ROWS];
static size_t                n_rows;

static void *take(size_t size) {
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    return memory;
}

/* Every width, from every place in a byte, of every length: in memory of just that size, so that a
 * sanitizer sees a byte too many. */
static void test_unpack(void) {
    for (unsigned bits = 1; bits <= 8; bits++)
        for (size_t first = 0; first < 19; first++)
            for (size_t n = 1; n < 90; n += n < 20 ? 1 : 13) {
                size_t         count = first + n, size = fq_packed_bytes(count, bits);
                unsigned char *packed = malloc(size);
                uint8_t        codes[128];
                int8_t         expected[128], found[128];
                fq_rng         rng = fq_rng_stream(9, FQ_RNG_INIT, bits, first, (uint32_t)n, 0);
                int32_t        unit = bits == 1 && n % 2 == 0 ? 2 : 1;
                int32_t        least = unit == 2 ? -1 : -(1 << (bits - 1));
                for (size_t i = 0; i < count; i++)
                    codes[i] = (uint8_t)fq_rng_below(&rng, 1U << bits);
                fq_pack_bits(codes, count, bits, packed);
                for (size_t i = 0; i < n; i++)
                    expected[i] = (int8_t)(codes[first + i] * unit + least);
                for (size_t r = 0; r < n_rows; r++) {
                    memset(found, 0x55, sizeof found);
                    rows[r]->unpack(packed, packed + size, first, n, bits, unit, least, found);
                    CU_ASSERT_EQUAL(memcmp(expected, found, n), 0);
                    CU_ASSERT_EQUAL(found[n], 0x55);
                }
                free(packed);
            }
}

/* Weights of so many bits and activations up to `top`: random ones, or all at their extremes. */
static void fill(unsigned bits, int top, bool extreme, int8_t *w, uint8_t *x) {
    fq_rng  rng = fq_rng_stream(4, FQ_RNG_INIT, bits, (uint32_t)top, 0, 0);
    int32_t half = bits == 1 ? 1 : 1 << (bits - 1);
    for (size_t i = 0; i < FQ_INT_ROWS * LARGEST_K; i++)
        w[i] = (int8_t)(extreme ? (i / LARGEST_K % 2 == 0 ? -half : half - (bits > 1))
                                : (int32_t)fq_rng_below(&rng, (uint32_t)(2 * half)) - half);
    for (size_t i = 0; i < PIXELS * LARGEST_K; i++)
        x[i] = (uint8_t)(extreme ? (uint32_t)top : fq_rng_below(&rng, (uint32_t)top + 1));
}

static void check_products(size_t k, unsigned groups, const int8_t *w, const uint8_t *x) {
    int32_t expected[PIXELS * FQ_INT_ROWS], found[PIXELS * FQ_INT_ROWS + 1];
    void   *arranged = take(2 * FQ_INT_ROWS * k);
    for (size_t p = 0; p < PIXELS; p++)
        for (size_t r = 0; r < FQ_INT_ROWS; r++) {
            int64_t sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += w[r * k + i] * x[p * k + i];
            expected[p * FQ_INT_ROWS + r] = (int32_t)sum;
        }
    for (size_t row = 0; row < n_rows; row++) {
        rows[row]->arrange(k, w, groups, arranged);
        for (size_t n = 1; n <= PIXELS; n++) {
            memset(found, 0x55, sizeof found);
            rows[row]->multiply(n, k, arranged, x, groups, found);
            CU_ASSERT_EQUAL(memcmp(expected, found, n * FQ_INT_ROWS * sizeof *found), 0);
            CU_ASSERT_EQUAL(found[n * FQ_INT_ROWS], 0x55555555);
        }
        for (size_t r = 0; r < FQ_INT_ROWS; r++)
            CU_ASSERT_EQUAL(rows[row]->dot(k, w + r * k, x, groups), expected[r]);
    }
    free(arranged);
}

/* As lower.c sets it. */
static unsigned groups_of(unsigned bits, int top) {
    return (unsigned)(INT16_MAX / (2 * top * (bits == 1 ? 1 : 1 << (bits - 1))));
}

static void test_products(void) {
    int8_t  *w = take(FQ_INT_ROWS * LARGEST_K);
    uint8_t *x = take(PIXELS * LARGEST_K);
    for (unsigned bits = 1; bits <= 8; bits++)
        for (int k = 0; k < 6; k++) {
            static const int    tops[] = {255, 255, 127, 15, 1, 255};
            static const size_t lengths[] = {32, 1024, 96, 160, 512, 992};
            fill(bits, tops[k], k % 2 == 1, w, x);
            check_products(lengths[k], groups_of(bits, tops[k]), w, x);
        }
    CU_ASSERT_EQUAL(groups_of(8, 255), 0);
    CU_ASSERT_EQUAL(groups_of(7, 255), 1);
    CU_ASSERT_EQUAL(groups_of(4, 255), 8);
    free(w);
    free(x);
}

static void test_rows(void) {
    CU_ASSERT_TRUE(n_rows >= 2);
    CU_ASSERT_STRING_EQUAL(rows[0]->name, "plain");
    bool listed = false;
    for (size_t r = 0; r < n_rows; r++)
        listed = listed || rows[r] == fq_int_kernels_get();
    CU_ASSERT_TRUE(listed);
    CU_ASSERT_EQUAL(fq_int_kernels_list(rows, 1), 1);
}

int main(void) {
    static const fq_case cases[] = {
        {"unpacking", test_unpack},
        {"products", test_products},
        {"rows", test_rows},
        {NULL, NULL},
    };
    n_rows = fq_int_kernels_list(rows, MAX_ROWS);
    return fq_run_suite("int_kernels", cases);
}

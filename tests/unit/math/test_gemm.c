#include "base/rng.h"
#include "math/gemm.h"
#include "math/gemm_impl.h"
#include "math/kernels.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void product(int trans_a, int trans_b, size_t m, size_t n, size_t k, const float *a,
                     size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc);

static void by_door(int trans_a, int trans_b, size_t m, size_t n, size_t k, const float *a,
                    size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc) {
    fq_gemm(trans_a != 0, trans_b != 0, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

static float *integers(size_t n, fq_rng *rng) {
    float *x = malloc((n + 1) * sizeof *x);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)fq_rng_below(rng, 7) - 3.0f;
    return x;
}

/* Sums of small integers are exact in any order, so results are compared to the bit. `gap` widens
 * the leading dimensions; what lies between the rows of C must stay. */
static bool right(product *multiply, int trans_a, int trans_b, size_t m, size_t n, size_t k,
                  size_t gap, float beta) {
    fq_rng       rng = fq_rng_stream(m, FQ_RNG_DATA, (uint32_t)n, k, 0, 0);
    const size_t lda = (trans_a ? m : k) + gap, ldb = (trans_b ? k : n) + gap, ldc = n + gap;
    float       *a = integers((trans_a ? k : m) * lda, &rng),
          *b = integers((trans_b ? n : k) * ldb, &rng);
    float *c = integers(m * ldc, &rng), *expected = malloc((m * ldc + 1) * sizeof *expected);
    CU_ASSERT_PTR_NOT_NULL_FATAL(expected);
    memcpy(expected, c, m * ldc * sizeof *c);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = beta == 0.0f ? 0.0f : c[i * ldc + j];
            for (size_t p = 0; p < k; p++)
                sum += (trans_a ? a[p * lda + i] : a[i * lda + p]) *
                       (trans_b ? b[j * ldb + p] : b[p * ldb + j]);
            expected[i * ldc + j] = sum;
            if (beta == 0.0f)
                c[i * ldc + j] = NAN; /* must not be read */
        }
    multiply(trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
    bool equal = true;
    for (size_t i = 0; i < m * ldc; i++)
        equal = equal && c[i] == expected[i];
    free(a), free(b), free(c), free(expected);
    return equal;
}

static void test_products(product *multiply) {
    static const size_t sizes[][3] = {
        {1, 1, 1},     {1, 1, 0},    {0, 3, 3},      {3, 0, 3},       {5, 7, 0},    {3, 5, 7},
        {6, 16, 4},    {7, 17, 9},   {10, 16, 784},  {1, 40, 300},    {40, 1, 300}, {12, 33, 257},
        {13, 15, 512}, {65, 64, 70}, {120, 32, 400}, {100, 100, 100},
    };
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int form = 0; form < 8; form++) {
            const bool ok = right(multiply, form & 1, form & 2, sizes[s][0], sizes[s][1],
                                  sizes[s][2], form & 1 ? 3 : 0, form & 4 ? 1.0f : 0.0f);
            if (!ok)
                fprintf(stderr, "m %zu, n %zu, k %zu, form %d\n", sizes[s][0], sizes[s][1],
                        sizes[s][2], form);
            CU_ASSERT_TRUE(ok);
        }
}

static void test_door(void) {
    test_products(by_door);
    CU_ASSERT_TRUE(right(by_door, 1, 0, 200, 210, 220, 5, 1.0f));
    CU_ASSERT_TRUE(right(by_door, 0, 1, 200, 210, 220, 0, 0.0f)); /* large enough for BLIS */
}

static void test_rows(void) {
    for (const char *const *name = fq_kernel_names; *name != NULL; name++) {
        const fq_kernels *kernels = fq_kernels_find(*name);
        if (kernels != NULL)
            test_products(kernels->gemm);
    }
}

/* Rounding differs between shapes, never between calls. */
static void test_repeatable(void) {
    enum { N = 200 };
    fq_rng rng = fq_rng_stream(9, FQ_RNG_DATA, 0, 0, 0, 0);
    float *a = malloc(3 * N * N * sizeof *a), *b = a + N * N, *c = b + N * N;
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    fq_rng_fill_normal(&rng, a, 2 * N * N);
    fq_gemm(false, true, N, N, N, a, N, b, N, 0.0f, c, N);
    float *again = malloc(N * N * sizeof *again);
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    fq_gemm(false, true, N, N, N, a, N, b, N, 0.0f, again, N);
    CU_ASSERT_EQUAL(memcmp(c, again, N * N * sizeof *c), 0);
    free(a), free(again);
}

/* Fails where BLIS would fall to its slow kernels on a processor that could run fast ones. */
static void test_kernel_in_use(void) {
    fq_gemm_start();
    fprintf(stderr, "(%s) ", fq_gemm_kernel());
    if (fq_kernels_find("v3") != NULL)
        CU_ASSERT_STRING_NOT_EQUAL(fq_gemm_kernel(), "generic");
}

#if defined(__x86_64__) && defined(FQ_HAVE_BLIS)
/* The numbers are those of blis.h 0.9: 0 is skx, 3 is haswell. */
static void test_choice(void) {
    static const struct {
        fq_processor processor;
        int          arch;
    } cases[] = {
        {{FQ_VENDOR_AMD, 0x1a, true, true}, 0},    /* Zen 5 */
        {{FQ_VENDOR_OTHER, 0x18, true, false}, 3}, /* a make that BLIS has never heard of */
        {{FQ_VENDOR_AMD, 0x1a, true, false}, 3},   /* AVX-512 switched off */
        {{FQ_VENDOR_OTHER, 6, false, false}, -1},  /* nothing better than generic */
        {{FQ_VENDOR_AMD, 0x19, true, false}, -1},  /* Zen 3: BLIS knows it */
        {{FQ_VENDOR_INTEL, 6, true, true}, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CU_ASSERT_EQUAL(fq_blis_arch(&cases[i].processor), cases[i].arch);
}
#endif

#if defined(FQ_HAVE_BLIS)
/* BLIS itself would end the process at 99, and take a word for its number 0. */
static void test_wrong_environment(void) {
    static const char *const wrong[] = {
        "99", "-1", "haswell", "", "3x", " 3", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        setenv("BLIS_ARCH_TYPE", wrong[i], 1);
        FQ_ASSERT_FAILS(fq_gemm_check(), FQ_EINVAL,
                        "is not a sub-configuration of BLIS; expected one of ");
    }
    fq_gemm_start(); /* the last of them is still set */
    unsetenv("BLIS_ARCH_TYPE");
    FQ_ASSERT_OK(fq_gemm_check());
}
#endif

int main(void) {
    unsetenv("BLIS_ARCH_TYPE");
    static const fq_case cases[] = {
#if defined(FQ_HAVE_BLIS)
        {"a wrong BLIS_ARCH_TYPE is refused", test_wrong_environment}, /* before BLIS starts */
#endif
        {"BLIS does not run its generic kernels", test_kernel_in_use},
#if defined(__x86_64__) && defined(FQ_HAVE_BLIS)
        {"choice of kernels for processors that BLIS does not know", test_choice},
#endif
        {"every transpose, through the door", test_door},
        {"every transpose, every row", test_rows},
        {"same call, same bits", test_repeatable},
        {NULL, NULL},
    };
    return fq_run_suite("gemm", cases);
}

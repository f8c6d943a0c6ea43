#include "math/gemm.h"

#include "math/gemm_impl.h"
#include "math/kernels.h"

#include <pthread.h>
#include <stdlib.h>

#if defined(FQ_HAVE_BLIS)

#include <blis.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

static fq_processor this_processor(void) {
    fq_processor found = {0};
    unsigned     a, b, c, d;
    char         vendor[13] = "";
    if (__get_cpuid(0, &a, &b, &c, &d)) {
        memcpy(vendor, &b, 4);
        memcpy(vendor + 4, &d, 4);
        memcpy(vendor + 8, &c, 4);
    }
    if (strcmp(vendor, "GenuineIntel") == 0)
        found.vendor = FQ_VENDOR_INTEL;
    if (strcmp(vendor, "AuthenticAMD") == 0)
        found.vendor = FQ_VENDOR_AMD;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        found.family = a >> 8 & 0xf;
        if (found.family == 0xf)
            found.family += a >> 20 & 0xff;
    }
    found.avx2 = fq_kernels_find("v3") != NULL;
    found.avx512 = fq_kernels_find("v4") != NULL;
    return found;
}

/* What BLIS 0.9 knows: Intel by features, AMD by family (0x15 Bulldozer to Excavator, 0x17 Zen and
 * Zen 2, 0x19 Zen 3 and Zen 4). All others get `generic`. It does not export this choice, and
 * asking for the choice in effect would fix it. */
static bool blis_knows(const fq_processor *processor) {
    if (processor->vendor == FQ_VENDOR_AMD)
        return processor->family == 0x15 || processor->family == 0x17 || processor->family == 0x19;
    return processor->vendor == FQ_VENDOR_INTEL;
}

int fq_blis_arch(const fq_processor *processor) {
    if (blis_knows(processor))
        return -1;
#if defined(BLIS_CONFIG_SKX)
    if (processor->avx512)
        return BLIS_ARCH_SKX;
#endif
#if defined(BLIS_CONFIG_HASWELL)
    if (processor->avx2)
        return BLIS_ARCH_HASWELL;
#endif
    return -1;
}

#else

/* Nothing is known here of what BLIS picks on other processors: leave it the choice. */
int fq_blis_arch(const fq_processor *processor) {
    (void)processor;
    return -1;
}

static fq_processor this_processor(void) {
    return (fq_processor){0};
}

#endif

/* The sub-configurations that are part of the library; where they are not known, all numbers there
 * are. */
static bool is_built_in(int arch) {
#if defined(__x86_64__)
    static const bool built_in[BLIS_NUM_ARCHS] = {
#if defined(BLIS_CONFIG_SKX)
        [BLIS_ARCH_SKX] = true,
#endif
#if defined(BLIS_CONFIG_KNL)
        [BLIS_ARCH_KNL] = true,
#endif
#if defined(BLIS_CONFIG_HASWELL)
        [BLIS_ARCH_HASWELL] = true,
#endif
#if defined(BLIS_CONFIG_SANDYBRIDGE)
        [BLIS_ARCH_SANDYBRIDGE] = true,
#endif
#if defined(BLIS_CONFIG_PENRYN)
        [BLIS_ARCH_PENRYN] = true,
#endif
#if defined(BLIS_CONFIG_ZEN3)
        [BLIS_ARCH_ZEN3] = true,
#endif
#if defined(BLIS_CONFIG_ZEN2)
        [BLIS_ARCH_ZEN2] = true,
#endif
#if defined(BLIS_CONFIG_ZEN)
        [BLIS_ARCH_ZEN] = true,
#endif
#if defined(BLIS_CONFIG_EXCAVATOR)
        [BLIS_ARCH_EXCAVATOR] = true,
#endif
#if defined(BLIS_CONFIG_STEAMROLLER)
        [BLIS_ARCH_STEAMROLLER] = true,
#endif
#if defined(BLIS_CONFIG_PILEDRIVER)
        [BLIS_ARCH_PILEDRIVER] = true,
#endif
#if defined(BLIS_CONFIG_BULLDOZER)
        [BLIS_ARCH_BULLDOZER] = true,
#endif
#if defined(BLIS_CONFIG_GENERIC)
        [BLIS_ARCH_GENERIC] = true,
#endif
    };
    return built_in[arch];
#else
    return arch >= 0;
#endif
}

/* BLIS takes a word for 0, and ends the process for a number that is not built in. */
fq_status fq_gemm_check(void) {
    const char *text = getenv("BLIS_ARCH_TYPE");
    if (text == NULL)
        return FQ_OK;
    char *end, known[512] = "";
    long  arch = strtol(text, &end, 10);
    if (isdigit((unsigned char)text[0]) && *end == '\0' && arch < BLIS_NUM_ARCHS &&
        is_built_in((int)arch))
        return FQ_OK;
    for (int i = 0; i < BLIS_NUM_ARCHS; i++) {
        size_t used = strlen(known);
        if (is_built_in(i))
            snprintf(known + used, sizeof known - used, "%s%d (%s)", used == 0 ? "" : ", ", i,
                     bli_arch_string((arch_t)i));
    }
    return fq_fail(FQ_EINVAL,
                   "BLIS_ARCH_TYPE: '%.40s' is not a sub-configuration of BLIS; expected one of %s",
                   text, known);
}

/* BLIS reads BLIS_ARCH_TYPE once, in bli_init; bli_arch_query_id before that would abort. */
static void start(void) {
    const fq_processor processor = this_processor();
    const int          arch = fq_blis_arch(&processor);
    if (fq_gemm_check() != FQ_OK)
        unsetenv("BLIS_ARCH_TYPE"); /* rather than end here */
    const bool pick = arch >= 0 && getenv("BLIS_ARCH_TYPE") == NULL;
    if (pick) {
        char text[16];
        snprintf(text, sizeof text, "%d", arch);
        setenv("BLIS_ARCH_TYPE", text, 1);
    }
    bli_init();
    bli_arch_query_id();
    if (pick)
        unsetenv("BLIS_ARCH_TYPE"); /* programs that we start make their own choice */
}

void fq_gemm_start(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
}

const char *fq_gemm_kernel(void) {
    fq_gemm_start();
    return bli_arch_string(bli_arch_query_id());
}

/* The kernels win most products with a small side, BLIS those with none. On one AVX2 processor,
 * kernels against BLIS in GFLOP/s (m x n x k): 85 and 93 at 256 x 256 x 256, 77 and 37 at 120 x 400
 * x 32 with B transposed; the exception is 3136 x 24 x 2048 with A transposed, 60 and 69. */
static bool suits_blis(size_t m, size_t n, size_t k) {
    enum { LARGE = 192 };
    return m >= LARGE && n >= LARGE && k >= LARGE;
}

static void product(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k,
                    const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
                    size_t ldc) {
    /* BLIS takes a row and a column stride for each matrix, so row-major needs no tricks. Its
     * parameters are not const, though it only reads a and b. */
    float one = 1.0f;
    bli_sgemm(transpose_a ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE,
              transpose_b ? BLIS_TRANSPOSE : BLIS_NO_TRANSPOSE, (dim_t)m, (dim_t)n, (dim_t)k, &one,
              (float *)a, (inc_t)lda, 1, (float *)b, (inc_t)ldb, 1, &beta, c, (inc_t)ldc, 1);
}

#else

fq_status fq_gemm_check(void) {
    return FQ_OK;
}

void fq_gemm_start(void) {
}

const char *fq_gemm_kernel(void) {
    return fq_kernels_get()->name;
}

#endif

void fq_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a,
             size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc) {
#if defined(FQ_HAVE_BLIS)
    if (suits_blis(m, n, k)) {
        fq_gemm_start();
        product(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
        return;
    }
#endif
    fq_kernels_get()->gemm(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

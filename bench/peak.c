#include "bench/peak.h"

#include "base/clock.h"
#include "math/kernels.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* Chains of multiply-adds that do not wait for each other: two units with four cycles of latency
 * need eight, and sixteen registers have room for twelve and the two factors. */
enum { CHAINS = 12, ROUNDS = 200000 };

typedef struct burst {
    double operations; /* of a call */
    float (*run)(void);
} burst;

/* Twelve chains by name, as an array could end up in memory: each x <- x * f + a. */
#define FQ_EACH_CHAIN(S) S(0) S(1) S(2) S(3) S(4) S(5) S(6) S(7) S(8) S(9) S(10) S(11)

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static float run_v4(void) {
    const __m512 factor = _mm512_set1_ps(0.5f), add = _mm512_set1_ps(1.0f);
#define FQ_BEGIN(i) __m512 x##i = _mm512_set1_ps((float)(i));
#define FQ_STEP(i)  x##i = _mm512_fmadd_ps(x##i, factor, add);
#define FQ_SUM(i)   sum = _mm512_add_ps(sum, x##i);
    FQ_EACH_CHAIN(FQ_BEGIN)
    for (int r = 0; r < ROUNDS; r++) {
        FQ_EACH_CHAIN(FQ_STEP)
    }
    __m512 sum = _mm512_setzero_ps();
    FQ_EACH_CHAIN(FQ_SUM)
    return _mm512_reduce_add_ps(sum);
#undef FQ_BEGIN
#undef FQ_STEP
#undef FQ_SUM
}

__attribute__((target("avx2,fma"))) static float run_v3(void) {
    const __m256 factor = _mm256_set1_ps(0.5f), add = _mm256_set1_ps(1.0f);
#define FQ_BEGIN(i) __m256 x##i = _mm256_set1_ps((float)(i));
#define FQ_STEP(i)  x##i = _mm256_fmadd_ps(x##i, factor, add);
#define FQ_SUM(i)   sum = _mm256_add_ps(sum, x##i);
    FQ_EACH_CHAIN(FQ_BEGIN)
    for (int r = 0; r < ROUNDS; r++) {
        FQ_EACH_CHAIN(FQ_STEP)
    }
    __m256 sum = _mm256_setzero_ps();
    FQ_EACH_CHAIN(FQ_SUM)
    float lanes[8];
    _mm256_storeu_ps(lanes, sum);
    return lanes[0] + lanes[7];
#undef FQ_BEGIN
#undef FQ_STEP
#undef FQ_SUM
}

/* SSE2 has no fused form: a product and a sum are its two operations. */
static float run_baseline(void) {
    const __m128 factor = _mm_set1_ps(0.5f), add = _mm_set1_ps(1.0f);
#define FQ_BEGIN(i) __m128 x##i = _mm_set1_ps((float)(i));
#define FQ_STEP(i)  x##i = _mm_add_ps(_mm_mul_ps(x##i, factor), add);
#define FQ_SUM(i)   sum = _mm_add_ps(sum, x##i);
    FQ_EACH_CHAIN(FQ_BEGIN)
    for (int r = 0; r < ROUNDS; r++) {
        FQ_EACH_CHAIN(FQ_STEP)
    }
    __m128 sum = _mm_setzero_ps();
    FQ_EACH_CHAIN(FQ_SUM)
    return _mm_cvtss_f32(sum);
#undef FQ_BEGIN
#undef FQ_STEP
#undef FQ_SUM
}
#elif defined(__aarch64__)
static float run_baseline(void) {
    const float32x4_t factor = vdupq_n_f32(0.5f), add = vdupq_n_f32(1.0f);
#define FQ_BEGIN(i) float32x4_t x##i = vdupq_n_f32((float)(i));
#define FQ_STEP(i)  x##i = vfmaq_f32(add, x##i, factor);
#define FQ_SUM(i)   sum = vaddq_f32(sum, x##i);
    FQ_EACH_CHAIN(FQ_BEGIN)
    for (int r = 0; r < ROUNDS; r++) {
        FQ_EACH_CHAIN(FQ_STEP)
    }
    float32x4_t sum = vdupq_n_f32(0.0f);
    FQ_EACH_CHAIN(FQ_SUM)
    return vaddvq_f32(sum);
#undef FQ_BEGIN
#undef FQ_STEP
#undef FQ_SUM
}
#endif

static float run_plain(void) {
#define FQ_BEGIN(i) float x##i = (float)(i);
#define FQ_STEP(i)  x##i = x##i * 0.5f + 1.0f;
#define FQ_SUM(i)   sum += x##i;
    FQ_EACH_CHAIN(FQ_BEGIN)
    for (int r = 0; r < ROUNDS; r++) {
        FQ_EACH_CHAIN(FQ_STEP)
    }
    float sum = 0.0f;
    FQ_EACH_CHAIN(FQ_SUM)
    return sum;
#undef FQ_BEGIN
#undef FQ_STEP
#undef FQ_SUM
}

static burst burst_of(const char *kernels) {
    static const struct {
        const char *name;
        int         lanes;
        float (*run)(void);
    } rows[] = {
#if defined(__x86_64__)
        {"v4", 16, run_v4},
        {"v3", 8, run_v3},
#endif
#if defined(__x86_64__) || defined(__aarch64__)
        {"baseline", 4, run_baseline},
#endif
        {"plain", 1, run_plain},
    };
    size_t i = 0;
    while (i + 1 < sizeof rows / sizeof *rows && strcmp(rows[i].name, kernels) != 0)
        i++;
    return (burst){2.0 * CHAINS * ROUNDS * rows[i].lanes, rows[i].run};
}

double fq_peak_gflops(double seconds) {
    burst  one = burst_of(fq_kernels_get()->name);
    double best = 0.0, began = fq_now();
    do {
        double         start = fq_now();
        volatile float kept = one.run();
        double         rate = one.operations / (fq_now() - start) * 1e-9;
        (void)kept;
        if (rate > best)
            best = rate;
    } while (fq_now() - began < seconds);
    return best;
}

fq_status fq_peak_copy(double seconds, double *gigabytes_per_second) {
    enum { BYTES = 64 << 20 };
    char *from = malloc(BYTES), *to = malloc(BYTES);
    *gigabytes_per_second = 0.0;
    if (from == NULL || to == NULL) {
        free(from);
        free(to);
        return fq_fail(FQ_ENOMEM, "no memory to copy %d bytes", BYTES);
    }
    memset(from, 1, BYTES);
    memset(to, 2, BYTES);
    double began = fq_now();
    do {
        double start = fq_now();
        memcpy(to, from, BYTES);
        double rate = BYTES / (fq_now() - start) * 1e-9;
        from[0] = to[BYTES - 1]; /* so that the copy is needed */
        if (rate > *gigabytes_per_second)
            *gigabytes_per_second = rate;
    } while (fq_now() - began < seconds);
    free(from);
    free(to);
    return FQ_OK;
}

/* The row that this compiler makes of the fills without any flags; its functions on single words
 * are in reach, too. */
#define FQ_ROW test
#include "base/rng_fill.c"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bounds on statistics are five standard deviations, on fixed seeds: they hold today and for ever,
 * and a generator that is off by a percent breaks them. */

static fq_rng stream(uint64_t client) {
    return fq_rng_stream(1, FQ_RNG_DATA, 0, client, 0, 0);
}

/* Random123's kat_vectors, philox4x32 with 10 rounds. */
static void test_known_answers(void) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        fq_philox4x32(known[i].counter, known[i].key, out);
        CU_ASSERT_EQUAL(memcmp(out, known[i].out, sizeof out), 0);
    }
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_streams_differ(void) {
    enum { N = 4 * 4 * 4 * 4 * 4 * 4 };
    static uint64_t first[N];
    size_t          n = 0;
    for (uint32_t i = 0; i < N; i++) {
        fq_rng rng = fq_rng_stream(i % 4, (fq_purpose)(1 + i / 4 % 4), i / 16 % 4,
                                   (uint64_t)(i / 64 % 4) << 31, i / 256 % 4, i / 1024 % 4);
        fq_rng same = fq_rng_stream(i % 4, (fq_purpose)(1 + i / 4 % 4), i / 16 % 4,
                                    (uint64_t)(i / 64 % 4) << 31, i / 256 % 4, i / 1024 % 4);
        first[n++] = fq_rng_u64(&rng);
        CU_ASSERT_EQUAL(fq_rng_u64(&same), first[n - 1]);
    }
    qsort(first, n, sizeof *first, compare_u64);
    for (size_t i = 1; i < n; i++)
        CU_ASSERT_NOT_EQUAL(first[i], first[i - 1]);
}

/* Streams whose names differ in one index by one are not correlated. */
static void test_streams_independent(void) {
    enum { N = 20000 };
    fq_rng base = fq_rng_stream(9, FQ_RNG_NOISE, 5, 7, 3, 2);
    fq_rng others[] = {
        fq_rng_stream(10, FQ_RNG_NOISE, 5, 7, 3, 2), fq_rng_stream(9, FQ_RNG_ROUNDING, 5, 7, 3, 2),
        fq_rng_stream(9, FQ_RNG_NOISE, 6, 7, 3, 2),  fq_rng_stream(9, FQ_RNG_NOISE, 5, 8, 3, 2),
        fq_rng_stream(9, FQ_RNG_NOISE, 5, 7, 4, 2),  fq_rng_stream(9, FQ_RNG_NOISE, 5, 7, 3, 3)};
    enum { OTHERS = sizeof others / sizeof *others };
    double product[OTHERS] = {0};
    for (size_t i = 0; i < N; i++) {
        double x = fq_rng_normal(&base);
        for (size_t j = 0; j < OTHERS; j++)
            product[j] += x * fq_rng_normal(&others[j]);
    }
    for (size_t j = 0; j < OTHERS; j++)
        CU_ASSERT_TRUE(fabs(product[j] / N) < 5.0 / sqrt(N));
}

/* Pearson's statistic against equal shares: mean bins - 1, variance 2 (bins - 1). */
static double chi_square(const size_t *counts, size_t bins) {
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < bins; i++)
        total += (double)counts[i];
    double expected = total / (double)bins;
    for (size_t i = 0; i < bins; i++)
        sum += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    return sum;
}

static bool looks_uniform(const size_t *counts, size_t bins) {
    double freedom = (double)bins - 1.0;
    return fabs(chi_square(counts, bins) - freedom) < 5.0 * sqrt(2.0 * freedom);
}

static void test_uniform(void) {
    enum { BINS = 64, N = 64000 };
    size_t single[BINS] = {0}, twice[BINS] = {0}, pairs[BINS] = {0};
    fq_rng rng = stream(0);
    double sum = 0.0;
    for (int i = 0; i < N; i++) {
        float  x = fq_rng_uniform(&rng);
        double y = fq_rng_uniform_double(&rng);
        CU_ASSERT_TRUE(x >= 0.0F && x < 1.0F && y > 0.0 && y < 1.0);
        single[(size_t)(x * BINS)]++;
        twice[(size_t)(y * BINS)]++;
        pairs[(size_t)(x * 8) * 8 + (size_t)(y * 8)]++;
        sum += y;
    }
    CU_ASSERT_TRUE(looks_uniform(single, BINS));
    CU_ASSERT_TRUE(looks_uniform(twice, BINS));
    CU_ASSERT_TRUE(looks_uniform(pairs, BINS));
    CU_ASSERT_TRUE(fabs(sum / N - 0.5) < 5.0 * sqrt(1.0 / 12.0 / N));
}

static void test_below(void) {
    fq_rng rng = stream(1);
    for (uint32_t n = 1; n <= 13; n += 3) {
        size_t counts[13] = {0};
        for (int i = 0; i < 20000; i++) {
            uint32_t x = fq_rng_below(&rng, n);
            CU_ASSERT_TRUE_FATAL(x < n);
            counts[x]++;
        }
        CU_ASSERT_TRUE(n == 1 || looks_uniform(counts, n));
    }
    /* 3/4 of all words: a modulo makes the lowest third twice as likely, a bare multiplication
     * every third result. */
    size_t thirds[3] = {0}, remainders[3] = {0};
    for (int i = 0; i < 20000; i++) {
        uint32_t x = fq_rng_below(&rng, 3U << 30);
        thirds[x >> 30]++;
        remainders[x % 3]++;
    }
    CU_ASSERT_TRUE(looks_uniform(thirds, 3));
    CU_ASSERT_TRUE(looks_uniform(remainders, 3));
}

static void check_normal(const char *what, double s1, double s2, double s3, double s4, double n) {
    bool good = fabs(s1 / n) < 5.0 * sqrt(1.0 / n) && fabs(s2 / n - 1.0) < 5.0 * sqrt(2.0 / n) &&
                fabs(s3 / n) < 5.0 * sqrt(15.0 / n) && fabs(s4 / n - 3.0) < 5.0 * sqrt(96.0 / n);
    if (!good)
        fprintf(stderr, "%s: moments %g %g %g %g\n", what, s1 / n, s2 / n, s3 / n, s4 / n);
    CU_ASSERT_TRUE(good);
}

static void test_normal(void) {
    enum { N = 50000 };
    static float filled[N];
    fq_rng       rng = stream(2);
    fq_rng_fill_normal(&rng, filled, N);
    double s[2][4] = {{0}}, neighbours = 0.0;
    for (int i = 0; i < N; i++) {
        double x[2] = {fq_rng_normal(&rng), (double)filled[i]};
        for (int j = 0; j < 2; j++) {
            s[j][0] += x[j];
            s[j][1] += x[j] * x[j];
            s[j][2] += x[j] * x[j] * x[j];
            s[j][3] += x[j] * x[j] * x[j] * x[j];
        }
        if (i > 0)
            neighbours += x[1] * (double)filled[i - 1];
    }
    check_normal("one by one", s[0][0], s[0][1], s[0][2], s[0][3], N);
    check_normal("filled", s[1][0], s[1][1], s[1][2], s[1][3], N);
    CU_ASSERT_TRUE(fabs(neighbours / N) < 5.0 / sqrt(N));
}

static void test_gamma(void) {
    /* Mean and variance of the logarithm: digamma and trigamma of the shape. */
    static const struct {
        double shape, digamma, trigamma;
    } rows[] = {{0.1, -10.4237549404, 101.4332991508},
                {0.5, -1.9635100260, 4.9348022005},
                {3.0, 0.9227843351, 0.3949340668}};
    enum { N = 40000 };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        fq_rng rng = stream(3 + r);
        double sum = 0.0, sum_log = 0.0, squares = 0.0;
        for (int i = 0; i < N; i++) {
            double x = fq_rng_log_gamma(&rng, rows[r].shape);
            CU_ASSERT_TRUE_FATAL(isfinite(x));
            sum += exp(x);
            sum_log += x;
            squares += (x - rows[r].digamma) * (x - rows[r].digamma);
        }
        CU_ASSERT_TRUE(fabs(sum / N - rows[r].shape) < 5.0 * sqrt(rows[r].shape / N));
        CU_ASSERT_TRUE(fabs(sum_log / N - rows[r].digamma) < 5.0 * sqrt(rows[r].trigamma / N));
        CU_ASSERT_TRUE(fabs(squares / N / rows[r].trigamma - 1.0) < 0.1);
    }
}

/* Box and Muller as fill_normal has it, in double precision by libm. */
static void normals_of(const uint32_t *words, double *x) {
    double quarter = acos(-1.0) / 2.0;
    double u = ((double)(words[0] >> 1) + 0.5) * 0x1p-31;
    double angle = ((double)(words[1] & 0x3fffffffU) * 0x1p-30 - 0.5) * quarter;
    /* From the middle of the eighths, not from their beginning. */
    angle += (words[1] & 0x20000000U) != 0 ? -quarter / 2.0 : quarter / 2.0;
    double radius = sqrt(-2.0 * log(u)) * ((words[1] >> 31) != 0 ? -1.0 : 1.0);
    bool   swap = (words[1] >> 30 & 1U) != 0;
    x[0] = radius * (swap ? sin(angle) : cos(angle));
    x[1] = radius * (swap ? cos(angle) : sin(angle));
}

static void check_normals(uint32_t first, uint32_t second) {
    const uint32_t words[] = {first, second};
    float          x[2];
    double         exact[2];
    to_normals(words, x);
    normals_of(words, exact);
    /* Rounding u to 24 bits moves the radius by up to 2^-25 / radius, from 0 by up to 2^-12. */
    double radius = hypot(exact[0], exact[1]);
    double bound = 3e-7 * radius + fmin(0x1p-25 / radius, 0x1p-12);
    for (int i = 0; i < 2; i++) {
        bool good = fabs((double)x[i] - exact[i]) <= bound;
        if (!good)
            fprintf(stderr, "words %x %x: %g, should be %g\n", first, second, (double)x[i],
                    exact[i]);
        CU_ASSERT_TRUE_FATAL(good);
    }
}

/* Around the ends of all ranges, which no stream reaches in reasonable time, and on a grid. */
static void test_normals_of_words(void) {
    for (uint32_t i = 0; i < 32; i++)
        for (uint32_t j = 0; j < 32; j++)
            for (uint32_t d = 0; d < 3; d++)
                check_normals((1U << i) + d - 1U, (1U << j) + d - 1U);
    for (uint32_t i = 0; i < 50000; i++)
        check_normals(i * 85899U, i * 0x9E3779B9U);
    float x[2];
    to_normals((const uint32_t[]){0, 0x20000000}, x);
    CU_ASSERT_TRUE(fabs(hypot((double)x[0], (double)x[1]) - 6.6604) < 1e-3);
    to_normals((const uint32_t[]){UINT32_MAX, 1}, x);
    CU_ASSERT_TRUE(isfinite(x[0]) && isfinite(x[1]));
}

/* All 2^31 u fall with -2 ln u: of neighbours one rounding apart, at most by that. */
static void test_radius_falls(void) {
    float last = radius_of(0);
    for (uint64_t word = 0; word < UINT64_C(1) << 32; word += 4099) {
        float radius = radius_of((uint32_t)word);
        CU_ASSERT_TRUE_FATAL(radius >= 0.0f && radius <= last * (1.0f + 0x1p-22f));
        last = radius;
    }
}

/* Half a million draws against the normal distribution: bins of equal probability, alone and in
 * pairs with the next draw (which is of the same or of another block), and the tails. */
static void test_normal_distribution(void) {
    enum { N = 500000, BINS = 256, SIDE = 16 };
    static const struct {
        double beyond, probability;
    } tails[] = {{3.0, 2.699796e-3}, {3.5, 4.652582e-4}, {4.0, 6.334248e-5}};
    enum { TAILS = sizeof tails / sizeof *tails };
    static float x[N];
    size_t       alone[BINS] = {0}, pairs[2][SIDE * SIDE] = {{0}}, out[TAILS] = {0};
    double       s1 = 0.0, s2 = 0.0, s3 = 0.0, s4 = 0.0, last = 0.5;
    fq_rng       rng = stream(7);
    fq_rng_fill_normal(&rng, x, N);
    for (size_t i = 0; i < N; i++) {
        double v = (double)x[i], p = 0.5 * erfc(-v * sqrt(0.5));
        CU_ASSERT_TRUE_FATAL(p > 0.0 && p < 1.0);
        alone[(size_t)(p * BINS)]++;
        if (i > 0)
            pairs[i % 2][(size_t)(last * SIDE) * SIDE + (size_t)(p * SIDE)]++;
        last = p;
        for (size_t t = 0; t < TAILS; t++)
            out[t] += fabs(v) > tails[t].beyond;
        s1 += v;
        s2 += v * v;
        s3 += v * v * v;
        s4 += v * v * v * v;
    }
    CU_ASSERT_TRUE(looks_uniform(alone, BINS));
    CU_ASSERT_TRUE(looks_uniform(pairs[0], SIDE * SIDE));
    CU_ASSERT_TRUE(looks_uniform(pairs[1], SIDE * SIDE));
    check_normal("many", s1, s2, s3, s4, N);
    for (size_t t = 0; t < TAILS; t++) {
        double expected = N * tails[t].probability;
        CU_ASSERT_TRUE(fabs((double)out[t] - expected) < 5.0 * sqrt(expected));
    }
}

static void test_fill(void) {
    for (size_t n = 0; n < 300; n += n < 70 ? 1 : 23) {
        fq_rng one = stream(4), many = stream(4);
        float  filled[300];
        fq_rng_fill_uniform(&many, filled, n);
        for (size_t i = 0; i < n; i++)
            CU_ASSERT_EQUAL(filled[i], fq_rng_uniform(&one));
        for (size_t i = n; i % 4 != 0; i++)
            (void)fq_rng_u32(&one);
        CU_ASSERT_EQUAL(fq_rng_u32(&one), fq_rng_u32(&many));
        /* A longer fill begins with the shorter one. */
        float  shorter[300], longer[300];
        fq_rng a = stream(5), b = stream(5);
        fq_rng_fill_normal(&a, shorter, n);
        fq_rng_fill_normal(&b, longer, 300);
        CU_ASSERT_TRUE(n == 0 || memcmp(shorter, longer, n * sizeof *shorter) == 0);
        CU_ASSERT_EQUAL(a.counter[0], (n + 3) / 4);
    }
    /* Words left over from single draws are not used, and the number of the block comes round. */
    fq_rng rng = stream(6), after = stream(6);
    float  x[20];
    rng.counter[0] = UINT32_MAX - 1;
    (void)fq_rng_u32(&rng);
    after.counter[0] = UINT32_MAX;
    fq_rng_fill_uniform(&rng, x, 20);
    for (size_t i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(x[i], fq_rng_uniform(&after));
    CU_ASSERT_EQUAL(rng.counter[0], 4);
}

/* Every row that this machine can run gives the bits of the plainest. */
static void test_rows_agree(void) {
    const fq_rng_fills *rows[2] = {&fq_rng_fills_baseline};
    size_t              n_rows = 1;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        rows[n_rows++] = &fq_rng_fills_avx2;
#endif
    enum { N = 5000 };
    static float x[2][N];
    for (size_t n = 1; n <= N; n = n < 100 ? n + 1 : n * 7 / 5)
        for (size_t row = 0; row < n_rows; row++) {
            fq_rng rng = stream(n);
            rng.counter[0] = (uint32_t)(0 - n / 8); /* comes round within */
            fq_rng_fills_test.uniform(&rng, x[0], n);
            rows[row]->uniform(&rng, x[1], n);
            CU_ASSERT_EQUAL(memcmp(x[0], x[1], n * sizeof(float)), 0);
            fq_rng_fills_test.normal(&rng, x[0], n);
            rows[row]->normal(&rng, x[1], n);
            CU_ASSERT_EQUAL(memcmp(x[0], x[1], n * sizeof(float)), 0);
        }
}

/* What a seed means, for good. */
static void test_golden_fills(void) {
    static const float uniform[] = {0x1.e92154p-2f, 0x1.c1721cp-1f, 0x1.649856p-1f, 0x1.0acb7p-4f,
                                    0x1.1d848p-4f,  0x1.e6354p-2f,  0x1.d2c164p-1f, 0x1.2c2a38p-2f};
    static const float normal[] = {0x1.b037b4p-1f,  -0x1.bfd54cp-1f, 0x1.8f857p-1f, 0x1.5a959ap-2f,
                                   -0x1.7477b4p-2f, 0x1.23bbdep+1f,  0x1.d7a66p-4f, 0x1.a868dap-2f};
    fq_rng             u = fq_rng_stream(1, FQ_RNG_NOISE, 2, 3, 4, 5), z = u;
    float              x[8];
    fq_rng_fill_uniform(&u, x, 8);
    CU_ASSERT_EQUAL(memcmp(x, uniform, sizeof x), 0);
    fq_rng_fill_normal(&z, x, 8);
    CU_ASSERT_EQUAL(memcmp(x, normal, sizeof x), 0);
}

static void test_shuffle(void) {
    enum { N = 12000 };
    size_t counts[6] = {0};
    fq_rng rng = stream(6);
    for (int i = 0; i < N; i++) {
        uint32_t x[3] = {0, 1, 2};
        fq_rng_shuffle(&rng, x, 3);
        CU_ASSERT_EQUAL_FATAL((1U << x[0]) | (1U << x[1]) | (1U << x[2]), 7);
        counts[x[0] * 2 + (x[1] > x[2])]++;
    }
    CU_ASSERT_TRUE(looks_uniform(counts, 6));
    fq_rng_shuffle(&rng, NULL, 0);
}

int main(void) {
    static const fq_case cases[] = {
        {"Philox gives the published answers", test_known_answers},
        {"every name has a stream of its own", test_streams_differ},
        {"neighbouring streams are not correlated", test_streams_independent},
        {"uniform draws fill all bins alike", test_uniform},
        {"below(n) has no bias", test_below},
        {"normal draws have normal moments", test_normal},
        {"gamma draws have gamma moments", test_gamma},
        {"normal draws are those of Box and Muller", test_normals_of_words},
        {"the radius falls with its word", test_radius_falls},
        {"normal draws have the normal distribution and its tails", test_normal_distribution},
        {"filling is drawing one by one", test_fill},
        {"instruction sets agree", test_rows_agree},
        {"filling gives the golden values", test_golden_fills},
        {"all orders are equally likely", test_shuffle},
        {NULL, NULL}};
    return fq_run_suite("rng", cases);
}

/* What is known of single formats: bounds, golden values, damaged bodies. */
#include "quant/bit_budget.h"
#include "quant/quantizer_impl.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { D = 64, MANY = 1000 };

static fq_rng stream(uint32_t step) {
    return fq_rng_stream(5, FQ_RNG_ROUNDING, 0, 0, step, 0);
}

static void normal_values(float *x, size_t n) {
    fq_rng rng = fq_rng_stream(5, FQ_RNG_DATA, 0, 0, 0, 0);
    fq_rng_fill_normal(&rng, x, n);
}

static fq_blocks one_block(size_t n) {
    static size_t end;
    end = n;
    return (fq_blocks){.ends = &end, .n = 1};
}

static double squares_of(const float *x, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

/* ---- random rounding ---- */

/* sr(v) = floor(v) + [u < f], f = v - floor(v): right on average, variance f (1 - f), so at most a
 * quarter. */
static void test_random_rounding(void) {
    enum { N_DRAWS = 100000 };
    static const double values[] = {0.0, 0.1, 0.25, 0.5, 0.9, 3.7, -0.1, -0.5, -2.75, 5.0, -4.0};
    fq_rng              rng = stream(77);
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        const double f = values[v] - floor(values[v]), variance = f * (1.0 - f);
        double       sum = 0.0, squares = 0.0;
        for (int i = 0; i < N_DRAWS; i++) {
            const int32_t r = fq_round_at_random((float)values[v], fq_rng_uniform(&rng));
            const double  e = (double)r - values[v];
            CU_ASSERT_TRUE_FATAL(r == (int32_t)floor(values[v]) || r == (int32_t)ceil(values[v]));
            sum += e / N_DRAWS;
            squares += e * e / N_DRAWS;
        }
        CU_ASSERT_DOUBLE_EQUAL(sum, 0.0, 4.0 * sqrt(variance / N_DRAWS) + 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(squares, variance, 0.01);
        CU_ASSERT_TRUE(squares <= 0.25 + 1e-6);
    }
}

/* By the largest magnitude N, s levels of each sign: variance at most N^2 / (4 s^2) for each value.
 */
static void test_stochastic_variance(void) {
    enum { EACH = 4000, BITS = 3, S = 3 };
    float  x[D], y[D];
    double squares[D] = {0.0}, largest = 0.0;
    normal_values(x, D);
    for (size_t i = 0; i < D; i++)
        largest = fmax(largest, fabs((double)x[i]));
    for (uint32_t draw = 0; draw < EACH; draw++) {
        unsigned char       body[4 * D];
        const fq_quantizer *row = &fq_quantizer_stochastic;
        fq_rng              rng = stream(draw);
        row->encode(x, one_block(D), BITS, &rng, body);
        FQ_ASSERT_OK(row->decode(body, one_block(D), BITS, y));
        for (size_t i = 0; i < D; i++)
            squares[i] += pow((double)y[i] - (double)x[i], 2.0) / EACH;
    }
    double worst = 0.0;
    for (size_t i = 0; i < D; i++)
        worst = fmax(worst, squares[i]);
    const double bound = largest * largest / (4.0 * S * S);
    CU_ASSERT_TRUE(worst <= 1.02 * bound);
    CU_ASSERT_TRUE(worst > 0.9 * bound); /* some value lies halfway between two levels */
}

/* ---- qsgd ---- */

static void qsgd(const float *x, size_t n, int32_t levels, uint32_t draw, float *y) {
    unsigned char       body[4 * MANY];
    const fq_quantizer *row = &fq_quantizer_qsgd;
    uint8_t             bits = 2;
    while (fq_block_levels(bits) < levels)
        bits++;
    fq_rng rng = stream(draw);
    row->encode_levels(x, one_block(n), bits, levels, &rng, body);
    FQ_ASSERT_OK(row->decode(body, one_block(n), bits, y));
}

enum { DRAWS = 100000, LEVELS = 4 };

/* Each value is right on average within 3 standard errors: of 64, 0.2 are expected to be beyond. */
static void test_qsgd_mean(void) {
    float  x[D], y[D];
    double sum[D] = {0.0}, squares[D] = {0.0};
    size_t beyond = 0;
    normal_values(x, D);
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        qsgd(x, D, LEVELS, draw, y);
        for (size_t i = 0; i < D; i++) {
            const double e = (double)y[i] - (double)x[i];
            sum[i] += e;
            squares[i] += e * e;
        }
    }
    for (size_t i = 0; i < D; i++)
        beyond += fabs(sum[i]) > 3.0 * sqrt(squares[i]);
    CU_ASSERT_TRUE(beyond <= 1);
}

/* omega = E|C(x) - x|^2 / |x|^2: for each vector sum f (1 - f) / s^2 with f the fraction of
 * s |x_i| / N, below min(d / s^2, sqrt(d) / s) = 2. Over normal vectors of 64 values that is 0.665
 * on average with a standard deviation of 0.037 (3,000 of them, integrated apart from this code).
 */
static void test_qsgd_variance(void) {
    enum { VECTORS = 200, EACH = 100 };
    double mean = 0.0;
    for (uint32_t v = 0; v < VECTORS; v++) {
        float  x[D], y[D];
        double error = 0.0;
        fq_rng rng = fq_rng_stream(5, FQ_RNG_DATA, v, 0, 0, 0);
        fq_rng_fill_normal(&rng, x, D);
        for (uint32_t draw = 0; draw < EACH; draw++) {
            qsgd(x, D, LEVELS, draw, y);
            for (size_t i = 0; i < D; i++)
                error += pow((double)y[i] - (double)x[i], 2.0);
        }
        const double omega = error / EACH / squares_of(x, D), norm = sqrt(squares_of(x, D));
        double       exact = 0.0;
        for (size_t i = 0; i < D; i++) {
            const double level = LEVELS * fabs((double)x[i]) / norm, f = level - floor(level);
            exact += f * (1.0 - f) / (LEVELS * LEVELS);
        }
        CU_ASSERT_DOUBLE_EQUAL(omega, exact, 0.15 * exact);
        CU_ASSERT_TRUE(omega < fmin((double)D / (LEVELS * LEVELS), sqrt(D) / LEVELS));
        mean += omega / VECTORS;
    }
    CU_ASSERT_DOUBLE_EQUAL(mean, 0.665, 0.01);
}

/* Few levels: at most s (s + sqrt d) values are not zero on average. */
static void test_qsgd_sparse(void) {
    enum { FEW = 2000 };
    float  x[MANY], y[MANY];
    size_t nonzero = 0;
    normal_values(x, MANY);
    for (uint32_t draw = 0; draw < FEW; draw++) {
        qsgd(x, MANY, 1, draw, y);
        for (size_t i = 0; i < MANY; i++)
            nonzero += y[i] != 0.0f;
    }
    CU_ASSERT_TRUE((double)nonzero / FEW <= 1.0 + sqrt(MANY));
    CU_ASSERT_TRUE((double)nonzero / FEW > 10.0);
}

static void test_qsgd_limits(void) {
    float x[D], y[D], zeros[D] = {0.0f}, single[3] = {0.0f, -3.0f, 0.0f};
    normal_values(x, D);
    const double norm = sqrt(squares_of(x, D));
    /* The number of levels bounds the error. */
    for (int32_t levels = 1; levels <= 127; levels++) {
        qsgd(x, D, levels, 0, y);
        for (size_t i = 0; i < D; i++)
            CU_ASSERT_TRUE_FATAL(fabs((double)y[i] - (double)x[i]) <= norm / levels * 1.00001);
    }
    /* Many levels are the identity. */
    const double many = 0x1p22;
    for (size_t i = 0; i < D; i++) {
        const double v = many * (double)x[i] / norm;
        const double level = (double)fq_round_at_random((float)v, 0.7f);
        CU_ASSERT_DOUBLE_EQUAL(norm * level / many, (double)x[i], 2e-6 * norm);
    }
    /* A zero vector without 0/0, and one value, which is its own norm. */
    qsgd(zeros, D, 4, 0, y);
    for (size_t i = 0; i < D; i++)
        CU_ASSERT_TRUE(y[i] == 0.0f);
    qsgd(single, 3, 1, 0, y);
    CU_ASSERT_TRUE(y[0] == 0.0f && y[1] == -3.0f && y[2] == 0.0f);
}

static void test_qsgd_levels(void) {
    float     x[D];
    fq_arena  arena;
    fq_packed packed;
    fq_rng    rng = stream(0);
    normal_values(x, D);
    FQ_ASSERT_OK(fq_arena_init(&arena, 4096));
    FQ_ASSERT_OK(fq_quantize_levels(&fq_quantizer_qsgd, 4, 5, false, x, one_block(D), &rng, &arena,
                                    &packed));
    CU_ASSERT_EQUAL(packed.body_bytes, 4 + D / 2);
    FQ_ASSERT_FAILS(
        fq_quantize_levels(&fq_quantizer_qsgd, 4, 8, false, x, one_block(D), &rng, &arena, &packed),
        FQ_EINVAL, "8 levels of each sign; 4 bits have room for 1 to 7");
    FQ_ASSERT_FAILS(fq_quantize_levels(&fq_quantizer_uniform, 4, 5, false, x, one_block(D), &rng,
                                       &arena, &packed),
                    FQ_EINVAL, "quantizer uniform has no choice of levels");
    fq_arena_fini(&arena);
}

/* ---- sign ---- */

/* |C(x) - x|^2 = (1 - a) |x|^2 with a = (sum |x|)^2 / (d |x|^2). */
static void test_sign(void) {
    float         x[D], y[D];
    unsigned char body[4 + D / 8];
    double        sum = 0.0;
    normal_values(x, D);
    for (size_t i = 0; i < D; i++)
        sum += fabs((double)x[i]);
    fq_quantizer_sign.encode(x, one_block(D), 1, NULL, body);
    FQ_ASSERT_OK(fq_quantizer_sign.decode(body, one_block(D), 1, y));
    for (size_t i = 0; i < D; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)y[i], copysign(sum / D, (double)x[i]), 1e-6);
        y[i] -= x[i];
    }
    const double norm = squares_of(x, D), a = sum * sum / (D * norm);
    CU_ASSERT_DOUBLE_EQUAL(squares_of(y, D), (1.0 - a) * norm, 1e-5 * norm);
}

/* ---- topk ---- */

static void test_topk(void) {
    /* 16 values at 8 bits: 128 / (32 + 4) = 3 of them; -4 comes before the other of its size. */
    const float   x[16] = {0.5f, -4.0f, 1.0f, 0.0f, 4.0f, -2.0f, 2.0f, 4.5f, 0.1f};
    const float   kept[16] = {[1] = -4.0f, [4] = 4.0f, [7] = 4.5f};
    const float   two[16] = {[1] = 2.0f, [4] = -2.0f, [5] = 1.0f, [6] = -1.0f, [7] = 1.0f};
    const float   first[16] = {[1] = 2.0f, [4] = -2.0f, [5] = 1.0f};
    float         y[16];
    unsigned char body[14];
    CU_ASSERT_EQUAL_FATAL(fq_quantizer_topk.body_bytes(16, 1, 8), sizeof body);
    fq_quantizer_topk.encode(x, one_block(16), 8, NULL, body);
    FQ_ASSERT_OK(fq_quantizer_topk.decode(body, one_block(16), 8, y));
    CU_ASSERT_EQUAL(memcmp(y, kept, sizeof kept), 0);
    fq_quantizer_topk.encode(two, one_block(16), 8, NULL, body);
    FQ_ASSERT_OK(fq_quantizer_topk.decode(body, one_block(16), 8, y));
    CU_ASSERT_EQUAL(memcmp(y, first, sizeof first), 0);
    /* Nobody is kept beyond the budget, and at least one always. */
    CU_ASSERT_EQUAL(fq_quantizer_topk.body_bytes(1, 1, 1), 4);
    CU_ASSERT_EQUAL(fq_quantizer_topk.body_bytes(61706, 10, 1), 1285 * 4 + 1285 * 2);
}

/* |C(x) - x|^2 <= (1 - k / n) |x|^2, and what is kept is not smaller than what is not. */
static void test_topk_contracts(void) {
    float         x[MANY], y[MANY];
    unsigned char body[MANY];
    normal_values(x, MANY);
    for (uint8_t bits = 1; bits <= 8; bits++) {
        const size_t k = (size_t)MANY * bits / 42;
        size_t       n_kept = 0;
        double       least = HUGE_VAL, most = 0.0, error = 0.0;
        fq_quantizer_topk.encode(x, one_block(MANY), bits, NULL, body);
        FQ_ASSERT_OK(fq_quantizer_topk.decode(body, one_block(MANY), bits, y));
        for (size_t i = 0; i < MANY; i++) {
            const double size = fabs((double)x[i]);
            n_kept += y[i] == x[i];
            if (y[i] == x[i])
                least = fmin(least, size);
            else
                most = fmax(most, size);
            error += pow((double)y[i] - (double)x[i], 2.0);
        }
        CU_ASSERT_EQUAL(n_kept, k);
        CU_ASSERT_TRUE(least >= most);
        CU_ASSERT_TRUE(error <= (1.0 - (double)k / MANY) * squares_of(x, MANY));
    }
}

static void test_topk_damage(void) {
    /* Two of nine values at 8 bits, four bits for each place: 2 and 5. */
    const unsigned char good[9] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0x52};
    const struct {
        size_t        at;
        unsigned char byte;
        fq_status     code;
        const char   *text;
    } damages[] = {
        {8, 0x22, FQ_EPROTO, "kept value 1 of 2 belongs to place 2, not in 3..8"},
        {8, 0x95, FQ_EPROTO, "kept value 1 of 2 belongs to place 9, not in 6..8"},
        {8, 0x2f, FQ_EPROTO, "kept value 0 of 2 belongs to place 15, not in 0..8"},
        {3, 0x7f, FQ_ENONFINITE, "kept value 0 of 2 is inf"},
    };
    float y[9];
    CU_ASSERT_EQUAL_FATAL(fq_quantizer_topk.body_bytes(9, 1, 8), sizeof good);
    FQ_ASSERT_OK(fq_quantizer_topk.decode(good, one_block(9), 8, y));
    CU_ASSERT_TRUE(y[2] == 1.0f && y[5] == 2.0f && squares_of(y, 9) == 5.0);
    for (size_t d = 0; d < sizeof damages / sizeof *damages; d++) {
        unsigned char body[9];
        memcpy(body, good, sizeof body);
        body[damages[d].at] = damages[d].byte;
        FQ_ASSERT_FAILS(fq_quantizer_topk.decode(body, one_block(9), 8, y), damages[d].code,
                        damages[d].text);
    }
    /* One of five, three bits for its place. */
    const unsigned char padding[5] = {0, 0, 0x80, 0x3f, 0x0a};
    FQ_ASSERT_FAILS(fq_quantizer_topk.decode(padding, one_block(5), 8, y), FQ_EPROTO,
                    "bits after the last of 1 places are not zero");
}

/* ---- fedfq ---- */

static const size_t    ENDS[3] = {100, 300, 1000};
static const fq_blocks THREE = {.ends = ENDS, .n = 3};

static void store_logs(const float *ranges, size_t n, unsigned char *logs) {
    for (size_t i = 0; i < n; i++)
        fq_store_float(fq_budget_log(ranges[i]), logs + 4 * i);
}

/* n = {100, 200, 700}, r = {1, 1/2, 1/4}, 4 bits on average: b = {5.6, 4.6, 3.6}. */
static void test_closed_form(void) {
    const float   ranges[3] = {1.0f, 0.5f, 0.25f}, doubled[3] = {1.0f, 1.0f, 0.25f};
    unsigned char logs[12];
    store_logs(ranges, 3, logs);
    const double level = fq_budget_level(logs, THREE, 4.0);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_DOUBLE_EQUAL(level + log2((double)ranges[i]), 5.6 - (double)i, 1e-12);
    /* Twice the range of a fifth of the values: that much less for all, one bit more for them. */
    store_logs(doubled, 3, logs);
    const double other = fq_budget_level(logs, THREE, 4.0);
    CU_ASSERT_DOUBLE_EQUAL(other, level - 200.0 / 1000.0, 1e-12);
}

static size_t spent(fq_blocks blocks, const uint8_t *widths, fq_bit_split split) {
    size_t bits = split.values;
    for (size_t i = 0, begin = 0; i < blocks.n; begin = blocks.ends[i++])
        bits += (blocks.ends[i] - begin) * widths[i];
    return bits;
}

/* The budget is met to the bit, whatever the ranges; the order of widths is that of ranges. */
static void test_budget(void) {
    const float ranges[][3] = {{1.0f, 0.5f, 0.25f}, {1e-30f, 1.0f, 1e30f}, {0.0f, 0.0f, 0.0f},
                               {0.0f, 3.0f, 0.0f},  {1.0f, 1.0f, 1.0f},    {7.0f, 0.1f, 2.0f},
                               {3e38f, 3e38f, 0.0f}};
    for (size_t c = 0; c < sizeof ranges / sizeof *ranges; c++)
        for (uint8_t bits = 1; bits <= 8; bits++) {
            unsigned char logs[12];
            uint8_t       widths[3];
            store_logs(ranges[c], 3, logs);
            const fq_bit_split split = fq_budget_fill(logs, THREE, bits, widths);
            CU_ASSERT_EQUAL(spent(THREE, widths, split), (size_t)1000 * bits);
            for (size_t i = 0; i < 3; i++) {
                CU_ASSERT_TRUE(widths[i] <= 8);
                for (size_t j = 0; j < 3; j++)
                    CU_ASSERT_TRUE(!(ranges[c][i] > ranges[c][j]) || widths[i] >= widths[j]);
            }
            CU_ASSERT_TRUE(split.values == 0 || widths[split.block] < 8);
        }
    /* 5.6, 4.6, 3.6: 600 bits are left when all are rounded down, and go to the first blocks. */
    unsigned char logs[12];
    uint8_t       widths[3];
    store_logs(ranges[0], 3, logs);
    const fq_bit_split split = fq_budget_fill(logs, THREE, 4, widths);
    CU_ASSERT_TRUE(widths[0] == 6 && widths[1] == 5 && widths[2] == 3);
    CU_ASSERT_TRUE(split.block == 2 && split.values == 300);
}

/* Twice the range of one of many blocks: one bit more for it. */
static void test_doubling(void) {
    enum { BLOCKS = 100 };
    size_t        ends[BLOCKS];
    float         ranges[BLOCKS];
    unsigned char logs[4 * BLOCKS];
    uint8_t       widths[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        ends[i] = 10 * (i + 1);
        ranges[i] = i == 7 ? 2.0f : 1.0f;
    }
    const fq_blocks blocks = {.ends = ends, .n = BLOCKS};
    store_logs(ranges, BLOCKS, logs);
    const fq_bit_split split = fq_budget_fill(logs, blocks, 4, widths);
    CU_ASSERT_EQUAL(widths[7], 5);
    CU_ASSERT_EQUAL(widths[6], 4);
    CU_ASSERT_EQUAL(spent(blocks, widths, split), 4000);
}

static double total_error(const float *x, fq_blocks blocks, const uint8_t *widths) {
    double error = 0.0;
    for (size_t i = 0, begin = 0; i < blocks.n; begin = blocks.ends[i++])
        error += fq_budget_error(x + begin, blocks.ends[i] - begin, widths[i]);
    return error;
}

/* Never above its start, in the same budget, the same for the same stream; and on values of very
 * different laws better than the closed form, which knows their ranges alone. */
static void test_annealing(void) {
    enum { BLOCKS = 20, SIZE = 50 };
    size_t  ends[BLOCKS];
    float   x[BLOCKS * SIZE];
    uint8_t start[BLOCKS], widths[BLOCKS], again[BLOCKS];
    size_t  improved = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        ends[i] = SIZE * (i + 1);
    const fq_blocks blocks = {.ends = ends, .n = BLOCKS};
    for (uint32_t run = 0; run < 50; run++) {
        unsigned char logs[4 * BLOCKS];
        fq_rng        data = fq_rng_stream(run, FQ_RNG_DATA, 0, 0, 0, 0), rng = stream(run);
        fq_rng_fill_normal(&data, x, BLOCKS * SIZE);
        for (size_t i = 0; i < BLOCKS; i++) /* half of them with one value far out */
            x[SIZE * i] *= i % 2 == 0 ? 30.0f : 1.0f;
        for (size_t i = 0; i < BLOCKS; i++)
            fq_store_float(fq_budget_log(fq_block_peak(x + SIZE * i, SIZE)), logs + 4 * i);
        const fq_bit_split split = fq_budget_fill(logs, blocks, 3, start);
        memcpy(widths, start, sizeof start);
        memcpy(again, start, sizeof start);
        fq_budget_anneal(x, blocks, split, &rng, widths);
        rng = stream(run);
        fq_budget_anneal(x, blocks, split, &rng, again);
        CU_ASSERT_EQUAL(memcmp(widths, again, sizeof widths), 0);
        CU_ASSERT_EQUAL(spent(blocks, widths, split), 3 * BLOCKS * SIZE);
        const double before = total_error(x, blocks, start), after = total_error(x, blocks, widths);
        CU_ASSERT_TRUE(after <= before);
        improved += after < before;
    }
    CU_ASSERT_TRUE(improved > 25);
}

/* More for the large blocks is better than the same for all. */
static void test_fedfq_error(void) {
    float         x[MANY], even[MANY], own[MANY];
    unsigned char body[2 * MANY];
    fq_rng        rng = stream(0);
    normal_values(x, MANY);
    for (size_t i = 0; i < MANY; i++)
        x[i] *= i < 100 ? 1.0f : i < 300 ? 0.1f : 0.01f;
    for (uint8_t bits = 2; bits <= 6; bits++) {
        fq_quantizer_uniform.encode(x, THREE, bits, &rng, body);
        FQ_ASSERT_OK(fq_quantizer_uniform.decode(body, THREE, bits, even));
        fq_quantizer_fedfq.encode(x, THREE, bits, &rng, body);
        FQ_ASSERT_OK(fq_quantizer_fedfq.decode(body, THREE, bits, own));
        for (size_t i = 0; i < MANY; i++) {
            even[i] -= x[i];
            own[i] -= x[i];
        }
        CU_ASSERT_TRUE(squares_of(own, MANY) < 0.25 * squares_of(even, MANY));
    }
}

static void test_fedfq_damage(void) {
    /* Two blocks of 2 and 6 values at 1 bit: 3 bits a value of the first, 1 bit of two values of
     * the second. Scales 1, 0, 2; widths 3, 0 and split; codes 6, 0 (3 - 3, 0 - 3) and 1, 0. */
    const unsigned char good[15] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40, 3, 16, 0x46};
    const size_t        ends[2] = {2, 8};
    const fq_blocks     blocks = {.ends = ends, .n = 2};
    const struct {
        size_t        at;
        unsigned char byte;
        fq_status     code;
        const char   *text;
    } damages[] = {
        {13, 0, FQ_EPROTO, "blocks of 6 bits and 0 split ones do not make 8 bits"},
        {12, 19, FQ_EPROTO, "blocks of 6 bits and 2 split ones do not make 8 bits"},
        {12, 5, FQ_EPROTO, "blocks of 10 bits and 1 split ones do not make 8 bits"},
        {12, 1, FQ_EPROTO, "blocks of 2 bits and 1 split ones do not make 8 bits"},
        {12, 9, FQ_EPROTO, "width of block 0 is 0x09"},
        {12, 35, FQ_EPROTO, "width of block 0 is 0x23"},
        {14, 0x47, FQ_EPROTO, "code 7 in block 0, the largest of 3 bits is 6"},
        {3, 0x7f, FQ_ENONFINITE, "scale of block 0 is inf"},
        {11, 0xc0, FQ_EPROTO, "scale of block 1 is -2"},
        {7, 0x40, FQ_EPROTO, "scale of block 1 without codes is 2"},
    };
    float y[8];
    CU_ASSERT_EQUAL_FATAL(fq_quantizer_fedfq.body_bytes(8, 2, 1), sizeof good);
    FQ_ASSERT_OK(fq_quantizer_fedfq.decode(good, blocks, 1, y));
    const float expected[8] = {3.0f, -3.0f, 2.0f, -2.0f};
    CU_ASSERT_EQUAL(memcmp(y, expected, sizeof expected), 0);
    for (size_t d = 0; d < sizeof damages / sizeof *damages; d++) {
        unsigned char body[15];
        memcpy(body, good, sizeof body);
        body[damages[d].at] = damages[d].byte;
        FQ_ASSERT_FAILS(fq_quantizer_fedfq.decode(body, blocks, 1, y), damages[d].code,
                        damages[d].text);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"random rounding", test_random_rounding},
        {"stochastic: variance", test_stochastic_variance},
        {"qsgd: mean", test_qsgd_mean},
        {"qsgd: variance", test_qsgd_variance},
        {"qsgd: few levels are sparse", test_qsgd_sparse},
        {"qsgd: many levels, zeros, one value", test_qsgd_limits},
        {"qsgd: levels are checked", test_qsgd_levels},
        {"sign", test_sign},
        {"topk keeps the largest", test_topk},
        {"topk contracts", test_topk_contracts},
        {"topk: damage is refused", test_topk_damage},
        {"bit budget: closed form", test_closed_form},
        {"bit budget: met exactly", test_budget},
        {"bit budget: twice the range, one bit", test_doubling},
        {"bit budget: annealing", test_annealing},
        {"fedfq: better than even widths", test_fedfq_error},
        {"fedfq: damage is refused", test_fedfq_damage},
        {NULL, NULL},
    };
    return fq_run_suite("formats", cases);
}

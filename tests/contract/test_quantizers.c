/* What every number format must do, asked of every row of the table at every width it has. */
#include "quant/quantizer.h"
#include "suite.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 1531, MAX_BLOCKS = 8192 }; /* MANY is a multiple of nothing */

typedef struct format {
    const fq_quantizer *row;
    uint8_t             bits;
} format;

/* Calls check(format) for each row and width; a violation is reported with the format's name. */
static void for_each_format(const char *what, bool (*check)(format f)) {
    for (const fq_quantizer *const *row = fq_quantizers; *row != NULL; row++)
        for (unsigned bits = (*row)->min_bits; bits <= (*row)->max_bits; bits++) {
            bool fine = check((format){.row = *row, .bits = (uint8_t)bits});
            if (!fine)
                fprintf(stderr, "%s: %s at %u bits\n", what, (*row)->name, bits);
            CU_ASSERT_TRUE(fine);
        }
}

static bool is(format f, const char *name) {
    return strcmp(f.row->name, name) == 0;
}

/* Blocks of `size` values, 0: one for all. */
static fq_blocks blocks_of(size_t n, size_t size) {
    static size_t ends[MAX_BLOCKS];
    size_t        count = 0;
    for (size_t end = size == 0 || size > n ? n : size;; end = n - end < size ? n : end + size) {
        ends[count++] = end;
        if (end == n)
            return (fq_blocks){.ends = ends, .n = count};
    }
}

static fq_rng stream(uint32_t step) {
    return fq_rng_stream(7, FQ_RNG_ROUNDING, 1, 2, step, 0);
}

static void normal_values(float *x, size_t n) {
    fq_rng rng = fq_rng_stream(7, FQ_RNG_DATA, 0, 0, 0, 0);
    fq_rng_fill_normal(&rng, x, n);
}

static bool same_values(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static double norm_of(const float *x, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static float peak_of(const float *x, size_t n) {
    float peak = 0.0f;
    for (size_t i = 0; i < n; i++)
        peak = fmaxf(peak, fabsf(x[i]));
    return peak;
}

/* Encode and decode in an arena of just the size promised. */
static bool round_trip_in(format f, bool zstd, const float *x, fq_blocks blocks, float *y) {
    size_t    n = blocks.ends[blocks.n - 1];
    fq_arena  arena;
    fq_packed packed;
    fq_rng    rng = stream(0);
    FQ_ASSERT_OK(fq_arena_init(&arena, fq_quantize_arena_bytes(f.row, f.bits, zstd, n, blocks.n)));
    FQ_ASSERT_OK(fq_quantize(f.row, f.bits, zstd, x, blocks, &rng, &arena, &packed));
    bool sizes = packed.n == n && packed.bits == f.bits && packed.quantizer == f.row &&
                 packed.body_bytes == f.row->body_bytes(n, blocks.n, f.bits) &&
                 (packed.zstd ? packed.body.size < packed.body_bytes
                              : packed.body.size == packed.body_bytes) &&
                 arena.used == (packed.body.size + FQ_ALIGN - 1) / FQ_ALIGN * FQ_ALIGN;
    /* The receiver has the bytes alone. */
    unsigned char *copy = malloc(packed.body.size);
    memcpy(copy, packed.body.data, packed.body.size);
    packed.body.data = copy;
    fq_arena_reset(&arena);
    FQ_ASSERT_OK(fq_dequantize(&packed, blocks, &arena, y));
    sizes = sizes && arena.used == 0;
    free(copy);
    fq_arena_fini(&arena);
    return sizes;
}

/* Largest error of one value of a block: half a step of a format that rounds to the
 * nearest, a whole one of a format that rounds at random; of the float formats half a unit in the
 * last place. Where values may be left out, they are the error. */
static double error_bound(format f, const float *x, size_t n) {
    const double peak = (double)peak_of(x, n);
    if (is(f, "topk") || is(f, "fedfq"))
        return peak;
    if (is(f, "qsgd"))
        return norm_of(x, n) / ((1 << (f.bits - 1)) - 1) * (1.0 + 1e-5);
    if (f.bits == 32)
        return 0.0;
    if (f.bits == 16)
        return peak * 0x1p-11;
    if (f.bits == 1)
        return f.row->unbiased ? 2.0 * peak : peak;
    return peak / ((1 << (f.bits - 1)) - 1) * (f.row->unbiased ? 1.0 : 0.5) * (1.0 + 1e-5);
}

static const size_t LENGTHS[] = {1, 2, 7, 8, 9, 511, 512, 513, MANY};
static const size_t SIZES[] = {1, 7, 512, 0};

static bool error_is_bounded(format f) {
    static float x[MANY], y[MANY];
    normal_values(x, MANY);
    bool fine = true;
    for (size_t l = 0; l < sizeof LENGTHS / sizeof LENGTHS[0]; l++)
        for (size_t s = 0; s < sizeof SIZES / sizeof SIZES[0]; s++)
            for (int zstd = 0; zstd < 2; zstd++) {
                fq_blocks blocks = blocks_of(LENGTHS[l], SIZES[s]);
                fine = fine && round_trip_in(f, zstd == 1, x, blocks, y);
                for (size_t b = 0, i = 0; b < blocks.n; b++) {
                    double bound = error_bound(f, x + i, blocks.ends[b] - i);
                    for (; i < blocks.ends[b]; i++)
                        fine = fine && fabs((double)x[i] - (double)y[i]) <= bound;
                }
            }
    return fine;
}

static void test_error(void) {
    for_each_format("error within its bound", error_is_bounded);
}

static bool error_shrinks(format f) {
    static float x[MANY], y[MANY], z[MANY];
    if (f.bits < 2 || f.bits == f.row->max_bits)
        return true;
    normal_values(x, MANY);
    const double share = is(f, "topk") ? 1.0 : 0.5; /* a few values more */
    format       finer = {.row = f.row, .bits = (uint8_t)(f.bits + 1)};
    double       coarse = 0.0, fine = 0.0;
    if (!round_trip_in(f, false, x, blocks_of(MANY, 0), y) ||
        !round_trip_in(finer, false, x, blocks_of(MANY, 0), z))
        return false;
    for (size_t i = 0; i < MANY; i++) {
        coarse += pow((double)x[i] - (double)y[i], 2.0);
        fine += pow((double)x[i] - (double)z[i], 2.0);
    }
    return fine < share * coarse;
}

static void test_error_shrinks(void) {
    for_each_format("one more bit, less than half the squared error", error_shrinks);
}

/* |C(x) - x| <= |x|: what error feedback needs of a format that is not right on average. */
static bool contracts(format f) {
    static float x[MANY], y[MANY];
    bool         fine = true;
    if (f.row->unbiased)
        return true;
    normal_values(x, MANY);
    for (size_t s = 0; s < sizeof SIZES / sizeof SIZES[0]; s++) {
        fine = fine && round_trip_in(f, false, x, blocks_of(MANY, SIZES[s]), y);
        for (size_t i = 0; i < MANY; i++)
            y[i] -= x[i];
        fine = fine && norm_of(y, MANY) < norm_of(x, MANY);
    }
    return fine;
}

static void test_contraction(void) {
    for_each_format("biased formats bring x nearer to zero error", contracts);
}

/* A power of two times the codes, the largest code included. */
static bool representable_survives(format f) {
    static float x[MANY], y[MANY];
    if (is(f, "qsgd") || is(f, "topk")) /* a norm is no such step; only few values are kept */
        return true;
    int levels = f.bits >= 16 ? 512 : f.bits == 1 ? 1 : (1 << (f.bits - 1)) - 1;
    for (size_t i = 0; i < MANY; i++) {
        int code = f.bits == 1 ? (i % 3 == 0 ? -1 : 1) : levels - (int)i % (2 * levels + 1);
        x[i] = 0.03125f * (float)code;
    }
    return round_trip_in(f, false, x, blocks_of(MANY, 0), y) && same_values(x, y, MANY) &&
           round_trip_in(f, true, x, blocks_of(MANY, 0), y) && same_values(x, y, MANY) &&
           round_trip_in(f, false, x, blocks_of(MANY, 512), y) && same_values(x, y, MANY);
}

static void test_representable(void) {
    for_each_format("representable values survive", representable_survives);
}

/* Zeros stay zeros; where the levels follow the values, equal values stay what they are, to the
 * rounding of one division. */
static bool constants_survive(format f) {
    static const float values[] = {0.0f, 1.0f, -0.75f, 1e-6f};
    static float       x[MANY], y[MANY];
    bool               fine = true;
    const bool         follow = !is(f, "qsgd") && !is(f, "topk");
    for (size_t v = 0; v < (follow ? sizeof values / sizeof values[0] : 1); v++)
        for (size_t s = 0; s < sizeof SIZES / sizeof SIZES[0]; s++)
            for (size_t n = 1; n <= MANY; n += MANY - 1) {
                for (size_t i = 0; i < n; i++)
                    x[i] = values[v];
                fine = fine && round_trip_in(f, s % 2 == 0, x, blocks_of(n, SIZES[s]), y);
                /* Half precision has steps of 2^-24 near zero. */
                double bound = f.bits == 16 ? 0x1p-25 : 1e-6 * fabs((double)values[v]);
                for (size_t i = 0; i < n; i++)
                    fine = fine && fabs((double)y[i] - (double)x[i]) <= bound;
            }
    return fine;
}

static void test_constants(void) {
    for_each_format("zeros and equal values survive", constants_survive);
}

/* The largest and smallest floats: finite on the way back. */
static bool extremes_stay_finite(format f) {
    const float x[6] = {FLT_MAX, -FLT_MAX, FLT_TRUE_MIN, -FLT_MIN, 0.0f, 1.0f};
    float       y[6];
    bool        fine = true;
    for (size_t size = 0; size < 3; size++) {
        fine = fine && round_trip_in(f, false, x, blocks_of(6, size), y);
        for (size_t i = 0; i < 6; i++)
            fine = fine && isfinite(y[i]);
    }
    return fine;
}

static void test_extremes(void) {
    for_each_format("extreme values stay finite", extremes_stay_finite);
}

/* Uneven blocks, an empty one among them, each with a scale of its own. */
static bool tensors_are_separate(format f) {
    static const size_t ends[] = {3, 3, 600, 601, MANY};
    const fq_blocks     blocks = {.ends = ends, .n = 5};
    static float        x[MANY], y[MANY], scaled[MANY], z[MANY];
    if (is(f, "topk") || is(f, "fedfq")) /* blocks share a budget */
        return true;
    normal_values(x, MANY);
    for (size_t i = 0; i < MANY; i++)
        scaled[i] = i < 600 ? x[i] : 4.0f * x[i];
    if (!round_trip_in(f, false, x, blocks, y) || !round_trip_in(f, false, scaled, blocks, z))
        return false;
    bool fine = true;
    for (size_t i = 0; i < MANY; i++)
        fine = fine && z[i] == (i < 600 ? y[i] : 4.0f * y[i]);
    return fine;
}

static void test_tensors(void) {
    for_each_format("a block does not depend on the others", tensors_are_separate);
}

static bool stream_fixes_bytes(format f) {
    static float         x[MANY];
    static unsigned char a[4 * MANY], b[4 * MANY], c[4 * MANY];
    const fq_blocks      blocks = blocks_of(MANY, 512);
    size_t               bytes = f.row->body_bytes(MANY, blocks.n, f.bits);
    normal_values(x, MANY);
    fq_rng first = stream(0), again = stream(0), other = stream(1);
    f.row->encode(x, blocks, f.bits, &first, a);
    f.row->encode(x, blocks, f.bits, &again, b);
    f.row->encode(x, blocks, f.bits, &other, c);
    bool random = f.row->unbiased && f.bits < 16;
    if (is(f, "fedfq")) /* searches at random, and may find the same */
        return memcmp(a, b, bytes) == 0;
    return memcmp(a, b, bytes) == 0 && (memcmp(a, c, bytes) != 0) == random;
}

static void test_stream(void) {
    for_each_format("same stream, same bytes", stream_fixes_bytes);
}

/* The mean over many streams is x within 4 standard errors. */
static bool mean_is_right(format f) {
    enum { N = 9, DRAWS = 10000 };
    static const float x[N] = {0.0f, 1.0f, -0.9f, 0.013f, -0.33f, 0.5f, 0.21f, -0.001f, 0.77f};
    unsigned char      body[4 * N];
    double             sum[N] = {0.0}, squares[N] = {0.0};
    if (!f.row->unbiased)
        return true;
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        float     y[N];
        fq_blocks blocks = blocks_of(N, 4);
        fq_rng    rng = stream(draw);
        f.row->encode(x, blocks, f.bits, &rng, body);
        if (f.row->decode(body, blocks, f.bits, y) != FQ_OK)
            return false;
        for (size_t i = 0; i < N; i++) {
            sum[i] += (double)y[i] - (double)x[i];
            squares[i] += pow((double)y[i] - (double)x[i], 2.0);
        }
    }
    bool fine = true;
    for (size_t i = 0; i < N; i++)
        fine = fine && fabs(sum[i]) / DRAWS <= 4.0 * sqrt(squares[i]) / DRAWS + 1e-7;
    return fine;
}

static void test_unbiased(void) {
    for_each_format("right on average", mean_is_right);
}

/* 61,706 parameters in ten tensors, scales included. */
static bool lenet_is_small(format f) {
    static const size_t ends[10] = {150, 156, 2556, 2572, 50572, 50692, 60772, 60856, 61696, 61706};
    double              bytes = (double)f.row->body_bytes(61706, 10, f.bits);
    return bytes <= 1.01 * 4.0 * (double)ends[9] * f.bits / 32.0;
}

static void test_size(void) {
    for_each_format("bits really are bits", lenet_is_small);
}

static bool compresses(format f) {
    static float x[MANY], y[MANY];
    for (size_t i = 0; i < MANY; i++)
        x[i] = i % 100 == 0 ? 1.0f : 0.0f;
    if (!round_trip_in(f, true, x, blocks_of(MANY, 0), y))
        return false;
    fq_arena  arena;
    fq_packed packed;
    fq_rng    rng = stream(0);
    FQ_ASSERT_OK(fq_arena_init(&arena, fq_quantize_arena_bytes(f.row, f.bits, true, MANY, 1)));
    FQ_ASSERT_OK(fq_quantize(f.row, f.bits, true, x, blocks_of(MANY, 0), &rng, &arena, &packed));
    /* One bit at random is noise: nothing to gain. */
    bool fine =
        packed.zstd ? packed.body.size < packed.body_bytes / 2 : f.row->unbiased && f.bits == 1;
    fq_arena_fini(&arena);
    return fine;
}

static void test_zstd(void) {
    for_each_format("zstd pays off", compresses);
}

/* ---- what must be refused ---- */

static void test_bad_input(void) {
    static float x[MANY];
    fq_arena     arena;
    fq_packed    packed = {.n = 12345};
    fq_rng       rng = stream(0);
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    for (const fq_quantizer *const *row = fq_quantizers; *row != NULL; row++) {
        const float bad[] = {NAN, INFINITY, -INFINITY};
        uint8_t     bits = (*row)->max_bits;
        for (int i = 0; i < 3; i++) {
            normal_values(x, MANY);
            x[MANY - 1] = bad[i];
            FQ_ASSERT_FAILS(
                fq_quantize(*row, bits, false, x, blocks_of(MANY, 7), &rng, &arena, &packed),
                FQ_ENONFINITE, "value 1530 of 1531");
        }
        normal_values(x, MANY);
        FQ_ASSERT_FAILS(fq_quantize(*row, 9, false, x, blocks_of(MANY, 7), &rng, &arena, &packed),
                        FQ_EINVAL, "found 9");
        FQ_ASSERT_FAILS(fq_quantize(*row, 0, false, x, blocks_of(MANY, 7), &rng, &arena, &packed),
                        FQ_EINVAL, "found 0");
        FQ_ASSERT_FAILS(fq_quantize(*row, bits, false, x, (fq_blocks){0}, &rng, &arena, &packed),
                        FQ_EINVAL, "without values");
        CU_ASSERT_EQUAL((*row)->body_bytes(SIZE_MAX, 1, bits), 0);
        for (int zstd = 0; zstd < 2; zstd++) {
            fq_arena small;
            FQ_ASSERT_OK(fq_arena_init(&small, zstd == 0 ? 64 : 16384));
            FQ_ASSERT_FAILS(
                fq_quantize(*row, bits, zstd == 1, x, blocks_of(MANY, 0), &rng, &small, &packed),
                FQ_ENOMEM, "in an arena of");
            CU_ASSERT_EQUAL(small.used, 0);
            fq_arena_fini(&small);
        }
    }
    CU_ASSERT_EQUAL(packed.n, 12345); /* untouched by all of them */
    CU_ASSERT_PTR_NULL(fq_quantizer_find("float"));
    fq_arena_fini(&arena);
}

static bool refuses(const fq_packed *packed, fq_blocks blocks, fq_arena *arena, fq_status code) {
    static float y[MANY + 1];
    size_t       used = arena->used;
    fq_status    status = fq_dequantize(packed, blocks, arena, y);
    return status == code && fq_status_text()[0] != '\0' && arena->used == used;
}

static bool refuses_lies(format f) {
    static float x[MANY], y[MANY];
    fq_arena     arena;
    bool         fine = true;
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 21));
    for (int zstd = 0; zstd < 2; zstd++) {
        fq_packed honest, lie;
        fq_rng    rng = stream(0);
        fq_blocks blocks = blocks_of(MANY, 512);
        memset(x, 0, sizeof x);
        x[0] = 1.0f;
        fq_arena_reset(&arena);
        FQ_ASSERT_OK(fq_quantize(f.row, f.bits, zstd == 1, x, blocks, &rng, &arena, &honest));
        lie = honest;
        lie.body.size--;
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        lie.body.size += 2;
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        lie.body = (fq_cbytes){0};
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        lie = honest;
        lie.n++;
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        fine = fine && refuses(&honest, blocks_of(MANY - 1, 512), &arena, FQ_EPROTO);
        blocks = blocks_of(MANY, 512); /* its ends live in one place */
        fine = fine && refuses(&honest, (fq_blocks){0}, &arena, FQ_EPROTO);
        lie = honest;
        lie.body_bytes++;
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        lie.body_bytes = SIZE_MAX;
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        lie = honest;
        lie.bits = (uint8_t)(f.bits == f.row->max_bits ? f.bits + 1 : f.bits - 1);
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        lie = honest;
        lie.zstd = !honest.zstd;
        fine = fine && refuses(&lie, blocks, &arena, FQ_EPROTO);
        if (honest.zstd) { /* a flipped bit: refused, or some other vector; never a crash */
            unsigned char frame[4 * MANY];
            memcpy(frame, honest.body.data, honest.body.size);
            lie = honest;
            lie.body.data = frame;
            for (size_t i = 0; i < honest.body.size; i++) {
                frame[i] ^= 0x10;
                fq_status status = fq_dequantize(&lie, blocks, &arena, y);
                fine = fine && (status == FQ_OK || status == FQ_EPROTO || status == FQ_ENONFINITE);
                frame[i] ^= 0x10;
            }
            fq_arena small;
            FQ_ASSERT_OK(fq_arena_init(&small, 64));
            fine = fine && refuses(&honest, blocks, &small, FQ_ENOMEM);
            fq_arena_fini(&small);
        }
        fine = fine && fq_dequantize(&honest, blocks, &arena, y) == FQ_OK;
    }
    fq_arena_fini(&arena);
    return fine;
}

static void test_lies(void) {
    for_each_format("lying bodies are refused", refuses_lies);
}

/* A frame of the right size that unpacks to another one, a second frame behind it, no size in it.
 */
static void test_zstd_lies(void) {
    /* A frame whose header has no size. */
    static const unsigned char no_size[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x4d, 0x00, 0x00,
                                            0x20, 0x66, 0x65, 0x64, 0x71, 0x01, 0x00, 0x2c, 0x2a};
    static float               zeros[MANY];
    unsigned char              body[4 * MANY];
    fq_arena                   arena;
    fq_rng                     rng = stream(0);
    const fq_quantizer        *row = fq_quantizer_find("float32");
    fq_packed                  honest, lie;
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    FQ_ASSERT_OK(fq_quantize(row, 32, true, zeros, blocks_of(MANY, 0), &rng, &arena, &honest));
    CU_ASSERT_TRUE_FATAL(honest.zstd);
    /* The same frame for a vector of another length. */
    lie = honest;
    lie.n = MANY - 1;
    lie.body_bytes = sizeof(float) * (MANY - 1);
    FQ_ASSERT_FAILS(fq_dequantize(&lie, blocks_of(MANY - 1, 0), &arena, zeros), FQ_EPROTO,
                    "zstd frame holds 6124 bytes, expected 6120");
    /* Twice. */
    memcpy(body, honest.body.data, honest.body.size);
    memcpy(body + honest.body.size, honest.body.data, honest.body.size);
    lie = honest;
    lie.body = (fq_cbytes){.data = body, .size = 2 * honest.body.size};
    FQ_ASSERT_FAILS(fq_dequantize(&lie, blocks_of(MANY, 0), &arena, zeros), FQ_EPROTO,
                    "not exactly one zstd frame");
    lie.body = (fq_cbytes){.data = no_size, .size = sizeof no_size};
    FQ_ASSERT_FAILS(fq_dequantize(&lie, blocks_of(MANY, 0), &arena, zeros), FQ_EPROTO,
                    "not a zstd frame that says");
    lie.body = (fq_cbytes){.data = (const unsigned char *)"fedq", .size = 4};
    FQ_ASSERT_FAILS(fq_dequantize(&lie, blocks_of(MANY, 0), &arena, zeros), FQ_EPROTO,
                    "not a zstd frame that says");
    fq_arena_fini(&arena);
}

static void decode_fails(const char *name, uint8_t bits, const unsigned char *body, size_t size,
                         size_t n, fq_status code, const char *text) {
    float     y[8];
    fq_arena  arena = {0};
    fq_packed packed = {.quantizer = fq_quantizer_find(name),
                        .bits = bits,
                        .n = n,
                        .body_bytes = size,
                        .body = {.data = body, .size = size}};
    FQ_ASSERT_FAILS(fq_dequantize(&packed, blocks_of(n, 0), &arena, y), code, text);
}

static void test_bad_bodies(void) {
    static const unsigned char nan_scale[] = {0, 0, 0xc0, 0x7f, 0},
                               inf_scale[] = {0, 0, 0x80, 0x7f, 0},
                               negative[] = {0, 0, 0x80, 0xbf, 0},
                               huge[] = {0xff, 0xff, 0x7f, 0x7f, 0},
                               unused[] = {0, 0, 0x80, 0x3f, 0x37},
                               padding[] = {0, 0, 0x80, 0x3f, 0x21}, inf_half[] = {0, 0, 0, 0x7c},
                               nan_half[] = {1, 0xfc, 0, 0};
    static const char *const names[] = {"uniform", "stochastic", "qsgd"};
    for (int i = 0; i < 3; i++) {
        for (uint8_t bits = i == 2 ? 2 : 1; bits <= 8; bits++) {
            decode_fails(names[i], bits, nan_scale, 5, 1, FQ_ENONFINITE, "scale of block 0 is nan");
            decode_fails(names[i], bits, inf_scale, 5, 1, FQ_ENONFINITE, "scale of block 0 is inf");
            decode_fails(names[i], bits, negative, 5, 1, FQ_EPROTO, "scale of block 0 is -1");
        }
        decode_fails(names[i], 4, huge, 5, 1, FQ_ENONFINITE, "would not be finite");
        decode_fails(names[i], 3, unused, 5, 2, FQ_EPROTO,
                     "code 7 among values 0..1, the largest of 3 bits is 6");
        decode_fails(names[i], 4, padding, 5, 1, FQ_EPROTO, "bits after the last of 1 codes");
        decode_fails(i == 2 ? "sign" : names[i], 1, padding, 5, 5, FQ_EPROTO,
                     "bits after the last of 5 codes");
    }
    decode_fails("float16", 16, inf_half, 4, 2, FQ_ENONFINITE,
                 "value 1 is not finite (half 0x7c00)");
    decode_fails("float16", 16, nan_half, 4, 2, FQ_ENONFINITE, "value 0");
    decode_fails("float32", 32, inf_scale, 4, 1, FQ_ENONFINITE, "value 0 is inf");
    decode_fails("float32", 32, nan_scale, 4, 1, FQ_ENONFINITE, "value 0 is nan");
}

/* ---- the bytes themselves ---- */

static void test_golden(void) {
    /* Two blocks, of 3 and 2 values. */
    static const float  x[5] = {1.0f, -0.5f, 0.25f, 0.0f, -3.0f};
    static const size_t ends[2] = {3, 5};
    static const struct {
        const char *name;
        uint8_t     bits;
        const char *hex;
    } rows[] = {
        {"float32", 32, "0000803f000000bf0000803e00000000000040c0"},
        {"float16", 16, "003c00b80034000000c2"},
        {"uniform", 1, "5555153f0000c03f0d"},
        {"uniform", 2, "0000803f000040405600"},
        {"uniform", 3, "abaaaa3e0000803f0e07"},
        {"uniform", 4, "2549123eb76ddb3e4e7900"},
        {"uniform", 5, "8988883dcdcc4c3e1ecd0700"},
        {"uniform", 6, "0821043d8c31c63dfe737e00"},
        {"uniform", 7, "2108823c310c433d7ed0f30700"},
        {"uniform", 8, "0402013c0683c13cfe3f9f7f00"},
        {"stochastic", 1, "0000803f000040400d"},
        {"stochastic", 2, "0000803f000040406600"},
        {"stochastic", 3, "abaaaa3e0000803f1607"},
        {"stochastic", 4, "2549123eb76ddb3e4e7900"},
        {"stochastic", 5, "8988883dcdcc4c3e1ecd0700"},
        {"stochastic", 6, "0821043d8c31c63d3e747e00"},
        {"stochastic", 7, "2108823c310c433d7ed0f30700"},
        {"stochastic", 8, "0402013c0683c13cfe409f7f00"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        unsigned char body[32];
        char          hex[65] = "";
        fq_blocks     blocks = {.ends = ends, .n = 2};
        fq_rng        rng = stream(0);
        fq_quantizer_find(rows[r].name)->encode(x, blocks, rows[r].bits, &rng, body);
        size_t size = fq_quantizer_find(rows[r].name)->body_bytes(5, 2, rows[r].bits);
        for (size_t i = 0; i < size; i++)
            snprintf(hex + 2 * i, 3, "%02x", body[i]);
        if (strcmp(hex, rows[r].hex) != 0)
            fprintf(stderr, "{\"%s\", %u, \"%s\"},\n", rows[r].name, (unsigned)rows[r].bits, hex);
        CU_ASSERT_STRING_EQUAL(hex, rows[r].hex);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"error within its bound, sizes as promised", test_error},
        {"error shrinks with bits", test_error_shrinks},
        {"biased formats contract", test_contraction},
        {"representable values survive", test_representable},
        {"zeros, one value, equal values", test_constants},
        {"extreme values", test_extremes},
        {"tensors are separate", test_tensors},
        {"same stream, same bytes", test_stream},
        {"right on average", test_unbiased},
        {"bits really are bits", test_size},
        {"zstd pays off", test_zstd},
        {"bad input is refused", test_bad_input},
        {"lying bodies are refused", test_lies},
        {"lying zstd frames are refused", test_zstd_lies},
        {"bad bodies are refused", test_bad_bodies},
        {"golden bytes", test_golden},
        {NULL, NULL},
    };
    return fq_run_suite("quantizers", cases);
}

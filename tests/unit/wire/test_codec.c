#include "suite.h"
#include "wire/codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 100 };
static const size_t    ends[] = {40, 100};
static const fq_limits limits = {.max_value = 1.0, .max_examples = 1000};

static fq_expected expect(size_t n_vectors) {
    return (fq_expected){
        .size = SIZE, .blocks = {ends, 2}, .n_vectors = n_vectors, .limits = &limits};
}

/* A coded update of SIZE values in the arena. */
static fq_update make(const char *quantizer, uint8_t bits, size_t n_vectors, fq_arena *arena) {
    float     x[SIZE];
    fq_update update = {.client = UINT64_C(1) << 40,
                        .round = 12,
                        .n_examples = 600,
                        .n_steps = 19,
                        .loss = 0.5,
                        .drift = 0.25,
                        .n_vectors = n_vectors};
    for (size_t i = 0; i < SIZE; i++)
        x[i] = 0.01f * (float)i - 0.3f;
    for (size_t v = 0; v < n_vectors; v++) {
        fq_rng rng = fq_rng_stream(1, FQ_RNG_ROUNDING, 0, v, 0, 0);
        FQ_ASSERT_OK(fq_quantize(fq_quantizer_find(quantizer), bits, false, x, (fq_blocks){ends, 2},
                                 &rng, arena, &update.vectors[v]));
    }
    return update;
}

static void test_round_trip(void) {
    fq_arena arena;
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    for (size_t row = 0; fq_quantizers[row] != NULL; row++)
        for (size_t n = 1; n <= 2; n++) {
            fq_buffer bytes = {0};
            fq_update sent =
                          make(fq_quantizers[row]->name, fq_quantizers[row]->max_bits, n, &arena),
                      got;
            fq_expected expected = expect(n);
            sent.first_loss = 0.75;
            FQ_ASSERT_OK(fq_encode_update(&sent, 0, &bytes));
            CU_ASSERT_EQUAL(bytes.size, fq_update_bytes(&sent, 0));
            FQ_ASSERT_OK(
                fq_decode_update((fq_cbytes){bytes.data, bytes.size}, &expected, &arena, &got));
            CU_ASSERT_EQUAL(got.client, sent.client);
            CU_ASSERT_EQUAL(got.round, 12);
            CU_ASSERT_EQUAL(got.n_examples, 600);
            CU_ASSERT_EQUAL(got.n_steps, 19);
            CU_ASSERT_EQUAL(got.loss, 0.5);
            CU_ASSERT_EQUAL(got.drift, 0.25);
            CU_ASSERT_EQUAL(got.first_loss, 0.75);
            for (size_t v = 0; v < n; v++) {
                CU_ASSERT_PTR_EQUAL(got.vectors[v].quantizer, fq_quantizers[row]);
                CU_ASSERT_EQUAL(got.vectors[v].body.size, sent.vectors[v].body.size);
                CU_ASSERT_EQUAL(memcmp(got.vectors[v].body.data, sent.vectors[v].body.data,
                                       sent.vectors[v].body.size),
                                0);
            }
            fq_buffer_fini(&bytes);
        }
    fq_arena_fini(&arena);
}

/* A model, with the levels of its round; numbers of levels that cannot be are refused. */
static void test_model(void) {
    const fq_levels good[] = {{0}, {.all = 3}, {.all = 127, .factor = 0.125}};
    const fq_levels bad[] = {{.all = 128},
                             {.all = -1},
                             {.all = 1, .factor = -1.0},
                             {.all = 1, .factor = (double)NAN},
                             {.all = 1, .factor = (double)INFINITY}};
    fq_arena        arena;
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    const fq_update   update = make("uniform", 8, 2, &arena);
    const fq_expected expected = expect(1);
    for (size_t i = 0; i < 8; i++) {
        const fq_levels *levels = i < 3 ? &good[i] : &bad[i - 3];
        fq_buffer        bytes = {0};
        fq_levels        got;
        fq_packed        vectors[2];
        uint32_t         round;
        FQ_ASSERT_OK(
            fq_encode_model(9, levels, &update.vectors[0], &update.vectors[1], 1, 0, &bytes));
        CU_ASSERT_EQUAL(bytes.size,
                        fq_model_bytes(9, levels, &update.vectors[0], &update.vectors[1], 1, 0));
        const fq_cbytes message = {bytes.data, bytes.size};
        if (i < 3) {
            FQ_ASSERT_OK(fq_decode_model(message, &expected, &arena, &round, &got, vectors));
            CU_ASSERT_TRUE(round == 9 && got.all == levels->all && got.factor == levels->factor);
        } else {
            FQ_ASSERT_FAILS(fq_decode_model(message, &expected, &arena, &round, &got, vectors),
                            FQ_EPROTO, "a model asks for");
        }
        fq_buffer_fini(&bytes);
    }
    fq_arena_fini(&arena);
}

static void test_lies_are_refused(void) {
    fq_arena arena;
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    static const struct lie {
        const char *what, *text;
    } lies[] = {{"examples", "claims 1001 examples"},
                {"loss", "not finite"},
                {"vectors", "2 vectors; 1 are needed"},
                {"n", "model has 100"},
                {"bits", "stochastic has"},
                {"body", "body has"},
                {"bytes", "are needed"}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        fq_buffer   bytes = {0};
        fq_update   update = make("stochastic", 4, i == 2 ? 2 : 1, &arena), got;
        fq_expected expected = expect(1);
        switch (i) {
        case 0: update.n_examples = 1001; break;
        case 1: update.loss = (double)NAN; break;
        case 3: update.vectors[0].n = 99; break;
        case 4: update.vectors[0].bits = 9; break;
        case 5: update.vectors[0].body.size--; break;
        case 6: update.vectors[0].body_bytes = SIZE_MAX; break;
        default: break;
        }
        FQ_ASSERT_OK(fq_encode_update(&update, 0, &bytes));
        fq_status status =
            fq_decode_update((fq_cbytes){bytes.data, bytes.size}, &expected, &arena, &got);
        CU_ASSERT_NOT_EQUAL(status, FQ_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr(fq_status_text(), lies[i].text));
        fq_buffer_fini(&bytes);
    }
    fq_arena_fini(&arena);
}

static void test_truncation(void) {
    fq_arena  arena;
    fq_buffer bytes = {0};
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    fq_update   update = make("uniform", 2, 1, &arena), got;
    fq_expected expected = expect(1);
    FQ_ASSERT_OK(fq_encode_update(&update, 0, &bytes));
    size_t mark = fq_arena_mark(&arena);
    for (size_t n = 0; n < bytes.size; n++) {
        fq_arena_rewind(&arena, mark);
        CU_ASSERT_NOT_EQUAL(fq_decode_update((fq_cbytes){bytes.data, n}, &expected, &arena, &got),
                            FQ_OK);
    }
    fq_buffer_fini(&bytes);
    fq_arena_fini(&arena);
}

/* The bytes of one message, for good: a change breaks every client in the field. */
static void test_golden_bytes(void) {
    static const unsigned char golden[] = {
        0x08, 0x01, 0x10, 0x05, 0x18, 0x02, 0x20, 0x0a, 0x28, 0x03, 0x31, 0,   0,
        0,    0,    0,    0,    0xe0, 0x3f, 0x39, 0,    0,    0,    0,    0,   0,
        0xd0, 0x3f, 0x42, 0x15, 0x0a, 0x07, 'f',  'l',  'o',  'a',  't',  '3', '2',
        0x10, 0x20, 0x18, 0x01, 0x30, 0x04, 0x3a, 0x04, 0x00, 0x00, 0x80, 0x3f};
    const float     one = 1.0f;
    const fq_update update = {.client = 5,
                              .round = 2,
                              .n_examples = 10,
                              .n_steps = 3,
                              .loss = 0.5,
                              .drift = 0.25,
                              .n_vectors = 1,
                              .vectors = {{.quantizer = fq_quantizer_find("float32"),
                                           .bits = 32,
                                           .n = 1,
                                           .body_bytes = 4,
                                           .body = {(const unsigned char *)&one, 4}}}};
    fq_buffer       bytes = {0};
    FQ_ASSERT_OK(fq_encode_update(&update, 0, &bytes));
    CU_ASSERT_EQUAL(bytes.size, sizeof golden);
    CU_ASSERT_EQUAL(memcmp(bytes.data, golden, sizeof golden), 0);
    fq_buffer_fini(&bytes);
}

int main(void) {
    static const fq_case cases[] = {
        {"round trip", test_round_trip},
        {"model", test_model},
        {"lies are refused", test_lies_are_refused},
        {"truncation", test_truncation},
        {"golden bytes", test_golden_bytes},
        {NULL, NULL},
    };
    return fq_run_suite("codec", cases);
}

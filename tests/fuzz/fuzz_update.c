/* An update message from outside: any bytes are refused with a text, or give figures within the
 * limits that come back when they are coded again, and vectors that decode to finite values or are
 * refused.
 *
 * Input: what the receiver expects (a row of EXPECTED), message. */
#include "fuzz.h"
#include "wire/codec.h"

#include <math.h>
#include <string.h>

enum { MAX_VALUES = 100 };

static const size_t      TENSORS[] = {40, 41, 100}, PIECES[] = {16, 32, 37};
static const fq_limits   LIMITS = {.max_value = 1.0, .max_examples = 1000};
static const fq_expected EXPECTED[] = {
    {.size = 100, .blocks = {TENSORS, 3}, .n_vectors = 1, .limits = &LIMITS},
    {.size = 100, .blocks = {TENSORS, 3}, .n_vectors = 2, .limits = &LIMITS},
    {.size = 37, .blocks = {PIECES, 3}, .block = 16, .n_vectors = 1, .limits = &LIMITS},
};

static bool accepted(fq_status status) {
    FUZZ_CHECK(status == FQ_OK || fq_status_text()[0] != '\0');
    return status == FQ_OK;
}

static void check_figures(const fq_update *update, const fq_expected *expected) {
    FUZZ_CHECK(update->n_examples >= 1 && update->n_examples <= LIMITS.max_examples);
    FUZZ_CHECK(isfinite(update->loss) && isfinite(update->drift));
    FUZZ_CHECK(update->n_vectors == expected->n_vectors);
}

static void check_vectors(const fq_update *update, const fq_expected *expected) {
    float y[MAX_VALUES];
    for (size_t v = 0; v < update->n_vectors; v++) {
        const fq_packed *packed = &update->vectors[v];
        fq_arena         arena;
        FUZZ_CHECK(fq_arena_init(&arena, fq_quantize_arena_bytes(packed->quantizer, packed->bits,
                                                                 true, expected->size,
                                                                 expected->blocks.n)) == FQ_OK);
        if (accepted(fq_dequantize(packed, expected->blocks, &arena, y)))
            for (size_t i = 0; i < expected->size; i++)
                FUZZ_CHECK(isfinite(y[i]));
        fq_arena_fini(&arena);
    }
}

static bool same_bits(double a, double b) {
    return memcmp(&a, &b, sizeof a) == 0;
}

static bool same_packed(const fq_packed *a, const fq_packed *b) {
    return a->quantizer == b->quantizer && a->bits == b->bits && a->zstd == b->zstd &&
           a->n == b->n && a->body_bytes == b->body_bytes && a->body.size == b->body.size &&
           (a->body.size == 0 || memcmp(a->body.data, b->body.data, a->body.size) == 0);
}

static void check_round_trip(const fq_update *update, const fq_expected *expected) {
    fq_buffer bytes = {0};
    fq_arena  arena;
    fq_update again;
    FUZZ_CHECK(fq_encode_update(update, expected->block, &bytes) == FQ_OK);
    FUZZ_CHECK(bytes.size == fq_update_bytes(update, expected->block));
    FUZZ_CHECK(fq_arena_init(&arena, fq_decode_arena_bytes(bytes.size)) == FQ_OK);
    FUZZ_CHECK(fq_decode_update((fq_cbytes){bytes.data, bytes.size}, expected, &arena, &again) ==
               FQ_OK);
    FUZZ_CHECK(again.client == update->client && again.round == update->round);
    FUZZ_CHECK(again.n_examples == update->n_examples && again.n_steps == update->n_steps);
    FUZZ_CHECK(same_bits(again.loss, update->loss) && same_bits(again.drift, update->drift));
    FUZZ_CHECK(again.n_vectors == update->n_vectors);
    for (size_t v = 0; v < update->n_vectors; v++)
        FUZZ_CHECK(same_packed(&again.vectors[v], &update->vectors[v]));
    fq_arena_fini(&arena);
    fq_buffer_fini(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    const fq_expected *expected = &EXPECTED[data[0] % (sizeof EXPECTED / sizeof *EXPECTED)];
    fq_arena           arena;
    fq_update          update;
    FUZZ_CHECK(fq_arena_init(&arena, fq_decode_arena_bytes(size - 1)) == FQ_OK);
    if (accepted(fq_decode_update((fq_cbytes){data + 1, size - 1}, expected, &arena, &update))) {
        check_figures(&update, expected);
        check_vectors(&update, expected);
        check_round_trip(&update, expected);
    }
    fq_arena_fini(&arena);
    return 0;
}

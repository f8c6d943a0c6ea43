/* The head of a message from outside: whatever decodes encodes again, and to what decodes to the
 * same bytes. */
#include "fuzz.h"
#include "wire/messages.h"

#include <string.h>

static fq_arena *the_arena(void) {
    static fq_arena arena;
    if (arena.memory == NULL)
        FUZZ_CHECK(fq_arena_init(&arena, 4 * (size_t)FQ_MAX_HEAD_BYTES) == FQ_OK);
    fq_arena_reset(&arena);
    return &arena;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fq_message message;
    fq_buffer  once = {0}, twice = {0};
    if (fq_decode_message((fq_cbytes){data, size}, the_arena(), &message) != FQ_OK)
        return 0;
    FUZZ_CHECK(message.kind >= FQ_HELLO && message.kind <= FQ_BYE);
    FUZZ_CHECK(fq_encode_message(&message, &once) == FQ_OK);
    FUZZ_CHECK(fq_decode_message((fq_cbytes){once.data, once.size}, the_arena(), &message) ==
               FQ_OK);
    FUZZ_CHECK(fq_encode_message(&message, &twice) == FQ_OK);
    FUZZ_CHECK(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    fq_buffer_fini(&once);
    fq_buffer_fini(&twice);
    return 0;
}

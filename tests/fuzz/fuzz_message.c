/* A head from outside: any bytes are refused with a text, or give a message within the limits that
 * fits the memory that is kept for it, and that comes back when it is coded again.
 *
 * Input: the head. */
#include "fuzz.h"
#include "wire/messages.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static fq_arena *the_arena(int which) {
    static fq_arena arenas[2];
    if (arenas[which].memory == NULL)
        FUZZ_CHECK(fq_arena_init(&arenas[which], FQ_MESSAGE_ARENA_BYTES) == FQ_OK);
    fq_arena_reset(&arenas[which]);
    return &arenas[which];
}

static bool accepted(fq_status status, const fq_message *message) {
    if (status == FQ_OK)
        return true;
    FUZZ_CHECK(status == FQ_EPROTO || status == FQ_ELIMIT || status == FQ_ENONFINITE);
    FUZZ_CHECK(fq_status_text()[0] != '\0' && message->kind == 0);
    return false;
}

static bool is_text(const char *text, size_t capacity) {
    return memchr(text, '\0', capacity) != NULL;
}

static void check_hello(const fq_hello *hello) {
    FUZZ_CHECK(hello->n_hosted >= 1 && hello->n_hosted <= FQ_MAX_HOSTED);
    for (size_t i = 1; i < hello->n_hosted; i++)
        FUZZ_CHECK(hello->hosted[i].client > hello->hosted[i - 1].client);
    FUZZ_CHECK(hello->n_widths <= FQ_MAX_WIDTHS && hello->model_bits <= 8);
    FUZZ_CHECK(is_text(hello->software, sizeof hello->software));
}

static void check_welcome(const fq_welcome *welcome) {
    FUZZ_CHECK(welcome->settings.size <= FQ_MAX_SETTINGS_BYTES);
    FUZZ_CHECK(welcome->n_norm <= FQ_MAX_CHANNELS);
    for (size_t i = 0; i < welcome->n_norm; i++)
        FUZZ_CHECK(isfinite(welcome->mean[i]) && isfinite(welcome->std[i]) &&
                   welcome->std[i] > 0.0f);
}

static void check_limits(const fq_message *message) {
    switch (message->kind) {
    case FQ_HELLO: check_hello(&message->of.hello); return;
    case FQ_WELCOME: check_welcome(&message->of.welcome); return;
    case FQ_REFUSAL:
        FUZZ_CHECK(message->of.refusal.reason < FQ_REASON_END &&
                   is_text(message->of.refusal.text, FQ_MAX_TEXT));
        return;
    case FQ_PLAN:
        FUZZ_CHECK(message->of.plan.n_clients >= 1 && message->of.plan.n_clients <= FQ_MAX_HOSTED);
        for (size_t i = 1; i < message->of.plan.n_clients; i++)
            FUZZ_CHECK(message->of.plan.clients[i] > message->of.plan.clients[i - 1]);
        return;
    case FQ_MODEL_REQUEST:
    case FQ_MODEL_CHUNK:
        FUZZ_CHECK(message->of.model_part.bytes >= 1 &&
                   message->of.model_part.bytes <= FQ_CHUNK_BYTES);
        return;
    case FQ_UPDATE_OFFER:
    case FQ_UPDATE_WANT:
    case FQ_UPDATE_CHUNK:
        FUZZ_CHECK(message->of.update_part.offset <= message->of.update_part.total);
        return;
    case FQ_RECEIPT:
        FUZZ_CHECK(message->of.receipt.reason < FQ_REASON_END &&
                   is_text(message->of.receipt.text, FQ_MAX_TEXT));
        return;
    case FQ_RUN_OVER:
        FUZZ_CHECK(is_text(message->of.run_over.hash, sizeof message->of.run_over.hash));
        return;
    case FQ_HEARTBEAT:
    case FQ_ROUND_OVER:
    case FQ_BYE: return;
    }
    FUZZ_CHECK(false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fq_message message, again;
    fq_buffer  once = {0}, twice = {0};
    if (!accepted(fq_decode_message((fq_cbytes){data, size}, the_arena(0), &message), &message))
        return 0;
    check_limits(&message);
    /* Canonical bytes are no longer than what came, unknown fields and detours are gone, and they
     * are their own canonical bytes. */
    FUZZ_CHECK(fq_encode_message(&message, &once) == FQ_OK);
    FUZZ_CHECK(fq_decode_message((fq_cbytes){once.data, once.size}, the_arena(1), &again) == FQ_OK);
    check_limits(&again);
    FUZZ_CHECK(fq_encode_message(&again, &twice) == FQ_OK);
    FUZZ_CHECK(again.kind == message.kind && once.size == twice.size);
    FUZZ_CHECK(memcmp(once.data, twice.data, once.size) == 0);
    fq_buffer_fini(&once);
    fq_buffer_fini(&twice);
    return 0;
}

/* The files of a client's folder: an entry of the outbox, a state, and status.json.
 *
 * Input: what it is (0 outbox, 1 state, 2 status; bit 7: the checksum goes in as it is, else it is
 * put right first), then the bytes. */
#include "base/file.h"
#include "client/home.h"
#include "client/status.h"
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

enum { OUTBOX, STATE, STATUS, KINDS, CHECKSUM_AS_IS = 0x80, N = 3 };

static void check_outbox(fq_cbytes bytes) {
    fq_outgoing out;
    fq_status   status = fq_outbox_parse(bytes, &out);
    FUZZ_CHECK(status == FQ_OK || status == FQ_EPROTO);
    if (status == FQ_OK) {
        FUZZ_CHECK(out.sealed.size > FQ_SEAL_OVERHEAD && out.sealed.size < bytes.size);
        FUZZ_CHECK(memcmp(out.sealed.data, bytes.data + bytes.size - 4 - out.sealed.size,
                          out.sealed.size) == 0);
        FUZZ_CHECK(out.model_bits <= 8);
    } else {
        FUZZ_CHECK(out.sealed.data == NULL && fq_status_text()[0] != '\0');
    }
    fq_outgoing_fini(&out);
}

static void check_state(fq_cbytes bytes) {
    const fq_binding binding = {.run = {1, 2, 3}, .client = 5};
    float            state[N + 1] = {1, 1, 1, 7};
    fq_status        status = fq_state_parse(bytes, &binding, state, N);
    FUZZ_CHECK(status == FQ_OK || (status == FQ_EPROTO && fq_status_text()[0] != '\0'));
    FUZZ_CHECK(state[N] > 6.0f && state[N] < 8.0f);
}

static void check_status(fq_cbytes bytes) {
    fq_client_status first, second;
    fq_buffer        json = {0};
    if (fq_client_status_parse(bytes, &first) == FQ_OK) {
        fq_client_status_json(&first, &json);
        FUZZ_CHECK(!json.failed);
        FUZZ_CHECK(fq_client_status_parse((fq_cbytes){json.data, json.size}, &second) == FQ_OK);
        FUZZ_CHECK(strcmp(first.run, second.run) == 0 && first.accepted == second.accepted);
        FUZZ_CHECK(memcmp(first.refusals, second.refusals, sizeof first.refusals) == 0);
    }
    fq_buffer_fini(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    unsigned       kind = (data[0] & 0x7fu) % KINDS;
    unsigned char *copy = malloc(size);
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    if (kind != STATUS && size >= 5 && (data[0] & CHECKSUM_AS_IS) == 0) {
        uint32_t crc = fq_crc32((fq_cbytes){copy, size - 5});
        for (size_t i = 0; i < 4; i++)
            copy[size - 5 + i] = (unsigned char)(crc >> (8 * i));
    }
    fq_cbytes bytes = {copy, size - 1};
    if (kind == OUTBOX)
        check_outbox(bytes);
    else if (kind == STATE)
        check_state(bytes);
    else
        check_status(bytes);
    free(copy);
    return 0;
}

/* A checkpoint from outside: any bytes are refused and change nothing, or give a state whose
 * checkpoint has the same bytes.
 *
 * Input: flags (bit 1: the checksum goes in as it is, else it is put right first, since it would
 * refuse nearly every input), checkpoint. */
#include "base/file.h"
#include "fuzz.h"
#include "tiny.h"

#include <string.h>

enum { CHECKSUM_AS_IS = 2 };
static const char HASH[] = "settings";

/* What an input reads into. */
typedef struct target {
    fq_tiny        tiny;
    fq_states_mark mark;
    char           note[FQ_NOTE_BYTES];
    fq_buffer      fresh; /* its checkpoint before, to begin each input alike */
} target;

static fq_status encode(const target *t, fq_buffer *out) {
    return fq_checkpoint_encode(t->tiny.server, HASH, t->mark, t->note, out);
}

static fq_status decode(target *t, fq_cbytes bytes) {
    return fq_checkpoint_decode(bytes, t->tiny.server, HASH, &t->mark, t->note);
}

/* fedadam's server has vectors beside the weights. */
static target *the_target(void) {
    static target t;
    if (t.fresh.size == 0) {
        fq_tiny_create(&t.tiny, "seed: 5\n"
                                "data: {set: synthetic, clients: 3, features: 2, classes: 2, "
                                "examples: 8, test_examples: 4}\n"
                                "model:\n- {layer: dense, out: 2}\n"
                                "train: {clients_per_round: 2, algorithm: fedadam}\n");
        t.mark = (fq_states_mark){2, 7};
        memcpy(t.note, "before", sizeof "before");
        FUZZ_CHECK(encode(&t, &t.fresh) == FQ_OK);
    }
    FUZZ_CHECK(decode(&t, (fq_cbytes){t.fresh.data, t.fresh.size}) == FQ_OK);
    return &t;
}

/* A copy that ends where its block ends; its last four bytes are the checksum of the others. */
static fq_cbytes copy_of(const uint8_t *data, size_t size, bool as_is) {
    unsigned char *bytes = malloc(size > 0 ? size : 1);
    FUZZ_CHECK(bytes != NULL);
    memcpy(bytes, data, size);
    if (size >= 4 && !as_is) {
        uint32_t crc = fq_crc32((fq_cbytes){bytes, size - 4});
        for (size_t i = 0; i < 4; i++)
            bytes[size - 4 + i] = (unsigned char)(crc >> (8 * i));
    }
    return (fq_cbytes){bytes, size};
}

/* The state is what these bytes say. */
static void check_state(const target *t, fq_cbytes expected) {
    fq_buffer bytes = {0};
    FUZZ_CHECK(encode(t, &bytes) == FQ_OK && bytes.size == expected.size);
    FUZZ_CHECK(memcmp(bytes.data, expected.data, bytes.size) == 0);
    fq_buffer_fini(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    fq_cbytes bytes = copy_of(data + 1, size - 1, (data[0] & CHECKSUM_AS_IS) != 0);
    target   *t = the_target();
    if (decode(t, bytes) == FQ_OK) {
        check_state(t, bytes);
    } else {
        FUZZ_CHECK(fq_status_text()[0] != '\0');
        check_state(t, (fq_cbytes){t->fresh.data, t->fresh.size});
    }
    free((void *)(uintptr_t)bytes.data);
    return 0;
}

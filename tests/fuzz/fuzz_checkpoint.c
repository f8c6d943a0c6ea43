/* A checkpoint from outside: any bytes are refused and change nothing, or give a state whose
 * checkpoint is as long and reads back the same.
 *
 * Input: flags (bit 0: clients have states; bit 1: the checksum goes in as it is, else it is put
 * right first, since it would refuse nearly every input), checkpoint. */
#include "base/file.h"
#include "fuzz.h"
#include "tiny.h"

#include <string.h>

enum { CLIENTS = 3, STATE_VECTORS = 2, OWNER = 1, WITH_STATES = 1, CHECKSUM_AS_IS = 2 };
static const char HASH[] = "settings";
static const char NOTE[] = "before";

typedef struct federation {
    fq_tiny   tiny;
    size_t    state_floats; /* of one client */
    fq_buffer fresh;        /* checkpoint without states, to begin each input alike */
} federation;

/* What one input reads into. Client OWNER has a state before, the others have none. */
typedef struct target {
    fq_server       *server;
    float           *slots[CLIENTS];
    fq_client_states states;
    char             note[FQ_NOTE_BYTES];
} target;

static fq_status encode(const target *t, fq_buffer *out) {
    return fq_checkpoint_encode(t->server, HASH, &t->states, t->note, out);
}

static fq_status decode(target *t, fq_cbytes bytes) {
    return fq_checkpoint_decode(bytes, t->server, HASH, &t->states, t->note);
}

/* fedadam's server has vectors beside the weights. */
static const federation *the_federation(void) {
    static federation f;
    if (f.tiny.server != NULL)
        return &f;
    fq_tiny_create(&f.tiny, "seed: 5\n"
                            "data: {set: synthetic, clients: 3, features: 2, classes: 2, "
                            "examples: 8, test_examples: 4}\n"
                            "model:\n- {layer: dense, out: 2}\n"
                            "train: {clients_per_round: 2, algorithm: fedadam}\n");
    f.state_floats = STATE_VECTORS * fq_model_size(f.tiny.setup.model);
    const target none = {.server = f.tiny.server, .states = {.clients = CLIENTS}};
    FUZZ_CHECK(encode(&none, &f.fresh) == FQ_OK);
    return &f;
}

static void begin(const federation *f, bool with_states, target *t) {
    *t = (target){.server = f->tiny.server, .states = {.clients = CLIENTS}};
    FUZZ_CHECK(decode(t, (fq_cbytes){f->fresh.data, f->fresh.size}) == FQ_OK);
    if (with_states) {
        t->states = (fq_client_states){STATE_VECTORS, t->slots, CLIENTS};
        t->slots[OWNER] = calloc(f->state_floats, sizeof(float));
        FUZZ_CHECK(t->slots[OWNER] != NULL);
    }
    memcpy(t->note, NOTE, sizeof NOTE);
}

static void end(target *t) {
    for (size_t k = 0; k < CLIENTS; k++)
        free(t->slots[k]);
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

/* Only the order of the clients' states may differ from the input. */
static void check_accepted(target *t, fq_cbytes input) {
    fq_buffer first = {0}, second = {0};
    size_t    size = input.size;
    FUZZ_CHECK(encode(t, &first) == FQ_OK && first.size == size);
    FUZZ_CHECK(t->states.vectors > 0 || memcmp(first.data, input.data, size) == 0);
    FUZZ_CHECK(decode(t, (fq_cbytes){first.data, first.size}) == FQ_OK);
    FUZZ_CHECK(encode(t, &second) == FQ_OK && second.size == size);
    FUZZ_CHECK(memcmp(first.data, second.data, size) == 0);
    fq_buffer_fini(&first);
    fq_buffer_fini(&second);
}

static void check_refused(const target *t, const float *owners, const fq_buffer *before) {
    fq_buffer after = {0};
    FUZZ_CHECK(fq_status_text()[0] != '\0');
    FUZZ_CHECK(t->slots[OWNER] == owners);
    FUZZ_CHECK(encode(t, &after) == FQ_OK && after.size == before->size);
    FUZZ_CHECK(memcmp(before->data, after.data, before->size) == 0);
    fq_buffer_fini(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    fq_cbytes bytes = copy_of(data + 1, size - 1, (data[0] & CHECKSUM_AS_IS) != 0);
    fq_buffer before = {0};
    target    t;
    begin(the_federation(), (data[0] & WITH_STATES) != 0, &t);
    const float *owners = t.slots[OWNER];
    FUZZ_CHECK(encode(&t, &before) == FQ_OK);
    if (decode(&t, bytes) == FQ_OK)
        check_accepted(&t, bytes);
    else
        check_refused(&t, owners, &before);
    fq_buffer_fini(&before);
    end(&t);
    free((void *)(uintptr_t)bytes.data);
    return 0;
}

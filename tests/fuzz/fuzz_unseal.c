/* A sealed update from outside. Nobody without the secret keys makes one that opens, and a fuzzer
 * is nobody: only what was sealed here may open, and only as it was.
 *
 * Input: flags (bit 0: the other bytes are a text to be sealed, of which the first one says which
 * byte is changed; 0 there: none), then the sealed bytes or the text. */
#include "fuzz.h"
#include "key_rig.h"
#include "wire/seal.h"

#include <stdbool.h>
#include <string.h>

enum { SEAL_FIRST = 1, WIPED = 0, BEFORE = 0xee };

typedef struct parties {
    fq_keypair *client, *server;
} parties;

static const parties *the_parties(void) {
    static parties p;
    if (p.client == NULL)
        p = (parties){fq_test_keypair(0), fq_test_keypair(1)};
    return &p;
}

static bool opens(const parties *p, fq_cbytes sealed, fq_cbytes text) {
    const fq_binding binding = {.run = {1}, .round = 2, .model = {3}, .client = 4};
    size_t           room = sealed.size < FQ_SEAL_OVERHEAD ? 0 : sealed.size - FQ_SEAL_OVERHEAD;
    unsigned char   *plain = malloc(room + 1);
    FUZZ_CHECK(plain != NULL);
    memset(plain, BEFORE, room + 1);
    fq_status status = fq_unseal(p->server, fq_keypair_public(p->client), &binding, sealed, plain);
    FUZZ_CHECK(status == FQ_OK || status == FQ_EAUTH);
    FUZZ_CHECK(plain[room] == BEFORE);
    if (status == FQ_OK)
        FUZZ_CHECK(room == text.size && memcmp(plain, text.data, room) == 0);
    else
        for (size_t i = 0; i < room; i++)
            FUZZ_CHECK(plain[i] == BEFORE || plain[i] == WIPED);
    free(plain);
    return status == FQ_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const parties   *p = the_parties();
    const fq_binding binding = {.run = {1}, .round = 2, .model = {3}, .client = 4};
    if (size < 2)
        return 0;
    if ((data[0] & SEAL_FIRST) == 0) {
        FUZZ_CHECK(!opens(p, (fq_cbytes){data + 1, size - 1}, (fq_cbytes){0}));
        return 0;
    }
    fq_cbytes text = {data + 2, size - 2};
    fq_buffer sealed = {0};
    FUZZ_CHECK(fq_seal(p->client, fq_keypair_public(p->server), &binding, text, &sealed) == FQ_OK);
    if (data[1] != 0)
        sealed.data[data[1] * sealed.size / 256] ^= data[1];
    FUZZ_CHECK(opens(p, (fq_cbytes){sealed.data, sealed.size}, text) == (data[1] == 0));
    fq_buffer_fini(&sealed);
    return 0;
}

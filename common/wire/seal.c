#include "wire/seal.h"

#include <sodium.h>
#include <string.h>

_Static_assert(FQ_SEAL_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");
_Static_assert(FQ_SEAL_OVERHEAD == FQ_SEAL_NONCE_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES,
               "overhead");

static const char CONTEXT[] = "fedq sealed update 1";
enum { BINDING_BYTES = 1 + FQ_RUN_ID_BYTES + 4 + FQ_DIGEST_BYTES + 8 };

void fq_digest(fq_cbytes bytes, unsigned char out[FQ_DIGEST_BYTES]) {
    crypto_generichash(out, FQ_DIGEST_BYTES, bytes.data, bytes.size, NULL, 0);
}

void fq_random_bytes(void *out, size_t size) {
    randombytes_buf(out, size);
}

/* What is authenticated beside the text: version, run, round, model, client. */
static void write_binding(const fq_binding *binding, unsigned char out[BINDING_BYTES]) {
    unsigned char *at = out;
    *at++ = 1;
    memcpy(at, binding->run, FQ_RUN_ID_BYTES);
    at += FQ_RUN_ID_BYTES;
    for (int i = 0; i < 4; i++)
        *at++ = (unsigned char)(binding->round >> 8 * i);
    memcpy(at, binding->model, FQ_DIGEST_BYTES);
    at += FQ_DIGEST_BYTES;
    for (int i = 0; i < 8; i++)
        *at++ = (unsigned char)(binding->client >> 8 * i);
}

/* key = BLAKE2b(context || run || sender || receiver, keyed with the secret that both sides share).
 * The secret is the same in both directions, the key is not: nothing can be sent back to its
 * sender. */
static fq_status agree(const fq_keypair *mine, const fq_public_key *theirs, bool sending,
                       const unsigned char run[FQ_RUN_ID_BYTES],
                       unsigned char       key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES]) {
    unsigned char            shared[crypto_box_BEFORENMBYTES];
    crypto_generichash_state hash;
    const fq_public_key     *sender = sending ? fq_keypair_public(mine) : theirs;
    const fq_public_key     *receiver = sending ? theirs : fq_keypair_public(mine);
    if (sodium_init() < 0 ||
        crypto_box_beforenm(shared, theirs->bytes, fq_keypair_secret(mine)) != 0)
        return fq_fail(FQ_EINVAL, "the other side's public key is not a proper one");
    crypto_generichash_init(&hash, shared, sizeof shared,
                            crypto_aead_xchacha20poly1305_ietf_KEYBYTES);
    crypto_generichash_update(&hash, (const unsigned char *)CONTEXT, sizeof CONTEXT - 1);
    crypto_generichash_update(&hash, run, FQ_RUN_ID_BYTES);
    crypto_generichash_update(&hash, sender->bytes, FQ_KEY_BYTES);
    crypto_generichash_update(&hash, receiver->bytes, FQ_KEY_BYTES);
    crypto_generichash_final(&hash, key, crypto_aead_xchacha20poly1305_ietf_KEYBYTES);
    sodium_memzero(shared, sizeof shared);
    sodium_memzero(&hash, sizeof hash);
    return FQ_OK;
}

fq_status fq_seal(const fq_keypair *from, const fq_public_key *to, const fq_binding *binding,
                  fq_cbytes plain, fq_buffer *out) {
    unsigned char key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES], bound[BINDING_BYTES];
    FQ_TRY(agree(from, to, true, binding->run, key));
    write_binding(binding, bound);
    unsigned char *at = fq_buffer_grow(out, plain.size + FQ_SEAL_OVERHEAD);
    if (at != NULL) {
        randombytes_buf(at, FQ_SEAL_NONCE_BYTES);
        crypto_aead_xchacha20poly1305_ietf_encrypt(at + FQ_SEAL_NONCE_BYTES, NULL, plain.data,
                                                   plain.size, bound, sizeof bound, NULL, at, key);
    }
    sodium_memzero(key, sizeof key);
    if (at == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to seal %zu bytes", plain.size);
    return FQ_OK;
}

fq_status fq_unseal(const fq_keypair *to, const fq_public_key *from, const fq_binding *binding,
                    fq_cbytes sealed, unsigned char *plain) {
    unsigned char key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES], bound[BINDING_BYTES];
    if (sealed.size < FQ_SEAL_OVERHEAD || agree(to, from, false, binding->run, key) != FQ_OK)
        return fq_fail(FQ_EAUTH, "a sealed update does not open");
    write_binding(binding, bound);
    int failed = crypto_aead_xchacha20poly1305_ietf_decrypt(
        plain, NULL, NULL, sealed.data + FQ_SEAL_NONCE_BYTES, sealed.size - FQ_SEAL_NONCE_BYTES,
        bound, sizeof bound, sealed.data, key);
    sodium_memzero(key, sizeof key);
    return failed == 0 ? FQ_OK : fq_fail(FQ_EAUTH, "a sealed update does not open");
}

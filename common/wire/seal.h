/* Authenticated encryption of one update, from the client's training code to the aggregator:
 * XChaCha20-Poly1305 under a key that the two key pairs agree on (X25519), bound to run, round,
 * model and client. What was sealed for another round, another model, by or for another peer does
 * not open.
 *
 *   sealed = nonce [24] || ciphertext [n] || tag [16]
 */
#ifndef FQ_WIRE_SEAL_H
#define FQ_WIRE_SEAL_H

#include "base/bytes.h"
#include "wire/keys.h"

enum {
    FQ_RUN_ID_BYTES = 16,
    FQ_DIGEST_BYTES = 16,
    FQ_SEAL_NONCE_BYTES = 24,
    FQ_SEAL_OVERHEAD = FQ_SEAL_NONCE_BYTES + 16,
};

/* What a sealed update belongs to; all of it is authenticated. */
typedef struct fq_binding {
    unsigned char run[FQ_RUN_ID_BYTES];
    uint32_t      round;
    unsigned char model[FQ_DIGEST_BYTES]; /* fq_digest of the model message that it trained on */
    uint64_t      client;
} fq_binding;

/* BLAKE2b of a message. */
void fq_digest(fq_cbytes bytes, unsigned char out[FQ_DIGEST_BYTES]);
/* Random bytes that nobody can guess or repeat. */
void fq_random_bytes(void *out, size_t size);

/* Append to `out`. FQ_ENOMEM; FQ_EINVAL: `to` is no proper key. */
FQ_MUST_CHECK fq_status fq_seal(const fq_keypair *from, const fq_public_key *to,
                                const fq_binding *binding, fq_cbytes plain, fq_buffer *out);
/* `plain` has room for sealed.size - FQ_SEAL_OVERHEAD bytes. FQ_EAUTH, without a reason, for
 * whatever does not open; `plain` then holds nothing of the text. */
FQ_MUST_CHECK fq_status fq_unseal(const fq_keypair *to, const fq_public_key *from,
                                  const fq_binding *binding, fq_cbytes sealed,
                                  unsigned char *plain);

#endif

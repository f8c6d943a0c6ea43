/* Key pairs (Curve25519), their files and their text form. One pair serves both layers: the
 * connection (CurveZMQ) and the sealing of updates (wire/seal.h).
 *
 * The secret half lies in guarded, locked memory and is wiped when the pair is destroyed. Keys come
 * from libsodium's generator only, never from the streams of base/rng.h.
 */
#ifndef FQ_WIRE_KEYS_H
#define FQ_WIRE_KEYS_H

#include "base/status.h"

#include <stdbool.h>

enum {
    FQ_KEY_BYTES = 32,
    FQ_KEY_TEXT = 2 * FQ_KEY_BYTES + 1, /* lower-case hex and NUL: safe in shells and YAML */
};

typedef struct fq_public_key {
    unsigned char bytes[FQ_KEY_BYTES];
} fq_public_key;

bool fq_public_key_equal(const fq_public_key *a, const fq_public_key *b);
void fq_public_key_text(const fq_public_key *key, char out[FQ_KEY_TEXT]);
/* FQ_EINVAL says what is wrong with the text. */
FQ_MUST_CHECK fq_status fq_public_key_parse(const char *text, fq_public_key *out);
/* FQ_EINVAL: a point of low order, zero for one, to which everybody has the secret. */
FQ_MUST_CHECK fq_status fq_public_key_check(const fq_public_key *key);

typedef struct fq_keypair fq_keypair;

FQ_MUST_CHECK fq_status fq_keypair_create(fq_keypair **out);
void                    fq_keypair_destroy(fq_keypair **pair); /* also of NULL */
const fq_public_key    *fq_keypair_public(const fq_keypair *pair);
/* Borrowed, valid as long as the pair; for the doors of ZeroMQ and libsodium only. */
const unsigned char *fq_keypair_secret(const fq_keypair *pair); /* [FQ_KEY_BYTES] */

/* Is its memory kept out of swap space? Not if the limit on locked memory does not allow it. */
bool fq_keypair_is_locked(const fq_keypair *pair);

/* A new file of mode 0600, durable. FQ_ESTATE: there is one already, which is left as it is. */
FQ_MUST_CHECK fq_status fq_keypair_save(const fq_keypair *pair, const char *path);
/* FQ_EAUTH: others than the owner can read or write the file, or it is not ours; FQ_EPROTO: it is
 * not a key file, or its halves do not belong together. */
FQ_MUST_CHECK fq_status fq_keypair_load(fq_keypair **out, const char *path);

#endif

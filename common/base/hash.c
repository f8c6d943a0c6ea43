#include "base/hash.h"

#include <sodium.h>

void fq_sha256(fq_cbytes bytes, unsigned char hash[FQ_HASH_BYTES]) {
    crypto_hash_sha256(hash, bytes.data, bytes.size);
}

void fq_hash_text(const unsigned char hash[FQ_HASH_BYTES], char text[FQ_HASH_TEXT]) {
    sodium_bin2hex(text, FQ_HASH_TEXT, hash, FQ_HASH_BYTES);
}

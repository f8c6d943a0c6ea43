/* SHA-256 through libsodium: names models and settings. For storage accidents fq_crc32 is enough.
 */
#ifndef FQ_BASE_HASH_H
#define FQ_BASE_HASH_H

#include "base/bytes.h"

enum { FQ_HASH_BYTES = 32, FQ_HASH_TEXT = 2 * FQ_HASH_BYTES + 1 };

void fq_sha256(fq_cbytes bytes, unsigned char hash[FQ_HASH_BYTES]);
void fq_hash_text(const unsigned char hash[FQ_HASH_BYTES], char text[FQ_HASH_TEXT]);

#endif

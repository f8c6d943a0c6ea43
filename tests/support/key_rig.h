/* Two key pairs that are the same on every run, for golden bytes and seeds. */
#ifndef FQ_TESTS_KEY_RIG_H
#define FQ_TESTS_KEY_RIG_H

#include "wire/keys.h"

enum { FQ_TEST_KEY_FILE = 75 }; /* bytes */

/* Of fq_test_keypair(which); made by another implementation of X25519. */
extern const unsigned char fq_test_public[2][FQ_KEY_BYTES];

/* The bytes of a key file with these halves, its checksum right. */
void fq_test_key_file(const unsigned char secret[FQ_KEY_BYTES],
                      const unsigned char public_key[FQ_KEY_BYTES],
                      unsigned char       out[FQ_TEST_KEY_FILE]);
/* which 0: secret bytes 1, 2, ... 32; 1: 101, 102, ... 132. */
void        fq_test_secret(int which, unsigned char out[FQ_KEY_BYTES]);
fq_keypair *fq_test_keypair(int which);

#endif

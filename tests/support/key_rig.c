#include "key_rig.h"

#include "base/file.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const unsigned char fq_test_public[2][FQ_KEY_BYTES] = {
    {0x07, 0xa3, 0x7c, 0xbc, 0x14, 0x20, 0x93, 0xc8, 0xb7, 0x55, 0xdc,
     0x1b, 0x10, 0xe8, 0x6c, 0xb4, 0x26, 0x37, 0x4a, 0xd1, 0x6a, 0xa8,
     0x53, 0xed, 0x0b, 0xdf, 0xc0, 0xb2, 0xb8, 0x6d, 0x1c, 0x7c},
    {0x57, 0x14, 0x76, 0x9d, 0x11, 0x6b, 0xf7, 0x64, 0x36, 0xae, 0x74,
     0xbc, 0x79, 0x3d, 0x2c, 0x30, 0xad, 0x19, 0x03, 0xc5, 0x9a, 0xc5,
     0x27, 0x38, 0x05, 0xc7, 0xe2, 0x69, 0x8b, 0x41, 0x0c, 0x36},
};

void fq_test_key_file(const unsigned char secret[FQ_KEY_BYTES],
                      const unsigned char public_key[FQ_KEY_BYTES],
                      unsigned char       out[FQ_TEST_KEY_FILE]) {
    static const unsigned char magic[7] = {0x46, 0x51, 0x4b, 0x45, 0x59, 0x31, 0x0a};
    memcpy(out, magic, sizeof magic);
    memcpy(out + 7, secret, FQ_KEY_BYTES);
    memcpy(out + 7 + FQ_KEY_BYTES, public_key, FQ_KEY_BYTES);
    uint32_t crc = fq_crc32((fq_cbytes){out, FQ_TEST_KEY_FILE - 4});
    for (int i = 0; i < 4; i++)
        out[FQ_TEST_KEY_FILE - 4 + i] = (unsigned char)(crc >> 8 * i);
}

void fq_test_secret(int which, unsigned char out[FQ_KEY_BYTES]) {
    for (int i = 0; i < FQ_KEY_BYTES; i++)
        out[i] = (unsigned char)(100 * which + 1 + i);
}

fq_keypair *fq_test_keypair(int which) {
    unsigned char secret[FQ_KEY_BYTES], file[FQ_TEST_KEY_FILE];
    const char   *path = fq_test_path(which == 0 ? "first.key" : "second.key");
    fq_keypair   *pair;
    fq_test_secret(which, secret);
    fq_test_key_file(secret, fq_test_public[which], file);
    fq_test_write(path, file, sizeof file);
    if (chmod(path, 0600) != 0 || fq_keypair_load(&pair, path) != FQ_OK) {
        fprintf(stderr, "%s: %s\n", path, fq_status_text());
        abort();
    }
    return pair;
}

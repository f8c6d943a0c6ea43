/* A key file, and the text of a public key.
 *
 * Input: flags (bit 0: text of a public key; bit 1: the checksum of the file goes in as it is, else
 * it is put right first), then the bytes. */
#include "base/file.h"
#include "fuzz.h"
#include "suite.h"
#include "wire/keys.h"

#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT = 1, CHECKSUM_AS_IS = 2, FILE_BYTES = 7 + 2 * FQ_KEY_BYTES + 4 };

static void check_text(const uint8_t *data, size_t size) {
    char         *text = malloc(size + 1), back[FQ_KEY_TEXT];
    fq_public_key key;
    FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    if (fq_public_key_parse(text, &key) == FQ_OK) {
        fq_public_key_text(&key, back);
        FUZZ_CHECK(strlen(text) == FQ_KEY_TEXT - 1);
        for (size_t i = 0; i < FQ_KEY_TEXT - 1; i++)
            FUZZ_CHECK(tolower((unsigned char)text[i]) == back[i]);
    } else {
        FUZZ_CHECK(fq_status_text()[0] != '\0');
    }
    free(text);
}

/* A pair that was read is what the file says. */
static void check_file(const uint8_t *data, size_t size, bool as_is) {
    const char    *path = fq_test_path("fuzz.key");
    unsigned char *bytes = malloc(size > 0 ? size : 1);
    fq_keypair    *pair;
    FUZZ_CHECK(bytes != NULL);
    memcpy(bytes, data, size);
    if (size >= 4 && !as_is) {
        uint32_t crc = fq_crc32((fq_cbytes){bytes, size - 4});
        for (size_t i = 0; i < 4; i++)
            bytes[size - 4 + i] = (unsigned char)(crc >> (8 * i));
    }
    remove(path); /* a new file: some file systems write one that is cut to disk at once */
    fq_test_write(path, bytes, size);
    FUZZ_CHECK(chmod(path, 0600) == 0);
    fq_status status = fq_keypair_load(&pair, path);
    FUZZ_CHECK((status == FQ_OK) == (pair != NULL));
    if (status == FQ_OK) {
        FUZZ_CHECK(size == FILE_BYTES && memcmp(bytes, "FQKEY1\n", 7) == 0);
        FUZZ_CHECK(memcmp(bytes + 7, fq_keypair_secret(pair), FQ_KEY_BYTES) == 0);
        FUZZ_CHECK(memcmp(bytes + 7 + FQ_KEY_BYTES, fq_keypair_public(pair), FQ_KEY_BYTES) == 0);
    } else {
        FUZZ_CHECK(status == FQ_EPROTO && fq_status_text()[0] != '\0');
    }
    fq_keypair_destroy(&pair);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    if ((data[0] & TEXT) != 0)
        check_text(data + 1, size - 1);
    else
        check_file(data + 1, size - 1, (data[0] & CHECKSUM_AS_IS) != 0);
    return 0;
}

#include "base/hash.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static bool hash_is(const void *data, size_t size, const char *expected) {
    unsigned char hash[FQ_HASH_BYTES];
    char          text[FQ_HASH_TEXT];
    fq_sha256((fq_cbytes){data, size}, hash);
    fq_hash_text(hash, text);
    return strcmp(text, expected) == 0;
}

/* FIPS 180-2, appendix B, and the empty message. */
static void test_known_answers(void) {
    CU_ASSERT_TRUE(
        hash_is("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    CU_ASSERT_TRUE(
        hash_is("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    CU_ASSERT_TRUE(hash_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
    char *a = malloc(1000000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    memset(a, 'a', 1000000);
    CU_ASSERT_TRUE(
        hash_is(a, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
    free(a);
}

int main(void) {
    static const fq_case cases[] = {{"SHA-256 gives the published answers", test_known_answers},
                                    {NULL, NULL}};
    return fq_run_suite("hash", cases);
}

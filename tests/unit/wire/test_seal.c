#include "key_rig.h"
#include "suite.h"
#include "wire/seal.h"

#include <stdlib.h>
#include <string.h>

static const char TEXT[] = "an update";
enum { TEXT_BYTES = sizeof TEXT - 1, SEALED = TEXT_BYTES + FQ_SEAL_OVERHEAD };

/* Nonce 0x40, 0x41, ...; sealed by fq_test_keypair(0) for fq_test_keypair(1), by another
 * implementation of all the primitives. */
static const unsigned char golden[SEALED] = {
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c,
    0x4d, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x72, 0x75,
    0x23, 0xa5, 0x45, 0x9f, 0x49, 0x45, 0x3e, 0xbf, 0x63, 0xdb, 0xa1, 0x8d, 0xb7,
    0xf8, 0xfc, 0x97, 0x38, 0x2f, 0x2c, 0xbb, 0xce, 0x16, 0x30,
};

static fq_keypair *pairs[2];

static fq_binding binding_of_golden(void) {
    fq_binding binding = {.round = 7, .client = UINT64_C(0x1122334455667788)};
    for (int i = 0; i < 16; i++) {
        binding.run[i] = (unsigned char)(0x10 + i);
        binding.model[i] = (unsigned char)(0x20 + i);
    }
    return binding;
}

/* Does not open, and says nothing of the text or of why. */
static void refuse(const fq_keypair *to, const fq_public_key *from, const fq_binding *binding,
                   const unsigned char *sealed, size_t size) {
    unsigned char plain[SEALED], *copy = malloc(size > 0 ? size : 1);
    memset(plain, 0xee, sizeof plain);
    memcpy(copy, sealed, size); /* ends where its block ends */
    CU_ASSERT_EQUAL(fq_unseal(to, from, binding, (fq_cbytes){copy, size}, plain), FQ_EAUTH);
    CU_ASSERT_STRING_EQUAL(fq_status_text(), "a sealed update does not open");
    size_t most = size < FQ_SEAL_OVERHEAD ? 0 : size - FQ_SEAL_OVERHEAD;
    for (size_t i = 0; i < sizeof plain; i++) /* as before, or wiped */
        CU_ASSERT_TRUE(plain[i] == 0xee || (i < most && plain[i] == 0));
    free(copy);
}

static void test_golden(void) {
    fq_binding    binding = binding_of_golden();
    unsigned char plain[TEXT_BYTES];
    FQ_ASSERT_OK(fq_unseal(pairs[1], fq_keypair_public(pairs[0]), &binding,
                           (fq_cbytes){golden, SEALED}, plain));
    CU_ASSERT_EQUAL(memcmp(plain, TEXT, TEXT_BYTES), 0);
}

static void test_round_trip(void) {
    static const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
    fq_binding          binding = binding_of_golden();
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        fq_buffer      first = {0}, second = {0};
        unsigned char *text = malloc(sizes[s] + 1), *plain = malloc(sizes[s] + 1);
        fq_random_bytes(text, sizes[s]);
        fq_put_bytes(&first, "before", 6);
        fq_cbytes given = {text, sizes[s]};
        FQ_ASSERT_OK(fq_seal(pairs[0], fq_keypair_public(pairs[1]), &binding, given, &first));
        FQ_ASSERT_OK(fq_seal(pairs[0], fq_keypair_public(pairs[1]), &binding, given, &second));
        CU_ASSERT_EQUAL_FATAL(first.size, 6 + sizes[s] + FQ_SEAL_OVERHEAD);
        CU_ASSERT_EQUAL(memcmp(first.data, "before", 6), 0);
        /* A nonce of its own each time, so nothing of it repeats. */
        CU_ASSERT_NOT_EQUAL(memcmp(first.data + 6, second.data, FQ_SEAL_NONCE_BYTES), 0);
        CU_ASSERT_NOT_EQUAL(memcmp(first.data + 6 + FQ_SEAL_NONCE_BYTES,
                                   second.data + FQ_SEAL_NONCE_BYTES, sizes[s] + 16),
                            0);
        fq_cbytes sealed = {first.data + 6, first.size - 6};
        FQ_ASSERT_OK(fq_unseal(pairs[1], fq_keypair_public(pairs[0]), &binding, sealed, plain));
        CU_ASSERT_EQUAL(memcmp(plain, text, sizes[s]), 0);
        free(text);
        free(plain);
        fq_buffer_fini(&first);
        fq_buffer_fini(&second);
    }
}

static void test_every_bit_of_the_binding(void) {
    fq_binding           good = binding_of_golden();
    const fq_public_key *from = fq_keypair_public(pairs[0]);
    for (unsigned bit = 0; bit < 8 * 16; bit++) {
        fq_binding bad = good;
        bad.run[bit / 8] ^= (unsigned char)(1u << bit % 8);
        refuse(pairs[1], from, &bad, golden, SEALED);
        bad = good;
        bad.model[bit / 8] ^= (unsigned char)(1u << bit % 8);
        refuse(pairs[1], from, &bad, golden, SEALED);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        fq_binding bad = good;
        bad.client ^= UINT64_C(1) << bit;
        refuse(pairs[1], from, &bad, golden, SEALED);
        if (bit < 32) {
            bad = good;
            bad.round ^= UINT32_C(1) << bit;
            refuse(pairs[1], from, &bad, golden, SEALED);
        }
    }
}

static void test_damage(void) {
    fq_binding           binding = binding_of_golden();
    const fq_public_key *from = fq_keypair_public(pairs[0]);
    unsigned char        bytes[SEALED + 1] = {0};
    memcpy(bytes, golden, SEALED);
    for (size_t size = 0; size < SEALED; size++)
        refuse(pairs[1], from, &binding, bytes, size);
    refuse(pairs[1], from, &binding, bytes, SEALED + 1);
    for (unsigned bit = 0; bit < 8 * SEALED; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        refuse(pairs[1], from, &binding, bytes, SEALED);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

static void test_other_keys(void) {
    fq_binding  binding = binding_of_golden();
    fq_keypair *third;
    FQ_ASSERT_OK(fq_keypair_create(&third));
    refuse(third, fq_keypair_public(pairs[0]), &binding, golden, SEALED);
    refuse(pairs[1], fq_keypair_public(third), &binding, golden, SEALED);
    /* Both know the shared secret, but it was not sealed in this direction. */
    refuse(pairs[0], fq_keypair_public(pairs[1]), &binding, golden, SEALED);
    fq_keypair_destroy(&third);
}

/* Points of small order (RFC 7748, section 6.1): whatever the secret, they agree on zero. */
static void test_improper_keys(void) {
    static const fq_public_key improper[] = {
        {{0}},
        {{1}},
        {{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
          0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
          0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00}},
        {{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
          0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
          0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57}},
        {{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}},
        {{0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}},
    };
    fq_binding binding = binding_of_golden();
    for (size_t i = 0; i < sizeof improper / sizeof *improper; i++) {
        fq_buffer out = {0};
        fq_cbytes text = {(const unsigned char *)TEXT, TEXT_BYTES};
        FQ_ASSERT_FAILS(fq_seal(pairs[0], &improper[i], &binding, text, &out), FQ_EINVAL,
                        "public key");
        CU_ASSERT_EQUAL(out.size, 0);
        refuse(pairs[1], &improper[i], &binding, golden, SEALED);
        fq_buffer_fini(&out);
    }
}

/* BLAKE2b-128 of "abc", by another implementation. */
static void test_digest(void) {
    static const unsigned char expected[FQ_DIGEST_BYTES] = {0xcf, 0x4a, 0xb7, 0x91, 0xc6, 0x2b,
                                                            0x8d, 0x2b, 0x21, 0x09, 0xc9, 0x02,
                                                            0x75, 0x28, 0x78, 0x16};
    unsigned char              digest[FQ_DIGEST_BYTES];
    fq_digest((fq_cbytes){(const unsigned char *)"abc", 3}, digest);
    CU_ASSERT_EQUAL(memcmp(digest, expected, sizeof digest), 0);
}

int main(void) {
    static const fq_case cases[] = {
        {"opens what another implementation sealed", test_golden},
        {"round trip", test_round_trip},
        {"every bit of the binding counts", test_every_bit_of_the_binding},
        {"every bit of the sealed bytes counts", test_damage},
        {"other keys, and the wrong direction", test_other_keys},
        {"keys of small order", test_improper_keys},
        {"digest", test_digest},
        {NULL, NULL},
    };
    pairs[0] = fq_test_keypair(0);
    pairs[1] = fq_test_keypair(1);
    int result = fq_run_suite("seal", cases);
    fq_keypair_destroy(&pairs[0]);
    fq_keypair_destroy(&pairs[1]);
    return result;
}

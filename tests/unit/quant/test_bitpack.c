#include "base/rng.h"
#include "quant/quantizer.h"
#include "suite.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 70 };

/* The meaning of the format: bit by bit. */
static void pack_slowly(const uint8_t *codes, size_t n, unsigned bits, unsigned char *out) {
    memset(out, 0, fq_packed_bytes(n, bits));
    for (size_t i = 0; i < n * bits; i++)
        out[i / 8] = (unsigned char)(out[i / 8] | (codes[i / bits] >> i % bits & 1) << i % 8);
}

static void test_every_width_and_length(void) {
    fq_rng rng = fq_rng_stream(1, FQ_RNG_DATA, 0, 0, 0, 0);
    for (unsigned bits = 1; bits <= 8; bits++)
        for (size_t n = 0; n <= MOST; n++) {
            uint8_t       codes[MOST], back[MOST + 1];
            unsigned char expected[MOST], packed[MOST + 1];
            size_t        bytes = fq_packed_bytes(n, bits);
            for (size_t i = 0; i < n; i++)
                codes[i] = (uint8_t)fq_rng_below(&rng, 1U << bits);
            packed[bytes] = back[n] = 0xa5; /* not ours */
            pack_slowly(codes, n, bits, expected);
            fq_pack_bits(codes, n, bits, packed);
            fq_unpack_bits(packed, n, bits, back);
            CU_ASSERT_EQUAL(memcmp(packed, expected, bytes), 0);
            CU_ASSERT_EQUAL(memcmp(back, codes, n), 0);
            CU_ASSERT(packed[bytes] == 0xa5 && back[n] == 0xa5);
        }
}

static void test_golden(void) {
    static const uint8_t       codes[9] = {1, 2, 3, 4, 5, 6, 7, 0, 5};
    static const unsigned char expected[4] = {0xd1, 0x58, 0x1f,
                                              0x05}; /* 1 + 2*8 + 3*64 = 0xd1 ... */
    unsigned char              out[4];
    fq_pack_bits(codes, 9, 3, out);
    CU_ASSERT_EQUAL(fq_packed_bytes(9, 3), 4);
    CU_ASSERT_EQUAL(memcmp(out, expected, sizeof out), 0);
}

static void test_sizes(void) {
    CU_ASSERT_EQUAL(fq_packed_bytes(0, 3), 0);
    CU_ASSERT_EQUAL(fq_packed_bytes(61706, 4), 30853);
    CU_ASSERT_EQUAL(fq_packed_bytes(61706, 1), 7714);
    CU_ASSERT_EQUAL(fq_packed_bytes(SIZE_MAX, 8), 0);
    CU_ASSERT_EQUAL(fq_packed_bytes(SIZE_MAX, 1), 0);
    CU_ASSERT_EQUAL(fq_packed_bytes(SIZE_MAX / 8, 8), SIZE_MAX / 8);
}

int main(void) {
    static const fq_case cases[] = {
        {"every width and length, against bit by bit", test_every_width_and_length},
        {"golden bytes", test_golden},
        {"sizes", test_sizes},
        {NULL, NULL},
    };
    return fq_run_suite("bitpack", cases);
}

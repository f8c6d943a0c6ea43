#include "base/bytes.h"
#include "quant/quantizer.h"

#include <assert.h>
#include <string.h>

size_t fq_packed_bytes(size_t n, unsigned bits) {
    size_t total;
    if (!fq_size_mul(n, bits, &total) || !fq_size_add(total, 7, &total))
        return 0;
    return total / 8;
}

static uint64_t load_word(const unsigned char *in) {
    uint64_t word = 0;
    for (unsigned i = 0; i < 8; i++)
        word |= (uint64_t)in[i] << (8 * i);
    return word;
}

static void store_word(uint64_t word, unsigned char *out) {
    for (unsigned i = 0; i < 8; i++)
        out[i] = (unsigned char)(word >> (8 * i));
}

/* Eight codes in eight bytes -> eight codes in the low 8 * bits bits. Three times, each pair of
 * lanes closes the gap between its two halves; the lanes double: 8, 16, 32 bits. */
static uint64_t squeeze(uint64_t word, unsigned bits) {
    word = (word & 0x00ff00ff00ff00ffU) | (word & 0xff00ff00ff00ff00U) >> (8 - bits);
    word = (word & 0x0000ffff0000ffffU) | (word & 0xffff0000ffff0000U) >> (16 - 2 * bits);
    return (word & 0x00000000ffffffffU) | (word & 0xffffffff00000000U) >> (32 - 4 * bits);
}

/* The inverse: eight codes in the low 8 * bits bits -> one in each byte. Bits above them are
 * dropped. */
static uint64_t spread(uint64_t word, unsigned bits) {
    uint64_t low = ((uint64_t)1 << 4 * bits) - 1, high = low << 4 * bits;
    word = (word & low) | (word & high) << (32 - 4 * bits);
    low = (((uint64_t)1 << 2 * bits) - 1) * 0x0000000100000001U;
    high = low << 2 * bits;
    word = (word & low) | (word & high) << (16 - 2 * bits);
    low = (((uint64_t)1 << bits) - 1) * 0x0001000100010001U;
    high = low << bits;
    return (word & low) | (word & high) << (8 - bits);
}

void fq_pack_bits(const uint8_t *codes, size_t n, unsigned bits, unsigned char *out) {
    assert(bits >= 1 && bits <= 8);
    unsigned char *end = out + fq_packed_bytes(n, bits);
    size_t         i = 0;
    /* Whole words are stored as long as they fit; the next word overwrites their empty upper bytes.
     */
    for (; n - i >= 8 && end - out >= 8; i += 8, out += bits)
        store_word(squeeze(load_word(codes + i), bits), out);
    for (; i < n; i += 8, out += bits) {
        unsigned char eight[8] = {0};
        memcpy(eight, codes + i, n - i < 8 ? n - i : 8);
        store_word(squeeze(load_word(eight), bits), eight);
        memcpy(out, eight, n - i < 8 ? (size_t)(end - out) : bits);
    }
}

void fq_unpack_bits(const unsigned char *in, size_t n, unsigned bits, uint8_t *codes) {
    assert(bits >= 1 && bits <= 8);
    const unsigned char *end = in + fq_packed_bytes(n, bits);
    size_t               i = 0;
    for (; n - i >= 8 && end - in >= 8; i += 8, in += bits)
        store_word(spread(load_word(in), bits), codes + i);
    for (; i < n; i += 8, in += bits) {
        unsigned char eight[8] = {0};
        memcpy(eight, in, n - i < 8 ? (size_t)(end - in) : bits);
        store_word(spread(load_word(eight), bits), eight);
        memcpy(codes + i, eight, n - i < 8 ? n - i : 8);
    }
}

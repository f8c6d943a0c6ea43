/* A question whether a key may connect.
 *
 * Input: frames, each one byte of size and so many bytes; the last may be cut short. */
#include "fuzz.h"
#include "wire/zap.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fq_cbytes     frames[FQ_ZAP_FRAMES] = {{0}};
    fq_public_key key;
    char          address[FQ_ADDRESS_BYTES];
    size_t        n = 0;
    for (size_t at = 0; at < size; n++) {
        size_t left = size - at - 1, bytes = data[at] < left ? data[at] : left;
        if (n < FQ_ZAP_FRAMES)
            frames[n] = (fq_cbytes){data + at + 1, bytes};
        at += 1 + bytes;
    }
    bool good = n == FQ_ZAP_FRAMES && frames[5].size == 5 &&
                memcmp(frames[5].data, "CURVE", 5) == 0 && frames[6].size == FQ_KEY_BYTES;
    FUZZ_CHECK(fq_zap_read(frames, n, &key, address) == good);
    if (!good)
        return 0;
    FUZZ_CHECK(memcmp(key.bytes, frames[6].data, FQ_KEY_BYTES) == 0);
    FUZZ_CHECK(memchr(address, '\0', sizeof address) != NULL);
    for (const char *at = address; *at != '\0'; at++)
        FUZZ_CHECK(*at > ' ' && *at <= '~');
    return 0;
}

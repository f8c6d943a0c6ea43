/* IDX. Input: rank (1 byte, of which 1..3 are used), then the file. */
#include "data/data_impl.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    unsigned        rank = 1 + data[0] % 3;
    fq_idx          idx;
    const fq_cbytes file = {data + 1, size - 1};
    if (fq_idx_parse("fuzz", file, rank, &idx) != FQ_OK)
        return 0;
    size_t product = 1;
    for (unsigned i = 0; i < rank; i++) {
        FUZZ_CHECK(idx.dims[i] > 0);
        FUZZ_CHECK(fq_size_mul(product, idx.dims[i], &product));
    }
    FUZZ_CHECK(idx.data == file.data + 4 + 4 * (size_t)rank);
    FUZZ_CHECK(product == file.size - 4 - 4 * (size_t)rank);
    return 0;
}

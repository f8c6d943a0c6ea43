/* NumPy arrays. Input: the file; its elements are read as whole numbers, and as floats. */
#include "data/data_impl.h"
#include "fuzz.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fq_npy array;
    if (fq_npy_parse("fuzz", (fq_cbytes){data, size}, &array) != FQ_OK)
        return 0;
    FUZZ_CHECK(array.rank >= 1 && array.rank <= FQ_NPY_RANK);
    size_t n = 1;
    for (unsigned i = 0; i < array.rank; i++)
        FUZZ_CHECK(fq_size_mul(n, array.dims[i], &n));
    FUZZ_CHECK(n > 0 && array.data + n * array.size == data + size);
    for (size_t i = 0; i < n; i++) {
        uint32_t value;
        if (fq_npy_integer("fuzz", &array, i, 1000, &value) == FQ_OK)
            FUZZ_CHECK(value < 1000);
    }
    if (array.type == FQ_NPY_F32 || array.type == FQ_NPY_F64) {
        float *values = malloc(n * sizeof *values);
        FUZZ_CHECK(values != NULL);
        if (fq_npy_floats("fuzz", &array, n, values) == FQ_OK)
            for (size_t i = 0; i < n; i++)
                FUZZ_CHECK(isfinite(values[i]));
        free(values);
    }
    return 0;
}

/* CIFAR's records. Input: label bytes (1 byte, of which 1..2 are used), then the file. */
#include "data/data_impl.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    const fq_cifar_labels labels = {.bytes = 1 + data[0] % 2,
                                    .classes = data[0] % 2 == 0 ? 10 : 100};
    const fq_cbytes       file = {data + 1, size - 1};
    size_t                n;
    if (fq_cifar_count("fuzz", file, labels, &n) != FQ_OK)
        return 0;
    FUZZ_CHECK(n > 0 && n <= file.size);
    /* Exactly as large as said, so that a sanitizer sees one byte too many. */
    uint8_t  *pixels = malloc(n * 3 * 32 * 32);
    uint16_t *numbers = malloc(n * sizeof *numbers);
    FUZZ_CHECK(pixels != NULL && numbers != NULL);
    if (fq_cifar_parse("fuzz", file, labels, pixels, numbers) == FQ_OK)
        for (size_t i = 0; i < n; i++)
            FUZZ_CHECK(numbers[i] < labels.classes);
    free(pixels);
    free(numbers);
    return 0;
}

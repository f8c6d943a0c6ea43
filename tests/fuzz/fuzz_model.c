/* model.fq from outside: any bytes are refused or give a model whose file has the same bytes.
 *
 * The checksum would refuse nearly every input, so the last four bytes are put right first; an
 * input whose first byte is not the magic's goes in as it is. */
#include "base/file.h"
#include "fuzz.h"
#include "model/modelfile.h"

#include <stdlib.h>
#include <string.h>

static void check_round_trip(fq_cbytes bytes, const fq_modelfile *file, const float *w) {
    fq_buffer again = {0};
    size_t    size = fq_model_size(file->model);
    if (file->quantized)
        FUZZ_CHECK(fq_modelfile_encode_quantized(file->model, w, &file->quantization, &file->from,
                                                 &again) == FQ_OK);
    else
        FUZZ_CHECK(fq_modelfile_encode(file->model, w, &file->from, &again) == FQ_OK);
    /* Only names may differ: layers without one are written with the name that they got. */
    fq_model     *copy;
    float        *values;
    fq_provenance same;
    FUZZ_CHECK(fq_modelfile_decode((fq_cbytes){again.data, again.size}, &copy, &values, &same) ==
               FQ_OK);
    FUZZ_CHECK(fq_model_size(copy) == size);
    FUZZ_CHECK(memcmp(values, w, size * sizeof *w) == 0);
    FUZZ_CHECK(memcmp(&same, &file->from, sizeof same) == 0);
    FUZZ_CHECK(memcmp(fq_model_network(copy), fq_model_network(file->model), sizeof(fq_network)) ==
               0);
    FUZZ_CHECK(again.size >= bytes.size);
    fq_model_destroy(&copy);
    free(values);
    fq_buffer_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    unsigned char *bytes = malloc(size > 0 ? size : 1);
    FUZZ_CHECK(bytes != NULL);
    memcpy(bytes, data, size);
    if (size >= 4 && bytes[0] == 'F') {
        uint32_t crc = fq_crc32((fq_cbytes){bytes, size - 4});
        for (size_t i = 0; i < 4; i++)
            bytes[size - 4 + i] = (unsigned char)(crc >> (8 * i));
    }
    fq_modelfile file;
    if (fq_modelfile_open((fq_cbytes){bytes, size}, &file) == FQ_OK) {
        float *w = malloc((fq_model_size(file.model) + 1) * sizeof *w);
        FUZZ_CHECK(w != NULL);
        for (size_t t = 0; t < fq_model_tensor_count(file.model); t++)
            fq_modelfile_values(&file, t, w + fq_model_tensor(file.model, t)->offset);
        check_round_trip((fq_cbytes){bytes, size}, &file, w);
        free(w);
    } else {
        FUZZ_CHECK(file.model == NULL && fq_status_text()[0] != '\0');
    }
    fq_modelfile_close(&file);
    free(bytes);
    return 0;
}

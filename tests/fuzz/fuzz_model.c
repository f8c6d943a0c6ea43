/* model.fq from outside: any bytes are refused or give a model whose file has the same bytes.
 *
 * The checksum would refuse nearly every input, so the last four bytes are put right first; an
 * input whose first byte is not the magic's goes in as it is. */
#include "base/file.h"
#include "fuzz.h"
#include "model/modelfile.h"

#include <stdlib.h>
#include <string.h>

static void check_round_trip(fq_cbytes bytes, const fq_model *model, const float *w,
                             const fq_provenance *from) {
    fq_buffer again = {0};
    FUZZ_CHECK(fq_modelfile_encode(model, w, from, &again) == FQ_OK);
    /* Only names may differ: layers without one are written with the name that they got. */
    fq_model     *copy;
    float        *values;
    fq_provenance same;
    FUZZ_CHECK(fq_modelfile_decode((fq_cbytes){again.data, again.size}, &copy, &values, &same) ==
               FQ_OK);
    FUZZ_CHECK(fq_model_size(copy) == fq_model_size(model));
    FUZZ_CHECK(memcmp(values, w, fq_model_size(model) * sizeof *w) == 0);
    FUZZ_CHECK(memcmp(&same, from, sizeof same) == 0);
    FUZZ_CHECK(memcmp(fq_model_network(copy), fq_model_network(model), sizeof(fq_network)) == 0);
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
    fq_model     *model;
    float        *w;
    fq_provenance from;
    if (fq_modelfile_decode((fq_cbytes){bytes, size}, &model, &w, &from) == FQ_OK) {
        check_round_trip((fq_cbytes){bytes, size}, model, w, &from);
        fq_model_destroy(&model);
        free(w);
    } else {
        FUZZ_CHECK(model == NULL && w == NULL && fq_status_text()[0] != '\0');
    }
    free(bytes);
    return 0;
}

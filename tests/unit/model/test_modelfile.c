#include "base/file.h"
#include "base/hash.h"
#include "model/modelfile.h"
#include "model_rig.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fq_provenance FROM = {
    .dataset = "fashion-mnist",
    .name = "tiny",
    .settings_hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    .seed = 0x123456789abcdef0,
    .rounds = 7,
    .n_norm = 2,
    .mean = {0.25f, 0.5f},
    .std = {1.0f, 2.0f},
};

static const fq_extra_tensor EXTRA[] = {
    {.name = "conv1.step", .kind = FQ_STEP, .count = 3, .layer = 0, .initial = 0.25f},
    {.name = "dense1.range", .kind = FQ_RANGE, .count = 2, .layer = 3, .initial = -1.0f},
};

static fq_model *tiny_model(void) {
    fq_network network = {.input = {2, 3, 3}, .n_classes = 2};
    fq_model  *model;
    rig_append_conv(&network, "conv1", "", 3)->bias = false;
    rig_append(&network, "batch_norm", "norm1", "conv1")->momentum = 0.25;
    rig_append(&network, "relu", "", "");
    rig_append_dense(&network, "dense1", "", 2);
    FQ_ASSERT_OK(fq_model_create(&model, &network, EXTRA, 2));
    return model;
}

/* Values that float32 holds exactly, all above 0. */
static void tiny_values(const fq_model *model, float *w) {
    for (size_t i = 0; i < fq_model_size(model); i++)
        w[i] = (float)(i + 1) / 64.0f;
}

static fq_buffer encode_tiny(void) {
    fq_model *model = tiny_model();
    fq_buffer file = {0};
    float     w[256];
    CU_ASSERT_FATAL(fq_model_size(model) <= 256);
    tiny_values(model, w);
    FQ_ASSERT_OK(fq_modelfile_encode(model, w, &FROM, &file));
    fq_model_destroy(&model);
    return file;
}

static void check_refused(fq_cbytes bytes, fq_status code, const char *text) {
    fq_model     *model;
    float        *w;
    fq_provenance from;
    FQ_ASSERT_FAILS(fq_modelfile_decode(bytes, &model, &w, &from), code, text);
    CU_ASSERT_PTR_NULL(model);
    CU_ASSERT_PTR_NULL(w);
}

/* Make the checksum right again after a change. */
static void seal(fq_buffer *file) {
    uint32_t crc = fq_crc32((fq_cbytes){file->data, file->size - 4});
    for (int i = 0; i < 4; i++)
        file->data[file->size - 4 + (size_t)i] = (unsigned char)(crc >> (8 * i));
}

static void test_identity(void) {
    fq_buffer     file = encode_tiny(), again = {0};
    fq_model     *model;
    float        *w, expected[256];
    fq_provenance from;
    FQ_ASSERT_OK(fq_modelfile_decode((fq_cbytes){file.data, file.size}, &model, &w, &from));
    tiny_values(model, expected);
    CU_ASSERT_EQUAL(memcmp(w, expected, fq_model_size(model) * sizeof *w), 0);
    CU_ASSERT_EQUAL(memcmp(&from, &FROM, sizeof from), 0);
    fq_model *original = tiny_model();
    CU_ASSERT_EQUAL(memcmp(fq_model_network(model), fq_model_network(original), sizeof(fq_network)),
                    0);
    CU_ASSERT_EQUAL_FATAL(fq_model_tensor_count(model), fq_model_tensor_count(original));
    for (size_t t = 0; t < fq_model_tensor_count(model); t++)
        CU_ASSERT_STRING_EQUAL(fq_model_tensor(model, t)->name, fq_model_tensor(original, t)->name);
    FQ_ASSERT_OK(fq_modelfile_encode(model, w, &from, &again));
    CU_ASSERT_EQUAL_FATAL(again.size, file.size);
    CU_ASSERT_EQUAL(memcmp(again.data, file.data, file.size), 0);
    fq_model_destroy(&model);
    fq_model_destroy(&original);
    free(w);
    fq_buffer_fini(&file);
    fq_buffer_fini(&again);
}

/* The bytes of version 1. They change only when the version does. */
static void test_golden(void) {
    fq_buffer     file = encode_tiny();
    unsigned char hash[FQ_HASH_BYTES];
    char          text[FQ_HASH_TEXT];
    fq_sha256((fq_cbytes){file.data, file.size}, hash);
    fq_hash_text(hash, text);
    CU_ASSERT_STRING_EQUAL(text,
                           "af0b762b5cc9b3a6a9a274f7a38e2917c09898dfb92b28c42f1ea273ead1e825");
    fq_buffer_fini(&file);
}

static void test_layout(void) {
    fq_buffer file = encode_tiny();
    CU_ASSERT_EQUAL(memcmp(file.data, "FQMODEL\0\1\0\0\0", 12), 0);
    fq_model *model = tiny_model();
    size_t    data = file.size - 4 - 4 * fq_model_size(model);
    float     first;
    CU_ASSERT_EQUAL(data % 64, 0);
    fq_reader reader = fq_reader_of((fq_cbytes){file.data + data, 4});
    fq_get_floats(&reader, &first, 1);
    CU_ASSERT_EQUAL(first, 1.0f / 64.0f);
    fq_model_destroy(&model);
    fq_buffer_fini(&file);
}

static void test_truncation(void) {
    fq_buffer file = encode_tiny();
    for (size_t size = 0; size < file.size; size++) {
        check_refused((fq_cbytes){file.data, size}, FQ_EPROTO, "");
        fq_buffer cut = {0}; /* the same with a right checksum, in memory of just that size */
        fq_put_bytes(&cut, file.data, size);
        if (size >= 4)
            seal(&cut);
        check_refused((fq_cbytes){cut.data, cut.size}, FQ_EPROTO, "");
        fq_buffer_fini(&cut);
    }
    fq_put_u8(&file, 0);
    check_refused((fq_cbytes){file.data, file.size}, FQ_EPROTO, "damaged");
    seal(&file);
    check_refused((fq_cbytes){file.data, file.size}, FQ_EPROTO, "bytes; expected");
    fq_buffer_fini(&file);
}

static void test_bit_flips(void) {
    fq_buffer file = encode_tiny();
    for (size_t bit = 0; bit < 8 * file.size; bit++) {
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        check_refused((fq_cbytes){file.data, file.size}, FQ_EPROTO, "");
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    fq_buffer_fini(&file);
}

/* Any byte wrong under a right checksum: refused or read, never worse. */
static void test_sealed_changes(void) {
    static const unsigned char flips[] = {0x01, 0xff};
    fq_buffer                  file = encode_tiny();
    for (size_t at = 0; at + 4 < file.size; at++)
        for (size_t k = 0; k < sizeof flips; k++) {
            fq_model     *model;
            float        *w;
            fq_provenance from;
            file.data[at] ^= flips[k];
            seal(&file);
            if (fq_modelfile_decode((fq_cbytes){file.data, file.size}, &model, &w, &from) ==
                FQ_OK) {
                fq_model_destroy(&model);
                free(w);
            } else {
                CU_ASSERT(model == NULL && w == NULL);
            }
            file.data[at] ^= flips[k];
        }
    fq_buffer_fini(&file);
}

static void put_u32_at(fq_buffer *file, size_t at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        file->data[at + (size_t)i] = (unsigned char)(value >> (8 * i));
    seal(file);
}

/* The file with one text in place of another is refused. */
static void check_changed(fq_buffer *file, const char *from, const char *to, fq_status code,
                          const char *text) {
    unsigned char *found = memmem(file->data, file->size, from, strlen(from));
    CU_ASSERT_PTR_NOT_NULL_FATAL(found);
    memcpy(found, to, strlen(from));
    seal(file);
    check_refused((fq_cbytes){file->data, file->size}, code, text);
    memcpy(found, from, strlen(from));
    seal(file);
}

static void test_refusals(void) {
    fq_buffer file = encode_tiny();
    fq_cbytes bytes = {file.data, file.size};
    fq_model *model = tiny_model();
    size_t    values = file.size - 4 - 4 * fq_model_size(model);

    put_u32_at(&file, 8, 3);
    check_refused(bytes, FQ_EPROTO, "written by a newer version: 3, this program reads 2");
    put_u32_at(&file, 8, 0);
    check_refused(bytes, FQ_EPROTO, "version 0 is not known");
    put_u32_at(&file, 8, 1);

    uint32_t header = (uint32_t)file.data[12] | (uint32_t)file.data[13] << 8;
    put_u32_at(&file, 12, 1u << 30);
    check_refused(bytes, FQ_ELIMIT, "a header of 1073741824 bytes");
    put_u32_at(&file, 12, header + 1);
    check_refused(bytes, FQ_EPROTO, "malformed");
    put_u32_at(&file, 12, header);

    put_u32_at(&file, values + 8, 0x7fc00000);
    check_refused(bytes, FQ_ENONFINITE, "conv1.weight: value 2 is not finite");
    put_u32_at(&file, values + 8, 0);

    file.data[values - 1] = 1;
    seal(&file);
    if (16 + header < values)
        check_refused(bytes, FQ_EPROTO, "padding");
    file.data[values - 1] = 0;

    check_changed(&file, "dense1.bias", "dense2.bias", FQ_EPROTO, "tensor 5 (dense2.bias) differs");
    check_changed(&file, "statistic", "statistik", FQ_EPROTO, "kind \"statistik\" is not known");
    check_changed(&file, "batch_norm", "catch_norm", FQ_EPROTO, "did you mean batch_norm?");
    check_changed(&file, "fashion", "fash\nion", FQ_EPROTO, "malformed");
    fq_model_destroy(&model);
    fq_buffer_fini(&file);
}

/* Training may leave steps at zero or below: they are values like others. */
static void test_any_step(void) {
    fq_model     *model = tiny_model(), *read;
    fq_buffer     file = {0};
    float         w[256], *values;
    fq_provenance from;
    tiny_values(model, w);
    const size_t step = fq_model_parameters(model);
    CU_ASSERT_EQUAL_FATAL(fq_model_tensor(model, 5)->kind, FQ_STEP);
    w[step] = 0.0f;
    w[step + 1] = -0.5f;
    FQ_ASSERT_OK(fq_modelfile_encode(model, w, &FROM, &file));
    FQ_ASSERT_OK(fq_modelfile_decode((fq_cbytes){file.data, file.size}, &read, &values, &from));
    CU_ASSERT_EQUAL(memcmp(w, values, fq_model_size(model) * sizeof *w), 0);
    free(values);
    fq_model_destroy(&read);
    fq_model_destroy(&model);
    fq_buffer_fini(&file);
}

static void test_encode_refuses(void) {
    fq_model     *model = tiny_model();
    fq_buffer     file = {0};
    fq_provenance from = FROM;
    float         w[256];
    tiny_values(model, w);
    w[5] = INFINITY;
    FQ_ASSERT_FAILS(fq_modelfile_encode(model, w, &from, &file), FQ_ENONFINITE,
                    "conv1.weight: value 5");
    tiny_values(model, w);
    from.n_norm = 17;
    FQ_ASSERT_FAILS(fq_modelfile_encode(model, w, &from, &file), FQ_EINVAL, "17 channels");
    CU_ASSERT_EQUAL(file.size, 0);
    fq_model_destroy(&model);
    fq_buffer_fini(&file);
}

static void test_read(void) {
    fq_buffer     file = encode_tiny();
    const char   *path = fq_test_path("model.fq");
    fq_model     *model;
    float        *w;
    fq_provenance from;
    fq_test_write(path, file.data, file.size);
    FQ_ASSERT_OK(fq_modelfile_read(path, &model, &w, &from));
    CU_ASSERT_EQUAL(w[1], 2.0f / 64.0f);
    fq_model_destroy(&model);
    free(w);
    fq_test_write(path, file.data, file.size / 2);
    FQ_ASSERT_FAILS(fq_modelfile_read(path, &model, &w, &from), FQ_EPROTO,
                    "model.fq: the model file is damaged");
    FQ_ASSERT_FAILS(fq_modelfile_read(fq_test_path("none.fq"), &model, &w, &from), FQ_EIO,
                    "none.fq");
    fq_test_write(path, "\x89PNG....................", 24);
    FQ_ASSERT_FAILS(fq_modelfile_read(path, &model, &w, &from), FQ_EPROTO,
                    "this is not a model file");
    fq_buffer_fini(&file);
}

static void test_zoo_survives(void) {
    static fq_network network;
    for (const fq_zoo_entry *entry = fq_zoo; entry->name != NULL; entry++) {
        fq_model     *model, *copy;
        fq_buffer     file = {0};
        fq_provenance from;
        float        *read;
        FQ_ASSERT_OK(fq_zoo_build(entry->name, (fq_shape){1, 16, 16}, 10, &network));
        FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
        float *w = malloc(fq_model_size(model) * sizeof *w);
        CU_ASSERT_PTR_NOT_NULL_FATAL(w);
        fq_model_init(model, 1, w);
        FQ_ASSERT_OK(fq_modelfile_encode(model, w, &FROM, &file));
        FQ_ASSERT_OK(fq_modelfile_decode((fq_cbytes){file.data, file.size}, &copy, &read, &from));
        CU_ASSERT_EQUAL(memcmp(w, read, fq_model_size(model) * sizeof *w), 0);
        free(w);
        free(read);
        fq_buffer_fini(&file);
        fq_model_destroy(&model);
        fq_model_destroy(&copy);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"decode of encode is the identity", test_identity},
        {"golden bytes", test_golden},
        {"layout", test_layout},
        {"truncation at every length", test_truncation},
        {"single-bit flips", test_bit_flips},
        {"changes under a right checksum", test_sealed_changes},
        {"refusals say why", test_refusals},
        {"any step", test_any_step},
        {"encode refuses", test_encode_refuses},
        {"reading files", test_read},
        {"the zoo survives", test_zoo_survives},
        {NULL, NULL},
    };
    return fq_run_suite("modelfile", cases);
}

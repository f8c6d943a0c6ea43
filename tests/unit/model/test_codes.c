/* Version 2 of model.fq: codes of a few bits, their scales, and ranges of activations. */
#include "base/file.h"
#include "base/hash.h"
#include "model/modelfile.h"
#include "model_rig.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const fq_provenance FROM = {.dataset = "tiny", .name = "coded", .seed = 3, .rounds = 2};

/* conv 2 -> 3 of 3x3 at 3 bits, one scale for each channel; dense 3 -> 2 at 5 bits, asymmetric. */
static fq_model *tiny_model(void) {
    fq_network network = {.input = {2, 3, 3}, .n_classes = 2};
    fq_model  *model;
    rig_append_conv(&network, "conv1", "", 3);
    rig_append(&network, "global_avg_pool", "pool", "");
    rig_append_dense(&network, "dense1", "", 2);
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    return model;
}

typedef struct tiny {
    fq_model       *model;
    fq_quantization quantization;
    fq_codes        codes[2];
    float           scales[4], w[128];
    int32_t         zeros[1];
    fq_site_range   sites[2];
    float           peaks[4];
    unsigned char   packed[2][64];
} tiny;

static void tiny_init(tiny *t, uint8_t grid, uint8_t bits) {
    *t = (tiny){.scales = {0.5f, 0.25f, 2.0f, 1.0f}, .zeros = {3}, .peaks = {1, 2, 3, 4}};
    t->model = tiny_model();
    for (size_t i = 0; i < fq_model_size(t->model); i++)
        t->w[i] = (float)i;
    size_t n = fq_model_tensor(t->model, 0)->count;
    for (size_t i = 0; i < n; i++)
        for (unsigned b = 0; b < bits; b++) /* stored code i modulo 2^bits - 1 */
            if (i % ((1U << bits) - 1) >> b & 1)
                t->packed[0][(i * bits + b) / 8] |= (unsigned char)(1U << (i * bits + b) % 8);
    memcpy(t->packed[1], "\x21\x43\x65\x07", 4);
    t->codes[0] = (fq_codes){bits, grid, 3, t->scales, NULL, t->packed[0]};
    t->codes[1] = (fq_codes){5, 3, 1, t->scales + 3, t->zeros, t->packed[1]};
    t->sites[0] = (fq_site_range){8, 3, 0.125f, 17};
    t->sites[1] = (fq_site_range){4, 2, 0.5f, 0};
    t->quantization = (fq_quantization){.float_hash = "0123456789abcdef",
                                        .n = 2,
                                        .codes = t->codes,
                                        .sites = t->sites,
                                        .n_values = 4,
                                        .peaks = t->peaks};
}

static fq_buffer encode(const tiny *t) {
    fq_buffer file = {0};
    FQ_ASSERT_OK(fq_modelfile_encode_quantized(t->model, t->w, &t->quantization, &FROM, &file));
    return file;
}

static fq_buffer encode_tiny(void) {
    tiny t;
    tiny_init(&t, 0, 3);
    fq_buffer file = encode(&t);
    fq_model_destroy(&t.model);
    return file;
}

static void seal(fq_buffer *file) {
    uint32_t crc = fq_crc32((fq_cbytes){file->data, file->size - 4});
    for (int i = 0; i < 4; i++)
        file->data[file->size - 4 + (size_t)i] = (unsigned char)(crc >> (8 * i));
}

static void test_identity(void) {
    tiny t;
    tiny_init(&t, 0, 3);
    fq_buffer    file = encode(&t), again = {0};
    fq_modelfile read;
    float        w[128];
    FQ_ASSERT_OK(fq_modelfile_open((fq_cbytes){file.data, file.size}, &read));
    CU_ASSERT_TRUE(read.quantized);
    const fq_quantization *q = &read.quantization;
    CU_ASSERT_STRING_EQUAL(q->float_hash, "0123456789abcdef");
    CU_ASSERT_EQUAL(memcmp(q->sites, t.sites, sizeof t.sites), 0);
    CU_ASSERT_EQUAL(memcmp(q->peaks, t.peaks, sizeof t.peaks), 0);
    for (size_t i = 0; i < 2; i++)
        CU_ASSERT_EQUAL((size_t)(q->codes[i].packed - file.data) % 64, 0);
    for (size_t i = 0; i < fq_model_tensor_count(read.model); i++)
        fq_modelfile_values(&read, i, w + fq_model_tensor(read.model, i)->offset);
    /* Channel 1 begins with weight 18: stored code 18 % 7 = 4, 0 on the grid from -4. */
    CU_ASSERT_EQUAL(w[0], -4 * 0.5f);
    CU_ASSERT_EQUAL(w[6], 2 * 0.5f);
    CU_ASSERT_EQUAL(w[18], 0.0f);
    CU_ASSERT_EQUAL(w[19], 0.25f);
    CU_ASSERT_EQUAL(w[53], (float)(53 % 7 - 4) * 2.0f);
    CU_ASSERT_EQUAL(w[54], 54.0f); /* a bias: float */
    const fq_tensor *dense = fq_model_tensor(read.model, 2);
    CU_ASSERT_EQUAL(w[dense->offset], (float)(0x21 & 31) - 3.0f);
    CU_ASSERT_EQUAL(w[dense->offset + 1], (float)(0x4321 >> 5 & 31) - 3.0f);
    FQ_ASSERT_OK(fq_modelfile_encode_quantized(read.model, w, q, &read.from, &again));
    CU_ASSERT_EQUAL_FATAL(again.size, file.size);
    CU_ASSERT_EQUAL(memcmp(again.data, file.data, file.size), 0);
    fq_modelfile_close(&read);
    fq_model_destroy(&t.model);
    fq_buffer_fini(&file);
    fq_buffer_fini(&again);
}

/* Whoever wants floats gets what the codes stand for. */
static void test_decode(void) {
    tiny t;
    tiny_init(&t, 1, 1); /* two levels */
    fq_buffer     file = encode(&t);
    fq_model     *model;
    float        *w;
    fq_provenance from;
    FQ_ASSERT_OK(fq_modelfile_decode((fq_cbytes){file.data, file.size}, &model, &w, &from));
    CU_ASSERT_EQUAL(w[0], -0.25f);
    CU_ASSERT_EQUAL(w[20], -0.125f);
    CU_ASSERT_EQUAL(from.rounds, 2);
    free(w);
    fq_model_destroy(&model);
    fq_model_destroy(&t.model);
    fq_buffer_fini(&file);
}

/* The bytes of version 2. They change only when the version does. */
static void test_golden(void) {
    fq_buffer     file = encode_tiny();
    unsigned char hash[FQ_HASH_BYTES];
    char          text[FQ_HASH_TEXT];
    CU_ASSERT_EQUAL(memcmp(file.data, "FQMODEL\0\2\0\0\0", 12), 0);
    fq_sha256((fq_cbytes){file.data, file.size}, hash);
    fq_hash_text(hash, text);
    CU_ASSERT_STRING_EQUAL(text,
                           "52a6fa7ba8a8d1b86a4a7bd87b8695da661a5ad866530738275a8547e8e68632");
    fq_buffer_fini(&file);
}

static void test_truncation(void) {
    fq_buffer    file = encode_tiny();
    fq_modelfile read;
    for (size_t size = 0; size < file.size; size++) {
        fq_buffer cut = {0};
        fq_put_bytes(&cut, file.data, size);
        if (size >= 4)
            seal(&cut);
        FQ_ASSERT_FAILS(fq_modelfile_open((fq_cbytes){cut.data, cut.size}, &read), FQ_EPROTO, "");
        CU_ASSERT_PTR_NULL(read.model);
        fq_buffer_fini(&cut);
    }
    fq_buffer_fini(&file);
}

/* Any byte wrong under a right checksum: refused, or read, and then its bytes are the same again.
 */
static void test_sealed_changes(void) {
    static const unsigned char flips[] = {0x01, 0x80, 0xff};
    fq_buffer                  file = encode_tiny();
    for (size_t at = 12; at + 4 < file.size; at++)
        for (size_t k = 0; k < sizeof flips; k++) {
            fq_modelfile read;
            file.data[at] ^= flips[k];
            seal(&file);
            if (fq_modelfile_open((fq_cbytes){file.data, file.size}, &read) == FQ_OK) {
                float w[128];
                CU_ASSERT_FATAL(fq_model_size(read.model) <= 128);
                for (size_t i = 0; i < fq_model_tensor_count(read.model); i++) {
                    const fq_tensor *tensor = fq_model_tensor(read.model, i);
                    fq_modelfile_values(&read, i, w + tensor->offset);
                    for (size_t v = 0; v < tensor->count; v++)
                        CU_ASSERT_TRUE(isfinite(w[tensor->offset + v]));
                }
            }
            fq_modelfile_close(&read);
            file.data[at] ^= flips[k];
        }
    fq_buffer_fini(&file);
}

/* `change` is made to a good model, whose file then is refused with that text. */
static void check_refused(void (*change)(tiny *t), const char *text) {
    tiny         t;
    fq_modelfile read;
    tiny_init(&t, 0, 3);
    change(&t);
    fq_buffer file = encode(&t);
    FQ_ASSERT_FAILS(fq_modelfile_open((fq_cbytes){file.data, file.size}, &read), FQ_EPROTO, text);
    fq_model_destroy(&t.model);
    fq_buffer_fini(&file);
}

static void no_scale(tiny *t) {
    t->scales[1] = 0.0f;
}
static void infinite_scale(tiny *t) {
    t->scales[2] = INFINITY;
}
static void wild_zero(tiny *t) {
    t->zeros[0] = 32;
}
static void strange_grid(tiny *t) {
    t->codes[0].grid = 4;
}
static void odd_groups(tiny *t) {
    t->codes[0].groups = 2;
}
static void outside_narrow(tiny *t) {
    t->codes[0].grid = 1;
    t->packed[0][0] |= 7;
}
static void bits_after_last(tiny *t) {
    t->packed[1][3] |= 0x80;
}
static void wide_site(tiny *t) {
    t->sites[0].bits = 9;
}
static void signed_site(tiny *t) {
    t->sites[0].grid = 0;
}
static void site_zero(tiny *t) {
    t->sites[1].zero = 1;
}
static void site_scale(tiny *t) {
    t->sites[1].scale = NAN;
}
static void lost_peak(tiny *t) {
    t->quantization.n_values = 3;
}
static void negative_peak(tiny *t) {
    t->peaks[2] = -1.0f;
}

static void test_refusals(void) {
    check_refused(no_scale, "conv1.weight: scale 1 is 0");
    check_refused(infinite_scale, "conv1.weight: scale 2 is inf");
    check_refused(wild_zero, "dense1.weight: zero point 32");
    check_refused(strange_grid, "conv1.weight: grid 4 is not known");
    check_refused(odd_groups, "conv1.weight: 2 scales; expected one, or one for each of the 3");
    check_refused(outside_narrow, "conv1.weight: code 0");
    check_refused(bits_after_last, "dense1.weight: bits after the last code");
    check_refused(wide_site, "activations 1: 9 bits");
    check_refused(signed_site, "activations 1: 8 bits on grid 0");
    check_refused(site_zero, "activations 2: zero point 1");
    check_refused(site_scale, "activations 2: scale nan");
    check_refused(lost_peak, "3 magnitudes of activations; expected 4");
    check_refused(negative_peak, "magnitude 3 of the activations is -1");
}

/* Weights alone may be quantized, and not all of them. */
static void test_partial(void) {
    tiny         t;
    fq_modelfile read;
    tiny_init(&t, 2, 7);
    t.codes[1] = (fq_codes){0};
    t.quantization.sites = NULL;
    t.quantization.peaks = NULL;
    fq_buffer file = encode(&t);
    FQ_ASSERT_OK(fq_modelfile_open((fq_cbytes){file.data, file.size}, &read));
    CU_ASSERT_PTR_NULL(read.quantization.sites);
    CU_ASSERT_EQUAL(read.quantization.codes[0].bits, 7);
    CU_ASSERT_EQUAL(read.quantization.codes[1].bits, 0);
    float            w[8];
    const fq_tensor *dense = fq_model_tensor(read.model, 2);
    fq_modelfile_values(&read, 2, w);
    CU_ASSERT_EQUAL(w[5], (float)(dense->offset + 5));
    fq_modelfile_close(&read);
    fq_model_destroy(&t.model);
    fq_buffer_fini(&file);
}

int main(void) {
    static const fq_case cases[] = {
        {"open of encode is the identity", test_identity},
        {"decode gives floats", test_decode},
        {"golden bytes", test_golden},
        {"truncation at every length", test_truncation},
        {"changes under a right checksum", test_sealed_changes},
        {"refusals say why", test_refusals},
        {"weights alone", test_partial},
        {NULL, NULL},
    };
    return fq_run_suite("codes", cases);
}

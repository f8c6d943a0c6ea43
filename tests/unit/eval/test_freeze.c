#include "eval/freeze.h"
#include "eval_rig.h"
#include "infer/infer.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 20, CLASSES = 4, LAYERS = 9 };

static fq_layer_spec *append(fq_network *network, const char *layer, const char *name) {
    fq_layer_spec *spec = &network->layers[network->n_layers++];
    fq_layer_spec_init(spec, layer);
    snprintf(spec->name, sizeof spec->name, "%s", name);
    return spec;
}

static void from(fq_layer_spec *spec, const char *name) {
    snprintf(spec->from.v[spec->from.n++], sizeof spec->from.v[0], "%s", name);
}

static void conv(fq_network *network, const char *name) {
    fq_layer_spec *spec = append(network, "conv2d", name);
    spec->out = 8;
    spec->kernel = 1;
}

/* A residual block: values that enter no layer with weights, relus beside norms and sums. */
static fq_model *block(const fq_extra_tensor *extra, size_t n_extra) {
    static fq_network network;
    fq_model         *model;
    network = (fq_network){.input = {FEATURES, 1, 1}, .n_classes = CLASSES};
    conv(&network, "a");
    append(&network, "group_norm", "n")->groups = 2;
    append(&network, "relu", "r");
    conv(&network, "b");
    append(&network, "group_norm", "m")->groups = 2;
    fq_layer_spec *sum = append(&network, "add", "s");
    from(sum, "m");
    from(sum, "r");
    append(&network, "relu", "q");
    append(&network, "global_avg_pool", "p");
    append(&network, "dense", "d")->out = CLASSES;
    FQ_ASSERT_OK(fq_model_create(&model, &network, extra, n_extra));
    return model;
}

static fq_freeze_settings settings_of(int bits, int activations) {
    return (fq_freeze_settings){.bits = bits,
                                .activations = activations,
                                .format = {.rule = fq_range_find("mse"), .options = {0.01, 0}},
                                .calibration_examples = 100,
                                .calibration_clients = 5,
                                .seed = 1};
}

typedef struct bench {
    eval_data data;
    fq_model *model;
    float    *w;
    fq_pool  *pool;
    fq_frozen frozen;
} bench;

static void bench_init(bench *b, size_t workers, const fq_extra_tensor *extra, size_t n_extra) {
    *b = (bench){.data = eval_open_synthetic(), .model = block(extra, n_extra)};
    b->w = malloc(fq_model_size(b->model) * sizeof *b->w);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b->w);
    fq_model_init(b->model, 3, b->w);
    FQ_ASSERT_OK(fq_pool_create(&b->pool, workers));
}

static void bench_fini(bench *b) {
    fq_frozen_fini(&b->frozen);
    fq_pool_destroy(&b->pool);
    fq_model_destroy(&b->model);
    free(b->w);
    eval_close(&b->data);
}

static fq_status freeze(bench *b, fq_freeze_settings settings) {
    fq_frozen_fini(&b->frozen);
    return fq_freeze(b->model, b->w, b->data.partition, &settings, b->pool, &b->frozen);
}

static fq_buffer encode(const bench *b) {
    fq_provenance by = {.name = "block"};
    fq_buffer     bytes = {0};
    FQ_ASSERT_OK(fq_modelfile_encode_quantized(b->frozen.model, b->frozen.w,
                                               &b->frozen.quantization, &by, &bytes));
    return bytes;
}

/* Every value has a magnitude, also those of relus that the layer beside them applies. */
static void test_peaks(void) {
    bench b;
    bench_init(&b, 1, NULL, 0);
    FQ_ASSERT_OK(freeze(&b, settings_of(8, 8)));
    const fq_quantization *q = &b.frozen.quantization;
    CU_ASSERT_EQUAL_FATAL(q->n_values, LAYERS + 1);
    for (size_t v = 0; v < q->n_values; v++)
        CU_ASSERT_TRUE(q->peaks[v] > 1e-3f && q->peaks[v] < 1e3f);
    for (size_t s = 0; s < q->n; s++)
        CU_ASSERT_TRUE(q->sites[s].scale > 1e-6f);
    bench_fini(&b);
}

/* Integer logits at 8 bits are the float ones but for quantization: a few hundredths of the
 * largest. A missing or wrong range moves them by their own size. */
static void test_integers(void) {
    bench         b;
    fq_modelfile  file;
    fq_infer     *infer;
    fq_arena      arena;
    fq_workspace *ws;
    bench_init(&b, 2, NULL, 0);
    FQ_ASSERT_OK(freeze(&b, settings_of(8, 8)));
    fq_buffer bytes = encode(&b);
    FQ_ASSERT_OK(fq_modelfile_open((fq_cbytes){bytes.data, bytes.size}, &file));
    FQ_ASSERT_OK(fq_infer_create(&infer, &file, NULL));
    void *memory = aligned_alloc(64, (fq_infer_workspace_bytes(infer) + 63) / 64 * 64);
    FQ_ASSERT_OK(fq_arena_init(&arena, fq_workspace_bytes(b.model, 64, false, false)));
    FQ_ASSERT_OK(fq_workspace_create(&ws, b.model, 64, false, false, &arena));
    uint16_t labels[64];
    float    x[FEATURES * 64], worst = 0, largest = 0;
    fq_dataset_gather_test(b.data.set, 0, 64, 64, x, labels);
    memcpy(fq_workspace_input(ws), x, sizeof x);
    fq_pass      pass = {.batch = 64};
    const float *y = fq_model_forward(b.model, ws, b.w, &pass);
    for (size_t i = 0; i < 64; i++) {
        float   example[FEATURES];
        int32_t logits[CLASSES];
        for (size_t f = 0; f < FEATURES; f++)
            example[f] = x[f * 64 + i];
        fq_infer_run(infer, memory, example, logits);
        for (size_t c = 0; c < CLASSES; c++) {
            worst = fmaxf(worst, fabsf((float)logits[c] * fq_infer_scale(infer) - y[c * 64 + i]));
            largest = fmaxf(largest, fabsf(y[c * 64 + i]));
        }
    }
    CU_ASSERT_TRUE(largest > 0.1f);
    CU_ASSERT_TRUE(worst < 0.06f * largest);
    free(memory);
    fq_arena_fini(&arena);
    fq_infer_destroy(&infer);
    fq_modelfile_close(&file);
    fq_buffer_fini(&bytes);
    bench_fini(&b);
}

/* The same bytes for any number of workers, and others for another rule. */
static void test_repeatable(void) {
    fq_buffer bytes[3];
    for (size_t k = 0; k < 3; k++) {
        bench              b;
        fq_freeze_settings settings = settings_of(4, 6);
        bench_init(&b, k == 1 ? 3 : 1, NULL, 0);
        if (k == 2)
            settings.ranges = FQ_RANGES_MINMAX;
        FQ_ASSERT_OK(freeze(&b, settings));
        CU_ASSERT_EQUAL(b.frozen.quantization.codes[0].bits, 4);
        CU_ASSERT_EQUAL(b.frozen.quantization.sites[1].bits, 6);
        bytes[k] = encode(&b);
        bench_fini(&b);
    }
    CU_ASSERT_EQUAL_FATAL(bytes[0].size, bytes[1].size);
    CU_ASSERT_EQUAL_FATAL(bytes[0].size, bytes[2].size);
    CU_ASSERT_EQUAL(memcmp(bytes[0].data, bytes[1].data, bytes[0].size), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(bytes[0].data, bytes[2].data, bytes[0].size), 0);
    for (size_t k = 0; k < 3; k++)
        fq_buffer_fini(&bytes[k]);
}

/* Running ranges [s low, s high, s]: the quotients are the range. */
static void test_stored(void) {
    static const fq_extra_tensor ranges[] = {
        {.name = "a.range", .kind = FQ_RANGE, .count = 3, .layer = 0},
        {.name = "b.range", .kind = FQ_RANGE, .count = 3, .layer = 3},
        {.name = "d.range", .kind = FQ_RANGE, .count = 3, .layer = 8},
    };
    bench              b;
    fq_freeze_settings settings = settings_of(4, 8);
    settings.ranges = FQ_RANGES_STORED;
    bench_init(&b, 1, ranges, 3);
    float *v = b.w + fq_model_size(b.model) - 9;
    for (size_t i = 0; i < 3; i++) {
        v[3 * i] = i == 0 ? -0.5f : 0.0f;
        v[3 * i + 1] = 1.275f;
        v[3 * i + 2] = 0.5f;
    }
    FQ_ASSERT_OK(freeze(&b, settings));
    const fq_site_range *sites = b.frozen.quantization.sites;
    CU_ASSERT_EQUAL(sites[0].grid, FQ_GRID_ASYMMETRIC);
    CU_ASSERT_DOUBLE_EQUAL((double)sites[0].scale, 3.55 / 255, 1e-6);
    CU_ASSERT_EQUAL(sites[0].zero, 72); /* 1 / (3.55 / 255) = 71.8 */
    CU_ASSERT_EQUAL(sites[1].grid, FQ_GRID_UNSIGNED);
    CU_ASSERT_DOUBLE_EQUAL((double)sites[1].scale, 0.01, 1e-6);
    v[5] = 0.0f; /* nobody has seen what enters b */
    FQ_ASSERT_FAILS(freeze(&b, settings), FQ_EINVAL, "no running range of what enters b");
    bench_fini(&b);
}

static void test_refusals(void) {
    bench              b;
    fq_freeze_settings settings = settings_of(4, 8);
    bench_init(&b, 1, NULL, 0);
    settings.layers = FQ_LAYERS_FIRST_LAST_FLOAT;
    FQ_ASSERT_FAILS(freeze(&b, settings), FQ_EINVAL, "first_last_float");
    settings.activations = FQ_FLOAT_BITS;
    FQ_ASSERT_OK(freeze(&b, settings));
    CU_ASSERT_PTR_NULL(b.frozen.quantization.sites);
    CU_ASSERT_EQUAL(b.frozen.quantization.codes[0].bits, 0);
    CU_ASSERT_EQUAL(b.frozen.quantization.codes[1].bits, 4);
    settings = settings_of(4, 8);
    settings.format.rule = fq_range_find("learned");
    FQ_ASSERT_FAILS(freeze(&b, settings), FQ_EINVAL, "ranges learned");
    settings = settings_of(4, 8);
    FQ_ASSERT_FAILS(fq_freeze(b.model, b.w, NULL, &settings, b.pool, &b.frozen), FQ_EINVAL,
                    "need training examples");
    b.w[7] = NAN;
    FQ_ASSERT_FAILS(freeze(&b, settings), FQ_ENONFINITE, "value 7");
    bench_fini(&b);
}

int main(void) {
    static const fq_case cases[] = {
        {"every value has a magnitude", test_peaks},
        {"integers against floats", test_integers},
        {"any number of workers", test_repeatable},
        {"ranges of the training", test_stored},
        {"refusals", test_refusals},
        {NULL, NULL},
    };
    return fq_run_suite("freeze", cases);
}

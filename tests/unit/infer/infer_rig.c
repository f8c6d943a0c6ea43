#include "infer_rig.h"

#include "quant/quantizer.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALIBRATION = 4 };

static void fill_normal(uint64_t seed, uint32_t number, float *x, size_t n) {
    fq_rng rng = fq_rng_stream(seed, FQ_RNG_INIT, number, 1, 2, 3);
    fq_rng_fill_uniform(&rng, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] = 4.0f * x[i] - 2.0f;
}

void infer_rig_example(const infer_rig *rig, uint32_t number, float *x) {
    fill_normal(77, number + 100, x, rig->features);
}

typedef struct extremes {
    float *low, *high, *peaks;
} extremes;

static void see(void *context, size_t value, size_t features, size_t batch, size_t lanes,
                const float *x) {
    extremes *e = context;
    for (size_t f = 0; f < features; f++)
        for (size_t i = 0; i < batch; i++) {
            float v = x[f * lanes + i];
            e->low[value] = fminf(e->low[value], v);
            e->high[value] = fmaxf(e->high[value], v);
            e->peaks[value] = fmaxf(e->peaks[value], fabsf(v));
        }
}

static fq_workspace *workspace(const fq_model *model, fq_arena *arena) {
    fq_workspace *ws;
    FQ_ASSERT_OK(fq_arena_init(arena, fq_workspace_bytes(model, CALIBRATION, false, true)));
    FQ_ASSERT_OK(fq_workspace_create(&ws, model, CALIBRATION, false, true, arena));
    return ws;
}

static void calibrate(infer_rig *rig, extremes *e) {
    fq_arena      arena;
    fq_workspace *ws = workspace(rig->model, &arena);
    fq_watch      watch = {e, see};
    fq_pass       pass = {.batch = CALIBRATION, .watch = &watch};
    size_t        lanes = fq_lanes(CALIBRATION);
    float        *x = malloc(rig->features * sizeof *x), *input = fq_workspace_input(ws);
    for (uint32_t b = 0; b < CALIBRATION; b++) {
        fill_normal(77, b, x, rig->features);
        for (size_t f = 0; f < rig->features; f++)
            input[f * lanes + b] = x[f];
    }
    fq_model_forward(rig->model, ws, rig->w, &pass);
    free(x);
    fq_arena_fini(&arena);
}

static void code_weights(infer_rig *rig, infer_rig_options options, size_t s, fq_codes *codes,
                         unsigned char *packed) {
    size_t           layer = fq_model_site_layer(rig->model, s);
    const fq_tensor *tensor = fq_model_layer_tensor(rig->model, layer, FQ_WEIGHT);
    fq_weight_format format = {
        fq_range_find("minmax"), {0.01, 0}, options.grid, options.granularity};
    size_t   groups = fq_weight_groups(&format, tensor->shape[0]), size = tensor->count / groups;
    fq_grid *grids = calloc(groups, sizeof *grids);
    uint8_t *stored = malloc(tensor->count);
    float   *x = rig->w + tensor->offset;
    *codes = (fq_codes){(uint8_t)options.bits,
                        (uint8_t)options.grid,
                        (uint32_t)groups,
                        calloc(groups, sizeof(float)),
                        NULL,
                        packed};
    fq_weight_fit(&format, options.bits, x, tensor->count, tensor->shape[0], NULL, grids);
    for (size_t i = 0; i < tensor->count; i++) {
        const fq_grid *g = &grids[i / size];
        float          q = fminf(fmaxf(rintf(x[i] / g->step - g->offset), g->low), g->high);
        codes->scales[i / size] = g->step;
        stored[i] = (uint8_t)(q - g->low);
        x[i] = g->step * (q + g->offset);
    }
    fq_pack_bits(stored, tensor->count, (unsigned)options.bits, packed);
    free(grids);
    free(stored);
}

void infer_rig_init(infer_rig *rig, const fq_network *network, infer_rig_options options,
                    uint64_t seed) {
    static const fq_provenance from = {.name = "rig"};
    fq_model                  *model;
    extremes                   e = {calloc(FQ_MAX_LAYERS + 1, sizeof(float)),
                                    calloc(FQ_MAX_LAYERS + 1, sizeof(float)),
                                    calloc(FQ_MAX_LAYERS + 1, sizeof(float))};
    *rig = (infer_rig){0};
    FQ_ASSERT_OK(fq_model_create(&model, network, NULL, 0));
    float *w = malloc(fq_model_size(model) * sizeof *w);
    fq_model_init(model, seed, w);
    /* Norms, biases and moments that do something. */
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        for (size_t i = 0; i < tensor->count && tensor->kind != FQ_WEIGHT; i++)
            w[tensor->offset + i] += 0.05f * (float)(i % 7) - 0.1f;
    }
    FQ_ASSERT_OK(fq_model_fold(model, w, &rig->model, &rig->w));
    free(w);
    fq_model_destroy(&model);
    rig->features = fq_shape_count(network->input);
    rig->classes = network->n_classes;

    size_t          n = fq_model_site_count(rig->model), total = fq_model_size(rig->model);
    fq_quantization q = {.n = n,
                         .codes = calloc(n, sizeof *q.codes),
                         .sites = calloc(n, sizeof *q.sites),
                         .n_values = fq_model_network(rig->model)->n_layers + 1,
                         .peaks = e.peaks};
    unsigned char  *packed = calloc(total + 16 * n, 1);
    for (size_t s = 0, at = 0; s < n; s++) {
        const fq_tensor *tensor =
            fq_model_layer_tensor(rig->model, fq_model_site_layer(rig->model, s), FQ_WEIGHT);
        code_weights(rig, options, s, &q.codes[s], packed + at);
        at += fq_packed_bytes(tensor->count, (unsigned)options.bits);
    }
    calibrate(rig, &e);
    for (size_t s = 0; s < n; s++) {
        size_t value = fq_model_layer_input(rig->model, fq_model_site_layer(rig->model, s), 0);
        fq_grid_kind kind =
            fq_model_site_nonnegative(rig->model, s) ? FQ_GRID_UNSIGNED : FQ_GRID_ASYMMETRIC;
        fq_grid grid =
            fq_grid_of_range(kind, options.activations, 0.8f * e.low[value], 0.8f * e.high[value]);
        q.sites[s] = (fq_site_range){(uint8_t)options.activations, (uint8_t)kind, grid.step,
                                     (int32_t)-grid.low};
    }
    FQ_ASSERT_OK(fq_modelfile_encode_quantized(rig->model, rig->w, &q, &from, &rig->bytes));
    fq_quantization_fini(&q); /* with the peaks */
    free(packed);
    free(e.low);
    free(e.high);
    FQ_ASSERT_OK(fq_modelfile_open((fq_cbytes){rig->bytes.data, rig->bytes.size}, &rig->file));
    FQ_ASSERT_OK(fq_infer_create(&rig->infer, &rig->file, NULL));
    rig->workspace = aligned_alloc(64, (fq_infer_workspace_bytes(rig->infer) + 63) / 64 * 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rig->workspace);
}

void infer_rig_fini(infer_rig *rig) {
    free(rig->workspace);
    fq_infer_destroy(&rig->infer);
    fq_modelfile_close(&rig->file);
    fq_buffer_fini(&rig->bytes);
    fq_model_destroy(&rig->model);
    free(rig->w);
    *rig = (infer_rig){0};
}

static bool quantize_site(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                          const float *x, float *y) {
    (void)batch;
    const fq_modelfile  *file = context;
    const fq_site_range *range = &file->quantization.sites[site];
    fq_grid              grid = {.step = range->scale,
                                 .low = (float)-range->zero,
                                 .high = (float)((1 << range->bits) - 1 - range->zero)};
    fq_kernels_get()->fake_quantize(features * lanes, x, &grid, y);
    return true;
}

void infer_rig_fake(const infer_rig *rig, const float *x, float *logits) {
    fq_arena      arena;
    fq_workspace *ws = workspace(rig->model, &arena);
    fq_modelfile  file = rig->file;
    fq_site_hook  hook = {.context = &file, .quantize = quantize_site};
    fq_pass       pass = {.batch = 1, .sites = &hook};
    size_t        lanes = fq_lanes(1);
    float        *input = fq_workspace_input(ws);
    for (size_t f = 0; f < rig->features; f++)
        input[f * lanes] = x[f];
    const float *y = fq_model_forward(rig->model, ws, rig->w, &pass);
    for (size_t c = 0; c < rig->classes; c++)
        logits[c] = y[c * lanes];
    fq_arena_fini(&arena);
}

fq_layer_spec *infer_rig_append(fq_network *network, const char *layer, const char *name,
                                const char *from, const char *from2) {
    fq_layer_spec *spec = &network->layers[network->n_layers++];
    fq_layer_spec_init(spec, layer);
    snprintf(spec->name, sizeof spec->name, "%s", name);
    const char *names[] = {from, from2};
    for (size_t i = 0; i < 2 && names[i] != NULL; i++)
        snprintf(spec->from.v[spec->from.n++], sizeof spec->from.v[0], "%s", names[i]);
    return spec;
}

void *infer_rig_take(void *counter, size_t size) {
    infer_rig_counter *c = counter;
    if (c->taken == c->until)
        return NULL;
    c->taken++;
    return malloc(size);
}

void infer_rig_release(void *counter, void *memory) {
    ((infer_rig_counter *)counter)->released++;
    free(memory);
}

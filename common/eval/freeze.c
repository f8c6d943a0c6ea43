#include "eval/freeze.h"

#include "eval/eval_impl.h"
#include "quant/quantizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const fq_activation_range_names[] = {"mse", "minmax", "stored", NULL};

static fq_status no_memory(void) {
    return fq_fail(FQ_ENOMEM, "no memory to quantize the model");
}

static void set_site(fq_grid_kind kind, int bits, const fq_grid *grid, fq_site_range *out) {
    *out = (fq_site_range){(uint8_t)bits, (uint8_t)kind, grid->step, (int32_t)-grid->low};
}

/* ---- ranges from training ---- */

/* The running range of what enters a layer, as training keeps it. */
static const fq_tensor *stored_range(const fq_model *model, const char *layer) {
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        if (tensor->kind == FQ_RANGE && tensor->count == 3 &&
            strcmp(fq_model_network(model)->layers[tensor->layer].name, layer) == 0)
            return tensor;
    }
    return NULL;
}

static fq_status take_stored(const fq_model *trained, const float *w,
                             const fq_freeze_settings *settings, fq_frozen *out) {
    size_t n = out->quantization.n;
    for (size_t s = 0; s < n; s++) {
        size_t           layer = fq_model_site_layer(out->model, s);
        const char      *name = fq_model_network(out->model)->layers[layer].name;
        const fq_tensor *range = stored_range(trained, name);
        float            low, high;
        if (range == NULL || !fq_kept_range(w + range->offset, &low, &high))
            return fq_fail(FQ_EINVAL,
                           "the model has no running range of what enters %s; train with "
                           "quantized activations (qat, mqat, fedhq), or take mse or minmax",
                           name);
        int          bits = fq_policy_site_bits(settings->layers, s, n, settings->activations);
        fq_grid_kind kind = fq_calibration_grid(out->model, s);
        fq_grid      grid = fq_grid_of_range(kind, bits, low, high);
        set_site(kind, bits, &grid, &out->quantization.sites[s]);
    }
    return FQ_OK;
}

/* ---- ranges from examples ---- */

typedef struct calibration_run {
    const fq_freeze_settings *settings;
    fq_frozen                *out;
    fq_pool                  *pool;
    fq_calibration            examples;
    fq_activations            activations;
    fq_arena                  memory;
    fq_eval_worker           *workers;
    fq_range_search          *searches;
} calibration_run;

static fq_status place(calibration_run *run, fq_arena *arena) {
    const fq_model *model = run->out->model;
    size_t          n = run->out->quantization.n, workers = fq_pool_workers(run->pool);
    size_t          features = fq_shape_count(fq_model_network(model)->input);
    run->workers = FQ_ARENA_NEW(arena, fq_eval_worker, workers);
    for (size_t i = 0; i < workers; i++) {
        fq_eval_worker worker = {0};
        FQ_TRY(
            fq_workspace_create(&worker.forward, model, FQ_CALIBRATION_BATCH, false, true, arena));
        worker.column = FQ_ARENA_NEW(arena, float, features *FQ_LANES);
        if (run->workers != NULL)
            run->workers[i] = worker;
    }
    run->activations.bits = run->settings->activations;
    run->activations.n_sites = n;
    run->activations.site_bits = FQ_ARENA_NEW(arena, int, n);
    run->activations.grids = FQ_ARENA_NEW(arena, fq_grid, n);
    run->searches = fq_calibration_searches(model, run->settings->layers, &run->activations, 1,
                                            fq_calibration_batches(run->examples.n), arena);
    return fq_arena_check(arena);
}

static void see_peak(void *context, size_t value, size_t features, size_t batch, size_t lanes,
                     const float *x) {
    float *peaks = context;
    for (size_t f = 0; f < features; f++)
        for (size_t i = 0; i < batch; i++)
            peaks[value] = fmaxf(peaks[value], fabsf(x[f * lanes + i]));
}

/* The largest magnitude of every value. */
static void find_peaks(calibration_run *run) {
    const fq_model       *model = run->out->model;
    const fq_eval_worker *own = &run->workers[0];
    size_t                features = fq_shape_count(fq_model_network(model)->input);
    fq_watch              watch = {run->out->quantization.peaks, see_peak};
    for (size_t first = 0; first < run->examples.n; first += FQ_CALIBRATION_BATCH) {
        size_t left = run->examples.n - first;
        size_t batch = left < FQ_CALIBRATION_BATCH ? left : FQ_CALIBRATION_BATCH;
        fq_calibration_gather(&run->examples, first, batch, fq_lanes(batch), features, own->column,
                              fq_workspace_input(own->forward));
        fq_pass pass = {.batch = batch, .watch = &watch};
        fq_model_forward(model, own->forward, run->out->w, &pass);
    }
}

static fq_status search_grids(calibration_run *run) {
    fq_frozen *out = run->out;
    size_t     n = out->quantization.n;
    for (size_t s = 0; s < n; s++)
        run->activations.site_bits[s] =
            fq_policy_site_bits(run->settings->layers, s, n, run->settings->activations);
    FQ_TRY(fq_activations_calibrate(&run->activations, 1, &run->examples, run->examples.n,
                                    out->model, out->w, run->workers, run->searches, run->pool));
    for (size_t s = 0; s < n; s++) {
        fq_grid_kind kind = fq_calibration_grid(out->model, s);
        int          bits = run->activations.site_bits[s];
        fq_grid      grid = run->activations.grids[s];
        if (run->settings->ranges == FQ_RANGES_MINMAX) /* the search knows the extremes */
            grid = fq_grid_of_range(kind, bits, run->searches[s].low, run->searches[s].high);
        set_site(kind, bits, &grid, &out->quantization.sites[s]);
    }
    return FQ_OK;
}

static fq_status calibrate(const fq_partition *partition, const fq_freeze_settings *settings,
                           fq_pool *pool, fq_frozen *out) {
    calibration_run run = {.settings = settings, .out = out, .pool = pool};
    fq_arena        measure = fq_arena_measure();
    fq_status       status;
    FQ_GO(status, fq_calibration_init(&run.examples, partition, settings->calibration_clients,
                                      settings->calibration_examples, settings->seed));
    FQ_GO(status, place(&run, &measure));
    FQ_GO(status, fq_arena_init(&run.memory, measure.peak));
    FQ_GO(status, place(&run, &run.memory));
    find_peaks(&run);
    if (settings->ranges != FQ_RANGES_STORED)
        status = search_grids(&run);
done:
    fq_calibration_fini(&run.examples);
    fq_arena_fini(&run.memory);
    return status;
}

/* ---- codes ---- */

/* A bias is held in units of the sum's scale, in 30 bits. A channel of weights so small that this
 * does not reach gets a coarser scale, at which its bias still decides alone. */
static void widen_scales(const fq_frozen *out, size_t site, const fq_tensor *bias,
                         fq_codes *codes) {
    if (bias == NULL || out->quantization.sites == NULL)
        return;
    float entering = out->quantization.sites[site].scale;
    for (size_t c = 0; c < bias->count; c++) {
        float *scale = &codes->scales[codes->groups == 1 ? 0 : c];
        float  least = ldexpf(fabsf(out->w[bias->offset + c]), -28) / entering;
        *scale = fmaxf(*scale, least);
    }
}

/* stored = clip(rne(x / scale - offset), low, high) - low */
static void code_tensor(const fq_tensor *tensor, const float *x, const fq_grid *grids,
                        const fq_codes *codes, uint8_t *stored) {
    size_t size = tensor->count / codes->groups;
    for (size_t i = 0; i < tensor->count; i++) {
        const fq_grid *grid = &grids[i / size];
        float          q = rintf(x[i] / codes->scales[i / size] - grid->offset);
        stored[i] = (uint8_t)(fminf(fmaxf(q, grid->low), grid->high) - grid->low);
    }
}

static fq_status freeze_tensor(const fq_freeze_settings *settings, size_t site,
                               const fq_tensor *tensor, fq_frozen *out, unsigned char *packed) {
    fq_codes    *codes = &out->quantization.codes[site];
    size_t       groups = fq_weight_groups(&settings->format, tensor->shape[0]);
    const float *x = out->w + tensor->offset;
    float       *scratch = malloc(tensor->count * sizeof *scratch);
    uint8_t     *stored = malloc(tensor->count);
    fq_grid     *grids = calloc(groups, sizeof *grids);
    fq_status    status = FQ_OK;
    codes->scales = calloc(groups, sizeof *codes->scales);
    if (scratch == NULL || stored == NULL || grids == NULL || codes->scales == NULL)
        FQ_GO(status, no_memory());
    codes->bits =
        (uint8_t)fq_policy_weight_bits(settings->layers, site, out->quantization.n, settings->bits);
    codes->grid = (uint8_t)settings->format.grid;
    codes->groups = (uint32_t)groups;
    codes->packed = packed;
    fq_weight_fit(&settings->format, codes->bits, x, tensor->count, tensor->shape[0], scratch,
                  grids);
    for (size_t g = 0; g < groups; g++)
        codes->scales[g] = grids[g].step;
    widen_scales(out, site, fq_model_layer_tensor(out->model, tensor->layer, FQ_BIAS), codes);
    code_tensor(tensor, x, grids, codes, stored);
    fq_pack_bits(stored, tensor->count, codes->bits, packed);
done:
    free(scratch);
    free(stored);
    free(grids);
    return status;
}

static fq_status freeze_weights(const fq_freeze_settings *settings, fq_frozen *out) {
    size_t n = out->quantization.n, bytes = 0;
    for (int pass = 0; pass < 2; pass++) {
        size_t at = 0;
        for (size_t s = 0; s < n; s++) {
            const fq_tensor *tensor =
                fq_model_layer_tensor(out->model, fq_model_site_layer(out->model, s), FQ_WEIGHT);
            int bits = fq_policy_weight_bits(settings->layers, s, n, settings->bits);
            if (bits == FQ_FLOAT_BITS)
                continue;
            if (pass == 1)
                FQ_TRY(freeze_tensor(settings, s, tensor, out, out->packed + at));
            at += fq_packed_bytes(tensor->count, (unsigned)bits);
        }
        bytes = at;
        if (pass == 0 && (out->packed = calloc(bytes + 1, 1)) == NULL)
            return no_memory();
    }
    return FQ_OK;
}

/* ---- the whole ---- */

static fq_status check_settings(const fq_freeze_settings *settings, const fq_partition *partition) {
    if (settings->activations != FQ_FLOAT_BITS && settings->layers == FQ_LAYERS_FIRST_LAST_FLOAT)
        return fq_fail(FQ_EINVAL,
                       "layers first_last_float with activations of %d bits; expected "
                       "all or first_last_8, or float activations (32)",
                       settings->activations);
    if (settings->activations != FQ_FLOAT_BITS && partition == NULL)
        return fq_fail(FQ_EINVAL, "quantized activations need training examples");
    if (settings->format.rule->learned)
        return fq_fail(FQ_EINVAL, "ranges %s are of training; expected a rule that is fitted",
                       settings->format.rule->name);
    return FQ_OK;
}

static fq_status check_finite(const fq_model *model, const float *w) {
    for (size_t i = 0; i < fq_model_size(model); i++)
        if (!isfinite(w[i]))
            return fq_fail(FQ_ENONFINITE, "value %zu of the model is not finite", i);
    return FQ_OK;
}

static fq_status make_tables(const fq_freeze_settings *settings, fq_frozen *out) {
    fq_quantization *q = &out->quantization;
    q->n = fq_model_site_count(out->model);
    q->codes = calloc(q->n + 1, sizeof *q->codes);
    if (q->codes == NULL)
        return no_memory();
    if (settings->activations == FQ_FLOAT_BITS)
        return FQ_OK;
    q->n_values = fq_model_network(out->model)->n_layers + 1;
    q->sites = calloc(q->n + 1, sizeof *q->sites);
    q->peaks = calloc(q->n_values, sizeof *q->peaks);
    return q->sites == NULL || q->peaks == NULL ? no_memory() : FQ_OK;
}

fq_status fq_freeze(const fq_model *model, const float *w, const fq_partition *partition,
                    const fq_freeze_settings *settings, fq_pool *pool, fq_frozen *out) {
    fq_status status;
    *out = (fq_frozen){0};
    FQ_TRY(check_settings(settings, partition));
    FQ_TRY(check_finite(model, w));
    FQ_GO(status, fq_model_fold(model, w, &out->model, &out->w));
    FQ_GO(status, make_tables(settings, out));
    if (settings->activations != FQ_FLOAT_BITS)
        FQ_GO(status, calibrate(partition, settings, pool, out));
    if (settings->activations != FQ_FLOAT_BITS && settings->ranges == FQ_RANGES_STORED)
        FQ_GO(status, take_stored(model, w, settings, out));
    FQ_GO(status, freeze_weights(settings, out));
    return FQ_OK;
done:
    fq_frozen_fini(out);
    return status;
}

void fq_frozen_fini(fq_frozen *frozen) {
    fq_quantization_fini(&frozen->quantization);
    free(frozen->packed);
    free(frozen->w);
    fq_model_destroy(&frozen->model);
    *frozen = (fq_frozen){0};
}

/* One evaluation: quantize a few copies of the weights, then run every copy over every test batch.
 *
 * A test batch is gathered once for all settings. Whatever a task finds goes to a place of its own
 * and is added up in a fixed order afterwards, so who did what does not show in the figures.
 */
#include "eval/evaluate.h"

#include "eval/eval_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COPIES_BYTES = 64 * 1024 * 1024 };

/* A quantized set of weights; several figures may share it. */
typedef struct version {
    int              bits;
    fq_weight_format format;
    fq_step_change   change;
    double           noise, bits_per_weight;
} version;

typedef struct quantized_tensor {
    size_t offset, count, channels;
} quantized_tensor;

struct fq_evaluator {
    const fq_model     *model;
    const fq_dataset   *set;
    const fq_partition *partition;
    fq_eval_settings    settings;
    uint64_t            seed;
    fq_pool            *pool;
    fq_bound            learned; /* whose steps the rule `learned` means; no method: nobody's */

    size_t    n_figures, n_versions, n_activations, n_tensors, n_sites;
    fq_figure plan[FQ_MAX_FIGURES];
    int       version_of[FQ_MAX_FIGURES];    /* -1: float weights */
    int       activation_of[FQ_MAX_FIGURES]; /* -1: float activations */
    version   versions[FQ_MAX_FIGURES];

    fq_model      *moments_model; /* NULL: no moments to take anew */
    size_t         moments_batches, n_statistics;
    fq_calibration calibration;
    size_t         calibration_examples, calibration_batches; /* for ranges: the first so many */

    /* All below lies in `memory`. */
    fq_arena          memory;
    size_t            n_workers, n_copies;
    fq_eval_worker   *workers; /* [n_workers] */
    quantized_tensor *tensors; /* [n_tensors] */
    float           **copies;  /* [n_copies][P] */
    double           *energy;  /* [n_tensors] sum w^2 */
    double           *errors;  /* [n_versions, n_tensors] sum (w - Q(w))^2 */
    fq_activations    activations[FQ_MAX_BITS];
    fq_range_search  *searches; /* [calibration_batches, n_activations, n_sites] */
    float            *moments;  /* [moments_batches, n_copies, n_statistics] */
    double           *losses;   /* [batches, n_figures] sums */
    size_t           *corrects; /* likewise */
};

/* ---- what is to be evaluated ---- */

static size_t test_batches(const fq_evaluator *e) {
    size_t n = fq_dataset_test_count(e->set), batch = (size_t)e->settings.batch;
    return (n + batch - 1) / batch;
}

static int activation_index(fq_evaluator *e, int bits) {
    if (bits == FQ_FLOAT_BITS)
        return -1;
    for (size_t i = 0; i < e->n_activations; i++)
        if (e->activations[i].bits == bits)
            return (int)i;
    e->activations[e->n_activations].bits = bits;
    return (int)e->n_activations++;
}

static bool same_change(fq_step_change a, fq_step_change b) {
    return a.kind == b.kind && a.scale == b.scale;
}

static int version_index(fq_evaluator *e, const fq_eval_rule *rule, fq_step_change change,
                         int bits) {
    if (bits == FQ_FLOAT_BITS)
        return -1;
    fq_weight_format format = {.rule = rule->rule,
                               .options = {e->settings.percentile, e->settings.margin},
                               .grid = (fq_grid_kind)e->settings.grid,
                               .granularity = rule->granularity};
    for (size_t i = 0; i < e->n_versions; i++)
        if (e->versions[i].bits == bits && e->versions[i].format.rule == format.rule &&
            e->versions[i].format.granularity == format.granularity &&
            same_change(e->versions[i].change, change))
            return (int)i;
    e->versions[e->n_versions] = (version){.bits = bits, .format = format, .change = change};
    return (int)e->n_versions++;
}

static const fq_step_change as_found = {.kind = FQ_STEP_AS_FOUND};

/* Of float weights. */
static const fq_eval_rule no_rule = {.name = "none"};

static void plan_figure(fq_evaluator *e, const fq_eval_rule *rule, fq_step_change change,
                        int weights, int activations) {
    size_t     i = e->n_figures++;
    fq_figure *figure = &e->plan[i];
    *figure = (fq_figure){.weight_bits = weights, .activation_bits = activations};
    fq_rule_print(rule->name, change, figure->rule);
    e->version_of[i] = version_index(e, rule, change, weights);
    e->activation_of[i] = activation_index(e, activations);
}

/* One rule with float activations, then with those of falling width down to `last`. */
static void plan_rule(fq_evaluator *e, const fq_eval_wanted *wanted, const fq_eval_rule *rule,
                      fq_step_change change, int last) {
    for (int a = FQ_FLOAT_BITS; a >= last; a--)
        for (int w = FQ_MAX_BITS; w >= 1; w--)
            if (wanted->pair[w][a])
                plan_figure(e, rule, change, w, a);
}

/* Float first, then by rule, activations, falling width; then the rules with changed steps. */
static void plan_figures(fq_evaluator *e, const fq_eval_wanted *wanted) {
    for (int a = FQ_FLOAT_BITS; a >= 1; a--)
        if (wanted->pair[FQ_FLOAT_BITS][a])
            plan_figure(e, &no_rule, as_found, FQ_FLOAT_BITS, a);
    for (size_t r = 0; r < wanted->n_rules; r++)
        plan_rule(e, wanted, &wanted->rules[r], as_found, 1);
    for (size_t r = 0; r < wanted->n_rules; r++)
        for (size_t i = 0; i < wanted->n_changes; i++)
            plan_rule(e, wanted, &wanted->rules[r], wanted->changes[i], FQ_FLOAT_BITS);
}

static fq_status check_fit(const fq_evaluator *e) {
    const fq_network *network = fq_model_network(e->model);
    fq_shape          want = network->input, have = fq_dataset_shape(e->set);
    if (have.c != want.c || have.h != want.h || have.w != want.w)
        return fq_fail(FQ_EINVAL,
                       "data set %s has examples of %ux%ux%u values, the model takes %ux%ux%u",
                       fq_dataset_name(e->set), have.c, have.h, have.w, want.c, want.h, want.w);
    if (fq_dataset_classes(e->set) > network->n_classes)
        return fq_fail(FQ_EINVAL, "data set %s has %u classes, the model knows %u",
                       fq_dataset_name(e->set), fq_dataset_classes(e->set), network->n_classes);
    if (fq_dataset_test_count(e->set) == 0)
        return fq_fail(FQ_EINVAL, "data set %s has no test examples to evaluate with",
                       fq_dataset_name(e->set));
    return FQ_OK;
}

/* ---- training examples ---- */

static fq_status prepare_moments(fq_evaluator *e) {
    size_t first;
    if (!fq_moments_span(e->model, &first, &e->n_statistics) || e->n_versions == 0 ||
        e->settings.batch_norm_batches == 0)
        return FQ_OK;
    if (e->partition == NULL)
        return fq_fail(FQ_EINVAL,
                       "evaluate.batch_norm_batches: a model with batch norm needs training "
                       "data here; expected 0 without");
    return fq_moments_model(&e->moments_model, e->model);
}

static fq_status prepare_calibration(fq_evaluator *e) {
    const fq_eval_settings *settings = &e->settings;
    if (e->n_activations > 0 && e->partition == NULL)
        return fq_fail(FQ_EINVAL,
                       "evaluate.activations: quantized activations need training data for "
                       "their ranges; expected only 32 without");
    FQ_TRY(prepare_moments(e));
    size_t for_ranges = e->n_activations > 0 ? (size_t)settings->calibration_examples : 0;
    size_t for_moments =
        e->moments_model != NULL ? (size_t)settings->batch_norm_batches * FQ_MOMENTS_BATCH : 0;
    if (for_ranges == 0 && for_moments == 0)
        return FQ_OK;
    FQ_TRY(fq_calibration_init(&e->calibration, e->partition, (size_t)settings->calibration_clients,
                               for_ranges > for_moments ? for_ranges : for_moments, e->seed));
    /* Fewer examples than asked for: whole batches of them, or one smaller batch. */
    size_t have = e->calibration.n;
    e->calibration_examples = for_ranges < have ? for_ranges : have;
    e->calibration_batches = fq_calibration_batches(e->calibration_examples);
    if (for_moments > 0) {
        size_t whole = (for_moments < have ? for_moments : have) / FQ_MOMENTS_BATCH;
        e->moments_batches = whole > 0 ? whole : 1;
    }
    return FQ_OK;
}

/* ---- memory ---- */

static void list_tensors(fq_evaluator *e) {
    size_t n = 0;
    for (size_t i = 0; i < fq_model_tensor_count(e->model); i++) {
        const fq_tensor *tensor = fq_model_tensor(e->model, i);
        if (tensor->kind == FQ_WEIGHT)
            e->tensors[n++] = (quantized_tensor){tensor->offset, tensor->count, tensor->shape[0]};
    }
}

static void largest(const fq_model *model, size_t *n_tensors, size_t *count, size_t *channels) {
    *n_tensors = *count = *channels = 0;
    for (size_t i = 0; i < fq_model_tensor_count(model); i++) {
        const fq_tensor *tensor = fq_model_tensor(model, i);
        if (tensor->kind != FQ_WEIGHT)
            continue;
        ++*n_tensors;
        *count = tensor->count > *count ? tensor->count : *count;
        *channels = tensor->shape[0] > *channels ? tensor->shape[0] : *channels;
    }
}

static fq_status place_worker(fq_evaluator *e, fq_arena *arena, size_t max_count,
                              size_t max_channels, fq_eval_worker *out) {
    size_t batch = (size_t)e->settings.batch;
    size_t features = fq_shape_count(fq_model_network(e->model)->input);
    size_t widest = batch > FQ_CALIBRATION_BATCH ? batch : FQ_CALIBRATION_BATCH;
    bool   quantized_sites = e->n_activations > 0;
    *out = (fq_eval_worker){0};
    FQ_TRY(fq_workspace_create(&out->forward, e->model, widest, false, quantized_sites, arena));
    if (e->moments_model != NULL) {
        FQ_TRY(fq_workspace_create(&out->train, e->moments_model, FQ_MOMENTS_BATCH, true, false,
                                   arena));
        out->statistics = FQ_ARENA_NEW(arena, float, fq_model_size(e->model));
        widest = widest > FQ_MOMENTS_BATCH ? widest : FQ_MOMENTS_BATCH;
    }
    out->x = FQ_ARENA_NEW(arena, float, features *fq_lanes(widest));
    out->column = FQ_ARENA_NEW(arena, float, features *FQ_LANES);
    out->labels = FQ_ARENA_NEW(arena, uint16_t, batch);
    out->scratch = FQ_ARENA_NEW(arena, float, max_count);
    out->grids = FQ_ARENA_NEW(arena, fq_grid, max_channels);
    return FQ_OK;
}

/* Measures with a measuring arena, takes with a real one. */
static fq_status place(fq_evaluator *e, fq_arena *arena) {
    size_t max_count, max_channels, size = fq_model_size(e->model);
    largest(e->model, &e->n_tensors, &max_count, &max_channels);
    e->workers = FQ_ARENA_NEW(arena, fq_eval_worker, e->n_workers);
    for (size_t i = 0; i < e->n_workers; i++) {
        fq_eval_worker worker;
        FQ_TRY(place_worker(e, arena, max_count, max_channels, &worker));
        if (e->workers != NULL)
            e->workers[i] = worker;
    }
    e->tensors = FQ_ARENA_NEW(arena, quantized_tensor, e->n_tensors);
    e->energy = FQ_ARENA_NEW(arena, double, e->n_tensors);
    e->errors = FQ_ARENA_NEW(arena, double, e->n_tensors * e->n_versions);
    e->copies = FQ_ARENA_NEW(arena, float *, e->n_copies);
    for (size_t i = 0; i < e->n_copies; i++) {
        float *copy = FQ_ARENA_NEW(arena, float, size);
        if (e->copies != NULL)
            e->copies[i] = copy;
    }
    for (size_t i = 0; i < e->n_activations; i++) {
        fq_activations *activations = &e->activations[i];
        activations->n_sites = e->n_sites;
        activations->site_bits = FQ_ARENA_NEW(arena, int, e->n_sites);
        activations->grids = FQ_ARENA_NEW(arena, fq_grid, e->n_sites);
    }
    e->searches =
        fq_calibration_searches(e->model, (fq_layer_policy)e->settings.layers, e->activations,
                                e->n_activations, e->calibration_batches, arena);
    e->moments = FQ_ARENA_NEW(arena, float, e->moments_batches * e->n_copies * e->n_statistics);
    e->losses = FQ_ARENA_NEW(arena, double, test_batches(e) * e->n_figures);
    e->corrects = FQ_ARENA_NEW(arena, size_t, test_batches(e) * e->n_figures);
    return fq_arena_check(arena);
}

static fq_status measure_memory(fq_evaluator *e, size_t *bytes) {
    size_t at_most = COPIES_BYTES / (fq_model_size(e->model) * sizeof(float) + 1) + 1;
    e->n_copies = e->n_versions < at_most ? e->n_versions : at_most;
    e->n_sites = fq_model_site_count(e->model);
    e->n_workers = fq_pool_workers(e->pool);
    fq_arena  measure = fq_arena_measure();
    fq_status status = place(e, &measure);
    *bytes = measure.peak;
    return status;
}

static fq_status take_memory(fq_evaluator *e, size_t bytes) {
    FQ_TRY(fq_arena_init(&e->memory, bytes));
    FQ_TRY(place(e, &e->memory));
    list_tensors(e);
    for (size_t i = 0; i < e->n_activations; i++)
        for (size_t s = 0; s < e->n_sites; s++)
            e->activations[i].site_bits[s] = fq_policy_site_bits(
                (fq_layer_policy)e->settings.layers, s, e->n_sites, e->activations[i].bits);
    return FQ_OK;
}

/* All but the memory, and how much that is. */
static fq_status prepare(fq_evaluator *e, size_t *bytes) {
    fq_eval_wanted wanted;
    FQ_TRY(fq_eval_settings_check(&e->settings));
    FQ_TRY(fq_eval_wanted_read(&e->settings, &wanted));
    FQ_TRY(check_fit(e));
    plan_figures(e, &wanted);
    FQ_TRY(prepare_calibration(e));
    return measure_memory(e, bytes);
}

static fq_evaluator new_evaluator(const fq_model *model, const fq_dataset *set,
                                  const fq_partition *partition, const fq_eval_settings *settings,
                                  uint64_t seed, fq_pool *pool) {
    return (fq_evaluator){.model = model,
                          .set = set,
                          .partition = partition,
                          .settings = *settings,
                          .seed = seed,
                          .pool = pool};
}

fq_status fq_evaluator_create(fq_evaluator **out, const fq_model *model, const fq_dataset *set,
                              const fq_partition *partition, const fq_eval_settings *settings,
                              uint64_t seed, fq_pool *pool) {
    size_t        bytes;
    fq_evaluator *e = *out = malloc(sizeof *e);
    if (e == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for an evaluator");
    *e = new_evaluator(model, set, partition, settings, seed, pool);
    fq_status status = prepare(e, &bytes);
    if (status == FQ_OK)
        status = take_memory(e, bytes);
    if (status != FQ_OK)
        fq_evaluator_destroy(out);
    return status;
}

void fq_evaluator_destroy(fq_evaluator **slot) {
    fq_evaluator *e = *slot;
    if (e == NULL)
        return;
    fq_model_destroy(&e->moments_model);
    fq_calibration_fini(&e->calibration);
    fq_arena_fini(&e->memory);
    free(e);
    *slot = NULL;
}

size_t fq_evaluator_bytes(const fq_evaluator *e) {
    return sizeof *e + e->memory.capacity + e->calibration.n * sizeof *e->calibration.examples;
}

fq_status fq_evaluator_measure(const fq_model *model, const fq_dataset *set,
                               const fq_partition *partition, const fq_eval_settings *settings,
                               uint64_t seed, fq_pool *pool, fq_eval_needs *out) {
    size_t        bytes;
    fq_evaluator *e = malloc(sizeof *e);
    if (e == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for an evaluator");
    *e = new_evaluator(model, set, partition, settings, seed, pool);
    fq_status status = prepare(e, &bytes);
    if (status == FQ_OK)
        *out = (fq_eval_needs){.bytes = fq_evaluator_bytes(e) + bytes,
                               .examples = e->n_figures * fq_dataset_test_count(set) +
                                           e->calibration_examples +
                                           e->n_versions * e->moments_batches * FQ_MOMENTS_BATCH};
    fq_evaluator_destroy(&e);
    return status;
}

size_t fq_evaluator_count(const fq_evaluator *e) {
    return e->n_figures;
}

const fq_figure *fq_evaluator_plan(const fq_evaluator *e) {
    return e->plan;
}

/* ---- quantizing ---- */

/* One run, and the versions that have copies at present: first .. first + n. */
typedef struct eval_job {
    fq_evaluator *e;
    const float  *w;
    size_t        first, n;
} eval_job;

static fq_status copy_weights(void *context, size_t task, size_t worker) {
    (void)worker;
    const eval_job *job = context;
    memcpy(job->e->copies[task], job->w, fq_model_size(job->e->model) * sizeof *job->w);
    return FQ_OK;
}

static double squared_difference(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

static int tensor_bits(const fq_evaluator *e, size_t tensor, int bits) {
    return fq_policy_weight_bits((fq_layer_policy)e->settings.layers, tensor, e->n_tensors, bits);
}

static fq_status fail_learned(const fq_evaluator *e, size_t tensor, int bits) {
    if (e->learned.method == NULL)
        return fq_fail(FQ_EINVAL, "evaluate.ranges: learned: the model has no learned steps of "
                                  "weights; train it with ranges: learned of qat, mqat or fedhq");
    size_t           cursor = 0;
    const fq_tensor *weights = NULL;
    for (size_t i = 0; i < fq_model_tensor_count(e->model); i++)
        if (fq_model_tensor(e->model, i)->kind == FQ_WEIGHT && cursor++ == tensor)
            weights = fq_model_tensor(e->model, i);
    return fq_fail(FQ_EINVAL, "evaluate.ranges: learned: %s has no learned step at %d bits",
                   weights == NULL ? "a tensor" : weights->name, bits);
}

fq_status fq_evaluator_learn(fq_evaluator *e, const fq_recipe *recipe) {
    fq_bound bound[FQ_MAX_METHODS];
    size_t   groups;
    fq_recipe_bind(recipe, e->model, bound);
    for (size_t m = 0; m < recipe->n_methods; m++)
        if (bound[m].method->learned_grids != NULL)
            e->learned = bound[m];
    for (size_t v = 0; v < e->n_versions; v++)
        for (size_t t = 0; e->versions[v].format.rule->learned && t < e->n_tensors; t++) {
            const int bits = tensor_bits(e, t, e->versions[v].bits);
            if (bits != FQ_FLOAT_BITS &&
                (e->learned.method == NULL ||
                 !e->learned.method->learned_grids(&e->learned, t, bits, NULL, NULL, &groups)))
                return fail_learned(e, t, bits);
        }
    return FQ_OK;
}

/* Groups of a tensor that share a step. */
static size_t groups_of(const fq_evaluator *e, size_t v, size_t tensor) {
    const fq_weight_format *format = &e->versions[v].format;
    size_t                  groups = fq_weight_groups(format, e->tensors[tensor].channels);
    if (format->rule->learned && e->learned.method != NULL)
        (void)e->learned.method->learned_grids(
            &e->learned, tensor, tensor_bits(e, tensor, e->versions[v].bits), NULL, NULL, &groups);
    return groups;
}

/* A task is one tensor of one copy. */
static fq_status quantize_tensor(void *context, size_t task, size_t worker) {
    const eval_job         *job = context;
    const fq_evaluator     *e = job->e;
    size_t                  t = task / job->n, copy = task % job->n, v = job->first + copy;
    const quantized_tensor *tensor = &e->tensors[t];
    const fq_weight_format *format = &e->versions[v].format;
    const fq_eval_worker   *own = &e->workers[worker];
    const float            *x = job->w + tensor->offset;
    float                  *y = e->copies[copy] + tensor->offset;
    int                     bits = tensor_bits(e, t, e->versions[v].bits);
    e->errors[v * e->n_tensors + t] = 0;
    if (bits == FQ_FLOAT_BITS)
        return FQ_OK;
    size_t groups = groups_of(e, v, t);
    if (!format->rule->learned)
        fq_weight_fit(format, bits, x, tensor->count, tensor->channels, own->scratch, own->grids);
    else if (e->learned.method == NULL ||
             !e->learned.method->learned_grids(&e->learned, t, bits, job->w, own->grids, &groups))
        return fail_learned(e, t, bits);
    for (size_t i = 0; i < groups; i++)
        own->grids[i].step = fq_step_changed(e->versions[v].change, own->grids[i].step);
    fq_weight_quantize(own->grids, groups, x, tensor->count, y);
    e->errors[v * e->n_tensors + t] = squared_difference(x, y, tensor->count);
    return FQ_OK;
}

/* Noise power is over the quantized tensors; bits per weight over all tensors of weights, where a
 * quantized one pays for the scales of its groups. */
static void weigh_version(fq_evaluator *e, size_t v) {
    double error = 0, energy = 0, bits = 0, count = 0;
    for (size_t t = 0; t < e->n_tensors; t++) {
        int    width = tensor_bits(e, t, e->versions[v].bits);
        size_t groups = groups_of(e, v, t);
        count += (double)e->tensors[t].count;
        bits += width * (double)e->tensors[t].count;
        if (width == FQ_FLOAT_BITS)
            continue;
        bits += 32.0 * (double)groups;
        error += e->errors[v * e->n_tensors + t];
        energy += e->energy[t];
    }
    e->versions[v].noise = energy > 0 ? error / energy : 0;
    e->versions[v].bits_per_weight = count > 0 ? bits / count : 0;
}

static fq_status quantize_versions(eval_job *job) {
    fq_evaluator *e = job->e;
    FQ_TRY(fq_pool_for(e->pool, job->n, copy_weights, job));
    FQ_TRY(fq_pool_for(e->pool, job->n * e->n_tensors, quantize_tensor, job));
    for (size_t i = 0; i < job->n; i++)
        weigh_version(e, job->first + i);
    if (e->moments_model == NULL)
        return FQ_OK;
    return fq_moments_estimate(e->moments_model, e->copies, job->n, &e->calibration,
                               e->moments_batches, e->workers, e->moments, e->pool);
}

/* ---- counting right answers ---- */

/* The weights of a figure, or NULL if it is not the turn of its copy. Float goes with the first
 * copies. */
static const float *weights_of(const eval_job *job, size_t figure) {
    int v = job->e->version_of[figure];
    if (v < 0)
        return job->first == 0 ? job->w : NULL;
    bool present = (size_t)v >= job->first && (size_t)v < job->first + job->n;
    return present ? job->e->copies[(size_t)v - job->first] : NULL;
}

static fq_status evaluate_batch(void *context, size_t task, size_t worker) {
    const eval_job       *job = context;
    const fq_evaluator   *e = job->e;
    const fq_eval_worker *own = &e->workers[worker];
    const fq_network     *network = fq_model_network(e->model);
    size_t first = task * (size_t)e->settings.batch, left = fq_dataset_test_count(e->set) - first;
    size_t batch = left < (size_t)e->settings.batch ? left : (size_t)e->settings.batch;
    size_t lanes = fq_lanes(batch), values = fq_shape_count(network->input) * lanes;
    fq_dataset_gather_test(e->set, first, batch, lanes, own->x, own->labels);
    for (size_t f = 0; f < e->n_figures; f++) {
        const float *w = weights_of(job, f);
        if (w == NULL)
            continue;
        /* The workspace may use the place of its input for something else during a pass. */
        memcpy(fq_workspace_input(own->forward), own->x, values * sizeof *own->x);
        fq_site_hook hook;
        fq_pass      pass = {.batch = batch};
        if (e->activation_of[f] >= 0) {
            hook = fq_activations_hook(&e->activations[e->activation_of[f]]);
            pass.sites = &hook;
        }
        const float *logits = fq_model_forward(e->model, own->forward, w, &pass);
        e->losses[task * e->n_figures + f] =
            fq_cross_entropy(logits, own->labels, network->n_classes, batch, lanes, NULL,
                             &e->corrects[task * e->n_figures + f]);
    }
    return FQ_OK;
}

static fq_figure sum_figure(const fq_evaluator *e, size_t f) {
    double loss = 0, n = (double)fq_dataset_test_count(e->set);
    size_t correct = 0;
    for (size_t b = 0; b < test_batches(e); b++) {
        loss += e->losses[b * e->n_figures + f];
        correct += e->corrects[b * e->n_figures + f];
    }
    fq_figure figure = e->plan[f];
    int       v = e->version_of[f];
    figure.accuracy = (double)correct / n;
    figure.loss = loss / n;
    figure.noise = v < 0 ? 0 : e->versions[v].noise;
    figure.step_bits = v < 0 ? FQ_FLOAT_BITS : e->versions[v].bits_per_weight;
    return figure;
}

static fq_status check_finite(const fq_model *model, const float *w) {
    for (size_t i = 0; i < fq_model_tensor_count(model); i++) {
        const fq_tensor *tensor = fq_model_tensor(model, i);
        for (size_t k = tensor->offset; k < tensor->offset + tensor->count; k++)
            if (!isfinite(w[k]))
                return fq_fail(FQ_ENONFINITE,
                               "value %zu of tensor %s is %g, expected a finite number",
                               k - tensor->offset, tensor->name, (double)w[k]);
    }
    return FQ_OK;
}

fq_status fq_evaluator_run(fq_evaluator *e, const float *w, fq_figure *figures) {
    FQ_TRY(check_finite(e->model, w));
    for (size_t t = 0; t < e->n_tensors; t++)
        e->energy[t] = fq_kernels_get()->sum_squares(e->tensors[t].count, w + e->tensors[t].offset);
    if (e->n_activations > 0)
        FQ_TRY(fq_activations_calibrate(e->activations, e->n_activations, &e->calibration,
                                        e->calibration_examples, e->model, w, e->workers,
                                        e->searches, e->pool));
    eval_job job = {.e = e, .w = w};
    do {
        size_t left = e->n_versions - job.first;
        job.n = left < e->n_copies ? left : e->n_copies;
        if (job.n > 0)
            FQ_TRY(quantize_versions(&job));
        FQ_TRY(fq_pool_for(e->pool, test_batches(e), evaluate_batch, &job));
        job.first += job.n;
    } while (job.first < e->n_versions);
    for (size_t f = 0; f < e->n_figures; f++)
        figures[f] = sum_figure(e, f);
    return FQ_OK;
}

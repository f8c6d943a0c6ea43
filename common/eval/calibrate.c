/* Ranges of activations from training examples (spec 3.7.3): of all thresholds tried, the one with
 * the least squared error over the whole calibration set. */
#include "eval/eval_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the examples ---- */

/* k distinct numbers below n, k <= n, each set equally likely (Floyd 1987). Quadratic in k. */
static void draw_distinct(fq_rng *rng, uint32_t n, uint32_t k, uint32_t *out) {
    for (uint32_t i = 0; i < k; i++) {
        uint32_t last = n - k + i, drawn = fq_rng_below(rng, last + 1);
        for (uint32_t j = 0; j < i; j++)
            if (out[j] == drawn)
                drawn = last;
        out[i] = drawn;
    }
}

static fq_status take_shards(fq_calibration *calibration, const fq_partition *partition,
                             uint32_t clients, fq_rng *rng, size_t *total) {
    uint64_t  all = fq_partition_clients(partition);
    uint32_t  n = all < UINT32_MAX ? (uint32_t)all : UINT32_MAX - 1;
    uint32_t  k = clients < n ? clients : n;
    uint32_t *chosen = calloc(k > 0 ? k : 1, sizeof *chosen);
    calibration->shards = calloc(k > 0 ? k : 1, sizeof *calibration->shards);
    if (chosen == NULL || calibration->shards == NULL) {
        free(chosen);
        return fq_fail(FQ_ENOMEM, "no memory for %u calibration clients", k);
    }
    draw_distinct(rng, n, k, chosen);

    for (uint32_t i = 0; i < k; i++) {
        fq_shard shard = fq_partition_shard(partition, chosen[i]);
        if (shard.n == 0 || *total + shard.n > UINT32_MAX)
            continue;
        calibration->shards[calibration->n_shards++] = shard;
        *total += shard.n;
    }
    free(chosen);
    return FQ_OK;
}

fq_status fq_calibration_init(fq_calibration *calibration, const fq_partition *partition,
                              size_t clients, size_t examples, uint64_t seed) {
    *calibration = (fq_calibration){0};
    fq_rng rng = fq_rng_stream(seed, FQ_RNG_CALIBRATE, 0, 0, 0, 0);
    size_t total = 0;
    FQ_TRY(take_shards(calibration, partition, (uint32_t)clients, &rng, &total));
    if (total == 0)
        return fq_fail(FQ_EINVAL,
                       "evaluate.calibration_clients: the %zu chosen clients have no examples",
                       clients);
    uint32_t *order = calloc(total, sizeof *order);
    calibration->n = examples < total ? examples : total;
    calibration->examples = calloc(calibration->n, sizeof *calibration->examples);
    if (order == NULL || calibration->examples == NULL) {
        free(order);
        return fq_fail(FQ_ENOMEM, "no memory to choose among %zu calibration examples", total);
    }
    for (size_t i = 0; i < total; i++)
        order[i] = (uint32_t)i;
    fq_rng_shuffle(&rng, order, total);
    for (size_t i = 0; i < calibration->n; i++) {
        uint32_t shard = 0;
        size_t   position = order[i];
        for (; position >= calibration->shards[shard].n; shard++)
            position -= calibration->shards[shard].n;
        calibration->examples[i] = (fq_drawn){shard, (uint32_t)position};
    }
    free(order);
    return FQ_OK;
}

void fq_calibration_fini(fq_calibration *calibration) {
    free(calibration->shards);
    free(calibration->examples);
    *calibration = (fq_calibration){0};
}

void fq_calibration_gather(const fq_calibration *calibration, size_t first, size_t batch,
                           size_t lanes, size_t features, float *column, float *x) {
    memset(x, 0, features * lanes * sizeof *x);
    for (size_t lane = 0; lane < batch; lane++) {
        fq_drawn drawn = calibration->examples[first + lane];
        uint16_t label;
        fq_shard_gather(&calibration->shards[drawn.shard], &drawn.position, 1, FQ_LANES, column,
                        &label);
        for (size_t f = 0; f < features; f++)
            x[f * lanes + lane] = column[f * FQ_LANES];
    }
}

/* ---- the ranges ---- */

typedef struct calibrate_job {
    fq_activations       *activations;
    size_t                n, n_sites, n_examples;
    const fq_calibration *calibration;
    const fq_model       *model;
    const float          *w;
    fq_eval_worker       *workers;
    fq_range_search      *searches; /* [batches, n, n_sites] */
    bool                  widen;    /* the first of the two passes */
} calibrate_job;

/* What the hook of one batch sees. */
typedef struct watcher {
    const calibrate_job *job;
    fq_range_search     *searches; /* [n, n_sites] of this batch */
} watcher;

static void look(bool widen, fq_range_search *search, const float *x, size_t n) {
    if (widen)
        fq_range_search_widen(search, x, n);
    else
        fq_range_search_add(search, x, n);
}

/* Looks at the values of a site and leaves them as they are. */
static bool watch(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                  const float *x, float *y) {
    (void)y;
    const watcher       *self = context;
    const calibrate_job *job = self->job;
    for (size_t i = 0; i < job->n; i++) {
        fq_range_search *search = &self->searches[i * job->n_sites + site];
        if (job->activations[i].site_bits[site] == FQ_FLOAT_BITS)
            continue;
        if (batch == lanes)
            look(job->widen, search, x, features * lanes);
        else
            for (size_t f = 0; f < features; f++)
                look(job->widen, search, x + f * lanes, batch);
    }
    return false;
}

static fq_status calibrate_batch(void *context, size_t task, size_t worker) {
    const calibrate_job  *job = context;
    const fq_eval_worker *own = &job->workers[worker];
    size_t                first = task * FQ_CALIBRATION_BATCH, left = job->n_examples - first;
    size_t                batch = left < FQ_CALIBRATION_BATCH ? left : FQ_CALIBRATION_BATCH;
    size_t                features = fq_shape_count(fq_model_network(job->model)->input);
    fq_calibration_gather(job->calibration, first, batch, fq_lanes(batch), features, own->column,
                          fq_workspace_input(own->forward));
    watcher      self = {job, job->searches + task * job->n * job->n_sites};
    fq_site_hook hook = {.context = &self, .quantize = watch};
    fq_pass      pass = {.batch = batch, .sites = &hook};
    fq_model_forward(job->model, own->forward, job->w, &pass);
    return FQ_OK;
}

/* Give all batches the range over all of them. */
static void share_range(const calibrate_job *job, size_t batches, size_t which) {
    size_t stride = job->n * job->n_sites;
    float  low = 0, high = 0;
    for (size_t b = 0; b < batches; b++) {
        low = fminf(low, job->searches[b * stride + which].low);
        high = fmaxf(high, job->searches[b * stride + which].high);
    }
    for (size_t b = 0; b < batches; b++) {
        job->searches[b * stride + which].low = low;
        job->searches[b * stride + which].high = high;
    }
}

/* Errors are added in the order of the batches, whoever computed them. */
static fq_grid best_grid(const calibrate_job *job, size_t batches, size_t which) {
    size_t           stride = job->n * job->n_sites;
    fq_range_search *sum = &job->searches[which];
    for (size_t b = 1; b < batches; b++)
        for (size_t k = 0; k < fq_range_search_candidates(sum->kind, sum->bits); k++)
            sum->error[k] += job->searches[b * stride + which].error[k];
    return fq_range_search_best(sum);
}

size_t fq_calibration_batches(size_t examples) {
    return (examples + FQ_CALIBRATION_BATCH - 1) / FQ_CALIBRATION_BATCH;
}

fq_grid_kind fq_calibration_grid(const fq_model *model, size_t site) {
    return fq_model_site_nonnegative(model, site) ? FQ_GRID_UNSIGNED : FQ_GRID_ASYMMETRIC;
}

fq_range_search *fq_calibration_searches(const fq_model *model, fq_layer_policy policy,
                                         const fq_activations *activations, size_t n,
                                         size_t batches, fq_arena *arena) {
    const size_t     n_sites = fq_model_site_count(model);
    fq_range_search *searches = FQ_ARENA_NEW(arena, fq_range_search, batches * n * n_sites);
    for (size_t which = 0; which < batches * n * n_sites; which++) {
        const size_t site = which % n_sites, i = which / n_sites % n;
        const int    bits = fq_policy_site_bits(policy, site, n_sites, activations[i].bits);
        if (bits == FQ_FLOAT_BITS)
            continue;
        const fq_grid_kind kind = fq_calibration_grid(model, site);
        double *error = FQ_ARENA_NEW(arena, double, fq_range_search_candidates(kind, bits));
        if (searches != NULL && error != NULL)
            fq_range_search_begin(&searches[which], kind, bits, error);
    }
    return searches;
}

fq_status fq_activations_calibrate(fq_activations *activations, size_t n,
                                   const fq_calibration *calibration, size_t examples,
                                   const fq_model *model, const float *w, fq_eval_worker *workers,
                                   fq_range_search *searches, fq_pool *pool) {
    size_t        n_sites = fq_model_site_count(model);
    size_t        batches = fq_calibration_batches(examples);
    calibrate_job job = {activations, n, n_sites, examples, calibration,
                         model,       w, workers, searches, true};
    for (size_t which = 0; which < batches * n * n_sites; which++)
        if (searches[which].error != NULL)
            fq_range_search_begin(&searches[which], searches[which].kind, searches[which].bits,
                                  searches[which].error);
    FQ_TRY(fq_pool_for(pool, batches, calibrate_batch, &job));
    for (size_t which = 0; which < n * n_sites; which++)
        share_range(&job, batches, which);
    job.widen = false;
    FQ_TRY(fq_pool_for(pool, batches, calibrate_batch, &job));
    for (size_t i = 0; i < n; i++)
        for (size_t s = 0; s < n_sites; s++)
            if (activations[i].site_bits[s] != FQ_FLOAT_BITS)
                activations[i].grids[s] = best_grid(&job, batches, i * n_sites + s);
    return FQ_OK;
}

static bool quantize_site(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                          const float *x, float *y) {
    (void)batch;
    const fq_activations *activations = context;
    if (activations->site_bits[site] == FQ_FLOAT_BITS)
        return false;
    fq_kernels_get()->fake_quantize(features * lanes, x, &activations->grids[site], y);
    return true;
}

fq_site_hook fq_activations_hook(const fq_activations *activations) {
    /* The hook's context is not const, for those that gather something; this one only reads. */
    union {
        const fq_activations *from;
        void                 *to;
    } context = {.from = activations};
    return (fq_site_hook){.context = context.to, .quantize = quantize_site};
}

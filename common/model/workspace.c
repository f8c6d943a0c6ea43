/* Memory and passes. The memory is laid out once for each model: every buffer has the moments from
 * which and until which it is needed, and buffers that are never needed together may share a place.
 *
 * Moments of a network of L layers: layer i runs forward at i; the gradient of the logits comes in
 * at L; layer i runs backward at 2L - i. The end is 2L + 1.
 */
#include "math/kernels.h"
#include "model/model_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- layout ---- */

typedef struct block {
    size_t first, last; /* moments, both included */
    size_t size, begin; /* floats for one lane */
} block;

/* Blocks placed so far, sorted by `begin`. */
typedef struct board {
    block *blocks;
    size_t n;
    size_t end; /* of the highest block */
    bool   overflow;
} board;

/* Places at even floats for one lane are multiples of 64 bytes for any number of lanes. */
enum { UNIT = 2 };

/* The lowest place that is free from moment `first` to moment `last`. */
static size_t place(board *b, size_t first, size_t last, size_t size) {
    size = (size + UNIT - 1) / UNIT * UNIT;
    size_t begin = 0;
    for (size_t i = 0; i < b->n; i++) {
        const block *other = &b->blocks[i];
        if (other->last < first || other->first > last)
            continue;
        if (other->begin >= begin && other->begin - begin >= size)
            break;
        if (other->begin + other->size > begin)
            begin = other->begin + other->size;
    }
    size_t end;
    if (!fq_size_add(begin, size, &end)) {
        b->overflow = true;
        return 0;
    }
    size_t at = b->n++;
    for (; at > 0 && b->blocks[at - 1].begin > begin; at--)
        b->blocks[at] = b->blocks[at - 1];
    b->blocks[at] = (block){first, last, size, begin};
    if (end > b->end)
        b->end = end;
    return begin;
}

/* The last layer that reads the memory of `root`, as itself or as a view; n_layers for the logits.
 */
static size_t last_reader(const fq_model *model, size_t root) {
    size_t n = model->network.n_layers;
    if (model->values[n].root == root)
        return n;
    for (size_t i = n; i-- > 0;) {
        const fq_node *node = &model->nodes[i];
        for (size_t k = 0; k < node->layer->n_inputs; k++)
            if (model->values[node->input[k]].root == root)
                return i;
    }
    return 0;
}

static void lay_out_forward(const fq_model *model, bool train, bool sites, board *b,
                            fq_layout *layout) {
    size_t n = model->network.n_layers, end = 2 * n + 1, scratch = 0;
    for (size_t i = 0; i < n; i++) {
        const fq_layer_plan *plan = &model->nodes[i].plan;
        scratch = plan->scratch_per_lane > scratch ? plan->scratch_per_lane : scratch;
        if (plan->scratch_fixed > layout->fixed)
            layout->fixed = plan->scratch_fixed; /* at the beginning of what is fixed */
    }
    /* The input stays until the end, so that one batch may be run with several weights. */
    layout->value[0] = place(b, 0, end, fq_shape_count(model->values[0].shape));
    layout->scratch = place(b, 0, end, scratch);
    for (size_t i = 0; i < n; i++) {
        const fq_node  *node = &model->nodes[i];
        const fq_value *value = &model->values[i + 1];
        size_t          reader = last_reader(model, i + 1);
        if (value->root == i + 1)
            layout->value[i + 1] =
                place(b, i, train || reader == n ? end : reader, fq_shape_count(value->shape));
        if (sites && node->site != FQ_NONE)
            layout->site[i] = place(b, i, train ? 2 * n - i : i, fq_shape_count(node->in[0]));
        if (train) {
            layout->cache[i] = place(b, i, 2 * n - i, node->plan.cache_per_lane);
            layout->cache_fixed[i] = layout->fixed;
            layout->fixed += node->plan.cache_fixed;
        }
    }
}

static void lay_out_backward(const fq_model *model, bool sites, board *b, fq_layout *layout) {
    size_t n = model->network.n_layers;
    bool   written[FQ_MAX_VALUES] = {false};
    for (size_t root = 1; root <= n; root++) {
        const fq_value *value = &model->values[root];
        if (value->root == root && value->needs_gradient)
            layout->gradient[root] = place(b, 2 * n - last_reader(model, root), 2 * n - (root - 1),
                                           fq_shape_count(value->shape));
    }
    written[model->values[n].root] = true; /* by the caller's dlogits */
    for (size_t i = n; i-- > 0;) {
        const fq_node *node = &model->nodes[i];
        for (size_t k = 0; k < node->layer->n_inputs && node->layer->backward != NULL; k++) {
            const fq_value *value = &model->values[node->input[k]];
            bool            hooked = sites && node->site != FQ_NONE && !value->needs_gradient;
            layout->spare[i][k] = FQ_NONE;
            if (node->in_place)
                continue;
            if ((value->needs_gradient && written[value->root]) || hooked)
                layout->spare[i][k] = place(b, 2 * n - i, 2 * n - i, fq_shape_count(value->shape));
            written[value->root] = true;
        }
    }
}

fq_status fq_model_lay_out(fq_model *model) {
    /* At most: a value, a site, a cache, a gradient and two spare gradients for each layer; input,
     * scratch. */
    board b = {.blocks = malloc((6 * model->network.n_layers + 2) * sizeof(block))};
    if (b.blocks == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to plan a model of %zu layers",
                       model->network.n_layers);
    for (int train = 0; train < 2; train++)
        for (int sites = 0; sites < 2; sites++) {
            fq_layout *layout = &model->layouts[train][sites];
            b.n = b.end = 0;
            lay_out_forward(model, train, sites, &b, layout);
            if (train)
                lay_out_backward(model, sites, &b, layout);
            layout->per_lane = b.end;
        }
    free(b.blocks);
    if (b.overflow)
        return fq_fail(FQ_ELIMIT, "the activations of one example are larger than memory");
    return FQ_OK;
}

/* ---- workspace ---- */

struct fq_workspace {
    const fq_layout *layout;
    size_t           max_batch;
    bool             train, sites;
    float           *slab, *fixed;
    bool            *quantized; /* [sites] by the hook, in the last forward pass */
};

fq_status fq_workspace_create(fq_workspace **out, const fq_model *model, size_t max_batch,
                              bool train, bool sites, fq_arena *arena) {
    const fq_layout *layout = &model->layouts[train][sites];
    size_t           n_floats;
    *out = NULL;
    if (max_batch == 0)
        return fq_fail(FQ_EINVAL,
                       "a workspace for batches of 0 examples is impossible; expected at least 1");
    if (max_batch > SIZE_MAX - FQ_LANES ||
        !fq_size_mul(layout->per_lane, fq_lanes(max_batch), &n_floats))
        return fq_fail(FQ_ENOMEM, "a workspace for batches of %zu examples is larger than memory",
                       max_batch);
    fq_workspace *ws = FQ_ARENA_NEW(arena, fq_workspace, 1);
    float        *slab = FQ_ARENA_NEW(arena, float, n_floats);
    float        *fixed = FQ_ARENA_NEW(arena, float, layout->fixed);
    bool         *quantized = FQ_ARENA_NEW(arena, bool, model->n_sites);
    FQ_TRY(fq_arena_check(arena));
    if (arena->memory == NULL)
        return FQ_OK;
    memset(slab, 0, n_floats * sizeof *slab); /* so that lanes which a hook leaves out are finite */
    *ws = (fq_workspace){layout, max_batch, train, sites, slab, fixed, quantized};
    memset(quantized, 0, model->n_sites * sizeof *quantized);
    *out = ws;
    return FQ_OK;
}

size_t fq_workspace_bytes(const fq_model *model, size_t max_batch, bool train, bool sites) {
    fq_arena      arena = fq_arena_measure();
    fq_workspace *none;
    return fq_workspace_create(&none, model, max_batch, train, sites, &arena) == FQ_OK ? arena.peak
                                                                                       : SIZE_MAX;
}

float *fq_workspace_input(fq_workspace *ws) {
    return ws->slab + ws->layout->value[0]; /* the first block: place 0, whatever the lanes */
}

/* ---- passes ---- */

static float *value_at(const fq_model *model, const fq_workspace *ws, size_t value, size_t lanes) {
    return ws->slab + ws->layout->value[model->values[value].root] * lanes;
}

/* All of a layer's arguments but its gradients. */
static fq_layer_pass begin_layer(const fq_model *model, const fq_workspace *ws, const float *w,
                                 const fq_pass *pass, size_t i) {
    const fq_node *node = &model->nodes[i];
    size_t         lanes = fq_lanes(pass->batch);
    fq_layer_pass  p = {
         .spec = &model->network.layers[i],
         .out = node->plan.out,
         .batch = pass->batch,
         .lanes = lanes,
         .train = pass->train,
         .relu = node->relu,
         .y = value_at(model, ws, i + 1, lanes),
         .scratch =
            node->plan.scratch_fixed > 0 ? ws->fixed : ws->slab + ws->layout->scratch * lanes,
    };
    for (size_t k = 0; k < node->layer->n_inputs; k++) {
        p.in[k] = node->in[k];
        p.x[k] = value_at(model, ws, node->input[k], lanes);
    }
    for (size_t t = 0; t < node->plan.n_tensors; t++)
        p.w[t] = w + model->tensors[node->tensor[t]].offset;
    if (pass->train && node->plan.cache_fixed > 0)
        p.cache = ws->fixed + ws->layout->cache_fixed[i];
    else if (pass->train)
        p.cache = ws->slab + ws->layout->cache[i] * lanes;
    if (pass->train)
        p.rng = fq_rng_stream(pass->seed, FQ_RNG_DROPOUT, pass->round, pass->client, pass->step,
                              (uint32_t)i);
    return p;
}

/* The input of a site as the layer sees it: quantized, if the hook does so. */
static const float *enter_site(const fq_model *model, fq_workspace *ws, const fq_pass *pass,
                               size_t i, const float *x) {
    const fq_site_hook *hook = pass->sites;
    size_t              site = model->nodes[i].site, lanes = fq_lanes(pass->batch);
    ws->quantized[site] = false;
    if (hook == NULL || hook->quantize == NULL)
        return x;
    assert(ws->sites);
    float *y = ws->slab + ws->layout->site[i] * lanes;
    size_t features = fq_shape_count(model->nodes[i].in[0]);
    ws->quantized[site] = hook->quantize(hook->context, site, features, pass->batch, lanes, x, y);
    return ws->quantized[site] ? y : x;
}

/* Let the watcher see a value. */
static void show(const fq_model *model, const fq_workspace *ws, const fq_pass *pass, size_t value) {
    size_t lanes = fq_lanes(pass->batch);
    if (pass->watch != NULL)
        pass->watch->see(pass->watch->context, value, fq_shape_count(model->values[value].shape),
                         pass->batch, lanes, value_at(model, ws, value, lanes));
}

const float *fq_model_forward(const fq_model *model, fq_workspace *ws, const float *w,
                              const fq_pass *pass) {
    assert(pass->batch > 0 && pass->batch <= ws->max_batch);
    assert(ws->layout == &model->layouts[ws->train][ws->sites]);
    assert(ws->train || !pass->train);
    show(model, ws, pass, 0);
    for (size_t i = 0; i < model->network.n_layers; i++) {
        const fq_node *node = &model->nodes[i];
        if (node->layer->forward == NULL || node->skipped) { /* its place holds the value already */
            show(model, ws, pass, i + 1);
            continue;
        }
        fq_layer_pass p = begin_layer(model, ws, w, pass, i);
        for (size_t t = 0; t < node->plan.n_tensors && pass->train && pass->statistics != NULL; t++)
            if (node->plan.tensors[t].kind == FQ_STATISTIC)
                p.statistic[t] = pass->statistics + model->tensors[node->tensor[t]].offset;
        if (node->site != FQ_NONE)
            p.x[0] = enter_site(model, ws, pass, i, p.x[0]);
        node->layer->forward(&p);
        show(model, ws, pass, i + 1);
    }
    return value_at(model, ws, model->network.n_layers, fq_lanes(pass->batch));
}

static void add_to(size_t n, const float *restrict x, float *restrict y) {
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void backward_layer(const fq_model *model, fq_workspace *ws, const float *w,
                           const fq_pass *pass, size_t i, float *grad) {
    const fq_node      *node = &model->nodes[i];
    const fq_layout    *layout = ws->layout;
    const fq_site_hook *hook = pass->sites;
    size_t              lanes = fq_lanes(pass->batch);
    fq_layer_pass       p = begin_layer(model, ws, w, pass, i);
    const float        *unquantized = p.x[0];
    bool                quantized = node->site != FQ_NONE && ws->quantized[node->site];
    bool                pulled = quantized && hook != NULL && hook->pull != NULL;
    if (quantized)
        p.x[0] = ws->slab + layout->site[i] * lanes;
    p.dy = ws->slab + layout->gradient[model->values[i + 1].root] * lanes;
    for (size_t t = 0; t < node->plan.n_tensors; t++)
        if (node->plan.tensors[t].kind < FQ_STATISTIC)
            p.dw[t] = grad + model->tensors[node->tensor[t]].offset;
    for (size_t k = 0; k < node->layer->n_inputs; k++) {
        const fq_value *value = &model->values[node->input[k]];
        if (layout->spare[i][k] != FQ_NONE &&
            (value->needs_gradient || (pulled && hook->pull_everywhere)))
            p.dx[k] = ws->slab + layout->spare[i][k] * lanes;
        else if (value->needs_gradient)
            p.dx[k] = ws->slab + layout->gradient[value->root] * lanes;
    }
    node->layer->backward(&p);
    if (pulled && p.dx[0] != NULL)
        hook->pull(hook->context, node->site, fq_shape_count(node->in[0]), pass->batch, lanes,
                   unquantized, p.dx[0]);
    for (size_t k = 0; k < node->layer->n_inputs; k++) {
        const fq_value *value = &model->values[node->input[k]];
        if (value->needs_gradient && layout->spare[i][k] != FQ_NONE)
            add_to(fq_shape_count(value->shape) * lanes, p.dx[k],
                   ws->slab + layout->gradient[value->root] * lanes);
    }
}

void fq_model_backward(const fq_model *model, fq_workspace *ws, const float *w, const fq_pass *pass,
                       const float *dlogits, float *grad) {
    size_t          n = model->network.n_layers;
    const fq_value *logits = &model->values[n];
    assert(ws->train && pass->train);
    if (!logits->needs_gradient)
        return;
    memcpy(ws->slab + ws->layout->gradient[logits->root] * fq_lanes(pass->batch), dlogits,
           fq_shape_count(logits->shape) * fq_lanes(pass->batch) * sizeof *dlogits);
    for (size_t i = n; i-- > 0;)
        if (model->nodes[i].layer->backward != NULL && !model->nodes[i].skipped &&
            model->values[i + 1].needs_gradient)
            backward_layer(model, ws, w, pass, i, grad);
}

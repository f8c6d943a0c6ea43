#include "train/client_turn.h"

#include "math/kernels.h"
#include "train/sgd.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fq_worker {
    const fq_model  *model;
    const fq_recipe *recipe;
    fq_arena         arena;
    size_t           turn_mark; /* what lies below is kept for the worker's life */
    size_t           max_examples, n_decay;
    fq_workspace    *workspace;
    fq_blocks        blocks;
    fq_bound         bound[FQ_MAX_METHODS];
    uint16_t        *labels;      /* [batch] */
    uint32_t        *order;       /* [max_examples] */
    float           *dlogits;     /* [n_classes, lanes] */
    float           *w;           /* [P] local weights */
    float           *g;           /* [n_trainable] */
    float           *velocity;    /* [n_trainable], NULL without momentum */
    float *views[FQ_MAX_METHODS]; /* [P] weights as each method shows them; NULL: as it got them */
    uint8_t *first_part; /* [P] first part that holds each value (protocol/plan.h), or NULL */
    size_t   part;       /* of this turn's client */
    size_t  *n_labels;   /* [n_classes] this client's examples of each class; NULL: nobody asks */
    float   *logits;     /* [n_classes, lanes] with those of absent classes zero, or NULL */
    float   *delta;      /* [P] */
    float   *extra;      /* [P] second vector of the update, or NULL */
    float   *sent[FQ_MAX_VECTORS]; /* [P] what the server will decode of each vector; NULL if the
                                      client keeps nothing */
    float   *state; /* [vectors * P] the client's new state until the turn has succeeded */
    uint64_t passes;
};

size_t fq_client_state_vectors(const fq_recipe *recipe) {
    return recipe->algorithm->n_client + (recipe->upload.error_feedback ? 1 : 0);
}

static bool wants_sites(const fq_recipe *recipe) {
    for (size_t m = 0; m < recipe->n_methods; m++)
        if (recipe->methods[m]->site_hook != NULL)
            return true;
    return false;
}

static bool masks_absent(const fq_recipe *recipe) {
    for (size_t m = 0; m < recipe->n_methods; m++)
        if (recipe->methods[m]->masks_absent != NULL &&
            recipe->methods[m]->masks_absent(&recipe->method_configs[m]))
            return true;
    return false;
}

static bool sees_labels(const fq_recipe *recipe) {
    for (size_t m = 0; m < recipe->n_methods; m++)
        if (recipe->methods[m]->sees_labels)
            return true;
    return false;
}

/* Lay out a worker in its arena; the same code measures and reserves. */
static fq_status lay_out(fq_worker *worker) {
    const fq_model  *model = worker->model;
    const fq_recipe *recipe = worker->recipe;
    fq_arena        *arena = &worker->arena;
    size_t           size = fq_model_size(model), trainable = fq_model_trainable(model);
    /* No minibatch is larger than the largest client. */
    size_t batch =
        (size_t)recipe->batch < worker->max_examples ? (size_t)recipe->batch : worker->max_examples;
    FQ_TRY(fq_workspace_create(&worker->workspace, model, batch, true, wants_sites(recipe), arena));
    worker->labels = FQ_ARENA_NEW(arena, uint16_t, batch);
    worker->order = FQ_ARENA_NEW(arena, uint32_t, worker->max_examples);
    const size_t n_classes = fq_model_network(model)->n_classes;
    worker->dlogits = FQ_ARENA_NEW(arena, float, n_classes *fq_lanes(batch));
    worker->w = FQ_ARENA_NEW(arena, float, size);
    worker->g = FQ_ARENA_NEW(arena, float, trainable);
    worker->velocity = recipe->momentum > 0.0 ? FQ_ARENA_NEW(arena, float, trainable) : NULL;
    for (size_t m = 0; m < recipe->n_methods; m++)
        worker->views[m] =
            recipe->methods[m]->view_weights == NULL ? NULL : FQ_ARENA_NEW(arena, float, size);
    if (masks_absent(recipe))
        worker->logits = FQ_ARENA_NEW(arena, float, n_classes *fq_lanes(batch));
    if (masks_absent(recipe) || sees_labels(recipe))
        worker->n_labels = FQ_ARENA_NEW(arena, size_t, n_classes);
    worker->delta = FQ_ARENA_NEW(arena, float, size);
    worker->extra = recipe->algorithm->n_up > 1 ? FQ_ARENA_NEW(arena, float, size) : NULL;
    for (size_t v = 0; v < recipe->algorithm->n_up; v++)
        worker->sent[v] =
            fq_client_state_vectors(recipe) > 0 ? FQ_ARENA_NEW(arena, float, size) : NULL;
    worker->state = FQ_ARENA_NEW(arena, float, size *fq_client_state_vectors(recipe));
    worker->turn_mark = fq_arena_mark(arena);
    /* What a turn takes on top, and gives back. */
    for (size_t m = 0; m < recipe->n_methods; m++)
        if (recipe->methods[m]->begin_turn != NULL)
            recipe->methods[m]->begin_turn(&worker->bound[m], arena);
    const fq_coding *upload = &recipe->upload;
    size_t coding = fq_quantize_arena_bytes(upload->quantizer, upload->bits, upload->zstd, size,
                                            worker->blocks.n);
    for (size_t v = 0; v < recipe->algorithm->n_up; v++)
        (void)fq_arena_alloc(arena, coding, 1);
    fq_arena_rewind(arena, worker->turn_mark);
    return fq_arena_check(arena);
}

static fq_status prepare(fq_worker *worker, const fq_model *model, const fq_recipe *recipe,
                         size_t max_examples) {
    *worker = (fq_worker){.model = model, .recipe = recipe, .max_examples = max_examples};
    fq_recipe_bind(recipe, model, worker->bound);
    /* Weight decay acts on weights, biases and norms, not on learned steps. */
    worker->n_decay = fq_model_parameters(model);
    FQ_TRY(fq_blocks_of_model(model, recipe->upload.block, &worker->blocks));
    FQ_TRY(fq_recipe_parts(recipe, model, &worker->first_part));
    worker->arena = fq_arena_measure();
    return lay_out(worker);
}

fq_status fq_worker_bytes(const fq_model *model, const fq_recipe *recipe, size_t max_examples,
                          size_t *bytes) {
    fq_worker worker;
    fq_status status = prepare(&worker, model, recipe, max_examples);
    *bytes = worker.arena.peak + sizeof worker + worker.blocks.n * sizeof *worker.blocks.ends +
             (worker.first_part == NULL ? 0 : fq_model_size(model));
    free(worker.first_part);
    fq_blocks_free(&worker.blocks);
    return status;
}

fq_status fq_worker_create(fq_worker **out, const fq_model *model, const fq_recipe *recipe,
                           size_t max_examples) {
    *out = NULL;
    fq_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a worker");
    fq_status status = prepare(worker, model, recipe, max_examples);
    if (status == FQ_OK)
        status = fq_arena_init(&worker->arena, worker->arena.peak);
    if (status == FQ_OK)
        status = lay_out(worker);
    if (status != FQ_OK) {
        fq_worker_destroy(&worker);
        return status;
    }
    *out = worker;
    return FQ_OK;
}

void fq_worker_destroy(fq_worker **slot) {
    if (*slot == NULL)
        return;
    free((*slot)->first_part);
    fq_blocks_free(&(*slot)->blocks);
    fq_arena_fini(&(*slot)->arena);
    free(*slot);
    *slot = NULL;
}

uint64_t fq_worker_passes(const fq_worker *worker) {
    return worker->passes;
}

/* x [n] without what this turn's client does not hold. */
static void keep_part(const fq_worker *worker, size_t n, float *x) {
    fq_part_keep(worker->first_part, worker->part, n, x);
}

/* The sum of the losses of the batch in the workspace, and dlogits unless NULL. Absent classes have
 * a logit of zero, and so no gradient (Diao et al. 2021, masked cross-entropy). */
static double loss_of(fq_worker *worker, const float *logits, size_t batch, float *dlogits) {
    const size_t n_classes = fq_model_network(worker->model)->n_classes, lanes = fq_lanes(batch);
    const bool   masks = worker->logits != NULL && worker->n_labels != NULL;
    size_t       correct;
    for (size_t c = 0; masks && c < n_classes; c++) {
        if (worker->n_labels[c] > 0)
            memcpy(worker->logits + c * lanes, logits + c * lanes, lanes * sizeof *logits);
        else
            memset(worker->logits + c * lanes, 0, lanes * sizeof *logits);
    }
    if (masks)
        logits = worker->logits;
    double loss =
        fq_cross_entropy(logits, worker->labels, n_classes, batch, lanes, dlogits, &correct);
    for (size_t c = 0; masks && dlogits != NULL && c < n_classes; c++)
        if (worker->n_labels[c] == 0)
            memset(dlogits + c * lanes, 0, lanes * sizeof *dlogits);
    return loss;
}

/* One local step on the minibatch that is in the workspace; returns the sum of its losses. */
static double local_step(fq_worker *worker, const fq_plan *plan, const fq_algo_client *algo,
                         const fq_step *step, size_t batch) {
    const fq_recipe *recipe = worker->recipe;
    const fq_model  *model = worker->model;
    size_t           trainable = fq_model_trainable(model), n_methods = recipe->n_methods;
    float           *w = worker->w, *g = worker->g;

    /* Weights seen: u_0 = w, u_(m+1) = view_m(u_m). */
    const float *seen[FQ_MAX_METHODS + 1] = {w};
    for (size_t m = 0; m < n_methods; m++) {
        const fq_bound *bound = &worker->bound[m];
        if (bound->method->begin_step != NULL)
            bound->method->begin_step(bound, step);
        seen[m + 1] = seen[m];
        if (bound->method->view_weights != NULL) {
            bound->method->view_weights(bound, step, seen[m], worker->views[m]);
            seen[m + 1] = worker->views[m];
        }
    }
    memset(g, 0, trainable * sizeof *g);
    fq_site_hook hook;
    bool         sites = false;
    for (size_t m = 0; m < n_methods && !sites; m++)
        if (worker->bound[m].method->site_hook != NULL)
            sites = worker->bound[m].method->site_hook(&worker->bound[m], step, w, g, &hook);

    const fq_pass pass = {.batch = batch,
                          .train = true,
                          .seed = plan->seed,
                          .client = step->client,
                          .round = plan->round,
                          .step = step->step,
                          .sites = sites ? &hook : NULL,
                          .statistics = w};
    const float  *logits = fq_model_forward(model, worker->workspace, seen[n_methods], &pass);
    double        loss = loss_of(worker, logits, batch, worker->dlogits);
    fq_model_backward(model, worker->workspace, seen[n_methods], &pass, worker->dlogits, g);
    worker->passes++;

    for (size_t m = n_methods; m > 0; m--) {
        const fq_bound *bound = &worker->bound[m - 1];
        if (bound->method->pull_gradient != NULL)
            bound->method->pull_gradient(bound, step, seen[m - 1], seen[m], g);
    }
    for (size_t m = 0; m < n_methods; m++)
        if (worker->bound[m].method->penalty != NULL)
            (void)worker->bound[m].method->penalty(&worker->bound[m], w, g);
    if (recipe->algorithm->client_grad != NULL)
        recipe->algorithm->client_grad(algo, w, g);
    keep_part(worker, trainable, g);

    const fq_sgd sgd = {.rate = plan->rate,
                        .momentum = recipe->momentum,
                        .weight_decay = recipe->weight_decay,
                        .clip_norm = recipe->clip_norm,
                        .nesterov = recipe->nesterov};
    fq_sgd_step(&sgd, trainable, worker->n_decay, w, g, worker->velocity);
    return loss;
}

/* What the methods make of the latent weights after step->step local steps. */
static void after_steps(fq_worker *worker, const fq_step *step) {
    for (size_t m = 0; m < worker->recipe->n_methods; m++)
        if (worker->bound[m].method->after_step != NULL)
            worker->bound[m].method->after_step(&worker->bound[m], step, worker->w);
}

/* H / ln(C), H = - sum p_c ln(p_c) */
static double label_entropy(const fq_worker *worker, size_t n) {
    const size_t n_classes = fq_model_network(worker->model)->n_classes;
    double       sum = 0.0;
    if (worker->n_labels == NULL || n_classes < 2)
        return 0.0;
    for (size_t c = 0; c < n_classes; c++) {
        const double p = (double)worker->n_labels[c] / (double)n;
        sum -= p > 0.0 ? p * log(p) : 0.0;
    }
    return sum / log((double)n_classes);
}

/* All local steps; *n_steps and *mean_loss over the examples seen. */
static fq_status train(fq_worker *worker, const fq_plan *plan, const fq_client *client,
                       const fq_algo_client *algo, uint32_t *n_steps, double *mean_loss) {
    const fq_recipe *recipe = worker->recipe;
    size_t           n = client->shard.n, batch = (size_t)recipe->batch;
    fq_batches       batches;
    fq_batches_begin(&batches, worker->order, n, batch, plan->seed, plan->round, client->id);
    uint64_t total = (uint64_t)recipe->epochs * fq_batches_per_epoch(n, batch), seen = 0;
    if (recipe->max_steps > 0 && total > (uint64_t)recipe->max_steps)
        total = (uint64_t)recipe->max_steps;
    double  loss = 0.0;
    fq_step step = {.model = worker->model,
                    .seed = plan->seed,
                    .client = client->id,
                    .round = plan->round,
                    .n_steps = (uint32_t)total,
                    .label_entropy = label_entropy(worker, n),
                    .capability = client->widths != NULL
                                      ? client->widths
                                      : fq_recipe_capability(recipe, client->id)};
    after_steps(worker, &step);
    while (step.step < total) {
        size_t          size;
        const uint32_t *order = fq_batches_next(&batches, &size);
        fq_shard_gather(&client->shard, order, size, fq_lanes(size),
                        fq_workspace_input(worker->workspace), worker->labels);
        loss += local_step(worker, plan, algo, &step, size);
        seen += size;
        step.step++;
        after_steps(worker, &step);
        if (!isfinite(loss))
            return fq_fail(FQ_ENONFINITE,
                           "client %llu: the loss is not finite after %u local steps",
                           (unsigned long long)client->id, (unsigned)step.step);
    }
    *n_steps = (uint32_t)total;
    *mean_loss = loss / (double)seen;
    return FQ_OK;
}

/* Put examples begin.. of the client into the workspace, a batch at most; returns how many. */
static size_t gather_in_order(fq_worker *worker, const fq_client *client, size_t begin) {
    const size_t left = client->shard.n - begin, most = (size_t)worker->recipe->batch;
    const size_t batch = left < most ? left : most;
    for (size_t i = 0; i < batch; i++)
        worker->order[i] = (uint32_t)(begin + i);
    fq_shard_gather(&client->shard, worker->order, batch, fq_lanes(batch),
                    fq_workspace_input(worker->workspace), worker->labels);
    return batch;
}

/* The mean loss over the client's examples on the weights it received. */
static double loss_before(fq_worker *worker, const fq_client *client) {
    double loss = 0.0;
    for (size_t begin = 0, batch; begin < client->shard.n; begin += batch) {
        batch = gather_in_order(worker, client, begin);
        const fq_pass pass = {.batch = batch};
        const float  *logits = fq_model_forward(worker->model, worker->workspace, worker->w, &pass);
        loss += loss_of(worker, logits, batch, NULL);
    }
    return loss / (double)client->shard.n;
}

static void count_labels(fq_worker *worker, const fq_client *client) {
    memset(worker->n_labels, 0,
           fq_model_network(worker->model)->n_classes * sizeof *worker->n_labels);
    for (size_t begin = 0, batch; begin < client->shard.n; begin += batch) {
        batch = gather_in_order(worker, client, begin);
        for (size_t i = 0; i < batch; i++)
            worker->n_labels[worker->labels[i]]++;
    }
}

/* Code the vectors of the update. With error feedback the first one is delta plus what earlier
 * rounds owe, and the memory keeps what this coding loses (Seide et al. 2014). */
static fq_status encode(fq_worker *worker, const fq_plan *plan, const fq_algo_client *algo,
                        float *memory, fq_update *out) {
    const fq_algorithm *algorithm = worker->recipe->algorithm;
    const fq_coding    *upload = &worker->recipe->upload;
    const float        *vectors[FQ_MAX_VECTORS] = {worker->delta, worker->extra};
    assert(algorithm->n_up <= FQ_MAX_VECTORS);
    if (memory != NULL)
        fq_kernels_get()->axpy(algo->size, 1.0f, memory, worker->delta);
    const int32_t levels = fq_levels_of(&plan->levels, out->n_examples, upload->bits);
    const uint8_t bits = levels == 0 ? upload->bits : fq_level_bits(levels);
    const size_t  n = algorithm->n_up;
    out->n_vectors = n;
    for (size_t v = 0; v < n; v++) {
        fq_rng rng =
            fq_rng_stream(plan->seed, FQ_RNG_ROUNDING, plan->round, out->client, 0, (uint32_t)v);
        FQ_TRY(fq_quantize_levels(upload->quantizer, bits, levels, upload->zstd, vectors[v],
                                  worker->blocks, &rng, &worker->arena, &out->vectors[v]));
        if (worker->sent[v] == NULL)
            continue;
        FQ_TRY(fq_dequantize(&out->vectors[v], worker->blocks, &worker->arena, worker->sent[v]));
        keep_part(worker, algo->size, worker->sent[v]); /* as the server does */
    }
    const float *sent = worker->sent[0]; /* there if anybody here keeps a state */
    for (size_t i = 0; memory != NULL && sent != NULL && i < algo->size; i++)
        memory[i] = worker->delta[i] - sent[i];
    if (algorithm->client_sent != NULL)
        algorithm->client_sent(algo, (const float *const *)worker->sent);
    return FQ_OK;
}

fq_status fq_client_turn(fq_worker *worker, const fq_plan *plan, const fq_client *client,
                         fq_update *out) {
    const fq_recipe *recipe = worker->recipe;
    size_t           size = fq_model_size(worker->model), vectors = fq_client_state_vectors(recipe);
    assert(plan->model == worker->model && plan->recipe == recipe);
    if (client->shard.n == 0 || client->shard.n > worker->max_examples)
        return fq_fail(FQ_EINVAL, "client %llu has %zu examples; it needs 1 to %zu",
                       (unsigned long long)client->id, client->shard.n, worker->max_examples);
    fq_arena_rewind(&worker->arena, worker->turn_mark);
    for (size_t m = 0; m < recipe->n_methods; m++)
        if (recipe->methods[m]->begin_turn != NULL)
            recipe->methods[m]->begin_turn(&worker->bound[m], &worker->arena);
    worker->part = fq_recipe_part(recipe, client->id);
    memcpy(worker->w, plan->w, size * sizeof *worker->w);
    keep_part(worker, size, worker->w);
    if (worker->n_labels != NULL)
        count_labels(worker, client);
    if (worker->velocity != NULL)
        memset(worker->velocity, 0, fq_model_trainable(worker->model) * sizeof *worker->velocity);
    if (vectors > 0)
        memcpy(worker->state, client->state, vectors * size * sizeof *worker->state);
    fq_algo_client algo = {.config = &recipe->algorithm_config,
                           .size = size,
                           .n_trainable = fq_model_trainable(worker->model),
                           .global = plan->w,
                           .server_vectors = plan->server_vectors,
                           .client_vectors = recipe->algorithm->n_client > 0 ? worker->state : NULL,
                           .rate = plan->rate,
                           .max_steps = (uint32_t)recipe->max_steps};

    *out = (fq_update){.client = client->id, .round = plan->round, .n_examples = client->shard.n};
    if (plan->levels.all != 0)
        out->first_loss = loss_before(worker, client);
    FQ_TRY(train(worker, plan, client, &algo, &out->n_steps, &out->loss));
    for (size_t i = 0; i < size; i++)
        worker->delta[i] = worker->w[i] - plan->w[i];
    keep_part(worker, size, worker->delta);
    out->drift = sqrt(fq_kernels_get()->sum_squares(size, worker->delta));
    algo.n_steps = out->n_steps;
    if (recipe->algorithm->client_finish != NULL)
        recipe->algorithm->client_finish(&algo, worker->delta, worker->extra);
    float *memory =
        recipe->upload.error_feedback ? worker->state + recipe->algorithm->n_client * size : NULL;
    return encode(worker, plan, &algo, memory, out);
}

void fq_client_commit(const fq_worker *worker, fq_client *client) {
    size_t vectors = fq_client_state_vectors(worker->recipe);
    if (vectors > 0)
        memcpy(client->state, worker->state,
               vectors * fq_model_size(worker->model) * sizeof *worker->state);
}

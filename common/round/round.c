#include "round/round.h"

#include "math/kernels.h"
#include "round/exact_sum.h"
#include "round/round_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COMBINE_RANGE = 8192 }; /* coordinates of one task when updates are combined */
/* The server's own rounding stream: no client has this id. */
static const uint64_t SERVER_ID = UINT64_MAX;

static float *new_vectors(size_t n, size_t size) {
    size_t count;
    if (!fq_size_mul(n, size, &count))
        return NULL;
    return calloc(count == 0 ? 1 : count, sizeof(float));
}

static size_t coding_bytes(const fq_coding *coding, size_t size, size_t n_blocks) {
    return fq_quantize_arena_bytes(coding->quantizer, coding->bits, coding->zstd, size, n_blocks);
}

size_t fq_server_bytes(const fq_model *model, const fq_recipe *recipe,
                       const fq_server_settings *settings, size_t workers) {
    const fq_algorithm *algorithm = recipe->algorithm;
    size_t              vector = fq_model_size(model) * sizeof(float);
    if (settings->cohort > fq_model_size(model)) /* see scratch_values */
        workers += workers * settings->cohort / fq_model_size(model);
    /* w, its copy and the copy of the server's vectors, what clients decode, mean and extra,
     * scratch */
    size_t n = 2 + 2 * algorithm->n_server + 1 + algorithm->n_down + 2 + workers * algorithm->n_up;
    n += 2 * algorithm->n_up; /* 64-bit sums */
    if (settings->aggregator->keeps)
        n += settings->cohort;
    size_t blocks = fq_model_tensor_count(model);
    size_t levels = fq_recipe_has_parts(recipe) ? fq_model_size(model) : 0;
    return n * vector + levels +
           (1 + algorithm->n_down) *
               coding_bytes(&settings->download, fq_model_size(model), blocks) +
           workers * coding_bytes(&recipe->upload, fq_model_size(model), blocks);
}

/* Of one worker: the vectors of an update, or one coordinate of all kept updates. */
static size_t scratch_values(const fq_server *server) {
    size_t vectors = server->recipe->algorithm->n_up * server->size;
    return vectors < server->settings->cohort ? server->settings->cohort : vectors;
}

fq_status fq_server_create(fq_server **out, const fq_model *model, const fq_recipe *recipe,
                           const fq_server_settings *settings, uint64_t seed, size_t workers) {
    *out = NULL;
    fq_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a server");
    const fq_algorithm *algorithm = recipe->algorithm;
    size_t              size = fq_model_size(model);
    server->model = model;
    server->recipe = recipe;
    server->settings = settings;
    server->seed = seed;
    server->size = size;
    server->n_vectors = algorithm->n_server;
    server->workers = workers;
    pthread_mutex_init(&server->mutex, NULL);
    *out = server;

    bool there = true;
    there &= (server->w = new_vectors(1, size)) != NULL;
    there &= (server->vectors = new_vectors(server->n_vectors, size)) != NULL;
    there &= (server->sent = new_vectors(1 + algorithm->n_down, size)) != NULL;
    there &= (server->mean = new_vectors(1, size)) != NULL;
    there &= (server->extra = new_vectors(1, size)) != NULL;
    there &= (server->old_w = new_vectors(1, size)) != NULL;
    there &= (server->old_vectors = new_vectors(server->n_vectors, size)) != NULL;
    there &= (server->cohort = calloc(settings->cohort, sizeof *server->cohort)) != NULL;
    there &= (server->sizes = calloc(settings->cohort, sizeof *server->sizes)) != NULL;
    there &= (server->answers = calloc(settings->cohort, sizeof *server->answers)) != NULL;
    for (size_t v = settings->aggregator->keeps ? 1 : 0; v < algorithm->n_up; v++)
        there &= (server->sums[v] = calloc(size, sizeof *server->sums[v])) != NULL;
    if (settings->aggregator->keeps) {
        there &= (server->kept = calloc(settings->cohort, sizeof *server->kept)) != NULL;
        for (size_t k = 0; there && k < settings->cohort; k++)
            there &= (server->kept[k] = new_vectors(1, size)) != NULL;
    }
    there &= (server->arenas = calloc(workers, sizeof *server->arenas)) != NULL;
    there &= (server->decoded = calloc(workers, sizeof *server->decoded)) != NULL;
    fq_status status =
        there ? FQ_OK : fq_fail(FQ_ENOMEM, "no memory for a server of %zu values", size);
    if (status == FQ_OK)
        status = fq_blocks_of_model(model, recipe->upload.block, &server->upload_blocks);
    if (status == FQ_OK)
        status = fq_blocks_of_model(model, settings->download.block, &server->download_blocks);
    for (size_t i = 0; status == FQ_OK && i < workers; i++) {
        status = fq_arena_init(&server->arenas[i],
                               coding_bytes(&recipe->upload, size, server->upload_blocks.n));
        if (status == FQ_OK &&
            (server->decoded[i] = new_vectors(1, scratch_values(server))) == NULL)
            status = fq_fail(FQ_ENOMEM, "no memory to decode updates");
    }
    if (status == FQ_OK)
        status = fq_arena_init(&server->download_arena,
                               (1 + algorithm->n_down) * coding_bytes(&settings->download, size,
                                                                      server->download_blocks.n));
    fq_level_history_begin(&server->history, &recipe->adaptive);
    if (status == FQ_OK)
        status = fq_recipe_parts(recipe, model, &server->first_part);
    if (status != FQ_OK) {
        fq_server_destroy(out);
        return status;
    }
    fq_recipe_init(recipe, model, seed, server->w);
    /* What no client holds is not part of the network. */
    fq_part_keep(server->first_part, FQ_MAX_PARTS, size, server->w);
    return status;
}

void fq_server_destroy(fq_server **slot) {
    fq_server *server = *slot;
    if (server == NULL)
        return;
    for (size_t k = 0; server->kept != NULL && k < server->settings->cohort; k++)
        free(server->kept[k]);
    for (size_t i = 0; i < server->workers; i++) {
        if (server->arenas != NULL)
            fq_arena_fini(&server->arenas[i]);
        if (server->decoded != NULL)
            free(server->decoded[i]);
    }
    for (size_t v = 0; v < FQ_MAX_VECTORS; v++)
        free(server->sums[v]);
    fq_blocks_free(&server->upload_blocks);
    fq_blocks_free(&server->download_blocks);
    fq_arena_fini(&server->download_arena);
    free(server->kept);
    free(server->arenas);
    free(server->decoded);
    free(server->first_part);
    free(server->w);
    free(server->vectors);
    free(server->sent);
    free(server->mean);
    free(server->extra);
    free(server->old_w);
    free(server->old_vectors);
    free(server->cohort);
    free(server->answers);
    free(server->sizes);
    pthread_mutex_destroy(&server->mutex);
    free(server);
    *slot = NULL;
}

uint32_t fq_server_round(const fq_server *server) {
    return server->round;
}

const float *fq_server_weights(const fq_server *server) {
    return server->w;
}

/* Code the weights and the server's vectors, and decode them as the clients will. */
static fq_status encode_download(fq_server *server) {
    const fq_coding *download = &server->settings->download;
    fq_arena_reset(&server->download_arena);
    for (size_t v = 0; v < 1 + server->recipe->algorithm->n_down; v++) {
        const float *x = v == 0 ? server->w : server->vectors + (v - 1) * server->size;
        fq_rng       rng =
            fq_rng_stream(server->seed, FQ_RNG_ROUNDING, server->round, SERVER_ID, 0, (uint32_t)v);
        FQ_TRY(fq_quantize(download->quantizer, download->bits, download->zstd, x,
                           server->download_blocks, &rng, &server->download_arena,
                           &server->download[v]));
        FQ_TRY(fq_dequantize(&server->download[v], server->download_blocks, &server->download_arena,
                             server->sent + v * server->size));
    }
    return FQ_OK;
}

fq_status fq_round_open(fq_server *server, const uint64_t *cohort, size_t n, uint64_t max_weight,
                        fq_plan *plan) {
    if (server->open)
        return fq_fail(FQ_ESTATE, "round %" PRIu32 " is still open", server->round);
    if (n == 0 || n > server->settings->cohort)
        return fq_fail(FQ_EINVAL, "a cohort of %zu clients; 1 to %zu are possible", n,
                       server->settings->cohort);
    if (server->settings->equal_weights)
        max_weight = n;
    /* The second vectors are weighed 1 each, so the bound must hold for them too. */
    FQ_TRY(fq_exact_shift(server->settings->limits.max_value, max_weight < n ? n : max_weight,
                          &server->shift));
    FQ_TRY(encode_download(server));
    memcpy(server->cohort, cohort, n * sizeof *cohort);
    memset(server->answers, 0, n * sizeof *server->answers);
    for (size_t v = 0; v < FQ_MAX_VECTORS; v++)
        if (server->sums[v] != NULL)
            memset(server->sums[v], 0, server->size * sizeof *server->sums[v]);
    server->n_cohort = n;
    server->tally = (fq_tally){.max_weight = max_weight};
    server->levels = (fq_levels){.all = server->history.levels};
    server->open = true;
    *plan =
        (fq_plan){.recipe = server->recipe,
                  .model = server->model,
                  .seed = server->seed,
                  .round = server->round,
                  .rate = fq_recipe_rate(server->recipe, server->round),
                  .levels = server->levels,
                  .w = server->sent,
                  .server_vectors =
                      server->recipe->algorithm->n_down == 0 ? NULL : server->sent + server->size};
    return FQ_OK;
}

void fq_round_size_clients(fq_server *server, const uint64_t *examples, fq_plan *plan) {
    if (server->levels.all == 0 || !server->recipe->adaptive.by_client)
        return;
    for (size_t k = 0; k < server->n_cohort; k++)
        server->sizes[k] = fq_example_bucket(examples[k]);
    server->levels.factor = fq_level_factor(server->levels.all, server->sizes, server->n_cohort);
    plan->levels = server->levels;
}

const fq_packed *fq_round_download(const fq_server *server, size_t *n) {
    *n = 1 + server->recipe->algorithm->n_down;
    return server->download;
}

/* Place of a client in the cohort, or n_cohort. */
static size_t find_member(const fq_server *server, uint64_t client) {
    size_t low = 0, high = server->n_cohort;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (server->cohort[middle] < client)
            low = middle + 1;
        else
            high = middle;
    }
    return low < server->n_cohort && server->cohort[low] == client ? low : server->n_cohort;
}

static fq_status check_values(const fq_update *update, const float *x, size_t n, double limit) {
    float low, high;
    /* A comparison with NaN is false, so the test is for what is right. */
    size_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad += !(fabsf(x[i]) <= (float)limit);
    if (bad == 0)
        return FQ_OK;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return fq_fail(FQ_ENONFINITE,
                           "client %" PRIu64 ": the update has values that are not finite",
                           update->client);
    fq_kernels_get()->min_max(n, x, &low, &high);
    return fq_fail(FQ_ELIMIT,
                   "client %" PRIu64 ": the update has values from %g to %g; at most %g is allowed",
                   update->client, (double)low, (double)high, limit);
}

/* All that can be known before the update is decoded. */
static fq_status check_envelope(const fq_server *server, const fq_update *update, size_t *member) {
    const fq_recipe *recipe = server->recipe;
    if (!server->open || update->round != server->round)
        return fq_fail(FQ_ESTALE,
                       "client %" PRIu64 ": an update of round %" PRIu32 " in round %" PRIu32,
                       update->client, update->round, server->round);
    *member = find_member(server, update->client);
    if (*member == server->n_cohort)
        return fq_fail(FQ_EINVAL, "client %" PRIu64 " was not asked in round %" PRIu32,
                       update->client, server->round);
    if (update->n_vectors != recipe->algorithm->n_up)
        return fq_fail(FQ_EPROTO, "client %" PRIu64 ": %zu vectors in an update; %s has %zu",
                       update->client, update->n_vectors, recipe->algorithm->name,
                       recipe->algorithm->n_up);
    if (update->n_examples == 0 || update->n_examples > server->settings->limits.max_examples)
        return fq_fail(FQ_ELIMIT,
                       "client %" PRIu64 " claims %" PRIu64 " examples; 1 to %" PRIu64
                       " are allowed",
                       update->client, update->n_examples, server->settings->limits.max_examples);
    if (!isfinite(update->loss) || !isfinite(update->drift) || !isfinite(update->first_loss))
        return fq_fail(FQ_ENONFINITE, "client %" PRIu64 ": loss or drift is not finite",
                       update->client);
    const int32_t levels = fq_levels_of(&server->levels, update->n_examples, recipe->upload.bits);
    const uint8_t bits = levels == 0 ? recipe->upload.bits : fq_level_bits(levels);
    for (size_t v = 0; v < update->n_vectors; v++)
        if (update->vectors[v].quantizer != recipe->upload.quantizer ||
            update->vectors[v].bits != bits)
            return fq_fail(
                FQ_EPROTO, "client %" PRIu64 ": an update in %s at %u bits; %s at %u was agreed",
                update->client, update->vectors[v].quantizer->name,
                (unsigned)update->vectors[v].bits, recipe->upload.quantizer->name, (unsigned)bits);
    return FQ_OK;
}

/* Under the mutex: add the decoded vectors. */
static fq_status add(fq_server *server, size_t member, const fq_update *update, const float *x) {
    const fq_server_settings *settings = server->settings;
    fq_answer                *answer = &server->answers[member];
    fq_tally                 *tally = &server->tally;
    uint64_t                  weight = settings->equal_weights ? 1 : update->n_examples;
    if (answer->accepted)
        return fq_fail(FQ_ESTATE, "client %" PRIu64 " has already answered in round %" PRIu32,
                       update->client, server->round);
    if (weight > tally->max_weight - tally->weight)
        return fq_fail(
            FQ_ELIMIT, "client %" PRIu64 ": %" PRIu64 " examples more than the round's %" PRIu64,
            update->client, weight - (tally->max_weight - tally->weight), tally->max_weight);
    if (settings->aggregator->keeps) {
        memcpy(server->kept[tally->n_accepted], x, server->size * sizeof *x);
    } else {
        double factor = 1.0;
        if (settings->aggregator->factor != NULL)
            factor = settings->aggregator->factor(
                &settings->aggregator_config, sqrt(fq_kernels_get()->sum_squares(server->size, x)));
        fq_exact_add(server->sums[0], x, server->size, weight, factor, server->shift);
    }
    for (size_t v = 1; v < update->n_vectors; v++)
        fq_exact_add(server->sums[v], x + v * server->size, server->size, 1, 1.0, server->shift);
    *answer = (fq_answer){.accepted = true,
                          .examples = update->n_examples,
                          .loss = update->loss,
                          .drift = update->drift,
                          .first_loss = update->first_loss};
    tally->n_accepted++;
    tally->weight += weight;
    tally->weight_of[fq_recipe_part(server->recipe, update->client)] += weight;
    return FQ_OK;
}

fq_status fq_round_accept(fq_server *server, size_t worker, const fq_update *update) {
    size_t    member = 0;
    float    *x = server->decoded[worker];
    fq_arena *arena = &server->arenas[worker];
    fq_status status = check_envelope(server, update, &member);
    fq_arena_reset(arena);
    for (size_t v = 0; status == FQ_OK && v < update->n_vectors; v++) {
        status =
            fq_dequantize(&update->vectors[v], server->upload_blocks, arena, x + v * server->size);
        if (status == FQ_OK)
            status = check_values(update, x + v * server->size, server->size,
                                  server->settings->limits.max_value);
        /* A coarse code of zero need not be zero. */
        if (status == FQ_OK)
            fq_part_keep(server->first_part, fq_recipe_part(server->recipe, update->client),
                         server->size, x + v * server->size);
    }
    pthread_mutex_lock(&server->mutex);
    if (status == FQ_OK)
        status = add(server, member, update, x);
    if (status != FQ_OK)
        server->tally.n_refused++;
    pthread_mutex_unlock(&server->mutex);
    return status;
}

typedef struct combine_job {
    fq_server *server;
    size_t     n;
    uint64_t   weight[UINT8_MAX + 1]; /* of the clients that hold a value, by the first such part */
} combine_job;

/* A value that part l is the first to hold is in the sums of the clients whose part is at least l.
 */
static void weigh_parts(const fq_server *server, uint64_t weight[UINT8_MAX + 1]) {
    uint64_t sum = 0;
    for (size_t part = FQ_MAX_PARTS; part-- > 0;)
        weight[part] = sum += server->tally.weight_of[part];
}

static fq_status combine_range(void *context, size_t task, size_t worker) {
    const combine_job        *job = context;
    fq_server                *server = job->server;
    const fq_server_settings *settings = server->settings;
    size_t                    begin = task * COMBINE_RANGE, end = begin + COMBINE_RANGE;
    if (end > server->size)
        end = server->size;
    if (server->first_part != NULL)
        fq_exact_mean_of_parts(server->sums[0] + begin, server->first_part + begin, end - begin,
                               job->weight, server->shift, server->mean + begin);
    else if (!settings->aggregator->keeps)
        fq_exact_mean(server->sums[0] + begin, end - begin, server->tally.weight, server->shift,
                      server->mean + begin);
    else
        settings->aggregator->combine(&settings->aggregator_config,
                                      (const float *const *)server->kept, job->n, begin, end,
                                      server->decoded[worker], server->mean);
    if (server->sums[1] != NULL)
        fq_exact_mean(server->sums[1] + begin, end - begin, job->n, server->shift,
                      server->extra + begin);
    return FQ_OK;
}

/* Figures of the round, from the answers in the order of the cohort, so that they too are
 * repeatable. */
static void summarize(const fq_server *server, fq_round_summary *summary) {
    double   loss = 0.0, drift = 0.0;
    uint64_t examples = 0;
    for (size_t k = 0; k < server->n_cohort; k++) {
        const fq_answer *answer = &server->answers[k];
        if (!answer->accepted)
            continue;
        loss += answer->loss * (double)answer->examples;
        drift += answer->drift;
        examples += answer->examples;
    }
    size_t n = server->tally.n_accepted;
    *summary = (fq_round_summary){.n_asked = server->n_cohort,
                                  .n_accepted = n,
                                  .n_refused = server->tally.n_refused,
                                  .weight = server->tally.weight,
                                  .loss = n == 0 ? 0.0 : loss / (double)examples,
                                  .drift = n == 0 ? 0.0 : drift / (double)n};
}

static fq_status take_step(fq_server *server, fq_pool *pool, fq_round_summary *summary) {
    combine_job job = {.server = server, .n = server->tally.n_accepted};
    weigh_parts(server, job.weight);
    FQ_TRY(
        fq_pool_for(pool, (server->size + COMBINE_RANGE - 1) / COMBINE_RANGE, combine_range, &job));
    memcpy(server->old_w, server->w, server->size * sizeof *server->w);
    memcpy(server->old_vectors, server->vectors,
           server->n_vectors * server->size * sizeof *server->vectors);
    const fq_algo_server algo = {.config = &server->recipe->algorithm_config,
                                 .size = server->size,
                                 .n_trainable = fq_model_trainable(server->model),
                                 .round = server->round,
                                 .share = (double)job.n / (double)server->settings->clients,
                                 .rate = fq_recipe_rate(server->recipe, server->round),
                                 .max_steps = (uint32_t)server->recipe->max_steps,
                                 .vectors = server->vectors,
                                 .mean = server->mean,
                                 .extra = server->sums[1] == NULL ? NULL : server->extra,
                                 .w = server->w};
    server->recipe->algorithm->server_step(&algo);
    double change = 0.0;
    for (size_t i = 0; i < server->size; i++) {
        double d = (double)server->w[i] - (double)server->old_w[i];
        change += d * d;
    }
    if (!isfinite(change)) {
        memcpy(server->w, server->old_w, server->size * sizeof *server->w);
        memcpy(server->vectors, server->old_vectors,
               server->n_vectors * server->size * sizeof *server->vectors);
        return fq_fail(FQ_ENONFINITE,
                       "round %" PRIu32 ": the step of %s gives weights that are not finite",
                       server->round + 1, server->recipe->algorithm->name);
    }
    summary->update_norm = sqrt(change);
    summary->applied = true;
    return FQ_OK;
}

/* The levels of the next rounds, from how the clients found the model of this one. */
static void adapt_levels(fq_server *server) {
    double   loss = 0.0;
    uint64_t examples = 0;
    for (size_t k = 0; k < server->n_cohort; k++) {
        const fq_answer *answer = &server->answers[k];
        if (!answer->accepted)
            continue;
        loss += answer->first_loss * (double)answer->examples;
        examples += answer->examples;
    }
    fq_level_history_add(&server->history, &server->recipe->adaptive,
                         fq_levels_most(server->recipe->upload.bits), loss / (double)examples);
}

fq_status fq_round_close(fq_server *server, fq_pool *pool, fq_round_summary *summary) {
    if (!server->open)
        return fq_fail(FQ_ESTATE, "no round is open");
    server->open = false;
    summarize(server, summary);
    uint64_t needed = server->settings->min_clients < 1 ? 1 : server->settings->min_clients;
    if (summary->n_accepted >= needed)
        FQ_TRY(take_step(server, pool, summary));
    if (summary->applied && server->levels.all != 0)
        adapt_levels(server);
    server->round++;
    return FQ_OK;
}

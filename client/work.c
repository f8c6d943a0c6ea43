#include "client/work.h"

#include "base/file.h"
#include "math/gemm.h"
#include "wire/codec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fq_work {
    fq_work_options options;
    fq_document    *document;
    fq_experiment  *experiment;
    fq_setup        setup; /* partition only of a simulation */
    uint32_t       *index; /* [n] 0, 1, ...: all of a device's examples */
    uint64_t        device_client;
    size_t          bytes;
    fq_worker     **workers; /* [threads] */
    float         **states;  /* [threads] of one client, or NULL */
    size_t          n_state;
    uint64_t        most_model_bytes;
    /* the round at hand */
    fq_blocks download_blocks;
    size_t    arena_bytes; /* that its decoding takes */
    float    *vectors;     /* [(1 + n_down) * P] the model as decoded */
    fq_plan   plan;
};

/* ---- set-up ---- */
static fq_status load_settings(fq_work *work, fq_cbytes settings) {
    char path[PATH_MAX];
    work->experiment = malloc(sizeof *work->experiment);
    if (work->experiment == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    FQ_TRY(fq_document_parse(&work->document, "the coordinator's settings", settings));
    FQ_TRY(fq_experiment_load(work->document, work->experiment));
    fq_path_join(work->options.home, "settings.yaml", path);
    return fq_file_replace(path, settings, false);
}

/* A device: its whole training part, normalised as the run says. */
static fq_status open_own_data(fq_work *work, const fq_welcome *welcome) {
    fq_data_settings data = *work->options.data;
    data.normalize = welcome->n_norm == 0 ? FQ_NORMALIZE_NONE : FQ_NORMALIZE_CUSTOM;
    data.mean.n = data.std.n = welcome->n_norm;
    for (size_t i = 0; i < welcome->n_norm; i++) {
        data.mean.v[i] = (double)welcome->mean[i];
        data.std.v[i] = (double)welcome->std[i];
    }
    FQ_TRY(fq_dataset_open(&data, (uint64_t)work->experiment->head.seed, &work->setup.dataset));
    fq_shape shape = fq_dataset_shape(work->setup.dataset);
    if (shape.c != welcome->channels || shape.h != welcome->height || shape.w != welcome->width)
        return fq_fail(FQ_EINVAL,
                       "data: examples of %zux%zux%zu; the run's are %" PRIu32 "x%" PRIu32
                       "x%" PRIu32,
                       (size_t)shape.c, (size_t)shape.h, (size_t)shape.w, welcome->channels,
                       welcome->height, welcome->width);
    if (fq_dataset_classes(work->setup.dataset) > welcome->classes)
        return fq_fail(FQ_EINVAL, "data: %" PRIu32 " classes; the run has %" PRIu32,
                       fq_dataset_classes(work->setup.dataset), welcome->classes);
    size_t n = fq_dataset_train_count(work->setup.dataset);
    work->setup.max_examples = n;
    work->index = calloc(n == 0 ? 1 : n, sizeof *work->index);
    if (work->index == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu examples", n);
    for (size_t i = 0; i < n; i++)
        work->index[i] = (uint32_t)i;
    return fq_setup_model(work->experiment, shape, welcome->classes, &work->setup.model);
}

static fq_status open_data(fq_work *work, const fq_welcome *welcome) {
    if (!work->options.simulation)
        return open_own_data(work, welcome);
    if (work->options.data->path[0] != '\0')
        memcpy(work->experiment->data.path, work->options.data->path,
               sizeof work->experiment->data.path);
    FQ_TRY(fq_setup_create(work->experiment, &work->setup));
    uint64_t clients = fq_partition_clients(work->setup.partition), largest = 0;
    if (work->options.first + work->options.n > clients)
        return fq_fail(FQ_EINVAL,
                       "--simulate-clients: %" PRIu64 "-%" PRIu64
                       "; the run has clients 0 to %" PRIu64,
                       work->options.first, work->options.first + work->options.n - 1, clients - 1);
    for (uint64_t k = 0; k < work->options.n; k++) {
        uint64_t own = fq_work_examples(work, work->options.first + k);
        largest = own > largest ? own : largest;
    }
    work->setup.max_examples = (size_t)largest;
    return FQ_OK;
}

/* ---- memory ---- */
typedef struct needs {
    size_t worker, n_state, vectors, arena, message, upload;
} needs;

/* A model may come at up to 32 bits a value, whatever the settings say. */
static fq_status find_needs(const fq_model *model, const fq_experiment *e, size_t max_examples,
                            needs *out) {
    const fq_coding *up = &e->recipe.upload, *down = &e->server.download;
    size_t           size = fq_model_size(model), vectors = 1 + e->recipe.algorithm->n_down;
    fq_blocks        of_up, of_down;
    FQ_TRY(fq_worker_bytes(model, &e->recipe, max_examples, &out->worker));
    FQ_TRY(fq_blocks_of_model(model, up->block, &of_up));
    size_t n_up = of_up.n;
    fq_blocks_free(&of_up);
    FQ_TRY(fq_blocks_of_model(model, down->block, &of_down));
    size_t n_down = of_down.n;
    fq_blocks_free(&of_down);
    size_t most = fq_quantize_arena_bytes(fq_quantizer_find("float32"), 32, true, size, n_down);
    size_t own = fq_quantize_arena_bytes(down->quantizer, down->bits, down->zstd, size, n_down);
    most = own > most ? own : most;
    out->n_state = fq_client_state_vectors(&e->recipe) * size;
    out->vectors = vectors * size;
    out->message = vectors * most;
    out->arena = fq_decode_arena_bytes(out->message) + most;
    out->upload = e->recipe.algorithm->n_up *
                  fq_quantize_arena_bytes(up->quantizer, up->bits, up->zstd, size, n_up);
    return FQ_OK;
}

/* An update is there in plain, sealed, and as it is written to the outbox; buffers double. */
static size_t sum_of_needs(const needs *n, size_t threads) {
    enum { COPIES = 3, GROWTH = 2 };
    size_t one = n->worker + n->n_state * sizeof(float) + COPIES * GROWTH * n->upload;
    return threads * one + n->vectors * sizeof(float) + n->arena + n->message;
}

fq_status fq_work_estimate(const fq_model *model, const fq_experiment *e, size_t max_examples,
                           const fq_work_options *options, size_t *memory, size_t *disk) {
    needs  n;
    size_t clients = options->simulation ? (size_t)options->n : 1;
    FQ_TRY(find_needs(model, e, max_examples, &n));
    *memory = sum_of_needs(&n, options->threads);
    /* An update, and a state beside the one that it follows. */
    *disk = clients * (n.upload + 2 * n.n_state * sizeof(float));
    return FQ_OK;
}

size_t fq_resident_bytes(void) {
    char  line[128] = "", *rest = line; /* pages: in all, resident, ... */
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    bool found = fgets(line, sizeof line, file) != NULL;
    fclose(file);
    (void)strtoull(line, &rest, 10);
    return found ? (size_t)strtoull(rest, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static fq_status check_memory(const fq_work *work) {
    size_t most = work->options.max_bytes, held = fq_resident_bytes();
    if (most == 0 || held + work->bytes <= most)
        return FQ_OK;
    return fq_fail(FQ_ELIMIT,
                   "turns need %.1f MiB on %zu threads, and program and data have %.1f MiB; "
                   "--max-rss allows %.1f MiB (fewer --threads need less)",
                   (double)work->bytes * 0x1p-20, work->options.threads, (double)held * 0x1p-20,
                   (double)most * 0x1p-20);
}

/* What one thread needs for its turns, made by the first one after a rest. */
static fq_status make_worker(fq_work *work, size_t thread) {
    if (work->workers[thread] == NULL)
        FQ_TRY(fq_worker_create(&work->workers[thread], work->setup.model,
                                &work->experiment->recipe, work->setup.max_examples));
    if (work->n_state > 0 && work->states[thread] == NULL &&
        (work->states[thread] = calloc(work->n_state, sizeof(float))) == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a client's state");
    return FQ_OK;
}

void fq_work_rest(fq_work *work) {
    for (size_t i = 0; i < work->options.threads && work->workers != NULL; i++)
        fq_worker_destroy(&work->workers[i]);
    for (size_t i = 0; i < work->options.threads && work->states != NULL; i++) {
        free(work->states[i]);
        work->states[i] = NULL;
    }
}

/* Nothing is allocated before it is known that there may be so much. */
static fq_status make_room(fq_work *work) {
    const fq_experiment *e = work->experiment;
    needs                n;
    FQ_TRY(find_needs(work->setup.model, e, work->setup.max_examples, &n));
    work->n_state = n.n_state;
    work->bytes = sum_of_needs(&n, work->options.threads);
    work->most_model_bytes = n.message;
    work->arena_bytes = n.arena;
    FQ_TRY(check_memory(work));
    work->workers = calloc(work->options.threads, sizeof(fq_worker *));
    work->states = calloc(work->options.threads, sizeof(float *));
    if (work->workers == NULL || work->states == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu workers", work->options.threads);
    FQ_TRY(fq_blocks_of_model(work->setup.model, e->server.download.block, &work->download_blocks));
    work->vectors = calloc(n.vectors, sizeof *work->vectors);
    return work->vectors == NULL
               ? fq_fail(FQ_ENOMEM, "no memory for a model of %zu values", n.vectors)
               : FQ_OK;
}

fq_status fq_work_create(fq_work **out, const fq_work_options *options, const fq_welcome *welcome) {
    *out = NULL;
    fq_work *work = calloc(1, sizeof *work);
    if (work == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the work of a run");
    work->options = *options;
    work->device_client = welcome->client;
    *out = work;
    fq_gemm_start();
    fq_status status = load_settings(work, welcome->settings);
    if (status == FQ_OK)
        status = open_data(work, welcome);
    if (status == FQ_OK)
        status = make_room(work);
    if (status != FQ_OK)
        fq_work_destroy(out);
    return status;
}

void fq_work_destroy(fq_work **slot) {
    fq_work *work = *slot;
    if (work == NULL)
        return;
    fq_work_rest(work);
    free(work->workers);
    free(work->states);
    free(work->index);
    free(work->vectors);
    fq_blocks_free(&work->download_blocks);
    fq_setup_fini(&work->setup);
    fq_document_destroy(&work->document);
    free(work->experiment);
    free(work);
    *slot = NULL;
}

size_t fq_work_bytes(const fq_work *work) {
    return work->bytes;
}

const fq_experiment *fq_work_experiment(const fq_work *work) {
    return work->experiment;
}

const fq_model *fq_work_model(const fq_work *work) {
    return work->setup.model;
}

bool fq_work_hosts(const fq_work *work, uint64_t client) {
    const fq_work_options *o = &work->options;
    return o->simulation ? client >= o->first && client - o->first < o->n
                         : client == work->device_client;
}

uint64_t fq_work_most_model_bytes(const fq_work *work) {
    return work->most_model_bytes;
}

static fq_shard shard_of(const fq_work *work, uint64_t client) {
    if (work->options.simulation)
        return fq_partition_shard(work->setup.partition, client);
    return (fq_shard){.set = work->setup.dataset,
                      .client = client,
                      .index = work->index,
                      .n = work->setup.max_examples};
}

uint64_t fq_work_examples(const fq_work *work, uint64_t client) {
    return shard_of(work, client).n;
}

fq_status fq_work_count(const fq_data_settings *data, uint64_t *examples) {
    fq_dataset *set;
    FQ_TRY(fq_dataset_open(data, 0, &set));
    *examples = fq_dataset_train_count(set);
    fq_dataset_close(&set);
    if (*examples == 0)
        return fq_fail(FQ_EINVAL, "data: there are no examples to train on");
    return FQ_OK;
}

/* ---- a round ---- */
/* The model message -> work->vectors. */
static fq_status decode_model(fq_work *work, uint32_t round, fq_cbytes model, fq_arena *arena,
                              fq_levels *levels) {
    const fq_experiment *e = work->experiment;
    size_t               size = fq_model_size(work->setup.model);
    size_t               n_down = e->recipe.algorithm->n_down;
    uint32_t             found;
    fq_packed            packed[1 + FQ_MAX_VECTORS];
    const fq_expected    expected = {.size = size,
                                     .blocks = work->download_blocks,
                                     .block = e->server.download.block,
                                     .n_vectors = n_down,
                                     .limits = &e->server.limits};
    FQ_TRY(fq_decode_model(model, &expected, arena, &found, levels, packed));
    if (found != round)
        return fq_fail(FQ_ESTALE, "a model of round %" PRIu32 " came for round %" PRIu32, found,
                       round);
    for (size_t v = 0; v < 1 + n_down; v++)
        FQ_TRY(fq_dequantize(&packed[v], work->download_blocks, arena, work->vectors + v * size));
    return FQ_OK;
}

fq_status fq_work_begin_round(fq_work *work, uint32_t round, fq_cbytes model) {
    const fq_experiment *e = work->experiment;
    size_t               size = fq_model_size(work->setup.model);
    fq_arena             arena;
    fq_levels            levels;
    FQ_TRY(fq_arena_init(&arena, work->arena_bytes));
    fq_status status = decode_model(work, round, model, &arena, &levels);
    fq_arena_fini(&arena);
    FQ_TRY(status);
    work->plan =
        (fq_plan){.recipe = &e->recipe,
                  .model = work->setup.model,
                  .seed = (uint64_t)e->head.seed,
                  .round = round,
                  .rate = fq_recipe_rate(&e->recipe, round),
                  .levels = levels,
                  .w = work->vectors,
                  .server_vectors = e->recipe.algorithm->n_down == 0 ? NULL : work->vectors + size};
    return FQ_OK;
}

/* Bytes of the update, sealed -> out->sealed, heap memory. */
static fq_status seal_update(fq_work *work, const fq_update *update, fq_outgoing *out) {
    fq_buffer plain = {0}, sealed = {0};
    fq_status status = fq_encode_update(update, work->experiment->recipe.upload.block, &plain);
    if (status == FQ_OK)
        status = fq_seal(work->options.keys, work->options.server, &out->binding,
                         (fq_cbytes){plain.data, plain.size}, &sealed);
    fq_buffer_fini(&plain);
    if (status == FQ_OK)
        out->sealed = (fq_cbytes){sealed.data, sealed.size};
    else
        fq_buffer_fini(&sealed);
    return status;
}

fq_status fq_work_turn(fq_work *work, size_t thread, const fq_binding *binding, uint8_t model_bits,
                       fq_outgoing *out) {
    *out = (fq_outgoing){.binding = *binding, .model_bits = model_bits};
    FQ_TRY(make_worker(work, thread));
    fq_client client = {.id = binding->client,
                        .shard = shard_of(work, binding->client),
                        .state = work->states[thread],
                        .widths = work->options.widths.n > 0 ? &work->options.widths : NULL};
    fq_update update;
    if (work->n_state > 0)
        FQ_TRY(fq_state_load(work->options.home, binding, client.state, work->n_state));
    FQ_TRY(fq_client_turn(work->workers[thread], &work->plan, &client, &update));
    fq_status status = seal_update(work, &update, out);
    if (status == FQ_OK && work->n_state > 0) {
        fq_client_commit(work->workers[thread], &client); /* to memory; the file has to wait */
        status = fq_state_stage(work->options.home, binding, client.state, work->n_state);
    }
    if (status == FQ_OK)
        status = fq_outbox_put(work->options.home, out);
    if (status != FQ_OK)
        fq_outgoing_fini(out);
    return status;
}

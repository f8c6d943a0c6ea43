/* What the coordinator does with an update, and what it costs to make one: code, compress, seal,
 * open, and fq_round_accept, which decodes, checks every value and adds exactly. */
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/commands.h"
#include "bench/peak.h"
#include "round/round.h"
#include "wire/codec.h"
#include "wire/seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLASSES = 100, /* of the one dense layer whose weights the values are */
    MOST_UPDATES = 64,
    WANTED_BYTES = 64 << 20, /* of coded updates at hand: more than caches hold */
    EXAMPLES = 100,
};

typedef struct aggregate_job {
    uint64_t       params, bits, threads;
    double         seconds; /* for each figure */
    fq_experiment *experiment;
    fq_network     network;
    fq_model      *model;
    fq_blocks      blocks;
    fq_pool       *pool;
    fq_server     *server;
    float         *x, *y; /* [params] values of an update; decoded again */
    size_t         n_updates;
    fq_arena      *arenas; /* [n_updates] the bodies */
    fq_update     *updates;
    uint64_t       cohort[MOST_UPDATES];
    fq_arena       scratch;
    fq_packed      packed; /* of the last coding in scratch */
    bool           zstd;
    fq_keypair    *client, *coordinator;
    fq_buffer      message, sealed;
    unsigned char *plain;
    fq_spread      accept, close, encode, encode_zstd, decode_zstd, seal, open;
    size_t         zstd_bytes;
    double         copy;
} aggregate_job;

static const fq_binding binding = {.round = 0};

/* ---- what is timed ---- */
static fq_status encode(void *context) {
    aggregate_job   *job = context;
    const fq_coding *upload = &job->experiment->recipe.upload;
    fq_rng           rng = fq_rng_stream(1, FQ_RNG_ROUNDING, 0, 0, 0, 0);
    fq_arena_reset(&job->scratch);
    return fq_quantize(upload->quantizer, upload->bits, job->zstd, job->x, job->blocks, &rng,
                       &job->scratch, &job->packed);
}

static fq_status decode(void *context) {
    aggregate_job *job = context;
    return fq_dequantize(&job->packed, job->blocks, &job->scratch, job->y);
}

static fq_status seal(void *context) {
    aggregate_job *job = context;
    job->sealed.size = 0;
    return fq_seal(job->client, fq_keypair_public(job->coordinator), &binding,
                   (fq_cbytes){job->message.data, job->message.size}, &job->sealed);
}

static fq_status unseal(void *context) {
    aggregate_job *job = context;
    return fq_unseal(job->coordinator, fq_keypair_public(job->client), &binding,
                     (fq_cbytes){job->sealed.data, job->sealed.size}, job->plain);
}

static fq_status accept_one(void *context, size_t task, size_t worker) {
    aggregate_job *job = context;
    return fq_round_accept(job->server, worker, &job->updates[task]);
}

/* Rounds until the time is over; only accepting and closing count, not the coding of the model. */
static fq_status measure_rounds(aggregate_job *job) {
    enum { MOST = 512, LEAST = 3 };
    double accept[MOST], closing[MOST], began = fq_now();
    size_t n = 0;
    for (size_t r = 0; n < MOST && (n < LEAST || fq_now() - began < 2.0 * job->seconds); r++) {
        fq_plan          plan;
        fq_round_summary summary;
        for (size_t k = 0; k < job->n_updates; k++)
            job->updates[k].round = fq_server_round(job->server);
        FQ_TRY(fq_round_open(job->server, job->cohort, job->n_updates, job->n_updates * EXAMPLES,
                             &plan));
        double start = fq_now();
        FQ_TRY(fq_pool_for(job->pool, job->n_updates, accept_one, job));
        double accepted = fq_now();
        FQ_TRY(fq_round_close(job->server, job->pool, &summary));
        if (fq_interrupted())
            return fq_fail(FQ_ESTATE, "interrupted");
        if (r == 0)
            continue; /* cold memory */
        accept[n] = accepted - start;
        closing[n++] = fq_now() - accepted;
    }
    job->accept = fq_spread_of(accept, n);
    job->close = fq_spread_of(closing, n);
    return FQ_OK;
}

/* ---- set-up ---- */
static fq_status set_up(const fq_cli *cli, aggregate_job *job) {
    char yaml[512];
    snprintf(yaml, sizeof yaml,
             "name: aggregate\n"
             "model: logreg\n"
             "train: {clients_per_round: %d}\n"
             "upload: {quantizer: %s, bits: %d}\n",
             MOST_UPDATES,
             job->bits == 32   ? "float32"
             : job->bits == 16 ? "float16"
                               : "stochastic",
             (int)job->bits);
    FQ_TRY(fq_bench_experiment(cli, yaml, &job->experiment));
    fq_experiment *e = job->experiment;
    job->network.input = (fq_shape){(uint32_t)(job->params / CLASSES - 1), 1, 1};
    job->network.n_classes = CLASSES;
    job->network.n_layers = 1;
    fq_layer_spec_init(&job->network.layers[0], "dense");
    snprintf(job->network.layers[0].name, sizeof job->network.layers[0].name, "dense1");
    job->network.layers[0].out = CLASSES;
    FQ_TRY(fq_recipe_model(&e->recipe, &job->network, &job->model));
    FQ_TRY(fq_blocks_of_model(job->model, e->recipe.upload.block, &job->blocks));
    FQ_TRY(fq_pool_create(&job->pool, (size_t)job->threads));

    size_t           n = fq_model_size(job->model);
    const fq_coding *upload = &e->recipe.upload;
    size_t           body =
        upload->quantizer->body_bytes(n, job->blocks.n, upload->bits) + 2 * (size_t)FQ_ALIGN;
    job->params = n;
    job->n_updates = WANTED_BYTES / body;
    if (job->n_updates < 4)
        job->n_updates = 4;
    if (job->n_updates > MOST_UPDATES)
        job->n_updates = MOST_UPDATES;
    e->server.cohort = job->n_updates;
    e->server.clients = job->n_updates;
    FQ_TRY(fq_server_create(&job->server, job->model, &e->recipe, &e->server, 1,
                            (size_t)job->threads));

    job->x = calloc(n, sizeof *job->x);
    job->y = calloc(n, sizeof *job->y);
    job->updates = calloc(job->n_updates, sizeof *job->updates);
    job->arenas = calloc(job->n_updates, sizeof *job->arenas);
    if (job->x == NULL || job->y == NULL || job->updates == NULL || job->arenas == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for updates of %zu values", n);
    size_t coding =
        fq_quantize_arena_bytes(upload->quantizer, upload->bits, true, n, job->blocks.n);
    FQ_TRY(fq_arena_init(&job->scratch, coding));
    for (size_t k = 0; k < job->n_updates; k++) {
        fq_rng rng = fq_rng_stream(1, FQ_RNG_DATA, 0, k, 0, 0);
        fq_rng_fill_normal(&rng, job->x, n);
        for (size_t i = 0; i < n; i++)
            job->x[i] *= 0.01f;
        FQ_TRY(encode(job));
        FQ_TRY(fq_arena_init(&job->arenas[k], body));
        unsigned char *copy = FQ_ARENA_NEW(&job->arenas[k], unsigned char, job->packed.body.size);
        FQ_TRY(fq_arena_check(&job->arenas[k]));
        memcpy(copy, job->packed.body.data, job->packed.body.size);
        job->cohort[k] = k;
        job->updates[k] = (fq_update){.client = k,
                                      .n_examples = EXAMPLES,
                                      .n_steps = 1,
                                      .n_vectors = 1,
                                      .vectors = {job->packed}};
        job->updates[k].vectors[0].body.data = copy;
    }
    FQ_TRY(fq_keypair_create(&job->client));
    FQ_TRY(fq_keypair_create(&job->coordinator));
    FQ_TRY(fq_encode_update(&job->updates[0], upload->block, &job->message));
    job->plain = malloc(job->message.size);
    return job->plain == NULL ? fq_fail(FQ_ENOMEM, "no memory for a message") : FQ_OK;
}

static void release(aggregate_job *job) {
    for (size_t k = 0; job->arenas != NULL && k < job->n_updates; k++)
        fq_arena_fini(&job->arenas[k]);
    free(job->arenas);
    free(job->updates);
    free(job->x);
    free(job->y);
    free(job->plain);
    fq_arena_fini(&job->scratch);
    fq_buffer_fini(&job->message);
    fq_buffer_fini(&job->sealed);
    fq_keypair_destroy(&job->client);
    fq_keypair_destroy(&job->coordinator);
    fq_server_destroy(&job->server);
    fq_pool_destroy(&job->pool);
    fq_blocks_free(&job->blocks);
    fq_model_destroy(&job->model);
    free(job->experiment);
}

static fq_status measure(const fq_cli *cli, aggregate_job *job) {
    FQ_TRY(set_up(cli, job));
    FQ_TRY(fq_peak_copy(job->seconds, &job->copy));
    FQ_TRY(measure_rounds(job));
    FQ_TRY(fq_bench_repeat(encode, job, job->seconds, &job->encode));
    job->zstd = true;
    FQ_TRY(fq_bench_repeat(encode, job, job->seconds, &job->encode_zstd));
    job->zstd_bytes = job->packed.body.size;
    FQ_TRY(fq_bench_repeat(decode, job, job->seconds, &job->decode_zstd));
    FQ_TRY(fq_bench_repeat(seal, job, job->seconds, &job->seal));
    return fq_bench_repeat(unseal, job, job->seconds, &job->open);
}

static json_t *result_of(const aggregate_job *job) {
    const fq_coding *upload = &job->experiment->recipe.upload;
    /* 1e9 bytes of float32 a second; a round takes n_updates of them. */
    double  gigabytes = 4e-9 * (double)job->params;
    double  accept = gigabytes * (double)job->n_updates / job->accept.median;
    json_t *result = json_pack(
        "{s:I, s:s, s:i, s:I, s:I, s:I, s:f}", "params", (json_int_t)job->params, "quantizer",
        upload->quantizer->name, "bits", upload->bits, "threads", (json_int_t)job->threads,
        "updates", (json_int_t)job->n_updates, "bytes_per_update", (json_int_t)job->message.size,
        "bits_per_value", 8.0 * (double)job->message.size / (double)job->params);
    json_t *rates =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "accept_gbps", accept,
                  "copy_gbps", job->copy, "accept_share_of_copy", accept / job->copy, "close_gbps",
                  gigabytes / job->close.median, "encode_gbps", gigabytes / job->encode.median,
                  "encode_zstd_gbps", gigabytes / job->encode_zstd.median, "decode_zstd_gbps",
                  gigabytes / job->decode_zstd.median, "zstd_bytes_share",
                  (double)job->zstd_bytes / (double)job->packed.body_bytes, "seal_gbps",
                  gigabytes / job->seal.median, "open_gbps", gigabytes / job->open.median,
                  "open_payload_gbps", 1e-9 * (double)job->message.size / job->open.median);
    if (result == NULL || rates == NULL) {
        json_decref(rates);
        return result;
    }
    json_object_update_new(result, rates);
    fq_bench_identify(result);
    return result;
}

static fq_status read_options(const fq_cli *cli, aggregate_job *job) {
    job->params = 1000000;
    job->bits = 8;
    job->threads = 1;
    FQ_TRY(fq_cli_u64(cli, "params", 1000, 1000000000, &job->params));
    FQ_TRY(fq_cli_u64(cli, "bits", 1, 32, &job->bits));
    FQ_TRY(fq_cli_u64(cli, "threads", 1, 256, &job->threads));
    FQ_TRY(fq_bench_real(cli, "seconds", 0.001, 3600.0, 2.0, &job->seconds));
    if (job->bits > 8 && job->bits != 16 && job->bits != 32)
        return fq_fail(FQ_EINVAL, "--bits: %llu is not allowed; expected 1 to 8, 16 or 32",
                       (unsigned long long)job->bits);
    enum { FIGURES = 8 };
    job->seconds /= FIGURES;
    return FQ_OK;
}

int fq_bench_aggregate_command(const fq_cli *cli, const char *command_line) {
    aggregate_job job = {0};
    (void)command_line;
    if (read_options(cli, &job) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = measure(cli, &job);
    int       code = fq_bench_print(cli, status, status == FQ_OK ? result_of(&job) : NULL);
    release(&job);
    return code;
}

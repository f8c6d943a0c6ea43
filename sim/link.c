#include "sim/link.h"

#include "wire/codec.h"

#include <stdlib.h>

const char *const fq_transport_names[] = {"direct", "loopback", "tcp", NULL};

/* What one thread needs to turn bytes back into messages. */
typedef struct endpoint {
    fq_arena  arena;
    float    *vectors; /* [(1 + n_down) * P] the model as decoded */
    fq_buffer bytes;   /* of an update */
} endpoint;

struct fq_link {
    fq_transport              transport;
    const fq_recipe          *recipe;
    const fq_server_settings *settings;
    size_t                    size, n_down, workers;
    fq_blocks                 upload_blocks, download_blocks;
    fq_plan                   plan; /* of the open round, as the server made it */
    uint64_t                  model_bytes;
    size_t                    memory;    /* see fq_link_bytes */
    fq_buffer                 model;     /* loopback: the message */
    endpoint                 *endpoints; /* [workers], loopback only */
};

static fq_status create_endpoints(fq_link *link) {
    const fq_coding *up = &link->recipe->upload, *down = &link->settings->download;
    size_t up_bytes = fq_quantize_arena_bytes(up->quantizer, up->bits, up->zstd, link->size,
                                              link->upload_blocks.n);
    size_t down_bytes = fq_quantize_arena_bytes(down->quantizer, down->bits, down->zstd, link->size,
                                                link->download_blocks.n);
    size_t vectors = 1 + link->n_down, most = vectors * down_bytes;
    if (most < link->recipe->algorithm->n_up * up_bytes)
        most = link->recipe->algorithm->n_up * up_bytes;
    size_t arena_bytes = fq_decode_arena_bytes(most) + down_bytes;
    /* A buffer doubles as it grows, so a message may hold twice its size. */
    link->memory = link->workers * (arena_bytes + vectors * link->size * sizeof(float) +
                                    2 * link->recipe->algorithm->n_up * up_bytes) +
                   2 * vectors * down_bytes;
    link->endpoints = calloc(link->workers, sizeof *link->endpoints);
    if (link->endpoints == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu endpoints", link->workers);
    for (size_t i = 0; i < link->workers; i++) {
        endpoint *end = &link->endpoints[i];
        FQ_TRY(fq_arena_init(&end->arena, arena_bytes));
        end->vectors = calloc(vectors * link->size, sizeof *end->vectors);
        if (end->vectors == NULL)
            return fq_fail(FQ_ENOMEM, "no memory for an endpoint of %zu values",
                           vectors * link->size);
    }
    return FQ_OK;
}

fq_status fq_link_create(fq_link **out, fq_transport transport, const fq_model *model,
                         const fq_recipe *recipe, const fq_server_settings *settings,
                         size_t workers) {
    *out = NULL;
    fq_link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a link");
    *link = (fq_link){.transport = transport,
                      .recipe = recipe,
                      .settings = settings,
                      .size = fq_model_size(model),
                      .n_down = recipe->algorithm->n_down,
                      .workers = workers};
    fq_status status = fq_blocks_of_model(model, recipe->upload.block, &link->upload_blocks);
    if (status == FQ_OK)
        status = fq_blocks_of_model(model, settings->download.block, &link->download_blocks);
    if (status == FQ_OK && transport == FQ_TRANSPORT_LOOPBACK)
        status = create_endpoints(link);
    *out = link;
    if (status != FQ_OK)
        fq_link_destroy(out);
    return status;
}

void fq_link_destroy(fq_link **slot) {
    fq_link *link = *slot;
    if (link == NULL)
        return;
    for (size_t i = 0; link->endpoints != NULL && i < link->workers; i++) {
        fq_arena_fini(&link->endpoints[i].arena);
        free(link->endpoints[i].vectors);
        fq_buffer_fini(&link->endpoints[i].bytes);
    }
    free(link->endpoints);
    fq_buffer_fini(&link->model);
    fq_blocks_free(&link->upload_blocks);
    fq_blocks_free(&link->download_blocks);
    free(link);
    *slot = NULL;
}

size_t fq_link_bytes(const fq_link *link) {
    return link->memory;
}

fq_status fq_link_open_round(fq_link *link, const fq_server *server, const fq_plan *plan) {
    size_t           n;
    const fq_packed *download = fq_round_download(server, &n);
    size_t           block = link->settings->download.block;
    link->plan = *plan;
    link->model_bytes =
        fq_model_bytes(plan->round, &plan->levels, &download[0], &download[1], n - 1, block);
    if (link->transport == FQ_TRANSPORT_DIRECT)
        return FQ_OK;
    link->model.size = 0;
    return fq_encode_model(plan->round, &plan->levels, &download[0], &download[1], n - 1, block,
                           &link->model);
}

uint64_t fq_link_model_bytes(const fq_link *link) {
    return link->model_bytes;
}

fq_status fq_link_receive(fq_link *link, size_t worker, fq_plan *plan) {
    *plan = link->plan;
    if (link->transport == FQ_TRANSPORT_DIRECT)
        return FQ_OK;
    endpoint         *end = &link->endpoints[worker];
    fq_packed         packed[1 + FQ_MAX_VECTORS];
    const fq_expected expected = {.size = link->size,
                                  .blocks = link->download_blocks,
                                  .block = link->settings->download.block,
                                  .n_vectors = link->n_down,
                                  .limits = &link->settings->limits};
    fq_arena_reset(&end->arena);
    FQ_TRY(fq_decode_model((fq_cbytes){link->model.data, link->model.size}, &expected, &end->arena,
                           &plan->round, &plan->levels, packed));
    for (size_t v = 0; v < 1 + link->n_down; v++)
        FQ_TRY(fq_dequantize(&packed[v], link->download_blocks, &end->arena,
                             end->vectors + v * link->size));
    plan->w = end->vectors;
    plan->server_vectors = link->n_down == 0 ? NULL : end->vectors + link->size;
    return FQ_OK;
}

fq_status fq_link_send(fq_link *link, size_t worker, const fq_update *update, fq_update *arrived,
                       uint64_t *bytes) {
    size_t block = link->recipe->upload.block;
    *bytes = fq_update_bytes(update, block);
    *arrived = *update;
    if (link->transport == FQ_TRANSPORT_DIRECT)
        return FQ_OK;
    endpoint         *end = &link->endpoints[worker];
    const fq_expected expected = {.size = link->size,
                                  .blocks = link->upload_blocks,
                                  .block = block,
                                  .n_vectors = link->recipe->algorithm->n_up,
                                  .limits = &link->settings->limits};
    end->bytes.size = 0;
    FQ_TRY(fq_encode_update(update, block, &end->bytes));
    fq_arena_reset(&end->arena);
    return fq_decode_update((fq_cbytes){end->bytes.data, end->bytes.size}, &expected, &end->arena,
                            arrived);
}

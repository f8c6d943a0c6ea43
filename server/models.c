#include "server/service_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SERVER_ID = UINT64_MAX; /* the rounding stream of no client */

void models_forget(service *s) {
    for (size_t i = 0; i < N_FORMATS; i++) {
        model_format *format = &s->formats[i];
        for (size_t c = 0; c < format->n_chunks; c++)
            if (format->chunks[c] != NULL)
                fq_shared_release(&format->chunks[c]);
        free(format->chunks);
        *format = (model_format){0};
    }
}

/* The message of the open round's model at `bits` per value. */
static fq_status encode_model(service *s, uint8_t bits, fq_buffer *out) {
    const fq_coding *download = &s->experiment->server.download;
    uint32_t         round = s->round;
    size_t           n;
    const fq_packed *vectors = fq_round_download(s->server, &n);
    if (bits == 0)
        return fq_encode_model(round, &s->plan.levels, &vectors[0], &vectors[1], n - 1,
                               download->block, out);
    const fq_quantizer *uniform = fq_quantizer_find("uniform");
    const fq_model     *model = s->options->setup->model;
    size_t              size = fq_model_size(model);
    fq_blocks           blocks = {0};
    fq_arena            arena = {0};
    fq_packed           weights;
    fq_status           status;
    FQ_GO(status, fq_blocks_of_model(model, download->block, &blocks));
    FQ_GO(status, fq_arena_init(&arena, fq_quantize_arena_bytes(uniform, bits, download->zstd, size,
                                                                blocks.n)));
    fq_rng rng = fq_rng_stream((uint64_t)s->experiment->head.seed, FQ_RNG_ROUNDING, round,
                               SERVER_ID, bits, 0);
    FQ_GO(status, fq_quantize(uniform, bits, download->zstd, fq_server_weights(s->server), blocks,
                              &rng, &arena, &weights));
    status =
        fq_encode_model(round, &s->plan.levels, &weights, &vectors[1], n - 1, download->block, out);
done:
    fq_arena_fini(&arena);
    fq_blocks_free(&blocks);
    return status;
}

static fq_status cut_into_chunks(const fq_buffer *message, model_format *format) {
    format->bytes = message->size;
    format->n_chunks = (message->size + FQ_CHUNK_BYTES - 1) / FQ_CHUNK_BYTES;
    format->chunks = calloc(format->n_chunks, sizeof(fq_shared *));
    if (format->chunks == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a model of %zu bytes", message->size);
    for (size_t c = 0; c < format->n_chunks; c++) {
        fq_buffer part = {0};
        size_t    at = c * FQ_CHUNK_BYTES, left = message->size - at;
        fq_put_bytes(&part, message->data + at, left < FQ_CHUNK_BYTES ? left : FQ_CHUNK_BYTES);
        fq_status status = part.failed ? fq_fail(FQ_ENOMEM, "no memory for a part of the model")
                                       : fq_shared_create(&format->chunks[c], &part);
        if (status != FQ_OK) {
            fq_buffer_fini(&part);
            return status;
        }
    }
    return FQ_OK;
}

fq_status model_of_bits(service *s, uint8_t bits, const model_format **out) {
    model_format *format = &s->formats[bits];
    *out = format;
    if (format->n_chunks > 0)
        return FQ_OK;
    fq_buffer message = {0};
    fq_status status = encode_model(s, bits, &message);
    if (status == FQ_OK) {
        fq_digest((fq_cbytes){message.data, message.size}, format->digest);
        status = cut_into_chunks(&message, format);
    }
    fq_buffer_fini(&message);
    return status;
}

void model_request(service *s, peer *p, const fq_model_part *part) {
    const model_format *format;
    char                text[128];
    if (s->phase != TRAINING || part->round != s->round) {
        fq_message over = {.kind = FQ_ROUND_OVER, .of.round_over = part->round};
        peer_send(s, p, &over, NULL);
        return;
    }
    if (part->model_bits >= N_FORMATS) {
        snprintf(text, sizeof text, "a model at %u bits; 0 to %d are possible",
                 (unsigned)part->model_bits, N_FORMATS - 1);
        peer_refuse(s, p, &p->route, FQ_REASON_MALFORMED, text, 0);
        return;
    }
    if (model_of_bits(s, part->model_bits, &format) != FQ_OK) {
        peer_refuse(s, p, &p->route, FQ_REASON_BUSY, fq_status_text(), 1000);
        return;
    }
    if (part->offset % FQ_CHUNK_BYTES != 0 || part->offset >= format->bytes) {
        snprintf(text, sizeof text, "offset %" PRIu64 " of a model of %" PRIu64 " bytes",
                 part->offset, format->bytes);
        peer_refuse(s, p, &p->route, FQ_REASON_MALFORMED, text, 0);
        return;
    }
    fq_shared *chunk = format->chunks[part->offset / FQ_CHUNK_BYTES];
    fq_message message = {.kind = FQ_MODEL_CHUNK,
                          .of.model_part = {.round = part->round,
                                            .model_bits = part->model_bits,
                                            .offset = part->offset,
                                            .bytes = (uint32_t)fq_shared_bytes(chunk).size}};
    peer_send(s, p, &message, chunk);
}

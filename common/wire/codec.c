#include "wire/codec.h"

#include "wire/wire_impl.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static void *arena_alloc(void *arena, size_t size) {
    return fq_arena_alloc(arena, size, 1);
}

static void arena_free(void *arena, void *memory) {
    (void)arena;
    (void)memory;
}

ProtobufCAllocator fq_wire_allocator(fq_arena *arena) {
    return (ProtobufCAllocator){.alloc = arena_alloc, .free = arena_free, .allocator_data = arena};
}

static void vector_of_packed(Fq__Wire__Vector *vector, const fq_packed *packed, size_t block) {
    fq__wire__vector__init(vector);
    /* protobuf-c's strings are not const, but packing only reads them. */
    vector->quantizer = (char *)(uintptr_t)packed->quantizer->name;
    vector->bits = packed->bits;
    vector->n = packed->n;
    vector->block = block;
    vector->zstd = packed->zstd;
    vector->body_bytes = packed->body_bytes;
    vector->body.len = packed->body.size;
    vector->body.data = (uint8_t *)(uintptr_t)packed->body.data;
}

/* The message that stands for an update; its parts live in the caller's arrays. */
static Fq__Wire__Update message_of_update(const fq_update *update, size_t block,
                                          Fq__Wire__Vector *vectors, Fq__Wire__Vector **pointers) {
    Fq__Wire__Update message = FQ__WIRE__UPDATE__INIT;
    message.protocol = FQ_PROTOCOL_VERSION;
    message.client = update->client;
    message.round = update->round;
    message.examples = update->n_examples;
    message.steps = update->n_steps;
    message.loss = update->loss;
    message.drift = update->drift;
    message.first_loss = update->first_loss;
    for (size_t v = 0; v < update->n_vectors; v++) {
        vector_of_packed(&vectors[v], &update->vectors[v], block);
        pointers[v] = &vectors[v];
    }
    message.n_vectors = update->n_vectors;
    message.vectors = pointers;
    return message;
}

size_t fq_update_bytes(const fq_update *update, size_t block) {
    Fq__Wire__Vector vectors[FQ_MAX_VECTORS], *pointers[FQ_MAX_VECTORS];
    Fq__Wire__Update message = message_of_update(update, block, vectors, pointers);
    return fq__wire__update__get_packed_size(&message);
}

/* The same for a model; `vectors` has room for the weights too. */
static Fq__Wire__Model message_of_model(uint32_t round, const fq_levels *levels,
                                        const fq_packed *weights, const fq_packed *server_vectors,
                                        size_t n, size_t block, Fq__Wire__Vector *vectors,
                                        Fq__Wire__Vector **pointers) {
    Fq__Wire__Model message = FQ__WIRE__MODEL__INIT;
    assert(n <= FQ_MAX_VECTORS);
    message.protocol = FQ_PROTOCOL_VERSION;
    message.round = round;
    message.levels = (uint32_t)levels->all;
    message.levels_factor = levels->factor;
    vector_of_packed(&vectors[0], weights, block);
    message.weights = &vectors[0];
    for (size_t v = 0; v < n; v++) {
        vector_of_packed(&vectors[v + 1], &server_vectors[v], block);
        pointers[v] = &vectors[v + 1];
    }
    message.n_server_vectors = n;
    message.server_vectors = pointers;
    return message;
}

size_t fq_model_bytes(uint32_t round, const fq_levels *levels, const fq_packed *weights,
                      const fq_packed *server_vectors, size_t n, size_t block) {
    Fq__Wire__Vector vectors[FQ_MAX_VECTORS + 1], *pointers[FQ_MAX_VECTORS];
    Fq__Wire__Model  message =
        message_of_model(round, levels, weights, server_vectors, n, block, vectors, pointers);
    return fq__wire__model__get_packed_size(&message);
}

fq_status fq_encode_model(uint32_t round, const fq_levels *levels, const fq_packed *weights,
                          const fq_packed *server_vectors, size_t n, size_t block, fq_buffer *out) {
    Fq__Wire__Vector vectors[FQ_MAX_VECTORS + 1], *pointers[FQ_MAX_VECTORS];
    Fq__Wire__Model  message =
        message_of_model(round, levels, weights, server_vectors, n, block, vectors, pointers);
    size_t         bytes = fq__wire__model__get_packed_size(&message);
    unsigned char *place = fq_buffer_grow(out, bytes);
    if (place == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a model of %zu bytes", bytes);
    fq__wire__model__pack(&message, place);
    return FQ_OK;
}

fq_status fq_encode_update(const fq_update *update, size_t block, fq_buffer *out) {
    Fq__Wire__Vector vectors[FQ_MAX_VECTORS], *pointers[FQ_MAX_VECTORS];
    Fq__Wire__Update message = message_of_update(update, block, vectors, pointers);
    size_t           bytes = fq__wire__update__get_packed_size(&message);
    unsigned char   *place = fq_buffer_grow(out, bytes);
    if (place == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for an update of %zu bytes", bytes);
    fq__wire__update__pack(&message, place);
    return FQ_OK;
}

size_t fq_decode_arena_bytes(size_t message_bytes) {
    /* Bodies are copied once, beside a few small structs. A message of countless empty vectors
     * would want more, finds no memory, and is refused: it is none of ours. */
    return message_bytes + 64 * 1024;
}

static fq_status check_protocol(uint32_t protocol, const char *what) {
    if (protocol == FQ_PROTOCOL_VERSION)
        return FQ_OK;
    return fq_fail(FQ_EPROTO, "%s of protocol %" PRIu32 "; this program speaks %d", what, protocol,
                   FQ_PROTOCOL_VERSION);
}

static fq_status packed_of_vector(const Fq__Wire__Vector *vector, const fq_expected *expected,
                                  fq_packed *out) {
    const fq_quantizer *quantizer = fq_quantizer_find(vector->quantizer);
    if (quantizer == NULL)
        return fq_fail(FQ_EPROTO, "a vector's quantizer '%.32s' is unknown", vector->quantizer);
    if (vector->bits < quantizer->min_bits || vector->bits > quantizer->max_bits)
        return fq_fail(FQ_EPROTO, "a vector has %" PRIu32 " bits; %s has %u to %u", vector->bits,
                       quantizer->name, (unsigned)quantizer->min_bits,
                       (unsigned)quantizer->max_bits);
    if (vector->n != expected->size)
        return fq_fail(FQ_EPROTO, "a vector has %" PRIu64 " values; the model has %zu", vector->n,
                       expected->size);
    if (vector->block != expected->block)
        return fq_fail(FQ_EPROTO, "a vector has blocks of %" PRIu64 " values; %zu were agreed",
                       vector->block, expected->block);
    size_t body = quantizer->body_bytes(expected->size, expected->blocks.n, (uint8_t)vector->bits);
    if (vector->body_bytes != body)
        return fq_fail(FQ_EPROTO, "a vector unpacks to %" PRIu64 " bytes; %zu are needed",
                       vector->body_bytes, body);
    if (vector->zstd ? vector->body.len >= body : vector->body.len != body)
        return fq_fail(FQ_EPROTO, "a vector's body has %zu bytes; %zu are needed", vector->body.len,
                       body);
    *out = (fq_packed){.quantizer = quantizer,
                       .bits = (uint8_t)vector->bits,
                       .zstd = vector->zstd,
                       .n = expected->size,
                       .body_bytes = body,
                       .body = {vector->body.data, vector->body.len}};
    return FQ_OK;
}

fq_status fq_decode_update(fq_cbytes bytes, const fq_expected *expected, fq_arena *arena,
                           fq_update *out) {
    *out = (fq_update){0};
    ProtobufCAllocator      allocator = fq_wire_allocator(arena);
    const Fq__Wire__Update *message = fq__wire__update__unpack(&allocator, bytes.size, bytes.data);
    if (message == NULL)
        return fq_fail(FQ_EPROTO, "%zu bytes are not an update message", bytes.size);
    FQ_TRY(check_protocol(message->protocol, "an update"));
    if (message->examples == 0 || message->examples > expected->limits->max_examples)
        return fq_fail(FQ_ELIMIT,
                       "client %" PRIu64 " claims %" PRIu64 " examples; 1 to %" PRIu64
                       " are allowed",
                       message->client, message->examples, expected->limits->max_examples);
    if (!isfinite(message->loss) || !isfinite(message->drift) || !isfinite(message->first_loss))
        return fq_fail(FQ_ENONFINITE,
                       "client %" PRIu64 " reports a loss or drift that is not finite",
                       message->client);
    if (message->n_vectors != expected->n_vectors)
        return fq_fail(FQ_EPROTO, "an update has %zu vectors; %zu are needed", message->n_vectors,
                       expected->n_vectors);
    fq_update update = {.client = message->client,
                        .round = message->round,
                        .n_examples = message->examples,
                        .n_steps = message->steps,
                        .loss = message->loss,
                        .drift = message->drift,
                        .first_loss = message->first_loss,
                        .n_vectors = message->n_vectors};
    for (size_t v = 0; v < update.n_vectors; v++)
        FQ_TRY(packed_of_vector(message->vectors[v], expected, &update.vectors[v]));
    *out = update;
    return FQ_OK;
}

fq_status fq_decode_model(fq_cbytes bytes, const fq_expected *expected, fq_arena *arena,
                          uint32_t *round, fq_levels *levels, fq_packed *vectors) {
    ProtobufCAllocator     allocator = fq_wire_allocator(arena);
    const Fq__Wire__Model *message = fq__wire__model__unpack(&allocator, bytes.size, bytes.data);
    if (message == NULL)
        return fq_fail(FQ_EPROTO, "%zu bytes are not a model message", bytes.size);
    FQ_TRY(check_protocol(message->protocol, "a model"));
    if (message->weights == NULL)
        return fq_fail(FQ_EPROTO, "a model message without weights");
    if (message->n_server_vectors != expected->n_vectors)
        return fq_fail(FQ_EPROTO, "a model has %zu server vectors; %zu are needed",
                       message->n_server_vectors, expected->n_vectors);
    if (message->levels > FQ_MAX_LEVELS || !(message->levels_factor >= 0.0) ||
        !isfinite(message->levels_factor))
        return fq_fail(FQ_EPROTO, "a model asks for %" PRIu32 " levels and a factor of %g",
                       message->levels, message->levels_factor);
    FQ_TRY(packed_of_vector(message->weights, expected, &vectors[0]));
    for (size_t v = 0; v < expected->n_vectors; v++)
        FQ_TRY(packed_of_vector(message->server_vectors[v], expected, &vectors[v + 1]));
    *round = message->round;
    *levels = (fq_levels){(int32_t)message->levels, message->levels_factor};
    return FQ_OK;
}

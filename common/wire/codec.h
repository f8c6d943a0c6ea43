/* Updates and models to protobuf bytes and back. The only user of protobuf-c; its types stay in
 * codec.c.
 *
 * Decoding checks every count and size against what the receiver expects before it believes them.
 */
#ifndef FQ_WIRE_CODEC_H
#define FQ_WIRE_CODEC_H

#include "base/bytes.h"
#include "protocol/plan.h"
#include "protocol/update.h"

enum { FQ_PROTOCOL_VERSION = 1 };

/* What the receiver knows and holds a message to. */
typedef struct fq_expected {
    size_t           size; /* values of each vector: fq_model_size */
    fq_blocks        blocks;
    size_t           block;     /* fq_coding.block */
    size_t           n_vectors; /* of an update; server vectors of a model */
    const fq_limits *limits;
} fq_expected;

/* Size of the encoded message, without making it. */
size_t fq_update_bytes(const fq_update *update, size_t block);
size_t fq_model_bytes(uint32_t round, const fq_levels *levels, const fq_packed *weights,
                      const fq_packed *server_vectors, size_t n, size_t block);

/* Append a message to `out`. FQ_ENOMEM. */
FQ_MUST_CHECK fq_status fq_encode_model(uint32_t round, const fq_levels *levels,
                                        const fq_packed *weights, const fq_packed *server_vectors,
                                        size_t n, size_t block, fq_buffer *out);
FQ_MUST_CHECK fq_status fq_encode_update(const fq_update *update, size_t block, fq_buffer *out);

/* `bytes` -> update, whose bodies lie in `arena`. FQ_EPROTO with what was found and expected;
 * FQ_ELIMIT for numbers beyond the limits; FQ_ENONFINITE for figures that are not finite. The
 * bodies are checked in size, not decoded: fq_dequantize does that. */
FQ_MUST_CHECK fq_status fq_decode_update(fq_cbytes bytes, const fq_expected *expected,
                                         fq_arena *arena, fq_update *out);
/* The same for a model: vectors [1 + expected->n_vectors] gets the weights, then the server's
 * vectors. */
FQ_MUST_CHECK fq_status fq_decode_model(fq_cbytes bytes, const fq_expected *expected,
                                        fq_arena *arena, uint32_t *round, fq_levels *levels,
                                        fq_packed *vectors);
/* Arena bytes that decoding may need for a message of this size. */
size_t fq_decode_arena_bytes(size_t message_bytes);

#endif

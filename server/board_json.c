/* The board as JSON. The only place, with metrics.c, where text of peers leaves the coordinator: it
 * is made UTF-8 here, escaped by jansson, and put into the page as text. */
#include "server/http_impl.h"

#include <jansson.h>
#include <math.h>

enum { FORMAT_VERSION = 1, TEXT_BYTES = 1024 };

/* jansson's constructors give NULL when there is no memory, its setters take NULL as a failure: one
 * count of failures for a whole document. */
typedef struct builder {
    size_t failures;
} builder;

static void set(builder *b, json_t *object, const char *key, json_t *value) {
    b->failures += json_object_set_new(object, key, value) != 0;
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *accuracy(double value) {
    return value >= 0 ? number(value) : json_null();
}

static json_t *integer(uint64_t value) {
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

static json_t *since(int64_t ms) {
    return ms >= 0 ? json_integer(ms) : json_null();
}

static json_t *text(const char *from) {
    char clean[TEXT_BYTES];
    return json_string(fq_text_clean(from, clean, sizeof clean));
}

/* Reasons that have occurred: {"late": 2}. */
static json_t *refusals(builder *b, const uint64_t counts[FQ_REASON_END]) {
    json_t *out = json_object();
    for (int r = FQ_REASON_NONE + 1; r < FQ_REASON_END; r++)
        if (counts[r] > 0)
            set(b, out, fq_reason_name((fq_reason)r), integer(counts[r]));
    return out;
}

static json_t *peer_json(builder *b, const fq_board_peer *peer) {
    json_t *out = json_object(), *widths = json_array();
    for (size_t i = 0; i < peer->n_widths && i < FQ_MAX_WIDTHS; i++)
        b->failures += json_array_append_new(widths, json_integer(peer->widths[i])) != 0;
    set(b, out, "name", text(peer->name));
    set(b, out, "key", text(peer->key));
    set(b, out, "state", text(fq_peer_state_names[peer->state]));
    set(b, out, "first_client", integer(peer->first_client));
    set(b, out, "n_clients", integer(peer->n_clients));
    set(b, out, "software", text(peer->software));
    set(b, out, "widths", widths);
    set(b, out, "heard_ms", since(peer->heard_ms));
    set(b, out, "accepted", integer(peer->accepted));
    set(b, out, "refused", integer(peer->refused));
    set(b, out, "refusals", refusals(b, peer->refusals));
    set(b, out, "bytes_in", integer(peer->bytes_in));
    set(b, out, "bytes_out", integer(peer->bytes_out));
    set(b, out, "cpu_s", json_real(peer->cpu_s));
    set(b, out, "joules", json_real(peer->joules));
    return out;
}

static json_t *board_json(builder *b, const fq_board *board) {
    json_t *out = json_object(), *peers = json_array();
    set(b, out, "format", text("fedq-status"));
    set(b, out, "version", json_integer(FORMAT_VERSION));
    set(b, out, "name", text(board->name));
    set(b, out, "phase", text(board->phase));
    set(b, out, "note", text(board->note));
    set(b, out, "round", integer(board->round));
    set(b, out, "rounds", integer(board->rounds));
    set(b, out, "asked", integer(board->asked));
    set(b, out, "accepted", integer(board->accepted));
    set(b, out, "refused", integer(board->refused));
    set(b, out, "deadline_ms", since(board->deadline_ms));
    set(b, out, "uptime_s", number(board->uptime_s));
    set(b, out, "seconds_per_round", number(board->seconds_per_round));
    set(b, out, "loss", number(board->loss));
    set(b, out, "float_accuracy", accuracy(board->float_accuracy));
    set(b, out, "low_accuracy", accuracy(board->low_accuracy));
    set(b, out, "low_bits", json_integer(board->low_bits));
    set(b, out, "bytes_in", integer(board->bytes_in));
    set(b, out, "bytes_out", integer(board->bytes_out));
    set(b, out, "messages", integer(board->messages));
    set(b, out, "illegal", integer(board->illegal));
    set(b, out, "strangers", integer(board->strangers));
    set(b, out, "refusals", refusals(b, board->refusals));
    set(b, out, "hash", text(board->hash));
    set(b, out, "page", text(board->page));
    for (size_t p = 0; p < board->n_peers; p++)
        b->failures += json_array_append_new(peers, peer_json(b, &board->peers[p])) != 0;
    set(b, out, "peers", peers);
    return out;
}

static int put_chunk(const char *chunk, size_t size, void *context) {
    fq_put_bytes(context, chunk, size);
    return 0;
}

fq_status fq_board_json(const fq_board *board, fq_buffer *out) {
    builder b = {0};
    json_t *document = board_json(&b, board);
    if (b.failures == 0)
        b.failures += json_dump_callback(document, put_chunk, out,
                                         JSON_COMPACT | JSON_REAL_PRECISION(15)) != 0;
    json_decref(document);
    return b.failures > 0 || out->failed ? fq_fail(FQ_ENOMEM, "no memory for a board") : FQ_OK;
}

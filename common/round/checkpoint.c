/* checkpoint.fq: magic, version, settings hash, round, weights, server vectors, the mark in
 * the clients' states, the history of levels if those adapt, note, CRC-32 of all before it.
 * Little-endian. Described in docs/run-folder.md. */
#include "base/file.h"
#include "base/hash.h"
#include "round/round_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char MAGIC[8] = {'F', 'Q', 'C', 'H', 'E', 'C', 'K', '\n'};
enum { VERSION = 2 };

static void put_history(const fq_level_history *history, const fq_level_rule *rule,
                        fq_buffer *out) {
    fq_put_u32(out, (uint32_t)history->levels);
    fq_put_u32(out, history->losses);
    fq_put_u32(out, history->changed);
    for (int64_t i = 0; i <= rule->patience; i++)
        fq_put_f64(out, history->smoothed[i]);
}

fq_status fq_checkpoint_encode(const fq_server *server, const char *settings_hash,
                               fq_states_mark states, const char *note, fq_buffer *out) {
    fq_put_bytes(out, MAGIC, sizeof MAGIC);
    fq_put_u32(out, VERSION);
    fq_put_text(out, settings_hash);
    fq_put_u32(out, server->round);
    fq_put_u64(out, server->size);
    fq_put_u64(out, server->n_vectors);
    fq_put_floats(out, server->w, server->size);
    fq_put_floats(out, server->vectors, server->n_vectors * server->size);
    fq_put_u64(out, states.generation);
    fq_put_u64(out, states.records);
    if (server->recipe->adaptive.levels > 0)
        put_history(&server->history, &server->recipe->adaptive, out);
    fq_put_text(out, note);
    fq_put_u32(out, fq_crc32((fq_cbytes){out->data, out->size}));
    if (out->failed)
        return fq_fail(FQ_ENOMEM, "no memory for a checkpoint of %zu values", server->size);
    return FQ_OK;
}

static fq_status check_floats(const float *x, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return fq_fail(FQ_ENONFINITE, "the checkpoint's %s are not finite", what);
    return FQ_OK;
}

static fq_status check_head(fq_cbytes bytes, fq_reader *reader, const char *settings_hash) {
    const unsigned char *magic = fq_get_bytes(reader, sizeof MAGIC);
    if (magic == NULL || memcmp(magic, MAGIC, sizeof MAGIC) != 0)
        return fq_fail(FQ_EPROTO, "not a checkpoint");
    uint32_t version = fq_get_u32(reader);
    if (version != VERSION)
        return fq_fail(FQ_EPROTO, "a checkpoint of version %" PRIu32 "; this program reads %d",
                       version, VERSION);
    if (bytes.size < sizeof MAGIC + 8)
        return fq_fail(FQ_EPROTO, "the checkpoint is cut short");
    fq_reader tail = fq_reader_of((fq_cbytes){bytes.data + bytes.size - 4, 4});
    if (fq_crc32((fq_cbytes){bytes.data, bytes.size - 4}) != fq_get_u32(&tail))
        return fq_fail(FQ_EPROTO, "the checkpoint is damaged: its checksum is wrong");
    char hash[FQ_HASH_TEXT];
    fq_get_text(reader, hash, sizeof hash);
    if (reader->failed || strcmp(hash, settings_hash) != 0)
        return fq_fail(FQ_ESTALE,
                       "the checkpoint is of other settings (%.12s..., these are %.12s...)", hash,
                       settings_hash);
    return FQ_OK;
}

static fq_status get_history(fq_reader *reader, const fq_recipe *recipe,
                             fq_level_history *history) {
    const uint32_t levels = fq_get_u32(reader);
    history->losses = fq_get_u32(reader);
    history->changed = fq_get_u32(reader);
    bool finite = true;
    for (int64_t i = 0; i <= recipe->adaptive.patience; i++) {
        history->smoothed[i] = fq_get_f64(reader);
        finite = finite && isfinite(history->smoothed[i]);
    }
    history->levels = (int32_t)(levels & INT32_MAX);
    if (reader->failed || !finite || levels < 1 ||
        history->levels > fq_levels_most(recipe->upload.bits) || history->changed > history->losses)
        return fq_fail(FQ_EPROTO, "the checkpoint's history of levels does not add up");
    return FQ_OK;
}

fq_status fq_checkpoint_decode(fq_cbytes bytes, fq_server *server, const char *settings_hash,
                               fq_states_mark *states, char note[FQ_NOTE_BYTES]) {
    fq_reader reader = fq_reader_of(bytes);
    FQ_TRY(check_head(bytes, &reader, settings_hash));
    uint32_t round = fq_get_u32(&reader);
    uint64_t size = fq_get_u64(&reader), n_vectors = fq_get_u64(&reader);
    if (reader.failed || size != server->size || n_vectors != server->n_vectors)
        return fq_fail(FQ_EPROTO,
                       "the checkpoint has %" PRIu64 " values and %" PRIu64
                       " server vectors; the experiment has %zu and %zu",
                       size, n_vectors, server->size, server->n_vectors);
    size_t           count = (1 + server->n_vectors) * server->size;
    float           *values = malloc((count == 0 ? 1 : count) * sizeof *values);
    char             fresh_note[FQ_NOTE_BYTES];
    fq_level_history history = {0};
    fq_status        status = FQ_OK;
    if (values == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a checkpoint of %zu values", count);
    fq_get_floats(&reader, values, count);
    fq_states_mark mark = {.generation = fq_get_u64(&reader)};
    mark.records = fq_get_u64(&reader);
    FQ_GO(status, check_floats(values, count, "weights"));
    if (server->recipe->adaptive.levels > 0)
        FQ_GO(status, get_history(&reader, server->recipe, &history));
    fq_get_text(&reader, fresh_note, sizeof fresh_note);
    if (reader.failed || fq_reader_left(&reader) != 4)
        FQ_GO(status, fq_fail(FQ_EPROTO, "the checkpoint does not end where it should"));

    server->round = round;
    server->history = history;
    memcpy(server->w, values, server->size * sizeof *values);
    memcpy(server->vectors, values + server->size,
           server->n_vectors * server->size * sizeof *values);
    *states = mark;
    memcpy(note, fresh_note, sizeof fresh_note);
done:
    free(values);
    return status;
}

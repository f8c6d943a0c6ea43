#include "client/status.h"

#include "base/file.h"
#include "client/home.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The file as a section of settings: JSON of our own making is YAML as well. */
typedef struct record {
    char    run_id[FQ_TEXT_BYTES], run[FQ_TEXT_BYTES], hash[FQ_TEXT_BYTES], gate[FQ_TEXT_BYTES];
    bool    connected, joined, over;
    int64_t round, training, outbox, accepted, refused, heard_s, rounds;
    int64_t cpu_ms, millijoules;
} record;

#define COUNT(field)                                                                               \
    {                                                                                              \
        .name = #field, .type = FQ_TYPE_INT, .offset = offsetof(record, field), .min = 0,          \
        .max = 1e15                                                                                \
    }
#define FLAG(field)                                                                                \
    { .name = #field, .type = FQ_TYPE_BOOL, .offset = offsetof(record, field) }
#define TEXT(field)                                                                                \
    { .name = #field, .type = FQ_TYPE_TEXT, .offset = offsetof(record, field) }
static const fq_key keys[] = {
    TEXT(run_id),   TEXT(run),       FLAG(connected), FLAG(joined),    FLAG(over),
    COUNT(round),   COUNT(training), COUNT(outbox),   COUNT(accepted), COUNT(refused),
    COUNT(heard_s), COUNT(rounds),   TEXT(hash),      COUNT(cpu_ms),   COUNT(millijoules),
    TEXT(gate),     {.name = NULL},
};

static void put_text_of(fq_buffer *json, const char *name, const char *text) {
    fq_put_format(json, "\"%s\": \"", name);
    for (const char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == '"' || *at == '\\' || *at == 0x7f)
            fq_put_format(json, "\\u%04x", (unsigned)(unsigned char)*at);
        else
            fq_put_bytes(json, at, 1);
    fq_put_format(json, "\", ");
}

static void put_flag(fq_buffer *json, const char *name, bool flag) {
    fq_put_format(json, "\"%s\": %s, ", name, flag ? "true" : "false");
}

static void put_count(fq_buffer *json, const char *name, int64_t count) {
    fq_put_format(json, "\"%s\": %" PRId64 ", ", name, count);
}

void fq_client_status_json(const fq_client_status *s, fq_buffer *json) {
    fq_put_format(json, "{");
    put_text_of(json, "run", s->run);
    put_text_of(json, "run_id", s->run_id);
    put_flag(json, "connected", s->connected);
    put_flag(json, "joined", s->joined);
    put_count(json, "round", s->round);
    put_count(json, "training", s->training);
    put_count(json, "outbox", s->outbox);
    put_count(json, "accepted", s->accepted);
    put_count(json, "refused", s->refused);
    fq_put_format(json, "\"refusals\": {");
    const char *comma = "";
    for (int r = 1; r < FQ_REASON_END; r++)
        if (s->refusals[r] > 0) {
            fq_put_format(json, "%s\"%s\": %" PRId64, comma, fq_reason_name((fq_reason)r),
                          s->refusals[r]);
            comma = ", ";
        }
    fq_put_format(json, "}, ");
    put_count(json, "cpu_ms", s->cpu_ms);
    put_count(json, "millijoules", s->millijoules);
    put_text_of(json, "gate", s->gate);
    put_count(json, "heard_s", s->heard_s);
    put_flag(json, "over", s->over);
    put_text_of(json, "hash", s->hash);
    fq_put_format(json, "\"rounds\": %" PRId64 "}\n", s->rounds);
}

fq_status fq_client_status_write(const char *home, const fq_client_status *status) {
    char      path[PATH_MAX];
    fq_buffer json = {0};
    fq_client_status_json(status, &json);
    fq_path_join(home, "status.json", path);
    fq_status written = json.failed
                            ? fq_fail(FQ_ENOMEM, "no memory for %s", path)
                            : fq_file_replace(path, (fq_cbytes){json.data, json.size}, false);
    fq_buffer_fini(&json);
    return written;
}

static fq_status take_refusals(const fq_document *document, const fq_node *map,
                               fq_client_status *out) {
    static const fq_key key = {.name = "count", .type = FQ_TYPE_INT, .min = 0, .max = 1e15};
    if (map != NULL && fq_node_kind_of(map) != FQ_NODE_MAP)
        return fq_node_fail(document, map, "refusals: a map of counts is expected");
    for (int r = 1; r < FQ_REASON_END; r++) {
        const char    *name = fq_reason_name((fq_reason)r);
        const fq_node *count = fq_node_find(map, name);
        if (count != NULL)
            FQ_TRY(fq_value_load(document, count, name, &key, &out->refusals[r]));
    }
    return FQ_OK;
}

static bool is_ascii(const char *text) {
    while (*text != '\0' && (unsigned char)*text < 0x80)
        text++;
    return *text == '\0';
}

/* Names of runs are ASCII, and so is the rest. */
static fq_status check_texts(const record *found) {
    if (strlen(found->run_id) > 2 * FQ_RUN_ID_BYTES || strlen(found->hash) > 64)
        return fq_fail(FQ_EINVAL, "status.json: run_id or hash is too long");
    if (!is_ascii(found->run) || !is_ascii(found->run_id) || !is_ascii(found->hash) ||
        !is_ascii(found->gate))
        return fq_fail(FQ_EINVAL, "status.json: a text is not ASCII");
    return FQ_OK;
}

fq_status fq_client_status_parse(fq_cbytes json, fq_client_status *out) {
    static const char *const subsections[] = {"refusals", NULL};
    record                   found;
    fq_document             *document = NULL;
    *out = (fq_client_status){0};
    FQ_TRY(fq_document_parse(&document, "status.json", json));
    const fq_node *root = fq_document_root(document);
    fq_status      status = fq_section_load(document, root, "", keys, subsections, &found);
    if (status == FQ_OK)
        status = take_refusals(document, fq_node_find(root, "refusals"), out);
    if (status == FQ_OK)
        status = check_texts(&found);
    fq_document_destroy(&document);
    if (status != FQ_OK) {
        *out = (fq_client_status){0};
        return status;
    }
    snprintf(out->run, sizeof out->run, "%s", found.run);
    memcpy(out->run_id, found.run_id, sizeof out->run_id);
    memcpy(out->hash, found.hash, sizeof out->hash);
    memcpy(out->gate, found.gate, sizeof out->gate);
    out->cpu_ms = found.cpu_ms;
    out->millijoules = found.millijoules;
    out->connected = found.connected;
    out->joined = found.joined;
    out->over = found.over;
    out->round = found.round;
    out->training = found.training;
    out->outbox = found.outbox;
    out->accepted = found.accepted;
    out->refused = found.refused;
    out->heard_s = found.heard_s;
    out->rounds = found.rounds;
    return FQ_OK;
}

fq_status fq_client_status_read(const char *home, fq_client_status *out) {
    char      path[PATH_MAX];
    fq_cbytes json;
    *out = (fq_client_status){0};
    fq_path_join(home, "status.json", path);
    if (!fq_file_exists(path))
        return FQ_OK;
    FQ_TRY(fq_file_read(path, 1 << 16, &json));
    fq_status status = fq_client_status_parse(json, out);
    free((void *)(uintptr_t)json.data);
    return status;
}

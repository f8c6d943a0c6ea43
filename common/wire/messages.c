#include "wire/messages.h"

#include "wire/wire_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The kinds' numbers are those of the oneof in proto/fq.proto. */
_Static_assert((int)FQ_HELLO == FQ__WIRE__HEAD__KIND_HELLO, "kinds");
_Static_assert((int)FQ_BYE == FQ__WIRE__HEAD__KIND_BYE, "kinds");

const char *fq_message_name(fq_message_kind kind) {
    static const char *const names[] = {
        "unreadable",   "hello",         "welcome",     "refusal",      "heartbeat",
        "plan",         "model-request", "model-chunk", "update-offer", "update-want",
        "update-chunk", "receipt",       "round-over",  "run-over",     "bye"};
    return (unsigned)kind <= FQ_BYE ? names[kind] : "unknown";
}

/* protobuf-c's fields are not const, but packing only reads them. */
static char *text_field(const char *text) {
    return (char *)(uintptr_t)text;
}

static ProtobufCBinaryData bytes_field(const void *data, size_t size) {
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

/* ---- encoding: each kind fills its protobuf twin; its parts live on the caller's stack ---- */
static void put_model_part(Fq__Wire__ModelPart *out, const fq_model_part *part) {
    fq__wire__model_part__init(out);
    out->round = part->round;
    out->model_bits = part->model_bits;
    out->offset = part->offset;
    out->bytes = part->bytes;
}

static void put_update_part(Fq__Wire__UpdatePart *out, const fq_update_part *part) {
    fq__wire__update_part__init(out);
    out->round = part->round;
    out->client = part->client;
    out->nonce = bytes_field(part->nonce, sizeof part->nonce);
    out->total = part->total;
    out->offset = part->offset;
    out->model_bits = part->model_bits;
    out->cpu_ms = part->cpu_ms;
    out->millijoules = part->millijoules;
}

static fq_status pack(const Fq__Wire__Head *head, fq_buffer *out) {
    size_t bytes = fq__wire__head__get_packed_size(head);
    if (bytes > FQ_MAX_HEAD_BYTES)
        return fq_fail(FQ_ELIMIT, "a message of %zu bytes; at most %d are allowed", bytes,
                       FQ_MAX_HEAD_BYTES);
    unsigned char *place = fq_buffer_grow(out, bytes);
    if (place == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a message of %zu bytes", bytes);
    fq__wire__head__pack(head, place);
    return FQ_OK;
}

/* The clients' ids and sizes travel as two lists, which are short and cannot be blown up. */
static fq_status encode_hello(const fq_hello *hello, Fq__Wire__Head *head, fq_buffer *out) {
    Fq__Wire__Hello message = FQ__WIRE__HELLO__INIT;
    message.major = hello->major;
    message.minor = hello->minor;
    message.software = text_field(hello->software);
    message.simulation = hello->simulation;
    message.widths = bytes_field(hello->widths, hello->n_widths);
    message.model_bits = hello->model_bits;
    message.memory_bytes = hello->memory_bytes;
    message.n_clients = message.n_examples = hello->n_hosted;
    message.clients = calloc(hello->n_hosted + 1, sizeof *message.clients);
    message.examples = calloc(hello->n_hosted + 1, sizeof *message.examples);
    fq_status status = FQ_OK;
    if (message.clients == NULL || message.examples == NULL)
        status = fq_fail(FQ_ENOMEM, "no memory for a hello of %zu clients", hello->n_hosted);
    for (size_t i = 0; status == FQ_OK && i < hello->n_hosted; i++) {
        message.clients[i] = hello->hosted[i].client;
        message.examples[i] = hello->hosted[i].examples;
    }
    head->hello = &message;
    if (status == FQ_OK)
        status = pack(head, out);
    head->hello = NULL;
    free(message.clients);
    free(message.examples);
    return status;
}

static fq_status encode_welcome(const fq_welcome *welcome, Fq__Wire__Head *head, fq_buffer *out) {
    Fq__Wire__Welcome message = FQ__WIRE__WELCOME__INIT;
    message.minor = welcome->minor;
    message.run = bytes_field(welcome->run, sizeof welcome->run);
    message.client = welcome->client;
    message.settings = bytes_field(welcome->settings.data, welcome->settings.size);
    message.channels = welcome->channels;
    message.height = welcome->height;
    message.width = welcome->width;
    message.classes = welcome->classes;
    message.n_mean = message.n_std = welcome->n_norm;
    message.mean = (float *)(uintptr_t)welcome->mean;
    message.std = (float *)(uintptr_t)welcome->std;
    message.heartbeat_ms = welcome->heartbeat_ms;
    message.window = welcome->window;
    head->welcome = &message;
    fq_status status = pack(head, out);
    head->welcome = NULL;
    return status;
}

static fq_status encode_plan(const fq_wire_plan *plan, Fq__Wire__Head *head, fq_buffer *out) {
    Fq__Wire__Plan message = FQ__WIRE__PLAN__INIT;
    message.round = plan->round;
    message.n_clients = plan->n_clients;
    message.clients = plan->clients;
    message.model = bytes_field(plan->model, sizeof plan->model);
    message.model_bytes = plan->model_bytes;
    message.model_bits = plan->model_bits;
    message.time_left_ms = plan->time_left_ms;
    head->plan = &message;
    fq_status status = pack(head, out);
    head->plan = NULL;
    return status;
}

fq_status fq_encode_message(const fq_message *message, fq_buffer *out) {
    Fq__Wire__Head head = FQ__WIRE__HEAD__INIT;
    head.kind_case = (Fq__Wire__Head__KindCase)message->kind;
    switch (message->kind) {
    case FQ_HELLO: return encode_hello(&message->of.hello, &head, out);
    case FQ_WELCOME: return encode_welcome(&message->of.welcome, &head, out);
    case FQ_PLAN: return encode_plan(&message->of.plan, &head, out);
    case FQ_REFUSAL: {
        Fq__Wire__Refusal part = FQ__WIRE__REFUSAL__INIT;
        part.reason = message->of.refusal.reason;
        part.retry_ms = message->of.refusal.retry_ms;
        part.text = text_field(message->of.refusal.text);
        head.refusal = &part;
        return pack(&head, out);
    }
    case FQ_HEARTBEAT: {
        Fq__Wire__Heartbeat part = FQ__WIRE__HEARTBEAT__INIT;
        part.count = message->of.heartbeat.count;
        part.training = message->of.heartbeat.training;
        head.heartbeat = &part;
        return pack(&head, out);
    }
    case FQ_MODEL_REQUEST:
    case FQ_MODEL_CHUNK: {
        Fq__Wire__ModelPart part;
        put_model_part(&part, &message->of.model_part);
        head.model_request = &part; /* the members of a oneof share their place */
        return pack(&head, out);
    }
    case FQ_UPDATE_OFFER:
    case FQ_UPDATE_WANT:
    case FQ_UPDATE_CHUNK: {
        Fq__Wire__UpdatePart part;
        put_update_part(&part, &message->of.update_part);
        head.update_offer = &part;
        return pack(&head, out);
    }
    case FQ_RECEIPT: {
        Fq__Wire__Receipt part = FQ__WIRE__RECEIPT__INIT;
        part.round = message->of.receipt.round;
        part.client = message->of.receipt.client;
        part.reason = message->of.receipt.reason;
        part.text = text_field(message->of.receipt.text);
        head.receipt = &part;
        return pack(&head, out);
    }
    case FQ_ROUND_OVER: {
        Fq__Wire__RoundOver part = FQ__WIRE__ROUND_OVER__INIT;
        part.round = message->of.round_over;
        head.round_over = &part;
        return pack(&head, out);
    }
    case FQ_RUN_OVER: {
        Fq__Wire__RunOver part = FQ__WIRE__RUN_OVER__INIT;
        part.rounds = message->of.run_over.rounds;
        part.hash = text_field(message->of.run_over.hash);
        head.run_over = &part;
        return pack(&head, out);
    }
    case FQ_BYE: {
        Fq__Wire__Bye part = FQ__WIRE__BYE__INIT;
        head.bye = &part;
        return pack(&head, out);
    }
    }
    return fq_fail(FQ_EINVAL, "no message has kind %d", (int)message->kind);
}

/* ---- decoding ----
 * protobuf-c copies whatever it finds, known or not: two bytes of an empty field become more than a
 * hundred. So the bytes are looked through first, allocating nothing: how many fields, how long the
 * lists, of which kind. The look is stricter than protobuf-c about where a field ends, never laxer.
 */
enum {
    MOST_FIELDS = 64, /* of one message; lists are packed and count as one */
    MOST_LISTED = 2 * FQ_MAX_HOSTED,
    LENGTH_PREFIXED = 2, /* protobuf's wire type */
};

static bool scan_varint(fq_cbytes *left, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; left->size > 0 && shift < 64; shift += 7) {
        unsigned char byte = *left->data++;
        left->size--;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* One field: its number, and its bytes if it is length-prefixed. False: no protobuf. */
static bool scan_field(fq_cbytes *left, uint32_t *number, bool *prefixed, fq_cbytes *content) {
    uint64_t tag, size = 0;
    if (!scan_varint(left, &tag) || tag >> 3 == 0 || tag >> 32 != 0)
        return false;
    *number = (uint32_t)(tag >> 3);
    *prefixed = (tag & 7) == LENGTH_PREFIXED;
    switch (tag & 7) {
    case 0: return scan_varint(left, &size);
    case 1: size = 8; break;
    case LENGTH_PREFIXED:
        if (!scan_varint(left, &size))
            return false;
        break;
    case 5: size = 4; break;
    default: return false;
    }
    if (size > left->size)
        return false;
    *content = (fq_cbytes){left->data, (size_t)size};
    left->data += size;
    left->size -= (size_t)size;
    return true;
}

static size_t count_varints(fq_cbytes bytes) {
    size_t n = 0;
    for (size_t i = 0; i < bytes.size; i++)
        n += bytes.data[i] < 0x80;
    return n;
}

/* The fields of one kind. */
static fq_status scan_kind(fq_cbytes left, const ProtobufCMessageDescriptor *type, size_t whole) {
    size_t    listed = 0; /* values of all lists */
    uint32_t  number;
    bool      prefixed;
    fq_cbytes content;
    for (size_t fields = 1; left.size > 0; fields++) {
        if (fields > MOST_FIELDS)
            return fq_fail(FQ_ELIMIT, "a message of more than %d fields", MOST_FIELDS);
        if (!scan_field(&left, &number, &prefixed, &content))
            return fq_fail(FQ_EPROTO, "%zu bytes are not a message", whole);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, number);
        if (field == NULL || !prefixed)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            listed += field->type == PROTOBUF_C_TYPE_FLOAT ? content.size / sizeof(float)
                                                           : count_varints(content);
        if (listed > MOST_LISTED)
            return fq_fail(FQ_ELIMIT, "lists of %zu values; at most %d are allowed", listed,
                           MOST_LISTED);
        if (field->type == PROTOBUF_C_TYPE_STRING && content.size > 0 &&
            memchr(content.data, '\0', content.size) != NULL)
            return fq_fail(FQ_EPROTO, "a text with a zero byte in it");
    }
    return FQ_OK;
}

/* What protobuf-c may be given: one kind, and fields that are unknown. */
static fq_status scan_head(fq_cbytes left) {
    size_t    whole = left.size;
    uint32_t  number, unknown = 0;
    bool      prefixed, found = false;
    fq_cbytes content;
    for (size_t fields = 1; left.size > 0; fields++) {
        if (fields > MOST_FIELDS)
            return fq_fail(FQ_ELIMIT, "a message of more than %d fields", MOST_FIELDS);
        if (!scan_field(&left, &number, &prefixed, &content))
            return fq_fail(FQ_EPROTO, "%zu bytes are not a message", whole);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(&fq__wire__head__descriptor, number);
        if (field == NULL) {
            unknown = number;
            continue;
        }
        if (found || !prefixed)
            return fq_fail(FQ_EPROTO, "a message of two kinds, or of a broken one");
        found = true;
        FQ_TRY(scan_kind(content, field->descriptor, whole));
    }
    if (found)
        return FQ_OK;
    return fq_fail(FQ_EPROTO, "a message of unknown kind %" PRIu32 "; 1 to %d are known", unknown,
                   FQ_BYE);
}

static fq_status take_bytes(const ProtobufCBinaryData *field, const char *what, void *out,
                            size_t size) {
    if (field->len != size)
        return fq_fail(FQ_EPROTO, "a %s of %zu bytes; %zu are needed", what, field->len, size);
    memcpy(out, field->data, size);
    return FQ_OK;
}

static fq_status take_text(const char *field, const char *what, char *out, size_t capacity) {
    size_t length = strlen(field);
    if (length >= capacity)
        return fq_fail(FQ_ELIMIT, "a %s of %zu bytes; fewer than %zu are allowed", what, length,
                       capacity);
    memcpy(out, field, length + 1);
    return FQ_OK;
}

static fq_status take_bits(uint32_t field, uint8_t *out) {
    if (field > 8)
        return fq_fail(FQ_EPROTO, "a model at %" PRIu32 " bits; 0 to 8 are possible", field);
    *out = (uint8_t)field;
    return FQ_OK;
}

static fq_reason reason_of(uint32_t field) {
    return field < FQ_REASON_END ? (fq_reason)field : FQ_REASON_MALFORMED;
}

static fq_status take_hello(const Fq__Wire__Hello *message, fq_arena *arena, fq_hello *out) {
    *out = (fq_hello){.major = message->major,
                      .minor = message->minor,
                      .simulation = message->simulation,
                      .n_hosted = message->n_clients,
                      .n_widths = message->widths.len,
                      .memory_bytes = message->memory_bytes};
    if (message->n_clients == 0 || message->n_clients > FQ_MAX_HOSTED)
        return fq_fail(FQ_ELIMIT, "a hello for %zu clients; 1 to %d are allowed",
                       message->n_clients, FQ_MAX_HOSTED);
    if (message->n_examples != message->n_clients)
        return fq_fail(FQ_EPROTO, "a hello with sizes of %zu clients; it stands for %zu",
                       message->n_examples, message->n_clients);
    if (message->widths.len > FQ_MAX_WIDTHS)
        return fq_fail(FQ_ELIMIT, "a hello with %zu bit-widths; at most %d are allowed",
                       message->widths.len, FQ_MAX_WIDTHS);
    FQ_TRY(take_text(message->software, "name of software", out->software, sizeof out->software));
    FQ_TRY(take_bits(message->model_bits, &out->model_bits));
    for (size_t i = 0; i < out->n_widths; i++) {
        out->widths[i] = message->widths.data[i];
        bool possible = (out->widths[i] >= 1 && out->widths[i] <= 8) || out->widths[i] == 32;
        if (!possible || (i > 0 && out->widths[i] <= out->widths[i - 1]))
            return fq_fail(FQ_EPROTO, "bit-widths must rise, and be 1 to 8 or 32; found %u",
                           (unsigned)out->widths[i]);
    }
    out->hosted = FQ_ARENA_NEW(arena, fq_hosted, out->n_hosted);
    if (out->hosted == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a hello of %zu clients", out->n_hosted);
    for (size_t i = 0; i < out->n_hosted; i++) {
        out->hosted[i] =
            (fq_hosted){.client = message->clients[i], .examples = message->examples[i]};
        if (i > 0 && out->hosted[i].client <= out->hosted[i - 1].client)
            return fq_fail(FQ_EPROTO,
                           "the clients of a hello must rise: %" PRIu64 " after %" PRIu64,
                           out->hosted[i].client, out->hosted[i - 1].client);
    }
    return FQ_OK;
}

static fq_status take_welcome(const Fq__Wire__Welcome *message, fq_welcome *out) {
    *out = (fq_welcome){.minor = message->minor,
                        .client = message->client,
                        .settings = {message->settings.data, message->settings.len},
                        .channels = message->channels,
                        .height = message->height,
                        .width = message->width,
                        .classes = message->classes,
                        .n_norm = message->n_mean,
                        .heartbeat_ms = message->heartbeat_ms,
                        .window = message->window};
    FQ_TRY(take_bytes(&message->run, "run id", out->run, sizeof out->run));
    if (message->settings.len > FQ_MAX_SETTINGS_BYTES)
        return fq_fail(FQ_ELIMIT, "settings of %zu bytes; at most %d are allowed",
                       message->settings.len, FQ_MAX_SETTINGS_BYTES);
    if (message->n_mean > FQ_MAX_CHANNELS || message->n_mean != message->n_std)
        return fq_fail(FQ_EPROTO,
                       "a normalisation of %zu means and %zu deviations; as many of each, at most "
                       "%d, are allowed",
                       message->n_mean, message->n_std, FQ_MAX_CHANNELS);
    for (size_t i = 0; i < message->n_mean; i++) {
        out->mean[i] = message->mean[i];
        out->std[i] = message->std[i];
        if (!isfinite(out->mean[i]) || !isfinite(out->std[i]) || !(out->std[i] > 0.0f))
            return fq_fail(FQ_ENONFINITE, "normalisation %zu is not finite, or has no deviation",
                           i);
    }
    if (message->heartbeat_ms == 0 || message->window == 0)
        return fq_fail(FQ_EPROTO, "a welcome without heartbeat or window");
    return FQ_OK;
}

static fq_status take_plan(const Fq__Wire__Plan *message, fq_wire_plan *out) {
    *out = (fq_wire_plan){.round = message->round,
                          .n_clients = message->n_clients,
                          .clients = message->clients,
                          .model_bytes = message->model_bytes,
                          .time_left_ms = message->time_left_ms};
    if (message->n_clients == 0 || message->n_clients > FQ_MAX_HOSTED)
        return fq_fail(FQ_ELIMIT, "a plan for %zu clients; 1 to %d are allowed", message->n_clients,
                       FQ_MAX_HOSTED);
    for (size_t i = 1; i < message->n_clients; i++)
        if (message->clients[i] <= message->clients[i - 1])
            return fq_fail(FQ_EPROTO, "the clients of a plan must rise: %" PRIu64 " after %" PRIu64,
                           message->clients[i], message->clients[i - 1]);
    FQ_TRY(take_bits(message->model_bits, &out->model_bits));
    return take_bytes(&message->model, "digest", out->model, sizeof out->model);
}

static fq_status take_model_part(const Fq__Wire__ModelPart *message, fq_model_part *out) {
    *out = (fq_model_part){
        .round = message->round, .offset = message->offset, .bytes = message->bytes};
    if (message->bytes == 0 || message->bytes > FQ_CHUNK_BYTES)
        return fq_fail(FQ_ELIMIT, "a part of %" PRIu32 " bytes; 1 to %d are allowed",
                       message->bytes, FQ_CHUNK_BYTES);
    return take_bits(message->model_bits, &out->model_bits);
}

/* For people only: nonsense counts as not known, and no sum of such values can run over. */
static uint64_t cost_of(uint64_t told) {
    return told <= FQ_MAX_COST ? told : 0;
}

static fq_status take_update_part(const Fq__Wire__UpdatePart *message, fq_update_part *out) {
    *out = (fq_update_part){.round = message->round,
                            .client = message->client,
                            .total = message->total,
                            .offset = message->offset,
                            .cpu_ms = cost_of(message->cpu_ms),
                            .millijoules = cost_of(message->millijoules)};
    if (message->offset > message->total)
        return fq_fail(FQ_EPROTO, "offset %" PRIu64 " of an update of %" PRIu64 " bytes",
                       message->offset, message->total);
    FQ_TRY(take_bits(message->model_bits, &out->model_bits));
    return take_bytes(&message->nonce, "nonce", out->nonce, sizeof out->nonce);
}

static fq_status take_receipt(const Fq__Wire__Receipt *message, fq_receipt *out) {
    *out = (fq_receipt){
        .round = message->round, .client = message->client, .reason = reason_of(message->reason)};
    return take_text(message->text, "text", out->text, sizeof out->text);
}

static fq_status take(const Fq__Wire__Head *head, fq_arena *arena, fq_message *out) {
    switch (out->kind) {
    case FQ_HELLO: return take_hello(head->hello, arena, &out->of.hello);
    case FQ_WELCOME: return take_welcome(head->welcome, &out->of.welcome);
    case FQ_REFUSAL:
        out->of.refusal = (fq_refusal){.reason = reason_of(head->refusal->reason),
                                       .retry_ms = head->refusal->retry_ms};
        return take_text(head->refusal->text, "text", out->of.refusal.text,
                         sizeof out->of.refusal.text);
    case FQ_HEARTBEAT:
        out->of.heartbeat =
            (fq_heartbeat){.count = head->heartbeat->count, .training = head->heartbeat->training};
        return FQ_OK;
    case FQ_PLAN: return take_plan(head->plan, &out->of.plan);
    case FQ_MODEL_REQUEST: return take_model_part(head->model_request, &out->of.model_part);
    case FQ_MODEL_CHUNK: return take_model_part(head->model_chunk, &out->of.model_part);
    case FQ_UPDATE_OFFER: return take_update_part(head->update_offer, &out->of.update_part);
    case FQ_UPDATE_WANT: return take_update_part(head->update_want, &out->of.update_part);
    case FQ_UPDATE_CHUNK: return take_update_part(head->update_chunk, &out->of.update_part);
    case FQ_RECEIPT: return take_receipt(head->receipt, &out->of.receipt);
    case FQ_ROUND_OVER: out->of.round_over = head->round_over->round; return FQ_OK;
    case FQ_RUN_OVER:
        out->of.run_over = (fq_run_end){.rounds = head->run_over->rounds};
        return take_text(head->run_over->hash, "hash", out->of.run_over.hash,
                         sizeof out->of.run_over.hash);
    case FQ_BYE: return FQ_OK;
    }
    return fq_fail(FQ_EPROTO, "a message of unknown kind %d", (int)out->kind);
}

fq_status fq_decode_message(fq_cbytes head, fq_arena *arena, fq_message *out) {
    *out = (fq_message){0};
    if (head.size > FQ_MAX_HEAD_BYTES)
        return fq_fail(FQ_ELIMIT, "a message of %zu bytes; at most %d are allowed", head.size,
                       FQ_MAX_HEAD_BYTES);
    FQ_TRY(scan_head(head));
    ProtobufCAllocator    allocator = fq_wire_allocator(arena);
    const Fq__Wire__Head *message = fq__wire__head__unpack(&allocator, head.size, head.data);
    if (message == NULL && arena->exhausted)
        return fq_fail(FQ_ENOMEM, "a message of %zu bytes needs more than %zu bytes of memory",
                       head.size, arena->capacity);
    if (message == NULL)
        return fq_fail(FQ_EPROTO, "%zu bytes are not a message", head.size);
    out->kind = (fq_message_kind)message->kind_case;
    fq_status status = take(message, arena, out);
    if (status != FQ_OK)
        *out = (fq_message){0}; /* nothing of it is to be used */
    return status;
}

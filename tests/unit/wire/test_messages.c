/* Heads to bytes and back. The golden bytes were made from the text form of these messages by
 * Google's protoc; a new major version is the only reason to change them. */
#include "suite.h"
#include "wire/messages.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONCE "0123456789abcdef01234567"
#define HASH  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const golden[FQ_BYE + 1] = {
    [FQ_HELLO] = "0a31080110021a0666656471203120012a0d03ac02ffffffffffffffffff0132"
                 "070140ffffffff0f3a03010820400448808040",
    [FQ_WELCOME] = "123e080112103031323334353637383961626364656618072205613a20310a28"
                   "033020381c400a4a080000003f0000a0bf52080000803e000000405888276008",
    [FQ_REFUSAL] = "1a0b080f10e8071a0462757379",
    [FQ_HEARTBEAT] = "220508ac021002",
    [FQ_PLAN] = "2a210805120303ac021a103031323334353637383961626364656620f0a20428"
                "083003",
    [FQ_MODEL_REQUEST] = "320c080510081880801020808010",
    [FQ_MODEL_CHUNK] = "3a0a08051008188080102005",
    [FQ_UPDATE_OFFER] = "4223080510031a18303132333435363738396162636465663031323334353637"
                        "20a8463008",
    [FQ_UPDATE_WANT] = "4a26080510031a18303132333435363738396162636465663031323334353637"
                       "20a84628ac023008",
    [FQ_UPDATE_CHUNK] = "5226080510031a18303132333435363738396162636465663031323334353637"
                        "20a84628a8463008",
    [FQ_RECEIPT] = "5a0b08051003180a22034e614e",
    [FQ_ROUND_OVER] = "62020805",
    [FQ_RUN_OVER] = "6a44081e12403031323334353637383961626364656630313233343536373839"
                    "6162636465663031323334353637383961626364656630313233343536373839"
                    "616263646566",
    [FQ_BYE] = "7200",
};

/* ---- shared by all cases ---- */
static fq_arena      arena;
static fq_hosted     many_hosted[FQ_MAX_HOSTED + 1];
static uint64_t      many_clients[FQ_MAX_HOSTED + 1];
static unsigned char many_bytes[FQ_MAX_HEAD_BYTES + 1];

static fq_update_part part_of_update(uint64_t offset) {
    fq_update_part part = {
        .round = 5, .client = 3, .total = 9000, .offset = offset, .model_bits = 8};
    memcpy(part.nonce, NONCE, sizeof part.nonce);
    return part;
}

static fq_message hello(void) {
    static fq_hosted hosted[] = {{3, 1}, {300, 64}, {UINT64_MAX, UINT32_MAX}};
    return (fq_message){.kind = FQ_HELLO,
                        .of.hello = {.major = 1,
                                     .minor = 2,
                                     .software = "fedq 1",
                                     .simulation = true,
                                     .n_hosted = 3,
                                     .hosted = hosted,
                                     .n_widths = 3,
                                     .widths = {1, 8, 32},
                                     .model_bits = 4,
                                     .memory_bytes = 1 << 20}};
}

static fq_message welcome(void) {
    fq_message message = {.kind = FQ_WELCOME,
                          .of.welcome = {.minor = 1,
                                         .client = 7,
                                         .settings = {(const unsigned char *)"a: 1\n", 5},
                                         .channels = 3,
                                         .height = 32,
                                         .width = 28,
                                         .classes = 10,
                                         .n_norm = 2,
                                         .mean = {0.5f, -1.25f},
                                         .std = {0.25f, 2.0f},
                                         .heartbeat_ms = 5000,
                                         .window = 8}};
    memcpy(message.of.welcome.run, NONCE, sizeof message.of.welcome.run);
    return message;
}

static fq_message plan(void) {
    static uint64_t clients[] = {3, 300};
    fq_message      message = {.kind = FQ_PLAN,
                               .of.plan = {.round = 5,
                                           .n_clients = 2,
                                           .clients = clients,
                                           .model_bytes = 70000,
                                           .model_bits = 8,
                                           .time_left_ms = -2}};
    memcpy(message.of.plan.model, NONCE, sizeof message.of.plan.model);
    return message;
}

/* The message that the golden bytes of a kind stand for. */
static fq_message sample(fq_message_kind kind) {
    fq_message message = {.kind = kind};
    switch (kind) {
    case FQ_HELLO: return hello();
    case FQ_WELCOME: return welcome();
    case FQ_PLAN: return plan();
    case FQ_REFUSAL: message.of.refusal = (fq_refusal){FQ_REASON_BUSY, 1000, "busy"}; break;
    case FQ_HEARTBEAT: message.of.heartbeat = (fq_heartbeat){300, 2}; break;
    case FQ_MODEL_REQUEST:
        message.of.model_part = (fq_model_part){5, 8, FQ_CHUNK_BYTES, FQ_CHUNK_BYTES};
        break;
    case FQ_MODEL_CHUNK: message.of.model_part = (fq_model_part){5, 8, FQ_CHUNK_BYTES, 5}; break;
    case FQ_UPDATE_OFFER: message.of.update_part = part_of_update(0); break;
    case FQ_UPDATE_WANT: message.of.update_part = part_of_update(300); break;
    case FQ_UPDATE_CHUNK: message.of.update_part = part_of_update(9000); break;
    case FQ_RECEIPT: message.of.receipt = (fq_receipt){5, 3, FQ_REASON_NONFINITE, "NaN"}; break;
    case FQ_ROUND_OVER: message.of.round_over = 5; break;
    case FQ_RUN_OVER: message.of.run_over = (fq_run_end){30, HASH}; break;
    case FQ_BYE: break;
    }
    return message;
}

/* ---- every field of the two messages is equal ---- */
static void same_hello(const fq_hello *a, const fq_hello *b) {
    CU_ASSERT_EQUAL(a->major, b->major);
    CU_ASSERT_EQUAL(a->minor, b->minor);
    CU_ASSERT_STRING_EQUAL(a->software, b->software);
    CU_ASSERT_EQUAL(a->simulation, b->simulation);
    CU_ASSERT_EQUAL(a->model_bits, b->model_bits);
    CU_ASSERT_EQUAL(a->memory_bytes, b->memory_bytes);
    CU_ASSERT_EQUAL_FATAL(a->n_hosted, b->n_hosted);
    for (size_t i = 0; i < a->n_hosted; i++)
        if (a->hosted[i].client != b->hosted[i].client ||
            a->hosted[i].examples != b->hosted[i].examples)
            CU_FAIL("a hosted client differs");
    CU_ASSERT_EQUAL_FATAL(a->n_widths, b->n_widths);
    CU_ASSERT_EQUAL(memcmp(a->widths, b->widths, sizeof a->widths), 0);
}

static void same_welcome(const fq_welcome *a, const fq_welcome *b) {
    CU_ASSERT_EQUAL(a->minor, b->minor);
    CU_ASSERT_EQUAL(memcmp(a->run, b->run, sizeof a->run), 0);
    CU_ASSERT_EQUAL(a->client, b->client);
    CU_ASSERT_EQUAL_FATAL(a->settings.size, b->settings.size);
    CU_ASSERT(a->settings.size == 0 ||
              memcmp(a->settings.data, b->settings.data, a->settings.size) == 0);
    CU_ASSERT_EQUAL(a->channels, b->channels);
    CU_ASSERT_EQUAL(a->height, b->height);
    CU_ASSERT_EQUAL(a->width, b->width);
    CU_ASSERT_EQUAL(a->classes, b->classes);
    CU_ASSERT_EQUAL_FATAL(a->n_norm, b->n_norm);
    CU_ASSERT_EQUAL(memcmp(a->mean, b->mean, sizeof a->mean), 0);
    CU_ASSERT_EQUAL(memcmp(a->std, b->std, sizeof a->std), 0);
    CU_ASSERT_EQUAL(a->heartbeat_ms, b->heartbeat_ms);
    CU_ASSERT_EQUAL(a->window, b->window);
}

static void same_plan(const fq_wire_plan *a, const fq_wire_plan *b) {
    CU_ASSERT_EQUAL(a->round, b->round);
    CU_ASSERT_EQUAL_FATAL(a->n_clients, b->n_clients);
    CU_ASSERT_EQUAL(memcmp(a->clients, b->clients, a->n_clients * sizeof *a->clients), 0);
    CU_ASSERT_EQUAL(memcmp(a->model, b->model, sizeof a->model), 0);
    CU_ASSERT_EQUAL(a->model_bytes, b->model_bytes);
    CU_ASSERT_EQUAL(a->model_bits, b->model_bits);
    CU_ASSERT_EQUAL(a->time_left_ms, b->time_left_ms);
}

static void same_update_part(const fq_update_part *a, const fq_update_part *b) {
    CU_ASSERT_EQUAL(a->round, b->round);
    CU_ASSERT_EQUAL(a->client, b->client);
    CU_ASSERT_EQUAL(memcmp(a->nonce, b->nonce, sizeof a->nonce), 0);
    CU_ASSERT_EQUAL(a->total, b->total);
    CU_ASSERT_EQUAL(a->offset, b->offset);
    CU_ASSERT_EQUAL(a->model_bits, b->model_bits);
}

static void same(const fq_message *a, const fq_message *b) {
    CU_ASSERT_EQUAL_FATAL(a->kind, b->kind);
    switch (a->kind) {
    case FQ_HELLO: same_hello(&a->of.hello, &b->of.hello); break;
    case FQ_WELCOME: same_welcome(&a->of.welcome, &b->of.welcome); break;
    case FQ_PLAN: same_plan(&a->of.plan, &b->of.plan); break;
    case FQ_REFUSAL:
        CU_ASSERT_EQUAL(a->of.refusal.reason, b->of.refusal.reason);
        CU_ASSERT_EQUAL(a->of.refusal.retry_ms, b->of.refusal.retry_ms);
        CU_ASSERT_STRING_EQUAL(a->of.refusal.text, b->of.refusal.text);
        break;
    case FQ_HEARTBEAT:
        CU_ASSERT_EQUAL(a->of.heartbeat.count, b->of.heartbeat.count);
        CU_ASSERT_EQUAL(a->of.heartbeat.training, b->of.heartbeat.training);
        break;
    case FQ_MODEL_REQUEST:
    case FQ_MODEL_CHUNK:
        CU_ASSERT_EQUAL(a->of.model_part.round, b->of.model_part.round);
        CU_ASSERT_EQUAL(a->of.model_part.model_bits, b->of.model_part.model_bits);
        CU_ASSERT_EQUAL(a->of.model_part.offset, b->of.model_part.offset);
        CU_ASSERT_EQUAL(a->of.model_part.bytes, b->of.model_part.bytes);
        break;
    case FQ_UPDATE_OFFER:
    case FQ_UPDATE_WANT:
    case FQ_UPDATE_CHUNK: same_update_part(&a->of.update_part, &b->of.update_part); break;
    case FQ_RECEIPT:
        CU_ASSERT_EQUAL(a->of.receipt.round, b->of.receipt.round);
        CU_ASSERT_EQUAL(a->of.receipt.client, b->of.receipt.client);
        CU_ASSERT_EQUAL(a->of.receipt.reason, b->of.receipt.reason);
        CU_ASSERT_STRING_EQUAL(a->of.receipt.text, b->of.receipt.text);
        break;
    case FQ_ROUND_OVER: CU_ASSERT_EQUAL(a->of.round_over, b->of.round_over); break;
    case FQ_RUN_OVER:
        CU_ASSERT_EQUAL(a->of.run_over.rounds, b->of.run_over.rounds);
        CU_ASSERT_STRING_EQUAL(a->of.run_over.hash, b->of.run_over.hash);
        break;
    case FQ_BYE: break;
    }
}

static fq_status decode(const void *bytes, size_t size, fq_message *out) {
    fq_arena_reset(&arena);
    return fq_decode_message((fq_cbytes){bytes, size}, &arena, out);
}

static fq_status decode_buffer(const fq_buffer *bytes, fq_message *out) {
    return decode(bytes->data, bytes->size, out);
}

static void round_trip(const fq_message *sent) {
    fq_buffer  bytes = {0};
    fq_message got;
    FQ_ASSERT_OK(fq_encode_message(sent, &bytes));
    FQ_ASSERT_OK(decode_buffer(&bytes, &got));
    same(sent, &got);
    fq_buffer_fini(&bytes);
}

/* What was encoded is refused, and nothing of it is left in the message. */
static void refused(const fq_message *sent, fq_status code, const char *text) {
    fq_buffer  bytes = {0};
    fq_message got;
    FQ_ASSERT_OK(fq_encode_message(sent, &bytes));
    FQ_ASSERT_FAILS(decode_buffer(&bytes, &got), code, text);
    CU_ASSERT_EQUAL(got.kind, 0);
    fq_buffer_fini(&bytes);
}

static void test_golden_bytes(void) {
    for (int kind = FQ_HELLO; kind <= FQ_BYE; kind++) {
        fq_message sent = sample((fq_message_kind)kind), got;
        fq_buffer  bytes = {0};
        char       hex[512] = "";
        FQ_ASSERT_OK(fq_encode_message(&sent, &bytes));
        CU_ASSERT_FATAL(2 * bytes.size < sizeof hex);
        for (size_t i = 0; i < bytes.size; i++)
            snprintf(hex + 2 * i, 3, "%02x", bytes.data[i]);
        CU_ASSERT_STRING_EQUAL(hex, golden[kind]);
        FQ_ASSERT_OK(decode_buffer(&bytes, &got));
        same(&sent, &got);
        fq_buffer_fini(&bytes);
    }
}

static void fill_text(char *text, size_t capacity) {
    memset(text, 'x', capacity - 1);
    text[capacity - 1] = '\0';
}

static void test_extreme_values(void) {
    fq_message m = {.kind = FQ_HELLO};
    m.of.hello = (fq_hello){UINT32_MAX, UINT32_MAX, "", true, 0, NULL, 9, {0}, 8, UINT64_MAX};
    memcpy(m.of.hello.widths, (uint8_t[]){1, 2, 3, 4, 5, 6, 7, 8, 32}, 9);
    fill_text(m.of.hello.software, sizeof m.of.hello.software);
    m.of.hello.hosted = many_hosted;
    m.of.hello.n_hosted = FQ_MAX_HOSTED;
    for (size_t i = 0; i < FQ_MAX_HOSTED; i++)
        many_hosted[i] = (fq_hosted){UINT64_MAX - FQ_MAX_HOSTED + 1 + i, UINT32_MAX};
    round_trip(&m);

    m = (fq_message){.kind = FQ_WELCOME};
    memset(many_bytes, 0xfe, FQ_MAX_SETTINGS_BYTES);
    m.of.welcome = (fq_welcome){.minor = UINT32_MAX,
                                .client = UINT64_MAX,
                                .settings = {many_bytes, FQ_MAX_SETTINGS_BYTES},
                                .channels = UINT32_MAX,
                                .height = UINT32_MAX,
                                .width = UINT32_MAX,
                                .classes = UINT32_MAX,
                                .n_norm = FQ_MAX_CHANNELS,
                                .heartbeat_ms = UINT32_MAX,
                                .window = UINT32_MAX};
    memset(m.of.welcome.run, 0xff, sizeof m.of.welcome.run);
    for (size_t i = 0; i < FQ_MAX_CHANNELS; i++) {
        m.of.welcome.mean[i] = i % 2 == 0 ? -0x1.fffffep127f : -0.0f;
        m.of.welcome.std[i] = i % 2 == 0 ? 0x1.fffffep127f : 0x1p-149f;
    }
    round_trip(&m);

    m = (fq_message){.kind = FQ_PLAN};
    for (size_t i = 0; i < FQ_MAX_HOSTED; i++)
        many_clients[i] = UINT64_MAX - FQ_MAX_HOSTED + 1 + i;
    m.of.plan =
        (fq_wire_plan){UINT32_MAX, FQ_MAX_HOSTED, many_clients, {0xff}, UINT64_MAX, 8, INT64_MIN};
    round_trip(&m);
    m.of.plan.time_left_ms = INT64_MAX;
    round_trip(&m);

    m = (fq_message){.kind = FQ_REFUSAL, .of.refusal = {FQ_REASON_END - 1, UINT32_MAX, ""}};
    fill_text(m.of.refusal.text, FQ_MAX_TEXT);
    round_trip(&m);
    m = (fq_message){.kind = FQ_RECEIPT,
                     .of.receipt = {UINT32_MAX, UINT64_MAX, FQ_REASON_END - 1, ""}};
    fill_text(m.of.receipt.text, FQ_MAX_TEXT);
    round_trip(&m);
    m = (fq_message){.kind = FQ_HEARTBEAT, .of.heartbeat = {UINT64_MAX, UINT32_MAX}};
    round_trip(&m);
    m = (fq_message){.kind = FQ_MODEL_REQUEST,
                     .of.model_part = {UINT32_MAX, 8, UINT64_MAX, FQ_CHUNK_BYTES}};
    round_trip(&m);
    for (int kind = FQ_UPDATE_OFFER; kind <= FQ_UPDATE_CHUNK; kind++) {
        const uint64_t cost = kind == FQ_UPDATE_OFFER ? FQ_MAX_COST : 0;
        m = (fq_message){
            .kind = (fq_message_kind)kind,
            .of.update_part = {
                UINT32_MAX, UINT64_MAX, {0xff}, UINT64_MAX, UINT64_MAX, 8, cost, cost}};
        round_trip(&m);
    }
    m = (fq_message){.kind = FQ_ROUND_OVER, .of.round_over = UINT32_MAX};
    round_trip(&m);
}

/* All that may be zero or empty is. */
static void test_zeros(void) {
    static fq_hosted one[1];
    static uint64_t  client[1];
    for (int kind = FQ_HELLO; kind <= FQ_BYE; kind++) {
        fq_message m = {.kind = (fq_message_kind)kind};
        if (kind == FQ_HELLO)
            m.of.hello = (fq_hello){.n_hosted = 1, .hosted = one};
        if (kind == FQ_WELCOME)
            m.of.welcome = (fq_welcome){.heartbeat_ms = 1, .window = 1};
        if (kind == FQ_PLAN)
            m.of.plan = (fq_wire_plan){.n_clients = 1, .clients = client};
        if (kind == FQ_MODEL_REQUEST || kind == FQ_MODEL_CHUNK)
            m.of.model_part.bytes = 1;
        round_trip(&m);
    }
}

static void test_truncated(void) {
    for (int kind = FQ_HELLO; kind <= FQ_BYE; kind++) {
        fq_message sent = sample((fq_message_kind)kind), got;
        fq_buffer  bytes = {0};
        FQ_ASSERT_OK(fq_encode_message(&sent, &bytes));
        for (size_t size = 0; size < bytes.size; size++) {
            void *cut = malloc(size == 0 ? 1 : size); /* a sanitizer sees what is read past it */
            if (cut == NULL)
                abort();
            memcpy(cut, bytes.data, size);
            CU_ASSERT_EQUAL(decode(cut, size, &got), FQ_EPROTO);
            CU_ASSERT_EQUAL(got.kind, 0);
            free(cut);
        }
        fq_buffer_fini(&bytes);
    }
}

/* ---- what a newer minor version may say ---- */
static void test_unknown_fields(void) {
    static const unsigned char beside[] = {0xfa, 0x7f, 3, 'n', 'e', 'w', 0xf0, 0x7f, 5};
    for (int kind = FQ_HELLO; kind <= FQ_BYE; kind++) {
        fq_message sent = sample((fq_message_kind)kind), got;
        fq_buffer  bytes = {0}, longer = {0};
        FQ_ASSERT_OK(fq_encode_message(&sent, &bytes));
        CU_ASSERT_FATAL(bytes.data[1] < 128 - sizeof beside);
        fq_put_bytes(&longer, beside, sizeof beside); /* of the head */
        fq_put_bytes(&longer, bytes.data, bytes.size);
        fq_put_bytes(&longer, beside, sizeof beside); /* of the kind */
        longer.data[sizeof beside + 1] += sizeof beside;
        FQ_ASSERT_OK(decode_buffer(&longer, &got));
        same(&sent, &got);
        fq_buffer_fini(&bytes);
        fq_buffer_fini(&longer);
    }
}

static void test_unknown_kind(void) {
    fq_message got;
    FQ_ASSERT_FAILS(decode("\x7a\x02\x08\x05", 4, &got), FQ_EPROTO, "unknown kind 15");
    FQ_ASSERT_FAILS(decode(NULL, 0, &got), FQ_EPROTO, "unknown kind 0; 1 to 14");
    fq_buffer  bytes = {0};
    fq_message none = {.kind = (fq_message_kind)15};
    FQ_ASSERT_FAILS(fq_encode_message(&none, &bytes), FQ_EINVAL, "kind 15");
    none.kind = (fq_message_kind)0;
    FQ_ASSERT_FAILS(fq_encode_message(&none, &bytes), FQ_EINVAL, "kind 0");
    CU_ASSERT_EQUAL(bytes.size, 0);
}

static void test_two_kinds(void) {
    fq_message got;
    FQ_ASSERT_FAILS(decode("\x72\x00\x72\x00", 4, &got), FQ_EPROTO, "two kinds");
    FQ_ASSERT_FAILS(decode("\x72\x00\x62\x02\x08\x05", 6, &got), FQ_EPROTO, "two kinds");
    FQ_ASSERT_FAILS(decode("\x70\x00", 2, &got), FQ_EPROTO, "two kinds, or of a broken one");
}

/* A reason of a newer minor version is a reason still. */
static void test_unknown_reason(void) {
    fq_message m = sample(FQ_RECEIPT), got;
    fq_buffer  bytes = {0};
    m.of.receipt.reason = (fq_reason)99;
    FQ_ASSERT_OK(fq_encode_message(&m, &bytes));
    FQ_ASSERT_OK(decode_buffer(&bytes, &got));
    CU_ASSERT_EQUAL(got.of.receipt.reason, FQ_REASON_MALFORMED);
    fq_buffer_fini(&bytes);
}

/* ---- limits ---- */
static void test_head_too_large(void) {
    fq_message got;
    FQ_ASSERT_FAILS(decode(many_bytes, FQ_MAX_HEAD_BYTES + 1, &got), FQ_ELIMIT,
                    "1048577 bytes; at most 1048576");
    fq_message large = welcome();
    fq_buffer  out = {0};
    large.of.welcome.settings = (fq_cbytes){many_bytes, FQ_MAX_HEAD_BYTES};
    FQ_ASSERT_FAILS(fq_encode_message(&large, &out), FQ_ELIMIT, "at most 1048576");
    CU_ASSERT_EQUAL(out.size, 0);
}

static void test_hello_limits(void) {
    fq_message m = hello();
    m.of.hello.n_hosted = 0;
    refused(&m, FQ_ELIMIT, "0 clients; 1 to 65536");
    m.of.hello.n_hosted = FQ_MAX_HOSTED + 1;
    m.of.hello.hosted = many_hosted;
    /* The lists of both together are one too long, before one is. */
    refused(&m, FQ_ELIMIT, "at most 131072");

    fq_hosted twice[] = {{7, 1}, {7, 1}}, falling[] = {{7, 1}, {6, 1}};
    m.of.hello.n_hosted = 2;
    m.of.hello.hosted = twice;
    refused(&m, FQ_EPROTO, "7 after 7");
    m.of.hello.hosted = falling;
    refused(&m, FQ_EPROTO, "6 after 7");

    m = hello();
    m.of.hello.model_bits = 9;
    refused(&m, FQ_EPROTO, "9 bits; 0 to 8");
    m = hello();
    m.of.hello.widths[1] = 1;
    refused(&m, FQ_EPROTO, "must rise");
    m = hello();
    m.of.hello.widths[2] = 16;
    refused(&m, FQ_EPROTO, "found 16");
    m = hello();
    m.of.hello.widths[0] = 0;
    refused(&m, FQ_EPROTO, "found 0");
}

static void put_varint(fq_buffer *bytes, size_t value) {
    for (; value >= 128; value >>= 7)
        fq_put_u8(bytes, (uint8_t)(value | 0x80));
    fq_put_u8(bytes, (uint8_t)value);
}

/* Fields that no encoder of ours would write; refused at the cost of next to no memory. */
static void by_hand(fq_message_kind kind, fq_cbytes fields, fq_status code, const char *text) {
    fq_buffer  bytes = {0};
    fq_message got;
    fq_put_u8(&bytes, (uint8_t)(kind << 3 | 2));
    put_varint(&bytes, fields.size);
    fq_put_bytes(&bytes, fields.data, fields.size);
    FQ_ASSERT_FAILS(decode_buffer(&bytes, &got), code, text);
    CU_ASSERT_EQUAL(got.kind, 0);
    CU_ASSERT(arena.used <= 8192);
    fq_buffer_fini(&bytes);
}

static fq_cbytes text_bytes(const char *text, size_t size) {
    return (fq_cbytes){(const unsigned char *)text, size};
}

static void test_malformed_hello(void) {
    by_hand(FQ_HELLO, text_bytes("\x2a\x02\x01\x02\x32\x01\x01", 7), FQ_EPROTO,
            "sizes of 1 clients; it stands for 2");
    by_hand(FQ_HELLO, text_bytes("\x2a\x01\x01\x32\x01\x01\x3a\x0a\1\2\3\4\5\6\7\7\7\7", 18),
            FQ_ELIMIT, "10 bit-widths; at most 9");
    by_hand(FQ_HELLO, text_bytes("\x2a\x01\x01\x32\x01\x01\x1a\x03g\0d", 11), FQ_EPROTO,
            "a zero byte");
    char software[2 + 64] = "\x1a\x40";
    memset(software + 2, 'x', 64);
    fq_buffer bytes = {0};
    fq_put_bytes(&bytes, "\x2a\x01\x01\x32\x01\x01", 6);
    fq_put_bytes(&bytes, software, sizeof software);
    by_hand(FQ_HELLO, (fq_cbytes){bytes.data, bytes.size}, FQ_ELIMIT,
            "software of 64 bytes; fewer than 64");
    fq_buffer_fini(&bytes);
}

static void test_malformed_lengths(void) {
    by_hand(FQ_UPDATE_OFFER, text_bytes("\x1a\x02no", 4), FQ_EPROTO, "nonce of 2 bytes; 24");
    by_hand(FQ_UPDATE_OFFER, text_bytes("", 0), FQ_EPROTO, "nonce of 0 bytes; 24");
    by_hand(FQ_PLAN, text_bytes("\x12\x01\x01\x1a\x03no!", 8), FQ_EPROTO, "digest of 3 bytes; 16");
    by_hand(FQ_WELCOME, text_bytes("\x12\x11" NONCE, 19), FQ_EPROTO, "run id of 17 bytes; 16");
    char hash[2 + 65] = "\x12\x41";
    memset(hash + 2, 'a', 65);
    by_hand(FQ_RUN_OVER, text_bytes(hash, sizeof hash), FQ_ELIMIT, "65 bytes; fewer than 65");
    char text[3 + FQ_MAX_TEXT] = "\x1a\x80\x04";
    memset(text + 3, 'x', FQ_MAX_TEXT);
    by_hand(FQ_REFUSAL, text_bytes(text, sizeof text), FQ_ELIMIT, "512 bytes; fewer than 512");
    text[0] = '\x22';
    by_hand(FQ_RECEIPT, text_bytes(text, sizeof text), FQ_ELIMIT, "512 bytes; fewer than 512");
}

static void test_welcome_limits(void) {
    fq_message m = welcome();
    m.of.welcome.settings = (fq_cbytes){many_bytes, FQ_MAX_SETTINGS_BYTES + 1};
    refused(&m, FQ_ELIMIT, "262145 bytes; at most 262144");
    m = welcome();
    m.of.welcome.mean[1] = NAN;
    refused(&m, FQ_ENONFINITE, "normalisation 1");
    m = welcome();
    m.of.welcome.std[0] = INFINITY;
    refused(&m, FQ_ENONFINITE, "normalisation 0");
    m = welcome();
    m.of.welcome.std[1] = 0.0f;
    refused(&m, FQ_ENONFINITE, "normalisation 1");
    m = welcome();
    m.of.welcome.window = 0;
    refused(&m, FQ_EPROTO, "without heartbeat or window");
    m = welcome();
    m.of.welcome.heartbeat_ms = 0;
    refused(&m, FQ_EPROTO, "without heartbeat or window");

    unsigned char fields[2 * (2 + 4 * 17)] = {0};
    fields[0] = 9 << 3 | 2;
    fields[70] = 10 << 3 | 2;
    fields[1] = fields[71] = 4 * 17;
    fq_buffer bytes = {0};
    fq_put_bytes(&bytes, "\x12\x10" NONCE, 18);
    fq_put_bytes(&bytes, fields, sizeof fields);
    by_hand(FQ_WELCOME, (fq_cbytes){bytes.data, bytes.size}, FQ_EPROTO,
            "17 means and 17 deviations; as many of each, at most 16");
    bytes.data[bytes.size - 1 - 4 * 17] -= 4;
    bytes.size -= 4;
    by_hand(FQ_WELCOME, (fq_cbytes){bytes.data, bytes.size}, FQ_EPROTO, "17 means and 16");
    fq_buffer_fini(&bytes);
}

static void test_other_limits(void) {
    fq_message m = plan();
    m.of.plan.n_clients = 0;
    refused(&m, FQ_ELIMIT, "0 clients; 1 to 65536");
    m.of.plan.n_clients = FQ_MAX_HOSTED + 1;
    m.of.plan.clients = many_clients;
    refused(&m, FQ_ELIMIT, "65537 clients; 1 to 65536");
    m = plan();
    uint64_t twice[] = {3, 3};
    m.of.plan.clients = twice;
    refused(&m, FQ_EPROTO, "3 after 3");
    m = plan();
    m.of.plan.model_bits = 9;
    refused(&m, FQ_EPROTO, "9 bits; 0 to 8");

    m = sample(FQ_MODEL_CHUNK);
    m.of.model_part.bytes = FQ_CHUNK_BYTES + 1;
    refused(&m, FQ_ELIMIT, "262145 bytes; 1 to 262144");
    m.of.model_part.bytes = 0;
    refused(&m, FQ_ELIMIT, "0 bytes; 1 to 262144");
    m = sample(FQ_MODEL_REQUEST);
    m.of.model_part.model_bits = 255;
    refused(&m, FQ_EPROTO, "255 bits; 0 to 8");
    for (int kind = FQ_UPDATE_OFFER; kind <= FQ_UPDATE_CHUNK; kind++) {
        m = sample((fq_message_kind)kind);
        m.of.update_part.offset = m.of.update_part.total + 1;
        refused(&m, FQ_EPROTO, "offset 9001 of an update of 9000 bytes");
        m = sample((fq_message_kind)kind);
        m.of.update_part.model_bits = 9;
        refused(&m, FQ_EPROTO, "9 bits; 0 to 8");
    }
}

/* A mebibyte of what protobuf-c would copy at many times its size. */
static void test_amplification(void) {
    static const struct {
        unsigned char   field[2];
        fq_message_kind kind;
        const char     *text;
    } cases[] = {
        {{0x2a, 0x00}, FQ_HELLO, "more than 64 fields"}, /* empty lists */
        {{0x28, 0x01}, FQ_HELLO, "more than 64 fields"}, /* a list that is not packed */
        {{0x7a, 0x00}, FQ_HELLO, "more than 64 fields"}, /* unknown, empty */
        {{0x78, 0x01}, FQ_BYE, "more than 64 fields"},
        {{0x12, 0x00}, FQ_PLAN, "more than 64 fields"},
        {{0x1a, 0x00}, FQ_RECEIPT, "more than 64 fields"},
    };
    enum { FIELDS = FQ_MAX_HEAD_BYTES / 2 - 8 };
    unsigned char *fields = many_bytes;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (size_t i = 0; i < FIELDS; i++)
            memcpy(fields + 2 * i, cases[c].field, 2);
        by_hand(cases[c].kind, (fq_cbytes){fields, (size_t)2 * FIELDS}, FQ_ELIMIT, cases[c].text);
    }
    /* One byte of a list is eight in memory. */
    fq_buffer  list = {0};
    fq_message got;
    fq_put_u8(&list, 0x12);
    put_varint(&list, (size_t)2 * FIELDS - 8);
    size_t at = list.size;
    memset(fields, 0x01, (size_t)2 * FIELDS);
    fq_put_bytes(&list, fields, (size_t)2 * FIELDS - 8);
    CU_ASSERT(at < 8);
    by_hand(FQ_PLAN, (fq_cbytes){list.data, list.size}, FQ_ELIMIT, "at most 131072");
    fq_buffer_fini(&list);
    /* Fields of the head itself. */
    for (size_t i = 0; i < FIELDS; i++)
        memcpy(fields + 2 * i, "\x7a", 2);
    FQ_ASSERT_FAILS(decode(fields, (size_t)2 * FIELDS, &got), FQ_ELIMIT, "more than 64 fields");
    CU_ASSERT_EQUAL(arena.used, 0);
}

static void test_small_arena(void) {
    fq_message sent = hello(), got;
    fq_buffer  bytes = {0};
    fq_arena   small;
    FQ_ASSERT_OK(fq_encode_message(&sent, &bytes));
    FQ_ASSERT_OK(fq_arena_init(&small, 256));
    FQ_ASSERT_FAILS(fq_decode_message((fq_cbytes){bytes.data, bytes.size}, &small, &got), FQ_ENOMEM,
                    "more than 256 bytes of memory");
    CU_ASSERT_EQUAL(got.kind, 0);
    fq_arena_fini(&small);
    fq_buffer_fini(&bytes);
}

static void test_names(void) {
    CU_ASSERT_STRING_EQUAL(fq_message_name(FQ_UPDATE_OFFER), "update-offer");
    CU_ASSERT_STRING_EQUAL(fq_message_name(FQ_BYE), "bye");
    CU_ASSERT_STRING_EQUAL(fq_message_name((fq_message_kind)0), "unreadable");
    CU_ASSERT_STRING_EQUAL(fq_message_name((fq_message_kind)(FQ_BYE + 1)), "unknown");
    for (int a = 0; a < FQ_REASON_END; a++)
        for (int b = 0; b < a; b++)
            CU_ASSERT_STRING_NOT_EQUAL(fq_reason_name((fq_reason)a), fq_reason_name((fq_reason)b));
    CU_ASSERT_STRING_EQUAL(fq_reason_name(FQ_REASON_NONFINITE), "non-finite");
    CU_ASSERT_STRING_EQUAL(fq_reason_name(FQ_REASON_END), "unknown");
}

int main(void) {
    static const fq_case cases[] = {
        {"golden bytes of every kind", test_golden_bytes},
        {"extreme values", test_extreme_values},
        {"zeros", test_zeros},
        {"cut at every byte", test_truncated},
        {"unknown fields are skipped", test_unknown_fields},
        {"unknown kind", test_unknown_kind},
        {"two kinds", test_two_kinds},
        {"unknown reason", test_unknown_reason},
        {"head too large", test_head_too_large},
        {"hello: limits", test_hello_limits},
        {"hello: malformed", test_malformed_hello},
        {"lengths of digests, nonces and texts", test_malformed_lengths},
        {"welcome: limits", test_welcome_limits},
        {"other limits", test_other_limits},
        {"amplification", test_amplification},
        {"small arena", test_small_arena},
        {"names", test_names},
        {NULL, NULL}};
    if (fq_arena_init(&arena, FQ_MESSAGE_ARENA_BYTES) != FQ_OK)
        return 1;
    int result = fq_run_suite("messages", cases);
    fq_arena_fini(&arena);
    return result;
}

#include "suite.h"
#include "wire/messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = FQ_BYE };

static fq_arena arena;

static fq_hosted  hosted[] = {{.client = 0, .examples = 1},
                              {.client = UINT64_MAX, .examples = UINT32_MAX}};
static uint64_t   clients[] = {3, UINT64_MAX - 1};
static const char SETTINGS[] = "name: x\n";

static void fill(void *bytes, size_t size, unsigned char first) {
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)bytes)[i] = (unsigned char)(first + i);
}

/* One message of each kind, every field other than zero. */
static fq_message sample(fq_message_kind kind) {
    fq_message m = {.kind = kind};
    switch (kind) {
    case FQ_HELLO:
        m.of.hello = (fq_hello){.major = 1,
                                .minor = 7,
                                .software = "fedq-client 1.2",
                                .simulation = true,
                                .n_hosted = 2,
                                .hosted = hosted,
                                .n_widths = 3,
                                .widths = {2, 8, 32},
                                .model_bits = 4,
                                .memory_bytes = UINT64_MAX};
        break;
    case FQ_WELCOME:
        m.of.welcome =
            (fq_welcome){.minor = 3,
                         .client = UINT64_MAX,
                         .settings = {(const unsigned char *)SETTINGS, sizeof SETTINGS - 1},
                         .channels = 1,
                         .height = 28,
                         .width = 29,
                         .classes = 10,
                         .n_norm = 2,
                         .mean = {0.5f, -1e30f},
                         .std = {1e-30f, 2.0f},
                         .heartbeat_ms = 5000,
                         .window = 4};
        fill(m.of.welcome.run, FQ_RUN_ID_BYTES, 10);
        break;
    case FQ_REFUSAL:
        m.of.refusal = (fq_refusal){.reason = FQ_REASON_BUSY, .retry_ms = 1000, .text = "full"};
        break;
    case FQ_HEARTBEAT: m.of.heartbeat = (fq_heartbeat){.count = UINT64_MAX, .training = 2}; break;
    case FQ_PLAN:
        m.of.plan = (fq_wire_plan){.round = UINT32_MAX,
                                   .n_clients = 2,
                                   .clients = clients,
                                   .model_bytes = UINT64_MAX,
                                   .model_bits = 8,
                                   .time_left_ms = -5};
        fill(m.of.plan.model, FQ_DIGEST_BYTES, 20);
        break;
    case FQ_MODEL_REQUEST:
    case FQ_MODEL_CHUNK:
        m.of.model_part =
            (fq_model_part){.round = 9, .model_bits = 2, .offset = UINT64_MAX, .bytes = 7};
        break;
    case FQ_UPDATE_OFFER:
    case FQ_UPDATE_WANT:
    case FQ_UPDATE_CHUNK:
        m.of.update_part = (fq_update_part){
            .round = 9, .client = 1, .total = UINT64_MAX, .offset = 4, .model_bits = 1};
        fill(m.of.update_part.nonce, FQ_SEAL_NONCE_BYTES, 30);
        break;
    case FQ_RECEIPT:
        m.of.receipt =
            (fq_receipt){.round = 1, .client = 2, .reason = FQ_REASON_LATE, .text = "late"};
        break;
    case FQ_ROUND_OVER: m.of.round_over = 12; break;
    case FQ_RUN_OVER: m.of.run_over = (fq_run_end){.rounds = 200, .hash = "ab12"}; break;
    case FQ_BYE: break;
    }
    return m;
}

static fq_cbytes encode(const fq_message *message, fq_buffer *out) {
    out->size = 0;
    CU_ASSERT_EQUAL(fq_encode_message(message, out), FQ_OK);
    return (fq_cbytes){out->data, out->size};
}

/* What is decoded encodes to the same bytes, so no field is lost or changed. */
static void test_round_trip(void) {
    fq_buffer first = {0}, second = {0};
    for (int kind = 1; kind <= KINDS; kind++) {
        fq_message m = sample((fq_message_kind)kind), back;
        fq_cbytes  bytes = encode(&m, &first);
        fq_arena_reset(&arena);
        CU_ASSERT_EQUAL(fq_decode_message(bytes, &arena, &back), FQ_OK);
        CU_ASSERT_EQUAL(back.kind, m.kind);
        fq_cbytes again = encode(&back, &second);
        CU_ASSERT_TRUE(again.size == bytes.size && memcmp(again.data, bytes.data, bytes.size) == 0);
    }
    fq_buffer_fini(&first);
    fq_buffer_fini(&second);
}

/* Golden bytes: protobuf's field numbers and types are what other versions rely on. */
static void test_golden(void) {
    static const struct {
        fq_message_kind kind;
        const char     *hex;
    } golden[] = {
        {FQ_HEARTBEAT, "220d08ffffffffffffffffff011002"},
        {FQ_MODEL_REQUEST, "3211080910021 8ffffffffffffffffff012007"},
        {FQ_MODEL_CHUNK, "3a1108091002 18ffffffffffffffffff012007"},
        {FQ_UPDATE_OFFER, "422d080910011a181e1f202122232425262728292a2b2c2d2e2f303132333435"
                          "20ffffffffffffffffff0128043001"},
        {FQ_RECEIPT, "5a0c080110021807220 46c617465"},
        {FQ_ROUND_OVER, "6202080c"},
        {FQ_RUN_OVER, "6a0908c80112046162 3132"},
        {FQ_BYE, "7200"},
    };
    fq_buffer out = {0};
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        fq_message m = sample(golden[i].kind);
        fq_cbytes  bytes = encode(&m, &out);
        char       hex[512] = "", want[512] = "";
        for (size_t b = 0; b < bytes.size; b++)
            snprintf(hex + 2 * b, 3, "%02x", bytes.data[b]);
        size_t n = 0;
        for (const char *at = golden[i].hex; *at != '\0'; at++)
            if (*at != ' ')
                want[n++] = *at;
        CU_ASSERT_STRING_EQUAL(hex, want);
    }
    fq_buffer_fini(&out);
}

/* A newer minor version may add fields: they are skipped. */
static void test_unknown_fields(void) {
    static const unsigned char more[] = {0x92, 0x3f, 0x03, 'n', 'e', 'w'}; /* field 1010, bytes */
    fq_buffer                  out = {0};
    fq_message                 m = sample(FQ_ROUND_OVER), back;
    (void)encode(&m, &out);
    fq_put_bytes(&out, more, sizeof more);
    fq_arena_reset(&arena);
    CU_ASSERT_EQUAL(fq_decode_message((fq_cbytes){out.data, out.size}, &arena, &back), FQ_OK);
    CU_ASSERT_EQUAL(back.of.round_over, 12);
    /* A kind that this version does not know. */
    static const unsigned char kind[] = {0xca, 0x3e, 0x00};
    CU_ASSERT_EQUAL(fq_decode_message((fq_cbytes){kind, sizeof kind}, &arena, &back), FQ_EPROTO);
    CU_ASSERT_EQUAL(fq_decode_message((fq_cbytes){kind, 0}, &arena, &back), FQ_EPROTO);
    fq_buffer_fini(&out);
}

static void test_truncation(void) {
    fq_buffer out = {0};
    for (int kind = 1; kind <= KINDS; kind++) {
        fq_message m = sample((fq_message_kind)kind), back;
        fq_cbytes  bytes = encode(&m, &out);
        for (size_t n = 0; n < bytes.size; n++) {
            unsigned char *part = malloc(n + 1); /* so that reading past it shows */
            memcpy(part, bytes.data, n);
            fq_arena_reset(&arena);
            CU_ASSERT_NOT_EQUAL(fq_decode_message((fq_cbytes){part, n}, &arena, &back), FQ_OK);
            free(part);
        }
    }
    fq_buffer_fini(&out);
}

static void refused(const fq_message *message, fq_status status, const char *text) {
    fq_buffer  out = {0};
    fq_message back;
    fq_cbytes  bytes = encode(message, &out);
    fq_arena_reset(&arena);
    CU_ASSERT_EQUAL(fq_decode_message(bytes, &arena, &back), status);
    CU_ASSERT_PTR_NOT_NULL(strstr(fq_status_text(), text));
    fq_buffer_fini(&out);
}

static void test_limits(void) {
    fq_message m = sample(FQ_HELLO);
    m.of.hello.widths[1] = 9;
    refused(&m, FQ_EPROTO, "found 9");
    m = sample(FQ_HELLO);
    m.of.hello.widths[1] = 2;
    refused(&m, FQ_EPROTO, "must rise");
    m = sample(FQ_HELLO);
    m.of.hello.n_hosted = 0;
    refused(&m, FQ_ELIMIT, "hello for 0 clients");
    m = sample(FQ_HELLO);
    m.of.hello.model_bits = 9;
    refused(&m, FQ_EPROTO, "9 bits");
    fq_hosted same[] = {{.client = 5}, {.client = 5}};
    m = sample(FQ_HELLO);
    m.of.hello.hosted = same;
    refused(&m, FQ_EPROTO, "5 after 5");
    m = sample(FQ_WELCOME);
    m.of.welcome.mean[1] = NAN;
    refused(&m, FQ_ENONFINITE, "normalisation 1");
    m = sample(FQ_WELCOME);
    m.of.welcome.std[0] = 0.0f;
    refused(&m, FQ_ENONFINITE, "normalisation 0");
    m = sample(FQ_WELCOME);
    m.of.welcome.window = 0;
    refused(&m, FQ_EPROTO, "window");
    m = sample(FQ_PLAN);
    m.of.plan.n_clients = 0;
    refused(&m, FQ_ELIMIT, "plan for 0 clients");
    uint64_t falling[] = {7, 6};
    m = sample(FQ_PLAN);
    m.of.plan.clients = falling;
    refused(&m, FQ_EPROTO, "6 after 7");
    unsigned char *large = calloc(1, FQ_MAX_HEAD_BYTES + 1);
    fq_message     back;
    CU_ASSERT_EQUAL(fq_decode_message((fq_cbytes){large, FQ_MAX_HEAD_BYTES + 1}, &arena, &back),
                    FQ_ELIMIT);
    free(large);
}

/* A hello of countless empty clients is small on the wire and large in memory: it finds no room. */
static void test_amplification(void) {
    enum { EMPTY = 400000 };
    fq_buffer  bytes = {0};
    fq_message back;
    fq_put_u8(&bytes, 0x0a); /* hello, 2 bytes for each hosted */
    for (uint32_t left = 2 * EMPTY; left > 0; left >>= 7)
        fq_put_u8(&bytes, (uint8_t)(left > 127 ? (left & 127) | 128 : left));
    for (int i = 0; i < EMPTY; i++)
        fq_put_bytes(&bytes, "\x2a\x00", 2);
    fq_arena_reset(&arena);
    CU_ASSERT_NOT_EQUAL(fq_decode_message((fq_cbytes){bytes.data, bytes.size}, &arena, &back),
                        FQ_OK);
    fq_buffer_fini(&bytes);
}

/* ---- sessions ---- */
static void test_order(void) {
    static const bool legal[3][KINDS + 1] = {
        [FQ_SESSION_NEW] = {[FQ_HELLO] = true, [FQ_BYE] = true},
        [FQ_SESSION_JOINED] = {[FQ_HELLO] = true,
                               [FQ_HEARTBEAT] = true,
                               [FQ_MODEL_REQUEST] = true,
                               [FQ_UPDATE_OFFER] = true,
                               [FQ_UPDATE_CHUNK] = true,
                               [FQ_BYE] = true},
    };
    for (int state = 0; state < 3; state++)
        for (int kind = 0; kind <= KINDS; kind++) {
            fq_session session;
            fq_session_begin(&session, 0);
            session.state = (fq_session_state)state;
            CU_ASSERT_EQUAL(fq_session_take(&session, (fq_message_kind)kind, 0),
                            legal[state][kind] ? FQ_OK : FQ_EPROTO);
            CU_ASSERT_EQUAL(session.illegal, legal[state][kind] ? 0 : 1);
        }
}

static void test_flood(void) {
    fq_session session;
    fq_session_begin(&session, 1000);
    session.state = FQ_SESSION_JOINED;
    int taken = 0;
    while (fq_session_take(&session, FQ_HEARTBEAT, 1000) == FQ_OK)
        taken++;
    CU_ASSERT_EQUAL(taken, FQ_SESSION_BURST);
    CU_ASSERT_EQUAL(fq_session_take(&session, FQ_HEARTBEAT, 900),
                    FQ_ELIMIT); /* time never goes back */
    for (taken = 0; fq_session_take(&session, FQ_HEARTBEAT, 1500) == FQ_OK; taken++)
        ;
    CU_ASSERT_EQUAL(taken, FQ_SESSION_RATE / 2);
    fq_session_begin(&session, 0);
    for (taken = 0; fq_session_take(&session, (fq_message_kind)0, 0) == FQ_EPROTO; taken++)
        ;
    CU_ASSERT_EQUAL(taken, FQ_SESSION_BURST / FQ_GARBAGE_COST);
}

int main(void) {
    static const fq_case cases[] = {{"every kind, every field", test_round_trip},
                                    {"golden bytes", test_golden},
                                    {"what a newer version adds is skipped", test_unknown_fields},
                                    {"cut short anywhere", test_truncation},
                                    {"limits", test_limits},
                                    {"small bytes that want much memory", test_amplification},
                                    {"the legal order", test_order},
                                    {"floods", test_flood},
                                    {NULL, NULL}};
    if (fq_arena_init(&arena, 4 * (size_t)FQ_MAX_HEAD_BYTES) != FQ_OK)
        return 1;
    int code = fq_run_suite("messages", cases);
    fq_arena_fini(&arena);
    return code;
}

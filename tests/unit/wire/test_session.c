/* The legal order and the bucket of tokens. */
#include "suite.h"
#include "wire/messages.h"

#include <string.h>

static const int64_t START = 1000;

static fq_session in_state(fq_session_state state) {
    fq_session session;
    fq_session_begin(&session, START);
    session.state = state;
    return session;
}

/* The grammar of docs/wire.md, a row for each kind: legal when new, joined, left. */
static const bool expected[FQ_BYE + 2][FQ_SESSION_LEFT + 1] = {
    [0] = {false, false, false}, /* unreadable */
    [FQ_HELLO] = {true, true, false},
    [FQ_WELCOME] = {false, false, false},
    [FQ_REFUSAL] = {false, false, false},
    [FQ_HEARTBEAT] = {false, true, false},
    [FQ_PLAN] = {false, false, false},
    [FQ_MODEL_REQUEST] = {false, true, false},
    [FQ_MODEL_CHUNK] = {false, false, false},
    [FQ_UPDATE_OFFER] = {false, true, false},
    [FQ_UPDATE_WANT] = {false, false, false},
    [FQ_UPDATE_CHUNK] = {false, true, false},
    [FQ_RECEIPT] = {false, false, false},
    [FQ_ROUND_OVER] = {false, false, false},
    [FQ_RUN_OVER] = {false, false, false},
    [FQ_BYE] = {true, true, false},
    [FQ_BYE + 1] = {false, false, false}, /* of no known kind */
};

static void test_every_state_and_kind(void) {
    for (int state = FQ_SESSION_NEW; state <= FQ_SESSION_LEFT; state++)
        for (int kind = 0; kind <= FQ_BYE + 1; kind++) {
            fq_session session = in_state((fq_session_state)state);
            fq_status  status = fq_session_take(&session, (fq_message_kind)kind, START);
            bool       legal = expected[kind][state];
            CU_ASSERT_EQUAL(status, legal ? FQ_OK : FQ_EPROTO);
            CU_ASSERT_EQUAL(session.received, 1);
            CU_ASSERT_EQUAL(session.illegal, legal ? 0 : 1);
            CU_ASSERT_EQUAL(session.tokens, FQ_SESSION_BURST - (legal ? 1.0 : FQ_GARBAGE_COST));
            CU_ASSERT_EQUAL(session.state,
                            legal && kind == FQ_BYE ? FQ_SESSION_LEFT : (fq_session_state)state);
            if (!legal)
                CU_ASSERT_PTR_NOT_NULL(
                    strstr(fq_status_text(), fq_message_name((fq_message_kind)kind)));
        }
}

static void test_begins_new(void) {
    fq_session session = {.state = FQ_SESSION_LEFT, .received = 9, .illegal = 9};
    fq_session_begin(&session, START);
    CU_ASSERT_EQUAL(session.state, FQ_SESSION_NEW);
    CU_ASSERT_EQUAL(session.received, 0);
    CU_ASSERT_EQUAL(session.illegal, 0);
    CU_ASSERT_EQUAL(session.tokens, FQ_SESSION_BURST);
}

/* How many messages of a kind pass at one instant. */
static int passing(fq_session *session, fq_message_kind kind, int64_t now_ms) {
    int n = 0;
    while (n <= 2 * FQ_SESSION_BURST && fq_session_take(session, kind, now_ms) != FQ_ELIMIT)
        n++;
    return n;
}

static void test_flood(void) {
    fq_session session = in_state(FQ_SESSION_JOINED);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, START), FQ_SESSION_BURST);
    FQ_ASSERT_FAILS(fq_session_take(&session, FQ_HEARTBEAT, START), FQ_ELIMIT,
                    "more messages than 2000 a second");
    session = in_state(FQ_SESSION_JOINED);
    CU_ASSERT_EQUAL(passing(&session, (fq_message_kind)0, START),
                    FQ_SESSION_BURST / FQ_GARBAGE_COST);
}

static void test_refill(void) {
    fq_session session = in_state(FQ_SESSION_JOINED);
    (void)passing(&session, FQ_HEARTBEAT, START);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, START + 1), FQ_SESSION_RATE / 1000);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, START + 501), FQ_SESSION_RATE / 2);
    /* No more than the bucket holds, however long the silence. */
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, START + 1000000), FQ_SESSION_BURST);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, INT64_MAX), FQ_SESSION_BURST);
}

/* Time that goes backwards gives nothing, neither then nor when it comes again. */
static void test_clock_backwards(void) {
    fq_session session = in_state(FQ_SESSION_JOINED);
    (void)passing(&session, FQ_HEARTBEAT, START);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, START - 500), 0);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, INT64_MIN), 0);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, START), 0);
    CU_ASSERT_EQUAL(passing(&session, FQ_HEARTBEAT, START + 1), FQ_SESSION_RATE / 1000);
}

/* What the rate allows never is a flood. */
static void test_steady_rate(void) {
    fq_session session = in_state(FQ_SESSION_JOINED);
    for (int64_t ms = 0; ms < 20000; ms++)
        for (int i = 0; i < FQ_SESSION_RATE / 1000; i++)
            if (fq_session_take(&session, FQ_UPDATE_CHUNK, START + ms) != FQ_OK)
                CU_FAIL("refused at the allowed rate");
    CU_ASSERT_EQUAL(session.illegal, 0);
    CU_ASSERT_EQUAL(session.received, 20 * FQ_SESSION_RATE);
}

int main(void) {
    static const fq_case cases[] = {{"every state and kind", test_every_state_and_kind},
                                    {"begins new", test_begins_new},
                                    {"flood", test_flood},
                                    {"refill", test_refill},
                                    {"clock backwards", test_clock_backwards},
                                    {"steady rate", test_steady_rate},
                                    {NULL, NULL}};
    return fq_run_suite("session", cases);
}

#include "wire/messages.h"

/* What a client may say in each state; docs/wire.md has the same as a grammar. Nobody leaves LEFT
 * by speaking: only the owner begins anew. */
static const bool legal_in[FQ_SESSION_LEFT + 1][FQ_BYE + 1] = {
    [FQ_SESSION_NEW] = {[FQ_HELLO] = true, [FQ_BYE] = true},
    [FQ_SESSION_JOINED] = {[FQ_HELLO] = true,
                           [FQ_HEARTBEAT] = true,
                           [FQ_MODEL_REQUEST] = true,
                           [FQ_UPDATE_OFFER] = true,
                           [FQ_UPDATE_CHUNK] = true,
                           [FQ_BYE] = true},
    [FQ_SESSION_LEFT] = {false},
};

void fq_session_begin(fq_session *session, int64_t now_ms) {
    *session = (fq_session){.tokens = FQ_SESSION_BURST, .refilled_ms = now_ms};
}

/* A bucket of tokens: every message costs one, garbage many. */
static bool pay(fq_session *session, double cost, int64_t now_ms) {
    if (now_ms > session->refilled_ms) {
        double passed_ms = (double)now_ms - (double)session->refilled_ms;
        session->tokens += passed_ms * FQ_SESSION_RATE / 1000.0;
        session->refilled_ms = now_ms;
    }
    if (session->tokens > FQ_SESSION_BURST)
        session->tokens = FQ_SESSION_BURST;
    if (session->tokens < cost)
        return false;
    session->tokens -= cost;
    return true;
}

fq_status fq_session_take(fq_session *session, fq_message_kind kind, int64_t now_ms) {
    bool legal = (unsigned)kind <= FQ_BYE && legal_in[session->state][kind];
    session->received++;
    session->illegal += !legal;
    if (!pay(session, legal ? 1.0 : FQ_GARBAGE_COST, now_ms))
        return fq_fail(FQ_ELIMIT, "more messages than %d a second", FQ_SESSION_RATE);
    if (!legal)
        return fq_fail(FQ_EPROTO, "%s is not what may come now", fq_message_name(kind));
    if (kind == FQ_BYE)
        session->state = FQ_SESSION_LEFT;
    return FQ_OK;
}

#include "wire/messages.h"

/* What a client may say in each state; docs/wire.md has the same as a grammar. */
static bool is_legal(fq_session_state state, fq_message_kind kind) {
    switch (state) {
    case FQ_SESSION_NEW: return kind == FQ_HELLO || kind == FQ_BYE;
    case FQ_SESSION_JOINED:
        return kind == FQ_HELLO || kind == FQ_HEARTBEAT || kind == FQ_MODEL_REQUEST ||
               kind == FQ_UPDATE_OFFER || kind == FQ_UPDATE_CHUNK || kind == FQ_BYE;
    case FQ_SESSION_LEFT: break;
    }
    return false;
}

void fq_session_begin(fq_session *session, int64_t now_ms) {
    *session = (fq_session){.tokens = FQ_SESSION_BURST, .refilled_ms = now_ms};
}

/* A bucket of tokens: every message costs one, garbage many. */
static bool pay(fq_session *session, double cost, int64_t now_ms) {
    if (now_ms > session->refilled_ms) {
        session->tokens += (double)(now_ms - session->refilled_ms) * FQ_SESSION_RATE / 1000.0;
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
    bool legal = is_legal(session->state, kind);
    session->received++;
    session->illegal += !legal;
    if (!pay(session, legal ? 1.0 : FQ_GARBAGE_COST, now_ms))
        return fq_fail(FQ_ELIMIT, "more messages than %d a second", FQ_SESSION_RATE);
    if (!legal)
        return fq_fail(FQ_EPROTO, "%s is not what may come now", fq_message_name(kind));
    return FQ_OK;
}

/* What a peer sends, in any order and at any pace: the session never lets through what is not
 * legal, never more than the bucket and the rate allow, and never wakes up from having left.
 *
 * Input: pairs of a kind (modulo the known ones and two that are none; bit 7: the owner answers a
 * legal hello by a welcome) and the time since the last one (0..127 ms; from 128 on: the clock goes
 * back by what is above). */
#include "fuzz.h"
#include "wire/messages.h"

#include <stdbool.h>

enum { KINDS = FQ_BYE + 2, WELCOMED = 0x80, BACK = 0x80 };

/* Only a client's kinds, and only a hello or a bye of one that has not joined. */
static bool may_pass(fq_session_state state, int kind) {
    if (state == FQ_SESSION_LEFT)
        return false;
    if (kind == FQ_HELLO || kind == FQ_BYE)
        return true;
    return state == FQ_SESSION_JOINED && (kind == FQ_HEARTBEAT || kind == FQ_MODEL_REQUEST ||
                                          kind == FQ_UPDATE_OFFER || kind == FQ_UPDATE_CHUNK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const int64_t begin = 1000;
    int64_t       now = begin, latest = begin;
    fq_session    session;
    uint64_t      paid = 0; /* tokens, of all that was not called a flood */
    fq_session_begin(&session, begin);
    for (size_t i = 0; i + 1 < size; i += 2) {
        int        kind = (data[i] & 0x7f) % KINDS;
        fq_session before = session;
        bool       legal = may_pass(before.state, kind);
        now += data[i + 1] < BACK ? data[i + 1] : BACK - data[i + 1];
        latest = now > latest ? now : latest;
        fq_status status = fq_session_take(&session, (fq_message_kind)kind, now);

        FUZZ_CHECK(status == FQ_ELIMIT || status == (legal ? FQ_OK : FQ_EPROTO));
        FUZZ_CHECK(status == FQ_OK || fq_status_text()[0] != '\0');
        FUZZ_CHECK(session.received == before.received + 1);
        FUZZ_CHECK(session.illegal == before.illegal + !legal);
        FUZZ_CHECK(session.tokens >= 0.0 && session.tokens <= FQ_SESSION_BURST);
        FUZZ_CHECK(session.refilled_ms >= before.refilled_ms);
        FUZZ_CHECK(session.state ==
                   (status == FQ_OK && kind == FQ_BYE ? FQ_SESSION_LEFT : before.state));
        if (status != FQ_ELIMIT)
            paid += legal ? 1 : FQ_GARBAGE_COST;
        FUZZ_CHECK((double)paid <=
                   FQ_SESSION_BURST + 1e-6 + (double)(latest - begin) * FQ_SESSION_RATE / 1000.0);
        if (status == FQ_OK && kind == FQ_HELLO)
            session.state = (data[i] & WELCOMED) != 0 ? FQ_SESSION_JOINED : FQ_SESSION_NEW;
    }
    return 0;
}

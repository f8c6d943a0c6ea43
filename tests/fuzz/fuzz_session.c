/* What a peer may send, in any order and at any time. Input: pairs of a kind and a step of time
 * (signed, 4 ms each); the state moves as the coordinator moves it. */
#include "fuzz.h"
#include "wire/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fq_session session;
    int64_t    now = 0, latest = 0;
    uint64_t   legal = 0;
    fq_session_begin(&session, now);
    for (size_t i = 0; i + 1 < size; i += 2) {
        fq_message_kind kind = (fq_message_kind)(data[i] % (FQ_BYE + 1));
        now += 4 * (int64_t)(int8_t)data[i + 1];
        latest = now > latest ? now : latest;
        fq_status status = fq_session_take(&session, kind, now);
        FUZZ_CHECK(status == FQ_OK || status == FQ_EPROTO || status == FQ_ELIMIT);
        FUZZ_CHECK(session.tokens >= 0.0 && session.tokens <= FQ_SESSION_BURST);
        FUZZ_CHECK(session.received == i / 2 + 1 && session.illegal <= session.received);
        legal += status == FQ_OK;
        /* No more than the bucket and what has flowed into it. */
        FUZZ_CHECK((double)legal <=
                   FQ_SESSION_BURST + (double)latest * FQ_SESSION_RATE / 1000.0 + 1.0);
        if (status == FQ_OK)
            FUZZ_CHECK(session.state == FQ_SESSION_JOINED || kind == FQ_HELLO || kind == FQ_BYE);
        if (status == FQ_OK && kind == FQ_HELLO)
            session.state = FQ_SESSION_JOINED;
        if (status == FQ_OK && kind == FQ_BYE)
            session.state = FQ_SESSION_LEFT;
        fq_session left = session;
        left.state = FQ_SESSION_LEFT; /* absorbing */
        FUZZ_CHECK(fq_session_take(&left, FQ_HELLO, now) != FQ_OK);
    }
    return 0;
}

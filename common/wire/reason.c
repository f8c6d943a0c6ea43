#include "wire/messages.h"

const char *fq_reason_name(fq_reason reason) {
    static const char *const names[FQ_REASON_END] = {
        [FQ_REASON_NONE] = "none",
        [FQ_REASON_MALFORMED] = "malformed",
        [FQ_REASON_ORDER] = "order",
        [FQ_REASON_VERSION] = "version",
        [FQ_REASON_NOT_JOINED] = "not-joined",
        [FQ_REASON_NOT_YOURS] = "not-yours",
        [FQ_REASON_NOT_ASKED] = "not-asked",
        [FQ_REASON_LATE] = "late",
        [FQ_REASON_STALE] = "stale",
        [FQ_REASON_UNSEALED] = "unsealed",
        [FQ_REASON_NONFINITE] = "non-finite",
        [FQ_REASON_TOO_LARGE] = "too-large",
        [FQ_REASON_WRONG_SHAPE] = "wrong-shape",
        [FQ_REASON_FLOOD] = "flood",
        [FQ_REASON_REVOKED] = "revoked",
        [FQ_REASON_BUSY] = "busy",
    };
    return (unsigned)reason < FQ_REASON_END ? names[reason] : "unknown";
}

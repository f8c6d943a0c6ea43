#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 1024 };
static _Thread_local char text[TEXT_BYTES];

int fq_say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char fresh[TEXT_BYTES]; /* the arguments may point into the old text */
    vsnprintf(fresh, sizeof fresh, format, arguments);
    va_end(arguments);
    memcpy(text, fresh, sizeof text);
    return 0;
}

void fq_add_context(const char *format, ...) {
    char    context[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
    char joined[2 * TEXT_BYTES + 2];
    snprintf(joined, sizeof joined, "%s: %s", context, text);
    memcpy(text, joined, sizeof text - 1);
    text[sizeof text - 1] = '\0';
}

const char *fq_status_text(void) {
    return text;
}

const char *fq_status_name(fq_status code) {
    switch (code) {
    case FQ_OK: return "ok";
    case FQ_EINVAL: return "invalid";
    case FQ_ENOMEM: return "no-memory";
    case FQ_EIO: return "io";
    case FQ_EPROTO: return "malformed";
    case FQ_ELIMIT: return "limit";
    case FQ_ESTALE: return "stale";
    case FQ_ENONFINITE: return "non-finite";
    case FQ_ESTATE: return "state";
    case FQ_ETIMEOUT: return "timeout";
    case FQ_EAUTH: return "auth";
    }
    return "unknown";
}

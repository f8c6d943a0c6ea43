/* Structured log of a program: one line per event, "time level event=NAME key=value ...".
 *
 * Only programs log; nothing else in common/ does. No keys, no data, no weights. Lines are written
 * whole, so threads may share a log.
 */
#ifndef FQ_BASE_LOG_H
#define FQ_BASE_LOG_H

#include "base/status.h"

#include <stdio.h>

typedef enum fq_log_level { FQ_LOG_ERROR, FQ_LOG_WARN, FQ_LOG_INFO, FQ_LOG_DEBUG } fq_log_level;
extern const char *const fq_log_level_names[]; /* error warn info debug; NULL-terminated */

typedef struct fq_log {
    FILE        *file;  /* NULL: nothing is written */
    fq_log_level level; /* and more urgent ones */
} fq_log;

/* `event` is one word; the rest is "key=value" pairs in printf's way. Texts from outside go through
 * fq_log_quote. */
void fq_log_write(const fq_log *log, fq_log_level level, const char *event, const char *pairs, ...)
    FQ_PRINTF(4, 5);

/* A value as it stands in a line: as it is if it is a plain word, else in double quotes, with
 * quotes, backslashes and control characters escaped; cut to fit. Returns `out`. */
enum { FQ_LOG_QUOTED = 600 };
const char *fq_log_quote(const char *text, char out[FQ_LOG_QUOTED]);

#endif

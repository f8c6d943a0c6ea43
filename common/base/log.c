#include "base/log.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

const char *const fq_log_level_names[] = {"error", "warn", "info", "debug", NULL};

void fq_log_write(const fq_log *log, fq_log_level level, const char *event, const char *pairs,
                  ...) {
    if (log->file == NULL || level > log->level)
        return;
    char            line[2048], stamp[32];
    struct timespec now;
    struct tm       utc;
    va_list         arguments;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    int used = snprintf(line, sizeof line, "%s.%03ldZ %s event=%s ", stamp, now.tv_nsec / 1000000,
                        fq_log_level_names[level], event);
    va_start(arguments, pairs);
    vsnprintf(line + used, sizeof line - (size_t)used, pairs, arguments);
    va_end(arguments);
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == ' ')
        length--;
    line[length < sizeof line - 1 ? length : sizeof line - 2] = '\n';
    line[length < sizeof line - 1 ? length + 1 : sizeof line - 1] = '\0';
    fputs(line, log->file); /* one call: stdio locks the stream for it */
    fflush(log->file);
}

const char *fq_log_quote(const char *text, char out[FQ_LOG_QUOTED]) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,@%";
    size_t used = 0;
    if (text[0] != '\0' && text[strspn(text, plain)] == '\0') {
        snprintf(out, FQ_LOG_QUOTED, "%s", text);
        return out;
    }
    out[used++] = '"';
    for (const char *at = text; *at != '\0' && used < FQ_LOG_QUOTED - 6; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\')
            used += (size_t)snprintf(out + used, 3, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            used += (size_t)snprintf(out + used, 5, "\\x%02x", c);
        else
            out[used++] = (char)c;
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}

/* Status codes with a text that says what was found and what was expected.
 *
 * Every function that can fail returns fq_status. The text is written once, where the facts are
 * known, and kept per thread; callers hand the status up and may add context on the way.
 */
#ifndef FQ_BASE_STATUS_H
#define FQ_BASE_STATUS_H

#define FQ_MUST_CHECK          __attribute__((warn_unused_result))
#define FQ_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* One code for each thing that a caller does differently. */
typedef enum fq_status {
    FQ_OK = 0,
    FQ_EINVAL,     /* the caller or the settings asked for something impossible */
    FQ_ENOMEM,     /* memory is exhausted, or an arena is too small */
    FQ_EIO,        /* a file could not be read or written */
    FQ_EPROTO,     /* a file or a peer says something that is not in its format */
    FQ_ELIMIT,     /* larger than a limit allows */
    FQ_ESTALE,     /* belongs to another run, round or model */
    FQ_ENONFINITE, /* NaN or infinity where a number is needed */
    FQ_ESTATE,     /* not now: wrong order of calls, interrupted, already there */
    FQ_ETIMEOUT,
    FQ_EAUTH,
} fq_status;

/* fq_fail(code, format, ...): store the text and return `code`. A macro over two functions, so that
 * the compiler sees which code a failing path returns. */
int                     fq_say(const char *format, ...) FQ_PRINTF(1, 2);
static inline fq_status fq_failed(fq_status code, int said) {
    (void)said;
    return code;
}
#define fq_fail(code, ...) fq_failed((code), fq_say(__VA_ARGS__))

/* Put "context: " before the text of the failure on this thread. */
void fq_add_context(const char *format, ...) FQ_PRINTF(1, 2);

/* Text of the last failure on this thread; valid until its next failure; "" if there was none. */
const char *fq_status_text(void);

/* A short name, "invalid", for logs and tables. */
const char *fq_status_name(fq_status code);

#define FQ_TRY(expression)                                                                         \
    do {                                                                                           \
        fq_status fq_try_status_ = (expression);                                                   \
        if (fq_try_status_ != FQ_OK)                                                               \
            return fq_try_status_;                                                                 \
    } while (0)

/* The same for functions that have something to free: jumps to the label `done`. */
#define FQ_GO(status, expression)                                                                  \
    do {                                                                                           \
        (status) = (expression);                                                                   \
        if ((status) != FQ_OK)                                                                     \
            goto done;                                                                             \
    } while (0)

#endif

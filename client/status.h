/* status.json: what a client did last, for `fedq-client status` and for people's own scripts. The
 * client reads it back when it starts, so that its counts go on while the run is the same. */
#ifndef FQ_CLIENT_STATUS_H
#define FQ_CLIENT_STATUS_H

#include "base/config.h"
#include "wire/messages.h"

typedef struct fq_client_status {
    char    run_id[2 * FQ_RUN_ID_BYTES + 1], run[FQ_TEXT_BYTES]; /* empty: none joined yet */
    bool    connected, joined, over;
    int64_t round;             /* the last one that it was asked in, from 1; 0: none */
    int64_t training, outbox;  /* turns going on; updates without a receipt */
    int64_t accepted, refused; /* updates of this run */
    int64_t refusals[FQ_REASON_END];
    int64_t cpu_ms, millijoules; /* of this run's turns; millijoules 0: the machine cannot tell */
    char    gate[FQ_TEXT_BYTES]; /* why it does not take part just now; "": it does */
    int64_t heard_s; /* date of the coordinator's last message, s since 1970; 0: never */
    int64_t rounds;  /* of a run that is over */
    char    hash[65];
} fq_client_status;

/* One line of JSON. */
void                    fq_client_status_json(const fq_client_status *status, fq_buffer *json);
FQ_MUST_CHECK fq_status fq_client_status_write(const char *home, const fq_client_status *status);
FQ_MUST_CHECK fq_status fq_client_status_parse(fq_cbytes json, fq_client_status *out);
/* Zeros if there is no such file. */
FQ_MUST_CHECK fq_status fq_client_status_read(const char *home, fq_client_status *out);

#endif

/* A client in a federation: connects, takes its turns when asked, and sees to it that each finished
 * update reaches the coordinator. The loop never waits for training: heartbeats go on. */
#ifndef FQ_CLIENT_PARTICIPANT_H
#define FQ_CLIENT_PARTICIPANT_H

#include "base/log.h"
#include "client/work.h"

enum { FQ_MAX_HOURS = 8 };

/* Minutes of the day, local time; begin > end spans midnight. */
typedef struct fq_hours {
    size_t n;
    struct {
        int begin, end;
    } of[FQ_MAX_HOURS];
} fq_hours;
/* "HH:MM-HH:MM". */
FQ_MUST_CHECK fq_status fq_hours_add(fq_hours *hours, const char *text);
bool                    fq_hours_allow(const fq_hours *hours, int minute); /* none: always */

typedef struct fq_participant_options {
    fq_work_options work;
    const char     *server, *name;
    uint64_t        examples; /* of a device */
    uint8_t         model_bits;
    bool            keep; /* stay when a run is over, for the next */
    fq_hours        hours;
    fq_gates        gates;
    const char     *root; /* of the system's files, "" for this machine: client/device.h */
    const fq_log   *log;
} fq_participant_options;

typedef struct fq_participant_result {
    uint32_t rounds;
    char     hash[65];
    uint64_t accepted, refused;
} fq_participant_result;

/* Until the run is over: FQ_OK. FQ_ESTATE: interrupted by a signal (fq_interrupted); what is
 * finished is in the outbox. FQ_EINVAL, FQ_ELIMIT: this client cannot take part in that run. */
FQ_MUST_CHECK fq_status fq_participant_run(const fq_participant_options *options,
                                           fq_participant_result        *result);

#endif

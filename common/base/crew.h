/* Threads that take jobs off a queue, so that an event loop never waits for arithmetic or the disk.
 *
 * A job is done by `work` on some thread, then handed back: the loop sees the descriptor
 * become readable and calls fq_crew_finish, which calls `done` on the loop's own thread.
 */
#ifndef FQ_BASE_CREW_H
#define FQ_BASE_CREW_H

#include "base/status.h"

#include <stddef.h>

typedef struct fq_job fq_job;
/* The first member of whatever a job needs; owned by the job's maker, who frees it in `done`. */
struct fq_job {
    void (*work)(fq_job *job, size_t worker); /* worker: 0 .. n - 1, its own scratch */
    void (*done)(fq_job *job);
    fq_job *next; /* the crew's */
};

typedef struct fq_crew  fq_crew;
FQ_MUST_CHECK fq_status fq_crew_create(fq_crew **out, size_t n_workers);
void   fq_crew_destroy(fq_crew **crew); /* all jobs are worked off first, and not handed back */
void   fq_crew_add(fq_crew *crew, fq_job *job);
int    fq_crew_descriptor(const fq_crew *crew); /* readable: there is something to finish */
void   fq_crew_finish(fq_crew *crew);
size_t fq_crew_busy(fq_crew *crew); /* jobs added and not handed back */

#endif

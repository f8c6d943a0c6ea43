/* Worker threads that share out numbered tasks.
 *
 * Which worker gets which task is left to chance, so a task must write only to places named by its
 * number, or to scratch named by its worker.
 */
#ifndef FQ_BASE_POOL_H
#define FQ_BASE_POOL_H

#include "base/status.h"

#include <stddef.h>

typedef struct fq_pool fq_pool;

/* `worker` is in 0..n_workers-1; no two tasks run on one worker at once. */
typedef fq_status fq_task(void *context, size_t task, size_t worker);

/* n_workers >= 1; the calling thread is worker 0, so one worker means no thread at all. */
FQ_MUST_CHECK fq_status fq_pool_create(fq_pool **pool, size_t n_workers);
void                    fq_pool_destroy(fq_pool **pool);
size_t                  fq_pool_workers(const fq_pool *pool);

/* Run tasks 0..n-1, return when all are done. When tasks fail, the failure of the lowest-numbered
 * one is returned with its text; no task is started after the first failure. */
FQ_MUST_CHECK fq_status fq_pool_for(fq_pool *pool, size_t n, fq_task *task, void *context);

/* Processors this process may run on. */
size_t fq_processors(void);
/* Their model as Linux names it, or "unknown processor". */
void fq_processor_name(char *out, size_t capacity);

#endif

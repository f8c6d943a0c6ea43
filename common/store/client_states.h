/* What clients keep from round to round (SCAFFOLD's control variates, error feedback's memory),
 * where one process plays all of them: in a file of the run's folder, read for a cohort at a time.
 * A client that has never trained costs nothing, one that has 24 to 48 bytes of memory.
 *
 * The file is a log: a client's new state is appended and its former one stays where it is, so the
 * states of an earlier round are there as long as a checkpoint may ask for them. A checkpoint
 * remembers a mark (round/round.h); opening the log at that mark drops all that came after it.
 * docs/architecture.md has the reasons, docs/run-folder.md the bytes.
 *
 *     fq_client_states_get(states, worker, client, &x);  zeros at first
 *     ... change x ...
 *     fq_client_states_put(states, worker, client, round);
 *     fq_client_states_mark(states, durable, &mark);     the round is over
 *     ... write a checkpoint with the mark ...
 *     fq_client_states_settle(states);                   it is on disk
 */
#ifndef FQ_STORE_CLIENT_STATES_H
#define FQ_STORE_CLIENT_STATES_H

#include "round/round.h"

typedef struct fq_client_states fq_client_states;

/* Open the log in `folder` as it was at `mark` (all zero: begin one). `values`: floats of one
 * client's state, > 0; ids are below `clients`; `workers`: threads that may get and put at once.
 * FQ_EPROTO, with the path: damaged, of other settings, or shorter than the mark says; nothing is
 * changed then. FQ_EIO; FQ_ENOMEM. */
FQ_MUST_CHECK fq_status fq_client_states_open(fq_client_states **out, const char *folder,
                                              size_t values, uint64_t clients, size_t workers,
                                              fq_states_mark mark);
/* Also of NULL. Nothing is written: what counts is marked. */
void fq_client_states_close(fq_client_states **states);

/* The client's last state -> *x [values], the worker's until its next call. Thread-safe. FQ_EPROTO:
 * the file has changed under our hands. */
FQ_MUST_CHECK fq_status fq_client_states_get(fq_client_states *states, size_t worker,
                                             uint64_t client, float **x);
/* What stands in the worker's x is the client's state from now on. Thread-safe, a client at a time.
 */
FQ_MUST_CHECK fq_status fq_client_states_put(fq_client_states *states, size_t worker,
                                             uint64_t client, uint32_t round);

/* The states as they are now, for a checkpoint. `durable`: they survive a power cut; and if more
 * than half of the log is of no more use, the other half moves to a new file. No put meanwhile. */
FQ_MUST_CHECK fq_status fq_client_states_mark(fq_client_states *states, bool durable,
                                              fq_states_mark *mark);
/* The checkpoint with the last durable mark is on disk: the file before it may go. */
void fq_client_states_settle(fq_client_states *states);

/* Memory for so many clients that have trained; and a bound on the file, with the copy that is made
 * when it is tidied up, but for what a second of training appends. SIZE_MAX: more than can be
 * counted. */
size_t fq_client_states_memory(size_t values, uint64_t trained, size_t workers);
size_t fq_client_states_disk(size_t values, uint64_t trained);

/* Remove all logs in a folder, if it is there, but that of `generation` (0: all). */
FQ_MUST_CHECK fq_status fq_client_states_remove(const char *folder, uint64_t generation);

#endif

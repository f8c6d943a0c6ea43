/* A client's whole part of a round: plan in, update out. The only training loop in the project: the
 * simulator and the device run this same function.
 */
#ifndef FQ_TRAIN_CLIENT_TURN_H
#define FQ_TRAIN_CLIENT_TURN_H

#include "data/dataset.h"
#include "protocol/plan.h"
#include "protocol/update.h"

/* One client. What survives a round is `state` [fq_client_state_vectors * P], or NULL if there is
 * none. */
typedef struct fq_client {
    uint64_t       id;
    fq_shard       shard;
    float         *state;
    const fq_ints *widths; /* bit-widths that this client can run; NULL: as the recipe says */
} fq_client;

/* Model-sized vectors that a client keeps across rounds: SCAFFOLD's control, error feedback's
 * memory. */
size_t fq_client_state_vectors(const fq_recipe *recipe);

/* The memory of one thread: reserved once, nothing is allocated in a turn. */
typedef struct fq_worker fq_worker;
FQ_MUST_CHECK fq_status  fq_worker_create(fq_worker **worker, const fq_model *model,
                                          const fq_recipe *recipe, size_t max_examples);
void                     fq_worker_destroy(fq_worker **worker);
FQ_MUST_CHECK fq_status  fq_worker_bytes(const fq_model *model, const fq_recipe *recipe,
                                         size_t max_examples, size_t *bytes);

/* Train on the client's data and encode what changed. `out` points into the worker until its next
 * turn. The client's state stays as it was until fq_client_commit. Errors: FQ_ENONFINITE training
 * diverged; FQ_EINVAL the client has no examples, or more than the worker. */
FQ_MUST_CHECK fq_status fq_client_turn(fq_worker *worker, const fq_plan *plan,
                                       const fq_client *client, fq_update *out);
/* The server has taken the update of this worker's last turn: the client's state moves on with it.
 * After a refusal it must not, or SCAFFOLD's c_k and the server's c would part, and error feedback
 * would forget what is owed. */
void fq_client_commit(const fq_worker *worker, fq_client *client);

/* Forward-backward passes that this worker has run; a step is exactly one, whatever the method. */
uint64_t fq_worker_passes(const fq_worker *worker);

#endif

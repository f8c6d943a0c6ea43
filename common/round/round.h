/* The server's whole part of a round: open, accept, close. No I/O, no clock, no threads of its own.
 *
 *     fq_round_open(server, cohort, n, examples, &plan);
 *     for each answer:  fq_round_accept(server, worker, &update);      any order, any thread
 *     fq_round_close(server, pool, &summary);
 */
#ifndef FQ_ROUND_ROUND_H
#define FQ_ROUND_ROUND_H

#include "base/pool.h"
#include "protocol/plan.h"
#include "protocol/update.h"
#include "round/aggregator.h"

typedef struct fq_server_settings {
    const fq_aggregator *aggregator;
    fq_plugin_config     aggregator_config;
    bool                 equal_weights; /* weigh each client 1 instead of by its examples */
    fq_coding            download;
    fq_limits            limits;
    uint64_t             min_clients; /* fewer accepted updates leave the model as it is */
    size_t               cohort;      /* clients a round, at most */
    uint64_t             clients;     /* in all */
} fq_server_settings;

typedef struct fq_round_summary {
    size_t   n_asked, n_accepted, n_refused;
    uint64_t weight;      /* examples of the accepted updates */
    double   loss, drift; /* means over accepted updates: loss by examples, drift plain */
    double   update_norm; /* 2-norm of the change of the weights */
    bool     applied;     /* false: too few updates, nothing changed */
} fq_round_summary;

typedef struct fq_server fq_server;

/* The state before round 0. `recipe`, `model` and `settings` are borrowed. `workers`: threads that
 * may accept at once. */
FQ_MUST_CHECK fq_status fq_server_create(fq_server **server, const fq_model *model,
                                         const fq_recipe          *recipe,
                                         const fq_server_settings *settings, uint64_t seed,
                                         size_t workers);
void                    fq_server_destroy(fq_server **server);
size_t                  fq_server_bytes(const fq_model *model, const fq_recipe *recipe,
                                        const fq_server_settings *settings, size_t workers);

uint32_t     fq_server_round(const fq_server *server);   /* rounds closed so far */
const float *fq_server_weights(const fq_server *server); /* [P] */

/* Ask `cohort` [n] (ascending client ids); `max_weight` bounds the sum of their examples. The plan
 * points into the server and is valid until close. */
FQ_MUST_CHECK fq_status fq_round_open(fq_server *server, const uint64_t *cohort, size_t n,
                                      uint64_t max_weight, fq_plan *plan);
/* Say how many examples each client of the open round has, in the order of its cohort, for levels
 * that adapt to clients (protocol/levels.h). Sizes are taken to the next power of two. Before the
 * plan is used; without it, or without that rule, all clients have the same levels. */
void fq_round_size_clients(fq_server *server, const uint64_t *examples, fq_plan *plan);
/* The model as it travels in the open round: [0] the weights, then the n - 1 server vectors. */
const fq_packed *fq_round_download(const fq_server *server, size_t *n);
/* Take one update, or refuse it with a status and a text: FQ_ESTALE not of this round; FQ_EINVAL
 * not of this cohort; FQ_ESTATE a second one from this client; FQ_ELIMIT too many examples or too
 * large a value; FQ_ENONFINITE; FQ_EPROTO does not decode. A refused update leaves no trace.
 * Thread-safe; `worker` names the caller's scratch. */
FQ_MUST_CHECK fq_status fq_round_accept(fq_server *server, size_t worker, const fq_update *update);
/* Combine, take the server's step, and count the round as done. FQ_ENONFINITE: the step gives
 * weights that are not finite; the state is then as before the round. */
FQ_MUST_CHECK fq_status fq_round_close(fq_server *server, fq_pool *pool, fq_round_summary *summary);

/* ---- cohort: who is asked (a function of seed and round) ---- */
/* m different clients of n, uniformly, ascending -> out [m]; m <= n. */
FQ_MUST_CHECK fq_status fq_cohort_sample(uint64_t seed, uint32_t round, uint64_t n, size_t m,
                                         uint64_t *out);

/* ---- checkpoint: the state between rounds ---- */
/* Which states of the clients belong to it, where one process plays all clients and keeps them in a
 * log (store/client_states.h): the first so many records of its file. All zero: there is no log. */
typedef struct fq_states_mark {
    uint64_t generation, records;
} fq_states_mark;

/* Free-form text of the program (progress of early stopping, say) that must survive with the
 * rounds. */
enum { FQ_NOTE_BYTES = 1024 };

FQ_MUST_CHECK fq_status fq_checkpoint_encode(const fq_server *server, const char *settings_hash,
                                             fq_states_mark states, const char *note,
                                             fq_buffer *out);
/* Into a server made from the same settings. FQ_ESTALE: of other settings; FQ_EPROTO: damaged or of
 * another version. Nothing is changed on failure. */
FQ_MUST_CHECK fq_status fq_checkpoint_decode(fq_cbytes bytes, fq_server *server,
                                             const char *settings_hash, fq_states_mark *states,
                                             char note[FQ_NOTE_BYTES]);

#endif

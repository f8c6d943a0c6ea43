/* What a client needs to take its turns in a run: settings, data, model, one worker for each
 * thread. */
#ifndef FQ_CLIENT_WORK_H
#define FQ_CLIENT_WORK_H

#include "client/home.h"
#include "experiment/experiment.h"
#include "train/client_turn.h"
#include "wire/messages.h"

typedef struct fq_work_options {
    const char             *home;
    bool                    simulation;
    uint64_t                first, n; /* clients of a simulation */
    const fq_data_settings *data;     /* a device's own; of a simulation only path is used */
    fq_ints                 widths;   /* n 0: all */
    size_t                  threads, max_bytes; /* of the whole process; 0: no limit */
    const fq_keypair       *keys;
    const fq_public_key    *server;
} fq_work_options;

typedef struct fq_work fq_work;

/* From the welcome of a run. FQ_EINVAL: its settings or shapes and our data do not go together;
 * FQ_ELIMIT: it needs more than max_bytes. */
FQ_MUST_CHECK fq_status fq_work_create(fq_work **out, const fq_work_options *options,
                                       const fq_welcome *welcome);
void                    fq_work_destroy(fq_work **work);
size_t                  fq_work_bytes(const fq_work *work); /* fq_work_estimate of it */
const fq_experiment    *fq_work_experiment(const fq_work *work);
const fq_model         *fq_work_model(const fq_work *work);
/* May turns be asked of us for that client? */
bool     fq_work_hosts(const fq_work *work, uint64_t client);
uint64_t fq_work_most_model_bytes(const fq_work *work); /* no model message is larger */
uint64_t fq_work_examples(const fq_work *work, uint64_t client);
/* What turns need at most: memory beyond the data set and the program itself, and room in the
 * client's folder. */
FQ_MUST_CHECK fq_status fq_work_estimate(const fq_model *model, const fq_experiment *e,
                                         size_t max_examples, const fq_work_options *options,
                                         size_t *memory, size_t *disk);
size_t fq_resident_bytes(void); /* of this process, now; 0 if the system does not tell */
/* Examples of a device, before any run is known. */
FQ_MUST_CHECK fq_status fq_work_count(const fq_data_settings *data, uint64_t *examples);

/* Take in the model message of a round; no turn may be going on. FQ_EPROTO, FQ_ELIMIT,
 * FQ_ENONFINITE: it is no model of this run. */
FQ_MUST_CHECK fq_status fq_work_begin_round(fq_work *work, uint32_t round, fq_cbytes model);
/* One client's turn on one thread: trained, coded, sealed, and durably in the outbox, its new state
 * staged. FQ_ENONFINITE: training diverged, nothing is left. */
FQ_MUST_CHECK fq_status fq_work_turn(fq_work *work, size_t thread, const fq_binding *binding,
                                     uint8_t model_bits, fq_outgoing *out);
/* Give back the memory of turns until the next one; no turn may be going on. */
void fq_work_rest(fq_work *work);

#endif

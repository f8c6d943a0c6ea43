/* The coordinator at work: one loop that admits clients, opens rounds, hands out the model, takes
 * updates, and closes rounds. Arithmetic and the disk are a crew's work; the loop never waits for
 * them, nor for any client.
 */
#ifndef FQ_SERVER_SERVICE_H
#define FQ_SERVER_SERVICE_H

#include "base/log.h"
#include "run/run.h"
#include "server/board.h"
#include "server/folder.h"

typedef struct fq_service_options {
    const char             *folder;
    const fq_server_config *config;
    fq_experiment          *experiment;
    const fq_setup         *setup;
    const fq_keypair       *keys;
    fq_run                 *run;
    size_t                  workers; /* threads of the crew, and of the run's server */
    fq_board_place         *place;
    const char             *page; /* where it is served; "": nowhere */
    const fq_log           *log, *audit;
} fq_service_options;

/* Serve until the rounds are done: FQ_OK and the result. FQ_ESTATE: interrupted by
 * a signal (fq_interrupted); all that was acknowledged is on disk. */
FQ_MUST_CHECK fq_status fq_service_run(const fq_service_options *options, fq_run_result *result);

#endif

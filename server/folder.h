/* The coordinator's folder: keys, settings of its own (server.yaml), the experiment, the list of
 * clients, and the run itself.
 *
 *   server.key        secret key, mode 0600
 *   server.yaml       where to listen and how patient to be; keys in fq_server_keys
 *   experiment.yaml   the settings of the run as they were given
 *   run.id            16 random bytes that name the run
 *   clients.txt       who may join
 *   round.journal     what has been taken in the open round
 *   audit.log         joins, refusals, revocations
 *   status.json       the board, written once a second while it runs
 *   settings.yaml run.db checkpoint.fq model.fq report.html   as of every run
 */
#ifndef FQ_SERVER_FOLDER_H
#define FQ_SERVER_FOLDER_H

#include "base/config.h"
#include "wire/seal.h"

enum { FQ_SIMULATED_AUTO, FQ_SIMULATED_YES, FQ_SIMULATED_NO };

typedef struct fq_server_config {
    char    listen[FQ_TEXT_BYTES]; /* tcp://ADDRESS:PORT */
    char    http[FQ_TEXT_BYTES];   /* ADDRESS:PORT; "": no page */
    double  deadline_s, gather_s, over_selection, quorum, heartbeat_s, linger_s, ban_s;
    int64_t window, io_threads, workers, upload_mib, max_refusals;
    int     simulated;
} fq_server_config;
extern const fq_key fq_server_keys[];

/* Make a folder for a run. FQ_ESTATE: there is one already. FQ_EINVAL: of the settings or of
 * `listen`. */
FQ_MUST_CHECK fq_status fq_server_folder_make(const char *folder, const char *settings,
                                              const char *listen, fq_public_key *key);
FQ_MUST_CHECK fq_status fq_server_config_read(const char *folder, fq_server_config *out);
FQ_MUST_CHECK fq_status fq_run_id_read(const char *folder, unsigned char id[FQ_RUN_ID_BYTES]);

#endif

/* The client's folder: its key, its settings, and what must survive a reboot.
 *
 *   client.key     secret key, mode 0600
 *   client.yaml    which coordinator, and which data; keys in fq_client_keys
 *   settings.yaml  of the run that it last joined
 *   outbox/        finished updates that have no receipt yet
 *   state/         what a client keeps across rounds (SCAFFOLD, error feedback)
 *   status.json    what `fedq-client status` shows
 */
#ifndef FQ_CLIENT_HOME_H
#define FQ_CLIENT_HOME_H

#include "client/device.h"
#include "data/dataset.h"
#include "wire/seal.h"

typedef struct fq_client_config {
    char     server[FQ_TEXT_BYTES], server_key[FQ_TEXT_BYTES], name[FQ_TEXT_BYTES];
    fq_ints  widths;     /* bit-widths of weights that this device can run; empty: all */
    int64_t  model_bits; /* at which it wants the model; 0: as the settings say */
    fq_gates gates;      /* when it may take part; section `gates` */
} fq_client_config;
extern const fq_key fq_client_keys[];

/* FQ_ESTATE: there is one already, or a folder with something else in it. FQ_EINVAL: of server or
 * key. */
FQ_MUST_CHECK fq_status fq_home_make(const char *home, const char *server, const char *server_key,
                                     const char *name, fq_public_key *key);
/* `data` is of the section of that name; *has_data: it is there. */
FQ_MUST_CHECK fq_status fq_home_read(const char *home, fq_client_config *config,
                                     fq_data_settings *data, bool *has_data,
                                     fq_public_key *server_key);

/* ---- outbox: one file for each sealed update without a receipt ---- */
typedef struct fq_outgoing {
    fq_binding binding; /* run, round, model, client */
    uint8_t    model_bits;
    uint64_t   cpu_ms, millijoules; /* that its turn took; 0: not known. Not in the file. */
    fq_cbytes  sealed;              /* heap memory, freed with fq_outgoing_fini */
} fq_outgoing;

/* Durable. FQ_EIO: nothing is left of it. */
FQ_MUST_CHECK fq_status fq_outbox_put(const char *home, const fq_outgoing *outgoing);
FQ_MUST_CHECK fq_status fq_outbox_parse(fq_cbytes bytes, fq_outgoing *out);
/* All entries; a file that is damaged or absurdly large is removed and reported by *n_damaged. */
FQ_MUST_CHECK fq_status fq_outbox_read(const char *home, fq_outgoing **out, size_t *n,
                                       size_t *n_damaged);
void                    fq_outgoing_fini(fq_outgoing *outgoing);
void                    fq_outbox_remove(const char *home, const fq_binding *binding);

/* ---- state: n values that client k of a run keeps across rounds ----
 * What a turn makes of the state is staged, then its update is put into the outbox, then offered.
 * An accepted update moves the state to what was staged, and only then leaves the outbox. Killed
 * at any point, the client finds the entry and offers it again; the coordinator repeats its
 * verdict, and each of these steps may be done twice. So the state has moved exactly when the
 * coordinator has counted the update. */
FQ_MUST_CHECK fq_status fq_state_load(const char *home, const fq_binding *binding, float *state,
                                      size_t n);
/* Of a file's bytes; zeros if another run wrote it. FQ_EPROTO. */
FQ_MUST_CHECK fq_status fq_state_parse(fq_cbytes bytes, const fq_binding *binding, float *state,
                                       size_t n);
FQ_MUST_CHECK fq_status fq_state_stage(const char *home, const fq_binding *binding,
                                       const float *state, size_t n);
/* Durable before it returns. */
FQ_MUST_CHECK fq_status fq_state_commit(const char *home, const fq_binding *binding);
void                    fq_state_discard(const char *home, const fq_binding *binding);
/* Remove what turns that were cut short have left: staged states without an outbox entry, and parts
 * of files. No turn may be going on. */
void fq_home_tidy(const char *home);

#endif

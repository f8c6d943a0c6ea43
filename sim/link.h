/* How a round's messages travel between the server and the virtual clients.
 *
 * `direct` hands over the structs. `loopback` makes the bytes of every message and reads them back,
 * as a network would carry them, so that a simulation meets what a device meets. The result is the
 * same to the bit.
 */
#ifndef FQ_SIM_LINK_H
#define FQ_SIM_LINK_H

#include "protocol/plan.h"
#include "protocol/update.h"
#include "round/round.h"

typedef enum fq_transport {
    FQ_TRANSPORT_DIRECT,
    FQ_TRANSPORT_LOOPBACK,
    FQ_TRANSPORT_TCP, /* no link: processes of their own, sim/federation.h */
} fq_transport;
extern const char *const fq_transport_names[]; /* direct loopback tcp; NULL-terminated */

typedef struct fq_link fq_link;

/* For `workers` threads; `upload` and `download` are borrowed. */
FQ_MUST_CHECK fq_status fq_link_create(fq_link **link, fq_transport transport,
                                       const fq_model *model, const fq_recipe *recipe,
                                       const fq_server_settings *settings, size_t workers);
void                    fq_link_destroy(fq_link **link);

/* Memory it takes at most, from create to destroy; `direct` needs none worth counting. */
size_t fq_link_bytes(const fq_link *link);

/* The server's side of an open round: make the model message. */
FQ_MUST_CHECK fq_status fq_link_open_round(fq_link *link, const fq_server *server,
                                           const fq_plan *plan);
/* Bytes of that message. */
uint64_t fq_link_model_bytes(const fq_link *link);
/* A client's side: the plan as it has arrived; valid until this worker's next call. */
FQ_MUST_CHECK fq_status fq_link_receive(fq_link *link, size_t worker, fq_plan *plan);
/* A client's update on its way back -> as the server gets it, and the bytes of its message. */
FQ_MUST_CHECK fq_status fq_link_send(fq_link *link, size_t worker, const fq_update *update,
                                     fq_update *arrived, uint64_t *bytes);

#endif

/* A run over real sockets: a coordinator and a client that stands for all virtual clients, as
 * processes of their own on this machine. What a deployment does, and the same bytes. */
#ifndef FQ_SIM_FEDERATION_H
#define FQ_SIM_FEDERATION_H

#include "sim/simulation.h"

/* Like fq_simulate. The coordinator's folder is the run's; the client's lies in it, and so do their
 * logs. fedq-server and fedq-client are looked for beside this program, then in $PATH. */
FQ_MUST_CHECK fq_status fq_federate(fq_experiment *experiment, const fq_sim_options *options,
                                    fq_sim_result *result);

#endif

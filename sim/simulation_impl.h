/* What simulation.c and estimate.c share. */
#ifndef FQ_SIM_SIMULATION_IMPL_H
#define FQ_SIM_SIMULATION_IMPL_H

#include "sim/simulation.h"
#include "train/client_turn.h"

typedef struct simulation {
    fq_experiment        *experiment;
    const fq_sim_options *options;
    fq_setup              setup;
    fq_run               *run;
    fq_link              *link;
    fq_worker           **workers; /* [n_workers] */
    size_t                n_workers;
    size_t                client_values; /* that a client keeps from round to round; 0: none */
    /* the round at hand */
    uint64_t      *cohort; /* [clients_per_round] ascending */
    uint64_t      *sizes;  /* [clients_per_round] their examples */
    uint32_t      *turns;  /* [clients_per_round] places in the cohort, largest client first */
    fq_client_row *rows;   /* [clients_per_round] */
} simulation;

/* Data, model, workers: all but the run's folder. simulation_release is due whatever the outcome.
 */
fq_status simulation_prepare(simulation *sim);
void      simulation_release(simulation *sim);
/* After the link is made. FQ_ELIMIT: more than there is. */
fq_status simulation_memory(const simulation *sim, fq_sim_estimate *estimate);

#endif

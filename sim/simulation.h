/* One run of one experiment on this machine, with its files. */
#ifndef FQ_SIM_SIMULATION_H
#define FQ_SIM_SIMULATION_H

#include "base/pool.h"
#include "run/run.h"
#include "sim/link.h"
#include "sim/progress.h"

typedef struct fq_sim_options {
    const char  *folder; /* of this run */
    fq_existing  existing;
    fq_pool     *pool;
    fq_transport transport;
    const char  *command; /* as typed, for the record */
    const char  *label;   /* of the run in its sweep, or "" */
    fq_progress *progress;
} fq_sim_options;

typedef struct fq_sim_result {
    fq_run_result run;
    double        seconds;
} fq_sim_result;

/* Run to the end. FQ_EINVAL: the settings ask for something impossible. FQ_ESTATE: interrupted by
 * a signal, with all rounds so far on disk, or the folder already holds a run. The
 * experiment is completed by the set-up (see fq_setup_create). */
FQ_MUST_CHECK fq_status fq_simulate(fq_experiment *experiment, const fq_sim_options *options,
                                    fq_sim_result *result);

/* FQ_ESTATE if the folder holds a run, with what to do about it. */
FQ_MUST_CHECK fq_status fq_sim_check_folder(const char *folder);

/* Memory and disk that a run will take at most, in bytes, by what for; and what travels in a round.
 */
typedef struct fq_sim_estimate {
    size_t dataset_and_partition, workers, server, evaluator, messages, client_states, cohort,
        checkpoint, total, available;
    size_t updates_held; /* part of server: updates that wait for the end of their round, as the
                            aggregator needs all at once; 0: they are added as they come */
    size_t   disk, disk_available; /* the clients' states in the run's folder */
    uint64_t clients, examples_largest, parameters, model_values;
    uint64_t examples_evaluation;  /* passes of one example in an evaluation */
    double   macs;                 /* multiply-adds of one example, forward */
    uint64_t bytes_up, bytes_down; /* of a round; before entropy coding */
    double   steps_per_round, seconds_per_step, seconds_per_evaluation, seconds_total;
    uint64_t rounds, evaluations;
    int      sum_bits; /* bits after the point in the exact sums */
} fq_sim_estimate;

/* Measures a few steps, and the passes of a few test examples, from which follows what an
 * evaluation takes; leaves no files. FQ_ELIMIT: needs more memory or disk than there is. */
FQ_MUST_CHECK fq_status fq_sim_check(fq_experiment *experiment, fq_pool *pool,
                                     fq_sim_estimate *estimate);

#endif

/* Settings of a command: the file, --set, --seed, and the runs that its sweep makes of them. */
#ifndef FQ_SIM_SETTINGS_H
#define FQ_SIM_SETTINGS_H

#include "base/cli.h"
#include "experiment/experiment.h"

#define FQ_SIM_NO_SEED UINT64_MAX

/* --seed, or FQ_SIM_NO_SEED. FQ_EINVAL is for fq_cli_wrong. */
FQ_MUST_CHECK fq_status fq_sim_seed(const fq_cli *cli, uint64_t *seed);

/* Read operand 0, apply the overrides, expand the sweep, and check the settings of every run before
 * any starts. A seed replaces that of the file, or a sweep over seeds. FQ_EIO: the file cannot be
 * read. */
FQ_MUST_CHECK fq_status fq_sim_load_sweep(const fq_cli *cli, uint64_t seed, fq_document **document,
                                          fq_sweep *sweep);

#endif

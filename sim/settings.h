/* Settings of a command: the file, --set, --seed, and the runs that its sweep makes of them. */
#ifndef FQ_SIM_SETTINGS_H
#define FQ_SIM_SETTINGS_H

#include "base/cli.h"
#include "experiment/experiment.h"

/* Read operand 0, apply the overrides, expand the sweep, and check the settings of every run before any
 * starts. With --seed, a sweep over seeds is replaced by that seed. */
FQ_MUST_CHECK fq_status fq_sim_load_sweep(const fq_cli *cli, fq_document **document, fq_sweep *sweep);

#endif

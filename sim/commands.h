/* The commands of fedq-sim, one file each. All return an exit code and have printed what is to be
 * said. */
#ifndef FQ_SIM_COMMANDS_H
#define FQ_SIM_COMMANDS_H

#include "program/program.h"

fq_command_function fq_sim_run_command, fq_sim_eval_command, fq_sim_report_command,
    fq_sim_export_command, fq_sim_check_command, fq_sim_list_command;

/* Workers asked for, or one for each processor; FQ_EINVAL names the option. */
FQ_MUST_CHECK fq_status fq_sim_workers(const fq_cli *cli, size_t *workers);

#endif

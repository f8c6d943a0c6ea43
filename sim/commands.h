/* The commands of fedq-sim, one file each. All return an exit code and have printed what is to be
 * said. */
#ifndef FQ_SIM_COMMANDS_H
#define FQ_SIM_COMMANDS_H

#include "base/cli.h"

typedef int fq_sim_command(const fq_cli *cli, const char *command_line);

fq_sim_command fq_sim_run_command, fq_sim_eval_command, fq_sim_report_command, fq_sim_check_command,
    fq_sim_list_command;

/* "fedq-sim run: text of the failure" on stderr. Settings and usage errors give FQ_EXIT_USAGE. */
int fq_sim_failed(const fq_cli *cli);

/* Workers asked for, or one for each processor; FQ_EINVAL names the option. */
FQ_MUST_CHECK fq_status fq_sim_workers(const fq_cli *cli, size_t *workers);

#endif

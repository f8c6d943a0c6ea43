/* The commands of fedq-client, one file each. All return an exit code and have printed what is to
 * be said. */
#ifndef FQ_CLIENT_COMMANDS_H
#define FQ_CLIENT_COMMANDS_H

#include "program/program.h"

fq_command_function fq_client_init_command, fq_client_run_command, fq_client_infer_command,
    fq_client_status_command;

#endif

/* The commands of fedq-server, one file each. All return an exit code and have printed what is to
 * be said. */
#ifndef FQ_SERVER_COMMANDS_H
#define FQ_SERVER_COMMANDS_H

#include "program/program.h"

fq_command_function fq_server_init_command, fq_server_clients_command, fq_server_run_command,
    fq_server_status_command;

#endif

/* The commands of fedq-server, one file each. All return an exit code and have printed what is to
 * be said. */
#ifndef FQ_SERVER_COMMANDS_H
#define FQ_SERVER_COMMANDS_H

#include "base/cli.h"

typedef int fq_server_command(const fq_cli *cli, const char *command_line);

fq_server_command fq_server_init_command, fq_server_clients_command, fq_server_run_command,
    fq_server_status_command;

/* "fedq-server run: text of the failure" on stderr. */
int fq_server_failed(const fq_cli *cli, fq_status status);

#endif

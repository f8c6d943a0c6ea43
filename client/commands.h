/* The commands of fedq-client, one file each. All return an exit code and have printed what is to
 * be said. */
#ifndef FQ_CLIENT_COMMANDS_H
#define FQ_CLIENT_COMMANDS_H

#include "base/cli.h"

typedef int fq_client_command(const fq_cli *cli);

fq_client_command fq_client_init_command, fq_client_run_command, fq_client_status_command;

/* "fedq-client run: text of the failure" on stderr. */
int fq_client_failed(const fq_cli *cli, fq_status status);

#endif

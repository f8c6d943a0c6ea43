/* What every program does around its commands: the command line, --version, the manual page,
 * signals, the check of the kernels, exit codes. */
#ifndef FQ_PROGRAM_PROGRAM_H
#define FQ_PROGRAM_PROGRAM_H

#include "base/cli.h"

/* What all programs have in common: the option --json; exit codes of those that run to an end. */
extern const fq_option   fq_program_options[];
extern const char *const fq_exit_status[];

/* Does what its command is for; has printed what is to be said; returns an exit code.
 * `command_line`: as typed, for records. */
typedef int fq_command_function(const fq_cli *cli, const char *command_line);

/* main(): `functions` are in the order of program->commands. */
int fq_program_main(const fq_program *program, fq_command_function *const *functions, int argc,
                    char **argv);

/* The first Ctrl-C or SIGTERM asks for an end in good order, which whoever works long looks for
 * here; a second one ends the process. */
bool fq_interrupted(void);

/* "PROGRAM COMMAND: text of the failure" on stderr; the exit code of that status: usage for
 * FQ_EINVAL. */
int fq_command_failed(const fq_cli *cli, fq_status status);

#endif

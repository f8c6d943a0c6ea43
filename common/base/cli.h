/* Command lines: parsing, --help and the manual page, all from one table per program.
 *
 * GNU style: --name=value, --name value, -n value, -nvalue, bundled flags, options after operands,
 * and
 * "--" before operands that begin with a dash. --help (-h) and --version are there without a row;
 * what follows --version is left to the program. Nothing here ends the process; what was printed
 * and what to do next is the result.
 */
#ifndef FQ_BASE_CLI_H
#define FQ_BASE_CLI_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes of every program. */
enum { FQ_EXIT_OK = 0, FQ_EXIT_FAILED = 1, FQ_EXIT_USAGE = 2 };

typedef struct fq_option {
    const char *name;     /* without dashes: "seed" */
    char        letter;   /* 's', or 0 */
    const char *argument; /* "N", "DIR"; NULL: a flag */
    bool        repeatable;
    const char *help; /* what it does, default included */
} fq_option;          /* tables end with a row whose name is NULL */

typedef struct fq_example {
    const char *line; /* as typed into a shell */
    const char *what; /* it does, or NULL */
} fq_example;         /* tables end with a row whose line is NULL */

typedef struct fq_command {
    const char *name;
    /* Separated by blanks: "FILE.yaml", "[DIR]" may be left out, "RUN..." may be repeated; "" for
     * none. The number allowed is read off this text. */
    const char *operands;
    const char *summary; /* one line, no full stop */
    const char *const
                     *description; /* paragraphs, NULL-terminated; may be NULL, like what follows */
    const fq_option  *options;
    const fq_example *examples;
} fq_command; /* tables end with a row whose name is NULL */

typedef struct fq_manual_section {
    const char        *heading;    /* "ENVIRONMENT" */
    const char *const *paragraphs; /* NULL-terminated; "term\ttext" makes an entry of a list */
} fq_manual_section;               /* tables end with a row whose heading is NULL */

typedef struct fq_program {
    const char              *name, *version;
    const char              *date;    /* of the manual page, "2025-01-31" */
    const char              *summary; /* one line, no full stop */
    const char *const       *description;
    const fq_command        *commands;
    const fq_option         *options;  /* allowed before a command and with every command */
    const fq_manual_section *sections; /* EXIT STATUS, ENVIRONMENT, ...: in help and manual page */
    const fq_example        *examples;
    const char *const       *see_also; /* "fedq-server(1)" */
} fq_program;

typedef enum fq_cli_outcome {
    FQ_CLI_COMMAND, /* run `command` */
    FQ_CLI_VERSION, /* print the version */
    FQ_CLI_HELP,    /* help was printed: end with FQ_EXIT_OK */
    FQ_CLI_WRONG,   /* the reason was printed: end with FQ_EXIT_USAGE */
} fq_cli_outcome;

typedef struct fq_cli_value {
    const fq_option *option;
    const char      *text; /* NULL for a flag */
} fq_cli_value;

typedef struct fq_cli {
    const fq_program *program;
    const fq_command *command; /* NULL if none was named (then the outcome is not FQ_CLI_COMMAND) */
    fq_cli_value     *values;  /* in the order given */
    const char      **operands;
    size_t            n_values, n_operands;
} fq_cli;

/* Texts are borrowed from argv. `out` and `err` are stdout and stderr, or a test's. fq_cli_fini is
 * due whatever the outcome. */
FQ_MUST_CHECK fq_cli_outcome fq_cli_parse(fq_cli *cli, const fq_program *program, int argc,
                                          char *const *argv, FILE *out, FILE *err);
void                         fq_cli_fini(fq_cli *cli);

/* The name is one of the tables'. */
bool        fq_cli_has(const fq_cli *cli, const char *name);
size_t      fq_cli_count(const fq_cli *cli, const char *name);
const char *fq_cli_nth(const fq_cli *cli, const char *name, size_t index);
const char *fq_cli_text(const fq_cli *cli, const char *name, const char *fallback);
/* Leaves *value alone if the option was not given. FQ_EINVAL names the option, for fq_cli_wrong. */
FQ_MUST_CHECK fq_status fq_cli_u64(const fq_cli *cli, const char *name, uint64_t min, uint64_t max,
                                   uint64_t *value);

/* Print "PROGRAM COMMAND: status text; try 'PROGRAM COMMAND --help'"; returns FQ_EXIT_USAGE. */
int fq_cli_wrong(const fq_cli *cli, FILE *err);

void fq_cli_version(const fq_program *program, FILE *out);
/* Wrapped at 80 columns; of the program if `command` is NULL. */
void fq_cli_help(const fq_program *program, const fq_command *command, FILE *out);
/* The manual page, section 1, in troff with man macros. */
void fq_cli_man(const fq_program *program, FILE *out);

#endif

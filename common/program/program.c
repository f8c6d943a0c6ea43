#include "program/program.h"

#include "math/gemm.h"
#include "math/kernels.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

const fq_option fq_program_options[] = {
    {"json", 0, NULL, false, "Print results as JSON, in place of text"}, {0}};
const char *const fq_exit_status[] = {
    "0\tSuccess",
    "1\tFailed or interrupted; the reason is on standard error",
    "2\tWrong usage or wrong settings",
    NULL,
};

static volatile sig_atomic_t interrupted;

bool fq_interrupted(void) {
    return interrupted != 0;
}

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

static void catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* writing to a reader that left, or past a file-size limit, is an
                                 error that we report */
    signal(SIGXFSZ, SIG_IGN);
}

int fq_command_failed(const fq_cli *cli, fq_status status) {
    fprintf(stderr, "%s %s: %s\n", cli->program->name, cli->command->name, fq_status_text());
    return status == FQ_EINVAL ? FQ_EXIT_USAGE : FQ_EXIT_FAILED;
}

static char *join(int argc, char **argv) {
    size_t length = 1;
    for (int i = 0; i < argc; i++)
        length += strlen(argv[i]) + 1;
    char *line = calloc(length, 1);
    for (int i = 0; line != NULL && i < argc; i++) {
        if (i > 0)
            strcat(line, " ");
        strcat(line, argv[i]);
    }
    return line;
}

/* The parser stops at --version; --json may come on either side of it. */
static void print_version(const fq_program *program, int argc, char **argv) {
    bool json = false;
    for (int i = 1; i < argc; i++)
        json |= strcmp(argv[i], "--json") == 0;
    if (json) {
        printf("{\"program\": \"%s\", \"version\": \"%s\", \"build\": \"%s\", \"kernels\": \"%s\", "
               "\"blis\": \"%s\"}\n",
               program->name, program->version, FQ_BUILD, fq_kernels_get()->name, fq_gemm_kernel());
        return;
    }
    fq_cli_version(program, stdout);
    printf("build %s, kernels %s, BLIS %s\n", FQ_BUILD, fq_kernels_get()->name, fq_gemm_kernel());
}

static int run_command(const fq_cli *cli, fq_command_function *const *functions, int argc,
                       char **argv) {
    if (fq_kernels_check() != FQ_OK || fq_gemm_check() != FQ_OK) {
        fprintf(stderr, "%s: %s\n", cli->program->name, fq_status_text());
        return FQ_EXIT_USAGE;
    }
    char *line = join(argc, argv);
    int   code = functions[cli->command - cli->program->commands](
        cli, line == NULL ? cli->program->name : line);
    free(line);
    return code;
}

int fq_program_main(const fq_program *program, fq_command_function *const *functions, int argc,
                    char **argv) {
    if (argc == 2 && strcmp(argv[1], "--man") == 0) { /* for the build: writes the manual page */
        fq_cli_man(program, stdout);
        return FQ_EXIT_OK;
    }
    fq_cli         cli;
    fq_cli_outcome outcome = fq_cli_parse(&cli, program, argc, argv, stdout, stderr);
    int            code = FQ_EXIT_USAGE;
    catch_signals();
    if (outcome == FQ_CLI_HELP)
        code = FQ_EXIT_OK;
    if (outcome == FQ_CLI_VERSION) {
        print_version(program, argc, argv);
        code = FQ_EXIT_OK;
    }
    if (outcome == FQ_CLI_COMMAND)
        code = run_command(&cli, functions, argc, argv);
    fq_cli_fini(&cli);
    if (fflush(stdout) != 0 && code == FQ_EXIT_OK) {
        fprintf(stderr, "%s: cannot write the results\n", program->name);
        code = FQ_EXIT_FAILED;
    }
    return code;
}

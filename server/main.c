/* fedq-server: the coordinator of a federation. */
#include "base/cli.h"
#include "math/gemm.h"
#include "math/kernels.h"
#include "server/commands.h"
#include "server/service.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const fq_option init_options[] = {
    {"settings", 's', "FILE", false,
     "The experiment: the same file that fedq-sim runs, without a sweep"},
    {"listen", 'l', "tcp://ADDRESS:PORT", false, "Where clients will connect"},
    {0},
};
static const char *const init_description[] = {
    "Makes the folder of a coordinator: a key pair, the settings of the run, and an empty list of "
    "clients. The last word on standard output is the coordinator's public key, which every client "
    "needs.",
    "Nobody can connect until `fedq-server clients add` has put its public key on the list. How "
    "long rounds wait, how many clients must be there and where the page is served stands in "
    "DIR/server.yaml.",
    NULL,
};
static const fq_example init_examples[] = {
    {"fedq-server init fed --settings sim/experiments/fashion-mnist-mqat.yaml --listen "
     "tcp://0.0.0.0:7740",
     NULL},
    {0},
};

static const fq_option   clients_options[] = {{0}};
static const char *const clients_description[] = {
    "`add DIR NAME PUBLIC_KEY` admits a client, `list DIR` shows all, `revoke DIR NAME` shuts one "
    "out for good. A running coordinator obeys within a second and drops the client that was "
    "revoked.",
    NULL,
};
static const fq_example clients_examples[] = {
    {"fedq-server clients add fed gateway-7 "
     "1f0c3b7a9d5e2846f1aa0b64c7de935018f2ab6cd4397e105c8b2af7639d1e44",
     NULL},
    {"fedq-server clients revoke fed gateway-7", NULL},
    {0},
};

static const fq_option run_options[] = {
    {"label", 0, "TEXT", false, "Name of the run in reports over several"},
    {"quiet", 'q', NULL, false, "No log"},
    {"verbose", 'v', NULL, false, "Log every update"},
    {0},
};
static const char *const run_description[] = {
    "Runs the federation until its rounds are done, then prints accuracy by bit-width and the "
    "SHA-256 of the final model, as fedq-sim run does. The log goes to standard error, one event a "
    "line.",
    "What has been acknowledged is on disk. After a crash, a power cut or Ctrl-C the same command "
    "goes on where it was, clients come back by themselves, and the result is the same.",
    NULL,
};
static const fq_option   status_options[] = {{0}};
static const char *const status_description[] = {
    "Shows what the coordinator of this folder is doing, or did last, and its clients.", NULL};

static const fq_command commands[] = {
    {"init", "DIR", "Make the folder of a coordinator", init_description, init_options,
     init_examples},
    {"clients", "ACTION DIR [NAME] [PUBLIC_KEY]", "Say who may join", clients_description,
     clients_options, clients_examples},
    {"run", "DIR", "Run the federation", run_description, run_options, NULL},
    {"status", "DIR", "Show what is going on", status_description, status_options, NULL},
    {0},
};
static fq_server_command *const functions[] = {fq_server_init_command, fq_server_clients_command,
                                               fq_server_run_command, fq_server_status_command};

static const fq_option program_options[] = {
    {"json", 0, NULL, false, "Print results as JSON, in place of text"}, {0}};
static const char *const program_description[] = {
    "fedq trains neural networks by federated averaging so that one model stays accurate at every "
    "bit-width. fedq-server is the coordinator: it hands out the model, takes encrypted updates "
    "from registered clients, and combines them.",
    NULL,
};
static const char *const environment[] = {
    "FEDQ_DATA\tFolder with one folder per data set, for data.path",
    "FQ_KERNELS\tForces an instruction set: plain, baseline, v3 or v4",
    NULL,
};
static const char *const exit_status[] = {
    "0\tSuccess",
    "1\tFailed or interrupted; the reason is on standard error",
    "2\tWrong usage or wrong settings",
    NULL,
};
static const fq_manual_section sections[] = {
    {"EXIT STATUS", exit_status}, {"ENVIRONMENT", environment}, {0}};
static const char *const see_also[] = {"fedq-client(1)", "fedq-sim(1)", NULL};

static const fq_program program = {.name = "fedq-server",
                                   .version = FQ_VERSION,
                                   .date = FQ_DATE,
                                   .summary = "coordinator of a federation",
                                   .description = program_description,
                                   .commands = commands,
                                   .options = program_options,
                                   .sections = sections,
                                   .see_also = see_also};

int fq_server_failed(const fq_cli *cli, fq_status status) {
    fprintf(stderr, "%s %s: %s\n", cli->program->name, cli->command->name, fq_status_text());
    return status == FQ_EINVAL ? FQ_EXIT_USAGE : FQ_EXIT_FAILED;
}

static void on_signal(int number) {
    (void)number;
    fq_service_interrupt();
}

/* The first Ctrl-C or SIGTERM ends the service in good order; a second one ends the process. */
static void catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
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

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--man") == 0) { /* for the build: writes the manual page */
        fq_cli_man(&program, stdout);
        return FQ_EXIT_OK;
    }
    fq_cli         cli;
    fq_cli_outcome outcome = fq_cli_parse(&cli, &program, argc, argv, stdout, stderr);
    int            code = FQ_EXIT_USAGE;
    catch_signals();
    if (outcome == FQ_CLI_HELP)
        code = FQ_EXIT_OK;
    if (outcome == FQ_CLI_VERSION) {
        fq_cli_version(&program, stdout);
        printf("build %s, kernels %s, BLIS %s\n", FQ_BUILD, fq_kernels_get()->name,
               fq_gemm_kernel());
        code = FQ_EXIT_OK;
    }
    if (outcome == FQ_CLI_COMMAND && (fq_kernels_check() != FQ_OK || fq_gemm_check() != FQ_OK)) {
        fprintf(stderr, "%s: %s\n", program.name, fq_status_text());
    } else if (outcome == FQ_CLI_COMMAND) {
        char *line = join(argc, argv);
        code = functions[cli.command - commands](&cli, line == NULL ? program.name : line);
        free(line);
    }
    fq_cli_fini(&cli);
    if (fflush(stdout) != 0 && code == FQ_EXIT_OK) {
        fprintf(stderr, "%s: cannot write the results\n", program.name);
        code = FQ_EXIT_FAILED;
    }
    return code;
}

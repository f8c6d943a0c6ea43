/* fedq-server: the coordinator of a federation. */
#include "server/commands.h"

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
static fq_command_function *const functions[] = {fq_server_init_command, fq_server_clients_command,
                                                 fq_server_run_command, fq_server_status_command};

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
static const fq_manual_section sections[] = {
    {"EXIT STATUS", fq_exit_status}, {"ENVIRONMENT", environment}, {0}};
static const char *const see_also[] = {"fedq-client(1)", "fedq-sim(1)", NULL};

static const fq_program program = {.name = "fedq-server",
                                   .version = FQ_VERSION,
                                   .date = FQ_DATE,
                                   .summary = "coordinator of a federation",
                                   .description = program_description,
                                   .commands = commands,
                                   .options = fq_program_options,
                                   .sections = sections,
                                   .see_also = see_also};

int main(int argc, char **argv) {
    return fq_program_main(&program, functions, argc, argv);
}

/* fedq-client: a device, or a process that stands for many, in a federation. */
#include "client/commands.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

static const fq_option init_options[] = {
    {"server", 's', "tcp://HOST:PORT", false, "The coordinator"},
    {"server-key", 'k', "KEY", false, "Its public key, as `fedq-server init` printed it"},
    {"name", 'n', "NAME", false, "Of this client, for people; default: the host's name"},
    {0},
};
static const char *const init_description[] = {
    "Makes the folder of a client: a key pair and client.yaml. The last word on standard output is "
    "the client's public key, which the operator of the coordinator puts on the list.",
    "The client's own examples stand in client.yaml, in a `data:` section as in an experiment.",
    NULL,
};
static const fq_example init_examples[] = {
    {"fedq-client init /var/lib/fedq --server tcp://fed.example.org:7740 --server-key "
     "1f0c3b7a9d5e2846f1aa0b64c7de935018f2ab6cd4397e105c8b2af7639d1e44",
     NULL},
    {0},
};
static const fq_option run_options[] = {
    {"simulate-clients", 0, "A-B", false,
     "Stand for clients A to B of the experiment's own split, for trials"},
    {"data", 0, "SET", false, "Reader of the device's own examples; default: as client.yaml says"},
    {"data-path", 'd', "DIR", false,
     "Where the data set's files are; default: as client.yaml says"},
    {"threads", 'j', "N", false,
     "Threads for training; default: 1, or one for each processor with --simulate-clients"},
    {"nice", 0, "N", false, "Run at lower priority, 1 to 19"},
    {"max-rss", 0, "SIZE", false,
     "Memory that the process may take, 48M, say; refuse a run that needs more"},
    {"window", 'w', "HH:MM-HH:MM", true,
     "Take part only at these hours, local time; may be given several times"},
    {"keep", 0, NULL, false, "Stay when a run is over, for the next one"},
    {"dry-run", 0, NULL, false, "Say what a turn will need, and end"},
    {"settings", 0, "FILE", false,
     "With --dry-run: settings of the run; default: of the one that it last joined"},
    {"quiet", 'q', NULL, false, "No log"},
    {"verbose", 'v', NULL, false, "Log everything"},
    {0},
};
static const char *const run_description[] = {
    "Connects to the coordinator, trains when asked, and returns encrypted updates, until the run "
    "is over. Connections go outwards only; after any break it connects again by itself, for ever.",
    "A finished update waits in DIR/outbox until the coordinator has said that it has it, across "
    "reboots. Killing the client at any moment loses nothing that was finished.",
    NULL,
};
static const fq_option infer_options[] = {
    {"raw", 0, "TYPE", false,
     "Type of the values of an INPUT that is neither npy nor IDX: u8 or f32. Default: u8"},
    {0},
};
static const char *const infer_description[] = {
    "Runs a model on the examples of a file and prints one line for each: the class, then the "
    "logits. A model that `fedq-sim export` has quantized runs in integers, another in float32.",
    "INPUT is an npy array (uint8, float32 or float64), an IDX file of bytes, either of them also "
    "gzip, or raw values; one example or several, [N, C, H, W]. Bytes are divided by 255, and all "
    "values are normalised as the model was trained to expect.",
    NULL,
};
static const fq_example infer_examples[] = {
    {"fedq-client infer mqat-4.fq camera.npy", NULL},
    {"fedq-client infer mqat-4.fq t10k-images-idx3-ubyte.gz --json", NULL},
    {0},
};
static const char *const status_description[] = {"Shows what the client of this folder did last.",
                                                 NULL};
static const fq_option   none[] = {{0}};

static const fq_command commands[] = {
    {"init", "DIR", "Make the folder of a client", init_description, init_options, init_examples},
    {"run", "DIR", "Take part in a federation", run_description, run_options, NULL},
    {"infer", "MODEL INPUT", "Run a model on examples", infer_description, infer_options,
     infer_examples},
    {"status", "DIR", "Show what is going on", status_description, none, NULL},
    {0},
};
static fq_command_function *const functions[] = {fq_client_init_command, fq_client_run_command,
                                                 fq_client_infer_command, fq_client_status_command};

static const char *const program_description[] = {
    "fedq trains neural networks by federated averaging so that one model stays accurate at every "
    "bit-width. fedq-client trains on the data of this device; the data never leaves it.",
    NULL,
};
static const char *const environment[] = {
    "FEDQ_DATA\tFolder with one folder per data set, for data.path",
    "FQ_KERNELS\tForces an instruction set: plain, baseline, v3 or v4",
    NULL,
};
static const char *const exit_status[] = {
    "0\tSuccess: the run is over",
    "1\tFailed or interrupted; the reason is on standard error",
    "2\tWrong usage, or settings and data that do not go together",
    NULL,
};
static const fq_manual_section sections[] = {
    {"EXIT STATUS", exit_status}, {"ENVIRONMENT", environment}, {0}};
static const char *const see_also[] = {"fedq-server(1)", "fedq-sim(1)", NULL};

static const fq_program program = {.name = "fedq-client",
                                   .version = FQ_VERSION,
                                   .date = FQ_DATE,
                                   .summary = "client of a federation",
                                   .description = program_description,
                                   .commands = commands,
                                   .options = fq_program_options,
                                   .sections = sections,
                                   .see_also = see_also};

int main(int argc, char **argv) {
#if defined(__GLIBC__)
    /* Large blocks go back to the system at once, whatever has been freed before: a client that
     * waits keeps nothing of its turns. */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#endif
    return fq_program_main(&program, functions, argc, argv);
}

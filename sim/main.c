/* fedq-sim: federated experiments on one machine. */
#include "base/cli.h"
#include "math/gemm.h"
#include "math/kernels.h"
#include "sim/commands.h"
#include "sim/simulation.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fq_option run_options[] = {
    {"set", 's', "KEY=VALUE", true, "Override a setting, train.rounds=20; may be repeated"},
    {"seed", 0, "N", false, "Override the seed"},
    {"workers", 'j', "N", false,
     "Worker threads; default: one per processor. Changes nothing but the time"},
    {"out", 'o', "DIR", false,
     "Folder of the run; default: runs/NAME-SEED, or runs/NAME for a sweep"},
    {"resume", 0, NULL, false, "Go on with the run in that folder where it stopped"},
    {"force", 'f', NULL, false, "Replace the run in that folder"},
    {"transport", 't', "NAME", false,
     "direct; loopback: every message is made into bytes and read back; tcp: a coordinator and a "
     "client as processes, over encrypted sockets on this machine. The same result"},
    {"csv", 0, "FILE", false, "Also write all figures as CSV"},
    {"quiet", 'q', NULL, false, "No progress"},
    {0},
};
static const fq_example run_examples[] = {
    {"fedq-sim run sim/experiments/demo.yaml",
     "Run an experiment and print accuracy by method and bit-width"},
    {"fedq-sim run exp.yaml --set train.rounds=20 --seed 7 --out runs/try",
     "The same, shorter, with another seed"},
    {"fedq-sim run exp.yaml --resume",
     "Go on after an interruption; the result is the same to the bit"},
    {0},
};
static const char *const run_description[] = {
    "Runs the experiment of a settings file: every round a cohort of virtual clients trains, the "
    "server combines what "
    "they return, and the model is evaluated in float and at each bit-width.",
    "The folder of a run holds settings.yaml (resolved), run.db (all figures, SQLite), "
    "checkpoint.fq (written after each "
    "round), model.fq (the final model) and report.html. A file with a `sweep:` section gives one "
    "such folder for each "
    "of its runs, and a report over all of them.",
    "The result is a function of settings and seed: the same model.fq, byte for byte, for any "
    "number of workers, "
    "interrupted or not. Its SHA-256 is printed at the end.",
    NULL,
};

static const fq_option eval_options[] = {
    {"data", 'd', "SET", false, "Data set; default: the one that the model was trained on"},
    {"weights", 'w', "BITS", false,
     "Bit-widths of the weights, 32 for float; default: 32,8,6,5,4,3,2"},
    {"activations", 'a', "BITS", false, "Bit-widths of the activations; default: 32"},
    {"ranges", 'r', "RULES", false,
     "Range rules of the weights (`fedq-sim list ranges`); default: mse"},
    {"set", 's', "KEY=VALUE", true, "Override any setting under data or evaluate"},
    {"workers", 'j', "N", false, "Worker threads; default: one per processor"},
    {0},
};
static const fq_example eval_examples[] = {
    {"fedq-sim eval runs/demo/mqat-1 --weights 8,4,2 --ranges mse,minmax", NULL},
    {"fedq-sim eval model.fq --data fashion-mnist --activations 32,8 --json", NULL},
    {0},
};
static const char *const eval_description[] = {
    "Evaluates a model in float and at each bit-width on the test part of its data set. The "
    "operand is a run's folder or "
    "a model file.",
    NULL,
};

static const fq_option report_options[] = {
    {"output", 'o', "FILE", false, "The report; default: report.html"},
    {"csv", 0, "FILE", false, "Also write all figures as CSV"},
    {0},
};
static const fq_example report_examples[] = {
    {"fedq-sim report runs/a-1 runs/a-2 runs/b-1 -o compare.html", "One report over several runs"},
    {0},
};
static const char *const report_description[] = {
    "Makes one self-contained page from any number of runs, finished or not: accuracy by round, by "
    "bit-width and by bytes "
    "sent, with the spread over seeds; weight histograms; settings. A sweep's folder stands for "
    "all its runs.",
    NULL,
};

static const fq_option check_options[] = {
    {"set", 's', "KEY=VALUE", true, "Override a setting"},
    {"seed", 0, "N", false, "Override the seed"},
    {"workers", 'j', "N", false, "Worker threads to plan for"},
    {0},
};
static const char *const check_description[] = {
    "Checks an experiment without running it: settings, data files, model, memory, bytes on the "
    "wire, room in the exact "
    "sums, and the time that it will take.",
    "The time follows from a few measured steps of the largest client and a few measured passes of "
    "one batch of test examples, scaled to all steps and evaluations of the run and divided by the "
    "workers. Finding the weights' ranges, combining and saving are not in it.",
    NULL,
};

static const fq_option   list_options[] = {{0}};
static const char *const list_description[] = {
    "Lists what settings can name. KIND is one of models, datasets, algorithms, robustness, "
    "ranges, quantizers, "
    "aggregators, layers, kernels; `settings` prints docs/settings.md.",
    NULL,
};

static const fq_command commands[] = {
    {"run", "FILE.yaml", "Run an experiment", run_description, run_options, run_examples},
    {"eval", "RUN_OR_MODEL", "Evaluate a model at many bit-widths", eval_description, eval_options,
     eval_examples},
    {"report", "RUN...", "Make a report from runs", report_description, report_options,
     report_examples},
    {"check", "FILE.yaml", "Check an experiment, its memory and time", check_description,
     check_options, NULL},
    {"list", "KIND", "List what settings can name", list_description, list_options, NULL},
    {0},
};
static fq_sim_command *const functions[] = {fq_sim_run_command, fq_sim_eval_command,
                                            fq_sim_report_command, fq_sim_check_command,
                                            fq_sim_list_command};

static const fq_option program_options[] = {
    {"json", 0, NULL, false, "Print results as JSON, in place of text"}, {0}};
static const char *const program_description[] = {
    "fedq trains neural networks by federated averaging so that one model stays accurate at every "
    "bit-width. fedq-sim "
    "simulates the clients on this machine.",
    NULL,
};
static const char *const environment[] = {
    "FEDQ_DATA\tFolder with one folder per data set, for data.path",
    "FQ_KERNELS\tForces an instruction set: plain, baseline, v3 or v4",
    "BLIS_ARCH_TYPE\tForces a sub-configuration of BLIS",
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

static const fq_program program = {.name = "fedq-sim",
                                   .version = FQ_VERSION,
                                   .date = FQ_DATE,
                                   .summary = "federated training for every bit-width, simulated",
                                   .description = program_description,
                                   .commands = commands,
                                   .options = program_options,
                                   .sections = sections};

int fq_sim_failed(const fq_cli *cli) {
    fprintf(stderr, "%s %s: %s\n", cli->program->name, cli->command->name, fq_status_text());
    return FQ_EXIT_FAILED;
}

fq_status fq_sim_workers(const fq_cli *cli, size_t *workers) {
    uint64_t n = fq_processors();
    FQ_TRY(fq_cli_u64(cli, "workers", 1, 1024, &n));
    *workers = (size_t)n;
    return FQ_OK;
}

static void on_signal(int number) {
    (void)number;
    fq_sim_interrupt();
}

/* The first Ctrl-C or SIGTERM ends the run in good order; a second one ends the process. */
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
static int print_version(int argc, char **argv) {
    bool json = false;
    for (int i = 1; i < argc; i++)
        json |= strcmp(argv[i], "--json") == 0;
    if (json) {
        printf("{\"program\": \"%s\", \"version\": \"%s\", \"build\": \"%s\", \"kernels\": \"%s\", "
               "\"blis\": \"%s\"}\n",
               program.name, program.version, FQ_BUILD, fq_kernels_get()->name, fq_gemm_kernel());
        return FQ_EXIT_OK;
    }
    fq_cli_version(&program, stdout);
    printf("build %s, kernels %s, BLIS %s\n", FQ_BUILD, fq_kernels_get()->name, fq_gemm_kernel());
    return FQ_EXIT_OK;
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
    if (outcome == FQ_CLI_VERSION)
        code = print_version(argc, argv);
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

/* fedq-sim: federated experiments on one machine. */
#include "base/pool.h"
#include "sim/commands.h"

#include <stdio.h>

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
    "round), states-N.fq (what clients keep from round to round, if the method has them keep "
    "something), model.fq (the final model) and report.html. A file with a `sweep:` section gives "
    "one "
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
    {"granularity", 'g', "NAMES", false,
     "What shares a scale, tensor, channel, or both; default: tensor"},
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
    "A file that export has quantized is evaluated as it is: fake-quantized in float32, as the "
    "figures of a float model are, and in the integers that a device computes.",
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

static const fq_option export_options[] = {
    {"bits", 'b', "BITS", false, "Bit-width of the weights, 1 to 8; 32: a float model"},
    {"activations", 'a', "BITS", false,
     "Bit-width of the activations, 1 to 8; 32: float, only the weights are quantized. Default: 8"},
    {"format", 'F', "NAME", false, "Format of the file: fq. Default: fq"},
    {"output", 'o', "FILE", false, "The file to write"},
    {"granularity", 'g', "NAME", false,
     "What shares a scale: tensor, or channel (of the output). Default: as evaluate.granularity"},
    {"ranges", 'r', "RULE", false,
     "Range rule of the weights (`fedq-sim list ranges`). Default: mse"},
    {"activation-ranges", 0, "RULE", false,
     "mse or minmax over training examples; stored: the running ranges of the training. Default: "
     "mse"},
    {"data", 'd', "SET", false,
     "Data set of the calibration; default: the one that the model was trained on"},
    {"set", 's', "KEY=VALUE", true, "Override any setting under data or evaluate"},
    {"workers", 'j', "N", false, "Worker threads; default: one per processor"},
    {0},
};
static const fq_example export_examples[] = {
    {"fedq-sim export runs/demo/mqat-1 --bits 4 -o mqat-4.fq",
     "4-bit weights, 8-bit activations, for fedq-client infer"},
    {"fedq-sim export model.fq --bits 8 --granularity channel --activation-ranges minmax -o m8.fq",
     NULL},
    {0},
};
static const char *const export_description[] = {
    "Quantizes a trained model for a device and writes it to a file. The operand is a run's folder "
    "or a float model file.",
    "Batch norm is folded into the weights before it. Ranges of activations come from training "
    "examples (evaluate.calibration_examples, evaluate.calibration_clients), or from the training "
    "itself. The file is a function of model, settings and data alone.",
    NULL,
};

static const fq_option check_options[] = {
    {"set", 's', "KEY=VALUE", true, "Override a setting"},
    {"seed", 0, "N", false, "Override the seed"},
    {"workers", 'j', "N", false, "Worker threads to plan for"},
    {0},
};
static const char *const check_description[] = {
    "Checks an experiment without running it: settings, data files, model, memory, disk, bytes on "
    "the "
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
    {"export", "RUN_OR_MODEL", "Quantize a model for a device", export_description, export_options,
     export_examples},
    {"check", "FILE.yaml", "Check an experiment, its memory and time", check_description,
     check_options, NULL},
    {"list", "KIND", "List what settings can name", list_description, list_options, NULL},
    {0},
};
static fq_command_function *const functions[] = {fq_sim_run_command,    fq_sim_eval_command,
                                                 fq_sim_report_command, fq_sim_export_command,
                                                 fq_sim_check_command,  fq_sim_list_command};

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
static const fq_manual_section sections[] = {
    {"EXIT STATUS", fq_exit_status}, {"ENVIRONMENT", environment}, {0}};

static const fq_program program = {.name = "fedq-sim",
                                   .version = FQ_VERSION,
                                   .date = FQ_DATE,
                                   .summary = "federated training for every bit-width, simulated",
                                   .description = program_description,
                                   .commands = commands,
                                   .options = fq_program_options,
                                   .sections = sections};

fq_status fq_sim_workers(const fq_cli *cli, size_t *workers) {
    uint64_t n = fq_processors();
    FQ_TRY(fq_cli_u64(cli, "workers", 1, 1024, &n));
    *workers = (size_t)n;
    return FQ_OK;
}

int main(int argc, char **argv) {
    return fq_program_main(&program, functions, argc, argv);
}

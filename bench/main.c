/* fedq-bench: how fast fedq is on this machine. */
#include "bench/commands.h"

#include <stdio.h>

static const fq_option step_options[] = {
    {"model", 'm', "NAME", false, "Network of the zoo; default: lenet5"},
    {"batch", 'b', "N", false, "Examples of a step; default: 32"},
    {"robustness", 'r', "NAME", false,
     "none, or a method of `fedq-sim list robustness`; default: none"},
    {"activations", 0, NULL, false, "Quantize the activations too; with mqat or qat"},
    {"threads", 'j', "N", false, "Clients that train at once, each on a thread; default: 1"},
    {"seconds", 't', "S", false, "Time to measure, 0.5, say; default: 3"},
    {"set", 's', "KEY=VALUE", true, "Override a setting, train.momentum=0.9, say"},
    {0},
};
static const fq_example step_examples[] = {
    {"fedq-bench step --model lenet5 --batch 32 --threads 1 --json", NULL},
    {"fedq-bench step --model resnet20_gn --robustness mqat --activations", NULL},
    {0},
};
static const char *const step_description[] = {
    "Times local training steps as a client takes them: the batch gathered, the weights quantized "
    "if the method does so, forward, backward, SGD. The data are made up, in the shape that the "
    "network is for.",
    "gflops counts two operations for each multiply-add of convolutions and dense layers: one pass "
    "forward, one for the gradient by the weights, and one for the gradient by the input except "
    "in the first layer, which computes none. Norms, pools and quantization are not counted. "
    "peak_gflops is what multiply-adds on registers alone reach with the same instruction set, "
    "on one core, in the same process.",
    "ms_per_step is by the clock; cpu_ms_per_step is the thread's processor time, the fairer "
    "figure "
    "on a machine that has other work to do.",
    NULL,
};
static const fq_option aggregate_options[] = {
    {"params", 'p', "N", false, "Values of an update; default: 1000000"},
    {"bits", 'b', "N", false, "1 to 8, random rounding; 16 or 32, float; default: 8"},
    {"threads", 'j', "N", false, "Threads that accept updates; default: 1"},
    {"seconds", 't', "S", false, "Time to measure; default: 2"},
    {"set", 's', "KEY=VALUE", true, "Override a setting, upload.block=1024, say"},
    {0},
};
static const char *const aggregate_description[] = {
    "Times what happens to an update: coding, zstd, sealing at the client; opening, and accepting "
    "at "
    "the coordinator, which decodes, checks that every value is finite and in bounds, and adds "
    "exactly; and closing a round.",
    "All rates are in 1e9 bytes of float32 a second, whatever the update takes on the wire, and "
    "copy_gbps is what memcpy reaches. Updates are normal variables and lie in more memory than "
    "the "
    "caches hold.",
    NULL,
};
static const fq_option scale_options[] = {
    {"clients", 'n', "N", false, "Virtual clients; default: 10000"},
    {"cohort", 'm', "N", false, "Clients a round; default: 100"},
    {"rounds", 0, "N", false, "Default: as many as the time allows, 5 at least"},
    {"workers", 'j', "N", false, "Worker threads; default: one per processor"},
    {"seconds", 't', "S", false, "Time to measure; default: 3"},
    {"set", 's', "KEY=VALUE", true, "Override a setting"},
    {0},
};
static const char *const scale_description[] = {
    "Simulates a federation on synthetic data (a network of two layers, 30 examples a client on "
    "average) with the code of `fedq-sim run`, files included. seconds_first_round is the whole of "
    "a "
    "run of one round; rounds_per_second is of a longer run, without its set-up but with the "
    "evaluation at its end.",
    "bytes_per_idle_client: by how much the peak of resident memory in a run of one round is above "
    "that of a run in which no client is idle, divided by the number of idle clients.",
    NULL,
};
static const fq_option evaluate_options[] = {
    {"model", 'm', "NAME", false, "Network of the zoo; default: lenet5"},
    {"weights", 'w', "BITS", false, "Bit-widths beside float; default: 8,6,5,4,3,2"},
    {"examples", 0, "N", false, "Of the test set; default: 2000"},
    {"threads", 'j', "N", false, "Default: 1"},
    {"seconds", 't', "S", false, "Time to measure; default: 3"},
    {"set", 's', "KEY=VALUE", true, "Override a setting, evaluate.ranges=[minmax], say"},
    {0},
};
static const char *const evaluate_description[] = {
    "Times the evaluation of one model in float and at each bit-width on a made-up test set; "
    "cost_of_a_width is what a width adds, as a multiple of an evaluation in float alone.",
    NULL,
};
static const fq_option loop_options[] = {
    {"rounds", 0, "N", false, "Default: 100"},
    {"cohort", 'm', "N", false, "Clients a round; default: 10"},
    {"batch", 'b', "N", false, "Examples of a step; default: 10"},
    {"rate", 0, "X", false, "Learning rate; default: 0.03"},
    {0},
};
static const char *const loop_description[] = {
    "Federated averaging of logistic regression, one epoch a round, on the data in DIR "
    "(`fedq-bench "
    "data`) as a bare loop on one thread: the least that a simulation of it can take.",
    NULL,
};
static const fq_option watch_options[] = {
    {"output", 'o', "FILE", false, "Where its standard output goes; default: standard error"},
    {"limit", 'l', "S", false, "Seconds after which it is ended; default: 3600"},
    {0},
};
static const char *const watch_description[] = {
    "Runs a command and says how long it took, how much processor time, and the peak of the memory "
    "of all its processes together (shared pages are divided among those that share them). What is "
    "still running when it ends is killed.",
    NULL,
};
static const fq_example watch_examples[] = {
    {"fedq-bench watch --json -- fedq-sim run exp.yaml --quiet", NULL}, {0}};
static const fq_option peak_options[] = {
    {"seconds", 't', "S", false, "Time to measure; default: 1"},
    {0},
};
static const char *const peak_description[] = {
    "Measures what one core does at best: multiply-adds on registers alone, with the instruction "
    "set of the kernels in use, and memcpy of blocks far larger than the caches.",
    NULL,
};
static const fq_option data_options[] = {
    {"shape", 0, "CxHxW", false, "Of an example; default: 1x28x28"},
    {"classes", 0, "N", false, "Default: 10"},
    {"clients", 0, "N", false, "Default: 100"},
    {"examples", 0, "N", false, "Of each client; default: 60"},
    {"test-examples", 0, "N", false, "Default: 1000"},
    {"seed", 0, "N", false, "Default: 1"},
    {0},
};
static const char *const data_description[] = {
    "Writes examples as NumPy arrays (features.npy, labels.npy, users.npy and a test part) for the "
    "set `npy`: bytes around a pattern of each class, with noise.",
    NULL,
};

static const fq_command commands[] = {
    {"step", "", "Time local training steps", step_description, step_options, step_examples},
    {"aggregate", "", "Time the coding and the aggregation of updates", aggregate_description,
     aggregate_options, NULL},
    {"scale", "", "Simulate many clients", scale_description, scale_options, NULL},
    {"evaluate", "", "Time an evaluation at many bit-widths", evaluate_description,
     evaluate_options, NULL},
    {"loop", "DIR", "Time the bare arithmetic of a simulation", loop_description, loop_options,
     NULL},
    {"peak", "", "Measure the limits of the machine", peak_description, peak_options, NULL},
    {"data", "DIR", "Write made-up examples", data_description, data_options, NULL},
    {"watch", "COMMAND...", "Time a command and its processes", watch_description, watch_options,
     watch_examples},
    {0},
};
static fq_command_function *const functions[] = {fq_bench_step_command,  fq_bench_aggregate_command,
                                                 fq_bench_scale_command, fq_bench_evaluate_command,
                                                 fq_bench_loop_command,  fq_bench_peak_command,
                                                 fq_bench_data_command,  fq_bench_watch_command};

static const fq_option program_options[] = {
    {"json", 0, NULL, false, "Print results as one line of JSON, in place of text"}, {0}};
static const char *const program_description[] = {
    "Measures the parts of fedq on this machine; bench/run.sh runs them all, beside other "
    "frameworks where those are installed.",
    NULL,
};
static const char *const environment[] = {
    "FQ_KERNELS\tForces an instruction set: plain, baseline, v3 or v4",
    "BLIS_ARCH_TYPE\tForces a sub-configuration of BLIS",
    "TMPDIR\tWhere files are made while measuring; default: /tmp",
    NULL,
};
static const char *const exit_status[] = {
    "0\tSuccess",
    "1\tFailed or interrupted; the reason is on standard error",
    "2\tWrong usage",
    NULL,
};
static const fq_manual_section sections[] = {
    {"EXIT STATUS", exit_status}, {"ENVIRONMENT", environment}, {0}};
static const char *const see_also[] = {"fedq-sim(1)", NULL};

static const fq_program program = {.name = "fedq-bench",
                                   .version = FQ_VERSION,
                                   .date = FQ_DATE,
                                   .summary = "measures the parts of fedq",
                                   .description = program_description,
                                   .commands = commands,
                                   .options = program_options,
                                   .sections = sections,
                                   .see_also = see_also};

int main(int argc, char **argv) {
    return fq_program_main(&program, functions, argc, argv);
}

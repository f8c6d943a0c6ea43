/* The commands of fedq-bench, one file each. All return an exit code and have printed what is to be
 * said. */
#ifndef FQ_BENCH_COMMANDS_H
#define FQ_BENCH_COMMANDS_H

#include "program/program.h"

fq_command_function fq_bench_step_command, fq_bench_aggregate_command, fq_bench_scale_command,
    fq_bench_evaluate_command, fq_bench_loop_command, fq_bench_peak_command, fq_bench_data_command,
    fq_bench_watch_command;

#endif

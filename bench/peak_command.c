/* What the machine could do at best. */
#include "bench/bench.h"
#include "bench/commands.h"
#include "bench/peak.h"

int fq_bench_peak_command(const fq_cli *cli, const char *command_line) {
    double seconds, copy = 0.0;
    (void)command_line;
    if (fq_bench_real(cli, "seconds", 0.001, 3600.0, 1.0, &seconds) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    double    peak = fq_peak_gflops(0.5 * seconds);
    fq_status status = fq_peak_copy(0.5 * seconds, &copy);
    json_t   *result =
        json_pack("{s:f, s:f}", "peak_gflops", peak, "copy_gigabytes_per_second", copy);
    if (result != NULL)
        fq_bench_identify(result);
    return fq_bench_print(cli, status, result);
}

/* Made-up examples as NumPy arrays, for the benchmarks of whole simulations: the peers read the
 * same files. */
#include "bench/bench.h"
#include "bench/commands.h"

#include <stdlib.h>

/* "3x32x32" */
static fq_status parse_shape(const char *text, fq_shape *out) {
    enum { AXES = 3, LARGEST = 256 };
    unsigned long axes[AXES];
    const char   *at = text;
    for (size_t i = 0; i < AXES; i++) {
        char *end;
        axes[i] = strtoul(at, &end, 10);
        if (end == at || *end != (i + 1 < AXES ? 'x' : '\0') || axes[i] < 1 || axes[i] > LARGEST)
            return fq_fail(FQ_EINVAL, "--shape: '%s' is not allowed; expected CxHxW, 3x32x32, say",
                           text);
        at = end + 1;
    }
    *out = (fq_shape){(uint32_t)axes[0], (uint32_t)axes[1], (uint32_t)axes[2]};
    return FQ_OK;
}

static fq_status read_options(const fq_cli *cli, fq_made_data *data) {
    uint64_t classes = 10;
    *data = (fq_made_data){.clients = 100, .examples = 60, .test_examples = 1000, .seed = 1};
    FQ_TRY(parse_shape(fq_cli_text(cli, "shape", "1x28x28"), &data->shape));
    FQ_TRY(fq_cli_u64(cli, "classes", 2, 1000, &classes));
    FQ_TRY(fq_cli_u64(cli, "clients", 1, 1000000, &data->clients));
    FQ_TRY(fq_cli_u64(cli, "examples", 1, 100000, &data->examples));
    FQ_TRY(fq_cli_u64(cli, "test-examples", 1, 100000, &data->test_examples));
    FQ_TRY(fq_cli_u64(cli, "seed", 0, INT64_MAX, &data->seed));
    data->classes = (uint32_t)classes;
    if ((double)data->clients * (double)data->examples * (double)fq_shape_count(data->shape) > 4e9)
        return fq_fail(FQ_EINVAL, "--clients and --examples: more than 4 GB of examples");
    return FQ_OK;
}

int fq_bench_data_command(const fq_cli *cli, const char *command_line) {
    fq_made_data data;
    (void)command_line;
    if (read_options(cli, &data) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = fq_made_data_write(&data, cli->operands[0]);
    return fq_bench_print(cli, status,
                          json_pack("{s:s, s:I, s:I}", "folder", cli->operands[0], "clients",
                                    (json_int_t)data.clients, "examples",
                                    (json_int_t)data.clients * (json_int_t)data.examples));
}

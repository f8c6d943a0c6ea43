#include "base/file.h"
#include "base/hash.h"
#include "sim/commands.h"
#include "sim/export.h"
#include "sim/operand.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct export_job {
    fq_operand_model        on;
    const fq_export_format *format;
    fq_freeze_settings      settings;
    bool                    quantized;
    char                    hash[FQ_HASH_TEXT]; /* of the file that is exported */
    fq_frozen               frozen;
    fq_model               *plain; /* float: the model without additions of its training */
    float                  *values;
} export_job;

static fq_status read_bits(const fq_cli *cli, const char *option, int fallback, int *out) {
    uint64_t bits = (uint64_t)fallback;
    FQ_TRY(fq_cli_u64(cli, option, 1, FQ_FLOAT_BITS, &bits));
    *out = (int)bits;
    if (bits > FQ_MAX_BITS && bits != FQ_FLOAT_BITS)
        return fq_fail(FQ_EINVAL, "--%s %d: expected 1 to 8, or 32 for float", option, *out);
    return FQ_OK;
}

static fq_status unknown_format(const char *name) {
    char names[128] = "";
    for (size_t i = 0, used = 0; fq_export_formats[i] != NULL && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : ", ",
                                 fq_export_formats[i]->name);
    return fq_fail(FQ_EINVAL, "--format %s: expected one of %s", name, names);
}

static fq_status read_ranges(const fq_cli *cli, fq_activation_ranges *out) {
    const char *name = fq_cli_text(cli, "activation-ranges", "mse");
    for (size_t i = 0; fq_activation_range_names[i] != NULL; i++)
        if (strcmp(fq_activation_range_names[i], name) == 0) {
            *out = (fq_activation_ranges)i;
            return FQ_OK;
        }
    return fq_fail(FQ_EINVAL, "--activation-ranges %s: expected one of mse, minmax, stored", name);
}

static fq_status refuse_without_codes(const fq_cli *cli) {
    static const char *const options[] = {"activations", "granularity", "ranges",
                                          "activation-ranges"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (fq_cli_has(cli, options[i]))
            return fq_fail(FQ_EINVAL, "--%s: a float model (--bits 32) has nothing to quantize",
                           options[i]);
    return FQ_OK;
}

/* What can be told from the command line alone. */
static fq_status read_options(const fq_cli *cli, export_job *job) {
    const char *format = fq_cli_text(cli, "format", "fq");
    job->format = fq_export_format_find(format);
    if (job->format == NULL)
        return unknown_format(format);
    if (!fq_cli_has(cli, "output"))
        return fq_fail(FQ_EINVAL, "--output is missing: the file to write");
    if (!fq_cli_has(cli, "bits"))
        return fq_fail(FQ_EINVAL, "--bits is missing: 1 to 8, or 32 for float");
    FQ_TRY(read_bits(cli, "bits", FQ_MAX_BITS, &job->settings.bits));
    FQ_TRY(read_bits(cli, "activations", FQ_MAX_BITS, &job->settings.activations));
    FQ_TRY(read_ranges(cli, &job->settings.ranges));
    job->quantized = job->settings.bits != FQ_FLOAT_BITS;
    if (!job->quantized)
        return refuse_without_codes(cli);
    if (job->settings.activations == FQ_FLOAT_BITS && fq_cli_has(cli, "activation-ranges"))
        return fq_fail(FQ_EINVAL, "--activation-ranges: float activations (--activations 32) have "
                                  "none");
    return FQ_OK;
}

static fq_status take_evaluate(const fq_cli *cli, export_job *job) {
    const fq_eval_settings *evaluate = &job->on.experiment->evaluate;
    bool                    given = fq_cli_has(cli, "ranges");
    if (given && evaluate->ranges.n != 1)
        return fq_fail(FQ_EINVAL, "--ranges: %zu rules; expected one for the weights",
                       evaluate->ranges.n);
    fq_freeze_settings *settings = &job->settings;
    const char         *rule = given ? evaluate->ranges.v[0] : "mse";
    settings->format = (fq_weight_format){.rule = fq_range_find(rule),
                                          .options = {evaluate->percentile, evaluate->margin},
                                          .grid = (fq_grid_kind)evaluate->grid};
    if (fq_cli_has(cli, "granularity") && evaluate->granularity.n != 1)
        return fq_fail(FQ_EINVAL, "--granularity: %zu names; expected one",
                       evaluate->granularity.n);
    (void)fq_granularity_find(evaluate->granularity.v[0], &settings->format.granularity);
    if (settings->format.rule == NULL)
        return fq_fail(FQ_EINVAL, "--ranges %s: `fedq-sim list ranges` shows the rules", rule);
    settings->layers = (fq_layer_policy)evaluate->layers;
    settings->calibration_examples = (size_t)evaluate->calibration_examples;
    settings->calibration_clients = (size_t)evaluate->calibration_clients;
    settings->seed = (uint64_t)job->on.experiment->head.seed;
    return FQ_OK;
}

static fq_status hash_file(const char *path, char text[FQ_HASH_TEXT]) {
    fq_cbytes     bytes;
    unsigned char hash[FQ_HASH_BYTES];
    FQ_TRY(fq_file_map(path, &bytes));
    fq_sha256(bytes, hash);
    fq_file_unmap(&bytes);
    fq_hash_text(hash, text);
    return FQ_OK;
}

/* The network alone, as it was trained. */
static fq_status strip(export_job *job) {
    const fq_model *model = job->on.model;
    FQ_TRY(fq_model_create(&job->plain, fq_model_network(model), NULL, 0));
    job->values = calloc(fq_model_size(job->plain) + 1, sizeof *job->values);
    if (job->values == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu values", fq_model_size(job->plain));
    for (size_t t = 0, from = 0; t < fq_model_tensor_count(job->plain); t++, from++) {
        const fq_tensor *to = fq_model_tensor(job->plain, t), *tensor;
        while ((tensor = fq_model_tensor(model, from))->kind == FQ_STEP || tensor->kind == FQ_RANGE)
            from++;
        memcpy(job->values + to->offset, job->on.w + tensor->offset,
               to->count * sizeof *job->values);
    }
    return FQ_OK;
}

static fq_status quantize(export_job *job, size_t workers) {
    fq_operand_model *on = &job->on;
    if (job->settings.activations != FQ_FLOAT_BITS)
        FQ_TRY(fq_operand_data(workers, FQ_USE_ALL, on));
    FQ_TRY(fq_freeze(on->model, on->w, on->partition, &job->settings, on->pool, &job->frozen));
    memcpy(job->frozen.quantization.float_hash, job->hash, FQ_HASH_TEXT);
    return FQ_OK;
}

static fq_status write_file(const export_job *job, const char *path, fq_buffer *file) {
    fq_export what = {job->plain, job->values, NULL, &job->on.from};
    if (job->quantized)
        what =
            (fq_export){job->frozen.model, job->frozen.w, &job->frozen.quantization, &job->on.from};
    FQ_TRY(job->format->write(&what, file));
    return fq_file_replace(path, (fq_cbytes){file->data, file->size}, true);
}

static void print_result(const fq_cli *cli, const export_job *job, const fq_buffer *file) {
    unsigned char hash[FQ_HASH_BYTES];
    char          text[FQ_HASH_TEXT];
    const char   *path = fq_cli_text(cli, "output", "");
    int           activations = job->quantized ? job->settings.activations : FQ_FLOAT_BITS;
    fq_sha256((fq_cbytes){file->data, file->size}, hash);
    fq_hash_text(hash, text);
    if (!fq_cli_has(cli, "json")) {
        printf("%s: %s, %zu bytes, sha256 %s\n", path, job->format->name, file->size, text);
        return;
    }
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:i, s:I, s:s, s:s}", "file", path, "format", job->format->name,
                  "bits", job->settings.bits, "activations", activations, "bytes",
                  (json_int_t)file->size, "sha256", text, "float_sha256", job->hash);
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
}

static fq_status export_model(const fq_cli *cli, export_job *job, size_t workers, fq_buffer *file) {
    static const fq_option_key keys[] = {{"ranges", "evaluate.ranges", true},
                                         {"granularity", "evaluate.granularity", true}};
    FQ_TRY(fq_operand_read(cli->operands[0], &job->on));
    if (job->on.quantized) /* it has lost what it would be quantized from */
        return fq_fail(FQ_EINVAL, "%s is quantized already; export from the float model",
                       job->on.path);
    FQ_TRY(hash_file(job->on.path, job->hash));
    FQ_TRY(fq_operand_settings(cli, keys, sizeof keys / sizeof *keys, &job->on));
    if (job->quantized) {
        FQ_TRY(take_evaluate(cli, job));
        FQ_TRY(quantize(job, workers));
    } else {
        FQ_TRY(strip(job));
    }
    return write_file(job, fq_cli_text(cli, "output", ""), file);
}

int fq_sim_export_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    size_t      workers = 1;
    fq_buffer   file = {0};
    export_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return FQ_EXIT_FAILED;
    if (fq_sim_workers(cli, &workers) != FQ_OK || read_options(cli, job) != FQ_OK) {
        free(job);
        return fq_cli_wrong(cli, stderr);
    }
    fq_status status = export_model(cli, job, workers, &file);
    if (status == FQ_OK)
        print_result(cli, job, &file);
    int code = status == FQ_OK ? FQ_EXIT_OK : fq_command_failed(cli, status);
    fq_buffer_fini(&file);
    fq_frozen_fini(&job->frozen);
    fq_model_destroy(&job->plain);
    free(job->values);
    fq_operand_fini(&job->on);
    free(job);
    return code;
}

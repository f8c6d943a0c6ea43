#include "client/commands.h"
#include "data/inputs.h"
#include "infer/predictor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct inference {
    fq_predictor *predictor;
    fq_session   *session;
    fq_inputs     inputs;
    float        *x, *logits;
    bool          json;
} inference;

static fq_status read_type(const fq_cli *cli, fq_raw_type *out) {
    const char *name = fq_cli_text(cli, "raw", "u8");
    for (size_t i = 0; fq_raw_type_names[i] != NULL; i++)
        if (strcmp(fq_raw_type_names[i], name) == 0) {
            *out = (fq_raw_type)i;
            return FQ_OK;
        }
    return fq_fail(FQ_EINVAL, "--raw %s: expected u8 or f32", name);
}

static fq_status prepare(const fq_cli *cli, fq_raw_type raw, inference *job) {
    FQ_TRY(fq_predictor_open(&job->predictor, cli->operands[0], NULL));
    const fq_provenance *from = fq_predictor_from(job->predictor);
    fq_shape             shape = fq_predictor_input(job->predictor);
    fq_input_norm        norm = {from->n_norm, from->mean, from->std};
    if (from->n_norm > 1 && from->n_norm != shape.c)
        return fq_fail(FQ_EPROTO,
                       "%s: a normalisation of %" PRIu32 " channels; expected one, or %" PRIu32,
                       cli->operands[0], from->n_norm, shape.c);
    FQ_TRY(fq_session_open(&job->session, job->predictor));
    FQ_TRY(fq_inputs_read(cli->operands[1], raw, shape, norm, &job->inputs));
    job->x = calloc(fq_shape_count(shape), sizeof *job->x);
    job->logits = calloc(fq_predictor_classes(job->predictor), sizeof *job->logits);
    return job->x == NULL || job->logits == NULL ? fq_fail(FQ_ENOMEM, "no memory for an example")
                                                 : FQ_OK;
}

/* One line for each example: class, then the logits; nine digits tell every float32. */
static void print_example(const inference *job, size_t best) {
    size_t n = fq_predictor_classes(job->predictor);
    printf(job->json ? "    {\"class\": %zu, \"logits\": [" : "%zu", best);
    for (size_t c = 0; c < n; c++)
        printf("%s%.9g", !job->json ? " " : c == 0 ? "" : ", ", (double)job->logits[c]);
    if (job->json)
        printf("]}");
}

static void print_head(const inference *job) {
    printf("{\n  \"arithmetic\": \"%s\",\n  \"model_bytes\": %zu,\n  \"workspace_bytes\": %zu,\n"
           "  \"examples\": [\n",
           fq_predictor_arithmetic(job->predictor) == FQ_ARITHMETIC_INTEGER ? "integer" : "float",
           fq_predictor_bytes(job->predictor), fq_session_bytes(job->session));
}

static fq_status infer_all(inference *job) {
    if (job->json)
        print_head(job);
    for (size_t i = 0; i < job->inputs.n && !fq_interrupted(); i++) {
        FQ_TRY(fq_inputs_get(&job->inputs, i, job->x));
        size_t best = fq_session_run(job->session, job->x, job->logits);
        print_example(job, best);
        printf(job->json && i + 1 < job->inputs.n ? ",\n" : "\n");
    }
    if (job->json)
        printf("  ]\n}\n");
    return fq_interrupted() ? fq_fail(FQ_ESTATE, "interrupted") : FQ_OK;
}

/* Values that cannot be used are found before anything is printed. */
static fq_status check_inputs(const inference *job) {
    for (size_t i = 0; i < job->inputs.n; i++)
        FQ_TRY(fq_inputs_get(&job->inputs, i, job->x));
    return FQ_OK;
}

int fq_client_infer_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    inference   job = {.json = fq_cli_has(cli, "json")};
    fq_raw_type raw;
    if (read_type(cli, &raw) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = prepare(cli, raw, &job);
    if (status == FQ_OK)
        status = check_inputs(&job);
    if (status == FQ_OK)
        status = infer_all(&job);
    int code = status == FQ_OK ? FQ_EXIT_OK : fq_command_failed(cli, status);
    free(job.x);
    free(job.logits);
    fq_inputs_fini(&job.inputs);
    fq_session_close(&job.session);
    fq_predictor_close(&job.predictor);
    return code;
}

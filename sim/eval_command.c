#include "sim/commands.h"
#include "sim/eval_device.h"
#include "sim/operand.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct evaluation {
    fq_operand_model on;
    fq_evaluator    *evaluator;
    fq_figure        figures[FQ_MAX_FIGURES];
    size_t           n;
} evaluation;

static fq_status evaluate(evaluation *eval, size_t workers) {
    fq_operand_model *on = &eval->on;
    fq_experiment    *e = on->experiment;
    FQ_TRY(fq_operand_data(workers, FQ_USE_TEST, on));
    FQ_TRY(fq_evaluator_create(&eval->evaluator, on->model, on->dataset, on->partition,
                               &e->evaluate, (uint64_t)e->head.seed, on->pool));
    FQ_TRY(fq_evaluator_learn(eval->evaluator, &e->recipe));
    eval->n = fq_evaluator_count(eval->evaluator);
    return fq_evaluator_run(eval->evaluator, on->w, eval->figures);
}

static void print_bits(char out[16], int bits) {
    if (bits == FQ_FLOAT_BITS)
        snprintf(out, 16, "float");
    else
        snprintf(out, 16, "%d", bits);
}

static void print_text(const evaluation *eval) {
    int width = 16; /* of the column of ranges */
    for (size_t i = 0; i < eval->n; i++) {
        const int length = (int)strlen(eval->figures[i].rule);
        width = length > width ? length : width;
    }
    printf("%-8s %-12s %-*s %9s %9s %12s %10s\n", "weights", "activations", width, "ranges",
           "accuracy", "loss", "noise", "bits/value");
    for (size_t i = 0; i < eval->n; i++) {
        const fq_figure *f = &eval->figures[i];
        char             weights[16], activations[16];
        print_bits(weights, f->weight_bits);
        print_bits(activations, f->activation_bits);
        printf("%-8s %-12s %-*s %8.2f%% %9.4f %12.3e %10.4f\n", weights, activations, width,
               f->rule, 100.0 * f->accuracy, f->loss, f->noise, f->step_bits);
    }
}

static void print_json(const evaluation *eval) {
    json_t *figures = json_array();
    for (size_t i = 0; i < eval->n; i++) {
        const fq_figure *f = &eval->figures[i];
        json_array_append_new(figures,
                              json_pack("{s:i, s:i, s:s, s:f, s:f, s:f, s:f}", "weights",
                                        f->weight_bits, "activations", f->activation_bits, "ranges",
                                        f->rule, "accuracy", f->accuracy, "loss", f->loss, "noise",
                                        f->noise, "bits_per_value", f->step_bits));
    }
    json_t *root = json_pack("{s:s, s:I, s:s, s:o}", "data", fq_dataset_name(eval->on.dataset),
                             "test_examples", (json_int_t)fq_dataset_test_count(eval->on.dataset),
                             "granularity", eval->on.experiment->evaluate.granularity.v[0],
                             "figures", figures);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(root);
}

/* A quantized file is what it is. */
static fq_status refuse_options(const fq_cli *cli) {
    static const char *const options[] = {"weights", "activations", "ranges", "granularity"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (fq_cli_has(cli, options[i]))
            return fq_fail(FQ_EINVAL,
                           "--%s: %s is quantized and evaluated as it is; the float model can be "
                           "evaluated at other widths",
                           options[i], cli->operands[0]);
    return FQ_OK;
}

static void print_device_text(const fq_device_figures *f) {
    static const char *const names[] = {"simulated", "integer"};
    printf("%-8s %-12s %-16s %9s %9s\n", "weights", "activations", "arithmetic", "accuracy",
           "loss");
    for (int k = 0; k < 2; k++)
        printf("%-8d %-12d %-16s %8.2f%% %9.4f\n", f->weight_bits, f->activation_bits, names[k],
               100.0 * f->accuracy[k], f->loss[k]);
    printf("the same class for %zu of %zu examples\n", f->same_class, f->examples);
}

static void print_device_json(const fq_operand_model *on, const fq_device_figures *f) {
    json_t *root =
        json_pack("{s:s, s:I, s:i, s:i, s:{s:f, s:f}, s:{s:f, s:f}, s:I}", "data",
                  fq_dataset_name(on->dataset), "test_examples", (json_int_t)f->examples, "weights",
                  f->weight_bits, "activations", f->activation_bits, "simulated", "accuracy",
                  f->accuracy[0], "loss", f->loss[0], "integer", "accuracy", f->accuracy[1], "loss",
                  f->loss[1], "same_class", (json_int_t)f->same_class);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(root);
}

static fq_status evaluate_device(const fq_cli *cli, fq_operand_model *on, size_t workers) {
    fq_device_figures figures;
    FQ_TRY(fq_operand_data(workers, FQ_USE_TEST, on));
    FQ_TRY(fq_device_evaluate(on, &figures));
    if (fq_cli_has(cli, "json"))
        print_device_json(on, &figures);
    else
        print_device_text(&figures);
    return FQ_OK;
}

static fq_status evaluate_float(const fq_cli *cli, evaluation *eval, size_t workers) {
    FQ_TRY(evaluate(eval, workers));
    if (fq_cli_has(cli, "json"))
        print_json(eval);
    else
        print_text(eval);
    return FQ_OK;
}

int fq_sim_eval_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    static const fq_option_key keys[] = {{"weights", "evaluate.weights", true},
                                         {"activations", "evaluate.activations", true},
                                         {"ranges", "evaluate.ranges", true},
                                         {"granularity", "evaluate.granularity", true}};
    size_t                     workers;
    int                        code = FQ_EXIT_FAILED;
    evaluation                *eval = calloc(1, sizeof *eval);
    if (eval == NULL)
        return code;
    if (fq_sim_workers(cli, &workers) != FQ_OK) {
        free(eval);
        return fq_cli_wrong(cli, stderr);
    }
    fq_status status;
    FQ_GO(status, fq_operand_read(cli->operands[0], &eval->on));
    code = FQ_EXIT_USAGE;
    if (eval->on.integer)
        FQ_GO(status, refuse_options(cli));
    FQ_GO(status, fq_operand_settings(cli, keys, sizeof keys / sizeof *keys, &eval->on));
    code = FQ_EXIT_FAILED;
    FQ_GO(status, eval->on.integer ? evaluate_device(cli, &eval->on, workers)
                                   : evaluate_float(cli, eval, workers));
    code = FQ_EXIT_OK;
done:
    if (status != FQ_OK)
        (void)fq_command_failed(cli, status);
    fq_evaluator_destroy(&eval->evaluator);
    fq_operand_fini(&eval->on);
    free(eval);
    return code;
}

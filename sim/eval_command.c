#include "base/file.h"
#include "experiment/experiment.h"
#include "model/modelfile.h"
#include "sim/commands.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct evaluation {
    fq_model      *model;
    float         *w;
    fq_provenance  from;
    fq_document   *document;
    fq_experiment *experiment;
    fq_dataset    *dataset;
    fq_partition  *partition;
    fq_pool       *pool;
    fq_evaluator  *evaluator;
    fq_figure      figures[FQ_MAX_FIGURES];
    size_t         n;
} evaluation;

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* model.fq of a run's folder, or the file itself; settings.yaml beside it, if there. */
static fq_status find_files(const char *operand, char model[PATH_MAX], char settings[PATH_MAX]) {
    char folder[PATH_MAX];
    if (strlen(operand) + 32 > PATH_MAX)
        return fq_fail(FQ_EINVAL, "path too long: %s", operand);
    if (is_folder(operand)) {
        snprintf(folder, sizeof folder, "%s/", operand);
        snprintf(model, PATH_MAX, "%s/model.fq", operand);
        if (!fq_file_exists(model))
            return fq_fail(FQ_EIO,
                           "%s holds no model.fq; has the run ended? `fedq-sim run FILE --resume` "
                           "goes on with it",
                           operand);
    } else {
        const char *slash = strrchr(operand, '/');
        snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 0 : (int)(slash - operand) + 1,
                 operand);
        snprintf(model, PATH_MAX, "%s", operand);
    }
    if (snprintf(settings, PATH_MAX, "%ssettings.yaml", folder) >= PATH_MAX ||
        !fq_file_exists(settings))
        settings[0] = '\0';
    return FQ_OK;
}

static fq_status set_text(fq_document *document, const char *key, const char *value) {
    char assignment[2 * FQ_TEXT_BYTES];
    snprintf(assignment, sizeof assignment, "%s=%s", key, value);
    return fq_document_set(document, assignment);
}

static fq_status set_list(fq_document *document, const char *key, const char *values) {
    char list[FQ_TEXT_BYTES];
    if (snprintf(list, sizeof list, "[%s]", values) >= (int)sizeof list)
        return fq_fail(FQ_EINVAL, "--%s: too long", strrchr(key, '.') + 1);
    return set_text(document, key, list);
}

/* The input must be prepared as the model was trained to expect it. */
static fq_status set_normalization(fq_document *document, const fq_provenance *from) {
    char mean[512] = "[", std[512] = "[";
    if (from->n_norm == 0)
        return FQ_OK;
    for (uint32_t c = 0; c < from->n_norm; c++) {
        size_t m = strlen(mean), s = strlen(std);
        snprintf(mean + m, sizeof mean - m, "%s%.9g", c == 0 ? "" : ", ", (double)from->mean[c]);
        snprintf(std + s, sizeof std - s, "%s%.9g", c == 0 ? "" : ", ", (double)from->std[c]);
    }
    strcat(mean, "]");
    strcat(std, "]");
    FQ_TRY(set_text(document, "data.normalize", "custom"));
    FQ_TRY(set_text(document, "data.mean", mean));
    return set_text(document, "data.std", std);
}

/* Settings: those of the run if there are any, then what the model says, then the options. */
static fq_status load_settings(const fq_cli *cli, evaluation *eval, const char *settings) {
    if (settings[0] != '\0')
        FQ_TRY(fq_document_read(&eval->document, settings));
    else
        FQ_TRY(fq_document_parse(&eval->document, "defaults",
                                 (fq_cbytes){(const unsigned char *)"", 0}));
    fq_document *document = eval->document;
    if (settings[0] == '\0' && eval->from.dataset[0] != '\0')
        FQ_TRY(set_text(document, "data.set", eval->from.dataset));
    FQ_TRY(set_normalization(document, &eval->from));
    const char *data = fq_cli_text(cli, "data", NULL);
    if (data != NULL) {
        FQ_TRY(set_text(document, "data.set", data));
        FQ_TRY(set_text(document, "data.path", "''"));
    }
    static const char *const lists[][2] = {{"weights", "evaluate.weights"},
                                           {"activations", "evaluate.activations"},
                                           {"ranges", "evaluate.ranges"},
                                           {"granularity", "evaluate.granularity"}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        if (fq_cli_has(cli, lists[i][0]))
            FQ_TRY(set_list(document, lists[i][1], fq_cli_text(cli, lists[i][0], "")));
    for (size_t i = 0; i < fq_cli_count(cli, "set"); i++) {
        const char *assignment = fq_cli_nth(cli, "set", i);
        if (strncmp(assignment, "data.", 5) != 0 && strncmp(assignment, "evaluate.", 9) != 0)
            return fq_fail(FQ_EINVAL,
                           "--set %s: an evaluation has settings under data and evaluate only",
                           assignment);
        FQ_TRY(fq_document_set(document, assignment));
    }
    eval->experiment = malloc(sizeof *eval->experiment);
    if (eval->experiment == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    return fq_experiment_load(document, eval->experiment);
}

static fq_status check_fit(const evaluation *eval) {
    const fq_network *network = fq_model_network(eval->model);
    fq_shape          data = fq_dataset_shape(eval->dataset), model = network->input;
    if (data.c != model.c || data.h != model.h || data.w != model.w)
        return fq_fail(FQ_EINVAL, "%s has examples of %ux%ux%u; the model takes %ux%ux%u",
                       fq_dataset_name(eval->dataset), data.c, data.h, data.w, model.c, model.h,
                       model.w);
    if (fq_dataset_classes(eval->dataset) > network->n_classes)
        return fq_fail(FQ_EINVAL, "%s has %u classes; the model knows %u",
                       fq_dataset_name(eval->dataset), fq_dataset_classes(eval->dataset),
                       network->n_classes);
    return FQ_OK;
}

static fq_status evaluate(evaluation *eval, size_t workers) {
    fq_experiment *e = eval->experiment;
    uint64_t       seed = (uint64_t)e->head.seed;
    e->data.use = FQ_USE_TEST;
    FQ_TRY(fq_dataset_open(&e->data, seed, &eval->dataset));
    FQ_TRY(check_fit(eval));
    if (fq_dataset_can_train(eval->dataset))
        FQ_TRY(fq_partition_create(&eval->partition, eval->dataset, &e->data, seed));
    FQ_TRY(fq_pool_create(&eval->pool, workers));
    FQ_TRY(fq_evaluator_create(&eval->evaluator, eval->model, eval->dataset, eval->partition,
                               &e->evaluate, seed, eval->pool));
    FQ_TRY(fq_evaluator_learn(eval->evaluator, &e->recipe));
    eval->n = fq_evaluator_count(eval->evaluator);
    return fq_evaluator_run(eval->evaluator, eval->w, eval->figures);
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
    json_t *root =
        json_pack("{s:s, s:I, s:s, s:o}", "data", fq_dataset_name(eval->dataset), "test_examples",
                  (json_int_t)fq_dataset_test_count(eval->dataset), "granularity",
                  eval->experiment->evaluate.granularity.v[0], "figures", figures);
    json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(root);
}

static void release(evaluation *eval) {
    fq_evaluator_destroy(&eval->evaluator);
    fq_pool_destroy(&eval->pool);
    fq_partition_destroy(&eval->partition);
    fq_dataset_close(&eval->dataset);
    fq_document_destroy(&eval->document);
    free(eval->experiment);
    fq_model_destroy(&eval->model);
    free(eval->w);
}

int fq_sim_eval_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    char        model[PATH_MAX], settings[PATH_MAX];
    size_t      workers;
    int         code = FQ_EXIT_FAILED;
    evaluation *eval = calloc(1, sizeof *eval);
    if (eval == NULL)
        return code;
    if (fq_sim_workers(cli, &workers) != FQ_OK) {
        free(eval);
        return fq_cli_wrong(cli, stderr);
    }
    fq_status status;
    FQ_GO(status, find_files(cli->operands[0], model, settings));
    FQ_GO(status, fq_modelfile_read(model, &eval->model, &eval->w, &eval->from));
    code = FQ_EXIT_USAGE;
    FQ_GO(status, load_settings(cli, eval, settings));
    code = FQ_EXIT_FAILED;
    FQ_GO(status, evaluate(eval, workers));
    code = FQ_EXIT_OK;
    if (fq_cli_has(cli, "json"))
        print_json(eval);
    else
        print_text(eval);
done:
    if (status != FQ_OK)
        (void)fq_command_failed(cli, status);
    release(eval);
    free(eval);
    return code;
}

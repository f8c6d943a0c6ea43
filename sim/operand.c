#include "sim/operand.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static fq_status take_file(fq_cbytes bytes, fq_operand_model *out) {
    fq_modelfile file;
    FQ_TRY(fq_modelfile_open(bytes, &file));
    out->from = file.from;
    out->quantized = file.quantized;
    out->integer = file.quantized && file.quantization.sites != NULL;
    fq_status status = fq_modelfile_take(&file, &out->model, &out->w);
    fq_modelfile_close(&file);
    return status;
}

fq_status fq_operand_read(const char *operand, fq_operand_model *out) {
    fq_cbytes bytes;
    FQ_TRY(find_files(operand, out->path, out->settings));
    FQ_TRY(fq_file_map(out->path, &bytes));
    fq_status status = take_file(bytes, out);
    fq_file_unmap(&bytes);
    if (status != FQ_OK)
        fq_add_context("%s", out->path);
    return status;
}

fq_status fq_operand_settings(const fq_cli *cli, const fq_option_key *keys, size_t n,
                              fq_operand_model *out) {
    const char *settings = out->settings;
    if (settings[0] != '\0')
        FQ_TRY(fq_document_read(&out->document, settings));
    else
        FQ_TRY(fq_document_parse(&out->document, "defaults",
                                 (fq_cbytes){(const unsigned char *)"", 0}));
    fq_document *document = out->document;
    if (settings[0] == '\0' && out->from.dataset[0] != '\0')
        FQ_TRY(set_text(document, "data.set", out->from.dataset));
    FQ_TRY(set_normalization(document, &out->from));
    const char *data = fq_cli_text(cli, "data", NULL);
    if (data != NULL) {
        FQ_TRY(set_text(document, "data.set", data));
        FQ_TRY(set_text(document, "data.path", "''"));
    }
    for (size_t i = 0; i < n; i++) {
        const char *text = fq_cli_text(cli, keys[i].option, NULL);
        if (text != NULL && keys[i].list)
            FQ_TRY(set_list(document, keys[i].key, text));
        else if (text != NULL)
            FQ_TRY(set_text(document, keys[i].key, text));
    }
    for (size_t i = 0; i < fq_cli_count(cli, "set"); i++) {
        const char *assignment = fq_cli_nth(cli, "set", i);
        if (strncmp(assignment, "data.", 5) != 0 && strncmp(assignment, "evaluate.", 9) != 0)
            return fq_fail(FQ_EINVAL, "--set %s: a model has settings under data and evaluate only",
                           assignment);
        FQ_TRY(fq_document_set(document, assignment));
    }
    out->experiment = malloc(sizeof *out->experiment);
    if (out->experiment == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    return fq_experiment_load(document, out->experiment);
}

static fq_status check_fit(const fq_operand_model *out) {
    const fq_network *network = fq_model_network(out->model);
    fq_shape          data = fq_dataset_shape(out->dataset), model = network->input;
    if (data.c != model.c || data.h != model.h || data.w != model.w)
        return fq_fail(FQ_EINVAL, "%s has examples of %ux%ux%u; the model takes %ux%ux%u",
                       fq_dataset_name(out->dataset), data.c, data.h, data.w, model.c, model.h,
                       model.w);
    if (fq_dataset_classes(out->dataset) > network->n_classes)
        return fq_fail(FQ_EINVAL, "%s has %u classes; the model knows %u",
                       fq_dataset_name(out->dataset), fq_dataset_classes(out->dataset),
                       network->n_classes);
    return FQ_OK;
}

fq_status fq_operand_data(size_t workers, fq_data_use use, fq_operand_model *out) {
    fq_experiment *e = out->experiment;
    uint64_t       seed = (uint64_t)e->head.seed;
    e->data.use = use;
    FQ_TRY(fq_dataset_open(&e->data, seed, &out->dataset));
    FQ_TRY(check_fit(out));
    if (fq_dataset_can_train(out->dataset))
        FQ_TRY(fq_partition_create(&out->partition, out->dataset, &e->data, seed));
    return fq_pool_create(&out->pool, workers);
}

void fq_operand_fini(fq_operand_model *operand) {
    fq_pool_destroy(&operand->pool);
    fq_partition_destroy(&operand->partition);
    fq_dataset_close(&operand->dataset);
    fq_document_destroy(&operand->document);
    free(operand->experiment);
    fq_model_destroy(&operand->model);
    free(operand->w);
    *operand = (fq_operand_model){0};
}

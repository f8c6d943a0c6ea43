/* Reading runs, and finding out which of them are the same method. */
#include "report/report.h"

#include "base/config.h"
#include "base/file.h"
#include "report/report_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SETTINGS_LIMIT = 1 << 20, LEAF_BYTES = 4096 };

/* ---- one run ---- */

/* Room for one more element of a growing array, NULL if there is no memory. */
static void *grow(void *array, size_t n, size_t size) {
    if (n != 0 && (n & (n - 1)) != 0)
        return array; /* capacities are powers of two */
    size_t bytes;
    return fq_size_mul(n == 0 ? 1 : 2 * n, size, &bytes) ? realloc(array, bytes) : NULL;
}

#define GROW(array, n)                                                                             \
    do {                                                                                           \
        void *grown = grow((array), (n), sizeof *(array));                                         \
        if (grown == NULL)                                                                         \
            return fq_fail(FQ_ENOMEM, "no memory for the rows of a run");                          \
        (array) = grown;                                                                           \
    } while (0)

static fq_status take_round(void *context, const fq_round_row *row) {
    fq_report_run *run = context;
    GROW(run->rounds, run->n_rounds);
    run->rounds[run->n_rounds++] = *row;
    return FQ_OK;
}

static fq_status take_figure(void *context, uint32_t round, const fq_figure *figure) {
    fq_report_run *run = context;
    GROW(run->figures, run->n_figures);
    run->figures[run->n_figures++] = (fq_report_figure){round, *figure};
    return FQ_OK;
}

static fq_status take_tensor(void *context, uint32_t round, const fq_tensor_figure *tensor) {
    fq_report_run *run = context;
    GROW(run->tensors, run->n_tensors);
    run->tensors[run->n_tensors++] = (fq_report_tensor){round, *tensor};
    return FQ_OK;
}

static fq_status read_database(fq_report_run *run, const char *path) {
    fq_store *store;
    FQ_TRY(fq_store_open_read(&store, path));
    fq_status status;
    FQ_GO(status, fq_store_get_run(store, &run->row));
    FQ_GO(status, fq_store_each_round(store, take_round, run));
    FQ_GO(status, fq_store_each_figure(store, take_figure, run));
    FQ_GO(status, fq_store_each_tensor(store, take_tensor, run));
done:
    /* Nothing was written, so there is nothing that closing could lose. */
    (void)!fq_store_close(&store);
    return status;
}

/* Every leaf of the settings as a line "train.rate=0.1", but for the seed. */
static void flatten(const fq_node *node, const char *path, fq_buffer *out) {
    if (fq_node_kind_of(node) == FQ_NODE_MAP) {
        for (size_t i = 0; i < fq_node_count(node); i++) {
            char below[LEAF_BYTES];
            snprintf(below, sizeof below, "%s%s%s", path, path[0] == '\0' ? "" : ".",
                     fq_node_key(node, i));
            flatten(fq_node_at(node, i), below, out);
        }
        return;
    }
    if (strcmp(path, "seed") == 0)
        return;
    char value[LEAF_BYTES];
    fq_node_print(node, value, sizeof value);
    fq_put_bytes(out, path, strlen(path));
    fq_put_u8(out, '=');
    fq_put_bytes(out, value, strlen(value));
    fq_put_u8(out, '\n');
}

static fq_status read_settings(fq_report_run *run, const char *path) {
    fq_cbytes file = {0};
    if (fq_file_exists(path))
        FQ_TRY(fq_file_read(path, SETTINGS_LIMIT, &file));
    run->settings = calloc(1, file.size + 1);
    if (run->settings != NULL && file.size > 0)
        memcpy(run->settings, file.data, file.size);
    free((void *)file.data);
    fq_document *document = NULL;
    fq_buffer    leaves = {0};
    /* Settings of another version may not parse; then their text tells methods apart. */
    fq_cbytes text = {(const unsigned char *)run->settings, file.size};
    if (run->settings != NULL && file.size > 0 && fq_document_parse(&document, path, text) == FQ_OK)
        flatten(fq_document_root(document), "", &leaves);
    else if (run->settings != NULL)
        fq_put_bytes(&leaves, text.data, text.size);
    fq_document_destroy(&document);
    fq_put_u8(&leaves, 0);
    run->leaves = (char *)leaves.data;
    if (run->settings == NULL || leaves.failed)
        return fq_fail(FQ_ENOMEM, "no memory for %s", path);
    return FQ_OK;
}

static fq_status join(char **out, const char *folder, const char *name) {
    size_t size = strlen(folder) + strlen(name) + 2;
    *out = malloc(size);
    if (*out == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the name of a file");
    snprintf(*out, size, "%s/%s", folder, name);
    return FQ_OK;
}

/* The folder of a run: what was given, or where the given database lies. */
static char *folder_of(const char *path, bool is_folder) {
    char *folder = strdup(path);
    if (folder == NULL)
        return NULL;
    for (size_t end = strlen(folder); end > 1 && folder[end - 1] == '/'; end--)
        folder[end - 1] = '\0';
    char *slash = strrchr(folder, '/');
    if (!is_folder && slash == NULL)
        strcpy(folder, "."); /* a name has at least one character */
    else if (!is_folder)
        slash[slash == folder ? 1 : 0] = '\0';
    return folder;
}

static fq_status read_run(fq_report_run *run, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0)
        return fq_fail(FQ_EIO, "%s: %s; expected the folder of a run", path, strerror(errno));
    bool  is_folder = S_ISDIR(info.st_mode);
    char *database = NULL, *settings = NULL, *model = NULL;
    run->folder = folder_of(path, is_folder);
    if (run->folder == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the name of a run");
    fq_status status;
    FQ_GO(status, join(&database, run->folder, "run.db"));
    FQ_GO(status, join(&settings, run->folder, "settings.yaml"));
    FQ_GO(status, join(&model, run->folder, "model.fq"));
    if (is_folder && !fq_file_exists(database))
        FQ_GO(status, fq_fail(FQ_EIO, "%s: has no run.db; expected the folder of a run", path));
    FQ_GO(status, read_database(run, is_folder ? database : path));
    FQ_GO(status, read_settings(run, settings));
    if (stat(model, &info) == 0)
        run->model_bytes = (uint64_t)info.st_size;
done:
    free(database);
    free(settings);
    free(model);
    return status;
}

static void drop_run(fq_report_run *run) {
    free(run->folder);
    free(run->settings);
    free(run->leaves);
    free(run->rounds);
    free(run->figures);
    free(run->tensors);
}

/* ---- methods ---- */

static bool same_method(const fq_report_run *a, const fq_report_run *b) {
    return strcmp(a->leaves, b->leaves) == 0 && strcmp(a->row.name, b->row.name) == 0 &&
           strcmp(a->row.label, b->row.label) == 0 && strcmp(a->row.model, b->row.model) == 0 &&
           strcmp(a->row.dataset, b->row.dataset) == 0 &&
           strcmp(a->row.algorithm, b->row.algorithm) == 0 &&
           strcmp(a->row.robustness, b->row.robustness) == 0;
}

static void plain_name(const fq_run_row *row, char out[FQ_METHOD_BYTES]) {
    if (row->label[0] != '\0')
        snprintf(out, FQ_METHOD_BYTES, "%s", row->label);
    else if (row->robustness[0] != '\0')
        snprintf(out, FQ_METHOD_BYTES, "%s + %s", row->algorithm, row->robustness);
    else
        snprintf(out, FQ_METHOD_BYTES, "%s", row->algorithm);
}

static void append(char out[FQ_METHOD_BYTES], const char *text, size_t n) {
    size_t used = strlen(out);
    snprintf(out + used, FQ_METHOD_BYTES - used, ", %.*s", (int)n, text);
}

/* `line` ends with a newline. */
static bool has_line(const char *leaves, const char *line) {
    for (const char *at = leaves; (at = strstr(at, line)) != NULL; at++)
        if (at == leaves || at[-1] == '\n')
            return true;
    return false;
}

static bool lacks_line(const fq_report_run *other, const char *line) {
    return !has_line(other->leaves, line);
}

static bool lacks_name(const fq_report_run *other, const char *name) {
    return strcmp(other->row.name, name) != 0;
}

static size_t count_lacking(const fq_report *report, const fq_report_method *plain, size_t m,
                            bool (*lacks)(const fq_report_run *, const char *), const char *what) {
    size_t n = 0;
    for (size_t k = 0; k < report->n_methods; k++)
        n += k != m && strcmp(plain[k].name, plain[m].name) == 0 &&
             lacks(&report->runs[plain[k].first_run], what);
    return n;
}

static size_t count_namesakes(const fq_report *report, const fq_report_method *plain, size_t m) {
    size_t n = 0;
    for (size_t k = 0; k < report->n_methods; k++)
        n += k != m && strcmp(plain[k].name, plain[m].name) == 0;
    return n;
}

/* Add to a name that others have too the name of the experiment, if that tells them apart, or else
 * the settings that do: "fedavg, train.rate=0.1". */
static void tell_apart(const fq_report *report, const fq_report_method *plain, size_t m,
                       char out[FQ_METHOD_BYTES]) {
    const fq_report_run *self = &report->runs[plain[m].first_run];
    size_t               namesakes = count_namesakes(report, plain, m);
    if (namesakes > 0 && count_lacking(report, plain, m, lacks_name, self->row.name) == namesakes) {
        append(out, self->row.name, strlen(self->row.name));
        return;
    }
    for (const char *line = self->leaves, *end; namesakes > 0 && (end = strchr(line, '\n')) != NULL;
         line = end + 1) {
        char text[LEAF_BYTES];
        snprintf(text, sizeof text, "%.*s\n", LEAF_BYTES - 2, line);
        strchr(text, '\n')[1] = '\0';
        bool is_name = strncmp(text, "name=", 5) == 0;
        if (!is_name && count_lacking(report, plain, m, lacks_line, text) > 0)
            append(out, line, (size_t)(end - line));
    }
}

static fq_status name_methods(fq_report *report) {
    size_t            n = report->n_methods;
    fq_report_method *before = calloc(n + 1, sizeof *before);
    if (before == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the names of methods");
    for (size_t m = 0; m < n; m++)
        plain_name(&report->runs[report->methods[m].first_run].row, report->methods[m].name);
    memcpy(before, report->methods, n * sizeof *before);
    for (size_t m = 0; m < n; m++)
        tell_apart(report, before, m, report->methods[m].name);
    /* Names that are equal all the same get a number. */
    memcpy(before, report->methods, n * sizeof *before);
    for (size_t m = 1; m < n; m++) {
        size_t same = 1, used = strlen(before[m].name);
        for (size_t k = 0; k < m; k++)
            same += strcmp(before[k].name, before[m].name) == 0;
        used = used < FQ_METHOD_BYTES - 24 ? used : FQ_METHOD_BYTES - 24;
        if (same > 1)
            snprintf(report->methods[m].name + used, FQ_METHOD_BYTES - used, " (%zu)", same);
    }
    free(before);
    return FQ_OK;
}

static fq_status find_methods(fq_report *report) {
    report->methods = calloc(report->n_runs + 1, sizeof *report->methods);
    if (report->methods == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu methods", report->n_runs);
    for (size_t r = 0; r < report->n_runs; r++) {
        size_t m = 0;
        while (m < report->n_methods &&
               !same_method(&report->runs[report->methods[m].first_run], &report->runs[r]))
            m++;
        if (m == report->n_methods)
            report->methods[report->n_methods++].first_run = r;
        report->runs[r].method = m;
    }
    return name_methods(report);
}

/* ---- the whole ---- */

fq_status fq_report_create(fq_report **out, const char *const *runs, size_t n) {
    fq_report *report = *out = calloc(1, sizeof *report);
    if (report == NULL || (report->runs = calloc(n + 1, sizeof *report->runs)) == NULL) {
        fq_report_destroy(out);
        return fq_fail(FQ_ENOMEM, "no memory for a report of %zu runs", n);
    }
    fq_status status = FQ_OK;
    for (size_t i = 0; status == FQ_OK && i < n; i++) {
        report->n_runs = i + 1;
        status = read_run(&report->runs[i], runs[i]);
    }
    if (status == FQ_OK)
        status = find_methods(report);
    if (status != FQ_OK)
        fq_report_destroy(out);
    return status;
}

void fq_report_destroy(fq_report **slot) {
    fq_report *report = *slot;
    if (report == NULL)
        return;
    for (size_t i = 0; i < report->n_runs; i++)
        drop_run(&report->runs[i]);
    free(report->runs);
    free(report->methods);
    free(report);
    *slot = NULL;
}

const fq_report_figure *fq_report_last(const fq_report_run *run, size_t *n) {
    size_t end = run->n_figures, begin = end;
    while (begin > 0 && run->figures[begin - 1].round == run->figures[end - 1].round)
        begin--;
    *n = end - begin;
    return *n > 0 ? run->figures + begin : NULL;
}

uint64_t fq_report_bytes_up(const fq_report_run *run, uint32_t round) {
    uint64_t sum = 0;
    for (size_t i = 0; i < run->n_rounds && run->rounds[i].round <= round; i++)
        sum += run->rounds[i].bytes_up;
    return sum;
}

uint64_t fq_report_bytes_down(const fq_report_run *run, uint32_t round) {
    uint64_t sum = 0;
    for (size_t i = 0; i < run->n_rounds && run->rounds[i].round <= round; i++)
        sum += run->rounds[i].bytes_down;
    return sum;
}

fq_status fq_report_put(const fq_report *report, fq_report_part *part, const char *path) {
    fq_buffer text = {0};
    fq_status status = part(report, &text);
    if (status == FQ_OK && path != NULL)
        status = fq_file_replace(path, (fq_cbytes){text.data, text.size}, false);
    else if (status == FQ_OK && fwrite(text.data, 1, text.size, stdout) != text.size)
        status = fq_fail(FQ_EIO, "cannot write the results");
    fq_buffer_fini(&text);
    return status;
}

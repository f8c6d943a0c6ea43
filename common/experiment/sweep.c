#include "experiment/experiment.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_BYTES = 2048 };

/* One dimension of the product: a key and its list, or the variants. */
static size_t choices_of(const fq_node *node) {
    return fq_node_count(node);
}

/* "[mqat, kure]" -> "mqat-kure", "[]" -> "none", "0.5" -> "0.5" */
static void tidy(const char *value, char *out, size_t capacity) {
    size_t n = 0;
    for (const char *at = value; *at != '\0' && n + 1 < capacity; at++) {
        char c = *at;
        if (isalnum((unsigned char)c) || strchr("._-", c) != NULL)
            out[n++] = c;
        else if (c == ',' && n > 0)
            out[n++] = '-';
    }
    out[n] = '\0';
    if (n == 0)
        snprintf(out, capacity, "none");
}

/* "train.rate" -> "rate" in a label; a method list needs no key at all, nor does a variant. */
static const char *short_key(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot == NULL ? path : dot + 1;
}

static void extend_label(char *label, const char *key, const char *value) {
    char   text[FQ_LABEL_BYTES];
    size_t used = strlen(label);
    tidy(value, text, sizeof text);
    bool bare = key[0] == '\0' || strcmp(key, "robustness") == 0 || strcmp(key, "algorithm") == 0;
    snprintf(label + used, FQ_LABEL_BYTES - used, "%s%s%s%s", used == 0 ? "" : "_", bare ? "" : key,
             bare ? "" : "=", text);
}

static fq_status set_value(fq_document *run, const fq_document *document, const char *path,
                           const fq_node *value) {
    if (strncmp(path, "sweep", 5) == 0)
        return fq_node_fail(document, value, "sweep.%s: a sweep cannot sweep itself", path);
    return fq_document_put(run, path, value);
}

/* A run without any robustness method goes by its algorithm: "fedavg". */
static void name_algorithm(const fq_document *document, char *out, size_t capacity) {
    const fq_node *train = fq_node_find(fq_document_root(document), "train");
    const fq_node *name = fq_node_find(train, "algorithm");
    snprintf(out, capacity, "%s", name == NULL ? fq_algorithms[0]->name : fq_node_text(name));
}

/* Apply choice number `index` of dimension `dimension` of the sweep to a run. */
static fq_status apply(fq_sweep_run *run, const fq_document *document, const fq_node *sweep,
                       size_t dimension, size_t index) {
    const char    *key = fq_node_key(sweep, dimension);
    const fq_node *choices = fq_node_at(sweep, dimension);
    if (strcmp(key, "variants") != 0) {
        char text[VALUE_BYTES];
        FQ_TRY(set_value(run->document, document, key, fq_node_at(choices, index)));
        fq_node_print(fq_node_at(choices, index), text, sizeof text);
        bool plain =
            strcmp(key, "train.robustness") == 0 && fq_node_count(fq_node_at(choices, index)) == 0;
        if (plain)
            name_algorithm(run->document, text, sizeof text);
        if (strcmp(key, "seed") != 0)
            extend_label(run->label, short_key(key), text);
        return FQ_OK;
    }
    const fq_node *settings = fq_node_at(choices, index);
    for (size_t i = 0; i < fq_node_count(settings); i++)
        FQ_TRY(
            set_value(run->document, document, fq_node_key(settings, i), fq_node_at(settings, i)));
    extend_label(run->label, "", fq_node_key(choices, index));
    return FQ_OK;
}

static fq_status check_dimension(const fq_document *document, const char *key,
                                 const fq_node *choices) {
    if (strcmp(key, "variants") == 0) {
        bool good = fq_node_kind_of(choices) == FQ_NODE_MAP && choices_of(choices) > 0;
        for (size_t i = 0; good && i < choices_of(choices); i++)
            good = fq_node_kind_of(fq_node_at(choices, i)) == FQ_NODE_MAP;
        if (!good)
            return fq_node_fail(document, choices,
                                "sweep.variants: expected a map of named sets of settings, "
                                "{fedavg: {train.robustness: []}}");
    } else if (fq_node_kind_of(choices) != FQ_NODE_LIST || choices_of(choices) == 0) {
        return fq_node_fail(document, choices, "sweep.%s: expected a list of values", key);
    }
    return FQ_OK;
}

fq_status fq_sweep_expand(const fq_document *document, fq_sweep *out) {
    *out = (fq_sweep){0};
    const fq_node *sweep = fq_node_find(fq_document_root(document), "sweep");
    size_t         dimensions = 0, n = 1;
    if (sweep != NULL && fq_node_kind_of(sweep) != FQ_NODE_MAP)
        return fq_node_fail(document, sweep, "sweep: expected a map of keys and lists of values");
    if (sweep != NULL)
        dimensions = fq_node_count(sweep);
    for (size_t d = 0; d < dimensions; d++) {
        FQ_TRY(check_dimension(document, fq_node_key(sweep, d), fq_node_at(sweep, d)));
        n *= choices_of(fq_node_at(sweep, d));
        if (n > FQ_MAX_RUNS)
            return fq_node_fail(document, sweep, "sweep: more than %d runs", FQ_MAX_RUNS);
    }
    out->runs = calloc(n, sizeof *out->runs);
    if (out->runs == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu runs", n);
    fq_status status = FQ_OK;
    for (size_t r = 0; status == FQ_OK && r < n; r++) {
        fq_sweep_run *run = &out->runs[r];
        status = fq_document_copy(&run->document, document);
        out->n = r + 1;
        /* The last dimension turns fastest, as nested loops would. */
        size_t rest = r, stride = n;
        for (size_t d = 0; status == FQ_OK && d < dimensions; d++) {
            stride /= choices_of(fq_node_at(sweep, d));
            status = apply(run, document, sweep, d, rest / stride);
            rest %= stride;
        }
    }
    if (status != FQ_OK)
        fq_sweep_fini(out);
    return status;
}

void fq_sweep_fini(fq_sweep *sweep) {
    for (size_t i = 0; i < sweep->n; i++)
        fq_document_destroy(&sweep->runs[i].document);
    free(sweep->runs);
    *sweep = (fq_sweep){0};
}

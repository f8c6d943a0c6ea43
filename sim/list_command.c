#include "experiment/experiment.h"
#include "math/gemm.h"
#include "sim/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line of a listing. */
typedef struct entry {
    const char *name, *summary, *source;
} entry;

enum { MAX_ENTRIES = 64 };
typedef struct listing {
    size_t n;
    entry  entries[MAX_ENTRIES];
} listing;

static void add(listing *list, const char *name, const char *summary, const char *source) {
    if (list->n < MAX_ENTRIES)
        list->entries[list->n++] = (entry){name, summary, source};
}

static void list_models(listing *out) {
    for (const fq_zoo_entry *row = fq_zoo; row->name != NULL; row++)
        add(out, row->name, row->summary, NULL);
}

static void list_datasets(listing *out) {
    for (size_t i = 0; fq_data_readers[i] != NULL; i++)
        add(out, fq_data_readers[i]->name, fq_data_readers[i]->summary, fq_data_readers[i]->where);
}

static void list_algorithms(listing *out) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++)
        add(out, fq_algorithms[i]->name, fq_algorithms[i]->summary, fq_algorithms[i]->source);
}

static void list_robustness(listing *out) {
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++)
        add(out, fq_robustnesses[i]->name, fq_robustnesses[i]->summary, fq_robustnesses[i]->source);
}

static void list_ranges(listing *out) {
    for (size_t i = 0; fq_range_rules[i] != NULL; i++)
        add(out, fq_range_rules[i]->name, fq_range_rules[i]->summary, NULL);
}

static void list_quantizers(listing *out) {
    for (size_t i = 0; fq_quantizers[i] != NULL; i++)
        add(out, fq_quantizers[i]->name, fq_quantizers[i]->summary, fq_quantizers[i]->source);
}

static void list_aggregators(listing *out) {
    for (size_t i = 0; fq_aggregators[i] != NULL; i++)
        add(out, fq_aggregators[i]->name, fq_aggregators[i]->summary, fq_aggregators[i]->source);
}

static void list_layers(listing *out) {
    for (size_t i = 0; fq_layers[i] != NULL; i++)
        add(out, fq_layers[i]->name, fq_layers[i]->summary, NULL);
}

static void list_kernels(listing *out) {
    for (size_t i = 0; fq_kernel_names[i] != NULL; i++) {
        const fq_kernels *row = fq_kernels_find(fq_kernel_names[i]);
        add(out, fq_kernel_names[i],
            row == NULL               ? "not for this processor"
            : row == fq_kernels_get() ? "in use"
                                      : "runs on this processor",
            NULL);
    }
    add(out, "BLIS", fq_gemm_kernel(), NULL);
}

static const struct kind {
    const char *name;
    void (*list)(listing *out);
} kinds[] = {
    {"models", list_models},           {"datasets", list_datasets}, {"algorithms", list_algorithms},
    {"robustness", list_robustness},   {"ranges", list_ranges},     {"quantizers", list_quantizers},
    {"aggregators", list_aggregators}, {"layers", list_layers},     {"kernels", list_kernels},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static void print_text(const listing *list) {
    int width = 0;
    for (size_t i = 0; i < list->n; i++)
        if ((int)strlen(list->entries[i].name) > width)
            width = (int)strlen(list->entries[i].name);
    for (size_t i = 0; i < list->n; i++)
        printf("%-*s  %s\n", width, list->entries[i].name, list->entries[i].summary);
}

static void print_json(const listing *list) {
    json_t *array = json_array();
    for (size_t i = 0; i < list->n; i++) {
        const entry *e = &list->entries[i];
        json_t      *object = json_pack("{s:s, s:s}", "name", e->name, "summary", e->summary);
        if (e->source != NULL)
            json_object_set_new(object, "source", json_string(e->source));
        json_array_append_new(array, object);
    }
    json_dumpf(array, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(array);
}

static int print_settings(const fq_cli *cli) {
    fq_buffer text = {0};
    fq_experiment_document(&text);
    int code = FQ_EXIT_OK;
    if (text.failed) {
        code =
            fq_command_failed(cli, fq_fail(FQ_ENOMEM, "no memory for the settings' documentation"));
    } else {
        fwrite(text.data, 1, text.size, stdout);
    }
    fq_buffer_fini(&text);
    return code;
}

int fq_sim_list_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    const char *wanted = cli->operands[0], *names[N_KINDS + 2] = {0};
    if (strcmp(wanted, "settings") == 0 && fq_cli_has(cli, "json")) {
        (void)fq_fail(FQ_EINVAL, "settings are listed as Markdown only");
        return fq_cli_wrong(cli, stderr);
    }
    if (strcmp(wanted, "settings") == 0)
        return print_settings(cli);
    for (size_t i = 0; i < N_KINDS; i++) {
        names[i] = kinds[i].name;
        if (strcmp(wanted, kinds[i].name) != 0)
            continue;
        listing list = {0};
        kinds[i].list(&list);
        if (fq_cli_has(cli, "json"))
            print_json(&list);
        else
            print_text(&list);
        return FQ_EXIT_OK;
    }
    names[N_KINDS] = "settings";
    const char *nearest = fq_nearest(wanted, names);
    char        known[256] = "";
    for (size_t i = 0; names[i] != NULL; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ", names[i]);
    }
    (void)fq_fail(FQ_EINVAL, "'%s' is unknown%s%s%s; known: %s", wanted,
                  nearest == NULL ? "" : "; did you mean '", nearest == NULL ? "" : nearest,
                  nearest == NULL ? "" : "'?", known);
    return fq_cli_wrong(cli, stderr);
}

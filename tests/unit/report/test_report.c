/* Reports of a few runs that never ran. */
#include "report/report.h"
#include "report_rig.h"
#include "suite.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef fq_status writer(const fq_report *report, fq_buffer *out);

static fq_report *open_runs(size_t n, const char *const *folders) {
    fq_report *report;
    FQ_ASSERT_OK(fq_report_create(&report, folders, n));
    return report;
}

/* What a writer writes, as a string; the caller frees it. */
static char *written(const fq_report *report, writer *write) {
    fq_buffer out = {0};
    FQ_ASSERT_OK(write(report, &out));
    fq_put_u8(&out, 0);
    CU_ASSERT_FALSE_FATAL(out.failed);
    CU_ASSERT_EQUAL(strlen((char *)out.data), out.size - 1);
    return (char *)out.data;
}

static const char *write_run(const char *folder, const char *name, const char *robustness,
                             uint64_t seed, uint32_t rounds, double loss_per_bit,
                             const char *settings) {
    const char *path = fq_test_path(folder);
    fake_run_write(&(fake_run){.folder = path,
                               .name = name,
                               .label = "",
                               .robustness = robustness,
                               .seed = seed,
                               .rounds = rounds,
                               .every = 2,
                               .loss_per_bit = loss_per_bit,
                               .settings = settings});
    return path;
}

/* fedavg with two seeds, and mqat with one. */
static fq_report *three_runs(void) {
    const char *folders[] = {
        write_run("a1", "demo", "", 1, 10, 0.5,
                  "seed: 1\nname: demo\ntrain: {robustness: [], rate: 0.1}\n"),
        write_run("a2", "demo", "", 2, 10, 0.5,
                  "seed: 2\nname: demo\ntrain: {robustness: [], rate: 0.1}\n"),
        write_run("b1", "demo", "mqat", 1, 10, 0.0,
                  "seed: 1\nname: demo\ntrain: {robustness: [mqat], rate: 0.1}\n"),
    };
    return open_runs(3, folders);
}

static json_t *parse(const char *text) {
    json_error_t error;
    json_t      *document = json_loads(text, 0, &error);
    if (document == NULL)
        fprintf(stderr, "%s at %d\n", error.text, error.position);
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
    return document;
}

static const char *text_of(json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static double number_of(json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void test_json(void) {
    fq_report *report = three_runs();
    char      *text = written(report, fq_report_json);
    json_t    *document = parse(text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "[0.21,")); /* and not 0.20999999999999999 */
    CU_ASSERT_STRING_EQUAL(text_of(document, "format"), "fedq-report");
    CU_ASSERT_EQUAL(number_of(document, "version"), 1);
    json_t *runs = json_object_get(document, "runs"), *run = json_array_get(runs, 1);
    CU_ASSERT_EQUAL(json_array_size(runs), 3);
    CU_ASSERT_STRING_EQUAL(text_of(run, "method"), "fedavg");
    CU_ASSERT_EQUAL(number_of(run, "seed"), 2);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(json_object_get(run, "rounds"), "loss")), 10);
    json_t *evaluation = json_object_get(run, "evaluation");
    CU_ASSERT_EQUAL(json_array_size(evaluation), 7);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(json_array_get(evaluation, 0), "accuracy")), 5);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(run, "tensors")), 5);
    CU_ASSERT_TRUE(strstr(text_of(run, "settings"), "rate: 0.1") != NULL);

    /* The headline: two methods, mean and sample deviation of the last figures. */
    json_t *headline = json_object_get(document, "headline"),
           *rows = json_object_get(headline, "rows");
    json_t *columns = json_object_get(headline, "columns");
    CU_ASSERT_EQUAL(json_array_size(columns), 7);
    CU_ASSERT_STRING_EQUAL(text_of(json_array_get(columns, 0), "name"), "float");
    CU_ASSERT_STRING_EQUAL(text_of(json_array_get(columns, 6), "name"), "2");
    CU_ASSERT_EQUAL_FATAL(json_array_size(rows), 2);
    CU_ASSERT_STRING_EQUAL(text_of(json_array_get(rows, 1), "method"), "fedavg + mqat");
    double last[2];
    for (size_t s = 0; s < 2; s++) {
        json_t *series = json_array_get(json_object_get(json_array_get(runs, s), "evaluation"), 6);
        CU_ASSERT_EQUAL(number_of(series, "weight_bits"), 2);
        last[s] = json_number_value(json_array_get(json_object_get(series, "accuracy"), 4));
    }
    json_t *cell = json_array_get(json_object_get(json_array_get(rows, 0), "accuracy"), 6);
    CU_ASSERT_DOUBLE_EQUAL(number_of(cell, "mean"), (last[0] + last[1]) / 2, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(number_of(cell, "sd"), fabs(last[0] - last[1]) / sqrt(2), 1e-15);
    CU_ASSERT_EQUAL(number_of(cell, "n"), 2);
    /* 10 clients x 61900 bytes, and 100 per seed */
    CU_ASSERT_DOUBLE_EQUAL(number_of(json_object_get(json_array_get(rows, 0), "bytes_up"), "mean"),
                           619000 + 150, 1e-9);
    json_decref(document);
    free(text);
    fq_report_destroy(&report);
    fq_report_destroy(&report);
}

static size_t count(const char *text, char c) {
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == c;
    return n;
}

static void test_csv(void) {
    fq_report *report = three_runs();
    char      *text = written(report, fq_report_csv);
    CU_ASSERT_EQUAL(strncmp(text, "run,name,method,seed,round,rule,weight_bits,", 44), 0);
    CU_ASSERT_EQUAL(count(text, '\n'), 1 + 3 * 5 * 7);
    size_t commas = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        commas = commas == 0 ? count(line, ',') : commas;
        CU_ASSERT_EQUAL(count(line, ','), commas);
    }
    CU_ASSERT_EQUAL(commas, 15);
    free(text);
    fq_report_destroy(&report);
}

static void test_csv_quotes(void) {
    const char *folder = write_run("q", "a \"b\", c", "kure", 1, 2, 0.1, NULL);
    fq_report  *report = open_runs(1, &folder);
    char       *text = written(report, fq_report_csv);
    CU_ASSERT_TRUE(strstr(text, ",\"a \"\"b\"\", c\",fedavg + kure,1,2,none,32,32,") != NULL);
    free(text);
    fq_report_destroy(&report);
}

static void test_table(void) {
    fq_report *report = three_runs();
    char      *text = written(report, fq_report_table);
    char *first = strtok(text, "\n"), *second = strtok(NULL, "\n"), *third = strtok(NULL, "\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(third);
    CU_ASSERT_PTR_NULL(strtok(NULL, "\n"));
    CU_ASSERT_EQUAL(strncmp(first, "method        ", 14), 0);
    CU_ASSERT_TRUE(strstr(first, "float") < strstr(first, " 8"));
    CU_ASSERT_STRING_EQUAL(first + strlen(first) - 4, "area");
    CU_ASSERT_EQUAL(strncmp(second, "fedavg   ", 9), 0);
    CU_ASSERT_EQUAL(strncmp(third, "fedavg + mqat  ", 15), 0);
    CU_ASSERT_TRUE(strstr(second, "+-") != NULL);
    CU_ASSERT_PTR_NULL(strstr(third, "+-")); /* one seed */
    CU_ASSERT_EQUAL(strlen(first), strlen(second));
    CU_ASSERT_EQUAL(strlen(first), strlen(third));
    free(text);
    fq_report_destroy(&report);
}

/* Methods that share a name are told apart by the settings in which they differ, seeds are not. */
static void test_method_names(void) {
    static const struct {
        const char *folder, *name, *settings, *expected;
        uint64_t    seed;
    } runs[] = {
        {"n1", "x", "seed: 1\nname: x\ntrain: {rate: 0.1, qat: {bits: 4}}\n",
         "fedavg + qat, train.qat.bits=4", 1},
        {"n2", "x", "seed: 2\nname: x\ntrain: {rate: 0.1, qat: {bits: 4}}\n",
         "fedavg + qat, train.qat.bits=4", 2},
        {"n3", "x", "seed: 1\nname: x\ntrain: {rate: 0.1, qat: {bits: 2}}\n",
         "fedavg + qat, train.qat.bits=2", 1},
        {"n4", "y", "seed: 1\nname: y\ntrain: {rate: 0.1, qat: {bits: 2}}\n", "fedavg + qat, y", 1},
    };
    const char *folders[4];
    char        paths[4][512];
    for (size_t i = 0; i < 4; i++) {
        snprintf(
            paths[i], sizeof paths[i], "%s",
            write_run(runs[i].folder, runs[i].name, "qat", runs[i].seed, 2, 0.1, runs[i].settings));
        folders[i] = paths[i];
    }
    fq_report *report = open_runs(4, folders);
    char      *text = written(report, fq_report_json);
    json_t    *document = parse(text);
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_STRING_EQUAL(
            text_of(json_array_get(json_object_get(document, "runs"), i), "method"),
            runs[i].expected);
    json_decref(document);
    free(text);
    fq_report_destroy(&report);
}

/* A label of a sweep is the name; two runs that nothing tells apart but the folder are one method.
 */
static void test_labels(void) {
    const char *folder = fq_test_path("labelled");
    fake_run    run = {.folder = folder,
                       .name = "x",
                       .label = "careful",
                       .robustness = "mqat",
                       .seed = 1,
                       .rounds = 4,
                       .every = 2,
                       .quantized_activations = 1};
    fake_run_write(&run);
    fq_report *report = open_runs(2, (const char *const[]){folder, folder});
    char      *text = written(report, fq_report_table);
    CU_ASSERT_TRUE(strstr(text, "\ncareful ") != NULL);
    CU_ASSERT_TRUE(strstr(text, " 4/8 ") != NULL);
    CU_ASSERT_EQUAL(count(text, '\n'), 2);
    free(text);
    fq_report_destroy(&report);
}

/* Figures with changed steps are data of a run, but no rows and no columns of the headline. */
static void test_changed_steps(void) {
    const char *folder = fq_test_path("steps");
    fake_run    run = {.folder = folder,
                       .name = "x",
                       .label = "",
                       .robustness = "mqat",
                       .seed = 1,
                       .rounds = 4,
                       .every = 2,
                       .changed_steps = 1};
    fake_run_write(&run);
    fq_report *report = open_runs(1, &folder);
    char      *table = written(report, fq_report_table), *text = written(report, fq_report_json);
    CU_ASSERT_EQUAL(count(table, '\n'), 2);
    CU_ASSERT_PTR_NULL(strstr(table, "ranges"));
    CU_ASSERT_PTR_NULL(strstr(table, "mse*"));
    json_t *document = parse(text), *headline = json_object_get(document, "headline");
    CU_ASSERT_EQUAL(json_array_size(json_object_get(headline, "rows")), 1);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(headline, "columns")), 7);
    json_t *evaluation =
        json_object_get(json_array_get(json_object_get(document, "runs"), 0), "evaluation");
    CU_ASSERT_EQUAL(json_array_size(evaluation), 7 + 5 * 6);
    CU_ASSERT_STRING_EQUAL(text_of(json_array_get(evaluation, 36), "rule"), "mse~2^k");
    json_decref(document);
    free(table);
    free(text);
    fq_report_destroy(&report);
}

/* Whatever is in a page's script elements ends there, and nothing is asked for from elsewhere. */
static void test_page(void) {
    const char *folder = write_run("evil", "</script><script>alert(1)</script><!--", "mqat", 1, 4,
                                   0.1, "name: \"</SCRIPT>\"\n");
    fq_report  *report = open_runs(1, &folder);
    char       *page = written(report, fq_report_page);
    CU_ASSERT_PTR_NULL(strstr(page, "alert(1)</script>"));
    CU_ASSERT_PTR_NULL(strstr(page, "</SCRIPT>"));
    CU_ASSERT_PTR_NULL(strstr(page, "<!--"));
    CU_ASSERT_TRUE(strstr(page, "Chart.js v") != NULL);
    CU_ASSERT_PTR_NULL(strstr(page, "/*DATA*/"));
    CU_ASSERT_PTR_NULL(strstr(page, "/*CHART_JS*/"));
    static const char *const outside[] = {"src=", "<link", "@import", "url(", "sourceMappingURL"};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        const char *found = strstr(page, outside[i]);
        if (found != NULL)
            fprintf(stderr, "the page has \"%.60s\"\n", found);
        CU_ASSERT_PTR_NULL(found);
    }
    /* The data reads back. */
    char *data = strstr(page, "type=\"application/json\">");
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    data = strchr(data, '>') + 1;
    char *end = strstr(data, "</script>");
    CU_ASSERT_PTR_NOT_NULL_FATAL(end);
    *end = '\0';
    json_t *document = parse(data);
    json_t *run = json_array_get(json_object_get(document, "runs"), 0);
    CU_ASSERT_STRING_EQUAL(text_of(run, "name"), "</script><script>alert(1)</script><!--");
    json_decref(document);
    free(page);
    fq_report_destroy(&report);
}

/* Without data, the place of the data is empty. */
static void test_live_page(void) {
    char *page = written(NULL, fq_report_page);
    CU_ASSERT_TRUE(strstr(page, "type=\"application/json\"></script>") != NULL);
    CU_ASSERT_TRUE(strstr(page, "ask(\"api/status\")") != NULL);
    CU_ASSERT_TRUE(strstr(page, "ask(\"api/run\")") != NULL);
    free(page);
}

static void test_nothing_evaluated(void) {
    const char *folder = fq_test_path("early");
    fake_run    run = {
           .folder = folder, .name = "x", .label = "", .robustness = "", .seed = 1, .rounds = 3};
    fake_run_write(&run);
    fq_report *report = open_runs(1, &folder);
    writer    *writers[] = {fq_report_table, fq_report_csv, fq_report_json, fq_report_page};
    for (size_t i = 0; i < 4; i++) {
        char *text = written(report, writers[i]);
        CU_ASSERT_TRUE(strlen(text) > 0);
        free(text);
    }
    char *text = written(report, fq_report_table);
    CU_ASSERT_TRUE(strstr(text, "fedavg") != NULL && strstr(text, " -") != NULL);
    free(text);
    fq_report_destroy(&report);
    run.rounds = 0;
    fake_run_write(&run);
    report = open_runs(1, &folder);
    free(written(report, fq_report_page));
    free(written(report, fq_report_table));
    fq_report_destroy(&report);
    report = open_runs(0, NULL);
    free(written(report, fq_report_json));
    fq_report_destroy(&report);
}

static void test_text_that_is_no_utf8(void) {
    const char *folder = write_run("latin", "caf\xe9", "", 1, 2, 0.1, "name: \"\xff\"\n");
    fq_report  *report = open_runs(1, &folder);
    char       *text = written(report, fq_report_json);
    json_t     *document = parse(text);
    CU_ASSERT_STRING_EQUAL(text_of(json_array_get(json_object_get(document, "runs"), 0), "name"),
                           "caf?");
    json_decref(document);
    free(text);
    fq_report_destroy(&report);
}

static void test_no_run(void) {
    fq_report  *report;
    const char *nowhere = fq_test_path("nowhere"), *folder = fq_test_folder();
    FQ_ASSERT_FAILS(fq_report_create(&report, &nowhere, 1), FQ_EIO, "nowhere: No such file");
    CU_ASSERT_PTR_NULL(report);
    FQ_ASSERT_FAILS(fq_report_create(&report, &folder, 1), FQ_EIO, "has no run.db");
    const char *file = fq_test_path("picture.png");
    fq_test_write(file, "not a database, but long enough to be read as one, one would think", 66);
    FQ_ASSERT_FAILS(fq_report_create(&report, &file, 1), FQ_EPROTO, "picture.png");
}

static void test_database_by_name(void) {
    write_run("byname", "x", "", 1, 2, 0.1, "name: x\n");
    const char *file = fq_test_path("byname/run.db");
    fq_report  *report = open_runs(1, &file);
    char       *text = written(report, fq_report_json);
    CU_ASSERT_TRUE(strstr(text, "byname\",") != NULL);
    CU_ASSERT_TRUE(strstr(text, "\"settings\":\"name: x\\n\"") != NULL);
    free(text);
    fq_report_destroy(&report);
}

int main(void) {
    static const fq_case cases[] = {
        {"JSON reads back", test_json},
        {"CSV has its columns", test_csv},
        {"CSV quotes", test_csv_quotes},
        {"the table for terminals", test_table},
        {"methods are told apart", test_method_names},
        {"labels of a sweep", test_labels},
        {"changed steps", test_changed_steps},
        {"the page is closed in itself", test_page},
        {"the page without data", test_live_page},
        {"runs without figures", test_nothing_evaluated},
        {"text that is not UTF-8", test_text_that_is_no_utf8},
        {"what is not a run", test_no_run},
        {"a database by its name", test_database_by_name},
        {NULL, NULL},
    };
    return fq_run_suite("report", cases);
}

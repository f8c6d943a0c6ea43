/* A report as one JSON document. */
#include "report/report_impl.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT_VERSION = 1 };

/* jansson's constructors give NULL when there is no memory, its setters take NULL as a failure: one
 * count of failures for a whole document. */
typedef struct builder {
    size_t failures;
} builder;

static void set(builder *b, json_t *object, const char *key, json_t *value) {
    b->failures += json_object_set_new(object, key, value) != 0;
}

static void append(builder *b, json_t *array, json_t *value) {
    b->failures += json_array_append_new(array, value) != 0;
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *integer(uint64_t value) {
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

/* Text from files and command lines need not be UTF-8; then only its ASCII part is kept. */
static json_t *text(const char *from) {
    json_t *value = json_string(from);
    if (value != NULL)
        return value;
    char *ascii = strdup(from);
    if (ascii == NULL)
        return NULL;
    for (char *at = ascii; *at != '\0'; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    value = json_string(ascii);
    free(ascii);
    return value;
}

/* ---- a run ---- */

/* Columns rather than rows: a third of the size, and what charts want. */
static json_t *rounds_json(builder *b, const fq_report_run *run) {
    json_t *out = json_object();
#define COLUMN(member, make)                                                                       \
    do {                                                                                           \
        json_t *column = json_array();                                                             \
        for (size_t i = 0; i < run->n_rounds; i++)                                                 \
            append(b, column, make(run->rounds[i].member));                                        \
        set(b, out, #member, column);                                                              \
    } while (0)
    COLUMN(round, integer);
    COLUMN(n_asked, integer);
    COLUMN(n_accepted, integer);
    COLUMN(n_refused, integer);
    COLUMN(loss, number);
    COLUMN(drift, number);
    COLUMN(update_norm, number);
    COLUMN(bytes_up_raw, integer);
    COLUMN(bytes_up, integer);
    COLUMN(bytes_down_raw, integer);
    COLUMN(bytes_down, integer);
    COLUMN(seconds_train, number);
    COLUMN(seconds_close, number);
    COLUMN(seconds_evaluate, number);
    COLUMN(seconds_save, number);
#undef COLUMN
    return out;
}

static bool same_setting(const fq_figure *a, const fq_figure *b) {
    return a->weight_bits == b->weight_bits && a->activation_bits == b->activation_bits &&
           strcmp(a->rule, b->rule) == 0;
}

/* All rounds of one setting, the one of figure number `first`. */
static json_t *series_json(builder *b, const fq_report_run *run, size_t first) {
    const fq_figure *setting = &run->figures[first].figure;
    json_t          *out = json_object(), *round = json_array(), *accuracy = json_array();
    json_t          *loss = json_array(), *noise = json_array();
    for (size_t i = first; i < run->n_figures; i++) {
        const fq_figure *figure = &run->figures[i].figure;
        if (!same_setting(figure, setting))
            continue;
        append(b, round, integer(run->figures[i].round));
        append(b, accuracy, number(figure->accuracy));
        append(b, loss, number(figure->loss));
        append(b, noise, number(figure->noise));
    }
    set(b, out, "rule", text(setting->rule));
    set(b, out, "weight_bits", json_integer(setting->weight_bits));
    set(b, out, "activation_bits", json_integer(setting->activation_bits));
    set(b, out, "bits_per_weight", number(setting->step_bits));
    set(b, out, "round", round);
    set(b, out, "accuracy", accuracy);
    set(b, out, "loss", loss);
    set(b, out, "noise", noise);
    return out;
}

static json_t *evaluation_json(builder *b, const fq_report_run *run) {
    json_t *out = json_array();
    for (size_t i = 0; i < run->n_figures; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = same_setting(&run->figures[k].figure, &run->figures[i].figure);
        if (!seen)
            append(b, out, series_json(b, run, i));
    }
    return out;
}

/* Kurtosis and deviation over all rounds, the histogram of the last. */
static json_t *tensor_json(builder *b, const fq_report_run *run, size_t first) {
    const fq_tensor_figure *last = &run->tensors[first].figure;
    json_t                 *out = json_object(), *round = json_array(), *kurtosis = json_array();
    json_t                 *std = json_array(), *histogram = json_array();
    for (size_t i = first; i < run->n_tensors; i++) {
        if (strcmp(run->tensors[i].figure.name, last->name) != 0)
            continue;
        last = &run->tensors[i].figure;
        append(b, round, integer(run->tensors[i].round));
        append(b, kurtosis, number(last->kurtosis));
        append(b, std, number(last->std));
    }
    for (size_t i = 0; i < sizeof last->histogram / sizeof *last->histogram; i++)
        append(b, histogram, integer(last->histogram[i]));
    set(b, out, "name", text(last->name));
    set(b, out, "count", integer(last->count));
    set(b, out, "round", round);
    set(b, out, "kurtosis", kurtosis);
    set(b, out, "std", std);
    set(b, out, "low", number(last->low));
    set(b, out, "high", number(last->high));
    set(b, out, "histogram", histogram);
    return out;
}

static json_t *tensors_json(builder *b, const fq_report_run *run) {
    json_t *out = json_array();
    for (size_t i = 0; i < run->n_tensors; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(run->tensors[k].figure.name, run->tensors[i].figure.name) == 0;
        if (!seen)
            append(b, out, tensor_json(b, run, i));
    }
    return out;
}

static json_t *run_json(builder *b, const fq_report *report, const fq_report_run *run) {
    const fq_run_row *row = &run->row;
    json_t           *out = json_object();
    set(b, out, "folder", text(run->folder));
    set(b, out, "method", text(report->methods[run->method].name));
    set(b, out, "name", text(row->name));
    set(b, out, "label", text(row->label));
    set(b, out, "seed", integer(row->seed));
    set(b, out, "status", text(row->status));
    set(b, out, "model", text(row->model));
    set(b, out, "dataset", text(row->dataset));
    set(b, out, "algorithm", text(row->algorithm));
    set(b, out, "robustness", text(row->robustness));
    set(b, out, "clients", integer(row->clients));
    set(b, out, "parameters", integer(row->parameters));
    set(b, out, "version", text(row->version));
    set(b, out, "build", text(row->build));
    set(b, out, "machine", text(row->machine));
    set(b, out, "command", text(row->command));
    set(b, out, "started", text(row->started));
    set(b, out, "settings_hash", text(row->settings_hash));
    set(b, out, "final_hash", text(row->final_hash));
    set(b, out, "model_bytes", integer(run->model_bytes));
    set(b, out, "settings", text(run->settings));
    set(b, out, "rounds", rounds_json(b, run));
    set(b, out, "evaluation", evaluation_json(b, run));
    set(b, out, "tensors", tensors_json(b, run));
    return out;
}

/* ---- the headline ---- */

static json_t *spread_json(builder *b, fq_spread spread) {
    if (spread.n == 0)
        return json_null();
    json_t *out = json_object();
    set(b, out, "mean", number(spread.mean));
    set(b, out, "sd", number(spread.sd));
    set(b, out, "n", integer(spread.n));
    return out;
}

static json_t *row_json(builder *b, const fq_report *report, const fq_headline *headline,
                        const fq_headline_row *row) {
    json_t *out = json_object(), *cells = json_array();
    for (size_t c = 0; c < headline->n_columns; c++)
        append(b, cells, spread_json(b, row->cells[c]));
    set(b, out, "method", text(report->methods[row->method].name));
    set(b, out, "rule", text(row->rule));
    set(b, out, "round", integer(row->round));
    set(b, out, "accuracy", cells);
    set(b, out, "mean", spread_json(b, row->mean));
    set(b, out, "worst", spread_json(b, row->worst));
    set(b, out, "area", spread_json(b, row->area));
    set(b, out, "bytes_up", spread_json(b, row->up));
    set(b, out, "bytes_down", spread_json(b, row->down));
    return out;
}

static json_t *headline_json(builder *b, const fq_report *report, const fq_headline *headline) {
    json_t *out = json_object(), *columns = json_array(), *rows = json_array();
    for (size_t c = 0; c < headline->n_columns; c++) {
        char    name[32];
        json_t *column = json_object();
        fq_column_name(headline->columns[c], name, sizeof name);
        set(b, column, "name", text(name));
        set(b, column, "weight_bits", json_integer(headline->columns[c].weight_bits));
        set(b, column, "activation_bits", json_integer(headline->columns[c].activation_bits));
        append(b, columns, column);
    }
    for (size_t r = 0; r < headline->n_rows; r++)
        append(b, rows, row_json(b, report, headline, &headline->rows[r]));
    set(b, out, "columns", columns);
    set(b, out, "rows", rows);
    return out;
}

/* ---- the document ---- */

static int put_chunk(const char *chunk, size_t size, void *context) {
    fq_put_bytes(context, chunk, size);
    return 0;
}

/* In JSON these characters stand only inside strings, where an escape means the same. So no text
 * can end the script element, or open a comment in it. */
static int put_html_chunk(const char *chunk, size_t size, void *context) {
    for (size_t i = 0; i < size; i++)
        if (chunk[i] == '<')
            fq_put_bytes(context, "\\u003c", 6);
        else
            fq_put_u8(context, (uint8_t)chunk[i]);
    return 0;
}

fq_status fq_report_dump(const fq_report *report, size_t digits, bool inside_html, fq_buffer *out) {
    fq_headline headline;
    FQ_TRY(fq_headline_init(&headline, report));
    builder b = {0};
    json_t *document = json_object(), *runs = json_array();
    for (size_t r = 0; r < report->n_runs; r++)
        append(&b, runs, run_json(&b, report, &report->runs[r]));
    set(&b, document, "format", text("fedq-report"));
    set(&b, document, "version", json_integer(FORMAT_VERSION));
    set(&b, document, "headline", headline_json(&b, report, &headline));
    set(&b, document, "runs", runs);
    fq_headline_fini(&headline);
    if (b.failures == 0)
        b.failures += json_dump_callback(document, inside_html ? put_html_chunk : put_chunk, out,
                                         JSON_COMPACT | JSON_REAL_PRECISION(digits)) != 0;
    json_decref(document);
    return b.failures > 0 || out->failed ? fq_fail(FQ_ENOMEM, "no memory for a report") : FQ_OK;
}

fq_status fq_report_json(const fq_report *report, fq_buffer *out) {
    FQ_TRY(
        fq_report_dump(report, 15, false, out)); /* what a double holds for sure: 0.35 stays 0.35 */
    fq_put_u8(out, '\n');
    return out->failed ? fq_fail(FQ_ENOMEM, "no memory for a report") : FQ_OK;
}

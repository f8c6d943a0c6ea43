/* The headline: accuracy by method and bit-width, mean and spread over seeds. */
#include "report/report_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures of a method ---- */

static void add_value(double value, double *values, size_t *n) {
    if (isfinite(value))
        values[(*n)++] = value;
}

static fq_spread spread_of(const double *values, size_t n) {
    fq_spread spread = {.n = n};
    double    squares = 0;
    for (size_t i = 0; i < n; i++)
        spread.mean += values[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (values[i] - spread.mean) * (values[i] - spread.mean);
    if (n > 1)
        spread.sd = sqrt(squares / (double)(n - 1));
    return spread;
}

static bool is_cell(const fq_figure *figure, fq_headline_column column, const char *rule) {
    return figure->weight_bits == column.weight_bits &&
           figure->activation_bits == column.activation_bits &&
           (column.weight_bits == FQ_FLOAT_BITS || strcmp(figure->rule, rule) == 0);
}

/* `values` [n_runs] is scratch. */
static fq_spread cell(const fq_report *report, const fq_headline_row *row,
                      fq_headline_column column, double *values) {
    size_t n = 0;
    for (size_t r = 0; r < report->n_runs; r++) {
        size_t                  n_last;
        const fq_report_figure *last = fq_report_last(&report->runs[r], &n_last);
        for (size_t i = 0; report->runs[r].method == row->method && i < n_last; i++)
            if (is_cell(&last[i].figure, column, row->rule))
                add_value(last[i].figure.accuracy, values, &n);
    }
    return spread_of(values, n);
}

static bool summarize(const fq_report_run *run, const char *rule, fq_bits_summary *out) {
    fq_figure               figures[FQ_MAX_FIGURES];
    size_t                  n;
    const fq_report_figure *last = fq_report_last(run, &n);
    n = n < FQ_MAX_FIGURES ? n : FQ_MAX_FIGURES;
    for (size_t i = 0; i < n; i++)
        figures[i] = last[i].figure;
    return fq_bits_summarize(figures, n, rule, out);
}

static void fill_summary(const fq_report *report, fq_headline_row *row, double *values) {
    double *mean = values, *worst = values + report->n_runs, *area = values + 2 * report->n_runs;
    size_t  n = 0;
    for (size_t r = 0; r < report->n_runs; r++) {
        fq_bits_summary summary;
        if (report->runs[r].method != row->method ||
            !summarize(&report->runs[r], row->rule, &summary))
            continue;
        mean[n] = summary.mean;
        worst[n] = summary.worst;
        area[n] = summary.area;
        n++;
    }
    row->mean = spread_of(mean, n);
    row->worst = spread_of(worst, n);
    row->area = spread_of(area, n);
}

static void fill_bytes(const fq_report *report, fq_headline_row *row, double *values) {
    double *up = values, *down = values + report->n_runs;
    size_t  n = 0;
    for (size_t r = 0; r < report->n_runs; r++) {
        const fq_report_run *run = &report->runs[r];
        if (run->method != row->method || run->n_rounds == 0)
            continue;
        up[n] = (double)fq_report_bytes_up(run, UINT32_MAX) / (double)run->n_rounds;
        down[n] = (double)fq_report_bytes_down(run, UINT32_MAX) / (double)run->n_rounds;
        n++;
    }
    row->up = spread_of(up, n);
    row->down = spread_of(down, n);
}

static void fill_row(const fq_report *report, const fq_headline *headline, fq_headline_row *row,
                     double *values) {
    for (size_t c = 0; c < headline->n_columns; c++)
        row->cells[c] = cell(report, row, headline->columns[c], values);
    fill_summary(report, row, values);
    fill_bytes(report, row, values);
    for (size_t r = 0; r < report->n_runs; r++) {
        size_t                  n;
        const fq_report_figure *last = fq_report_last(&report->runs[r], &n);
        if (report->runs[r].method == row->method && n > 0 && last->round > row->round)
            row->round = last->round;
    }
}

/* ---- which columns and rows there are ---- */

static bool comes_before(fq_headline_column a, fq_headline_column b) {
    if (a.activation_bits != b.activation_bits)
        return a.activation_bits > b.activation_bits;
    return a.weight_bits > b.weight_bits;
}

static void add_column(fq_headline *headline, fq_headline_column fresh) {
    size_t at = 0;
    while (at < headline->n_columns && comes_before(headline->columns[at], fresh))
        at++;
    bool known = at < headline->n_columns && !comes_before(fresh, headline->columns[at]);
    if (known || headline->n_columns == FQ_MAX_COLUMNS)
        return;
    memmove(&headline->columns[at + 1], &headline->columns[at],
            (headline->n_columns++ - at) * sizeof *headline->columns);
    headline->columns[at] = fresh;
}

static void find_columns(const fq_report *report, fq_headline *headline) {
    for (size_t r = 0; r < report->n_runs; r++) {
        size_t                  n;
        const fq_report_figure *last = fq_report_last(&report->runs[r], &n);
        for (size_t i = 0; i < n; i++)
            add_column(headline, (fq_headline_column){last[i].figure.weight_bits,
                                                      last[i].figure.activation_bits});
    }
}

static fq_status add_row(fq_headline *headline, size_t method, const char *rule) {
    for (size_t i = 0; i < headline->n_rows; i++)
        if (headline->rows[i].method == method && strcmp(headline->rows[i].rule, rule) == 0)
            return FQ_OK;
    fq_headline_row *rows = realloc(headline->rows, (headline->n_rows + 1) * sizeof *rows);
    if (rows == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a table of %zu rows", headline->n_rows + 1);
    headline->rows = rows;
    rows[headline->n_rows] = (fq_headline_row){.method = method};
    snprintf(rows[headline->n_rows++].rule, FQ_RULE_BYTES, "%s", rule);
    return FQ_OK;
}

/* A row for each plain rule of the ranges: changed steps would be dozens of rows. One row even for
 * a method that has only float figures, or none. */
static fq_status find_rows(const fq_report *report, fq_headline *headline) {
    for (size_t m = 0; m < report->n_methods; m++) {
        size_t before = headline->n_rows;
        for (size_t r = 0; r < report->n_runs; r++) {
            size_t                  n;
            const fq_report_figure *last = fq_report_last(&report->runs[r], &n);
            for (size_t i = 0; report->runs[r].method == m && i < n; i++)
                if (last[i].figure.weight_bits != FQ_FLOAT_BITS &&
                    fq_rule_is_plain(last[i].figure.rule))
                    FQ_TRY(add_row(headline, m, last[i].figure.rule));
        }
        if (headline->n_rows == before)
            FQ_TRY(add_row(headline, m, "none"));
    }
    for (size_t i = 0; i < headline->n_rows; i++) {
        bool seen = strcmp(headline->rows[i].rule, "none") == 0;
        for (size_t k = 0; k < i; k++)
            seen |= strcmp(headline->rows[i].rule, headline->rows[k].rule) == 0;
        headline->n_rules += !seen;
    }
    return FQ_OK;
}

fq_status fq_headline_init(fq_headline *headline, const fq_report *report) {
    *headline = (fq_headline){0};
    double *values = calloc(3 * report->n_runs + 1, sizeof *values);
    if (values == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a table");
    find_columns(report, headline);
    fq_status status = find_rows(report, headline);
    for (size_t i = 0; status == FQ_OK && i < headline->n_rows; i++)
        fill_row(report, headline, &headline->rows[i], values);
    free(values);
    if (status != FQ_OK)
        fq_headline_fini(headline);
    return status;
}

void fq_headline_fini(fq_headline *headline) {
    free(headline->rows);
    *headline = (fq_headline){0};
}

void fq_column_name(fq_headline_column column, char *out, size_t capacity) {
    char weights[16];
    snprintf(weights, sizeof weights, "%d", column.weight_bits);
    const char *left = column.weight_bits == FQ_FLOAT_BITS ? "float" : weights;
    if (column.activation_bits == FQ_FLOAT_BITS)
        snprintf(out, capacity, "%s", left);
    else
        snprintf(out, capacity, "%s/%d", left, column.activation_bits);
}

/* ---- as text ---- */

enum { CELL_BYTES = 32, RULE_WIDTH = 12 };

static void print(fq_buffer *out, const char *text, size_t width, bool right) {
    size_t used = strlen(text), pad = used < width ? width - used : 0;
    for (size_t i = 0; right && i < pad; i++)
        fq_put_u8(out, ' ');
    fq_put_bytes(out, text, used);
    for (size_t i = 0; !right && i < pad; i++)
        fq_put_u8(out, ' ');
}

/* Percent with one decimal; "+-" in ASCII, so that every terminal keeps the columns. */
static void format(fq_spread spread, char out[CELL_BYTES]) {
    if (spread.n == 0)
        snprintf(out, CELL_BYTES, "-");
    else if (spread.n == 1)
        snprintf(out, CELL_BYTES, "%.1f", 100 * spread.mean);
    else
        snprintf(out, CELL_BYTES, "%.1f+-%.1f", 100 * spread.mean, 100 * spread.sd);
}

static size_t method_width(const fq_report *report) {
    size_t width = strlen("method");
    for (size_t m = 0; m < report->n_methods; m++)
        width = strlen(report->methods[m].name) > width ? strlen(report->methods[m].name) : width;
    return width;
}

static void print_row(const fq_report *report, const fq_headline *headline,
                      const fq_headline_row *row, size_t names, size_t width, fq_buffer *out) {
    char text[CELL_BYTES];
    print(out, report->methods[row->method].name, names, false);
    if (headline->n_rules > 1)
        print(out, row->rule, RULE_WIDTH, true);
    for (size_t c = 0; c < headline->n_columns; c++) {
        format(row->cells[c], text);
        print(out, text, width, true);
    }
    format(row->worst, text);
    print(out, text, width, true);
    format(row->area, text);
    print(out, text, width, true);
    fq_put_u8(out, '\n');
}

fq_status fq_report_table(const fq_report *report, fq_buffer *out) {
    fq_headline headline;
    FQ_TRY(fq_headline_init(&headline, report));
    size_t names = method_width(report), width = 7;
    for (size_t r = 0; r < headline.n_rows; r++)
        for (size_t c = 0; c < headline.n_columns; c++)
            width = headline.rows[r].cells[c].n > 1 ? 12 : width;
    print(out, "method", names, false);
    if (headline.n_rules > 1)
        print(out, "ranges", RULE_WIDTH, true);
    for (size_t c = 0; c < headline.n_columns; c++) {
        char name[CELL_BYTES];
        fq_column_name(headline.columns[c], name, sizeof name);
        print(out, name, width, true);
    }
    print(out, "worst", width, true);
    print(out, "area", width, true);
    fq_put_u8(out, '\n');
    for (size_t r = 0; r < headline.n_rows; r++)
        print_row(report, &headline, &headline.rows[r], names, width, out);
    fq_headline_fini(&headline);
    return out->failed ? fq_fail(FQ_ENOMEM, "no memory for a table") : FQ_OK;
}

/* What the files of report/ share. */
#ifndef FQ_REPORT_REPORT_IMPL_H
#define FQ_REPORT_REPORT_IMPL_H

#include "report/report.h"
#include "store/store.h"

enum { FQ_METHOD_BYTES = 256, FQ_MAX_COLUMNS = 9 * 9 };

typedef struct fq_report_figure {
    uint32_t  round;
    fq_figure figure;
} fq_report_figure;

typedef struct fq_report_tensor {
    uint32_t         round;
    fq_tensor_figure figure;
} fq_report_tensor;

typedef struct fq_report_run {
    char             *folder, *settings; /* settings: YAML text, "" if there is none */
    char             *leaves;            /* "path=value\n" of all settings but the seed */
    uint64_t          model_bytes;       /* of model.fq; 0: none yet */
    fq_run_row        row;
    size_t            method;
    size_t            n_rounds, n_figures, n_tensors;
    fq_round_row     *rounds;
    fq_report_figure *figures; /* by round */
    fq_report_tensor *tensors; /* by round */
} fq_report_run;

typedef struct fq_report_method {
    char   name[FQ_METHOD_BYTES]; /* unique in the report */
    size_t first_run;
} fq_report_method;

struct fq_report {
    size_t            n_runs, n_methods;
    fq_report_run    *runs;
    fq_report_method *methods;
};

/* The figures of the last evaluated round; NULL and *n = 0 if there was none. */
const fq_report_figure *fq_report_last(const fq_report_run *run, size_t *n);
/* The `member` of a row, summed over rounds 1..round. */
uint64_t fq_report_bytes_up(const fq_report_run *run, uint32_t round);
uint64_t fq_report_bytes_down(const fq_report_run *run, uint32_t round);

/* ---- the headline: methods against bit-widths ---- */
typedef struct fq_spread {
    size_t n;        /* runs that have the figure */
    double mean, sd; /* sd of the sample; 0 if n < 2 */
} fq_spread;

typedef struct fq_headline_column {
    int weight_bits, activation_bits;
} fq_headline_column;

typedef struct fq_headline_row {
    size_t    method;
    char      rule[FQ_RULE_BYTES]; /* "none": float only */
    fq_spread cells[FQ_MAX_COLUMNS];
    fq_spread mean, worst, area; /* over the widths of the weights, float activations */
    fq_spread up, down;          /* bytes in a round, all clients */
    uint32_t  round;             /* the last one evaluated, of the run that got furthest */
} fq_headline_row;

typedef struct fq_headline {
    size_t             n_columns, n_rows, n_rules;
    fq_headline_column columns[FQ_MAX_COLUMNS]; /* float first, then falling */
    fq_headline_row   *rows;                    /* by method, then by plain rule */
} fq_headline;

FQ_MUST_CHECK fq_status fq_headline_init(fq_headline *headline, const fq_report *report);
void                    fq_headline_fini(fq_headline *headline);
/* "float", "4", or "4/8" with quantized activations. */
void fq_column_name(fq_headline_column column, char *out, size_t capacity);

/* JSON of a report. `digits` of each real number; `inside_html`: no character that could end a
 * script element. */
FQ_MUST_CHECK fq_status fq_report_dump(const fq_report *report, size_t digits, bool inside_html,
                                       fq_buffer *out);

/* ---- the page, generated from report.html and Chart.js ---- */
extern const unsigned char fq_report_page_bytes[];
extern const size_t        fq_report_page_size;

#endif

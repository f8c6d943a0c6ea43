/* What runs were about: tables, JSON, CSV and a page, from their databases. The page's door to
 * JSON.
 *
 * Runs that differ in nothing but the seed are one method; figures of a method are the mean over
 * its runs, each at its last evaluated round, with the sample standard deviation. Accuracies are
 * shares 0..1 in JSON and CSV, percent in the table and the page. Columns and members are described
 * in docs/run-database.md.
 */
#ifndef FQ_REPORT_REPORT_H
#define FQ_REPORT_REPORT_H

#include "base/bytes.h"
#include "base/status.h"

typedef struct fq_report fq_report;

/* Read runs: folders with a run.db (also of runs that go on), or databases. settings.yaml and
 * model.fq beside it are used if they are there. FQ_EIO and FQ_EPROTO name the path. */
FQ_MUST_CHECK fq_status fq_report_create(fq_report **out, const char *const *runs, size_t n);
void                    fq_report_destroy(fq_report **report);

/* One of the functions below. */
typedef fq_status fq_report_part(const fq_report *report, fq_buffer *out);
/* Make a part of the report, and put it into a file in one step, or on stdout if `path` is NULL. */
FQ_MUST_CHECK fq_status fq_report_put(const fq_report *report, fq_report_part *part,
                                      const char *path);

/* All of these append to `out`; FQ_ENOMEM if that failed. */

/* Accuracy by method and bit-width, aligned for a terminal of any width:
 *     method         float     8     4     2   worst   area */
FQ_MUST_CHECK fq_status fq_report_table(const fq_report *report, fq_buffer *out);
/* One row for each run, evaluated round and figure, after a row of names; RFC 4180, a missing
 * number is empty. */
FQ_MUST_CHECK fq_status fq_report_csv(const fq_report *report, fq_buffer *out);
/* One document, numbers to 15 digits. */
FQ_MUST_CHECK fq_status fq_report_json(const fq_report *report, fq_buffer *out);
/* A page that opens from disk and asks for nothing from elsewhere. NULL: the same page without
 * data, which shows a coordinator: it fetches api/status (server/board.h) each second and api/run
 * (what fq_report_json writes) after each round from where it came. */
FQ_MUST_CHECK fq_status fq_report_page(const fq_report *report, fq_buffer *out);

#endif

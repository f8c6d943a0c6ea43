/* The page: report.html with Chart.js and the data in their places. */
#include "report/report_impl.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static const char place[] = "/*DATA*/";

/* Charts need no more digits than this. */
enum { DIGITS = 7 };

static size_t find_place(void) {
    size_t size = sizeof place - 1;
    for (size_t at = 0; at + size <= fq_report_page_size; at++)
        if (memcmp(fq_report_page_bytes + at, place, size) == 0)
            return at;
    assert(false); /* report.html has the place */
    return 0;
}

fq_status fq_report_page(const fq_report *report, fq_buffer *out) {
    size_t before = find_place(), after = before + sizeof place - 1;
    fq_put_bytes(out, fq_report_page_bytes, before);
    if (report != NULL)
        FQ_TRY(fq_report_dump(report, DIGITS, true, out));
    fq_put_bytes(out, fq_report_page_bytes + after, fq_report_page_size - after);
    return out->failed ? fq_fail(FQ_ENOMEM, "no memory for a report") : FQ_OK;
}

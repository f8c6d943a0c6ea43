#include "sim/output.h"

#include <stdio.h>

#include "base/file.h"
#include "report/report.h"

typedef fq_status part_function(const fq_report *report, fq_buffer *out);

/* Make a part of the report, and put it into a file, or on stdout if `path` is NULL. */
static fq_status put(const fq_report *report, part_function *part, const char *path) {
    fq_buffer text = {0};
    fq_status status = part(report, &text);
    if (status == FQ_OK && path != NULL)
        status = fq_file_replace(path, (fq_cbytes){text.data, text.size}, false);
    else if (status == FQ_OK && fwrite(text.data, 1, text.size, stdout) != text.size)
        status = fq_fail(FQ_EIO, "cannot write the results");
    fq_buffer_fini(&text);
    return status;
}

fq_status fq_sim_output(const fq_cli *cli, const char *const *folders, size_t n, const char *page) {
    fq_report *report = NULL;
    fq_status  status;
    FQ_GO(status, fq_report_create(&report, folders, n));
    FQ_GO(status, put(report, fq_report_page, page));
    if (fq_cli_has(cli, "csv"))
        FQ_GO(status, put(report, fq_report_csv, fq_cli_text(cli, "csv", "")));
    FQ_GO(status, put(report, fq_cli_has(cli, "json") ? fq_report_json : fq_report_table, NULL));
done:
    fq_report_destroy(&report);
    return status;
}

#include "sim/output.h"

#include "base/file.h"
#include "report/report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char CSV_BEGIN[] = "run,name,";

/* A result may replace an earlier one of its kind, which begins alike, and nothing else. */
static fq_status check_replaceable(const char *path, const char *begin) {
    char        found[32] = "";
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return FQ_OK;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return FQ_OK; /* writing will say why */
    size_t n = fread(found, 1, strlen(begin), file);
    fclose(file);
    if (n > 0 && strncmp(found, begin, strlen(begin)) != 0)
        return fq_fail(FQ_ESTATE, "%s is there and is none of our results; name another file",
                       path);
    return FQ_OK;
}

/* The file is replaced as a whole, so its folder must be there and be writable. */
fq_status fq_sim_output_check(const fq_cli *cli) {
    const char *path = fq_cli_text(cli, "csv", NULL);
    char        folder[PATH_MAX] = ".";
    struct stat info;
    if (path == NULL)
        return FQ_OK;
    const char *slash = strrchr(path, '/');
    if (slash != NULL &&
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path) + 1, path) >= PATH_MAX)
        return fq_fail(FQ_EINVAL, "--csv: path too long");
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return fq_fail(FQ_EIO, "--csv: %s is there and is not a regular file", path);
    if (access(folder, W_OK | X_OK) != 0)
        return fq_fail(FQ_EIO, "--csv: cannot write %s: %s", path, strerror(errno));
    return check_replaceable(path, CSV_BEGIN);
}

fq_status fq_sim_output(const fq_cli *cli, const char *const *folders, size_t n, const char *page) {
    fq_report *report = NULL;
    fq_status  status;
    FQ_GO(status, check_replaceable(page, "<!doctype html>"));
    if (fq_cli_has(cli, "csv"))
        FQ_GO(status, check_replaceable(fq_cli_text(cli, "csv", ""), CSV_BEGIN));
    FQ_GO(status, fq_report_create(&report, folders, n));
    FQ_GO(status, fq_report_put(report, fq_report_page, page));
    if (fq_cli_has(cli, "csv"))
        FQ_GO(status, fq_report_put(report, fq_report_csv, fq_cli_text(cli, "csv", "")));
    FQ_GO(status,
          fq_report_put(report, fq_cli_has(cli, "json") ? fq_report_json : fq_report_table, NULL));
done:
    fq_report_destroy(&report);
    return status;
}

fq_status fq_sim_page(const char *const *folders, size_t n, const char *page) {
    fq_report *report = NULL;
    FQ_TRY(fq_report_create(&report, folders, n));
    fq_status status = fq_report_put(report, fq_report_page, page);
    fq_report_destroy(&report);
    return status;
}

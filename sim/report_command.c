#include "base/file.h"
#include "sim/commands.h"
#include "sim/output.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct folder_list {
    size_t n, capacity;
    char **v;
} folder_list;

/* Is this folder, by whatever name, in the list? */
static bool has(const folder_list *list, const char *path) {
    struct stat wanted, other;
    if (stat(path, &wanted) != 0)
        return false;
    for (size_t i = 0; i < list->n; i++)
        if (stat(list->v[i], &other) == 0 && other.st_dev == wanted.st_dev &&
            other.st_ino == wanted.st_ino)
            return true;
    return false;
}

static fq_status append(folder_list *list, const char *path) {
    if (has(list, path))
        return FQ_OK;
    if (list->n == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        char **more = realloc(list->v, capacity * sizeof *more);
        if (more == NULL)
            return fq_fail(FQ_ENOMEM, "no memory for a list of runs");
        list->v = more;
        list->capacity = capacity;
    }
    list->v[list->n] = strdup(path);
    if (list->v[list->n] == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a list of runs");
    list->n++;
    return FQ_OK;
}

static bool holds_run(const char *folder) {
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/run.db", folder) < (int)sizeof path &&
           fq_file_exists(path);
}

/* A run's folder, or a sweep's: then all runs in it, by name. */
static fq_status add_operand(folder_list *list, const char *operand) {
    if (holds_run(operand))
        return append(list, operand);
    struct dirent **entries = NULL;
    int             n = scandir(operand, &entries, NULL, alphasort);
    size_t          before = list->n;
    fq_status       status = FQ_OK;
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX];
        bool fits =
            snprintf(path, sizeof path, "%s/%s", operand, entries[i]->d_name) < (int)sizeof path;
        bool self = strcmp(entries[i]->d_name, ".") == 0 || strcmp(entries[i]->d_name, "..") == 0;
        if (status == FQ_OK && fits && !self && holds_run(path))
            status = append(list, path);
        free(entries[i]);
    }
    free(entries);
    if (status == FQ_OK && list->n == before)
        return fq_fail(FQ_EIO, "%s holds no run (a folder with run.db, or folders with one)",
                       operand);
    return status;
}

int fq_sim_report_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    folder_list list = {0};
    const char *page = fq_cli_text(cli, "output", "report.html");
    fq_status   status = FQ_OK;
    for (size_t i = 0; i < cli->n_operands; i++)
        FQ_GO(status, add_operand(&list, cli->operands[i]));
    FQ_GO(status, fq_sim_output(cli, (const char *const *)list.v, list.n, page));
    if (!fq_cli_has(cli, "json"))
        printf("report: %s\n", page);
done:
    if (status != FQ_OK)
        (void)fq_command_failed(cli, status);
    for (size_t i = 0; i < list.n; i++)
        free(list.v[i]);
    free(list.v);
    return status == FQ_OK ? FQ_EXIT_OK : FQ_EXIT_FAILED;
}

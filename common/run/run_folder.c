#include "base/file.h"
#include "run/run_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

void fq_run_path(const fq_run *run, const char *name, char out[PATH_MAX]) {
    fq_path_join(run->folder, name, out);
}

fq_status fq_run_check_folder(const char *folder, const char *hint) {
    static const char *const files[] = {"checkpoint.fq", "run.db", "model.fq"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[PATH_MAX];
        fq_path_join(folder, files[i], path);
        if (fq_file_exists(path))
            return fq_fail(FQ_ESTATE, "%s already holds a run; %s", folder, hint);
    }
    return FQ_OK;
}

/* Remove all that a run leaves, before anything of the new one is written. */
static fq_status clear_folder(const fq_run *run) {
    static const char *const files[] = {"checkpoint.fq", "checkpoint-synced.fq", "model.fq",
                                        "run.db",        "run.db-wal",           "run.db-shm",
                                        "report.html",   "settings.yaml"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[PATH_MAX];
        fq_run_path(run, files[i], path);
        if (unlink(path) != 0 && errno != ENOENT)
            return fq_fail(FQ_EIO, "cannot remove %s: %s", path, strerror(errno));
    }
    return fq_client_states_remove(run->folder, 0);
}

/* One process at a time in a folder; the lock goes with the process, however it ends. */
fq_status fq_run_take_folder(fq_run *run) {
    FQ_TRY(fq_folder_make(run->folder));
    run->lock = open(run->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run->lock < 0)
        return fq_fail(FQ_EIO, "cannot open folder %s: %s", run->folder, strerror(errno));
    if (flock(run->lock, LOCK_EX | LOCK_NB) != 0)
        return fq_fail(FQ_ESTATE, "%s is in use by another process", run->folder);
    if (run->options.existing == FQ_EXISTING_REFUSE)
        return fq_run_check_folder(run->folder, run->options.hint);
    return run->options.existing == FQ_EXISTING_REPLACE ? clear_folder(run) : FQ_OK;
}

fq_status fq_run_write_settings(const fq_run *run) {
    char path[PATH_MAX];
    fq_run_path(run, "settings.yaml", path);
    fq_buffer yaml = {0};
    fq_status status = fq_experiment_write(run->experiment, &yaml);
    if (status == FQ_OK)
        status = fq_file_replace(path, (fq_cbytes){yaml.data, yaml.size}, false);
    fq_buffer_fini(&yaml);
    return status;
}

/* Takes the first line off a text; false at its end. */
static bool next_line(fq_cbytes *text, fq_cbytes *line) {
    if (text->size == 0)
        return false;
    const unsigned char *end = memchr(text->data, '\n', text->size);
    size_t               length = end == NULL ? text->size : (size_t)(end - text->data);
    *line = (fq_cbytes){text->data, length};
    length += end != NULL;
    *text = (fq_cbytes){text->data + length, text->size - length};
    return true;
}

/* Fails with the first line that differs between settings.yaml of the run and the settings at hand:
 * both are resolved, so their keys come in one order. A key of a section is shown with the
 * section's name before it. */
fq_status fq_run_explain_settings(const fq_run *run) {
    char      path[PATH_MAX];
    fq_cbytes file = {0}, section = {0}, old, now, a, b;
    fq_buffer yaml = {0};
    fq_run_path(run, "settings.yaml", path);
    fq_status status;
    FQ_GO(status, fq_file_read(path, 1 << 20, &file));
    FQ_GO(status, fq_experiment_write(run->experiment, &yaml));
    old = file;
    now = (fq_cbytes){yaml.data, yaml.size};
    while (next_line(&old, &a) && next_line(&now, &b)) {
        if (a.size != b.size || memcmp(a.data, b.data, a.size) != 0) {
            bool inside = a.size > 0 && a.data[0] == ' ';
            while (a.size > 0 && *a.data == ' ')
                a = (fq_cbytes){a.data + 1, a.size - 1};
            while (b.size > 0 && *b.data == ' ')
                b = (fq_cbytes){b.data + 1, b.size - 1};
            FQ_GO(status,
                  fq_fail(FQ_ESTALE, "%s: the run has other settings: %.*s%s'%.*s', here '%.*s'",
                          path, inside ? (int)section.size : 0, (const char *)section.data,
                          inside ? " " : "", (int)a.size, (const char *)a.data, (int)b.size,
                          (const char *)b.data));
        }
        if (a.size > 0 && a.data[0] != ' ')
            section = a;
    }
    status = fq_fail(FQ_ESTALE, "%s: the run has other settings than these", path);
done:
    free((void *)(uintptr_t)file.data);
    fq_buffer_fini(&yaml);
    return status;
}

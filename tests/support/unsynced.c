#include "unsynced.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum kind { BYTES, MADE, REMOVED, RENAMED } kind;

typedef struct change {
    kind           kind;
    dev_t          device; /* of the file, or of the folder that has the name */
    ino_t          inode;
    int            file;         /* BYTES: a descriptor of ours */
    off_t          offset, size; /* of the file as it was */
    unsigned char *old;
    size_t         n_old;
    char          *path, *from; /* from: RENAMED only */
    char          *saved;       /* another name of the file that `path` was; NULL: of none */
} change;

static char    spare_folder[PATH_MAX];
static change *changes; /* oldest first */
static size_t  n_changes;
static long    n_saved;

/* Calls that are steps themselves when a program makes them are made as system calls here. */
static int remove_name(const char *path) {
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
static int rename_now(const char *from, const char *to) {
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static void give_up(const char *what) {
    dprintf(STDERR_FILENO, "unsynced: %s: %s\n", what, strerror(errno));
    abort();
}

void unsynced_begin(const char *spare) {
    if (realpath(spare, spare_folder) == NULL)
        give_up(spare);
}

static char *copy_of(const char *text) {
    char *copy = strdup(text);
    if (copy == NULL)
        give_up("no memory");
    return copy;
}

static change *add(kind what) {
    change *more = realloc(changes, (n_changes + 1) * sizeof *more);
    if (more == NULL)
        give_up("no memory");
    changes = more;
    changes[n_changes] = (change){.kind = what, .file = -1};
    return &changes[n_changes++];
}

/* ---- bytes ---- */
/* A descriptor that outlives the program's own. It is never closed: that would end the locks that
 * the program has on the file. */
static int own_descriptor(int file, const struct stat *info) {
    char name[64];
    for (size_t i = 0; i < n_changes; i++)
        if (changes[i].kind == BYTES && changes[i].device == info->st_dev &&
            changes[i].inode == info->st_ino)
            return changes[i].file;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    int own = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
    if (own < 0)
        give_up(name);
    return own;
}

void unsynced_write(int file, off_t offset, size_t size) {
    struct stat info;
    if (spare_folder[0] == '\0')
        return;
    if (fstat(file, &info) != 0)
        give_up("cannot look at a file");
    int     own = own_descriptor(file, &info);
    off_t   end = offset + (off_t)size;
    change *c = add(BYTES);
    c->device = info.st_dev;
    c->inode = info.st_ino;
    c->file = own;
    c->offset = offset;
    c->size = info.st_size;
    if (end > info.st_size)
        end = info.st_size;
    if (end <= offset)
        return;
    c->n_old = (size_t)(end - offset);
    c->old = malloc(c->n_old);
    if (c->old == NULL || pread(own, c->old, c->n_old, offset) != (ssize_t)c->n_old)
        give_up("cannot keep what a file was");
}

void unsynced_cut(int file, off_t size) {
    struct stat info;
    if (spare_folder[0] != '\0' && fstat(file, &info) == 0)
        unsynced_write(file, size, info.st_size > size ? (size_t)(info.st_size - size) : 0);
}

/* ---- names ---- */
static change *add_name(kind what, const char *path) {
    char        folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat info;
    change     *c = add(what);
    snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - path + 1),
             slash == NULL ? "." : path);
    if (stat(folder, &info) == 0) { /* else the change will fail */
        c->device = info.st_dev;
        c->inode = info.st_ino;
    }
    c->path = copy_of(path);
    return c;
}

static void save(change *c) {
    char name[PATH_MAX + 24];
    snprintf(name, sizeof name, "%s/%ld", spare_folder, ++n_saved);
    if (syscall(SYS_linkat, AT_FDCWD, c->path, AT_FDCWD, name, 0) == 0)
        c->saved = copy_of(name);
    else if (errno != ENOENT)
        give_up(name);
}

void unsynced_make(const char *path) {
    if (spare_folder[0] != '\0')
        add_name(MADE, path);
}
void unsynced_remove(const char *path) {
    if (spare_folder[0] != '\0')
        save(add_name(REMOVED, path));
}
void unsynced_rename(const char *from, const char *to) {
    if (spare_folder[0] == '\0')
        return;
    change *c = add_name(RENAMED, to);
    c->from = copy_of(from);
    save(c);
}

/* ---- what becomes of them ---- */
static void drop(change *c) {
    if (c->saved != NULL)
        (void)remove_name(c->saved);
    free(c->old);
    free(c->path);
    free(c->from);
    free(c->saved);
}

void unsynced_failed(void) {
    if (n_changes > 0)
        drop(&changes[--n_changes]);
}

void unsynced_forget(int file) {
    struct stat info;
    size_t      kept = 0;
    if (spare_folder[0] == '\0' || fstat(file, &info) != 0)
        return;
    for (size_t i = 0; i < n_changes; i++)
        if (changes[i].device == info.st_dev && changes[i].inode == info.st_ino)
            drop(&changes[i]);
        else
            changes[kept++] = changes[i];
    n_changes = kept;
}

static void undo_name(const change *c) {
    if (c->kind == MADE && remove_name(c->path) != 0)
        (void)rmdir(c->path);
    if (c->kind == RENAMED)
        (void)rename_now(c->path, c->from);
    if (c->saved != NULL)
        (void)rename_now(c->saved, c->path);
}

static void undo_bytes(const change *c) {
    if ((c->n_old > 0 && syscall(SYS_pwrite64, c->file, c->old, c->n_old, c->offset) < 0) ||
        syscall(SYS_ftruncate, c->file, c->size) != 0)
        give_up("cannot take back what was written");
}

void unsynced_undo(bool names) {
    while (n_changes > 0) {
        const change *c = &changes[--n_changes];
        if (c->kind == BYTES)
            undo_bytes(c);
        else if (names)
            undo_name(c);
    }
}

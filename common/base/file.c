#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* Opening a folder for reading succeeds and then every read fails; opening a pipe that nobody
 * writes to waits for ever: say so at once instead. A pipe with a writer, <(command) or /dev/stdin,
 * is read if `pipe` is given; it says whether this is one. */
static fq_status open_for_reading(const char *path, int *out, size_t *size, bool *pipe) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return fq_fail(FQ_EIO, "cannot open %s: %s", path, strerror(errno));
    struct stat info;
    bool        known = fstat(file, &info) == 0, fifo = known && S_ISFIFO(info.st_mode);
    if (!known || !(S_ISREG(info.st_mode) || (fifo && pipe != NULL)) ||
        fcntl(file, F_SETFL, O_RDONLY) != 0) {
        close(file);
        return fq_fail(FQ_EIO, "%s is not a regular file", path);
    }
    if (pipe != NULL)
        *pipe = fifo;
    *out = file;
    *size = (size_t)info.st_size;
    return FQ_OK;
}

fq_status fq_file_read(const char *path, size_t limit, fq_cbytes *out) {
    *out = (fq_cbytes){0};
    int    descriptor;
    size_t on_disk;
    bool   pipe;
    FQ_TRY(open_for_reading(path, &descriptor, &on_disk, &pipe));
    gzFile file = gzdopen(descriptor, "rb"); /* passes through what is not gzip */
    if (file == NULL) {
        close(descriptor);
        return fq_fail(FQ_ENOMEM, "no memory to read %s", path);
    }
    gzbuffer(file, 1 << 17);
    unsigned char *data = NULL;
    size_t         size = 0, capacity = on_disk < 4096 ? 4096 : on_disk + 1;
    fq_status      status = FQ_OK;
    for (;;) {
        if (data == NULL || size == capacity) {
            if (data != NULL)
                capacity *= 2;
            if (capacity > limit && limit < SIZE_MAX)
                capacity = limit + 1;
            unsigned char *more = realloc(data, capacity);
            if (more == NULL) {
                status = fq_fail(FQ_ENOMEM, "no memory for %zu bytes of %s", capacity, path);
                break;
            }
            data = more;
        }
        size_t room = capacity - size;
        int    got = gzread(file, data + size, room > INT_MAX ? INT_MAX : (unsigned)room);
        if (got < 0) {
            int         code;
            const char *reason = gzerror(file, &code);
            status = code == Z_ERRNO
                         ? fq_fail(FQ_EIO, "cannot read %s: %s", path, strerror(errno))
                         : fq_fail(FQ_EPROTO, "%s is a damaged gzip file: %s", path, reason);
            break;
        }
        size += (size_t)got;
        if (size > limit) {
            status = fq_fail(FQ_ELIMIT, "%s has more than %zu bytes", path, limit);
            break;
        }
        if (got == 0)
            break;
    }
    int closed = gzclose_r(file);
    if (status == FQ_OK && closed == Z_BUF_ERROR)
        status = fq_fail(FQ_EPROTO, "%s is a damaged gzip file: it ends too early", path);
    if (status == FQ_OK && pipe && size == 0)
        status = fq_fail(FQ_EIO, "%s is a pipe that nobody writes to", path);
    if (status != FQ_OK) {
        free(data);
        return status;
    }
    *out = (fq_cbytes){data, size};
    return FQ_OK;
}

fq_status fq_file_map(const char *path, fq_cbytes *out) {
    *out = (fq_cbytes){0};
    int    descriptor;
    size_t size;
    FQ_TRY(open_for_reading(path, &descriptor, &size, NULL));
    if (size == 0) {
        close(descriptor);
        return fq_fail(FQ_EPROTO, "%s is empty", path);
    }
    void *memory = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    int   reason = errno;
    close(descriptor);
    if (memory == MAP_FAILED)
        return fq_fail(FQ_EIO, "cannot map %s: %s", path, strerror(reason));
    *out = (fq_cbytes){memory, size};
    return FQ_OK;
}

void fq_file_unmap(fq_cbytes *bytes) {
    if (bytes->data != NULL)
        munmap((void *)(uintptr_t)bytes->data, bytes->size);
    *bytes = (fq_cbytes){0};
}

static fq_status write_all(int file, const char *path, fq_cbytes bytes) {
    while (bytes.size > 0) {
        ssize_t written = write(file, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fq_fail(FQ_EIO, "cannot write %s: %s", path, strerror(errno));
        bytes.data += written;
        bytes.size -= (size_t)written;
    }
    return FQ_OK;
}

fq_status fq_file_write_at(int file, const char *path, fq_cbytes bytes, uint64_t at) {
    while (bytes.size > 0) {
        ssize_t written = pwrite(file, bytes.data, bytes.size, (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fq_fail(FQ_EIO, "cannot write %s: %s", path,
                           strerror(written == 0 ? ENOSPC : errno));
        bytes.data += written;
        bytes.size -= (size_t)written;
        at += (uint64_t)written;
    }
    return FQ_OK;
}

fq_status fq_folder_sync_of(const char *path) {
    char        folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0 || fsync(file) != 0) {
        int reason = errno;
        if (file >= 0)
            close(file);
        return fq_fail(FQ_EIO, "cannot sync folder %s: %s", folder, strerror(reason));
    }
    close(file);
    return FQ_OK;
}

/* A device or a pipe is written to, not replaced: it is not ours to take away. */
static fq_status write_special(const char *path, fq_cbytes bytes) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return fq_fail(FQ_EIO, "cannot open %s: %s", path, strerror(errno));
    fq_status status = write_all(file, path, bytes);
    if (close(file) != 0 && status == FQ_OK)
        status = fq_fail(FQ_EIO, "cannot close %s: %s", path, strerror(errno));
    return status;
}

/* The name of a file beside `path`, which is written first. */
static fq_status name_beside(const char *path, char temporary[PATH_MAX]) {
    if (snprintf(temporary, PATH_MAX, "%s.part", path) >= PATH_MAX)
        return fq_fail(FQ_EINVAL, "path too long: %s", path);
    return FQ_OK;
}

/* The caller gives it its name or removes it; after a failure nothing is left. */
static fq_status write_beside(const char *temporary, fq_cbytes bytes, mode_t mode, bool durable) {
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (file < 0)
        return fq_fail(FQ_EIO, "cannot create %s: %s", temporary, strerror(errno));
    fq_status status = write_all(file, temporary, bytes);
    if (status == FQ_OK && durable && fsync(file) != 0)
        status = fq_fail(FQ_EIO, "cannot sync %s: %s", temporary, strerror(errno));
    if (close(file) != 0 && status == FQ_OK)
        status = fq_fail(FQ_EIO, "cannot close %s: %s", temporary, strerror(errno));
    if (status != FQ_OK)
        unlink(temporary);
    return status;
}

fq_status fq_file_replace(const char *path, fq_cbytes bytes, bool durable) {
    char        temporary[PATH_MAX];
    struct stat there;
    if (stat(path, &there) == 0 &&
        (S_ISCHR(there.st_mode) || S_ISBLK(there.st_mode) || S_ISFIFO(there.st_mode)))
        return write_special(path, bytes);
    FQ_TRY(name_beside(path, temporary));
    FQ_TRY(write_beside(temporary, bytes, 0644, durable));
    if (rename(temporary, path) != 0) {
        fq_status status =
            fq_fail(FQ_EIO, "cannot rename %s to %s: %s", temporary, path, strerror(errno));
        unlink(temporary);
        return status;
    }
    return durable ? fq_folder_sync_of(path) : FQ_OK;
}

fq_status fq_file_make(const char *path, fq_cbytes bytes, mode_t mode) {
    char      temporary[PATH_MAX];
    fq_status status = FQ_OK;
    FQ_TRY(name_beside(path, temporary));
    unlink(temporary); /* one that is there already has a mode, and readers, of its own */
    FQ_TRY(write_beside(temporary, bytes, mode, true));
    if (link(temporary, path) != 0)
        status = errno == EEXIST
                     ? fq_fail(FQ_ESTATE, "%s is there already and stays as it is", path)
                     : fq_fail(FQ_EIO, "cannot make %s: %s", path, strerror(errno));
    unlink(temporary);
    return status == FQ_OK ? fq_folder_sync_of(path) : status;
}

bool fq_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

fq_status fq_folder_make(const char *path) {
    char part[PATH_MAX];
    if (path[0] == '\0')
        return fq_fail(FQ_EINVAL, "a folder has no name");
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return fq_fail(FQ_EINVAL, "path too long: %s", path);
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char kept = *at;
        *at = '\0';
        struct stat info;
        if (mkdir(part, 0777) != 0 &&
            !(errno == EEXIST && stat(part, &info) == 0 && S_ISDIR(info.st_mode)))
            return fq_fail(FQ_EIO, "cannot make folder %s: %s", part,
                           strerror(errno == EEXIST ? ENOTDIR : errno));
        if (kept == '\0')
            return FQ_OK;
        *at = kept;
    }
}

uint32_t fq_crc32(fq_cbytes bytes) {
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), bytes.data, bytes.size);
}

void fq_path_join(const char *folder, const char *name, char out[PATH_MAX]) {
    size_t length = strlen(folder), more = strlen(name);
    if (length + more + 2 > PATH_MAX) {
        memset(out, '/', PATH_MAX - 1);
        out[PATH_MAX - 1] = '\0';
        return;
    }
    memcpy(out, folder, length);
    out[length] = '/';
    memcpy(out + length + 1, name, more + 1);
}

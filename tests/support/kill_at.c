/* Kills the program that this library is preloaded into, as `kill -9` would, at a step of its own
 * that is named by number: at a change of its files ("disk"), or at a message sent or received
 * ("wire"). All that the program does to regular files with system calls counts, through SQLite
 * too; its standard streams and what stdio writes do not.
 *
 *   KILL_STEPS  disk (default) or wire
 *   KILL_AT     number of the step, from 1; 0 or unset: none
 *   KILL_HOW    before: the step is not done; torn: half of the bytes are written; after: it is
 *               done, and nothing after it; power: as before, and all is lost that no sync has made
 *               durable; empty: the same, but names of files were written already
 *   KILL_SPARE  with power and empty: an empty folder on the same disk
 *   KILL_LOG    file to which each step is appended: number, kind, file's name */
#include "unsynced.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum moment { BEFORE, TORN, AFTER, POWER, EMPTY } moment;
static const char *const moments[] = {"before", "torn", "after", "power", "empty"};

static struct {
    bool   wire;
    long   at;
    moment how;
    int    log;
    long   number; /* of steps so far */
} plan = {.log = -1};
/* A step ends before the next one begins, whichever thread takes it. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static __attribute__((constructor)) void read_plan(void) {
    const char *steps = getenv("KILL_STEPS"), *at = getenv("KILL_AT"), *how = getenv("KILL_HOW"),
               *log = getenv("KILL_LOG"), *spare = getenv("KILL_SPARE");
    plan.wire = steps != NULL && strcmp(steps, "wire") == 0;
    plan.at = at == NULL ? 0 : strtol(at, NULL, 10);
    for (size_t i = 0; how != NULL && i < sizeof moments / sizeof *moments; i++)
        if (strcmp(how, moments[i]) == 0)
            plan.how = (moment)i;
    if (log != NULL)
        plan.log = (int)syscall(SYS_openat, AT_FDCWD, log,
                                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (spare != NULL && plan.how >= POWER)
        unsynced_begin(spare);
}

static void die(void) {
    if (plan.how >= POWER)
        unsynced_undo(plan.how == POWER);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Begin a step -> whether the program is to die at it. Then `end_step`. */
static bool begin_step(const char *kind, const char *name) {
    pthread_mutex_lock(&one_at_a_time);
    plan.number++;
    char        line[300];
    const char *slash = strrchr(name, '/');
    int         length = snprintf(line, sizeof line, "%ld %s %.200s\n", plan.number, kind,
                          slash == NULL ? name : slash + 1);
    if (plan.log >= 0)
        (void)!syscall(SYS_write, plan.log, line, (size_t)length);
    bool last = plan.number == plan.at;
    if (last && plan.how != TORN && plan.how != AFTER)
        die();
    return last;
}

static void end_step(bool last) {
    int reason = errno;
    if (last)
        die();
    pthread_mutex_unlock(&one_at_a_time);
    errno = reason;
}

/* The end of a step that was announced to unsynced.h. */
static long end_change(bool last, long result) {
    int reason = errno;
    if (result < 0)
        unsynced_failed();
    errno = reason;
    end_step(last);
    return result;
}

/* ---- files ---- */
/* Is it a file of the program's, or a folder -> its name? */
static bool is_file(int file, char name[PATH_MAX]) {
    struct stat info;
    char        link[64];
    if (plan.wire || file <= STDERR_FILENO || fstat(file, &info) != 0 ||
        !(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)))
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    name[length < 0 ? 0 : length] = '\0';
    return true;
}

ssize_t write(int file, const void *bytes, size_t size) {
    char name[PATH_MAX];
    if (!is_file(file, name))
        return syscall(SYS_write, file, bytes, size);
    bool last = begin_step("write", name);
    unsynced_write(file, lseek(file, 0, SEEK_CUR), size);
    return end_change(last,
                      syscall(SYS_write, file, bytes, last && plan.how == TORN ? size / 2 : size));
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
    char name[PATH_MAX];
    if (!is_file(file, name))
        return syscall(SYS_pwrite64, file, bytes, size, offset);
    bool last = begin_step("write", name);
    unsynced_write(file, offset, size);
    return end_change(last, syscall(SYS_pwrite64, file, bytes,
                                    last && plan.how == TORN ? size / 2 : size, offset));
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off_t offset) {
    return pwrite(file, bytes, size, offset);
}

int ftruncate(int file, off_t size) {
    char name[PATH_MAX];
    if (!is_file(file, name))
        return (int)syscall(SYS_ftruncate, file, size);
    bool last = begin_step("cut", name);
    unsynced_cut(file, size);
    return (int)end_change(last, syscall(SYS_ftruncate, file, size));
}
int ftruncate64(int file, off_t size) {
    return ftruncate(file, size);
}

static int sync_with(long call, int file) {
    char name[PATH_MAX];
    if (!is_file(file, name))
        return (int)syscall(call, file);
    bool last = begin_step("sync", name);
    int  result = (int)syscall(call, file);
    if (result == 0)
        unsynced_forget(file);
    end_step(last);
    return result;
}
int fsync(int file) {
    return sync_with(SYS_fsync, file);
}
int fdatasync(int file) {
    return sync_with(SYS_fdatasync, file);
}

/* ---- names ---- */
static long open_now(const char *path, int flags, mode_t mode) {
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* Emptying a file is a step, and so is making one; opening one is none. */
static int open_with(const char *path, int flags, mode_t mode) {
    bool there = faccessat(AT_FDCWD, path, F_OK, 0) == 0;
    if (plan.wire || (flags & (there ? O_TRUNC : O_CREAT)) == 0)
        return (int)open_now(path, flags, mode);
    bool last = begin_step(there ? "cut" : "create", path);
    if (!there) {
        unsynced_make(path);
        return (int)end_change(last, open_now(path, flags, mode));
    }
    int file = (int)open_now(path, flags & ~O_TRUNC, mode);
    if (file >= 0) {
        unsynced_cut(file, 0);
        (void)!syscall(SYS_ftruncate, file, 0);
    }
    end_step(last);
    return file;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_with(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_with(path, flags, mode);
}

int rename(const char *from, const char *to) {
    if (plan.wire)
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    bool last = begin_step("rename", to);
    unsynced_rename(from, to);
    return (int)end_change(last, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int link(const char *from, const char *to) {
    if (plan.wire)
        return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    bool last = begin_step("link", to);
    unsynced_make(to);
    return (int)end_change(last, syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char *path) {
    if (plan.wire)
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    bool last = begin_step("remove", path);
    unsynced_remove(path);
    return (int)end_change(last, syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int mkdir(const char *path, mode_t mode) {
    if (plan.wire)
        return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    bool last = begin_step("mkdir", path);
    unsynced_make(path);
    return (int)end_change(last, syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int chmod(const char *path, mode_t mode) {
    if (plan.wire)
        return (int)syscall(SYS_fchmodat, AT_FDCWD, path, mode, 0);
    bool last = begin_step("chmod", path);
    int  result = (int)syscall(SYS_fchmodat, AT_FDCWD, path, mode, 0);
    end_step(last);
    return result;
}

/* ---- messages ---- */
/* Of ZeroMQ, which this library is not linked with. */
typedef int message_call(void *message, void *socket, int flags);
enum { MORE_FOLLOWS = 2, LEAVE_MS = 30 };
int zmq_msg_send(void *message, void *socket, int flags);
int zmq_msg_recv(void *message, void *socket, int flags);
int __attribute__((weak)) zmq_msg_more(const void *message);
size_t __attribute__((weak)) zmq_msg_size(const void *message);
const unsigned char *__attribute__((weak)) zmq_msg_data(void *message);

/* A message's kind is the number of the field that its head, the last frame but one, begins with.
 */
static _Thread_local char kind_of_message[16];

static void read_head(void *message) {
    unsigned value = 0;
    for (size_t i = 0, n = zmq_msg_size(message); i < n && i < 2; i++) {
        value |= (zmq_msg_data(message)[i] & 0x7fU) << 7 * i;
        if (zmq_msg_data(message)[i] < 0x80)
            break;
    }
    snprintf(kind_of_message, sizeof kind_of_message, "%u", value >> 3);
}

static message_call *next_of(const char *name) {
    void         *found = dlsym(RTLD_NEXT, name);
    message_call *call;
    memcpy(&call, &found, sizeof call);
    return call;
}

/* Only whole messages count. One that is sent leaves the machine before the program dies. */
int zmq_msg_send(void *message, void *socket, int flags) {
    bool whole = (flags & MORE_FOLLOWS) == 0;
    if (plan.wire && !whole)
        read_head(message);
    bool counts = plan.wire && whole, last = counts && begin_step("send", kind_of_message);
    int  result = next_of("zmq_msg_send")(message, socket, flags);
    if (last)
        usleep(LEAVE_MS * 1000);
    if (counts)
        end_step(last);
    return result;
}

int zmq_msg_recv(void *message, void *socket, int flags) {
    int result = next_of("zmq_msg_recv")(message, socket, flags);
    if (plan.wire && result >= 0 && zmq_msg_more(message) != 0)
        read_head(message);
    else if (plan.wire && result >= 0)
        end_step(begin_step("receive", kind_of_message));
    return result;
}

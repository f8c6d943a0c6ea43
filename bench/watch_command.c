/* Time and memory of a command with all processes that it starts: what another framework takes from
 * the first instruction to the last. */
#include "base/clock.h"
#include "bench/bench.h"
#include "bench/commands.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PROCESSES = 4096 };

/* The processes of the machine at one instant, and which of them are ours. */
typedef struct census {
    size_t n;
    pid_t  pid[MAX_PROCESSES], parent[MAX_PROCESSES];
    bool   ours[MAX_PROCESSES];
} census;

/* "PID (NAME) STATE PARENT ...", where NAME may hold anything. */
static bool parent_of(pid_t pid, pid_t *parent) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    bool  good = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL)
        fclose(file);
    const char *after = good ? strrchr(line, ')') : NULL;
    if (after == NULL || strlen(after) < 5)
        return false;
    *parent = (pid_t)strtol(after + 4, NULL, 10);
    return true;
}

/* Descendants of this process. Orphans come to us, as we are their reaper, and so are found too. */
static void take_census(census *all) {
    DIR           *proc = opendir("/proc");
    struct dirent *entry;
    all->n = 0;
    while (proc != NULL && (entry = readdir(proc)) != NULL && all->n < MAX_PROCESSES) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (!parent_of(pid, &all->parent[all->n]))
            continue;
        all->ours[all->n] = all->parent[all->n] == getpid();
        all->pid[all->n++] = pid;
    }
    if (proc != NULL)
        closedir(proc);
    for (bool found = true; found;) {
        found = false;
        for (size_t i = 0; i < all->n; i++)
            for (size_t k = 0; k < all->n && !all->ours[i]; k++)
                if (all->ours[k] && all->pid[k] == all->parent[i])
                    all->ours[i] = found = true;
    }
}

/* Its share of resident memory (pages that processes share are divided among them), in KiB. */
static double proportional_kib(pid_t pid) {
    char   path[64], line[256];
    double kib = 0.0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && kib == 0.0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "Pss:", 4) == 0)
            kib = strtod(line + 4, NULL);
    if (file != NULL)
        fclose(file);
    return kib;
}

static double resident_kib(census *all, size_t *processes) {
    double kib = 0.0;
    take_census(all);
    *processes = 0;
    for (size_t i = 0; i < all->n; i++)
        if (all->ours[i]) {
            kib += proportional_kib(all->pid[i]);
            ++*processes;
        }
    return kib;
}

static void end_rest(census *all) {
    take_census(all);
    for (size_t i = 0; i < all->n; i++)
        if (all->ours[i])
            kill(all->pid[i], SIGKILL);
    while (waitpid(-1, NULL, 0) > 0) {
    }
}

/* Standard output of the command goes to the file, or to our standard error. */
static void become(const fq_cli *cli) {
    const char *output = fq_cli_text(cli, "output", NULL);
    int         file = STDERR_FILENO;
    if (output != NULL)
        file = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    char **arguments = calloc(cli->n_operands + 1, sizeof *arguments);
    bool   there = arguments != NULL;
    for (size_t i = 0; there && i < cli->n_operands; i++)
        there = (arguments[i] = strdup(cli->operands[i])) != NULL;
    if (there && file >= 0 && dup2(file, STDOUT_FILENO) >= 0)
        execvp(cli->operands[0], arguments);
    fprintf(stderr, "fedq-bench watch: cannot run %s: %s\n", cli->operands[0], strerror(errno));
    _exit(127);
}

typedef struct watched {
    double seconds, cpu_seconds, peak_kib;
    size_t processes; /* at most, at one time */
    int    code;
    bool   timed_out;
} watched;

static fq_status watch(const fq_cli *cli, double limit, census *all, watched *out) {
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    struct rusage         usage;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return fq_fail(FQ_EIO, "cannot adopt processes: %s", strerror(errno));
    double began = fq_now(), sampled = 0.0;
    pid_t  child = fork();
    if (child < 0)
        return fq_fail(FQ_EIO, "cannot start a process: %s", strerror(errno));
    if (child == 0)
        become(cli);
    int   wait_status = 0;
    pid_t ended = 0;
    while (ended == 0) {
        ended = wait4(child, &wait_status, WNOHANG, &usage);
        if (ended != 0)
            break;
        out->timed_out = fq_now() - began > limit;
        if (out->timed_out || fq_interrupted())
            break;
        /* Looking takes time from the command on a small machine, so at most a fifth of it. */
        double start = fq_now();
        if (start >= sampled) {
            size_t processes;
            double kib = resident_kib(all, &processes);
            if (kib > out->peak_kib)
                out->peak_kib = kib;
            if (processes > out->processes)
                out->processes = processes;
            sampled = fq_now() + 4.0 * (fq_now() - start) + 0.05;
        }
        nanosleep(&pause, NULL);
    }
    out->seconds = fq_now() - began;
    if (ended == child && (double)usage.ru_maxrss > out->peak_kib)
        out->peak_kib = (double)usage.ru_maxrss; /* short runs pass between two looks */
    end_rest(all);
    out->code = ended != child           ? -1
                : WIFEXITED(wait_status) ? WEXITSTATUS(wait_status)
                                         : 128 + WTERMSIG(wait_status);
    if (getrusage(RUSAGE_CHILDREN, &usage) == 0)
        out->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    if (fq_interrupted())
        return fq_fail(FQ_ESTATE, "interrupted");
    if (out->timed_out)
        return fq_fail(FQ_ETIMEOUT, "%s took more than %g seconds", cli->operands[0], limit);
    if (out->code != 0)
        return fq_fail(FQ_ESTATE, "%s ended with code %d", cli->operands[0], out->code);
    return FQ_OK;
}

int fq_bench_watch_command(const fq_cli *cli, const char *command_line) {
    double  limit;
    watched found = {0};
    (void)command_line;
    if (fq_bench_real(cli, "limit", 0.1, 86400.0, 3600.0, &limit) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    census   *all = calloc(1, sizeof *all);
    fq_status status = all == NULL ? fq_fail(FQ_ENOMEM, "no memory for a list of processes")
                                   : watch(cli, limit, all, &found);
    free(all);
    return fq_bench_print(cli, status,
                          json_pack("{s:f, s:f, s:f, s:I}", "wall_seconds", found.seconds,
                                    "cpu_seconds", found.cpu_seconds, "peak_mib",
                                    found.peak_kib / 1024.0, "processes",
                                    (json_int_t)found.processes));
}

/* Runs a fuzz target without a fuzzing engine, on any compiler.
 *
 *     fuzz_replay_NAME FOLDER     all files in it, then mutations of them, for at most about 1.5 s
 *     fuzz_replay_NAME FILE...    these files, as for a crash that was found
 *
 * The mutations come from a fixed stream, so a crash comes back on the next run. The input that
 * ended the program is left as "crash-input" in the current folder.
 */
#include "base/file.h"
#include "base/rng.h"
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_SEEDS = 512, MOST_BYTES = 1 << 21, MOST_CUTS = 512, MUTATIONS = 6000 };
static const double SECONDS = 1.5;

typedef struct seed {
    char     *path;
    fq_cbytes bytes;
} seed;

static const unsigned char *current;
static size_t               current_size;

static void save_current(void) {
    int               file = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    static const char said[] = "the input is in ./crash-input\n";
    if (file >= 0 && write(file, current, current_size) == (ssize_t)current_size &&
        write(2, said, sizeof said - 1) > 0)
        close(file);
}

static void on_signal(int number) {
    save_current();
    signal(number, SIG_DFL);
    raise(number);
}

/* There if a sanitizer is. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void) {
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(save_current);
        signal(SIGABRT, on_signal);
        return;
    }
    static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        signal(deadly[i], on_signal);
}

/* From a block of exactly its size, so that a sanitizer sees a read past the end. */
static void run(const unsigned char *data, size_t size) {
    unsigned char *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    current = copy;
    current_size = size;
    FUZZ_CHECK(LLVMFuzzerTestOneInput(copy, size) == 0);
    current_size = 0;
    free(copy);
}

/* CPU time, so that a busy machine does not test less. */
static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool load(seed *s, const char *path) {
    if (fq_file_read(path, MOST_BYTES, &s->bytes) != FQ_OK) {
        fprintf(stderr, "%s\n", fq_status_text());
        return false;
    }
    s->path = strdup(path);
    return s->path != NULL;
}

static size_t load_folder(const char *folder, seed *seeds) {
    struct dirent **entries;
    size_t          n = 0;
    int             n_entries = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n_entries; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && n < MOST_SEEDS && load(&seeds[n], path))
            n++;
        free(entries[i]);
    }
    if (n_entries >= 0)
        free(entries);
    return n;
}

/* The seed cut short at evenly spaced lengths, at each one if it is small. */
static void cut(const seed *s) {
    size_t step = s->bytes.size / MOST_CUTS + 1;
    for (size_t size = 0; size < s->bytes.size; size += step)
        run(s->bytes.data, size);
}

static size_t below(fq_rng *rng, size_t n) {
    return n == 0 ? 0 : fq_rng_below(rng, (uint32_t)n);
}

/* One of a few changes to data [size], whose room is twice MOST_BYTES; returns the new size. */
static size_t mutate(unsigned char *data, size_t size, const seed *other, fq_rng *rng) {
    static const unsigned char extremes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    size_t                     at = below(rng, size), count = 1 + below(rng, 8);
    switch (below(rng, 6)) {
    case 0: /* flip bits */
        for (size_t i = 0; i < count && size > 0; i++)
            data[below(rng, size)] ^= (unsigned char)(1U << below(rng, 8));
        return size;
    case 1: /* extreme bytes, as many as a length or a count has */
        for (size_t i = at; i < size && i < at + count; i++)
            data[i] = extremes[below(rng, sizeof extremes)];
        return size;
    case 2: /* cut */ return at;
    case 3: /* leave out */
        if (count > size - at)
            count = size - at;
        memmove(data + at, data + at + count, size - at - count);
        return size - count;
    case 4: /* say twice */
        if (count > size - at)
            count = size - at;
        memmove(data + at + count, data + at, size - at);
        return size + count;
    default: { /* go on with the other seed */
        size_t from = below(rng, other->bytes.size), length = other->bytes.size - from;
        if (length > 0)
            memcpy(data + at, other->bytes.data + from, length);
        return at + length;
    }
    }
}

static int replay_folder(const char *folder) {
    static seed seeds[MOST_SEEDS];
    size_t      n = load_folder(folder, seeds);
    if (n == 0) {
        fprintf(stderr, "no seeds in %s\n", folder);
        return 1;
    }
    double begin = seconds();
    for (size_t i = 0; i < n; i++)
        run(seeds[i].bytes.data, seeds[i].bytes.size);
    for (size_t i = 0; i < n && seconds() - begin < SECONDS / 2; i++)
        cut(&seeds[i]);

    unsigned char *data = malloc(2 * (size_t)MOST_BYTES);
    fq_rng         rng = fq_rng_stream(1, FQ_RNG_FAULTS, 0, 0, 0, 0);
    int            done = 0;
    for (; data != NULL && done < MUTATIONS && seconds() - begin < SECONDS; done++) {
        const seed *s = &seeds[below(&rng, n)];
        size_t      size = s->bytes.size, changes = 1 + below(&rng, 3);
        memcpy(data, s->bytes.data, size);
        for (size_t i = 0; i < changes && size <= MOST_BYTES - 8; i++)
            size = mutate(data, size, &seeds[below(&rng, n)], &rng);
        run(data, size);
    }
    printf("%zu seeds, %d mutations, %.2f s\n", n, done, seconds() - begin);
    free(data);
    for (size_t i = 0; i < n; i++) {
        free(seeds[i].path);
        free((void *)(uintptr_t)seeds[i].bytes.data);
    }
    return 0;
}

int main(int argc, char **argv) {
    watch();
    struct stat info;
    if (argc == 2 && stat(argv[1], &info) == 0 && S_ISDIR(info.st_mode))
        return replay_folder(argv[1]);
    for (int i = 1; i < argc; i++) {
        seed s;
        if (!load(&s, argv[i]))
            return 1;
        run(s.bytes.data, s.bytes.size);
        free(s.path);
        free((void *)(uintptr_t)s.bytes.data);
    }
    if (argc < 2)
        fprintf(stderr, "usage: %s FOLDER | FILE...\n", argv[0]);
    return argc < 2 ? 2 : 0;
}

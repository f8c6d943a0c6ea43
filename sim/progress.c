#include "sim/progress.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

void fq_progress_begin(fq_progress *progress, const char *title, uint32_t rounds, uint32_t first) {
    progress->terminal = isatty(STDERR_FILENO) != 0;
    snprintf(progress->title, sizeof progress->title, "%s", title);
    progress->rounds = rounds;
    progress->first = first;
    progress->began = fq_now();
    progress->last_drawn = 0.0;
    progress->float_accuracy = progress->low_accuracy = -1.0;
    progress->low_bits = 0;
}

/* The float figure and the one at the lowest width, of the first rule and float activations. */
static void remember(fq_progress *progress, const fq_figure *figures, size_t n) {
    int low = 0;
    for (size_t i = 0; i < n; i++) {
        if (figures[i].activation_bits != FQ_FLOAT_BITS)
            continue;
        if (figures[i].weight_bits == FQ_FLOAT_BITS)
            progress->float_accuracy = figures[i].accuracy;
        else if (low == 0 || figures[i].weight_bits < low) {
            low = figures[i].weight_bits;
            progress->low_accuracy = figures[i].accuracy;
        }
    }
    progress->low_bits = low;
}

static void print_duration(char *out, size_t capacity, double seconds) {
    unsigned long s = (unsigned long)(seconds + 0.5);
    if (s < 3600)
        snprintf(out, capacity, "%lu:%02lu", s / 60, s % 60);
    else
        snprintf(out, capacity, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
}

static unsigned terminal_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
        return size.ws_col;
    return 80;
}

void fq_progress_round(fq_progress *progress, uint32_t round, double loss, const fq_figure *figures,
                       size_t n) {
    if (progress->quiet)
        return;
    if (n > 0)
        remember(progress, figures, n);
    double now = fq_now();
    bool   last = round == progress->rounds;
    if (progress->terminal ? now - progress->last_drawn < 0.1 && !last : n == 0)
        return;
    progress->last_drawn = now;
    double per_second = (double)(round - progress->first) / (now - progress->began + 1e-9);
    char   left[32], accuracy[64] = "", line[512];
    print_duration(left, sizeof left, (double)(progress->rounds - round) / (per_second + 1e-9));
    if (progress->float_accuracy >= 0.0)
        snprintf(accuracy, sizeof accuracy, "  float %.1f %%", 100.0 * progress->float_accuracy);
    if (progress->low_bits > 0)
        snprintf(accuracy + strlen(accuracy), sizeof accuracy - strlen(accuracy),
                 "  %d bits %.1f %%", progress->low_bits, 100.0 * progress->low_accuracy);
    if (!progress->terminal) {
        fprintf(stderr, "%s: round %u/%u  loss %.4f%s  %.1f rounds/s  %s left\n", progress->title,
                round, progress->rounds, loss, accuracy, per_second, left);
        return;
    }
    enum { BAR = 20 };
    char     bar[BAR + 1];
    unsigned filled = (unsigned)((uint64_t)round * BAR / progress->rounds);
    for (unsigned i = 0; i < BAR; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR] = '\0';
    snprintf(line, sizeof line, "%s [%s] %u/%u  %.1f rounds/s  %s left  loss %.3f%s",
             progress->title, bar, round, progress->rounds, per_second, left, loss, accuracy);
    fprintf(stderr, "\r\033[K%.*s", (int)terminal_width() - 1, line);
    fflush(stderr);
}

void fq_progress_end(fq_progress *progress) {
    if (!progress->quiet && progress->terminal)
        fprintf(stderr, "\r\033[K");
}

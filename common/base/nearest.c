#include "base/config.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST_WORD = 63 };

static size_t smallest(size_t a, size_t b, size_t c) {
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`, upper or
 * lower case alike (Damerau-Levenshtein, no letter edited twice). */
static size_t count_edits(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST_WORD || m > LONGEST_WORD)
        return SIZE_MAX;
    size_t  rows[3][LONGEST_WORD + 1];
    size_t *before = rows[0], *previous = rows[1], *current = rows[2];
    for (size_t j = 0; j <= m; j++)
        before[j] = previous[j] = j;
    for (size_t i = 1; i <= n; i++) {
        current[0] = i;
        for (size_t j = 1; j <= m; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            current[j] = smallest(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < current[j])
                current[j] = before[j - 2] + 1;
        }
        size_t *freed = before;
        before = previous;
        previous = current;
        current = freed;
    }
    return previous[m];
}

const char *fq_nearest(const char *word, const char *const *names) {
    size_t      third = (strlen(word) + 2) / 3;
    size_t      least = (third < 2 ? third : 2) + 1;
    const char *nearest = NULL;
    for (size_t i = 0; names[i] != NULL; i++) {
        size_t edits = count_edits(word, names[i]);
        if (edits < least) {
            least = edits;
            nearest = names[i];
        }
    }
    return nearest;
}

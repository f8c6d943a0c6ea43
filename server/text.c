#include "server/http_impl.h"

/* Length of the UTF-8 sequence at `at`, 0 if it is none (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF). Ends at NUL by itself, as NUL continues nothing. */
static size_t sequence(const unsigned char *at) {
    static const struct {
        unsigned char first, last, low, high; /* first byte, bounds of the second */
        size_t        size;
    } forms[] = {
        {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        if (at[0] < forms[f].first || at[0] > forms[f].last)
            continue;
        if (forms[f].size > 1 && (at[1] < forms[f].low || at[1] > forms[f].high))
            return 0;
        for (size_t i = 2; i < forms[f].size; i++)
            if ((at[i] & 0xc0) != 0x80)
                return 0;
        return forms[f].size;
    }
    return 0;
}

const char *fq_text_clean(const char *from, char *out, size_t capacity) {
    const unsigned char *at = (const unsigned char *)from;
    size_t               used = 0;
    while (*at != '\0') {
        size_t size = sequence(at);
        if (used + (size > 0 ? size : 1) >= capacity)
            break;
        if (size == 0)
            out[used++] = '?';
        for (size_t i = 0; i < size; i++)
            out[used++] = (char)at[i];
        at += size > 0 ? size : 1;
    }
    out[used] = '\0';
    return out;
}

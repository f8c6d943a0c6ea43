/* Values as YAML text. */
#include "base/config_impl.h"

#include <assert.h>
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void fq_yaml_put(fq_buffer *out, const char *text) {
    fq_put_bytes(out, text, strlen(text));
}

void fq_real_format(double value, char out[32]) {
    assert(isfinite(value));
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), kept = uselocale(c);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        double back = strtod(out, NULL);
        if (memcmp(&back, &value, sizeof value) == 0)
            break;
    }
    uselocale(kept);
    freelocale(c);
}

static bool reads_as_word(const char *text) {
    static const char *const taken[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};
    if (!isalpha((unsigned char)text[0]) && text[0] != '/')
        return false;
    for (const char *at = text; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && strchr("_-./+", *at) == NULL)
            return false;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcasecmp(text, taken[i]) == 0)
            return false;
    return true;
}

/* Length of the UTF-8 sequence at `at` and its code point; bytes that are none count as themselves.
 */
static size_t decode(const char *at, uint32_t *point) {
    const unsigned char *s = (const unsigned char *)at;
    size_t               n = s[0] < 0xC0 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    *point = n == 1 ? s[0] : s[0] & (0xFFU >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            *point = s[0];
            return 1;
        }
        *point = *point << 6 | (s[i] & 0x3FU);
    }
    return n;
}

static bool is_printable(uint32_t point) {
    return (point >= 0x20 && point < 0x7F) || (point >= 0xA0 && point < 0x2028) ||
           (point > 0x2029 && point < 0xD800) || (point >= 0xE000 && point < 0xFEFF) ||
           (point > 0xFEFF && point < 0xFFFE) || point >= 0x10000;
}

static void put_quoted(fq_buffer *out, const char *text) {
    fq_yaml_put(out, "\"");
    while (*text != '\0') {
        uint32_t point;
        size_t   n = decode(text, &point);
        char     escape[12];
        if (point == '"' || point == '\\') {
            fq_put_u8(out, '\\');
            fq_put_u8(out, (uint8_t)point);
        } else if (is_printable(point)) {
            fq_put_bytes(out, text, n);
        } else {
            snprintf(escape, sizeof escape, "\\u%04X", (unsigned)point);
            fq_yaml_put(out, escape);
        }
        text += n;
    }
    fq_yaml_put(out, "\"");
}

void fq_yaml_put_text(fq_buffer *out, const char *text) {
    if (reads_as_word(text))
        fq_yaml_put(out, text);
    else
        put_quoted(out, text);
}

static void put_node(fq_buffer *out, const fq_node *node, size_t enough) {
    if (node->kind == FQ_NODE_SCALAR) {
        bool bare = node->plain && strpbrk(node->text, ",[]{}:#\"'\n\\") == NULL;
        if (fq_node_is_null(node))
            fq_yaml_put(out, "~");
        else if (bare)
            fq_yaml_put(out, node->text);
        else
            fq_yaml_put_text(out, node->text);
        return;
    }
    bool list = node->kind == FQ_NODE_LIST;
    fq_yaml_put(out, list ? "[" : "{");
    for (size_t i = 0; i < node->n && out->size <= enough; i++) {
        if (i > 0)
            fq_yaml_put(out, ", ");
        if (!list) {
            fq_yaml_put_text(out, node->members[i]->key);
            fq_yaml_put(out, ": ");
        }
        put_node(out, node->members[i], enough);
    }
    fq_yaml_put(out, list ? "]" : "}");
}

void fq_node_print(const fq_node *node, char *out, size_t capacity) {
    if (capacity == 0)
        return;
    fq_buffer text = {0};
    put_node(&text, node, capacity);
    size_t n = text.size;
    bool   cut = n >= capacity;
    if (cut) {
        n = capacity > 4 ? capacity - 4 : 0;
        while (n > 0 && (text.data[n] & 0xC0) == 0x80)
            n--;
    }
    if (n > 0)
        memcpy(out, text.data, n);
    snprintf(out + n, capacity - n, "%s", cut ? "..." : "");
    fq_buffer_fini(&text);
}

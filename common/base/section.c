/* Sections of a document against tables of keys. */
#include "base/config_impl.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- values against a table row ---- */

typedef struct place {
    const fq_document *document;
    const char        *path;
    const fq_key      *key;
    size_t             member; /* of a list, from 1; 0: the value itself */
} place;

static fq_status fail_value(const place *at, const fq_node *node, const char *format, ...)
    FQ_PRINTF(3, 4);

static fq_status fail_value(const place *at, const fq_node *node, const char *format, ...) {
    char    message[MESSAGE_BYTES], member[40] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (at->member > 0)
        snprintf(member, sizeof member, " member %zu:", at->member);
    return fq_node_fail(at->document, node, "%s%s%s:%s %s", at->path,
                        at->path[0] != '\0' ? "." : "", at->key->name, member, message);
}

static bool has_bounds(const fq_key *key) {
    return key->min != 0.0 || key->max != 0.0;
}

/* Beyond this a bound is "none": it is an infinity or the end of int64_t. */
static const double NO_BOUND = 9e18;

static void describe_range(const fq_key *key, const char *from, const char *to, char *out,
                           size_t capacity) {
    char low[32] = "", high[32] = "";
    if (fabs(key->min) < NO_BOUND)
        fq_real_format(key->min, low);
    if (fabs(key->max) < NO_BOUND)
        fq_real_format(key->max, high);
    out[0] = '\0';
    if (!has_bounds(key) || (low[0] == '\0' && high[0] == '\0'))
        return;
    if (high[0] == '\0')
        snprintf(out, capacity, "at least %s", low);
    else if (low[0] == '\0')
        snprintf(out, capacity, "at most %s", high);
    else
        snprintf(out, capacity, "%s%s%s%s", from, low, to, high);
}

static bool is_whole(fq_type type) {
    return type == FQ_TYPE_INT || type == FQ_TYPE_INTS;
}

/* What a single value of the key should be, for messages. */
static const char *expected(const fq_key *key, char out[SHOWN_BYTES]) {
    char range[SHOWN_BYTES - 16] = "";
    switch (key->type) {
    case FQ_TYPE_BOOL: return "true or false";
    case FQ_TYPE_TEXT: return "a text";
    case FQ_TYPE_CHOICE:
    case FQ_TYPE_WORDS: return "a word";
    default:
        describe_range(key, "from ", " to ", range, sizeof range);
        snprintf(out, SHOWN_BYTES, "%s%s%s", is_whole(key->type) ? "a whole number" : "a number",
                 range[0] != '\0' ? " " : "", range);
        return out;
    }
}

static fq_status expect_scalar(const place *at, const fq_node *node) {
    char hint[SHOWN_BYTES], shown[SHOWN_BYTES];
    if (node->kind != FQ_NODE_SCALAR)
        return fail_value(at, node, "expected %s, found %s", expected(at->key, hint),
                          fq_node_kind_name(node));
    if (fq_node_is_null(node))
        return fail_value(at, node, "expected %s, found nothing", expected(at->key, hint));
    bool number_or_bool = at->key->type <= FQ_TYPE_REAL || at->key->type == FQ_TYPE_INTS ||
                          at->key->type == FQ_TYPE_REALS;
    if (number_or_bool && !node->plain)
        return fail_value(at, node, "'%s' is text because of its quotes; expected %s",
                          fq_text_show(shown, node->text), expected(at->key, hint));
    return FQ_OK;
}

static size_t count_digits(const char *text) {
    return strspn(text, "0123456789");
}

/* Decimal digits, with a point and an exponent if `real`; no leading zeros, so that none is taken
 * for octal. */
static bool is_number(const char *text, bool real) {
    text += *text == '-' || *text == '+';
    size_t whole = count_digits(text), fraction = 0;
    if (whole > 1 && text[0] == '0')
        return false;
    text += whole;
    if (real && *text == '.') {
        fraction = count_digits(text + 1);
        text += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (real && (*text == 'e' || *text == 'E')) {
        text++;
        text += *text == '-' || *text == '+';
        size_t exponent = count_digits(text);
        if (exponent == 0)
            return false;
        text += exponent;
    }
    return *text == '\0';
}

/* Digits in a notation we do not take: 1_000, 1e3, 0x10, 010. */
static const char *number_hint(const char *text, bool real) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*digits))
        return "";
    return real ? "; write it as 1000, 0.05 or 5e-2"
                : "; write its decimal digits only, as in 1000";
}

static fq_status check_range(const place *at, const fq_node *node, double value) {
    if (!has_bounds(at->key) || (value >= at->key->min && value <= at->key->max))
        return FQ_OK;
    char hint[SHOWN_BYTES], shown[SHOWN_BYTES];
    return fail_value(at, node, "%s is not allowed; expected %s", fq_text_show(shown, node->text),
                      expected(at->key, hint));
}

static fq_status read_int(const place *at, const fq_node *node, int64_t *out) {
    char shown[SHOWN_BYTES];
    FQ_TRY(expect_scalar(at, node));
    if (!is_number(node->text, false))
        return fail_value(at, node, "'%s' is not a whole number%s", fq_text_show(shown, node->text),
                          number_hint(node->text, false));
    errno = 0;
    long long value = strtoll(node->text, NULL, 10);
    if (errno == ERANGE)
        return fail_value(at, node, "%s is too large", fq_text_show(shown, node->text));
    FQ_TRY(check_range(at, node, (double)value));
    *out = value;
    return FQ_OK;
}

static fq_status read_real(const place *at, const fq_node *node, double *out) {
    char shown[SHOWN_BYTES];
    FQ_TRY(expect_scalar(at, node));
    if (!is_number(node->text, true))
        return fail_value(at, node, "'%s' is not a number%s", fq_text_show(shown, node->text),
                          number_hint(node->text, true));
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    errno = 0;
    double value = strtod_l(node->text, NULL, c);
    int    reason = errno;
    freelocale(c);
    /* ERANGE with a number that is neither 0 nor infinite: denormal, and correctly rounded. */
    if (reason == ERANGE && (value == 0.0 || isinf(value)))
        return fail_value(at, node, "%s is too %s", fq_text_show(shown, node->text),
                          value == 0.0 ? "small" : "large");
    FQ_TRY(check_range(at, node, value));
    *out = value;
    return FQ_OK;
}

static fq_status read_bool(const place *at, const fq_node *node, bool *out) {
    static const char *const yes[] = {"true", "yes", "on", "y", "1"}, *const no[] = {"false", "no",
                                                                                     "off", "n",
                                                                                     "0"};
    FQ_TRY(expect_scalar(at, node));
    *out = strcmp(node->text, "true") == 0;
    if (*out || strcmp(node->text, "false") == 0)
        return FQ_OK;
    const char *hint = "";
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        hint = strcasecmp(node->text, yes[i]) == 0  ? "; write true"
               : strcasecmp(node->text, no[i]) == 0 ? "; write false"
                                                    : hint;
    char shown[SHOWN_BYTES];
    return fail_value(at, node, "'%s' is not true or false%s", fq_text_show(shown, node->text),
                      hint);
}

static void list_names(const char *const *names, char *out, size_t capacity) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL && used < capacity; i++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%s", i > 0 ? ", " : "", names[i]);
}

static fq_status read_choice(const place *at, const fq_node *node, int *out) {
    FQ_TRY(expect_scalar(at, node));
    const char *const *choices = at->key->choices;
    for (int i = 0; choices[i] != NULL; i++)
        if (strcmp(node->text, choices[i]) == 0) {
            *out = i;
            return FQ_OK;
        }
    char        known[MESSAGE_BYTES / 2], hint[SHOWN_BYTES] = "", shown[SHOWN_BYTES];
    const char *nearest = fq_nearest(node->text, choices);
    if (nearest != NULL)
        snprintf(hint, sizeof hint, "; did you mean '%s'?", nearest);
    list_names(choices, known, sizeof known);
    return fail_value(at, node, "'%s' is unknown%s Known: %s", fq_text_show(shown, node->text),
                      nearest != NULL ? hint : ".", known);
}

static fq_status read_text(const place *at, const fq_node *node, char *out, size_t capacity) {
    FQ_TRY(expect_scalar(at, node));
    size_t length = strlen(node->text);
    char   shown[SHOWN_BYTES];
    if (length >= capacity)
        return fail_value(at, node, "'%s' has %zu bytes; at most %zu are allowed",
                          fq_text_show(shown, node->text), length, capacity - 1);
    memcpy(out, node->text, length + 1);
    return FQ_OK;
}

static fq_status read_word(const place *at, const fq_node *node, char *out) {
    int index;
    if (at->key->choices != NULL)
        FQ_TRY(read_choice(at, node, &index));
    return read_text(at, node, out, FQ_WORD_BYTES);
}

static fq_status read_member(const place *at, const fq_node *node, void *list, size_t i) {
    switch (at->key->type) {
    case FQ_TYPE_INTS: return read_int(at, node, &((fq_ints *)list)->v[i]);
    case FQ_TYPE_REALS: return read_real(at, node, &((fq_reals *)list)->v[i]);
    default: return read_word(at, node, ((fq_words *)list)->v[i]);
    }
}

static fq_status read_list(const place *at, const fq_node *node, void *list, size_t *n,
                           size_t limit) {
    *n = 0;
    if (node->kind != FQ_NODE_LIST) {
        FQ_TRY(read_member(at, node, list, 0));
        *n = 1;
        return FQ_OK;
    }
    if (node->n > limit)
        return fail_value(at, node, "a list of %zu; at most %zu are allowed", node->n, limit);
    place member = *at;
    for (size_t i = 0; i < node->n; i++) {
        member.member = i + 1;
        FQ_TRY(read_member(&member, node->members[i], list, i));
    }
    *n = node->n;
    return FQ_OK;
}

static fq_status read_field(const place *at, const fq_node *node, void *field) {
    switch (at->key->type) {
    case FQ_TYPE_BOOL: return read_bool(at, node, field);
    case FQ_TYPE_INT: return read_int(at, node, field);
    case FQ_TYPE_REAL: return read_real(at, node, field);
    case FQ_TYPE_TEXT: return read_text(at, node, field, FQ_TEXT_BYTES);
    case FQ_TYPE_CHOICE: return read_choice(at, node, field);
    case FQ_TYPE_INTS: return read_list(at, node, field, &((fq_ints *)field)->n, FQ_LIST_LENGTH);
    case FQ_TYPE_REALS: return read_list(at, node, field, &((fq_reals *)field)->n, FQ_LIST_LENGTH);
    case FQ_TYPE_WORDS: return read_list(at, node, field, &((fq_words *)field)->n, FQ_WORDS_LENGTH);
    }
    return fq_fail(FQ_EINVAL, "key '%s' has no known type", at->key->name);
}

static size_t field_size(fq_type type) {
    switch (type) {
    case FQ_TYPE_BOOL: return sizeof(bool);
    case FQ_TYPE_INT: return sizeof(int64_t);
    case FQ_TYPE_REAL: return sizeof(double);
    case FQ_TYPE_TEXT: return FQ_TEXT_BYTES;
    case FQ_TYPE_CHOICE: return sizeof(int);
    case FQ_TYPE_INTS: return sizeof(fq_ints);
    case FQ_TYPE_REALS: return sizeof(fq_reals);
    case FQ_TYPE_WORDS: return sizeof(fq_words);
    }
    return 0;
}

/* A default goes the way of a value, so a bad one in a table is found by the first load. */
static fq_status read_fallback(const place *at, void *field) {
    const char *text = at->key->fallback;
    if (text == NULL || text[0] == '\0')
        return FQ_OK; /* the zero that is there */
    fq_document *document;
    FQ_TRY(fq_document_create(&document, "default"));
    fq_node  *node = NULL;
    place     own = {document, at->path, at->key, 0};
    fq_status status = fq_value_parse(
        document, NULL, (fq_cbytes){(const unsigned char *)text, strlen(text)}, &node);
    if (status == FQ_OK && node != NULL && !fq_node_is_null(node))
        status = read_field(&own, node, field);
    fq_document_destroy(&document);
    return status;
}

/* ---- sections ---- */

static bool is_listed(const char *name, const char *const *names) {
    for (size_t i = 0; names != NULL && names[i] != NULL; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static fq_status fail_unknown(const fq_document *document, const fq_node *member, const char *path,
                              const fq_key *keys, const char *const *subsections) {
    enum { MOST = 256 };
    const char *names[MOST + 1];
    size_t      n = 0;
    for (const fq_key *key = keys; key->name != NULL && n < MOST; key++)
        names[n++] = key->name;
    for (size_t i = 0; subsections != NULL && subsections[i] != NULL && n < MOST; i++)
        names[n++] = subsections[i];
    names[n] = NULL;
    char        shown[SHOWN_BYTES], known[MESSAGE_BYTES / 2], message[MESSAGE_BYTES];
    const char *nearest = fq_nearest(member->key, names), *dot = path[0] != '\0' ? "." : "";
    fq_text_show(shown, member->key);
    list_names(names, known, sizeof known);
    if (nearest != NULL)
        snprintf(message, sizeof message, "%s%s%s: unknown key; did you mean '%s'?", path, dot,
                 shown, nearest);
    else
        snprintf(message, sizeof message, "%s%s%s: unknown key. Known here: %s", path, dot, shown,
                 n > 0 ? known : "none");
    return fq_document_fail(document, member->origin, member->key_line, message);
}

fq_status fq_value_load(const fq_document *document, const fq_node *node, const char *path,
                        const fq_key *key, void *field) {
    const place at = {document, path, key, 0};
    return read_field(&at, node, field);
}

fq_status fq_section_load(const fq_document *document, const fq_node *map, const char *path,
                          const fq_key *keys, const char *const *subsections, void *out) {
    char shown[SHOWN_BYTES];
    if (map != NULL && fq_node_is_null(map))
        return fq_node_fail(document, map,
                            "%s: no keys; give some, or leave the section out for its defaults",
                            path);
    if (map != NULL && map->kind != FQ_NODE_MAP)
        return fq_node_fail(document, map,
                            "%s: expected a section of 'key: value' lines, found %s%s", path,
                            map->kind == FQ_NODE_LIST ? "a list" : "the value ",
                            map->kind == FQ_NODE_LIST ? "" : fq_text_show(shown, map->text));
    for (size_t i = 0; map != NULL && i < map->n; i++) {
        const char   *name = map->members[i]->key;
        const fq_key *key = keys;
        while (key->name != NULL && strcmp(key->name, name) != 0)
            key++;
        if (key->name == NULL && !is_listed(name, subsections))
            return fail_unknown(document, map->members[i], path, keys, subsections);
    }
    for (const fq_key *key = keys; key->name != NULL; key++) {
        place          at = {document, path, key, 0};
        void          *field = (unsigned char *)out + key->offset;
        const fq_node *node = fq_node_find(map, key->name);
        memset(field, 0, field_size(key->type));
        if (node != NULL && fq_node_is_null(node)) /* a value forgotten, not a default wanted */
            return fq_node_fail(document, node,
                                "%s%s%s: no value; give one, or leave the key out for its default",
                                path, path[0] == '\0' ? "" : ".", key->name);
        FQ_TRY(node == NULL ? read_fallback(&at, field) : read_field(&at, node, field));
    }
    return FQ_OK;
}

static void put_int(fq_buffer *out, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    fq_yaml_put(out, text);
}

static void put_real(fq_buffer *out, double value) {
    char text[32];
    fq_real_format(value, text);
    fq_yaml_put(out, text);
}

static void put_list(fq_buffer *out, fq_type type, const void *list, size_t n) {
    fq_yaml_put(out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            fq_yaml_put(out, ", ");
        if (type == FQ_TYPE_INTS)
            put_int(out, ((const fq_ints *)list)->v[i]);
        else if (type == FQ_TYPE_REALS)
            put_real(out, ((const fq_reals *)list)->v[i]);
        else
            fq_yaml_put_text(out, ((const fq_words *)list)->v[i]);
    }
    fq_yaml_put(out, "]");
}

static void put_field(fq_buffer *out, const fq_key *key, const void *field) {
    switch (key->type) {
    case FQ_TYPE_BOOL: fq_yaml_put(out, *(const bool *)field ? "true" : "false"); break;
    case FQ_TYPE_INT: put_int(out, *(const int64_t *)field); break;
    case FQ_TYPE_REAL: put_real(out, *(const double *)field); break;
    case FQ_TYPE_TEXT: fq_yaml_put_text(out, field); break;
    case FQ_TYPE_CHOICE: fq_yaml_put_text(out, key->choices[*(const int *)field]); break;
    case FQ_TYPE_INTS: put_list(out, key->type, field, ((const fq_ints *)field)->n); break;
    case FQ_TYPE_REALS: put_list(out, key->type, field, ((const fq_reals *)field)->n); break;
    case FQ_TYPE_WORDS: put_list(out, key->type, field, ((const fq_words *)field)->n); break;
    }
}

void fq_section_write(fq_buffer *yaml, const fq_key *keys, const void *section, int indent) {
    for (const fq_key *key = keys; key->name != NULL; key++) {
        for (int i = 0; i < indent; i++)
            fq_yaml_put(yaml, " ");
        fq_yaml_put_text(yaml, key->name);
        fq_yaml_put(yaml, ": ");
        put_field(yaml, key, (const unsigned char *)section + key->offset);
        fq_yaml_put(yaml, "\n");
    }
}

static const char *type_name(fq_type type) {
    switch (type) {
    case FQ_TYPE_BOOL: return "true or false";
    case FQ_TYPE_INT: return "whole number";
    case FQ_TYPE_REAL: return "number";
    case FQ_TYPE_TEXT: return "text";
    case FQ_TYPE_CHOICE: return "word";
    case FQ_TYPE_INTS: return "list of whole numbers";
    case FQ_TYPE_REALS: return "list of numbers";
    case FQ_TYPE_WORDS: return "list of words";
    }
    return "";
}

static void put_cell(fq_buffer *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '|')
            fq_yaml_put(out, "\\");
        fq_put_u8(out, (uint8_t)*text);
    }
    fq_yaml_put(out, " | ");
}

void fq_section_document(fq_buffer *markdown, const fq_key *keys, const char *path) {
    for (const fq_key *key = keys; key->name != NULL; key++) {
        char name[SHOWN_BYTES], fallback[SHOWN_BYTES], allowed[MESSAGE_BYTES] = "";
        bool empty = key->fallback == NULL || key->fallback[0] == '\0';
        snprintf(name, sizeof name, "`%s%s%s`", path, path[0] != '\0' ? "." : "", key->name);
        snprintf(fallback, sizeof fallback, "%s%s%s", empty ? "" : "`", empty ? "" : key->fallback,
                 empty ? "" : "`");
        if (key->choices != NULL)
            list_names(key->choices, allowed, sizeof allowed);
        else
            describe_range(key, "", " to ", allowed, sizeof allowed);
        fq_yaml_put(markdown, "| ");
        put_cell(markdown, name);
        put_cell(markdown, type_name(key->type));
        put_cell(markdown, fallback);
        put_cell(markdown, allowed);
        put_cell(markdown, key->help != NULL ? key->help : "");
        markdown->size -= markdown->failed ? 0 : 1; /* the blank at the end of the line */
        fq_yaml_put(markdown, "\n");
    }
}

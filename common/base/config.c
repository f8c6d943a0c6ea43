#include "base/config.h"

#include "base/file.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum {
    MAX_FILE_BYTES = 1 << 20,
    MAX_LEVELS = 32, /* of a file, of a value of --set, and of the path of --set */
    MAX_MAP_KEYS = 1024,
    CHUNK_BYTES = 4096,
    SHOWN_BYTES = 80, /* of a value in a message */
    MESSAGE_BYTES = 640,
};

/* ---- nodes and their memory ---- */

struct fq_node {
    fq_node_kind kind;
    bool plain;         /* a scalar without quotes */
    int line, key_line; /* of the value and of its key */
    const char *origin; /* "--set a.b=value"; NULL: from the file */
    const char *key;    /* if it is a map's member */
    const char *text;   /* of a scalar */
    fq_node **members;
    size_t n, capacity;
};

/* Everything lives in chunks that only fq_document_destroy frees; a replaced value stays until
 * then. */
typedef struct chunk {
    struct chunk *next;
    size_t used, capacity;
    max_align_t memory[];
} chunk;

struct fq_document {
    chunk *chunks;
    const char *file;
    fq_node *root;
};

static void *take(fq_document *document, size_t size) {
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    chunk *head = document->chunks;
    if (head == NULL || head->capacity - head->used < size) {
        size_t capacity = size < CHUNK_BYTES ? CHUNK_BYTES : size;
        chunk *fresh = malloc(sizeof *fresh + capacity);
        if (fresh == NULL)
            return NULL;
        *fresh = (chunk){.next = head, .capacity = capacity};
        document->chunks = head = fresh;
    }
    void *place = (unsigned char *)head->memory + head->used;
    head->used += size;
    return place;
}

static fq_status no_memory(void) {
    return fq_fail(FQ_ENOMEM, "no memory for the settings");
}

static fq_status copy_text(fq_document *document, const char *from, size_t length,
                           const char **out) {
    char *text = take(document, length + 1);
    if (text == NULL)
        return no_memory();
    memcpy(text, from, length);
    text[length] = '\0';
    *out = text;
    return FQ_OK;
}

static fq_status make_node(fq_document *document, fq_node_kind kind, int line, const char *origin,
                           fq_node **out) {
    fq_node *node = take(document, sizeof *node);
    if (node == NULL)
        return no_memory();
    *node = (fq_node){.kind = kind, .line = line, .key_line = line, .origin = origin};
    *out = node;
    return FQ_OK;
}

static fq_status append(fq_document *document, fq_node *parent, fq_node *member) {
    if (parent->n == parent->capacity) {
        size_t capacity = parent->capacity == 0 ? 4 : 2 * parent->capacity;
        fq_node **members = take(document, capacity * sizeof *members);
        if (members == NULL)
            return no_memory();
        if (parent->n > 0)
            memcpy(members, parent->members, parent->n * sizeof *members);
        parent->members = members;
        parent->capacity = capacity;
    }
    parent->members[parent->n++] = member;
    return FQ_OK;
}

static fq_status document_create(fq_document **out, const char *file) {
    *out = NULL;
    fq_document *document = calloc(1, sizeof *document);
    if (document == NULL)
        return no_memory();
    fq_status status = copy_text(document, file, strlen(file), &document->file);
    if (status != FQ_OK)
        fq_document_destroy(&document);
    *out = document;
    return status;
}

void fq_document_destroy(fq_document **slot) {
    fq_document *document = *slot;
    if (document == NULL)
        return;
    for (chunk *at = document->chunks; at != NULL;) {
        chunk *next = at->next;
        free(at);
        at = next;
    }
    free(document);
    *slot = NULL;
}

static fq_node *find(const fq_node *map, const char *key) {
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->members[i]->key, key) == 0)
            return map->members[i];
    return NULL;
}

static bool is_null(const fq_node *node) {
    return node->kind == FQ_NODE_SCALAR && node->plain &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 ||
            strcmp(node->text, "null") == 0);
}

/* ---- messages ---- */

/* A value as one line of bounded length. */
static const char *show(char out[SHOWN_BYTES], const char *text) {
    size_t room = SHOWN_BYTES - 4, n = 0;
    for (; text[n] != '\0' && n < room; n++)
        out[n] = iscntrl((unsigned char)text[n]) ? ' ' : text[n];
    bool cut = text[n] != '\0';
    while (cut && n > 0 &&
           ((unsigned char)text[n] & 0xC0) == 0x80) /* not within a UTF-8 sequence */
        n--;
    snprintf(out + n, 4, "%s", cut ? "..." : "");
    return out;
}

static fq_status fail_at(const fq_document *document, const char *origin, int line,
                         const char *message) {
    if (origin != NULL)
        return fq_fail(FQ_EINVAL, "%s: %s", origin, message);
    return fq_fail(FQ_EINVAL, "%s:%d: %s", document->file, line, message);
}

fq_status fq_node_fail(const fq_document *document, const fq_node *node, const char *format, ...) {
    char message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (node == NULL)
        return fq_fail(FQ_EINVAL, "%s: %s", document->file, message);
    return fail_at(document, node->origin, node->line, message);
}

/* ---- parsing ---- */

typedef struct level {
    fq_node *node;
    const char *key; /* of the member to come; NULL: the key itself is to come */
    int key_line;
} level;

typedef struct builder {
    fq_document *document;
    const char *origin;
    fq_cbytes text;
    yaml_parser_t parser;
    fq_node *root;
    level levels[MAX_LEVELS];
    size_t depth;
} builder;

/* Is there a tab in the blanks that line `line` (from 0) begins with? */
static bool is_indented_by_tab(fq_cbytes text, size_t line) {
    size_t i = 0;
    for (; i < text.size && line > 0; i++)
        line -= text.data[i] == '\n';
    while (i < text.size && text.data[i] == ' ')
        i++;
    return i < text.size && text.data[i] == '\t';
}

static fq_status fail_reader(const builder *b) {
    int line = 1;
    for (size_t i = 0; i < b->parser.problem_offset && i < b->text.size; i++)
        line += b->text.data[i] == '\n';
    char message[MESSAGE_BYTES], value[16] = "";
    if (b->parser.problem_value >= 0)
        snprintf(value, sizeof value, " (0x%02X)", (unsigned)b->parser.problem_value);
    snprintf(message, sizeof message, "not plain UTF-8 text: %s%s", b->parser.problem, value);
    return fail_at(b->document, b->origin, line, message);
}

static fq_status fail_syntax(const builder *b) {
    const yaml_parser_t *parser = &b->parser;
    if (parser->error == YAML_MEMORY_ERROR || parser->problem == NULL)
        return no_memory();
    if (parser->error == YAML_READER_ERROR)
        return fail_reader(b);
    size_t line = parser->problem_mark.line, begin = parser->context_mark.line;
    const char *problem = parser->problem;
    char message[MESSAGE_BYTES], context[MESSAGE_BYTES / 2] = "";
    if (is_indented_by_tab(b->text, line))
        problem = "a tab at the beginning of the line; indent with spaces";
    else if (strstr(problem, "cannot start any token") != NULL)
        problem = "a value cannot begin with this character; put the text in quotes";
    else if (parser->context != NULL && (begin == line || b->origin != NULL))
        snprintf(context, sizeof context, " %s", parser->context);
    else if (parser->context != NULL)
        snprintf(context, sizeof context, " %s that begins at line %zu", parser->context,
                 begin + 1);
    snprintf(message, sizeof message, "not valid YAML: %s%s", problem, context);
    return fail_at(b->document, b->origin, (int)line + 1, message);
}

/* Where the member to come stands: "model.layers[2].name". */
static void place_of(const builder *b, char *out, size_t capacity) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < b->depth && used < capacity; i++) {
        const level *at = &b->levels[i];
        char shown[SHOWN_BYTES];
        int more = at->node->kind == FQ_NODE_LIST
                       ? snprintf(out + used, capacity - used, "[%zu]", at->node->n + 1)
                       : snprintf(out + used, capacity - used, "%s%s", used > 0 ? "." : "",
                                  at->key != NULL ? show(shown, at->key) : "");
        used += (size_t)more;
    }
}

/* The scalar just read is a key. */
static fq_status begin_member(builder *b, const fq_node *key) {
    level *top = &b->levels[b->depth - 1];
    if (key->text[0] == '\0' || is_null(key))
        return fail_at(b->document, b->origin, key->line, "a value without a key");
    if (top->node->n == MAX_MAP_KEYS)
        return fail_at(b->document, b->origin, key->line, "more than 1024 keys in one place");
    top->key = key->text;
    top->key_line = key->line;
    const fq_node *first = find(top->node, key->text);
    if (first == NULL)
        return FQ_OK;
    char place[MESSAGE_BYTES / 2], message[MESSAGE_BYTES];
    place_of(b, place, sizeof place);
    snprintf(message, sizeof message, "%s: given twice, first at line %d", place, first->key_line);
    return fail_at(b->document, b->origin, key->line, message);
}

static fq_status end_member(builder *b, fq_node *node) {
    if (b->depth == 0) {
        b->root = node;
        return FQ_OK;
    }
    level *top = &b->levels[b->depth - 1];
    node->key = top->key;
    if (top->key != NULL)
        node->key_line = top->key_line;
    top->key = NULL;
    return append(b->document, top->node, node);
}

static bool key_is_next(const builder *b) {
    return b->depth > 0 && b->levels[b->depth - 1].node->kind == FQ_NODE_MAP &&
           b->levels[b->depth - 1].key == NULL;
}

static fq_status on_scalar(builder *b, const yaml_event_t *event) {
    int line = (int)event->start_mark.line + 1;
    if (memchr(event->data.scalar.value, 0, event->data.scalar.length) != NULL)
        return fail_at(b->document, b->origin, line, "a NUL character in a text");
    fq_node *node;
    FQ_TRY(make_node(b->document, FQ_NODE_SCALAR, line, b->origin, &node));
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    FQ_TRY(copy_text(b->document, (const char *)event->data.scalar.value, event->data.scalar.length,
                     &node->text));
    return key_is_next(b) ? begin_member(b, node) : end_member(b, node);
}

static fq_status on_begin(builder *b, fq_node_kind kind, const yaml_event_t *event) {
    int line = (int)event->start_mark.line + 1;
    if (key_is_next(b))
        return fail_at(b->document, b->origin, line, "a key must be a word, not a list or a map");
    if (b->depth == MAX_LEVELS)
        return fail_at(b->document, b->origin, line, "nested deeper than 32 levels");
    fq_node *node;
    FQ_TRY(make_node(b->document, kind, line, b->origin, &node));
    b->levels[b->depth++] = (level){.node = node};
    return FQ_OK;
}

static fq_status refuse_properties(const builder *b, const yaml_event_t *event,
                                   const yaml_char_t *anchor, const yaml_char_t *tag) {
    int line = (int)event->start_mark.line + 1;
    if (anchor != NULL)
        return fail_at(b->document, b->origin, line,
                       "anchors (&name) are not supported; quote a text with &");
    if (tag != NULL)
        return fail_at(b->document, b->origin, line,
                       "tags (!name) are not supported; quote a text with !");
    return FQ_OK;
}

static fq_status on_event(builder *b, const yaml_event_t *event) {
    int line = (int)event->start_mark.line + 1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->root != NULL)
            return fail_at(b->document, b->origin, line,
                           "a second document begins here; one is allowed");
        return FQ_OK;
    case YAML_ALIAS_EVENT:
        return fail_at(b->document, b->origin, line,
                       "aliases (*name) are not supported; quote a text with *");
    case YAML_SCALAR_EVENT:
        FQ_TRY(refuse_properties(b, event, event->data.scalar.anchor, event->data.scalar.tag));
        return on_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        FQ_TRY(refuse_properties(b, event, event->data.sequence_start.anchor,
                                 event->data.sequence_start.tag));
        return on_begin(b, FQ_NODE_LIST, event);
    case YAML_MAPPING_START_EVENT:
        FQ_TRY(refuse_properties(b, event, event->data.mapping_start.anchor,
                                 event->data.mapping_start.tag));
        return on_begin(b, FQ_NODE_MAP, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: {
        fq_node *node = b->levels[--b->depth].node;
        return end_member(b, node);
    }
    default: return FQ_OK;
    }
}

/* One YAML value of any kind; *out is NULL if there is none at all. */
static fq_status parse_value(fq_document *document, const char *origin, fq_cbytes text,
                             fq_node **out) {
    builder b = {.document = document, .origin = origin, .text = text};
    if (!yaml_parser_initialize(&b.parser))
        return no_memory();
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, text.data, text.size);
    fq_status status = FQ_OK;
    for (bool ended = false; status == FQ_OK && !ended;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b.parser, &event)) {
            status = fail_syntax(&b);
            break;
        }
        ended = event.type == YAML_STREAM_END_EVENT;
        status = on_event(&b, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&b.parser);
    *out = b.root;
    return status;
}

static const char *kind_name(const fq_node *node) {
    return node->kind == FQ_NODE_LIST  ? "a list"
           : node->kind == FQ_NODE_MAP ? "a section of keys"
                                       : "a value";
}

static fq_status parse_root(fq_document *document, fq_cbytes text) {
    fq_node *root;
    FQ_TRY(parse_value(document, NULL, text, &root));
    if (root == NULL || is_null(root))
        return make_node(document, FQ_NODE_MAP, 1, NULL, &document->root);
    if (root->kind != FQ_NODE_MAP)
        return fq_node_fail(document, root, "expected settings as 'key: value' lines, found %s",
                            kind_name(root));
    document->root = root;
    return FQ_OK;
}

fq_status fq_document_parse(fq_document **out, const char *file, fq_cbytes text) {
    *out = NULL;
    if (text.size > MAX_FILE_BYTES)
        return fq_fail(FQ_ELIMIT, "%s has %zu bytes; settings may have at most %d", file, text.size,
                       MAX_FILE_BYTES);
    static const unsigned char nothing[1];
    if (text.data == NULL)
        text = (fq_cbytes){nothing, 0};
    FQ_TRY(document_create(out, file));
    fq_status status = parse_root(*out, text);
    if (status != FQ_OK)
        fq_document_destroy(out);
    return status;
}

fq_status fq_document_read(fq_document **out, const char *path) {
    *out = NULL;
    fq_cbytes text;
    FQ_TRY(fq_file_read(path, MAX_FILE_BYTES, &text));
    fq_status status = fq_document_parse(out, path, text);
    free((void *)(uintptr_t)text.data);
    return status;
}

/* Depth is at most that of a file and of --set together. */
static fq_status copy_node(fq_document *document, const fq_node *from, fq_node **out) {
    fq_node *node;
    FQ_TRY(make_node(document, from->kind, from->line, NULL, &node));
    node->plain = from->plain;
    node->key_line = from->key_line;
    if (from->origin != NULL)
        FQ_TRY(copy_text(document, from->origin, strlen(from->origin), &node->origin));
    if (from->key != NULL)
        FQ_TRY(copy_text(document, from->key, strlen(from->key), &node->key));
    if (from->text != NULL)
        FQ_TRY(copy_text(document, from->text, strlen(from->text), &node->text));
    for (size_t i = 0; i < from->n; i++) {
        fq_node *member;
        FQ_TRY(copy_node(document, from->members[i], &member));
        FQ_TRY(append(document, node, member));
    }
    *out = node;
    return FQ_OK;
}

fq_status fq_document_copy(fq_document **out, const fq_document *from) {
    FQ_TRY(document_create(out, from->file));
    fq_status status = copy_node(*out, from->root, &(*out)->root);
    if (status != FQ_OK)
        fq_document_destroy(out);
    return status;
}

/* ---- --set ---- */

/* The map that holds the longest part of the path there is, and the index of the first name that is
 * not a section yet. */
static fq_status walk_path(const fq_document *document, const char *origin,
                           const char *const *names, size_t n, fq_node **map, size_t *index) {
    *map = document->root;
    for (*index = 0; *index + 1 < n; ++*index) {
        fq_node *next = find(*map, names[*index]);
        if (next == NULL || is_null(next))
            return FQ_OK;
        char shown[SHOWN_BYTES], key[SHOWN_BYTES];
        if (next->kind != FQ_NODE_MAP)
            return fq_fail(FQ_EINVAL, "%s: %s is %s, so it has no key '%s'", origin,
                           show(shown, names[*index]), kind_name(next),
                           show(key, names[*index + 1]));
        *map = next;
    }
    return FQ_OK;
}

static fq_status place_member(fq_document *document, fq_node *map, fq_node *member) {
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->members[i]->key, member->key) == 0) {
            map->members[i] = member;
            return FQ_OK;
        }
    return append(document, map, member);
}

fq_status fq_document_set(fq_document *document, const char *assignment) {
    char shown[SHOWN_BYTES], written[SHOWN_BYTES + 8];
    const char *origin = NULL, *path = NULL;
    snprintf(written, sizeof written, "--set %s", show(shown, assignment));
    FQ_TRY(copy_text(document, written, strlen(written), &origin));
    const char *equals = strchr(assignment, '=');
    if (equals == NULL)
        return fq_fail(FQ_EINVAL, "%s: expected key=value, as in train.rate=0.1", origin);
    FQ_TRY(copy_text(document, assignment, (size_t)(equals - assignment), &path));

    const char *names[MAX_LEVELS];
    size_t n = 0;
    for (char *at = (char *)(uintptr_t)path; at != NULL;) {
        if (n == MAX_LEVELS)
            return fq_fail(FQ_EINVAL, "%s: nested deeper than %d levels", origin, MAX_LEVELS);
        names[n++] = at;
        at = strchr(at, '.');
        if (at != NULL)
            *at++ = '\0';
        if (names[n - 1][0] == '\0')
            return fq_fail(FQ_EINVAL, "%s: an empty name in the key", origin);
    }

    fq_cbytes text = {(const unsigned char *)equals + 1, strlen(equals + 1)};
    if (text.size > MAX_FILE_BYTES)
        return fq_fail(FQ_ELIMIT, "%s: the value has more than %d bytes", origin, MAX_FILE_BYTES);
    fq_node *value, *map;
    FQ_TRY(parse_value(document, origin, text, &value));
    if (value == NULL) {
        FQ_TRY(make_node(document, FQ_NODE_SCALAR, 1, origin, &value));
        value->plain = true;
        value->text = "";
    }
    size_t known;
    FQ_TRY(walk_path(document, origin, names, n, &map, &known));
    /* The new maps from the innermost out, so that the document changes in the last step or not at
     * all. */
    for (size_t i = n - 1; i > known; i--) {
        fq_node *section;
        FQ_TRY(make_node(document, FQ_NODE_MAP, 1, origin, &section));
        value->key = names[i];
        FQ_TRY(append(document, section, value));
        value = section;
    }
    value->key = names[known];
    return place_member(document, map, value);
}

/* ---- reading nodes ---- */

fq_node *fq_document_root(const fq_document *document) {
    return document->root;
}

fq_node_kind fq_node_kind_of(const fq_node *node) {
    return node->kind;
}

const fq_node *fq_node_find(const fq_node *map, const char *key) {
    return map == NULL || map->kind != FQ_NODE_MAP ? NULL : find(map, key);
}

size_t fq_node_count(const fq_node *node) {
    return node->n;
}

const fq_node *fq_node_at(const fq_node *node, size_t index) {
    return index < node->n ? node->members[index] : NULL;
}

const char *fq_node_key(const fq_node *map, size_t index) {
    return index < map->n ? map->members[index]->key : NULL;
}

const char *fq_node_text(const fq_node *scalar) {
    return scalar->kind != FQ_NODE_SCALAR || is_null(scalar) ? "" : scalar->text;
}

int fq_node_line(const fq_node *node) {
    return node->line;
}

/* ---- writing values ---- */

static void put(fq_buffer *out, const char *text) {
    fq_put_bytes(out, text, strlen(text));
}

/* Shortest of 15, 16 or 17 digits that reads back to the same bits, with a point in any locale. */
static void format_real(double value, char out[32]) {
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
    size_t n = s[0] < 0xC0 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
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
    put(out, "\"");
    while (*text != '\0') {
        uint32_t point;
        size_t n = decode(text, &point);
        char escape[12];
        if (point == '"' || point == '\\') {
            fq_put_u8(out, '\\');
            fq_put_u8(out, (uint8_t)point);
        } else if (is_printable(point)) {
            fq_put_bytes(out, text, n);
        } else {
            snprintf(escape, sizeof escape, "\\u%04X", (unsigned)point);
            put(out, escape);
        }
        text += n;
    }
    put(out, "\"");
}

static void put_text(fq_buffer *out, const char *text) {
    if (reads_as_word(text))
        put(out, text);
    else
        put_quoted(out, text);
}

static void put_node(fq_buffer *out, const fq_node *node, size_t enough) {
    if (node->kind == FQ_NODE_SCALAR) {
        bool bare = node->plain && strpbrk(node->text, ",[]{}:#\"'\n\\") == NULL;
        if (is_null(node))
            put(out, "~");
        else if (bare)
            put(out, node->text);
        else
            put_text(out, node->text);
        return;
    }
    bool list = node->kind == FQ_NODE_LIST;
    put(out, list ? "[" : "{");
    for (size_t i = 0; i < node->n && out->size <= enough; i++) {
        if (i > 0)
            put(out, ", ");
        if (!list) {
            put_text(out, node->members[i]->key);
            put(out, ": ");
        }
        put_node(out, node->members[i], enough);
    }
    put(out, list ? "]" : "}");
}

void fq_node_print(const fq_node *node, char *out, size_t capacity) {
    if (capacity == 0)
        return;
    fq_buffer text = {0};
    put_node(&text, node, capacity);
    size_t n = text.size;
    bool cut = n >= capacity;
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

/* ---- values against a table row ---- */

typedef struct place {
    const fq_document *document;
    const char *path;
    const fq_key *key;
    size_t member; /* of a list, from 1; 0: the value itself */
} place;

static fq_status fail_value(const place *at, const fq_node *node, const char *format, ...)
    FQ_PRINTF(3, 4);

static fq_status fail_value(const place *at, const fq_node *node, const char *format, ...) {
    char message[MESSAGE_BYTES], member[40] = "";
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
        format_real(key->min, low);
    if (fabs(key->max) < NO_BOUND)
        format_real(key->max, high);
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
                          kind_name(node));
    if (is_null(node))
        return fail_value(at, node, "expected %s, found nothing", expected(at->key, hint));
    bool number_or_bool = at->key->type <= FQ_TYPE_REAL || at->key->type == FQ_TYPE_INTS ||
                          at->key->type == FQ_TYPE_REALS;
    if (number_or_bool && !node->plain)
        return fail_value(at, node, "'%s' is text because of its quotes; expected %s",
                          show(shown, node->text), expected(at->key, hint));
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
    return fail_value(at, node, "%s is not allowed; expected %s", show(shown, node->text),
                      expected(at->key, hint));
}

static fq_status read_int(const place *at, const fq_node *node, int64_t *out) {
    char shown[SHOWN_BYTES];
    FQ_TRY(expect_scalar(at, node));
    if (!is_number(node->text, false))
        return fail_value(at, node, "'%s' is not a whole number%s", show(shown, node->text),
                          number_hint(node->text, false));
    errno = 0;
    long long value = strtoll(node->text, NULL, 10);
    if (errno == ERANGE)
        return fail_value(at, node, "%s is too large", show(shown, node->text));
    FQ_TRY(check_range(at, node, (double)value));
    *out = value;
    return FQ_OK;
}

static fq_status read_real(const place *at, const fq_node *node, double *out) {
    char shown[SHOWN_BYTES];
    FQ_TRY(expect_scalar(at, node));
    if (!is_number(node->text, true))
        return fail_value(at, node, "'%s' is not a number%s", show(shown, node->text),
                          number_hint(node->text, true));
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    errno = 0;
    double value = strtod_l(node->text, NULL, c);
    int reason = errno;
    freelocale(c);
    /* ERANGE with a number that is neither 0 nor infinite: denormal, and correctly rounded. */
    if (reason == ERANGE && (value == 0.0 || isinf(value)))
        return fail_value(at, node, "%s is too %s", show(shown, node->text),
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
    return fail_value(at, node, "'%s' is not true or false%s", show(shown, node->text), hint);
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
    char known[MESSAGE_BYTES / 2], hint[SHOWN_BYTES] = "", shown[SHOWN_BYTES];
    const char *nearest = fq_nearest(node->text, choices);
    if (nearest != NULL)
        snprintf(hint, sizeof hint, "; did you mean '%s'?", nearest);
    list_names(choices, known, sizeof known);
    return fail_value(at, node, "'%s' is unknown%s Known: %s", show(shown, node->text),
                      nearest != NULL ? hint : ".", known);
}

static fq_status read_text(const place *at, const fq_node *node, char *out, size_t capacity) {
    FQ_TRY(expect_scalar(at, node));
    size_t length = strlen(node->text);
    char shown[SHOWN_BYTES];
    if (length >= capacity)
        return fail_value(at, node, "'%s' has %zu bytes; at most %zu are allowed",
                          show(shown, node->text), length, capacity - 1);
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
    FQ_TRY(document_create(&document, "default"));
    fq_node *node = NULL;
    place own = {document, at->path, at->key, 0};
    fq_status status =
        parse_value(document, NULL, (fq_cbytes){(const unsigned char *)text, strlen(text)}, &node);
    if (status == FQ_OK && node != NULL && !is_null(node))
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
    size_t n = 0;
    for (const fq_key *key = keys; key->name != NULL && n < MOST; key++)
        names[n++] = key->name;
    for (size_t i = 0; subsections != NULL && subsections[i] != NULL && n < MOST; i++)
        names[n++] = subsections[i];
    names[n] = NULL;
    char shown[SHOWN_BYTES], known[MESSAGE_BYTES / 2], message[MESSAGE_BYTES];
    const char *nearest = fq_nearest(member->key, names), *dot = path[0] != '\0' ? "." : "";
    show(shown, member->key);
    list_names(names, known, sizeof known);
    if (nearest != NULL)
        snprintf(message, sizeof message, "%s%s%s: unknown key; did you mean '%s'?", path, dot,
                 shown, nearest);
    else
        snprintf(message, sizeof message, "%s%s%s: unknown key. Known here: %s", path, dot, shown,
                 n > 0 ? known : "none");
    return fail_at(document, member->origin, member->key_line, message);
}

fq_status fq_section_load(const fq_document *document, const fq_node *map, const char *path,
                          const fq_key *keys, const char *const *subsections, void *out) {
    if (map != NULL && is_null(map))
        map = NULL;
    char shown[SHOWN_BYTES];
    if (map != NULL && map->kind != FQ_NODE_MAP)
        return fq_node_fail(document, map,
                            "%s: expected a section of 'key: value' lines, found %s%s", path,
                            map->kind == FQ_NODE_LIST ? "a list" : "the value ",
                            map->kind == FQ_NODE_LIST ? "" : show(shown, map->text));
    for (size_t i = 0; map != NULL && i < map->n; i++) {
        const char *name = map->members[i]->key;
        const fq_key *key = keys;
        while (key->name != NULL && strcmp(key->name, name) != 0)
            key++;
        if (key->name == NULL && !is_listed(name, subsections))
            return fail_unknown(document, map->members[i], path, keys, subsections);
    }
    for (const fq_key *key = keys; key->name != NULL; key++) {
        place at = {document, path, key, 0};
        void *field = (unsigned char *)out + key->offset;
        const fq_node *node = fq_node_find(map, key->name);
        memset(field, 0, field_size(key->type));
        if (node != NULL && is_null(node)) /* a value forgotten, not a default wanted */
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
    put(out, text);
}

static void put_real(fq_buffer *out, double value) {
    char text[32];
    format_real(value, text);
    put(out, text);
}

static void put_list(fq_buffer *out, fq_type type, const void *list, size_t n) {
    put(out, "[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put(out, ", ");
        if (type == FQ_TYPE_INTS)
            put_int(out, ((const fq_ints *)list)->v[i]);
        else if (type == FQ_TYPE_REALS)
            put_real(out, ((const fq_reals *)list)->v[i]);
        else
            put_text(out, ((const fq_words *)list)->v[i]);
    }
    put(out, "]");
}

static void put_field(fq_buffer *out, const fq_key *key, const void *field) {
    switch (key->type) {
    case FQ_TYPE_BOOL: put(out, *(const bool *)field ? "true" : "false"); break;
    case FQ_TYPE_INT: put_int(out, *(const int64_t *)field); break;
    case FQ_TYPE_REAL: put_real(out, *(const double *)field); break;
    case FQ_TYPE_TEXT: put_text(out, field); break;
    case FQ_TYPE_CHOICE: put_text(out, key->choices[*(const int *)field]); break;
    case FQ_TYPE_INTS: put_list(out, key->type, field, ((const fq_ints *)field)->n); break;
    case FQ_TYPE_REALS: put_list(out, key->type, field, ((const fq_reals *)field)->n); break;
    case FQ_TYPE_WORDS: put_list(out, key->type, field, ((const fq_words *)field)->n); break;
    }
}

void fq_section_write(fq_buffer *yaml, const fq_key *keys, const void *section, int indent) {
    for (const fq_key *key = keys; key->name != NULL; key++) {
        for (int i = 0; i < indent; i++)
            put(yaml, " ");
        put_text(yaml, key->name);
        put(yaml, ": ");
        put_field(yaml, key, (const unsigned char *)section + key->offset);
        put(yaml, "\n");
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
            put(out, "\\");
        fq_put_u8(out, (uint8_t)*text);
    }
    put(out, " | ");
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
        put(markdown, "| ");
        put_cell(markdown, name);
        put_cell(markdown, type_name(key->type));
        put_cell(markdown, fallback);
        put_cell(markdown, allowed);
        put_cell(markdown, key->help != NULL ? key->help : "");
        markdown->size -= markdown->failed ? 0 : 1; /* the blank at the end of the line */
        put(markdown, "\n");
    }
}

/* ---- nearest name ---- */

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
    size_t rows[3][LONGEST_WORD + 1];
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
    size_t third = (strlen(word) + 2) / 3;
    size_t least = (third < 2 ? third : 2) + 1;
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

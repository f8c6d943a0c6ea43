#include "base/config_impl.h"
#include "base/file.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum {
    MAX_FILE_BYTES = 1 << 20,
    MAX_LEVELS = 32, /* of a file, of a value of --set, and of the path of --set */
    MAX_MAP_KEYS = 1024,
    CHUNK_BYTES = 4096,
};

/* ---- nodes and their memory ---- */

/* Everything lives in chunks that only fq_document_destroy frees; a replaced value stays until
 * then. */
typedef struct chunk {
    struct chunk *next;
    size_t        used, capacity;
    max_align_t   memory[];
} chunk;

struct fq_document {
    chunk      *chunks;
    const char *file;
    fq_node    *root;
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
        size_t    capacity = parent->capacity == 0 ? 4 : 2 * parent->capacity;
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

fq_status fq_document_create(fq_document **out, const char *file) {
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

bool fq_node_is_null(const fq_node *node) {
    return node->kind == FQ_NODE_SCALAR && node->plain &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 ||
            strcmp(node->text, "null") == 0);
}

/* ---- messages ---- */

const char *fq_text_show(char out[SHOWN_BYTES], const char *text) {
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

fq_status fq_document_fail(const fq_document *document, const char *origin, int line,
                           const char *message) {
    if (origin != NULL)
        return fq_fail(FQ_EINVAL, "%s: %s", origin, message);
    return fq_fail(FQ_EINVAL, "%s:%d: %s", document->file, line, message);
}

fq_status fq_node_fail(const fq_document *document, const fq_node *node, const char *format, ...) {
    char    message[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (node == NULL)
        return fq_fail(FQ_EINVAL, "%s: %s", document->file, message);
    return fq_document_fail(document, node->origin, node->line, message);
}

void fq_node_place(const fq_document *document, const fq_node *node, char *out, size_t capacity) {
    if (node == NULL)
        snprintf(out, capacity, "%s", document->file);
    else if (node->origin != NULL)
        snprintf(out, capacity, "%s", node->origin);
    else
        snprintf(out, capacity, "%s:%d", document->file, node->line);
}

/* The node whose path `text` begins with, or of the part of it that is there; NULL if none is. */
static const fq_node *locate(const fq_document *document, const char *text) {
    const fq_node *map = document->root, *found = NULL;
    char           name[FQ_WORD_BYTES];
    for (size_t length; map != NULL; text += length + 1) {
        length = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
        snprintf(name, sizeof name, "%.*s", length < sizeof name ? (int)length : 0, text);
        map = fq_node_find(map, name);
        found = map != NULL ? map : found;
        if (text[length] != '.')
            break;
    }
    return found;
}

fq_status fq_node_context(const fq_document *document, const fq_node *node) {
    char           place[MESSAGE_BYTES];
    const fq_node *named = locate(document, fq_status_text());
    fq_node_place(document, named != NULL ? named : node, place, sizeof place);
    fq_add_context("%s", place);
    return FQ_EINVAL;
}

/* ---- parsing ---- */

typedef struct level {
    fq_node    *node;
    const char *key; /* of the member to come; NULL: the key itself is to come */
    int         key_line;
} level;

typedef struct builder {
    fq_document  *document;
    const char   *origin;
    fq_cbytes     text;
    yaml_parser_t parser;
    fq_node      *root;
    level         levels[MAX_LEVELS];
    size_t        depth;
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
    return fq_document_fail(b->document, b->origin, line, message);
}

static fq_status fail_syntax(const builder *b) {
    const yaml_parser_t *parser = &b->parser;
    if (parser->error == YAML_MEMORY_ERROR || parser->problem == NULL)
        return no_memory();
    if (parser->error == YAML_READER_ERROR)
        return fail_reader(b);
    size_t      line = parser->problem_mark.line, begin = parser->context_mark.line;
    const char *problem = parser->problem;
    char        message[MESSAGE_BYTES], context[MESSAGE_BYTES / 2] = "";
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
    return fq_document_fail(b->document, b->origin, (int)line + 1, message);
}

/* Where the member to come stands: "model.layers[2].name". */
static void place_of(const builder *b, char *out, size_t capacity) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < b->depth && used < capacity; i++) {
        const level *at = &b->levels[i];
        char         shown[SHOWN_BYTES];
        int          more = at->node->kind == FQ_NODE_LIST
                                ? snprintf(out + used, capacity - used, "[%zu]", at->node->n + 1)
                                : snprintf(out + used, capacity - used, "%s%s", used > 0 ? "." : "",
                                  at->key != NULL ? fq_text_show(shown, at->key) : "");
        used += (size_t)more;
    }
}

/* The scalar just read is a key. */
static fq_status begin_member(builder *b, const fq_node *key) {
    level *top = &b->levels[b->depth - 1];
    if (key->text[0] == '\0' || fq_node_is_null(key))
        return fq_document_fail(b->document, b->origin, key->line, "a value without a key");
    if (top->node->n == MAX_MAP_KEYS)
        return fq_document_fail(b->document, b->origin, key->line,
                                "more than 1024 keys in one place");
    top->key = key->text;
    top->key_line = key->line;
    const fq_node *first = find(top->node, key->text);
    if (first == NULL)
        return FQ_OK;
    char place[MESSAGE_BYTES / 2], message[MESSAGE_BYTES];
    place_of(b, place, sizeof place);
    snprintf(message, sizeof message, "%s: given twice, first at line %d", place, first->key_line);
    return fq_document_fail(b->document, b->origin, key->line, message);
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
        return fq_document_fail(b->document, b->origin, line, "a NUL character in a text");
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
        return fq_document_fail(b->document, b->origin, line,
                                "a key must be a word, not a list or a map");
    if (b->depth == MAX_LEVELS)
        return fq_document_fail(b->document, b->origin, line, "nested deeper than 32 levels");
    fq_node *node;
    FQ_TRY(make_node(b->document, kind, line, b->origin, &node));
    b->levels[b->depth++] = (level){.node = node};
    return FQ_OK;
}

static fq_status refuse_properties(const builder *b, const yaml_event_t *event,
                                   const yaml_char_t *anchor, const yaml_char_t *tag) {
    int line = (int)event->start_mark.line + 1;
    if (anchor != NULL)
        return fq_document_fail(b->document, b->origin, line,
                                "anchors (&name) are not supported; quote a text with &");
    if (tag != NULL)
        return fq_document_fail(b->document, b->origin, line,
                                "tags (!name) are not supported; quote a text with !");
    return FQ_OK;
}

static fq_status on_event(builder *b, const yaml_event_t *event) {
    int line = (int)event->start_mark.line + 1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->root != NULL)
            return fq_document_fail(b->document, b->origin, line,
                                    "a second document begins here; one is allowed");
        return FQ_OK;
    case YAML_ALIAS_EVENT:
        return fq_document_fail(b->document, b->origin, line,
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

fq_status fq_value_parse(fq_document *document, const char *origin, fq_cbytes text, fq_node **out) {
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

const char *fq_node_kind_name(const fq_node *node) {
    return node->kind == FQ_NODE_LIST  ? "a list"
           : node->kind == FQ_NODE_MAP ? "a section of keys"
                                       : "a value";
}

static fq_status parse_root(fq_document *document, fq_cbytes text) {
    fq_node *root;
    FQ_TRY(fq_value_parse(document, NULL, text, &root));
    if (root == NULL || fq_node_is_null(root))
        return make_node(document, FQ_NODE_MAP, 1, NULL, &document->root);
    if (root->kind != FQ_NODE_MAP)
        return fq_node_fail(document, root, "expected settings as 'key: value' lines, found %s",
                            fq_node_kind_name(root));
    document->root = root;
    return FQ_OK;
}

fq_status fq_document_parse(fq_document **out, const char *file, fq_cbytes text) {
    *out = NULL;
    if (text.size > MAX_FILE_BYTES)
        return fq_fail(FQ_ELIMIT, "%s has %zu bytes; settings may have at most %d", file, text.size,
                       MAX_FILE_BYTES);
    static const unsigned char nothing[1], mark[] = {0xEF, 0xBB, 0xBF};
    if (text.data == NULL)
        text = (fq_cbytes){nothing, 0};
    if (text.size >= sizeof mark && memcmp(text.data, mark, sizeof mark) == 0)
        text = (fq_cbytes){text.data + sizeof mark, text.size - sizeof mark};
    FQ_TRY(fq_document_create(out, file));
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
    FQ_TRY(fq_document_create(out, from->file));
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
        if (next == NULL || fq_node_is_null(next))
            return FQ_OK;
        char shown[SHOWN_BYTES], key[SHOWN_BYTES];
        if (next->kind != FQ_NODE_MAP)
            return fq_fail(FQ_EINVAL, "%s: %s is %s, so it has no key '%s'", origin,
                           fq_text_show(shown, names[*index]), fq_node_kind_name(next),
                           fq_text_show(key, names[*index + 1]));
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

/* Put `value` at `path`, whose dots are overwritten. The path outlives the document's nodes. */
static fq_status put_at(fq_document *document, const char *origin, char *path, fq_node *value) {
    const char *names[MAX_LEVELS];
    size_t      n = 0, known;
    fq_node    *map;
    for (char *at = path; at != NULL;) {
        if (n == MAX_LEVELS)
            return fq_fail(FQ_EINVAL, "%s: nested deeper than %d levels", origin, MAX_LEVELS);
        names[n++] = at;
        at = strchr(at, '.');
        if (at != NULL)
            *at++ = '\0';
        if (names[n - 1][0] == '\0')
            return fq_fail(FQ_EINVAL, "%s: an empty name in the key", origin);
    }
    FQ_TRY(walk_path(document, origin, names, n, &map, &known));
    /* The new maps from the innermost out, so that the document changes in the last step or not at
     * all. */
    for (size_t i = n - 1; i > known; i--) {
        fq_node *section;
        FQ_TRY(make_node(document, FQ_NODE_MAP, value->line, value->origin, &section));
        value->key = names[i];
        FQ_TRY(append(document, section, value));
        value = section;
    }
    value->key = names[known];
    return place_member(document, map, value);
}

fq_status fq_document_set(fq_document *document, const char *assignment) {
    char        shown[SHOWN_BYTES], written[SHOWN_BYTES + 8];
    const char *origin = NULL, *path = NULL;
    snprintf(written, sizeof written, "--set %s", fq_text_show(shown, assignment));
    FQ_TRY(copy_text(document, written, strlen(written), &origin));
    const char *equals = strchr(assignment, '=');
    if (equals == NULL)
        return fq_fail(FQ_EINVAL, "%s: expected key=value, as in train.rate=0.1", origin);
    FQ_TRY(copy_text(document, assignment, (size_t)(equals - assignment), &path));

    fq_cbytes text = {(const unsigned char *)equals + 1, strlen(equals + 1)};
    if (text.size > MAX_FILE_BYTES)
        return fq_fail(FQ_ELIMIT, "%s: the value has more than %d bytes", origin, MAX_FILE_BYTES);
    fq_node *value;
    FQ_TRY(fq_value_parse(document, origin, text, &value));
    if (value == NULL) {
        FQ_TRY(make_node(document, FQ_NODE_SCALAR, 1, origin, &value));
        value->plain = true;
        value->text = "";
    }
    return put_at(document, origin, (char *)(uintptr_t)path, value);
}

fq_status fq_document_put(fq_document *document, const char *path, const fq_node *value) {
    char        place[MESSAGE_BYTES];
    const char *own;
    fq_node    *copy;
    fq_node_place(document, value, place, sizeof place);
    FQ_TRY(copy_text(document, path, strlen(path), &own));
    FQ_TRY(copy_node(document, value, &copy));
    return put_at(document, place, (char *)(uintptr_t)own, copy);
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
    return scalar->kind != FQ_NODE_SCALAR || fq_node_is_null(scalar) ? "" : scalar->text;
}

int fq_node_line(const fq_node *node) {
    return node->line;
}

/* Settings: a YAML document checked against tables of keys. The only user of libyaml.
 *
 * A table row says everything about a key: name, type, default, bounds, choices, help. Loading,
 * checking, writing the resolved file and docs/settings.md all come from the same rows, so they
 * cannot drift. Errors read "FILE:LINE: train.rate: -1 is not allowed; expected a number from 0 to
 * 1000".
 */
#ifndef FQ_BASE_CONFIG_H
#define FQ_BASE_CONFIG_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { FQ_TEXT_BYTES = 256, FQ_WORD_BYTES = 32, FQ_LIST_LENGTH = 64, FQ_WORDS_LENGTH = 16 };

/* What the fields behind the keys look like. Values, no pointers: a section is copied by
 * assignment. */
typedef struct fq_ints {
    size_t  n;
    int64_t v[FQ_LIST_LENGTH];
} fq_ints;
typedef struct fq_reals {
    size_t n;
    double v[FQ_LIST_LENGTH];
} fq_reals;
typedef struct fq_words {
    size_t n;
    char   v[FQ_WORDS_LENGTH][FQ_WORD_BYTES];
} fq_words;

typedef enum fq_type {
    FQ_TYPE_BOOL,   /* bool */
    FQ_TYPE_INT,    /* int64_t */
    FQ_TYPE_REAL,   /* double */
    FQ_TYPE_TEXT,   /* char[FQ_TEXT_BYTES] */
    FQ_TYPE_CHOICE, /* int: index into `choices` */
    FQ_TYPE_INTS,   /* fq_ints; a single number is a list of one */
    FQ_TYPE_REALS,  /* fq_reals */
    FQ_TYPE_WORDS,  /* fq_words; members from `choices` if that is given */
} fq_type;

typedef struct fq_key {
    const char *name;
    fq_type     type;
    size_t      offset;   /* of the field in the section's struct */
    const char *fallback; /* default, as YAML text: "0.05", "[2, 3, 4, 8]"; NULL or "": zero */
    double min, max; /* of a number and of each list member; both 0: no bounds; HUGE_VAL: open */
    const char *const *choices; /* NULL-terminated; for CHOICE and WORDS */
    const char        *help;    /* one sentence for docs/settings.md, unit included */
} fq_key;
/* Tables end with a row whose name is NULL. */

/* ---- the document ---- */
typedef enum fq_node_kind { FQ_NODE_SCALAR, FQ_NODE_LIST, FQ_NODE_MAP } fq_node_kind;
typedef struct fq_document fq_document;
typedef struct fq_node     fq_node;

/* Parse YAML text (one document; no anchors, tags, duplicate or non-scalar keys, at most 1 MiB and
 * 32 levels). `file` names it in errors. The document owns all nodes. */
FQ_MUST_CHECK fq_status fq_document_parse(fq_document **out, const char *file, fq_cbytes text);
FQ_MUST_CHECK fq_status fq_document_read(fq_document **out, const char *path);
void                    fq_document_destroy(fq_document **document);
/* A deep copy, so that a sweep can set other values in each of its runs. */
FQ_MUST_CHECK fq_status fq_document_copy(fq_document **out, const fq_document *from);
/* "a.b=value" from the command line; the value is YAML. Makes maps on the way that are not there.
 * Errors about such a value name "--set a.b=value" in place of file and line. */
FQ_MUST_CHECK fq_status fq_document_set(fq_document *document, const char *assignment);
/* The same with a value of this document or of one it is a copy of; errors about it name where it
 * stands there. */
FQ_MUST_CHECK fq_status fq_document_put(fq_document *document, const char *path,
                                        const fq_node *value);

fq_node *fq_document_root(const fq_document *document); /* a map (an empty file is an empty map) */
fq_node_kind   fq_node_kind_of(const fq_node *node);
const fq_node *fq_node_find(const fq_node *map,
                            const char    *key);                 /* NULL if absent, or map is NULL */
size_t         fq_node_count(const fq_node *node);            /* members of a list or map */
const fq_node *fq_node_at(const fq_node *node, size_t index); /* list member, or map value */
const char    *fq_node_key(const fq_node *map, size_t index);
const char    *fq_node_text(const fq_node *scalar); /* "" for null (~) */
int            fq_node_line(const fq_node *node);   /* from 1 */
/* FQ_EINVAL "FILE:LINE: message" at the place of a node (of the document, if node is NULL). */
fq_status fq_node_fail(const fq_document *document, const fq_node *node, const char *format, ...)
    FQ_PRINTF(3, 4);
/* Where a node stands: "FILE:LINE", "--set a.b=value"; "FILE" if node is NULL. */
void fq_node_place(const fq_document *document, const fq_node *node, char *out, size_t capacity);
/* FQ_EINVAL with the text of the failure on this thread, its place put before: that of the key
 * whose path the text begins with ("data.split: ..."), or else of `node`. */
fq_status fq_node_context(const fq_document *document, const fq_node *node);
/* Value as one-line YAML flow text, for reports: "[2, 3]", "lenet5". Truncated to fit. */
void fq_node_print(const fq_node *node, char *out, size_t capacity);

/* ---- sections ---- */
/* Fill the struct `out` from `map` (NULL: all defaults). `path` is the section's place,
 * "train.mqat", "" at the top. A key that is not there has its default; one that is there without a
 * value ("epochs:", ~ or null) is an error, and so is a section. A key that is neither in `keys`
 * nor in `subsections` (NULL-terminated, may be NULL; their values are not looked at) is an error
 * that suggests the nearest known name. */
FQ_MUST_CHECK fq_status fq_section_load(const fq_document *document, const fq_node *map,
                                        const char *path, const fq_key *keys,
                                        const char *const *subsections, void *out);
/* Fill one field from a node. */
FQ_MUST_CHECK fq_status fq_value_load(const fq_document *document, const fq_node *node,
                                      const char *path, const fq_key *key, void *field);
/* Append the resolved section as YAML lines, `indent` spaces deep; reading them back gives equal
 * values to the last bit. */
void fq_section_write(fq_buffer *yaml, const fq_key *keys, const void *section, int indent);
/* Append "| key | type | default | allowed | meaning |" rows in Markdown. */
void fq_section_document(fq_buffer *markdown, const fq_key *keys, const char *path);

/* The known name nearest to `word` (at most 2 edits and a third of its length), or NULL. */
const char *fq_nearest(const char *word, const char *const *names);

#endif

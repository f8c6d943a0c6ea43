/* What the parts of config.h share: nodes, texts for messages, and values as YAML. */
#ifndef FQ_BASE_CONFIG_IMPL_H
#define FQ_BASE_CONFIG_IMPL_H

#include "base/config.h"

enum {
    SHOWN_BYTES = 80, /* of a value in a message */
    MESSAGE_BYTES = 640,
};

struct fq_node {
    fq_node_kind kind;
    bool         plain;          /* a scalar without quotes */
    int          line, key_line; /* of the value and of its key */
    const char  *origin;         /* "--set a.b=value"; NULL: from the file */
    const char  *key;            /* if it is a map's member */
    const char  *text;           /* of a scalar */
    fq_node    **members;
    size_t       n, capacity;
};

/* ---- document.c ---- */
/* An empty document, root NULL. */
FQ_MUST_CHECK fq_status fq_document_create(fq_document **out, const char *file);
/* One YAML value of any kind; *out is NULL if there is none at all. */
FQ_MUST_CHECK fq_status fq_value_parse(fq_document *document, const char *origin, fq_cbytes text,
                                       fq_node **out);
bool                    fq_node_is_null(const fq_node *node);
const char             *fq_node_kind_name(const fq_node *node); /* "a list" */
/* FQ_EINVAL "ORIGIN: message", or "FILE:LINE: message" without an origin. */
fq_status fq_document_fail(const fq_document *document, const char *origin, int line,
                           const char *message);
/* A text as one line of bounded length. */
const char *fq_text_show(char out[SHOWN_BYTES], const char *text);

/* ---- yaml_text.c ---- */
void fq_yaml_put(fq_buffer *out, const char *text);      /* as it is */
void fq_yaml_put_text(fq_buffer *out, const char *text); /* in quotes if it needs them */
/* Shortest of 15, 16 or 17 digits that reads back to the same bits, with a point in any locale. */
void fq_real_format(double value, char out[32]);

#endif

/* A format that `fedq-sim export` writes: one file and one row of export_table.c. */
#ifndef FQ_SIM_EXPORT_H
#define FQ_SIM_EXPORT_H

#include "eval/freeze.h"

/* What is exported. */
typedef struct fq_export {
    const fq_model        *model;
    const float           *w;
    const fq_quantization *quantization; /* NULL: float */
    const fq_provenance   *from;
} fq_export;

typedef struct fq_export_format {
    const char *name, *summary;
    /* The file's bytes. FQ_EINVAL: this format cannot hold this model. */
    fq_status (*write)(const fq_export *what, fq_buffer *out);
} fq_export_format;

extern const fq_export_format *const fq_export_formats[]; /* NULL-terminated */
const fq_export_format              *fq_export_format_find(const char *name);

extern const fq_export_format fq_export_fq;

#endif

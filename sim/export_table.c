#include "sim/export.h"

#include <string.h>

const fq_export_format *const fq_export_formats[] = {&fq_export_fq, NULL};

const fq_export_format *fq_export_format_find(const char *name) {
    for (size_t i = 0; fq_export_formats[i] != NULL; i++)
        if (strcmp(fq_export_formats[i]->name, name) == 0)
            return fq_export_formats[i];
    return NULL;
}

#include "infer/int_kernels.h"

#include "infer/int_kernels_impl.h"
#include "math/kernels.h"

#include <stdbool.h>
#include <string.h>

typedef struct row {
    const fq_int_kernels *kernels;
    const char           *level; /* of math/kernels.h that is needed */
    bool (*runs_here)(void);     /* beyond that; NULL: nothing */
} row;

#if defined(__x86_64__)
static bool has_vnni(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni");
}
#endif

/* Slowest first. */
static const row rows[] = {
    {&fq_int_kernels_plain, "plain", NULL},
    {&fq_int_kernels_baseline, "baseline", NULL},
#if defined(__x86_64__)
    {&fq_int_kernels_avx2, "v3", NULL},
    {&fq_int_kernels_vnni, "v4", has_vnni},
#endif
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static bool runs(const row *r) {
    return fq_kernels_find(r->level) != NULL && (r->runs_here == NULL || r->runs_here());
}

static size_t place_of(const char *level) {
    size_t i = 0;
    while (fq_kernel_names[i] != NULL && strcmp(fq_kernel_names[i], level) != 0)
        i++;
    return i;
}

/* The fastest row that is not above the level in use. A model asks once, when it is opened. */
const fq_int_kernels *fq_int_kernels_get(void) {
    size_t in_use = place_of(fq_kernels_get()->name);
    for (size_t i = N_ROWS; i-- > 1;)
        if (place_of(rows[i].level) <= in_use && runs(&rows[i]))
            return rows[i].kernels;
    return rows[0].kernels;
}

size_t fq_int_kernels_list(const fq_int_kernels **out, size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < N_ROWS && n < max; i++)
        if (runs(&rows[i]))
            out[n++] = rows[i].kernels;
    return n;
}

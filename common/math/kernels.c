#include "math/kernels.h"

#include "math/kernels_impl.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#if defined(__arm__)
#include <sys/auxv.h>
#endif

typedef struct row {
    const fq_kernels *kernels;
    bool (*runs_here)(void);
} row;

static bool runs_anywhere(void) {
    return true;
}

#if defined(__x86_64__)
/* The features of the x86-64 psABI levels that the compiler may use for -march=x86-64-v3 and -v4.
 */
static bool runs_v3(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("sse4.2");
}

#if defined(FQ_HAVE_V4)
static bool runs_v4(void) {
    return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

#elif defined(__arm__)
static bool runs_neon(void) {
    enum { NEON = 1 << 12, VFPV4 = 1 << 16 }; /* HWCAP_ of the kernel's asm/hwcap.h */
    return (getauxval(AT_HWCAP) & (NEON | VFPV4)) == (NEON | VFPV4);
}
#endif

/* Slowest first, in step with fq_kernel_names. */
static const row rows[] = {
    {&fq_kernels_plain, runs_anywhere},
    {&fq_kernels_baseline, runs_anywhere},
#if defined(__x86_64__)
    {&fq_kernels_v3, runs_v3},
#if defined(FQ_HAVE_V4)
    {&fq_kernels_v4, runs_v4},
#endif
#elif defined(__arm__)
    {&fq_kernels_neon, runs_neon},
#endif
};

enum { N_ROWS = sizeof rows / sizeof rows[0] };

const char *const fq_kernel_names[] = {
    "plain", "baseline",
#if defined(__x86_64__)
    "v3",
#if defined(FQ_HAVE_V4)
    "v4",
#endif
#elif defined(__arm__)
    "neon",
#endif
    NULL,
};

static const row *find(const char *name) {
    for (size_t i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].kernels->name, name) == 0)
            return &rows[i];
    return NULL;
}

const fq_kernels *fq_kernels_find(const char *name) {
    const row *found = find(name);
    return found != NULL && found->runs_here() ? found->kernels : NULL;
}

/* The forced name, NULL if the fastest row is wanted. */
static const char *forced(void) {
    const char *name = getenv("FQ_KERNELS");
    return name != NULL && name[0] != '\0' ? name : NULL;
}

fq_status fq_kernels_check(void) {
    const char *name = forced();
    if (name == NULL || fq_kernels_find(name) != NULL)
        return FQ_OK;
    if (find(name) != NULL)
        return fq_fail(FQ_EINVAL, "FQ_KERNELS: this processor cannot run \"%s\"", name);
    char known[64] = "";
    for (size_t i = 0; i < N_ROWS; i++) {
        strcat(known, i == 0 ? "" : ", ");
        strcat(known, rows[i].kernels->name);
    }
    return fq_fail(FQ_EINVAL, "FQ_KERNELS: \"%s\" is unknown; expected one of %s", name, known);
}

/* Few channels do not pay for the transforms; many need too much memory for their kernels. */
size_t fq_conv_scratch(const fq_conv *c) {
    enum { FEW = 8, MANY = 256, PLACES = 16 };
    const size_t in = c->in_c / c->groups, out = c->out_c / c->groups;
    if (c->kernel_h != 3 || c->kernel_w != 3 || c->stride != 1 || c->pad > 2 || in < FEW ||
        out < FEW || in > MANY || out > MANY)
        return 0;
    return PLACES * (in * out + (in + out) * FQ_WINOGRAD_COLUMNS + 2 * FQ_WINOGRAD_SKEW);
}

static const fq_kernels *chosen;
static pthread_once_t    once = PTHREAD_ONCE_INIT;

static void choose(void) {
    const char *name = forced();
    chosen = name == NULL ? NULL : fq_kernels_find(name);
    for (size_t i = N_ROWS; chosen == NULL; i--)
        if (rows[i - 1].runs_here())
            chosen = rows[i - 1].kernels;
}

const fq_kernels *fq_kernels_get(void) {
    pthread_once(&once, choose);
    return chosen;
}

/* What the commands of fedq-bench share: made-up data, settings, statistics, results. */
#ifndef FQ_BENCH_BENCH_H
#define FQ_BENCH_BENCH_H

#include "experiment/experiment.h"
#include "program/program.h"

#include <jansson.h>
#include <limits.h>

/* ---- options ---- */
/* --name as a number of min..max, `fallback` if it was not given; FQ_EINVAL names the option. */
FQ_MUST_CHECK fq_status fq_bench_real(const fq_cli *cli, const char *name, double min, double max,
                                      double fallback, double *out);

/* ---- statistics ---- */
typedef struct fq_spread {
    size_t n;
    double low, quarter, median, three_quarters, high;
} fq_spread;
/* Sorts x [n]; n = 0 gives zeros. */
fq_spread fq_spread_of(double *x, size_t n);

/* Repeat `work` until `seconds` have passed, 3 times at least; the seconds of each repetition. The
 * first one, which finds cold memory, does not count. */
typedef fq_status       fq_bench_work(void *context);
FQ_MUST_CHECK fq_status fq_bench_repeat(fq_bench_work *work, void *context, double seconds,
                                        fq_spread *out);

/* ---- data: examples of a shape as NumPy arrays in a folder ---- */
typedef struct fq_made_data {
    fq_shape shape;
    uint32_t classes;
    uint64_t clients, examples; /* of each client; example i belongs to user i / examples */
    uint64_t test_examples;     /* 0: no test part */
    uint64_t seed;
} fq_made_data;
/* One client, in the shape that this network of the zoo is made for; without examples as yet. */
fq_made_data fq_made_data_for(const char *model);
/* Bytes around a pattern of the class, so that there is something to learn. Half of a user's
 * examples are of two classes of its own. */
FQ_MUST_CHECK fq_status fq_made_data_write(const fq_made_data *data, const char *folder);

/* ---- folders ---- */
FQ_MUST_CHECK fq_status fq_bench_folder_make(char path[PATH_MAX]); /* below $TMPDIR, or /tmp */
void                    fq_bench_folder_remove(const char *path);  /* with all that is in it */

/* ---- settings ---- */
/* Settings as text, with the --set of `cli`, as an experiment on the heap: free() ends it. */
FQ_MUST_CHECK fq_status fq_bench_experiment(const fq_cli *cli, const char *yaml,
                                            fq_experiment **out);

/* ---- results ---- */
/* What runs, added to `result`: version, build, processor, kernels, BLIS. */
void fq_bench_identify(json_t *result);
/* Prints `result` as the command line asks and takes it; the exit code for `status`. */
int fq_bench_print(const fq_cli *cli, fq_status status, json_t *result);

#endif

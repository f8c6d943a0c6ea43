/* Weight and activation quantization: what the model must survive. Deterministic; not the coding of
 * updates, which is quant/quantizer.h.
 *
 * Grids (docs/methods.md, "Grids"; signed is the default for weights):
 *   signed      codes -2^(b-1) .. 2^(b-1)-1      x_hat = D q
 *   narrow      codes -(2^(b-1)-1) .. 2^(b-1)-1  x_hat = D q
 *   unsigned    codes 0 .. 2^b-1                 x_hat = D q
 *   asymmetric  codes 0 .. 2^b-1                 x_hat = D (q - z)
 * One bit: signed and narrow have the two levels -D/2 and D/2 (codes -1, 0; x_hat = D (q + 1/2)).
 * 32 bits means "not quantized" everywhere; widths are 1..8 otherwise.
 */
#ifndef FQ_QUANT_GRID_H
#define FQ_QUANT_GRID_H

#include "base/status.h"
#include "math/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FQ_FLOAT_BITS = 32, FQ_MAX_BITS = 8 };

typedef enum fq_grid_kind {
    FQ_GRID_SIGNED,
    FQ_GRID_NARROW,
    FQ_GRID_UNSIGNED,
    FQ_GRID_ASYMMETRIC
} fq_grid_kind;
extern const char *const fq_grid_names[]; /* "signed", ...; NULL-terminated, in enum order */

/* Integer codes of a grid: low..high as stored, before the zero point is taken off. */
void fq_grid_codes(fq_grid_kind kind, int bits, int32_t *low, int32_t *high);

/* The grid of a range [low, high], or of a step. low <= high, finite. Step at least 1e-8. */
fq_grid fq_grid_of_range(fq_grid_kind kind, int bits, float low, float high);
fq_grid fq_grid_of_step(fq_grid_kind kind, int bits, float step); /* not asymmetric */

/* ---- range rules: how the step of a tensor is found ---- */
typedef struct fq_range_options {
    double percentile; /* of `percentile`: the tail cut at each end, in percent; 0.01 */
    double margin;     /* of `mse`: added to max|x| before the search; 0 */
} fq_range_options;

typedef struct fq_range_rule {
    const char *name, *summary;
    /* The grid for n values at `bits` (1..8). n > 0, x finite. `scratch` [n] if needs_scratch, else
     * unused. */
    fq_grid (*fit)(const fq_range_options *options, fq_grid_kind kind, int bits, const float *x,
                   size_t n, float *scratch);
    bool needs_scratch;
    bool learned; /* the step is a model parameter: `fit` gives only its initial value */
} fq_range_rule;
/* minmax percentile mse gauss golden learned: the rules for weights. (running_minmax is a rule of
 * activations: fq_running_range below.) NULL-terminated; the lists of names are for keys of
 * settings, and name i is that of rule i. The fitted rules, all but the learned ones, come first.
 */
extern const fq_range_rule *const fq_range_rules[];
extern const char *const fq_range_names[], *const fq_fitted_range_names[];
const fq_range_rule *fq_range_find(const char *name);

/* Optimal steps of a uniform quantizer of a normal variable with standard deviation 1, b = 1..8
 * (Max 1960); `gauss` multiplies them by the standard deviation of the tensor. Index 0 is unused.
 */
extern const float fq_gauss_steps[FQ_MAX_BITS + 1];

/* The grid codes of one tensor. Per tensor: one grid. Per channel: one for each of the `channels`
 * rows. */
typedef enum fq_granularity { FQ_PER_TENSOR, FQ_PER_CHANNEL } fq_granularity;
extern const char *const fq_granularity_names[]; /* "tensor", "channel" */

/* Whether `name` is one of fq_granularity_names; then it is in `out`. */
bool fq_granularity_find(const char *name, fq_granularity *out);

typedef struct fq_weight_format {
    const fq_range_rule *rule;
    fq_range_options     options;
    fq_grid_kind         grid;
    fq_granularity       granularity;
} fq_weight_format;

size_t fq_weight_groups(const fq_weight_format *format, size_t channels); /* 1, or channels */

/* Fit the grids of a tensor [channels, count / channels] -> grids [groups]. */
void fq_weight_fit(const fq_weight_format *format, int bits, const float *x, size_t count,
                   size_t channels, float *scratch, fq_grid *grids);
/* y = Q(x); y may be x. */
void fq_weight_quantize(const fq_grid *grids, size_t groups, const float *x, size_t count,
                        float *y);
/* g <- gradient by x (straight-through with clip mask; lambda > 0: EWGS, Lee et al. 2021, arXiv
 * 2104.00903). */
void fq_weight_pull(const fq_grid *grids, size_t groups, const float *x, size_t count, float lambda,
                    float *g);
/* LSQ (Esser et al. 2020, arXiv 1902.08153, section 2.1): gradient of the loss by the step of one
 * group, from the upstream gradient g [count] (before any mask). `scale`: multiply by 1 /
 * sqrt(count * high), the paper's gradient scale. */
double fq_step_gradient(const fq_grid *grid, const float *x, const float *g, size_t count,
                        bool scale);

/* Exponential average of batch extremes: low = (1 - momentum) * batch low + momentum * low. The
 * first batch sets it (`started` false). */
void fq_running_range(float momentum, bool started, float batch_low, float batch_high, float *low,
                      float *high);

/* Accumulating search of the range with the least squared error over several batches: first pass
 * fq_range_search_widen over all batches, then fq_range_search_add over all, then the best. 100
 * widths of the range with the kind's own grid; on the asymmetric grid, unless no value is below
 * zero, each width at several zero points. */
typedef struct fq_range_search {
    fq_grid_kind kind;
    int          bits;
    float        low, high;
    double      *error; /* [fq_range_search_candidates] sums, width by width */
} fq_range_search;
size_t fq_range_search_candidates(fq_grid_kind kind, int bits); /* <= FQ_MAX_CANDIDATES */
enum { FQ_MAX_CANDIDATES = 100 * 127 };
/* `error` is kept until the search ends. */
void    fq_range_search_begin(fq_range_search *search, fq_grid_kind kind, int bits, double *error);
void    fq_range_search_widen(fq_range_search *search, const float *x, size_t n);
void    fq_range_search_add(fq_range_search *search, const float *x, size_t n);
fq_grid fq_range_search_best(const fq_range_search *search);

#endif

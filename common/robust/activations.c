/* Activations on a quantized device's grid: unsigned where they cannot be negative, else with a
 * zero point (or signed, if the step is learned). Ranges are found in the training pass itself.
 *
 * A client may never quantize a site, and then knows nothing of its range. So what the server
 * averages is not values v_k but s_k v_k and the share s_k: 1 from a client that saw a batch, and
 * what it was sent from one that did not. The average of both is linear, as every average of
 * updates is, and its quotient is the mean over those that know:
 *
 *   v = sum_k n_k s_k v_k / sum_k n_k s_k
 */
#include "robust/quantized_view.h"

#include <assert.h>
#include <math.h>

static const float RANGE_MOMENTUM = 0.9f;
static const float LEAST_STEP = 1e-6f;
/* A smaller share is what a coarse upload makes of 0. */
static const float LEAST_SHARE = 1e-6f;

/* Extremes over the valid lanes of x [features, lanes]. */
static void batch_range(size_t features, size_t batch, size_t lanes, const float *x, float *low,
                        float *high) {
    const fq_kernels *kernels = fq_kernels_get();
    if (batch == lanes) {
        kernels->min_max(features * lanes, x, low, high);
        return;
    }
    /* By groups of lanes, whose extremes stay in registers. */
    *low = *high = x[0];
    for (size_t first = 0; first < batch; first += FQ_LANES) {
        float least[FQ_LANES], most[FQ_LANES];
        for (size_t i = 0; i < FQ_LANES; i++)
            least[i] = most[i] = x[first + i];
        for (size_t f = 0; f < features; f++)
            for (size_t i = 0; i < FQ_LANES; i++) {
                const float value = x[f * lanes + first + i];
                least[i] = value < least[i] ? value : least[i];
                most[i] = value > most[i] ? value : most[i];
            }
        for (size_t i = 0; i < FQ_LANES && first + i < batch; i++) {
            *low = fminf(*low, least[i]);
            *high = fmaxf(*high, most[i]);
        }
    }
}

/* Mean of |x| over the valid lanes. */
static float mean_magnitude(size_t features, size_t batch, size_t lanes, const float *x) {
    double sum = 0.0;
    for (size_t f = 0; f < features; f++)
        for (size_t i = 0; i < batch; i++)
            sum += fabs((double)x[f * lanes + i]);
    return (float)(sum / (double)(features * batch));
}

/* Where the learned step of the present width is in the model; false: the batch's range is used. */
static bool learned_step(const fq_view_site *site, size_t *offset) {
    const int row = site->steps == NULL ? FQ_NO_ROW : fq_row_find(&site->rows, site->bits);
    if (row == FQ_NO_ROW)
        return false;
    *offset = site->steps->offset + (size_t)row;
    return true;
}

/* D = 2 first / sqrt(high) + step: LSQ's first value, from the mean magnitude in `first` [s mean,
 * s], and what SGD has added to it. A batch of nothing but zeros says nothing of it. */
static fq_grid learned_grid(const fq_view_site *site, float step, float *first, size_t features,
                            size_t batch, size_t lanes, const float *x) {
    assert(first != NULL); /* who has a step has this tensor */
    if (!(first[1] >= LEAST_SHARE)) {
        first[0] = mean_magnitude(features, batch, lanes, x);
        first[1] = first[0] > 0.0f ? 1.0f : 0.0f;
    }
    const float mean = first[1] > 0.0f ? first[0] / first[1] : 0.0f;
    const float high = fq_grid_of_step(site->kind, site->bits, 1.0f).high;
    const float learned = 2.0f * mean / sqrtf(fmaxf(high, 1.0f)) + step;
    return fq_grid_of_step(site->kind, site->bits, fmaxf(learned, LEAST_STEP));
}

bool fq_kept_range(const float *kept, float *low, float *high) {
    const float share = kept[2];
    if (!(share >= LEAST_SHARE))
        return false;
    *low = kept[0] / share;
    *high = kept[1] / share;
    return true;
}

/* range [s low, s high, s] becomes this client's own, with s = 1, and takes in a batch. */
static void run_range(float *range, float batch_low, float batch_high) {
    assert(range != NULL); /* planned wherever the rule is running_minmax */
    const bool started = fq_kept_range(range, &range[0], &range[1]);
    fq_running_range(RANGE_MOMENTUM, started, batch_low, batch_high, &range[0], &range[1]);
    range[2] = 1.0f;
}

static fq_grid find_grid(const fq_view *view, const fq_view_site *site, size_t features,
                         size_t batch, size_t lanes, const float *x) {
    float *range = site->range == NULL ? NULL : view->w + site->range->offset;
    size_t offset;
    if (learned_step(site, &offset))
        return learned_grid(site, view->w[offset], range, features, batch, lanes, x);
    float low, high;
    batch_range(features, batch, lanes, x, &low, &high);
    if (view->settings.format.activation_ranges == FQ_SITE_RUNNING) {
        run_range(range, low, high);
        low = range[0];
        high = range[1];
    }
    return fq_grid_of_range(site->kind, site->bits, low, high);
}

bool fq_site_quantize(void *context, size_t index, size_t features, size_t batch, size_t lanes,
                      const float *x, float *y) {
    const fq_view *view = context;
    fq_view_site  *site = &view->sites[index];
    if (site->bits == FQ_FLOAT_BITS)
        return false;
    site->grid = find_grid(view, site, features, batch, lanes, x);
    fq_kernels_get()->fake_quantize(features * lanes, x, &site->grid, y);
    return true;
}

/* Gradient by the step, over the valid lanes. The scale is LSQ's, 1 / sqrt(count * high). */
static double step_gradient(const fq_view *view, const fq_view_site *site, size_t features,
                            size_t batch, size_t lanes, const float *x, const float *dy) {
    double sum = 0.0;
    if (batch == lanes)
        sum = fq_step_gradient(&site->grid, x, dy, features * lanes, false);
    else
        for (size_t f = 0; f < features; f++)
            sum += fq_step_gradient(&site->grid, x + f * lanes, dy + f * lanes, batch, false);
    if (view->settings.format.lsq_grad_scale)
        sum /= sqrt((double)(features * batch) * fmax((double)site->grid.high, 1.0));
    return view->settings.format.step_rate * sum;
}

void fq_site_pull(void *context, size_t index, size_t features, size_t batch, size_t lanes,
                  const float *x, float *dy) {
    const fq_view      *view = context;
    const fq_view_site *site = &view->sites[index];
    size_t              offset;
    if (learned_step(site, &offset))
        view->g[offset] += (float)step_gradient(view, site, features, batch, lanes, x, dy);
    fq_kernels_get()->ste(features * lanes, x, &site->grid, (float)view->settings.format.ewgs, dy);
}

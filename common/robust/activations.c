/* Activations on a quantized device's grid: unsigned where they cannot be negative, else with a
 * zero point (or signed, if the step is learned). Ranges are found in the training pass itself. */
#include "robust/quantized_view.h"

#include <math.h>

static const float RANGE_MOMENTUM = 0.9f;
static const float LEAST_STEP = 1e-6f;

/* Extremes over the valid lanes of x [features, lanes]. */
static void batch_range(size_t features, size_t batch, size_t lanes, const float *x, float *low,
                        float *high) {
    const fq_kernels *kernels = fq_kernels_get();
    if (batch == lanes) {
        kernels->min_max(features * lanes, x, low, high);
        return;
    }
    *low = *high = x[0];
    for (size_t f = 0; f < features; f++)
        for (size_t i = 0; i < batch; i++) {
            *low = fminf(*low, x[f * lanes + i]);
            *high = fmaxf(*high, x[f * lanes + i]);
        }
}

/* LSQ's first step: D = 2 mean|x| / sqrt(high), over the valid lanes. */
static float first_step(float high, size_t features, size_t batch, size_t lanes, const float *x) {
    double sum = 0.0;
    for (size_t f = 0; f < features; f++)
        for (size_t i = 0; i < batch; i++)
            sum += fabs((double)x[f * lanes + i]);
    return (float)(2.0 * sum / ((double)(features * batch) * sqrt(fmax((double)high, 1.0))));
}

/* Where the learned step of the present width is in the model, or NULL: the batch's range is used.
 */
static const fq_tensor *learned_step(const fq_view_site *site, size_t *offset) {
    const int row = site->steps == NULL ? FQ_NO_ROW : fq_row_find(&site->rows, site->bits);
    if (row == FQ_NO_ROW)
        return NULL;
    *offset = site->steps->offset + (size_t)row;
    return site->steps;
}

static fq_grid find_grid(const fq_view *view, const fq_view_site *site, size_t features,
                         size_t batch, size_t lanes, const float *x) {
    size_t offset;
    if (learned_step(site, &offset) != NULL) {
        float *step = view->w + offset;
        if (*step == 0.0f)
            *step = first_step(fq_grid_of_step(site->kind, site->bits, 1.0f).high, features, batch,
                               lanes, x);
        return fq_grid_of_step(site->kind, site->bits, fmaxf(*step, LEAST_STEP));
    }
    float low, high;
    batch_range(features, batch, lanes, x, &low, &high);
    if (site->range != NULL) {
        float *range = view->w + site->range->offset;
        const bool started = range[0] != 0.0f || range[1] != 0.0f;
        fq_running_range(RANGE_MOMENTUM, started, low, high, &range[0], &range[1]);
        low = range[0];
        high = range[1];
    }
    return fq_grid_of_range(site->kind, site->bits, low, high);
}

bool fq_site_quantize(void *context, size_t index, size_t features, size_t batch, size_t lanes,
                      const float *x, float *y) {
    const fq_view *view = context;
    fq_view_site *site = &view->sites[index];
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
    const fq_view *view = context;
    const fq_view_site *site = &view->sites[index];
    size_t offset;
    if (learned_step(site, &offset) != NULL)
        view->g[offset] += (float)step_gradient(view, site, features, batch, lanes, x, dy);
    fq_kernels_get()->ste(features * lanes, x, &site->grid, (float)view->settings.format.ewgs, dy);
}

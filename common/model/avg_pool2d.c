/* Mean over a window; pixels of the padding count as zeros. */
#include "model/layer_impl.h"

#include <string.h>

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    fq_shape shape = {in[0].c, 0, 0};
    FQ_TRY(fq_pool_fit(fq_window_of(spec, spec->kernel), in[0], &shape));
    *out = (fq_layer_plan){.out = shape};
    return FQ_OK;
}

/* y += a x */
static void add_share(size_t lanes, float a, const float *restrict x, float *restrict y) {
    for (size_t l = 0; l < lanes; l++)
        y[l] += a * x[l];
}

static void forward(fq_layer_pass *p) {
    fq_window window = fq_window_of(p->spec, p->spec->kernel);
    size_t    lanes = p->lanes;
    float     share = 1.0f / (float)(window.kernel * window.kernel);
    memset(p->y, 0, fq_shape_count(p->out) * lanes * sizeof(float));
    for (size_t o = 0; o < fq_shape_count(p->out); o++) {
        fq_patch patch = fq_window_at(window, p->in[0], p->out, o);
        for (size_t i = patch.top; i < patch.bottom; i++)
            for (size_t j = patch.left; j < patch.right; j++)
                add_share(lanes, share, p->x[0] + fq_patch_pixel(&patch, i, j) * lanes,
                          p->y + o * lanes);
    }
}

static void backward(fq_layer_pass *p) {
    if (p->dx[0] == NULL)
        return;
    fq_window window = fq_window_of(p->spec, p->spec->kernel);
    size_t    lanes = p->lanes;
    float     share = 1.0f / (float)(window.kernel * window.kernel);
    memset(p->dx[0], 0, fq_shape_count(p->in[0]) * lanes * sizeof(float));
    for (size_t o = 0; o < fq_shape_count(p->out); o++) {
        fq_patch patch = fq_window_at(window, p->in[0], p->out, o);
        for (size_t i = patch.top; i < patch.bottom; i++)
            for (size_t j = patch.left; j < patch.right; j++)
                add_share(lanes, share, p->dy + o * lanes,
                          p->dx[0] + fq_patch_pixel(&patch, i, j) * lanes);
    }
}

const fq_layer fq_layer_avg_pool2d = {
    .name = "avg_pool2d",
    .summary = "mean over a window",
    .n_inputs = 1,
    .keys = "kernel stride pad",
    .sign = FQ_SIGN_KEPT,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};

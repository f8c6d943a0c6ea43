/* Maximum over a window; padding never wins. A NaN wins, so that a diverging run shows. */
#include "model/layer_impl.h"

#include <string.h>

static fq_status plan(const fq_layer_spec *spec, const fq_shape *in, fq_layer_plan *out) {
    fq_shape shape = {in[0].c, 0, 0};
    FQ_TRY(fq_pool_fit(fq_window_of(spec, spec->kernel), in[0], &shape));
    /* cached: which pixel of the window won, as a float (exact: fewer than 2^24 pixels) */
    *out = (fq_layer_plan){.out = shape, .cache_per_lane = fq_shape_count(shape)};
    return FQ_OK;
}

static void take_larger(size_t lanes, const float *restrict x, float *restrict y) {
    for (size_t l = 0; l < lanes; l++)
        y[l] = x[l] > y[l] || x[l] != x[l] ? x[l] : y[l];
}

static void take_larger_and_place(size_t lanes, float place, const float *restrict x,
                                  float *restrict y, float *restrict winner) {
    for (size_t l = 0; l < lanes; l++) {
        bool larger = x[l] > y[l] || x[l] != x[l];
        y[l] = larger ? x[l] : y[l];
        winner[l] = larger ? place : winner[l];
    }
}

static void forward(fq_layer_pass *p) {
    fq_window window = fq_window_of(p->spec, p->spec->kernel);
    size_t    lanes = p->lanes;
    for (size_t o = 0; o < fq_shape_count(p->out); o++) {
        fq_patch patch = fq_window_at(window, p->in[0], p->out, o);
        float   *y = p->y + o * lanes, *winner = p->train ? p->cache + o * lanes : NULL;
        memcpy(y, p->x[0] + fq_patch_pixel(&patch, patch.top, patch.left) * lanes,
               lanes * sizeof *y);
        if (p->train)
            for (size_t l = 0; l < lanes; l++)
                winner[l] = (float)(patch.top * window.kernel + patch.left);
        for (size_t i = patch.top; i < patch.bottom; i++)
            for (size_t j = patch.left; j < patch.right; j++) {
                const float *x = p->x[0] + fq_patch_pixel(&patch, i, j) * lanes;
                if (p->train)
                    take_larger_and_place(lanes, (float)(i * window.kernel + j), x, y, winner);
                else
                    take_larger(lanes, x, y);
            }
    }
}

static void give_to_winner(size_t lanes, float place, const float *restrict winner,
                           const float *restrict dy, float *restrict dx) {
    for (size_t l = 0; l < lanes; l++) {
        float g = dy[l]; /* read in any case: a conditional read keeps the loop from vector form */
        dx[l] += winner[l] == place ? g : 0.0f;
    }
}

static void backward(fq_layer_pass *p) {
    if (p->dx[0] == NULL)
        return;
    fq_window window = fq_window_of(p->spec, p->spec->kernel);
    size_t    lanes = p->lanes;
    memset(p->dx[0], 0, fq_shape_count(p->in[0]) * lanes * sizeof(float));
    for (size_t o = 0; o < fq_shape_count(p->out); o++) {
        fq_patch patch = fq_window_at(window, p->in[0], p->out, o);
        for (size_t i = patch.top; i < patch.bottom; i++)
            for (size_t j = patch.left; j < patch.right; j++)
                give_to_winner(lanes, (float)(i * window.kernel + j), p->cache + o * lanes,
                               p->dy + o * lanes, p->dx[0] + fq_patch_pixel(&patch, i, j) * lanes);
    }
}

const fq_layer fq_layer_max_pool2d = {
    .name = "max_pool2d",
    .summary = "maximum over a window",
    .n_inputs = 1,
    .keys = "kernel stride pad",
    .sign = FQ_SIGN_KEPT,
    .plan = plan,
    .forward = forward,
    .backward = backward,
};

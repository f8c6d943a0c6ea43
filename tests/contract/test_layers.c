/* What every layer of the table promises, checked on the cases below; a layer without a case fails.
 */
#include "math/kernels.h"
#include "model/layer.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Central differences in float32. With inputs up to 10, steps of STEP and sums of a few hundred
 * outputs, rounding costs about 2^-24 * 10 * sqrt(300) / STEP = 7e-4 at worst, and truncation,
 * STEP^2 / 6 times a third derivative of at most 1, 4e-5. A wrong formula is off by orders more. */
static const float  STEP = 1.0f / 64;
static const double TOLERANCE = 1e-3; /* relative to 1 + |gradient| */
enum { BATCH = 3 };                   /* of 8 lanes */

typedef struct layer_case {
    const char *layer;
    fq_shape    in;
    int64_t     out, kernel, stride, pad, groups;
    bool        no_bias;
} layer_case;

static const layer_case CASES[] = {
    {.layer = "dense", .in = {7, 1, 1}, .out = 5},
    {.layer = "dense", .in = {2, 3, 4}, .out = 3, .no_bias = true},
    {.layer = "conv2d", .in = {2, 5, 4}, .out = 3, .kernel = 3},
    {.layer = "conv2d", .in = {4, 5, 5}, .out = 6, .kernel = 3, .stride = 2, .pad = 1, .groups = 2},
    {.layer = "conv2d", .in = {3, 4, 4}, .out = 4, .kernel = 1, .no_bias = true},
    {.layer = "conv2d", .in = {4, 4, 3}, .out = 4, .kernel = 3, .pad = 2, .groups = 4},
    {.layer = "relu", .in = {3, 4, 5}},
    {.layer = "relu6", .in = {4, 4, 5}},
    {.layer = "max_pool2d", .in = {2, 6, 4}, .kernel = 2},
    {.layer = "max_pool2d", .in = {2, 5, 5}, .kernel = 3, .stride = 2, .pad = 1},
    {.layer = "max_pool2d", .in = {1, 5, 6}, .kernel = 3, .stride = 1},
    {.layer = "avg_pool2d", .in = {2, 6, 4}, .kernel = 2},
    {.layer = "avg_pool2d", .in = {2, 5, 5}, .kernel = 3, .stride = 2, .pad = 1},
    {.layer = "global_avg_pool", .in = {3, 3, 5}},
    {.layer = "group_norm", .in = {6, 3, 3}, .groups = 2},
    {.layer = "group_norm", .in = {8, 2, 2}},
    {.layer = "group_norm", .in = {4, 3, 2}, .groups = 1},
    {.layer = "batch_norm", .in = {3, 3, 4}},
    {.layer = "batch_norm", .in = {60, 1, 1}},
    {.layer = "add", .in = {2, 3, 4}},
    {.layer = "flatten", .in = {2, 3, 4}},
    {.layer = "dropout", .in = {3, 4, 4}},
    {.layer = "shortcut", .in = {2, 5, 4}, .out = 3, .stride = 2},
    {.layer = "shortcut", .in = {2, 3, 3}, .out = 2},
};
enum { N_CASES = sizeof CASES / sizeof *CASES };

/* One layer with all it reads and writes, each in memory of exactly the promised size. */
typedef struct rig {
    const fq_layer *layer;
    fq_layer_spec   spec;
    fq_layer_plan   plan;
    fq_shape        in[FQ_MAX_FROM];
    size_t          batch, lanes, count[FQ_MAX_LAYER_TENSORS];
    float          *x[FQ_MAX_FROM], *dx[FQ_MAX_FROM], *y, *dy;
    float          *w[FQ_MAX_LAYER_TENSORS], *dw[FQ_MAX_LAYER_TENSORS];
    float          *cache, *scratch;
} rig;

static float *floats(size_t n, float value) {
    float *x = malloc((n > 0 ? n : 1) * sizeof *x);
    CU_ASSERT_FATAL(x != NULL);
    for (size_t i = 0; i < n; i++)
        x[i] = value;
    return x;
}

/* Different odd multiples of 1/32: each at least two steps away from all others, from 0 and from 6,
 * so that no kink of a layer lies between the two points of a difference. Lanes past the batch get
 * a value that would show. */
static void fill_input(fq_rng *rng, size_t features, size_t batch, size_t lanes, float *x) {
    size_t   n = features * batch;
    uint32_t order[320];
    CU_ASSERT_FATAL(n <= sizeof order / sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    fq_rng_shuffle(rng, order, n);
    for (size_t f = 0, i = 0; f < features; f++)
        for (size_t l = 0; l < lanes; l++)
            x[f * lanes + l] =
                l < batch ? ((float)order[i++] + 0.5f - (float)(n / 2)) / 16.0f : 77.0f;
}

static void rig_init(rig *r, const layer_case *c) {
    *r = (rig){.layer = fq_layer_find(c->layer), .batch = BATCH, .lanes = fq_lanes(BATCH)};
    CU_ASSERT_FATAL(r->layer != NULL);
    fq_layer_spec_init(&r->spec, c->layer);
    r->spec.out = c->out;
    r->spec.kernel = c->kernel;
    r->spec.stride = c->stride;
    r->spec.pad = c->pad;
    r->spec.groups = c->groups;
    r->spec.bias = !c->no_bias;
    for (size_t k = 0; k < r->layer->n_inputs; k++)
        r->in[k] = c->in;
    FQ_ASSERT_OK(r->layer->plan(&r->spec, r->in, &r->plan));
    fq_rng rng = fq_rng_stream(7, FQ_RNG_DATA, 0, 0, 0, (uint32_t)(c - CASES));
    for (size_t k = 0; k < r->layer->n_inputs; k++) {
        r->x[k] = floats(fq_shape_count(c->in) * r->lanes, 0.0f);
        r->dx[k] = floats(fq_shape_count(c->in) * r->lanes, NAN);
        fill_input(&rng, fq_shape_count(c->in), r->batch, r->lanes, r->x[k]);
    }
    size_t n_out = fq_shape_count(r->plan.out) * r->lanes;
    r->y = floats(n_out, NAN);
    r->dy = floats(n_out, 0.0f);
    for (size_t i = 0; i < n_out; i++)
        if (i % r->lanes < r->batch)
            r->dy[i] = 2.0f * fq_rng_uniform(&rng) - 1.0f;
    for (size_t t = 0; t < r->plan.n_tensors; t++) {
        r->count[t] = 1;
        for (uint32_t axis = 0; axis < r->plan.tensors[t].n_axes; axis++)
            r->count[t] *= r->plan.tensors[t].shape[axis];
        r->w[t] = floats(r->count[t], 0.0f);
        for (size_t i = 0; i < r->count[t]; i++)
            r->w[t][i] = 0.25f + 0.5f * fq_rng_uniform(&rng) * (i % 3 == 1 ? -1.0f : 1.0f);
        r->dw[t] = floats(r->count[t], 1.0f); /* gradients are added to what is there */
    }
    r->cache = floats(r->plan.cache_per_lane * r->lanes + r->plan.cache_fixed, NAN);
    r->scratch = floats(r->plan.scratch_per_lane * r->lanes + r->plan.scratch_fixed, NAN);
}

static void rig_fini(rig *r) {
    for (size_t k = 0; k < FQ_MAX_FROM; k++) {
        free(r->x[k]);
        free(r->dx[k]);
    }
    for (size_t t = 0; t < FQ_MAX_LAYER_TENSORS; t++) {
        free(r->w[t]);
        free(r->dw[t]);
    }
    free(r->y);
    free(r->dy);
    free(r->cache);
    free(r->scratch);
}

static fq_layer_pass pass_of(const rig *r, bool train) {
    fq_layer_pass p = {.spec = &r->spec,
                       .out = r->plan.out,
                       .batch = r->batch,
                       .lanes = r->lanes,
                       .train = train,
                       .y = r->y,
                       .scratch = r->scratch,
                       .cache = train ? r->cache : NULL,
                       .rng = fq_rng_stream(3, FQ_RNG_DROPOUT, 0, 0, 0, 0)};
    for (size_t k = 0; k < r->layer->n_inputs; k++) {
        p.in[k] = r->in[k];
        p.x[k] = r->x[k];
    }
    for (size_t t = 0; t < r->plan.n_tensors; t++)
        p.w[t] = r->w[t];
    return p;
}

static void run_forward(rig *r, bool train) {
    fq_layer_pass p = pass_of(r, train);
    if (r->layer->forward != NULL)
        r->layer->forward(&p);
    else
        memcpy(r->y, r->x[0], fq_shape_count(r->in[0]) * r->lanes * sizeof(float));
}

/* `wanted`: whether the gradients by the inputs are. */
static void run_backward(rig *r, bool wanted) {
    fq_layer_pass p = pass_of(r, true);
    p.y = NULL;
    p.dy = r->dy;
    for (size_t k = 0; k < r->layer->n_inputs && wanted; k++)
        p.dx[k] = r->dx[k];
    for (size_t t = 0; t < r->plan.n_tensors; t++)
        if (r->plan.tensors[t].kind < FQ_STATISTIC)
            p.dw[t] = r->dw[t];
    r->layer->backward(&p);
}

/* sum of dy * y over the valid lanes: its gradient by y is dy */
static double functional(rig *r) {
    run_forward(r, true);
    double sum = 0.0;
    for (size_t i = 0; i < fq_shape_count(r->plan.out) * r->lanes; i++)
        if (i % r->lanes < r->batch)
            sum += (double)r->dy[i] * (double)r->y[i];
    return sum;
}

static double difference(rig *r, float *at) {
    float kept = *at;
    *at = kept + STEP;
    double above = functional(r);
    *at = kept - STEP;
    double below = functional(r);
    *at = kept;
    return (above - below) / (2.0 * (double)STEP);
}

static bool near(double gradient, double expected) {
    return fabs(gradient - expected) <= TOLERANCE * (1.0 + fabs(expected)); /* false for NaN */
}

static void report(const layer_case *c, const char *what, size_t i, double found, double expected) {
    fprintf(stderr, "case %d, %s: %s %zu is %g, expected %g\n", (int)(c - CASES), c->layer, what, i,
            found, expected);
}

static void check_gradients(const layer_case *c) {
    rig r;
    rig_init(&r, c);
    run_forward(&r, true);
    run_backward(&r, true);
    size_t wrong = 0;
    for (size_t k = 0; k < r.layer->n_inputs; k++)
        for (size_t i = 0; i < fq_shape_count(c->in) * r.lanes && wrong < 3; i++) {
            double expected = i % r.lanes < r.batch ? difference(&r, &r.x[k][i]) : 0.0;
            if (!near((double)r.dx[k][i], expected)) {
                report(c, "dx", i, (double)r.dx[k][i], expected);
                wrong++;
            }
        }
    for (size_t t = 0; t < r.plan.n_tensors; t++)
        for (size_t i = 0; i < r.count[t] && wrong < 3; i++) {
            bool   trained = r.plan.tensors[t].kind < FQ_STATISTIC;
            double expected = 1.0 + (trained ? difference(&r, &r.w[t][i]) : 0.0);
            if (!near((double)r.dw[t][i], expected)) {
                report(c, r.plan.tensors[t].name, i, (double)r.dw[t][i], expected);
                wrong++;
            }
        }
    CU_ASSERT_EQUAL(wrong, 0);
    rig_fini(&r);
}

static void test_gradients(void) {
    for (size_t i = 0; i < N_CASES; i++)
        if (fq_layer_find(CASES[i].layer)->backward != NULL)
            check_gradients(&CASES[i]);
}

static void test_inputs_gradient_not_wanted(void) {
    for (size_t i = 0; i < N_CASES; i++) {
        rig with, without;
        rig_init(&with, &CASES[i]);
        rig_init(&without, &CASES[i]);
        if (with.layer->backward != NULL) {
            run_forward(&with, true);
            run_backward(&with, true);
            run_forward(&without, true);
            run_backward(&without, false);
            for (size_t t = 0; t < with.plan.n_tensors; t++)
                CU_ASSERT_EQUAL(memcmp(with.dw[t], without.dw[t], with.count[t] * sizeof(float)),
                                0);
        }
        rig_fini(&with);
        rig_fini(&without);
    }
}

static void test_every_layer_has_a_case(void) {
    for (size_t i = 0; fq_layers[i] != NULL; i++) {
        size_t found = 0;
        for (size_t c = 0; c < N_CASES; c++)
            found += strcmp(CASES[c].layer, fq_layers[i]->name) == 0;
        if (found == 0)
            fprintf(stderr, "%s has no case\n", fq_layers[i]->name);
        CU_ASSERT_NOT_EQUAL(found, 0);
    }
}

static void test_rows_are_complete(void) {
    for (size_t i = 0; fq_layers[i] != NULL; i++) {
        const fq_layer *layer = fq_layers[i];
        CU_ASSERT_PTR_EQUAL(fq_layer_find(layer->name), layer);
        CU_ASSERT(strlen(layer->name) < FQ_WORD_BYTES && layer->summary[0] != '\0');
        CU_ASSERT(layer->n_inputs >= 1 && layer->n_inputs <= FQ_MAX_FROM);
        CU_ASSERT_PTR_NOT_NULL(layer->plan);
        CU_ASSERT_EQUAL(layer->forward == NULL, layer->backward == NULL);
        char keys[128];
        snprintf(keys, sizeof keys, "%s", layer->keys);
        for (char *rest = NULL, *word = strtok_r(keys, " ", &rest); word != NULL;
             word = strtok_r(NULL, " ", &rest)) {
            const fq_key *key = fq_layer_keys;
            while (key->name != NULL && strcmp(key->name, word) != 0)
                key++;
            CU_ASSERT_PTR_NOT_NULL(key->name);
        }
    }
    CU_ASSERT_PTR_NULL(fq_layer_find("no_such_layer"));
}

/* A layer that applies a relu does what a relu behind it does, to the bit. Returns how many outputs
 * the relu changes. */
static size_t check_applied_relu(const layer_case *c) {
    rig plain, fused;
    rig_init(&plain, c);
    rig_init(&fused, c);
    const size_t n = fq_shape_count(plain.plan.out) * plain.lanes;
    run_forward(&plain, true);
    fq_layer_pass p = pass_of(&fused, true);
    p.relu = true;
    fused.layer->forward(&p);
    size_t wrong = 0, dead = 0;
    for (size_t i = 0; i < n; i++) {
        const bool passes = plain.y[i] > 0.0f;
        wrong += fused.y[i] != (passes ? plain.y[i] : 0.0f);
        plain.dy[i] = passes ? plain.dy[i] : 0.0f;
        dead += !passes && i % plain.lanes < plain.batch;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    run_backward(&plain, true);
    p.dy = fused.dy;
    for (size_t k = 0; k < fused.layer->n_inputs; k++)
        p.dx[k] = fused.dx[k];
    for (size_t t = 0; t < fused.plan.n_tensors; t++)
        p.dw[t] = fused.dw[t];
    fused.layer->backward(&p);
    for (size_t k = 0; k < fused.layer->n_inputs; k++)
        for (size_t i = 0; i < fq_shape_count(c->in) * fused.lanes; i++)
            wrong += fused.dx[k][i] != plain.dx[k][i];
    for (size_t t = 0; t < fused.plan.n_tensors; t++)
        wrong += memcmp(fused.dw[t], plain.dw[t], fused.count[t] * sizeof(float)) != 0;
    CU_ASSERT_EQUAL(wrong, 0);
    rig_fini(&plain);
    rig_fini(&fused);
    return dead;
}

static void test_applied_relu(void) {
    size_t checked = 0, changed = 0;
    for (size_t i = 0; i < N_CASES; i++)
        if (fq_layer_find(CASES[i].layer)->applies_relu) {
            changed += check_applied_relu(&CASES[i]);
            checked++;
        }
    CU_ASSERT(checked >= 7 && changed > 10);
}

/* What a layer may do in place is the same as with memory of its own. */
static void test_in_place(void) {
    for (size_t i = 0; i < N_CASES; i++) {
        if (!fq_layer_find(CASES[i].layer)->in_place)
            continue;
        rig apart, same;
        rig_init(&apart, &CASES[i]);
        rig_init(&same, &CASES[i]);
        const size_t n = fq_shape_count(apart.plan.out) * apart.lanes;
        run_forward(&apart, true);
        run_backward(&apart, true);
        fq_layer_pass p = pass_of(&same, true);
        p.y = same.x[0];
        same.layer->forward(&p);
        CU_ASSERT_EQUAL(memcmp(same.x[0], apart.y, n * sizeof(float)), 0);
        p.dy = same.dy;
        p.dx[0] = same.dy;
        same.layer->backward(&p);
        CU_ASSERT_EQUAL(memcmp(same.dy, apart.dx[0], n * sizeof(float)), 0);
        rig_fini(&apart);
        rig_fini(&same);
    }
}

/* Outputs are finite in all lanes, and outside of training only dropout and batch_norm differ. */
static void test_evaluation(void) {
    for (size_t i = 0; i < N_CASES; i++) {
        rig train, eval;
        rig_init(&train, &CASES[i]);
        rig_init(&eval, &CASES[i]);
        run_forward(&train, true);
        run_forward(&eval, false);
        size_t n = fq_shape_count(eval.plan.out) * eval.lanes, wrong = 0;
        for (size_t j = 0; j < n; j++)
            wrong += !isfinite(eval.y[j]) || !isfinite(train.y[j]);
        CU_ASSERT_EQUAL(wrong, 0);
        bool random =
            strcmp(CASES[i].layer, "dropout") == 0 || strcmp(CASES[i].layer, "batch_norm") == 0;
        CU_ASSERT_EQUAL(memcmp(train.y, eval.y, n * sizeof(float)) != 0, random);
        rig_fini(&train);
        rig_fini(&eval);
    }
}

/* The example of lane 2 gets the same result alone in lane 0, to the bit. */
static void test_lanes_are_independent(void) {
    for (size_t i = 0; i < N_CASES; i++) {
        rig many, one;
        rig_init(&many, &CASES[i]);
        rig_init(&one, &CASES[i]);
        one.batch = 1;
        for (size_t k = 0; k < one.layer->n_inputs; k++)
            for (size_t f = 0; f < fq_shape_count(one.in[k]); f++)
                for (size_t l = 0; l < one.lanes; l++)
                    one.x[k][f * one.lanes + l] = l == 0 ? many.x[k][f * many.lanes + 2] : 0.0f;
        run_forward(&many, false);
        run_forward(&one, false);
        size_t wrong = 0;
        for (size_t f = 0; f < fq_shape_count(one.plan.out); f++)
            wrong += memcmp(&one.y[f * one.lanes], &many.y[f * many.lanes + 2], sizeof(float)) != 0;
        CU_ASSERT_EQUAL(wrong, 0);
        rig_fini(&many);
        rig_fini(&one);
    }
}

static void test_sign_is_as_promised(void) {
    for (size_t i = 0; i < N_CASES; i++) {
        rig r;
        rig_init(&r, &CASES[i]);
        for (size_t k = 0; k < r.layer->n_inputs && r.layer->sign == FQ_SIGN_KEPT; k++)
            for (size_t j = 0; j < fq_shape_count(r.in[k]) * r.lanes; j++)
                r.x[k][j] = fabsf(r.x[k][j]);
        run_forward(&r, true);
        size_t negative = 0;
        for (size_t j = 0; j < fq_shape_count(r.plan.out) * r.lanes; j++)
            negative += r.y[j] < 0.0f;
        CU_ASSERT_EQUAL(negative > 0, r.layer->sign == FQ_SIGN_ANY);
        rig_fini(&r);
    }
}

/* A NaN in the input reaches the output: divergence is not hidden. */
static void test_nan_is_kept(void) {
    for (size_t i = 0; i < N_CASES; i++) {
        rig r;
        rig_init(&r, &CASES[i]);
        for (size_t j = 0; j < fq_shape_count(r.in[0]) * r.lanes; j += r.lanes)
            r.x[0][j] = NAN;
        run_forward(&r, false);
        size_t found = 0;
        for (size_t j = 0; j < fq_shape_count(r.plan.out) * r.lanes; j += r.lanes)
            found += isnan(r.y[j]) != 0;
        CU_ASSERT_NOT_EQUAL(found, 0);
        rig_fini(&r);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"a relu applied by a layer", test_applied_relu},
        {"layers in place", test_in_place},
        {"rows are complete", test_rows_are_complete},
        {"every layer has a case", test_every_layer_has_a_case},
        {"gradients agree with differences", test_gradients},
        {"gradients by the input may be left out", test_inputs_gradient_not_wanted},
        {"evaluation", test_evaluation},
        {"lanes are independent", test_lanes_are_independent},
        {"signs are as promised", test_sign_is_as_promised},
        {"NaN is kept", test_nan_is_kept},
        {NULL, NULL},
    };
    return fq_run_suite("layers", cases);
}

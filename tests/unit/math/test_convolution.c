/* Every row against `plain`, which is against the definition of the gradients. All values are small
 * integers, so that sums are exact in any order and rows must agree to the bit. */
#include "base/rng.h"
#include "math/kernels.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    size_t in_c, in_h, in_w, out_c, kernel_h, kernel_w, stride, pad, groups, lanes;
} shape;

static const shape shapes[] = {
    {1, 28, 28, 6, 5, 5, 1, 2, 1, 8}, /* LeNet-5 */
    {6, 14, 14, 16, 5, 5, 1, 0, 1, 32},
    {1, 9, 9, 32, 5, 5, 1, 2, 1, 24},  /* FEMNIST CNN, cut down */
    {16, 8, 8, 32, 3, 3, 2, 1, 1, 32}, /* ResNet-20 */
    {16, 8, 8, 16, 3, 3, 1, 1, 1, 16},
    {16, 9, 9, 8, 1, 1, 2, 0, 1, 8},
    {19, 5, 7, 13, 1, 1, 1, 0, 1, 8},
    {400, 1, 1, 30, 1, 1, 1, 0, 1, 32}, /* dense */
    {7, 1, 1, 3, 1, 1, 1, 0, 1, 64},
    {16, 5, 5, 30, 5, 5, 1, 0, 1, 24}, /* kernel as large as the input */
    {3, 11, 6, 5, 3, 2, 3, 1, 1, 40},
    {8, 7, 9, 8, 3, 3, 1, 1, 8, 16}, /* depthwise */
    {8, 7, 9, 16, 3, 3, 2, 1, 8, 24},
    {12, 6, 6, 8, 3, 3, 1, 1, 4, 8},
    {2, 3, 2, 3, 5, 5, 1, 2, 1, 8},  /* kernel larger than the input */
    {2, 4, 4, 3, 3, 3, 1, 4, 1, 8},  /* pixels with nothing under the kernel */
    {2, 5, 5, 2, 2, 2, 3, 0, 1, 16}, /* inputs that nothing reads */
    {2, 3, 40, 2, 1, 7, 2, 5, 1, 8},
    {3, 20, 21, 4, 11, 9, 4, 3, 1, 16},
    {1, 40, 40, 2, 36, 36, 1, 2, 1, 16},
    {2, 10, 300, 3, 3, 3, 1, 1, 1, 8}, /* rows that do not fit the cache */
    {1, 3, 3, 1, 3, 3, 1, 1, 1, 264},
    {1, 1, 1, 1, 1, 1, 1, 0, 1, 8},
    {8, 4, 4, 8, 3, 3, 1, 0, 1, 8}, /* tiles: a single one */
    {13, 7, 5, 19, 3, 3, 1, 1, 1, 24},
    {32, 9, 3, 48, 3, 3, 1, 2, 1, 8},
    {16, 1, 2, 9, 3, 3, 1, 1, 1, 40},
    {40, 6, 11, 20, 3, 3, 1, 1, 2, 16},
    {64, 8, 8, 64, 3, 3, 1, 1, 1, 16},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_RANDOM = 40, GUARD = 16 };

static fq_conv conv_of(const shape *s) {
    return (fq_conv){
        .in_c = s->in_c,
        .in_h = s->in_h,
        .in_w = s->in_w,
        .out_c = s->out_c,
        .out_h = (s->in_h + 2 * s->pad - s->kernel_h) / s->stride + 1,
        .out_w = (s->in_w + 2 * s->pad - s->kernel_w) / s->stride + 1,
        .kernel_h = s->kernel_h,
        .kernel_w = s->kernel_w,
        .stride = s->stride,
        .pad = s->pad,
        .groups = s->groups,
        .lanes = s->lanes,
    };
}

/* Shapes nobody thought of. */
static shape random_shape(fq_rng *rng) {
    shape        s = {0};
    const size_t groups = 1 + fq_rng_below(rng, 3);
    s.groups = groups;
    s.in_c = groups * (1 + fq_rng_below(rng, 5));
    s.out_c = groups * (1 + fq_rng_below(rng, 9));
    s.kernel_h = 1 + fq_rng_below(rng, 6);
    s.kernel_w = 1 + fq_rng_below(rng, 6);
    s.stride = 1 + fq_rng_below(rng, 3);
    s.pad = fq_rng_below(rng, 4);
    s.in_h = 1 + fq_rng_below(rng, 9);
    s.in_w = 1 + fq_rng_below(rng, 9);
    if (s.in_h + 2 * s.pad < s.kernel_h)
        s.in_h = s.kernel_h;
    if (s.in_w + 2 * s.pad < s.kernel_w)
        s.in_w = s.kernel_w;
    s.lanes = FQ_LANES * (1 + fq_rng_below(rng, 5));
    return s;
}

/* A buffer with guards on both sides, that must keep its fill. */
typedef struct buffer {
    float *memory, *at;
    size_t n;
} buffer;

static buffer buffer_of(size_t n) {
    buffer b = {.memory = malloc((n + 2 * GUARD) * sizeof(float)), .n = n};
    CU_ASSERT_PTR_NOT_NULL_FATAL(b.memory);
    for (size_t i = 0; i < n + 2 * GUARD; i++)
        b.memory[i] = NAN;
    b.at = b.memory + GUARD;
    return b;
}

static buffer integers(size_t n, fq_rng *rng) {
    buffer b = buffer_of(n);
    for (size_t i = 0; i < n; i++)
        b.at[i] = (float)fq_rng_below(rng, 7) - 3.0f;
    return b;
}

static void fill(buffer b, float value) {
    for (size_t i = 0; i < b.n; i++)
        b.at[i] = value;
}

static bool same(buffer a, buffer b) {
    for (size_t i = 0; i < GUARD; i++)
        if (!isnan(a.memory[i]) || !isnan(a.at[a.n + i]))
            return false;
    for (size_t i = 0; i < a.n; i++)
        if (!(a.at[i] == b.at[i]))
            return false;
    return true;
}

static double dot(buffer a, buffer b) {
    double sum = 0;
    for (size_t i = 0; i < a.n; i++)
        sum += (double)a.at[i] * (double)b.at[i];
    return sum;
}

typedef struct operands {
    fq_conv c;
    buffer  x, w, bias, y, dy, dx, dw, dbias, scratch;
} operands;

static operands operands_of(const shape *s, fq_rng *rng) {
    operands     o = {.c = conv_of(s)};
    const size_t n_x = s->in_c * s->in_h * s->in_w * s->lanes;
    const size_t n_w = s->out_c * (s->in_c / s->groups) * s->kernel_h * s->kernel_w;
    const size_t n_y = s->out_c * o.c.out_h * o.c.out_w * s->lanes;
    o.x = integers(n_x, rng), o.w = integers(n_w, rng), o.bias = integers(s->out_c, rng);
    o.dy = integers(n_y, rng), o.y = buffer_of(n_y), o.dx = buffer_of(n_x);
    o.dw = buffer_of(n_w), o.dbias = buffer_of(s->out_c);
    o.scratch = buffer_of(fq_conv_scratch(&o.c));
    return o;
}

static void free_operands(operands *o) {
    buffer all[] = {o->x, o->w, o->bias, o->y, o->dy, o->dx, o->dw, o->dbias, o->scratch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i].memory);
}

static void run(const fq_kernels *k, operands *o) {
    fill(o->dw, 1.0f);
    fill(o->dbias, 2.0f);
    k->conv_forward(&o->c, o->x.at, o->w.at, o->bias.at, o->y.at, o->scratch.at);
    k->conv_backward_input(&o->c, o->dy.at, o->w.at, o->dx.at, o->scratch.at);
    k->conv_backward_weights(&o->c, o->x.at, o->dy.at, o->dw.at, o->dbias.at, o->scratch.at);
}

static void compare(const shape *s, fq_rng *rng) {
    fq_rng   again = *rng;
    operands plain = operands_of(s, rng);
    run(fq_kernels_find("plain"), &plain);
    for (const char *const *name = fq_kernel_names; *name != NULL; name++) {
        const fq_kernels *kernels = fq_kernels_find(*name);
        if (kernels == NULL)
            continue;
        fq_rng   stream = again;
        operands o = operands_of(s, &stream);
        run(kernels, &o);
        const bool right = same(o.y, plain.y) && same(o.dx, plain.dx) && same(o.dw, plain.dw) &&
                           same(o.dbias, plain.dbias);
        if (!right)
            fprintf(
                stderr,
                "%s: %zux%zux%zu -> %zu, kernel %zux%zu, stride %zu, pad %zu, groups %zu, lanes "
                "%zu: y %d dx %d dw %d dbias %d\n",
                *name, s->in_c, s->in_h, s->in_w, s->out_c, s->kernel_h, s->kernel_w, s->stride,
                s->pad, s->groups, s->lanes, same(o.y, plain.y), same(o.dx, plain.dx),
                same(o.dw, plain.dw), same(o.dbias, plain.dbias));
        CU_ASSERT_TRUE(right);
        free_operands(&o);
    }
    free_operands(&plain);
}

static void test_rows_agree(void) {
    fq_rng rng = fq_rng_stream(1, FQ_RNG_DATA, 0, 0, 0, 0);
    for (size_t i = 0; i < N_SHAPES; i++)
        compare(&shapes[i], &rng);
}

static void test_rows_agree_on_random_shapes(void) {
    fq_rng rng = fq_rng_stream(2, FQ_RNG_DATA, 0, 0, 0, 0);
    for (size_t i = 0; i < N_RANDOM; i++) {
        const shape s = random_shape(&rng);
        compare(&s, &rng);
    }
}

/* y is linear in x and in w, so <dy, conv(x, w)> = <dx, x> = <dw, w>. */
static void test_gradients(void) {
    fq_rng rng = fq_rng_stream(3, FQ_RNG_DATA, 0, 0, 0, 0);
    for (size_t i = 0; i < N_SHAPES; i++)
        for (const char *const *name = fq_kernel_names; *name != NULL; name++) {
            const fq_kernels *k = fq_kernels_find(*name);
            if (k == NULL)
                continue;
            operands o = operands_of(&shapes[i], &rng);
            fill(o.dw, 0.0f);
            k->conv_forward(&o.c, o.x.at, o.w.at, NULL, o.y.at, o.scratch.at);
            k->conv_backward_input(&o.c, o.dy.at, o.w.at, o.dx.at, o.scratch.at);
            k->conv_backward_weights(&o.c, o.x.at, o.dy.at, o.dw.at, NULL, o.scratch.at);
            const double y = dot(o.dy, o.y), x = dot(o.dx, o.x), w = dot(o.dw, o.w);
            CU_ASSERT_TRUE(y == x && y == w);
            free_operands(&o);
        }
}

/* One weight of 1 moves the picture; worked out by hand. */
static void test_definition(void) {
    float x[9 * FQ_LANES] = {0}, y[9 * FQ_LANES], w[9] = {0}, bias = 100.0f;
    for (size_t p = 0; p < 9; p++)
        x[p * FQ_LANES + 3] = (float)p + 1.0f;
    w[0 * 3 + 2] = 1.0f; /* row above, column to the right */
    const fq_conv      c = {.in_c = 1,
                            .in_h = 3,
                            .in_w = 3,
                            .out_c = 1,
                            .out_h = 3,
                            .out_w = 3,
                            .kernel_h = 3,
                            .kernel_w = 3,
                            .stride = 1,
                            .pad = 1,
                            .groups = 1,
                            .lanes = FQ_LANES};
    static const float expected[9] = {100, 100, 100, 102, 103, 100, 105, 106, 100};
    for (const char *const *name = fq_kernel_names; *name != NULL; name++) {
        const fq_kernels *k = fq_kernels_find(*name);
        if (k == NULL)
            continue;
        k->conv_forward(&c, x, w, &bias, y, NULL);
        for (size_t p = 0; p < 9; p++) {
            CU_ASSERT_EQUAL(y[p * FQ_LANES + 3], expected[p]);
            CU_ASSERT_EQUAL(y[p * FQ_LANES + 4], 100.0f);
        }
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"definition", test_definition},
        {"every row agrees with plain", test_rows_agree},
        {"every row agrees with plain on random shapes", test_rows_agree_on_random_shapes},
        {"gradients are the adjoint of the convolution", test_gradients},
        {NULL, NULL},
    };
    return fq_run_suite("convolution", cases);
}

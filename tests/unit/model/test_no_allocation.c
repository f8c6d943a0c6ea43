/* A training step and an evaluation allocate nothing. Calls of BLIS to malloc are its own affair.
 */
#include "model_rig.h"
#include "suite.h"

#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static size_t allocations;

void *__wrap_malloc(size_t size) {
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size) {
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size) {
    allocations++;
    return __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    allocations++;
    return __real_aligned_alloc(alignment, size);
}

static void step(model_rig *rig) {
    static const uint16_t labels[8] = {0};
    size_t                correct;
    const float          *logits = fq_model_forward(rig->model, rig->ws, rig->w, &rig->pass);
    fq_cross_entropy(logits, labels, fq_model_network(rig->model)->n_classes, rig->batch,
                     rig->lanes, rig->dlogits, &correct);
    if (rig->pass.train)
        fq_model_backward(rig->model, rig->ws, rig->w, &rig->pass, rig->dlogits, rig->grad);
}

static bool copy(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                 const float *x, float *y) {
    (void)context, (void)site, (void)batch;
    for (size_t i = 0; i < features * lanes; i++)
        y[i] = x[i];
    return true;
}

static void test_step(void) {
    static fq_network  network;
    const fq_site_hook hook = {.quantize = copy};
    for (const fq_zoo_entry *entry = fq_zoo; entry->name != NULL; entry++)
        for (int train = 0; train < 2; train++) {
            model_rig rig;
            FQ_ASSERT_OK(fq_zoo_build(entry->name, (fq_shape){1, 16, 16}, 10, &network));
            rig_init(&rig, &network, 3, train, true);
            rig.pass.sites = &hook;
            rig.pass.statistics = rig.w;
            step(&rig); /* the kernels may set themselves up */
            size_t before = allocations;
            CU_ASSERT_NOT_EQUAL(before, 0); /* the wrappers are at work */
            step(&rig);
            CU_ASSERT_EQUAL(allocations, before);
            rig_fini(&rig);
        }
}

int main(void) {
    static const fq_case cases[] = {{"a step allocates nothing", test_step}, {NULL, NULL}};
    return fq_run_suite("no allocation", cases);
}

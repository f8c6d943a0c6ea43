/* What every row of the robustness table promises, with its default settings. */
#include "base/config.h"
#include "robust/robustness.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EXTRA = 64 };

typedef struct rig {
    const fq_robustness *row;
    _Alignas(16) unsigned char config[4096];
    fq_model *model;
    fq_bound  bound;
    fq_arena  arena;
    size_t    size, trainable;
    float    *w, *u, *g;
} rig;

static void begin(rig *r, const fq_robustness *row) {
    *r = (rig){.row = row};
    fq_network network;
    fq_model  *plain;
    FQ_ASSERT_OK(fq_zoo_build("lenet5", (fq_shape){1, 28, 28}, 10, &network));
    CU_ASSERT_TRUE_FATAL(row->config_size <= sizeof r->config);
    FQ_ASSERT_OK(fq_section_load(NULL, NULL, row->name, row->keys, NULL, r->config));
    FQ_ASSERT_OK(fq_model_create(&plain, &network, NULL, 0));
    fq_extra_tensor extra[MAX_EXTRA];
    const size_t    n = row->extra == NULL ? 0 : row->extra(r->config, plain, extra, MAX_EXTRA);
    FQ_ASSERT_OK(fq_model_create(&r->model, &network, extra, n));
    r->bound = (fq_bound){.method = row, .config = r->config, .model = r->model};
    fq_model_destroy(&plain);
    r->size = fq_model_size(r->model);
    r->trainable = fq_model_trainable(r->model);
    r->w = calloc(r->size, sizeof *r->w);
    r->u = calloc(r->size, sizeof *r->u);
    r->g = calloc(r->size, sizeof *r->g);
    fq_model_init(r->model, 3, r->w);
    if (row->init_extra != NULL)
        row->init_extra(&r->bound, r->w);
    if (row->begin_turn == NULL)
        return;
    r->arena = fq_arena_measure();
    row->begin_turn(&r->bound, &r->arena);
    FQ_ASSERT_OK(fq_arena_init(&r->arena, r->arena.peak));
    row->begin_turn(&r->bound, &r->arena);
    FQ_ASSERT_OK(fq_arena_check(&r->arena));
}

static void end(rig *r) {
    free(r->w);
    free(r->u);
    free(r->g);
    fq_arena_fini(&r->arena);
    fq_model_destroy(&r->model);
}

static fq_step step_of(const rig *r, uint32_t step) {
    return (fq_step){.model = r->model,
                     .seed = 5,
                     .client = 2,
                     .round = 1,
                     .step = step,
                     .n_steps = 100,
                     .label_entropy = 1.0};
}

static void view(rig *r, uint32_t number) {
    const fq_step step = step_of(r, number);
    if (r->row->begin_step != NULL)
        r->row->begin_step(&r->bound, &step);
    memcpy(r->u, r->w, r->size * sizeof *r->u);
    if (r->row->view_weights != NULL) {
        memset(r->u, 0xff, r->size * sizeof *r->u); /* NaN where it forgets to write */
        r->row->view_weights(&r->bound, &step, r->w, r->u);
    }
}

static void test_rows(void) {
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        const fq_robustness *row = fq_robustnesses[i];
        CU_ASSERT_PTR_EQUAL(fq_robustness_find(row->name), row);
        CU_ASSERT_TRUE(strlen(row->summary) > 0 && strstr(row->source, " 20") != NULL);
        CU_ASSERT_TRUE(row->view_weights != NULL || row->penalty != NULL ||
                       row->after_step != NULL);
        CU_ASSERT_TRUE(!row->changes_weights || row->view_weights != NULL);
        rig r;
        begin(&r, row);
        if (row->check != NULL)
            FQ_ASSERT_OK(row->check(r.config));
        end(&r);
    }
    CU_ASSERT_PTR_NULL(fq_robustness_find("nothing"));
}

/* Latent weights are left alone; what is not a weight tensor is copied; all is finite; a step
 * replays. */
static void test_view(void) {
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        rig r;
        begin(&r, fq_robustnesses[i]);
        float *latent = malloc(r.size * sizeof *latent), *first = malloc(r.size * sizeof *first);
        memcpy(latent, r.w, r.size * sizeof *latent);
        view(&r, 4);
        CU_ASSERT_EQUAL(memcmp(latent, r.w, r.size * sizeof *latent), 0);
        memcpy(first, r.u, r.size * sizeof *first);
        size_t changed = 0;
        for (size_t t = 0; t < fq_model_tensor_count(r.model); t++) {
            const fq_tensor *tensor = fq_model_tensor(r.model, t);
            for (size_t j = tensor->offset; j < tensor->offset + tensor->count; j++) {
                /* A method with parts scales whole layers. */
                const bool may =
                    tensor->kind == FQ_WEIGHT || (tensor->kind == FQ_BIAS && r.row->parts != NULL);
                if (!isfinite(r.u[j]) || (!may && r.u[j] != r.w[j]))
                    CU_FAIL_FATAL("a value that is not finite, or not the method's to change");
                changed += r.u[j] != r.w[j];
            }
        }
        CU_ASSERT_EQUAL(changed > r.size / 2, r.row->view_weights != NULL);
        for (uint32_t s = 5; s < 9; s++)
            view(&r, s);
        view(&r, 4);
        CU_ASSERT_EQUAL(memcmp(first, r.u, r.size * sizeof *first), 0);
        free(latent);
        free(first);
        end(&r);
    }
}

/* A gradient of zero stays zero, and others never grow under the straight-through estimator; a
 * method with parts may scale whole layers. */
static void test_pull(void) {
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        rig r;
        begin(&r, fq_robustnesses[i]);
        if (r.row->pull_gradient != NULL) {
            const fq_step step = step_of(&r, 2);
            view(&r, 2);
            r.row->pull_gradient(&r.bound, &step, r.w, r.u, r.g);
            for (size_t j = 0; j < r.trainable; j++)
                if (r.g[j] != 0.0f)
                    CU_FAIL_FATAL("a gradient out of nothing");
            for (size_t j = 0; j < r.trainable; j++)
                r.g[j] = 1.0f;
            r.row->pull_gradient(&r.bound, &step, r.w, r.u, r.g);
            size_t kept = 0;
            for (size_t j = 0; j < r.trainable; j++) {
                CU_ASSERT_TRUE(r.g[j] == 0.0f || r.g[j] == 1.0f ||
                               (r.row->parts != NULL && r.g[j] > 1.0f));
                kept += r.g[j] >= 1.0f;
            }
            CU_ASSERT_TRUE(kept > r.trainable / 2);
        }
        end(&r);
    }
}

/* The penalty's gradient is added, for weight tensors only, and its value is not negative. */
static void test_penalty(void) {
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        rig r;
        begin(&r, fq_robustnesses[i]);
        if (r.row->penalty != NULL) {
            float *alone = calloc(r.size, sizeof *alone);
            CU_ASSERT_TRUE(r.row->penalty(&r.bound, r.w, alone) > 0.0);
            for (size_t j = 0; j < r.trainable; j++)
                r.g[j] = 1.0f;
            CU_ASSERT_TRUE(r.row->penalty(&r.bound, r.w, r.g) > 0.0);
            for (size_t t = 0; t < fq_model_tensor_count(r.model); t++) {
                const fq_tensor *tensor = fq_model_tensor(r.model, t);
                for (size_t j = tensor->offset; j < tensor->offset + tensor->count; j++)
                    if (fabsf(r.g[j] - 1.0f - alone[j]) > 1e-6f ||
                        (tensor->kind != FQ_WEIGHT && alone[j] != 0.0f))
                        CU_FAIL_FATAL("a gradient that is not added, or where none belongs");
            }
            free(alone);
        }
        end(&r);
    }
}

/* A turn begun again in the same arena needs no more memory and gives the same view. */
static void test_turns(void) {
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        rig r;
        begin(&r, fq_robustnesses[i]);
        if (r.row->begin_turn != NULL) {
            view(&r, 0);
            float       *first = malloc(r.size * sizeof *first);
            const size_t used = r.arena.used;
            memcpy(first, r.u, r.size * sizeof *first);
            fq_arena_reset(&r.arena);
            memset(r.arena.memory, 0xa5, r.arena.capacity);
            r.row->begin_turn(&r.bound, &r.arena);
            FQ_ASSERT_OK(fq_arena_check(&r.arena));
            CU_ASSERT_EQUAL(r.arena.used, used);
            view(&r, 0);
            CU_ASSERT_EQUAL(memcmp(first, r.u, r.size * sizeof *first), 0);
            free(first);
        }
        end(&r);
    }
}

/* Every part holds something that the parts before do not, every client has one of them, and the
 * largest is the whole model by default. */
static void test_parts(void) {
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        const fq_robustness *row = fq_robustnesses[i];
        CU_ASSERT_EQUAL(row->parts != NULL, row->part != NULL);
        if (row->parts == NULL)
            continue;
        rig r;
        begin(&r, row);
        uint8_t *level = malloc(r.size);
        size_t   held[FQ_MAX_PARTS] = {0}, parts = 0;
        memset(level, 0xa5, r.size);
        FQ_ASSERT_OK(row->parts(r.config, r.model, level));
        for (uint64_t client = 0; client < 1000; client++) {
            const size_t part = row->part(r.config, client);
            CU_ASSERT_TRUE_FATAL(part < FQ_MAX_PARTS);
            parts = part + 1 > parts ? part + 1 : parts;
        }
        for (size_t j = 0; j < r.size; j++) {
            CU_ASSERT_TRUE_FATAL(level[j] < parts);
            held[level[j]]++;
        }
        for (size_t p = 0; p < parts; p++)
            CU_ASSERT_TRUE(held[p] > 0);
        free(level);
        end(&r);
    }
}

int main(void) {
    static const fq_case cases[] = {{"rows", test_rows},   {"view", test_view},
                                    {"pull", test_pull},   {"penalty", test_penalty},
                                    {"turns", test_turns}, {"parts", test_parts},
                                    {NULL, NULL}};
    return fq_run_suite("robustness", cases);
}

#include "protocol/plan.h"

#include <math.h>
#include <stdlib.h>

fq_status fq_blocks_of_model(const fq_model *model, size_t block, fq_blocks *out) {
    *out = (fq_blocks){0};
    size_t  size = fq_model_size(model), tensors = fq_model_tensor_count(model);
    size_t  n = block == 0 ? tensors : size / block + (size % block != 0);
    size_t *ends = calloc(n == 0 ? 1 : n, sizeof *ends);
    if (ends == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu blocks", n);
    for (size_t i = 0; i < n; i++) {
        if (block == 0) {
            const fq_tensor *tensor = fq_model_tensor(model, i);
            ends[i] = tensor->offset + tensor->count;
        } else {
            ends[i] = i + 1 == n ? size : (i + 1) * block;
        }
    }
    *out = (fq_blocks){ends, n};
    return FQ_OK;
}

void fq_blocks_free(fq_blocks *blocks) {
    free((void *)(uintptr_t)blocks->ends);
    *blocks = (fq_blocks){0};
}

fq_status fq_recipe_model(const fq_recipe *recipe, const fq_network *network, fq_model **out) {
    *out = NULL;
    fq_model *plain;
    FQ_TRY(fq_model_create(&plain, network, NULL, 0));
    fq_extra_tensor *extra = calloc(FQ_MAX_EXTRA_TENSORS, sizeof *extra);
    fq_status        status = FQ_OK;
    size_t           n = 0;
    if (extra == NULL)
        status = fq_fail(FQ_ENOMEM, "no memory for the tensors of the robustness methods");
    for (size_t m = 0; status == FQ_OK && m < recipe->n_methods; m++)
        if (recipe->methods[m]->extra != NULL)
            n += recipe->methods[m]->extra(&recipe->method_configs[m], plain, extra + n,
                                           FQ_MAX_EXTRA_TENSORS - n);
    if (status == FQ_OK && n == 0) {
        *out = plain;
        plain = NULL;
    } else if (status == FQ_OK) {
        status = fq_model_create(out, network, extra, n);
    }
    free(extra);
    fq_model_destroy(&plain);
    uint8_t *first_part = NULL; /* only to see whether the model has the parts */
    if (status == FQ_OK)
        status = fq_recipe_parts(recipe, *out, &first_part);
    free(first_part);
    if (status != FQ_OK)
        fq_model_destroy(out);
    return status;
}

/* A method with parts stands alone in its list. */
bool fq_recipe_has_parts(const fq_recipe *recipe) {
    return recipe->n_methods > 0 && recipe->methods[0]->parts != NULL;
}

fq_status fq_recipe_parts(const fq_recipe *recipe, const fq_model *model, uint8_t **first_part) {
    *first_part = NULL;
    if (!fq_recipe_has_parts(recipe))
        return FQ_OK;
    *first_part = calloc(fq_model_size(model), sizeof **first_part);
    if (*first_part == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the parts of %zu values", fq_model_size(model));
    return recipe->methods[0]->parts(&recipe->method_configs[0], model, *first_part);
}

size_t fq_recipe_part(const fq_recipe *recipe, uint64_t client) {
    return fq_recipe_has_parts(recipe)
               ? recipe->methods[0]->part(&recipe->method_configs[0], client)
               : 0;
}

void fq_part_keep(const uint8_t *first_part, size_t part, size_t n, float *x) {
    for (size_t i = 0; first_part != NULL && i < n; i++)
        x[i] = first_part[i] <= part ? x[i] : 0.0f;
}

void fq_recipe_bind(const fq_recipe *recipe, const fq_model *model, fq_bound *bound) {
    for (size_t m = 0; m < recipe->n_methods; m++)
        bound[m] = (fq_bound){
            .method = recipe->methods[m], .config = &recipe->method_configs[m], .model = model};
}

void fq_recipe_init(const fq_recipe *recipe, const fq_model *model, uint64_t seed, float *w) {
    fq_bound bound[FQ_MAX_METHODS];
    fq_model_init(model, seed, w);
    fq_recipe_bind(recipe, model, bound);
    for (size_t m = 0; m < recipe->n_methods; m++)
        if (bound[m].method->init_extra != NULL)
            bound[m].method->init_extra(&bound[m], w);
}

const fq_ints *fq_recipe_capability(const fq_recipe *recipe, uint64_t client) {
    return recipe->n_capabilities == 0 ? NULL
                                       : &recipe->capabilities[client % recipe->n_capabilities];
}

double fq_recipe_rate(const fq_recipe *recipe, uint32_t round) {
    return recipe->rate * pow(recipe->rate_decay, round);
}

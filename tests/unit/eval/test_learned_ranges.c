/* Evaluation by the steps that a model has learned. */
#include "eval/evaluate.h"
#include "suite.h"
#include "tiny.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void create(fq_tiny *tiny, const char *train, const char *weights) {
    char yaml[1024];
    snprintf(yaml, sizeof yaml,
             "seed: 5\n"
             "data: {set: synthetic, clients: 6, features: 20, classes: 4, examples: 40, "
             "test_examples: 64}\n"
             "model: [{layer: dense, out: 16}, relu, {layer: dense, out: 4}]\n"
             "train: {clients_per_round: 3, batch: 12, rate: 0.1, %s}\n"
             "evaluate: {ranges: [learned, mse], weights: [%s]}\n",
             train, weights);
    fq_tiny_create(tiny, yaml);
}

static fq_evaluator *evaluator_of(fq_tiny *tiny) {
    fq_evaluator *evaluator;
    FQ_ASSERT_OK(fq_evaluator_create(&evaluator, tiny->setup.model, tiny->setup.dataset, NULL,
                                     &tiny->experiment->evaluate, 1, tiny->pool));
    return evaluator;
}

/* sum (w - Q(w))^2 / sum w^2 with the steps in the model. */
static double noise_by_steps(const fq_tiny *tiny, int bits, size_t row, bool logs) {
    const fq_model *model = tiny->setup.model;
    const float    *w = fq_server_weights(tiny->server);
    double          error = 0.0, energy = 0.0;
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t), *steps = NULL;
        char             name[FQ_TENSOR_NAME];
        if (tensor->kind != FQ_WEIGHT)
            continue;
        snprintf(name, sizeof name, "%.50s.step", tensor->name);
        for (size_t s = 0; s < fq_model_tensor_count(model); s++)
            if (strcmp(fq_model_tensor(model, s)->name, name) == 0)
                steps = fq_model_tensor(model, s);
        CU_ASSERT_PTR_NOT_NULL_FATAL(steps);
        const float   kept = w[steps->offset + row];
        const fq_grid grid = fq_grid_of_step(FQ_GRID_SIGNED, bits, logs ? expf(kept) : kept);
        error += fq_kernels_get()->quantization_error(tensor->count, w + tensor->offset, &grid);
        energy += fq_kernels_get()->sum_squares(tensor->count, w + tensor->offset);
    }
    return error / energy;
}

static void check_model(const char *train, bool logs) {
    fq_tiny   tiny;
    fq_figure figures[FQ_MAX_FIGURES];
    create(&tiny, train, "4, 3");
    FQ_ASSERT_OK(fq_pool_create(&tiny.pool, 2));
    fq_tiny_run(&tiny, 3, 1);
    fq_evaluator *evaluator = evaluator_of(&tiny);
    FQ_ASSERT_OK(fq_evaluator_learn(evaluator, &tiny.experiment->recipe));
    FQ_ASSERT_OK(fq_evaluator_run(evaluator, fq_server_weights(tiny.server), figures));
    CU_ASSERT_EQUAL_FATAL(fq_evaluator_count(evaluator), 5);
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_STRING_EQUAL(figures[1 + i].rule, "learned");
        CU_ASSERT_EQUAL(figures[1 + i].weight_bits, i == 0 ? 4 : 3);
        CU_ASSERT_DOUBLE_EQUAL(figures[1 + i].noise,
                               noise_by_steps(&tiny, figures[1 + i].weight_bits, 1 - i, logs),
                               1e-6);
        /* Another grid than that of the search, which knows no better one. */
        CU_ASSERT_TRUE(figures[1 + i].noise > 0.999 * figures[3 + i].noise);
        CU_ASSERT_TRUE(figures[1 + i].noise != figures[3 + i].noise);
    }
    fq_evaluator_destroy(&evaluator);
    fq_pool_destroy(&tiny.pool);
    fq_tiny_destroy(&tiny);
}

static void test_learned(void) {
    check_model("robustness: [kure, mqat], mqat: {bits: [3, 4, 32], ranges: learned}", false);
    check_model("robustness: [mqat], mqat: {bits: [3, 4], ranges: learned, log_steps: true, "
                "step_optimizer: adam, adam_rate: 0.001}",
                true);
}

/* No learned steps, none at that width, and nobody who says what was learned. */
static void test_refusals(void) {
    static const struct {
        const char *train, *weights, *text;
    } rows[] = {
        {"robustness: []", "4", "the model has no learned steps of weights"},
        {"robustness: [kure]", "4", "the model has no learned steps of weights"},
        {"robustness: [qat], qat: {bits: 4}", "4", "dense1.weight has no learned step at 4 bits"},
        {"robustness: [qat], qat: {bits: 4, ranges: learned}", "4, 5",
         "dense1.weight has no learned step at 5 bits"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fq_tiny   tiny;
        fq_figure figures[FQ_MAX_FIGURES];
        create(&tiny, rows[i].train, rows[i].weights);
        FQ_ASSERT_OK(fq_pool_create(&tiny.pool, 1));
        fq_evaluator *evaluator = evaluator_of(&tiny);
        FQ_ASSERT_FAILS(fq_evaluator_learn(evaluator, &tiny.experiment->recipe), FQ_EINVAL,
                        rows[i].text);
        FQ_ASSERT_FAILS(fq_evaluator_run(evaluator, fq_server_weights(tiny.server), figures),
                        FQ_EINVAL, rows[i].text);
        fq_evaluator_destroy(&evaluator);
        fq_pool_destroy(&tiny.pool);
        fq_tiny_destroy(&tiny);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"the model's own steps", test_learned},
        {"refusals", test_refusals},
        {NULL, NULL},
    };
    return fq_run_suite("learned_ranges", cases);
}

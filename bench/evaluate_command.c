/* One model at many bit-widths, and what that costs beside float alone. */
#include "bench/bench.h"
#include "bench/commands.h"
#include "math/gemm.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct evaluate_job {
    const char    *model, *weights;
    uint64_t       examples, threads;
    double         seconds;
    char           folder[PATH_MAX];
    fq_experiment *experiment;
    fq_setup       setup;
    fq_pool       *pool;
    fq_evaluator  *evaluator;
    float         *w;
    fq_figure      figures[FQ_MAX_FIGURES];
    size_t         n_figures;
    fq_spread      all, float_only;
} evaluate_job;

static fq_status evaluate(void *context) {
    evaluate_job *job = context;
    return fq_evaluator_run(job->evaluator, job->w, job->figures);
}

static fq_status measure_with(evaluate_job *job, const fq_eval_settings *settings, fq_spread *out) {
    fq_evaluator_destroy(&job->evaluator);
    FQ_TRY(fq_evaluator_create(&job->evaluator, job->setup.model, job->setup.dataset,
                               job->setup.partition, settings, 1, job->pool));
    job->n_figures = fq_evaluator_count(job->evaluator);
    return fq_bench_repeat(evaluate, job, 0.5 * job->seconds, out);
}

static fq_status measure(const fq_cli *cli, evaluate_job *job) {
    char         yaml[PATH_MAX + 512];
    fq_made_data data = fq_made_data_for(job->model);
    data.examples = 64;
    data.test_examples = job->examples;
    FQ_TRY(fq_bench_folder_make(job->folder));
    FQ_TRY(fq_made_data_write(&data, job->folder));
    snprintf(yaml, sizeof yaml,
             "name: evaluate\n"
             "data: {set: npy, path: \"%s\", clients: 1, split: iid}\n"
             "model: %s\n"
             "train: {clients_per_round: 1}\n"
             "evaluate: {weights: [32, %s]}\n",
             job->folder, job->model, job->weights);
    FQ_TRY(fq_bench_experiment(cli, yaml, &job->experiment));
    FQ_TRY(fq_setup_create(job->experiment, &job->setup));
    FQ_TRY(fq_pool_create(&job->pool, (size_t)job->threads));
    fq_gemm_start();
    job->w = calloc(fq_model_size(job->setup.model), sizeof *job->w);
    if (job->w == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the weights");
    fq_recipe_init(&job->experiment->recipe, job->setup.model, 1, job->w);
    fq_eval_settings settings = job->experiment->evaluate;
    settings.weights = (fq_ints){.n = 1, .v = {32}};
    FQ_TRY(measure_with(job, &settings, &job->float_only));
    return measure_with(job, &job->experiment->evaluate, &job->all);
}

static void release(evaluate_job *job) {
    fq_evaluator_destroy(&job->evaluator);
    fq_pool_destroy(&job->pool);
    fq_setup_fini(&job->setup);
    free(job->experiment);
    free(job->w);
    fq_bench_folder_remove(job->folder);
}

static json_t *result_of(const evaluate_job *job) {
    double  passes = (double)(job->examples * job->n_figures);
    json_t *result = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "model", job->model, "weights",
        job->weights, "examples", (json_int_t)job->examples, "figures", (json_int_t)job->n_figures,
        "threads", (json_int_t)job->threads, "ms_per_evaluation_median", 1e3 * job->all.median,
        "ms_float_only_median", 1e3 * job->float_only.median, "passes_per_second",
        passes / job->all.median, "cost_of_a_width",
        (job->all.median - job->float_only.median) /
            ((double)(job->n_figures - 1) * job->float_only.median));
    if (result != NULL)
        fq_bench_identify(result);
    return result;
}

static fq_status read_options(const fq_cli *cli, evaluate_job *job) {
    job->model = fq_cli_text(cli, "model", "lenet5");
    job->weights = fq_cli_text(cli, "weights", "8,6,5,4,3,2");
    job->examples = 2000;
    job->threads = 1;
    FQ_TRY(fq_cli_u64(cli, "examples", 1, 100000, &job->examples));
    FQ_TRY(fq_cli_u64(cli, "threads", 1, 256, &job->threads));
    return fq_bench_real(cli, "seconds", 0.001, 3600.0, 3.0, &job->seconds);
}

int fq_bench_evaluate_command(const fq_cli *cli, const char *command_line) {
    evaluate_job job = {0};
    (void)command_line;
    if (read_options(cli, &job) != FQ_OK)
        return fq_cli_wrong(cli, stderr);
    fq_status status = measure(cli, &job);
    int       code = fq_bench_print(cli, status, status == FQ_OK ? result_of(&job) : NULL);
    release(&job);
    return code;
}

/* Batch norm with quantized weights (spec 2.8): the moments that the float weights gave do not fit
 * any more, so they are the plain mean of the batch statistics over some training batches. */
#include "eval/eval_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool fq_moments_span(const fq_model *model, size_t *first, size_t *count) {
    *first = *count = 0;
    for (size_t i = 0; i < fq_model_tensor_count(model); i++) {
        const fq_tensor *tensor = fq_model_tensor(model, i);
        if (tensor->kind != FQ_STATISTIC)
            continue;
        if (*count == 0)
            *first = tensor->offset;
        *count = tensor->offset + tensor->count - *first;
    }
    return *count > 0;
}

static size_t copy_extras(const fq_model *model, fq_extra_tensor *out) {
    size_t n = 0;
    for (size_t i = 0; i < fq_model_tensor_count(model); i++) {
        const fq_tensor *tensor = fq_model_tensor(model, i);
        if (tensor->kind != FQ_STEP && tensor->kind != FQ_RANGE)
            continue;
        out[n] = (fq_extra_tensor){.kind = tensor->kind,
                                   .count = tensor->count,
                                   .layer = tensor->layer,
                                   .initial = tensor->initial};
        memcpy(out[n++].name, tensor->name, sizeof out->name);
    }
    return n;
}

fq_status fq_moments_model(fq_model **out, const fq_model *model) {
    fq_network      *network = malloc(sizeof *network);
    fq_extra_tensor *extra = calloc(fq_model_tensor_count(model) + 1, sizeof *extra);
    fq_status        status = FQ_ENOMEM;
    if (network == NULL || extra == NULL) {
        fq_fail(status, "no memory to prepare the moments of batch norm");
        goto done;
    }
    *network = *fq_model_network(model);
    for (size_t i = 0; i < network->n_layers; i++)
        if (strcmp(network->layers[i].layer, "dropout") == 0)
            network->layers[i].rate = 0;
    /* Starting from zero, a moving average with equal shares is half the statistic of the first
     * batch, to the bit. */
    for (size_t i = 0; i < fq_model_tensor_count(model); i++)
        if (fq_model_tensor(model, i)->kind == FQ_STATISTIC)
            network->layers[fq_model_tensor(model, i)->layer].momentum = 0.5;
    status = fq_model_create(out, network, extra, copy_extras(model, extra));
    assert(status != FQ_OK || fq_model_size(*out) == fq_model_size(model));
done:
    free(network);
    free(extra);
    return status;
}

typedef struct moments_job {
    const fq_model       *model;
    float *const         *w;
    size_t                n, first, count;
    const fq_calibration *calibration;
    fq_eval_worker       *workers;
    float                *results; /* [batches, n, count] */
} moments_job;

static fq_status run_batch(void *context, size_t task, size_t worker) {
    const moments_job    *job = context;
    const fq_eval_worker *own = &job->workers[worker];
    size_t                begin = task * FQ_MOMENTS_BATCH, left = job->calibration->n - begin;
    size_t                batch = left < FQ_MOMENTS_BATCH ? left : FQ_MOMENTS_BATCH;
    size_t                lanes = fq_lanes(batch);
    size_t                features = fq_shape_count(fq_model_network(job->model)->input);
    fq_calibration_gather(job->calibration, begin, batch, lanes, features, own->column, own->x);
    for (size_t i = 0; i < job->n; i++) {
        memcpy(fq_workspace_input(own->train), own->x, features * lanes * sizeof *own->x);
        memset(own->statistics + job->first, 0, job->count * sizeof *own->statistics);
        fq_pass pass = {.batch = batch, .train = true, .statistics = own->statistics};
        fq_model_forward(job->model, own->train, job->w[i], &pass);
        memcpy(job->results + (task * job->n + i) * job->count, own->statistics + job->first,
               job->count * sizeof *job->results);
    }
    return FQ_OK;
}

fq_status fq_moments_estimate(const fq_model *moments_model, float *const *w, size_t n,
                              const fq_calibration *calibration, size_t batches,
                              fq_eval_worker *workers, float *results, fq_pool *pool) {
    moments_job job = {moments_model, w, n, 0, 0, calibration, workers, results};
    if (!fq_moments_span(moments_model, &job.first, &job.count))
        return FQ_OK;
    FQ_TRY(fq_pool_for(pool, batches, run_batch, &job));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < job.count; k++) {
            double sum = 0;
            for (size_t b = 0; b < batches; b++)
                sum += 2.0 * (double)results[(b * n + i) * job.count + k];
            w[i][job.first + k] = (float)(sum / (double)batches);
        }
    return FQ_OK;
}

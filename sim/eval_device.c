#include "sim/eval_device.h"

#include "base/file.h"
#include "infer/predictor.h"
#include "math/kernels.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, FAKE = 0, INTEGER = 1 };

typedef struct worker {
    fq_workspace *ws;
    fq_session   *session;
    float        *x, *example, *logits, *column;
    uint16_t     *labels;
} worker;

typedef struct device_job {
    const fq_operand_model *on;
    fq_cbytes               bytes;
    fq_modelfile            file;
    fq_predictor           *predictor;
    fq_grid                *grids; /* of the sites */
    fq_arena                memory;
    worker                 *workers;
    size_t                  n_workers, batches;
    double                 *losses;   /* [batches, 2] */
    size_t                 *corrects; /* [batches, 2] */
    size_t                 *same;     /* [batches] */
} device_job;

static fq_status place(device_job *job, fq_arena *arena) {
    const fq_network *network = fq_model_network(job->on->model);
    size_t            features = fq_shape_count(network->input), lanes = fq_lanes(BATCH);
    job->workers = FQ_ARENA_NEW(arena, worker, job->n_workers);
    for (size_t i = 0; i < job->n_workers; i++) {
        worker own = {0};
        FQ_TRY(fq_workspace_create(&own.ws, job->on->model, BATCH, false, true, arena));
        own.x = FQ_ARENA_NEW(arena, float, features *lanes);
        own.example = FQ_ARENA_NEW(arena, float, features);
        own.logits = FQ_ARENA_NEW(arena, float, network->n_classes *lanes);
        own.column = FQ_ARENA_NEW(arena, float, network->n_classes);
        own.labels = FQ_ARENA_NEW(arena, uint16_t, BATCH);
        if (job->workers != NULL)
            job->workers[i] = own;
    }
    job->grids = FQ_ARENA_NEW(arena, fq_grid, job->file.quantization.n);
    job->losses = FQ_ARENA_NEW(arena, double, 2 * job->batches);
    job->corrects = FQ_ARENA_NEW(arena, size_t, 2 * job->batches);
    job->same = FQ_ARENA_NEW(arena, size_t, job->batches);
    return fq_arena_check(arena);
}

static fq_status prepare(device_job *job) {
    fq_arena measure = fq_arena_measure();
    FQ_TRY(fq_file_map(job->on->path, &job->bytes));
    FQ_TRY(fq_modelfile_open(job->bytes, &job->file));
    FQ_TRY(fq_predictor_of(&job->predictor, job->bytes, NULL));
    job->n_workers = fq_pool_workers(job->on->pool);
    job->batches = (fq_dataset_test_count(job->on->dataset) + BATCH - 1) / BATCH;
    FQ_TRY(place(job, &measure));
    FQ_TRY(fq_arena_init(&job->memory, measure.peak));
    FQ_TRY(place(job, &job->memory));
    for (size_t i = 0; i < job->n_workers; i++)
        FQ_TRY(fq_session_open(&job->workers[i].session, job->predictor));
    for (size_t s = 0; s < job->file.quantization.n; s++) {
        const fq_site_range *site = &job->file.quantization.sites[s];
        job->grids[s] = (fq_grid){.step = site->scale,
                                  .low = (float)-site->zero,
                                  .high = (float)((1 << site->bits) - 1 - site->zero)};
    }
    return FQ_OK;
}

static bool quantize_site(void *context, size_t site, size_t features, size_t batch, size_t lanes,
                          const float *x, float *y) {
    (void)batch;
    const device_job *job = context;
    fq_kernels_get()->fake_quantize(features * lanes, x, &job->grids[site], y);
    return true;
}

static size_t best_of(const float *logits, size_t n, size_t stride) {
    size_t best = 0;
    for (size_t c = 1; c < n; c++)
        if (logits[c * stride] > logits[best * stride])
            best = c;
    return best;
}

static fq_status evaluate_batch(void *context, size_t task, size_t index) {
    device_job *job = context;
    worker     *own = &job->workers[index];
    size_t      n = fq_dataset_test_count(job->on->dataset), first = task * BATCH;
    size_t      batch = n - first < BATCH ? n - first : BATCH, lanes = fq_lanes(batch);
    size_t      classes = fq_predictor_classes(job->predictor);
    size_t      features = fq_shape_count(fq_predictor_input(job->predictor));
    fq_dataset_gather_test(job->on->dataset, first, batch, lanes, own->x, own->labels);
    memcpy(fq_workspace_input(own->ws), own->x, features * lanes * sizeof *own->x);
    fq_site_hook hook = {.context = job, .quantize = quantize_site};
    fq_pass      pass = {.batch = batch, .sites = &hook};
    const float *fake = fq_model_forward(job->on->model, own->ws, job->on->w, &pass);
    job->losses[2 * task + FAKE] = fq_cross_entropy(fake, own->labels, classes, batch, lanes, NULL,
                                                    &job->corrects[2 * task + FAKE]);
    memset(own->logits, 0, classes * lanes * sizeof *own->logits);
    job->same[task] = 0;
    for (size_t i = 0; i < batch; i++) {
        for (size_t f = 0; f < features; f++)
            own->example[f] = own->x[f * lanes + i];
        size_t best = fq_session_run(own->session, own->example, own->column);
        for (size_t c = 0; c < classes; c++)
            own->logits[c * lanes + i] = own->column[c];
        job->same[task] += best == best_of(fake + i, classes, lanes);
    }
    job->losses[2 * task + INTEGER] = fq_cross_entropy(
        own->logits, own->labels, classes, batch, lanes, NULL, &job->corrects[2 * task + INTEGER]);
    return FQ_OK;
}

static void sum_up(const device_job *job, fq_device_figures *out) {
    double n = (double)fq_dataset_test_count(job->on->dataset);
    *out = (fq_device_figures){.weight_bits = 8,
                               .activation_bits = 8,
                               .examples = fq_dataset_test_count(job->on->dataset)};
    for (size_t s = 0; s < job->file.quantization.n; s++) {
        int w = job->file.quantization.codes[s].bits, a = job->file.quantization.sites[s].bits;
        out->weight_bits = w < out->weight_bits ? w : out->weight_bits;
        out->activation_bits = a < out->activation_bits ? a : out->activation_bits;
    }
    for (size_t b = 0; b < job->batches; b++) {
        for (int k = 0; k < 2; k++) {
            out->accuracy[k] += (double)job->corrects[2 * b + (size_t)k] / n;
            out->loss[k] += job->losses[2 * b + (size_t)k] / n;
        }
        out->same_class += job->same[b];
    }
}

fq_status fq_device_evaluate(const fq_operand_model *on, fq_device_figures *out) {
    device_job job = {.on = on};
    fq_status  status;
    FQ_GO(status, prepare(&job));
    FQ_GO(status, fq_pool_for(on->pool, job.batches, evaluate_batch, &job));
    sum_up(&job, out);
done:
    for (size_t i = 0; job.memory.memory != NULL && i < job.n_workers; i++)
        fq_session_close(&job.workers[i].session);
    fq_arena_fini(&job.memory);
    fq_predictor_close(&job.predictor);
    fq_modelfile_close(&job.file);
    if (job.bytes.data != NULL)
        fq_file_unmap(&job.bytes);
    return status;
}

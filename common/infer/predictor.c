#include "infer/predictor.h"

#include "base/file.h"
#include "math/kernels.h"

#include <stdlib.h>
#include <string.h>

struct fq_predictor {
    fq_allocator  allocator;
    fq_cbytes     bytes;
    bool          mapped;
    fq_provenance from;
    fq_shape      input;
    size_t        classes;
    fq_infer     *integers; /* NULL: float */
    fq_model     *model;
    float        *w;
};

struct fq_session {
    const fq_predictor *predictor;
    void               *block;  /* as allocated */
    void               *memory; /* its aligned part: the workspace of an integer model */
    int32_t            *logits;
    size_t              bytes;
    fq_arena            arena; /* of a float one */
    fq_workspace       *ws;
};

static fq_status no_memory(void) {
    return fq_fail(FQ_ENOMEM, "no memory for a model");
}

static fq_status fill(fq_predictor *p) {
    fq_modelfile file;
    FQ_TRY(fq_modelfile_open(p->bytes, &file));
    p->from = file.from;
    p->input = fq_model_network(file.model)->input;
    p->classes = fq_model_network(file.model)->n_classes;
    bool      integer = file.quantized && file.quantization.sites != NULL;
    fq_status status = integer ? fq_infer_create(&p->integers, &file, &p->allocator)
                               : fq_modelfile_take(&file, &p->model, &p->w);
    fq_modelfile_close(&file);
    return status;
}

static fq_status open_bytes(fq_predictor **out, fq_cbytes bytes, bool mapped,
                            const fq_allocator *allocator) {
    fq_allocator memory = allocator != NULL ? *allocator : fq_allocator_malloc;
    *out = NULL;
    fq_predictor *p = memory.allocate(memory.context, sizeof *p);
    if (p == NULL)
        return no_memory();
    *p = (fq_predictor){.allocator = memory, .bytes = bytes};
    fq_status status = fill(p);
    p->mapped = mapped && status == FQ_OK; /* else the caller unmaps */
    *out = p;
    if (status != FQ_OK)
        fq_predictor_close(out);
    return status;
}

fq_status fq_predictor_of(fq_predictor **out, fq_cbytes bytes, const fq_allocator *allocator) {
    return open_bytes(out, bytes, false, allocator);
}

fq_status fq_predictor_open(fq_predictor **out, const char *path, const fq_allocator *allocator) {
    fq_cbytes bytes;
    *out = NULL;
    FQ_TRY(fq_file_map(path, &bytes));
    fq_status status = open_bytes(out, bytes, true, allocator);
    if (status != FQ_OK) {
        fq_file_unmap(&bytes);
        fq_add_context("%s", path);
    }
    return status;
}

void fq_predictor_close(fq_predictor **predictor) {
    fq_predictor *p = *predictor;
    if (p == NULL)
        return;
    fq_infer_destroy(&p->integers);
    fq_model_destroy(&p->model);
    free(p->w);
    if (p->mapped)
        fq_file_unmap(&p->bytes);
    p->allocator.release(p->allocator.context, p);
    *predictor = NULL;
}

fq_shape fq_predictor_input(const fq_predictor *predictor) {
    return predictor->input;
}

size_t fq_predictor_classes(const fq_predictor *predictor) {
    return predictor->classes;
}

fq_arithmetic fq_predictor_arithmetic(const fq_predictor *predictor) {
    return predictor->integers != NULL ? FQ_ARITHMETIC_INTEGER : FQ_ARITHMETIC_FLOAT;
}

const fq_provenance *fq_predictor_from(const fq_predictor *predictor) {
    return &predictor->from;
}

const fq_infer *fq_predictor_integers(const fq_predictor *predictor) {
    return predictor->integers;
}

size_t fq_predictor_bytes(const fq_predictor *predictor) {
    if (predictor->integers != NULL)
        return fq_infer_bytes(predictor->integers) + fq_infer_packed_bytes(predictor->integers);
    return fq_model_size(predictor->model) * sizeof(float);
}

/* ---- sessions ---- */

static fq_status prepare_integers(fq_session *s) {
    const fq_predictor *p = s->predictor;
    size_t              workspace = fq_infer_workspace_bytes(p->integers);
    s->bytes = workspace + p->classes * sizeof *s->logits + 64;
    s->block = p->allocator.allocate(p->allocator.context, s->bytes);
    if (s->block == NULL)
        return no_memory();
    s->memory = (unsigned char *)s->block + (64 - (uintptr_t)s->block % 64) % 64;
    s->logits = (int32_t *)(void *)((unsigned char *)s->memory + workspace);
    return FQ_OK;
}

static fq_status prepare_float(fq_session *s) {
    fq_arena measure = fq_arena_measure();
    FQ_TRY(fq_workspace_create(&s->ws, s->predictor->model, 1, false, false, &measure));
    FQ_TRY(fq_arena_init(&s->arena, measure.peak));
    s->bytes = measure.peak;
    return fq_workspace_create(&s->ws, s->predictor->model, 1, false, false, &s->arena);
}

fq_status fq_session_open(fq_session **out, const fq_predictor *predictor) {
    const fq_allocator *memory = &predictor->allocator;
    *out = NULL;
    fq_session *s = memory->allocate(memory->context, sizeof *s);
    if (s == NULL)
        return no_memory();
    *s = (fq_session){.predictor = predictor};
    fq_status status = predictor->integers != NULL ? prepare_integers(s) : prepare_float(s);
    *out = s;
    if (status != FQ_OK)
        fq_session_close(out);
    return status;
}

void fq_session_close(fq_session **session) {
    fq_session *s = *session;
    if (s == NULL)
        return;
    const fq_allocator *memory = &s->predictor->allocator;
    if (s->block != NULL)
        memory->release(memory->context, s->block);
    fq_arena_fini(&s->arena);
    memory->release(memory->context, s);
    *session = NULL;
}

size_t fq_session_bytes(const fq_session *session) {
    return session->bytes;
}

static void run_float(fq_session *s, const float *x, float *logits) {
    const fq_predictor *p = s->predictor;
    size_t              lanes = fq_lanes(1), features = fq_shape_count(p->input);
    float              *input = fq_workspace_input(s->ws);
    memset(input, 0, features * lanes * sizeof *input);
    for (size_t f = 0; f < features; f++)
        input[f * lanes] = x[f];
    fq_pass      pass = {.batch = 1};
    const float *y = fq_model_forward(p->model, s->ws, p->w, &pass);
    for (size_t c = 0; c < p->classes; c++)
        logits[c] = y[c * lanes];
}

size_t fq_session_run(fq_session *session, const float *x, float *logits) {
    const fq_predictor *p = session->predictor;
    if (p->integers != NULL) {
        float scale = fq_infer_scale(p->integers);
        fq_infer_run(p->integers, session->memory, x, session->logits);
        for (size_t c = 0; c < p->classes; c++)
            logits[c] = (float)session->logits[c] * scale;
        return fq_infer_best(session->logits, p->classes);
    }
    run_float(session, x, logits);
    size_t best = 0;
    for (size_t c = 1; c < p->classes; c++)
        if (logits[c] > logits[best])
            best = c;
    return best;
}

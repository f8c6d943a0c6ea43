/* The C API over common/infer/predictor.h. */
#include "lib/fedq.h"

#include "infer/predictor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct fedq_model {
    fq_allocator  allocator; /* as given, or malloc's */
    fq_predictor *predictor;
};

struct fedq_session {
    const fedq_model *model;
    fq_session       *session;
    float            *x, *logits;
};

static fedq_status code_of(fq_status status) {
    switch (status) {
    case FQ_OK: return FEDQ_OK;
    case FQ_ENOMEM: return FEDQ_ENOMEM;
    case FQ_EIO: return FEDQ_EIO;
    case FQ_EPROTO: return FEDQ_EFORMAT;
    case FQ_ELIMIT: return FEDQ_ELIMIT;
    case FQ_ENONFINITE: return FEDQ_ENONFINITE;
    default: return FEDQ_EINVAL;
    }
}

const char *fedq_version(void) {
    return FQ_VERSION;
}

const char *fedq_error(void) {
    return fq_status_text();
}

/* ---- models ---- */

static fq_status check_norm(const fq_predictor *predictor) {
    uint32_t n = fq_predictor_from(predictor)->n_norm, channels = fq_predictor_input(predictor).c;
    if (n > 1 && n != channels)
        return fq_fail(FQ_EPROTO,
                       "a normalisation of %" PRIu32 " channels; expected one, or %" PRIu32, n,
                       channels);
    return FQ_OK;
}

static fq_status check_allocator(const fedq_allocator *allocator) {
    if (allocator != NULL && (allocator->allocate == NULL || allocator->release == NULL))
        return fq_fail(FQ_EINVAL, "an allocator without allocate or release");
    return FQ_OK;
}

static fq_status open_model(const char *path, fq_cbytes bytes, const fedq_allocator *allocator,
                            fedq_model **out) {
    FQ_TRY(check_allocator(allocator));
    fq_allocator memory = fq_allocator_malloc;
    if (allocator != NULL)
        memory = (fq_allocator){allocator->context, allocator->allocate, allocator->release};
    fedq_model *model = memory.allocate(memory.context, sizeof *model);
    if (model == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a model");
    *model = (fedq_model){.allocator = memory};
    fq_status status = path != NULL ? fq_predictor_open(&model->predictor, path, &memory)
                                    : fq_predictor_of(&model->predictor, bytes, &memory);
    if (status == FQ_OK)
        status = check_norm(model->predictor);
    *out = model;
    if (status != FQ_OK) {
        fedq_model_close(model);
        *out = NULL;
    }
    return status;
}

fedq_status fedq_model_open(const char *path, const fedq_allocator *allocator, fedq_model **out) {
    if (out == NULL)
        return code_of(fq_fail(FQ_EINVAL, "fedq_model_open: no place for the model"));
    *out = NULL;
    if (path == NULL)
        return code_of(fq_fail(FQ_EINVAL, "fedq_model_open: no path"));
    return code_of(open_model(path, (fq_cbytes){0}, allocator, out));
}

fedq_status fedq_model_open_bytes(const void *bytes, size_t size, const fedq_allocator *allocator,
                                  fedq_model **out) {
    if (out == NULL)
        return code_of(fq_fail(FQ_EINVAL, "fedq_model_open_bytes: no place for the model"));
    *out = NULL;
    if (bytes == NULL)
        return code_of(fq_fail(FQ_EINVAL, "fedq_model_open_bytes: no bytes"));
    return code_of(open_model(NULL, (fq_cbytes){bytes, size}, allocator, out));
}

void fedq_model_close(fedq_model *model) {
    if (model == NULL)
        return;
    fq_allocator memory = model->allocator;
    fq_predictor_close(&model->predictor);
    memory.release(memory.context, model);
}

void fedq_model_info(const fedq_model *model, fedq_info *out) {
    fq_shape shape = fq_predictor_input(model->predictor);
    *out = (fedq_info){
        .channels = shape.c,
        .height = shape.h,
        .width = shape.w,
        .classes = (uint32_t)fq_predictor_classes(model->predictor),
        .integer = fq_predictor_arithmetic(model->predictor) == FQ_ARITHMETIC_INTEGER,
        .model_bytes = fq_predictor_bytes(model->predictor),
    };
}

/* ---- sessions ---- */

static size_t features_of(const fedq_session *session) {
    return fq_shape_count(fq_predictor_input(session->model->predictor));
}

static size_t example_bytes(const fedq_session *session) {
    return (features_of(session) + fq_predictor_classes(session->model->predictor)) * sizeof(float);
}

fedq_status fedq_session_open(const fedq_model *model, fedq_session **out) {
    if (out != NULL)
        *out = NULL;
    if (model == NULL || out == NULL)
        return code_of(fq_fail(FQ_EINVAL, "fedq_session_open: no model, or no place"));
    const fq_allocator *memory = &model->allocator;
    fedq_session       *session = memory->allocate(memory->context, sizeof *session);
    if (session == NULL)
        return code_of(fq_fail(FQ_ENOMEM, "no memory for a session"));
    *session = (fedq_session){.model = model};
    fq_status status = fq_session_open(&session->session, model->predictor);
    if (status == FQ_OK) {
        session->x = memory->allocate(memory->context, example_bytes(session));
        if (session->x == NULL)
            status = fq_fail(FQ_ENOMEM, "no memory for an example");
        else
            session->logits = session->x + features_of(session);
    }
    if (status == FQ_OK)
        *out = session;
    else
        fedq_session_close(session);
    return code_of(status);
}

void fedq_session_close(fedq_session *session) {
    if (session == NULL)
        return;
    const fq_allocator *memory = &session->model->allocator;
    fq_session_close(&session->session);
    if (session->x != NULL)
        memory->release(memory->context, session->x);
    memory->release(memory->context, session);
}

size_t fedq_session_bytes(const fedq_session *session) {
    return sizeof *session + fq_session_bytes(session->session) + example_bytes(session);
}

/* ---- running ---- */

/* Mean and standard deviation of the channel of feature f. */
static void norm_of(const fedq_session *session, size_t f, float *mean, float *std) {
    const fq_provenance *from = fq_predictor_from(session->model->predictor);
    fq_shape             shape = fq_predictor_input(session->model->predictor);
    size_t               c = from->n_norm > 1 ? f / ((size_t)shape.h * shape.w) : 0;
    *mean = from->n_norm > 0 ? from->mean[c] : 0.0f;
    *std = from->n_norm > 0 ? from->std[c] : 1.0f;
}

static void run(fedq_session *session, float *logits, size_t *best) {
    float *to = logits != NULL ? logits : session->logits;
    size_t found = fq_session_run(session->session, session->x, to);
    if (best != NULL)
        *best = found;
}

fedq_status fedq_run_floats(fedq_session *session, const float *x, float *logits, size_t *best) {
    if (session == NULL || x == NULL)
        return code_of(fq_fail(FQ_EINVAL, "fedq_run_floats: no session, or no example"));
    for (size_t f = 0; f < features_of(session); f++) {
        float mean, std;
        norm_of(session, f, &mean, &std);
        session->x[f] = (x[f] - mean) / std;
        if (!isfinite(session->x[f]))
            return code_of(fq_fail(FQ_ENONFINITE,
                                   "value %zu of the example is %g; expected a finite "
                                   "number",
                                   f, (double)x[f]));
    }
    run(session, logits, best);
    return FEDQ_OK;
}

fedq_status fedq_run_bytes(fedq_session *session, const uint8_t *x, float *logits, size_t *best) {
    if (session == NULL || x == NULL)
        return code_of(fq_fail(FQ_EINVAL, "fedq_run_bytes: no session, or no example"));
    for (size_t f = 0; f < features_of(session); f++) {
        float mean, std;
        norm_of(session, f, &mean, &std);
        session->x[f] = (float)((x[f] / 255.0 - (double)mean) / (double)std);
    }
    run(session, logits, best);
    return FEDQ_OK;
}

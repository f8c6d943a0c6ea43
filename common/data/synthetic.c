/* synthetic(alpha, beta) of Li et al. 2020, "Federated optimization in heterogeneous networks",
 * section 5.1, as in their code: every client k has a true model and inputs of its own,
 *
 *     u_k ~ N(0, alpha)   W_k[f, c], b_k[c] ~ N(u_k, 1)
 *     B_k ~ N(0, beta)    v_k[f] ~ N(B_k, 1)
 *     x ~ N(v_k, diag(f^-1.2)), f = 1, 2, ...     y = argmax(softmax(x W_k + b_k))
 *
 * alpha and beta being standard deviations. Nothing is stored: a client's model and each example
 * are drawn anew from streams named by seed, client and example. */
#include "data/data_impl.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* The `layer` of streams; `step` is the number of an example. */
enum { STREAM_CLIENT, STREAM_EXAMPLE, STREAM_COUNT };

/* Test examples are numbered from here, training examples below. */
static const uint32_t FIRST_TEST = UINT32_C(1) << 31;

/* Numbers of examples are log-normal with this deviation of the logarithm, cut at LARGEST means. */
static const double SPREAD = 1.0;
enum { LARGEST = 10 };

typedef struct true_model {
    float w[FQ_SYNTHETIC_WEIGHTS]; /* [features, classes] */
    float b[FQ_SYNTHETIC_CLASSES]; /* [classes] */
    float v[FQ_SYNTHETIC_FEATURES];
} true_model;

static void draw_model(const fq_synthetic *s, uint64_t client, true_model *model) {
    fq_rng rng = fq_rng_stream(s->seed, FQ_RNG_DATA, 0, client, 0, STREAM_CLIENT);
    float  u = (float)(s->alpha * fq_rng_normal(&rng)), b = (float)(s->beta * fq_rng_normal(&rng));
    fq_rng_fill_normal(&rng, model->w, s->features * s->classes);
    fq_rng_fill_normal(&rng, model->b, s->classes);
    fq_rng_fill_normal(&rng, model->v, s->features);
    for (size_t i = 0; i < s->features * s->classes; i++)
        model->w[i] += u;
    for (size_t c = 0; c < s->classes; c++)
        model->b[c] += u;
    for (size_t f = 0; f < s->features; f++)
        model->v[f] += b;
}

/* x [features] of one example; its label is returned. logits [classes] is scratch. */
static uint16_t draw_example(const fq_synthetic *s, const true_model *model, uint64_t client,
                             uint32_t example, float *logits, float *x) {
    fq_rng rng = fq_rng_stream(s->seed, FQ_RNG_DATA, 0, client, example, STREAM_EXAMPLE);
    fq_rng_fill_normal(&rng, x, s->features);
    for (size_t c = 0; c < s->classes; c++)
        logits[c] = model->b[c];
    for (size_t f = 0; f < s->features; f++) {
        const float *w = model->w + f * s->classes;
        x[f] = model->v[f] + s->deviation[f] * x[f];
        for (size_t c = 0; c < s->classes; c++)
            logits[c] += x[f] * w[c];
    }
    size_t best = 0;
    for (size_t c = 1; c < s->classes; c++)
        if (logits[c] > logits[best])
            best = c;
    return (uint16_t)best;
}

size_t fq_synthetic_largest(const fq_synthetic *s) {
    size_t largest = LARGEST * s->mean_examples;
    return largest < s->min_examples ? s->min_examples : largest;
}

size_t fq_synthetic_count(const fq_synthetic *s, uint64_t client) {
    fq_rng rng = fq_rng_stream(s->seed, FQ_RNG_DATA, 0, client, 0, STREAM_COUNT);
    /* exp(mu + sigma z) has the mean exp(mu + sigma^2 / 2). */
    double n = (double)s->mean_examples * exp(SPREAD * fq_rng_normal(&rng) - SPREAD * SPREAD / 2.0);
    double largest = (double)fq_synthetic_largest(s);
    size_t count = (size_t)(n < largest ? n + 0.5 : largest);
    return count < s->min_examples ? s->min_examples : count;
}

void fq_synthetic_gather(const fq_synthetic *s, uint64_t client, const uint32_t *order,
                         size_t batch, size_t lanes, float *x, uint16_t *labels) {
    true_model model;
    float      logits[FQ_SYNTHETIC_CLASSES], row[FQ_SYNTHETIC_FEATURES];
    assert(batch <= lanes);
    draw_model(s, client, &model);
    for (size_t i = 0; i < batch; i++) {
        labels[i] = draw_example(s, &model, client, order[i], logits, row);
        for (size_t f = 0; f < s->features; f++)
            x[f * lanes + i] = row[f];
    }
    for (size_t f = 0; f < s->features; f++)
        for (size_t i = batch; i < lanes; i++)
            x[f * lanes + i] = 0.0f;
}

/* The test part is drawn once: evaluation reads it again and again. Client by client in turn. */
static fq_status draw_test(fq_dataset *set, size_t n) {
    const fq_synthetic *s = set->synthetic;
    fq_examples        *test = &set->test;
    size_t              size;
    if (!fq_size_mul(n, s->features * sizeof(float), &size) || size > FQ_DATA_FILE_LIMIT)
        return fq_fail(FQ_ELIMIT,
                       "data.test_examples: %zu of %zu features take more than %zu bytes", n,
                       s->features, FQ_DATA_FILE_LIMIT);
    test->memory = malloc(size);
    test->labels = malloc(n * sizeof *test->labels);
    true_model *model = malloc(sizeof *model);
    if (test->memory == NULL || test->labels == NULL || model == NULL) {
        free(model);
        return fq_fail(FQ_ENOMEM, "no memory for %zu synthetic test examples", n);
    }
    test->floats = test->memory;
    test->n = n;
    float logits[FQ_SYNTHETIC_CLASSES];
    for (uint64_t client = 0; client < set->users && client < n; client++) {
        draw_model(s, client, model);
        uint32_t example = FIRST_TEST;
        for (size_t i = client; i < n; i += set->users)
            test->labels[i] =
                draw_example(s, model, client, example++, logits, test->floats + i * s->features);
    }
    free(model);
    return FQ_OK;
}

static fq_status check_range(const char *key, int64_t value, int64_t min, int64_t max) {
    if (value < min || value > max)
        return fq_fail(FQ_EINVAL, "data.%s: %lld is not allowed; expected %lld to %lld", key,
                       (long long)value, (long long)min, (long long)max);
    return FQ_OK;
}

static fq_status check_settings(const fq_data_settings *d) {
    FQ_TRY(check_range("clients", d->clients, 1, INT64_MAX));
    FQ_TRY(check_range("features", d->features, 1, FQ_SYNTHETIC_FEATURES));
    FQ_TRY(check_range("classes", d->classes, 2, FQ_SYNTHETIC_CLASSES));
    FQ_TRY(check_range("features x classes", d->features * d->classes, 2, FQ_SYNTHETIC_WEIGHTS));
    FQ_TRY(check_range("examples", d->examples, 1, 1000000));
    FQ_TRY(check_range("min_examples", d->min_examples, 1, 1000000));
    FQ_TRY(check_range("test_examples", d->test_examples, 1, 1000000));
    return FQ_OK;
}

static fq_status open_synthetic(const fq_data_settings *settings, const char *folder, uint64_t seed,
                                fq_dataset **out) {
    (void)folder;
    *out = NULL;
    FQ_TRY(check_settings(settings));
    const fq_shape shape = {(uint32_t)settings->features, 1, 1};
    FQ_TRY(fq_dataset_new(fq_reader_synthetic.name, shape, (uint32_t)settings->classes, out));
    fq_status     status;
    fq_synthetic *s = (*out)->synthetic = calloc(1, sizeof *s);
    if (s == NULL) {
        status = fq_fail(FQ_ENOMEM, "no memory for the synthetic set");
        goto done;
    }
    s->seed = seed;
    s->features = (size_t)settings->features;
    s->classes = (size_t)settings->classes;
    s->alpha = settings->synthetic_alpha;
    s->beta = settings->synthetic_beta;
    s->mean_examples = (size_t)settings->examples;
    s->min_examples = (size_t)settings->min_examples;
    for (size_t f = 0; f < s->features; f++)
        s->deviation[f] = (float)pow((double)(f + 1), -0.6);
    (*out)->users = (uint64_t)settings->clients;
    FQ_GO(status, draw_test(*out, (size_t)settings->test_examples));
    FQ_GO(status, fq_dataset_finish(*out, settings, NULL));
done:
    if (status != FQ_OK)
        fq_dataset_close(out);
    return status;
}

const fq_data_reader fq_reader_synthetic = {
    .name = "synthetic",
    .summary =
        "made from the seed, any number of clients: synthetic(alpha, beta) of Li et al. 2020",
    .open = open_synthetic,
};

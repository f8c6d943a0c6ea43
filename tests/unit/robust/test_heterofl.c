/* HeteroFL: a client's network is the narrower one, and the server averages what clients hold. */
#include "base/rng.h"
#include "robust/robustness.h"
#include "suite.h"
#include "tiny.h"
#include "train/client_turn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the narrow network and its twin ---- */

static fq_layer_spec *append(fq_network *network, const char *layer, int64_t out) {
    fq_layer_spec *spec = &network->layers[network->n_layers++];
    fq_layer_spec_init(spec, layer);
    spec->out = out;
    return spec;
}

/* A convolution, a norm with groups of 2 channels, a residual block, a flattened end: `width`
 * channels in the trunk. */
static fq_model *build(int64_t width) {
    fq_network network = {.input = {2, 6, 6}, .n_classes = 3};
    fq_model  *model;
    append(&network, "conv2d", width)->kernel = 3;
    append(&network, "group_norm", 0)->groups = width / 2;
    append(&network, "relu", 0);
    fq_layer_spec *conv = append(&network, "conv2d", width);
    conv->kernel = 3;
    conv->pad = 1;
    fq_layer_spec *add = append(&network, "add", 0);
    add->from.n = 2;
    snprintf(add->from.v[0], sizeof add->from.v[0], "conv2d2");
    snprintf(add->from.v[1], sizeof add->from.v[1], "relu1");
    append(&network, "max_pool2d", 0)->kernel = 2;
    append(&network, "flatten", 0);
    append(&network, "dense", 3 * width);
    append(&network, "relu", 0);
    append(&network, "dense", 3);
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    return model;
}

/* The leading block of each tensor of `whole`, w -> the values of the narrow twin. */
static void cut(const fq_model *whole, const float *w, const fq_model *narrow, float *out) {
    for (size_t t = 0; t < fq_model_tensor_count(narrow); t++) {
        const fq_tensor *from = fq_model_tensor(whole, t), *to = fq_model_tensor(narrow, t);
        const size_t     rows = to->shape[0], row = to->count / rows;
        const size_t     stride = from->count / from->shape[0];
        for (size_t o = 0; o < rows; o++)
            memcpy(out + to->offset + o * row, w + from->offset + o * stride, row * sizeof *out);
    }
}

typedef struct run {
    const fq_model *model;
    fq_arena        arena;
    fq_workspace   *ws;
    float          *logits, *grad; /* [3, lanes], [P] */
} run;

enum { BATCH = 5, LANES = 8 };

/* One training pass of the same examples. */
static run pass_of(const fq_model *model, const float *w) {
    run           r = {.model = model};
    fq_rng        rng = fq_rng_stream(2, FQ_RNG_DATA, 0, 0, 0, 0);
    uint16_t      labels[BATCH];
    float         dlogits[3 * LANES];
    size_t        correct;
    const fq_pass pass = {.batch = BATCH, .train = true};
    FQ_ASSERT_OK(fq_arena_init(&r.arena, fq_workspace_bytes(model, BATCH, true, false)));
    FQ_ASSERT_OK(fq_workspace_create(&r.ws, model, BATCH, true, false, &r.arena));
    float *x = fq_workspace_input(r.ws);
    for (size_t i = 0; i < 2 * 6 * 6; i++)
        for (size_t l = 0; l < LANES; l++)
            x[i * LANES + l] = l < BATCH ? (float)fq_rng_normal(&rng) : 0.0f;
    for (size_t l = 0; l < BATCH; l++)
        labels[l] = (uint16_t)(l % 3);
    r.logits = malloc(3 * LANES * sizeof *r.logits);
    r.grad = calloc(fq_model_size(model), sizeof *r.grad);
    const float *logits = fq_model_forward(model, r.ws, w, &pass);
    memcpy(r.logits, logits, 3 * LANES * sizeof *logits);
    fq_cross_entropy(logits, labels, 3, BATCH, LANES, dlogits, &correct);
    fq_model_backward(model, r.ws, w, &pass, dlogits, r.grad);
    return r;
}

static void free_run(run *r) {
    free(r->logits);
    free(r->grad);
    fq_arena_fini(&r->arena);
}

static bool near(float a, float b) { /* sums in another order */
    return fabsf(a - b) <= 1e-5f * (1.0f + fabsf(b));
}

/* Multiply weights and biases of all layers but the last. */
static void scale_hidden(const fq_model *model, float factor, float *x) {
    for (size_t t = 0; t < fq_model_tensor_count(model); t++) {
        const fq_tensor *tensor = fq_model_tensor(model, t);
        if (strncmp(tensor->name, "dense2", 6) != 0 && strstr(tensor->name, "norm") == NULL)
            for (size_t i = 0; i < tensor->count; i++)
                x[tensor->offset + i] *= factor;
    }
}

typedef struct section {
    _Alignas(16) unsigned char bytes[1024];
} section;

static section settings_of(const char *yaml) {
    section      s;
    fq_document *document;
    FQ_ASSERT_OK(fq_document_parse(&document, "t.yaml",
                                   (fq_cbytes){(const unsigned char *)yaml, strlen(yaml)}));
    const fq_robustness *row = fq_robustness_find("heterofl");
    CU_ASSERT_TRUE_FATAL(row->config_size <= sizeof s.bytes);
    FQ_ASSERT_OK(fq_section_load(document, fq_document_root(document), "heterofl", row->keys, NULL,
                                 s.bytes));
    fq_document_destroy(&document);
    return s;
}

/* At a share of 1/2 the network is the one of half the width: logits and gradients, and nothing
 * comes back to what the client does not hold. With the scaler, hidden layers give twice as much.
 */
static void test_half_is_the_narrow_network(void) {
    for (int scaler = 0; scaler < 2; scaler++) {
        const section config =
            settings_of(scaler ? "{ratios: [0.5]}" : "{ratios: [0.5], scaler: false}");
        const fq_robustness *row = fq_robustness_find("heterofl");
        fq_model            *whole = build(8), *half = build(4);
        const size_t         size = fq_model_size(whole);
        const fq_bound       bound = {.method = row, .config = config.bytes, .model = whole};
        const fq_step        step = {.model = whole, .client = 6};
        uint8_t             *first_part = malloc(size);
        float               *w = malloc(size * sizeof *w), *u = malloc(size * sizeof *u);
        float               *v = malloc(size * sizeof *v), *g = malloc(size * sizeof *g);
        FQ_ASSERT_OK(row->parts(config.bytes, whole, first_part));
        fq_model_init(whole, 4, w);
        for (size_t i = 0; i < size; i++) /* norms and biases too are of no special value */
            w[i] += 0.01f * (float)(i % 7);
        cut(whole, w, half, v);
        if (scaler)
            scale_hidden(half, 2.0f, v);
        fq_part_keep(first_part, 0, size, w);
        row->view_weights(&bound, &step, w, u);
        run a = pass_of(whole, u), b = pass_of(half, v);
        for (size_t i = 0; i < 3 * LANES; i++)
            CU_ASSERT_TRUE(i % LANES >= BATCH || near(a.logits[i], b.logits[i]));
        row->pull_gradient(&bound, &step, w, u, a.grad);
        if (scaler)
            scale_hidden(half, 2.0f, b.grad);
        cut(whole, a.grad, half, g);
        size_t moving = 0, outside = 0;
        for (size_t i = 0; i < fq_model_size(half); i++) {
            CU_ASSERT_TRUE(near(g[i], b.grad[i]));
            moving += g[i] != 0.0f;
        }
        for (size_t i = 0; i < size; i++) {
            CU_ASSERT_TRUE(first_part[i] == 0 ||
                           (first_part[i] == FQ_NO_PART && a.grad[i] == 0.0f));
            outside += first_part[i] != 0;
        }
        CU_ASSERT_EQUAL(size - outside, fq_model_size(half));
        CU_ASSERT_TRUE(moving > fq_model_size(half) / 2);
        free_run(&a);
        free_run(&b);
        free(first_part);
        free(w);
        free(u);
        free(v);
        free(g);
        fq_model_destroy(&whole);
        fq_model_destroy(&half);
    }
}

/* ---- what cannot be narrowed ---- */
static void narrow_fails(const char *layer, int64_t groups, double ratio, const char *text) {
    fq_network network = {.input = {2, 4, 4}, .n_classes = 3};
    fq_model  *model;
    uint8_t    first_part[4096];
    append(&network, "conv2d", 8)->kernel = 3;
    fq_layer_spec *spec = append(&network, layer, 0);
    spec->groups = groups;
    if (strcmp(layer, "conv2d") == 0) {
        spec->out = 8;
        spec->kernel = 1;
    }
    append(&network, "flatten", 0);
    append(&network, "dense", 3);
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    FQ_ASSERT_FAILS(fq_model_narrow(model, ratio, 0, first_part), FQ_EINVAL, text);
    fq_model_destroy(&model);
}

static void test_refusals(void) {
    narrow_fails("batch_norm", 0, 0.5, "layer 2 (batch_norm1)");
    narrow_fails("group_norm", 2, 0.25, "keeps 2 of the 8 channels");
    narrow_fails("group_norm", 1, 0.5, "groups of 8");
    narrow_fails("conv2d", 2, 0.5, "2 groups");
    const fq_robustness *row = fq_robustness_find("heterofl");
    const section        none = settings_of("{ratios: []}"), zero = settings_of("{ratios: [1, 0]}");
    FQ_ASSERT_FAILS(row->check(none.bytes), FQ_EINVAL, "heterofl.ratios");
    FQ_ASSERT_FAILS(row->check(zero.bytes), FQ_EINVAL, "heterofl.ratios");
}

/* Shares may come in any order and more than once; parts are numbered by size. */
static void test_parts_by_size(void) {
    const section        config = settings_of("{ratios: [0.5, 1, 0.25, 0.5]}");
    const fq_robustness *row = fq_robustness_find("heterofl");
    const size_t         expected[] = {1, 2, 0, 1, 1, 2, 0, 1};
    for (uint64_t k = 0; k < 8; k++)
        CU_ASSERT_EQUAL(row->part(config.bytes, k), expected[k]);
    fq_model *model = build(8);
    uint8_t  *first_part = malloc(fq_model_size(model));
    FQ_ASSERT_OK(row->parts(config.bytes, model, first_part));
    const fq_tensor *first = fq_model_tensor(model, 0); /* [8, 2, 3, 3] of the input's channels */
    for (size_t i = 0; i < first->count; i++) {
        const size_t channel = i / (2 * 3 * 3);
        CU_ASSERT_EQUAL(first_part[first->offset + i], channel < 2 ? 0 : channel < 4 ? 1 : 2);
    }
    free(first_part);
    fq_model_destroy(&model);
}

/* ---- rounds ---- */
#define DATA                                                                                       \
    "seed: 5\n"                                                                                    \
    "data: {set: synthetic, clients: 12, features: 20, classes: 4, examples: 40, test_examples: "  \
    "64}\n"                                                                                        \
    "model: [{layer: dense, out: 16}, relu, {layer: dense, out: 4}]\n"

static void create(fq_tiny *tiny, const char *rest) {
    char yaml[2048];
    snprintf(yaml, sizeof yaml, DATA "%s", rest);
    fq_tiny_create(tiny, yaml);
}

static float *weights_after(const char *rest, uint32_t rounds, size_t *size) {
    fq_tiny tiny;
    create(&tiny, rest);
    fq_tiny_run(&tiny, rounds, 1);
    *size = fq_model_size(tiny.setup.model);
    float *w = malloc(*size * sizeof *w);
    memcpy(w, fq_server_weights(tiny.server), *size * sizeof *w);
    fq_tiny_destroy(&tiny);
    return w;
}

static void test_whole_networks_are_fedavg(void) {
    size_t n, m;
    float *plain =
        weights_after("train: {clients_per_round: 4, batch: 8, weight_decay: 0.01}\n", 3, &n);
    float *whole = weights_after("train: {clients_per_round: 4, batch: 8, weight_decay: 0.01, "
                                 "robustness: [heterofl], heterofl: {ratios: [1, 1]}}\n",
                                 3, &m);
    float *half = weights_after("train: {clients_per_round: 4, batch: 8, weight_decay: 0.01, "
                                "robustness: [heterofl], heterofl: {ratios: [1, 0.5]}}\n",
                                3, &m);
    CU_ASSERT_EQUAL_FATAL(n, m);
    CU_ASSERT_EQUAL(memcmp(plain, whole, n * sizeof *plain), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(plain, half, n * sizeof *plain), 0);
    free(plain);
    free(whole);
    free(half);
}

/* A round by hand of clients `ids`, in that order of arrival; deltas [n] of [P], or NULL. */
static void run_round(fq_tiny *tiny, const uint64_t *ids, size_t n, float *const *deltas) {
    uint64_t         cohort[4], examples = 0;
    fq_worker       *worker;
    fq_plan          plan;
    fq_pool         *pool;
    fq_round_summary summary;
    size_t           size = fq_model_size(tiny->setup.model), filled = 0;
    for (uint64_t id = 0; id < 12; id++) /* ascending */
        for (size_t i = 0; i < n; i++)
            if (ids[i] == id)
                cohort[filled++] = id;
    for (size_t i = 0; i < n; i++)
        examples += fq_partition_shard(tiny->setup.partition, ids[i]).n;
    FQ_ASSERT_OK(fq_worker_create(&worker, tiny->setup.model, &tiny->experiment->recipe,
                                  tiny->setup.max_examples));
    FQ_ASSERT_OK(fq_round_open(tiny->server, cohort, n, examples, &plan));
    for (size_t i = 0; i < n; i++) {
        const fq_client client = {.id = ids[i],
                                  .shard = fq_partition_shard(tiny->setup.partition, ids[i])};
        fq_update       update;
        FQ_ASSERT_OK(fq_client_turn(worker, &plan, &client, &update));
        if (deltas != NULL)
            memcpy(deltas[i], update.vectors[0].body.data, size * sizeof(float));
        FQ_ASSERT_OK(fq_round_accept(tiny->server, 0, &update));
    }
    FQ_ASSERT_OK(fq_pool_create(&pool, 1));
    FQ_ASSERT_OK(fq_round_close(tiny->server, pool, &summary));
    fq_pool_destroy(&pool);
    fq_worker_destroy(&worker);
}

#define MIXED                                                                                      \
    "train: {clients_per_round: 4, batch: 8, rate: 0.1, weight_decay: 0.01, algorithm: fedprox, "  \
    "fedprox: {mu: 0.1}, clip_norm: 1, momentum: 0.5, robustness: [heterofl], heterofl: {ratios: " \
    "[1, 0.5, 0.25]}}\n"

/* What one client alone holds takes that client's value; what some hold, their weighted mean; what
 * nobody in the round holds stays as it was. The order of arrival changes nothing. */
static void test_mean_over_holders(void) {
    static const uint64_t there[] = {0, 1, 2}, back[] = {2, 1, 0}, narrow[] = {1, 4};
    fq_tiny               a, b;
    create(&a, MIXED);
    create(&b, MIXED);
    const size_t size = fq_model_size(a.setup.model);
    float       *deltas[3], *before = malloc(size * sizeof *before);
    uint8_t     *first_part;
    double       n[3];
    FQ_ASSERT_OK(fq_recipe_parts(&a.experiment->recipe, a.setup.model, &first_part));
    for (size_t k = 0; k < 3; k++) {
        deltas[k] = malloc(size * sizeof *deltas[k]);
        n[k] = (double)fq_partition_shard(a.setup.partition, k).n;
    }
    memcpy(before, fq_server_weights(a.server), size * sizeof *before);
    run_round(&a, there, 3, deltas);
    run_round(&b, back, 3, NULL);
    const float *after = fq_server_weights(a.server);
    CU_ASSERT_EQUAL(memcmp(after, fq_server_weights(b.server), size * sizeof *after), 0);
    size_t count[3] = {0}, moved[3] = {0};
    for (size_t i = 0; i < size; i++) {
        /* clients 0, 1, 2 hold the parts 2, 1, 0 */
        double sum = 0.0, weight = 0.0;
        for (size_t k = 0; k < 3; k++) {
            const bool holds = first_part[i] <= 2 - k;
            CU_ASSERT_TRUE(holds || deltas[k][i] == 0.0f);
            sum += holds ? n[k] * (double)deltas[k][i] : 0.0;
            weight += holds ? n[k] : 0.0;
        }
        CU_ASSERT_DOUBLE_EQUAL((double)after[i], (double)before[i] + sum / weight, 1e-6);
        if (first_part[i] == 2)
            CU_ASSERT_DOUBLE_EQUAL((double)after[i], (double)(before[i] + deltas[0][i]), 1e-7);
        count[first_part[i]]++;
        moved[first_part[i]] += after[i] != before[i];
    }
    for (size_t l = 0; l < 3; l++)
        CU_ASSERT_TRUE(count[l] > 0 && moved[l] > count[l] / 2);
    memcpy(before, after, size * sizeof *before);
    run_round(&a, narrow, 2, deltas);
    for (size_t i = 0; i < size; i++)
        CU_ASSERT_TRUE(first_part[i] < 2 || after[i] == before[i]);
    CU_ASSERT_NOT_EQUAL(memcmp(before, after, size * sizeof *before), 0);
    for (size_t k = 0; k < 3; k++)
        free(deltas[k]);
    free(before);
    free(first_part);
    fq_tiny_destroy(&a);
    fq_tiny_destroy(&b);
}

/* A whole turn of a client with half the width is that of an experiment with half the width: local
 * steps, clipping, momentum, weight decay, the algorithm's pull to the global weights. */
static void test_a_turn_is_the_narrow_networks(void) {
#define TURN                                                                                       \
    "train: {clients_per_round: 1, batch: 8, epochs: 3, rate: 0.1, weight_decay: 0.1, algorithm: " \
    "fedprox, fedprox: {mu: 10}, clip_norm: 0.5, momentum: 0.5"
    static const char half_width[] =
        "seed: 5\n"
        "data: {set: synthetic, clients: 12, features: 20, classes: 4, examples: 40, "
        "test_examples: 64}\n"
        "model: [{layer: dense, out: 8}, relu, {layer: dense, out: 4}]\n" TURN "}\n";
    const uint64_t id = 3;
    fq_tiny        tinies[2];
    float         *deltas[2];
    create(&tinies[0],
           TURN ", robustness: [heterofl], heterofl: {ratios: [0.5], scaler: false}}\n");
    fq_tiny_create(&tinies[1], half_width);
    const size_t size[2] = {fq_model_size(tinies[0].setup.model),
                            fq_model_size(tinies[1].setup.model)};
    float       *whole = malloc(size[0] * sizeof *whole), *half = malloc(size[1] * sizeof *half);
    fq_model_init(tinies[0].setup.model, 8, whole); /* also what the client does not hold */
    cut(tinies[0].setup.model, whole, tinies[1].setup.model, half);
    for (size_t t = 0; t < 2; t++) {
        fq_tiny        *tiny = &tinies[t];
        const fq_client client = {.id = id, .shard = fq_partition_shard(tiny->setup.partition, id)};
        fq_worker      *worker;
        fq_plan         plan;
        fq_update       update;
        FQ_ASSERT_OK(fq_worker_create(&worker, tiny->setup.model, &tiny->experiment->recipe,
                                      tiny->setup.max_examples));
        FQ_ASSERT_OK(fq_round_open(tiny->server, &id, 1, client.shard.n, &plan));
        plan.w = t == 0 ? whole : half;
        FQ_ASSERT_OK(fq_client_turn(worker, &plan, &client, &update));
        deltas[t] = malloc(size[t] * sizeof *deltas[t]);
        memcpy(deltas[t], update.vectors[0].body.data, size[t] * sizeof(float));
        fq_worker_destroy(&worker);
    }
    cut(tinies[0].setup.model, deltas[0], tinies[1].setup.model, half);
    double length = 0.0, whole_length = 0.0;
    for (size_t i = 0; i < size[1]; i++) {
        CU_ASSERT_DOUBLE_EQUAL((double)half[i], (double)deltas[1][i], 1e-5);
        length += (double)half[i] * (double)half[i];
    }
    for (size_t i = 0; i < size[0]; i++)
        whole_length += (double)deltas[0][i] * (double)deltas[0][i];
    CU_ASSERT_TRUE(length > 1e-3);
    CU_ASSERT_DOUBLE_EQUAL(whole_length, length, 1e-9 * length); /* and zero elsewhere */
    for (size_t t = 0; t < 2; t++) {
        free(deltas[t]);
        fq_tiny_destroy(&tinies[t]);
    }
    free(whole);
    free(half);
}

/* Where no share is 1 the rest of the network is zero from the start and stays so, even under a
 * coding that has no zero: the whole network is the narrow one. */
static void test_what_nobody_holds(void) {
    fq_tiny  tiny;
    uint8_t *first_part;
    create(&tiny,
           "train: {clients_per_round: 4, batch: 8, robustness: [heterofl], heterofl: "
           "{ratios: [0.5]}}\nupload: {quantizer: uniform, bits: 1, error_feedback: true}\n");
    const size_t size = fq_model_size(tiny.setup.model);
    FQ_ASSERT_OK(fq_recipe_parts(&tiny.experiment->recipe, tiny.setup.model, &first_part));
    fq_tiny_run(&tiny, 3, 2);
    size_t outside = 0;
    for (size_t i = 0; i < size; i++) {
        CU_ASSERT_TRUE(first_part[i] == 0 || fq_server_weights(tiny.server)[i] == 0.0f);
        outside += first_part[i] != 0;
    }
    CU_ASSERT_EQUAL(outside, 8 * 20 + 8 + 4 * 8); /* half of the 16 hidden units */
    free(first_part);
    fq_tiny_destroy(&tiny);
}

/* With the masked loss a client says nothing about classes that it has no example of. */
static void test_masked_loss(void) {
    for (int masked = 0; masked < 2; masked++) {
        fq_tiny  tiny;
        size_t   absent = 0, still = 0, present_moved = 0;
        char     rest[512];
        uint64_t id = 0;
        snprintf(rest, sizeof rest,
                 "train: {clients_per_round: 4, batch: 8, robustness: [heterofl], heterofl: "
                 "{ratios: [1], masked_loss: %s}}\n",
                 masked ? "true" : "false");
        create(&tiny, rest);
        const fq_model  *model = tiny.setup.model;
        const fq_tensor *bias = fq_model_tensor(model, fq_model_tensor_count(model) - 1);
        float           *delta = malloc(fq_model_size(model) * sizeof *delta);
        for (id = 0; id < 12; id++) {
            const fq_shard shard = fq_partition_shard(tiny.setup.partition, id);
            bool           present[4] = {false};
            for (uint32_t i = 0; i < shard.n; i++) {
                float    x[20 * FQ_LANES];
                uint16_t label;
                fq_shard_gather(&shard, &i, 1, FQ_LANES, x, &label);
                present[label] = true;
            }
            run_round(&tiny, &id, 1, &delta);
            for (size_t c = 0; c < 4; c++) {
                absent += !present[c];
                still += !present[c] && delta[bias->offset + c] == 0.0f;
                present_moved += present[c] && delta[bias->offset + c] != 0.0f;
            }
        }
        CU_ASSERT_TRUE_FATAL(absent > 0);
        CU_ASSERT_EQUAL(still, masked ? absent : 0);
        CU_ASSERT_TRUE(present_moved > 0);
        free(delta);
        fq_tiny_destroy(&tiny);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"a half is the network of half the width", test_half_is_the_narrow_network},
        {"what cannot be narrowed", test_refusals},
        {"parts are numbered by size", test_parts_by_size},
        {"whole networks are fedavg to the bit", test_whole_networks_are_fedavg},
        {"the mean over those that hold a value", test_mean_over_holders},
        {"a turn is the narrow network's", test_a_turn_is_the_narrow_networks},
        {"what nobody holds", test_what_nobody_holds},
        {"masked loss", test_masked_loss},
        {NULL, NULL}};
    return fq_run_suite("heterofl", cases);
}

/* Ranges of activations in a federation where some clients never quantize: the server's are the
 * means over the clients that did. */
#include "model/modelfile.h"
#include "suite.h"
#include "tiny.h"
#include "train/client_turn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 8, MOST = 256, FEATURES = 10, VALUES = 3 };

static const char YAML[] =
    "seed: 5\n"
    "data: {set: synthetic, clients: 8, features: 10, classes: 3, examples: 16, test_examples: 8}\n"
    "model:\n- {layer: dense, out: 3}\n"
    "train: {clients_per_round: 8, epochs: 1, batch: 256, robustness: [mqat], algorithm: %s,\n"
    "  mqat: {bits: [32], activations: [4, 32], draw: client, activation_ranges: %s, step_rate: "
    "%s}}\n";

static const fq_tensor *find(const fq_model *model, const char *name) {
    for (size_t t = 0; t < fq_model_tensor_count(model); t++)
        if (strcmp(fq_model_tensor(model, t)->name, name) == 0)
            return fq_model_tensor(model, t);
    CU_FAIL_FATAL("no such tensor");
    return NULL;
}

/* low, high and mean magnitude of the client's one batch, which is all of its data. */
static void describe(const fq_shard *shard, double out[VALUES]) {
    uint32_t     order[MOST];
    uint16_t     labels[MOST];
    float        x[FEATURES * MOST];
    const size_t n = shard->n, lanes = fq_lanes(n);
    CU_ASSERT_TRUE_FATAL(lanes <= MOST);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    fq_shard_gather(shard, order, n, lanes, x, labels);
    out[0] = out[1] = (double)x[0];
    out[2] = 0.0;
    for (size_t f = 0; f < FEATURES; f++)
        for (size_t i = 0; i < n; i++) {
            const double value = (double)x[f * lanes + i];
            out[0] = fmin(out[0], value);
            out[1] = fmax(out[1], value);
            out[2] += fabs(value) / (double)(FEATURES * n);
        }
}

static void begin(fq_tiny *tiny, const char *algorithm, const char *ranges, const char *step_rate) {
    char yaml[1024];
    snprintf(yaml, sizeof yaml, YAML, algorithm, ranges, step_rate);
    fq_tiny_create(tiny, yaml);
}

/* Means, weighed by examples, over the clients whose one width, drawn for a whole turn, is not 32;
 * returns their share of all examples. */
static double mean_of_visitors(const fq_tiny *tiny, double mean[VALUES]) {
    const fq_model *model = tiny->setup.model;
    const size_t    share =
        find(model, "dense1.input.range")->offset + find(model, "dense1.input.range")->count - 1;
    const fq_recipe *recipe = &tiny->experiment->recipe;
    const fq_plan    plan = {.recipe = recipe,
                             .model = model,
                             .seed = (uint64_t)tiny->experiment->head.seed,
                             .rate = recipe->rate,
                             .w = fq_server_weights(tiny->server)};
    fq_worker       *worker;
    double           n = 0.0, all = 0.0;
    FQ_ASSERT_OK(fq_worker_create(&worker, model, recipe, tiny->setup.max_examples));
    memset(mean, 0, VALUES * sizeof *mean);
    for (uint64_t id = 0; id < CLIENTS; id++) {
        const fq_client client = {.id = id, .shard = fq_partition_shard(tiny->setup.partition, id)};
        fq_update       update;
        float           delta;
        FQ_ASSERT_OK(fq_client_turn(worker, &plan, &client, &update));
        memcpy(&delta, update.vectors[0].body.data + share * sizeof delta, sizeof delta);
        const double weight = (double)client.shard.n;
        all += weight;
        if (delta == 0.0f)
            continue;
        CU_ASSERT_EQUAL(delta, 1.0f);
        double values[VALUES];
        describe(&client.shard, values);
        for (int i = 0; i < VALUES; i++)
            mean[i] += weight * values[i];
        n += weight;
    }
    for (int i = 0; i < VALUES; i++)
        mean[i] /= n;
    fq_worker_destroy(&worker);
    return n / all;
}

static void check_writable(const fq_tiny *tiny) {
    const fq_provenance from = {.name = "ranges"};
    fq_buffer           file = {0};
    FQ_ASSERT_OK(
        fq_modelfile_encode(tiny->setup.model, fq_server_weights(tiny->server), &from, &file));
    fq_buffer_fini(&file);
}

/* Whatever the server's rule for what SGD trains. */
static void test_learned(void) {
    static const char *const algorithms[] = {"fedavg", "fedadam"};
    for (size_t i = 0; i < 2; i++) {
        fq_tiny tiny;
        double  mean[VALUES];
        begin(&tiny, algorithms[i], "learned", "0");
        const double share = mean_of_visitors(&tiny, mean);
        CU_ASSERT_FATAL(share > 0.0 && share < 1.0);
        fq_tiny_run(&tiny, 1, 2);
        const float *w = fq_server_weights(tiny.server),
                    *first = w + find(tiny.setup.model, "dense1.input.range")->offset;
        CU_ASSERT_DOUBLE_EQUAL((double)first[1], share, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL((double)(first[0] / first[1]), mean[2], 1e-5);
        CU_ASSERT_EQUAL(w[find(tiny.setup.model, "dense1.input.step")->offset], 0.0f);
        const float before[2] = {first[0], first[1]};
        fq_tiny_run(&tiny, 2, 2); /* clients that come later do not move it */
        first =
            fq_server_weights(tiny.server) + find(tiny.setup.model, "dense1.input.range")->offset;
        CU_ASSERT_TRUE(first[0] == before[0] && first[1] == before[1]);
        check_writable(&tiny);
        fq_tiny_destroy(&tiny);
    }
}

static void test_running(void) {
    fq_tiny tiny;
    double  mean[VALUES];
    begin(&tiny, "fedavg", "running_minmax", "1");
    const double share = mean_of_visitors(&tiny, mean);
    CU_ASSERT_FATAL(share > 0.0 && share < 1.0);
    fq_tiny_run(&tiny, 1, 2);
    const float *range =
        fq_server_weights(tiny.server) + find(tiny.setup.model, "dense1.input.range")->offset;
    CU_ASSERT_DOUBLE_EQUAL((double)range[2], share, 1e-6);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_DOUBLE_EQUAL((double)(range[i] / range[2]), mean[i], 1e-5);
    fq_tiny_destroy(&tiny);
}

/* Steps that SGD has driven below zero, and those of a width that nobody drew. */
static void test_always_writable(void) {
    fq_tiny tiny;
    begin(&tiny, "fedavg", "learned", "100000");
    check_writable(&tiny); /* before anyone has trained */
    fq_tiny_run(&tiny, 3, 2);
    check_writable(&tiny);
    fq_tiny_destroy(&tiny);
}

int main(void) {
    static const fq_case cases[] = {{"learned", test_learned},
                                    {"running", test_running},
                                    {"always writable", test_always_writable},
                                    {NULL, NULL}};
    return fq_run_suite("federated_ranges", cases);
}

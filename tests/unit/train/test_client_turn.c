/* The local loop, as the methods' definitions ask for it: reductions, one pass a step, replay,
 * threads. */
#include "suite.h"
#include "tiny.h"
#include "train/client_turn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DATA                                                                                       \
    "data: {set: synthetic, clients: 12, features: 20, classes: 4, examples: 40, test_examples: "  \
    "64}\n"
#define NET "model:\n- {layer: dense, out: 16}\n- relu\n- {layer: dense, out: 4}\n"

/* Weights after some rounds of an experiment. */
static float *weights_after(const char *train, uint32_t rounds, size_t workers, size_t *size) {
    char    yaml[2048];
    fq_tiny tiny;
    snprintf(yaml, sizeof yaml, "seed: 5\n" DATA NET "%s", train);
    fq_tiny_create(&tiny, yaml);
    fq_tiny_run(&tiny, rounds, workers);
    *size = fq_model_size(tiny.setup.model);
    float *w = malloc(*size * sizeof *w);
    memcpy(w, fq_server_weights(tiny.server), *size * sizeof *w);
    fq_tiny_destroy(&tiny);
    return w;
}

static bool same_run(const char *a, const char *b) {
    size_t n, m;
    float *x = weights_after(a, 3, 1, &n), *y = weights_after(b, 3, 1, &m);
    bool   same = n == m && memcmp(x, y, n * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}

static void test_reductions_to_fedavg(void) {
    const char *fedavg = "train: {clients_per_round: 4, batch: 8}\n";
    CU_ASSERT_TRUE(same_run(
        fedavg,
        "train: {clients_per_round: 4, batch: 8, robustness: [mqat], mqat: {bits: [32]}}\n"));
    CU_ASSERT_TRUE(same_run(
        fedavg, "train: {clients_per_round: 4, batch: 8, robustness: [qat], qat: {bits: 32}}\n"));
    CU_ASSERT_TRUE(same_run(
        fedavg, "train: {clients_per_round: 4, batch: 8, algorithm: fedprox, fedprox: {mu: 0}}\n"));
    /* Error feedback of a format that loses nothing owes nothing. */
    CU_ASSERT_TRUE(same_run(fedavg, "train: {clients_per_round: 4, batch: 8}\nupload: {quantizer: "
                                    "float32, error_feedback: true}\n"));
    CU_ASSERT_FALSE(same_run(
        fedavg,
        "train: {clients_per_round: 4, batch: 8, robustness: [mqat], mqat: {bits: [3]}}\n"));
    CU_ASSERT_FALSE(
        same_run(fedavg, "train: {clients_per_round: 4, batch: 8, robustness: [kure]}\n"));
}

static void test_one_width_is_qat(void) {
    CU_ASSERT_TRUE(same_run(
        "train: {clients_per_round: 4, robustness: [mqat], mqat: {bits: [3], ranges: gauss}}\n",
        "train: {clients_per_round: 4, robustness: [qat], qat: {bits: 3, ranges: gauss}}\n"));
}

/* A penalty acts on the latent weights, a view on those that the network sees, so their order in
 * the list is of no account; and neither of them is lost. */
static void test_penalty_and_view_commute(void) {
    static const char *const views[] = {"mqat", "qat", "apqn"};
    for (size_t v = 0; v < 3; v++) {
        char alone[256], before[256], after[256];
        snprintf(alone, sizeof alone, "train: {clients_per_round: 4, robustness: [%s]}\n",
                 views[v]);
        snprintf(before, sizeof before, "train: {clients_per_round: 4, robustness: [kure, %s]}\n",
                 views[v]);
        snprintf(after, sizeof after, "train: {clients_per_round: 4, robustness: [%s, kure]}\n",
                 views[v]);
        CU_ASSERT_TRUE(same_run(before, after));
        CU_ASSERT_FALSE(same_run(before, alone));
        CU_ASSERT_FALSE(same_run(before, "train: {clients_per_round: 4, robustness: [kure]}\n"));
    }
}

/* Its three modes are federated averaging, that with the weights on a grid at the end of the turn,
 * and qat. */
static void test_modes_of_fedhq(void) {
    CU_ASSERT_TRUE(
        same_run("train: {clients_per_round: 4, batch: 8}\n",
                 "train: {clients_per_round: 4, batch: 8, robustness: [fedhq], fedhq: {local_mode: "
                 "float}}\n"));
    CU_ASSERT_TRUE(same_run(
        "train: {clients_per_round: 4, robustness: [fedhq], fedhq: {bits: 3, local_mode: qat}}\n",
        "train: {clients_per_round: 4, robustness: [qat], qat: {bits: 3}}\n"));
    size_t n;
    float *plain = weights_after("train: {clients_per_round: 1, batch: 8}\n", 1, 1, &n);
    float *ptq =
        weights_after("train: {clients_per_round: 1, batch: 8, robustness: [fedhq], fedhq: "
                      "{local_mode: ptq, bits: 2, ranges: minmax}}\n",
                      1, 1, &n);
    enum { HIDDEN = 20 * 16, LAST = 16 * 4 };
    CU_ASSERT_EQUAL_FATAL(n, HIDDEN + 16 + LAST + 4);
    static const size_t begins[] = {0, HIDDEN + 16}, sizes[] = {HIDDEN, LAST};
    float               u[HIDDEN];
    for (size_t t = 0; t < 2; t++) {
        const fq_weight_format format = {.rule = fq_range_find("minmax")};
        const float           *x = plain + begins[t];
        fq_grid                grid;
        fq_weight_fit(&format, 2, x, sizes[t], 1, NULL, &grid);
        fq_weight_quantize(&grid, 1, x, sizes[t], u);
        for (size_t i = 0; i < sizes[t]; i++)
            CU_ASSERT_DOUBLE_EQUAL(ptq[begins[t] + i], u[i], 1e-6);
    }
    for (size_t i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(ptq[HIDDEN + i], plain[HIDDEN + i]); /* biases stay float */
    free(plain);
    free(ptq);
}

static void test_workers_change_nothing(void) {
    static const char *const trains[] = {
        "train: {clients_per_round: 7, batch: 8, robustness: [kure, mqat], momentum: 0.9}\n",
        "train: {clients_per_round: 7, batch: 8, algorithm: scaffold, robustness: [apqn]}\n"
        "upload: {quantizer: stochastic, bits: 4, error_feedback: true}\n",
        "train: {clients_per_round: 7, batch: 8, algorithm: fedprox, robustness: [heterofl]}\n"
        "upload: {quantizer: uniform, bits: 1, error_feedback: true}\n",
        "train: {clients_per_round: 7, batch: 8, algorithm: ef21}\naggregate: {weights: equal}\n"
        "upload: {quantizer: uniform, bits: 2}\n",
        "train: {clients_per_round: 7, batch: 8, algorithm: fedcomgate, max_steps: 3}\n"
        "aggregate: {weights: equal}\nupload: {quantizer: stochastic, bits: 2}\n",
        "train: {clients_per_round: 7, batch: 8, algorithm: fedadam}\naggregate: {method: "
        "median}\n",
    };
    for (size_t i = 0; i < sizeof trains / sizeof trains[0]; i++) {
        size_t n, m;
        float *one = weights_after(trains[i], 4, 1, &n);
        for (size_t workers = 2; workers <= 5; workers += 3) {
            float *more = weights_after(trains[i], 4, workers, &m);
            CU_ASSERT_EQUAL(n, m);
            CU_ASSERT_EQUAL(memcmp(one, more, n * sizeof *one), 0);
            free(more);
        }
        free(one);
    }
}

typedef struct turn {
    fq_tiny    tiny;
    fq_worker *worker;
    fq_plan    plan;
    fq_client  client;
    uint64_t   id;
} turn;

static void turn_begin(turn *t, const char *train) {
    char yaml[2048];
    snprintf(yaml, sizeof yaml, "seed: 5\n" DATA NET "%s", train);
    fq_tiny_create(&t->tiny, yaml);
    FQ_ASSERT_OK(fq_worker_create(&t->worker, t->tiny.setup.model, &t->tiny.experiment->recipe,
                                  t->tiny.setup.max_examples));
    t->id = 3;
    t->client = (fq_client){.id = 3, .shard = fq_partition_shard(t->tiny.setup.partition, 3)};
    FQ_ASSERT_OK(fq_round_open(t->tiny.server, &t->id, 1, t->client.shard.n, &t->plan));
}

static void turn_end(turn *t) {
    fq_worker_destroy(&t->worker);
    fq_tiny_destroy(&t->tiny);
}

static double entropy_of(const fq_shard *shard, size_t n_classes) {
    float    x[20 * FQ_LANES];
    double   count[4] = {0}, sum = 0.0;
    uint16_t label;
    for (uint32_t i = 0; i < shard->n; i++) {
        fq_shard_gather(shard, &i, 1, FQ_LANES, x, &label);
        count[label] += 1.0;
    }
    for (size_t c = 0; c < n_classes; c++)
        if (count[c] > 0.0)
            sum -= count[c] / (double)shard->n * log2(count[c] / (double)shard->n);
    return sum / log2((double)n_classes);
}

/* By the entropy of their labels some clients are qat's and others federated averaging's. */
static void test_fedhq_looks_at_labels(void) {
    turn      plain, qat, mixed;
    fq_update of_plain, of_qat, of_mixed;
    size_t    n_qat = 0, n_float = 0;
    turn_begin(&plain, "train: {clients_per_round: 1}\n");
    turn_begin(&qat, "train: {clients_per_round: 1, robustness: [qat], qat: {bits: 2}}\n");
    turn_begin(&mixed, "train: {clients_per_round: 1, robustness: [fedhq], fedhq: {bits: 2, "
                       "speed_weight: 0, entropy_weight: 1, ptq_from: 0.5, qat_from: 0.5}}\n");
    for (uint64_t k = 0; k < 12; k++) {
        turn *const turns[] = {&plain, &qat, &mixed};
        for (size_t i = 0; i < 3; i++) {
            turns[i]->client.id = k;
            turns[i]->client.shard = fq_partition_shard(turns[i]->tiny.setup.partition, k);
        }
        FQ_ASSERT_OK(fq_client_turn(plain.worker, &plain.plan, &plain.client, &of_plain));
        FQ_ASSERT_OK(fq_client_turn(qat.worker, &qat.plan, &qat.client, &of_qat));
        FQ_ASSERT_OK(fq_client_turn(mixed.worker, &mixed.plan, &mixed.client, &of_mixed));
        const bool      quantizes = entropy_of(&mixed.client.shard, 4) >= 0.5;
        const fq_packed expected = (quantizes ? of_qat : of_plain).vectors[0];
        const fq_packed found = of_mixed.vectors[0];
        CU_ASSERT_EQUAL_FATAL(found.body.size, expected.body.size);
        CU_ASSERT_EQUAL(memcmp(found.body.data, expected.body.data, found.body.size), 0);
        n_qat += quantizes;
        n_float += !quantizes;
    }
    CU_ASSERT_TRUE(n_qat > 1 && n_float > 1);
    turn_end(&plain);
    turn_end(&qat);
    turn_end(&mixed);
}

static void test_one_pass_a_step(void) {
    static const char *const methods[] = {"[]",    "[kure]", "[apqn]",
                                          "[qat]", "[mqat]", "[kure, mqat]"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        char      train[256];
        turn      t;
        fq_update update;
        snprintf(train, sizeof train,
                 "train: {clients_per_round: 1, batch: 8, epochs: 2, robustness: %s}\n",
                 methods[i]);
        turn_begin(&t, train);
        FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
        CU_ASSERT_EQUAL(update.n_steps, 2 * ((t.client.shard.n + 7) / 8));
        CU_ASSERT_EQUAL(fq_worker_passes(t.worker), update.n_steps);
        CU_ASSERT_EQUAL(update.n_examples, t.client.shard.n);
        turn_end(&t);
    }
}

static void test_a_turn_can_be_replayed(void) {
    turn      t;
    fq_update update;
    turn_begin(
        &t,
        "train: {clients_per_round: 1, batch: 8, robustness: [apqn, mqat], mqat: {draw: layer}}\n"
        "upload: {quantizer: stochastic, bits: 3}\n");
    FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
    size_t         size = update.vectors[0].body.size;
    unsigned char *first = malloc(size);
    memcpy(first, update.vectors[0].body.data, size);
    FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
    CU_ASSERT_EQUAL(update.vectors[0].body.size, size);
    CU_ASSERT_EQUAL(memcmp(first, update.vectors[0].body.data, size), 0);
    t.plan.round++;
    FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
    CU_ASSERT_NOT_EQUAL(memcmp(first, update.vectors[0].body.data, size), 0);
    free(first);
    turn_end(&t);
}

/* The latent weights are returned: their delta is not a multiple of a quantization step. */
static void test_latent_weights_are_returned(void) {
    turn      t;
    fq_update update;
    turn_begin(&t, "train: {clients_per_round: 1, batch: 8, robustness: [qat], qat: {bits: 2, "
                   "ranges: minmax}}\n");
    FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
    const float *delta = (const float *)(const void *)update.vectors[0].body.data;
    float        seen[8];
    size_t       different = 0;
    for (size_t i = 0; i < 200 && different < 8; i++) {
        bool known = delta[i] == 0.0f;
        for (size_t k = 0; k < different; k++)
            known |= seen[k] == delta[i];
        if (!known)
            seen[different++] = delta[i];
    }
    CU_ASSERT_EQUAL(different, 8); /* a 2-bit grid has 4 levels */
    turn_end(&t);
}

/* One client, one epoch, the full batch: the round is one step of gradient descent. */
static void test_one_client_full_batch_is_one_step(void) {
    turn      t;
    fq_update update;
    turn_begin(&t, "train: {clients_per_round: 1, batch: 4096, rate: 0.25}\n");
    const fq_model *model = t.tiny.setup.model;
    size_t          size = fq_model_size(model);
    float          *before = malloc(size * sizeof *before), *grad = calloc(size, sizeof *grad);
    memcpy(before, t.plan.w, size * sizeof *before);
    FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
    CU_ASSERT_EQUAL(update.n_steps, 1);
    FQ_ASSERT_OK(fq_round_accept(t.tiny.server, 0, &update));
    fq_pool         *pool;
    fq_round_summary summary;
    FQ_ASSERT_OK(fq_pool_create(&pool, 1));
    FQ_ASSERT_OK(fq_round_close(t.tiny.server, pool, &summary));
    fq_pool_destroy(&pool);

    /* The same step by hand; order of the examples as the client shuffles them. */
    size_t n = t.client.shard.n, lanes = fq_lanes(n),
           bytes = fq_workspace_bytes(model, n, true, false), correct;
    fq_arena      arena;
    fq_workspace *ws;
    FQ_ASSERT_OK(fq_arena_init(&arena, bytes));
    FQ_ASSERT_OK(fq_workspace_create(&ws, model, n, true, false, &arena));
    uint32_t  *order = malloc(n * sizeof *order);
    uint16_t  *labels = malloc(n * sizeof *labels);
    float     *dlogits = malloc(4 * lanes * sizeof *dlogits);
    fq_batches batches;
    size_t     got;
    fq_batches_begin(&batches, order, n, 4096, 5, 0, t.client.id);
    const uint32_t *next = fq_batches_next(&batches, &got);
    fq_shard_gather(&t.client.shard, next, n, lanes, fq_workspace_input(ws), labels);
    const fq_pass pass = {.batch = n, .train = true};
    const float  *logits = fq_model_forward(model, ws, before, &pass);
    fq_cross_entropy(logits, labels, 4, n, lanes, dlogits, &correct);
    fq_model_backward(model, ws, before, &pass, dlogits, grad);
    const float *after = fq_server_weights(t.tiny.server);
    size_t       wrong = 0;
    for (size_t i = 0; i < size; i++) {
        volatile float local = before[i] - 0.25f * grad[i];
        float          expected = before[i] + (local - before[i]);
        /* the vector kernels may fuse the multiply and the add: one rounding less */
        wrong += fabsf(after[i] - expected) > 0x1p-23f * fabsf(before[i]) + 1e-9f;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(before);
    free(grad);
    free(order);
    free(labels);
    free(dlogits);
    fq_arena_fini(&arena);
    turn_end(&t);
}

static void test_divergence_is_a_status(void) {
    turn      t;
    fq_update update;
    turn_begin(&t, "train: {clients_per_round: 1, batch: 4, epochs: 50, rate: 1000}\n");
    fq_status status = fq_client_turn(t.worker, &t.plan, &t.client, &update);
    CU_ASSERT_TRUE(status == FQ_OK || status == FQ_ENONFINITE);
    if (status == FQ_OK) /* wild, but finite: then the server's limit is what refuses it */
        CU_ASSERT_TRUE(update.drift > 1.0);
    turn_end(&t);
}

/* Error feedback telescopes: what was sent, plus what is still owed, is the sum of the deltas. */
static void test_error_feedback_telescopes(void) {
    turn t;
    turn_begin(&t, "train: {clients_per_round: 1, batch: 8}\n"
                   "upload: {quantizer: uniform, bits: 2, error_feedback: true}\n");
    size_t    size = fq_model_size(t.tiny.setup.model);
    float    *memory = calloc(size, sizeof *memory), *sent = malloc(size * sizeof *sent);
    double   *balance = calloc(size, sizeof *balance);
    fq_blocks blocks;
    fq_arena  arena;
    FQ_ASSERT_OK(fq_blocks_of_model(t.tiny.setup.model, 0, &blocks));
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    /* The same turn without the memory gives the bare delta: float32 upload of an equal experiment.
     */
    turn plain;
    turn_begin(&plain, "train: {clients_per_round: 1, batch: 8}\n");
    t.client.state = memory;
    for (uint32_t r = 0; r < 5; r++) {
        fq_update update;
        t.plan.round = plain.plan.round = r;
        FQ_ASSERT_OK(fq_client_turn(plain.worker, &plain.plan, &plain.client, &update));
        const float *delta = (const float *)(const void *)update.vectors[0].body.data;
        for (size_t i = 0; i < size; i++)
            balance[i] += (double)delta[i];
        FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
        fq_client_commit(t.worker, &t.client);
        FQ_ASSERT_OK(fq_dequantize(&update.vectors[0], blocks, &arena, sent));
        for (size_t i = 0; i < size; i++)
            balance[i] -= (double)sent[i];
    }
    double worst = 0.0, owed = 0.0;
    for (size_t i = 0; i < size; i++) {
        worst = fmax(worst, fabs(balance[i] - (double)memory[i]));
        owed = fmax(owed, fabs((double)memory[i]));
    }
    CU_ASSERT_TRUE(owed > 1e-4);  /* two bits lose something */
    CU_ASSERT_TRUE(worst < 1e-6); /* and the memory has all of it, but for float rounding */
    free(memory);
    free(sent);
    free(balance);
    fq_blocks_free(&blocks);
    fq_arena_fini(&arena);
    turn_end(&plain);
    turn_end(&t);
}

/* A refused update must not move what the client keeps; an accepted one moves SCAFFOLD's c_k by
 * exactly what the server decodes, however coarse the coding. */
static void test_state_moves_with_the_server(void) {
    turn      t;
    fq_update update;
    turn_begin(&t, "train: {clients_per_round: 1, batch: 8, algorithm: scaffold}\nupload: "
                   "{quantizer: uniform, bits: 2}\n");
    size_t    size = fq_model_size(t.tiny.setup.model), moved = 0;
    float    *state = calloc(size, sizeof *state), *sent = malloc(size * sizeof *sent);
    fq_blocks blocks;
    fq_arena  arena;
    FQ_ASSERT_OK(fq_blocks_of_model(t.tiny.setup.model, 0, &blocks));
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    t.client.state = state;
    FQ_ASSERT_OK(fq_client_turn(t.worker, &t.plan, &t.client, &update));
    for (size_t i = 0; i < size; i++)
        moved += state[i] != 0.0f;
    CU_ASSERT_EQUAL(moved, 0);
    fq_client_commit(t.worker, &t.client);
    FQ_ASSERT_OK(fq_dequantize(&update.vectors[1], blocks, &arena, sent));
    CU_ASSERT_EQUAL(memcmp(state, sent, size * sizeof *sent), 0);
    for (size_t i = 0; i < size; i++)
        moved += state[i] != 0.0f;
    CU_ASSERT_TRUE(moved > 0);
    free(state);
    free(sent);
    fq_blocks_free(&blocks);
    fq_arena_fini(&arena);
    turn_end(&t);
}

int main(void) {
    static const fq_case cases[] = {
        {"reductions to FedAvg", test_reductions_to_fedavg},
        {"one width is QAT", test_one_width_is_qat},
        {"penalty and view commute", test_penalty_and_view_commute},
        {"modes of fedhq", test_modes_of_fedhq},
        {"fedhq looks at labels", test_fedhq_looks_at_labels},
        {"workers change nothing", test_workers_change_nothing},
        {"one pass a step", test_one_pass_a_step},
        {"a turn can be replayed", test_a_turn_can_be_replayed},
        {"latent weights are returned", test_latent_weights_are_returned},
        {"one client with the full batch is one step", test_one_client_full_batch_is_one_step},
        {"divergence is a status", test_divergence_is_a_status},
        {"error feedback telescopes", test_error_feedback_telescopes},
        {"state moves with the server", test_state_moves_with_the_server},
        {NULL, NULL},
    };
    return fq_run_suite("client turn", cases);
}

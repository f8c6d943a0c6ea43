/* Whole rounds, as the definitions of the methods ask for them: what federated averaging equals,
 * what quantization-aware training buys at each bit-width, and the invariants of the algorithms. */
#include "../eval/eval_rig.h"
#include "base/rng.h"
#include "suite.h"
#include "tiny.h"
#include "train/client_turn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Twelve clients with 40 examples on average, each with its own number of them. */
#define UNEQUAL                                                                                    \
    "data: {set: synthetic, clients: 12, features: 20, classes: 4, examples: 40, "                 \
    "test_examples: 64}\n"                                                                         \
    "model: [{layer: dense, out: 16}, relu, {layer: dense, out: 4}]\n"

static void create_unequal(fq_tiny *tiny, const char *train) {
    char yaml[2048];
    snprintf(yaml, sizeof yaml, "seed: 5\n" UNEQUAL "%s", train);
    fq_tiny_create(tiny, yaml);
}

/* ---- a toy that two bits can solve, but not by rounding ---- */

/* Sixteen classes on a grid of 4 x 4 points, a unit apart and blurred by 0.12: all but separable.
 * The borders between inner classes must be exact, and with two inputs no rounding errors average
 * out. */
enum { SIDE = 4, CLASSES = SIDE * SIDE, TRAINING = 480, TESTING = 400 };
static const double blur = 0.12;

static void draw_toy(uint64_t seed, uint32_t part, size_t n, float *x, uint16_t *labels) {
    fq_rng rng = fq_rng_stream(seed, FQ_RNG_DATA, part, 0, 0, 0);
    for (size_t i = 0; i < n; i++) {
        labels[i] = (uint16_t)(i % CLASSES);
        x[2 * i] = (float)(labels[i] % SIDE - 1.5 + blur * fq_rng_normal(&rng));
        x[2 * i + 1] = (float)(labels[i] / SIDE - 1.5 + blur * fq_rng_normal(&rng));
    }
}

static void create_toy(fq_tiny *tiny, uint64_t seed, const char *train) {
    float    x[2 * TRAINING];
    uint16_t labels[TRAINING];
    char     yaml[2048];
    draw_toy(seed, 0, TRAINING, x, labels);
    eval_write_npy(fq_test_folder(), "", x, labels, TRAINING, 2);
    draw_toy(seed, 1, TESTING, x, labels);
    eval_write_npy(fq_test_folder(), "test_", x, labels, TESTING, 2);
    snprintf(yaml, sizeof yaml,
             "seed: %d\n"
             "data: {set: npy, path: \"%s\", clients: 4, split: iid, normalize: none}\n"
             "model: [{layer: dense, out: 48}, relu, {layer: dense, out: %d}]\n"
             "train: {clients_per_round: 4, epochs: 2, batch: 16, %s}\n"
             "evaluate: {weights: [8, 4, 3, 2], ranges: [gauss]}\n",
             (int)seed, fq_test_folder(), (int)CLASSES, train);
    fq_tiny_create(tiny, yaml);
}

/* Figures of the server's weights: float, then 8, 4, 3 and 2 bits. */
enum { FLOAT, BITS_8, BITS_4, BITS_3, BITS_2, N_FIGURES };

static void measure(const fq_tiny *tiny, fq_figure figures[N_FIGURES]) {
    fq_pool      *pool;
    fq_evaluator *evaluator;
    FQ_ASSERT_OK(fq_pool_create(&pool, 1));
    FQ_ASSERT_OK(fq_evaluator_create(&evaluator, tiny->setup.model, tiny->setup.dataset, NULL,
                                     &tiny->experiment->evaluate, 1, pool));
    CU_ASSERT_EQUAL_FATAL(fq_evaluator_count(evaluator), N_FIGURES);
    FQ_ASSERT_OK(fq_evaluator_run(evaluator, fq_server_weights(tiny->server), figures));
    fq_evaluator_destroy(&evaluator);
    fq_pool_destroy(&pool);
}

static void train_toy(uint64_t seed, const char *robustness, double accuracy[N_FIGURES]) {
    char      train[512];
    fq_tiny   tiny;
    fq_figure figures[N_FIGURES];
    snprintf(train, sizeof train, "rate: 0.3, rate_decay: 0.85, momentum: 0.5, %s", robustness);
    create_toy(&tiny, seed, train);
    fq_tiny_run(&tiny, 12, 1);
    measure(&tiny, figures);
    for (size_t i = 0; i < N_FIGURES; i++)
        accuracy[i] = figures[i].accuracy;
    fq_tiny_destroy(&tiny);
}

/* One model that is as good at each width as one trained for it, within two points, where training
 * for 8 bits loses more than ten at 2; and 8 bits cost nothing against no quantizer at all. */
static void test_every_width_at_once(void) {
    static const int bits[N_FIGURES] = {[BITS_8] = 8, [BITS_4] = 4, [BITS_3] = 3, [BITS_2] = 2};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        double fedavg[N_FIGURES], mqat[N_FIGURES], qat[N_FIGURES][N_FIGURES];
        train_toy(seed, "robustness: []", fedavg);
        train_toy(seed, "robustness: [mqat], mqat: {bits: [2, 3, 4, 8], ranges: gauss}", mqat);
        for (size_t i = BITS_8; i < N_FIGURES; i++) {
            char robustness[64];
            snprintf(robustness, sizeof robustness,
                     "robustness: [qat], qat: {bits: %d, ranges: gauss}", bits[i]);
            train_toy(seed, robustness, qat[i]);
        }
        for (size_t i = BITS_8; i < N_FIGURES; i++) {
            double best = 0;
            for (size_t k = BITS_8; k < N_FIGURES; k++)
                best = fmax(best, qat[k][i]);
            CU_ASSERT_TRUE(best > 0.95);
            CU_ASSERT_TRUE(mqat[i] >= best - 0.02);
        }
        CU_ASSERT_TRUE(qat[BITS_8][BITS_2] < qat[BITS_2][BITS_2] - 0.10);
        CU_ASSERT_TRUE(qat[BITS_8][BITS_2] < mqat[BITS_2] - 0.10);
        /* Two deviations of a share of 400 at 0.99 are one point. */
        CU_ASSERT_DOUBLE_EQUAL(qat[BITS_8][BITS_8], fedavg[FLOAT], 0.01);
        CU_ASSERT_DOUBLE_EQUAL(qat[BITS_8][FLOAT], fedavg[FLOAT], 0.01);
    }
}

static void test_every_algorithm_learns(void) {
    for (size_t a = 0; fq_algorithms[a] != NULL; a++) {
        char      train[256];
        fq_tiny   tiny;
        fq_figure before[N_FIGURES], after[N_FIGURES];
        snprintf(train, sizeof train, "rate: 0.1, algorithm: %s, max_steps: 16%s",
                 fq_algorithms[a]->name,
                 fq_algorithms[a]->plain_mean ? "}\naggregate: {weights: equal" : "");
        create_toy(&tiny, 1, train);
        measure(&tiny, before);
        fq_tiny_run(&tiny, 5, 1);
        measure(&tiny, after);
        if (!(after[FLOAT].loss < 0.8 * before[FLOAT].loss))
            fprintf(stderr, "%s: loss %g after %g\n", fq_algorithms[a]->name, after[FLOAT].loss,
                    before[FLOAT].loss);
        CU_ASSERT_TRUE(after[FLOAT].loss < 0.8 * before[FLOAT].loss);
        CU_ASSERT_TRUE(after[FLOAT].accuracy > before[FLOAT].accuracy);
        fq_tiny_destroy(&tiny);
    }
}

/* ---- rounds by hand ---- */

static void close_round(fq_tiny *tiny) {
    fq_pool         *pool;
    fq_round_summary summary;
    FQ_ASSERT_OK(fq_pool_create(&pool, 1));
    FQ_ASSERT_OK(fq_round_close(tiny->server, pool, &summary));
    CU_ASSERT_TRUE(summary.applied);
    CU_ASSERT_EQUAL(summary.n_accepted, summary.n_asked);
    fq_pool_destroy(&pool);
}

/* Rounds in which every client of the cohort is client 3: same data, same streams, so the same
 * update under n names. Returns the weights. */
static float *run_copies(const char *train, size_t n, uint32_t rounds, size_t *size) {
    fq_tiny    tiny;
    fq_worker *worker;
    uint64_t   cohort[12];
    create_unequal(&tiny, train);
    fq_client client = {.id = 3, .shard = fq_partition_shard(tiny.setup.partition, 3)};
    FQ_ASSERT_OK(fq_worker_create(&worker, tiny.setup.model, &tiny.experiment->recipe,
                                  tiny.setup.max_examples));
    for (size_t i = 0; i < n; i++)
        cohort[i] = i;
    for (uint32_t r = 0; r < rounds; r++) {
        fq_plan plan;
        FQ_ASSERT_OK(fq_round_open(tiny.server, cohort, n, n * client.shard.n, &plan));
        for (size_t i = 0; i < n; i++) {
            fq_update update;
            FQ_ASSERT_OK(fq_client_turn(worker, &plan, &client, &update));
            update.client = cohort[i];
            FQ_ASSERT_OK(fq_round_accept(tiny.server, 0, &update));
        }
        close_round(&tiny);
    }
    *size = fq_model_size(tiny.setup.model);
    float *w = malloc(*size * sizeof *w);
    memcpy(w, fq_server_weights(tiny.server), *size * sizeof *w);
    fq_worker_destroy(&worker);
    fq_tiny_destroy(&tiny);
    return w;
}

static double norm(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

static void test_identical_clients_are_one(void) {
    static const char *const trains[] = {
        "train: {clients_per_round: 12, epochs: 2, batch: 8}\n",
        "train: {clients_per_round: 12, epochs: 2, batch: 8, robustness: [apqn, mqat]}\n",
    };
    for (size_t t = 0; t < sizeof trains / sizeof trains[0]; t++) {
        size_t size, same;
        float *one = run_copies(trains[t], 1, 3, &size), *all = run_copies(trains[t], 12, 3, &same);
        CU_ASSERT_EQUAL_FATAL(size, same);
        double length = norm(one, size);
        for (size_t i = 0; i < size; i++)
            all[i] -= one[i];
        /* The mean of equal numbers is exact but for the fixed point of the sum. */
        CU_ASSERT_TRUE(norm(all, size) < 1e-6 * length);
        free(one);
        free(all);
    }
}

/* gradient [trainable] of the mean loss over the examples of all clients, example by example. */
static void pooled_gradient(const fq_tiny *tiny, const float *w, double *gradient) {
    const fq_model *model = tiny->setup.model;
    size_t          trainable = fq_model_trainable(model), total = 0;
    fq_arena        arena;
    fq_workspace   *ws;
    FQ_ASSERT_OK(fq_arena_init(&arena, fq_workspace_bytes(model, 1, true, false)));
    FQ_ASSERT_OK(fq_workspace_create(&ws, model, 1, true, false, &arena));
    float *g = malloc(trainable * sizeof *g);
    for (uint64_t k = 0; k < fq_partition_clients(tiny->setup.partition); k++) {
        fq_shard shard = fq_partition_shard(tiny->setup.partition, k);
        for (uint32_t i = 0; i < shard.n; i++) {
            uint16_t      label;
            size_t        correct;
            float         dlogits[4 * FQ_LANES];
            const fq_pass pass = {.batch = 1, .train = true};
            fq_shard_gather(&shard, &i, 1, FQ_LANES, fq_workspace_input(ws), &label);
            const float *logits = fq_model_forward(model, ws, w, &pass);
            fq_cross_entropy(logits, &label, 4, 1, FQ_LANES, dlogits, &correct);
            memset(g, 0, trainable * sizeof *g);
            fq_model_backward(model, ws, w, &pass, dlogits, g);
            for (size_t p = 0; p < trainable; p++)
                gradient[p] += (double)g[p];
        }
        total += shard.n;
    }
    for (size_t p = 0; p < trainable; p++)
        gradient[p] /= (double)total;
    free(g);
    fq_arena_fini(&arena);
}

/* All clients, one step, full batches: gradient descent on sum n_k f_k / sum n_k, which is the mean
 * loss over all examples. */
static void test_full_participation_is_gradient_descent(void) {
    fq_tiny tiny;
    create_unequal(&tiny, "train: {clients_per_round: 12, epochs: 1, batch: 65536, rate: 0.25}\n");
    size_t size = fq_model_size(tiny.setup.model);
    CU_ASSERT_EQUAL_FATAL(size, fq_model_trainable(tiny.setup.model));
    float  *expected = malloc(size * sizeof *expected), *wrong = malloc(size * sizeof *wrong);
    double *gradient = calloc(size, sizeof *gradient);
    memcpy(expected, fq_server_weights(tiny.server), size * sizeof *expected);
    for (uint32_t r = 0; r < 3; r++) {
        double moved = 0;
        memset(gradient, 0, size * sizeof *gradient);
        pooled_gradient(&tiny, expected, gradient);
        for (size_t i = 0; i < size; i++) {
            expected[i] = (float)((double)expected[i] - 0.25 * gradient[i]);
            moved += pow(0.25 * gradient[i], 2);
        }
        fq_tiny_run(&tiny, 1, 1);
        for (size_t i = 0; i < size; i++)
            wrong[i] = fq_server_weights(tiny.server)[i] - expected[i];
        CU_ASSERT_TRUE(norm(wrong, size) < 1e-6 * norm(expected, size));
        /* The step itself is as good as the rounding of the weights allows. */
        CU_ASSERT_TRUE(norm(wrong, size) < 1e-5 * sqrt(moved));
    }
    free(expected);
    free(wrong);
    free(gradient);
    fq_tiny_destroy(&tiny);
}

/* ---- SCAFFOLD: the server's control is the mean of the clients' ---- */

typedef struct controls {
    fq_tiny    tiny;
    fq_worker *worker;
    float     *state[12]; /* c_k */
    size_t     size;
} controls;

static void open_next(controls *c, size_t n, uint64_t *cohort, fq_plan *plan) {
    uint64_t examples = 0;
    FQ_ASSERT_OK(fq_cohort_sample(5, fq_server_round(c->tiny.server), 12, n, cohort));
    for (size_t i = 0; i < n; i++)
        examples += fq_partition_shard(c->tiny.setup.partition, cohort[i]).n;
    FQ_ASSERT_OK(fq_round_open(c->tiny.server, cohort, n, examples, plan));
}

static void answer(controls *c, uint64_t id, const fq_plan *plan) {
    fq_client client = {
        .id = id, .shard = fq_partition_shard(c->tiny.setup.partition, id), .state = c->state[id]};
    fq_update update;
    FQ_ASSERT_OK(fq_client_turn(c->worker, plan, &client, &update));
    FQ_ASSERT_OK(fq_round_accept(c->tiny.server, 0, &update));
    fq_client_commit(c->worker, &client);
}

/* |mean of c_k - c| / |c| */
static double distance_of_mean(const controls *c, const float *server) {
    double off = 0, length = 0;
    for (size_t i = 0; i < c->size; i++) {
        double mean = 0;
        for (size_t k = 0; k < 12; k++)
            mean += (double)c->state[k][i] / 12;
        off += pow(mean - (double)server[i], 2);
        length += pow((double)server[i], 2);
    }
    CU_ASSERT_TRUE(length > 0);
    return sqrt(off / length);
}

/* It holds for any cohorts, since the server moves by the share of clients that answered, and for
 * coded uploads, since clients keep what the server decodes. */
static void test_scaffold_controls_add_up(void) {
    static const struct {
        size_t      n;
        const char *upload;
    } cases[] = {{12, ""}, {5, ""}, {12, "upload: {quantizer: stochastic, bits: 4}\n"}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char     train[256];
        controls c = {0};
        uint64_t cohort[12];
        fq_plan  plan;
        snprintf(train, sizeof train,
                 "train: {clients_per_round: %zu, batch: 8, rate: 0.1, algorithm: scaffold}\n%s",
                 cases[k].n, cases[k].upload);
        create_unequal(&c.tiny, train);
        c.size = fq_model_size(c.tiny.setup.model);
        for (size_t i = 0; i < 12; i++)
            c.state[i] = calloc(c.size, sizeof(float));
        FQ_ASSERT_OK(fq_worker_create(&c.worker, c.tiny.setup.model, &c.tiny.experiment->recipe,
                                      c.tiny.setup.max_examples));
        open_next(&c, cases[k].n, cohort, &plan);
        for (uint32_t r = 0; r < 6; r++) {
            for (size_t i = 0; i < cases[k].n; i++)
                answer(&c, cohort[i], &plan);
            close_round(&c.tiny);
            open_next(&c, cases[k].n, cohort, &plan);
            CU_ASSERT_TRUE(distance_of_mean(&c, plan.server_vectors) < 1e-6);
        }
        for (size_t i = 0; i < 12; i++)
            free(c.state[i]);
        fq_worker_destroy(&c.worker);
        fq_tiny_destroy(&c.tiny);
    }
}

/* ---- FedPAQ: coded updates of some of the clients ---- */

enum { PAQ_CLIENTS = 4, PAQ_DRAWS = 600 };

/* One round of the four clients, whose deltas [4] of [P] are coded with the recipe's upload and the
 * rounding stream of round `draw`. Adds the server's step [P] to `step`. */
static void paq_round(fq_tiny *tiny, float *const *deltas, uint32_t draw, fq_arena *arena,
                      const fq_blocks *blocks, double *step) {
    static const uint64_t cohort[PAQ_CLIENTS] = {1, 3, 4, 9};
    const fq_coding      *upload = &tiny->experiment->recipe.upload;
    size_t                size = fq_model_size(tiny->setup.model), weight = 0;
    fq_plan               plan;
    for (size_t k = 0; k < PAQ_CLIENTS; k++)
        weight += fq_partition_shard(tiny->setup.partition, cohort[k]).n;
    FQ_ASSERT_OK(fq_round_open(tiny->server, cohort, PAQ_CLIENTS, weight, &plan));
    for (size_t i = 0; i < size; i++)
        step[i] -= (double)fq_server_weights(tiny->server)[i];
    for (size_t k = 0; k < PAQ_CLIENTS; k++) {
        fq_update update = {.client = cohort[k],
                            .round = plan.round,
                            .n_examples = fq_partition_shard(tiny->setup.partition, cohort[k]).n,
                            .n_steps = 1,
                            .n_vectors = 1};
        fq_rng    rng = fq_rng_stream(5, FQ_RNG_ROUNDING, draw, cohort[k], 0, 0);
        fq_arena_reset(arena);
        FQ_ASSERT_OK(fq_quantize(upload->quantizer, upload->bits, upload->zstd, deltas[k], *blocks,
                                 &rng, arena, &update.vectors[0]));
        FQ_ASSERT_OK(fq_round_accept(tiny->server, 0, &update));
    }
    close_round(tiny);
    for (size_t i = 0; i < size; i++)
        step[i] += (double)fq_server_weights(tiny->server)[i];
}

/* The mean of the server's steps over many draws of the rounding is FedAvg's step: within 3
 * deviations along that step, and value by value as far as so many of them allow. */
static void test_fedpaq_is_unbiased(void) {
    fq_tiny   plain, coded;
    fq_arena  arena;
    fq_blocks blocks;
    create_unequal(&plain, "train: {clients_per_round: 4}\n");
    create_unequal(&coded, "train: {clients_per_round: 4}\n"
                           "upload: {quantizer: stochastic, bits: 2}\n");
    size_t  size = fq_model_size(plain.setup.model);
    float  *deltas[PAQ_CLIENTS];
    double *exact = calloc(size, sizeof *exact), *sum = calloc(size, sizeof *sum);
    double *squares = calloc(size, sizeof *squares), *step = calloc(size, sizeof *step);
    FQ_ASSERT_OK(fq_blocks_of_model(plain.setup.model, 0, &blocks));
    FQ_ASSERT_OK(fq_arena_init(&arena, 1 << 20));
    for (size_t k = 0; k < PAQ_CLIENTS; k++) {
        fq_rng rng = fq_rng_stream(5, FQ_RNG_DATA, (uint32_t)k, 0, 0, 0);
        deltas[k] = malloc(size * sizeof *deltas[k]);
        for (size_t i = 0; i < size; i++)
            deltas[k][i] = (float)(0.01 * fq_rng_normal(&rng));
    }
    paq_round(&plain, deltas, 0, &arena, &blocks, exact);
    double along = 0.0, along_squares = 0.0, length = 0.0, deviations = 0.0, worst = 0.0;
    for (size_t i = 0; i < size; i++)
        length += exact[i] * exact[i];
    for (uint32_t draw = 0; draw < PAQ_DRAWS; draw++) {
        double dot = 0.0;
        memset(step, 0, size * sizeof *step);
        paq_round(&coded, deltas, draw, &arena, &blocks, step);
        for (size_t i = 0; i < size; i++) {
            sum[i] += step[i];
            squares[i] += step[i] * step[i];
            dot += step[i] * exact[i] / length;
        }
        along += dot / PAQ_DRAWS;
        along_squares += dot * dot / PAQ_DRAWS;
    }
    CU_ASSERT_DOUBLE_EQUAL(along, 1.0, 3.0 * sqrt((along_squares - along * along) / PAQ_DRAWS));
    for (size_t i = 0; i < size; i++) {
        double mean = sum[i] / PAQ_DRAWS, variance = squares[i] / PAQ_DRAWS - mean * mean;
        CU_ASSERT_TRUE_FATAL(variance > 0.0); /* the coding is coarse */
        double z = (mean - exact[i]) / sqrt(variance / PAQ_DRAWS);
        deviations += z * z / (double)size;
        worst = fmax(worst, fabs(z));
    }
    CU_ASSERT_DOUBLE_EQUAL(deviations, 1.0, 3.0 * sqrt(2.0 / (double)size));
    CU_ASSERT_TRUE(worst < 4.5); /* of about 400 */
    for (size_t k = 0; k < PAQ_CLIENTS; k++)
        free(deltas[k]);
    free(exact);
    free(sum);
    free(squares);
    free(step);
    fq_arena_fini(&arena);
    fq_blocks_free(&blocks);
    fq_tiny_destroy(&plain);
    fq_tiny_destroy(&coded);
}

/* A format that loses nothing is FedAvg to the bit, however it is cut and packed. */
static void test_fedpaq_without_loss(void) {
    static const char *const uploads[] = {"", "upload: {quantizer: float32, block: 64}\n",
                                          "upload: {quantizer: float32, entropy: zstd}\n"};
    float                   *w[3];
    size_t                   size = 0;
    for (size_t u = 0; u < 3; u++) {
        fq_tiny tiny;
        char    train[256];
        snprintf(train, sizeof train, "train: {clients_per_round: 4, batch: 8}\n%s", uploads[u]);
        create_unequal(&tiny, train);
        fq_tiny_run(&tiny, 3, 1);
        size = fq_model_size(tiny.setup.model);
        w[u] = malloc(size * sizeof *w[u]);
        memcpy(w[u], fq_server_weights(tiny.server), size * sizeof *w[u]);
        fq_tiny_destroy(&tiny);
    }
    for (size_t u = 1; u < 3; u++)
        CU_ASSERT_EQUAL(memcmp(w[0], w[u], size * sizeof *w[0]), 0);
    for (size_t u = 0; u < 3; u++)
        free(w[u]);
}

int main(void) {
    static const fq_case cases[] = {
        {"identical clients are one client", test_identical_clients_are_one},
        {"full participation is gradient descent", test_full_participation_is_gradient_descent},
        {"one model for every width", test_every_width_at_once},
        {"every algorithm learns", test_every_algorithm_learns},
        {"the controls of SCAFFOLD add up", test_scaffold_controls_add_up},
        {"FedPAQ without loss is FedAvg", test_fedpaq_without_loss},
        {"FedPAQ's step is FedAvg's in the mean", test_fedpaq_is_unbiased},
        {NULL, NULL},
    };
    return fq_run_suite("methods", cases);
}

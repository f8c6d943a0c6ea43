/* Levels that adapt: the rules against published numbers, then whole rounds. */
#include "base/file.h"
#include "protocol/levels.h"
#include "suite.h"
#include "tiny.h"
#include "train/client_turn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double two_thirds(uint64_t n) {
    return pow((double)n, 2.0 / 3.0);
}

/* n = {100, 200, 700}, q = 8: q_k before rounding, and sum w^2 / q^2 for both assignments. */
static void test_by_client(void) {
    const uint64_t n[3] = {100, 200, 700};
    const double   golden[3] = {2.720938131, 4.319220051, 9.956744438};
    const double   factor = fq_level_factor(8, n, 3);
    double         own = 0.0, same = 0.0, sum = 0.0;
    for (size_t k = 0; k < 3; k++) {
        const double q = factor * two_thirds(n[k]), w = (double)n[k] / 1000.0;
        CU_ASSERT_DOUBLE_EQUAL(q, golden[k], 1e-9);
        own += w * w / (q * q);
        same += w * w / 64.0;
        sum += q;
    }
    CU_ASSERT_DOUBLE_EQUAL(same, 0.0084375, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(own, 0.0084375, 1e-12);
    CU_ASSERT_TRUE(sum < 3 * 8);
}

/* Equal clients: all have q. */
static void test_equal_clients(void) {
    for (uint64_t size = 1; size < 100000; size = 3 * size + 1) {
        uint64_t n[7];
        for (size_t k = 0; k < 7; k++)
            n[k] = fq_example_bucket(size);
        for (int32_t q = 1; q <= 127; q = 2 * q + 1) {
            const fq_levels levels = {.all = q, .factor = fq_level_factor(q, n, 7)};
            CU_ASSERT_DOUBLE_EQUAL(levels.factor * two_thirds(n[0]), (double)q, 1e-9 * q);
            CU_ASSERT_EQUAL(fq_levels_of(&levels, size, 8), q);
        }
    }
}

/* Rounded, at least 1, at most what the bits have room for; q itself without a factor. */
static void test_rounding(void) {
    const fq_levels none = {0}, same = {.all = 5}, own = {.all = 5, .factor = 1.0};
    CU_ASSERT_EQUAL(fq_levels_of(&none, 100, 8), 0);
    CU_ASSERT_EQUAL(fq_levels_of(&same, 100, 8), 5);
    CU_ASSERT_EQUAL(fq_levels_of(&same, 100, 3), 3);
    CU_ASSERT_EQUAL(fq_levels_of(&own, 7, 8), 4); /* 8 examples */
    CU_ASSERT_EQUAL(fq_levels_of(&own, 9, 8), 6); /* 16: 6.35 */
    CU_ASSERT_EQUAL(fq_levels_of(&own, UINT64_MAX, 8), 127);
    const fq_levels tiny = {.all = 1, .factor = 1e-9}, huge = {.all = 1, .factor = 1e300};
    CU_ASSERT_EQUAL(fq_levels_of(&tiny, 100, 8), 1);
    CU_ASSERT_EQUAL(fq_levels_of(&huge, 100, 2), 1);
    for (int32_t q = 1; q <= 127; q++)
        CU_ASSERT_EQUAL(fq_level_bits(q), (uint8_t)ceil(log2(2.0 * q + 1.0)));
}

static fq_level_history run_losses(const fq_level_rule *rule, int32_t most, const double *losses,
                                   size_t n, int32_t *levels) {
    fq_level_history history;
    fq_level_history_begin(&history, rule);
    for (size_t t = 0; t < n; t++) {
        fq_level_history_add(&history, rule, most, losses[t]);
        levels[t] = history.levels;
    }
    return history;
}

/* Falling losses change nothing; a loss that stands still doubles the levels every phi rounds, and
 * no sooner, up to the most there can be. */
static void test_by_time(void) {
    enum { N = 24 };
    const fq_level_rule rule = {.levels = 1, .patience = 5, .smoothing = 0.9};
    double              falling[N], still[N];
    int32_t             levels[N];
    for (int t = 0; t < N; t++) {
        falling[t] = 1.0 / (1.0 + t);
        still[t] = 2.0;
    }
    run_losses(&rule, 127, falling, N, levels);
    CU_ASSERT_EQUAL(levels[N - 1], 1);
    run_losses(&rule, 5, still, N, levels);
    for (int t = 0; t < N; t++)
        CU_ASSERT_EQUAL(levels[t], t < 5 ? 1 : t < 10 ? 2 : t < 15 ? 4 : 5);
}

/* The running mean decides, not the last loss: G = 1, .5, .25, .125, .3125, ... with psi = 1/2. */
static void test_smoothing(void) {
    const fq_level_rule rule = {.levels = 3, .patience = 2, .smoothing = 0.5};
    const double        losses[6] = {1.0, 0.0, 0.0, 0.0, 0.5, 0.2};
    const double        means[6] = {1.0, 0.5, 0.25, 0.125, 0.3125, 0.25625};
    int32_t             levels[6];
    for (size_t n = 1; n <= 6; n++) {
        const fq_level_history history = run_losses(&rule, 127, losses, n, levels);
        CU_ASSERT_DOUBLE_EQUAL(history.smoothed[(n - 1) % 3], means[n - 1], 1e-15);
        CU_ASSERT_EQUAL(history.losses, n);
    }
    /* 0.3125 >= 0.25 two rounds before; then nothing for two rounds. */
    CU_ASSERT_TRUE(levels[3] == 3 && levels[4] == 6 && levels[5] == 6);
}

/* ---- whole rounds ---- */

#define YAML                                                                                       \
    "seed: 3\n"                                                                                    \
    "data: {set: synthetic, clients: 6, features: 10, classes: 3, examples: 60, "                  \
    "test_examples: 16}\n"                                                                         \
    "model: [{layer: dense, out: 3}]\n"                                                            \
    "train: {clients_per_round: 3, rate: %s, batch: 8}\n"                                          \
    "upload: {quantizer: qsgd, adaptive: {levels: 2, patience: 2, by_client: %s}}\n"

static void create(fq_tiny *tiny, const char *rate, const char *by_client) {
    char yaml[1024];
    snprintf(yaml, sizeof yaml, YAML, rate, by_client);
    fq_tiny_create(tiny, yaml);
}

typedef struct turn {
    fq_tiny    tiny;
    fq_worker *worker;
    uint64_t   cohort[3], sizes[3];
    fq_plan    plan;
} turn;

static void begin(turn *t, const char *by_client) {
    *t = (turn){.cohort = {0, 2, 5}};
    create(&t->tiny, "0.1", by_client);
    uint64_t examples = 0;
    for (size_t k = 0; k < 3; k++) {
        t->sizes[k] = fq_partition_shard(t->tiny.setup.partition, t->cohort[k]).n;
        examples += t->sizes[k];
    }
    FQ_ASSERT_OK(fq_worker_create(&t->worker, t->tiny.setup.model, &t->tiny.experiment->recipe,
                                  t->tiny.setup.max_examples));
    FQ_ASSERT_OK(fq_round_open(t->tiny.server, t->cohort, 3, examples, &t->plan));
    fq_round_size_clients(t->tiny.server, t->sizes, &t->plan);
}

static void end(turn *t) {
    fq_worker_destroy(&t->worker);
    fq_tiny_destroy(&t->tiny);
}

static fq_update answer(turn *t, size_t k) {
    fq_update       update;
    const fq_client client = {.id = t->cohort[k],
                              .shard = fq_partition_shard(t->tiny.setup.partition, t->cohort[k])};
    FQ_ASSERT_OK(fq_client_turn(t->worker, &t->plan, &client, &update));
    return update;
}

/* Each client codes with its own levels, in as few bits as they take, and reports its loss on the
 * model as received; the server refuses other widths. */
static void test_turn(void) {
    turn t;
    begin(&t, "true");
    CU_ASSERT_TRUE(t.plan.levels.all == 2 && t.plan.levels.factor > 0.0);
    for (size_t k = 0; k < 3; k++) {
        fq_update     update = answer(&t, k);
        const int32_t levels = fq_levels_of(&t.plan.levels, t.sizes[k], 8);
        CU_ASSERT_EQUAL(update.vectors[0].bits, fq_level_bits(levels));
        CU_ASSERT_TRUE(update.first_loss > 0.0);
        /* A linear model with the weights of the first step: the loss of all examples at once. */
        CU_ASSERT_DOUBLE_EQUAL(update.first_loss, update.loss, 1.0);
        CU_ASSERT_TRUE(update.first_loss != update.loss);
        fq_update other = update;
        other.vectors[0].bits++;
        FQ_ASSERT_FAILS(fq_round_accept(t.tiny.server, 0, &other), FQ_EPROTO, "was agreed");
        FQ_ASSERT_OK(fq_round_accept(t.tiny.server, 0, &update));
    }
    end(&t);
    begin(&t, "false");
    CU_ASSERT_TRUE(t.plan.levels.all == 2 && t.plan.levels.factor == 0.0);
    for (size_t k = 0; k < 3; k++)
        CU_ASSERT_EQUAL(answer(&t, k).vectors[0].bits, 3); /* five levels */
    end(&t);
}

/* The loss before training is that of a first local step over all examples. */
static void test_first_loss(void) {
    turn t;
    begin(&t, "true");
    fq_recipe *recipe = &t.tiny.experiment->recipe;
    fq_worker *whole;
    recipe->batch = 4096;
    recipe->epochs = 1;
    FQ_ASSERT_OK(fq_worker_create(&whole, t.tiny.setup.model, recipe, t.tiny.setup.max_examples));
    fq_worker_destroy(&t.worker);
    t.worker = whole;
    const fq_update update = answer(&t, 1);
    CU_ASSERT_EQUAL(update.n_steps, 1);
    CU_ASSERT_DOUBLE_EQUAL(update.first_loss, update.loss, 1e-6);
    end(&t);
}

static void run_and_save(fq_tiny *tiny, uint32_t rounds, fq_buffer *out) {
    fq_tiny_run(tiny, rounds, 2);
    out->size = 0;
    FQ_ASSERT_OK(
        fq_checkpoint_encode(tiny->server, tiny->experiment->hash, (fq_states_mark){0}, "", out));
}

/* A rate so small that the loss stands still: the levels double. A run cut in two ends as the whole
 * one does, to the bit. */
static void test_resume(void) {
    fq_tiny        whole, second;
    fq_buffer      half = {0}, at_once = {0}, in_two = {0};
    fq_states_mark mark;
    char           note[FQ_NOTE_BYTES];
    fq_plan        plan;
    const uint64_t cohort = 1;
    create(&whole, "1e-9", "true");
    run_and_save(&whole, 3, &half);
    run_and_save(&whole, 5, &at_once);
    FQ_ASSERT_OK(fq_round_open(whole.server, &cohort, 1, 1000, &plan));
    CU_ASSERT_TRUE(plan.levels.all > 2);
    create(&second, "1e-9", "true");
    FQ_ASSERT_OK(fq_checkpoint_decode((fq_cbytes){half.data, half.size}, second.server,
                                      second.experiment->hash, &mark, note));
    run_and_save(&second, 5, &in_two);
    CU_ASSERT_EQUAL_FATAL(in_two.size, at_once.size);
    CU_ASSERT_EQUAL(memcmp(in_two.data, at_once.data, at_once.size), 0);
    /* A forged history: levels that do not fit the bits. Behind it stand an empty note and the
     * checksum. */
    unsigned char *history = half.data + half.size - 8 - (3 * 4 + 3 * 8);
    history[1] = 1; /* 256 levels more */
    const uint32_t crc = fq_crc32((fq_cbytes){half.data, half.size - 4});
    for (int i = 0; i < 4; i++)
        half.data[half.size - 4 + (size_t)i] = (unsigned char)(crc >> 8 * i);
    FQ_ASSERT_FAILS(fq_checkpoint_decode((fq_cbytes){half.data, half.size}, second.server,
                                         second.experiment->hash, &mark, note),
                    FQ_EPROTO, "history of levels does not add up");
    fq_buffer_fini(&half);
    fq_buffer_fini(&at_once);
    fq_buffer_fini(&in_two);
    fq_tiny_destroy(&whole);
    fq_tiny_destroy(&second);
}

int main(void) {
    static const fq_case cases[] = {
        {"levels by client", test_by_client},
        {"equal clients, equal levels", test_equal_clients},
        {"rounding and bits", test_rounding},
        {"levels by time", test_by_time},
        {"running mean of the loss", test_smoothing},
        {"a client's turn", test_turn},
        {"the loss before training", test_first_loss},
        {"resumed to the bit", test_resume},
        {NULL, NULL},
    };
    return fq_run_suite("levels", cases);
}

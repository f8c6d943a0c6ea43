/* The server's part of a round: who is refused and why, what a mean is, and what a checkpoint
 * keeps. */
#include "suite.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define YAML                                                                                       \
    "seed: 5\ndata: {set: synthetic, clients: 6, features: 10, classes: 3, examples: 20, "         \
    "test_examples: 16}\n"                                                                         \
    "model:\n- {layer: dense, out: 3}\n"                                                           \
    "train: {clients_per_round: 3}\naggregate: {max_value: 8, max_examples: 250}\n"

typedef struct open_round {
    fq_tiny  tiny;
    fq_plan  plan;
    uint64_t cohort[3];
    size_t   size;
    float   *x; /* [size] the delta of the next update */
    fq_pool *pool;
} open_round;

static void begin(open_round *r, const char *more) {
    char yaml[1024];
    snprintf(yaml, sizeof yaml, YAML "%s", more);
    fq_tiny_create(&r->tiny, yaml);
    r->size = fq_model_size(r->tiny.setup.model);
    r->x = calloc(r->size, sizeof *r->x);
    r->cohort[0] = 1;
    r->cohort[1] = 3;
    r->cohort[2] = 4;
    FQ_ASSERT_OK(fq_pool_create(&r->pool, 1));
    FQ_ASSERT_OK(fq_round_open(r->tiny.server, r->cohort, 3, 100, &r->plan));
}

static void end(open_round *r) {
    fq_pool_destroy(&r->pool);
    free(r->x);
    fq_tiny_destroy(&r->tiny);
}

/* An update in float32, whose body is r->x itself. */
static fq_update update_of(const open_round *r, uint64_t client, uint64_t examples) {
    return (fq_update){.client = client,
                       .round = r->plan.round,
                       .n_examples = examples,
                       .n_steps = 1,
                       .loss = 1.0,
                       .drift = 1.0,
                       .n_vectors = 1,
                       .vectors = {{.quantizer = fq_quantizer_find("float32"),
                                    .bits = 32,
                                    .n = r->size,
                                    .body_bytes = r->size * 4,
                                    .body = {(const unsigned char *)r->x, r->size * 4}}}};
}

static void set_all(open_round *r, float value) {
    for (size_t i = 0; i < r->size; i++)
        r->x[i] = value;
}

static void test_weighted_mean_over_those_that_answered(void) {
    open_round       r;
    fq_round_summary summary;
    begin(&r, "");
    float     before = fq_server_weights(r.tiny.server)[0];
    fq_update update;
    set_all(&r, 1.0f);
    update = update_of(&r, 1, 10);
    FQ_ASSERT_OK(fq_round_accept(r.tiny.server, 0, &update));
    set_all(&r, 2.0f);
    update = update_of(&r, 4, 30);
    FQ_ASSERT_OK(fq_round_accept(r.tiny.server, 0, &update));
    FQ_ASSERT_OK(fq_round_close(r.tiny.server, r.pool, &summary));
    /* (10 * 1 + 30 * 2) / 40: the weights add up to one over the two that answered, not the three
     * asked */
    CU_ASSERT_DOUBLE_EQUAL(fq_server_weights(r.tiny.server)[0] - before, 1.75, 1e-6);
    CU_ASSERT_EQUAL(summary.n_asked, 3);
    CU_ASSERT_EQUAL(summary.n_accepted, 2);
    CU_ASSERT_EQUAL(summary.weight, 40);
    CU_ASSERT_TRUE(summary.applied);
    CU_ASSERT_DOUBLE_EQUAL(summary.update_norm, 1.75 * sqrt((double)r.size), 1e-5);
    CU_ASSERT_EQUAL(fq_server_round(r.tiny.server), 1);
    end(&r);
}

static void test_refusals(void) {
    open_round r;
    begin(&r, "");
    fq_server *server = r.tiny.server;
    set_all(&r, 0.5f);
    fq_update update = update_of(&r, 2, 10);
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_EINVAL, "client 2 was not asked");
    update = update_of(&r, 1, 10);
    update.round = 7;
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ESTALE, "round 7 in round 0");
    update = update_of(&r, 1, 251);
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ELIMIT, "claims 251 examples");
    update = update_of(&r, 1, 0);
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ELIMIT, "claims 0 examples");
    update = update_of(&r, 1, 10);
    update.n_vectors = 2;
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_EPROTO, "2 vectors");
    update = update_of(&r, 1, 10);
    update.vectors[0].quantizer = fq_quantizer_find("float16");
    update.vectors[0].bits = 16;
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_EPROTO, "float16 at 16 bits");
    update = update_of(&r, 1, 10);
    update.vectors[0].body.size -= 4;
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_EPROTO, "");
    r.x[r.size / 2] = NAN;
    update = update_of(&r, 1, 10);
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ENONFINITE, "nan");
    r.x[r.size / 2] = -8.5f;
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ELIMIT, "at most 8");
    r.x[r.size / 2] = 0.5f;
    update.loss = HUGE_VAL;
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ENONFINITE, "loss");
    update = update_of(&r, 1, 10);
    FQ_ASSERT_OK(fq_round_accept(server, 0, &update));
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ESTATE, "already answered");
    fq_round_summary summary;
    FQ_ASSERT_OK(fq_round_close(server, r.pool, &summary));
    CU_ASSERT_EQUAL(summary.n_accepted, 1);
    CU_ASSERT_EQUAL(summary.n_refused, 11);
    FQ_ASSERT_FAILS(fq_round_accept(server, 0, &update), FQ_ESTALE, "in round 1");
    FQ_ASSERT_FAILS(fq_round_close(server, r.pool, &summary), FQ_ESTATE, "no round is open");
    end(&r);
}

static void test_claims_beyond_the_rounds_examples(void) {
    open_round r;
    begin(&r, "");
    set_all(&r, 0.0f);
    fq_update update = update_of(&r, 1, 50);
    FQ_ASSERT_OK(fq_round_accept(r.tiny.server, 0, &update));
    update = update_of(&r, 3, 50);
    FQ_ASSERT_OK(fq_round_accept(r.tiny.server, 0, &update));
    update = update_of(&r, 4, 1);
    FQ_ASSERT_FAILS(fq_round_accept(r.tiny.server, 0, &update), FQ_ELIMIT,
                    "more than the round's 100");
    end(&r);
}

static void test_too_few_updates_change_nothing(void) {
    open_round       r;
    fq_round_summary summary;
    begin(&r, "");
    fq_server_settings *settings = &r.tiny.experiment->server;
    settings->min_clients = 2;
    set_all(&r, 1.0f);
    float     before = fq_server_weights(r.tiny.server)[0];
    fq_update update = update_of(&r, 1, 10);
    FQ_ASSERT_OK(fq_round_accept(r.tiny.server, 0, &update));
    FQ_ASSERT_OK(fq_round_close(r.tiny.server, r.pool, &summary));
    CU_ASSERT_FALSE(summary.applied);
    CU_ASSERT_EQUAL(fq_server_weights(r.tiny.server)[0], before);
    CU_ASSERT_EQUAL(fq_server_round(r.tiny.server), 1);
    end(&r);
}

static void test_rounds_do_not_overlap(void) {
    open_round r;
    fq_plan    plan;
    begin(&r, "");
    FQ_ASSERT_FAILS(fq_round_open(r.tiny.server, r.cohort, 3, 100, &plan), FQ_ESTATE,
                    "round 0 is still open");
    end(&r);
    begin(&r, "");
    fq_round_summary summary;
    FQ_ASSERT_OK(fq_round_close(r.tiny.server, r.pool, &summary)); /* nobody answered */
    CU_ASSERT_FALSE(summary.applied);
    FQ_ASSERT_FAILS(fq_round_open(r.tiny.server, r.cohort, 4, 100, &plan), FQ_EINVAL,
                    "a cohort of 4");
    end(&r);
}

/* More clients in a round than the model has values: the columns of the robust aggregators are
 * longer than it. */
static void test_a_cohort_larger_than_the_model(void) {
    for (size_t row = 0; fq_aggregators[row] != NULL; row++) {
        char    yaml[512];
        fq_tiny tiny;
        snprintf(yaml, sizeof yaml,
                 "data: {set: synthetic, clients: 60, features: 4, classes: 2, examples: 5, "
                 "test_examples: 8}\n"
                 "model:\n- {layer: dense, out: 2}\ntrain: {clients_per_round: 60}\naggregate: "
                 "{method: %s}\n",
                 fq_aggregators[row]->name);
        fq_tiny_create(&tiny, yaml);
        CU_ASSERT_TRUE(fq_model_size(tiny.setup.model) < 60);
        fq_tiny_run(&tiny, 2, 2);
        CU_ASSERT_EQUAL(fq_server_round(tiny.server), 2);
        fq_tiny_destroy(&tiny);
    }
}

/* ---- checkpoint ---- */
#define STATEFUL                                                                                   \
    "seed: 5\ndata: {set: synthetic, clients: 6, features: 10, classes: 3, examples: 20, "         \
    "test_examples: 16}\n"                                                                         \
    "model:\n- {layer: dense, out: 3}\ntrain: {clients_per_round: 3, algorithm: fedadam}\n"

static fq_buffer checkpoint_of(fq_tiny *tiny, fq_states_mark states) {
    fq_buffer bytes = {0};
    FQ_ASSERT_OK(
        fq_checkpoint_encode(tiny->server, tiny->experiment->hash, states, "a note", &bytes));
    return bytes;
}

static void test_a_checkpoint_goes_on_to_the_same_weights(void) {
    fq_tiny        whole, halves;
    fq_states_mark mark;
    char           note[FQ_NOTE_BYTES];
    fq_tiny_create(&whole, STATEFUL);
    fq_tiny_run(&whole, 6, 1);
    fq_tiny_create(&halves, STATEFUL);
    fq_tiny_run(&halves, 3, 1);
    fq_buffer bytes = checkpoint_of(&halves, (fq_states_mark){0});
    fq_tiny_destroy(&halves);
    fq_tiny_create(&halves, STATEFUL);
    FQ_ASSERT_OK(fq_checkpoint_decode((fq_cbytes){bytes.data, bytes.size}, halves.server,
                                      halves.experiment->hash, &mark, note));
    CU_ASSERT_STRING_EQUAL(note, "a note");
    CU_ASSERT_EQUAL(fq_server_round(halves.server), 3);
    fq_tiny_run(&halves, 3, 2);
    CU_ASSERT_EQUAL(memcmp(fq_server_weights(whole.server), fq_server_weights(halves.server),
                           fq_model_size(whole.setup.model) * sizeof(float)),
                    0);
    fq_buffer_fini(&bytes);
    fq_tiny_destroy(&whole);
    fq_tiny_destroy(&halves);
}

static void test_the_mark_survives(void) {
    fq_tiny        tiny;
    fq_states_mark mark = {0};
    char           note[FQ_NOTE_BYTES];
    fq_tiny_create(&tiny, YAML);
    fq_buffer bytes = checkpoint_of(&tiny, (fq_states_mark){3, UINT64_C(1) << 40});
    FQ_ASSERT_OK(fq_checkpoint_decode((fq_cbytes){bytes.data, bytes.size}, tiny.server,
                                      tiny.experiment->hash, &mark, note));
    CU_ASSERT_EQUAL(mark.generation, 3);
    CU_ASSERT_EQUAL(mark.records, UINT64_C(1) << 40);
    fq_buffer_fini(&bytes);
    fq_tiny_destroy(&tiny);
}

static void test_damage_is_found(void) {
    fq_tiny        tiny;
    fq_states_mark mark;
    char           note[FQ_NOTE_BYTES];
    fq_tiny_create(&tiny, STATEFUL);
    const char *hash = tiny.experiment->hash;
    fq_buffer   bytes = checkpoint_of(&tiny, (fq_states_mark){0});
    for (size_t length = 0; length < bytes.size; length++)
        CU_ASSERT_NOT_EQUAL(
            fq_checkpoint_decode((fq_cbytes){bytes.data, length}, tiny.server, hash, &mark, note),
            FQ_OK);
    for (size_t i = 0; i < bytes.size; i++) {
        bytes.data[i] ^= 0x10;
        CU_ASSERT_NOT_EQUAL(fq_checkpoint_decode((fq_cbytes){bytes.data, bytes.size}, tiny.server,
                                                 hash, &mark, note),
                            FQ_OK);
        bytes.data[i] ^= 0x10;
    }
    FQ_ASSERT_OK(
        fq_checkpoint_decode((fq_cbytes){bytes.data, bytes.size}, tiny.server, hash, &mark, note));
    fq_tiny other;
    fq_tiny_create(&other, YAML);
    FQ_ASSERT_FAILS(fq_checkpoint_decode((fq_cbytes){bytes.data, bytes.size}, other.server,
                                         other.experiment->hash, &mark, note),
                    FQ_ESTALE, "other settings");
    fq_tiny_destroy(&other);
    fq_buffer_fini(&bytes);
    fq_tiny_destroy(&tiny);
}

int main(void) {
    static const fq_case cases[] = {
        {"weighted mean over those that answered", test_weighted_mean_over_those_that_answered},
        {"refusals", test_refusals},
        {"claims beyond the round's examples", test_claims_beyond_the_rounds_examples},
        {"too few updates change nothing", test_too_few_updates_change_nothing},
        {"rounds do not overlap", test_rounds_do_not_overlap},
        {"a cohort larger than the model", test_a_cohort_larger_than_the_model},
        {"a checkpoint goes on to the same weights", test_a_checkpoint_goes_on_to_the_same_weights},
        {"the mark survives", test_the_mark_survives},
        {"damage is found", test_damage_is_found},
        {NULL, NULL},
    };
    return fq_run_suite("round", cases);
}

/* What every row of the algorithm table promises. */
#include "algo/algorithm.h"
#include "base/config.h"
#include "base/rng.h"
#include "suite.h"

#include <math.h>
#include <string.h>

enum { SIZE = 40, TRAINABLE = 32, MAX_VECTORS = 4 };

typedef struct section {
    _Alignas(16) unsigned char bytes[4096];
} section;

static section defaults(const fq_algorithm *row) {
    section s = {0};
    CU_ASSERT_TRUE_FATAL(row->config_size <= sizeof s.bytes);
    if (row->keys != NULL)
        FQ_ASSERT_OK(fq_section_load(NULL, NULL, row->name, row->keys, NULL, s.bytes));
    return s;
}

static void fill(float *x, size_t n, uint32_t stream) {
    fq_rng rng = fq_rng_stream(1, FQ_RNG_DATA, stream, 0, 0, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)fq_rng_normal(&rng);
}

typedef struct server_state {
    float w[SIZE], vectors[MAX_VECTORS * SIZE];
} server_state;

/* One server step from `state` with the updates of round `round`. */
static void step(const fq_algorithm *row, const section *config, server_state *state,
                 uint32_t round) {
    float mean[SIZE], extra[SIZE];
    fill(mean, SIZE, 100 + round);
    fill(extra, SIZE, 200 + round);
    const fq_algo_server server = {.config = config->bytes,
                                   .size = SIZE,
                                   .n_trainable = TRAINABLE,
                                   .round = round,
                                   .share = 0.5,
                                   .rate = 0.1,
                                   .max_steps = 4,
                                   .vectors = state->vectors,
                                   .mean = mean,
                                   .extra = row->n_up > 1 ? extra : NULL,
                                   .w = state->w};
    row->server_step(&server);
}

static void test_rows(void) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const fq_algorithm *row = fq_algorithms[i];
        CU_ASSERT_PTR_EQUAL(fq_algorithm_find(row->name), row);
        CU_ASSERT_TRUE(strlen(row->summary) > 0 && strstr(row->source, "arXiv") != NULL);
        CU_ASSERT_TRUE(row->n_up == 1 || row->n_up == 2);
        CU_ASSERT_TRUE(row->n_down <= row->n_server && row->n_server <= MAX_VECTORS);
        CU_ASSERT_PTR_NOT_NULL(row->server_step);
        CU_ASSERT_TRUE(row->n_up == 1 || row->client_finish != NULL);
        CU_ASSERT_EQUAL(row->n_client > 0, row->client_sent != NULL);
    }
    CU_ASSERT_PTR_NULL(fq_algorithm_find("nothing"));
}

/* Statistics move by the plain mean; no vector has anything for them. */
static void test_statistics(void) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const section config = defaults(fq_algorithms[i]);
        server_state  state = {0};
        float         mean[SIZE];
        fill(state.w, SIZE, 1);
        const server_state before = state;
        step(fq_algorithms[i], &config, &state, 3);
        fill(mean, SIZE, 103);
        for (size_t j = TRAINABLE; j < SIZE; j++) {
            CU_ASSERT_EQUAL(state.w[j], before.w[j] + mean[j]);
            for (size_t v = 0; v < MAX_VECTORS; v++)
                CU_ASSERT_EQUAL(state.vectors[v * SIZE + j], 0.0f);
        }
    }
}

/* Updates of zero from the first round on leave the weights. */
static void test_no_update(void) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const section config = defaults(fq_algorithms[i]);
        server_state  state = {0};
        const float   zero[SIZE] = {0};
        fill(state.w, SIZE, 1);
        const server_state before = state;
        for (uint32_t round = 0; round < 3; round++) {
            const fq_algo_server server = {.config = config.bytes,
                                           .size = SIZE,
                                           .n_trainable = TRAINABLE,
                                           .round = round,
                                           .share = 1.0,
                                           .rate = 0.1,
                                           .max_steps = 4,
                                           .vectors = state.vectors,
                                           .mean = zero,
                                           .extra = zero,
                                           .w = state.w};
            fq_algorithms[i]->server_step(&server);
        }
        CU_ASSERT_EQUAL(memcmp(state.w, before.w, sizeof state.w), 0);
    }
}

/* The first step goes the way of the mean. */
static void test_direction(void) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const section config = defaults(fq_algorithms[i]);
        server_state  state = {0};
        float         mean[SIZE];
        step(fq_algorithms[i], &config, &state, 0);
        fill(mean, SIZE, 100);
        for (size_t j = 0; j < TRAINABLE; j++)
            CU_ASSERT_TRUE(state.w[j] * mean[j] > 0.0f);
    }
}

/* All there is to know is in the weights and the vectors: a copy of them, from another place in
 * memory, goes on to the same bits, as a run does from its checkpoint. */
static void test_checkpoint(void) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const section config = defaults(fq_algorithms[i]);
        server_state  whole = {0}, resumed;
        fill(whole.w, SIZE, 1);
        for (uint32_t round = 0; round < 6; round++) {
            if (round == 3)
                resumed = whole;
            if (round >= 3)
                step(fq_algorithms[i], &config, &resumed, round);
            step(fq_algorithms[i], &config, &whole, round);
        }
        CU_ASSERT_EQUAL(memcmp(&whole, &resumed, sizeof whole), 0);
        for (size_t j = fq_algorithms[i]->n_server * SIZE; j < MAX_VECTORS * SIZE; j++)
            CU_ASSERT_EQUAL(whole.vectors[j], 0.0f); /* within the vectors it asked for */
        for (size_t j = 0; j < SIZE; j++)
            CU_ASSERT_TRUE(isfinite(whole.w[j]));
    }
}

/* At the global weights, with fresh control vectors, a client's first step is that of FedAvg; and
 * the hook never writes past the trainable values. */
static void test_first_client_step(void) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const fq_algorithm *row = fq_algorithms[i];
        if (row->client_grad == NULL)
            continue;
        const section config = defaults(row);
        float         w[SIZE], grad[SIZE], before[SIZE], own[MAX_VECTORS * SIZE] = {0};
        const float   server[MAX_VECTORS * SIZE] = {0};
        fill(w, SIZE, 1);
        fill(grad, SIZE, 2);
        memcpy(before, grad, sizeof grad);
        const fq_algo_client client = {.config = config.bytes,
                                       .size = SIZE,
                                       .n_trainable = TRAINABLE,
                                       .global = w,
                                       .server_vectors = server,
                                       .client_vectors = row->n_client > 0 ? own : NULL,
                                       .rate = 0.1};
        row->client_grad(&client, w, grad);
        CU_ASSERT_EQUAL(memcmp(grad, before, sizeof grad), 0);
    }
}

/* What a client keeps moves by what the server decodes alone, is the same function of it each time,
 * and has nothing for statistics; zeros move nothing. */
static void test_client_state(void) {
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const fq_algorithm *row = fq_algorithms[i];
        if (row->n_client == 0)
            continue;
        CU_ASSERT_TRUE_FATAL(row->n_client <= MAX_VECTORS);
        const section config = defaults(row);
        const float   server[MAX_VECTORS * SIZE] = {0};
        float         own[MAX_VECTORS * SIZE], before[MAX_VECTORS * SIZE], sent[2][SIZE] = {{0}};
        const float *const   vectors[2] = {sent[0], sent[1]};
        const fq_algo_client client = {.config = config.bytes,
                                       .size = SIZE,
                                       .n_trainable = TRAINABLE,
                                       .server_vectors = server,
                                       .client_vectors = own,
                                       .rate = 0.1,
                                       .max_steps = 4,
                                       .n_steps = 3};
        fill(own, MAX_VECTORS * SIZE, 1);
        memcpy(before, own, sizeof own);
        row->client_sent(&client, vectors);
        CU_ASSERT_EQUAL(memcmp(own, before, sizeof own), 0);
        fill(sent[0], SIZE, 2);
        fill(sent[1], SIZE, 3);
        row->client_sent(&client, vectors);
        size_t moved = 0;
        for (size_t j = 0; j < MAX_VECTORS * SIZE; j++) {
            const bool its_own = j < row->n_client * SIZE && j % SIZE < TRAINABLE;
            CU_ASSERT_TRUE(its_own || own[j] == before[j]);
            moved += own[j] != before[j];
        }
        CU_ASSERT_EQUAL(moved, row->n_client * TRAINABLE);
    }
}

int main(void) {
    static const fq_case cases[] = {{"rows", test_rows},
                                    {"statistics move by the mean", test_statistics},
                                    {"no update, no step", test_no_update},
                                    {"direction", test_direction},
                                    {"state survives a checkpoint", test_checkpoint},
                                    {"first client step is fedavg's", test_first_client_step},
                                    {"a client's state moves by what was sent", test_client_state},
                                    {NULL, NULL}};
    return fq_run_suite("algorithms", cases);
}

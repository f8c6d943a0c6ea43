#include "data_support.h"

enum { N = 23, BATCH = 5 };

static void test_each_epoch_has_all_once(void) {
    uint32_t   order[N], first[N];
    fq_batches batches;
    fq_batches_begin(&batches, order, N, BATCH, 1, 2, 3);
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        unsigned seen[N] = {0};
        for (size_t b = 0; b < fq_batches_per_epoch(N, BATCH); b++) {
            size_t          size;
            const uint32_t *positions = fq_batches_next(&batches, &size);
            CU_ASSERT_EQUAL(size, b < 4 ? 5 : 3);
            CU_ASSERT_EQUAL(batches.epoch, epoch);
            for (size_t i = 0; i < size; i++)
                seen[positions[i]]++;
        }
        for (size_t i = 0; i < N; i++)
            CU_ASSERT_EQUAL(seen[i], 1);
        if (epoch == 0)
            memcpy(first, order, sizeof first);
        else
            CU_ASSERT_NOT_EQUAL(memcmp(first, order, sizeof first), 0);
    }
}

/* The order of an epoch is a function of seed, round, client and epoch, and of each of them. */
static void test_named_by_seed_round_client(void) {
    static const struct {
        uint64_t seed;
        uint32_t round;
        uint64_t client;
    } names[] = {{1, 2, 3}, {1, 2, 3}, {2, 2, 3}, {1, 3, 3}, {1, 2, 4}, {1, 2, UINT64_C(3) << 32}};
    uint32_t order[6][N];
    for (size_t i = 0; i < 6; i++) {
        fq_batches batches;
        fq_batches_begin(&batches, order[i], N, BATCH, names[i].seed, names[i].round,
                         names[i].client);
        for (size_t b = 0; b < 7; b++) {
            size_t size;
            fq_batches_next(&batches, &size);
        }
        CU_ASSERT_EQUAL(batches.epoch, 1);
    }
    CU_ASSERT_EQUAL(memcmp(order[0], order[1], sizeof order[0]), 0);
    for (size_t i = 2; i < 6; i++)
        CU_ASSERT_NOT_EQUAL(memcmp(order[0], order[i], sizeof order[0]), 0);
}

static void test_drops_short_end(void) {
    uint32_t   order[N];
    fq_batches batches;
    fq_batches_begin(&batches, order, N, BATCH, 1, 0, 0);
    batches.drop_last = true;
    size_t size;
    for (size_t b = 0; b < 8; b++) {
        fq_batches_next(&batches, &size);
        CU_ASSERT_EQUAL(size, BATCH);
        CU_ASSERT_EQUAL(batches.epoch, b / 4);
    }
    /* A client with less than one batch still has what it has. */
    fq_batches_begin(&batches, order, 3, BATCH, 1, 0, 0);
    batches.drop_last = true;
    for (size_t b = 0; b < 3; b++) {
        fq_batches_next(&batches, &size);
        CU_ASSERT_EQUAL(size, 3);
        CU_ASSERT_EQUAL(batches.epoch, b);
    }
}

static void test_counts(void) {
    CU_ASSERT_EQUAL(fq_batches_per_epoch(1, 5), 1);
    CU_ASSERT_EQUAL(fq_batches_per_epoch(5, 5), 1);
    CU_ASSERT_EQUAL(fq_batches_per_epoch(6, 5), 2);
}

int main(void) {
    static const fq_case cases[] = {
        {"each epoch has every example once", test_each_epoch_has_all_once},
        {"order is named by seed, round and client", test_named_by_seed_round_client},
        {"drops a short end", test_drops_short_end},
        {"batches in an epoch", test_counts},
        {NULL, NULL},
    };
    return fq_run_suite("batches", cases);
}

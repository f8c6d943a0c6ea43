#include "store/client_states.h"
#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VALUES = 3, CLIENTS = 1000, WORKERS = 2, HEAD = 32, RECORD = 16 + 4 * VALUES };

static char folder[64];

static void begin(void) {
    snprintf(folder, sizeof folder, "/tmp/fedq-states-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
}

static void end(void) {
    FQ_ASSERT_OK(fq_client_states_remove(folder, 0));
    CU_ASSERT_EQUAL(rmdir(folder), 0); /* nothing else was left */
}

static char *path_of(unsigned generation) {
    static char path[128];
    snprintf(path, sizeof path, "%s/states-%u.fq", folder, generation);
    return path;
}

/* -1: there is no such file. */
static long size_of(unsigned generation) {
    struct stat info;
    return stat(path_of(generation), &info) == 0 ? (long)info.st_size : -1;
}

static fq_status open_at(fq_client_states **states, fq_states_mark mark) {
    return fq_client_states_open(states, folder, VALUES, CLIENTS, WORKERS, mark);
}

static fq_client_states *opened(fq_states_mark mark) {
    fq_client_states *states;
    FQ_ASSERT_OK(open_at(&states, mark));
    CU_ASSERT_PTR_NOT_NULL_FATAL(states);
    return states;
}

/* All values of the client's state become `value`. */
static void put(fq_client_states *states, uint64_t client, uint32_t round, float value) {
    float *x;
    FQ_ASSERT_OK(fq_client_states_get(states, client % WORKERS, client, &x));
    for (size_t i = 0; i < VALUES; i++)
        x[i] = value;
    FQ_ASSERT_OK(fq_client_states_put(states, client % WORKERS, client, round));
}

static float got(fq_client_states *states, uint64_t client) {
    float *x;
    FQ_ASSERT_OK(fq_client_states_get(states, 0, client, &x));
    for (size_t i = 1; i < VALUES; i++)
        CU_ASSERT_EQUAL(memcmp(&x[0], &x[i], sizeof *x), 0);
    return x[0];
}

#define CHECK_STATE(states, client, value) CU_ASSERT_DOUBLE_EQUAL(got(states, client), value, 0.0)

static fq_states_mark marked(fq_client_states *states, bool durable) {
    fq_states_mark mark = {0};
    FQ_ASSERT_OK(fq_client_states_mark(states, durable, &mark));
    return mark;
}

static void test_the_last_put_counts(void) {
    begin();
    fq_client_states *states = opened((fq_states_mark){0});
    CHECK_STATE(states, 5, 0.0);
    put(states, 5, 0, 1.5f);
    put(states, 999, 0, -2.0f);
    put(states, 5, 1, 2.5f);
    CHECK_STATE(states, 5, 2.5);
    CHECK_STATE(states, 999, -2.0);
    CHECK_STATE(states, 6, 0.0);
    /* A turn that is not accepted changes nothing. */
    float *x;
    FQ_ASSERT_OK(fq_client_states_get(states, 1, 5, &x));
    x[0] = x[1] = x[2] = 9.0f;
    CHECK_STATE(states, 5, 2.5);
    fq_client_states_close(&states);
    fq_client_states_close(&states);
    end();
}

static void test_many_clients(void) {
    begin();
    fq_client_states *states = opened((fq_states_mark){0});
    for (uint64_t k = 0; k < CLIENTS; k++)
        put(states, k * 7 % CLIENTS, 0, (float)(k * 7 % CLIENTS));
    for (uint64_t k = 0; k < CLIENTS; k++)
        CHECK_STATE(states, k, (double)k);
    fq_states_mark mark = marked(states, false);
    CU_ASSERT_EQUAL(mark.records, CLIENTS);
    fq_client_states_close(&states);
    states = opened(mark);
    for (uint64_t k = 0; k < CLIENTS; k++)
        CHECK_STATE(states, k, (double)k);
    fq_client_states_close(&states);
    end();
}

/* A process that ends anywhere in a round, or between a round and its checkpoint. */
static void test_what_came_after_the_mark_is_forgotten(void) {
    begin();
    fq_client_states *states = opened((fq_states_mark){0});
    put(states, 1, 0, 1.0f);
    put(states, 2, 0, 2.0f);
    fq_states_mark mark = marked(states, false);
    put(states, 1, 1, 10.0f);
    put(states, 3, 1, 30.0f);
    fq_client_states_close(&states);
    /* Half a record, as kill -9 may leave. */
    CU_ASSERT_EQUAL(truncate(path_of(1), HEAD + 3 * RECORD + 10), 0);
    states = opened(mark);
    CU_ASSERT_EQUAL(size_of(1), HEAD + 2 * RECORD);
    CHECK_STATE(states, 1, 1.0);
    CHECK_STATE(states, 2, 2.0);
    CHECK_STATE(states, 3, 0.0);
    put(states, 3, 1, 33.0f);
    mark = marked(states, false);
    CU_ASSERT_EQUAL(mark.records, 3);
    fq_client_states_close(&states);
    states = opened(mark);
    CHECK_STATE(states, 3, 33.0);
    fq_client_states_close(&states);
    end();
}

/* Ten clients over and over: the log stays within what the live states take, and every checkpoint
 * on the way finds the states of its round, also if the process ends before or after the old file
 * is removed. */
static void test_tidying_up(void) {
    begin();
    fq_client_states *states = opened((fq_states_mark){0});
    fq_states_mark    before = {0};
    unsigned          moves = 0;
    for (uint32_t round = 0; round < 50; round++) {
        for (uint64_t k = 0; k < 10; k++)
            put(states, k, round, (float)(100 * round + k));
        fq_states_mark mark = marked(states, true);
        bool           moved = mark.generation != before.generation && round > 0;
        moves += moved;
        CU_ASSERT_TRUE(mark.records <= 20);
        if (moved) {
            CU_ASSERT_EQUAL(mark.records, 10);
            /* The checkpoint was not written: the one before counts on the old file. */
            CU_ASSERT_TRUE(size_of((unsigned)before.generation) > 0);
            if (moves % 2 == 0) {
                fq_client_states_close(&states);
                states = opened(before);
                CU_ASSERT_EQUAL(size_of((unsigned)mark.generation), -1);
                for (uint64_t k = 0; k < 10; k++)
                    CHECK_STATE(states, k, 100.0 * (round - 1) + (double)k);
                for (uint64_t k = 0; k < 10; k++)
                    put(states, k, round, (float)(100 * round + k));
                mark = marked(states, true);
            } else if (moves % 3 == 0) {
                /* It was written, and the process ended before the old file was removed. */
                fq_client_states_close(&states);
                states = opened(mark);
                CU_ASSERT_EQUAL(size_of((unsigned)before.generation), -1);
            }
        }
        fq_client_states_settle(states);
        if (moved)
            CU_ASSERT_EQUAL(size_of((unsigned)before.generation), -1);
        for (uint64_t k = 0; k < 10; k++)
            CHECK_STATE(states, k, 100.0 * round + (double)k);
        before = mark;
    }
    CU_ASSERT_TRUE(moves > 10);
    fq_client_states_close(&states);
    end();
}

static void test_nothing_moves_but_at_durable_marks(void) {
    begin();
    fq_client_states *states = opened((fq_states_mark){0});
    for (uint32_t round = 0; round < 20; round++) {
        put(states, 4, round, (float)round);
        fq_states_mark mark = marked(states, false);
        CU_ASSERT_EQUAL(mark.generation, 1);
        CU_ASSERT_EQUAL(mark.records, round + 1);
    }
    CU_ASSERT_EQUAL(marked(states, true).records, 1);
    fq_client_states_close(&states);
    end();
}

static void flip(long at, unsigned char mask) {
    FILE *file = fopen(path_of(1), "r+b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fseek(file, at, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ mask, file);
    fclose(file);
}

static void test_damage_is_found(void) {
    begin();
    fq_client_states *states = opened((fq_states_mark){0});
    put(states, 1, 0, 1.0f);
    put(states, 2, 4, 2.0f);
    fq_states_mark mark = marked(states, false), more = mark;
    fq_client_states_close(&states);
    for (long at = 0; at < HEAD + 2 * RECORD; at++) {
        flip(at, 0x20);
        CU_ASSERT_NOT_EQUAL(open_at(&states, mark), FQ_OK);
        CU_ASSERT_PTR_NULL(states);
        flip(at, 0x20);
    }
    more.records++;
    FQ_ASSERT_FAILS(open_at(&states, more), FQ_EPROTO, "counts on 3");
    more.records = UINT64_MAX;
    FQ_ASSERT_FAILS(open_at(&states, more), FQ_EPROTO, "has 2 records");
    FQ_ASSERT_FAILS(open_at(&states, (fq_states_mark){2, 2}), FQ_EIO, "states-2.fq");
    FQ_ASSERT_FAILS(fq_client_states_open(&states, folder, VALUES + 1, CLIENTS, 1, mark), FQ_EPROTO,
                    "values a client");
    FQ_ASSERT_FAILS(fq_client_states_open(&states, folder, VALUES, 2, 1, mark), FQ_EPROTO,
                    "of client 2");
    FQ_ASSERT_FAILS(
        fq_client_states_open(&states, "/nowhere/at/all", VALUES, 2, 1, (fq_states_mark){0}),
        FQ_EIO, "/nowhere/at/all");
    /* None of that has changed the file, and what changes while it is in use is found, too. */
    states = opened(mark);
    CHECK_STATE(states, 2, 2.0);
    flip(HEAD + RECORD + 20, 1);
    float *x;
    FQ_ASSERT_FAILS(fq_client_states_get(states, 0, 2, &x), FQ_EPROTO, "checksum of record 2");
    CHECK_STATE(states, 1, 1.0);
    fq_client_states_close(&states);
    end();
}

static void test_other_files_stay(void) {
    static const char *const names[] = {"states-.fq", "states-2.fq.gz", "states-02.fq",
                                        "states.fq"};
    char                     path[128];
    begin();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    close(open(path_of(7), O_CREAT | O_WRONLY, 0600));
    fq_client_states *states = opened((fq_states_mark){0});
    CU_ASSERT_EQUAL(size_of(7), -1);
    CU_ASSERT_EQUAL(size_of(1), HEAD);
    fq_client_states_close(&states);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        CU_ASSERT_EQUAL(unlink(path), 0);
    }
    end();
}

static void test_sizes(void) {
    CU_ASSERT_EQUAL(fq_client_states_disk(VALUES, 10), 3 * 10 * RECORD);
    CU_ASSERT_EQUAL(fq_client_states_disk(SIZE_MAX / 2, 10), SIZE_MAX);
    CU_ASSERT_TRUE(fq_client_states_memory(1, 1000000, 1) <= 1000000 * (64 + 8 + 4));
    CU_ASSERT_TRUE(fq_client_states_memory(1, UINT64_MAX, 1) == SIZE_MAX);
}

int main(void) {
    static const fq_case cases[] = {
        {"the last put counts", test_the_last_put_counts},
        {"many clients", test_many_clients},
        {"what came after the mark is forgotten", test_what_came_after_the_mark_is_forgotten},
        {"tidying up", test_tidying_up},
        {"nothing moves but at durable marks", test_nothing_moves_but_at_durable_marks},
        {"damage is found", test_damage_is_found},
        {"other files stay", test_other_files_stay},
        {"sizes", test_sizes},
        {NULL, NULL},
    };
    return fq_run_suite("client_states", cases);
}

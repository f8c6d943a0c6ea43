#include "base/pool.h"
#include "suite.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { MOST_WORKERS = 5, N_TASKS = 300 };

typedef struct job {
    size_t        n_workers;
    int           runs[N_TASKS];
    long          scratch[MOST_WORKERS]; /* not atomic: a worker runs one task at a time */
    atomic_size_t started;
    atomic_bool   wrong_worker;
} job;

static fq_status count_task(void *context, size_t task, size_t worker) {
    job *j = context;
    if (worker >= j->n_workers) {
        j->wrong_worker = true;
        return FQ_OK;
    }
    j->runs[task]++;
    j->scratch[worker] += (long)task;
    return FQ_OK;
}

static void test_every_task_once(void) {
    for (size_t n_workers = 1; n_workers <= MOST_WORKERS; n_workers++) {
        fq_pool *pool;
        FQ_ASSERT_OK(fq_pool_create(&pool, n_workers));
        CU_ASSERT_EQUAL(fq_pool_workers(pool), n_workers);
        for (size_t n = 0; n <= N_TASKS; n += 1 + n * 3) {
            job j = {.n_workers = n_workers};
            FQ_ASSERT_OK(fq_pool_for(pool, n, count_task, &j));
            long sum = 0;
            for (size_t w = 0; w < MOST_WORKERS; w++)
                sum += j.scratch[w];
            for (size_t i = 0; i < N_TASKS; i++)
                CU_ASSERT_EQUAL(j.runs[i], i < n ? 1 : 0);
            CU_ASSERT_EQUAL(sum, n == 0 ? 0 : (long)(n * (n - 1) / 2));
            CU_ASSERT_FALSE(j.wrong_worker);
        }
        fq_pool_destroy(&pool);
        CU_ASSERT_PTR_NULL(pool);
        fq_pool_destroy(&pool);
    }
}

/* Many jobs in a row: a worker that sleeps through one must not run it later. */
static void test_many_small_jobs(void) {
    fq_pool *pool;
    FQ_ASSERT_OK(fq_pool_create(&pool, 3));
    for (int round = 0; round < 2000; round++) {
        job    j = {.n_workers = 3};
        size_t n = (size_t)round % 4;
        FQ_ASSERT_OK(fq_pool_for(pool, n, count_task, &j));
        for (size_t i = 0; i < 5; i++)
            CU_ASSERT_EQUAL_FATAL(j.runs[i], i < n ? 1 : 0);
    }
    fq_pool_destroy(&pool);
}

static fq_status fail_from_seven(void *context, size_t task, size_t worker) {
    job *j = context;
    (void)worker;
    j->started++;
    if (task < 7)
        return FQ_OK;
    return fq_fail(task % 2 == 1 ? FQ_EIO : FQ_EPROTO, "task %zu failed", task);
}

static void test_failure(void) {
    for (size_t n_workers = 1; n_workers <= MOST_WORKERS; n_workers++) {
        fq_pool *pool;
        FQ_ASSERT_OK(fq_pool_create(&pool, n_workers));
        for (int i = 0; i < 50; i++) {
            job j = {.n_workers = n_workers};
            FQ_ASSERT_FAILS(fq_pool_for(pool, N_TASKS, fail_from_seven, &j), FQ_EIO,
                            "task 7 failed");
            CU_ASSERT_TRUE(j.started >= 8 && j.started < 8 + n_workers);
        }
        job after = {.n_workers = n_workers};
        FQ_ASSERT_OK(fq_pool_for(pool, 9, count_task, &after));
        fq_pool_destroy(&pool);
    }
}

static void test_limits(void) {
    fq_pool *pool;
    FQ_ASSERT_FAILS(fq_pool_create(&pool, 0), FQ_EINVAL, "at least one worker");
    CU_ASSERT_PTR_NULL(pool);
    CU_ASSERT_TRUE(fq_processors() >= 1);
}

/* A line without its end, and no more of it than there is room for. */
static void test_processor_name(void) {
    char name[256], start[5];
    fq_processor_name(name, sizeof name);
    fq_processor_name(start, sizeof start);
    CU_ASSERT_TRUE(strlen(name) > 0 && strchr(name, '\n') == NULL);
    CU_ASSERT_TRUE(strncmp(start, name, sizeof start - 1) == 0 && strlen(start) < sizeof start);
}

int main(void) {
    static const fq_case cases[] = {
        {"every task runs once, on a worker of the pool", test_every_task_once},
        {"many small jobs in a row", test_many_small_jobs},
        {"the failure of the lowest task is returned", test_failure},
        {"a pool has a worker", test_limits},
        {"the processor has a name", test_processor_name},
        {NULL, NULL}};
    return fq_run_suite("pool", cases);
}

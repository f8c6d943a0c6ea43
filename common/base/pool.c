#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 1024 };

struct fq_pool {
    pthread_mutex_t mutex;
    pthread_cond_t  work, done;
    pthread_t      *threads; /* [n_workers - 1] */
    size_t          n_workers, n_started;
    /* The job at hand; all under the mutex. */
    fq_task  *task;
    void     *context;
    size_t    n_tasks, next_task, n_busy;
    uint64_t  job; /* counts jobs, so that a sleeper knows a new one */
    bool      quit;
    size_t    failed_task;
    fq_status failure;
    char      failure_text[TEXT_BYTES];
};

typedef struct worker_start {
    fq_pool *pool;
    size_t   worker;
} worker_start;

/* Take tasks until none is left. Called, and returns, with the mutex held. */
static void take_tasks(fq_pool *pool, size_t worker) {
    while (pool->next_task < pool->n_tasks) {
        size_t task = pool->next_task++;
        pool->n_busy++;
        pthread_mutex_unlock(&pool->mutex);
        fq_status status = pool->task(pool->context, task, worker);
        pthread_mutex_lock(&pool->mutex);
        pool->n_busy--;
        if (status != FQ_OK) {
            pool->next_task = pool->n_tasks;
            if (pool->failure == FQ_OK || task < pool->failed_task) {
                pool->failure = status;
                pool->failed_task = task;
                snprintf(pool->failure_text, sizeof pool->failure_text, "%s", fq_status_text());
            }
        }
    }
    if (pool->n_busy == 0)
        pthread_cond_signal(&pool->done);
}

static void *run_worker(void *argument) {
    worker_start start = *(worker_start *)argument;
    free(argument);
    fq_pool *pool = start.pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->job == seen && !pool->quit)
            pthread_cond_wait(&pool->work, &pool->mutex);
        if (pool->quit)
            break;
        seen = pool->job;
        take_tasks(pool, start.worker);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

fq_status fq_pool_create(fq_pool **out, size_t n_workers) {
    *out = NULL;
    if (n_workers == 0)
        return fq_fail(FQ_EINVAL, "a pool needs at least one worker");
    fq_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a pool");
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->n_workers = n_workers;
    pool->threads = calloc(n_workers, sizeof *pool->threads);
    for (size_t i = 1; pool->threads != NULL && i < n_workers; i++) {
        worker_start *start = malloc(sizeof *start);
        if (start == NULL)
            break;
        *start = (worker_start){pool, i};
        if (pthread_create(&pool->threads[i - 1], NULL, run_worker, start) != 0) {
            free(start);
            break;
        }
        pool->n_started++;
    }
    *out = pool;
    if (pool->n_started + 1 != n_workers) {
        size_t started = pool->n_started;
        fq_pool_destroy(out);
        return fq_fail(FQ_ENOMEM, "could start only %zu of %zu worker threads", started + 1,
                       n_workers);
    }
    return FQ_OK;
}

void fq_pool_destroy(fq_pool **slot) {
    fq_pool *pool = *slot;
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->quit = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->n_started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->mutex);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->done);
    free(pool->threads);
    free(pool);
    *slot = NULL;
}

size_t fq_pool_workers(const fq_pool *pool) {
    return pool->n_workers;
}

fq_status fq_pool_for(fq_pool *pool, size_t n, fq_task *task, void *context) {
    pthread_mutex_lock(&pool->mutex);
    pool->task = task;
    pool->context = context;
    pool->n_tasks = n;
    pool->next_task = 0;
    pool->failure = FQ_OK;
    pool->job++;
    if (pool->n_started > 0 && n > 1)
        pthread_cond_broadcast(&pool->work);
    take_tasks(pool, 0);
    while (pool->n_busy > 0)
        pthread_cond_wait(&pool->done, &pool->mutex);
    fq_status failure = pool->failure;
    if (failure != FQ_OK)
        fq_fail(failure, "%s", pool->failure_text);
    pthread_mutex_unlock(&pool->mutex);
    return failure;
}

size_t fq_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (size_t)CPU_COUNT(&set);
    return 1;
}

void fq_processor_name(char *out, size_t capacity) {
    FILE *file = fopen("/proc/cpuinfo", "re");
    char  line[256];
    snprintf(out, capacity, "unknown processor");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(out, capacity, "%s", colon + 2);
            break;
        }
    }
    if (file != NULL)
        fclose(file);
}

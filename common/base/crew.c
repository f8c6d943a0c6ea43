#include "base/crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct queue {
    fq_job *first, **end;
} queue;

typedef struct member {
    fq_crew  *crew;
    size_t    number;
    pthread_t thread;
} member;

struct fq_crew {
    pthread_mutex_t mutex;
    pthread_cond_t  work;
    queue           waiting, finished;
    size_t          busy, n, started;
    bool            ending;
    int             descriptor;
    member         *members; /* [n] */
};

static void push(queue *to, fq_job *job) {
    job->next = NULL;
    *to->end = job;
    to->end = &job->next;
}

static fq_job *pop(queue *from) {
    fq_job *job = from->first;
    if (job == NULL)
        return NULL;
    from->first = job->next;
    if (from->first == NULL)
        from->end = &from->first;
    return job;
}

static void *run_member(void *argument) {
    member  *self = argument;
    fq_crew *crew = self->crew;
    pthread_mutex_lock(&crew->mutex);
    for (;;) {
        fq_job *job = pop(&crew->waiting);
        if (job == NULL && crew->ending)
            break;
        if (job == NULL) {
            pthread_cond_wait(&crew->work, &crew->mutex);
            continue;
        }
        pthread_mutex_unlock(&crew->mutex);
        job->work(job, self->number);
        pthread_mutex_lock(&crew->mutex);
        push(&crew->finished, job);
        (void)!write(crew->descriptor, &(uint64_t){1}, sizeof(uint64_t));
    }
    pthread_mutex_unlock(&crew->mutex);
    return NULL;
}

fq_status fq_crew_create(fq_crew **out, size_t n_workers) {
    *out = NULL;
    fq_crew *crew = calloc(1, sizeof *crew);
    if (crew == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a crew");
    pthread_mutex_init(&crew->mutex, NULL);
    pthread_cond_init(&crew->work, NULL);
    crew->waiting.end = &crew->waiting.first;
    crew->finished.end = &crew->finished.first;
    crew->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    crew->members = calloc(n_workers, sizeof *crew->members);
    crew->n = n_workers;
    *out = crew;
    fq_status status = FQ_OK;
    if (crew->members == NULL || crew->descriptor < 0)
        status = fq_fail(FQ_ENOMEM, "no memory for a crew of %zu", n_workers);
    for (; status == FQ_OK && crew->started < n_workers; crew->started++) {
        member *m = &crew->members[crew->started];
        *m = (member){.crew = crew, .number = crew->started};
        int error = pthread_create(&m->thread, NULL, run_member, m);
        if (error != 0) {
            status = fq_fail(FQ_ENOMEM, "cannot start a thread: %s", strerror(error));
            break;
        }
    }
    if (status != FQ_OK)
        fq_crew_destroy(out);
    return status;
}

void fq_crew_destroy(fq_crew **slot) {
    fq_crew *crew = *slot;
    if (crew == NULL)
        return;
    pthread_mutex_lock(&crew->mutex);
    crew->ending = true;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->mutex);
    for (size_t i = 0; i < crew->started; i++)
        pthread_join(crew->members[i].thread, NULL);
    if (crew->descriptor >= 0)
        close(crew->descriptor);
    pthread_mutex_destroy(&crew->mutex);
    pthread_cond_destroy(&crew->work);
    free(crew->members);
    free(crew);
    *slot = NULL;
}

void fq_crew_add(fq_crew *crew, fq_job *job) {
    pthread_mutex_lock(&crew->mutex);
    push(&crew->waiting, job);
    crew->busy++;
    pthread_cond_signal(&crew->work);
    pthread_mutex_unlock(&crew->mutex);
}

int fq_crew_descriptor(const fq_crew *crew) {
    return crew->descriptor;
}

void fq_crew_finish(fq_crew *crew) {
    uint64_t count;
    (void)!read(crew->descriptor, &count, sizeof count);
    for (;;) {
        pthread_mutex_lock(&crew->mutex);
        fq_job *job = pop(&crew->finished);
        crew->busy -= job != NULL;
        pthread_mutex_unlock(&crew->mutex);
        if (job == NULL)
            return;
        job->done(job);
    }
}

size_t fq_crew_busy(fq_crew *crew) {
    pthread_mutex_lock(&crew->mutex);
    size_t busy = crew->busy;
    pthread_mutex_unlock(&crew->mutex);
    return busy;
}

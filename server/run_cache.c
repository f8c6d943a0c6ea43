/* What the pages show of run.db. A long run takes a while to read and many browsers may ask, so it
 * is read once for each change of its files. */
#include "report/report.h"
#include "server/http_impl.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The files that say whether something has changed; a write of SQLite ends up in one of the first
 * two. */
static const char *const files[] = {"run.db", "run.db-wal", "model.fq", "settings.yaml"};
enum { N_FILES = sizeof files / sizeof *files, PATH_BYTES = 4096 };

typedef struct stamp {
    struct {
        int64_t size, seconds, nanoseconds, inode;
    } files[N_FILES];
} stamp;

struct fq_run_cache {
    char            folder[PATH_BYTES];
    pthread_mutex_t reading; /* the database; taken before `lock` */
    pthread_mutex_t lock;    /* of the rest */
    fq_run_view    *last;    /* NULL: nothing read yet */
    stamp           when;    /* of `last` */
};

static stamp stamp_of(const char *folder) {
    stamp out;
    memset(&out, 0, sizeof out);
    for (size_t f = 0; f < N_FILES; f++) {
        char        path[PATH_BYTES + 32];
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", folder, files[f]);
        if (stat(path, &info) != 0)
            continue;
        out.files[f].size = info.st_size;
        out.files[f].seconds = info.st_mtim.tv_sec;
        out.files[f].nanoseconds = info.st_mtim.tv_nsec;
        out.files[f].inode = (int64_t)info.st_ino;
    }
    return out;
}

static bool has_database(const stamp *when) {
    return when->files[0].inode != 0;
}

static void destroy(fq_run_view *view) {
    if (view == NULL)
        return;
    fq_buffer_fini(&view->json);
    free(view->figures);
    free(view);
}

/* The figures of the last evaluation only: a later round drops the ones before. */
static fq_status take_figure(void *context, uint32_t round, const fq_figure *figure) {
    fq_run_view *view = context;
    if (round != view->round)
        view->n_figures = 0;
    view->round = round;
    if (view->n_figures == FQ_MAX_FIGURES)
        return FQ_OK;
    view->figures[view->n_figures++] = *figure;
    return FQ_OK;
}

static fq_status read_view(fq_run_view *view, const char *folder, bool exists) {
    fq_report *report = NULL;
    fq_store  *store = NULL;
    fq_status  status;
    char       path[PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/run.db", folder);
    FQ_GO(status, fq_report_create(&report, &folder, exists ? 1 : 0));
    FQ_GO(status, fq_report_json(report, &view->json));
    if (!exists)
        goto done;
    FQ_GO(status, fq_store_open_read(&store, path));
    FQ_GO(status, fq_store_each_figure(store, take_figure, view));
done:
    fq_report_destroy(&report);
    (void)!fq_store_close(&store); /* nothing was written */
    return status;
}

static fq_status create_view(fq_run_view **out, const char *folder, bool exists) {
    *out = NULL;
    fq_run_view *view = calloc(1, sizeof *view);
    if (view != NULL)
        view->figures = calloc(FQ_MAX_FIGURES, sizeof *view->figures);
    if (view == NULL || view->figures == NULL) {
        destroy(view);
        return fq_fail(FQ_ENOMEM, "no memory for the figures of a run");
    }
    fq_status status = read_view(view, folder, exists);
    if (status != FQ_OK) {
        destroy(view);
        return status;
    }
    view->holders = 1;
    *out = view;
    return FQ_OK;
}

fq_status fq_run_cache_create(fq_run_cache **out, const char *folder) {
    *out = NULL;
    if (strlen(folder) >= PATH_BYTES)
        return fq_fail(FQ_ELIMIT, "the name of a run's folder has %zu bytes, expected at most %d",
                       strlen(folder), PATH_BYTES - 1);
    fq_run_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a run's figures");
    strcpy(cache->folder, folder);
    pthread_mutex_init(&cache->reading, NULL); /* of the default kind: cannot fail on Linux */
    pthread_mutex_init(&cache->lock, NULL);
    *out = cache;
    return FQ_OK;
}

void fq_run_cache_destroy(fq_run_cache **slot) {
    fq_run_cache *cache = *slot;
    *slot = NULL;
    if (cache == NULL)
        return;
    destroy(cache->last);
    pthread_mutex_destroy(&cache->reading);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* The last view, held once more; NULL if there is none, or if it is not of `when`. */
static fq_run_view *hold(fq_run_cache *cache, const stamp *when) {
    pthread_mutex_lock(&cache->lock);
    fq_run_view *view = cache->last;
    if (view != NULL && when != NULL && memcmp(&cache->when, when, sizeof *when) != 0)
        view = NULL;
    if (view != NULL)
        view->holders++;
    pthread_mutex_unlock(&cache->lock);
    return view;
}

/* Called with `reading` held. */
static fq_status renew(fq_run_cache *cache, const fq_run_view **out) {
    stamp now = stamp_of(cache->folder); /* before reading: what is written meanwhile is not lost */
    if ((*out = hold(cache, &now)) != NULL)
        return FQ_OK;
    fq_run_view *view;
    FQ_TRY(create_view(&view, cache->folder, has_database(&now)));
    pthread_mutex_lock(&cache->lock);
    fq_run_view *before = cache->last;
    bool         unused = before != NULL && --before->holders == 0;
    cache->last = view;
    cache->when = now;
    view->holders++;
    pthread_mutex_unlock(&cache->lock);
    if (unused)
        destroy(before);
    *out = view;
    return FQ_OK;
}

fq_status fq_run_cache_get(fq_run_cache *cache, const fq_run_view **out) {
    if (pthread_mutex_trylock(&cache->reading) != 0) {
        if ((*out = hold(cache, NULL)) != NULL)
            return FQ_OK;
        pthread_mutex_lock(&cache->reading); /* the very first: nothing older to give */
    }
    fq_status status = renew(cache, out);
    pthread_mutex_unlock(&cache->reading);
    return status;
}

void fq_run_view_drop(fq_run_cache *cache, const fq_run_view *view) {
    if (view == NULL)
        return;
    fq_run_view *own = (fq_run_view *)(uintptr_t)view;
    pthread_mutex_lock(&cache->lock);
    bool unused = --own->holders == 0;
    pthread_mutex_unlock(&cache->lock);
    if (unused)
        destroy(own);
}

/* What the files behind fq_http share. All of it may run on several threads at once. */
#ifndef FQ_SERVER_HTTP_IMPL_H
#define FQ_SERVER_HTTP_IMPL_H

#include "base/bytes.h"
#include "server/board.h"
#include "store/store.h"

/* ---- text of peers and files ---- */
/* A copy that is UTF-8 whatever came in: each byte that belongs to no proper sequence becomes '?'.
 * Cut to fit, never inside a sequence. Returns `out`. */
const char *fq_text_clean(const char *from, char *out, size_t capacity);

/* ---- run.db, read again only when its files have changed ---- */
typedef struct fq_run_view {
    size_t     holders;
    fq_buffer  json;  /* fq_report_json of the run so far */
    uint32_t   round; /* of the last evaluation; 0: none yet */
    size_t     n_figures;
    fq_figure *figures; /* [n_figures] of that round */
} fq_run_view;

typedef struct fq_run_cache fq_run_cache;
FQ_MUST_CHECK fq_status     fq_run_cache_create(fq_run_cache **out, const char *folder);
void                        fq_run_cache_destroy(fq_run_cache **cache);
/* End with fq_run_view_drop. A folder without run.db is a run without rounds. While another thread
 * reads the database, callers get what was read before. FQ_EIO, FQ_EPROTO. */
FQ_MUST_CHECK fq_status fq_run_cache_get(fq_run_cache *cache, const fq_run_view **out);
void                    fq_run_view_drop(fq_run_cache *cache, const fq_run_view *view);

/* ---- documents; both append to `out`, FQ_ENOMEM if that failed ---- */
/* docs/observability.md names members and metrics. `view`: NULL leaves the accuracies out. */
FQ_MUST_CHECK fq_status fq_metrics(const fq_board *board, const fq_run_view *view, fq_buffer *out);

#endif

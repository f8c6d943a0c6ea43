#include "base/clock.h"
#include "base/file.h"
#include "model/modelfile.h"
#include "run/run_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A power cut costs at most this much of a run that is not durable; the end of the process at any
 * instant costs nothing. The last round is always durable. */
static const double SYNC_SECONDS = 1.0;

/* ---- checkpoint ---- */
static const char CHECKPOINT[] = "checkpoint.fq";
/* The last durable checkpoint, while checkpoint.fq is a later one that is not: after a power cut
 * the later one may be there without what it counts on, records of run.db or of the clients'
 * states. */
static const char SYNCED[] = "checkpoint-synced.fq";

/* Before checkpoint.fq is replaced by one that is not durable. A file system without links has to
 * do without. */
static void keep_synced(const fq_run *run) {
    char checkpoint[PATH_MAX], synced[PATH_MAX];
    fq_run_path(run, CHECKPOINT, checkpoint);
    fq_run_path(run, SYNCED, synced);
    unlink(synced);
    (void)!link(checkpoint, synced);
}

static void forget_synced(const fq_run *run) {
    char synced[PATH_MAX];
    fq_run_path(run, SYNCED, synced);
    unlink(synced);
}

static fq_status save_checkpoint(fq_run *run, bool durable) {
    char           path[PATH_MAX], note[FQ_NOTE_BYTES];
    fq_states_mark mark = {0};
    fq_run_path(run, CHECKPOINT, path);
    snprintf(note, sizeof note, "%.17g %" PRId64, run->best, run->stale);
    if (run->states != NULL)
        FQ_TRY(fq_client_states_mark(run->states, durable, &mark));
    if (!durable && run->synced)
        keep_synced(run);
    fq_buffer bytes = {0};
    fq_status status = fq_checkpoint_encode(run->server, run->experiment->hash, mark, note, &bytes);
    if (status == FQ_OK)
        status = fq_file_replace(path, (fq_cbytes){bytes.data, bytes.size}, durable);
    fq_buffer_fini(&bytes);
    if (status != FQ_OK)
        return status;
    if (durable && !run->synced)
        forget_synced(run);
    run->synced = durable;
    if (run->states != NULL)
        fq_client_states_settle(run->states);
    return FQ_OK;
}

/* The progress of early stopping, as save_checkpoint notes it: "BEST STALE". */
static fq_status read_note(fq_run *run, const char *note) {
    char *middle, *end;
    run->best = strtod(note, &middle);
    run->stale = strtoll(middle, &end, 10);
    if (middle == note || end == middle || *end != '\0')
        return fq_fail(FQ_EPROTO, "its note '%.40s' is not ours", note);
    return FQ_OK;
}

static fq_status load_checkpoint(fq_run *run, const char *name, fq_states_mark *mark) {
    char path[PATH_MAX], note[FQ_NOTE_BYTES];
    fq_run_path(run, name, path);
    *mark = (fq_states_mark){0};
    if (run->options.existing != FQ_EXISTING_RESUME || !fq_file_exists(path))
        return FQ_OK;
    fq_cbytes bytes;
    FQ_TRY(fq_file_read(path, SIZE_MAX / 2, &bytes));
    fq_status status = fq_checkpoint_decode(bytes, run->server, run->experiment->hash, mark, note);
    free((void *)(uintptr_t)bytes.data);
    if (status == FQ_OK)
        status = read_note(run, note);
    if (status == FQ_ESTALE) {
        char settings[PATH_MAX];
        fq_run_path(run, "settings.yaml", settings);
        if (fq_file_exists(settings))
            return fq_run_explain_settings(run);
    }
    if (status == FQ_OK && fq_server_round(run->server) > (uint32_t)run->experiment->train.rounds)
        status = fq_fail(FQ_EINVAL,
                         "the checkpoint is of round %" PRIu32 ", past train.rounds, which is %lld",
                         fq_server_round(run->server), (long long)run->experiment->train.rounds);
    if (status != FQ_OK)
        fq_add_context("%s", path);
    return status;
}

/* ---- early stopping ---- */
static double stop_value(const fq_run *run) {
    fq_bits_summary summary = {0};
    if (!fq_bits_summarize(run->figures, run->n_figures, run->experiment->evaluate.ranges.v[0],
                           &summary))
        summary.worst = summary.mean = summary.area = summary.float_accuracy;
    switch ((fq_stop_metric)run->experiment->stop.metric) {
    case FQ_STOP_WORST: return summary.worst;
    case FQ_STOP_MEAN: return summary.mean;
    case FQ_STOP_AREA: return summary.area;
    case FQ_STOP_FLOAT:
    case FQ_STOP_NEVER: break;
    }
    return summary.float_accuracy;
}

/* After an evaluation: has the run gone on without gain for long enough? */
static bool should_stop(fq_run *run) {
    const fq_stop_section *stop = &run->experiment->stop;
    if (stop->metric == FQ_STOP_NEVER)
        return false;
    double value = stop_value(run);
    if (value > run->best + stop->min_gain) {
        run->best = value;
        run->stale = 0;
        return false;
    }
    run->stale++;
    return run->stale >= stop->patience;
}

static bool stopped_before(const fq_run *run) {
    const fq_stop_section *stop = &run->experiment->stop;
    return stop->metric != FQ_STOP_NEVER && run->stale >= stop->patience;
}

static fq_status evaluate(fq_run *run) {
    run->n_figures = fq_evaluator_count(run->evaluator);
    FQ_TRY(fq_evaluator_run(run->evaluator, fq_server_weights(run->server), run->figures));
    fq_tensor_figures(run->setup->model, fq_server_weights(run->server), run->tensors,
                      run->n_tensors);
    return FQ_OK;
}

/* ---- opening ---- */
/* A resumed run began when it first began. */
static fq_status begin_record(fq_run *run) {
    fq_run_describe(run);
    if (fq_server_round(run->server) > 0) {
        fq_run_row before;
        FQ_TRY(fq_store_get_run(run->store, &before));
        memcpy(run->record.started, before.started, sizeof before.started);
    }
    return fq_store_put_run(run->store, &run->record);
}

/* A checkpoint, and what it counts on. */
static fq_status restore_from(fq_run *run, const char *name) {
    char           path[PATH_MAX];
    fq_states_mark mark;
    FQ_TRY(load_checkpoint(run, name, &mark));
    if (run->options.client_values > 0)
        FQ_TRY(fq_client_states_open(&run->states, run->folder, run->options.client_values,
                                     run->experiment->server.clients,
                                     fq_pool_workers(run->options.pool), mark));
    fq_run_path(run, "run.db", path);
    fq_status status = fq_store_open(&run->store, path, fq_server_round(run->server));
    if (status != FQ_OK)
        fq_client_states_close(&run->states);
    return status;
}

static fq_status restore(fq_run *run) {
    char synced[PATH_MAX], reason[1024];
    fq_run_path(run, SYNCED, synced);
    fq_status status = restore_from(run, CHECKPOINT);
    if (status == FQ_OK || status == FQ_ENOMEM || !fq_file_exists(synced))
        return status;
    snprintf(reason, sizeof reason, "%s", fq_status_text());
    if (restore_from(run, SYNCED) == FQ_OK)
        return FQ_OK;
    return fq_fail(status, "%s", reason);
}

static fq_status open_all(fq_run *run) {
    fq_experiment *e = run->experiment;
    run->n_tensors = fq_model_site_count(run->setup->model);
    run->tensors = calloc(run->n_tensors == 0 ? 1 : run->n_tensors, sizeof *run->tensors);
    if (run->tensors == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a run's figures");
    FQ_TRY(fq_server_create(&run->server, run->setup->model, &e->recipe, &e->server,
                            (uint64_t)e->head.seed, fq_pool_workers(run->options.pool)));
    FQ_TRY(fq_evaluator_create(&run->evaluator, run->setup->model, run->setup->dataset,
                               run->setup->partition, &e->evaluate, (uint64_t)e->head.seed,
                               run->options.pool));
    FQ_TRY(fq_evaluator_learn(run->evaluator, &e->recipe));
    FQ_TRY(fq_run_take_folder(run));
    FQ_TRY(restore(run));
    run->stopped = stopped_before(run);
    FQ_TRY(begin_record(run));
    return fq_run_write_settings(run);
}

static void release(fq_run **slot) {
    fq_run *run = *slot;
    free(run->tensors);
    fq_evaluator_destroy(&run->evaluator);
    fq_server_destroy(&run->server);
    fq_client_states_close(&run->states);
    if (run->lock >= 0)
        close(run->lock);
    free(run);
    *slot = NULL;
}

fq_status fq_run_open(fq_run **out, fq_experiment *experiment, const fq_setup *setup,
                      const fq_run_options *options) {
    *out = NULL;
    fq_run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a run");
    run->experiment = experiment;
    run->setup = setup;
    run->options = *options;
    run->lock = -1;
    run->best = -1.0;
    run->last_sync = -HUGE_VAL; /* the first checkpoint is durable */
    *out = run;
    if ((size_t)snprintf(run->folder, sizeof run->folder, "%s", options->folder) >=
        sizeof run->folder)
        return fq_run_close(out, fq_fail(FQ_EINVAL, "the name of the run's folder is too long"));
    fq_status status = open_all(run);
    return status == FQ_OK ? FQ_OK : fq_run_close(out, status);
}

fq_server *fq_run_server(fq_run *run) {
    return run->server;
}

fq_client_states *fq_run_states(fq_run *run) {
    return run->states;
}

bool fq_run_over(const fq_run *run) {
    return run->stopped || fq_server_round(run->server) >= (uint32_t)run->experiment->train.rounds;
}

size_t fq_run_figures(const fq_run *run, const fq_figure **figures) {
    *figures = run->figures;
    return run->n_figures;
}

/* ---- a round ---- */
/* Everybody has answered, and nothing of it can be used: no later round will be better. */
static fq_status explain_divergence(const fq_run *run, const fq_client_row *rows, size_t n) {
    size_t too_large = 0, diverged = 0;
    for (size_t i = 0; i < n; i++) {
        too_large += strcmp(rows[i].verdict, fq_status_name(FQ_ELIMIT)) == 0 ||
                     strcmp(rows[i].verdict, "too-large") == 0;
        diverged += strcmp(rows[i].verdict, fq_status_name(FQ_ENONFINITE)) == 0;
    }
    if (too_large + diverged < n)
        return FQ_OK;
    return fq_fail(
        FQ_ENONFINITE,
        "round %" PRIu32
        ": all %zu updates were refused, %zu for values beyond aggregate.max_value (%g), %zu "
        "because training diverged; lower train.rate or set train.clip_norm",
        fq_server_round(run->server), n, too_large, run->experiment->aggregate.max_value, diverged);
}

/* The database first, and as durable as the checkpoint: on resume, after a power cut too, it may
 * know more rounds than the checkpoint, never fewer. */
fq_status fq_run_save(fq_run *run) {
    double began = fq_now();
    bool   durable =
        run->options.durable || fq_run_over(run) || began - run->last_sync > SYNC_SECONDS;
    FQ_TRY(fq_store_set_durable(run->store, durable));
    FQ_TRY(fq_store_put_round(run->store, &run->row, run->rows, run->n_rows, run->figures,
                              run->due ? run->n_figures : 0, run->tensors,
                              run->due ? run->n_tensors : 0));
    FQ_TRY(save_checkpoint(run, durable));
    if (durable)
        run->last_sync = fq_now();
    run->saved = fq_now() - began;
    return FQ_OK;
}

fq_status fq_run_close_round(fq_run *run, fq_round_row *row, const fq_client_row *rows, size_t n,
                             fq_round_summary *summary) {
    const fq_experiment *e = run->experiment;
    double               began = fq_now();
    FQ_TRY(fq_round_close(run->server, run->options.pool, summary));
    if (summary->n_accepted == 0)
        FQ_TRY(explain_divergence(run, rows, n));
    row->round = fq_server_round(run->server);
    row->n_asked = (uint32_t)n;
    row->n_accepted = (uint32_t)summary->n_accepted;
    row->n_refused = (uint32_t)(n - summary->n_accepted);
    row->loss = summary->loss;
    row->drift = summary->drift;
    row->update_norm = summary->applied ? summary->update_norm : (double)NAN;
    row->seconds_close = fq_now() - began;
    began = fq_now();
    run->due = row->round == (uint32_t)e->train.rounds || row->round % e->evaluate.every == 0;
    if (run->due) {
        FQ_TRY(evaluate(run));
        run->stopped = should_stop(run);
    }
    row->seconds_evaluate = fq_now() - began;
    row->seconds_save = run->saved; /* of the round before: this one's is not over yet */
    run->row = *row;
    run->rows = rows;
    run->n_rows = n;
    return fq_run_save(run);
}

/* ---- the end ---- */
static fq_status write_model(fq_run *run, char hash[FQ_HASH_TEXT]) {
    const fq_experiment *e = run->experiment;
    char                 path[PATH_MAX];
    fq_run_path(run, "model.fq", path);
    fq_provenance from = {.seed = (uint64_t)e->head.seed, .rounds = fq_server_round(run->server)};
    snprintf(from.dataset, sizeof from.dataset, "%s", fq_dataset_name(run->setup->dataset));
    snprintf(from.name, sizeof from.name, "%s", e->head.name);
    snprintf(from.settings_hash, sizeof from.settings_hash, "%s", e->hash);
    from.n_norm = (uint32_t)fq_dataset_normalization(run->setup->dataset, from.mean, from.std);
    fq_buffer bytes = {0};
    fq_status status =
        fq_modelfile_encode(run->setup->model, fq_server_weights(run->server), &from, &bytes);
    if (status == FQ_OK) {
        unsigned char digest[FQ_HASH_BYTES];
        fq_cbytes     whole = {bytes.data, bytes.size};
        fq_sha256(whole, digest);
        fq_hash_text(digest, hash);
        status = fq_file_replace(path, whole, true);
    }
    fq_buffer_fini(&bytes);
    return status;
}

static fq_status count_unapplied(void *context, const fq_round_row *row) {
    if (isnan(row->update_norm))
        ++*(uint32_t *)context;
    return FQ_OK;
}

/* A run that was already at its end when it was resumed has no figures in memory: make them again.
 */
fq_status fq_run_finish(fq_run *run, fq_run_result *result) {
    *result = (fq_run_result){0};
    if (run->n_figures == 0) {
        FQ_TRY(evaluate(run));
        FQ_TRY(fq_store_put_evaluation(run->store, fq_server_round(run->server), run->figures,
                                       run->n_figures, run->tensors, run->n_tensors));
    }
    FQ_TRY(fq_store_each_round(run->store, count_unapplied, &result->n_unapplied));
    FQ_TRY(write_model(run, result->hash));
    snprintf(run->record.final_hash, sizeof run->record.final_hash, "%s", result->hash);
    snprintf(run->record.status, sizeof run->record.status, "%s",
             run->stopped ? "stopped" : "finished");
    FQ_TRY(fq_store_put_run(run->store, &run->record));
    result->rounds = fq_server_round(run->server);
    result->stopped_early = run->stopped;
    result->n_figures = run->n_figures;
    memcpy(result->figures, run->figures, run->n_figures * sizeof *run->figures);
    return FQ_OK;
}

fq_status fq_run_close(fq_run **slot, fq_status status) {
    char reason[1024];
    if (*slot == NULL)
        return status;
    fq_run *run = *slot;
    /* Whatever ended the run, what is done stays done; the first failure is the one to tell. */
    snprintf(reason, sizeof reason, "%s", fq_status_text());
    if (status != FQ_OK && run->store != NULL) {
        snprintf(run->record.status, sizeof run->record.status, "%s",
                 status == FQ_ESTATE ? "interrupted" : "failed");
        (void)!fq_store_put_run(run->store, &run->record);
    }
    fq_status closed = fq_store_close(&run->store);
    release(slot);
    if (status != FQ_OK)
        return fq_fail(status, "%s", reason);
    return closed;
}

#include "sim/simulation.h"

#include "base/file.h"
#include "math/gemm.h"
#include "math/kernels.h"
#include "model/modelfile.h"
#include "round/exact_sum.h"
#include "store/store.h"
#include "train/client_turn.h"
#include "wire/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

void fq_sim_interrupt(void) {
    interrupted = 1;
}

bool fq_sim_interrupted(void) {
    return interrupted != 0;
}

/* A power cut costs at most this much of a run; the end of the process at any instant costs
 * nothing. */
static const double SYNC_SECONDS = 1.0;

typedef struct simulation {
    fq_experiment        *experiment;
    const fq_sim_options *options;
    fq_setup              setup;
    fq_server            *server;
    fq_link              *link;
    fq_evaluator         *evaluator;
    fq_store             *store;
    fq_worker           **workers; /* [n_workers] */
    size_t                n_workers;
    fq_client_states      states;
    int                   lock; /* descriptor of the run's folder */
    /* the round at hand */
    uint64_t      *cohort; /* [clients_per_round] ascending */
    uint32_t      *turns;  /* [clients_per_round] places in the cohort, largest client first */
    fq_client_row *rows;   /* [clients_per_round] */
    /* early stopping */
    double            best;
    int64_t           stale; /* evaluations since `best` */
    double            last_sync;
    fq_run_row        record;
    fq_figure         figures[FQ_MAX_FIGURES];
    size_t            n_figures;
    fq_tensor_figure *tensors; /* [n_tensors] */
    size_t            n_tensors;
} simulation;

/* ---- files ---- */
static void join_path(const char *folder, const char *name, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s/%s", folder, name);
}

static void path_of(const simulation *sim, const char *name, char out[PATH_MAX]) {
    join_path(sim->options->folder, name, out);
}

fq_status fq_sim_check_folder(const char *folder) {
    static const char *const files[] = {"checkpoint.fq", "run.db", "model.fq"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[PATH_MAX];
        join_path(folder, files[i], path);
        if (fq_file_exists(path))
            return fq_fail(FQ_ESTATE,
                           "%s already holds a run; --resume goes on with it, --force replaces it, "
                           "--out DIR writes "
                           "elsewhere",
                           folder);
    }
    return FQ_OK;
}

/* Remove all that a run leaves, before anything of the new one is written. */
static fq_status clear_folder(const simulation *sim) {
    static const char *const files[] = {"checkpoint.fq", "model.fq",   "run.db",
                                        "run.db-wal",    "run.db-shm", "report.html",
                                        "settings.yaml"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[PATH_MAX];
        path_of(sim, files[i], path);
        if (unlink(path) != 0 && errno != ENOENT)
            return fq_fail(FQ_EIO, "cannot remove %s: %s", path, strerror(errno));
    }
    return FQ_OK;
}

/* One process at a time in a folder; the lock goes with the process, however it ends. */
static fq_status take_folder(simulation *sim) {
    const char *folder = sim->options->folder;
    FQ_TRY(fq_folder_make(folder));
    sim->lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sim->lock < 0)
        return fq_fail(FQ_EIO, "cannot open folder %s: %s", folder, strerror(errno));
    if (flock(sim->lock, LOCK_EX | LOCK_NB) != 0)
        return fq_fail(FQ_ESTATE, "%s is in use by another process", folder);
    if (sim->options->existing == FQ_EXISTING_REFUSE)
        return fq_sim_check_folder(folder);
    return sim->options->existing == FQ_EXISTING_REPLACE ? clear_folder(sim) : FQ_OK;
}

static fq_status write_settings(const simulation *sim) {
    char path[PATH_MAX];
    path_of(sim, "settings.yaml", path);
    fq_buffer yaml = {0};
    fq_status status = fq_experiment_write(sim->experiment, &yaml);
    if (status == FQ_OK)
        status = fq_file_replace(path, (fq_cbytes){yaml.data, yaml.size}, false);
    fq_buffer_fini(&yaml);
    return status;
}

static fq_status save_checkpoint(simulation *sim, bool durable) {
    char path[PATH_MAX], note[FQ_NOTE_BYTES];
    path_of(sim, "checkpoint.fq", path);
    snprintf(note, sizeof note, "%.17g %" PRId64, sim->best, sim->stale);
    fq_buffer bytes = {0};
    fq_status status =
        fq_checkpoint_encode(sim->server, sim->experiment->hash, &sim->states, note, &bytes);
    if (status == FQ_OK)
        status = fq_file_replace(path, (fq_cbytes){bytes.data, bytes.size}, durable);
    fq_buffer_fini(&bytes);
    return status;
}

/* The progress of early stopping, as save_checkpoint notes it: "BEST STALE". */
static fq_status read_note(simulation *sim, const char *note) {
    char *middle, *end;
    sim->best = strtod(note, &middle);
    sim->stale = strtoll(middle, &end, 10);
    if (middle == note || end == middle || *end != '\0')
        return fq_fail(FQ_EPROTO, "its note '%.40s' is not ours", note);
    return FQ_OK;
}

/* Takes the first line off a text; false at its end. */
static bool next_line(fq_cbytes *text, fq_cbytes *line) {
    if (text->size == 0)
        return false;
    const unsigned char *end = memchr(text->data, '\n', text->size);
    size_t               length = end == NULL ? text->size : (size_t)(end - text->data);
    *line = (fq_cbytes){text->data, length};
    length += end != NULL;
    *text = (fq_cbytes){text->data + length, text->size - length};
    return true;
}

/* Fails with the first line that differs between settings.yaml of the run and the settings at hand:
 * both are resolved, so their keys come in one order. A key of a section is shown with the
 * section's name before it. */
static fq_status explain_other_settings(const simulation *sim) {
    char      path[PATH_MAX];
    fq_cbytes file = {0}, section = {0}, old, now, a, b;
    fq_buffer yaml = {0};
    path_of(sim, "settings.yaml", path);
    fq_status status;
    FQ_GO(status, fq_file_read(path, 1 << 20, &file));
    FQ_GO(status, fq_experiment_write(sim->experiment, &yaml));
    old = file;
    now = (fq_cbytes){yaml.data, yaml.size};
    while (next_line(&old, &a) && next_line(&now, &b)) {
        if (a.size != b.size || memcmp(a.data, b.data, a.size) != 0) {
            bool inside = a.size > 0 && a.data[0] == ' ';
            while (a.size > 0 && *a.data == ' ')
                a = (fq_cbytes){a.data + 1, a.size - 1};
            while (b.size > 0 && *b.data == ' ')
                b = (fq_cbytes){b.data + 1, b.size - 1};
            FQ_GO(status,
                  fq_fail(FQ_ESTALE, "%s: the run has other settings: %.*s%s'%.*s', here '%.*s'",
                          path, inside ? (int)section.size : 0, (const char *)section.data,
                          inside ? " " : "", (int)a.size, (const char *)a.data, (int)b.size,
                          (const char *)b.data));
        }
        if (a.size > 0 && a.data[0] != ' ')
            section = a;
    }
    status = fq_fail(FQ_ESTALE, "%s: the run has other settings than these", path);
done:
    free((void *)(uintptr_t)file.data);
    fq_buffer_fini(&yaml);
    return status;
}

static fq_status load_checkpoint(simulation *sim) {
    char path[PATH_MAX], note[FQ_NOTE_BYTES];
    path_of(sim, "checkpoint.fq", path);
    if (sim->options->existing != FQ_EXISTING_RESUME || !fq_file_exists(path))
        return FQ_OK;
    fq_cbytes bytes;
    FQ_TRY(fq_file_read(path, SIZE_MAX / 2, &bytes));
    fq_status status =
        fq_checkpoint_decode(bytes, sim->server, sim->experiment->hash, &sim->states, note);
    free((void *)(uintptr_t)bytes.data);
    if (status == FQ_OK)
        status = read_note(sim, note);
    if (status == FQ_ESTALE) {
        char settings[PATH_MAX];
        path_of(sim, "settings.yaml", settings);
        if (fq_file_exists(settings))
            return explain_other_settings(sim);
    }
    if (status == FQ_OK && fq_server_round(sim->server) > (uint32_t)sim->experiment->train.rounds)
        status = fq_fail(FQ_EINVAL,
                         "the checkpoint is of round %" PRIu32 ", past train.rounds, which is %lld",
                         fq_server_round(sim->server), (long long)sim->experiment->train.rounds);
    if (status != FQ_OK)
        fq_add_context("%s", path);
    return status;
}

static fq_status write_model(simulation *sim, char hash[FQ_HASH_TEXT]) {
    const fq_experiment *e = sim->experiment;
    char                 path[PATH_MAX];
    path_of(sim, "model.fq", path);
    fq_provenance from = {.seed = (uint64_t)e->head.seed, .rounds = fq_server_round(sim->server)};
    snprintf(from.dataset, sizeof from.dataset, "%s", fq_dataset_name(sim->setup.dataset));
    snprintf(from.name, sizeof from.name, "%s", e->head.name);
    snprintf(from.settings_hash, sizeof from.settings_hash, "%s", e->hash);
    from.n_norm = (uint32_t)fq_dataset_normalization(sim->setup.dataset, from.mean, from.std);
    fq_buffer bytes = {0};
    fq_status status =
        fq_modelfile_encode(sim->setup.model, fq_server_weights(sim->server), &from, &bytes);
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

/* ---- the record of the run ---- */
static void read_cpu_name(char *out, size_t capacity) {
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

static void describe_run(simulation *sim) {
    const fq_experiment *e = sim->experiment;
    fq_run_row          *run = &sim->record;
    struct utsname       system;
    char                 cpu[128];
    *run = (fq_run_row){.seed = (uint64_t)e->head.seed,
                        .clients = e->server.clients,
                        .parameters = fq_model_parameters(sim->setup.model)};
    snprintf(run->name, sizeof run->name, "%s", e->head.name);
    snprintf(run->label, sizeof run->label, "%s", sim->options->label);
    snprintf(run->settings_hash, sizeof run->settings_hash, "%s", e->hash);
    snprintf(run->model, sizeof run->model, "%.63s", e->model[0] == '\0' ? "inline" : e->model);
    snprintf(run->dataset, sizeof run->dataset, "%.63s", fq_dataset_name(sim->setup.dataset));
    snprintf(run->algorithm, sizeof run->algorithm, "%s", e->recipe.algorithm->name);
    for (size_t m = 0; m < e->recipe.n_methods; m++) {
        size_t used = strlen(run->robustness);
        snprintf(run->robustness + used, sizeof run->robustness - used, "%s%s", m == 0 ? "" : "+",
                 e->recipe.methods[m]->name);
    }
    snprintf(run->version, sizeof run->version, "%s", FQ_VERSION);
    snprintf(run->build, sizeof run->build, "%s; kernels %s; BLIS %s", FQ_BUILD,
             fq_kernels_get()->name, fq_gemm_kernel());
    read_cpu_name(cpu, sizeof cpu);
    uname(&system);
    snprintf(run->machine, sizeof run->machine, "%s, %zu workers, %.20s %.40s %.16s", cpu,
             sim->n_workers, system.sysname, system.release, system.machine);
    snprintf(run->command, sizeof run->command, "%s", sim->options->command);
    time_t    now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(run->started, sizeof run->started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    snprintf(run->status, sizeof run->status, "running");
}

/* ---- a round ---- */
static fq_status train_client(void *context, size_t task, size_t worker) {
    simulation    *sim = context;
    size_t         place = sim->turns[task];
    uint64_t       id = sim->cohort[place];
    fq_client_row *row = &sim->rows[place];
    if (interrupted)
        return fq_fail(FQ_ESTATE, "interrupted");
    if (sim->states.vectors > 0 && sim->states.state[id] == NULL) {
        sim->states.state[id] =
            calloc(sim->states.vectors * fq_model_size(sim->setup.model), sizeof(float));
        if (sim->states.state[id] == NULL)
            return fq_fail(FQ_ENOMEM, "no memory for the state of client %" PRIu64, id);
    }
    fq_client client = {.id = id,
                        .shard = fq_partition_shard(sim->setup.partition, id),
                        .state = sim->states.vectors > 0 ? sim->states.state[id] : NULL};
    fq_plan   plan;
    fq_update update, arrived;
    FQ_TRY(fq_link_receive(sim->link, worker, &plan));
    fq_status status = fq_client_turn(sim->workers[worker], &plan, &client, &update);
    if (status == FQ_OK) {
        row->n_steps = update.n_steps;
        row->loss = update.loss;
        row->drift = update.drift;
        status = fq_link_send(sim->link, worker, &update, &arrived, &row->bytes_up);
        if (status == FQ_OK)
            status = fq_round_accept(sim->server, worker, &arrived);
        if (status == FQ_OK)
            fq_client_commit(sim->workers[worker], &client);
    } else if (status != FQ_ENONFINITE) {
        return status; /* not the client's doing */
    }
    snprintf(row->verdict, sizeof row->verdict, "%s",
             status == FQ_OK ? "accepted" : fq_status_name(status));
    return FQ_OK;
}

static int by_falling_examples(const void *a, const void *b, void *rows) {
    const fq_client_row *x = (const fq_client_row *)rows + *(const uint32_t *)a;
    const fq_client_row *y = (const fq_client_row *)rows + *(const uint32_t *)b;
    if (x->n_examples != y->n_examples)
        return x->n_examples < y->n_examples ? 1 : -1;
    return x->client < y->client ? -1 : x->client > y->client;
}

/* Begin the rows of the cohort; returns its examples. Turns go by falling number of examples, so
 * that no worker begins a large client last. */
static uint64_t begin_rows(simulation *sim, size_t n) {
    uint64_t examples = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t id = sim->cohort[i];
        sim->rows[i] = (fq_client_row){
            .client = id, .n_examples = fq_partition_shard(sim->setup.partition, id).n};
        sim->turns[i] = (uint32_t)i;
        examples += sim->rows[i].n_examples;
    }
    qsort_r(sim->turns, n, sizeof *sim->turns, by_falling_examples, sim->rows);
    return examples;
}

static fq_status explain_divergence(const simulation *sim, uint32_t round, size_t n) {
    size_t too_large = 0;
    for (size_t i = 0; i < n; i++)
        too_large += strcmp(sim->rows[i].verdict, fq_status_name(FQ_ELIMIT)) == 0;
    return fq_fail(
        FQ_ENONFINITE,
        "round %" PRIu32
        ": all %zu updates were refused, %zu for values beyond aggregate.max_value (%g), %zu "
        "because training diverged; lower train.rate or set train.clip_norm",
        round, n, too_large, sim->experiment->aggregate.max_value, n - too_large);
}

/* Train, combine, and fill in the round's row, but for evaluation and saving. */
static fq_status run_round(simulation *sim, fq_round_row *row, fq_round_summary *summary) {
    const fq_experiment *e = sim->experiment;
    const fq_recipe     *recipe = &e->recipe;
    size_t               n = (size_t)e->train.clients_per_round;
    uint32_t             round = fq_server_round(sim->server);
    double               began = fq_now();
    FQ_TRY(fq_cohort_sample((uint64_t)e->head.seed, round, e->server.clients, n, sim->cohort));
    uint64_t examples = begin_rows(sim, n);
    fq_plan  plan;
    FQ_TRY(fq_round_open(sim->server, sim->cohort, n, examples, &plan));
    FQ_TRY(fq_link_open_round(sim->link, sim->server, &plan));
    FQ_TRY(fq_pool_for(sim->options->pool, n, train_client, sim));
    double trained = fq_now();

    size_t   n_down = 1 + recipe->algorithm->n_down;
    uint64_t down = fq_link_model_bytes(sim->link);
    FQ_TRY(fq_round_close(sim->server, sim->options->pool, summary));
    if (summary->n_accepted == 0)
        return explain_divergence(sim, round + 1, n);
    uint64_t vector = fq_model_size(sim->setup.model) * sizeof(float);
    *row = (fq_round_row){.round = round + 1,
                          .n_asked = (uint32_t)summary->n_asked,
                          .n_accepted = (uint32_t)summary->n_accepted,
                          .n_refused = (uint32_t)(n - summary->n_accepted),
                          .loss = summary->loss,
                          .drift = summary->drift,
                          .update_norm = summary->applied ? summary->update_norm : (double)NAN,
                          .bytes_down_raw = n * n_down * vector,
                          .bytes_down = n * down,
                          .seconds_train = trained - began,
                          .seconds_close = fq_now() - trained};
    for (size_t i = 0; i < n; i++) {
        row->bytes_up += sim->rows[i].bytes_up;
        row->bytes_up_raw += sim->rows[i].bytes_up == 0 ? 0 : recipe->algorithm->n_up * vector;
    }
    return FQ_OK;
}

static double stop_value(const simulation *sim) {
    fq_bits_summary summary = {0};
    if (!fq_bits_summarize(sim->figures, sim->n_figures, sim->experiment->evaluate.ranges.v[0],
                           &summary))
        summary.worst = summary.mean = summary.area = summary.float_accuracy;
    switch ((fq_stop_metric)sim->experiment->stop.metric) {
    case FQ_STOP_WORST: return summary.worst;
    case FQ_STOP_MEAN: return summary.mean;
    case FQ_STOP_AREA: return summary.area;
    case FQ_STOP_FLOAT:
    case FQ_STOP_NEVER: break;
    }
    return summary.float_accuracy;
}

/* After an evaluation: has the run gone on without gain for long enough? */
static bool should_stop(simulation *sim) {
    const fq_stop_section *stop = &sim->experiment->stop;
    if (stop->metric == FQ_STOP_NEVER)
        return false;
    double value = stop_value(sim);
    if (value > sim->best + stop->min_gain) {
        sim->best = value;
        sim->stale = 0;
        return false;
    }
    sim->stale++;
    return sim->stale >= stop->patience;
}

static bool stopped_before(const simulation *sim) {
    const fq_stop_section *stop = &sim->experiment->stop;
    return stop->metric != FQ_STOP_NEVER && sim->stale >= stop->patience;
}

static fq_status evaluate(simulation *sim) {
    sim->n_figures = fq_evaluator_count(sim->evaluator);
    FQ_TRY(fq_evaluator_run(sim->evaluator, fq_server_weights(sim->server), sim->figures));
    fq_tensor_figures(sim->setup.model, fq_server_weights(sim->server), sim->tensors,
                      sim->n_tensors);
    return FQ_OK;
}

static fq_status run_rounds(simulation *sim, bool *stopped) {
    const fq_experiment *e = sim->experiment;
    uint32_t             rounds = (uint32_t)e->train.rounds;
    double               saved = 0.0;
    *stopped = stopped_before(sim);
    while (fq_server_round(sim->server) < rounds && !*stopped) {
        fq_round_row     row = {0};
        fq_round_summary summary = {0};
        FQ_TRY(run_round(sim, &row, &summary));
        bool   last = row.round == rounds, due = last || row.round % e->evaluate.every == 0;
        double began = fq_now();
        sim->n_figures = 0;
        if (due) {
            FQ_TRY(evaluate(sim));
            *stopped = should_stop(sim);
        }
        row.seconds_evaluate = fq_now() - began;
        row.seconds_save = saved; /* of the round before: this one's is not over yet */
        began = fq_now();
        /* The database first, and as durable as the checkpoint: on resume, after a power cut too,
         * it may know more rounds than the checkpoint, never fewer. */
        bool durable = began - sim->last_sync > SYNC_SECONDS;
        FQ_TRY(fq_store_set_durable(sim->store, durable));
        FQ_TRY(fq_store_put_round(sim->store, &row, sim->rows, (size_t)e->train.clients_per_round,
                                  sim->figures, sim->n_figures, sim->tensors,
                                  due ? sim->n_tensors : 0));
        FQ_TRY(save_checkpoint(sim, durable));
        if (durable)
            sim->last_sync = fq_now();
        saved = fq_now() - began;
        fq_progress_round(sim->options->progress, row.round, row.loss, sim->figures,
                          sim->n_figures);
        if (interrupted && !last && !*stopped)
            return fq_fail(FQ_ESTATE, "interrupted after round %" PRIu32 " of %" PRIu32, row.round,
                           rounds);
    }
    return FQ_OK;
}

/* ---- memory ---- */
static size_t available_memory(void) {
    static const char key[] = "MemAvailable:";
    FILE             *file = fopen("/proc/meminfo", "re");
    char              line[128];
    size_t            kib = 0;
    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, sizeof key - 1) == 0)
            kib = strtoull(line + sizeof key - 1, NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib == 0 ? SIZE_MAX : kib * 1024;
}

/* The examples, a byte for each value (float sets take four), as far as they are in memory at all:
 * a mapped file can be dropped and read again. */
static size_t dataset_bytes(const fq_dataset *set) {
    fq_shape shape = fq_dataset_shape(set);
    return (fq_dataset_train_count(set) + fq_dataset_test_count(set)) * shape.c * shape.h * shape.w;
}

/* a + b, at most SIZE_MAX. */
static size_t add_bytes(size_t a, size_t b) {
    return a > SIZE_MAX - b ? SIZE_MAX : a + b;
}

static fq_status estimate_memory(const simulation *sim, fq_sim_estimate *estimate) {
    const fq_experiment *e = sim->experiment;
    size_t               worker;
    FQ_TRY(fq_worker_bytes(sim->setup.model, &e->recipe, sim->setup.max_examples, &worker));
    size_t vectors = fq_client_state_vectors(&e->recipe), size = fq_model_size(sim->setup.model);
    size_t cohort = (size_t)e->train.clients_per_round;
    *estimate = (fq_sim_estimate){
        .dataset_and_partition =
            fq_partition_bytes(sim->setup.partition) + dataset_bytes(sim->setup.dataset),
        .cohort = cohort * (sizeof *sim->cohort + sizeof *sim->turns + sizeof *sim->rows),
        .workers = worker * sim->n_workers,
        .server = fq_server_bytes(sim->setup.model, &e->recipe, &e->server, sim->n_workers),
        .available = available_memory()};
    /* At most every client, and at most all that the rounds ask. */
    uint64_t asked = (uint64_t)e->train.rounds * (uint64_t)e->train.clients_per_round;
    if (asked > e->server.clients)
        asked = e->server.clients;
    if (!fq_size_mul(vectors * size * sizeof(float), asked, &estimate->client_states))
        estimate->client_states = SIZE_MAX / 4;
    /* A checkpoint is put together in memory, in a buffer that doubles as it grows. */
    estimate->checkpoint =
        2 * add_bytes(estimate->client_states,
                      (1 + e->recipe.algorithm->n_server) * size * sizeof(float));
    if (vectors > 0)
        estimate->client_states =
            add_bytes(estimate->client_states, e->server.clients * sizeof *sim->states.state);
    const size_t parts[] = {
        estimate->dataset_and_partition, estimate->workers, estimate->server,
        estimate->client_states,         estimate->cohort,  estimate->checkpoint};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        estimate->total = add_bytes(estimate->total, parts[i]);
    if (estimate->total > estimate->available)
        return fq_fail(
            FQ_ELIMIT,
            "the run needs %.1f GiB (workers %.1f, server %.1f, clients' states %.1f, checkpoint "
            "%.1f) and "
            "%.1f GiB are available; use fewer workers, clients a round or clients",
            (double)estimate->total * 0x1p-30, (double)estimate->workers * 0x1p-30,
            (double)estimate->server * 0x1p-30, (double)estimate->client_states * 0x1p-30,
            (double)estimate->checkpoint * 0x1p-30, (double)estimate->available * 0x1p-30);
    return FQ_OK;
}

/* ---- set-up and end ---- */
static fq_status prepare(simulation *sim) {
    fq_experiment *e = sim->experiment;
    size_t         n = (size_t)e->train.clients_per_round;
    sim->n_workers = fq_pool_workers(sim->options->pool);
    sim->lock = -1;
    FQ_TRY(fq_setup_create(e, &sim->setup));
    fq_sim_estimate estimate;
    FQ_TRY(estimate_memory(sim, &estimate));
    fq_gemm_start();
    sim->cohort = calloc(n, sizeof *sim->cohort);
    sim->turns = calloc(n, sizeof *sim->turns);
    sim->rows = calloc(n, sizeof *sim->rows);
    sim->workers = calloc(sim->n_workers, sizeof(fq_worker *));
    sim->n_tensors = fq_model_site_count(sim->setup.model);
    sim->tensors = calloc(sim->n_tensors == 0 ? 1 : sim->n_tensors, sizeof *sim->tensors);
    sim->states = (fq_client_states){.vectors = fq_client_state_vectors(&e->recipe),
                                     .clients = e->server.clients};
    if (sim->states.vectors > 0)
        sim->states.state = calloc(e->server.clients, sizeof *sim->states.state);
    if (sim->cohort == NULL || sim->turns == NULL || sim->rows == NULL || sim->workers == NULL ||
        sim->tensors == NULL || (sim->states.vectors > 0 && sim->states.state == NULL))
        return fq_fail(FQ_ENOMEM, "no memory for a cohort of %zu clients", n);
    for (size_t i = 0; i < sim->n_workers; i++)
        FQ_TRY(fq_worker_create(&sim->workers[i], sim->setup.model, &e->recipe,
                                sim->setup.max_examples));
    FQ_TRY(fq_server_create(&sim->server, sim->setup.model, &e->recipe, &e->server,
                            (uint64_t)e->head.seed, sim->n_workers));
    FQ_TRY(fq_link_create(&sim->link, sim->options->transport, sim->setup.model, &e->recipe,
                          &e->server, sim->n_workers));
    return fq_evaluator_create(&sim->evaluator, sim->setup.model, sim->setup.dataset,
                               sim->setup.partition, &e->evaluate, (uint64_t)e->head.seed,
                               sim->options->pool);
}

static void release(simulation *sim) {
    for (uint64_t k = 0; sim->states.state != NULL && k < sim->states.clients; k++)
        free(sim->states.state[k]);
    free(sim->states.state);
    for (size_t i = 0; sim->workers != NULL && i < sim->n_workers; i++)
        fq_worker_destroy(&sim->workers[i]);
    free(sim->workers);
    free(sim->cohort);
    free(sim->turns);
    free(sim->rows);
    free(sim->tensors);
    fq_evaluator_destroy(&sim->evaluator);
    fq_link_destroy(&sim->link);
    fq_server_destroy(&sim->server);
    fq_setup_fini(&sim->setup);
    if (sim->lock >= 0)
        close(sim->lock);
}

static fq_status count_unapplied(void *context, const fq_round_row *row) {
    if (isnan(row->update_norm))
        ++*(uint32_t *)context;
    return FQ_OK;
}

/* A run that was already at its end when it was resumed has no figures in memory: make them again.
 */
static fq_status finish(simulation *sim, bool stopped, fq_sim_result *result) {
    if (sim->n_figures == 0) {
        FQ_TRY(evaluate(sim));
        FQ_TRY(fq_store_put_evaluation(sim->store, fq_server_round(sim->server), sim->figures,
                                       sim->n_figures, sim->tensors, sim->n_tensors));
    }
    FQ_TRY(fq_store_each_round(sim->store, count_unapplied, &result->n_unapplied));
    FQ_TRY(write_model(sim, result->hash));
    snprintf(sim->record.final_hash, sizeof sim->record.final_hash, "%s", result->hash);
    snprintf(sim->record.status, sizeof sim->record.status, "%s", stopped ? "stopped" : "finished");
    FQ_TRY(fq_store_put_run(sim->store, &sim->record));
    result->rounds = fq_server_round(sim->server);
    result->stopped_early = stopped;
    result->n_figures = sim->n_figures;
    memcpy(result->figures, sim->figures, sim->n_figures * sizeof *sim->figures);
    return FQ_OK;
}

/* A resumed run began when it first began. */
static fq_status begin_record(simulation *sim) {
    describe_run(sim);
    if (fq_server_round(sim->server) > 0) {
        fq_run_row before;
        FQ_TRY(fq_store_get_run(sim->store, &before));
        memcpy(sim->record.started, before.started, sizeof before.started);
    }
    return fq_store_put_run(sim->store, &sim->record);
}

static fq_status run_to_the_end(simulation *sim, fq_sim_result *result) {
    const fq_experiment *e = sim->experiment;
    char                 title[128];
    bool                 stopped;
    FQ_TRY(begin_record(sim));
    FQ_TRY(write_settings(sim));
    const char *label = sim->record.label[0] == '\0' ? sim->record.name : sim->record.label;
    snprintf(title, sizeof title, "%.60s seed %" PRIu64, label, sim->record.seed);
    fq_progress_begin(sim->options->progress, title, (uint32_t)e->train.rounds,
                      fq_server_round(sim->server));
    fq_status status = run_rounds(sim, &stopped);
    fq_progress_end(sim->options->progress);
    return status == FQ_OK ? finish(sim, stopped, result) : status;
}

static fq_status run_in_folder(simulation *sim, fq_sim_result *result) {
    char path[PATH_MAX];
    FQ_TRY(take_folder(sim));
    FQ_TRY(load_checkpoint(sim));
    path_of(sim, "run.db", path);
    FQ_TRY(fq_store_open(&sim->store, path, fq_server_round(sim->server)));
    fq_status status = run_to_the_end(sim, result);
    if (status == FQ_OK)
        return FQ_OK;
    /* Whatever ended the run, what is done stays done; the first failure is the one to tell. */
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", fq_status_text());
    snprintf(sim->record.status, sizeof sim->record.status, "%s",
             status == FQ_ESTATE && interrupted ? "interrupted" : "failed");
    (void)!fq_store_put_run(sim->store, &sim->record);
    return fq_fail(status, "%s", reason);
}

fq_status fq_simulate(fq_experiment *experiment, const fq_sim_options *options,
                      fq_sim_result *result) {
    simulation *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a simulation");
    *result = (fq_sim_result){0};
    double began = fq_now();
    sim->experiment = experiment;
    sim->options = options;
    sim->best = -1.0;
    sim->last_sync = -HUGE_VAL; /* the first checkpoint is durable */
    fq_status status = prepare(sim);
    if (status == FQ_OK)
        status = run_in_folder(sim, result);
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", fq_status_text());
    fq_status closed = fq_store_close(&sim->store);
    if (status != FQ_OK)
        fq_fail(status, "%s", reason);
    else
        status = closed;
    release(sim);
    free(sim);
    result->seconds = fq_now() - began;
    return status;
}

/* ---- check ---- */

/* At most so many clients, evenly spread, stand for all when a check looks at them one by one. */
enum { SAMPLE = 10000 };

static uint64_t sample_step(uint64_t clients) {
    return clients / SAMPLE + 1;
}

static fq_status measure_step(simulation *sim, fq_sim_estimate *estimate) {
    /* A few steps of the largest client seen: the plan is the first round's. */
    fq_experiment *e = sim->experiment;
    uint64_t       client = 0, largest = 0;
    for (uint64_t k = 0; k < e->server.clients; k += sample_step(e->server.clients))
        if (fq_partition_shard(sim->setup.partition, k).n > largest) {
            largest = fq_partition_shard(sim->setup.partition, k).n;
            client = k;
        }
    fq_plan plan;
    FQ_TRY(fq_round_open(sim->server, &client, 1, largest, &plan));
    FQ_TRY(fq_link_open_round(sim->link, sim->server, &plan));
    size_t    vectors = fq_client_state_vectors(&e->recipe) * fq_model_size(sim->setup.model);
    float    *state = calloc(vectors == 0 ? 1 : vectors, sizeof *state);
    fq_client one = {
        .id = client, .shard = fq_partition_shard(sim->setup.partition, client), .state = state};
    fq_update update;
    int64_t   kept = e->recipe.max_steps;
    fq_status status = state == NULL ? fq_fail(FQ_ENOMEM, "no memory for a client's state") : FQ_OK;
    double    best = HUGE_VAL;
    if (e->recipe.max_steps == 0 || e->recipe.max_steps > 8)
        e->recipe.max_steps = 8;
    for (int i = 0; status == FQ_OK && i < 3; i++) {
        double began = fq_now();
        status = fq_client_turn(sim->workers[0], &plan, &one, &update);
        double seconds = fq_now() - began;
        if (status == FQ_OK && seconds / update.n_steps < best)
            best = seconds / update.n_steps;
    }
    e->recipe.max_steps = kept;
    free(state);
    uint64_t cohort = (uint64_t)e->train.clients_per_round;
    estimate->bytes_down = cohort * fq_link_model_bytes(sim->link);
    estimate->bytes_up =
        status == FQ_OK ? cohort * fq_update_bytes(&update, e->recipe.upload.block) : 0;
    estimate->seconds_per_step = best;
    return status;
}

static fq_status fill_estimate(simulation *sim, fq_sim_estimate *estimate) {
    const fq_experiment *e = sim->experiment;
    FQ_TRY(estimate_memory(sim, estimate));
    estimate->evaluator = fq_evaluator_bytes(sim->evaluator);
    estimate->total += estimate->evaluator;
    estimate->clients = e->server.clients;
    estimate->examples_largest = sim->setup.max_examples;
    estimate->parameters = fq_model_parameters(sim->setup.model);
    estimate->macs = fq_model_macs(sim->setup.model);
    estimate->model_values = fq_model_size(sim->setup.model);
    FQ_TRY(measure_step(sim, estimate));
    double   steps = 0.0;
    uint64_t seen = 0;
    for (uint64_t k = 0; k < e->server.clients; k += sample_step(e->server.clients), seen++) {
        double own = (double)e->recipe.epochs *
                     (double)fq_batches_per_epoch(fq_partition_shard(sim->setup.partition, k).n,
                                                  (size_t)e->recipe.batch);
        steps += e->recipe.max_steps > 0 && own > (double)e->recipe.max_steps
                     ? (double)e->recipe.max_steps
                     : own;
    }
    estimate->steps_per_round = steps / (double)seen * (double)e->train.clients_per_round;
    double began = fq_now();
    FQ_TRY(fq_evaluator_run(sim->evaluator, fq_server_weights(sim->server), sim->figures));
    estimate->seconds_per_evaluation = fq_now() - began;
    estimate->rounds = (uint64_t)e->train.rounds;
    estimate->evaluations =
        (estimate->rounds + (uint64_t)e->evaluate.every - 1) / (uint64_t)e->evaluate.every;
    size_t parallel = sim->n_workers < (size_t)e->train.clients_per_round
                          ? sim->n_workers
                          : (size_t)e->train.clients_per_round;
    estimate->seconds_total = (double)estimate->rounds * estimate->steps_per_round *
                                  estimate->seconds_per_step / (double)parallel +
                              (double)estimate->evaluations * estimate->seconds_per_evaluation;
    return fq_exact_shift(e->server.limits.max_value,
                          e->server.equal_weights
                              ? (uint64_t)e->train.clients_per_round
                              : (uint64_t)e->train.clients_per_round * sim->setup.max_examples,
                          &estimate->sum_bits);
}

fq_status fq_sim_check(fq_experiment *experiment, fq_pool *pool, fq_sim_estimate *estimate) {
    simulation *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a simulation");
    const fq_sim_options options = {.pool = pool};
    sim->experiment = experiment;
    sim->options = &options;
    fq_status status = prepare(sim);
    if (status == FQ_OK)
        status = fill_estimate(sim, estimate);
    release(sim);
    free(sim);
    return status;
}

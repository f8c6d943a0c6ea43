#include "base/clock.h"
#include "math/gemm.h"
#include "program/program.h"
#include "sim/simulation_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char HINT[] =
    "--resume goes on with it, --force replaces it, --out DIR writes elsewhere";

fq_status fq_sim_check_folder(const char *folder) {
    return fq_run_check_folder(folder, HINT);
}

/* ---- a round ---- */
static fq_status train_client(void *context, size_t task, size_t worker) {
    simulation    *sim = context;
    size_t         place = sim->turns[task];
    uint64_t       id = sim->cohort[place];
    fq_client_row *row = &sim->rows[place];
    if (fq_interrupted())
        return fq_fail(FQ_ESTATE, "interrupted");
    fq_client_states *states = fq_run_states(sim->run);
    fq_client         client = {.id = id, .shard = fq_partition_shard(sim->setup.partition, id)};
    if (states != NULL)
        FQ_TRY(fq_client_states_get(states, worker, id, &client.state));
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
            status = fq_round_accept(fq_run_server(sim->run), worker, &arrived);
        if (status == FQ_OK)
            fq_client_commit(sim->workers[worker], &client);
        if (status == FQ_OK && states != NULL)
            FQ_TRY(fq_client_states_put(states, worker, id, plan.round));
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

/* Begin the rows of the cohort; returns the bound on its examples. Turns go by falling number of
 * examples, so that no worker begins a large client last. */
static uint64_t begin_rows(simulation *sim, size_t n) {
    uint64_t examples = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t id = sim->cohort[i];
        sim->rows[i] = (fq_client_row){
            .client = id, .n_examples = fq_partition_shard(sim->setup.partition, id).n};
        sim->sizes[i] = sim->rows[i].n_examples;
        sim->turns[i] = (uint32_t)i;
        examples += fq_example_bucket(sim->rows[i].n_examples);
    }
    qsort_r(sim->turns, n, sizeof *sim->turns, by_falling_examples, sim->rows);
    return examples;
}

/* Train, combine, store and save. */
static fq_status run_round(simulation *sim, fq_round_row *row, fq_round_summary *summary) {
    const fq_experiment *e = sim->experiment;
    const fq_recipe     *recipe = &e->recipe;
    fq_server           *server = fq_run_server(sim->run);
    size_t               n = (size_t)e->train.clients_per_round;
    double               began = fq_now();
    FQ_TRY(fq_cohort_sample((uint64_t)e->head.seed, fq_server_round(server), e->server.clients, n,
                            sim->cohort));
    uint64_t examples = begin_rows(sim, n);
    fq_plan  plan;
    FQ_TRY(fq_round_open(server, sim->cohort, n, examples, &plan));
    fq_round_size_clients(server, sim->sizes, &plan);
    FQ_TRY(fq_link_open_round(sim->link, server, &plan));
    FQ_TRY(fq_pool_for(sim->options->pool, n, train_client, sim));

    uint64_t vector = fq_model_size(sim->setup.model) * sizeof(float);
    *row = (fq_round_row){.bytes_down_raw = n * (1 + recipe->algorithm->n_down) * vector,
                          .bytes_down = n * fq_link_model_bytes(sim->link),
                          .seconds_train = fq_now() - began};
    for (size_t i = 0; i < n; i++) {
        row->bytes_up += sim->rows[i].bytes_up;
        row->bytes_up_raw += sim->rows[i].bytes_up == 0 ? 0 : recipe->algorithm->n_up * vector;
    }
    return fq_run_close_round(sim->run, row, sim->rows, n, summary);
}

static fq_status run_rounds(simulation *sim) {
    uint32_t rounds = (uint32_t)sim->experiment->train.rounds;
    while (!fq_run_over(sim->run)) {
        fq_round_row     row;
        fq_round_summary summary = {0};
        const fq_figure *figures;
        FQ_TRY(run_round(sim, &row, &summary));
        size_t n_figures = fq_run_figures(sim->run, &figures);
        bool   due = row.round == rounds || row.round % sim->experiment->evaluate.every == 0;
        fq_progress_round(sim->options->progress, row.round, row.loss, figures,
                          due ? n_figures : 0);
        if (fq_interrupted() && !fq_run_over(sim->run))
            return fq_fail(FQ_ESTATE, "interrupted after round %" PRIu32 " of %" PRIu32, row.round,
                           rounds);
    }
    return FQ_OK;
}

/* ---- set-up and end ---- */
fq_status simulation_prepare(simulation *sim) {
    fq_experiment *e = sim->experiment;
    size_t         n = (size_t)e->train.clients_per_round;
    sim->n_workers = fq_pool_workers(sim->options->pool);
    FQ_TRY(fq_setup_create(e, &sim->setup));
    sim->client_values = fq_client_state_vectors(&e->recipe) * fq_model_size(sim->setup.model);
    FQ_TRY(fq_link_create(&sim->link, sim->options->transport, sim->setup.model, &e->recipe,
                          &e->server, sim->n_workers));
    fq_sim_estimate estimate;
    FQ_TRY(simulation_memory(sim, &estimate));
    fq_gemm_start();
    sim->cohort = calloc(n, sizeof *sim->cohort);
    sim->sizes = calloc(n, sizeof *sim->sizes);
    sim->turns = calloc(n, sizeof *sim->turns);
    sim->rows = calloc(n, sizeof *sim->rows);
    sim->workers = calloc(sim->n_workers, sizeof(fq_worker *));
    if (sim->cohort == NULL || sim->sizes == NULL || sim->turns == NULL || sim->rows == NULL ||
        sim->workers == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a cohort of %zu clients", n);
    for (size_t i = 0; i < sim->n_workers; i++)
        FQ_TRY(fq_worker_create(&sim->workers[i], sim->setup.model, &e->recipe,
                                sim->setup.max_examples));
    return FQ_OK;
}

void simulation_release(simulation *sim) {
    for (size_t i = 0; sim->workers != NULL && i < sim->n_workers; i++)
        fq_worker_destroy(&sim->workers[i]);
    free(sim->workers);
    free(sim->cohort);
    free(sim->sizes);
    free(sim->turns);
    free(sim->rows);
    fq_link_destroy(&sim->link);
    fq_setup_fini(&sim->setup);
}

static fq_status run_to_the_end(simulation *sim, fq_run_result *result) {
    const fq_experiment  *e = sim->experiment;
    const fq_sim_options *options = sim->options;
    char                  title[128];
    FQ_TRY(simulation_prepare(sim));
    const fq_run_options run = {.folder = options->folder,
                                .existing = options->existing,
                                .pool = options->pool,
                                .command = options->command,
                                .label = options->label,
                                .hint = HINT,
                                .client_values = sim->client_values};
    FQ_TRY(fq_run_open(&sim->run, sim->experiment, &sim->setup, &run));
    snprintf(title, sizeof title, "%.60s seed %" PRIu64,
             options->label[0] == '\0' ? e->head.name : options->label, (uint64_t)e->head.seed);
    fq_progress_begin(options->progress, title, (uint32_t)e->train.rounds,
                      fq_server_round(fq_run_server(sim->run)));
    fq_status status = run_rounds(sim);
    fq_progress_end(options->progress);
    return status == FQ_OK ? fq_run_finish(sim->run, result) : status;
}

fq_status fq_simulate(fq_experiment *experiment, const fq_sim_options *options,
                      fq_sim_result *result) {
    simulation sim = {.experiment = experiment, .options = options};
    *result = (fq_sim_result){0};
    double    began = fq_now();
    fq_status status = fq_run_close(&sim.run, run_to_the_end(&sim, &result->run));
    simulation_release(&sim);
    result->seconds = fq_now() - began;
    return status;
}

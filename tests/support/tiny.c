#include "tiny.h"

#include "train/client_turn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(fq_status status) {
    if (status == FQ_OK)
        return;
    fprintf(stderr, "tiny federation: %s\n", fq_status_text());
    exit(1);
}

void fq_tiny_create(fq_tiny *tiny, const char *yaml) {
    *tiny = (fq_tiny){0};
    tiny->experiment = calloc(1, sizeof *tiny->experiment);
    must(fq_document_parse(&tiny->document, "test.yaml",
                           (fq_cbytes){(const unsigned char *)yaml, strlen(yaml)}));
    must(fq_experiment_load(tiny->document, tiny->experiment));
    must(fq_setup_create(tiny->experiment, &tiny->setup));
    must(fq_server_create(&tiny->server, tiny->setup.model, &tiny->experiment->recipe,
                          &tiny->experiment->server, (uint64_t)tiny->experiment->head.seed, 8));
}

void fq_tiny_destroy(fq_tiny *tiny) {
    fq_server_destroy(&tiny->server);
    fq_setup_fini(&tiny->setup);
    free(tiny->experiment);
    fq_document_destroy(&tiny->document);
}

typedef struct round_job {
    fq_tiny    *tiny;
    fq_plan     plan;
    uint64_t   *cohort;
    fq_worker **workers;
    float     **states;
} round_job;

static fq_status take_turn(void *context, size_t task, size_t worker) {
    round_job *job = context;
    uint64_t   id = job->cohort[task];
    fq_client  client = {.id = id,
                         .shard = fq_partition_shard(job->tiny->setup.partition, id),
                         .state = job->states[id]};
    fq_update  update;
    FQ_TRY(fq_client_turn(job->workers[worker], &job->plan, &client, &update));
    FQ_TRY(fq_round_accept(job->tiny->server, worker, &update));
    fq_client_commit(job->workers[worker], &client);
    return FQ_OK;
}

void fq_tiny_run(fq_tiny *tiny, uint32_t rounds, size_t workers) {
    const fq_recipe *recipe = &tiny->experiment->recipe;
    size_t           n = (size_t)tiny->experiment->train.clients_per_round;
    uint64_t         clients = tiny->experiment->server.clients;
    round_job        job = {.tiny = tiny};
    fq_pool         *pool;
    must(fq_pool_create(&pool, workers));
    job.cohort = calloc(n, sizeof *job.cohort);
    uint64_t *sizes = calloc(n, sizeof *sizes);
    job.workers = calloc(workers, sizeof(fq_worker *));
    job.states = calloc(clients, sizeof(float *));
    size_t state = fq_client_state_vectors(recipe) * fq_model_size(tiny->setup.model);
    for (uint64_t k = 0; k < clients; k++)
        job.states[k] = calloc(state == 0 ? 1 : state, sizeof(float));
    for (size_t i = 0; i < workers; i++)
        must(
            fq_worker_create(&job.workers[i], tiny->setup.model, recipe, tiny->setup.max_examples));
    for (uint32_t r = 0; r < rounds; r++) {
        fq_round_summary summary;
        uint64_t         examples = 0;
        must(fq_cohort_sample((uint64_t)tiny->experiment->head.seed, fq_server_round(tiny->server),
                              clients, n, job.cohort));
        for (size_t i = 0; i < n; i++)
            examples +=
                fq_example_bucket(fq_partition_shard(tiny->setup.partition, job.cohort[i]).n);
        must(fq_round_open(tiny->server, job.cohort, n, examples, &job.plan));
        for (size_t i = 0; i < n; i++)
            sizes[i] = fq_partition_shard(tiny->setup.partition, job.cohort[i]).n;
        fq_round_size_clients(tiny->server, sizes, &job.plan);
        must(fq_pool_for(pool, n, take_turn, &job));
        must(fq_round_close(tiny->server, pool, &summary));
    }
    for (size_t i = 0; i < workers; i++)
        fq_worker_destroy(&job.workers[i]);
    for (uint64_t k = 0; k < clients; k++)
        free(job.states[k]);
    free(job.states);
    free(job.workers);
    free(job.cohort);
    free(sizes);
    fq_pool_destroy(&pool);
}

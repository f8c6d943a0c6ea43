#include "sim/settings.h"

#include <inttypes.h>
#include <stdlib.h>

static fq_status set_seed(uint64_t seed, fq_document *document) {
    char assignment[64];
    if (seed == FQ_SIM_NO_SEED)
        return FQ_OK;
    const fq_node *sweep = fq_node_find(fq_document_root(document), "sweep");
    bool           swept = fq_node_find(sweep, "seed") != NULL;
    snprintf(assignment, sizeof assignment, swept ? "sweep.seed=[%" PRIu64 "]" : "seed=%" PRIu64,
             seed);
    return fq_document_set(document, assignment);
}

fq_status fq_sim_seed(const fq_cli *cli, uint64_t *seed) {
    *seed = FQ_SIM_NO_SEED;
    return fq_cli_u64(cli, "seed", 0, (uint64_t)9e15, seed);
}

fq_status fq_sim_load_sweep(const fq_cli *cli, uint64_t seed, fq_document **document,
                            fq_sweep *sweep) {
    FQ_TRY(fq_document_read(document, cli->operands[0]));
    for (size_t i = 0; i < fq_cli_count(cli, "set"); i++)
        FQ_TRY(fq_document_set(*document, fq_cli_nth(cli, "set", i)));
    FQ_TRY(set_seed(seed, *document));
    FQ_TRY(fq_sweep_expand(*document, sweep));
    fq_experiment *e = malloc(sizeof *e);
    if (e == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    fq_status status = FQ_OK;
    for (size_t i = 0; status == FQ_OK && i < sweep->n; i++)
        status = fq_experiment_load(sweep->runs[i].document, e);
    free(e);
    return status;
}

#include "math/gemm.h"
#include "math/kernels.h"
#include "run/run_impl.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>

void fq_run_describe(fq_run *run) {
    const fq_experiment *e = run->experiment;
    fq_run_row          *record = &run->record;
    struct utsname       system;
    char                 cpu[128];
    *record = (fq_run_row){.seed = (uint64_t)e->head.seed,
                           .clients = e->server.clients,
                           .parameters = fq_model_parameters(run->setup->model)};
    snprintf(record->name, sizeof record->name, "%s", e->head.name);
    snprintf(record->label, sizeof record->label, "%s", run->options.label);
    snprintf(record->settings_hash, sizeof record->settings_hash, "%s", e->hash);
    snprintf(record->model, sizeof record->model, "%.63s",
             e->model[0] == '\0' ? "inline" : e->model);
    snprintf(record->dataset, sizeof record->dataset, "%.63s",
             fq_dataset_name(run->setup->dataset));
    snprintf(record->algorithm, sizeof record->algorithm, "%s", e->recipe.algorithm->name);
    for (size_t m = 0; m < e->recipe.n_methods; m++) {
        size_t used = strlen(record->robustness);
        snprintf(record->robustness + used, sizeof record->robustness - used, "%s%s",
                 m == 0 ? "" : "+", e->recipe.methods[m]->name);
    }
    snprintf(record->version, sizeof record->version, "%s", FQ_VERSION);
    snprintf(record->build, sizeof record->build, "%s; kernels %s; BLIS %s", FQ_BUILD,
             fq_kernels_get()->name, fq_gemm_kernel());
    fq_processor_name(cpu, sizeof cpu);
    uname(&system);
    snprintf(record->machine, sizeof record->machine, "%s, %zu workers, %.20s %.40s %.16s", cpu,
             fq_pool_workers(run->options.pool), system.sysname, system.release, system.machine);
    snprintf(record->command, sizeof record->command, "%s", run->options.command);
    time_t    now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(record->started, sizeof record->started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    snprintf(record->status, sizeof record->status, "running");
}

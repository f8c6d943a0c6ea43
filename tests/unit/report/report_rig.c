#include "report_rig.h"

#include "base/file.h"
#include "base/rng.h"
#include "store/store.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int         widths[] = {32, 8, 6, 5, 4, 3, 2};
static const char *const changes[] = {"mse*0.7", "mse*0.85", "mse*1.15", "mse*1.3", "mse~2^k"};
enum {
    N_WIDTHS = sizeof widths / sizeof *widths,
    N_CHANGES = sizeof changes / sizeof *changes,
    N_FIGURES = (2 + N_CHANGES) * N_WIDTHS
};

static double learned(const fake_run *run, uint32_t round) {
    return 0.87 * (1 - exp(-(double)round / (0.15 * run->rounds + 1)));
}

static size_t make_figures(const fake_run *run, uint32_t round, fq_rng *rng, fq_figure *out) {
    size_t n = 0;
    for (int a = 32; a >= (run->quantized_activations ? 8 : 32); a -= 24)
        for (size_t i = 0; i < N_WIDTHS; i++) {
            int    b = widths[i];
            double lost = b == 32 ? 0 : run->loss_per_bit * pow(0.35, b - 2);
            out[n] =
                (fq_figure){.weight_bits = b,
                            .activation_bits = a,
                            .accuracy = fmax(0.1, learned(run, round) - lost - (a == 8 ? 0.01 : 0) +
                                                      0.004 * fq_rng_normal(rng)),
                            .loss = 1.5 - learned(run, round) + lost,
                            .noise = b == 32 ? 0 : pow(4, -b),
                            .step_bits = b == 32 ? 32 : b + 0.003};
            strcpy(out[n++].rule, b == 32 ? "none" : "mse");
        }
    return n;
}

/* Changed steps lose a little at every width; `out` has n figures already, of rule mse. */
static size_t change_steps(const fake_run *run, fq_figure *out, size_t n) {
    size_t plain = n;
    for (size_t c = 0; run->changed_steps && c < N_CHANGES; c++)
        for (size_t i = 0; i < plain; i++) {
            if (out[i].weight_bits == 32 || out[i].activation_bits != 32)
                continue;
            out[n] = out[i];
            out[n].accuracy = fmax(0.1, out[i].accuracy - 0.01 * (double)(c + 1));
            strcpy(out[n++].rule, changes[c]);
        }
    return n;
}

static size_t make_tensors(const fake_run *run, uint32_t round, fq_tensor_figure *out) {
    static const char *const names[] = {"conv2d1.weight", "conv2d2.weight", "dense1.weight",
                                        "dense2.weight", "dense3.weight"};
    for (size_t t = 0; t < 5; t++) {
        double spread = 6 + 4 * (double)t;
        out[t] = (fq_tensor_figure){
            .count = 150 * (t + 1) * (t + 1),
            .kurtosis = 1.8 + run->loss_per_bit * 4 * (double)round / run->rounds + 0.2 * (double)t,
            .std = 0.1 / (double)(t + 1),
            .low = -0.4 / (double)(t + 1),
            .high = 0.35 / (double)(t + 1)};
        strcpy(out[t].name, names[t]);
        for (size_t i = 0; i < 64; i++)
            out[t].histogram[i] = (uint64_t)(1000 * exp(-pow(((double)i - 34) / spread, 2)));
    }
    return 5;
}

static void write_database(const fake_run *run, const char *path) {
    fq_store  *store;
    fq_run_row row = {.model = "lenet5",
                      .dataset = "fashion-mnist",
                      .algorithm = "fedavg",
                      .seed = run->seed,
                      .clients = 100,
                      .parameters = 61706,
                      .version = "0.1.0",
                      .build = "gcc 12.2.0, release",
                      .machine = "2 cores, x86-64-v4 kernels, BLIS skx",
                      .command = "fedq-sim run sim/experiments/fashion-mnist-mqat.yaml",
                      .started = "2024-05-06T07:08:09Z",
                      .status = "finished"};
    snprintf(row.name, sizeof row.name, "%s", run->name);
    snprintf(row.label, sizeof row.label, "%s", run->label);
    snprintf(row.robustness, sizeof row.robustness, "%s", run->robustness);
    memset(row.settings_hash, 'a', 64);
    memset(row.final_hash, (int)('b' + run->seed % 4), 64);
    unlink(path); /* of an earlier test */
    FQ_ASSERT_OK(fq_store_open(&store, path, 0));
    FQ_ASSERT_OK(fq_store_put_run(store, &row));
    for (uint32_t round = 1; round <= run->rounds; round++) {
        fq_rng        rng = fq_rng_stream(run->seed, FQ_RNG_DATA, round, 0, 0, 0);
        fq_client_row client = {
            .client = 3, .n_examples = 600, .n_steps = 19, .verdict = "accepted"};
        fq_round_row     r = {.round = round,
                              .n_asked = 10,
                              .n_accepted = 10,
                              .loss = 0.4 + 2 * exp(-(double)round / 20) + 0.05 * fq_rng_normal(&rng),
                              .drift = 0.5 + run->loss_per_bit + 0.05 * fq_rng_normal(&rng),
                              .update_norm = 0.3,
                              .bytes_up_raw = 10 * 246824,
                              .bytes_up = 10 * 61900 + 100 * run->seed,
                              .bytes_down_raw = 10 * 246824,
                              .bytes_down = 10 * 246900,
                              .seconds_train = 0.21,
                              .seconds_close = 0.01,
                              .seconds_evaluate = 0.02,
                              .seconds_save = 0.005};
        fq_figure        figures[N_FIGURES];
        fq_tensor_figure tensors[5];
        bool             evaluated = run->every > 0 && round % run->every == 0;
        size_t           n = evaluated ? make_figures(run, round, &rng, figures) : 0;
        FQ_ASSERT_OK(fq_store_put_round(store, &r, &client, 1, figures,
                                        change_steps(run, figures, n), tensors,
                                        evaluated ? make_tensors(run, round, tensors) : 0));
    }
    FQ_ASSERT_OK(fq_store_close(&store));
}

void fake_run_write(const fake_run *run) {
    char path[600];
    FQ_ASSERT_OK(fq_folder_make(run->folder));
    snprintf(path, sizeof path, "%s/run.db", run->folder);
    write_database(run, path);
    snprintf(path, sizeof path, "%s/settings.yaml", run->folder);
    if (run->settings != NULL)
        fq_test_write(path, run->settings, strlen(run->settings));
}

#include "experiment/experiment.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static fq_status load(const char *yaml, fq_experiment *e) {
    fq_document *document;
    FQ_TRY(fq_document_parse(&document, "x.yaml",
                             (fq_cbytes){(const unsigned char *)yaml, strlen(yaml)}));
    fq_status status = fq_experiment_load(document, e);
    fq_document_destroy(&document);
    return status;
}

static const char full[] =
    "name: all\nseed: 9\n"
    "data: {set: synthetic, clients: 20, features: 12, classes: 3}\n"
    "model:\n- {layer: dense, out: 8, name: hidden}\n- relu\n- {layer: dropout, rate: 0.25}\n"
    "- {layer: dense, out: 3}\n"
    "train:\n  algorithm: fedprox\n  fedprox: {mu: 0.01}\n  robustness: [kure, mqat]\n"
    "  kure: {lambda: 0.1}\n  mqat: {bits: [2, 4, 8], draw: layer, ranges: mse}\n"
    "  capabilities: [[2, 4], [8]]\n  rate: 0.1\n  rate_decay: 0.998\n"
    "aggregate: {method: trimmed_mean, trimmed_mean: {share: 0.2}}\n"
    "upload: {quantizer: stochastic, bits: 4, block: 512, entropy: zstd, error_feedback: true}\n"
    "download: {quantizer: float16}\nevaluate: {every: 2, weights: [32, 4], ranges: [mse, "
    "minmax]}\n"
    "stop: {metric: worst, patience: 3}\n";

/* Writing and loading again gives the same settings, to the last bit and to the same hash. */
static void test_written_settings_load_to_the_same(void) {
    fq_experiment *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
    fq_buffer      yaml = {0}, again = {0};
    FQ_ASSERT_OK(load(full, a));
    FQ_ASSERT_OK(fq_experiment_write(a, &yaml));
    fq_put_u8(&yaml, 0);
    FQ_ASSERT_OK(load((const char *)yaml.data, b));
    FQ_ASSERT_OK(fq_experiment_write(b, &again));
    CU_ASSERT_EQUAL(yaml.size, again.size + 1);
    CU_ASSERT_EQUAL(memcmp(yaml.data, again.data, again.size), 0);
    CU_ASSERT_STRING_EQUAL(a->hash, b->hash);
    CU_ASSERT_EQUAL(b->recipe.n_methods, 2);
    CU_ASSERT_STRING_EQUAL(b->recipe.methods[1]->name, "mqat");
    CU_ASSERT_EQUAL(b->recipe.n_capabilities, 2);
    CU_ASSERT_EQUAL(b->recipe.capabilities[0].v[1], 4);
    CU_ASSERT_EQUAL(b->recipe.upload.bits, 4);
    CU_ASSERT_EQUAL(b->server.download.bits, 16);
    CU_ASSERT_EQUAL(b->network.n_layers, 4);
    fq_buffer_fini(&yaml);
    fq_buffer_fini(&again);
    free(a);
    free(b);
}

static void test_setup_builds_the_model(void) {
    fq_experiment *e = calloc(1, sizeof *e);
    fq_setup       setup;
    FQ_ASSERT_OK(load(full, e));
    FQ_ASSERT_OK(fq_setup_create(e, &setup));
    CU_ASSERT_EQUAL(fq_model_parameters(setup.model), 12 * 8 + 8 + 8 * 3 + 3);
    CU_ASSERT_EQUAL(e->server.clients, 20);
    CU_ASSERT_TRUE(setup.max_examples > 0);
    fq_setup_fini(&setup);
    free(e);
}

static void test_wrong_settings_say_where_and_what(void) {
    static const struct wrong {
        const char *yaml, *text;
    } table[] = {
        {"train: {algorithm: fedavgg}\n",
         "x.yaml:1: train.algorithm: 'fedavgg' is unknown; did you mean 'fedavg'?"},
        {"train:\n  robustness: [mqta]\n",
         "x.yaml:2: train.robustness: 'mqta' is unknown; did you mean 'mqat'?"},
        {"train:\n  robustness: [kure, kure]\n", "listed twice"},
        {"train:\n  robustness: [qat, mqat]\n", "both qat and mqat quantize"},
        {"train: {nesterov: true}\n", "train.nesterov: needs a momentum"},
        {"train: {algorithm: scaffold, momentum: 0.9}\n",
         "train.momentum: scaffold needs plain steps"},
        {"train: {rounds: }\n", "x.yaml:1: train.rounds: no value"},
        {"model: [{out: 3}]\n", "model[0]: which layer?"},
        {"train: {clients_per_round: 200}\n", "200 of 100 clients"},
        {"train:\n  capabilities: [[2], [9]]\n",
         "x.yaml:2: train.capabilities: 9 is not a bit-width"},
        {"train:\n  capabilities: 4\n", "expected a list of at most 16 lists"},
        {"train: {capabilities: [[]]}\n", "each set is a list"},
        {"model: lenet6\n", "x.yaml:1: model: 'lenet6' is unknown; did you mean 'lenet5'?"},
        {"model: {a: b}\n", "expected a name or a list of layers"},
        {"model:\n- conv3d\n", "model[0]: 'conv3d' is unknown; did you mean 'conv2d'?"},
        {"model:\n- [dense]\n", "model[0]: expected a layer"},
        {"aggregate: {method: krum}\n", "aggregate.method: 'krum' is unknown"},
        {"aggregate: {min_clients: 11}\n", "aggregate.min_clients: 11 is more than the 10 clients"},
        {"aggregate: {method: trimmed_mean, trimmed_mean: {share: 0.01}}\n",
         "less than one update"},
        {"upload: {quantizer: int8}\n", "upload.quantizer: 'int8' is unknown"},
        {"upload: {quantizer: stochastic, bits: 9}\n",
         "upload.bits: 9 is not a width of stochastic; allowed are 1 to 8"},
        {"upload:\n  adaptive: {levels: 1}\n",
         "x.yaml:2: upload.adaptive.levels: float32 has no choice of levels; use upload.quantizer "
         "qsgd"},
        {"upload: {quantizer: qsgd, bits: 3, adaptive: {levels: 4}}\n",
         "upload.adaptive.levels: 4 of each sign do not fit 3 bits (upload.bits); 1 to 3 do"},
        {"upload: {adaptive: {level: 4}}\n", "did you mean 'levels'"},
        {"download: {adaptive: {levels: 4}}\n", "download.adaptive: unknown key"},
        {"train: {block_float: {bits: 20}}\n", "train.block_float.bits: 20 is not a width"},
        {"download: {error_feedback: true}\n", "error_feedback"},
        {"seed: 1\nname: a/b\n", "x.yaml:2: name: a/b cannot be a folder's name"},
        {"name: ''\n", "cannot be a folder's name"},
        {"name: \"a\\nb\"\n", "cannot be a folder's name"},
        {"name: .hidden\n", "cannot be a folder's name"},
        {"model:\n", "x.yaml:1: model: '' is unknown"},
        {"model: ''\n", "x.yaml:1: model: '' is unknown"},
        {"train:\n", "x.yaml:1: train: no keys"},
        {"train:\n  mqat:\n", "x.yaml:2: train.mqat: no keys"},
        {"train:\n  capabilities: [[2, 2]]\n", "x.yaml:2: train.capabilities: a set has 2 twice"},
        {"train:\n  capabilities: [[\"2\"]]\n", "text because of its quotes"},
        {"data: {set: x}\ntrain: {robustness: [mqat], mqat: {bits: [9]}}\n", "x.yaml:"},
        {"evaluate:\n  every: 1\n  weights: [16]\n", "x.yaml:3: evaluate.weights: 16"},
        {"data:\n  clients: 3\n  set: fashion_mnist\n",
         "x.yaml:3: data.set: 'fashion_mnist' is unknown; did you mean 'fashion-mnist'?"},
        {"data:\n  set: synthetic\n  split: shards\n", "x.yaml:3: data.split: shards"},
        {"data:\n  mean: [0.5]\n", "x.yaml:2: data.mean: is used only with"},
        {"train: {kure: {lambda: -1}}\n", "train.kure.lambda"},
        {"tarin: {rounds: 3}\n", "did you mean 'train'"},
    };
    fq_experiment *e = calloc(1, sizeof *e);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        FQ_ASSERT_FAILS(load(table[i].yaml, e), FQ_EINVAL, table[i].text);
    free(e);
}

/* What only the data can show is wrong still says where it stands. */
static void test_setup_errors_say_where(void) {
#define DATA "data:\n  set: synthetic\n  clients: 20\n  features: 12\n  classes: 3\n"
    static const struct wrong {
        const char *yaml, *text;
    } table[] = {
        {DATA "model:\n- {layer: dense, out: 8}\n- relu\n- {layer: dense, out: 4}\n",
         "x.yaml:9: model[2] (dense2): the last layer gives 4x1x1; expected 3x1x1"},
        {DATA "model:\n- {layer: dense, out: 8, kernel: 5}\n- {layer: dense, out: 3}\n",
         "x.yaml:7: model[0] (dense1): kernel"},
        {DATA "model: lenet5\n", "x.yaml:6: model: "},
        {DATA, "x.yaml: model: "},
        {DATA "model: logreg\naggregate:\n  max_examples: 5\n",
         "x.yaml:8: aggregate.max_examples: a client has"},
    };
    fq_experiment *e = calloc(1, sizeof *e);
    fq_setup       setup;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        FQ_ASSERT_OK(load(table[i].yaml, e));
        FQ_ASSERT_FAILS(fq_setup_create(e, &setup), FQ_EINVAL, table[i].text);
    }
    free(e);
}

/* The hash names what determines the weights: a run goes on with more rounds or other figures. */
static void test_hash(void) {
    static const char *const same[] = {"name: b\n", "train: {rounds: 400}\n",
                                       "evaluate: {every: 7, weights: [32]}\n",
                                       "stop: {metric: worst}\n"};
    static const char *const other[] = {"seed: 2\n", "train: {rate: 0.06}\n", "model: logreg\n",
                                        "data: {alpha: 0.1}\n", "upload: {quantizer: float16}\n"};
    fq_experiment           *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
    FQ_ASSERT_OK(load("{}", a));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        FQ_ASSERT_OK(load(same[i], b));
        CU_ASSERT_STRING_EQUAL(a->hash, b->hash);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        FQ_ASSERT_OK(load(other[i], b));
        CU_ASSERT_STRING_NOT_EQUAL(a->hash, b->hash);
    }
    free(a);
    free(b);
}

static fq_status expand(const char *yaml, fq_sweep *sweep) {
    fq_document *document;
    FQ_TRY(fq_document_parse(&document, "x.yaml",
                             (fq_cbytes){(const unsigned char *)yaml, strlen(yaml)}));
    fq_status status = fq_sweep_expand(document, sweep);
    fq_document_destroy(&document);
    return status;
}

static void test_sweeps(void) {
    fq_sweep       sweep;
    fq_experiment *e = calloc(1, sizeof *e);
    FQ_ASSERT_OK(expand("name: one\n", &sweep));
    CU_ASSERT_EQUAL(sweep.n, 1);
    CU_ASSERT_STRING_EQUAL(sweep.runs[0].label, "");
    fq_sweep_fini(&sweep);

    FQ_ASSERT_OK(expand(
        "sweep: {train.robustness: [[], [kure, mqat]], train.rate: [0.1, 0.2], seed: [1, 2, 3]}\n",
        &sweep));
    CU_ASSERT_EQUAL_FATAL(sweep.n, 12);
    CU_ASSERT_STRING_EQUAL(sweep.runs[0].label, "fedavg_rate=0.1");
    CU_ASSERT_STRING_EQUAL(sweep.runs[11].label, "kure-mqat_rate=0.2");
    FQ_ASSERT_OK(fq_experiment_load(sweep.runs[11].document, e));
    CU_ASSERT_EQUAL(e->head.seed, 3);
    CU_ASSERT_EQUAL(e->recipe.n_methods, 2);
    CU_ASSERT_EQUAL(e->recipe.rate, 0.2);
    fq_sweep_fini(&sweep);

    FQ_ASSERT_OK(expand("sweep:\n  variants:\n    plain: {train.robustness: []}\n"
                        "    best: {train.robustness: [mqat], train.rate: 0.1}\n  seed: [7]\n",
                        &sweep));
    CU_ASSERT_EQUAL_FATAL(sweep.n, 2);
    CU_ASSERT_STRING_EQUAL(sweep.runs[1].label, "best");
    FQ_ASSERT_OK(fq_experiment_load(sweep.runs[1].document, e));
    CU_ASSERT_EQUAL(e->head.seed, 7);
    CU_ASSERT_EQUAL(e->recipe.rate, 0.1);
    fq_sweep_fini(&sweep);

    /* A wrong value is one of the sweep's line. */
    FQ_ASSERT_OK(expand("name: a\nsweep:\n  train.rate:\n  - 0.1\n  - bogus\n", &sweep));
    FQ_ASSERT_OK(fq_experiment_load(sweep.runs[0].document, e));
    FQ_ASSERT_FAILS(fq_experiment_load(sweep.runs[1].document, e), FQ_EINVAL,
                    "x.yaml:5: train.rate: 'bogus'");
    fq_sweep_fini(&sweep);
    FQ_ASSERT_FAILS(expand("name: a\nsweep:\n  name.x: [1]\n", &sweep), FQ_EINVAL,
                    "x.yaml:3: name is a value");

    FQ_ASSERT_FAILS(expand("sweep: {seed: 3}\n", &sweep), FQ_EINVAL, "sweep.seed: expected a list");
    FQ_ASSERT_FAILS(expand("sweep: [1]\n", &sweep), FQ_EINVAL, "expected a map");
    FQ_ASSERT_FAILS(expand("sweep: {variants: [a]}\n", &sweep), FQ_EINVAL, "sweep.variants");
    free(e);
}

static void test_documentation_names_every_plugin(void) {
    fq_buffer text = {0};
    fq_experiment_document(&text);
    fq_put_u8(&text, 0);
    CU_ASSERT_FALSE_FATAL(text.failed);
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        char path[64];
        snprintf(path, sizeof path, "## train.%s", fq_robustnesses[i]->name);
        CU_ASSERT_PTR_NOT_NULL(strstr((const char *)text.data, path));
    }
    fq_buffer_fini(&text);
}

int main(void) {
    static const fq_case cases[] = {
        {"written settings load to the same", test_written_settings_load_to_the_same},
        {"set-up builds the model", test_setup_builds_the_model},
        {"wrong settings say where and what", test_wrong_settings_say_where_and_what},
        {"errors of set-up say where", test_setup_errors_say_where},
        {"hash", test_hash},
        {"sweeps", test_sweeps},
        {"documentation names every plug-in", test_documentation_names_every_plugin},
        {NULL, NULL},
    };
    return fq_run_suite("experiment", cases);
}

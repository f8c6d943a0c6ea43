#include "data/data_impl.h"
#include "data_support.h"

#include <math.h>
#include <stdlib.h>

enum { FEATURES = 60, CLASSES = 10 };

static fq_dataset *open_set(double alpha, double beta, int64_t clients, uint64_t seed) {
    fq_data_settings settings = test_data_settings("synthetic", NULL);
    settings.synthetic_alpha = alpha;
    settings.synthetic_beta = beta;
    settings.clients = clients;
    settings.test_examples = 300;
    fq_dataset *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, seed, &set));
    return set;
}

/* Example `example` of `client`, wherever it stands in a batch. */
static void get(const fq_dataset *set, uint64_t client, uint32_t example, float x[FEATURES],
                uint16_t *label) {
    const fq_shard shard = {.set = set, .client = client};
    float          wide[FEATURES * 8];
    fq_shard_gather(&shard, &example, 1, 8, wide, label);
    for (size_t f = 0; f < FEATURES; f++)
        x[f] = wide[f * 8];
}

static bool equal(const float a[FEATURES], const float b[FEATURES]) {
    for (size_t f = 0; f < FEATURES; f++)
        if (a[f] != b[f])
            return false;
    return true;
}

static void test_examples_have_names(void) {
    fq_dataset *set = open_set(0.5, 0.5, 1000, 1), *again = open_set(0.5, 0.5, 2000, 1),
               *other = open_set(0.5, 0.5, 1000, 2);
    const uint32_t order[] = {7, 3, 11, 3, 0};
    const fq_shard shard = {.set = set, .client = 17};
    float          x[FEATURES * 8], one[FEATURES];
    uint16_t       labels[5], label;
    fq_shard_gather(&shard, order, 5, 8, x, labels);
    for (size_t i = 0; i < 8; i++) {
        if (i < 5) {
            get(again, 17, order[i], one, &label);
            CU_ASSERT_EQUAL(label, labels[i]);
        } else {
            memset(one, 0, sizeof one);
        }
        for (size_t f = 0; f < FEATURES; f++)
            if (x[f * 8 + i] != one[f])
                CU_FAIL("an example depends on its batch");
    }
    float a[FEATURES], b[FEATURES];
    get(set, 17, 7, a, &label);
    get(other, 17, 7, b, &label);
    CU_ASSERT_FALSE(equal(a, b));
    get(set, 18, 7, b, &label);
    CU_ASSERT_FALSE(equal(a, b));
    fq_dataset_close(&set);
    fq_dataset_close(&again);
    fq_dataset_close(&other);
}

/* Within a client, feature f (from 1) varies by f^-1.2; over clients, its mean by beta^2 + 1. */
static void test_inputs_are_distributed_as_said(void) {
    enum { CLIENTS = 300, EXAMPLES = 40 };
    fq_dataset *set = open_set(0.0, 2.0, CLIENTS, 1);
    double      within[FEATURES] = {0}, between[FEATURES] = {0};
    uint32_t    order[EXAMPLES];
    for (uint32_t i = 0; i < EXAMPLES; i++)
        order[i] = i;
    float   *x = malloc(sizeof(float) * FEATURES * EXAMPLES);
    uint16_t labels[EXAMPLES];
    for (uint64_t k = 0; k < CLIENTS; k++) {
        const fq_shard shard = {.set = set, .client = k};
        fq_shard_gather(&shard, order, EXAMPLES, EXAMPLES, x, labels);
        for (size_t f = 0; f < FEATURES; f++) {
            double sum = 0.0, squares = 0.0;
            for (size_t i = 0; i < EXAMPLES; i++)
                sum += (double)x[f * EXAMPLES + i];
            double mean = sum / EXAMPLES;
            for (size_t i = 0; i < EXAMPLES; i++) {
                double off = (double)x[f * EXAMPLES + i] - mean;
                squares += off * off;
            }
            within[f] += squares / (EXAMPLES - 1) / CLIENTS;
            between[f] += mean * mean / CLIENTS;
        }
    }
    for (size_t f = 0; f < FEATURES; f += 10) {
        CU_ASSERT_DOUBLE_EQUAL(within[f] / pow((double)f + 1.0, -1.2), 1.0, 0.08);
        CU_ASSERT_DOUBLE_EQUAL(between[f] / 5.0, 1.0, 0.35);
    }
    free(x);
    fq_dataset_close(&set);
}

/* A client's labels come from its own linear model: a linear model trained on some of its examples
 * (perceptron) is right about most of the others. */
static void test_labels_can_be_learned(void) {
    enum { TRAIN = 400, TEST = 200 };
    fq_dataset *set = open_set(1.0, 1.0, 4, 1);
    unsigned    right = 0, most = 0, count[CLASSES] = {0};
    double     *w = calloc((size_t)(FEATURES + 1) * CLASSES, sizeof *w);
    for (uint32_t i = 0; i < 10 * TRAIN + TEST; i++) {
        float    x[FEATURES];
        uint16_t label;
        bool     test = i >= 10 * TRAIN;
        get(set, 2, test ? TRAIN + i - 10 * TRAIN : i % TRAIN, x, &label);
        size_t best = 0;
        double top = -1e300;
        for (size_t c = 0; c < CLASSES; c++) {
            double z = w[c * (FEATURES + 1) + FEATURES];
            for (size_t f = 0; f < FEATURES; f++)
                z += w[c * (FEATURES + 1) + f] * (double)x[f];
            if (z > top) {
                top = z;
                best = c;
            }
        }
        if (test) {
            right += best == label;
            count[label]++;
        } else if (best != label) {
            for (size_t f = 0; f <= FEATURES; f++) {
                double value = f < FEATURES ? (double)x[f] : 1.0;
                w[(size_t)label * (FEATURES + 1) + f] += value;
                w[best * (FEATURES + 1) + f] -= value;
            }
        }
    }
    for (size_t c = 0; c < CLASSES; c++)
        most = count[c] > most ? count[c] : most;
    CU_ASSERT_TRUE(right >= 0.8 * TEST);
    CU_ASSERT_TRUE(right > most || most == TEST);
    free(w);
    fq_dataset_close(&set);
}

static void test_test_part(void) {
    fq_dataset *set = open_set(0.5, 0.5, 7, 1);
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 300);
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 0);
    CU_ASSERT_EQUAL(fq_dataset_users(set), 7);
    float    x[FEATURES * 8], one[FEATURES];
    uint16_t labels[8], label;
    fq_dataset_gather_test(set, 100, 8, 8, x, labels);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t t = 100 + i;
        get(set, t % 7, (UINT32_C(1) << 31) + t / 7, one, &label);
        CU_ASSERT_EQUAL(labels[i], label);
        for (size_t f = 0; f < FEATURES; f++)
            CU_ASSERT_EQUAL(x[f * 8 + i], one[f]);
    }
    fq_dataset_close(&set);
}

static void test_numbers_of_examples(void) {
    enum { CLIENTS = 20000 };
    fq_data_settings settings = test_data_settings("synthetic", NULL);
    settings.clients = CLIENTS;
    settings.examples = 50;
    settings.min_examples = 8;
    fq_dataset   *set;
    fq_partition *partition;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 3, &set));
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 3));
    CU_ASSERT_EQUAL(fq_partition_clients(partition), CLIENTS);
    double sum = 0.0;
    size_t most = 0;
    for (uint64_t k = 0; k < CLIENTS; k++) {
        fq_shard shard = fq_partition_shard(partition, k);
        CU_ASSERT_PTR_NULL(shard.index);
        CU_ASSERT_TRUE(shard.n >= 8);
        most = shard.n > most ? shard.n : most;
        sum += (double)shard.n;
    }
    CU_ASSERT_DOUBLE_EQUAL(sum / CLIENTS, 50.0, 3.0);
    CU_ASSERT_EQUAL(most, fq_partition_largest(partition));
    fq_partition_destroy(&partition);
    fq_dataset_close(&set);
}

static void test_a_million_clients_take_no_memory(void) {
    fq_data_settings settings = test_data_settings("synthetic", NULL);
    settings.clients = 1000000;
    fq_dataset   *set;
    fq_partition *partition;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 1));
    CU_ASSERT_EQUAL(fq_partition_clients(partition), 1000000);
    CU_ASSERT_TRUE(fq_partition_bytes(partition) < 1000);
    CU_ASSERT_TRUE(fq_partition_shard(partition, 999999).n >= 1);
    fq_partition_destroy(&partition);
    fq_dataset_close(&set);
}

static void test_refuses_the_impossible(void) {
    fq_data_settings settings = test_data_settings("synthetic", NULL);
    fq_dataset      *set;
    settings.clients = 0;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL, "data.clients: 0");
    settings.clients = 10;
    settings.features = 2048;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL, "features x classes: 20480");
    settings.classes = 3;
    settings.test_examples = 1000000;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_ELIMIT, "data.test_examples: 1000000");
    CU_ASSERT_PTR_NULL(set);
}

/* Settings that would have no effect, or one on half of the examples. */
static void test_refuses_what_it_cannot_do(void) {
    fq_data_settings settings = test_data_settings("synthetic", NULL);
    fq_dataset      *set;
    settings.normalize = FQ_NORMALIZE_CUSTOM;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL,
                    "custom needs data.mean and data.std");
    settings.mean.n = settings.std.n = 1;
    settings.std.v[0] = 2.0;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL,
                    "data.normalize: custom is not possible");
    settings.normalize = FQ_NORMALIZE_AUTO;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL, "data.mean: is used only with");
    settings.mean.n = 0;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL, "data.std: is used only with");
    settings.std.n = 0;
    settings.split = FQ_SPLIT_SHARDS;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL,
                    "data.split: shards is not possible");
    snprintf(settings.set, sizeof settings.set, "mnits");
    FQ_ASSERT_FAILS(fq_data_settings_check(&settings), FQ_EINVAL,
                    "data.set: 'mnits' is unknown; did you mean 'mnist'? Known: fashion-mnist, ");
}

int main(void) {
    static const fq_case cases[] = {
        {"an example is named by seed, client and number", test_examples_have_names},
        {"inputs are distributed as said", test_inputs_are_distributed_as_said},
        {"labels can be learned", test_labels_can_be_learned},
        {"test part", test_test_part},
        {"numbers of examples", test_numbers_of_examples},
        {"a million clients take no memory", test_a_million_clients_take_no_memory},
        {"refuses the impossible", test_refuses_the_impossible},
        {"refuses what it cannot do", test_refuses_what_it_cannot_do},
        {NULL, NULL},
    };
    return fq_run_suite("synthetic", cases);
}

#include "data/data_impl.h"
#include "data_support.h"

#include <math.h>
#include <stdlib.h>

enum { N = 60, C = 3, H = 5, W = 7, FEATURES = C * H * W };

static uint8_t byte_at(size_t i) {
    return (uint8_t)(i * 31 + i / 251);
}

static fq_dataset *make_set(bool bytes) {
    fq_dataset *set;
    FQ_ASSERT_OK(fq_dataset_new("made", (fq_shape){C, H, W}, 10, &set));
    fq_examples *parts[2] = {&set->train, &set->test};
    for (int p = 0; p < 2; p++) {
        size_t size = N * (size_t)FEATURES;
        parts[p]->n = N;
        parts[p]->labels = malloc(N * sizeof(uint16_t));
        for (size_t i = 0; i < N; i++)
            parts[p]->labels[i] = (uint16_t)((i + (size_t)p) % 10);
        parts[p]->memory = malloc(size * sizeof(float));
        if (bytes)
            parts[p]->bytes = parts[p]->memory;
        else
            parts[p]->floats = parts[p]->memory;
        for (size_t i = 0; i < size; i++) {
            if (bytes)
                parts[p]->bytes[i] = byte_at(i);
            else
                parts[p]->floats[i] = (float)byte_at(i) - 100.0f;
        }
    }
    return set;
}

static const fq_normalization per_channel = {3, {0.1, 0.2, 0.3}, {0.5, 0.25, 2.0}};

/* What feature f of example i must become. */
static double expected(bool bytes, const fq_normalization *used, size_t i, size_t f) {
    size_t c = used->n > 1 ? f / ((size_t)H * W) : 0;
    double raw = bytes ? byte_at(i * FEATURES + f) / 255.0 : byte_at(i * FEATURES + f) - 100.0;
    return used->n == 0 ? raw : (raw - used->mean[c]) / used->std[c];
}

static void check_gather(const fq_dataset *set, bool bytes, const fq_normalization *used,
                         size_t batch, size_t lanes) {
    uint32_t index[N], order[N];
    for (uint32_t i = 0; i < N; i++) {
        index[i] = (i * 7 + 3) % N;
        order[i] = (i * 11 + 5) % N;
    }
    float   *x = malloc(FEATURES * lanes * sizeof *x);
    uint16_t labels[N];
    for (size_t i = 0; i < FEATURES * lanes; i++)
        x[i] = NAN;
    const fq_shard shard = {.set = set, .index = index, .n = N};
    fq_shard_gather(&shard, order, batch, lanes, x, labels);
    bool good = true;
    for (size_t f = 0; f < FEATURES; f++)
        for (size_t i = 0; i < lanes; i++) {
            double want = i < batch ? expected(bytes, used, index[order[i]], f) : 0.0;
            double got = (double)x[f * lanes + i];
            good = good && fabs(got - want) <= 1e-6 * (1.0 + fabs(want));
        }
    for (size_t i = 0; i < batch; i++)
        good = good && labels[i] == index[order[i]] % 10;
    CU_ASSERT_TRUE(good);
    free(x);
}

static void test_gathers_every_batch_size(void) {
    for (int bytes = 0; bytes < 2; bytes++)
        for (int normalised = 0; normalised < 2; normalised++) {
            fq_dataset            *set = make_set(bytes);
            const fq_normalization none = {0}, *used = normalised ? &per_channel : &none;
            fq_data_settings       settings = test_data_settings("made", NULL);
            FQ_ASSERT_OK(fq_dataset_finish(set, &settings, normalised ? used : NULL));
            for (size_t batch = 1; batch <= 41; batch++)
                check_gather(set, bytes, used, batch, (batch + 7) / 8 * 8);
            check_gather(set, bytes, used, 3, 48);
            fq_dataset_close(&set);
        }
}

static void test_gathers_test_examples(void) {
    fq_dataset      *set = make_set(true);
    fq_data_settings settings = test_data_settings("made", NULL);
    FQ_ASSERT_OK(fq_dataset_finish(set, &settings, NULL));
    float    x[FEATURES * 8];
    uint16_t labels[8];
    fq_dataset_gather_test(set, 20, 5, 8, x, labels);
    for (size_t f = 0; f < FEATURES; f++)
        for (size_t i = 0; i < 8; i++) {
            double want = i < 5 ? byte_at((20 + i) * FEATURES + f) / 255.0 : 0.0;
            if (fabs((double)x[f * 8 + i] - want) > 1e-6)
                CU_FAIL("value");
        }
    for (size_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(labels[i], (20 + i + 1) % 10);
    fq_dataset_close(&set);
}

static void test_normalisation_settings(void) {
    const fq_normalization automatic = {1, {0.5}, {0.5}};
    static const struct {
        int         normalize;
        fq_reals    mean, std;
        size_t      n;
        double      mean0, std2;
        const char *part; /* of the error; NULL: none */
    } cases[] = {
        {FQ_NORMALIZE_AUTO, {0}, {0}, 1, 0.5, 0.0, NULL},
        {FQ_NORMALIZE_NONE, {0}, {0}, 0, 0.0, 0.0, NULL},
        {FQ_NORMALIZE_CUSTOM, {1, {0.25}}, {1, {2}}, 1, 0.25, 0.0, NULL},
        {FQ_NORMALIZE_CUSTOM, {1, {0.25}}, {3, {1, 2, 3}}, 3, 0.25, 3.0, NULL},
        {FQ_NORMALIZE_CUSTOM, {3, {1, 2, 3}}, {1, {0.5}}, 3, 1.0, 0.5, NULL},
        {FQ_NORMALIZE_CUSTOM, {0}, {1, {1}}, 0, 0, 0, "data.mean has 0 values; expected 1, or 3"},
        {FQ_NORMALIZE_CUSTOM,
         {1, {0}},
         {2, {1, 1}},
         0,
         0,
         0,
         "data.std has 2 values; expected 1, or 3"},
        {FQ_NORMALIZE_CUSTOM, {1, {0}}, {1, {0}}, 0, 0, 0, "data.std: 0 is not allowed"},
        {FQ_NORMALIZE_CUSTOM, {1, {0}}, {1, {-1}}, 0, 0, 0, "data.std: -1 is not allowed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fq_dataset      *set = make_set(true);
        fq_data_settings settings = test_data_settings("made", NULL);
        settings.normalize = cases[i].normalize;
        settings.mean = cases[i].mean;
        settings.std = cases[i].std;
        if (cases[i].part != NULL) {
            FQ_ASSERT_FAILS(fq_dataset_finish(set, &settings, &automatic), FQ_EINVAL,
                            cases[i].part);
        } else {
            float mean[16] = {0}, std[16] = {0};
            FQ_ASSERT_OK(fq_dataset_finish(set, &settings, &automatic));
            CU_ASSERT_EQUAL(fq_dataset_normalization(set, mean, std), cases[i].n);
            CU_ASSERT_EQUAL(mean[0], (float)cases[i].mean0);
            CU_ASSERT_EQUAL(std[2], (float)cases[i].std2);
        }
        fq_dataset_close(&set);
    }
}

static void test_limits_keep_the_mix(void) {
    fq_dataset      *set = make_set(true);
    fq_data_settings settings = test_data_settings("made", NULL);
    settings.train_limit = 20;
    settings.test_limit = 7;
    FQ_ASSERT_OK(fq_dataset_finish(set, &settings, NULL));
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 20);
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 7);
    for (size_t i = 0; i < 20; i++) {
        CU_ASSERT_EQUAL(set->train.labels[i], 3 * i % 10);
        CU_ASSERT_EQUAL(set->train.bytes[i * FEATURES + 9], byte_at(3 * i * FEATURES + 9));
    }
    fq_dataset_close(&set);
}

/* Held-out and remaining examples together are the examples, each in its old order with its label.
 */
static void test_holds_out_by_seed(void) {
    for (int bytes = 0; bytes < 2; bytes++) {
        size_t first_held[2];
        for (uint64_t seed = 1; seed <= 2; seed++) {
            fq_dataset *set = make_set(bytes);
            free(set->test.memory);
            free(set->test.labels);
            set->test = (fq_examples){0};
            set->users = N;
            set->train.users = malloc(N * sizeof(uint32_t));
            for (uint32_t i = 0; i < N; i++)
                set->train.users[i] = i;
            fq_data_settings settings = test_data_settings("made", NULL);
            settings.test_fraction = 0.25;
            FQ_ASSERT_OK(fq_dataset_hold_out(set, &settings, seed));
            CU_ASSERT_EQUAL(set->train.n, 45);
            CU_ASSERT_EQUAL(set->test.n, 15);
            bool is_train[N] = {false};
            for (size_t i = 0; i < 45; i++) {
                uint32_t was = set->train.users[i];
                is_train[was] = true;
                CU_ASSERT_EQUAL(set->train.labels[i], was % 10);
                if (bytes)
                    CU_ASSERT_EQUAL(set->train.bytes[i * FEATURES],
                                    byte_at((size_t)was * FEATURES));
            }
            size_t held = 0;
            for (size_t i = 0; i < N; i++) {
                if (is_train[i])
                    continue;
                if (held == 0)
                    first_held[seed - 1] = i;
                CU_ASSERT_EQUAL(set->test.labels[held], i % 10);
                if (!bytes)
                    CU_ASSERT_EQUAL(set->test.floats[held * FEATURES + 3],
                                    (float)byte_at(i * FEATURES + 3) - 100.0f);
                held++;
            }
            CU_ASSERT_EQUAL(held, 15);
            fq_dataset_close(&set);
        }
        CU_ASSERT_NOT_EQUAL(first_held[0], first_held[1]);
    }
    fq_dataset *set = make_set(true);
    set->train.n = 2;
    fq_data_settings settings = test_data_settings("made", NULL);
    FQ_ASSERT_FAILS(fq_dataset_hold_out(set, &settings, 1), FQ_EINVAL, "leaves 0 to test");
    fq_dataset_close(&set);
}

static void test_refuses_shapes(void) {
    fq_dataset *set;
    FQ_ASSERT_FAILS(fq_dataset_new("made", (fq_shape){UINT32_MAX, UINT32_MAX, UINT32_MAX}, 2, &set),
                    FQ_ELIMIT, "4294967295 x 4294967295 x 4294967295");
    FQ_ASSERT_FAILS(fq_dataset_new("made", (fq_shape){1, 0, 1}, 2, &set), FQ_ELIMIT, "1 x 0 x 1");
    FQ_ASSERT_FAILS(fq_dataset_new("made", (fq_shape){1, 1, 1}, 0, &set), FQ_ELIMIT, "0 classes");
}

static void test_settings_table(void) {
    fq_data_settings settings = test_data_settings("fashion-mnist", NULL);
    CU_ASSERT_EQUAL(settings.clients, 100);
    CU_ASSERT_EQUAL(settings.split, FQ_SPLIT_DIRICHLET);
    CU_ASSERT_EQUAL(settings.alpha, 0.5);
    CU_ASSERT_EQUAL(settings.shards_per_client, 2);
    CU_ASSERT_EQUAL(settings.min_examples, 1);
    CU_ASSERT_EQUAL(settings.mean.n, 0);
}

int main(void) {
    static const fq_case cases[] = {
        {"gathers batches of every size", test_gathers_every_batch_size},
        {"gathers test examples", test_gathers_test_examples},
        {"normalisation settings", test_normalisation_settings},
        {"limits keep the mix", test_limits_keep_the_mix},
        {"holds out by seed", test_holds_out_by_seed},
        {"refuses impossible shapes", test_refuses_shapes},
        {"settings have the documented defaults", test_settings_table},
        {NULL, NULL},
    };
    return fq_run_suite("gather", cases);
}

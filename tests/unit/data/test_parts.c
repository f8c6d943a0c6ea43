/* What a device, which only trains, and a coordinator, which only tests, ask of the files. */
#include "data_support.h"
#include "experiment/experiment.h"

#include <stdlib.h>

enum { PIXELS = 28 * 28 };

static uint8_t count(size_t i) {
    return (uint8_t)(i % 10);
}

static void write_idx(const char *folder, const char *part, uint32_t n) {
    char           name[64];
    const uint32_t dims[3] = {n, 28, 28};
    for (unsigned rank = 1; rank <= 3; rank += 2) {
        fq_buffer bytes = {0};
        test_put_idx(&bytes, rank, dims, rank == 3 ? (size_t)n * PIXELS : n, count);
        snprintf(name, sizeof name, "%s-%s-idx%u-ubyte", part, rank == 3 ? "images" : "labels",
                 rank);
        test_write_file(folder, name, &bytes);
        fq_buffer_fini(&bytes);
    }
}

static void write_npy(const char *folder, const char *prefix) {
    static const float   x[6] = {1, 2, 3, 4, 5, 6};
    static const int64_t y[3] = {0, 2, 1};
    char                 name[64];
    fq_buffer            bytes = {0};
    test_put_npy(&bytes, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", x,
                 sizeof x);
    snprintf(name, sizeof name, "%sfeatures.npy", prefix);
    test_write_file(folder, name, &bytes);
    bytes.size = 0;
    test_put_npy(&bytes, "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", y, sizeof y);
    snprintf(name, sizeof name, "%slabels.npy", prefix);
    test_write_file(folder, name, &bytes);
    fq_buffer_fini(&bytes);
}

static void write_cifar(const char *folder, const char *name, size_t n) {
    fq_buffer bytes = {0};
    for (size_t i = 0; i < n * 3073; i++)
        fq_put_u8(&bytes, (uint8_t)(i % 3073 == 0 ? i / 3073 % 10 : i));
    test_write_file(folder, name, &bytes);
    fq_buffer_fini(&bytes);
}

static void write_leaf(const char *folder) {
    test_write_text(folder, "a.json",
                    "{\"users\": [\"ann\"], \"num_samples\": [3], \"user_data\": "
                    "{\"ann\": {\"x\": [[5, 1], [2, 3], [4, 4]], \"y\": [2, 0, 1]}}}");
}

typedef struct kind {
    const char *set, *train_only, *test_only, *train_name, *test_name;
    size_t      n_train, n_test;
} kind;

static const kind kinds[] = {
    {"mnist", "idx-train", "idx-test", "train-images-idx3-ubyte", "t10k-images-idx3-ubyte", 12, 5},
    {"emnist", "em-train", "em-test", "emnist-<split>-train", "emnist-mnist-test", 12, 5},
    {"npy", "npy-train", "npy-test", "features.npy", "", 3, 3},
    {"cifar10", "cifar-train", "cifar-test", "data_batch_1.bin", "data_batch_1.bin", 4, 2},
    {"leaf", "leaf-train", "leaf-test", "train/*.json", "", 3, 3},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static void write_all(void) {
    write_idx("idx-train", "train", 12);
    write_idx("idx-test", "t10k", 5);
    write_idx("em-train", "emnist-mnist-train", 12);
    write_idx("em-test", "emnist-mnist-test", 5);
    write_npy("npy-train", "");
    write_npy("npy-test", "test_");
    write_cifar("cifar-train", "data_batch_3.bin", 4);
    write_cifar("cifar-test", "test_batch.bin", 2);
    write_leaf("leaf-train/train");
    write_leaf("leaf-test/test");
}

static void test_device(void) {
    write_all();
    for (size_t i = 0; i < N_KINDS; i++) {
        fq_data_settings settings = test_data_settings(kinds[i].set, kinds[i].train_only);
        fq_dataset      *set;
        settings.use = FQ_USE_TRAIN;
        FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
        CU_ASSERT_EQUAL(fq_dataset_train_count(set), kinds[i].n_train); /* nothing is held out */
        CU_ASSERT_EQUAL(fq_dataset_test_count(set), 0);
        CU_ASSERT(fq_dataset_can_train(set));
        fq_dataset_close(&set);
        settings = test_data_settings(kinds[i].set, kinds[i].test_only);
        settings.use = FQ_USE_TRAIN;
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, kinds[i].train_name);
        CU_ASSERT_PTR_NULL(set);
    }
}

static void test_coordinator(void) {
    write_all();
    for (size_t i = 0; i < N_KINDS; i++) {
        fq_data_settings settings = test_data_settings(kinds[i].set, kinds[i].test_only);
        fq_dataset      *set;
        settings.use = FQ_USE_TEST;
        FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
        CU_ASSERT_EQUAL(fq_dataset_train_count(set), 0);
        CU_ASSERT_EQUAL(fq_dataset_test_count(set), kinds[i].n_test);
        CU_ASSERT_FALSE(fq_dataset_can_train(set));
        fq_dataset_close(&set);
        settings.use = FQ_USE_ALL; /* a simulation needs both */
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, kinds[i].train_name);
        if (kinds[i].test_name[0] == '\0')
            continue; /* a share of the training part is held out then */
        settings = test_data_settings(kinds[i].set, kinds[i].train_only);
        settings.use = FQ_USE_TEST;
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, kinds[i].test_name);
    }
}

/* Half of a part is a mistake, not a part that is left out. */
static void test_half_a_part(void) {
    write_idx("half", "t10k", 5);
    write_idx("half", "train", 3);
    CU_ASSERT_EQUAL(remove(fq_test_path("half/train-labels-idx1-ubyte")), 0);
    fq_data_settings settings = test_data_settings("mnist", "half");
    fq_dataset      *set;
    settings.use = FQ_USE_TEST;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, "train-labels-idx1-ubyte");
    write_npy("half-npy", "test_");
    write_npy("half-npy", "");
    CU_ASSERT_EQUAL(remove(fq_test_path("half-npy/features.npy")), 0);
    settings = test_data_settings("npy", "half-npy");
    settings.use = FQ_USE_TEST;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, "features.npy");
}

/* The experiment of a coordinator that has nothing to train on. */
static void test_experiment(void) {
    static const char *const texts[] = {
        "data: {set: npy, path: \"%s\", clients: 7}\nmodel: mlp\ntrain: {clients_per_round: 3}\n",
        "data: {set: npy, path: \"%s\", clients: 0, split: natural}\nmodel: mlp\n"};
    static const char *const wrong[] = {NULL, "data.clients: 0 is every user"};
    write_npy("only-test", "test_");
    for (size_t i = 0; i < 2; i++) {
        char           yaml[512];
        fq_document   *document;
        fq_experiment *e = malloc(sizeof *e);
        fq_setup       setup;
        CU_ASSERT_PTR_NOT_NULL_FATAL(e);
        int length = snprintf(yaml, sizeof yaml, texts[i], fq_test_path("only-test"));
        FQ_ASSERT_OK(fq_document_parse(&document, "e",
                                       (fq_cbytes){(const unsigned char *)yaml, (size_t)length}));
        FQ_ASSERT_OK(fq_experiment_load(document, e));
        e->data.use = FQ_USE_TEST;
        if (wrong[i] != NULL) {
            FQ_ASSERT_FAILS(fq_setup_create(e, &setup), FQ_EINVAL, wrong[i]);
        } else {
            FQ_ASSERT_OK(fq_setup_create(e, &setup));
            CU_ASSERT_PTR_NULL(setup.partition);
            CU_ASSERT_EQUAL(e->server.clients, 7);
            fq_setup_fini(&setup);
        }
        fq_document_destroy(&document);
        free(e);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"a device takes all of its training examples, and needs no others", test_device},
        {"a coordinator needs a test part only", test_coordinator},
        {"half of a part is refused", test_half_a_part},
        {"an experiment without training examples", test_experiment},
        {NULL, NULL},
    };
    return fq_run_suite("parts", cases);
}

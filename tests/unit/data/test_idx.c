#include "data/data_impl.h"
#include "data_support.h"

#include <math.h>
#include <stdlib.h>

enum { PIXELS = 28 * 28 };

static uint8_t pixel(size_t i) {
    return (uint8_t)(i * 7 + i / PIXELS);
}

static uint8_t label(size_t i) {
    return (uint8_t)(i % 10);
}

static uint8_t letter(size_t i) {
    return (uint8_t)(1 + i % 26);
}

/* Four files of n training and m test examples; packed by gzip if `suffix` is ".gz". */
static void write_set(const char *folder, const char *prefix, const char *test, const char *suffix,
                      uint32_t n, uint32_t m, uint8_t (*labels)(size_t i)) {
    const char    *part[2] = {"train", test};
    const uint32_t count[2] = {n, m};
    for (int i = 0; i < 2; i++) {
        char           name[128];
        fq_buffer      images = {0}, marks = {0};
        const uint32_t dims[3] = {count[i], 28, 28};
        test_put_idx(&images, 3, dims, (size_t)count[i] * PIXELS, pixel);
        test_put_idx(&marks, 1, dims, count[i], labels);
        void (*write)(const char *, const char *, const fq_buffer *) =
            suffix[0] == '\0' ? test_write_file : test_write_packed;
        snprintf(name, sizeof name, "%s%s-images-idx3-ubyte%s", prefix, part[i], suffix);
        write(folder, name, &images);
        snprintf(name, sizeof name, "%s%s-labels-idx1-ubyte%s", prefix, part[i], suffix);
        write(folder, name, &marks);
        fq_buffer_fini(&images);
        fq_buffer_fini(&marks);
    }
}

static void test_reads_plain_and_packed(void) {
    const char *suffixes[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        char folder[32];
        snprintf(folder, sizeof folder, "mnist%d", i);
        write_set(folder, "", "t10k", suffixes[i], 12, 5, label);
        fq_data_settings settings = test_data_settings("mnist", folder);
        fq_dataset      *set;
        FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
        CU_ASSERT_EQUAL(fq_dataset_train_count(set), 12);
        CU_ASSERT_EQUAL(fq_dataset_test_count(set), 5);
        CU_ASSERT_EQUAL(fq_dataset_classes(set), 10);
        CU_ASSERT_EQUAL(fq_dataset_users(set), 0);
        CU_ASSERT_EQUAL(fq_shape_count(fq_dataset_shape(set)), PIXELS);
        for (size_t at = 0; at < 12 * (size_t)PIXELS; at++)
            if (set->train.bytes[at] != pixel(at))
                CU_FAIL("pixel");
        CU_ASSERT_EQUAL(set->train.labels[11], 1);
        CU_ASSERT_EQUAL(set->test.labels[4], 4);
        fq_dataset_close(&set);
        CU_ASSERT_PTR_NULL(set);
        fq_dataset_close(&set);
    }
}

static void test_emnist_stands_upright(void) {
    write_set("emnist", "emnist-letters-", "test", ".gz", 30, 5, letter);
    fq_data_settings settings = test_data_settings("emnist", "emnist");
    fq_dataset      *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_classes(set), 26);
    CU_ASSERT_EQUAL(set->train.labels[0], 0);
    CU_ASSERT_EQUAL(set->train.labels[25], 25);
    for (size_t r = 0; r < 28; r++)
        for (size_t c = 0; c < 28; c++)
            if (set->train.bytes[PIXELS + r * 28 + c] != pixel(PIXELS + c * 28 + r))
                CU_FAIL("transposed pixel");
    fq_dataset_close(&set);

    write_set("emnist", "emnist-digits-", "test", "", 3, 2, label);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL, "digits letters");
    CU_ASSERT_PTR_NULL(set);
}

static void test_says_what_is_missing(void) {
    static const struct {
        const char *set, *part;
    } cases[] = {
        {"fashion-mnist", "Install the Debian package dataset-fashion-mnist"},
        {"fashion-mnist", "train-images-idx3-ubyte: No such file"},
        {"mnist", "$FEDQ_DATA/mnist"},
        {"emnist", "emnist-<split>-train-images-idx3-ubyte.gz"},
        {"cifar10", "data_batch_1.bin"},
        {"cifar100", "train.bin"},
        {"femnist", "preprocess.sh"},
        {"leaf", "train/*.json"},
        {"npy", "features.npy"},
    };
    test_make_folder("empty");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fq_data_settings settings = test_data_settings(cases[i].set, "empty");
        fq_dataset      *set;
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, cases[i].part);
        CU_ASSERT_PTR_NULL(set);
    }
    fq_data_settings settings = test_data_settings("fasion-mnist", "empty");
    fq_dataset      *set;
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EINVAL,
                    "did you mean 'fashion-mnist'? Known: fashion-mnist, ");
}

static void test_chooses_folder(void) {
    write_set("root/mnist", "", "t10k", "", 4, 2, label);
    fq_dataset      *set;
    fq_data_settings settings = test_data_settings("mnist", NULL);
    unsetenv("FEDQ_DATA");
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, "no folder is given");
    setenv("FEDQ_DATA", fq_test_path("root"), 1);
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 4);
    fq_dataset_close(&set);
    unsetenv("FEDQ_DATA");
}

static void test_refuses_damage(void) {
    const uint32_t fine[3] = {3, 28, 28}, rows[3] = {3, 27, 28}, few[3] = {2, 28, 28},
                   none[3] = {0, 28, 28}, huge[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    static uint8_t (*const bytes)(size_t) = pixel;
    struct {
        const uint32_t *dims;
        size_t          n;
        unsigned        rank;
        fq_status       code;
        const char     *part;
    } cases[] = {
        {fine, (size_t)3 * PIXELS - 1, 3, FQ_EPROTO,
         "2351 bytes after its header, which says 2352"},
        {fine, (size_t)3 * PIXELS + 1, 3, FQ_EPROTO,
         "2353 bytes after its header, which says 2352"},
        {fine, 12, 1, FQ_EPROTO, "begins with 0x00000801, expected 0x00000803"},
        {rows, (size_t)3 * 27 * 28, 3, FQ_EPROTO, "images of 27 x 28, expected 28 x 28"},
        {few, (size_t)2 * PIXELS, 3, FQ_EPROTO, "has 2 images, but"},
        {none, 0, 3, FQ_EPROTO, "dimension 0 is 0"},
        {huge, 9, 3, FQ_ELIMIT, "more bytes than can be counted"},
    };
    fq_dataset      *set;
    fq_data_settings settings = test_data_settings("mnist", "damaged");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_set("damaged", "", "t10k", "", 3, 2, label);
        fq_buffer images = {0};
        test_put_idx(&images, cases[i].rank, cases[i].dims, cases[i].n, bytes);
        test_write_file("damaged", "train-images-idx3-ubyte", &images);
        fq_buffer_fini(&images);
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), cases[i].code, cases[i].part);
        CU_ASSERT_PTR_NULL(set);
    }
    write_set("damaged", "", "t10k", "", 3, 2, label);
    test_write_text("damaged", "t10k-labels-idx1-ubyte", "\1\2\3");
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO, "ends in its header");
    write_set("damaged", "", "t10k", "", 27, 2, letter);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "label 9 is 10, expected 0 to 9");
    /* A gzip file that was cut. */
    fq_buffer cut = {0};
    fq_put_bytes(&cut, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x01\x02", 12);
    test_write_file("damaged", "t10k-images-idx3-ubyte", &cut);
    write_set("damaged2", "", "t10k", "", 3, 2, label);
    test_write_file("damaged2", "t10k-images-idx3-ubyte", &cut);
    fq_buffer_fini(&cut);
    settings = test_data_settings("mnist", "damaged2");
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO, "damaged gzip");
}

/* Debian's dataset-fashion-mnist, where it is installed. */
static void test_real_fashion_mnist(void) {
    fq_data_settings settings = test_data_settings("fashion-mnist", NULL);
    fq_dataset      *set;
    fq_status        status = fq_dataset_open(&settings, 1, &set);
    if (status == FQ_EIO) {
        fprintf(stderr, "left out: %s\n", fq_status_text());
        return;
    }
    FQ_ASSERT_OK(status);
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 60000);
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 10000);
    static const uint16_t train[] = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5},
                          test[] = {9, 2, 1, 1, 6, 1, 4, 6, 5, 7};
    for (size_t i = 0; i < 10; i++) {
        CU_ASSERT_EQUAL(set->train.labels[i], train[i]);
        CU_ASSERT_EQUAL(set->test.labels[i], test[i]);
    }
    uint64_t count[256] = {0};
    for (size_t i = 0; i < 60000 * (size_t)PIXELS; i++)
        count[set->train.bytes[i]]++;
    double sum = 0.0, squares = 0.0, n = 60000.0 * PIXELS;
    for (int byte = 0; byte < 256; byte++) {
        sum += (double)count[byte] * byte / 255.0;
        squares += (double)count[byte] * (byte / 255.0) * (byte / 255.0);
    }
    double mean = sum / n, std = sqrt(squares / n - mean * mean);
    float  used_mean[16], used_std[16];
    CU_ASSERT_EQUAL(fq_dataset_normalization(set, used_mean, used_std), 1);
    CU_ASSERT_DOUBLE_EQUAL(mean, (double)used_mean[0], 1e-3);
    CU_ASSERT_DOUBLE_EQUAL(std, (double)used_std[0], 1e-3);
    fq_dataset_close(&set);
}

int main(void) {
    static const fq_case cases[] = {
        {"reads plain and packed files", test_reads_plain_and_packed},
        {"EMNIST images stand upright", test_emnist_stands_upright},
        {"says what is missing and where to get it", test_says_what_is_missing},
        {"data.path, FEDQ_DATA, default folder", test_chooses_folder},
        {"refuses damaged files", test_refuses_damage},
        {"real Fashion-MNIST", test_real_fashion_mnist},
        {NULL, NULL},
    };
    return fq_run_suite("idx", cases);
}

#include "data/data_impl.h"
#include "data_support.h"

enum { PIXELS = 3 * 32 * 32 };

/* n records whose labels are first, first + 1, ... and whose pixels count up. */
static fq_buffer records(size_t n, unsigned label_bytes, unsigned first) {
    fq_buffer out = {0};
    for (size_t i = 0; i < n; i++) {
        if (label_bytes == 2)
            fq_put_u8(&out, 19);
        fq_put_u8(&out, (uint8_t)(first + i));
        for (size_t p = 0; p < PIXELS; p++)
            fq_put_u8(&out, (uint8_t)(p + 3 * i + first));
    }
    return out;
}

static void write_records(const char *folder, const char *name, size_t n, unsigned label_bytes,
                          unsigned first) {
    fq_buffer bytes = records(n, label_bytes, first);
    test_write_file(folder, name, &bytes);
    fq_buffer_fini(&bytes);
}

static void write_cifar10(const char *folder) {
    for (unsigned i = 1; i <= 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%u.bin", i);
        write_records(folder, name, i, 1, i);
    }
    write_records(folder, "test_batch.bin", 2, 1, 7);
}

static void test_reads_ten_classes(void) {
    const char *folders[] = {"ten", "below/cifar-10-batches-bin"}, *given[] = {"ten", "below"};
    for (int i = 0; i < 2; i++) {
        write_cifar10(folders[i]);
        fq_data_settings settings = test_data_settings("cifar10", given[i]);
        fq_dataset      *set;
        FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
        CU_ASSERT_EQUAL(fq_dataset_train_count(set), 1 + 2 + 3 + 4 + 5);
        CU_ASSERT_EQUAL(fq_dataset_test_count(set), 2);
        CU_ASSERT_EQUAL(fq_dataset_classes(set), 10);
        static const uint16_t labels[] = {1, 2, 3, 3, 4, 5, 4, 5, 6, 7, 5, 6, 7, 8, 9};
        for (size_t k = 0; k < 15; k++)
            CU_ASSERT_EQUAL(set->train.labels[k], labels[k]);
        /* Second record of the third file: pixel p is p + 3 + 3. */
        const uint8_t *image = set->train.bytes + 4 * (size_t)PIXELS;
        for (size_t p = 0; p < PIXELS; p++)
            if (image[p] != (uint8_t)(p + 6))
                CU_FAIL("pixel");
        float mean[16], std[16];
        CU_ASSERT_EQUAL(fq_dataset_normalization(set, mean, std), 3);
        fq_dataset_close(&set);
    }
}

static void test_reads_fine_labels(void) {
    write_records("hundred", "train.bin", 3, 2, 97);
    write_records("hundred", "test.bin", 1, 2, 0);
    fq_data_settings settings = test_data_settings("cifar100", "hundred");
    fq_dataset      *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_classes(set), 100);
    CU_ASSERT_EQUAL(set->train.labels[2], 99);
    CU_ASSERT_EQUAL(set->train.bytes[(size_t)2 * PIXELS], (97 + 6) % 256);
    fq_dataset_close(&set);
    write_records("hundred", "test.bin", 1, 2, 100);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "label 0 is 100, expected 0 to 99");
}

static void test_refuses_damage(void) {
    fq_data_settings settings = test_data_settings("cifar10", "bad");
    fq_dataset      *set;
    write_cifar10("bad");
    write_records("bad", "data_batch_4.bin", 3, 1, 8);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "data_batch_4.bin: label 2 is 10, expected 0 to 9");
    for (size_t size = 0; size <= 3072; size += 3072) {
        fq_buffer cut = records(1, 1, 0);
        cut.size = size;
        test_write_file("bad", "data_batch_4.bin", &cut);
        fq_buffer_fini(&cut);
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                        "expected a multiple of 3073");
    }
    remove(fq_test_path("bad/data_batch_4.bin"));
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, "data_batch_4.bin");
    CU_ASSERT_PTR_NULL(set);
}

int main(void) {
    static const fq_case cases[] = {
        {"ten classes, five files", test_reads_ten_classes},
        {"a hundred classes, fine labels", test_reads_fine_labels},
        {"refuses damaged and missing files", test_refuses_damage},
        {NULL, NULL},
    };
    return fq_run_suite("cifar", cases);
}

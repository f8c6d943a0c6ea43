#include "data/data_impl.h"
#include "data_support.h"

#include <math.h>
#include <stdlib.h>

#define HEADER(descr, order, shape)                                                                \
    "{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

static void write_array(const char *folder, const char *name, const char *dictionary,
                        const void *data, size_t size) {
    fq_buffer file = {0};
    test_put_npy(&file, dictionary, data, size);
    test_write_file(folder, name, &file);
    fq_buffer_fini(&file);
}

static const float   FLOATS[10] = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f, 8.5f, 9.5f};
static const int64_t LABELS[5] = {0, 3, 1, 2, 0}, USERS[5] = {1, 0, 1, 2, 2};

static void write_floats(const char *folder) {
    write_array(folder, "features.npy", HEADER("<f4", "False", "(5, 2)"), FLOATS, sizeof FLOATS);
    write_array(folder, "labels.npy", HEADER("<i8", "False", "(5,)"), LABELS, sizeof LABELS);
}

static void test_reads_floats_and_users(void) {
    write_floats("floats");
    write_array("floats", "users.npy", HEADER("<i8", "False", "(5,)"), USERS, sizeof USERS);
    write_array("floats", "test_features.npy", HEADER("<f8", "False", "(1, 2)"),
                (double[]){0.25, -8.0}, 16);
    write_array("floats", "test_labels.npy", HEADER("<f4", "False", "(1,)"), (float[]){5.0f}, 4);
    fq_data_settings settings = test_data_settings("npy", "floats");
    fq_dataset      *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 5);
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 1);
    CU_ASSERT_EQUAL(fq_dataset_users(set), 3);
    CU_ASSERT_EQUAL(fq_dataset_classes(set), 6);
    fq_shape shape = fq_dataset_shape(set);
    CU_ASSERT_TRUE(shape.c == 2 && shape.h == 1 && shape.w == 1);
    for (size_t i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(set->train.floats[i], FLOATS[i]);
    CU_ASSERT_EQUAL(set->test.floats[1], -8.0f);
    CU_ASSERT_EQUAL(set->test.labels[0], 5);
    for (size_t i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(set->train.labels[i], LABELS[i]);
        CU_ASSERT_EQUAL(set->train.users[i], USERS[i]);
    }
    float mean[16], std[16];
    CU_ASSERT_EQUAL(fq_dataset_normalization(set, mean, std), 0);
    fq_dataset_close(&set);
}

static void test_reads_byte_images(void) {
    uint8_t pixels[5 * 12];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(4 * i);
    write_array("bytes", "features.npy", HEADER("|u1", "False", "(5, 3, 4)"), pixels,
                sizeof pixels);
    write_array("bytes", "labels.npy", HEADER("|i1", "False", "(5,)"), (int8_t[]){0, 1, 0, 1, 0},
                5);
    fq_data_settings settings = test_data_settings("npy", "bytes");
    fq_dataset      *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 4); /* a fifth is held out */
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 1);
    fq_shape shape = fq_dataset_shape(set);
    CU_ASSERT_TRUE(shape.c == 1 && shape.h == 3 && shape.w == 4);
    float    x[12 * 8];
    uint16_t label;
    fq_dataset_gather_test(set, 0, 1, 8, x, &label);
    CU_ASSERT_DOUBLE_EQUAL((double)(x[8] - x[0]), 4.0 / 255.0, 1e-6);
    fq_dataset_close(&set);

    write_array("bytes", "features.npy", HEADER("|u1", "False", "(5, 3, 2, 2)"), pixels,
                sizeof pixels);
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    shape = fq_dataset_shape(set);
    CU_ASSERT_TRUE(shape.c == 3 && shape.h == 2 && shape.w == 2);
    fq_dataset_close(&set);
}

/* One array in place of features.npy of a good set. */
static void test_refuses_bad_features(void) {
    static const struct {
        const char *dictionary;
        size_t      size;
        fq_status   code;
        const char *part;
    } cases[] = {
        {HEADER("<f4", "True", "(5, 2)"), 40, FQ_EPROTO, "numpy.ascontiguousarray"},
        {HEADER(">f4", "False", "(5, 2)"), 40, FQ_EPROTO, "type '>f4'"},
        {HEADER("<f2", "False", "(5, 2)"), 20, FQ_EPROTO, "type '<f2'"},
        {HEADER("|O", "False", "(5, 2)"), 40, FQ_EPROTO, "type '|O'"},
        {HEADER("<i4", "False", "(5, 2)"), 40, FQ_EPROTO, "has integers of 4 bytes"},
        {HEADER("<f4", "False", "(5, 2)"), 39, FQ_EPROTO,
         "39 bytes after its header, which says 40"},
        {HEADER("<f4", "False", "(5, 1)"), 40, FQ_EPROTO,
         "40 bytes after its header, which says 20"},
        {HEADER("<f4", "False", "(4, 2)"), 32, FQ_EPROTO, "has 5 elements, but"},
        {HEADER("<f4", "False", "(10,)"), 40, FQ_EPROTO,
         "has 1 dimensions, expected [N, features]"},
        {HEADER("<f4", "False", "()"), 4, FQ_EPROTO, "is a single number"},
        {HEADER("<f4", "False", "(0, 2)"), 0, FQ_EPROTO, "dimension 0 is 0"},
        {HEADER("<f4", "False", "(5, 2, 1, 1, 1)"), 40, FQ_EPROTO, "at most 4 dimensions"},
        {HEADER("<f4", "False", "(4294967296, 4294967296, 2)"), 40, FQ_ELIMIT,
         "more bytes than can be counted"},
        {HEADER("<f4", "False", "(99999999999999999999999, 2)"), 40, FQ_EPROTO, "damaged header"},
        {HEADER("<f4", "False", "(-5, 2)"), 40, FQ_EPROTO, "damaged header"},
        {HEADER("<f4", "Maybe", "(5, 2)"), 40, FQ_EPROTO, "damaged header"},
        {HEADER("<f4", "False", "(5, 2"), 40, FQ_EPROTO, "damaged header"},
        {"{'descr': '<f4', 'shape': (5, 2)}", 40, FQ_EPROTO, "damaged header"},
        {"{'descr': '<f4', 'shape': (5, 2), 'shape': (5, 2), 'fortran_order': False}", 40,
         FQ_EPROTO, "damaged header"},
        {"{'descr': '<f4', 'shape': (5, 2), 'fortran_order': False, 'more': 1}", 40, FQ_EPROTO,
         "damaged header"},
        {"{'descr': [('a', '<f4')], 'shape': (5, 2), 'fortran_order': False}", 40, FQ_EPROTO,
         "damaged header"},
        {"", 40, FQ_EPROTO, "damaged header"},
    };
    fq_data_settings settings = test_data_settings("npy", "bad");
    fq_dataset      *set;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_floats("bad");
        write_array("bad", "features.npy", cases[i].dictionary, FLOATS, cases[i].size);
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), cases[i].code, cases[i].part);
        CU_ASSERT_PTR_NULL(set);
    }
    static const struct {
        const char *bytes;
        size_t      size;
        const char *part;
    } heads[] = {
        {"\x93NUMPX\1\0\2\0{}", 12, "is not a NumPy array"},
        {"\x93NUM", 4, "is not a NumPy array"},
        {"\x93NUMPY\3\0\2\0\0\0{}", 14, "format version 3.0, expected 1.0 or 2.0"},
        {"\x93NUMPY\1\0\377\377{}", 12, "has a header of 65535 bytes, but only 2 follow"},
        {"\x93NUMPY\2\0\377\377\377\377{}", 14, "has a header of 4294967295 bytes"},
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        fq_buffer file = {0};
        fq_put_bytes(&file, heads[i].bytes, heads[i].size);
        test_write_file("bad", "features.npy", &file);
        fq_buffer_fini(&file);
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO, heads[i].part);
    }
    write_floats("bad");
    float with_nan[10];
    memcpy(with_nan, FLOATS, sizeof with_nan);
    with_nan[7] = NAN;
    write_array("bad", "features.npy", HEADER("<f4", "False", "(5, 2)"), with_nan, sizeof with_nan);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_ENONFINITE, "element 7 is");
    write_array("bad", "features.npy", HEADER("<f8", "False", "(5, 1)"),
                (double[]){1, 2, 1e39, 4, 5}, 40);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_ENONFINITE, "element 2 is 1e+39");
}

static void test_refuses_bad_labels(void) {
    const struct {
        const char *dictionary;
        const void *data;
        size_t      size;
        const char *part;
    } cases[] = {
        {HEADER("<i8", "False", "(5,)"), (int64_t[]){0, 1, -1, 0, 0}, 40, "element 2 is -1,"},
        {HEADER("<i8", "False", "(5,)"), (int64_t[]){0, 1, INT64_MIN, 0, 0}, 40,
         "element 2 is -9223372036854775808,"},
        {HEADER("<u8", "False", "(5,)"), (uint64_t[]){0, 1, UINT64_MAX, 0, 0}, 40,
         "element 2 is 18446744073709551615,"},
        {HEADER("<i4", "False", "(5,)"), (int32_t[]){0, 65535, 0, 0, 0}, 20,
         "element 1 is 65535, expected a whole number from 0 to 65534"},
        {HEADER("<i2", "False", "(5,)"), (int16_t[]){0, 0, 0, 0, -7}, 10, "element 4 is -7,"},
        {HEADER("<f8", "False", "(5,)"), (double[]){0, 0.5, 0, 0, 0}, 40, "element 1 is 0.5,"},
        {HEADER("<f8", "False", "(5,)"), (double[]){0, 1e300, 0, 0, 0}, 40, "element 1 is 1e+300,"},
        {HEADER("<i8", "False", "(4,)"), LABELS, 32, "has 4 elements, but"},
        {HEADER("<i8", "False", "(5, 1)"), LABELS, 40, "has 2 dimensions, expected 1"},
    };
    fq_data_settings settings = test_data_settings("npy", "labels");
    fq_dataset      *set;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_floats("labels");
        write_array("labels", "labels.npy", cases[i].dictionary, cases[i].data, cases[i].size);
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO, cases[i].part);
    }
    write_floats("labels"); /* test labels without test features: half a test part */
    write_array("labels", "test_labels.npy", HEADER("<i8", "False", "(2,)"), LABELS, 16);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EIO, "test_features.npy: No such file");
    remove(fq_test_path("labels/test_labels.npy"));
    write_array("labels", "labels.npy", HEADER("<i8", "False", "(5,)"),
                (int64_t[]){0, 1, 60000, 1, 0}, 40);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "element 2 is class 60000, but only 3 classes occur");
    write_array("labels", "labels.npy", HEADER("<i8", "False", "(5,)"),
                (int64_t[]){0, 1, 200, 1, 0}, 40);
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_classes(set), 201);
    fq_dataset_close(&set);
    write_floats("labels");
    write_array("labels", "users.npy", HEADER("<u4", "False", "(5,)"),
                (uint32_t[]){0, 0, UINT32_MAX, 0, 0}, 20);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "users.npy: element 2 is 4294967295");
    remove(fq_test_path("labels/users.npy"));
    write_array("labels", "test_features.npy", HEADER("<f4", "False", "(2, 5)"), FLOATS,
                sizeof FLOATS);
    write_array("labels", "test_labels.npy", HEADER("<i8", "False", "(2,)"), LABELS, 16);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "5 x 1 x 1, but those of features.npy are");
    write_array("labels", "test_features.npy", HEADER("|u1", "False", "(2, 2)"), FLOATS, 4);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "must both be uint8, or both float");
}

static void test_refuses_every_prefix(void) {
    fq_buffer file = {0};
    test_put_npy(&file, HEADER("<f4", "False", "(5, 2)"), FLOATS, sizeof FLOATS);
    for (size_t size = 0; size < file.size; size++) {
        unsigned char *exact = malloc(size + 1);
        memcpy(exact, file.data, size);
        fq_npy array;
        CU_ASSERT_NOT_EQUAL(fq_npy_parse("prefix", (fq_cbytes){exact, size}, &array), FQ_OK);
        free(exact);
    }
    fq_npy array;
    FQ_ASSERT_OK(fq_npy_parse("whole", (fq_cbytes){file.data, file.size}, &array));
    CU_ASSERT_TRUE(array.rank == 2 && array.dims[0] == 5 && array.dims[1] == 2);
    fq_buffer_fini(&file);
}

int main(void) {
    static const fq_case cases[] = {
        {"reads floats, users and a test part", test_reads_floats_and_users},
        {"reads images of bytes", test_reads_byte_images},
        {"refuses bad features", test_refuses_bad_features},
        {"refuses bad labels and users", test_refuses_bad_labels},
        {"refuses every prefix", test_refuses_every_prefix},
        {NULL, NULL},
    };
    return fq_run_suite("npy", cases);
}

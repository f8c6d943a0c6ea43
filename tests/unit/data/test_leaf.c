#include "data/data_impl.h"
#include "data_support.h"

#include <stdlib.h>

/* Users of the first file, and of the second; "num_samples" stands behind user_data on purpose. */
static const char FIRST[] =
    "{\"version\": 4, \"users\": [\"ann\", \"b\\u00f6b\"], \"hierarchies\": [\"{]\"],\n"
    " \"user_data\": {\"ann\": {\"x\": [[0, 0.5, 1], [1e-1, -2, 3]], \"y\": [2, 0]},\n"
    "  \"b\\u00f6b\": {\"y\": [1.0], \"x\": [[7, 8, 9]], \"raw\": [\"text\"]}}, \"num_samples\": "
    "[2, 1]}\n";
static const char SECOND[] =
    "{\"users\": [\"cid\", \"dee\"], \"num_samples\": [3, 0], \"user_data\": "
    "{\"cid\": {\"x\": [[1,1,1],[2,2,2],[3,3,3]], \"y\": [0,1,4]}, "
    "\"dee\": {\"x\": [], \"y\": []}}}";
static const char TEST_PART[] = "{\"users\": [\"ann\"], \"num_samples\": [1], \"user_data\": "
                                "{\"ann\": {\"x\": [[5, 5, 5]], \"y\": [5]}}}";

static void test_reads_a_folder(void) {
    test_write_text("leaf/train", "b.json", SECOND);
    test_write_text("leaf/train", "a.json", FIRST);
    test_write_text("leaf/train", "notes.txt", "no json");
    test_write_text("leaf/test", "a.json", TEST_PART);
    fq_data_settings settings = test_data_settings("leaf", "leaf");
    fq_dataset      *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 6);
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 1);
    CU_ASSERT_EQUAL(fq_dataset_users(set), 4);
    CU_ASSERT_EQUAL(fq_dataset_classes(set), 6);
    CU_ASSERT_EQUAL(fq_dataset_shape(set).c, 3);
    static const uint16_t labels[] = {2, 0, 1, 0, 1, 4};
    static const uint32_t users[] = {0, 0, 1, 2, 2, 2};
    static const float    x[] = {0.0f, 0.5f, 1.0f, 0.1f, -2.0f, 3.0f, 7.0f, 8.0f, 9.0f};
    for (size_t i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL(set->train.labels[i], labels[i]);
        CU_ASSERT_EQUAL(set->train.users[i], users[i]);
    }
    for (size_t i = 0; i < 9; i++)
        CU_ASSERT_EQUAL(set->train.floats[i], x[i]);
    CU_ASSERT_EQUAL(set->test.floats[2], 5.0f);

    settings.split = FQ_SPLIT_NATURAL;
    settings.clients = 0;
    fq_partition *partition;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 1));
    CU_ASSERT_EQUAL(fq_partition_clients(partition), 3); /* dee has nothing */
    fq_partition_destroy(&partition);
    fq_dataset_close(&set);
}

static void test_holds_out_without_test_part(void) {
    test_write_text("alone/train", "a.json", FIRST);
    test_write_text("alone/train", "b.json", SECOND);
    fq_data_settings settings = test_data_settings("leaf", "alone");
    settings.test_fraction = 0.34;
    fq_dataset *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_train_count(set), 4);
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 2);
    fq_dataset_close(&set);
}

static void test_femnist_has_images(void) {
    fq_buffer   text = {0};
    const char *begin = "{\"users\":[\"w\"],\"num_samples\":[2],\"user_data\":{\"w\":{\"x\":[";
    fq_put_bytes(&text, begin, strlen(begin));
    for (int i = 0; i < 2; i++) {
        fq_put_bytes(&text, i == 0 ? "[" : ",[", i == 0 ? 1 : 2);
        for (int p = 0; p < 784; p++)
            fq_put_bytes(&text, p == 0 ? "0.25" : ",0.25", p == 0 ? 4 : 5);
        fq_put_u8(&text, ']');
    }
    const char *end = "],\"y\":[61,3]}}}";
    fq_put_bytes(&text, end, strlen(end) + 1);
    test_write_text("femnist/train", "a.json", (const char *)text.data);
    test_write_text("femnist/test", "a.json", (const char *)text.data);
    fq_buffer_fini(&text);
    fq_data_settings settings = test_data_settings("femnist", "femnist");
    fq_dataset      *set;
    FQ_ASSERT_OK(fq_dataset_open(&settings, 1, &set));
    CU_ASSERT_EQUAL(fq_dataset_classes(set), 62);
    CU_ASSERT_EQUAL(fq_dataset_shape(set).h, 28);
    CU_ASSERT_EQUAL(fq_dataset_test_count(set), 2);
    fq_dataset_close(&set);
    test_write_text("femnist/train", "a.json", FIRST);
    FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), FQ_EPROTO,
                    "has 3 values, expected 784 numbers");
}

#define USER(x, y)                                                                                 \
    "{\"users\":[\"u\"],\"num_samples\":[1],\"user_data\":{\"u\":{\"x\":" x ",\"y\":" y "}}}"

static void test_refuses_damage(void) {
    static const struct {
        const char *text;
        fq_status   code;
        const char *part;
    } cases[] = {
        {"", FQ_EPROTO, "damaged JSON at byte 0: expected '{'"},
        {"[]", FQ_EPROTO, "expected '{'"},
        {"{}", FQ_EPROTO, "no user_data"},
        {"{\"user_data\": {}}", FQ_EPROTO, "no list users"},
        {"{\"user_data\": {}, \"users\": []}", FQ_EPROTO, "no list num_samples"},
        {"{\"user_data\": {}, \"user_data\": {}}", FQ_EPROTO, "user_data appears twice"},
        {"{\"user_data\" {}}", FQ_EPROTO, "byte 13: expected ':'"},
        {"{user_data: {}}", FQ_EPROTO, "byte 1: expected a name in quotes"},
        {"{\"users\": [\"u\"", FQ_EPROTO, "damaged JSON near byte 14"},
        {"{\"users\": [] \"num_samples\": []}", FQ_EPROTO, "expected ',' or '}'"},
        {USER("[[1,2]]", "[0]") "x", FQ_EPROTO, "expected the end"},
        {USER("[[1,2]]", "[0,1]"), FQ_EPROTO, "x of 1 and y of 2 members"},
        {USER("[[1,2],[1]]", "[0,1]"), FQ_EPROTO, "example 1 has 1 values, expected 2 numbers"},
        {USER("[[1,\"a\"]]", "[0]"), FQ_EPROTO, "value 1 is not a number"},
        {USER("[\"a.jpg\"]", "[0]"), FQ_EPROTO, "expected a list of 1 to"},
        {USER("[[1,1e300]]", "[0]"), FQ_ENONFINITE, "value 1 is 1e+300"},
        {USER("[[1,1e999]]", "[0]"), FQ_EPROTO, "damaged JSON near byte"},
        {USER("[[1,NaN]]", "[0]"), FQ_EPROTO, "damaged JSON near byte"},
        {USER("[[1,2]]", "[-1]"), FQ_EPROTO,
         "the label is -1, expected a whole number from 0 to 65534"},
        {USER("[[1,2]]", "[65535]"), FQ_EPROTO, "the label is 65535"},
        {USER("[[1,2]]", "[0.5]"), FQ_EPROTO, "the label is 0.5"},
        {USER("[[1,2]]", "[\"a\"]"), FQ_EPROTO, "not a number"},
        {USER("[[1,2],[3,4]]", "[0,0]"), FQ_EPROTO, "has 2 examples, but num_samples says 1"},
        {"{\"users\":[\"v\"],\"num_samples\":[1],\"user_data\":{\"u\":{\"x\":[[1]],\"y\":[0]}}}",
         FQ_EPROTO, "user 0, \"v\", is not in user_data"},
        {"{\"users\":[],\"num_samples\":[],\"user_data\":{\"u\":{\"x\":[[1]],\"y\":[0]}}}",
         FQ_EPROTO, "0 users and 0 num_samples, but user_data has 1 members"},
        {"{\"users\":[\"u\"],\"num_samples\":[0],\"user_data\":{\"u\":{\"x\":[],\"y\":[]}}}",
         FQ_EPROTO, "no training examples"},
        {"{\"users\":[\"u\",\"u\"],\"num_samples\":[1,1],\"user_data\":{\"u\":{\"x\":[[1]],\"y\":["
         "0]},"
         "\"u\":{\"x\":[[1]],\"y\":[0]}}}",
         FQ_EPROTO, "user \"u\" appears twice"},
    };
    fq_data_settings settings = test_data_settings("leaf", "bad");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fq_dataset *set;
        test_write_text("bad/train", "a.json", cases[i].text);
        test_write_text("bad/test", "a.json", TEST_PART);
        FQ_ASSERT_FAILS(fq_dataset_open(&settings, 1, &set), cases[i].code, cases[i].part);
        CU_ASSERT_PTR_NULL(set);
    }
}

/* Every prefix of a good file is refused, and nothing is read past its end. */
static void test_refuses_every_prefix(void) {
    for (size_t size = 0; size + 2 < sizeof FIRST; size++) {
        unsigned char *exact = malloc(size + 1);
        memcpy(exact, FIRST, size);
        fq_leaf leaf = {.classes = 10};
        CU_ASSERT_NOT_EQUAL(fq_leaf_parse("prefix", (fq_cbytes){exact, size}, &leaf), FQ_OK);
        fq_leaf_fini(&leaf);
        free(exact);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"reads a folder, users in order", test_reads_a_folder},
        {"holds out a test part where there is none", test_holds_out_without_test_part},
        {"femnist has images and 62 classes", test_femnist_has_images},
        {"refuses damaged files", test_refuses_damage},
        {"refuses every prefix", test_refuses_every_prefix},
        {NULL, NULL},
    };
    return fq_run_suite("leaf", cases);
}

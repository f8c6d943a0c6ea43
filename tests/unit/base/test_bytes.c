#include "base/bytes.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void test_layout(void) {
    fq_buffer out = {0};
    fq_put_u8(&out, 0x01);
    fq_put_padding(&out, 4);
    fq_put_u32(&out, 0x05040302);
    fq_put_u64(&out, 0x0d0c0b0a09080706);
    fq_put_f64(&out, 1.0);
    fq_put_text(&out, "ab");
    fq_put_floats(&out, (const float[]){-2.0F}, 1);
    static const unsigned char expected[] = {1,  0,  0,  0,  2,   3,   4, 5, 6, 7,   8,    9,
                                             10, 11, 12, 13, 0,   0,   0, 0, 0, 0,   0xf0, 0x3f,
                                             2,  0,  0,  0,  'a', 'b', 0, 0, 0, 0xc0};
    CU_ASSERT_FALSE(out.failed);
    CU_ASSERT_EQUAL_FATAL(out.size, sizeof expected);
    CU_ASSERT_EQUAL(memcmp(out.data, expected, sizeof expected), 0);
    fq_buffer_fini(&out);
    CU_ASSERT_PTR_NULL(out.data);
    fq_buffer_fini(&out);
}

static void test_round_trip(void) {
    float x[1000], y[1000];
    for (int i = 0; i < 1000; i++)
        x[i] = (float)i * 0.37F - 100.0F;
    fq_buffer out = {0};
    fq_put_u8(&out, 200);
    fq_put_u64(&out, UINT64_MAX - 1);
    fq_put_f64(&out, -0.0);
    fq_put_text(&out, "Zürich");
    fq_put_padding(&out, 64);
    fq_put_floats(&out, x, 1000);
    fq_reader in = fq_reader_of((fq_cbytes){out.data, out.size});
    char      text[16];
    CU_ASSERT_EQUAL(fq_get_u8(&in), 200);
    CU_ASSERT_EQUAL(fq_get_u64(&in), UINT64_MAX - 1);
    CU_ASSERT_TRUE(signbit(fq_get_f64(&in)));
    fq_get_text(&in, text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, "Zürich");
    fq_skip_padding(&in, 64);
    fq_get_floats(&in, y, 1000);
    CU_ASSERT_EQUAL(memcmp(x, y, sizeof x), 0);
    CU_ASSERT_EQUAL(fq_reader_left(&in), 0);
    CU_ASSERT_FALSE(in.failed);
    fq_buffer_fini(&out);
}

static void test_reading_past_the_end(void) {
    static const unsigned char four[] = {1, 2, 3, 4};
    fq_reader                  in = fq_reader_of((fq_cbytes){four, 4});
    CU_ASSERT_EQUAL(fq_get_u64(&in), 0);
    CU_ASSERT_TRUE(in.failed);
    CU_ASSERT_EQUAL(fq_get_u8(&in), 0); /* stays failed, although a byte is there */
    CU_ASSERT_PTR_NULL(fq_get_bytes(&in, 1));

    in = fq_reader_of((fq_cbytes){four, 4});
    CU_ASSERT_PTR_NULL(fq_get_bytes(&in, SIZE_MAX));
    CU_ASSERT_TRUE(in.failed);

    float y[1] = {5.0F};
    in = fq_reader_of((fq_cbytes){four, 4});
    fq_get_floats(&in, y, SIZE_MAX / 2); /* its bytes overflow a size */
    CU_ASSERT_TRUE(in.failed);
    CU_ASSERT_EQUAL(y[0], 5.0F);

    in = fq_reader_of((fq_cbytes){four, 4});
    CU_ASSERT_EQUAL(fq_get_u32(&in), 0x04030201);
    CU_ASSERT_FALSE(in.failed);
    in = fq_reader_of((fq_cbytes){NULL, 0});
    CU_ASSERT_EQUAL(fq_get_u8(&in), 0);
    CU_ASSERT_TRUE(in.failed);
}

static void test_bad_texts(void) {
    static const unsigned char longer[] = {3, 0, 0, 0, 'a', 'b', 'c'};
    static const unsigned char with_nul[] = {3, 0, 0, 0, 'a', 0, 'c'};
    static const unsigned char absent[] = {0xff, 0xff, 0xff, 0xff, 'a'};
    char                       text[4] = "xyz";
    fq_reader                  in = fq_reader_of((fq_cbytes){longer, sizeof longer});
    fq_get_text(&in, text, 4);
    CU_ASSERT_STRING_EQUAL(text, "abc");
    in = fq_reader_of((fq_cbytes){longer, sizeof longer});
    fq_get_text(&in, text, 3);
    CU_ASSERT_TRUE(in.failed && text[0] == '\0');
    in = fq_reader_of((fq_cbytes){with_nul, sizeof with_nul});
    fq_get_text(&in, text, 4);
    CU_ASSERT_TRUE(in.failed && text[0] == '\0');
    in = fq_reader_of((fq_cbytes){absent, sizeof absent});
    fq_get_text(&in, text, 4);
    CU_ASSERT_TRUE(in.failed && text[0] == '\0');
}

static void test_failed_buffer(void) {
    fq_buffer out = {0};
    fq_put_u8(&out, 1);
    fq_put_bytes(&out, "", SIZE_MAX); /* refused before it is read */
    CU_ASSERT_TRUE(out.failed);
    fq_put_u8(&out, 2);
    CU_ASSERT_EQUAL(out.size, 1);
    fq_put_padding(&out, 8); /* ends all the same */
    fq_buffer_fini(&out);
}

static void test_format(void) {
    fq_buffer out = {0};
    char      longer[3000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    fq_put_format(&out, "%d of %s", 3, "seven");
    fq_put_format(&out, "%s", "");
    CU_ASSERT_EQUAL_FATAL(out.size, 10);
    CU_ASSERT_EQUAL(memcmp(out.data, "3 of seven", 10), 0);
    fq_put_format(&out, "%s.", longer); /* of any length */
    CU_ASSERT_EQUAL_FATAL(out.size, 10 + sizeof longer);
    CU_ASSERT_EQUAL(out.data[out.size - 1], '.');
    CU_ASSERT_FALSE(out.failed);
    out.failed = true;
    fq_put_format(&out, "%d", 1);
    CU_ASSERT_EQUAL(out.size, 10 + sizeof longer);
    fq_buffer_fini(&out);
}

static void test_sizes(void) {
    size_t out = 77;
    CU_ASSERT_TRUE(fq_size_mul(SIZE_MAX / 3, 3, &out));
    CU_ASSERT_FALSE(fq_size_mul(SIZE_MAX / 3 + 1, 3, &(size_t){0}));
    CU_ASSERT_TRUE(fq_size_add(SIZE_MAX, 0, &out) && out == SIZE_MAX);
    out = 77;
    CU_ASSERT_FALSE(fq_size_add(SIZE_MAX, 1, &out));
    CU_ASSERT_EQUAL(out, 77);
}

int main(void) {
    static const fq_case cases[] = {{"little-endian layout", test_layout},
                                    {"what is written is read", test_round_trip},
                                    {"reading past the end", test_reading_past_the_end},
                                    {"texts that do not fit", test_bad_texts},
                                    {"a failed buffer takes no more", test_failed_buffer},
                                    {"formatted text", test_format},
                                    {"overflow of sizes", test_sizes},
                                    {NULL, NULL}};
    return fq_run_suite("bytes", cases);
}

#include "base/status.h"
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static fq_status fail_with(int value) {
    return fq_fail(FQ_EPROTO, "found %d, expected 7", value);
}

static fq_status pass_on(int value) {
    FQ_TRY(value == 7 ? FQ_OK : fail_with(value));
    return FQ_OK;
}

static void test_text(void) {
    CU_ASSERT_EQUAL(pass_on(7), FQ_OK);
    FQ_ASSERT_FAILS(pass_on(3), FQ_EPROTO, "found 3, expected 7");
    fq_add_context("round %d", 2);
    CU_ASSERT_STRING_EQUAL(fq_status_text(), "round 2: found 3, expected 7");
    CU_ASSERT_EQUAL(fq_fail(FQ_EIO, "again: %s", fq_status_text()), FQ_EIO);
    CU_ASSERT_STRING_EQUAL(fq_status_text(), "again: round 2: found 3, expected 7");
}

static void test_long_text(void) {
    char word[3000];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    fq_fail(FQ_EIO, "%s", word);
    CU_ASSERT_EQUAL(strlen(fq_status_text()), 1023);
    fq_add_context("%s", word);
    CU_ASSERT_EQUAL(strlen(fq_status_text()), 1023);
    fq_add_context("before");
    CU_ASSERT_EQUAL(strncmp(fq_status_text(), "before: xxx", 11), 0);
}

static void *read_text(void *fresh) {
    *(bool *)fresh = fq_status_text()[0] == '\0';
    fq_fail(FQ_EIO, "of the other thread");
    return NULL;
}

static void test_threads(void) {
    fq_fail(FQ_EIO, "of this thread");
    bool      fresh = false;
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, read_text, &fresh), 0);
    pthread_join(thread, NULL);
    CU_ASSERT_TRUE(fresh);
    CU_ASSERT_STRING_EQUAL(fq_status_text(), "of this thread");
}

static void test_names(void) {
    for (int a = FQ_OK; a <= FQ_EAUTH; a++)
        for (int b = FQ_OK; b < a; b++)
            CU_ASSERT_STRING_NOT_EQUAL(fq_status_name((fq_status)a), fq_status_name((fq_status)b));
    CU_ASSERT_STRING_EQUAL(fq_status_name(FQ_OK), "ok");
    CU_ASSERT_STRING_EQUAL(fq_status_name((fq_status)99), "unknown");
}

int main(void) {
    static const fq_case cases[] = {{"a failure has a text and gains context", test_text},
                                    {"a long text is cut", test_long_text},
                                    {"threads have texts of their own", test_threads},
                                    {"names differ", test_names},
                                    {NULL, NULL}};
    return fq_run_suite("status", cases);
}

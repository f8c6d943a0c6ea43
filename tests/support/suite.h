/* CUnit glue: a test program is a table of named tests and one call.
 *
 *     int main(void) {
 *         static const fq_case cases[] = {{"rounds half to even", test_rounding}, {NULL, NULL}};
 *         return fq_run_suite("grid", cases);
 *     }
 */
#ifndef FQ_TESTS_SUITE_H
#define FQ_TESTS_SUITE_H

#include "base/status.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct fq_case {
    const char *name;
    void (*run)(void);
} fq_case;

/* Runs all cases, prints CUnit's summary, returns the exit code of the program. */
int fq_run_suite(const char *name, const fq_case *cases);

/* A fresh folder for this test program, deleted with all in it when the program ends. */
const char *fq_test_folder(void);
/* "<test folder>/name"; four results stay valid at a time. */
const char *fq_test_path(const char *name);
void        fq_test_write(const char *path, const void *data, size_t size);

#define FQ_ASSERT_OK(expression)                                                                   \
    do {                                                                                           \
        fq_status fq_assert_status_ = (expression);                                                \
        if (fq_assert_status_ != FQ_OK)                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, fq_status_text());                  \
        CU_ASSERT_EQUAL_FATAL(fq_assert_status_, FQ_OK);                                           \
    } while (0)

/* Fails with `code`, and the text contains `part`. */
#define FQ_ASSERT_FAILS(expression, code, part)                                                    \
    do {                                                                                           \
        fq_status fq_assert_status_ = (expression);                                                \
        CU_ASSERT_EQUAL(fq_assert_status_, (code));                                                \
        bool fq_assert_found_ = strstr(fq_status_text(), (part)) != NULL;                          \
        if (!fq_assert_found_)                                                                     \
            fprintf(stderr, "%s:%d: \"%s\" does not say \"%s\"\n", __FILE__, __LINE__,             \
                    fq_status_text(), (part));                                                     \
        CU_ASSERT_TRUE(fq_assert_found_);                                                          \
    } while (0)

#endif

#include "round/round.h"
#include "suite.h"

#include <string.h>

static void test_members_are_different_and_ascending(void) {
    uint64_t out[100];
    for (uint32_t round = 0; round < 200; round++) {
        size_t m = round % 100 + 1;
        FQ_ASSERT_OK(fq_cohort_sample(3, round, 100, m, out));
        for (size_t i = 0; i < m; i++) {
            CU_ASSERT_TRUE(out[i] < 100);
            CU_ASSERT_TRUE(i == 0 || out[i] > out[i - 1]);
        }
    }
}

static void test_every_client_is_equally_likely(void) {
    enum { CLIENTS = 50, COHORT = 7, ROUNDS = 20000 };
    static unsigned count[CLIENTS];
    uint64_t        out[COHORT];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        FQ_ASSERT_OK(fq_cohort_sample(11, round, CLIENTS, COHORT, out));
        for (size_t i = 0; i < COHORT; i++)
            count[out[i]]++;
    }
    /* Chi-square against equal counts, 49 degrees of freedom: 85.4 is exceeded once in a thousand.
     * Draws without replacement only make the counts more even. */
    double expected = (double)ROUNDS * COHORT / CLIENTS, chi2 = 0.0;
    for (size_t k = 0; k < CLIENTS; k++)
        chi2 += ((double)count[k] - expected) * ((double)count[k] - expected) / expected;
    CU_ASSERT_TRUE(chi2 < 85.4);
}

static void test_a_function_of_seed_and_round(void) {
    uint64_t a[10], b[10];
    FQ_ASSERT_OK(fq_cohort_sample(1, 5, 1000000, 10, a));
    FQ_ASSERT_OK(fq_cohort_sample(1, 5, 1000000, 10, b));
    CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
    FQ_ASSERT_OK(fq_cohort_sample(1, 6, 1000000, 10, b));
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof a), 0);
    FQ_ASSERT_OK(fq_cohort_sample(2, 5, 1000000, 10, b));
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, sizeof a), 0);
}

/* Memory goes by the cohort: a byte, even a bit, for each of these clients is more than there is.
 */
static void test_any_number_of_clients(void) {
    uint64_t out[1000];
    FQ_ASSERT_OK(fq_cohort_sample(1, 0, UINT64_C(1) << 62, 1000, out));
    for (size_t i = 0; i < 1000; i++)
        CU_ASSERT_TRUE(out[i] < UINT64_C(1) << 62 && (i == 0 || out[i] > out[i - 1]));
}

/* Runs of the same seed keep their cohorts. */
static void test_who_is_asked(void) {
    static const uint64_t expected[5] = {612, 829, 864, 913, 960};
    uint64_t              out[5];
    FQ_ASSERT_OK(fq_cohort_sample(1, 0, 1000, 5, out));
    for (size_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(out[i], expected[i]);
}

static void test_more_than_there_are(void) {
    uint64_t out[3];
    FQ_ASSERT_FAILS(fq_cohort_sample(1, 0, 2, 3, out), FQ_EINVAL, "a cohort of 3 from 2");
}

int main(void) {
    static const fq_case cases[] = {
        {"members are different and ascending", test_members_are_different_and_ascending},
        {"every client is equally likely", test_every_client_is_equally_likely},
        {"a function of seed and round", test_a_function_of_seed_and_round},
        {"any number of clients", test_any_number_of_clients},
        {"who is asked", test_who_is_asked},
        {"more than there are", test_more_than_there_are},
        {NULL, NULL},
    };
    return fq_run_suite("cohort", cases);
}

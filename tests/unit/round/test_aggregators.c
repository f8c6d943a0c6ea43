/* A contract over every row of the aggregator table: one client is itself, order does not matter.
 */
#include "base/rng.h"
#include "round/aggregator.h"
#include "round/exact_sum.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 300, CLIENTS = 9 };

static unsigned char config[4096];

/* The row's own defaults. */
static void load_defaults(const fq_aggregator *row) {
    fq_document        *document;
    static const fq_key none[] = {{0}};
    FQ_ASSERT_OK(
        fq_document_parse(&document, "defaults", (fq_cbytes){(const unsigned char *)"", 0}));
    FQ_ASSERT_OK(fq_section_load(document, NULL, row->name, row->keys == NULL ? none : row->keys,
                                 NULL, config));
    fq_document_destroy(&document);
}

/* What the server does with a round of equal weights. */
static void aggregate(const fq_aggregator *row, const float *const *x, size_t n, float *out) {
    float column[CLIENTS];
    if (row->keeps) {
        row->combine(config, x, n, 0, N / 2, column, out);
        row->combine(config, x, n, N / 2, N, column, out);
        return;
    }
    int64_t sum[N] = {0};
    int     shift;
    FQ_ASSERT_OK(fq_exact_shift(1024.0, n, &shift));
    for (size_t k = 0; k < n; k++) {
        double norm = 0.0;
        for (size_t i = 0; i < N; i++)
            norm += (double)x[k][i] * (double)x[k][i];
        fq_exact_add(sum, x[k], N, 1, row->factor == NULL ? 1.0 : row->factor(config, sqrt(norm)),
                     shift);
    }
    fq_exact_mean(sum, N, n, shift, out);
}

static void fill(float x[CLIENTS][N], const float *pointers[CLIENTS]) {
    for (uint32_t k = 0; k < CLIENTS; k++) {
        fq_rng rng = fq_rng_stream(5, FQ_RNG_NOISE, 0, k, 0, 0);
        for (size_t i = 0; i < N; i++)
            x[k][i] = 0.01f * (float)fq_rng_normal(&rng);
        pointers[k] = x[k];
    }
}

static void test_one_client_is_itself(void) {
    static float x[CLIENTS][N], out[N];
    const float *pointers[CLIENTS];
    fill(x, pointers);
    for (size_t row = 0; fq_aggregators[row] != NULL; row++) {
        load_defaults(fq_aggregators[row]);
        aggregate(fq_aggregators[row], pointers, 1, out);
        for (size_t i = 0; i < N; i++)
            CU_ASSERT_DOUBLE_EQUAL(out[i], x[0][i], 1e-9);
    }
}

static void test_order_does_not_matter(void) {
    static float x[CLIENTS][N], a[N], b[N];
    const float *pointers[CLIENTS], *turned[CLIENTS];
    fill(x, pointers);
    for (size_t k = 0; k < CLIENTS; k++)
        turned[k] = pointers[(k * 4 + 3) % CLIENTS];
    for (size_t row = 0; fq_aggregators[row] != NULL; row++) {
        load_defaults(fq_aggregators[row]);
        aggregate(fq_aggregators[row], pointers, CLIENTS, a);
        aggregate(fq_aggregators[row], turned, CLIENTS, b);
        CU_ASSERT_EQUAL(memcmp(a, b, sizeof a), 0);
    }
}

/* One liar among nine moves the robust ones little and the mean a lot. */
static void test_a_liar_moves_the_robust_ones_little(void) {
    static float x[CLIENTS][N], out[N];
    const float *pointers[CLIENTS];
    fill(x, pointers);
    for (size_t i = 0; i < N; i++)
        x[4][i] = 1000.0f;
    for (size_t row = 0; fq_aggregators[row] != NULL; row++) {
        load_defaults(fq_aggregators[row]);
        const char *name = fq_aggregators[row]->name;
        if (strcmp(name, "trimmed_mean") == 0)
            *(double *)(void *)config = 0.12; /* one of nine */
        aggregate(fq_aggregators[row], pointers, CLIENTS, out);
        float worst = 0.0f;
        for (size_t i = 0; i < N; i++)
            worst = fmaxf(worst, fabsf(out[i]));
        bool robust = strcmp(name, "mean") != 0;
        CU_ASSERT_TRUE(robust ? worst < 0.2f : worst > 100.0f);
    }
}

static void test_by_hand(void) {
    const float          a[N] = {1.0f}, b[N] = {2.0f}, c[N] = {30.0f}, d[N] = {4.0f};
    const float         *three[] = {a, b, c}, *four[] = {a, b, c, d};
    float                out[N], column[4];
    const fq_aggregator *median = fq_aggregator_find("median"),
                        *trimmed = fq_aggregator_find("trimmed_mean");
    median->combine(NULL, three, 3, 0, 1, column, out);
    CU_ASSERT_EQUAL(out[0], 2.0f);
    median->combine(NULL, four, 4, 0, 1, column, out);
    CU_ASSERT_EQUAL(out[0], 3.0f);
    double share = 0.25;
    trimmed->combine(&share, four, 4, 0, 1, column, out);
    CU_ASSERT_EQUAL(out[0], 3.0f);
    double norm = 5.0;
    CU_ASSERT_EQUAL(fq_aggregator_find("clipped_mean")->factor(&norm, 10.0), 0.5);
    CU_ASSERT_EQUAL(fq_aggregator_find("clipped_mean")->factor(&norm, 4.0), 1.0);
    CU_ASSERT_PTR_NULL(fq_aggregator_find("krum"));
}

static void test_trimming_less_than_one_update_is_refused(void) {
    double share = 0.05;
    FQ_ASSERT_FAILS(fq_aggregator_find("trimmed_mean")->check(&share, 10), FQ_EINVAL,
                    "less than one update");
    share = 0.1;
    FQ_ASSERT_OK(fq_aggregator_find("trimmed_mean")->check(&share, 10));
}

int main(void) {
    static const fq_case cases[] = {
        {"one client is itself", test_one_client_is_itself},
        {"order does not matter", test_order_does_not_matter},
        {"a liar moves the robust ones little", test_a_liar_moves_the_robust_ones_little},
        {"by hand", test_by_hand},
        {"trimming less than one update is refused", test_trimming_less_than_one_update_is_refused},
        {NULL, NULL},
    };
    return fq_run_suite("aggregators", cases);
}

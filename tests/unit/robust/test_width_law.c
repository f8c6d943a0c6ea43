#include "robust/robust_impl.h"
#include "suite.h"

#include <string.h>

enum { N_DRAWS = 100000 };

/* Chi-square of n_draws draws, one stream for each step as in training, against the chances p. */
static double chi_square(const fq_width_law *law, const double *p) {
    size_t counts[33] = {0};
    for (uint32_t step = 0; step < N_DRAWS; step++) {
        fq_rng rng = fq_rng_stream(3, FQ_RNG_BITS, step / 100, step % 7, step % 100, 0);
        counts[fq_width_draw(law, NULL, &rng)]++;
    }
    double sum = 0.0, total = 0.0;
    for (size_t i = 0; i < law->bits->n; i++)
        total += p[i];
    for (size_t i = 0; i < law->bits->n; i++) {
        const double expected = p[i] / total * N_DRAWS, seen = (double)counts[law->bits->v[i]];
        if (expected > 0.0)
            sum += (seen - expected) * (seen - expected) / expected;
        else
            CU_ASSERT_EQUAL(counts[law->bits->v[i]], 0);
    }
    return sum;
}

static void test_uniform(void) {
    const fq_ints bits = {.n = 7, .v = {2, 3, 4, 5, 6, 7, 8}};
    const double  p[7] = {1, 1, 1, 1, 1, 1, 1};
    CU_ASSERT_TRUE(chi_square(&(fq_width_law){.bits = &bits}, p) < 22.46); /* 6 degrees, 0.001 */
}

static void test_proportional(void) {
    const fq_ints bits = {.n = 4, .v = {2, 3, 4, 8}};
    const double  p[4] = {2, 3, 4, 8};
    CU_ASSERT_TRUE(chi_square(&(fq_width_law){.bits = &bits, .odds = FQ_ODDS_PROPORTIONAL}, p) <
                   16.27);
    const double wrong[4] = {1, 1, 1, 1};
    CU_ASSERT_TRUE(chi_square(&(fq_width_law){.bits = &bits, .odds = FQ_ODDS_PROPORTIONAL}, wrong) >
                   1000.0);
}

static void test_weights(void) {
    const fq_ints  bits = {.n = 4, .v = {2, 32, 4, 8}};
    const fq_reals weights = {.n = 4, .v = {0.5, 2.0, 0.0, 1.5}};
    CU_ASSERT_TRUE(chi_square(&(fq_width_law){.bits = &bits, .weights = &weights}, weights.v) <
                   13.82);
}

static void test_capability(void) {
    const fq_ints bits = {.n = 4, .v = {2, 3, 4, 8}}, some = {.n = 3, .v = {8, 5, 3}},
                  foreign = {.n = 2, .v = {5, 6}}, none = {.n = 0};
    const fq_width_law law = {.bits = &bits};
    bool               seen_some[33] = {false}, seen_foreign[33] = {false}, seen_all[33] = {false};
    for (uint32_t i = 0; i < 200; i++) {
        fq_rng rng = fq_rng_stream(1, FQ_RNG_BITS, i, 0, 0, 0);
        fq_rng copy = rng, other = rng;
        seen_some[fq_width_draw(&law, &some, &rng)] = true;
        seen_foreign[fq_width_draw(&law, &foreign, &copy)] = true;
        seen_all[fq_width_draw(&law, &none, &other)] = true;
    }
    for (int b = 0; b <= 32; b++) {
        CU_ASSERT_EQUAL(seen_some[b], b == 3 || b == 8);
        CU_ASSERT_EQUAL(seen_foreign[b], b == 5 || b == 6);
        CU_ASSERT_EQUAL(seen_all[b], b == 2 || b == 3 || b == 4 || b == 8);
    }
}

/* A width without a chance does not count as one that the client shares. */
static void test_capability_without_chance(void) {
    const fq_ints      bits = {.n = 2, .v = {2, 8}}, own = {.n = 1, .v = {2}};
    const fq_reals     weights = {.n = 2, .v = {0.0, 1.0}};
    const fq_width_law law = {.bits = &bits, .weights = &weights};
    fq_rng             rng = fq_rng_stream(1, FQ_RNG_BITS, 0, 0, 0, 0);
    CU_ASSERT_EQUAL(fq_width_draw(&law, &own, &rng), 2);
}

static void test_check(void) {
    const fq_ints good = {.n = 3, .v = {1, 8, 32}}, empty = {.n = 0}, nine = {.n = 2, .v = {4, 9}},
                  zero = {.n = 1, .v = {0}}, twice = {.n = 3, .v = {4, 2, 4}};
    FQ_ASSERT_OK(fq_widths_check("mqat.bits", &good));
    FQ_ASSERT_FAILS(fq_widths_check("mqat.bits", &empty), FQ_EINVAL,
                    "mqat.bits: the list is empty");
    FQ_ASSERT_FAILS(fq_widths_check("mqat.bits", &nine), FQ_EINVAL,
                    "mqat.bits: 9 is not a width; allowed are 1 to 8 and 32");
    FQ_ASSERT_FAILS(fq_widths_check("apqn.bits", &zero), FQ_EINVAL, "apqn.bits: 0 is not a width");
    FQ_ASSERT_FAILS(fq_widths_check("mqat.bits", &twice), FQ_EINVAL,
                    "mqat.bits: 4 is listed twice");
}

int main(void) {
    static const fq_case cases[] = {{"uniform", test_uniform},
                                    {"proportional to the width", test_proportional},
                                    {"by weights", test_weights},
                                    {"capability", test_capability},
                                    {"capability without a chance", test_capability_without_chance},
                                    {"check", test_check},
                                    {NULL, NULL}};
    return fq_run_suite("width_law", cases);
}

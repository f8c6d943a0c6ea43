/* Which clients of fedhq quantize, and when. */
#include "robust/robust_impl.h"
#include "robust_rig.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

typedef struct section {
    _Alignas(16) unsigned char bytes[4096];
} section;

static section section_of(const char *method, const char *yaml) {
    section      s = {{0}};
    fq_document *document;
    FQ_ASSERT_OK(fq_document_parse(&document, "t.yaml",
                                   (fq_cbytes){(const unsigned char *)yaml, strlen(yaml)}));
    const fq_robustness *row = fq_robustness_find(method);
    CU_ASSERT_TRUE_FATAL(row != NULL && row->config_size <= sizeof s.bytes);
    FQ_ASSERT_OK(
        fq_section_load(document, fq_document_root(document), method, row->keys, NULL, s.bytes));
    fq_document_destroy(&document);
    return s;
}

enum { STEPS = 4 };
typedef enum mode { FLOAT, PTQ, QAT, UNCLEAR } mode;

static bool same(const rig *r, const float *a, const float *b) {
    return memcmp(a, b, r->size * sizeof *a) == 0;
}

/* What a client's turn shows: the weights seen in a step, and what becomes of the latent ones at
 * its begin, in its middle and at its end. */
static mode mode_seen(const section *config, uint64_t client, double label_entropy) {
    const section    qat = section_of("qat", "{bits: 2, ranges: minmax}");
    const fq_network network = rig_network();
    rig              r, plain;
    rig_init(&r, &network, fq_robustness_find("fedhq"), config->bytes);
    rig_init(&plain, &network, fq_robustness_find("qat"), qat.bytes);
    fq_step step = rig_step(&r, 1, client, 0);
    step.n_steps = STEPS;
    step.label_entropy = label_entropy;
    rig_view(&r, &step);
    rig_view(&plain, &step);
    const bool seen_float = same(&r, r.u, r.w), seen_quantized = same(&r, r.u, plain.u);
    bool       untouched = true;
    for (step.step = 0; step.step < STEPS; step.step++) {
        r.bound.method->after_step(&r.bound, &step, r.w);
        untouched = untouched && same(&r, r.w, plain.w);
    }
    r.bound.method->after_step(&r.bound, &step, r.w);
    const bool ends_latent = same(&r, r.w, plain.w), ends_quantized = same(&r, r.w, plain.u);
    rig_fini(&r);
    rig_fini(&plain);
    if (seen_float && untouched && ends_latent)
        return FLOAT;
    if (seen_float && untouched && ends_quantized)
        return PTQ;
    return seen_quantized && untouched && ends_latent ? QAT : UNCLEAR;
}

#define VIEW "bits: 2, ranges: minmax"

static void test_score(void) {
    /* Client k has speed k mod 3; score = 0.5 speed + 0.25 entropy. */
    const section config =
        section_of("fedhq", "{" VIEW ", speeds: [0, 0.5, 1], speed_weight: 0.5, entropy_weight: "
                            "0.25, ptq_from: 0.25, qat_from: 0.5}");
    static const struct {
        uint64_t client;
        double   entropy;
        mode     mode;
    } rows[] = {
        {0, 0.0, FLOAT}, {0, 0.99, FLOAT}, {0, 1.0, PTQ}, {1, 0.0, PTQ},   {1, 0.99, PTQ},
        {1, 1.0, QAT},   {2, 0.0, QAT},    {2, 1.0, QAT}, {3, 0.5, FLOAT}, {5, 0.5, QAT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CU_ASSERT_EQUAL(mode_seen(&config, rows[i].client, rows[i].entropy), rows[i].mode);
}

static void test_one_mode_for_all(void) {
    static const char *const yaml[] = {
        [FLOAT] = "{" VIEW ", local_mode: float}",
        [PTQ] = "{" VIEW ", local_mode: ptq}",
        [QAT] = "{" VIEW ", local_mode: qat}",
    };
    for (int m = FLOAT; m <= QAT; m++)
        for (uint64_t client = 0; client < 4; client++) {
            const section config = section_of("fedhq", yaml[m]);
            CU_ASSERT_EQUAL((int)mode_seen(&config, client, (double)client / 3.0), m);
        }
}

static void test_impossible_settings(void) {
    const fq_robustness *row = fq_robustness_find("fedhq");
    const section        good = section_of("fedhq", "{}");
    const section        speeds = section_of("fedhq", "{speeds: []}");
    const section        order = section_of("fedhq", "{ptq_from: 0.5, qat_from: 0.4}");
    const section        bits = section_of("fedhq", "{bits: 9}");
    FQ_ASSERT_OK(row->check(good.bytes));
    FQ_ASSERT_FAILS(row->check(speeds.bytes), FQ_EINVAL, "fedhq.speeds: an empty list");
    FQ_ASSERT_FAILS(row->check(order.bytes), FQ_EINVAL, "fedhq.qat_from: 0.4 is below");
    FQ_ASSERT_FAILS(row->check(bits.bytes), FQ_EINVAL, "fedhq.bits: 9 is not a width");
}

int main(void) {
    static const fq_case cases[] = {
        {"the score decides", test_score},
        {"one mode for all", test_one_mode_for_all},
        {"impossible settings", test_impossible_settings},
        {NULL, NULL},
    };
    return fq_run_suite("fedhq", cases);
}

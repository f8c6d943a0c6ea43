#include "infer/infer.h"
#include "infer/infer_impl.h"
#include "infer_rig.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CLASSES = 16 };

/* Integer and simulated logits are equal, bit for bit; returns how far they are from those of the
 * fake-quantized float network, as a share of the largest of those. */
static double compare(const infer_rig *rig, uint32_t examples) {
    float  *x = malloc(rig->features * sizeof *x), fake[MAX_CLASSES];
    int32_t logits[MAX_CLASSES], simulated[MAX_CLASSES];
    double  worst = 0, largest = 0;
    CU_ASSERT_FATAL(rig->classes <= MAX_CLASSES);
    for (uint32_t e = 0; e < examples; e++) {
        infer_rig_example(rig, e, x);
        memset(logits, 0x5a, sizeof logits);
        fq_infer_run(rig->infer, rig->workspace, x, logits);
        FQ_ASSERT_OK(fq_infer_simulate(rig->infer, x, simulated));
        CU_ASSERT_EQUAL(memcmp(logits, simulated, rig->classes * sizeof *logits), 0);
        infer_rig_fake(rig, x, fake);
        for (size_t c = 0; c < rig->classes; c++) {
            double y = (double)logits[c] * (double)fq_infer_scale(rig->infer);
            worst = fmax(worst, fabs(y - (double)fake[c]));
            largest = fmax(largest, fabs((double)fake[c]));
        }
    }
    free(x);
    return worst / largest;
}

static void check(const fq_network *network, infer_rig_options options, uint32_t examples,
                  double tolerance, const char *what) {
    infer_rig rig;
    infer_rig_init(&rig, network, options, 5);
    double distance = compare(&rig, examples);
    CU_ASSERT_TRUE(distance <= tolerance);
    if (distance > tolerance)
        fprintf(stderr, "%s at %d/%d bits: %g from the fake-quantized logits\n", what, options.bits,
                options.activations, distance);
    infer_rig_fini(&rig);
}

/* Every network of the zoo. A code that rounds to the other side at the last place of a float moves
 * a logit by a few thousandths at 8 bits; wrong arithmetic moves it by its own size. */
static void test_zoo(void) {
    static fq_network network;
    for (const fq_zoo_entry *entry = fq_zoo; entry->name != NULL; entry++) {
        FQ_ASSERT_OK(fq_zoo_build(entry->name, (fq_shape){1, 16, 16}, 10, &network));
        check(&network, (infer_rig_options){8, 8, FQ_GRID_SIGNED, FQ_PER_TENSOR}, 1, 0.03,
              entry->name);
    }
}

/* Every width of weights and of activations, both grids, both granularities. */
static void test_widths(void) {
    static fq_network network;
    FQ_ASSERT_OK(fq_zoo_build("lenet5", (fq_shape){3, 16, 16}, 10, &network));
    for (int bits = 1; bits <= 8; bits++)
        for (int k = 0; k < 4; k++) {
            infer_rig_options options = {bits, k == 1 ? bits : 8,
                                         k == 2 ? FQ_GRID_NARROW : FQ_GRID_SIGNED,
                                         k == 3 ? FQ_PER_CHANNEL : FQ_PER_TENSOR};
            /* Low widths of activations turn a last place into a whole step. */
            check(&network, options, 2, options.activations == 8 ? 0.03 : 2.0, "lenet5");
        }
}

/* Every layer in places that the zoo does not have them in. */
static fq_network odd_network(void) {
    fq_network     net = {.input = {4, 9, 7}, .n_classes = 5};
    fq_layer_spec *conv = infer_rig_append(&net, "conv2d", "a", NULL, NULL);
    conv->out = 6, conv->kernel = 3, conv->stride = 2, conv->pad = 2, conv->groups = 2;
    infer_rig_append(&net, "relu6", "r6", NULL, NULL);
    conv = infer_rig_append(&net, "conv2d", "b", "r6", NULL);
    conv->out = 6, conv->kernel = 1;
    infer_rig_append(&net, "group_norm", "g", NULL, NULL)->groups = 3;
    infer_rig_append(&net, "add", "sum", "g", "r6"); /* read twice: wide, and narrow for b */
    infer_rig_append(&net, "add", "twice", "sum", "sum");
    fq_layer_spec *pool = infer_rig_append(&net, "max_pool2d", "m", "twice", NULL);
    pool->kernel = 3, pool->stride = 2, pool->pad = 1;
    pool = infer_rig_append(&net, "avg_pool2d", "p", "m", NULL);
    pool->kernel = 2, pool->stride = 1, pool->pad = 1;
    fq_layer_spec *cut = infer_rig_append(&net, "shortcut", "s", "p", NULL);
    cut->out = 9, cut->stride = 2;
    infer_rig_append(&net, "relu", "late", "s", NULL); /* cannot join the operation before */
    infer_rig_append(&net, "dense", "d", NULL, NULL)->out = 7; /* counts features without flatten */
    infer_rig_append(&net, "relu", "after", "d", NULL);
    infer_rig_append(&net, "dropout", "drop", "after", NULL)->rate = 0.5;
    infer_rig_append(&net, "dense", "e", "drop", NULL)->out = 5;
    infer_rig_append(&net, "add", "end", "e", "e"); /* logits from a wide value */
    return net;
}

static void test_odd_places(void) {
    static fq_network network;
    network = odd_network();
    for (int k = 0; k < 2; k++)
        check(&network,
              (infer_rig_options){8 - 4 * k, 8, FQ_GRID_SIGNED, k ? FQ_PER_CHANNEL : FQ_PER_TENSOR},
              8, 0.03, "odd");
}

/* Pools and flattening before the first layer with weights: the input is wide. */
static void test_wide_input(void) {
    static fq_network network;
    network = (fq_network){.input = {2, 6, 6}, .n_classes = 3};
    infer_rig_append(&network, "avg_pool2d", "p", NULL, NULL)->kernel = 2;
    infer_rig_append(&network, "flatten", "f", NULL, NULL);
    infer_rig_append(&network, "dense", "d", NULL, NULL)->out = 3;
    check(&network, (infer_rig_options){8, 8, FQ_GRID_SIGNED, FQ_PER_TENSOR}, 8, 0.03, "wide");
}

static void test_scale_down(void) {
    CU_ASSERT_EQUAL(fq_scale_down(5, 1), 3); /* halves go up */
    CU_ASSERT_EQUAL(fq_scale_down(-5, 1), -2);
    CU_ASSERT_EQUAL(fq_scale_down(-6, 2), -1);
    CU_ASSERT_EQUAL(fq_scale_down(7, 54), 0);
    CU_ASSERT_EQUAL(fq_scale_down(-7, 200), 0);
    CU_ASSERT_EQUAL(fq_scale_down(3, -2), 12);
    CU_ASSERT_EQUAL(fq_scale_down(1, -40), (int64_t)1 << 40);
    CU_ASSERT_EQUAL(fq_scale_down(2, -40), (int64_t)1 << 40);
    CU_ASSERT_EQUAL(fq_scale_down(-3, -300), -((int64_t)1 << 40));
    CU_ASSERT_EQUAL(fq_scale_down(0, -300), 0);
    CU_ASSERT_EQUAL(fq_scale_down((int64_t)1 << 52, 1), (int64_t)1 << 40);
}

static void test_inverse_root(void) {
    for (uint64_t v = 1; v < (uint64_t)1 << 62; v = v * 5 / 3 + 1) {
        fq_root r = fq_inverse_root(v);
        double  y = ldexp((double)r.root, r.twice - 48);
        CU_ASSERT_DOUBLE_EQUAL(y * sqrt((double)v), 1.0, 2e-7);
        CU_ASSERT_TRUE(r.root > 0 && r.root <= 1 << 24);
    }
    /* Exact where the root is: 1 / 2^k. */
    for (int k = 0; k < 31; k++) {
        fq_root r = fq_inverse_root((uint64_t)1 << 2 * k);
        CU_ASSERT_EQUAL(ldexp((double)r.root, r.twice - 48), ldexp(1.0, -k));
    }
}

static void test_first_of_equals(void) {
    CU_ASSERT_EQUAL(fq_infer_best((int32_t[]){-3, 2, 2, 1}, 4), 1);
    CU_ASSERT_EQUAL(fq_infer_best((int32_t[]){-3}, 1), 0);
}

/* Constant inputs have no variance: the norm gives its shift. */
static void test_flat_input(void) {
    static fq_network network;
    infer_rig         rig;
    network = (fq_network){.input = {2, 4, 4}, .n_classes = 2};
    infer_rig_append(&network, "group_norm", "g", NULL, NULL)->groups = 1;
    infer_rig_append(&network, "global_avg_pool", "p", NULL, NULL);
    infer_rig_append(&network, "dense", "d", NULL, NULL)->out = 2;
    infer_rig_init(&rig, &network, (infer_rig_options){8, 8, FQ_GRID_SIGNED, FQ_PER_TENSOR}, 5);
    float   x[32] = {0}, fake[2];
    int32_t logits[2], simulated[2];
    fq_infer_run(rig.infer, rig.workspace, x, logits);
    FQ_ASSERT_OK(fq_infer_simulate(rig.infer, x, simulated));
    infer_rig_fake(&rig, x, fake);
    for (size_t c = 0; c < 2; c++) {
        CU_ASSERT_EQUAL(logits[c], simulated[c]);
        CU_ASSERT_DOUBLE_EQUAL((double)logits[c] * (double)fq_infer_scale(rig.infer),
                               (double)fake[c], 0.01);
    }
    infer_rig_fini(&rig);
}

/* What is far outside the calibrated range is clipped, and nothing wraps. */
static void test_extreme_input(void) {
    static fq_network network;
    infer_rig         rig;
    FQ_ASSERT_OK(fq_zoo_build("lenet5_gn", (fq_shape){1, 12, 12}, 10, &network));
    infer_rig_init(&rig, &network, (infer_rig_options){8, 8, FQ_GRID_SIGNED, FQ_PER_CHANNEL}, 5);
    float   x[144];
    int32_t logits[10], simulated[10];
    for (size_t i = 0; i < 144; i++)
        x[i] = i % 3 == 0 ? 3e38f : i % 3 == 1 ? -3e38f : 1e-30f;
    fq_infer_run(rig.infer, rig.workspace, x, logits);
    FQ_ASSERT_OK(fq_infer_simulate(rig.infer, x, simulated));
    CU_ASSERT_EQUAL(memcmp(logits, simulated, sizeof logits), 0);
    infer_rig_fini(&rig);
}

/* All memory comes from the hook, and goes back to it, wherever it ends. */
static void test_allocator(void) {
    static fq_network network;
    infer_rig         rig;
    FQ_ASSERT_OK(fq_zoo_build("lenet5", (fq_shape){1, 16, 16}, 10, &network));
    infer_rig_init(&rig, &network, (infer_rig_options){4, 8, FQ_GRID_SIGNED, FQ_PER_TENSOR}, 5);
    size_t needed = SIZE_MAX;
    for (size_t until = 0; until < needed; until++) {
        infer_rig_counter c = {.until = until};
        fq_allocator      hook = {&c, infer_rig_take, infer_rig_release};
        fq_infer         *infer;
        fq_status         status = fq_infer_create(&infer, &rig.file, &hook);
        if (status == FQ_OK)
            needed = until;
        else
            CU_ASSERT_EQUAL(status, FQ_ENOMEM);
        fq_infer_destroy(&infer);
        CU_ASSERT_PTR_NULL(infer);
        CU_ASSERT_EQUAL(c.taken, c.released);
    }
    CU_ASSERT_TRUE(needed > 3 && needed < 100);
    infer_rig_fini(&rig);
}

/* The file's scales are changed and it is refused; the text names the layer. */
static void check_refused(void (*change)(fq_modelfile *file), fq_status code, const char *text) {
    static fq_network network;
    infer_rig         rig;
    fq_infer         *infer;
    FQ_ASSERT_OK(fq_zoo_build("lenet5", (fq_shape){1, 16, 16}, 10, &network));
    infer_rig_init(&rig, &network, (infer_rig_options){8, 8, FQ_GRID_SIGNED, FQ_PER_TENSOR}, 5);
    fq_codes      *codes = rig.file.quantization.codes;
    fq_codes       first = codes[0];
    fq_site_range *sites = rig.file.quantization.sites;
    change(&rig.file);
    FQ_ASSERT_FAILS(fq_infer_create(&infer, &rig.file, NULL), code, text);
    CU_ASSERT_PTR_NULL(infer);
    codes[0] = first;
    rig.file.quantization.sites = sites;
    infer_rig_fini(&rig);
}

static void large_scale(fq_modelfile *file) {
    file->quantization.codes[0].scales[0] = 1e30f;
}
static void small_scale(fq_modelfile *file) {
    file->quantization.codes[0].scales[0] = 1e-30f;
}
static void unsigned_weights(fq_modelfile *file) {
    file->quantization.codes[0].grid = FQ_GRID_UNSIGNED;
}
static void float_weights(fq_modelfile *file) {
    file->quantization.codes[0].bits = 0;
}
static void no_sites(fq_modelfile *file) {
    file->quantization.sites = NULL;
}

static void test_refusals(void) {
    check_refused(large_scale, FQ_ELIMIT, "layer 1 (conv1): a ratio of scales");
    check_refused(small_scale, FQ_ELIMIT, "layer 1 (conv1): channel 0: a bias of");
    check_refused(unsigned_weights, FQ_EINVAL, "layer 1 (conv1): weights on the grid unsigned");
    check_refused(float_weights, FQ_EINVAL, "weights 1 are float");
    check_refused(no_sites, FQ_EINVAL, "only the weights are quantized");
}

/* Batch norm that no layer takes in cannot run; the text says what would. */
static void test_lone_batch_norm(void) {
    static fq_network network;
    network = (fq_network){.input = {2, 4, 4}, .n_classes = 2};
    infer_rig_append(&network, "batch_norm", "n", NULL, NULL);
    infer_rig_append(&network, "flatten", "f", NULL, NULL);
    infer_rig_append(&network, "dense", "d", NULL, NULL)->out = 2;
    fq_model       *model;
    fq_modelfile    file;
    fq_buffer       bytes = {0};
    fq_infer       *infer;
    float           w[128] = {0}, scale = 1.0f, peaks[4] = {1, 1, 1, 1};
    unsigned char   packed[64] = {0};
    fq_codes        codes = {8, 0, 1, &scale, NULL, packed};
    fq_site_range   site = {8, 2, 1.0f, 0};
    fq_quantization q = {.n = 1, .codes = &codes, .sites = &site, .n_values = 4, .peaks = peaks};
    fq_provenance   from = {.name = "lone"};
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    FQ_ASSERT_OK(fq_modelfile_encode_quantized(model, w, &q, &from, &bytes));
    FQ_ASSERT_OK(fq_modelfile_open((fq_cbytes){bytes.data, bytes.size}, &file));
    FQ_ASSERT_FAILS(fq_infer_create(&infer, &file, NULL), FQ_EINVAL,
                    "layer 1 (n): batch_norm in integers");
    fq_modelfile_close(&file);
    fq_model_destroy(&model);
    fq_buffer_fini(&bytes);
}

int main(void) {
    static const fq_case cases[] = {
        {"integers are what the simulation says: the zoo", test_zoo},
        {"all widths", test_widths},
        {"layers in odd places", test_odd_places},
        {"wide input", test_wide_input},
        {"scaling down", test_scale_down},
        {"inverse root", test_inverse_root},
        {"first of equals", test_first_of_equals},
        {"constant input", test_flat_input},
        {"extreme input", test_extreme_input},
        {"allocator", test_allocator},
        {"refusals", test_refusals},
        {"batch norm alone", test_lone_batch_norm},
        {NULL, NULL},
    };
    return fq_run_suite("infer", cases);
}

#include "model_rig.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static const fq_shape GRAY = {1, 28, 28}, COLOR = {3, 32, 32};

typedef struct expectation {
    const char *name;
    fq_shape    input;
    uint32_t    n_classes;
    size_t      parameters;
    double      macs;
} expectation;

/* Parameters as published or counted by hand; MACs by hand, from the shapes. */
static const expectation EXPECTED[] = {
    {"logreg", {1, 28, 28}, 10, 7850, 7840},
    {"mlp", {1, 28, 28}, 10, 199210, 198800},
    {"lenet5", {1, 28, 28}, 10, 61706, 28 * 28 * 150 + 100 * 2400 + 48000 + 10080 + 840},
    {"lenet5", {1, 32, 32}, 10, 61706, 28 * 28 * 150 + 100 * 2400 + 48000 + 10080 + 840},
    {"lenet5_gn",
     {3, 32, 32},
     10,
     1756682,
     1024 * 4800 + 256 * 102400 + 4096 * 384 + 384 * 192 + 1920},
    {"femnist_cnn", {1, 28, 28}, 62, 1206590, 676 * 288 + 576 * 18432 + 9216 * 128 + 128 * 62},
    {"resnet20_gn", {3, 32, 32}, 10, 269722, 40551040},
    {"resnet20_bn", {3, 32, 32}, 10, 269722, 40551040},
};

static fq_network network;

static void test_sizes(void) {
    for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++) {
        const expectation *e = &EXPECTED[i];
        fq_model          *model;
        FQ_ASSERT_OK(fq_zoo_build(e->name, e->input, e->n_classes, &network));
        FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
        if (fq_model_parameters(model) != e->parameters || fq_model_macs(model) != e->macs)
            fprintf(stderr, "%s: %zu parameters, %.0f MACs\n", e->name, fq_model_parameters(model),
                    fq_model_macs(model));
        CU_ASSERT_EQUAL(fq_model_parameters(model), e->parameters);
        CU_ASSERT_EQUAL(fq_model_macs(model), e->macs);
        fq_model_destroy(&model);
    }
}

/* One step downhill lowers the loss of each network. */
static void test_training(void) {
    static const uint16_t labels[4] = {3, 1, 4, 1};
    for (const fq_zoo_entry *entry = fq_zoo; entry->name != NULL; entry++) {
        model_rig rig;
        size_t    correct;
        FQ_ASSERT_OK(fq_zoo_build(entry->name, (fq_shape){1, 16, 16}, 10, &network));
        rig_init(&rig, &network, 4, true, false);
        double loss[2];
        for (int step = 0; step < 2; step++) {
            const float *logits = fq_model_forward(rig.model, rig.ws, rig.w, &rig.pass);
            loss[step] =
                fq_cross_entropy(logits, labels, 10, rig.batch, rig.lanes, rig.dlogits, &correct);
            fq_model_backward(rig.model, rig.ws, rig.w, &rig.pass, rig.dlogits, rig.grad);
            for (size_t i = 0; i < fq_model_trainable(rig.model); i++)
                rig.w[i] -= 0.01f * rig.grad[i];
        }
        CU_ASSERT(loss[1] < loss[0]);
        rig_fini(&rig);
    }
}

static void test_every_entry_is_expected(void) {
    for (const fq_zoo_entry *entry = fq_zoo; entry->name != NULL; entry++) {
        bool found = false;
        for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++)
            found = found || strcmp(EXPECTED[i].name, entry->name) == 0;
        CU_ASSERT(found && entry->summary[0] != '\0');
    }
}

static void test_errors(void) {
    FQ_ASSERT_FAILS(fq_zoo_build("lenet", GRAY, 10, &network), FQ_EINVAL,
                    "\"lenet\"; expected one of logreg, mlp");
    FQ_ASSERT_FAILS(fq_zoo_build("lenet5", (fq_shape){1, 4, 4}, 10, &network), FQ_EINVAL,
                    "lenet5 on an input of 1x4x4: layer 4 (conv2): kernel: 5 is larger");
    FQ_ASSERT_FAILS(fq_zoo_build("logreg", COLOR, 0, &network), FQ_EINVAL, "out: 0");
    FQ_ASSERT_FAILS(fq_zoo_build("mlp", (fq_shape){0, 4, 4}, 10, &network), FQ_EINVAL, "0x4x4");
}

int main(void) {
    static const fq_case cases[] = {
        {"parameters and multiply-adds", test_sizes},
        {"every entry is expected", test_every_entry_is_expected},
        {"a step lowers the loss", test_training},
        {"errors", test_errors},
        {NULL, NULL},
    };
    return fq_run_suite("zoo", cases);
}

/* The C API: whatever it is given it answers with a code and a text, and gives back what it took.
 */
#include "infer_rig.h"
#include "lib/fedq.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void rig_small(infer_rig *rig) {
    static fq_network network;
    FQ_ASSERT_OK(fq_zoo_build("mlp", (fq_shape){3, 2, 2}, 4, &network));
    infer_rig_init(rig, &network, (infer_rig_options){3, 8, FQ_GRID_SIGNED, FQ_PER_TENSOR}, 5);
}

static void test_run(void) {
    infer_rig     rig;
    fedq_model   *model;
    fedq_session *session;
    fedq_info     info;
    float         x[12], logits[4];
    int32_t       expected[4];
    uint8_t       bytes[12];
    size_t        best;
    rig_small(&rig);
    CU_ASSERT_EQUAL_FATAL(fedq_model_open_bytes(rig.bytes.data, rig.bytes.size, NULL, &model),
                          FEDQ_OK);
    fedq_model_info(model, &info);
    CU_ASSERT(info.channels == 3 && info.height == 2 && info.width == 2 && info.classes == 4);
    CU_ASSERT_EQUAL(info.integer, 1);
    CU_ASSERT_EQUAL_FATAL(fedq_session_open(model, &session), FEDQ_OK);
    CU_ASSERT_TRUE(fedq_session_bytes(session) > fq_infer_workspace_bytes(rig.infer));
    for (size_t i = 0; i < 12; i++) {
        bytes[i] = (uint8_t)(20 * i);
        x[i] = (float)(20 * (double)i / 255.0);
    }
    fq_infer_run(rig.infer, rig.workspace, x, expected);
    for (int raw = 0; raw < 2; raw++) {
        memset(logits, 0, sizeof logits);
        CU_ASSERT_EQUAL(raw ? fedq_run_bytes(session, bytes, logits, &best)
                            : fedq_run_floats(session, x, logits, &best),
                        FEDQ_OK);
        for (size_t c = 0; c < 4; c++)
            CU_ASSERT_EQUAL(logits[c], (float)expected[c] * fq_infer_scale(rig.infer));
        CU_ASSERT_EQUAL(best, fq_infer_best(expected, 4));
    }
    CU_ASSERT_EQUAL(fedq_run_bytes(session, bytes, NULL, NULL), FEDQ_OK);
    x[7] = NAN;
    CU_ASSERT_EQUAL(fedq_run_floats(session, x, logits, &best), FEDQ_ENONFINITE);
    CU_ASSERT_PTR_NOT_NULL(strstr(fedq_error(), "value 7 of the example is nan"));
    fedq_session_close(session);
    fedq_model_close(model);
    infer_rig_fini(&rig);
}

static void check_fails(fedq_status found, fedq_status code, const char *text) {
    CU_ASSERT_EQUAL(found, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(fedq_error(), text));
}

static void test_refusals(void) {
    infer_rig      rig;
    fedq_model    *model = NULL;
    fedq_session  *session = NULL;
    fedq_allocator half = {NULL, NULL, NULL};
    rig_small(&rig);
    check_fails(fedq_model_open("/nowhere/m.fq", NULL, &model), FEDQ_EIO, "/nowhere/m.fq");
    CU_ASSERT_PTR_NULL(model);
    check_fails(fedq_model_open(NULL, NULL, &model), FEDQ_EINVAL, "no path");
    check_fails(fedq_model_open("m.fq", NULL, NULL), FEDQ_EINVAL, "no place");
    check_fails(fedq_model_open_bytes(NULL, 7, NULL, &model), FEDQ_EINVAL, "no bytes");
    check_fails(fedq_model_open_bytes("FQMODEL", 7, NULL, &model), FEDQ_EFORMAT, "not a model");
    check_fails(fedq_model_open_bytes(rig.bytes.data, rig.bytes.size - 1, NULL, &model),
                FEDQ_EFORMAT, "damaged");
    check_fails(fedq_model_open_bytes(rig.bytes.data, rig.bytes.size, &half, &model), FEDQ_EINVAL,
                "allocator");
    CU_ASSERT_PTR_NULL(model);
    check_fails(fedq_session_open(NULL, &session), FEDQ_EINVAL, "no model");
    check_fails(fedq_run_bytes(NULL, NULL, NULL, NULL), FEDQ_EINVAL, "no session");
    check_fails(fedq_run_floats(NULL, NULL, NULL, NULL), FEDQ_EINVAL, "no session");
    fedq_model_close(NULL);
    fedq_session_close(NULL);
    infer_rig_fini(&rig);
}

/* The hook fails after so many pieces, for every number of them. */
static void test_no_memory(void) {
    infer_rig rig;
    bool      whole = false;
    rig_small(&rig);
    for (size_t until = 0; !whole; until++) {
        infer_rig_counter c = {.until = until};
        fedq_allocator    hook = {&c, infer_rig_take, infer_rig_release};
        fedq_model       *model;
        fedq_session     *session = NULL;
        fedq_status status = fedq_model_open_bytes(rig.bytes.data, rig.bytes.size, &hook, &model);
        if (status == FEDQ_OK)
            status = fedq_session_open(model, &session);
        whole = status == FEDQ_OK;
        if (!whole)
            check_fails(status, FEDQ_ENOMEM, "no memory");
        CU_ASSERT_EQUAL(session != NULL, whole);
        fedq_session_close(session);
        fedq_model_close(model);
        CU_ASSERT_EQUAL(c.taken, c.released);
        CU_ASSERT_FATAL(until < 100);
    }
    infer_rig_fini(&rig);
}

int main(void) {
    static const fq_case cases[] = {
        {"running", test_run},
        {"refusals", test_refusals},
        {"no memory", test_no_memory},
        {NULL, NULL},
    };
    return fq_run_suite("fedq", cases);
}

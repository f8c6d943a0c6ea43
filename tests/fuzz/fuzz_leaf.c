/* LEAF json. Input: the file; it is read twice into one set, where its users must be refused. */
#include "data/data_impl.h"
#include "fuzz.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fq_leaf         leaf = {.classes = 100};
    const fq_cbytes file = {data, size};
    if (fq_leaf_parse("fuzz", file, &leaf) == FQ_OK) {
        FUZZ_CHECK(leaf.n == 0 || leaf.features > 0);
        for (size_t i = 0; i < leaf.n * leaf.features; i++)
            FUZZ_CHECK(isfinite(leaf.floats[i]));
        for (size_t i = 0; i < leaf.n; i++)
            FUZZ_CHECK(leaf.labels[i] < leaf.found && leaf.owners[i] < leaf.users);
        FUZZ_CHECK(leaf.found <= leaf.classes);
        bool has_users = leaf.users > 0;
        FUZZ_CHECK((fq_leaf_parse("fuzz", file, &leaf) == FQ_OK) != has_users);
    }
    fq_leaf_fini(&leaf);
    return 0;
}

/* In place of leaf.c where there is no parser for JSON. The names stay: a run's settings may name
 * them for its other members, while this device has examples in a format of its own. */
#include "data/data_impl.h"

static fq_status open_absent(const fq_data_settings *settings, const char *folder, uint64_t seed,
                             fq_dataset **out) {
    (void)folder;
    (void)seed;
    *out = NULL;
    return fq_fail(FQ_EINVAL,
                   "data.set: %s is not in this small build, which reads no JSON; convert the "
                   "examples to npy, or use a build with all readers",
                   settings->set);
}

const fq_data_reader fq_reader_leaf = {
    .name = "leaf",
    .summary = "LEAF folders; not in this build",
    .where = "This build reads no JSON",
    .open = open_absent,
};

const fq_data_reader fq_reader_femnist = {
    .name = "femnist",
    .summary = "handwritten letters and digits by writer (LEAF); not in this build",
    .where = "This build reads no JSON",
    .open = open_absent,
};

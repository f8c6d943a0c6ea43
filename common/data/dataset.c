#include "base/file.h"
#include "data/data_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static const fq_data_reader *find_reader(const char *name) {
    for (const fq_data_reader *const *reader = fq_data_readers; *reader != NULL; reader++)
        if (strcmp((*reader)->name, name) == 0)
            return *reader;
    return NULL;
}

static fq_status unknown_set(const char *name) {
    enum { MOST = 32 };
    const char *names[MOST + 1];
    char        known[FQ_TEXT_BYTES] = "";
    size_t      n = 0;
    for (; fq_data_readers[n] != NULL && n < MOST; n++) {
        size_t used = strlen(known);
        names[n] = fq_data_readers[n]->name;
        snprintf(known + used, sizeof known - used, "%s%s", n == 0 ? "" : ", ", names[n]);
    }
    names[n] = NULL;
    const char *nearest = fq_nearest(name, names);
    return fq_fail(FQ_EINVAL, "data.set: '%s' is unknown%s%s%s Known: %s", name,
                   nearest == NULL ? "" : "; did you mean '", nearest == NULL ? "" : nearest,
                   nearest == NULL ? "." : "'?", known);
}

fq_status fq_data_settings_check(const fq_data_settings *settings) {
    const fq_data_reader *reader = find_reader(settings->set);
    bool                  custom = settings->normalize == FQ_NORMALIZE_CUSTOM;
    if (reader == NULL)
        return unknown_set(settings->set);
    if (!custom && (settings->mean.n > 0 || settings->std.n > 0))
        return fq_fail(FQ_EINVAL, "data.%s: is used only with data.normalize: custom",
                       settings->mean.n > 0 ? "mean" : "std");
    if (custom && (settings->mean.n == 0 || settings->std.n == 0))
        return fq_fail(FQ_EINVAL, "data.normalize: custom needs data.mean and data.std");
    if (reader != &fq_reader_synthetic)
        return FQ_OK;
    if (custom)
        return fq_fail(FQ_EINVAL,
                       "data.normalize: custom is not possible for synthetic, whose examples are "
                       "used as they are drawn");
    /* The default cannot be told from a wish. */
    if (settings->split != FQ_SPLIT_NATURAL && settings->split != FQ_SPLIT_DIRICHLET)
        return fq_fail(
            FQ_EINVAL,
            "data.split: %s is not possible for synthetic, which has clients of its own; "
            "leave the key out or set natural",
            fq_split_names[settings->split]);
    return FQ_OK;
}

/* settings->path, else $FEDQ_DATA/<set> if that is there, else the reader's own folder. */
static fq_status choose_folder(const fq_data_reader *reader, const fq_data_settings *settings,
                               char *out, size_t capacity) {
    if (settings->path[0] != '\0') {
        snprintf(out, capacity, "%s", settings->path);
        return FQ_OK;
    }
    const char *root = getenv("FEDQ_DATA");
    if (root != NULL && root[0] != '\0') {
        FQ_TRY(fq_data_path(root, reader->name, out, capacity));
        if (reader->default_folder == NULL || fq_file_exists(out))
            return FQ_OK;
    }
    if (reader->default_folder == NULL)
        return fq_fail(FQ_EIO, "%s: no folder is given. %s", reader->name, reader->where);
    snprintf(out, capacity, "%s", reader->default_folder);
    return FQ_OK;
}

fq_status fq_dataset_open(const fq_data_settings *settings, uint64_t seed, fq_dataset **out) {
    *out = NULL;
    FQ_TRY(fq_data_settings_check(settings));
    const fq_data_reader *reader = find_reader(settings->set);
    char                  folder[FQ_DATA_PATH_BYTES] = "";
    if (reader->where != NULL)
        FQ_TRY(choose_folder(reader, settings, folder, sizeof folder));
    return reader->open(settings, folder, seed, out);
}

static void examples_fini(fq_examples *examples) {
    free(examples->memory);
    free(examples->labels);
    free(examples->users);
    *examples = (fq_examples){0};
}

void fq_dataset_close(fq_dataset **set) {
    if (*set == NULL)
        return;
    examples_fini(&(*set)->train);
    examples_fini(&(*set)->test);
    free((*set)->synthetic);
    free(*set);
    *set = NULL;
}

/* ---- files ---- */

fq_status fq_data_path(const char *folder, const char *name, char *out, size_t capacity) {
    int length = snprintf(out, capacity, "%s/%s", folder, name);
    if (length < 0 || (size_t)length >= capacity)
        return fq_fail(FQ_EINVAL, "path too long: %s/%s", folder, name);
    return FQ_OK;
}

/* folder/name or folder/name.gz -> path, whichever is there. */
static bool find_file(const char *folder, const char *name, char path[FQ_DATA_PATH_BYTES]) {
    char packed[256];
    snprintf(packed, sizeof packed, "%s.gz", name);
    return (fq_data_path(folder, name, path, FQ_DATA_PATH_BYTES) == FQ_OK &&
            fq_file_exists(path)) ||
           (fq_data_path(folder, packed, path, FQ_DATA_PATH_BYTES) == FQ_OK &&
            fq_file_exists(path));
}

bool fq_data_is_there(const char *folder, const char *name) {
    char path[FQ_DATA_PATH_BYTES];
    return find_file(folder, name, path);
}

fq_status fq_data_missing(const fq_data_reader *reader, const char *path) {
    return fq_fail(FQ_EIO, "%s: cannot open %s: %s. %s", reader->name, path, strerror(ENOENT),
                   reader->where);
}

fq_status fq_data_read(const fq_data_reader *reader, const char *folder, const char *name,
                       char path[FQ_DATA_PATH_BYTES], fq_cbytes *out) {
    *out = (fq_cbytes){0};
    if (find_file(folder, name, path))
        return fq_file_read(path, FQ_DATA_FILE_LIMIT, out);
    FQ_TRY(fq_data_path(folder, name, path, FQ_DATA_PATH_BYTES));
    return fq_data_missing(reader, path);
}

/* ---- what readers do last ---- */

fq_status fq_dataset_new(const char *name, fq_shape shape, uint32_t classes, fq_dataset **out) {
    *out = NULL;
    size_t features;
    if (!fq_size_mul(shape.c, shape.h, &features) || !fq_size_mul(features, shape.w, &features) ||
        features == 0 || features > FQ_MAX_FEATURES)
        return fq_fail(FQ_ELIMIT, "%s: an example has %u x %u x %u values; expected 1 to %d in all",
                       name, shape.c, shape.h, shape.w, FQ_MAX_FEATURES);
    if (classes == 0 || classes > FQ_MAX_CLASSES)
        return fq_fail(FQ_ELIMIT, "%s: %u classes; expected 1 to %d", name, classes,
                       FQ_MAX_CLASSES);
    fq_dataset *set = calloc(1, sizeof *set);
    if (set == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for data set %s", name);
    snprintf(set->name, sizeof set->name, "%s", name);
    set->shape = shape;
    set->classes = classes;
    *out = set;
    return FQ_OK;
}

/* Example `to` becomes what `from` of `source` is; never with to > from of the same part. */
static void move_example(fq_examples *target, size_t to, const fq_examples *source, size_t from,
                         size_t features) {
    if (target->bytes != NULL)
        memmove(target->bytes + to * features, source->bytes + from * features, features);
    else
        memmove(target->floats + to * features, source->floats + from * features,
                features * sizeof(float));
    target->labels[to] = source->labels[from];
    if (target->users != NULL)
        target->users[to] = source->users[from];
}

/* Keep `limit` examples, evenly spaced, so that a set sorted by label or user keeps its mix. */
static void thin(fq_examples *examples, int64_t limit, size_t features) {
    if (limit <= 0 || (uint64_t)limit >= examples->n)
        return;
    size_t kept = (size_t)limit, n = examples->n;
    for (size_t i = 0; i < kept; i++)
        move_example(examples, i, examples, i * n / kept, features);
    examples->n = kept;
}

static fq_status custom_list(const fq_dataset *set, const char *key, const fq_reals *list) {
    size_t c = set->shape.c;
    if (list->n == 1 || (list->n == c && c <= FQ_MAX_CHANNELS))
        return FQ_OK;
    if (c <= FQ_MAX_CHANNELS && c > 1)
        return fq_fail(FQ_EINVAL,
                       "data.%s has %zu values; expected 1, or %zu for the channels of %s", key,
                       list->n, c, set->name);
    return fq_fail(FQ_EINVAL, "data.%s has %zu values; expected 1 for %s", key, list->n, set->name);
}

static fq_status custom_normalization(const fq_dataset *set, const fq_data_settings *settings,
                                      fq_normalization *out) {
    const fq_reals *mean = &settings->mean, *std = &settings->std;
    FQ_TRY(custom_list(set, "mean", mean));
    FQ_TRY(custom_list(set, "std", std));
    out->n = mean->n > std->n ? mean->n : std->n;
    for (size_t c = 0; c < out->n; c++) {
        out->mean[c] = mean->v[mean->n == 1 ? 0 : c];
        out->std[c] = std->v[std->n == 1 ? 0 : c];
        if (!(out->std[c] > 0.0))
            return fq_fail(FQ_EINVAL, "data.std: %g is not allowed; expected a positive number",
                           out->std[c]);
    }
    return FQ_OK;
}

static fq_status set_up_normalization(fq_dataset *set, const fq_data_settings *settings,
                                      const fq_normalization *automatic) {
    fq_normalization *used = &set->normalization;
    *used = (fq_normalization){0};
    if (settings->normalize == FQ_NORMALIZE_CUSTOM)
        FQ_TRY(custom_normalization(set, settings, used));
    else if (settings->normalize == FQ_NORMALIZE_AUTO && automatic != NULL)
        *used = *automatic;
    set->n_tables = used->n > 1 ? used->n : 1;
    set->plane = fq_shape_count(set->shape) / set->n_tables;
    for (size_t c = 0; c < set->n_tables; c++) {
        double mean = used->n > 0 ? used->mean[c] : 0.0, std = used->n > 0 ? used->std[c] : 1.0;
        for (int byte = 0; byte < 256; byte++)
            set->table[c][byte] = (float)((byte / 255.0 - mean) / std);
    }
    return FQ_OK;
}

static fq_status check_count(const fq_dataset *set, const char *part, size_t n) {
    if (n == 0)
        return fq_fail(FQ_EPROTO, "%s has no %s examples", set->name, part);
    if (n > UINT32_MAX)
        return fq_fail(FQ_ELIMIT, "%s has %zu %s examples; at most %u are possible", set->name, n,
                       part, UINT32_MAX);
    return FQ_OK;
}

fq_status fq_dataset_finish(fq_dataset *set, const fq_data_settings *settings,
                            const fq_normalization *automatic) {
    size_t features = fq_shape_count(set->shape);
    if (set->synthetic == NULL && settings->use != FQ_USE_TEST)
        FQ_TRY(check_count(set, "training", set->train.n));
    if (settings->use != FQ_USE_TRAIN)
        FQ_TRY(check_count(set, "test", set->test.n));
    thin(&set->train, settings->train_limit, features);
    thin(&set->test, settings->test_limit, features);
    return set_up_normalization(set, settings, automatic);
}

fq_status fq_dataset_hold_out(fq_dataset *set, const fq_data_settings *settings, uint64_t seed) {
    fq_examples *train = &set->train, *test = &set->test;
    size_t       n = train->n, features = fq_shape_count(set->shape);
    FQ_TRY(check_count(set, "training", n));
    size_t n_test = (size_t)((double)n * settings->test_fraction + 0.5);
    if (n_test == 0 || n_test >= n)
        return fq_fail(FQ_EINVAL,
                       "%s: data.test_fraction %g of %zu examples leaves %zu to test and %zu to "
                       "train; expected at least 1 of each",
                       set->name, settings->test_fraction, n, n_test, n - n_test);
    bool bytes = train->bytes != NULL;
    test->memory = malloc(n_test * features * (bytes ? 1 : sizeof(float)));
    test->labels = malloc(n_test * sizeof *test->labels);
    uint32_t *order = malloc(n * sizeof *order);
    bool     *held = calloc(n, sizeof *held);
    fq_status status = FQ_OK;
    if (test->memory == NULL || test->labels == NULL || order == NULL || held == NULL) {
        status = fq_fail(FQ_ENOMEM, "no memory for %zu test examples of %s", n_test, set->name);
        goto done;
    }
    test->bytes = bytes ? test->memory : NULL;
    test->floats = bytes ? NULL : test->memory;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    fq_rng rng = fq_rng_stream(seed, FQ_RNG_DATA, 0, 0, 0, UINT32_MAX);
    fq_rng_shuffle(&rng, order, n);
    for (size_t i = 0; i < n_test; i++)
        held[order[i]] = true;
    train->n = 0;
    for (size_t i = 0; i < n; i++) {
        fq_examples *target = held[i] ? test : train;
        move_example(target, target->n++, train, i, features);
    }
    assert(test->n == n_test);
done:
    free(order);
    free(held);
    return status;
}

/* ---- properties ---- */

const char *fq_dataset_name(const fq_dataset *set) {
    return set->name;
}

fq_shape fq_dataset_shape(const fq_dataset *set) {
    return set->shape;
}

uint32_t fq_dataset_classes(const fq_dataset *set) {
    return set->classes;
}

size_t fq_dataset_train_count(const fq_dataset *set) {
    return set->train.n;
}

bool fq_dataset_can_train(const fq_dataset *set) {
    return set->train.n > 0 || set->synthetic != NULL;
}

size_t fq_dataset_test_count(const fq_dataset *set) {
    return set->test.n;
}

uint64_t fq_dataset_users(const fq_dataset *set) {
    return set->users;
}

size_t fq_dataset_normalization(const fq_dataset *set, float mean[16], float std[16]) {
    const fq_normalization *used = &set->normalization;
    for (size_t c = 0; c < used->n; c++) {
        mean[c] = (float)used->mean[c];
        std[c] = (float)used->std[c];
    }
    return used->n;
}

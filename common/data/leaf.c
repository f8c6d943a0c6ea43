/* LEAF (Caldas et al. 2018, "LEAF: a benchmark for federated settings"): a folder with train/ and
 * test/, in them files
 *
 *     {"users": [u, ...], "num_samples": [n, ...],
 *      "user_data": {u: {"x": [[number, ...], ...], "y": [label, ...]}, ...}}
 *
 * The only user of jansson among the readers. Its tree of a number takes some 40 bytes, so it gets
 * the members of user_data one by one and a whole file is never in it. */
#include "base/file.h"
#include "data/data_impl.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEMNIST_CLASSES = 62, SIDE = 28 };

void fq_leaf_fini(fq_leaf *leaf) {
    free(leaf->floats);
    free(leaf->labels);
    free(leaf->owners);
    json_decref(leaf->names);
    *leaf = (fq_leaf){0};
}

/* ---- walking the outer levels ---- */

/* Where we are in the text of a file. */
typedef struct walk {
    const char          *file;
    const unsigned char *begin, *at, *end;
} walk;

static fq_status damaged(const walk *w, const char *expected) {
    return fq_fail(FQ_EPROTO, "%s: damaged JSON at byte %zu: expected %s", w->file,
                   (size_t)(w->at - w->begin), expected);
}

static int next_character(walk *w) {
    while (w->at < w->end && strchr(" \t\r\n", *w->at) != NULL && *w->at != '\0')
        w->at++;
    return w->at < w->end ? *w->at : -1;
}

static bool take(walk *w, char character) {
    if (next_character(w) != character)
        return false;
    w->at++;
    return true;
}

/* Any one value; the caller's reference. */
static fq_status take_value(walk *w, json_t **out) {
    json_error_t error;
    next_character(w);
    *out = json_loadb((const char *)w->at, (size_t)(w->end - w->at),
                      JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &error);
    if (*out == NULL)
        return fq_fail(FQ_EPROTO, "%s: damaged JSON near byte %zu: %s", w->file,
                       (size_t)(w->at - w->begin) +
                           (error.position > 0 ? (size_t)error.position : 0),
                       error.text);
    w->at += error.position;
    return FQ_OK;
}

/* The key of a member and its colon; the caller's reference. */
static fq_status take_key(walk *w, json_t **out) {
    *out = NULL;
    if (next_character(w) != '"')
        return damaged(w, "a name in quotes");
    FQ_TRY(take_value(w, out));
    if (take(w, ':'))
        return FQ_OK;
    json_decref(*out);
    *out = NULL;
    return damaged(w, "':'");
}

typedef fq_status member_function(walk *w, const char *key, void *context);

/* Each member of an object goes to `member`, which takes the value. */
static fq_status for_members(walk *w, member_function *member, void *context) {
    if (!take(w, '{'))
        return damaged(w, "'{'");
    if (take(w, '}'))
        return FQ_OK;
    do {
        json_t *key;
        FQ_TRY(take_key(w, &key));
        fq_status status = member(w, json_string_value(key), context);
        json_decref(key);
        FQ_TRY(status);
    } while (take(w, ','));
    return take(w, '}') ? FQ_OK : damaged(w, "',' or '}'");
}

/* ---- one user ---- */

static fq_status no_memory(const char *file) {
    return fq_fail(FQ_ENOMEM, "no memory for the examples of %s", file);
}

/* Room for n more examples. */
static fq_status reserve(fq_leaf *leaf, const char *file, size_t n) {
    size_t needed, floats;
    if (!fq_size_add(leaf->n, n, &needed) || needed > UINT32_MAX)
        return fq_fail(FQ_ELIMIT, "%s: more than %u examples", file, UINT32_MAX);
    if (needed <= leaf->capacity)
        return FQ_OK;
    size_t capacity = needed + leaf->capacity / 2;
    if (!fq_size_mul(capacity, leaf->features * sizeof(float), &floats))
        return no_memory(file);
    float *more_floats = realloc(leaf->floats, floats);
    if (more_floats == NULL)
        return no_memory(file);
    leaf->floats = more_floats;
    uint16_t *more_labels = realloc(leaf->labels, capacity * sizeof *more_labels);
    if (more_labels == NULL)
        return no_memory(file);
    leaf->labels = more_labels;
    uint32_t *more_owners = realloc(leaf->owners, capacity * sizeof *more_owners);
    if (more_owners == NULL)
        return no_memory(file);
    leaf->owners = more_owners;
    leaf->capacity = capacity;
    return FQ_OK;
}

/* Names user and example in errors. */
typedef struct place {
    const char *file, *user;
    size_t      example;
} place;

static fq_status convert_features(const place *where, const json_t *row, size_t features,
                                  float *out) {
    if (!json_is_array(row) || json_array_size(row) != features)
        return fq_fail(FQ_EPROTO,
                       "%s: user \"%.64s\", example %zu has %zu values, expected %zu numbers",
                       where->file, where->user, where->example, json_array_size(row), features);
    for (size_t f = 0; f < features; f++) {
        const json_t *value = json_array_get(row, f);
        if (!json_is_number(value))
            return fq_fail(FQ_EPROTO, "%s: user \"%.64s\", example %zu: value %zu is not a number",
                           where->file, where->user, where->example, f);
        out[f] = (float)json_number_value(value);
        if (!isfinite(out[f]))
            return fq_fail(FQ_ENONFINITE,
                           "%s: user \"%.64s\", example %zu: value %zu is %g, expected a float32",
                           where->file, where->user, where->example, f, json_number_value(value));
    }
    return FQ_OK;
}

static fq_status convert_label(const place *where, const json_t *value, uint32_t classes,
                               uint16_t *out) {
    double label = json_is_number(value) ? json_number_value(value) : -1.0;
    if (!(label >= 0.0 && label < (double)classes && label == floor(label)))
        return fq_fail(
            FQ_EPROTO,
            "%s: user \"%.64s\", example %zu: the label is %g%s, expected a whole number from 0 to "
            "%u",
            where->file, where->user, where->example, label,
            json_is_number(value) ? "" : " (not a number)", classes - 1);
    *out = (uint16_t)label;
    return FQ_OK;
}

static fq_status append_user(fq_leaf *leaf, const char *file, const char *user,
                             const json_t *data) {
    const json_t *x = json_object_get(data, "x"), *y = json_object_get(data, "y");
    size_t        n = json_array_size(x);
    if (!json_is_array(x) || !json_is_array(y) || json_array_size(y) != n)
        return fq_fail(
            FQ_EPROTO,
            "%s: user \"%.64s\" has x of %zu and y of %zu members, expected two lists of "
            "the same length",
            file, user, n, json_array_size(y));
    if (n > 0 && leaf->features == 0)
        leaf->features = json_array_size(json_array_get(x, 0));
    if (n > 0 && (leaf->features == 0 || leaf->features > FQ_MAX_FEATURES))
        return fq_fail(
            FQ_EPROTO,
            "%s: user \"%.64s\", example 0 has %zu values, expected a list of 1 to %d numbers",
            file, user, leaf->features, FQ_MAX_FEATURES);
    FQ_TRY(reserve(leaf, file, n));
    for (size_t i = 0; i < n; i++) {
        const place where = {file, user, i};
        uint16_t   *label = &leaf->labels[leaf->n];
        FQ_TRY(convert_features(&where, json_array_get(x, i), leaf->features,
                                leaf->floats + leaf->n * leaf->features));
        FQ_TRY(convert_label(&where, json_array_get(y, i), leaf->classes, label));
        leaf->found = *label >= leaf->found ? *label + 1U : leaf->found;
        leaf->owners[leaf->n++] = leaf->users;
    }
    return FQ_OK;
}

/* ---- one file ---- */

typedef struct parse {
    fq_leaf *leaf;
    json_t  *users, *counts; /* the file's lists, NULL until met */
    size_t   n_users;        /* in user_data */
    bool     met_data;
} parse;

static fq_status user_member(walk *w, const char *user, void *context) {
    parse   *p = context;
    fq_leaf *leaf = p->leaf;
    if (json_object_get(leaf->names, user) != NULL)
        return fq_fail(FQ_EPROTO, "%s: user \"%.64s\" appears twice", w->file, user);
    if (leaf->users == FQ_MAX_USERS)
        return fq_fail(FQ_ELIMIT, "%s: more than %d users", w->file, FQ_MAX_USERS);
    json_t *data;
    FQ_TRY(take_value(w, &data));
    size_t    before = leaf->n;
    fq_status status = append_user(leaf, w->file, user, data);
    json_decref(data);
    FQ_TRY(status);
    if (json_object_set_new(leaf->names, user, json_integer((json_int_t)(leaf->n - before))) != 0)
        return no_memory(w->file);
    leaf->users++;
    p->n_users++;
    return FQ_OK;
}

static fq_status top_member(walk *w, const char *key, void *context) {
    parse *p = context;
    if (strcmp(key, "user_data") == 0) {
        if (p->met_data)
            return fq_fail(FQ_EPROTO, "%s: user_data appears twice", w->file);
        p->met_data = true;
        return for_members(w, user_member, p);
    }
    json_t *value;
    FQ_TRY(take_value(w, &value));
    json_t **slot = strcmp(key, "users") == 0         ? &p->users
                    : strcmp(key, "num_samples") == 0 ? &p->counts
                                                      : NULL;
    if (slot == NULL) {
        json_decref(value);
    } else {
        json_decref(*slot);
        *slot = value;
    }
    return FQ_OK;
}

/* The three parts of a file must tell the same story. */
static fq_status check_story(const char *file, const parse *p) {
    size_t n = json_array_size(p->users);
    if (!p->met_data || !json_is_array(p->users) || !json_is_array(p->counts))
        return fq_fail(FQ_EPROTO, "%s: no %s; expected users, num_samples and user_data", file,
                       !p->met_data       ? "user_data"
                       : p->users == NULL ? "list users"
                                          : "list num_samples");
    if (n != p->n_users || json_array_size(p->counts) != n)
        return fq_fail(FQ_EPROTO,
                       "%s: %zu users and %zu num_samples, but user_data has %zu members", file, n,
                       json_array_size(p->counts), p->n_users);
    for (size_t i = 0; i < n; i++) {
        const char   *user = json_string_value(json_array_get(p->users, i));
        const json_t *count = user == NULL ? NULL : json_object_get(p->leaf->names, user);
        json_int_t    said = json_integer_value(json_array_get(p->counts, i));
        if (count == NULL)
            return fq_fail(FQ_EPROTO, "%s: user %zu, \"%.64s\", is not in user_data", file, i,
                           user == NULL ? "" : user);
        if (json_integer_value(count) != said)
            return fq_fail(FQ_EPROTO,
                           "%s: user \"%.64s\" has %" JSON_INTEGER_FORMAT
                           " examples, but num_samples says "
                           "%" JSON_INTEGER_FORMAT,
                           file, user, json_integer_value(count), said);
    }
    return FQ_OK;
}

fq_status fq_leaf_parse(const char *file, fq_cbytes bytes, fq_leaf *leaf) {
    if (leaf->names == NULL && (leaf->names = json_object()) == NULL)
        return no_memory(file);
    walk  w = {.file = file, .begin = bytes.data, .at = bytes.data, .end = bytes.data + bytes.size};
    parse p = {.leaf = leaf};
    fq_status status;
    FQ_GO(status, for_members(&w, top_member, &p));
    if (next_character(&w) >= 0) {
        status = damaged(&w, "the end");
        goto done;
    }
    status = check_story(file, &p);
done:
    json_decref(p.users);
    json_decref(p.counts);
    return status;
}

/* ---- a folder ---- */

static int is_json(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);
    return length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

/* Not alphasort, whose order depends on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static fq_status read_file(const char *folder, const char *name, fq_leaf *leaf) {
    char      path[FQ_DATA_PATH_BYTES];
    fq_cbytes bytes;
    FQ_TRY(fq_data_path(folder, name, path, sizeof path));
    FQ_TRY(fq_file_read(path, FQ_DATA_FILE_LIMIT, &bytes));
    fq_status status = fq_leaf_parse(path, bytes, leaf);
    free((void *)bytes.data);
    return status;
}

/* All files of a part, in order of their names; *found says whether there are any. */
static fq_status read_part(const char *folder, const char *part, fq_leaf *leaf, bool *found) {
    char            path[FQ_DATA_PATH_BYTES];
    struct dirent **entries;
    FQ_TRY(fq_data_path(folder, part, path, sizeof path));
    int n = scandir(path, &entries, is_json, by_name);
    *found = n > 0;
    if (n < 0)
        return errno == ENOENT ? FQ_OK
                               : fq_fail(FQ_EIO, "cannot list %s: %s", path, strerror(errno));
    fq_status status = FQ_OK;
    for (int i = 0; i < n; i++) {
        if (status == FQ_OK)
            status = read_file(path, entries[i]->d_name, leaf);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* The examples change owner. */
static void hand_over(fq_leaf *leaf, fq_examples *out, bool with_users) {
    out->n = leaf->n;
    out->memory = out->floats = leaf->floats;
    out->labels = leaf->labels;
    leaf->floats = NULL;
    leaf->labels = NULL;
    if (with_users) {
        out->users = leaf->owners;
        leaf->owners = NULL;
    }
}

typedef struct leaf_kind {
    const fq_data_reader *reader;
    fq_shape              shape;   /* c 0: as many features as the first example has */
    uint32_t              classes; /* 0: as many as there are labels */
} leaf_kind;

static fq_status build_set(const leaf_kind *kind, fq_data_use use, const char *folder,
                           fq_leaf *train, fq_leaf *test, bool *has_test, fq_dataset **out) {
    bool found;
    FQ_TRY(read_part(folder, "train", train, &found));
    test->features = train->features;
    if (use != FQ_USE_TRAIN)
        FQ_TRY(read_part(folder, "test", test, has_test));
    bool test_only = !found && *has_test && use == FQ_USE_TEST;
    if (!found && !test_only) {
        char path[FQ_DATA_PATH_BYTES];
        FQ_TRY(fq_data_path(folder, "train/*.json", path, sizeof path));
        return fq_data_missing(kind->reader, path);
    }
    if (train->n == 0 && !test_only)
        return fq_fail(FQ_EPROTO, "%s has no training examples in %s/train", kind->reader->name,
                       folder);
    uint32_t classes = train->found > test->found ? train->found : test->found;
    fq_shape shape = kind->shape;
    if (shape.c == 0)
        shape = (fq_shape){(uint32_t)(test_only ? test : train)->features, 1, 1};
    FQ_TRY(fq_dataset_new(kind->reader->name, shape, kind->classes > 0 ? kind->classes : classes,
                          out));
    (*out)->users = train->users;
    hand_over(train, &(*out)->train, true);
    if (*has_test)
        hand_over(test, &(*out)->test, false);
    return FQ_OK;
}

static fq_status open_kind(const leaf_kind *kind, const fq_data_settings *settings,
                           const char *folder, uint64_t seed, fq_dataset **out) {
    uint32_t  classes = kind->classes > 0 ? kind->classes : FQ_MAX_CLASSES;
    size_t    features = kind->shape.c > 0 ? fq_shape_count(kind->shape) : 0;
    fq_leaf   train = {.features = features, .classes = classes}, test = {.classes = classes};
    bool      has_test = false;
    fq_status status;
    *out = NULL;
    FQ_GO(status, build_set(kind, settings->use, folder, &train, &test, &has_test, out));
    if (!has_test && settings->use != FQ_USE_TRAIN)
        FQ_GO(status, fq_dataset_hold_out(*out, settings, seed));
    FQ_GO(status, fq_dataset_finish(*out, settings, NULL));
done:
    fq_leaf_fini(&train);
    fq_leaf_fini(&test);
    if (status != FQ_OK)
        fq_dataset_close(out);
    return status;
}

static fq_status open_leaf(const fq_data_settings *settings, const char *folder, uint64_t seed,
                           fq_dataset **out) {
    static const leaf_kind kind = {.reader = &fq_reader_leaf};
    return open_kind(&kind, settings, folder, seed, out);
}

/* Pixels are written as numbers from 0 to 1 already. */
static fq_status open_femnist(const fq_data_settings *settings, const char *folder, uint64_t seed,
                              fq_dataset **out) {
    static const leaf_kind kind = {
        .reader = &fq_reader_femnist, .shape = {1, SIDE, SIDE}, .classes = FEMNIST_CLASSES};
    return open_kind(&kind, settings, folder, seed, out);
}

const fq_data_reader fq_reader_leaf = {
    .name = "leaf",
    .summary = "any LEAF folder whose examples are lists of numbers (train/*.json, test/*.json)",
    .where = "Make it with LEAF's preprocess.sh and name the folder that holds train/ and test/ in "
             "data.path, "
             "or put it into $FEDQ_DATA/leaf",
    .open = open_leaf,
};

const fq_data_reader fq_reader_femnist = {
    .name = "femnist",
    .summary = "handwritten letters and digits by writer, 28 x 28, 62 classes (LEAF)",
    .where = "Make it with LEAF's data/femnist/preprocess.sh and name the folder that holds train/ "
             "and test/ "
             "in data.path, or put it into $FEDQ_DATA/femnist",
    .open = open_femnist,
};

/* NumPy arrays, the user's own data: features.npy and labels.npy, with users.npy and a test part
 * (test_features.npy, test_labels.npy) if there are any. The format is NumPy's NEP 1: magic,
 * version, header length, a Python dictionary in ASCII, then the values. */
#include "base/file.h"
#include "data/data_impl.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 65536 };

/* ---- header ---- */

/* The dictionary's text, and where we are in it. */
typedef struct scan {
    const char *at, *end;
} scan;

static void skip_blanks(scan *s) {
    while (s->at < s->end && isspace((unsigned char)*s->at))
        s->at++;
}

static bool take(scan *s, const char *word) {
    skip_blanks(s);
    size_t length = strlen(word);
    if ((size_t)(s->end - s->at) < length || memcmp(s->at, word, length) != 0)
        return false;
    s->at += length;
    return true;
}

/* 'text' or "text", at most capacity - 1 bytes, no escapes. */
static bool take_string(scan *s, char *out, size_t capacity) {
    skip_blanks(s);
    if (s->at == s->end || (*s->at != '\'' && *s->at != '"'))
        return false;
    const char *begin = s->at + 1, *close = memchr(begin, *s->at, (size_t)(s->end - begin));
    if (close == NULL || (size_t)(close - begin) >= capacity)
        return false;
    memcpy(out, begin, (size_t)(close - begin));
    out[close - begin] = '\0';
    s->at = close + 1;
    return true;
}

static bool take_size(scan *s, size_t *out) {
    skip_blanks(s);
    const char *begin = s->at;
    size_t      value = 0;
    for (; s->at < s->end && isdigit((unsigned char)*s->at); s->at++)
        if (!fq_size_mul(value, 10, &value) || !fq_size_add(value, (size_t)(*s->at - '0'), &value))
            return false;
    *out = value;
    return s->at > begin;
}

/* (60000, 28, 28), with the comma of (5,) */
static bool take_shape(scan *s, fq_npy *out) {
    if (!take(s, "("))
        return false;
    out->rank = 0;
    while (!take(s, ")")) {
        if (out->rank == FQ_NPY_RANK || !take_size(s, &out->dims[out->rank]))
            return false;
        out->rank++;
        if (!take(s, ",")) {
            if (!take(s, ")"))
                return false;
            break;
        }
    }
    return true;
}

/* Which keys of the dictionary have been seen. */
enum { SEEN_DESCR = 1, SEEN_ORDER = 2, SEEN_SHAPE = 4, SEEN_ALL = 7 };

static bool take_entry(scan *s, unsigned *seen, char *descr, size_t descr_capacity, bool *fortran,
                       fq_npy *out) {
    char key[16];
    unsigned this;
    bool good;
    if (!take_string(s, key, sizeof key) || !take(s, ":"))
        return false;
    if (strcmp(key, "descr") == 0) {
        this = SEEN_DESCR;
        good = take_string(s, descr, descr_capacity);
    } else if (strcmp(key, "fortran_order") == 0) {
        this = SEEN_ORDER;
        *fortran = take(s, "True");
        good = *fortran || take(s, "False");
    } else if (strcmp(key, "shape") == 0) {
        this = SEEN_SHAPE;
        good = take_shape(s, out);
    } else {
        return false;
    }
    bool again = (*seen & this) != 0;
    *seen |= this;
    return good && !again;
}

static bool take_dictionary(scan *s, char *descr, size_t descr_capacity, bool *fortran,
                            fq_npy *out) {
    unsigned seen = 0;
    if (!take(s, "{"))
        return false;
    while (!take(s, "}")) {
        if (!take_entry(s, &seen, descr, descr_capacity, fortran, out))
            return false;
        if (!take(s, ",")) {
            if (!take(s, "}"))
                return false;
            break;
        }
    }
    skip_blanks(s);
    return seen == SEEN_ALL && s->at == s->end;
}

static fq_status element_type(const char *file, const char *descr, fq_npy *out) {
    static const struct {
        size_t      size;
        fq_npy_type type;
        char        kind;
    } types[] = {
        {4, FQ_NPY_F32, 'f'}, {8, FQ_NPY_F64, 'f'}, {1, FQ_NPY_U8, 'u'},  {1, FQ_NPY_I8, 'i'},
        {2, FQ_NPY_U16, 'u'}, {2, FQ_NPY_I16, 'i'}, {4, FQ_NPY_U32, 'u'}, {4, FQ_NPY_I32, 'i'},
        {8, FQ_NPY_U64, 'u'}, {8, FQ_NPY_I64, 'i'},
    };
    if (strlen(descr) == 3 && strchr("<|=", descr[0]) != NULL) {
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (descr[1] == types[i].kind && descr[2] == (char)('0' + types[i].size)) {
                out->type = types[i].type;
                out->size = types[i].size;
                return FQ_OK;
            }
    }
    return fq_fail(
        FQ_EPROTO,
        "%s has elements of type '%s', expected little-endian float32, float64, or integers; "
        "convert with array.astype('<f4'), labels and users with array.astype('<i8')",
        file, descr);
}

static fq_status check_size(const char *file, fq_npy *out, size_t left) {
    if (out->rank == 0)
        return fq_fail(FQ_EPROTO, "%s is a single number, expected an array", file);
    size_t size = out->size;
    for (unsigned i = 0; i < out->rank; i++) {
        if (out->dims[i] == 0)
            return fq_fail(FQ_EPROTO, "%s says that dimension %u is 0, expected at least 1", file,
                           i);
        if (!fq_size_mul(size, out->dims[i], &size))
            return fq_fail(FQ_ELIMIT, "%s says it holds more bytes than can be counted", file);
    }
    if (size != left)
        return fq_fail(FQ_EPROTO, "%s has %zu bytes after its header, which says %zu", file, left,
                       size);
    return FQ_OK;
}

fq_status fq_npy_parse(const char *file, fq_cbytes bytes, fq_npy *out) {
    *out = (fq_npy){0};
    fq_reader            reader = fq_reader_of(bytes);
    const unsigned char *magic = fq_get_bytes(&reader, 6);
    if (magic == NULL || memcmp(magic, "\x93NUMPY", 6) != 0)
        return fq_fail(FQ_EPROTO, "%s is not a NumPy array: it does not begin with \\x93NUMPY",
                       file);
    unsigned major = fq_get_u8(&reader), minor = fq_get_u8(&reader);
    if (reader.failed || (major != 1 && major != 2) || minor != 0)
        return fq_fail(FQ_EPROTO, "%s has format version %u.%u, expected 1.0 or 2.0", file, major,
                       minor);
    size_t length = fq_get_u8(&reader);
    length |= (size_t)fq_get_u8(&reader) << 8;
    if (major == 2) {
        length |= (size_t)fq_get_u8(&reader) << 16;
        length |= (size_t)fq_get_u8(&reader) << 24;
    }
    const char *text = (const char *)fq_get_bytes(&reader, length);
    if (text == NULL || length > MAX_HEADER)
        return fq_fail(
            FQ_EPROTO,
            "%s has a header of %zu bytes, but only %zu follow, and at most %d are possible", file,
            length, fq_reader_left(&reader), MAX_HEADER);
    char descr[16];
    bool fortran = false;
    scan s = {text, text + length};
    if (!take_dictionary(&s, descr, sizeof descr, &fortran, out))
        return fq_fail(FQ_EPROTO,
                       "%s has a damaged header at byte %zu; expected {'descr': '<f4', "
                       "'fortran_order': False, "
                       "'shape': (N, ...)} with at most %d dimensions",
                       file, (size_t)(s.at - text), FQ_NPY_RANK);
    if (fortran)
        return fq_fail(FQ_EPROTO,
                       "%s is in Fortran order; save numpy.ascontiguousarray(array) in its place",
                       file);
    FQ_TRY(element_type(file, descr, out));
    out->data = reader.at;
    return check_size(file, out, fq_reader_left(&reader));
}

/* ---- values ---- */

static uint64_t bits_of(const unsigned char *at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static double real_at(const fq_npy *array, size_t i) {
    uint64_t bits = bits_of(array->data + i * array->size, array->size);
    if (array->type == FQ_NPY_F64) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    uint32_t word = (uint32_t)bits;
    float    value;
    memcpy(&value, &word, sizeof value);
    return (double)value;
}

fq_status fq_npy_integer(const char *file, const fq_npy *array, size_t i, uint32_t limit,
                         uint32_t *out) {
    if (array->type == FQ_NPY_F32 || array->type == FQ_NPY_F64) {
        double value = real_at(array, i);
        if (!(value >= 0.0 && value < (double)limit && value == floor(value)))
            return fq_fail(FQ_EPROTO, "%s: element %zu is %g, expected a whole number from 0 to %u",
                           file, i, value, limit - 1);
        *out = (uint32_t)value;
        return FQ_OK;
    }
    bool is_signed = array->type == FQ_NPY_I8 || array->type == FQ_NPY_I16 ||
                     array->type == FQ_NPY_I32 || array->type == FQ_NPY_I64;
    uint64_t value = bits_of(array->data + i * array->size, array->size);
    assert(array->size >= 1 && array->size <= 8);
    uint64_t sign = UINT64_C(1) << (8 * array->size - 1);
    if (is_signed && (value & sign) != 0) {
        uint64_t magnitude = (~value & (sign - 1)) + 1;
        return fq_fail(FQ_EPROTO,
                       "%s: element %zu is -%" PRIu64 ", expected a whole number from 0 to %u",
                       file, i, magnitude, limit - 1);
    }
    if (value >= limit)
        return fq_fail(FQ_EPROTO,
                       "%s: element %zu is %" PRIu64 ", expected a whole number from 0 to %u", file,
                       i, value, limit - 1);
    *out = (uint32_t)value;
    return FQ_OK;
}

fq_status fq_npy_floats(const char *file, const fq_npy *array, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        double value = real_at(array, i);
        out[i] = (float)value;
        if (!isfinite(out[i]))
            return fq_fail(FQ_ENONFINITE, "%s: element %zu is %g, expected a finite float32", file,
                           i, value);
    }
    return FQ_OK;
}

/* ---- the set ---- */

/* Fewer classes than this may have any gaps. */
enum { SPARSE_CLASSES = 256 };

/* One array file in memory. */
typedef struct array_file {
    char      path[FQ_DATA_PATH_BYTES];
    fq_cbytes bytes;
    fq_npy    array;
} array_file;

static fq_status open_array(const char *folder, const char *name, array_file *out) {
    FQ_TRY(fq_data_read(&fq_reader_npy, folder, name, out->path, &out->bytes));
    return fq_npy_parse(out->path, out->bytes, &out->array);
}

static void close_array(array_file *file) {
    free((void *)file->bytes.data);
    file->bytes = (fq_cbytes){0};
}

/* [N, F], [N, H, W] or [N, C, H, W]. */
static fq_status shape_of(const array_file *features, fq_shape *out) {
    const fq_npy *array = &features->array;
    const size_t *d = array->dims;
    for (unsigned i = 1; i < array->rank; i++)
        if (d[i] > FQ_MAX_FEATURES)
            return fq_fail(FQ_ELIMIT, "%s says that dimension %u is %zu, expected at most %d",
                           features->path, i, d[i], FQ_MAX_FEATURES);
    switch (array->rank) {
    case 2: *out = (fq_shape){(uint32_t)d[1], 1, 1}; return FQ_OK;
    case 3: *out = (fq_shape){1, (uint32_t)d[1], (uint32_t)d[2]}; return FQ_OK;
    case 4: *out = (fq_shape){(uint32_t)d[1], (uint32_t)d[2], (uint32_t)d[3]}; return FQ_OK;
    default:
        return fq_fail(FQ_EPROTO,
                       "%s has %u dimensions, expected [N, features], [N, H, W] or [N, C, H, W]",
                       features->path, array->rank);
    }
}

/* Bytes stay where they were read; floats are checked and copied. */
static fq_status take_features(array_file *file, size_t features, fq_examples *out) {
    const fq_npy *array = &file->array;
    size_t        n = array->dims[0] * features; /* fits: the file is that large */
    out->n = array->dims[0];
    if (array->type == FQ_NPY_U8) {
        out->memory = (void *)file->bytes.data;
        out->bytes = (uint8_t *)out->memory + (array->data - file->bytes.data);
        file->bytes = (fq_cbytes){0};
        return FQ_OK;
    }
    if (array->type != FQ_NPY_F32 && array->type != FQ_NPY_F64)
        return fq_fail(
            FQ_EPROTO,
            "%s has integers of %zu bytes, expected float32, float64 or uint8; convert with "
            "array.astype('<f4')",
            file->path, array->size);
    out->memory = out->floats = malloc(n * sizeof(float));
    if (out->memory == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the %zu values of %s", n, file->path);
    return fq_npy_floats(file->path, array, n, out->floats);
}

static fq_status check_list(const array_file *file, const char *features_path, size_t n) {
    if (file->array.rank != 1)
        return fq_fail(FQ_EPROTO, "%s has %u dimensions, expected 1", file->path, file->array.rank);
    if (file->array.dims[0] != n)
        return fq_fail(FQ_EPROTO, "%s has %zu elements, but %s has %zu examples", file->path,
                       file->array.dims[0], features_path, n);
    return FQ_OK;
}

/* A class with no example is fine, a class number that most classes below it lack is a mistake that
 * would make a network of that many outputs. */
static fq_status check_classes(const array_file *file, const fq_examples *part) {
    bool  *met = calloc(FQ_MAX_CLASSES, sizeof *met);
    size_t n = 0, largest = 0;
    if (met == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the classes of %s", file->path);
    for (size_t i = 0; i < part->n; i++) {
        n += !met[part->labels[i]];
        met[part->labels[i]] = true;
        largest = part->labels[i] > part->labels[largest] ? i : largest;
    }
    free(met);
    size_t classes = part->labels[largest] + (size_t)1;
    if (classes > SPARSE_CLASSES && n < classes / 2)
        return fq_fail(FQ_EPROTO,
                       "%s: element %zu is class %zu, but only %zu classes occur; number them from "
                       "0 without gaps",
                       file->path, largest, classes - 1, n);
    return FQ_OK;
}

/* *classes is raised to the largest label + 1. */
static fq_status take_labels(const array_file *file, const char *features_path, fq_examples *out,
                             uint32_t *classes) {
    FQ_TRY(check_list(file, features_path, out->n));
    out->labels = malloc(out->n * sizeof *out->labels);
    if (out->labels == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the labels of %s", file->path);
    for (size_t i = 0; i < out->n; i++) {
        uint32_t label;
        FQ_TRY(fq_npy_integer(file->path, &file->array, i, FQ_MAX_CLASSES, &label));
        out->labels[i] = (uint16_t)label;
        *classes = label >= *classes ? label + 1 : *classes;
    }
    return check_classes(file, out);
}

static fq_status take_users(const array_file *file, const char *features_path, fq_examples *out,
                            uint64_t *users) {
    FQ_TRY(check_list(file, features_path, out->n));
    out->users = malloc(out->n * sizeof *out->users);
    if (out->users == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the users of %s", file->path);
    for (size_t i = 0; i < out->n; i++) {
        FQ_TRY(fq_npy_integer(file->path, &file->array, i, FQ_MAX_USERS, &out->users[i]));
        *users = out->users[i] >= *users ? out->users[i] + UINT64_C(1) : *users;
    }
    return FQ_OK;
}

/* A part is left out, or whole; prefix: "" or "test_". */
static bool has_part(const char *folder, const char *prefix) {
    char features[32], labels[32];
    snprintf(features, sizeof features, "%sfeatures.npy", prefix);
    snprintf(labels, sizeof labels, "%slabels.npy", prefix);
    return fq_data_is_there(folder, features) || fq_data_is_there(folder, labels);
}

/* A set made by the first call fixes shape and element type for the second. */
static fq_status read_part(const char *folder, const char *prefix, fq_dataset **set, bool test) {
    char        features_name[32], labels_name[32];
    array_file *features = calloc(2, sizeof *features), *labels = features + 1;
    if (features == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to read %s", folder);
    fq_status status;
    fq_shape  shape;
    snprintf(features_name, sizeof features_name, "%sfeatures.npy", prefix);
    snprintf(labels_name, sizeof labels_name, "%slabels.npy", prefix);
    FQ_GO(status, open_array(folder, features_name, features));
    FQ_GO(status, open_array(folder, labels_name, labels));
    FQ_GO(status, shape_of(features, &shape));
    if (*set == NULL) {
        FQ_GO(status, fq_dataset_new("npy", shape, 1, set));
    } else {
        fq_shape train = (*set)->shape;
        if (shape.c != train.c || shape.h != train.h || shape.w != train.w) {
            status = fq_fail(FQ_EPROTO,
                             "%s has examples of %u x %u x %u, but those of features.npy are "
                             "%u x %u x %u",
                             features->path, shape.c, shape.h, shape.w, train.c, train.h, train.w);
            goto done;
        }
        if ((features->array.type == FQ_NPY_U8) != ((*set)->train.bytes != NULL)) {
            status = fq_fail(FQ_EPROTO, "%s and features.npy must both be uint8, or both float",
                             features->path);
            goto done;
        }
    }
    fq_examples *part = test ? &(*set)->test : &(*set)->train;
    FQ_GO(status, take_features(features, fq_shape_count(shape), part));
    FQ_GO(status, take_labels(labels, features->path, part, &(*set)->classes));
done:
    close_array(features);
    close_array(labels);
    free(features);
    return status;
}

static fq_status read_users(const char *folder, fq_dataset *set) {
    array_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to read %s", folder);
    fq_status status = open_array(folder, "users.npy", file);
    if (status == FQ_OK)
        status = take_users(file, "features.npy", &set->train, &set->users);
    close_array(file);
    free(file);
    return status;
}

static fq_status open_npy(const fq_data_settings *settings, const char *folder, uint64_t seed,
                          fq_dataset **out) {
    fq_status status;
    *out = NULL;
    bool test = settings->use != FQ_USE_TRAIN && has_part(folder, "test_");
    if (!test || settings->use != FQ_USE_TEST || has_part(folder, "")) {
        FQ_GO(status, read_part(folder, "", out, false));
        if (fq_data_is_there(folder, "users.npy"))
            FQ_GO(status, read_users(folder, *out));
    }
    if (test)
        FQ_GO(status, read_part(folder, "test_", out, true));
    else if (settings->use != FQ_USE_TRAIN)
        FQ_GO(status, fq_dataset_hold_out(*out, settings, seed));
    FQ_GO(status, fq_dataset_finish(*out, settings, NULL));
done:
    if (status != FQ_OK)
        fq_dataset_close(out);
    return status;
}

const fq_data_reader fq_reader_npy = {
    .name = "npy",
    .summary = "your own NumPy arrays: features.npy, labels.npy, users.npy",
    .where =
        "Save features.npy (float32, float64 or uint8; [N, features], [N, H, W] or [N, C, H, W]) "
        "and "
        "labels.npy ([N] integers) into a folder and name it in data.path, or into $FEDQ_DATA/npy",
    .open = open_npy,
};

/* CIFAR-10 and CIFAR-100, binary version (Krizhevsky 2009, "Learning multiple layers of features
 * from tiny images"): records of one label byte (CIFAR-100: coarse, then fine) and 3 x 32 x 32
 * pixel bytes, channel by channel, row by row. There is no header. */
#include "base/file.h"
#include "data/data_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 3 * 32 * 32, MAX_FILES = 5 };

typedef struct cifar {
    const fq_data_reader *reader;
    fq_cifar_labels       labels;
    const char           *subfolder;
    const char           *train[MAX_FILES + 1], *test; /* train ends with NULL */
} cifar;

fq_status fq_cifar_count(const char *file, fq_cbytes bytes, fq_cifar_labels labels, size_t *n) {
    size_t record = labels.bytes + PIXELS;
    if (bytes.size == 0 || bytes.size % record != 0)
        return fq_fail(FQ_EPROTO,
                       "%s has %zu bytes, expected a multiple of %zu (%u of label, 3 x 32 x 32 of "
                       "pixels)",
                       file, bytes.size, record, labels.bytes);
    *n = bytes.size / record;
    return FQ_OK;
}

fq_status fq_cifar_parse(const char *file, fq_cbytes bytes, fq_cifar_labels labels, uint8_t *pixels,
                         uint16_t *out) {
    size_t record = labels.bytes + PIXELS, n = bytes.size / record;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *at = bytes.data + i * record;
        unsigned             label = at[labels.bytes - 1];
        if (label >= labels.classes)
            return fq_fail(FQ_EPROTO, "%s: label %zu is %u, expected 0 to %u", file, i, label,
                           labels.classes - 1);
        out[i] = (uint16_t)label;
        memcpy(pixels + i * PIXELS, at + labels.bytes, PIXELS);
    }
    return FQ_OK;
}

/* Make room for n more examples. */
static fq_status grow(fq_examples *examples, const char *file, size_t n) {
    size_t all, size;
    if (!fq_size_add(examples->n, n, &all) || !fq_size_mul(all, PIXELS, &size))
        return fq_fail(FQ_ELIMIT, "%s has too many examples", file);
    uint8_t *pixels = realloc(examples->memory, size);
    if (pixels == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the images of %s", file);
    examples->memory = examples->bytes = pixels;
    uint16_t *labels = realloc(examples->labels, all * sizeof *labels);
    if (labels == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the labels of %s", file);
    examples->labels = labels;
    return FQ_OK;
}

static fq_status append_file(const cifar *kind, const char *folder, const char *name,
                             fq_examples *out) {
    char      path[FQ_DATA_PATH_BYTES];
    fq_cbytes bytes;
    FQ_TRY(fq_data_read(kind->reader, folder, name, path, &bytes));
    size_t    n = 0;
    fq_status status;
    FQ_GO(status, fq_cifar_count(path, bytes, kind->labels, &n));
    FQ_GO(status, grow(out, path, n));
    FQ_GO(status, fq_cifar_parse(path, bytes, kind->labels, out->bytes + out->n * PIXELS,
                                 out->labels + out->n));
    out->n += n;
done:
    free((void *)bytes.data);
    return status;
}

/* Of its training files a device may have some; a coordinator may have none. */
static bool is_left_out(const cifar *kind, fq_data_use use, const char *folder, const char *name) {
    bool any = false;
    for (const char *const *file = kind->train; *file != NULL; file++)
        any |= fq_data_is_there(folder, *file);
    return (use == FQ_USE_TRAIN && any && !fq_data_is_there(folder, name)) ||
           (use == FQ_USE_TEST && !any);
}

static fq_status read_all(const cifar *kind, fq_data_use use, const char *folder, fq_dataset *set) {
    char below[FQ_DATA_PATH_BYTES];
    FQ_TRY(fq_data_path(folder, kind->subfolder, below, sizeof below));
    if (fq_file_exists(below))
        folder = below;
    for (const char *const *name = kind->train; *name != NULL; name++)
        if (!is_left_out(kind, use, folder, *name))
            FQ_TRY(append_file(kind, folder, *name, &set->train));
    return use == FQ_USE_TRAIN ? FQ_OK : append_file(kind, folder, kind->test, &set->test);
}

static fq_status open_cifar(const cifar *kind, const fq_data_settings *settings, const char *folder,
                            const fq_normalization *automatic, fq_dataset **out) {
    FQ_TRY(fq_dataset_new(kind->reader->name, (fq_shape){3, 32, 32}, kind->labels.classes, out));
    fq_status status = read_all(kind, settings->use, folder, *out);
    if (status == FQ_OK)
        status = fq_dataset_finish(*out, settings, automatic);
    if (status != FQ_OK)
        fq_dataset_close(out);
    return status;
}

static fq_status open_cifar10(const fq_data_settings *settings, const char *folder, uint64_t seed,
                              fq_dataset **out) {
    (void)seed;
    static const cifar kind = {
        .reader = &fq_reader_cifar10,
        .labels = {.bytes = 1, .classes = 10},
        .subfolder = "cifar-10-batches-bin",
        .train = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                  "data_batch_5.bin"},
        .test = "test_batch.bin",
    };
    /* Of all training pixels, by channel; as commonly used. */
    static const fq_normalization automatic = {
        3, {0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616}};
    return open_cifar(&kind, settings, folder, &automatic, out);
}

static fq_status open_cifar100(const fq_data_settings *settings, const char *folder, uint64_t seed,
                               fq_dataset **out) {
    (void)seed;
    static const cifar kind = {
        .reader = &fq_reader_cifar100,
        .labels = {.bytes = 2, .classes = 100},
        .subfolder = "cifar-100-binary",
        .train = {"train.bin"},
        .test = "test.bin",
    };
    static const fq_normalization automatic = {
        3, {0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}};
    return open_cifar(&kind, settings, folder, &automatic, out);
}

const fq_data_reader fq_reader_cifar10 = {
    .name = "cifar10",
    .summary = "colour photographs, 3 x 32 x 32, 10 classes (binary version)",
    .where = "Unpack cifar-10-binary.tar.gz into a folder and name it in data.path, or into "
             "$FEDQ_DATA/cifar10",
    .open = open_cifar10,
};

const fq_data_reader fq_reader_cifar100 = {
    .name = "cifar100",
    .summary = "colour photographs, 3 x 32 x 32, 100 fine classes (binary version)",
    .where = "Unpack cifar-100-binary.tar.gz into a folder and name it in data.path, or into "
             "$FEDQ_DATA/cifar100",
    .open = open_cifar100,
};

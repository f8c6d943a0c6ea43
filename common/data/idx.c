/* IDX, the format of MNIST and its relatives: big-endian magic 0x000008 and rank, one u32 per
 * dimension, then unsigned bytes. LeCun, Cortes, Burges: "The MNIST database of handwritten
 * digits". */
#include "base/file.h"
#include "data/data_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE };

static uint32_t big_endian(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

fq_status fq_idx_parse(const char *file, fq_cbytes bytes, unsigned rank, fq_idx *out) {
    size_t   header = 4 + 4 * (size_t)rank;
    uint32_t expected = 0x0800 + rank;
    if (bytes.size < header)
        return fq_fail(FQ_EPROTO, "%s ends in its header: it has %zu bytes, expected at least %zu",
                       file, bytes.size, header);
    uint32_t magic = big_endian(bytes.data);
    if (magic != expected)
        return fq_fail(FQ_EPROTO,
                       "%s begins with 0x%08x, expected 0x%08x (bytes in %u dimension%s)", file,
                       magic, expected, rank, rank == 1 ? "" : "s");
    size_t product = 1;
    for (unsigned i = 0; i < rank; i++) {
        out->dims[i] = big_endian(bytes.data + 4 + 4 * (size_t)i);
        if (out->dims[i] == 0)
            return fq_fail(FQ_EPROTO, "%s says that dimension %u is 0, expected at least 1", file,
                           i);
        if (!fq_size_mul(product, out->dims[i], &product))
            return fq_fail(FQ_ELIMIT, "%s says it holds more bytes than can be counted", file);
    }
    if (product != bytes.size - header)
        return fq_fail(FQ_EPROTO, "%s has %zu bytes after its header, which says %zu", file,
                       bytes.size - header, product);
    out->data = bytes.data + header;
    return FQ_OK;
}

/* Rows and columns of each image change places. */
static void transpose_images(uint8_t *images, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint8_t *image = images + i * PIXELS;
        for (size_t r = 0; r < SIDE; r++)
            for (size_t c = r + 1; c < SIDE; c++) {
                uint8_t kept = image[r * SIDE + c];
                image[r * SIDE + c] = image[c * SIDE + r];
                image[c * SIDE + r] = kept;
            }
    }
}

/* first_label: what the file calls class 0. */
typedef struct label_range {
    uint32_t first, classes;
} label_range;

static fq_status take_labels(const char *file, const fq_idx *idx, label_range range,
                             uint16_t **out) {
    size_t    n = idx->dims[0];
    uint16_t *labels = malloc(n * sizeof *labels);
    if (labels == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the labels of %s", file);
    for (size_t i = 0; i < n; i++) {
        uint32_t label = idx->data[i];
        if (label < range.first || label - range.first >= range.classes) {
            free(labels);
            return fq_fail(FQ_EPROTO, "%s: label %zu is %u, expected %u to %u", file, i, label,
                           range.first, range.first + range.classes - 1);
        }
        labels[i] = (uint16_t)(label - range.first);
    }
    *out = labels;
    return FQ_OK;
}

static fq_status read_part(const fq_data_reader *reader, const char *folder,
                           const char *images_name, const char *labels_name, label_range range,
                           fq_examples *out) {
    char      images_path[FQ_DATA_PATH_BYTES], labels_path[FQ_DATA_PATH_BYTES];
    fq_cbytes images = {0}, labels = {0};
    fq_idx    pixels, marks;
    fq_status status;
    FQ_GO(status, fq_data_read(reader, folder, images_name, images_path, &images));
    FQ_GO(status, fq_data_read(reader, folder, labels_name, labels_path, &labels));
    FQ_GO(status, fq_idx_parse(images_path, images, 3, &pixels));
    FQ_GO(status, fq_idx_parse(labels_path, labels, 1, &marks));
    if (pixels.dims[1] != SIDE || pixels.dims[2] != SIDE) {
        status = fq_fail(FQ_EPROTO, "%s has images of %zu x %zu, expected %d x %d", images_path,
                         pixels.dims[1], pixels.dims[2], SIDE, SIDE);
        goto done;
    }
    if (pixels.dims[0] != marks.dims[0]) {
        status = fq_fail(FQ_EPROTO, "%s has %zu images, but %s has %zu labels", images_path,
                         pixels.dims[0], labels_path, marks.dims[0]);
        goto done;
    }
    FQ_GO(status, take_labels(labels_path, &marks, range, &out->labels));
    out->n = pixels.dims[0];
    out->memory = (void *)images.data; /* read into memory that is ours */
    out->bytes = (uint8_t *)out->memory + (pixels.data - images.data);
    images.data = NULL;
done:
    free((void *)images.data);
    free((void *)labels.data);
    return status;
}

/* prefix: "" or "emnist-balanced-"; the test part is called t10k by MNIST, test by EMNIST. */
static fq_status read_images(const fq_data_reader *reader, fq_data_use use, const char *folder,
                             const char *prefix, const char *test, label_range range,
                             fq_dataset **out) {
    char images[128], labels[128];
    FQ_TRY(fq_dataset_new(reader->name, (fq_shape){1, SIDE, SIDE}, range.classes, out));
    snprintf(images, sizeof images, "%strain-images-idx3-ubyte", prefix);
    snprintf(labels, sizeof labels, "%strain-labels-idx1-ubyte", prefix);
    if (use != FQ_USE_TEST || fq_data_is_there(folder, images) || fq_data_is_there(folder, labels))
        FQ_TRY(read_part(reader, folder, images, labels, range, &(*out)->train));
    if (use == FQ_USE_TRAIN)
        return FQ_OK;
    snprintf(images, sizeof images, "%s%s-images-idx3-ubyte", prefix, test);
    snprintf(labels, sizeof labels, "%s%s-labels-idx1-ubyte", prefix, test);
    return read_part(reader, folder, images, labels, range, &(*out)->test);
}

static fq_status open_ten_classes(const fq_data_reader *reader, const fq_data_settings *settings,
                                  const char *folder, const fq_normalization *automatic,
                                  fq_dataset **out) {
    fq_status status =
        read_images(reader, settings->use, folder, "", "t10k", (label_range){0, 10}, out);
    if (status == FQ_OK)
        status = fq_dataset_finish(*out, settings, automatic);
    if (status != FQ_OK)
        fq_dataset_close(out);
    return status;
}

/* Mean and standard deviation of all training pixels, as commonly used. */
static const fq_normalization mnist = {1, {0.1307}, {0.3081}};
static const fq_normalization fashion_mnist = {1, {0.2860}, {0.3530}};
static const fq_normalization emnist = {1, {0.1722}, {0.3310}};

static fq_status open_mnist(const fq_data_settings *settings, const char *folder, uint64_t seed,
                            fq_dataset **out) {
    (void)seed;
    return open_ten_classes(&fq_reader_mnist, settings, folder, &mnist, out);
}

static fq_status open_fashion_mnist(const fq_data_settings *settings, const char *folder,
                                    uint64_t seed, fq_dataset **out) {
    (void)seed;
    return open_ten_classes(&fq_reader_fashion_mnist, settings, folder, &fashion_mnist, out);
}

/* The splits of EMNIST (Cohen et al. 2017), by file name; letters are numbered from 1. */
static const struct emnist_split {
    const char *name;
    label_range range;
} emnist_splits[] = {
    {"balanced", {0, 47}}, {"byclass", {0, 62}}, {"bymerge", {0, 47}},
    {"digits", {0, 10}},   {"letters", {1, 26}}, {"mnist", {0, 10}},
};

static bool has_emnist_part(const char *folder, const char *split, const char *part) {
    char name[128];
    snprintf(name, sizeof name, "emnist-%s-%s-images-idx3-ubyte", split, part);
    return fq_data_is_there(folder, name);
}

static fq_status find_emnist_split(const char *folder, fq_data_use use,
                                   const struct emnist_split **out) {
    char found[FQ_TEXT_BYTES] = "", path[FQ_DATA_PATH_BYTES];
    int  n = 0;
    *out = NULL;
    for (size_t i = 0; i < sizeof emnist_splits / sizeof *emnist_splits; i++) {
        if (!has_emnist_part(folder, emnist_splits[i].name, "train") &&
            (use != FQ_USE_TEST || !has_emnist_part(folder, emnist_splits[i].name, "test")))
            continue;
        *out = &emnist_splits[i];
        size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, " %s", emnist_splits[i].name);
        n++;
    }
    if (n > 1)
        return fq_fail(FQ_EINVAL,
                       "emnist: %s holds several splits:%s; put one into a folder of its own",
                       folder, found);
    if (n == 0) {
        FQ_TRY(
            fq_data_path(folder, "emnist-<split>-train-images-idx3-ubyte.gz", path, sizeof path));
        return fq_data_missing(&fq_reader_emnist, path);
    }
    return FQ_OK;
}

/* EMNIST stores its images with rows and columns exchanged, against MNIST; ours stand upright. */
static fq_status open_emnist(const fq_data_settings *settings, const char *folder, uint64_t seed,
                             fq_dataset **out) {
    (void)seed;
    const struct emnist_split *split;
    FQ_TRY(find_emnist_split(folder, settings->use, &split));
    char prefix[64];
    snprintf(prefix, sizeof prefix, "emnist-%s-", split->name);
    fq_status status =
        read_images(&fq_reader_emnist, settings->use, folder, prefix, "test", split->range, out);
    if (status == FQ_OK) {
        transpose_images((*out)->train.bytes, (*out)->train.n);
        transpose_images((*out)->test.bytes, (*out)->test.n);
        status = fq_dataset_finish(*out, settings, &emnist);
    }
    if (status != FQ_OK)
        fq_dataset_close(out);
    return status;
}

const fq_data_reader fq_reader_mnist = {
    .name = "mnist",
    .summary = "handwritten digits, 28 x 28, 10 classes (IDX)",
    .where = "Put the four MNIST files (train-images-idx3-ubyte.gz and so on) into a folder and "
             "name it in "
             "data.path, or into $FEDQ_DATA/mnist",
    .open = open_mnist,
};

const fq_data_reader fq_reader_fashion_mnist = {
    .name = "fashion-mnist",
    .summary = "articles of clothing, 28 x 28, 10 classes (IDX)",
    .where = "Install the Debian package dataset-fashion-mnist, or set data.path or FEDQ_DATA",
    .open = open_fashion_mnist,
    .default_folder = "/usr/share/datasets/fashion-mnist",
};

const fq_data_reader fq_reader_emnist = {
    .name = "emnist",
    .summary = "handwritten letters and digits, 28 x 28, 10 to 62 classes (IDX)",
    .where = "Put the four files of one EMNIST split (emnist-balanced-train-images-idx3-ubyte.gz "
             "and so on) "
             "into a folder and name it in data.path, or into $FEDQ_DATA/emnist",
    .open = open_emnist,
};

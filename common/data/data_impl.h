/* What the readers share: the data set's insides, and parsers that work on bytes in memory, so that
 * tests and fuzzers need no files. */
#ifndef FQ_DATA_DATA_IMPL_H
#define FQ_DATA_DATA_IMPL_H

#include "base/bytes.h"
#include "data/dataset.h"

enum {
    FQ_MAX_CLASSES = 65535,
    FQ_MAX_CHANNELS = 16, /* with constants of their own for normalisation */
    FQ_MAX_FEATURES = 1 << 24,
    FQ_MAX_USERS = 1 << 28,
    FQ_SYNTHETIC_FEATURES = 2048,
    FQ_SYNTHETIC_CLASSES = 1000,
    FQ_SYNTHETIC_WEIGHTS =
        16384, /* features x classes: a client's true weights live on the stack */
};

/* Bytes of one file, unpacked: 4 GiB, less where memory cannot be that large. */
#define FQ_DATA_FILE_LIMIT ((size_t)(SIZE_MAX / 2 < UINT32_MAX ? SIZE_MAX / 2 : UINT32_MAX))

/* Examples in rows; bytes stay bytes until they are gathered. */
typedef struct fq_examples {
    size_t    n;
    uint8_t  *bytes;  /* [n, features], or NULL */
    float    *floats; /* [n, features], or NULL */
    uint16_t *labels; /* [n] */
    uint32_t *users;  /* [n], or NULL: no natural clients */
    void     *memory; /* block that bytes or floats points into */
} fq_examples;

/* x = (raw - mean[c]) / std[c]; raw is byte / 255 for bytes. n: 1 for all channels alike, or one
 * per channel; 0 is mean 0, std 1. */
typedef struct fq_normalization {
    size_t n;
    double mean[FQ_MAX_CHANNELS], std[FQ_MAX_CHANNELS];
} fq_normalization;

/* LEAF synthetic(alpha, beta), see synthetic.c. */
typedef struct fq_synthetic {
    uint64_t seed;
    size_t   features, classes;
    double   alpha, beta;
    size_t   mean_examples, min_examples;
    float    deviation[FQ_SYNTHETIC_FEATURES]; /* [features] of x around the client's mean */
} fq_synthetic;

struct fq_dataset {
    char             name[FQ_WORD_BYTES];
    fq_shape         shape;
    uint32_t         classes;
    uint64_t         users;
    fq_examples      train, test;
    fq_normalization normalization;
    size_t           n_tables, plane; /* parts that are normalised alike: channels, or one */
    float            table[FQ_MAX_CHANNELS][256]; /* normalised value of a byte */
    fq_synthetic    *synthetic;                   /* NULL: examples are in train */
};

/* ---- for readers ---- */
/* An empty data set of that name; fq_dataset_close ends it at any stage. */
FQ_MUST_CHECK fq_status fq_dataset_new(const char *name, fq_shape shape, uint32_t classes,
                                       fq_dataset **out);
/* What every reader does last: check that there are examples, apply the limits, and set up
 * normalisation; `automatic` is what the set uses if the settings say nothing else. */
FQ_MUST_CHECK fq_status fq_dataset_finish(fq_dataset *set, const fq_data_settings *settings,
                                          const fq_normalization *automatic);
/* Move settings->test_fraction of the training examples, drawn by the seed, into the test part. */
FQ_MUST_CHECK fq_status fq_dataset_hold_out(fq_dataset *set, const fq_data_settings *settings,
                                            uint64_t seed);

/* "folder/name"; FQ_EINVAL if that is too long. */
FQ_MUST_CHECK fq_status fq_data_path(const char *folder, const char *name, char *out,
                                     size_t capacity);
/* Is folder/name or folder/name.gz there? */
bool fq_data_is_there(const char *folder, const char *name);
/* FQ_EIO saying that this file is not there and where to get it. */
fq_status fq_data_missing(const fq_data_reader *reader, const char *path);
/* Read folder/name or folder/name.gz, whichever is there; *path names it in later errors. The
 * caller frees out->data. */
enum { FQ_DATA_PATH_BYTES = 1024 };
FQ_MUST_CHECK fq_status fq_data_read(const fq_data_reader *reader, const char *folder,
                                     const char *name, char path[FQ_DATA_PATH_BYTES],
                                     fq_cbytes *out);

/* ---- parsers: `file` only names the bytes in errors ---- */
/* IDX of unsigned bytes with `rank` dimensions (1..3), whose product is exactly what follows. */
typedef struct fq_idx {
    size_t               dims[3]; /* the first is the number of examples, > 0 */
    const unsigned char *data;    /* borrowed */
} fq_idx;
FQ_MUST_CHECK fq_status fq_idx_parse(const char *file, fq_cbytes bytes, unsigned rank, fq_idx *out);

/* CIFAR's records. The last of the label bytes counts; it is < classes. */
typedef struct fq_cifar_labels {
    unsigned bytes, classes;
} fq_cifar_labels;
FQ_MUST_CHECK fq_status fq_cifar_count(const char *file, fq_cbytes bytes, fq_cifar_labels labels,
                                       size_t *n);
/* pixels [n, 3, 32, 32], out [n], n from fq_cifar_count. */
FQ_MUST_CHECK fq_status fq_cifar_parse(const char *file, fq_cbytes bytes, fq_cifar_labels labels,
                                       uint8_t *pixels, uint16_t *out);

typedef enum fq_npy_type {
    FQ_NPY_F32,
    FQ_NPY_F64,
    FQ_NPY_U8,
    FQ_NPY_I8,
    FQ_NPY_U16,
    FQ_NPY_I16,
    FQ_NPY_U32,
    FQ_NPY_I32,
    FQ_NPY_U64,
    FQ_NPY_I64,
} fq_npy_type;
enum { FQ_NPY_RANK = 4 };
/* A C-ordered array whose dimensions, all > 0, say exactly as many bytes as there are. */
typedef struct fq_npy {
    fq_npy_type          type;
    size_t               size; /* bytes of an element */
    unsigned             rank; /* 1..FQ_NPY_RANK */
    size_t               dims[FQ_NPY_RANK];
    const unsigned char *data; /* borrowed, not aligned */
} fq_npy;
FQ_MUST_CHECK fq_status fq_npy_parse(const char *file, fq_cbytes bytes, fq_npy *out);
/* Element i, of any type, as a whole number below `limit`. */
FQ_MUST_CHECK fq_status fq_npy_integer(const char *file, const fq_npy *array, size_t i,
                                       uint32_t limit, uint32_t *out);
/* The first n elements of a float array as finite float32. */
FQ_MUST_CHECK fq_status fq_npy_floats(const char *file, const fq_npy *array, size_t n, float *out);

/* LEAF json, one file after the other, into examples that grow. To begin: all zero but what is
 * noted. */
typedef struct fq_leaf {
    size_t         features; /* of every example; 0: as the first example has */
    uint32_t       classes;  /* labels must be below */
    uint32_t       found;    /* largest label + 1 */
    size_t         n, capacity;
    uint32_t       users;
    float         *floats; /* [n, features] */
    uint16_t      *labels; /* [n] */
    uint32_t      *owners; /* [n] < users */
    struct json_t *names;  /* user -> number of examples */
} fq_leaf;
void                    fq_leaf_fini(fq_leaf *leaf);
FQ_MUST_CHECK fq_status fq_leaf_parse(const char *file, fq_cbytes bytes, fq_leaf *leaf);

/* ---- synthetic ---- */
size_t fq_synthetic_count(const fq_synthetic *synthetic, uint64_t client);
size_t fq_synthetic_largest(const fq_synthetic *synthetic);
void   fq_synthetic_gather(const fq_synthetic *synthetic, uint64_t client, const uint32_t *order,
                           size_t batch, size_t lanes, float *x, uint16_t *labels);

extern const fq_data_reader fq_reader_fashion_mnist, fq_reader_mnist, fq_reader_emnist,
    fq_reader_cifar10, fq_reader_cifar100, fq_reader_femnist, fq_reader_leaf, fq_reader_npy,
    fq_reader_synthetic;

#endif

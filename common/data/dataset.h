/* Examples and labels, read or mapped once and shared by all workers; nothing is copied per client.
 *
 * One reader is one file and one row of dataset_table.c.
 */
#ifndef FQ_DATA_DATASET_H
#define FQ_DATA_DATASET_H

#include "base/config.h"
#include "base/rng.h"
#include "base/status.h"
#include "model/network.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fq_dataset fq_dataset;

/* What the program does with the examples. A coordinator of devices needs none to train on, a
 * device none to test with. */
typedef enum fq_data_use {
    FQ_USE_ALL,   /* both parts, or a share of the training part held out for testing */
    FQ_USE_TRAIN, /* the test part is not looked at, and nothing is held out */
    FQ_USE_TEST,  /* the training part may be missing */
} fq_data_use;

/* Settings under `data:`; see fq_data_keys for each. */
typedef struct fq_data_settings {
    char     set[FQ_TEXT_BYTES];  /* a reader's name */
    char     path[FQ_TEXT_BYTES]; /* empty: $FEDQ_DATA/<set> or the reader's own default */
    int64_t  clients;
    int      split;             /* fq_split */
    double   alpha;             /* dirichlet, dirichlet_client */
    int64_t  shards_per_client; /* shards */
    int64_t  min_examples;      /* fewest a client may have */
    int64_t  test_limit;        /* use only so many test examples; 0: all */
    int64_t  train_limit;
    int      normalize; /* fq_normalize */
    fq_reals mean, std; /* custom: one value, or one per channel, of raw / 255 for bytes */
    /* synthetic */
    double  synthetic_alpha, synthetic_beta;
    int64_t features, classes;
    int64_t examples; /* mean over clients */
    int64_t test_examples;
    double  test_fraction; /* held out, by the seed, where npy and LEAF have no test part */

    fq_data_use use; /* the program's choice, no key */
} fq_data_settings;
extern const fq_key fq_data_keys[];
/* What can be told without opening the set: is it known, and do the keys go together? FQ_EINVAL
 * "data.KEY: ...". */
FQ_MUST_CHECK fq_status fq_data_settings_check(const fq_data_settings *settings);

/* How the training examples are divided over clients. A set that makes its examples on the fly has
 * clients of its own, whatever the split says. */
typedef enum fq_split {
    FQ_SPLIT_IID,       /* at random, in equal parts */
    FQ_SPLIT_DIRICHLET, /* each class over the clients by a draw from Dir(alpha): sizes differ */
    FQ_SPLIT_SHARDS,    /* sorted by label and cut; each client gets so many pieces */
    FQ_SPLIT_NATURAL,   /* by user, as the set says */
    FQ_SPLIT_DIRICHLET_CLIENT, /* each client's mix of classes from Dir(alpha / classes): equal
                                  sizes */
} fq_split;
extern const char *const fq_split_names[];

/* auto: constants of the set (each reader's file has them); none: bytes / 255, floats as
 * they are; custom: settings mean and std. */
typedef enum fq_normalize {
    FQ_NORMALIZE_AUTO,
    FQ_NORMALIZE_NONE,
    FQ_NORMALIZE_CUSTOM
} fq_normalize;
extern const char *const fq_normalize_names[];

typedef struct fq_data_reader {
    const char *name, *summary, *where; /* where to get it, NULL: needs no files */
    fq_status (*open)(const fq_data_settings *settings, const char *folder, uint64_t seed,
                      fq_dataset **out);
    const char *default_folder; /* NULL: none */
} fq_data_reader;
extern const fq_data_reader *const fq_data_readers[]; /* NULL-terminated */

/* Open by settings->set. FQ_EIO for a missing file says what to install or where to put it; damaged
 * files are FQ_EPROTO naming file, what was found and what was expected. */
FQ_MUST_CHECK fq_status fq_dataset_open(const fq_data_settings *settings, uint64_t seed,
                                        fq_dataset **out);
void                    fq_dataset_close(fq_dataset **set);

const char *fq_dataset_name(const fq_dataset *set);
fq_shape    fq_dataset_shape(const fq_dataset *set); /* of one example */
uint32_t    fq_dataset_classes(const fq_dataset *set);
size_t fq_dataset_train_count(const fq_dataset *set); /* 0 if examples belong to clients by nature
                                                         and are made on the fly (synthetic) */
bool   fq_dataset_can_train(const fq_dataset *set);   /* false: it has a test part only */
size_t fq_dataset_test_count(const fq_dataset *set);
/* Natural clients (writers, users, synthetic clients); 0 if the set has none. */
uint64_t fq_dataset_users(const fq_dataset *set);
/* What was used: x = (raw - mean[c]) / std[c], raw being byte / 255 for bytes. Returns how many
 * there are: one for each channel, 1 if all channels are alike, 0 if there is no normalisation. */
size_t fq_dataset_normalization(const fq_dataset *set, float mean[16], float std[16]);

/* One client's examples: indices into the train part, or, if index is NULL, the client's own
 * (synthetic: example i of client `client`). */
typedef struct fq_shard {
    const fq_dataset *set;
    uint64_t          client;
    const uint32_t   *index; /* [n] borrowed from the partition */
    size_t            n;
} fq_shard;

/* Put examples order[0..batch) of the shard into x [features, lanes] (lanes past the batch zeroed),
 * normalised, and their labels [batch]. order holds positions in the shard. Thread-safe, no
 * allocation. */
void fq_shard_gather(const fq_shard *shard, const uint32_t *order, size_t batch, size_t lanes,
                     float *x, uint16_t *labels);
/* Test examples first .. first + batch. */
void fq_dataset_gather_test(const fq_dataset *set, size_t first, size_t batch, size_t lanes,
                            float *x, uint16_t *labels);

/* ---- partition: who has what ---- */
typedef struct fq_partition fq_partition;
/* A function of settings and seed. clients must be >= 1; natural needs a set with users and leaves
 * out those with fewer than min_examples (clients: the first so many in order of a shuffle; 0:
 * all; more than there are is an error). */
FQ_MUST_CHECK fq_status fq_partition_create(fq_partition **out, const fq_dataset *set,
                                            const fq_data_settings *settings, uint64_t seed);
void                    fq_partition_destroy(fq_partition **partition);
uint64_t                fq_partition_clients(const fq_partition *partition);
fq_shard                fq_partition_shard(const fq_partition *partition, uint64_t client);
/* No shard is larger: what to reserve for an order of positions. */
size_t fq_partition_largest(const fq_partition *partition);
size_t fq_partition_bytes(const fq_partition *partition);

/* ---- batches: a client's examples in shuffled order, epoch after epoch ---- */
typedef struct fq_batches {
    uint32_t *order; /* [n] caller's memory */
    size_t    n, batch, next;
    uint32_t  epoch, round;
    uint64_t  seed, client;
    bool      drop_last;
} fq_batches;
void fq_batches_begin(fq_batches *batches, uint32_t *order, size_t n, size_t batch, uint64_t seed,
                      uint32_t round, uint64_t client);
/* Positions of the next minibatch; *size is batch, or less at the end of an epoch. A new epoch
 * reshuffles. */
const uint32_t *fq_batches_next(fq_batches *batches, size_t *size);
size_t          fq_batches_per_epoch(size_t n, size_t batch);

#endif

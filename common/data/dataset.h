/* Examples and labels, read or mapped once and shared by all workers; nothing is copied per client.
 *
 * One reader is one file and one row of dataset_table.c.
 */
#ifndef FQ_DATA_DATASET_H
#define FQ_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/rng.h"
#include "base/status.h"
#include "model/network.h"

typedef struct fq_dataset fq_dataset;

/* Settings under `data:`; see fq_data_keys for each. */
typedef struct fq_data_settings {
    char     set[FQ_TEXT_BYTES];    /* a reader's name */
    char     path[FQ_TEXT_BYTES];   /* empty: $FEDQ_DATA/<set> or the reader's own default */
    int64_t  clients;
    int      split;                 /* index into fq_split_names */
    double   alpha;                 /* dirichlet */
    int64_t  shards_per_client;     /* shards */
    int64_t  min_examples;          /* a split that leaves a client with fewer is an error or is refilled */
    int64_t  test_limit;            /* use only so many test examples; 0: all */
    int64_t  train_limit;
    int      normalize;             /* auto none custom */
    fq_reals mean, std;             /* custom: one value, or one per channel, of raw / 255 for bytes */
    /* synthetic */
    double   synthetic_alpha, synthetic_beta;
    int64_t  features, classes, examples; /* mean examples of a client */
    int64_t  test_examples;
    double   test_fraction;         /* npy and LEAF without a test part: held out, by example, from the seed */
} fq_data_settings;
extern const fq_key fq_data_keys[];
extern const char *const fq_split_names[]; /* iid dirichlet shards natural */

typedef struct fq_data_reader {
    const char *name, *summary, *where; /* where to get it, for the error when a file is missing */
    fq_status (*open)(const fq_data_settings *settings, const char *folder, uint64_t seed, fq_dataset **out);
    const char *default_folder;         /* NULL: none */
} fq_data_reader;
extern const fq_data_reader *const fq_data_readers[]; /* NULL-terminated */

/* Open by settings->set. FQ_EIO for a missing file says what to install or where to put it; damaged files
 * are FQ_EPROTO naming file, what was found and what was expected. */
FQ_MUST_CHECK fq_status fq_dataset_open(const fq_data_settings *settings, uint64_t seed, fq_dataset **out);
void                    fq_dataset_close(fq_dataset **set);

const char *fq_dataset_name(const fq_dataset *set);
fq_shape    fq_dataset_shape(const fq_dataset *set);   /* of one example */
uint32_t    fq_dataset_classes(const fq_dataset *set);
size_t      fq_dataset_train_count(const fq_dataset *set); /* 0 if examples belong to clients by nature
                                                              and are made on the fly (synthetic) */
size_t      fq_dataset_test_count(const fq_dataset *set);
/* Natural clients (writers, users, synthetic clients); 0 if the set has none. */
uint64_t    fq_dataset_users(const fq_dataset *set);
/* What was used: x = (raw - mean[c]) / std[c]; returns the number of channels, 0 if none. */
size_t      fq_dataset_normalization(const fq_dataset *set, float mean[16], float std[16]);

/* One client's examples: indices into the train part, or, if index is NULL, the client's own (synthetic:
 * example i of client `client`). */
typedef struct fq_shard {
    const fq_dataset *set;
    uint64_t          client;
    const uint32_t   *index; /* [n] borrowed from the partition */
    size_t            n;
} fq_shard;

/* Put examples order[0..batch) of the shard into x [features, lanes] (lanes past the batch zeroed),
 * normalised, and their labels [batch]. order holds positions in the shard. Thread-safe, no allocation. */
void fq_shard_gather(const fq_shard *shard, const uint32_t *order, size_t batch, size_t lanes, float *x,
                     uint16_t *labels);
/* Test examples first .. first + batch. */
void fq_dataset_gather_test(const fq_dataset *set, size_t first, size_t batch, size_t lanes, float *x,
                            uint16_t *labels);

/* ---- partition: who has what ---- */
typedef struct fq_partition fq_partition;
/* A function of settings and seed. clients must be >= 1; natural needs a set with users (clients <= users:
 * the first so many in order of a shuffle; 0 or more than there are: all). */
FQ_MUST_CHECK fq_status fq_partition_create(fq_partition **out, const fq_dataset *set,
                                            const fq_data_settings *settings, uint64_t seed);
void                    fq_partition_destroy(fq_partition **partition);
uint64_t                fq_partition_clients(const fq_partition *partition);
fq_shard                fq_partition_shard(const fq_partition *partition, uint64_t client);
size_t                  fq_partition_bytes(const fq_partition *partition);

/* ---- batches: a client's examples in shuffled order, epoch after epoch ---- */
typedef struct fq_batches {
    uint32_t *order;  /* [n] caller's memory */
    size_t    n, batch, next;
    uint32_t  epoch, round;
    uint64_t  seed, client;
    bool      drop_last;
} fq_batches;
void fq_batches_begin(fq_batches *batches, uint32_t *order, size_t n, size_t batch, uint64_t seed, uint32_t round,
                      uint64_t client);
/* Positions of the next minibatch; *size is batch, or less at the end of an epoch. A new epoch reshuffles. */
const uint32_t *fq_batches_next(fq_batches *batches, size_t *size);
size_t          fq_batches_per_epoch(size_t n, size_t batch);

#endif

#include "data/dataset.h"

const char *const fq_split_names[] = {
    [FQ_SPLIT_IID] = "iid",
    [FQ_SPLIT_DIRICHLET] = "dirichlet",
    [FQ_SPLIT_SHARDS] = "shards",
    [FQ_SPLIT_NATURAL] = "natural",
    [FQ_SPLIT_DIRICHLET_CLIENT] = "dirichlet_client",
    NULL,
};

const char *const fq_normalize_names[] = {
    [FQ_NORMALIZE_AUTO] = "auto",
    [FQ_NORMALIZE_NONE] = "none",
    [FQ_NORMALIZE_CUSTOM] = "custom",
    NULL,
};

#define FIELD(member) offsetof(fq_data_settings, member)

const fq_key fq_data_keys[] = {
    {"set", FQ_TYPE_TEXT, FIELD(set), "fashion-mnist", 0, 0, NULL,
     "Name of the data set; `fedq-sim list datasets` shows all."},
    {"path", FQ_TYPE_TEXT, FIELD(path), "\"\"", 0, 0, NULL,
     "Folder with the set's files; empty means $FEDQ_DATA/<set>, then the set's own default."},
    {"clients", FQ_TYPE_INT, FIELD(clients), "100", 0, 1e8, NULL,
     "Number of clients; 0 means every user of a natural split."},
    {"split", FQ_TYPE_CHOICE, FIELD(split), "dirichlet", 0, 0, fq_split_names,
     "How the training examples are divided over the clients; synthetic has clients of its own."},
    {"alpha", FQ_TYPE_REAL, FIELD(alpha), "0.5", 1e-4, 1e9, NULL,
     "Concentration of the Dirichlet splits, per client (dirichlet) or divided by the classes "
     "(dirichlet_client): small is few classes per client, large is iid."},
    {"shards_per_client", FQ_TYPE_INT, FIELD(shards_per_client), "2", 1, 10000, NULL,
     "Pieces of the label-sorted examples that each client of the shards split gets."},
    {"min_examples", FQ_TYPE_INT, FIELD(min_examples), "1", 1, 1e6, NULL,
     "Fewest examples a client may have; users with fewer are left out of a natural split."},
    {"test_limit", FQ_TYPE_INT, FIELD(test_limit), "0", 0, 4e9, NULL,
     "Evaluate on this many test examples, evenly spaced; 0 means all."},
    {"train_limit", FQ_TYPE_INT, FIELD(train_limit), "0", 0, 4e9, NULL,
     "Use this many training examples, evenly spaced; 0 means all."},
    {"normalize", FQ_TYPE_CHOICE, FIELD(normalize), "auto", 0, 0, fq_normalize_names,
     "Inputs as (raw - mean) / std, raw being byte / 255: constants of the set, none, or the "
     "settings'."},
    {"mean", FQ_TYPE_REALS, FIELD(mean), "[]", -1e6, 1e6, NULL,
     "Means for normalize: custom, one for all channels or one for each."},
    {"std", FQ_TYPE_REALS, FIELD(std), "[]", 1e-6, 1e6, NULL,
     "Standard deviations for normalize: custom, one for all channels or one for each."},
    {"synthetic_alpha", FQ_TYPE_REAL, FIELD(synthetic_alpha), "0.5", 0, 1000, NULL,
     "How much the true models of synthetic clients differ."},
    {"synthetic_beta", FQ_TYPE_REAL, FIELD(synthetic_beta), "0.5", 0, 1000, NULL,
     "How much the inputs of synthetic clients differ."},
    {"features", FQ_TYPE_INT, FIELD(features), "60", 1, 2048, NULL,
     "Inputs of a synthetic example."},
    {"classes", FQ_TYPE_INT, FIELD(classes), "10", 2, 1000, NULL, "Classes of the synthetic set."},
    {"examples", FQ_TYPE_INT, FIELD(examples), "100", 1, 1e6, NULL,
     "Mean number of examples of a synthetic client; the numbers are log-normal."},
    {"test_examples", FQ_TYPE_INT, FIELD(test_examples), "2000", 1, 1e6, NULL,
     "Test examples of the synthetic set, from its clients in turn."},
    {"test_fraction", FQ_TYPE_REAL, FIELD(test_fraction), "0.2", 1e-6, 0.9, NULL,
     "Share of the examples held out for testing where npy or LEAF files have no test part."},
    {0},
};

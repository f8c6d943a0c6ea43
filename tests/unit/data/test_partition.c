#include "data/data_impl.h"
#include "data_support.h"

#include <math.h>
#include <stdlib.h>

enum { N = 20000, CLASSES = 10 };

/* n one-byte examples in memory, labels in shuffled order, n / classes of each; `users` users, user
 * u having about twice as many as user 0 if u is the last. */
static fq_dataset *make_set(size_t n, uint32_t classes, uint32_t users) {
    fq_dataset *set;
    FQ_ASSERT_OK(fq_dataset_new("made", (fq_shape){1, 1, 1}, classes, &set));
    fq_examples *train = &set->train;
    train->n = n;
    train->memory = train->bytes = calloc(n, 1);
    train->labels = malloc(n * sizeof *train->labels);
    uint32_t *order = malloc(n * sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    fq_rng rng = fq_rng_stream(7, FQ_RNG_DATA, 0, 0, 0, 0);
    fq_rng_shuffle(&rng, order, n);
    for (size_t i = 0; i < n; i++)
        train->labels[order[i]] = (uint16_t)(i * classes / n);
    free(order);
    if (users > 0) {
        set->users = users;
        train->users = malloc(n * sizeof *train->users);
        for (size_t i = 0; i < n; i++)
            train->users[i] = (uint32_t)(sqrt((double)i / (double)n) * users);
    }
    return set;
}

static fq_data_settings make_settings(int split, int64_t clients) {
    fq_data_settings settings = test_data_settings("made", NULL);
    settings.split = split;
    settings.clients = clients;
    return settings;
}

/* counts [clients, classes] */
static uint32_t *count_labels(const fq_partition *partition, const fq_dataset *set) {
    size_t    clients = fq_partition_clients(partition), classes = fq_dataset_classes(set);
    uint32_t *counts = calloc(clients * classes, sizeof *counts);
    for (size_t k = 0; k < clients; k++) {
        fq_shard shard = fq_partition_shard(partition, k);
        for (size_t i = 0; i < shard.n; i++)
            counts[k * classes + set->train.labels[shard.index[i]]]++;
    }
    return counts;
}

static const int all_splits[] = {FQ_SPLIT_IID, FQ_SPLIT_DIRICHLET, FQ_SPLIT_SHARDS,
                                 FQ_SPLIT_NATURAL, FQ_SPLIT_DIRICHLET_CLIENT};

static void test_uses_all_once(void) {
    fq_dataset    *set = make_set(N, CLASSES, 20);
    unsigned char *seen = malloc(N);
    for (size_t s = 0; s < 5; s++) {
        fq_data_settings settings = make_settings(all_splits[s], 20);
        fq_partition    *partition;
        FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 1));
        CU_ASSERT_EQUAL(fq_partition_clients(partition), 20);
        memset(seen, 0, N);
        size_t used = 0, largest = 0;
        for (uint64_t k = 0; k < 20; k++) {
            fq_shard shard = fq_partition_shard(partition, k);
            CU_ASSERT_TRUE(shard.n >= 1);
            CU_ASSERT_EQUAL(shard.client, k);
            used += shard.n;
            largest = shard.n > largest ? shard.n : largest;
            for (size_t i = 0; i < shard.n; i++)
                seen[shard.index[i]]++;
        }
        CU_ASSERT_EQUAL(used, N);
        CU_ASSERT_EQUAL(largest, fq_partition_largest(partition));
        for (size_t i = 0; i < N; i++)
            if (seen[i] != 1)
                CU_FAIL("an example is not used exactly once");
        fq_partition_destroy(&partition);
        CU_ASSERT_PTR_NULL(partition);
    }
    free(seen);
    fq_dataset_close(&set);
}

static bool equal(const fq_partition *a, const fq_partition *b) {
    for (uint64_t k = 0; k < fq_partition_clients(a); k++) {
        fq_shard x = fq_partition_shard(a, k), y = fq_partition_shard(b, k);
        if (x.n != y.n || memcmp(x.index, y.index, x.n * sizeof *x.index) != 0)
            return false;
    }
    return true;
}

static void test_is_a_function_of_the_seed(void) {
    fq_dataset *set = make_set(2000, CLASSES, 20);
    for (size_t s = 0; s < 5; s++) {
        fq_data_settings settings = make_settings(all_splits[s], 10);
        fq_partition    *a, *b, *c;
        FQ_ASSERT_OK(fq_partition_create(&a, set, &settings, 1));
        FQ_ASSERT_OK(fq_partition_create(&b, set, &settings, 1));
        FQ_ASSERT_OK(fq_partition_create(&c, set, &settings, 2));
        CU_ASSERT_TRUE(equal(a, b));
        CU_ASSERT_FALSE(equal(a, c));
        fq_partition_destroy(&a);
        fq_partition_destroy(&b);
        fq_partition_destroy(&c);
    }
    fq_dataset_close(&set);
}

/* Chi-square of the class counts, (20 - 1)(10 - 1) = 171 degrees of freedom: 171 +- 5 sqrt(342). */
static void test_iid_is_even(void) {
    fq_dataset      *set = make_set(N, CLASSES, 0);
    fq_data_settings settings = make_settings(FQ_SPLIT_IID, 20);
    fq_partition    *partition;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 3));
    uint32_t *counts = count_labels(partition, set);
    double    expected = (double)N / (20 * CLASSES), chi = 0.0;
    for (size_t i = 0; i < 20 * (size_t)CLASSES; i++)
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    CU_ASSERT_DOUBLE_EQUAL(chi, 171.0, 93.0);
    free(counts);
    fq_partition_destroy(&partition);

    settings.clients = 33;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 3));
    for (uint64_t k = 0; k < 33; k++) {
        size_t n = fq_partition_shard(partition, k).n;
        CU_ASSERT_TRUE(n == N / 33 || n == N / 33 + 1);
    }
    fq_partition_destroy(&partition);
    fq_dataset_close(&set);
}

/* The share of a client in a class has the mean 1 / K and the variance (1 / K)(1 - 1 / K) / (K
 * alpha + 1). */
static void test_dirichlet_by_class(void) {
    enum { K = 50 };
    fq_dataset   *set = make_set(N, CLASSES, 0);
    fq_partition *partition;
    static const struct {
        double alpha, tolerance; /* of the variance, relative */
    } cases[] = {{1.0, 0.4}, {10.0, 0.3}};
    for (size_t a = 0; a < 2; a++) {
        fq_data_settings settings = make_settings(FQ_SPLIT_DIRICHLET, K);
        settings.alpha = cases[a].alpha;
        FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 5));
        uint32_t *counts = count_labels(partition, set);
        double squares = 0.0, expected = (1.0 / K) * (1.0 - 1.0 / K) / (K * cases[a].alpha + 1.0);
        for (size_t i = 0; i < (size_t)K * CLASSES; i++) {
            double off = counts[i] * (double)CLASSES / N - 1.0 / K;
            squares += off * off;
        }
        double variance = squares / (K * CLASSES);
        CU_ASSERT_DOUBLE_EQUAL(variance / expected, 1.0, cases[a].tolerance);
        free(counts);
        fq_partition_destroy(&partition);
    }
    fq_data_settings settings = make_settings(FQ_SPLIT_DIRICHLET, K);
    settings.alpha = 1e9;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 5));
    uint32_t *counts = count_labels(partition, set);
    for (size_t i = 0; i < (size_t)K * CLASSES; i++)
        if (abs((int)counts[i] - N / (K * CLASSES)) > 1)
            CU_FAIL("a class is not divided evenly for a large alpha");
    free(counts);
    fq_partition_destroy(&partition);

    settings.alpha = 0.01;
    FQ_ASSERT_FAILS(fq_partition_create(&partition, set, &settings, 5), FQ_EINVAL,
                    "a client had fewer than data.min_examples 1");
    CU_ASSERT_PTR_NULL(partition);
    fq_dataset_close(&set);
}

static void test_dirichlet_redraws_for_min_examples(void) {
    fq_dataset      *set = make_set(N, CLASSES, 0);
    fq_data_settings settings = make_settings(FQ_SPLIT_DIRICHLET, 20);
    fq_partition    *loose, *strict;
    size_t           fewest = N;
    FQ_ASSERT_OK(fq_partition_create(&loose, set, &settings, 1));
    for (uint64_t k = 0; k < 20; k++) {
        size_t n = fq_partition_shard(loose, k).n;
        fewest = n < fewest ? n : fewest;
    }
    settings.min_examples = (int64_t)fewest + 1;
    FQ_ASSERT_OK(fq_partition_create(&strict, set, &settings, 1));
    for (uint64_t k = 0; k < 20; k++)
        CU_ASSERT_TRUE(fq_partition_shard(strict, k).n > fewest);
    fq_partition_destroy(&loose);
    fq_partition_destroy(&strict);
    fq_dataset_close(&set);
}

static void test_dirichlet_by_client(void) {
    enum { K = 100 };
    fq_dataset      *set = make_set(N, CLASSES, 0);
    fq_data_settings settings = make_settings(FQ_SPLIT_DIRICHLET_CLIENT, K);
    fq_partition    *partition;

    /* Large alpha: counts within 3 sigma of N / (K C), but for the 0.3 % that may be outside; and
     * but for the last clients, who take the classes that the others left. */
    settings.alpha = 1e9;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 2));
    uint32_t *counts = count_labels(partition, set);
    double    expected = (double)N / (K * CLASSES), sigma = sqrt(expected * (1.0 - 1.0 / CLASSES));
    unsigned  outside = 0;
    for (size_t i = 0; i < (size_t)(K - 5) * CLASSES; i++) {
        outside += fabs(counts[i] - expected) > 3.0 * sigma;
        CU_ASSERT_TRUE(fabs(counts[i] - expected) < 5.0 * sigma);
    }

    CU_ASSERT_TRUE(outside <= 10);
    free(counts);
    fq_partition_destroy(&partition);

    /* alpha 0.01: at least 80 % of the clients have one class for more than 90 % of their examples.
     */
    settings.alpha = 0.01;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 2));
    counts = count_labels(partition, set);
    unsigned single = 0;
    for (size_t k = 0; k < K; k++) {
        CU_ASSERT_EQUAL(fq_partition_shard(partition, k).n, N / K);
        uint32_t most = 0;
        for (size_t c = 0; c < CLASSES; c++)
            most = counts[k * CLASSES + c] > most ? counts[k * CLASSES + c] : most;
        single += most > 0.9 * N / K;
    }

    CU_ASSERT_TRUE(single >= 0.8 * K);
    free(counts);
    fq_partition_destroy(&partition);

    /* So small that every Gamma draw is 0 as a double. */
    settings.alpha = 1e-4;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 2));
    fq_partition_destroy(&partition);
    fq_dataset_close(&set);
}

/* Shards that divide the classes evenly have one label each. */
static void test_shards_have_few_labels(void) {
    fq_dataset      *set = make_set(N, CLASSES, 0);
    fq_data_settings settings = make_settings(FQ_SPLIT_SHARDS, 50);
    settings.shards_per_client = 2;
    fq_partition *partition;
    FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 1));
    uint32_t *counts = count_labels(partition, set);
    unsigned  two = 0;
    for (size_t k = 0; k < 50; k++) {
        unsigned labels = 0;
        for (size_t c = 0; c < CLASSES; c++)
            labels += counts[k * CLASSES + c] > 0;
        CU_ASSERT_TRUE(labels == 1 || labels == 2);
        two += labels == 2;
        CU_ASSERT_EQUAL(fq_partition_shard(partition, k).n, N / 50);
    }
    CU_ASSERT_TRUE(two > 25); /* dealt at random: 9 of 10 clients on average */
    free(counts);
    fq_partition_destroy(&partition);
    settings.shards_per_client = 401;
    FQ_ASSERT_FAILS(fq_partition_create(&partition, set, &settings, 1), FQ_EINVAL,
                    "50 clients of 401 shards");
    fq_dataset_close(&set);
}

static void test_natural_has_no_more_clients_than_users(void) {
    fq_dataset      *set = make_set(N, CLASSES, 40);
    fq_data_settings settings = make_settings(FQ_SPLIT_NATURAL, 41);
    fq_partition    *partition;
    FQ_ASSERT_FAILS(fq_partition_create(&partition, set, &settings, 1), FQ_EINVAL,
                    "data.clients: 41 is more than the 40 users");
    fq_dataset_close(&set);
}

static void test_natural_is_by_user(void) {
    fq_dataset *set = make_set(N, CLASSES, 40);
    static const struct {
        int64_t  clients, min_examples;
        uint64_t got;
    } cases[] = {{0, 1, 40}, {40, 1, 40}, {7, 1, 7}, {0, 500, 20}};
    for (size_t i = 0; i < 4; i++) {
        fq_data_settings settings = make_settings(FQ_SPLIT_NATURAL, cases[i].clients);
        settings.min_examples = cases[i].min_examples;
        fq_partition *partition;
        FQ_ASSERT_OK(fq_partition_create(&partition, set, &settings, 1));
        CU_ASSERT_EQUAL(fq_partition_clients(partition), cases[i].got);
        bool met[40] = {false};
        for (uint64_t k = 0; k < fq_partition_clients(partition); k++) {
            fq_shard shard = fq_partition_shard(partition, k);
            CU_ASSERT_TRUE_FATAL(shard.n >= (size_t)cases[i].min_examples);
            uint32_t user = set->train.users[shard.index[0]];
            CU_ASSERT_FALSE(met[user]);
            met[user] = true;
            size_t all = 0;
            for (size_t e = 0; e < N; e++)
                all += set->train.users[e] == user;
            CU_ASSERT_EQUAL(shard.n, all);
            for (size_t e = 0; e < shard.n; e++)
                if (set->train.users[shard.index[e]] != user)
                    CU_FAIL("another user's example");
        }
        fq_partition_destroy(&partition);
    }
    fq_data_settings settings = make_settings(FQ_SPLIT_NATURAL, 0);
    settings.min_examples = N;
    fq_partition *partition;
    FQ_ASSERT_FAILS(fq_partition_create(&partition, set, &settings, 1), FQ_EINVAL,
                    "none of the 40 users");
    fq_dataset_close(&set);
}

static void test_refuses_the_impossible(void) {
    fq_dataset *set = make_set(100, CLASSES, 0);
    static const struct {
        int         split;
        int64_t     clients, min_examples;
        double      alpha;
        const char *part;
    } cases[] = {
        {FQ_SPLIT_IID, 101, 1, 1.0, "101 clients of at least 1 examples are more than the 100"},
        {FQ_SPLIT_IID, 20, 6, 1.0, "20 clients of at least 6 examples"},
        {FQ_SPLIT_DIRICHLET, INT64_MAX, INT64_MAX, 1.0, "are more than the 100"},
        {FQ_SPLIT_IID, 0, 1, 1.0, "data.clients: 0 is not allowed"},
        {FQ_SPLIT_SHARDS, -1, 1, 1.0, "data.clients: -1 is not allowed"},
        {FQ_SPLIT_NATURAL, 10, 1, 1.0, "has no users"},
        {FQ_SPLIT_DIRICHLET, 10, 1, 0.0, "data.alpha: 0 is not allowed"},
        {99, 10, 1, 1.0, "99 is not a split"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fq_data_settings settings = make_settings(cases[i].split, cases[i].clients);
        settings.min_examples = cases[i].min_examples;
        settings.alpha = cases[i].alpha;
        fq_partition *partition;
        FQ_ASSERT_FAILS(fq_partition_create(&partition, set, &settings, 1), FQ_EINVAL,
                        cases[i].part);
        CU_ASSERT_PTR_NULL(partition);
    }
    fq_dataset_close(&set);
}

int main(void) {
    static const fq_case cases[] = {
        {"every example is used exactly once", test_uses_all_once},
        {"a function of the seed", test_is_a_function_of_the_seed},
        {"iid is even", test_iid_is_even},
        {"dirichlet divides each class", test_dirichlet_by_class},
        {"dirichlet draws again for min_examples", test_dirichlet_redraws_for_min_examples},
        {"dirichlet_client draws each client's mix", test_dirichlet_by_client},
        {"shards have few labels", test_shards_have_few_labels},
        {"natural is by user", test_natural_is_by_user},
        {"natural has no more clients than users", test_natural_has_no_more_clients_than_users},
        {"refuses the impossible", test_refuses_the_impossible},
        {NULL, NULL},
    };
    return fq_run_suite("partition", cases);
}

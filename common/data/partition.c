#include "data/data_impl.h"

#include <assert.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* offset and index in compressed-row form: client k has index[offset[k]] .. index[offset[k + 1] -
 * 1]. */
struct fq_partition {
    const fq_dataset *set;
    uint64_t          clients;
    size_t            largest;
    uint32_t         *offset; /* [clients + 1], NULL for a set that makes its examples */
    uint32_t         *index;  /* up to [examples of the set] */
};

/* The `layer` of streams, so that no two uses share one. */
enum { STREAM_DEAL, STREAM_CLASS, STREAM_SHARES, STREAM_CLIENT };

/* Draws of a split before it is given up because a client stays too small. */
enum { MAX_DRAWS = 50 };

static fq_rng stream(uint64_t seed, uint32_t attempt, uint64_t which, uint32_t use) {
    return fq_rng_stream(seed, FQ_RNG_PARTITION, attempt, which, 0, use);
}

static fq_status no_memory(const fq_dataset *set) {
    return fq_fail(FQ_ENOMEM, "no memory to divide %zu examples of %s", set->train.n, set->name);
}

static void count_up(uint32_t *items, size_t n) {
    for (size_t i = 0; i < n; i++)
        items[i] = (uint32_t)i;
}

/* Client k gets part k of n in parts that differ by one at most. */
static void cut_evenly(uint32_t *offset, uint64_t clients, size_t n) {
    for (uint64_t k = 0; k <= clients; k++)
        offset[k] = (uint32_t)(k * n / clients);
}

/* ---- by class ---- */

/* Examples sorted by label; those of class c are at begin[c] .. begin[c + 1] - 1, in the set's
 * order. */
static void sort_by_label(const fq_dataset *set, uint32_t *sorted, uint32_t *begin) {
    const uint16_t *labels = set->train.labels;
    size_t          n = set->train.n;
    memset(begin, 0, (set->classes + 1) * sizeof *begin);
    for (size_t i = 0; i < n; i++)
        begin[labels[i] + 1]++;
    for (uint32_t c = 0; c < set->classes; c++)
        begin[c + 1] += begin[c];
    for (size_t i = 0; i < n; i++)
        sorted[begin[labels[i]]++] = (uint32_t)i;
    for (uint32_t c = set->classes; c > 0; c--)
        begin[c] = begin[c - 1];
    begin[0] = 0;
}

/* Logarithms of n Gamma(alpha) draws: softmax of them is a draw from Dir(alpha), and stays one for
 * an alpha at which all the draws themselves underflow. */
static void draw_log_shares(fq_rng *rng, double alpha, double *log_shares, size_t n) {
    for (size_t i = 0; i < n; i++)
        log_shares[i] = fq_rng_log_gamma(rng, alpha);
}

static void softmax(double *values, size_t n) {
    double max = values[0], sum = 0.0;
    for (size_t i = 1; i < n; i++)
        max = fmax(max, values[i]);
    for (size_t i = 0; i < n; i++)
        sum += values[i] = exp(values[i] - max);
    for (size_t i = 0; i < n; i++)
        values[i] /= sum;
}

/* count [clients] += what each client gets of a class with n examples, for p ~ Dir(alpha) over
 * clients: client k gets those between the rounded cumulative shares before and after its own. */
static void divide_class(fq_rng *rng, double alpha, size_t n, double *p, uint32_t *count,
                         uint64_t clients) {
    draw_log_shares(rng, alpha, p, clients);
    softmax(p, clients);
    double sum = 0.0;
    size_t begin = 0;
    for (uint64_t k = 0; k < clients; k++) {
        sum += p[k];
        size_t end = k + 1 == clients ? n : (size_t)((double)n * sum + 0.5);
        end = end > n ? n : end;
        count[k] += (uint32_t)(end - begin);
        begin = end;
    }
}

/* Each class over the clients (Yurochkin et al. 2019, "Bayesian nonparametric federated learning of
 * neural networks"): drawn again as a whole while a client has too few. */
static fq_status split_dirichlet(fq_partition *partition, const fq_data_settings *settings,
                                 uint64_t seed) {
    const fq_dataset *set = partition->set;
    uint64_t          clients = partition->clients;
    size_t            n = set->train.n, classes = set->classes;
    uint32_t         *sorted = malloc(n * sizeof *sorted);
    uint32_t         *begin = malloc((classes + 1) * sizeof *begin);
    uint32_t         *count = malloc(clients * sizeof *count); /* of the class in hand */
    uint32_t         *next = malloc(clients * sizeof *next);
    double           *p = malloc(clients * sizeof *p);
    fq_status         status = FQ_OK;
    if (sorted == NULL || begin == NULL || count == NULL || next == NULL || p == NULL) {
        status = no_memory(set);
        goto done;
    }
    sort_by_label(set, sorted, begin);
    uint32_t attempt = 0, fewest = 0;
    for (; attempt < MAX_DRAWS; attempt++) {
        memset(count, 0, clients * sizeof *count);
        for (size_t c = 0; c < classes; c++) {
            fq_rng rng = stream(seed, attempt, c, STREAM_SHARES);
            divide_class(&rng, settings->alpha, begin[c + 1] - begin[c], p, count, clients);
        }
        fewest = UINT32_MAX;
        for (uint64_t k = 0; k < clients; k++)
            fewest = count[k] < fewest ? count[k] : fewest;
        if (fewest >= settings->min_examples)
            break;
    }
    if (attempt == MAX_DRAWS) {
        status = fq_fail(
            FQ_EINVAL,
            "data.split dirichlet: in %d draws a client had fewer than data.min_examples %" PRId64
            " of %zu examples (last: %" PRIu32 "); raise data.alpha %g, lower data.clients %" PRIu64
            ", or take dirichlet_client, whose clients are equal in size",
            MAX_DRAWS, settings->min_examples, n, fewest, settings->alpha, clients);
        goto done;
    }
    partition->offset[0] = 0;
    for (uint64_t k = 0; k < clients; k++) {
        partition->offset[k + 1] = partition->offset[k] + count[k];
        next[k] = partition->offset[k];
    }
    for (size_t c = 0; c < classes; c++) {
        uint32_t *examples = sorted + begin[c];
        size_t    n_class = begin[c + 1] - begin[c];
        fq_rng    shuffle = stream(seed, 0, c, STREAM_CLASS);
        fq_rng_shuffle(&shuffle, examples, n_class);
        fq_rng rng = stream(seed, attempt, c, STREAM_SHARES);
        memset(count, 0, clients * sizeof *count);
        divide_class(&rng, settings->alpha, n_class, p, count, clients);
        for (uint64_t k = 0; k < clients; k++) {
            memcpy(partition->index + next[k], examples, count[k] * sizeof *examples);
            next[k] += count[k];
            examples += count[k];
        }
    }
done:
    free(sorted);
    free(begin);
    free(count);
    free(next);
    free(p);
    return status;
}

/* q [classes] = softmax of log_q over the classes with examples left, 0 elsewhere. */
static void renormalize(const double *log_q, const uint32_t *next, const uint32_t *begin, double *q,
                        size_t classes) {
    for (size_t c = 0; c < classes; c++)
        q[c] = next[c] < begin[c + 1] ? log_q[c] : -HUGE_VAL;
    softmax(q, classes);
}

static size_t draw_class(fq_rng *rng, const double *q, size_t classes) {
    double left = fq_rng_uniform_double(rng);
    size_t drawn = classes;
    for (size_t c = 0; c < classes; c++) {
        if (q[c] <= 0.0)
            continue;
        drawn = c; /* the last one possible, if rounding leaves a rest */
        left -= q[c];
        if (left < 0.0)
            break;
    }
    assert(drawn < classes);
    return drawn;
}

/* Each client's mix of classes q_k ~ Dir(alpha p), p = 1 / classes, examples drawn from it without
 * replacement (Hsu et al. 2019, "Measuring the effects of non-identical data distribution"), q_k
 * renormalised over what is left. */
static fq_status split_dirichlet_client(fq_partition *partition, const fq_data_settings *settings,
                                        uint64_t seed) {
    const fq_dataset *set = partition->set;
    size_t            n = set->train.n, classes = set->classes;
    uint32_t         *sorted = malloc(n * sizeof *sorted);
    uint32_t         *begin = malloc((classes + 1) * sizeof *begin);
    uint32_t         *next = malloc(classes * sizeof *next); /* first of class c not given away */
    double           *log_q = malloc(classes * sizeof *log_q), *q = malloc(classes * sizeof *q);
    fq_status         status = FQ_OK;
    if (sorted == NULL || begin == NULL || next == NULL || log_q == NULL || q == NULL) {
        status = no_memory(set);
        goto done;
    }
    sort_by_label(set, sorted, begin);
    for (size_t c = 0; c < classes; c++) {
        next[c] = begin[c];
        fq_rng rng = stream(seed, 0, c, STREAM_CLASS);
        fq_rng_shuffle(&rng, sorted + begin[c], begin[c + 1] - begin[c]);
    }
    cut_evenly(partition->offset, partition->clients, n);
    for (uint64_t k = 0; k < partition->clients; k++) {
        fq_rng rng = stream(seed, 0, k, STREAM_CLIENT);
        draw_log_shares(&rng, settings->alpha / (double)classes, log_q, classes);
        renormalize(log_q, next, begin, q, classes);
        for (size_t i = partition->offset[k]; i < partition->offset[k + 1]; i++) {
            size_t c = draw_class(&rng, q, classes);
            partition->index[i] = sorted[next[c]++];
            if (next[c] == begin[c + 1] && i + 1 < n)
                renormalize(log_q, next, begin, q, classes);
        }
    }
done:
    free(sorted);
    free(begin);
    free(next);
    free(log_q);
    free(q);
    return status;
}

/* McMahan et al. 2017, section 3. */
static fq_status split_shards(fq_partition *partition, const fq_data_settings *settings,
                              uint64_t seed) {
    const fq_dataset *set = partition->set;
    size_t            n = set->train.n, each = (size_t)settings->shards_per_client, shards;
    if (settings->shards_per_client < 1 || !fq_size_mul(partition->clients, each, &shards) ||
        shards > n)
        return fq_fail(FQ_EINVAL,
                       "data.split shards: %" PRIu64 " clients of %" PRId64
                       " shards need as many examples, %s has %zu",
                       partition->clients, settings->shards_per_client, set->name, n);
    uint32_t *sorted = malloc(n * sizeof *sorted), *deal = malloc(shards * sizeof *deal);
    uint32_t *begin = malloc((set->classes + (size_t)1) * sizeof *begin);
    fq_status status = FQ_OK;
    if (sorted == NULL || deal == NULL || begin == NULL) {
        status = no_memory(set);
        goto done;
    }
    sort_by_label(set, sorted, begin);
    count_up(deal, shards);
    fq_rng rng = stream(seed, 0, 0, STREAM_DEAL);
    fq_rng_shuffle(&rng, deal, shards);
    size_t used = 0;
    partition->offset[0] = 0;
    for (uint64_t k = 0; k < partition->clients; k++) {
        for (size_t i = 0; i < each; i++) {
            size_t shard = deal[k * each + i], first = shard * n / shards,
                   end = (shard + 1) * n / shards;
            memcpy(partition->index + used, sorted + first, (end - first) * sizeof *sorted);
            used += end - first;
        }
        partition->offset[k + 1] = (uint32_t)used;
    }
done:
    free(sorted);
    free(deal);
    free(begin);
    return status;
}

static fq_status split_iid(fq_partition *partition, uint64_t seed) {
    size_t n = partition->set->train.n;
    count_up(partition->index, n);
    fq_rng rng = stream(seed, 0, 0, STREAM_DEAL);
    fq_rng_shuffle(&rng, partition->index, n);
    cut_evenly(partition->offset, partition->clients, n);
    return FQ_OK;
}

/* ---- by user ---- */

/* All users with enough examples, in shuffled order, into chosen [users]; returns how many. */
static size_t choose_users(const fq_dataset *set, const fq_data_settings *settings, uint64_t seed,
                           uint32_t *count, uint32_t *chosen) {
    memset(count, 0, set->users * sizeof *count);
    for (size_t i = 0; i < set->train.n; i++)
        count[set->train.users[i]]++;
    size_t n = 0;
    for (uint32_t u = 0; u < set->users; u++)
        if (count[u] > 0 && count[u] >= settings->min_examples)
            chosen[n++] = u;
    fq_rng rng = stream(seed, 0, 0, STREAM_DEAL);
    fq_rng_shuffle(&rng, chosen, n);
    return n;
}

static fq_status split_natural(fq_partition *partition, const fq_data_settings *settings,
                               uint64_t seed) {
    const fq_dataset *set = partition->set;
    uint32_t         *count = malloc(set->users * sizeof *count);
    uint32_t         *chosen = malloc(set->users * sizeof *chosen);
    fq_status         status = FQ_OK;
    if (count == NULL || chosen == NULL) {
        status = no_memory(set);
        goto done;
    }
    size_t clients = choose_users(set, settings, seed, count, chosen);
    if (clients == 0) {
        status = fq_fail(FQ_EINVAL,
                         "data.split natural: none of the %" PRIu64
                         " users of %s has data.min_examples %" PRId64 " examples",
                         set->users, set->name, settings->min_examples);
        goto done;
    }
    if ((uint64_t)settings->clients > clients) {
        status = fq_fail(FQ_EINVAL,
                         "data.clients: %" PRId64
                         " is more than the %zu users of %s with data.min_examples %" PRId64
                         " examples; 0 takes them all",
                         settings->clients, clients, set->name, settings->min_examples);
        goto done;
    }
    if (settings->clients > 0)
        clients = (size_t)settings->clients;
    partition->clients = clients;
    partition->offset[0] = 0;
    for (size_t k = 0; k < clients; k++)
        partition->offset[k + 1] = partition->offset[k] + count[chosen[k]];
    /* count becomes each user's next place, UINT32_MAX for those who take no part. */
    memset(count, 0xff, set->users * sizeof *count);
    for (size_t k = 0; k < clients; k++)
        count[chosen[k]] = partition->offset[k];
    for (size_t i = 0; i < set->train.n; i++) {
        uint32_t user = set->train.users[i];
        if (count[user] != UINT32_MAX)
            partition->index[count[user]++] = (uint32_t)i;
    }
done:
    free(count);
    free(chosen);
    return status;
}

/* ---- all of them ---- */

static fq_status check_sizes(const fq_dataset *set, const fq_data_settings *settings) {
    if (settings->clients < 1)
        return fq_fail(FQ_EINVAL, "data.clients: %" PRId64 " is not allowed; expected at least 1",
                       settings->clients);
    size_t needed, fewest = settings->min_examples > 1 ? (size_t)settings->min_examples : 1;
    if (!fq_size_mul((size_t)settings->clients, fewest, &needed) || needed > set->train.n)
        return fq_fail(FQ_EINVAL,
                       "data.clients: %" PRId64
                       " clients of at least %zu examples are more than the %zu of %s",
                       settings->clients, fewest, set->train.n, set->name);
    return FQ_OK;
}

static fq_status split(fq_partition *partition, const fq_data_settings *settings, uint64_t seed) {
    if (!(settings->alpha > 0.0) &&
        (settings->split == FQ_SPLIT_DIRICHLET || settings->split == FQ_SPLIT_DIRICHLET_CLIENT))
        return fq_fail(FQ_EINVAL, "data.alpha: %g is not allowed; expected a positive number",
                       settings->alpha);
    switch (settings->split) {
    case FQ_SPLIT_IID: return split_iid(partition, seed);
    case FQ_SPLIT_DIRICHLET: return split_dirichlet(partition, settings, seed);
    case FQ_SPLIT_SHARDS: return split_shards(partition, settings, seed);
    case FQ_SPLIT_NATURAL: return split_natural(partition, settings, seed);
    case FQ_SPLIT_DIRICHLET_CLIENT: return split_dirichlet_client(partition, settings, seed);
    default: return fq_fail(FQ_EINVAL, "data.split: %d is not a split", settings->split);
    }
}

static fq_status reserve(fq_partition *partition, const fq_data_settings *settings) {
    const fq_dataset *set = partition->set;
    if (settings->split == FQ_SPLIT_NATURAL) {
        if (set->users == 0)
            return fq_fail(FQ_EINVAL, "data.split natural: %s has no users; expected another split",
                           set->name);
        partition->clients = set->users;
    } else {
        FQ_TRY(check_sizes(set, settings));
        partition->clients = (uint64_t)settings->clients;
    }
    partition->offset = malloc((partition->clients + 1) * sizeof *partition->offset);
    partition->index = malloc(set->train.n * sizeof *partition->index);
    return partition->offset == NULL || partition->index == NULL ? no_memory(set) : FQ_OK;
}

static size_t find_largest(const fq_partition *partition) {
    size_t largest = 0;
    for (uint64_t k = 0; k < partition->clients; k++) {
        size_t n = partition->offset[k + 1] - partition->offset[k];
        largest = n > largest ? n : largest;
    }
    return largest;
}

fq_status fq_partition_create(fq_partition **out, const fq_dataset *set,
                              const fq_data_settings *settings, uint64_t seed) {
    *out = NULL;
    fq_partition *partition = calloc(1, sizeof *partition);
    if (partition == NULL)
        return no_memory(set);
    partition->set = set;
    fq_status status = FQ_OK;
    if (set->synthetic != NULL) {
        partition->clients = set->users;
        partition->largest = fq_synthetic_largest(set->synthetic);
    } else {
        FQ_GO(status, reserve(partition, settings));
        FQ_GO(status, split(partition, settings, seed));
        partition->largest = find_largest(partition);
    }
done:
    if (status != FQ_OK)
        fq_partition_destroy(&partition);
    *out = partition;
    return status;
}

void fq_partition_destroy(fq_partition **partition) {
    if (*partition == NULL)
        return;
    free((*partition)->offset);
    free((*partition)->index);
    free(*partition);
    *partition = NULL;
}

uint64_t fq_partition_clients(const fq_partition *partition) {
    return partition->clients;
}

fq_shard fq_partition_shard(const fq_partition *partition, uint64_t client) {
    assert(client < partition->clients);
    fq_shard shard = {.set = partition->set, .client = client};
    if (partition->offset == NULL) {
        shard.n = fq_synthetic_count(partition->set->synthetic, client);
    } else {
        shard.index = partition->index + partition->offset[client];
        shard.n = partition->offset[client + 1] - partition->offset[client];
    }
    return shard;
}

size_t fq_partition_largest(const fq_partition *partition) {
    return partition->largest;
}

size_t fq_partition_bytes(const fq_partition *partition) {
    size_t bytes = sizeof *partition;
    if (partition->offset != NULL)
        bytes += (partition->clients + 1) * sizeof *partition->offset +
                 partition->set->train.n * sizeof *partition->index;
    return bytes;
}

#include "experiment/experiment.h"

#include <stdlib.h>
#include <string.h>

#define FIELD(type, field) offsetof(type, field)

static const fq_key head_keys[] = {
    {.name = "name",
     .type = FQ_TYPE_TEXT,
     .offset = FIELD(fq_head_section, name),
     .fallback = "experiment",
     .help = "Name of the experiment: of its folder under runs/ and in reports."},
    {.name = "seed",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_head_section, seed),
     .fallback = "1",
     .min = 0,
     .max = 9e15,
     .help = "Fixes every random choice of the run."},
    {0},
};

static const fq_key train_keys[] = {
    {.name = "algorithm",
     .type = FQ_TYPE_TEXT,
     .offset = FIELD(fq_train_section, algorithm),
     .fallback = "fedavg",
     .help = "Variant of federated averaging; its parameters stand under its own name."},
    {.name = "robustness",
     .type = FQ_TYPE_WORDS,
     .offset = FIELD(fq_train_section, robustness),
     .fallback = "[]",
     .help = "Methods that make the weights survive quantization, composed in this order; the "
             "parameters of each "
             "stand under its own name."},
    {.name = "rounds",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_train_section, rounds),
     .fallback = "100",
     .min = 1,
     .max = 1e6,
     .help = "Rounds of the run."},
    {.name = "clients_per_round",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_train_section, clients_per_round),
     .fallback = "10",
     .min = 1,
     .max = 1e6,
     .help = "Clients asked in a round, drawn without replacement."},
    {.name = "epochs",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_train_section, epochs),
     .fallback = "1",
     .min = 1,
     .max = 1000,
     .help = "Passes of a client over its data in a round."},
    {.name = "batch",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_train_section, batch),
     .fallback = "32",
     .min = 1,
     .max = 65536,
     .help = "Examples of a local step."},
    {.name = "max_steps",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_train_section, max_steps),
     .fallback = "0",
     .min = 0,
     .max = 1e6,
     .help = "Local steps of a client in a round at most; 0: as many as the epochs have."},
    {.name = "rate",
     .type = FQ_TYPE_REAL,
     .offset = FIELD(fq_train_section, rate),
     .fallback = "0.05",
     .min = 1e-9,
     .max = 1000,
     .help = "Learning rate of the clients."},
    {.name = "rate_decay",
     .type = FQ_TYPE_REAL,
     .offset = FIELD(fq_train_section, rate_decay),
     .fallback = "1",
     .min = 1e-3,
     .max = 1,
     .help = "The rate is multiplied by this after each round."},
    {.name = "momentum",
     .type = FQ_TYPE_REAL,
     .offset = FIELD(fq_train_section, momentum),
     .fallback = "0",
     .min = 0,
     .max = 0.9999,
     .help = "Momentum of the local steps; begins at zero in each round."},
    {.name = "nesterov",
     .type = FQ_TYPE_BOOL,
     .offset = FIELD(fq_train_section, nesterov),
     .fallback = "false",
     .help = "Nesterov's variant of the momentum."},
    {.name = "weight_decay",
     .type = FQ_TYPE_REAL,
     .offset = FIELD(fq_train_section, weight_decay),
     .fallback = "0",
     .min = 0,
     .max = 10,
     .help = "Times the weights, added to the gradient."},
    {.name = "clip_norm",
     .type = FQ_TYPE_REAL,
     .offset = FIELD(fq_train_section, clip_norm),
     .fallback = "0",
     .min = 0,
     .max = 1e9,
     .help = "2-norm of a step's gradient at most; 0: no clipping."},
    {0},
};

static const char *const weight_names[] = {"examples", "equal", NULL};
static const fq_key      aggregate_keys[] = {
         {.name = "method",
          .type = FQ_TYPE_TEXT,
          .offset = FIELD(fq_aggregate_section, method),
          .fallback = "mean",
          .help = "How updates become one; its parameters stand under its own name."},
         {.name = "weights",
          .type = FQ_TYPE_CHOICE,
          .offset = FIELD(fq_aggregate_section, weights),
          .fallback = "examples",
          .choices = weight_names,
          .help = "What a client weighs in a mean."},
         {.name = "min_clients",
          .type = FQ_TYPE_INT,
          .offset = FIELD(fq_aggregate_section, min_clients),
          .fallback = "1",
          .min = 1,
          .max = 1e6,
          .help = "With fewer good updates a round changes nothing."},
         {.name = "max_examples",
          .type = FQ_TYPE_INT,
          .offset = FIELD(fq_aggregate_section, max_examples),
          .fallback = "1000000",
          .min = 1,
          .max = 1e9,
          .help = "Examples that a client may claim."},
         {.name = "max_value",
          .type = FQ_TYPE_REAL,
          .offset = FIELD(fq_aggregate_section, max_value),
          .fallback = "1024",
          .min = 1e-3,
          .max = 1e6,
          .help = "Largest magnitude of a value in an update; larger ones are refused. Bounds the exact "
                       "sums."},
         {0},
};

static const char *const entropy_names[] = {"none", "zstd", NULL};
#define CODING_KEYS                                                                                \
    {.name = "quantizer",                                                                          \
     .type = FQ_TYPE_TEXT,                                                                         \
     .offset = FIELD(fq_coding_section, quantizer),                                                \
     .fallback = "float32",                                                                        \
     .help = "Number format on the wire."},                                                        \
        {.name = "bits",                                                                           \
         .type = FQ_TYPE_INT,                                                                      \
         .offset = FIELD(fq_coding_section, bits),                                                 \
         .fallback = "0",                                                                          \
         .min = 0,                                                                                 \
         .max = 32,                                                                                \
         .help = "Bits per value on the wire, scales not counted; 0: the widest that the format "  \
                 "has."},                                                                          \
        {.name = "block",                                                                          \
         .type = FQ_TYPE_INT,                                                                      \
         .offset = FIELD(fq_coding_section, block),                                                \
         .fallback = "0",                                                                          \
         .min = 0,                                                                                 \
         .max = 1e9,                                                                               \
         .help = "Values that share a scale; 0: one scale for each tensor."},                      \
    {                                                                                              \
        .name = "entropy", .type = FQ_TYPE_CHOICE, .offset = FIELD(fq_coding_section, entropy),    \
        .fallback = "none", .choices = entropy_names,                                              \
        .help = "Lossless stage after the quantizer; kept only where it makes smaller."            \
    }

static const fq_key upload_keys[] = {
    CODING_KEYS,
    {.name = "error_feedback",
     .type = FQ_TYPE_BOOL,
     .offset = FIELD(fq_coding_section, error_feedback),
     .fallback = "false",
     .help = "Clients remember what the coding lost and add it to their next update."},
    {0},
};
/* Under upload.adaptive. */
static const fq_key adaptive_keys[] = {
    {.name = "levels",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_level_rule, levels),
     .fallback = "0",
     .min = 0,
     .max = FQ_MAX_LEVELS,
     .help = "Levels of each sign in the first round, from where they double; upload.bits are then "
             "the most that they can take. 0: nothing adapts."},
    {.name = "patience",
     .type = FQ_TYPE_INT,
     .offset = FIELD(fq_level_rule, patience),
     .fallback = "5",
     .min = 1,
     .max = FQ_MAX_PATIENCE,
     .help = "Rounds over which the clients' loss must fall, or the levels double."},
    {.name = "smoothing",
     .type = FQ_TYPE_REAL,
     .offset = FIELD(fq_level_rule, smoothing),
     .fallback = "0.9",
     .min = 0,
     .max = 0.9999,
     .help = "Weight of the past in the running mean of that loss."},
    {.name = "by_client",
     .type = FQ_TYPE_BOOL,
     .offset = FIELD(fq_level_rule, by_client),
     .fallback = "true",
     .help = "More levels for clients with more examples, at the same expected error."},
    {0},
};
static const fq_key download_keys[] = {CODING_KEYS, {0}};

static const char *const stop_names[] = {"never", "worst", "mean", "area", "float", NULL};
static const fq_key      stop_keys[] = {
         {.name = "metric",
          .type = FQ_TYPE_CHOICE,
          .offset = FIELD(fq_stop_section, metric),
          .fallback = "never",
          .choices = stop_names,
          .help = "Accuracy that must grow: at the worst bit-width, the mean over widths, the area "
                       "under the "
                       "accuracy-bits curve, or in float."},
         {.name = "patience",
          .type = FQ_TYPE_INT,
          .offset = FIELD(fq_stop_section, patience),
          .fallback = "10",
          .min = 1,
          .max = 1e6,
          .help = "Evaluations without a better value after which the run ends."},
         {.name = "min_gain",
          .type = FQ_TYPE_REAL,
          .offset = FIELD(fq_stop_section, min_gain),
          .fallback = "0",
          .min = 0,
          .max = 1,
          .help = "Smallest gain that counts as better, as a share of right answers."},
         {0},
};

/* ---- names of table rows ---- */
enum { MAX_NAMES = 64, MAX_NAME = 200 };
typedef struct name_list {
    size_t      n;
    const char *v[MAX_NAMES + 1]; /* NULL-terminated */
} name_list;

#define LIST_NAMES(list, table)                                                                    \
    do {                                                                                           \
        for (size_t row_ = 0; (table)[row_] != NULL && (list)->n < MAX_NAMES; row_++)              \
            (list)->v[(list)->n++] = (table)[row_]->name;                                          \
    } while (0)

/* "FILE:LINE: key: 'x' is unknown; did you mean 'y'? Known: ..." */
static fq_status fail_unknown(const fq_document *document, const fq_node *node, const char *key,
                              const char *word, const name_list *names) {
    char known[512] = "";
    for (size_t i = 0; i < names->n; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ", names->v[i]);
    }
    const char *nearest = fq_nearest(word, names->v);
    return fq_node_fail(document, node, "%s: '%s' is unknown%s%s%s Known: %s", key, word,
                        nearest == NULL ? "" : "; did you mean '", nearest == NULL ? "" : nearest,
                        nearest == NULL ? "." : "'?", known);
}

/* ---- writing ---- */
static void put_line(fq_buffer *yaml, const char *text) {
    fq_put_bytes(yaml, text, strlen(text));
}

static void write_plugin(fq_buffer *yaml, const char *name, const fq_key *keys,
                         const void *config) {
    if (keys == NULL)
        return;
    put_line(yaml, "  ");
    put_line(yaml, name);
    put_line(yaml, ":\n");
    fq_section_write(yaml, keys, config, 4);
}

static void write_capabilities(fq_buffer *yaml, const fq_recipe *recipe) {
    if (recipe->n_capabilities == 0)
        return;
    put_line(yaml, "  capabilities:\n");
    for (size_t i = 0; i < recipe->n_capabilities; i++) {
        put_line(yaml, "    - [");
        for (size_t j = 0; j < recipe->capabilities[i].n; j++) {
            char text[32];
            snprintf(text, sizeof text, "%s%lld", j == 0 ? "" : ", ",
                     (long long)recipe->capabilities[i].v[j]);
            put_line(yaml, text);
        }
        put_line(yaml, "]\n");
    }
}

/* A list of maps: each layer's keys indented below a lone dash. */
static void write_model(fq_buffer *yaml, const fq_experiment *e) {
    if (e->model[0] != '\0') {
        put_line(yaml, "model: ");
        put_line(yaml, e->model);
        put_line(yaml, "\n");
        return;
    }
    put_line(yaml, "model:\n");
    for (size_t i = 0; i < e->network.n_layers; i++) {
        put_line(yaml, "  -\n");
        fq_section_write(yaml, fq_layer_keys, &e->network.layers[i], 4);
    }
}

/* What determines the weights, with this name and number of rounds. */
static void write_training(fq_buffer *yaml, const fq_experiment *e, const fq_head_section *head,
                           const fq_train_section *train) {
    const fq_recipe *recipe = &e->recipe;
    fq_section_write(yaml, head_keys, head, 0);
    put_line(yaml, "data:\n");
    fq_section_write(yaml, fq_data_keys, &e->data, 2);
    write_model(yaml, e);
    put_line(yaml, "train:\n");
    fq_section_write(yaml, train_keys, train, 2);
    write_plugin(yaml, recipe->algorithm->name, recipe->algorithm->keys, &recipe->algorithm_config);
    for (size_t m = 0; m < recipe->n_methods; m++)
        write_plugin(yaml, recipe->methods[m]->name, recipe->methods[m]->keys,
                     &recipe->method_configs[m]);
    write_capabilities(yaml, recipe);
    put_line(yaml, "aggregate:\n");
    fq_section_write(yaml, aggregate_keys, &e->aggregate, 2);
    write_plugin(yaml, e->server.aggregator->name, e->server.aggregator->keys,
                 &e->server.aggregator_config);
    put_line(yaml, "upload:\n");
    fq_section_write(yaml, upload_keys, &e->upload, 2);
    write_plugin(yaml, "adaptive", adaptive_keys, &recipe->adaptive);
    put_line(yaml, "download:\n");
    fq_section_write(yaml, download_keys, &e->download, 2);
}

fq_status fq_experiment_write(const fq_experiment *e, fq_buffer *yaml) {
    write_training(yaml, e, &e->head, &e->train);
    put_line(yaml, "evaluate:\n");
    fq_section_write(yaml, fq_eval_keys, &e->evaluate, 2);
    put_line(yaml, "stop:\n");
    fq_section_write(yaml, stop_keys, &e->stop, 2);
    if (yaml->failed)
        return fq_fail(FQ_ENOMEM, "no memory for the resolved settings");
    return FQ_OK;
}

static fq_status hash_settings(fq_experiment *e) {
    fq_head_section  head = e->head;
    fq_train_section train = e->train;
    fq_buffer        yaml = {0};
    unsigned char    hash[FQ_HASH_BYTES];
    head.name[0] = '\0';
    train.rounds = 0;
    write_training(&yaml, e, &head, &train);
    bool failed = yaml.failed;
    if (!failed) {
        fq_sha256((fq_cbytes){yaml.data, yaml.size}, hash);
        fq_hash_text(hash, e->hash);
    }
    fq_buffer_fini(&yaml);
    return failed ? fq_fail(FQ_ENOMEM, "no memory for the resolved settings") : FQ_OK;
}

/* ---- loading ---- */
static const fq_node *find_path(const fq_document *document, const char *section, const char *key) {
    return fq_node_find(fq_node_find(fq_document_root(document), section), key);
}

static void remember(const fq_document *document, const char *section, const char *key,
                     fq_places *places) {
    const fq_node *node = find_path(document, section, key);
    if (node == NULL || places->n == FQ_MAX_PLACES)
        return;
    snprintf(places->of[places->n].key, sizeof places->of[0].key, "%s.%s", section, key);
    fq_node_place(document, node, places->of[places->n++].text, FQ_PLACE_BYTES);
}

static void remember_places(const fq_document *document, fq_places *places) {
    fq_node_place(document, NULL, places->file, FQ_PLACE_BYTES);
    for (const fq_key *key = fq_data_keys; key->name != NULL; key++)
        remember(document, "data", key->name, places);
    remember(document, "train", "clients_per_round", places);
    remember(document, "aggregate", "max_examples", places);
    const fq_node *model = fq_node_find(fq_document_root(document), "model");
    fq_node_place(document, model, places->model, FQ_PLACE_BYTES);
    for (size_t i = 0;
         model != NULL && fq_node_kind_of(model) == FQ_NODE_LIST && i < fq_node_count(model); i++)
        fq_node_place(document, fq_node_at(model, i), places->layers[i], FQ_PLACE_BYTES);
}

/* Every plug-in section that is there is checked, used or not: a sweep may use it in another run.
 */
static fq_status load_plugin(const fq_document *document, const fq_node *parent,
                             const char *section, const char *name, const fq_key *keys, size_t size,
                             fq_status (*check)(const void *), fq_plugin_config *out) {
    char path[FQ_TEXT_BYTES];
    snprintf(path, sizeof path, "%s.%s", section, name);
    const fq_node *node = fq_node_find(parent, name);
    memset(out, 0, sizeof *out);
    if (size > sizeof out->bytes)
        return fq_fail(FQ_EINVAL, "%s: its settings take %zu bytes; %zu are possible", path, size,
                       sizeof out->bytes);
    static const fq_key none[] = {{0}};
    FQ_TRY(fq_section_load(document, node, path, keys == NULL ? none : keys, NULL, out));
    if (check != NULL && check(out) != FQ_OK) {
        (void)fq_fail(FQ_EINVAL, "%s.%s", section, fq_status_text());
        return fq_node_context(document, node);
    }
    return FQ_OK;
}

static fq_status load_capability(const fq_document *document, const fq_node *set, fq_ints *out) {
    static const fq_key key = {
        .name = "capabilities", .type = FQ_TYPE_INTS, .min = 1, .max = FQ_FLOAT_BITS};
    if (fq_node_kind_of(set) != FQ_NODE_LIST || fq_node_count(set) == 0)
        return fq_node_fail(document, set,
                            "train.capabilities: each set is a list of bit-widths, [2, 4, 8]");
    FQ_TRY(fq_value_load(document, set, "train", &key, out));
    for (size_t j = 0; j < out->n; j++) {
        const fq_node *member = fq_node_at(set, j);
        if (out->v[j] > FQ_MAX_BITS && out->v[j] != FQ_FLOAT_BITS)
            return fq_node_fail(
                document, member,
                "train.capabilities: %lld is not a bit-width; allowed are 1 to %d, and %d",
                (long long)out->v[j], FQ_MAX_BITS, FQ_FLOAT_BITS);
        for (size_t k = 0; k < j; k++)
            if (out->v[k] == out->v[j])
                return fq_node_fail(document, member, "train.capabilities: a set has %lld twice",
                                    (long long)out->v[j]);
    }
    return FQ_OK;
}

static fq_status load_capabilities(const fq_document *document, const fq_node *node,
                                   fq_recipe *recipe) {
    recipe->n_capabilities = 0;
    if (node == NULL)
        return FQ_OK;
    if (fq_node_kind_of(node) != FQ_NODE_LIST || fq_node_count(node) > FQ_MAX_CAPABILITIES)
        return fq_node_fail(document, node,
                            "train.capabilities: expected a list of at most %d lists of "
                            "bit-widths, [[2, 4, 8], [8]]",
                            FQ_MAX_CAPABILITIES);
    for (size_t i = 0; i < fq_node_count(node); i++)
        FQ_TRY(load_capability(document, fq_node_at(node, i), &recipe->capabilities[i]));
    recipe->n_capabilities = fq_node_count(node);
    return FQ_OK;
}

static fq_status load_algorithm(const fq_document *document, const fq_node *node,
                                const fq_train_section *train, fq_recipe *recipe) {
    name_list names = {0};
    LIST_NAMES(&names, fq_algorithms);
    recipe->algorithm = fq_algorithm_find(train->algorithm);
    if (recipe->algorithm == NULL)
        return fail_unknown(document, fq_node_find(node, "algorithm"), "train.algorithm",
                            train->algorithm, &names);
    fq_plugin_config unused;
    for (size_t i = 0; fq_algorithms[i] != NULL; i++) {
        const fq_algorithm *row = fq_algorithms[i];
        FQ_TRY(load_plugin(document, node, "train", row->name, row->keys, row->config_size, NULL,
                           row == recipe->algorithm ? &recipe->algorithm_config : &unused));
    }
    return FQ_OK;
}

static fq_status load_methods(const fq_document *document, const fq_node *node,
                              const fq_train_section *train, fq_recipe *recipe) {
    name_list        names = {0};
    fq_plugin_config unused;
    LIST_NAMES(&names, fq_robustnesses);
    const fq_node *list = fq_node_find(node, "robustness");
    if (train->robustness.n > FQ_MAX_METHODS)
        return fq_node_fail(document, list,
                            "train.robustness: %zu methods; at most %d can be combined",
                            train->robustness.n, FQ_MAX_METHODS);
    const char *quantizes = NULL;
    for (size_t m = 0; m < train->robustness.n; m++) {
        const char *name = train->robustness.v[m];
        recipe->methods[m] = fq_robustness_find(name);
        if (recipe->methods[m] == NULL)
            return fail_unknown(document, list, "train.robustness", name, &names);
        for (size_t k = 0; k < m; k++)
            if (recipe->methods[k] == recipe->methods[m])
                return fq_node_fail(document, list, "train.robustness: '%s' is listed twice", name);
        if (recipe->methods[m]->parts != NULL && train->robustness.n > 1)
            return fq_node_fail(document, list,
                                "train.robustness: %s gives clients networks of their own; use it "
                                "alone",
                                name);
        if (recipe->methods[m]->changes_weights && quantizes != NULL)
            return fq_node_fail(document, list,
                                "train.robustness: both %s and %s quantize the weights; use one",
                                quantizes, name);
        if (recipe->methods[m]->changes_weights)
            quantizes = name;
    }
    recipe->n_methods = train->robustness.n;
    for (size_t i = 0; fq_robustnesses[i] != NULL; i++) {
        const fq_robustness *row = fq_robustnesses[i];
        fq_plugin_config    *out = &unused;
        for (size_t m = 0; m < recipe->n_methods; m++)
            if (recipe->methods[m] == row)
                out = &recipe->method_configs[m];
        FQ_TRY(load_plugin(document, node, "train", row->name, row->keys, row->config_size,
                           row->check, out));
    }
    return FQ_OK;
}

static fq_status load_train(const fq_document *document, const fq_node *node, fq_experiment *e) {
    fq_recipe        *recipe = &e->recipe;
    fq_train_section *train = &e->train;
    name_list         sections = {0};
    LIST_NAMES(&sections, fq_algorithms);
    LIST_NAMES(&sections, fq_robustnesses);
    sections.v[sections.n++] = "capabilities";
    FQ_TRY(fq_section_load(document, node, "train", train_keys, sections.v, train));
    FQ_TRY(load_capabilities(document, fq_node_find(node, "capabilities"), recipe));
    FQ_TRY(load_algorithm(document, node, train, recipe));
    FQ_TRY(load_methods(document, node, train, recipe));
    if (recipe->algorithm->plain_steps && train->momentum > 0.0)
        return fq_node_fail(document, fq_node_find(node, "momentum"),
                            "train.momentum: %s needs plain steps; set it to 0",
                            recipe->algorithm->name);
    if (fq_recipe_has_parts(recipe) && recipe->algorithm->n_client > 0)
        return fq_node_fail(document, fq_node_find(node, "algorithm"),
                            "train.algorithm: %s needs clients that hold the whole model, and %s "
                            "gives them parts; use fedavg",
                            recipe->algorithm->name, recipe->methods[0]->name);
    if (recipe->algorithm->bounded_steps && train->max_steps == 0)
        return fq_node_fail(document, fq_node_find(node, "max_steps"),
                            "train.max_steps: %s needs a bound on the local steps that all clients "
                            "share; set it to at least 1",
                            recipe->algorithm->name);
    if (train->nesterov && train->momentum <= 0.0)
        return fq_node_fail(document, fq_node_find(node, "nesterov"),
                            "train.nesterov: needs a momentum; set train.momentum above 0");
    recipe->epochs = train->epochs;
    recipe->batch = train->batch;
    recipe->max_steps = train->max_steps;
    recipe->rate = train->rate;
    recipe->rate_decay = train->rate_decay;
    recipe->momentum = train->momentum;
    recipe->nesterov = train->nesterov;
    recipe->weight_decay = train->weight_decay;
    recipe->clip_norm = train->clip_norm;
    return FQ_OK;
}

static fq_status load_aggregate(const fq_document *document, const fq_node *node,
                                fq_experiment *e) {
    fq_aggregate_section *section = &e->aggregate;
    fq_server_settings   *server = &e->server;
    name_list             names = {0};
    LIST_NAMES(&names, fq_aggregators);
    FQ_TRY(fq_section_load(document, node, "aggregate", aggregate_keys, names.v, section));
    server->aggregator = fq_aggregator_find(section->method);
    if (server->aggregator == NULL)
        return fail_unknown(document, fq_node_find(node, "method"), "aggregate.method",
                            section->method, &names);
    fq_plugin_config unused;
    for (size_t i = 0; fq_aggregators[i] != NULL; i++) {
        const fq_aggregator *row = fq_aggregators[i];
        FQ_TRY(load_plugin(document, node, "aggregate", row->name, row->keys, row->config_size,
                           NULL, row == server->aggregator ? &server->aggregator_config : &unused));
    }
    if (fq_recipe_has_parts(&e->recipe) && server->aggregator->keeps)
        return fq_node_fail(document, fq_node_find(node, "method"),
                            "aggregate.method: %s needs clients that hold the whole model, and %s "
                            "gives them parts; use mean",
                            server->aggregator->name, e->recipe.methods[0]->name);
    server->equal_weights = section->weights == 1;
    if (e->recipe.algorithm->plain_mean && server->aggregator != fq_aggregators[0])
        return fq_node_fail(document, fq_node_find(node, "method"),
                            "aggregate.method: %s needs the mean of the updates; set it to %s",
                            e->recipe.algorithm->name, fq_aggregators[0]->name);
    if (e->recipe.algorithm->plain_mean && !server->equal_weights)
        return fq_node_fail(document, fq_node_find(node, "weights"),
                            "aggregate.weights: %s needs all clients to weigh the same; set it to "
                            "equal",
                            e->recipe.algorithm->name);
    server->min_clients = (uint64_t)section->min_clients;
    server->limits = (fq_limits){.max_value = section->max_value,
                                 .max_examples = (uint64_t)section->max_examples};
    if (section->min_clients > e->train.clients_per_round)
        return fq_node_fail(document, fq_node_find(node, "min_clients"),
                            "aggregate.min_clients: %lld is more than the %lld clients of a round "
                            "(train.clients_per_round)",
                            (long long)section->min_clients, (long long)e->train.clients_per_round);
    if (server->aggregator->check != NULL &&
        server->aggregator->check(&server->aggregator_config, (size_t)e->train.clients_per_round) !=
            FQ_OK)
        return fq_node_context(document, fq_node_find(node, server->aggregator->name));
    return FQ_OK;
}

static fq_status load_coding(const fq_document *document, const fq_node *node, const char *path,
                             const fq_key *keys, const char *const *sections,
                             fq_coding_section *section, fq_coding *out) {
    char      key[64];
    name_list names = {0};
    LIST_NAMES(&names, fq_quantizers);
    FQ_TRY(fq_section_load(document, node, path, keys, sections, section));
    const fq_quantizer *quantizer = fq_quantizer_find(section->quantizer);
    snprintf(key, sizeof key, "%s.quantizer", path);
    if (quantizer == NULL)
        return fail_unknown(document, fq_node_find(node, "quantizer"), key, section->quantizer,
                            &names);
    if (section->bits == 0)
        section->bits = quantizer->max_bits;
    if (section->bits < quantizer->min_bits || section->bits > quantizer->max_bits)
        return fq_node_fail(document, fq_node_find(node, "bits"),
                            "%s.bits: %lld is not a width of %s; allowed are %u to %u", path,
                            (long long)section->bits, quantizer->name,
                            (unsigned)quantizer->min_bits, (unsigned)quantizer->max_bits);
    *out = (fq_coding){.quantizer = quantizer,
                       .bits = (uint8_t)section->bits,
                       .block = (size_t)section->block,
                       .zstd = section->entropy == 1,
                       .error_feedback = section->error_feedback};
    return FQ_OK;
}

static fq_status load_upload(const fq_document *document, const fq_node *node, fq_experiment *e) {
    static const char *const sections[] = {"adaptive", NULL};
    fq_recipe               *recipe = &e->recipe;
    const fq_node           *adaptive = fq_node_find(node, "adaptive");
    FQ_TRY(
        load_coding(document, node, "upload", upload_keys, sections, &e->upload, &recipe->upload));
    if (recipe->algorithm->own_feedback && recipe->upload.error_feedback)
        return fq_node_fail(document, fq_node_find(node, "error_feedback"),
                            "upload.error_feedback: %s has its own; set it to false",
                            recipe->algorithm->name);
    FQ_TRY(fq_section_load(document, adaptive, "upload.adaptive", adaptive_keys, NULL,
                           &recipe->adaptive));
    if (recipe->adaptive.levels == 0)
        return FQ_OK;
    if (recipe->upload.quantizer->encode_levels == NULL)
        return fq_node_fail(document, fq_node_find(adaptive, "levels"),
                            "upload.adaptive.levels: %s has no choice of levels; use "
                            "upload.quantizer qsgd",
                            recipe->upload.quantizer->name);
    if (recipe->adaptive.levels > fq_levels_most(recipe->upload.bits))
        return fq_node_fail(document, fq_node_find(adaptive, "levels"),
                            "upload.adaptive.levels: %lld of each sign do not fit %u bits "
                            "(upload.bits); 1 to %ld do",
                            (long long)recipe->adaptive.levels, (unsigned)recipe->upload.bits,
                            (long)fq_levels_most(recipe->upload.bits));
    return FQ_OK;
}

static fq_status load_model(const fq_document *document, const fq_node *node, fq_experiment *e) {
    e->model[0] = '\0';
    if (node == NULL || fq_node_kind_of(node) == FQ_NODE_SCALAR) {
        const char *name = node == NULL ? "lenet5" : fq_node_text(node);
        name_list   names = {0};
        bool        known = false;
        for (size_t i = 0; fq_zoo[i].name != NULL && names.n < MAX_NAMES; i++) {
            names.v[names.n++] = fq_zoo[i].name;
            known |= strcmp(fq_zoo[i].name, name) == 0;
        }
        if (!known)
            return fail_unknown(document, node, "model", name, &names);
        snprintf(e->model, sizeof e->model, "%s", name);
        return FQ_OK;
    }
    if (fq_node_kind_of(node) != FQ_NODE_LIST || fq_node_count(node) == 0)
        return fq_node_fail(document, node, "model: expected a name or a list of layers");
    if (fq_node_count(node) > FQ_MAX_LAYERS)
        return fq_node_fail(document, node, "model: %zu layers; at most %d are possible",
                            fq_node_count(node), FQ_MAX_LAYERS);
    e->network.n_layers = fq_node_count(node);
    for (size_t i = 0; i < e->network.n_layers; i++) {
        char           path[32];
        const fq_node *layer = fq_node_at(node, i);
        fq_layer_spec *spec = &e->network.layers[i];
        snprintf(path, sizeof path, "model[%zu]", i);
        if (fq_node_kind_of(layer) == FQ_NODE_SCALAR) { /* "- relu" */
            fq_layer_spec_init(spec, fq_node_text(layer));
        } else if (fq_node_kind_of(layer) == FQ_NODE_MAP) {
            FQ_TRY(fq_section_load(document, layer, path, fq_layer_keys, NULL, spec));
        } else {
            return fq_node_fail(document, layer,
                                "%s: expected a layer, {layer: conv2d, out: 6, kernel: 5}", path);
        }
        name_list names = {0};
        LIST_NAMES(&names, fq_layers);
        if (spec->layer[0] == '\0')
            return fq_node_fail(document, layer, "%s: which layer? Give it as {layer: dense, ...}",
                                path);
        if (fq_layer_find(spec->layer) == NULL)
            return fail_unknown(document, layer, path, spec->layer, &names);
    }
    return FQ_OK;
}

/* A patience without a metric would be a run that never stops early and does not say so. */
static fq_status load_stop(const fq_document *document, const fq_node *node, fq_stop_section *out) {
    FQ_TRY(fq_section_load(document, node, "stop", stop_keys, NULL, out));
    if (node != NULL && fq_node_count(node) > 0 && fq_node_find(node, "metric") == NULL)
        return fq_node_fail(document, node,
                            "stop.metric is missing; expected worst, mean, area or float: without "
                            "it no run stops early");
    return FQ_OK;
}

/* The name becomes a folder's and stands in the header of model.fq. */
static fq_status check_name(const fq_document *document, const fq_node *node, const char *name) {
    size_t allowed =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    if (name[0] == '\0' || name[0] == '.' || name[allowed] != '\0' || allowed > MAX_NAME) {
        char shown[96] = "''";
        if (node != NULL)
            fq_node_print(node, shown, sizeof shown);
        return fq_node_fail(
            document, node,
            "name: %s cannot be a folder's name; use at most %d letters, digits, '-', '_' and, but "
            "for the first, '.'",
            shown, MAX_NAME);
    }
    return FQ_OK;
}

fq_status fq_experiment_load(const fq_document *document, fq_experiment *e) {
    static const char *const sections[] = {"data",     "model",    "train", "aggregate", "upload",
                                           "download", "evaluate", "stop",  "sweep",     NULL};
    memset(e, 0, sizeof *e);
    const fq_node *root = fq_document_root(document);
    FQ_TRY(fq_section_load(document, root, "", head_keys, sections, &e->head));
    FQ_TRY(fq_section_load(document, fq_node_find(root, "data"), "data", fq_data_keys, NULL,
                           &e->data));
    if (fq_data_settings_check(&e->data) != FQ_OK)
        return fq_node_context(document, fq_node_find(root, "data"));
    FQ_TRY(load_model(document, fq_node_find(root, "model"), e));
    FQ_TRY(load_train(document, fq_node_find(root, "train"), e));
    FQ_TRY(load_aggregate(document, fq_node_find(root, "aggregate"), e));
    FQ_TRY(load_upload(document, fq_node_find(root, "upload"), e));
    FQ_TRY(load_coding(document, fq_node_find(root, "download"), "download", download_keys, NULL,
                       &e->download, &e->server.download));
    FQ_TRY(fq_section_load(document, fq_node_find(root, "evaluate"), "evaluate", fq_eval_keys, NULL,
                           &e->evaluate));
    if (fq_eval_settings_check(&e->evaluate) != FQ_OK)
        return fq_node_context(document, fq_node_find(root, "evaluate"));
    FQ_TRY(load_stop(document, fq_node_find(root, "stop"), &e->stop));
    FQ_TRY(check_name(document, fq_node_find(root, "name"), e->head.name));
    if (e->data.clients > 0 && e->train.clients_per_round > e->data.clients)
        return fq_node_fail(
            document, find_path(document, "train", "clients_per_round"),
            "train.clients_per_round: %lld of %lld clients (data.clients) is impossible",
            (long long)e->train.clients_per_round, (long long)e->data.clients);
    e->server.cohort = (size_t)e->train.clients_per_round;

    remember_places(document, &e->places);
    return hash_settings(e);
}

/* ---- docs/settings.md ---- */
static void document_section(fq_buffer *out, const char *title, const char *text,
                             const fq_key *keys, const char *path) {
    if (keys == NULL)
        return;
    put_line(out, "\n## ");
    put_line(out, title);
    put_line(out, "\n\n");
    if (text[0] != '\0') {
        put_line(out, text);
        put_line(out, "\n\n");
    }
    put_line(out, "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n");
    fq_section_document(out, keys, path);
}

#define DOCUMENT_TABLE(out, section, table)                                                        \
    do {                                                                                           \
        for (size_t row_ = 0; (table)[row_] != NULL; row_++) {                                     \
            char path_[96];                                                                        \
            snprintf(path_, sizeof path_, "%s.%s", section, (table)[row_]->name);                  \
            document_section(out, path_, (table)[row_]->summary, (table)[row_]->keys, path_);      \
        }                                                                                          \
    } while (0)

void fq_experiment_document(fq_buffer *out) {
    put_line(out, "# Settings\n\n"
                  "Every key of an experiment file, made by `fedq-sim list settings` from the "
                  "tables that check it.\n"
                  "`--set section.key=value` overrides a key from the command line. Unknown keys, "
                  "wrong types and values\n"
                  "out of bounds are errors that name file and line. `fedq-sim check FILE` checks "
                  "a file without running it.\n");
    document_section(out, "Top level", "", head_keys, "");
    document_section(out, "data", "", fq_data_keys, "data");
    put_line(out, "\n## model\n\nA name of the zoo (`fedq-sim list models`; default `lenet5`), or "
                  "a list of layers. A layer is\n"
                  "a name, `relu`, or a map with `layer:` and these keys:\n\n"
                  "| key | type | default | allowed | meaning |\n|---|---|---|---|---|\n");
    fq_section_document(out, fq_layer_keys, "model[]");
    document_section(out, "train", "", train_keys, "train");
    put_line(out, "\n`train.capabilities`: a list of sets of bit-widths, `[[2, 4, 8], [8]]`; "
                  "client k can run the widths of\n"
                  "set k modulo their number, and draws its training widths from them. Default: "
                  "every client can run all.\n");
    DOCUMENT_TABLE(out, "train", fq_algorithms);
    DOCUMENT_TABLE(out, "train", fq_robustnesses);
    document_section(out, "aggregate", "", aggregate_keys, "aggregate");
    DOCUMENT_TABLE(out, "aggregate", fq_aggregators);
    document_section(out, "upload", "How clients code their updates.", upload_keys, "upload");
    document_section(out, "upload.adaptive",
                     "A number of levels that follows the progress of training and the sizes of "
                     "clients (DAdaQuant), for `qsgd`.",
                     adaptive_keys, "upload.adaptive");
    document_section(out, "download", "How the model travels to the clients.", download_keys,
                     "download");
    document_section(out, "evaluate", "", fq_eval_keys, "evaluate");
    document_section(out, "stop", "", stop_keys, "stop");
    put_line(out,
             "\n## sweep\n\n"
             "Several runs from one file: the product of its lists. Each key is the path of a "
             "setting, each value a list\n"
             "of values for it. `variants` is a map from a name to a map of settings that go "
             "together.\n\n"
             "```yaml\nsweep:\n  variants:\n    fedavg: {train.robustness: []}\n"
             "    mqat: {train.robustness: [mqat], train.rate: 0.1}\n  seed: [1, 2, 3]\n```\n");
}

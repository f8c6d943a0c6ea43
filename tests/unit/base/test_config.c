#include "base/config.h"
#include "base/rng.h"
#include "suite.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct training {
    bool     quiet;
    int64_t  epochs, seed;
    double   rate, alpha;
    char     path[FQ_TEXT_BYTES];
    int      algorithm;
    fq_ints  bits;
    fq_reals rates;
    fq_words robustness, tags;
} training;

static const char *const ALGORITHMS[] = {"fedavg", "fedprox", "scaffold", NULL};
static const char *const ROBUSTNESS[] = {"kure", "apqn", "qat", "mqat", NULL};
static const char *const SUBSECTIONS[] = {"mqat", NULL};

static const fq_key KEYS[] = {
    {"quiet", FQ_TYPE_BOOL, offsetof(training, quiet), "true", 0, 0, NULL, "Say less."},
    {"epochs", FQ_TYPE_INT, offsetof(training, epochs), "3", 1, 100, NULL, "Passes."},
    {"seed", FQ_TYPE_INT, offsetof(training, seed), NULL, 0, 0, NULL, "Of all randomness."},
    {"rate", FQ_TYPE_REAL, offsetof(training, rate), "0.05", 0, 1000, NULL, "Step size."},
    {"alpha", FQ_TYPE_REAL, offsetof(training, alpha), "1e-3", 0, HUGE_VAL, NULL, "a|b"},
    {"path", FQ_TYPE_TEXT, offsetof(training, path), "", 0, 0, NULL, "A file."},
    {"algorithm", FQ_TYPE_CHOICE, offsetof(training, algorithm), "fedprox", 0, 0, ALGORITHMS, "H."},
    {"bits", FQ_TYPE_INTS, offsetof(training, bits), "[2, 3, 4, 8]", 1, 32, NULL, "Widths."},
    {"rates", FQ_TYPE_REALS, offsetof(training, rates), "0.5", 0, 0, NULL, "Several."},
    {"robustness", FQ_TYPE_WORDS, offsetof(training, robustness), "[kure, mqat]", 0, 0, ROBUSTNESS,
     "Plug-ins."},
    {"tags", FQ_TYPE_WORDS, offsetof(training, tags), "[]", 0, 0, NULL, "Free."},
    {NULL, 0, 0, NULL, 0, 0, NULL, NULL},
};

static fq_cbytes bytes_of(const char *text) {
    return (fq_cbytes){(const unsigned char *)text, strlen(text)};
}

/* Parse, apply the assignments, load the section "train". */
static fq_status load(const char *text, const char *const *assignments, training *out) {
    fq_document *document;
    FQ_TRY(fq_document_parse(&document, "FILE", bytes_of(text)));
    fq_status status = FQ_OK;
    for (; status == FQ_OK && assignments != NULL && *assignments != NULL; assignments++)
        status = fq_document_set(document, *assignments);
    if (status == FQ_OK)
        status = fq_section_load(document, fq_node_find(fq_document_root(document), "train"),
                                 "train", KEYS, SUBSECTIONS, out);
    fq_document_destroy(&document);
    CU_ASSERT_PTR_NULL(document);
    return status;
}

static void check_defaults(const training *t) {
    CU_ASSERT_TRUE(t->quiet);
    CU_ASSERT_EQUAL(t->epochs, 3);
    CU_ASSERT_EQUAL(t->seed, 0);
    CU_ASSERT_EQUAL(t->rate, 0.05);
    CU_ASSERT_EQUAL(t->alpha, 1e-3);
    CU_ASSERT_STRING_EQUAL(t->path, "");
    CU_ASSERT_EQUAL(t->algorithm, 1);
    CU_ASSERT_EQUAL(t->bits.n, 4);
    CU_ASSERT_EQUAL(t->bits.v[3], 8);
    CU_ASSERT_EQUAL(t->rates.n, 1);
    CU_ASSERT_EQUAL(t->rates.v[0], 0.5);
    CU_ASSERT_EQUAL(t->robustness.n, 2);
    CU_ASSERT_STRING_EQUAL(t->robustness.v[1], "mqat");
    CU_ASSERT_EQUAL(t->tags.n, 0);
}

static void test_defaults(void) {
    static const char *const empty[] = {"",
                                        "# nothing\n",
                                        "---\n",
                                        "~",
                                        "{}",
                                        "train: {}\n",
                                        "other: 1\n",
                                        "train: {mqat: ~}\n",
                                        "\xef\xbb\xbf# byte order mark\n"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        training t;
        memset(&t, 0x55, sizeof t);
        FQ_ASSERT_OK(load(empty[i], NULL, &t));
        check_defaults(&t);
    }
}

static void test_byte_order_mark(void) {
    training t;
    FQ_ASSERT_OK(load("\xef\xbb\xbfother: 1\ntrain: {epochs: 7}\n", NULL, &t));
    CU_ASSERT_EQUAL(t.epochs, 7);
    FQ_ASSERT_FAILS(load("\xef\xbb\xbfother: 1\ntrain: {epochs: x}\n", NULL, &t), FQ_EINVAL,
                    "FILE:2: ");
}

/* A key or a section without a value is one forgotten. */
static void test_no_value(void) {
    static const char *const without[] = {"epochs:\n", "epochs: ~\n", "epochs: null\n",
                                          "epochs: # 5\n"};
    static const char *const keys[] = {"quiet", "rate", "path", "algorithm", "bits", "robustness"};
    training                 t;
    char                     text[64];
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        snprintf(text, sizeof text, "train:\n  %s", without[i]);
        FQ_ASSERT_FAILS(load(text, NULL, &t), FQ_EINVAL,
                        "FILE:2: train.epochs: no value; give one, or leave the key out for its "
                        "default");
    }
    static const char *const sections[] = {"train:\n", "train: ~\n", "train: # {rate: 1}\n"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        FQ_ASSERT_FAILS(load(sections[i], NULL, &t), FQ_EINVAL,
                        "FILE:1: train: no keys; give some");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(text, sizeof text, "train: {%s: }", keys[i]);
        FQ_ASSERT_FAILS(load(text, NULL, &t), FQ_EINVAL, keys[i]);
        CU_ASSERT_PTR_NOT_NULL(strstr(fq_status_text(), ": no value; give one"));
    }
    FQ_ASSERT_OK(load("train: {path: \"\", tags: []}", NULL, &t)); /* empty values are values */
    FQ_ASSERT_OK(load("train: {path: 'null'}", NULL, &t));
    CU_ASSERT_STRING_EQUAL(t.path, "null");
}

static void test_values(void) {
    training t;
    FQ_ASSERT_OK(load("# an experiment\n"
                      "name: x\n"
                      "train:\n"
                      "  quiet: false\n"
                      "  epochs: +7\n"
                      "  seed: -9223372036854775808\n"
                      "  rate: 5e-2 # comment\n"
                      "  alpha: 1000000\n"
                      "  path: \"data/\\u00fc #1\"\n"
                      "  algorithm: 'scaffold'\n"
                      "  bits:\n  - 2\n  - 32\n"
                      "  rates: [.5, 1., -0.0, 4.9e-324]\n"
                      "  robustness: []\n"
                      "  tags: [true, 12, \"~\"]\n"
                      "  mqat: {anything: [goes, {here: 1}]}\n",
                      NULL, &t));
    CU_ASSERT_FALSE(t.quiet);
    CU_ASSERT_EQUAL(t.epochs, 7);
    CU_ASSERT_EQUAL(t.seed, INT64_MIN);
    CU_ASSERT_EQUAL(t.rate, 0.05);
    CU_ASSERT_EQUAL(t.alpha, 1e6);
    CU_ASSERT_STRING_EQUAL(t.path, "data/ü #1");
    CU_ASSERT_EQUAL(t.algorithm, 2);
    CU_ASSERT_TRUE(t.bits.n == 2 && t.bits.v[0] == 2 && t.bits.v[1] == 32);
    CU_ASSERT_TRUE(t.rates.n == 4 && t.rates.v[0] == 0.5 && t.rates.v[1] == 1.0 &&
                   signbit(t.rates.v[2]) && t.rates.v[3] > 0.0);
    CU_ASSERT_EQUAL(t.robustness.n, 0);
    CU_ASSERT_EQUAL(t.tags.n, 3);
    CU_ASSERT_STRING_EQUAL(t.tags.v[0], "true");
    CU_ASSERT_STRING_EQUAL(t.tags.v[2], "~");
    FQ_ASSERT_OK(load("train: {bits: 5, robustness: qat, path: ~/data}\n", NULL, &t));
    CU_ASSERT_TRUE(t.bits.n == 1 && t.bits.v[0] == 5);
    CU_ASSERT_TRUE(t.robustness.n == 1 && strcmp(t.robustness.v[0], "qat") == 0);
    CU_ASSERT_STRING_EQUAL(t.path, "~/data");
}

typedef struct bad {
    const char *text, *error;
} bad;

static void check_bad(const bad *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        training  t;
        fq_status status = load(rows[i].text, NULL, &t);
        CU_ASSERT_EQUAL(status, FQ_EINVAL);
        if (strcmp(fq_status_text(), rows[i].error) != 0)
            fprintf(stderr, "of: %s\nsaid: %s\nexpected: %s\n", rows[i].text, fq_status_text(),
                    rows[i].error);
        CU_ASSERT_STRING_EQUAL(fq_status_text(), rows[i].error);
    }
}
#define CHECK_BAD(rows) check_bad(rows, sizeof(rows) / sizeof *(rows))

static void test_bad_values(void) {
    static const bad rows[] = {
        {"train:\n  rate: -1\n",
         "FILE:2: train.rate: -1 is not allowed; expected a number from 0 to 1000"},
        {"train: {rate: 1e999}", "FILE:1: train.rate: 1e999 is too large"},
        {"train: {rate: 1e-999}", "FILE:1: train.rate: 1e-999 is too small"},
        {"train: {rate: .inf}", "FILE:1: train.rate: '.inf' is not a number"},
        {"train: {rate: inf}", "FILE:1: train.rate: 'inf' is not a number"},
        {"train: {rate: nan}", "FILE:1: train.rate: 'nan' is not a number"},
        {"train: {rate: \"0.5\"}", "FILE:1: train.rate: '0.5' is text because of its quotes; "
                                   "expected a number from 0 to 1000"},
        {"train: {rate: 0x1p3}",
         "FILE:1: train.rate: '0x1p3' is not a number; write it as 1000, 0.05 or 5e-2"},
        {"train: {rate: 0,5}",
         "FILE:1: train.5: unknown key. Known here: quiet, epochs, seed, rate, "
         "alpha, path, algorithm, bits, rates, robustness, tags, mqat"},
        {"train:\n  rate: 0,5",
         "FILE:2: train.rate: '0,5' is not a number; write it as 1000, 0.05 or 5e-2"},
        {"train: {rate: .}", "FILE:1: train.rate: '.' is not a number"},
        {"train: {rate: 1e}",
         "FILE:1: train.rate: '1e' is not a number; write it as 1000, 0.05 or 5e-2"},
        {"train: {rate: 007.5}",
         "FILE:1: train.rate: '007.5' is not a number; write it as 1000, 0.05 or 5e-2"},
        {"train: {alpha: -2}",
         "FILE:1: train.alpha: -2 is not allowed; expected a number at least 0"},
        {"train: {epochs: ten}", "FILE:1: train.epochs: 'ten' is not a whole number"},
        {"train: {epochs: 1e1}", "FILE:1: train.epochs: '1e1' is not a whole number; write its "
                                 "decimal digits only, as in 1000"},
        {"train: {epochs: 1_0}", "FILE:1: train.epochs: '1_0' is not a whole number; write its "
                                 "decimal digits only, as in 1000"},
        {"train: {epochs: 2.0}", "FILE:1: train.epochs: '2.0' is not a whole number; write its "
                                 "decimal digits only, as in 1000"},
        {"train: {epochs: 010}", "FILE:1: train.epochs: '010' is not a whole number; write its "
                                 "decimal digits only, as in 1000"},
        {"train: {epochs: 0x10}", "FILE:1: train.epochs: '0x10' is not a whole number; write its "
                                  "decimal digits only, as in 1000"},
        {"train: {epochs: 101}",
         "FILE:1: train.epochs: 101 is not allowed; expected a whole number "
         "from 1 to 100"},
        {"train: {seed: 9223372036854775808}",
         "FILE:1: train.seed: 9223372036854775808 is too large"},
        {"train: {epochs: [1]}",
         "FILE:1: train.epochs: expected a whole number from 1 to 100, found a list"},
        {"train: {quiet: yes}", "FILE:1: train.quiet: 'yes' is not true or false; write true"},
        {"train: {quiet: OFF}", "FILE:1: train.quiet: 'OFF' is not true or false; write false"},
        {"train: {quiet: maybe}", "FILE:1: train.quiet: 'maybe' is not true or false"},
        {"train: {quiet: 'true'}",
         "FILE:1: train.quiet: 'true' is text because of its quotes; expected true or false"},
        {"train: {algorithm: fedavgg}",
         "FILE:1: train.algorithm: 'fedavgg' is unknown; did you mean "
         "'fedavg'? Known: fedavg, fedprox, scaffold"},
        {"train: {algorithm: sgd}",
         "FILE:1: train.algorithm: 'sgd' is unknown. Known: fedavg, fedprox, scaffold"},
        {"train: {robustness: [kure, mqta]}",
         "FILE:1: train.robustness: member 2: 'mqta' is unknown; did you mean 'mqat'? Known: kure, "
         "apqn, qat, mqat"},
        {"train: {bits: [4, 40]}",
         "FILE:1: train.bits: member 2: 40 is not allowed; expected a whole number from 1 to 32"},
        {"train: {bits: [4, ~]}",
         "FILE:1: train.bits: member 2: expected a whole number from 1 to 32, found nothing"},
        {"train: {bits: [[4]]}",
         "FILE:1: train.bits: member 1: expected a whole number from 1 to 32, found a list"},
        {"train: {bits: {a: 1}}",
         "FILE:1: train.bits: expected a whole number from 1 to 32, found a section of keys"},
        {"train: {path: [a]}", "FILE:1: train.path: expected a text, found a list"},
        {"train: {tags: [1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7]}",
         "FILE:1: train.tags: a list of 17; at most 16 are allowed"},
        {"train: {tags: abcdefghijklmnopqrstuvwxyzabcdef}",
         "FILE:1: train.tags: 'abcdefghijklmnopqrstuvwxyzabcdef' has 32 bytes; at most 31 are "
         "allowed"},
    };
    CHECK_BAD(rows);
}

static void test_bad_keys(void) {
    static const bad rows[] = {
        {"train:\n\n  epoch: 7\n", "FILE:3: train.epoch: unknown key; did you mean 'epochs'?"},
        {"train: {mqta: {}}", "FILE:1: train.mqta: unknown key; did you mean 'mqat'?"},
        {"train:\n  rate: 1\n  epochs: 2\n  rate: 3\n",
         "FILE:4: train.rate: given twice, first at line 2"},
        {"train: {}\ntrain: {}\n", "FILE:2: train: given twice, first at line 1"},
        {"a:\n- b: 1\n- b: 1\n  b: 2\n", "FILE:4: a[2].b: given twice, first at line 3"},
        {"train: 5", "FILE:1: train: expected a section of 'key: value' lines, found the value 5"},
        {"train: [1]", "FILE:1: train: expected a section of 'key: value' lines, found a list"},
        {"{[a]: 1}", "FILE:1: a key must be a word, not a list or a map"},
        {"\"\": 1", "FILE:1: a value without a key"},
        {"~: 1", "FILE:1: a value without a key"},
    };
    CHECK_BAD(rows);
}

static void test_bad_documents(void) {
    static const bad rows[] = {
        {"train:\n\trate: 1\n",
         "FILE:2: not valid YAML: a tab at the beginning of the line; indent with spaces"},
        {"a: [1, 2\nb: 3\n",
         "FILE:2: not valid YAML: did not find expected ',' or ']' while parsing "
         "a flow sequence that begins at line 1"},
        {"a:\n  b: \"x\n",
         "FILE:3: not valid YAML: found unexpected end of stream while scanning a "
         "quoted scalar that begins at line 2"},
        {"a: b: c\n", "FILE:1: not valid YAML: mapping values are not allowed in this context"},
        {"a: @x\n", "FILE:1: not valid YAML: a value cannot begin with this character; put the "
                    "text in quotes"},
        {"a: &x 1\n", "FILE:1: anchors (&name) are not supported; quote a text with &"},
        {"a: *x\n", "FILE:1: aliases (*name) are not supported; quote a text with *"},
        {"a:\n  !!str 1\n", "FILE:2: tags (!name) are not supported; quote a text with !"},
        {"a: !x [1]\n", "FILE:1: tags (!name) are not supported; quote a text with !"},
        {"a: 1\n---\nb: 2\n", "FILE:2: a second document begins here; one is allowed"},
        {"- 1\n", "FILE:1: expected settings as 'key: value' lines, found a list"},
        {"lenet5\n", "FILE:1: expected settings as 'key: value' lines, found a value"},
        {"a: \"x\\0y\"\n", "FILE:1: a NUL character in a text"},
        {"a: 1\nb: \xff\n", "FILE:2: not plain UTF-8 text: invalid leading UTF-8 octet (0xFF)"},
        {"a: \xc0\xaf\n", "FILE:1: not plain UTF-8 text: invalid length of a UTF-8 sequence"},
        {"a: \xc3", "FILE:1: not plain UTF-8 text: incomplete UTF-8 octet sequence"},
        {"a: \x01\n", "FILE:1: not plain UTF-8 text: control characters are not allowed (0x01)"},
        {"\xff\xfe", "FILE:1: not plain UTF-8 text: invalid leading UTF-8 octet (0xFF)"},
    };
    CHECK_BAD(rows);
}

static char *repeat(const char *unit, size_t n, const char *end) {
    size_t length = strlen(unit);
    char  *text = malloc(n * length + strlen(end) + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * length, unit, length);
    memcpy(text + n * length, end, strlen(end) + 1);
    return text;
}

static void test_limits(void) {
    training     t;
    fq_document *document;
    char        *text = repeat("[", 32, "");
    FQ_ASSERT_FAILS(load(text, NULL, &t), FQ_EINVAL, "did not find expected node content");
    free(text);
    text = repeat("[", 200000, "");
    FQ_ASSERT_FAILS(load(text, NULL, &t), FQ_EINVAL, "FILE:1: nested deeper than 32 levels");
    free(text);
    text = repeat("{a: ", 40, "1");
    FQ_ASSERT_FAILS(load(text, NULL, &t), FQ_EINVAL, "FILE:1: nested deeper than 32 levels");
    free(text);
    text = repeat("#234567\n", 1 << 17, "");
    FQ_ASSERT_OK(load(text, NULL, &t));
    free(text);
    text = repeat("#234567\n", 1 << 17, "\n");
    FQ_ASSERT_FAILS(load(text, NULL, &t), FQ_ELIMIT, "FILE has 1048577 bytes");
    free(text);

    fq_buffer many = {0};
    for (int i = 0; i < 1025; i++) {
        char line[32];
        int  n = snprintf(line, sizeof line, "k%d: 1\n", i);
        fq_put_bytes(&many, line, (size_t)n);
    }
    FQ_ASSERT_FAILS(fq_document_parse(&document, "FILE", (fq_cbytes){many.data, many.size}),
                    FQ_EINVAL, "FILE:1025: more than 1024 keys");
    CU_ASSERT_PTR_NULL(document);
    fq_buffer_fini(&many);

    char *word = repeat("ü", 200, "");
    char  long_text[600];
    snprintf(long_text, sizeof long_text, "train: {path: %s}", word);
    FQ_ASSERT_FAILS(load(long_text, NULL, &t), FQ_EINVAL,
                    "ü...' has 400 bytes; at most 255 are allowed");
    free(word);
    static const char with_nul[] = "a: 1\nb\0: 2";
    FQ_ASSERT_FAILS(
        fq_document_parse(&document, "FILE", (fq_cbytes){(const unsigned char *)with_nul, 10}),
        FQ_EINVAL, "FILE:2: not plain UTF-8 text: control characters");
}

static void test_set(void) {
    static const char *const good[] = {
        "train.rate=0.25",   "train.bits=[1, 2]", "train.path=a b",
        "train.epochs=5",    "train.quiet=false", "train.mqat.bits=[2]",
        "other.new.key=1=2", "train.rate=0.75",   NULL};
    training t;
    FQ_ASSERT_OK(load("train: {rate: 7, epochs: 9, mqat: ~}\n", good, &t));
    CU_ASSERT_EQUAL(t.rate, 0.75);
    CU_ASSERT_TRUE(t.bits.n == 2 && t.bits.v[1] == 2);
    CU_ASSERT_STRING_EQUAL(t.path, "a b");
    CU_ASSERT_EQUAL(t.epochs, 5);
    CU_ASSERT_FALSE(t.quiet);
    static const struct {
        const char *assignment, *error;
    } rows[] = {
        {"train.rate=", "--set train.rate=: train.rate: no value; give one, or leave the key out "
                        "for its default"},
        {"train.rate=x", "--set train.rate=x: train.rate: 'x' is not a number"},
        {"train.rat=1", "--set train.rat=1: train.rat: unknown key; did you mean 'rate'?"},
        {"train.bits=[1, 99]", "--set train.bits=[1, 99]: train.bits: member 2: 99 is not allowed; "
                               "expected a whole number from 1 to 32"},
        {"train", "--set train: expected key=value, as in train.rate=0.1"},
        {"train..x=1", "--set train..x=1: an empty name in the key"},
        {"train.=1", "--set train.=1: an empty name in the key"},
        {"=1", "--set =1: an empty name in the key"},
        {"train.rate.x=1", "--set train.rate.x=1: rate is a value, so it has no key 'x'"},
        {"train.bits.0=1", "--set train.bits.0=1: bits is a list, so it has no key '0'"},
        {"train.path=[1", "--set train.path=[1: not valid YAML: did not find expected ',' or ']' "
                          "while parsing a flow sequence"},
        {"train.path=*x",
         "--set train.path=*x: aliases (*name) are not supported; quote a text with *"},
        {"train=1",
         "--set train=1: train: expected a section of 'key: value' lines, found the value 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const one[] = {rows[i].assignment, NULL};
        CU_ASSERT_EQUAL(load("train: {rate: 7, bits: [1]}\n", one, &t), FQ_EINVAL);
        CU_ASSERT_STRING_EQUAL(fq_status_text(), rows[i].error);
    }
    char             *deep = repeat("a.", 32, "b=1");
    const char *const too_deep[] = {deep, NULL};
    FQ_ASSERT_FAILS(load("", too_deep, &t), FQ_EINVAL, "nested deeper than 32 levels");
    free(deep);
}

static void print_is(const fq_document *document, const char *expected) {
    char text[200];
    fq_node_print(fq_document_root(document), text, sizeof text);
    CU_ASSERT_STRING_EQUAL(text, expected);
}

static void test_failed_set_changes_nothing(void) {
    fq_document *document;
    FQ_ASSERT_OK(fq_document_parse(&document, "FILE", bytes_of("a: {b: 1}\n")));
    CU_ASSERT_EQUAL(fq_document_set(document, "a.b.c.d=1"), FQ_EINVAL);
    CU_ASSERT_EQUAL(fq_document_set(document, "x.y=[1"), FQ_EINVAL);
    CU_ASSERT_EQUAL(fq_document_set(document, "x.=1"), FQ_EINVAL);
    print_is(document, "{a: {b: 1}}");
    fq_document_destroy(&document);
}

static void test_nodes(void) {
    fq_document *document, *copy;
    FQ_ASSERT_OK(fq_document_parse(
        &document, "FILE",
        bytes_of("a: 1\nb:\n  - x\n  - 'y z'\n  - ~\nc: {d: \"\\n\", e: [], f: {}}\n")));
    const fq_node *root = fq_document_root(document), *b = fq_node_find(root, "b");
    CU_ASSERT_EQUAL(fq_node_kind_of(root), FQ_NODE_MAP);
    CU_ASSERT_EQUAL(fq_node_count(root), 3);
    CU_ASSERT_STRING_EQUAL(fq_node_key(root, 2), "c");
    CU_ASSERT_PTR_NULL(fq_node_key(root, 3));
    CU_ASSERT_EQUAL(fq_node_kind_of(b), FQ_NODE_LIST);
    CU_ASSERT_EQUAL(fq_node_count(b), 3);
    CU_ASSERT_EQUAL(fq_node_kind_of(fq_node_at(b, 1)), FQ_NODE_SCALAR);
    CU_ASSERT_STRING_EQUAL(fq_node_text(fq_node_at(b, 1)), "y z");
    CU_ASSERT_EQUAL(fq_node_line(fq_node_at(b, 1)), 4);
    CU_ASSERT_STRING_EQUAL(fq_node_text(fq_node_at(b, 2)), "");
    CU_ASSERT_PTR_NULL(fq_node_at(b, 3));
    CU_ASSERT_PTR_NULL(fq_node_find(root, "z"));
    CU_ASSERT_PTR_NULL(fq_node_find(NULL, "a"));
    CU_ASSERT_PTR_NULL(fq_node_find(b, "a"));
    FQ_ASSERT_FAILS(fq_node_fail(document, b, "no %s", "good"), FQ_EINVAL, "FILE:3: no good");
    FQ_ASSERT_FAILS(fq_node_fail(document, NULL, "no good"), FQ_EINVAL, "FILE: no good");

    const char *whole = "{a: 1, b: [x, \"y z\", ~], c: {d: \"\\u000A\", e: [], f: {}}}";
    print_is(document, whole);
    FQ_ASSERT_OK(fq_document_copy(&copy, document));
    print_is(copy, whole);
    FQ_ASSERT_OK(fq_document_set(copy, "c=~"));
    FQ_ASSERT_OK(fq_document_set(copy, "a=[2]"));
    print_is(document, whole);
    print_is(copy, "{a: [2], b: [x, \"y z\", ~], c: ~}");
    fq_document_destroy(&document);
    FQ_ASSERT_OK(fq_document_copy(&document, copy)); /* also of what --set made, with its errors */
    fq_document_destroy(&copy);
    FQ_ASSERT_FAILS(fq_node_fail(document, fq_node_find(fq_document_root(document), "a"), "bad"),
                    FQ_EINVAL, "--set a=[2]: bad");
    char tiny[12];
    fq_node_print(fq_document_root(document), tiny, sizeof tiny);
    CU_ASSERT_STRING_EQUAL(tiny, "{a: [2],...");
    fq_node_print(fq_document_root(document), tiny, 1);
    CU_ASSERT_STRING_EQUAL(tiny, "");
    fq_document_destroy(&document);
    fq_document_destroy(&document);
}

static void test_read_file(void) {
    const char  *path = fq_test_path("a.yaml");
    fq_document *document;
    fq_test_write(path, "a: 1\nb: [\n", 10);
    FQ_ASSERT_FAILS(fq_document_read(&document, path), FQ_EINVAL, "a.yaml:3: not valid YAML");
    fq_test_write(path, "a: 1\n", 5);
    FQ_ASSERT_OK(fq_document_read(&document, path));
    print_is(document, "{a: 1}");
    fq_document_destroy(&document);
    FQ_ASSERT_FAILS(fq_document_read(&document, fq_test_path("none")), FQ_EIO, "No such file");
}

/* Write, read back, compare. */
static void check_reload(const training *t) {
    fq_buffer   yaml = {0};
    const char *head = "train:\n";
    fq_put_bytes(&yaml, head, strlen(head));
    fq_section_write(&yaml, KEYS, t, 2);
    fq_put_u8(&yaml, 0);
    CU_ASSERT_FALSE_FATAL(yaml.failed);
    training back;
    memset(&back, 0, sizeof back);
    fq_status status = load((const char *)yaml.data, NULL, &back);
    if (status != FQ_OK)
        fprintf(stderr, "%s\n%s", fq_status_text(), (const char *)yaml.data);
    CU_ASSERT_EQUAL(status, FQ_OK);
    CU_ASSERT_STRING_EQUAL(back.path, t->path);
    CU_ASSERT_EQUAL(memcmp(&back.rates, &t->rates, sizeof back.rates), 0);
    CU_ASSERT_EQUAL(memcmp(&back.bits, &t->bits, sizeof back.bits), 0);
    CU_ASSERT_EQUAL(memcmp(&back.tags, &t->tags, sizeof back.tags), 0);
    CU_ASSERT_TRUE(back.quiet == t->quiet && back.seed == t->seed && back.rate == t->rate &&
                   back.algorithm == t->algorithm);
    fq_buffer_fini(&yaml);
}

static void test_reload_numbers(void) {
    training t;
    FQ_ASSERT_OK(load("", NULL, &t));
    fq_rng              rng = fq_rng_stream(1, FQ_RNG_DATA, 0, 0, 0, 0);
    static const double special[] = {
        0.0, -0.0, DBL_MAX, DBL_MIN, 4.9e-324, 0.1, 1.0 / 3.0, 1e22, 123456789012345678.0};
    memcpy(t.rates.v, special, sizeof special);
    t.rates.n = sizeof special / sizeof *special;
    check_reload(&t);
    for (int i = 0; i < 30; i++) {
        t.rates.n = FQ_LIST_LENGTH;
        for (size_t j = 0; j < FQ_LIST_LENGTH; j++)
            do {
                uint64_t bits = fq_rng_u64(&rng);
                memcpy(&t.rates.v[j], &bits, sizeof bits);
            } while (!isfinite(t.rates.v[j]));
        t.seed = (int64_t)fq_rng_u64(&rng);
        check_reload(&t);
    }
}

static void test_reload_texts(void) {
    static const char *const texts[] = {"",
                                        "~",
                                        "null",
                                        "true",
                                        "no",
                                        "0x10",
                                        "12",
                                        "- a",
                                        "#x",
                                        "a: b",
                                        "a #b",
                                        "  lead",
                                        "trail  ",
                                        "line\nbreak",
                                        "tab\there",
                                        "\x01\x7f",
                                        "\"q\" \\ 'p'",
                                        "Zürich €",
                                        "\xc2\x85 \xe2\x80\xa8",
                                        "\xef\xbb\xbf",
                                        "\xf0\x9f\x99\x82",
                                        "[1]",
                                        "{a}",
                                        "*x",
                                        "&x",
                                        "!x",
                                        "%x",
                                        "@x",
                                        "`x`",
                                        "|",
                                        ">",
                                        "---",
                                        "a\r\nb",
                                        "?",
                                        "Yes",
                                        ".5",
                                        "/usr/share/x-1.gz"};
    training                 t;
    FQ_ASSERT_OK(load("", NULL, &t));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        memset(&t.tags, 0, sizeof t.tags);
        t.tags.n = 2;
        snprintf(t.path, sizeof t.path, "%s", texts[i]);
        snprintf(t.tags.v[0], sizeof t.tags.v[0], "%s", texts[i]);
        snprintf(t.tags.v[1], sizeof t.tags.v[1], "x%s", texts[i]);
        check_reload(&t);
    }
}

static void test_locale(void) {
    static const char *const with_comma[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "de_DE"};
    const char              *found = NULL;
    for (size_t i = 0; found == NULL && i < sizeof with_comma / sizeof *with_comma; i++)
        found = setlocale(LC_ALL, with_comma[i]);
    training t;
    FQ_ASSERT_OK(load("train: {rate: 0.5}", NULL, &t));
    CU_ASSERT_EQUAL(t.rate, 0.5);
    check_reload(&t);
    setlocale(LC_ALL, "C");
}

static void test_written_text(void) {
    training t;
    FQ_ASSERT_OK(load("train: {path: a b, rate: 0.1, tags: [x, 1]}", NULL, &t));
    fq_buffer out = {0};
    fq_section_write(&out, KEYS, &t, 2);
    fq_put_u8(&out, 0);
    CU_ASSERT_STRING_EQUAL((const char *)out.data, "  quiet: true\n"
                                                   "  epochs: 3\n"
                                                   "  seed: 0\n"
                                                   "  rate: 0.1\n"
                                                   "  alpha: 0.001\n"
                                                   "  path: \"a b\"\n"
                                                   "  algorithm: fedprox\n"
                                                   "  bits: [2, 3, 4, 8]\n"
                                                   "  rates: [0.5]\n"
                                                   "  robustness: [kure, mqat]\n"
                                                   "  tags: [x, \"1\"]\n");
    fq_buffer_fini(&out);
}

static void test_documentation(void) {
    fq_buffer out = {0};
    fq_section_document(&out, KEYS, "train");
    fq_put_u8(&out, 0);
    const char *text = (const char *)out.data;
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "| `train.epochs` | whole number | `3` | 1 to 100 | Passes. |\n"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "| `train.alpha` | number | `1e-3` | at least 0 | a\\|b |\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(
        text, "| `train.algorithm` | word | `fedprox` | fedavg, fedprox, scaffold | H. |\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "| `train.path` | text |  |  | A file. |\n"));
    fq_buffer_fini(&out);
}

static void test_bad_table(void) {
    static const fq_key keys[] = {
        {"rate", FQ_TYPE_REAL, 0, "fast", 0, 0, NULL, "A default that is no number."},
        {NULL, 0, 0, NULL, 0, 0, NULL, NULL}};
    fq_document *document;
    double       rate;
    FQ_ASSERT_OK(fq_document_parse(&document, "FILE", bytes_of("")));
    FQ_ASSERT_FAILS(fq_section_load(document, fq_document_root(document), "", keys, NULL, &rate),
                    FQ_EINVAL, "default:1: rate: 'fast' is not a number");
    fq_document_destroy(&document);
}

static void test_nearest(void) {
    static const struct {
        const char *word, *nearest;
    } rows[] = {
        {"fedavgg", "fedavg"},   {"fdeavg", "fedavg"}, {"FedAvg", "fedavg"}, {"fedpr", "fedprox"},
        {"scafold", "scaffold"}, {"sgd", NULL},        {"", NULL},           {"fedxyz", NULL},
        {"fedavg", "fedavg"},    {"adgvfe", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *found = fq_nearest(rows[i].word, ALGORITHMS);
        CU_ASSERT_TRUE(rows[i].nearest == NULL
                           ? found == NULL
                           : found != NULL && strcmp(found, rows[i].nearest) == 0);
    }
    static const char *const shorts[] = {"bit", "ab", NULL};
    CU_ASSERT_STRING_EQUAL(fq_nearest("bits", shorts), "bit");
    CU_ASSERT_STRING_EQUAL(fq_nearest("ba", shorts), "ab"); /* one swap */
    CU_ASSERT_PTR_NULL(fq_nearest("xy", shorts));
    char *longest = repeat("x", 100, "");
    CU_ASSERT_PTR_NULL(fq_nearest(longest, shorts));
    free(longest);
}

int main(void) {
    static const fq_case cases[] = {
        {"what is not given has its default", test_defaults},
        {"byte order mark", test_byte_order_mark},
        {"a key without a value", test_no_value},
        {"values of every type", test_values},
        {"bad values", test_bad_values},
        {"bad keys", test_bad_keys},
        {"bad documents", test_bad_documents},
        {"limits", test_limits},
        {"--set", test_set},
        {"a failed --set changes nothing", test_failed_set_changes_nothing},
        {"nodes, copies and printing", test_nodes},
        {"files", test_read_file},
        {"numbers are written exactly", test_reload_numbers},
        {"texts are written with the quotes they need", test_reload_texts},
        {"another locale changes nothing", test_locale},
        {"the resolved section", test_written_text},
        {"the Markdown rows", test_documentation},
        {"a bad default is found", test_bad_table},
        {"the nearest name", test_nearest},
        {NULL, NULL}};
    return fq_run_suite("config", cases);
}

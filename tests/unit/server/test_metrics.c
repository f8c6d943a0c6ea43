/* The text format is read by a parser that takes nothing that Prometheus' own would not. */
#include "board_rig.h"
#include "server/http_impl.h"
#include "suite.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a strict reader of text format 0.0.4 ---- */

enum { MOST_SERIES = 2048 };

typedef struct series {
    char   id[512]; /* name{labels} as written */
    double value;
} series;

typedef struct page {
    size_t n;
    series series[MOST_SERIES];
    char   family[128], type[16]; /* of the last TYPE line */
    char   families[64][128];
    size_t n_families;
} page;

static const char *name_end(const char *at) {
    if (!isalpha((unsigned char)*at) && *at != '_' && *at != ':')
        return at;
    while (isalnum((unsigned char)*at) || *at == '_' || *at == ':')
        at++;
    return at;
}

/* After a quoted label value; NULL: not a proper one. */
static const char *value_end(const char *at) {
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if (*at == '\0' || *at == '\n')
            return NULL;
        if (*at == '\\' && strchr("\\\"n", *++at) == NULL)
            return NULL;
    }
    return at + 1;
}

static const char *labels_end(const char *at) {
    if (*at != '{')
        return at;
    do {
        const char *end = name_end(++at);
        if (end == at || *end != '=' || (at = value_end(end + 1)) == NULL)
            return NULL;
    } while (*at == ',');
    return *at == '}' ? at + 1 : NULL;
}

static bool read_type(page *out, const char *line) {
    if (sscanf(line, "# TYPE %127s %15s", out->family, out->type) != 2)
        return false;
    for (size_t f = 0; f < out->n_families; f++)
        if (strcmp(out->families[f], out->family) == 0)
            return false; /* a family is in one place */
    strcpy(out->families[out->n_families++], out->family);
    return out->n_families < 64 &&
           (strcmp(out->type, "gauge") == 0 || strcmp(out->type, "counter") == 0);
}

static bool read_sample(page *out, const char *line) {
    const char *end = name_end(line);
    if (end == line || (size_t)(end - line) != strlen(out->family) ||
        strncmp(line, out->family, (size_t)(end - line)) != 0 || (end = labels_end(end)) == NULL ||
        *end != ' ' || out->n == MOST_SERIES)
        return false;
    series *own = &out->series[out->n++];
    char   *rest;
    snprintf(own->id, sizeof own->id, "%.*s", (int)(end - line), line);
    own->value = strtod(end + 1, &rest);
    if (rest == end + 1 || *rest != '\0')
        return false;
    for (size_t s = 0; s + 1 < out->n; s++)
        if (strcmp(out->series[s].id, own->id) == 0)
            return false; /* a series is given once */
    return strcmp(out->type, "counter") != 0 || own->value >= 0;
}

/* false at the first line that is not as it should be. */
static bool read_page(page *out, const fq_buffer *text) {
    char *copy = calloc(1, text->size + 1), help[128] = "";
    bool  good = text->size > 0 && text->data[text->size - 1] == '\n';
    memcpy(copy, text->data, text->size);
    out->n = out->n_families = 0;
    out->family[0] = '\0';
    for (char *line = copy, *end; good && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strncmp(line, "# HELP ", 7) == 0)
            good = sscanf(line, "# HELP %127s", help) == 1;
        else if (strncmp(line, "# TYPE ", 7) == 0)
            good = read_type(out, line) && strcmp(help, out->family) == 0;
        else
            good = read_sample(out, line);
        if (!good)
            fprintf(stderr, "not in the format: %s\n", line);
    }
    free(copy);
    return good;
}

static double value_of(const page *from, const char *id) {
    for (size_t s = 0; s < from->n; s++)
        if (strcmp(from->series[s].id, id) == 0)
            return from->series[s].value;
    fprintf(stderr, "no series %s\n", id);
    CU_FAIL("a series is missing");
    return -1;
}

static bool has(const page *from, const char *id) {
    for (size_t s = 0; s < from->n; s++)
        if (strcmp(from->series[s].id, id) == 0)
            return true;
    return false;
}

static bool reads(page *out, const char *text) {
    fq_buffer bytes = {0};
    fq_put_bytes(&bytes, text, strlen(text));
    bool good = read_page(out, &bytes);
    fq_buffer_fini(&bytes);
    return good;
}

static page *metrics_of(const fq_board *board, const fq_run_view *view) {
    fq_buffer text = {0};
    page     *out = calloc(1, sizeof *out);
    FQ_ASSERT_OK(fq_metrics(board, view, &text));
    CU_ASSERT_TRUE_FATAL(read_page(out, &text));
    fq_buffer_fini(&text);
    return out;
}

/* ---- tests ---- */

static void test_reader(void) {
    page *out = calloc(1, sizeof *out);
    CU_ASSERT_TRUE(reads(out, "# HELP a b\n# TYPE a gauge\na{b=\"c\\\"\\\\\\n\",d=\"\"} 1\n"));
    static const char *const bad[] = {
        "# HELP a b\n# TYPE a gauge\na 1",                   /* no newline */
        "# HELP a b\n# TYPE a gauge\nb 1\n",                 /* of no family */
        "# HELP a b\n# TYPE a gauge\na{b=\"\n\"} 1\n",       /* newline in a value */
        "# HELP a b\n# TYPE a gauge\na{b=\"\\x\"} 1\n",      /* no such escape */
        "# HELP a b\n# TYPE a gauge\na 1\na 1\n",            /* twice */
        "# HELP a b\n# TYPE a gauge\na one\n",               /* no number */
        "# HELP a b\n# TYPE a counter\na -1\n",              /* a counter below zero */
        "# HELP a b\n# TYPE a gauge\na 1\n# TYPE a gauge\n", /* a family twice */
        "# TYPE a gauge\na 1\n",                             /* no help */
    };
    fprintf(stderr, "(what follows is meant to fail)\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_FALSE(reads(out, bad[i]));
    free(out);
}

static void test_values(void) {
    fq_board    board;
    fq_figure   figures[] = {{.weight_bits = 32, .activation_bits = 32, .accuracy = 0.875},
                             {.weight_bits = 2, .activation_bits = 8, .accuracy = 0.25}};
    fq_run_view view = {.round = 6, .n_figures = 2, .figures = figures};
    strcpy(figures[0].rule, "none");
    strcpy(figures[1].rule, "mse~2^k");
    fake_board_make(&board, 67, 20);
    page *out = metrics_of(&board, &view);
    CU_ASSERT_EQUAL(value_of(out, "fedq_round"), 6);
    CU_ASSERT_EQUAL(value_of(out, "fedq_rounds"), 40);
    CU_ASSERT_EQUAL(value_of(out, "fedq_round_asked"), 20);
    CU_ASSERT_EQUAL(value_of(out, "fedq_round_accepted"), 14);
    CU_ASSERT_EQUAL(value_of(out, "fedq_round_left_seconds"), 3);
    CU_ASSERT_EQUAL(value_of(out, "fedq_phase{phase=\"training\"}"), 1);
    CU_ASSERT_EQUAL(value_of(out, "fedq_phase{phase=\"paused\"}"), 0);
    CU_ASSERT_EQUAL(value_of(out, "fedq_updates_total{verdict=\"not-asked\"}"), 4);
    CU_ASSERT_EQUAL(value_of(out, "fedq_updates_total{verdict=\"late\"}"), 2 * 4);
    CU_ASSERT_EQUAL(value_of(out, "fedq_updates_total{verdict=\"busy\"}"), 0);
    CU_ASSERT_EQUAL(value_of(out, "fedq_strangers_total"), 7);
    CU_ASSERT_EQUAL(value_of(out, "fedq_messages_total"), 9);
    CU_ASSERT_EQUAL(value_of(out, "fedq_evaluated_round"), 6);
    CU_ASSERT_EQUAL(
        value_of(out, "fedq_accuracy{weight_bits=\"32\",activation_bits=\"32\",rule=\"none\"}"),
        0.875);
    CU_ASSERT_EQUAL(
        value_of(out, "fedq_accuracy{weight_bits=\"2\",activation_bits=\"8\",rule=\"mse~2^k\"}"),
        0.25);
    CU_ASSERT_TRUE(value_of(out, "process_resident_memory_bytes") > 1e5);
    CU_ASSERT_TRUE(value_of(out, "process_cpu_seconds_total") >= 0);
    CU_ASSERT_EQUAL(value_of(out, "fedq_peer_accepted_total{peer=\"sensor-008\"}"), 6 + 8);
    double peers = 0;
    for (size_t s = 0; s < out->n; s++)
        if (strncmp(out->series[s].id, "fedq_peers{", 11) == 0)
            peers += out->series[s].value;
    CU_ASSERT_EQUAL(peers, 20);
    free(out);
    fq_board_fini(&board);
}

/* Before anything has happened: no peers, no round, no loss. */
static void test_beginning(void) {
    fq_board_place *place;
    fq_board        board;
    FQ_ASSERT_OK(fq_board_place_create(&place));
    FQ_ASSERT_OK(fq_board_get(place, &board));
    page *out = metrics_of(&board, NULL);
    CU_ASSERT_TRUE(isnan(value_of(out, "fedq_loss")));
    CU_ASSERT_FALSE(has(out, "fedq_round_left_seconds"));
    CU_ASSERT_FALSE(has(out, "fedq_evaluated_round"));
    CU_ASSERT_EQUAL(value_of(out, "fedq_peers{state=\"away\"}"), 0);
    free(out);
    fq_board_fini(&board);
    fq_board_place_destroy(&place);
}

static void test_hostile_names(void) {
    fq_board board;
    fake_board_make(&board, 7, N_HOSTILE);
    snprintf(board.name, sizeof board.name, "%s", hostile_texts[2]);
    page *out = metrics_of(&board, NULL);
    CU_ASSERT_FALSE(has(out, "fedq_owned"));
    CU_ASSERT_TRUE(has(out, "fedq_peer_accepted_total{peer=\"a\\\"b\\\\c\\nfedq_owned 1\\n{}\"}"));
    CU_ASSERT_TRUE(
        has(out, "fedq_peer_accepted_total{peer=\"caf? \xf0\x9f\x90\x9d ???\"}")); /* UTF-8 only */
    free(out);
    fq_board_fini(&board);
}

static void test_clean_text(void) {
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa9\xe2\x82\xac", "\xc3\xa9\xe2\x82\xac"},
        {"\xc0\xaf", "??"},             /* overlong */
        {"\xe0\x80\xaf", "???"},        /* overlong */
        {"\xed\xa0\x80", "???"},        /* half of a pair */
        {"\xf4\x90\x80\x80", "????"},   /* beyond Unicode */
        {"a\xe2\x82", "a??"},           /* ends too early */
        {"123456789", "1234567"},       /* cut to 8 bytes with the end */
        {"12345\xe2\x82\xac", "12345"}, /* not cut inside a character */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[8];
        CU_ASSERT_STRING_EQUAL(fq_text_clean(cases[i].from, out, sizeof out), cases[i].to);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"the reader of these tests is strict", test_reader},
        {"values", test_values},
        {"before anything has happened", test_beginning},
        {"hostile names", test_hostile_names},
        {"text becomes UTF-8", test_clean_text},
        {NULL, NULL},
    };
    return fq_run_suite("metrics", cases);
}

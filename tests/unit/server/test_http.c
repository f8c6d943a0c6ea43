/* The web server, asked over plain sockets. */
#include "board_rig.h"
#include "report_rig.h"
#include "suite.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_BYTES = 4 << 20, PARALLEL = 200 };

/* ---- a client ---- */

static int connect_to(uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int            link = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_TRUE_FATAL(link >= 0);
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    CU_ASSERT_EQUAL_FATAL(connect(link, (struct sockaddr *)&address, sizeof address), 0);
    return link;
}

static void send_text(int link, const char *text, size_t size) {
    while (size > 0) {
        ssize_t sent = send(link, text, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* refused while it was sent: the answer tells */
        text += sent;
        size -= (size_t)sent;
    }
}

/* Everything until the server closes; a string that the caller frees. */
static char *receive_text(int link) {
    char   *out = malloc(ANSWER_BYTES);
    size_t  used = 0;
    ssize_t got;
    while (used < ANSWER_BYTES - 1 &&
           (got = recv(link, out + used, ANSWER_BYTES - 1 - used, 0)) > 0)
        used += (size_t)got;
    out[used] = '\0';
    close(link);
    return out;
}

static char *ask(uint16_t port, const char *request) {
    int link = connect_to(port);
    send_text(link, request, strlen(request));
    return receive_text(link);
}

static char *get(uint16_t port, const char *path) {
    char request[512];
    snprintf(request, sizeof request,
             "GET %s HTTP/1.1\r\nHost: localhost:%u\r\nConnection: close\r\n\r\n", path, port);
    return ask(port, request);
}

static int code_of(const char *answer) {
    int code = 0;
    return sscanf(answer, "HTTP/1.1 %d ", &code) == 1 ? code : 0;
}

static const char *body_of(const char *answer) {
    const char *end = strstr(answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

static bool has(const char *answer, const char *part) {
    if (strstr(answer, part) != NULL)
        return true;
    fprintf(stderr, "no \"%s\" in \"%.300s\"\n", part, answer);
    return false;
}

static void expect_code(uint16_t port, const char *request, int code) {
    char *answer = ask(port, request);
    if (code_of(answer) != code)
        fprintf(stderr, "expected %d for \"%.60s\": \"%.100s\"\n", code, request, answer);
    CU_ASSERT_EQUAL(code_of(answer), code);
    free(answer);
}

static json_t *get_json(uint16_t port, const char *path) {
    char   *answer = get(port, path);
    json_t *document = json_loads(body_of(answer), 0, NULL);
    CU_ASSERT_EQUAL(code_of(answer), 200);
    CU_ASSERT_TRUE(has(answer, "Content-Type: application/json\r\n"));
    CU_ASSERT_TRUE(has(answer, "Cache-Control: no-store\r\n"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(document);
    free(answer);
    return document;
}

/* ---- a server ---- */

typedef struct rig {
    fq_board_place *place;
    fq_http        *http;
    uint16_t        port;
} rig;

static void put_tick(rig *r, uint32_t tick, size_t n_peers) {
    fq_board board;
    fake_board_make(&board, tick, n_peers);
    FQ_ASSERT_OK(fq_board_put(r->place, &board));
    fq_board_fini(&board);
}

static void start(rig *r, const char *folder, const char *address) {
    static const char *const names[] = {"fedq.example.org"};
    FQ_ASSERT_OK(fq_board_place_create(&r->place));
    FQ_ASSERT_OK(fq_http_start(&r->http, &(fq_http_options){.address = address,
                                                            .place = r->place,
                                                            .folder = folder,
                                                            .names = names,
                                                            .n_names = 1}));
    r->port = fq_http_port(r->http);
    CU_ASSERT_TRUE(r->port != 0);
}

static void stop(rig *r) {
    fq_http_stop(&r->http);
    fq_http_stop(&r->http);
    fq_board_place_destroy(&r->place);
    fq_board_place_destroy(&r->place);
}

static const char *write_run(const char *name, uint32_t rounds) {
    const char *folder = fq_test_path(name);
    fake_run_write(&(fake_run){.folder = folder,
                               .name = hostile_texts[1],
                               .label = "",
                               .robustness = "mqat",
                               .seed = 1,
                               .rounds = rounds,
                               .every = 2,
                               .loss_per_bit = 0.1});
    return folder;
}

/* ---- tests ---- */

static void test_board_is_a_copy(void) {
    fq_board_place *place;
    fq_board        put, got;
    FQ_ASSERT_OK(fq_board_place_create(&place));
    FQ_ASSERT_OK(fq_board_get(place, &got));
    CU_ASSERT_EQUAL(got.n_peers, 0);
    CU_ASSERT_STRING_EQUAL(got.phase, "starting");
    fq_board_fini(&got);
    fake_board_make(&put, 12, 9);
    FQ_ASSERT_OK(fq_board_put(place, &put));
    strcpy(put.peers[8].name, "changed later");
    FQ_ASSERT_OK(fq_board_get(place, &got));
    CU_ASSERT_EQUAL(got.round, 1);
    CU_ASSERT_EQUAL_FATAL(got.n_peers, 9);
    CU_ASSERT_STRING_EQUAL(got.peers[8].name, "sensor-008");
    fq_board_fini(&put);
    fq_board_place_destroy(&place);
    CU_ASSERT_STRING_EQUAL(got.peers[8].name, "sensor-008"); /* still */
    fq_board_fini(&got);
    fq_board_fini(&got);
}

static void test_page(void) {
    rig r;
    start(&r, write_run("page", 4), "127.0.0.1");
    char       *answer = get(r.port, "/");
    const char *policy = strstr(answer, "Content-Security-Policy: ");
    CU_ASSERT_EQUAL(code_of(answer), 200);
    CU_ASSERT_TRUE(has(answer, "Content-Type: text/html; charset=utf-8\r\n"));
    CU_ASSERT_TRUE(has(answer, "X-Content-Type-Options: nosniff\r\n"));
    CU_ASSERT_TRUE(has(answer, "Referrer-Policy: no-referrer\r\n"));
    CU_ASSERT_TRUE(has(body_of(answer), "fetch("));
    CU_ASSERT_TRUE(has(body_of(answer), "</html>\n"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(policy);
    *strchr(policy, '\r') = '\0';
    CU_ASSERT_TRUE(has(policy, "default-src 'none'"));
    CU_ASSERT_PTR_NULL(strstr(policy, "unsafe"));
    /* Two scripts, one style: 44 characters of base64 each, the last one a filler. */
    size_t hashes = 0;
    for (const char *at = policy; (at = strstr(at, "'sha256-")) != NULL; at++, hashes++)
        CU_ASSERT_EQUAL(strncmp(at + 8 + 43, "='", 2), 0);
    CU_ASSERT_EQUAL(hashes, 3);
    free(answer);
    stop(&r);
}

static void test_status(void) {
    rig r;
    start(&r, write_run("status", 4), "127.0.0.1");
    put_tick(&r, 43, 30);
    json_t *status = get_json(r.port, "/api/status?x=1"), *peers = json_object_get(status, "peers");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(status, "format")), "fedq-status");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(status, "round")), 4);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(status, "accepted")), 6);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(status, "deadline_ms")), 7000);
    CU_ASSERT_EQUAL(
        json_integer_value(json_object_get(json_object_get(status, "refusals"), "not-asked")), 4);
    CU_ASSERT_EQUAL_FATAL(json_array_size(peers), 30);
    json_t *peer = json_array_get(peers, 19);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(peer, "name")), "sensor-019");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(peer, "first_client")), 152);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(peer, "widths")), 3);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(json_object_get(peer, "refusals"), "late")),
                    2);
    CU_ASSERT_TRUE(json_is_null(json_object_get(json_array_get(peers, 11), "heard_ms")));
    json_decref(status);
    stop(&r);
}

static void test_hostile_json(void) {
    rig r;
    start(&r, write_run("hostile", 4), "127.0.0.1");
    put_tick(&r, 1, N_HOSTILE);
    json_t *status = get_json(r.port, "/api/status"), *peers = json_object_get(status, "peers");
    for (size_t p = 0; p < N_HOSTILE; p++) {
        const char *name = json_string_value(json_object_get(json_array_get(peers, p), "name"));
        CU_ASSERT_STRING_EQUAL(name, p == 3 ? "caf? \xf0\x9f\x90\x9d ???" : hostile_texts[p]);
    }
    json_decref(status);
    json_t *run = get_json(r.port, "/api/run");
    json_decref(run);
    char *page = get(r.port, "/"), *metrics = get(r.port, "/metrics");
    CU_ASSERT_PTR_NULL(strstr(page, "owned")); /* the page has no data in it */
    CU_ASSERT_PTR_NULL(strstr(metrics, "\nfedq_owned"));
    CU_ASSERT_TRUE(has(metrics, "Content-Type: text/plain; version=0.0.4"));
    CU_ASSERT_TRUE(has(metrics, "fedq_accuracy{weight_bits=\"2\",activation_bits=\"32\","));
    free(page);
    free(metrics);
    stop(&r);
}

static size_t rounds_of(uint16_t port) {
    json_t *document = get_json(port, "/api/run");
    json_t *run = json_array_get(json_object_get(document, "runs"), 0);
    size_t  n = json_array_size(json_object_get(json_object_get(run, "rounds"), "round"));
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(document, "format")), "fedq-report");
    json_decref(document);
    return n;
}

/* Nothing yet, then rounds, then more of them. */
static void test_run(void) {
    const char *folder = fq_test_path("growing");
    rig         r;
    start(&r, folder, "127.0.0.1");
    CU_ASSERT_EQUAL(rounds_of(r.port), 0);
    write_run("growing", 3);
    CU_ASSERT_EQUAL(rounds_of(r.port), 3);
    CU_ASSERT_EQUAL(rounds_of(r.port), 3);
    write_run("growing", 8);
    CU_ASSERT_EQUAL(rounds_of(r.port), 8);
    stop(&r);
}

static void test_damaged_run(void) {
    const char *folder = write_run("damaged", 3);
    rig         r;
    fq_test_write(fq_test_path("damaged/run.db"),
                  "not a database, though as long as one's head "
                  "would be, if anybody had cared to make one",
                  88);
    start(&r, folder, "127.0.0.1");
    char *run = get(r.port, "/api/run"), *metrics = get(r.port, "/metrics");
    CU_ASSERT_EQUAL(code_of(run), 500);
    CU_ASSERT_TRUE(has(run, "run.db"));
    CU_ASSERT_EQUAL(code_of(metrics), 200);
    CU_ASSERT_PTR_NULL(strstr(metrics, "fedq_accuracy"));
    free(run);
    free(metrics);
    stop(&r);
}

static void test_health(void) {
    rig      r;
    fq_board board;
    start(&r, write_run("health", 1), "127.0.0.1");
    char *answer = get(r.port, "/healthz");
    CU_ASSERT_EQUAL(code_of(answer), 503);
    CU_ASSERT_STRING_EQUAL(body_of(answer), "starting\n");
    free(answer);
    put_tick(&r, 1, 1);
    answer = get(r.port, "/healthz");
    CU_ASSERT_EQUAL(code_of(answer), 200);
    CU_ASSERT_STRING_EQUAL(body_of(answer), "ok\n");
    free(answer);
    fake_board_make(&board, 1, 1);
    strcpy(board.phase, "paused");
    strcpy(board.note, "the disk is full");
    FQ_ASSERT_OK(fq_board_put(r.place, &board));
    fq_board_fini(&board);
    answer = get(r.port, "/healthz");
    CU_ASSERT_EQUAL(code_of(answer), 503);
    CU_ASSERT_STRING_EQUAL(body_of(answer), "paused: the disk is full\n");
    free(answer);
    stop(&r);
}

static void test_only_reading(void) {
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"};
    rig                      r;
    start(&r, write_run("reading", 1), "127.0.0.1");
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        char request[256];
        snprintf(request, sizeof request,
                 "%s /api/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
                 "Connection: close\r\n\r\nabc",
                 methods[m]);
        char *answer = ask(r.port, request);
        CU_ASSERT_EQUAL(code_of(answer), 405);
        CU_ASSERT_TRUE(has(answer, "Allow: GET, HEAD\r\n"));
        free(answer);
    }
    char *answer =
        ask(r.port, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    CU_ASSERT_EQUAL(code_of(answer), 200);
    CU_ASSERT_STRING_EQUAL(body_of(answer), "");
    CU_ASSERT_TRUE(has(answer, "Content-Length: "));
    CU_ASSERT_PTR_NULL(strstr(answer, "Content-Length: 0\r\n"));
    free(answer);
    static const char *const missing[] = {
        "/x",      "/api", "/api/status/", "/..", "/assets/x.js", "/%2e%2e/%2e%2e/etc/passwd",
        "/run.db", "//"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        answer = get(r.port, missing[i]);
        CU_ASSERT_EQUAL(code_of(answer), 404);
        CU_ASSERT_TRUE(has(answer, "X-Content-Type-Options: nosniff\r\n"));
        free(answer);
    }
    stop(&r);
}

static void expect_host(uint16_t port, const char *host, int code) {
    char request[256];
    snprintf(request, sizeof request,
             "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    expect_code(port, request, code);
}

static void test_host(void) {
    rig r;
    start(&r, write_run("host", 1), "127.0.0.1");
    put_tick(&r, 1, 1);
    static const char *const good[] = {"127.0.0.1", "127.0.0.1:8080",   "localhost:1",
                                       "LOCALHOST", "fedq.example.org", "Fedq.Example.org:443"};
    static const char *const bad[] = {"evil.example",
                                      "localhost.evil.example",
                                      "127.0.0.1.evil",
                                      "10.0.0.1",
                                      "[::1]:80",
                                      "",
                                      ":80",
                                      "[",
                                      "[]",
                                      "[localhost",
                                      "localhost@evil.example",
                                      "fedq.example.org.",
                                      "0"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        expect_host(r.port, good[i], 200);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_host(r.port, bad[i], 421);
    expect_code(r.port, "GET /healthz HTTP/1.0\r\n\r\n", 421);
    stop(&r);
    /* On every address, any numeric one may be named: no name was looked up for it. */
    start(&r, fq_test_path("host"), "0.0.0.0");
    put_tick(&r, 1, 1);
    expect_host(r.port, "10.0.0.1:80", 200);
    expect_host(r.port, "[fe80::1]", 200);
    expect_host(r.port, "evil.example", 421);
    stop(&r);
    FQ_ASSERT_OK(fq_board_place_create(&r.place));
    fq_http_options options = {.address = "[::1]", .place = r.place, .folder = fq_test_folder()};
    fq_status       status = fq_http_start(&r.http, &options);
    CU_ASSERT_TRUE(status == FQ_OK || strstr(fq_status_text(), "cannot listen on [::1]") != NULL);
    stop(&r);
}

static void test_oversized(void) {
    rig r;
    start(&r, write_run("oversized", 1), "127.0.0.1");
    put_tick(&r, 1, 1);
    enum { LARGE = 100000 };
    char *request = malloc(2 * LARGE), *filler = malloc(LARGE);
    memset(filler, 'a', LARGE - 1);
    filler[LARGE - 1] = '\0';
    snprintf(request, 2 * LARGE, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", filler);
    char *answer = ask(r.port, request);
    CU_ASSERT_TRUE(code_of(answer) == 431 || answer[0] == '\0'); /* refused, or cut off */
    free(answer);
    snprintf(request, 2 * LARGE, "GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n", filler);
    answer = ask(r.port, request);
    CU_ASSERT_TRUE(code_of(answer) == 414 || answer[0] == '\0');
    free(answer);
    answer = ask(r.port, "\x16\x03\x01\x02\r\n\r\n");
    CU_ASSERT_TRUE(code_of(answer) != 200);
    free(answer);
    free(filler);
    free(request);
    expect_host(r.port, "localhost", 200); /* and it goes on */
    stop(&r);
}

static void *write_boards(void *context) {
    rig *r = context;
    for (uint32_t tick = 1; tick < 200; tick++) {
        fq_board board;
        fake_board_make(&board, tick, 50);
        (void)!fq_board_put(r->place, &board);
        fq_board_fini(&board);
        usleep(500);
    }
    return NULL;
}

/* All connected before the first is answered, while boards are put. */
static void test_parallel(void) {
    static const char *const paths[] = {"/", "/api/status", "/api/run", "/metrics"};
    rig                      r;
    pthread_t                writer;
    int                      links[PARALLEL];
    start(&r, write_run("parallel", 6), "127.0.0.1");
    put_tick(&r, 0, 50);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, write_boards, &r), 0);
    for (size_t i = 0; i < PARALLEL; i++)
        links[i] = connect_to(r.port);
    for (size_t i = 0; i < PARALLEL; i++) {
        char request[128];
        snprintf(request, sizeof request,
                 "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", paths[i % 4]);
        send_text(links[i], request, strlen(request));
    }
    size_t good = 0;
    for (size_t i = 0; i < PARALLEL; i++) {
        char *answer = receive_text(links[i]);
        good += code_of(answer) == 200 && strlen(body_of(answer)) > 100;
        free(answer);
    }
    CU_ASSERT_EQUAL(good, PARALLEL);
    pthread_join(writer, NULL);
    stop(&r);
}

/* Clients that connect and say nothing, or half a request, hold up neither others nor the end. */
static void test_silent(void) {
    rig r;
    int links[40];
    start(&r, write_run("silent", 1), "127.0.0.1");
    put_tick(&r, 1, 1);
    for (size_t i = 0; i < 40; i++) {
        links[i] = connect_to(r.port);
        if (i % 2 == 0)
            send_text(links[i], "GET / HT", 8);
    }
    expect_host(r.port, "localhost", 200);
    stop(&r);
    for (size_t i = 0; i < 40; i++)
        close(links[i]);
}

static void test_cannot_start(void) {
    rig      r;
    fq_http *second;
    start(&r, write_run("taken", 1), "127.0.0.1");
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1, port %u: Address already in use", r.port);
    fq_http_options options = {
        .address = "127.0.0.1", .port = r.port, .place = r.place, .folder = fq_test_folder()};
    FQ_ASSERT_FAILS(fq_http_start(&second, &options), FQ_EIO, text);
    CU_ASSERT_PTR_NULL(second);
    options.address = "300.1.1.1:80";
    FQ_ASSERT_FAILS(fq_http_start(&second, &options), FQ_EINVAL, "300.1.1.1:80");
    CU_ASSERT_PTR_NULL(second);
    stop(&r);
}

int main(void) {
    static const fq_case cases[] = {
        {"a board is a copy", test_board_is_a_copy},
        {"the page", test_page},
        {"the status", test_status},
        {"hostile names", test_hostile_json},
        {"the run so far", test_run},
        {"a damaged database", test_damaged_run},
        {"health", test_health},
        {"only GET and HEAD, only what is there", test_only_reading},
        {"names of hosts", test_host},
        {"oversized requests", test_oversized},
        {"200 at once", test_parallel},
        {"silent clients", test_silent},
        {"what cannot be listened on", test_cannot_start},
        {NULL, NULL},
    };
    return fq_run_suite("http", cases);
}

/* The web server: a few routes that read, threads of its own, nothing that changes the run. */
#include "base/hash.h"
#include "report/report.h"
#include "server/http_impl.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    THREADS = 2,
    CONNECTIONS = 512,        /* at once, over all threads; more wait in the backlog */
    IDLE_SECONDS = 15,        /* then a connection is closed, also one that dribbles its request */
    REQUEST_BYTES = 16 << 10, /* line and headers of a request, and headers of its answer */
    BACKLOG = 256,
    POLICY_BYTES = 1024,
    HOST_BYTES = 256,
};

struct fq_http {
    struct MHD_Daemon   *daemon;
    struct MHD_Response *page;
    fq_board_place      *place;
    fq_run_cache        *cache;
    char                 address[HOST_BYTES]; /* without brackets */
    uint16_t             port;
    bool                 any_address; /* listens on all of them */
    char               **hosts;       /* [n_hosts] that a request may name */
    size_t               n_hosts;
    char                 policy[POLICY_BYTES];
};

/* ---- answers ---- */

typedef struct answer {
    unsigned             code;
    struct MHD_Response *response; /* NULL: no memory; the connection is closed */
} answer;

static bool add_header(struct MHD_Response *response, const char *name, const char *value) {
    return MHD_add_response_header(response, name, value) == MHD_YES;
}

/* Of every answer. The policy allows what the page itself consists of, and nothing else. */
static struct MHD_Response *with_headers(struct MHD_Response *response, const char *policy,
                                         const char *type) {
    if (response == NULL)
        return NULL;
    if (add_header(response, "Content-Type", type) &&
        add_header(response, "Cache-Control", "no-store") &&
        add_header(response, "Content-Security-Policy", policy) &&
        add_header(response, "Cross-Origin-Resource-Policy", "same-origin") &&
        add_header(response, "Referrer-Policy", "no-referrer") &&
        add_header(response, "X-Content-Type-Options", "nosniff"))
        return response;
    MHD_destroy_response(response);
    return NULL;
}

/* Takes over what is in `bytes`. */
static answer answer_bytes(const fq_http *http, unsigned code, const char *type, fq_buffer *bytes) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(bytes->size, bytes->data, MHD_RESPMEM_MUST_FREE);
    if (response == NULL)
        fq_buffer_fini(bytes);
    *bytes = (fq_buffer){0};
    return (answer){code, with_headers(response, http->policy, type)};
}

static answer answer_text(const fq_http *http, unsigned code, const char *text) {
    fq_buffer bytes = {0};
    fq_put_bytes(&bytes, text, strlen(text));
    fq_put_u8(&bytes, '\n');
    if (bytes.failed)
        fq_buffer_fini(&bytes);
    return answer_bytes(http, code, "text/plain; charset=utf-8", &bytes);
}

static answer answer_failure(const fq_http *http) {
    char clean[512];
    return answer_text(http, MHD_HTTP_INTERNAL_SERVER_ERROR,
                       fq_text_clean(fq_status_text(), clean, sizeof clean));
}

/* ---- routes ---- */

static answer give_page(fq_http *http) {
    return (answer){MHD_HTTP_OK, http->page};
}

static answer give_health(fq_http *http) {
    fq_board board;
    if (fq_board_get(http->place, &board) != FQ_OK)
        return answer_failure(http);
    bool well = strcmp(board.phase, "paused") != 0 && strcmp(board.phase, "starting") != 0;
    char text[512], clean[512];
    snprintf(text, sizeof text, "%s%s%s", board.phase, board.note[0] != '\0' ? ": " : "",
             board.note);
    fq_board_fini(&board);
    return well ? answer_text(http, MHD_HTTP_OK, "ok")
                : answer_text(http, MHD_HTTP_SERVICE_UNAVAILABLE,
                              fq_text_clean(text, clean, sizeof clean));
}

static answer give_status(fq_http *http) {
    fq_board  board;
    fq_buffer bytes = {0};
    if (fq_board_get(http->place, &board) != FQ_OK)
        return answer_failure(http);
    fq_status status = fq_board_json(&board, &bytes);
    fq_board_fini(&board);
    fq_put_u8(&bytes, '\n');
    if (status == FQ_OK && !bytes.failed)
        return answer_bytes(http, MHD_HTTP_OK, "application/json", &bytes);
    fq_buffer_fini(&bytes);
    return answer_failure(http);
}

static answer give_metrics(fq_http *http) {
    fq_board           board;
    fq_buffer          bytes = {0};
    const fq_run_view *view = NULL;
    if (fq_board_get(http->place, &board) != FQ_OK)
        return answer_failure(http);
    /* Without accuracies rather than not at all, if the database cannot be read. */
    if (fq_run_cache_get(http->cache, &view) != FQ_OK)
        view = NULL;
    fq_status status = fq_metrics(&board, view, &bytes);
    fq_run_view_drop(http->cache, view);
    fq_board_fini(&board);
    if (status == FQ_OK)
        return answer_bytes(http, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &bytes);
    fq_buffer_fini(&bytes);
    return answer_failure(http);
}

/* A view that an answer is being sent from. */
typedef struct lent {
    fq_run_cache      *cache;
    const fq_run_view *view;
} lent;

static void give_back(void *context) {
    lent *own = context;
    fq_run_view_drop(own->cache, own->view);
    free(own);
}

static answer give_run(fq_http *http) {
    lent *own = calloc(1, sizeof *own);
    if (own == NULL)
        return (answer){MHD_HTTP_INTERNAL_SERVER_ERROR, NULL};
    own->cache = http->cache;
    if (fq_run_cache_get(http->cache, &own->view) != FQ_OK) {
        free(own);
        return answer_failure(http);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        own->view->json.size, own->view->json.data, give_back, own);
    if (response == NULL)
        give_back(own);
    return (answer){MHD_HTTP_OK, with_headers(response, http->policy, "application/json")};
}

static const struct {
    const char *path;
    answer (*give)(fq_http *http);
} routes[] = {
    {"/", give_page},           {"/healthz", give_health},
    {"/metrics", give_metrics}, {"/api/status", give_status},
    {"/api/run", give_run},
};

/* ---- who may ask ---- */

/* The name in a Host header, without brackets and port; false: there is none. */
static bool host_name(const char *header, char out[HOST_BYTES]) {
    const char *end = header[0] == '[' ? strchr(header, ']') : header + strcspn(header, ":");
    if (header[0] == '[')
        header++;
    if (end == NULL || end <= header || end - header >= HOST_BYTES)
        return false;
    memcpy(out, header, (size_t)(end - header));
    out[end - header] = '\0';
    return true;
}

static bool is_numeric(const char *host) {
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* A page of another site can point its own name at this machine and then read what it likes from
 * here, for the browser takes the two for one; but it cannot make the browser send another name. */
static bool may_ask(const fq_http *http, struct MHD_Connection *connection) {
    const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    char        host[HOST_BYTES];
    if (header == NULL || !host_name(header, host))
        return false;
    for (size_t i = 0; i < http->n_hosts; i++)
        if (strcasecmp(host, http->hosts[i]) == 0)
            return true;
    return http->any_address && is_numeric(host);
}

static answer answer_request(fq_http *http, struct MHD_Connection *connection, const char *url,
                             const char *method) {
    if (!may_ask(http, connection))
        return answer_text(http, MHD_HTTP_MISDIRECTED_REQUEST,
                           "this host name is not served; the coordinator can be told to");
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        answer refused =
            answer_text(http, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are answered");
        if (refused.response != NULL)
            (void)add_header(refused.response, "Allow", "GET, HEAD");
        return refused;
    }
    for (size_t r = 0; r < sizeof routes / sizeof *routes; r++)
        if (strcmp(url, routes[r].path) == 0)
            return routes[r].give(http);
    return answer_text(http, MHD_HTTP_NOT_FOUND, "there is nothing here");
}

/* Called when the headers have been read; whatever body there is, is not. */
static enum MHD_Result take(void *context, struct MHD_Connection *connection, const char *url,
                            const char *method, const char *version, const char *body,
                            size_t *body_size, void **request) {
    (void)version, (void)body, (void)body_size, (void)request;
    fq_http *http = context;
    answer   given = answer_request(http, connection, url, method);
    if (given.response == NULL)
        return MHD_NO;
    enum MHD_Result result = MHD_queue_response(connection, given.code, given.response);
    if (given.response != http->page)
        MHD_destroy_response(given.response);
    return result;
}

/* ---- the page ---- */

/* Append " 'sha256-...'", the name of an inline script or style in a policy (CSP level 2). */
static void put_source(fq_buffer *policy, fq_cbytes content) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char     hash[FQ_HASH_BYTES + 1] = {0}; /* one zero: a multiple of 3 bytes */
    fq_sha256(content, hash);
    fq_put_bytes(policy, " 'sha256-", 9);
    for (size_t i = 0; i < sizeof hash; i += 3) {
        uint32_t three = (uint32_t)hash[i] << 16 | (uint32_t)hash[i + 1] << 8 | hash[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            fq_put_u8(policy, (uint8_t)digits[three >> shift & 63]);
    }
    policy->data[policy->size - 1] = '='; /* the zero */
    fq_put_u8(policy, '\'');
}

/* The sources of all elements that begin with exactly `open`. */
static void put_sources(fq_buffer *policy, const char *page, const char *open, const char *close) {
    for (const char *at = page, *end; (at = strstr(at, open)) != NULL; at = end) {
        at += strlen(open);
        end = strstr(at, close);
        assert(end != NULL); /* our own page */
        put_source(policy, (fq_cbytes){(const unsigned char *)at, (size_t)(end - at)});
    }
}

static void put_text(fq_buffer *out, const char *text) {
    fq_put_bytes(out, text, strlen(text));
}

/* By hashes rather than 'unsafe-inline': a script that got into the page from elsewhere would not
 * run. Charts set styles from script, which needs no permission. */
static fq_status make_policy(fq_http *http, const char *page) {
    fq_buffer policy = {0};
    put_text(&policy, "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
                      "form-action 'none'; frame-ancestors 'none'; script-src");
    put_sources(&policy, page, "<script>", "</script>");
    put_text(&policy, "; style-src");
    put_sources(&policy, page, "<style>", "</style>");
    fq_put_u8(&policy, 0);
    bool failed = policy.failed;
    if (!failed) {
        assert(policy.size <= POLICY_BYTES);
        memcpy(http->policy, policy.data, policy.size);
    }
    fq_buffer_fini(&policy);
    return failed ? fq_fail(FQ_ENOMEM, "no memory for the page") : FQ_OK;
}

static fq_status make_page(fq_http *http) {
    fq_buffer page = {0};
    fq_status status = fq_report_page(NULL, &page);
    size_t    size = page.size;
    fq_put_u8(&page, 0);
    if (status == FQ_OK && page.failed)
        status = fq_fail(FQ_ENOMEM, "no memory for the page");
    if (status == FQ_OK)
        status = make_policy(http, (const char *)page.data);
    page.size = size; /* without the end of the string */
    if (status != FQ_OK) {
        fq_buffer_fini(&page);
        return status;
    }
    http->page = answer_bytes(http, MHD_HTTP_OK, "text/html; charset=utf-8", &page).response;
    return http->page != NULL ? FQ_OK : fq_fail(FQ_ENOMEM, "no memory for the page");
}

/* ---- start and stop ---- */

static fq_status add_host(fq_http *http, const char *name) {
    http->hosts[http->n_hosts] = strdup(name);
    if (http->hosts[http->n_hosts] == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the names of hosts");
    http->n_hosts++;
    return FQ_OK;
}

/* "[::1]" is ::1. What is too long is cut, and is no address either. */
static void take_address(fq_http *http, const char *address) {
    size_t size = strlen(address);
    bool   bracketed = size > 2 && address[0] == '[' && address[size - 1] == ']';
    size = bracketed ? size - 2 : size;
    size = size < HOST_BYTES ? size : HOST_BYTES - 1;
    memcpy(http->address, bracketed ? address + 1 : address, size);
    http->address[size] = '\0';
}

static fq_status make_hosts(fq_http *http, const fq_http_options *options) {
    static const char *const any[] = {"0.0.0.0", "::"};
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        http->any_address = http->any_address || strcmp(http->address, any[i]) == 0;
    http->hosts = calloc(options->n_names + 2, sizeof *http->hosts);
    if (http->hosts == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the names of hosts");
    FQ_TRY(add_host(http, "localhost"));
    FQ_TRY(add_host(http, http->address));
    for (size_t i = 0; i < options->n_names; i++)
        FQ_TRY(add_host(http, options->names[i]));
    return FQ_OK;
}

static uint16_t port_of(int listener) {
    union {
        struct sockaddr     any;
        struct sockaddr_in  v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t size = sizeof address;
    if (getsockname(listener, &address.any, &size) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

static fq_status bind_to(const struct addrinfo *at, int *listener) {
    static const int on = 1;
    *listener = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*listener >= 0 && setsockopt(*listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(*listener, at->ai_addr, at->ai_addrlen) == 0 && listen(*listener, BACKLOG) == 0)
        return FQ_OK;
    int reason = errno;
    if (*listener >= 0)
        close(*listener);
    return fq_fail(FQ_EIO, "%s", strerror(reason));
}

/* A socket of our own, for libmicrohttpd does not say why it could not bind. */
static fq_status listen_on(fq_http *http, const fq_http_options *options, int *listener) {
    struct addrinfo  hints = {.ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    char             port[16];
    snprintf(port, sizeof port, "%u", options->port);
    int failure = getaddrinfo(http->address, port, &hints, &found);
    if (failure != 0)
        return fq_fail(FQ_EINVAL, "\"%s\" is no address to listen on: %s", options->address,
                       gai_strerror(failure));
    fq_status status = bind_to(found, listener);
    freeaddrinfo(found);
    if (status != FQ_OK) {
        fq_add_context("cannot listen on %s, port %u", options->address, options->port);
        return status;
    }
    http->port = port_of(*listener);
    return FQ_OK;
}

static fq_status start_daemon(fq_http *http, const fq_http_options *options) {
    int listener;
    FQ_TRY(listen_on(http, options, &listener));
    http->daemon = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD, 0, NULL, NULL, take, http, MHD_OPTION_LISTEN_SOCKET,
        (MHD_socket)listener, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    /* The socket is the daemon's from here, also if it did not start. */
    return http->daemon != NULL ? FQ_OK
                                : fq_fail(FQ_EIO, "cannot start the web server on %s, port %u",
                                          options->address, http->port);
}

fq_status fq_http_start(fq_http **out, const fq_http_options *options) {
    *out = NULL;
    fq_http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the web server");
    http->place = options->place;
    take_address(http, options->address);
    fq_status status;
    FQ_GO(status, make_hosts(http, options));
    FQ_GO(status, make_page(http));
    FQ_GO(status, fq_run_cache_create(&http->cache, options->folder));
    FQ_GO(status, start_daemon(http, options));
done:
    if (status != FQ_OK)
        fq_http_stop(&http);
    *out = http;
    return status;
}

uint16_t fq_http_port(const fq_http *http) {
    return http->port;
}

void fq_http_stop(fq_http **slot) {
    fq_http *http = *slot;
    *slot = NULL;
    if (http == NULL)
        return;
    if (http->daemon != NULL)
        MHD_stop_daemon(http->daemon);
    if (http->page != NULL)
        MHD_destroy_response(http->page);
    fq_run_cache_destroy(&http->cache); /* answers that were being sent have given back by now */
    for (size_t i = 0; i < http->n_hosts; i++)
        free(http->hosts[i]);
    free(http->hosts);
    free(http);
}

#include "wire/socket.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

enum {
    HANDSHAKE_MS = 10000,
    HEARTBEAT_MS = 15000, /* of the connection itself: finds peers that vanished */
    HEARTBEAT_LIMIT_MS = 45000,
    USER_ID_BYTES = FQ_KEY_TEXT,
};

static fq_status zmq_fail(const char *what, const char *endpoint) {
    return fq_fail(FQ_EIO, "%s %s: %s", what, endpoint, zmq_strerror(zmq_errno()));
}

static bool set_int(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

/* ---- shared bytes ---- */
struct fq_shared {
    atomic_size_t  references;
    unsigned char *data;
    size_t         size;
};

fq_status fq_shared_create(fq_shared **out, fq_buffer *buffer) {
    fq_shared *shared = malloc(sizeof *shared);
    *out = shared;
    if (shared == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to share %zu bytes", buffer->size);
    atomic_init(&shared->references, 1);
    shared->data = buffer->data;
    shared->size = buffer->size;
    *buffer = (fq_buffer){0};
    return FQ_OK;
}

fq_shared *fq_shared_keep(fq_shared *shared) {
    atomic_fetch_add(&shared->references, 1);
    return shared;
}

void fq_shared_release(fq_shared **slot) {
    fq_shared *shared = *slot;
    *slot = NULL;
    if (shared == NULL || atomic_fetch_sub(&shared->references, 1) != 1)
        return;
    free(shared->data);
    free(shared);
}

fq_cbytes fq_shared_bytes(const fq_shared *shared) {
    return (fq_cbytes){shared->data, shared->size};
}

/* ZeroMQ is done with one send of it; on one of its threads. */
static void release_sent(void *data, void *hint) {
    fq_shared *shared = hint;
    (void)data;
    fq_shared_release(&shared);
}

bool fq_route_equal(const fq_route *a, const fq_route *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* ---- what both sides do ---- */
/* Head and body, neither waiting; all or nothing. */
static fq_status send_message(void *socket, const fq_route *route, fq_cbytes head,
                              zmq_msg_t *body) {
    bool refused = route != NULL &&
                   zmq_send(socket, route->bytes, route->size, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0;
    if (!refused && zmq_send(socket, head.data, head.size, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        refused = true;
    if (!refused && zmq_msg_send(body, socket, ZMQ_DONTWAIT) >= 0)
        return FQ_OK;
    int reason = zmq_errno();
    zmq_msg_close(body);
    if (reason == EAGAIN || reason == EHOSTUNREACH)
        return fq_fail(FQ_ETIMEOUT, "the peer takes no more");
    return fq_fail(FQ_EIO, "cannot send: %s", zmq_strerror(reason));
}

/* The frames of one message: as many as there are, those past `most` thrown away. FQ_ETIMEOUT: no
 * message. */
static fq_status receive_frames(void *socket, zmq_msg_t *frames, size_t most, size_t *n) {
    int more = 1;
    *n = 0;
    while (more) {
        zmq_msg_t extra, *frame = *n < most ? &frames[*n] : &extra;
        if (frame == &extra)
            zmq_msg_init(frame);
        else {
            zmq_msg_close(frame);
            zmq_msg_init(frame);
        }
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
            if (frame == &extra)
                zmq_msg_close(frame);
            return fq_fail(FQ_ETIMEOUT, "no message");
        }
        more = zmq_msg_more(frame);
        ++*n;
        if (frame == &extra)
            zmq_msg_close(frame);
    }
    return FQ_OK;
}

static fq_cbytes bytes_of(zmq_msg_t *frame) {
    return (fq_cbytes){zmq_msg_data(frame), zmq_msg_size(frame)};
}

static bool set_common(void *socket, const fq_keypair *keys, size_t max_frame_bytes, int queue) {
    int64_t most = (int64_t)max_frame_bytes;
    return zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, fq_keypair_secret(keys), FQ_KEY_BYTES) ==
               0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, fq_keypair_public(keys)->bytes,
                          FQ_KEY_BYTES) == 0 &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most) == 0 &&
           set_int(socket, ZMQ_SNDHWM, queue) && set_int(socket, ZMQ_RCVHWM, queue) &&
           set_int(socket, ZMQ_IPV6, 1) && set_int(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) &&
           set_int(socket, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) &&
           set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_LIMIT_MS) &&
           set_int(socket, ZMQ_HEARTBEAT_TTL, HEARTBEAT_LIMIT_MS) &&
           set_int(socket, ZMQ_TCP_KEEPALIVE, 1);
}

static fq_status poll_items(zmq_pollitem_t *items, int n, int64_t timeout_ms) {
    if (zmq_poll(items, n, (long)timeout_ms) >= 0 || zmq_errno() == EINTR)
        return FQ_OK;
    return fq_fail(FQ_EIO, "cannot wait for messages: %s", zmq_strerror(zmq_errno()));
}

/* ---- coordinator ---- */
struct fq_listener {
    void *context, *socket, *zap;
    bool (*admit)(void *context, const fq_public_key *key, const char *address);
    void     *admit_context;
    zmq_msg_t frames[3]; /* of the last arrival: route, head, body */
    char      endpoint[256];
    uint64_t  skipped;
};

fq_status fq_listener_create(fq_listener **out, const fq_listener_options *options) {
    *out = NULL;
    fq_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a listener");
    listener->admit = options->admit;
    listener->admit_context = options->context;
    for (size_t i = 0; i < 3; i++)
        zmq_msg_init(&listener->frames[i]);
    *out = listener;
    listener->context = zmq_ctx_new();
    bool ready = listener->context != NULL &&
                 zmq_ctx_set(listener->context, ZMQ_IO_THREADS, options->io_threads) == 0 &&
                 zmq_ctx_set(listener->context, ZMQ_MAX_SOCKETS, 64) == 0;
    /* The handler of admissions must be there before anybody can knock: without one, CURVE lets any
     * key in. */
    ready = ready && (listener->zap = zmq_socket(listener->context, ZMQ_REP)) != NULL &&
            set_int(listener->zap, ZMQ_LINGER, 0) &&
            zmq_bind(listener->zap, "inproc://zeromq.zap.01") == 0;
    ready = ready && (listener->socket = zmq_socket(listener->context, ZMQ_ROUTER)) != NULL &&
            set_common(listener->socket, options->keys, options->max_frame_bytes, options->queue) &&
            set_int(listener->socket, ZMQ_CURVE_SERVER, 1) &&
            zmq_setsockopt(listener->socket, ZMQ_ZAP_DOMAIN, "fedq", 4) == 0 &&
            set_int(listener->socket, ZMQ_ROUTER_MANDATORY, 1) &&
            set_int(listener->socket, ZMQ_BACKLOG, 1024) &&
            set_int(listener->socket, ZMQ_LINGER, 0);
#ifdef ZMQ_ZAP_ENFORCE_DOMAIN
    ready = ready && set_int(listener->socket, ZMQ_ZAP_ENFORCE_DOMAIN, 1);
#endif
    size_t    length = sizeof listener->endpoint;
    fq_status status = FQ_OK;
    if (!ready)
        status = zmq_fail("cannot set up a socket for", options->endpoint);
    else if (zmq_bind(listener->socket, options->endpoint) != 0)
        status = zmq_fail("cannot listen at", options->endpoint);
    else if (zmq_getsockopt(listener->socket, ZMQ_LAST_ENDPOINT, listener->endpoint, &length) != 0)
        status = zmq_fail("cannot tell the address of", options->endpoint);
    if (status != FQ_OK)
        fq_listener_destroy(out);
    return status;
}

void fq_listener_destroy(fq_listener **slot) {
    fq_listener *listener = *slot;
    if (listener == NULL)
        return;
    for (size_t i = 0; i < 3; i++)
        zmq_msg_close(&listener->frames[i]);
    if (listener->socket != NULL)
        zmq_close(listener->socket);
    if (listener->zap != NULL)
        zmq_close(listener->zap);
    if (listener->context != NULL)
        zmq_ctx_term(listener->context);
    free(listener);
    *slot = NULL;
}

const char *fq_listener_endpoint(const fq_listener *listener) {
    return listener->endpoint;
}

uint64_t fq_listener_skipped(const fq_listener *listener) {
    return listener->skipped;
}

/* One question of the ZeroMQ Authentication Protocol (RFC 27): version, request, domain, address,
 * identity, mechanism, key. */
static void answer_zap(fq_listener *listener) {
    enum { VERSION, REQUEST, DOMAIN_NAME, ADDRESS, IDENTITY, MECHANISM, KEY, FRAMES };
    zmq_msg_t frames[FRAMES];
    size_t    n;
    for (size_t i = 0; i < FRAMES; i++)
        zmq_msg_init(&frames[i]);
    if (receive_frames(listener->zap, frames, FRAMES, &n) == FQ_OK) {
        fq_cbytes     mechanism = n > MECHANISM ? bytes_of(&frames[MECHANISM]) : (fq_cbytes){0};
        fq_cbytes     key = n == FRAMES ? bytes_of(&frames[KEY]) : (fq_cbytes){0};
        fq_public_key public_key;
        char          user[USER_ID_BYTES] = "", address[FQ_ADDRESS_BYTES];
        bool          admitted = false;
        if (n == FRAMES && key.size == FQ_KEY_BYTES && mechanism.size == 5 &&
            memcmp(mechanism.data, "CURVE", 5) == 0) {
            memcpy(public_key.bytes, key.data, FQ_KEY_BYTES);
            fq_cbytes from = bytes_of(&frames[ADDRESS]);
            snprintf(address, sizeof address, "%.*s", (int)from.size, (const char *)from.data);
            admitted = listener->admit(listener->admit_context, &public_key, address);
            fq_public_key_text(&public_key, user);
        }
        const char *code = admitted ? "200" : "400";
        fq_cbytes   request = n > REQUEST ? bytes_of(&frames[REQUEST]) : (fq_cbytes){0};
        zmq_send(listener->zap, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(listener->zap, request.data, request.size, ZMQ_SNDMORE);
        zmq_send(listener->zap, code, 3, ZMQ_SNDMORE);
        zmq_send(listener->zap, admitted ? "OK" : "no", 2, ZMQ_SNDMORE);
        zmq_send(listener->zap, user, admitted ? strlen(user) : 0, ZMQ_SNDMORE);
        zmq_send(listener->zap, "", 0, 0);
    }
    for (size_t i = 0; i < FRAMES; i++)
        zmq_msg_close(&frames[i]);
}

fq_status fq_listener_wait(fq_listener *listener, int64_t timeout_ms, int fd, bool *message_ready,
                           bool *fd_ready) {
    zmq_pollitem_t items[3] = {{.socket = listener->socket, .events = ZMQ_POLLIN},
                               {.socket = listener->zap, .events = ZMQ_POLLIN},
                               {.fd = fd, .events = ZMQ_POLLIN}};
    *message_ready = *fd_ready = false;
    FQ_TRY(poll_items(items, fd < 0 ? 2 : 3, timeout_ms));
    for (int i = 0; i < 64 && (items[1].revents & ZMQ_POLLIN) != 0; i++) {
        answer_zap(listener);
        items[1].revents = 0;
        FQ_TRY(poll_items(&items[1], 1, 0));
    }
    *message_ready = (items[0].revents & ZMQ_POLLIN) != 0;
    *fd_ready = fd >= 0 && (items[2].revents & ZMQ_POLLIN) != 0;
    return FQ_OK;
}

/* A peer as address:port, read off its connection; "" if that is gone. */
static void name_of_connection(int connection, char out[FQ_ADDRESS_BYTES]) {
    struct sockaddr_storage from;
    socklen_t               length = sizeof from;
    char                    text[INET6_ADDRSTRLEN];
    out[0] = '\0';
    if (getpeername(connection, (struct sockaddr *)&from, &length) != 0)
        return;
    const struct sockaddr_in  *four = (const struct sockaddr_in *)&from;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&from;
    bool                       is_six = from.ss_family == AF_INET6;
    if (!is_six && from.ss_family != AF_INET)
        return;
    inet_ntop(from.ss_family,
              is_six ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr, text,
              sizeof text);
    const char *plain =
        strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text; /* IPv4 on an IPv6 socket */
    snprintf(out, FQ_ADDRESS_BYTES, plain == text && is_six ? "[%s]:%u" : "%s:%u", plain,
             (unsigned)ntohs(is_six ? six->sin6_port : four->sin_port));
}

fq_status fq_listener_receive(fq_listener *listener, fq_arrival *out) {
    for (;;) {
        size_t n;
        FQ_TRY(receive_frames(listener->socket, listener->frames, 3, &n));
        const char *user = zmq_msg_gets(&listener->frames[n < 3 ? n - 1 : 1], "User-Id");
        fq_cbytes   route = bytes_of(&listener->frames[0]);
        /* Whoever sends has been admitted, so there is a user; the rest is the peer's doing. */
        if (n != 3 || route.size > FQ_ROUTE_BYTES || user == NULL) {
            listener->skipped++;
            continue;
        }
        *out = (fq_arrival){.head = bytes_of(&listener->frames[1]),
                            .body = bytes_of(&listener->frames[2])};
        if (fq_public_key_parse(user, &out->sender) != FQ_OK) {
            listener->skipped++;
            continue;
        }
        memcpy(out->route.bytes, route.data, route.size);
        out->route.size = (uint8_t)route.size;
        out->connection = zmq_msg_get(&listener->frames[1], ZMQ_SRCFD);
        name_of_connection(out->connection, out->address);
        return FQ_OK;
    }
}

fq_status fq_listener_send(fq_listener *listener, const fq_route *route, fq_cbytes head,
                           fq_shared *body) {
    zmq_msg_t message;
    if (body == NULL)
        zmq_msg_init(&message);
    else if (zmq_msg_init_data(&message, body->data, body->size, release_sent,
                               fq_shared_keep(body)) != 0) {
        fq_shared_release(&body);
        return fq_fail(FQ_ENOMEM, "no memory to send %zu bytes", head.size);
    }
    return send_message(listener->socket, route, head, &message);
}

void fq_listener_drop(fq_listener *listener, int connection) {
    char address[FQ_ADDRESS_BYTES];
    (void)listener;
    name_of_connection(connection, address); /* only ever a connected peer's, never a file */
    if (address[0] != '\0')
        shutdown(connection, SHUT_RDWR);
}

/* ---- client ---- */
struct fq_dialer {
    void           *context, *socket, *monitor;
    zmq_msg_t       frames[2];
    fq_dialer_state state;
    uint64_t        connections;
};

fq_status fq_dialer_create(fq_dialer **out, const fq_dialer_options *options) {
    static const char monitor[] = "inproc://events";
    const int         events =
        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED;
    *out = NULL;
    fq_dialer *dialer = calloc(1, sizeof *dialer);
    if (dialer == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a dialer");
    for (size_t i = 0; i < 2; i++)
        zmq_msg_init(&dialer->frames[i]);
    *out = dialer;
    dialer->context = zmq_ctx_new();
    bool ready =
        dialer->context != NULL &&
        (dialer->socket = zmq_socket(dialer->context, ZMQ_DEALER)) != NULL &&
        set_common(dialer->socket, options->keys, options->max_frame_bytes, options->queue) &&
        zmq_setsockopt(dialer->socket, ZMQ_CURVE_SERVERKEY, options->server->bytes, FQ_KEY_BYTES) ==
            0 &&
        set_int(dialer->socket, ZMQ_RECONNECT_IVL, (int)options->retry_ms) &&
        set_int(dialer->socket, ZMQ_RECONNECT_IVL_MAX, (int)options->retry_max_ms) &&
        set_int(dialer->socket, ZMQ_CONNECT_TIMEOUT, HANDSHAKE_MS) &&
        set_int(dialer->socket, ZMQ_IMMEDIATE, 1) && set_int(dialer->socket, ZMQ_LINGER, 1000) &&
        zmq_socket_monitor(dialer->socket, monitor, events) == 0 &&
        (dialer->monitor = zmq_socket(dialer->context, ZMQ_PAIR)) != NULL &&
        set_int(dialer->monitor, ZMQ_LINGER, 0) && zmq_connect(dialer->monitor, monitor) == 0;
    fq_status status = FQ_OK;
    if (!ready)
        status = zmq_fail("cannot set up a socket for", options->endpoint);
    else if (zmq_connect(dialer->socket, options->endpoint) != 0)
        status = zmq_fail("cannot dial", options->endpoint);
    if (status != FQ_OK)
        fq_dialer_destroy(out);
    return status;
}

void fq_dialer_destroy(fq_dialer **slot) {
    fq_dialer *dialer = *slot;
    if (dialer == NULL)
        return;
    for (size_t i = 0; i < 2; i++)
        zmq_msg_close(&dialer->frames[i]);
    if (dialer->socket != NULL) {
        zmq_socket_monitor(dialer->socket, NULL, 0);
        zmq_close(dialer->socket);
    }
    if (dialer->monitor != NULL)
        zmq_close(dialer->monitor);
    if (dialer->context != NULL)
        zmq_ctx_term(dialer->context);
    free(dialer);
    *slot = NULL;
}

static void take_events(fq_dialer *dialer) {
    zmq_msg_t frames[2]; /* u16 event and u32 value; the address */
    size_t    n;
    for (size_t i = 0; i < 2; i++)
        zmq_msg_init(&frames[i]);
    while (receive_frames(dialer->monitor, frames, 2, &n) == FQ_OK) {
        uint16_t event;
        if (zmq_msg_size(&frames[0]) < 6)
            continue;
        memcpy(&event, zmq_msg_data(&frames[0]), sizeof event);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            dialer->state = FQ_DIALER_CONNECTED;
            dialer->connections++;
        } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
            dialer->state = FQ_DIALER_REFUSED;
        } else if (event == ZMQ_EVENT_DISCONNECTED && dialer->state == FQ_DIALER_CONNECTED) {
            dialer->state = FQ_DIALER_CONNECTING;
        }
    }
    for (size_t i = 0; i < 2; i++)
        zmq_msg_close(&frames[i]);
}

fq_status fq_dialer_wait(fq_dialer *dialer, int64_t timeout_ms, int fd, bool *message_ready,
                         bool *fd_ready) {
    zmq_pollitem_t items[3] = {{.socket = dialer->socket, .events = ZMQ_POLLIN},
                               {.socket = dialer->monitor, .events = ZMQ_POLLIN},
                               {.fd = fd, .events = ZMQ_POLLIN}};
    *message_ready = *fd_ready = false;
    FQ_TRY(poll_items(items, fd < 0 ? 2 : 3, timeout_ms));
    if ((items[1].revents & ZMQ_POLLIN) != 0)
        take_events(dialer);
    *message_ready = (items[0].revents & ZMQ_POLLIN) != 0;
    *fd_ready = fd >= 0 && (items[2].revents & ZMQ_POLLIN) != 0;
    return FQ_OK;
}

fq_status fq_dialer_receive(fq_dialer *dialer, fq_arrival *out) {
    size_t n;
    do
        FQ_TRY(receive_frames(dialer->socket, dialer->frames, 2, &n));
    while (n != 2);
    *out = (fq_arrival){.connection = -1,
                        .head = bytes_of(&dialer->frames[0]),
                        .body = bytes_of(&dialer->frames[1])};
    return FQ_OK;
}

fq_status fq_dialer_send(fq_dialer *dialer, fq_cbytes head, fq_cbytes body) {
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, body.size) != 0)
        return fq_fail(FQ_ENOMEM, "no memory to send %zu bytes", body.size);
    if (body.size > 0)
        memcpy(zmq_msg_data(&message), body.data, body.size);
    return send_message(dialer->socket, NULL, head, &message);
}

fq_dialer_state fq_dialer_now(const fq_dialer *dialer) {
    return dialer->state;
}

uint64_t fq_dialer_connections(const fq_dialer *dialer) {
    return dialer->connections;
}

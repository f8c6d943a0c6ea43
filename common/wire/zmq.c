#include "base/clock.h"
#include "base/file.h"
#include "wire/seal.h"
#include "wire/socket.h"
#include "wire/zap.h"

#include <dirent.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netdb.h>
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
    CURVE_OVERHEAD = 33, /* of an encrypted frame: name, nonce, flags, tag (RFC 26) */
    ATTEMPT_LIMIT_MS = 2 * HANDSHAKE_MS + 1000, /* connecting, shaking hands, and some */
    LAST_WORDS_MS = 1000,
};
static const int64_t NEVER = INT64_MAX;

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
/* The first frame of a message is where a full queue shows. A socket may not have heard yet that
 * there is room again: it looks at most once a millisecond on its own, and at once when asked for
 * events. */
static bool send_first(zmq_msg_t *frame, void *socket) {
    int    events;
    size_t size = sizeof events;
    return zmq_msg_send(frame, socket, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 ||
           (zmq_errno() == EAGAIN && zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 &&
            zmq_msg_send(frame, socket, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0);
}

/* Head and body, neither waiting; all or nothing: ZeroMQ refuses a message at its first frame or
 * takes it whole, and the memory for all frames is there before the first is sent. Takes over
 * `body`. */
static fq_status send_message(void *socket, const fq_route *route, fq_cbytes head,
                              zmq_msg_t *body) {
    zmq_msg_t frames[2];
    bool      sent = zmq_msg_init_size(&frames[0], route == NULL ? 0 : route->size) == 0;
    if (sent && zmq_msg_init_size(&frames[1], head.size) != 0) {
        zmq_msg_close(&frames[0]);
        sent = false;
    }
    if (!sent) {
        zmq_msg_close(body);
        return fq_fail(FQ_ENOMEM, "no memory to send %zu bytes", head.size);
    }
    if (route != NULL)
        memcpy(zmq_msg_data(&frames[0]), route->bytes, route->size);
    if (head.size > 0)
        memcpy(zmq_msg_data(&frames[1]), head.data, head.size);
    if (route == NULL)
        sent = send_first(&frames[1], socket);
    else
        sent = send_first(&frames[0], socket) &&
               zmq_msg_send(&frames[1], socket, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0;
    sent = sent && zmq_msg_send(body, socket, ZMQ_DONTWAIT) >= 0;
    int reason = zmq_errno();
    zmq_msg_close(&frames[0]);
    zmq_msg_close(&frames[1]);
    zmq_msg_close(body);
    if (sent)
        return FQ_OK;
    if (reason == EAGAIN || reason == EHOSTUNREACH)
        return fq_fail(FQ_ETIMEOUT, "the peer takes no more");
    return fq_fail(FQ_EIO, "cannot send: %s", zmq_strerror(reason));
}

/* The frames of one message, in place of what `frames` holds; *n counts them all, those past `most`
 * are thrown away. FQ_ETIMEOUT: no message. */
static fq_status receive_frames(void *socket, zmq_msg_t *frames, size_t most, size_t *n) {
    zmq_msg_t extra;
    int       more = 1;
    zmq_msg_init(&extra);
    for (*n = 0; more; ++*n) {
        zmq_msg_t *frame = *n < most ? &frames[*n] : &extra;
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&extra);
            return fq_fail(FQ_ETIMEOUT, "no message");
        }
        more = zmq_msg_more(frame);
    }
    zmq_msg_close(&extra);
    return FQ_OK;
}

static fq_cbytes bytes_of(zmq_msg_t *frame) {
    return (fq_cbytes){zmq_msg_data(frame), zmq_msg_size(frame)};
}

static bool set_common(void *socket, const fq_keypair *keys, size_t max_frame_bytes, int queue) {
    int64_t most = (int64_t)max_frame_bytes + CURVE_OVERHEAD;
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
/* Of the connection behind a descriptor: has a message come of it since the last look, and how much
 * it had sent then. */
typedef struct tally {
    bool     gave;
    uint64_t settled;
} tally;

struct fq_listener {
    void *context, *socket, *zap;
    bool (*admit)(void *context, const fq_public_key *key, const char *address);
    void     *admit_context;
    zmq_msg_t frames[3]; /* of the last arrival: route, head, body */
    char      endpoint[256];
    tally    *tallies; /* [n_tallies] by descriptor */
    size_t    n_tallies;
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
    free(listener->tallies);
    free(listener);
    *slot = NULL;
}

const char *fq_listener_endpoint(const fq_listener *listener) {
    return listener->endpoint;
}

/* An IPv4 address as people write it: our sockets speak IPv6 and see it as ::ffff:192.0.2.1. */
static const char *plain_address(const char *address) {
    static const char mapped[] = "::ffff:";
    size_t            length = sizeof mapped - 1;
    bool is = strncmp(address, mapped, length) == 0 && strchr(address + length, '.') != NULL;
    return is ? address + length : address;
}

bool fq_zap_read(const fq_cbytes *frames, size_t n, fq_public_key *key,
                 char address[FQ_ADDRESS_BYTES]) {
    enum { VERSION, REQUEST, DOMAIN_NAME, ADDRESS, IDENTITY, MECHANISM, KEY };
    if (n != FQ_ZAP_FRAMES || frames[KEY].size != FQ_KEY_BYTES || frames[MECHANISM].size != 5 ||
        memcmp(frames[MECHANISM].data, "CURVE", 5) != 0)
        return false;
    fq_cbytes from = frames[ADDRESS];
    size_t    size = from.size < FQ_ADDRESS_BYTES ? from.size : FQ_ADDRESS_BYTES - 1;
    char      text[FQ_ADDRESS_BYTES] = "";
    if (size > 0)
        memcpy(text, from.data, size);
    for (size_t i = 0; i < size; i++) /* it goes into the log */
        if (text[i] <= ' ' || text[i] > '~')
            text[i] = '?';
    snprintf(address, FQ_ADDRESS_BYTES, "%s", plain_address(text));
    memcpy(key->bytes, frames[KEY].data, FQ_KEY_BYTES);
    return true;
}

static void answer_zap(fq_listener *listener) {
    enum { REQUEST = 1 };
    zmq_msg_t frames[FQ_ZAP_FRAMES];
    size_t    n;
    for (size_t i = 0; i < FQ_ZAP_FRAMES; i++)
        zmq_msg_init(&frames[i]);
    if (receive_frames(listener->zap, frames, FQ_ZAP_FRAMES, &n) == FQ_OK) {
        fq_cbytes     bytes[FQ_ZAP_FRAMES] = {{0}};
        fq_public_key key;
        char          user[FQ_KEY_TEXT] = "", address[FQ_ADDRESS_BYTES];
        for (size_t i = 0; i < n && i < FQ_ZAP_FRAMES; i++)
            bytes[i] = bytes_of(&frames[i]);
        bool admitted = fq_zap_read(bytes, n, &key, address) &&
                        listener->admit(listener->admit_context, &key, address);
        if (admitted)
            fq_public_key_text(&key, user);
        zmq_send(listener->zap, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(listener->zap, bytes[REQUEST].data, bytes[REQUEST].size, ZMQ_SNDMORE);
        zmq_send(listener->zap, admitted ? "200" : "400", 3, ZMQ_SNDMORE);
        zmq_send(listener->zap, admitted ? "OK" : "no", 2, ZMQ_SNDMORE);
        zmq_send(listener->zap, user, admitted ? strlen(user) : 0, ZMQ_SNDMORE);
        zmq_send(listener->zap, "", 0, 0);
    }
    for (size_t i = 0; i < FQ_ZAP_FRAMES; i++)
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

/* A peer as address:port, read off its descriptor; "" if nobody is connected there. `host` gets the
 * address alone. */
static void name_of_descriptor(int descriptor, char out[FQ_ADDRESS_BYTES],
                               char host[FQ_ADDRESS_BYTES]) {
    struct sockaddr_storage from = {0};
    socklen_t               length = sizeof from;
    char                    port[8];
    struct sockaddr        *peer = (struct sockaddr *)&from;
    out[0] = host[0] = '\0';
    if (getpeername(descriptor, peer, &length) != 0 ||
        (from.ss_family != AF_INET && from.ss_family != AF_INET6) ||
        getnameinfo(peer, length, host, FQ_ADDRESS_BYTES, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    const char *plain = plain_address(host);
    snprintf(out, FQ_ADDRESS_BYTES, strchr(plain, ':') != NULL ? "[%.54s]:%s" : "%.56s:%s", plain,
             port);
}

/* A connection is its descriptor together with a hash of who is at its other end: descriptors are
 * used again, and an innocent peer may have got this one since. */
static fq_connection connection_of(int descriptor, const char *name) {
    uint32_t who = fq_crc32((fq_cbytes){(const unsigned char *)name, strlen(name)});
    return name[0] == '\0' ? FQ_NO_CONNECTION : (uint64_t)who << 32 | (uint32_t)descriptor;
}

static tally *tally_of(fq_listener *listener, int descriptor) {
    size_t at = (size_t)descriptor;
    if (descriptor < 0)
        return NULL;
    if (at >= listener->n_tallies) {
        tally *more = realloc(listener->tallies, 2 * (at + 1) * sizeof *more);
        if (more == NULL)
            return NULL;
        memset(more + listener->n_tallies, 0, (2 * (at + 1) - listener->n_tallies) * sizeof *more);
        listener->tallies = more;
        listener->n_tallies = 2 * (at + 1);
    }
    return &listener->tallies[at];
}

/* Where `frame` came from. Its connection may be gone, and another one have its descriptor. */
static void fill_in_origin(fq_listener *listener, zmq_msg_t *frame, fq_arrival *out) {
    const char *address = zmq_msg_gets(frame, "Peer-Address");
    int         descriptor = zmq_msg_get(frame, ZMQ_SRCFD);
    tally      *t = tally_of(listener, descriptor);
    char        host[FQ_ADDRESS_BYTES];
    if (t != NULL)
        t->gave = true;
    name_of_descriptor(descriptor, out->address, host);
    if (address != NULL && strcmp(host, address) != 0)
        snprintf(out->address, sizeof out->address, "%s", plain_address(address));
    else
        out->connection = connection_of(descriptor, out->address);
}

fq_status fq_listener_receive(fq_listener *listener, fq_arrival *out) {
    for (;;) {
        size_t n;
        FQ_TRY(receive_frames(listener->socket, listener->frames, 3, &n));
        const char *user = zmq_msg_gets(&listener->frames[n < 3 ? n - 1 : 1], "User-Id");
        fq_cbytes   route = bytes_of(&listener->frames[0]);
        *out = (fq_arrival){.two_frames = n == 3};
        /* Whoever sends has been admitted, so there is a user, whose key we have written. */
        if (n < 2 || user == NULL || fq_public_key_parse(user, &out->sender) != FQ_OK)
            continue;
        if (out->two_frames) {
            out->head = bytes_of(&listener->frames[1]);
            out->body = bytes_of(&listener->frames[2]);
        }
        /* A route that a peer has chosen, and longer than ours, gets no answers. */
        out->route.size = route.size > FQ_ROUTE_BYTES ? 0 : (uint8_t)route.size;
        memcpy(out->route.bytes, route.data, out->route.size);
        fill_in_origin(listener, &listener->frames[1], out);
        return FQ_OK;
    }
}

fq_status fq_listener_send(fq_listener *listener, const fq_route *route, fq_cbytes head,
                           fq_shared *body) {
    zmq_msg_t message; /* on failure, too, ZeroMQ gives back the reference that it got */
    if (body == NULL)
        zmq_msg_init(&message);
    else if (zmq_msg_init_data(&message, body->data, body->size, release_sent,
                               fq_shared_keep(body)) != 0) {
        fq_shared_release(&body);
        return fq_fail(FQ_ENOMEM, "no memory to send %zu bytes", head.size);
    }
    return send_message(listener->socket, route, head, &message);
}

void fq_listener_drop(fq_listener *listener, fq_connection connection) {
    char name[FQ_ADDRESS_BYTES], host[FQ_ADDRESS_BYTES];
    int  descriptor = (int)(uint32_t)connection;
    (void)listener;
    if (connection == FQ_NO_CONNECTION)
        return;
    name_of_descriptor(descriptor, name, host);
    if (connection_of(descriptor, name) == connection)
        shutdown(descriptor, SHUT_RDWR); /* ZeroMQ sees the end, and closes it */
}

/* ---- messages without an end ---- */
static bool is_port_of(const fq_listener *listener, int descriptor) {
    struct sockaddr_storage own = {0};
    socklen_t               length = sizeof own;
    char                    port[8];
    const char             *ours = strrchr(listener->endpoint, ':');
    return ours != NULL && getsockname(descriptor, (struct sockaddr *)&own, &length) == 0 &&
           (own.ss_family == AF_INET || own.ss_family == AF_INET6) &&
           getnameinfo((struct sockaddr *)&own, length, NULL, 0, port, sizeof port,
                       NI_NUMERICSERV) == 0 &&
           strcmp(ours + 1, port) == 0;
}

/* What has come over the connection since it last gave a message; the kernel counts it. */
static bool is_hoarder(fq_listener *listener, int descriptor) {
    struct tcp_info info = {0};
    socklen_t       size = sizeof info;
    tally          *t = tally_of(listener, descriptor);
    if (t == NULL || getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return false;
    uint64_t come = info.tcpi_bytes_received;
    if (come < t->settled) /* another connection */
        t->settled = 0;
    bool hoards =
        !t->gave && come - t->settled > FQ_HOARD_BYTES && is_port_of(listener, descriptor);
    if (t->gave || hoards)
        t->settled = come;
    t->gave = false;
    return hoards;
}

bool fq_listener_drop_hoarder(fq_listener *listener, char address[FQ_ADDRESS_BYTES]) {
    bool found = false;
    DIR *descriptors = opendir("/proc/self/fd"); /* some have sent nothing that has a sender yet */
    if (descriptors == NULL)
        return false;
    const struct dirent *entry;
    while (!found && (entry = readdir(descriptors)) != NULL) {
        int  descriptor = entry->d_name[0] == '.' ? -1 : (int)strtol(entry->d_name, NULL, 10);
        char host[FQ_ADDRESS_BYTES];
        found = is_hoarder(listener, descriptor);
        if (!found)
            continue;
        name_of_descriptor(descriptor, address, host);
        shutdown(descriptor, SHUT_RDWR);
    }
    closedir(descriptors);
    return found;
}

/* ---- client ---- */
/* One socket for each attempt. ZeroMQ's own reconnecting gives up silently after a refused or
 * broken handshake, and starts its pauses anew whenever the other end accepts the connection. */
struct fq_dialer_room {
    void *context;
};

fq_status fq_dialer_room_create(fq_dialer_room **out, int io_threads, int most_dialers) {
    fq_dialer_room *room = *out = calloc(1, sizeof *room);
    if (room == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a room of dialers");
    room->context = zmq_ctx_new();
    /* A dialer has three sockets: its own, and the two ends of its monitor; those of an attempt
     * that has failed are taken down in the background, while the next one has its own already. */
    if (room->context != NULL && zmq_ctx_set(room->context, ZMQ_IO_THREADS, io_threads) == 0 &&
        zmq_ctx_set(room->context, ZMQ_MAX_SOCKETS, 12 * most_dialers + 64) == 0)
        return FQ_OK;
    fq_dialer_room_destroy(out);
    return fq_fail(FQ_EIO, "cannot make room for %d dialers: %s", most_dialers,
                   zmq_strerror(zmq_errno()));
}

void fq_dialer_room_destroy(fq_dialer_room **room) {
    if (*room != NULL && (*room)->context != NULL)
        zmq_ctx_term((*room)->context);
    free(*room);
    *room = NULL;
}

struct fq_dialer {
    const void       *room; /* whose context it is; NULL: its own */
    void             *context, *socket, *monitor;
    zmq_msg_t         frames[2];
    fq_dialer_state   state;
    uint64_t          connections, attempts;
    char              endpoint[256];
    fq_public_key     server;
    const fq_keypair *keys;
    size_t            max_frame_bytes;
    int               queue;
    int64_t           retry_ms, retry_max_ms, pause_ms;
    /* When this attempt has failed; once it has, when to make the next one. */
    int64_t           due_ms, connected_ms;
    bool              over;    /* this attempt has ended */
    bool              reached; /* somebody has taken this attempt's connection */
    fq_dialer_trouble trouble;
};

static int64_t now_ms(void) {
    return (int64_t)(fq_now() * 1e3);
}

static void hang_up(fq_dialer *dialer) {
    if (dialer->socket != NULL) {
        zmq_socket_monitor(dialer->socket, NULL, 0);
        zmq_close(dialer->socket);
    }
    if (dialer->monitor != NULL)
        zmq_close(dialer->monitor);
    dialer->socket = dialer->monitor = NULL;
}

static fq_status dial(fq_dialer *dialer) {
    const int events = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                       ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED;
    char monitor[64];
    snprintf(monitor, sizeof monitor, "inproc://events-%p-%llu", (void *)dialer,
             (unsigned long long)dialer->attempts++);
    bool ready =
        (dialer->socket = zmq_socket(dialer->context, ZMQ_DEALER)) != NULL &&
        set_common(dialer->socket, dialer->keys, dialer->max_frame_bytes, dialer->queue) &&
        zmq_setsockopt(dialer->socket, ZMQ_CURVE_SERVERKEY, dialer->server.bytes, FQ_KEY_BYTES) ==
            0 &&
        set_int(dialer->socket, ZMQ_RECONNECT_IVL, -1) &&
        set_int(dialer->socket, ZMQ_CONNECT_TIMEOUT, HANDSHAKE_MS) &&
        set_int(dialer->socket, ZMQ_IMMEDIATE, 1) && set_int(dialer->socket, ZMQ_LINGER, 0) &&
        zmq_socket_monitor(dialer->socket, monitor, events) == 0 &&
        (dialer->monitor = zmq_socket(dialer->context, ZMQ_PAIR)) != NULL &&
        set_int(dialer->monitor, ZMQ_LINGER, 0) && zmq_connect(dialer->monitor, monitor) == 0;
    if (!ready)
        return zmq_fail("cannot set up a socket for", dialer->endpoint);
    if (zmq_connect(dialer->socket, dialer->endpoint) != 0)
        return zmq_fail("cannot dial", dialer->endpoint);
    dialer->over = dialer->reached = false;
    dialer->due_ms = now_ms() + ATTEMPT_LIMIT_MS;
    return FQ_OK;
}

fq_status fq_dialer_create(fq_dialer **out, const fq_dialer_options *options) {
    *out = NULL;
    fq_dialer *dialer = calloc(1, sizeof *dialer);
    if (dialer == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a dialer");
    for (size_t i = 0; i < 2; i++)
        zmq_msg_init(&dialer->frames[i]);
    dialer->server = *options->server;
    dialer->keys = options->keys;
    dialer->max_frame_bytes = options->max_frame_bytes;
    dialer->queue = options->queue;
    dialer->retry_ms = dialer->pause_ms = options->retry_ms;
    dialer->retry_max_ms = options->retry_max_ms;
    *out = dialer;
    fq_status status = FQ_OK;
    if (snprintf(dialer->endpoint, sizeof dialer->endpoint, "%s", options->endpoint) >=
        (int)sizeof dialer->endpoint)
        status = fq_fail(FQ_EINVAL, "an address of %zu characters is too long",
                         strlen(options->endpoint));
    dialer->room = options->room;
    dialer->context = options->room != NULL ? options->room->context : zmq_ctx_new();
    if (status == FQ_OK && dialer->context == NULL)
        status = zmq_fail("cannot set up a socket for", dialer->endpoint);
    if (status == FQ_OK)
        status = dial(dialer);
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
    if (dialer->socket != NULL && dialer->state == FQ_DIALER_CONNECTED)
        (void)set_int(dialer->socket, ZMQ_LINGER, LAST_WORDS_MS);
    hang_up(dialer);
    if (dialer->context != NULL && dialer->room == NULL)
        zmq_ctx_term(dialer->context);
    free(dialer);
    *slot = NULL;
}

/* The attempt has failed or the connection has ended. The pause before the next attempt is drawn
 * from the upper half of pause_ms, which doubles each time until a connection has lasted. */
static void end_attempt(fq_dialer *dialer, fq_dialer_state state) {
    int64_t  now = now_ms();
    uint32_t random;
    bool     lasted =
        dialer->state == FQ_DIALER_CONNECTED && now - dialer->connected_ms >= dialer->retry_max_ms;
    if (dialer->state != FQ_DIALER_CONNECTED && !dialer->over)
        dialer->trouble = dialer->reached ? FQ_DIALER_NO_HANDSHAKE : FQ_DIALER_NOBODY;
    dialer->state = state;
    if (dialer->over)
        return;
    if (lasted)
        dialer->pause_ms = dialer->retry_ms;
    fq_random_bytes(&random, sizeof random);
    dialer->over = true;
    dialer->due_ms = now + dialer->pause_ms - random % (uint32_t)(dialer->pause_ms / 2 + 1);
    int64_t next = 2 * dialer->pause_ms;
    dialer->pause_ms = next < dialer->retry_max_ms ? next : dialer->retry_max_ms;
}

static void take_event(fq_dialer *dialer, uint16_t event) {
    switch (event) {
    case ZMQ_EVENT_CONNECTED: dialer->reached = true; return;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        dialer->trouble = FQ_DIALER_NO_TROUBLE;
        dialer->state = FQ_DIALER_CONNECTED;
        dialer->connections++;
        dialer->connected_ms = now_ms();
        dialer->due_ms = NEVER;
        dialer->over = false; /* even if it took longer than an attempt may */
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: end_attempt(dialer, FQ_DIALER_REFUSED); return;
    default: /* the end that follows a refusal says less than that */
        if (!dialer->over)
            end_attempt(dialer, FQ_DIALER_CONNECTING);
    }
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
        take_event(dialer, event);
    }
    for (size_t i = 0; i < 2; i++)
        zmq_msg_close(&frames[i]);
}

/* What is due: giving up on an attempt that says nothing, or the next one. */
static fq_status act_when_due(fq_dialer *dialer) {
    if (now_ms() < dialer->due_ms)
        return FQ_OK;
    if (!dialer->over) {
        end_attempt(dialer, FQ_DIALER_CONNECTING);
        return FQ_OK;
    }
    hang_up(dialer);
    return dial(dialer);
}

fq_status fq_dialer_wait(fq_dialer *dialer, int64_t timeout_ms, int fd, bool *message_ready,
                         bool *fd_ready) {
    *message_ready = *fd_ready = false;
    FQ_TRY(act_when_due(dialer));
    int64_t        left = dialer->due_ms == NEVER ? timeout_ms : dialer->due_ms - now_ms() + 1;
    zmq_pollitem_t items[3] = {{.socket = dialer->socket, .events = ZMQ_POLLIN},
                               {.socket = dialer->monitor, .events = ZMQ_POLLIN},
                               {.fd = fd, .events = ZMQ_POLLIN}};
    if (left < 0)
        left = 0;
    FQ_TRY(poll_items(items, fd < 0 ? 2 : 3, left < timeout_ms ? left : timeout_ms));
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
    *out = (fq_arrival){.two_frames = true,
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

fq_dialer_trouble fq_dialer_trouble_of(const fq_dialer *dialer) {
    return dialer->trouble;
}

uint64_t fq_dialer_connections(const fq_dialer *dialer) {
    return dialer->connections;
}

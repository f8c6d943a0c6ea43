#include "suite.h"
#include "wire/socket.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum {
    MAX_FRAME = 1 << 20,
    QUEUE = 4,
    MOST_KEYS = 64,
    STEP_MS = 2,
    QUIET_MS = 120,      /* long enough for what must not come: a handshake takes about 2 ms */
    PATIENCE_MS = 20000, /* for what must come; only a failing test waits that long */
};

/* ---- how often one block is freed ---- */
void                   __real_free(void *block);
void                   __wrap_free(void *block);
static _Atomic(void *) watched;
static atomic_int      watched_freed;

void __wrap_free(void *block) {
    if (block != NULL && block == atomic_load(&watched))
        atomic_fetch_add(&watched_freed, 1);
    __real_free(block);
}

/* ---- a coordinator and its clients, all on this thread ---- */
typedef struct rig {
    fq_keypair   *keys;
    fq_listener  *listener;
    char          endpoint[64];
    fq_public_key allowed[MOST_KEYS];
    size_t        n_allowed, asked;
} rig;

static bool admit(void *context, const fq_public_key *key, const char *address) {
    rig *r = context;
    r->asked++;
    CU_ASSERT_STRING_EQUAL(address, "127.0.0.1");
    for (size_t i = 0; i < r->n_allowed; i++)
        if (fq_public_key_equal(&r->allowed[i], key))
            return true;
    return false;
}

static void rig_listen(rig *r, const char *endpoint) {
    const fq_listener_options options = {.endpoint = endpoint,
                                         .keys = r->keys,
                                         .admit = admit,
                                         .context = r,
                                         .io_threads = 1,
                                         .max_frame_bytes = MAX_FRAME,
                                         .queue = QUEUE};
    FQ_ASSERT_OK(fq_listener_create(&r->listener, &options));
    snprintf(r->endpoint, sizeof r->endpoint, "%s", fq_listener_endpoint(r->listener));
}

static void rig_begin(rig *r) {
    *r = (rig){0};
    FQ_ASSERT_OK(fq_keypair_create(&r->keys));
    rig_listen(r, "tcp://127.0.0.1:*");
}

static void rig_end(rig *r) {
    fq_listener_destroy(&r->listener);
    fq_keypair_destroy(&r->keys);
}

typedef struct client {
    fq_keypair *keys;
    fq_dialer  *dialer;
} client;

static void dial_with(client *c, const rig *r, const fq_public_key *server) {
    const fq_dialer_options options = {.endpoint = r->endpoint,
                                       .server = server,
                                       .keys = c->keys,
                                       .retry_ms = 10,
                                       .retry_max_ms = 40,
                                       .max_frame_bytes = MAX_FRAME,
                                       .queue = QUEUE};
    FQ_ASSERT_OK(fq_dialer_create(&c->dialer, &options));
}

static void client_begin(client *c, rig *r, bool allowed) {
    FQ_ASSERT_OK(fq_keypair_create(&c->keys));
    if (allowed)
        r->allowed[r->n_allowed++] = *fq_keypair_public(c->keys);
    dial_with(c, r, fq_keypair_public(r->keys));
}

static void client_end(client *c) {
    fq_dialer_destroy(&c->dialer);
    fq_keypair_destroy(&c->keys);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static fq_cbytes bytes_of(const char *text) {
    return (fq_cbytes){(const unsigned char *)text, strlen(text)};
}

static bool says(fq_cbytes bytes, const char *text) {
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

/* One step of everybody. */
static void step(rig *r, client *clients, size_t n, bool *at_listener) {
    bool message = false, fd;
    *at_listener = false;
    for (size_t i = 0; i < n; i++)
        FQ_ASSERT_OK(fq_dialer_wait(clients[i].dialer, 0, -1, &message, &fd));
    if (r->listener != NULL)
        FQ_ASSERT_OK(fq_listener_wait(r->listener, STEP_MS, -1, at_listener, &fd));
}

static void connect_all(rig *r, client *clients, size_t n) {
    int64_t end = now_ms() + PATIENCE_MS;
    size_t  up = 0;
    while (up < n && now_ms() < end) {
        bool message;
        step(r, clients, n, &message);
        for (up = 0; up < n && fq_dialer_now(clients[up].dialer) == FQ_DIALER_CONNECTED; up++)
            ;
    }
    CU_ASSERT_EQUAL_FATAL(up, n);
}

static void until_state(rig *r, client *c, fq_dialer_state state) {
    int64_t end = now_ms() + PATIENCE_MS;
    while (fq_dialer_now(c->dialer) != state && now_ms() < end) {
        bool message;
        step(r, c, 1, &message);
    }
    CU_ASSERT_EQUAL_FATAL(fq_dialer_now(c->dialer), state);
}

static void until_connections(rig *r, client *c, uint64_t count) {
    int64_t end = now_ms() + PATIENCE_MS;
    while (fq_dialer_connections(c->dialer) < count && now_ms() < end) {
        bool message;
        step(r, c, 1, &message);
    }
    CU_ASSERT_EQUAL_FATAL(fq_dialer_connections(c->dialer), count);
}

/* The next message at the coordinator. */
static void take(rig *r, client *clients, size_t n, fq_arrival *out) {
    int64_t end = now_ms() + PATIENCE_MS;
    while (fq_listener_receive(r->listener, out) != FQ_OK) {
        bool message;
        CU_ASSERT_FATAL(now_ms() < end);
        step(r, clients, n, &message);
    }
}

static void take_at_client(rig *r, client *c, fq_arrival *out) {
    int64_t end = now_ms() + PATIENCE_MS;
    while (fq_dialer_receive(c->dialer, out) != FQ_OK) {
        bool message;
        CU_ASSERT_FATAL(now_ms() < end);
        step(r, c, 1, &message);
    }
}

/* Nothing comes for a while, and the coordinator serves others as before. */
static void expect_silence(rig *r, client *clients, size_t n) {
    fq_arrival arrival;
    int64_t    end = now_ms() + QUIET_MS;
    while (now_ms() < end) {
        bool message;
        step(r, clients, n, &message);
        CU_ASSERT_FALSE(message);
        CU_ASSERT_EQUAL(fq_listener_receive(r->listener, &arrival), FQ_ETIMEOUT);
    }
    client good;
    client_begin(&good, r, true);
    connect_all(r, &good, 1);
    FQ_ASSERT_OK(fq_dialer_send(good.dialer, bytes_of("good"), (fq_cbytes){0}));
    take(r, &good, 1, &arrival);
    CU_ASSERT_TRUE(says(arrival.head, "good"));
    client_end(&good);
}

/* ---- a client that keeps no rule ---- */
typedef struct raw {
    void *context, *socket;
} raw;

static void raw_begin(raw *w, const rig *r, const fq_keypair *keys, const fq_route *id) {
    int zero = 0;
    w->context = zmq_ctx_new();
    w->socket = zmq_socket(w->context, ZMQ_DEALER);
    zmq_setsockopt(w->socket, ZMQ_LINGER, &zero, sizeof zero);
    if (keys != NULL) {
        zmq_setsockopt(w->socket, ZMQ_CURVE_SERVERKEY, fq_keypair_public(r->keys)->bytes,
                       FQ_KEY_BYTES);
        zmq_setsockopt(w->socket, ZMQ_CURVE_PUBLICKEY, fq_keypair_public(keys)->bytes,
                       FQ_KEY_BYTES);
        zmq_setsockopt(w->socket, ZMQ_CURVE_SECRETKEY, fq_keypair_secret(keys), FQ_KEY_BYTES);
    }
    if (id != NULL)
        CU_ASSERT_EQUAL(zmq_setsockopt(w->socket, ZMQ_ROUTING_ID, id->bytes, id->size), 0);
    CU_ASSERT_EQUAL_FATAL(zmq_connect(w->socket, r->endpoint), 0);
}

static void raw_send(raw *w, int frames, const char *text) {
    for (int i = 0; i < frames; i++)
        CU_ASSERT_EQUAL(zmq_send(w->socket, text, strlen(text),
                                 ZMQ_DONTWAIT | (i + 1 < frames ? ZMQ_SNDMORE : 0)),
                        (int)strlen(text));
}

static void raw_end(raw *w) {
    zmq_close(w->socket);
    zmq_ctx_term(w->context);
}

/* ---- tests ---- */
static void test_there_and_back(void) {
    rig        r;
    client     c;
    fq_arrival at;
    rig_begin(&r);
    client_begin(&c, &r, true);
    CU_ASSERT_EQUAL(fq_dialer_now(c.dialer), FQ_DIALER_CONNECTING);
    CU_ASSERT_EQUAL(fq_dialer_connections(c.dialer), 0);
    /* Not connected: there is no queue that it could wait in. */
    CU_ASSERT_EQUAL(fq_dialer_send(c.dialer, bytes_of("early"), (fq_cbytes){0}), FQ_ETIMEOUT);
    connect_all(&r, &c, 1);
    CU_ASSERT_EQUAL(fq_dialer_connections(c.dialer), 1);
    CU_ASSERT_EQUAL(r.asked, 1);
    FQ_ASSERT_OK(fq_dialer_send(c.dialer, bytes_of("head"), bytes_of("and body")));
    FQ_ASSERT_OK(fq_dialer_send(c.dialer, (fq_cbytes){0}, (fq_cbytes){0}));
    take(&r, &c, 1, &at);
    CU_ASSERT_TRUE(says(at.head, "head"));
    CU_ASSERT_TRUE(says(at.body, "and body"));
    CU_ASSERT_TRUE(fq_public_key_equal(&at.sender, fq_keypair_public(c.keys)));
    CU_ASSERT_EQUAL(strncmp(at.address, "127.0.0.1:", 10), 0);
    CU_ASSERT_TRUE(atoi(at.address + 10) > 0);
    fq_route      route = at.route;
    fq_connection connection = at.connection;
    CU_ASSERT_NOT_EQUAL(connection, FQ_NO_CONNECTION);
    take(&r, &c, 1, &at);
    CU_ASSERT_EQUAL(at.head.size, 0);
    CU_ASSERT_EQUAL(at.body.size, 0);
    CU_ASSERT_TRUE(fq_route_equal(&at.route, &route));
    CU_ASSERT_EQUAL(at.connection, connection);
    FQ_ASSERT_OK(fq_listener_send(r.listener, &route, bytes_of("answer"), NULL));
    take_at_client(&r, &c, &at);
    CU_ASSERT_TRUE(says(at.head, "answer"));
    CU_ASSERT_EQUAL(at.body.size, 0);
    client_end(&c);
    rig_end(&r);
}

static void test_unknown_key(void) {
    rig        r;
    client     c;
    fq_arrival at;
    rig_begin(&r);
    client_begin(&c, &r, false);
    until_state(&r, &c, FQ_DIALER_REFUSED);
    CU_ASSERT_EQUAL(fq_dialer_connections(c.dialer), 0);
    CU_ASSERT_EQUAL(fq_dialer_send(c.dialer, bytes_of("let me"), (fq_cbytes){0}), FQ_ETIMEOUT);
    expect_silence(&r, &c, 1);
    CU_ASSERT_EQUAL(fq_dialer_now(c.dialer), FQ_DIALER_REFUSED);
    int64_t end = now_ms() + PATIENCE_MS; /* it goes on asking */
    for (size_t before = r.asked; r.asked < before + 2 && now_ms() < end;) {
        bool message;
        step(&r, &c, 1, &message);
        CU_ASSERT_FALSE(message);
    }
    CU_ASSERT_EQUAL(fq_dialer_now(c.dialer), FQ_DIALER_REFUSED);
    /* Once the key is registered, it gets in without having to be started again. */
    r.allowed[r.n_allowed++] = *fq_keypair_public(c.keys);
    until_state(&r, &c, FQ_DIALER_CONNECTED);
    FQ_ASSERT_OK(fq_dialer_send(c.dialer, bytes_of("thanks"), (fq_cbytes){0}));
    take(&r, &c, 1, &at);
    CU_ASSERT_TRUE(says(at.head, "thanks"));
    client_end(&c);
    rig_end(&r);
}

/* Sends, whatever the answer of the handshake was. */
static void test_unknown_key_unruly(void) {
    rig         r;
    fq_keypair *keys;
    raw         w;
    rig_begin(&r);
    FQ_ASSERT_OK(fq_keypair_create(&keys));
    raw_begin(&w, &r, keys, NULL);
    raw_send(&w, 2, "in the pipe");
    expect_silence(&r, NULL, 0);
    CU_ASSERT_TRUE(r.asked >= 2);
    raw_end(&w);
    fq_keypair_destroy(&keys);
    rig_end(&r);
}

static void test_no_encryption(void) {
    rig r;
    raw w;
    rig_begin(&r);
    raw_begin(&w, &r, NULL, NULL);
    raw_send(&w, 2, "plain text");
    expect_silence(&r, NULL, 0);
    CU_ASSERT_EQUAL(r.asked, 1); /* about the good one only */
    raw_end(&w);
    rig_end(&r);
}

static void test_wrong_server_key(void) {
    rig    r;
    client c;
    rig_begin(&r);
    FQ_ASSERT_OK(fq_keypair_create(&c.keys));
    r.allowed[r.n_allowed++] = *fq_keypair_public(c.keys);
    dial_with(&c, &r, fq_keypair_public(c.keys));
    expect_silence(&r, &c, 1);
    CU_ASSERT_EQUAL(r.asked, 1); /* about the good one only */
    CU_ASSERT_EQUAL(fq_dialer_now(c.dialer), FQ_DIALER_CONNECTING);
    CU_ASSERT_EQUAL(fq_dialer_connections(c.dialer), 0);
    CU_ASSERT_EQUAL(fq_dialer_send(c.dialer, bytes_of("secret"), (fq_cbytes){0}), FQ_ETIMEOUT);
    client_end(&c);
    rig_end(&r);
}

/* A frame of just the limit arrives whole; one byte more costs the connection, and only that. */
static void test_frame_limit(void) {
    rig            r;
    client         c[2];
    fq_arrival     at;
    unsigned char *body = malloc(MAX_FRAME + 1);
    rig_begin(&r);
    for (size_t i = 0; i < 2; i++)
        client_begin(&c[i], &r, true);
    connect_all(&r, c, 2);
    for (size_t i = 0; i <= MAX_FRAME; i++)
        body[i] = (unsigned char)(i * 2654435761u >> 24);
    FQ_ASSERT_OK(fq_dialer_send(c[0].dialer, bytes_of("most"), (fq_cbytes){body, MAX_FRAME}));
    take(&r, c, 2, &at);
    CU_ASSERT_EQUAL_FATAL(at.body.size, MAX_FRAME);
    CU_ASSERT_EQUAL(memcmp(at.body.data, body, MAX_FRAME), 0);
    FQ_ASSERT_OK(fq_dialer_send(c[0].dialer, bytes_of("more"), (fq_cbytes){body, MAX_FRAME + 1}));
    until_connections(&r, &c[0], 2);
    CU_ASSERT_EQUAL(fq_listener_receive(r.listener, &at), FQ_ETIMEOUT);
    FQ_ASSERT_OK(fq_dialer_send(c[1].dialer, bytes_of("other"), (fq_cbytes){0}));
    take(&r, c, 2, &at);
    CU_ASSERT_TRUE(says(at.head, "other"));
    CU_ASSERT_EQUAL(fq_dialer_connections(c[1].dialer), 1);
    for (size_t i = 0; i < 2; i++)
        client_end(&c[i]);
    free(body);
    rig_end(&r);
}

static fq_shared *make_shared(size_t size, unsigned char value) {
    fq_buffer      buffer = {0};
    fq_shared     *shared;
    unsigned char *at = fq_buffer_grow(&buffer, size);
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    memset(at, value, size);
    FQ_ASSERT_OK(fq_shared_create(&shared, &buffer));
    CU_ASSERT_PTR_NULL(buffer.data);
    return shared;
}

static void test_shared_body(void) {
    enum { PEERS = 50, BODY = 200000 };
    rig        r;
    client     c[PEERS];
    fq_arrival at;
    fq_route   gone = {.bytes = {0, 1, 2, 3, 4}, .size = 5};
    rig_begin(&r);
    for (size_t i = 0; i < PEERS; i++)
        client_begin(&c[i], &r, true);
    connect_all(&r, c, PEERS);
    fq_shared *shared = make_shared(BODY, 0x5a);
    atomic_store(&watched_freed, 0);
    atomic_store(&watched, (void *)(uintptr_t)fq_shared_bytes(shared).data);
    CU_ASSERT_EQUAL(fq_listener_send(r.listener, &gone, bytes_of("x"), shared), FQ_ETIMEOUT);
    for (size_t i = 0; i < PEERS; i++) {
        FQ_ASSERT_OK(fq_dialer_send(c[i].dialer, bytes_of("hello"), (fq_cbytes){0}));
        take(&r, c, PEERS, &at);
        FQ_ASSERT_OK(fq_listener_send(r.listener, &at.route, bytes_of("model"), shared));
    }
    CU_ASSERT_EQUAL(atomic_load(&watched_freed), 0);
    fq_shared *kept = fq_shared_keep(shared);
    fq_shared_release(&shared);
    CU_ASSERT_PTR_NULL(shared);
    for (size_t i = 0; i < PEERS; i++) {
        take_at_client(&r, &c[i], &at);
        CU_ASSERT_EQUAL_FATAL(at.body.size, BODY);
        CU_ASSERT_EQUAL(memcmp(at.body.data, fq_shared_bytes(kept).data, BODY), 0);
    }
    CU_ASSERT_EQUAL(atomic_load(&watched_freed), 0); /* one reference is left */
    fq_shared_release(&kept);
    fq_shared_release(&kept); /* nothing */
    for (size_t i = 0; i < PEERS; i++)
        client_end(&c[i]);
    rig_end(&r); /* ZeroMQ's last references go now, at the latest */
    CU_ASSERT_EQUAL(atomic_load(&watched_freed), 1);
    atomic_store(&watched, NULL);
}

static void test_slow_reader(void) {
    enum { BODY = 1 << 16, MOST = 4000 };
    rig        r;
    client     c[2]; /* the first is slow */
    fq_route   route[2];
    fq_arrival at;
    int        taken = 0;
    fq_status  status = FQ_OK;
    rig_begin(&r);
    for (size_t i = 0; i < 2; i++)
        client_begin(&c[i], &r, true);
    connect_all(&r, c, 2);
    for (size_t i = 0; i < 2; i++) {
        FQ_ASSERT_OK(fq_dialer_send(c[i].dialer, bytes_of("hello"), (fq_cbytes){0}));
        take(&r, c, 2, &at);
        route[i] = at.route;
    }
    fq_shared *shared = make_shared(BODY, 1);
    int64_t    end = now_ms() + PATIENCE_MS, refused_since = 0;
    /* Full is when it stays full: ZeroMQ's thread may just be busy. */
    while (taken < MOST && now_ms() < end) {
        unsigned char number[4];
        for (int i = 0; i < 4; i++)
            number[i] = (unsigned char)(taken >> 8 * i);
        status = fq_listener_send(r.listener, &route[0], (fq_cbytes){number, 4}, shared);
        if (status == FQ_OK) {
            taken++;
            refused_since = 0;
        } else if (refused_since == 0) {
            refused_since = now_ms();
        } else if (now_ms() - refused_since > QUIET_MS) {
            break;
        }
    }
    CU_ASSERT_EQUAL(status, FQ_ETIMEOUT);
    CU_ASSERT_TRUE(taken >= QUEUE && taken < MOST);
    end = now_ms() + PATIENCE_MS;
    for (int i = 0; i < 20; i++) { /* costs the other one nothing */
        FQ_ASSERT_OK(fq_listener_send(r.listener, &route[1], bytes_of("quick"), shared));
        take_at_client(&r, &c[1], &at);
        CU_ASSERT_TRUE(says(at.head, "quick"));
    }
    for (int n = 0; n < taken; n++) { /* what was taken comes, whole and in order */
        take_at_client(&r, &c[0], &at);
        CU_ASSERT_EQUAL(at.body.size, BODY);
        CU_ASSERT_EQUAL_FATAL(at.head.size, 4);
        CU_ASSERT_EQUAL(at.head.data[0] | at.head.data[1] << 8, n);
    }
    /* There is room again, as soon as ZeroMQ's thread has heard of it. */
    while (fq_listener_send(r.listener, &route[0], bytes_of("again"), shared) != FQ_OK) {
        bool message;
        CU_ASSERT_FATAL(now_ms() < end);
        step(&r, c, 2, &message);
    }
    take_at_client(&r, &c[0], &at);
    CU_ASSERT_TRUE(says(at.head, "again"));
    CU_ASSERT_EQUAL(fq_dialer_connections(c[0].dialer), 1);
    fq_shared_release(&shared);
    for (size_t i = 0; i < 2; i++)
        client_end(&c[i]);
    rig_end(&r);
}

static void test_drop(void) {
    rig        r;
    client     c[2];
    fq_arrival at;
    rig_begin(&r);
    for (size_t i = 0; i < 2; i++)
        client_begin(&c[i], &r, true);
    connect_all(&r, c, 2);
    FQ_ASSERT_OK(fq_dialer_send(c[0].dialer, bytes_of("one"), (fq_cbytes){0}));
    take(&r, c, 2, &at);
    fq_arrival first = at;
    fq_listener_drop(r.listener, first.connection);
    until_connections(&r, &c[0], 2);
    FQ_ASSERT_OK(fq_dialer_send(c[0].dialer, bytes_of("two"), (fq_cbytes){0}));
    take(&r, c, 2, &at);
    CU_ASSERT_TRUE(says(at.head, "two"));
    CU_ASSERT_FALSE(fq_route_equal(&first.route, &at.route));
    CU_ASSERT_NOT_EQUAL(first.connection, at.connection);
    CU_ASSERT_EQUAL(fq_listener_send(r.listener, &first.route, bytes_of("x"), NULL), FQ_ETIMEOUT);
    /* The descriptor of the first has a new owner by now, as a rule; he is left alone. */
    fq_listener_drop(r.listener, first.connection);
    fq_listener_drop(r.listener, FQ_NO_CONNECTION);
    expect_silence(&r, c, 2);
    CU_ASSERT_EQUAL(fq_dialer_connections(c[0].dialer), 2);
    CU_ASSERT_EQUAL(fq_dialer_connections(c[1].dialer), 1);
    for (size_t i = 0; i < 2; i++)
        client_end(&c[i]);
    rig_end(&r);
}

/* Admitted, but it takes the route of another peer for its own. */
static void test_chosen_route(void) {
    rig         r;
    client      c;
    fq_keypair *keys;
    raw         w;
    fq_arrival  at;
    rig_begin(&r);
    client_begin(&c, &r, true);
    connect_all(&r, &c, 1);
    FQ_ASSERT_OK(fq_dialer_send(c.dialer, bytes_of("honest"), (fq_cbytes){0}));
    take(&r, &c, 1, &at);
    fq_route victim = at.route;
    FQ_ASSERT_OK(fq_keypair_create(&keys));
    r.allowed[r.n_allowed++] = *fq_keypair_public(keys);
    raw_begin(&w, &r, keys, &victim);
    raw_send(&w, 2, "stolen");
    expect_silence(&r, &c, 1);
    FQ_ASSERT_OK(fq_listener_send(r.listener, &victim, bytes_of("for you"), NULL));
    take_at_client(&r, &c, &at);
    CU_ASSERT_TRUE(says(at.head, "for you"));
    CU_ASSERT_EQUAL(zmq_recv(w.socket, NULL, 0, ZMQ_DONTWAIT), -1);
    raw_end(&w);
    /* Any other name is its own affair: the sender is who holds the key. */
    fq_route name = {.size = FQ_ROUTE_BYTES};
    memcpy(name.bytes, fq_keypair_public(c.keys)->bytes, FQ_ROUTE_BYTES);
    raw_begin(&w, &r, keys, &name);
    raw_send(&w, 2, "named");
    take(&r, &c, 1, &at);
    CU_ASSERT_TRUE(says(at.head, "named"));
    CU_ASSERT_TRUE(fq_route_equal(&at.route, &name));
    CU_ASSERT_TRUE(fq_public_key_equal(&at.sender, fq_keypair_public(keys)));
    raw_end(&w);
    fq_keypair_destroy(&keys);
    client_end(&c);
    rig_end(&r);
}

static void test_other_frames(void) {
    rig         r;
    fq_keypair *keys;
    raw         w;
    fq_arrival  at;
    rig_begin(&r);
    FQ_ASSERT_OK(fq_keypair_create(&keys));
    r.allowed[r.n_allowed++] = *fq_keypair_public(keys);
    raw_begin(&w, &r, keys, NULL);
    for (int frames = 1; frames <= 5; frames++)
        raw_send(&w, frames, frames == 2 ? "two" : "not two");
    for (int frames = 1; frames <= 5; frames++) {
        take(&r, NULL, 0, &at);
        CU_ASSERT_EQUAL(at.two_frames, frames == 2);
        CU_ASSERT_TRUE(fq_public_key_equal(&at.sender, fq_keypair_public(keys)));
        if (frames == 2) {
            CU_ASSERT_TRUE(says(at.head, "two"));
            CU_ASSERT_TRUE(says(at.body, "two"));
        } else {
            CU_ASSERT_EQUAL(at.head.size + at.body.size, 0);
        }
    }
    raw_end(&w);
    fq_keypair_destroy(&keys);
    rig_end(&r);
}

static void test_restart(void) {
    rig        r;
    client     c;
    fq_arrival at;
    char       endpoint[64];
    rig_begin(&r);
    memcpy(endpoint, r.endpoint, sizeof endpoint);
    fq_listener_destroy(&r.listener);
    client_begin(&c, &r, true); /* nobody there yet */
    for (int i = 0; i < 50; i++) {
        bool message, fd;
        FQ_ASSERT_OK(fq_dialer_wait(c.dialer, STEP_MS, -1, &message, &fd));
        CU_ASSERT_EQUAL(fq_dialer_now(c.dialer), FQ_DIALER_CONNECTING);
    }
    for (uint64_t life = 1; life <= 3; life++) {
        rig_listen(&r, endpoint);
        until_connections(&r, &c, life);
        FQ_ASSERT_OK(fq_dialer_send(c.dialer, bytes_of("here"), (fq_cbytes){0}));
        take(&r, &c, 1, &at);
        CU_ASSERT_TRUE(says(at.head, "here"));
        fq_listener_destroy(&r.listener);
        until_state(&r, &c, FQ_DIALER_CONNECTING);
    }
    client_end(&c);
    rig_end(&r);
}

static void test_descriptor(void) {
    rig    r;
    client c;
    int    ends[2];
    bool   message, ready;
    rig_begin(&r);
    client_begin(&c, &r, true);
    connect_all(&r, &c, 1);
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    FQ_ASSERT_OK(fq_listener_wait(r.listener, 1, ends[0], &message, &ready));
    CU_ASSERT_FALSE(ready);
    CU_ASSERT_EQUAL_FATAL(write(ends[1], "x", 1), 1);
    FQ_ASSERT_OK(fq_listener_wait(r.listener, PATIENCE_MS, ends[0], &message, &ready));
    CU_ASSERT_TRUE(ready);
    CU_ASSERT_FALSE(message);
    FQ_ASSERT_OK(fq_dialer_wait(c.dialer, PATIENCE_MS, ends[0], &message, &ready));
    CU_ASSERT_TRUE(ready);
    CU_ASSERT_FALSE(message);
    close(ends[0]);
    close(ends[1]);
    client_end(&c);
    rig_end(&r);
}

static void test_bad_options(void) {
    static const char *const endpoints[] = {"", "127.0.0.1:1", "tcp://127.0.0.1", "tcp://:x",
                                            "nonsense://127.0.0.1:1"};
    fq_keypair              *keys;
    FQ_ASSERT_OK(fq_keypair_create(&keys));
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        fq_dialer          *dialer;
        fq_listener        *listener;
        fq_dialer_options   dial = {.endpoint = endpoints[i],
                                    .server = fq_keypair_public(keys),
                                    .keys = keys,
                                    .retry_ms = 1,
                                    .retry_max_ms = 1,
                                    .max_frame_bytes = 1,
                                    .queue = 1};
        fq_listener_options listen = {
            .endpoint = endpoints[i], .keys = keys, .admit = admit, .io_threads = 1, .queue = 1};
        FQ_ASSERT_FAILS(fq_dialer_create(&dialer, &dial), FQ_EIO, endpoints[i]);
        CU_ASSERT_PTR_NULL(dialer);
        FQ_ASSERT_FAILS(fq_listener_create(&listener, &listen), FQ_EIO, endpoints[i]);
        CU_ASSERT_PTR_NULL(listener);
    }
    fq_keypair_destroy(&keys);
}

int main(void) {
    static const fq_case cases[] = {
        {"there and back", test_there_and_back},
        {"an unknown key delivers nothing, and gets in once it is known", test_unknown_key},
        {"an unknown key that sends all the same", test_unknown_key_unruly},
        {"no encryption", test_no_encryption},
        {"another server's key", test_wrong_server_key},
        {"the largest frame, and one byte more", test_frame_limit},
        {"bytes shared by fifty peers are freed once", test_shared_body},
        {"a slow reader costs the others nothing", test_slow_reader},
        {"a drop closes this connection and no other", test_drop},
        {"a route chosen by the peer", test_chosen_route},
        {"messages that have not two frames", test_other_frames},
        {"the coordinator comes late, and goes, and comes back", test_restart},
        {"a descriptor is watched, too", test_descriptor},
        {"addresses that are none", test_bad_options},
        {NULL, NULL},
    };
    return fq_run_suite("socket", cases);
}

/* Somebody who knocks at a coordinator without our code: libzmq alone, or bare TCP.
 *
 *   stranger tcp://ADDRESS:PORT SERVER_KEY HOW [HOME [CLIENT]]
 *
 *   unlisted   a valid key pair of its own, the right server key
 *   misled     the same with a wrong server key
 *   null       no security at all
 *   plain      ZMTP's PLAIN: a name and a password
 *   garbage    TCP: 64 KiB of noise, again and again
 *   greeting   TCP: half a greeting, then silence
 *   halfway    TCP: a CURVE greeting and half a HELLO, then silence
 *   scan       TCP: connects and closes, 500 times
 *   idle       TCP: 200 connections that say nothing
 * with the key of HOME, a folder of `fedq-client init`, once it is connected:
 *   talker     a hello, then a hundred heartbeats a second, whatever is answered
 *   odd        messages of one frame and of three, without a pause
 *   bulky      messages of a thousand frames of 1 MiB each, which ZeroMQ takes in whole
 *   deaf       joins as a simulated client, asks for the model all the time, reads nothing
 *
 * Knocks until it is killed, and says on standard output once a second how many messages it has
 * handed to ZeroMQ ("sent N"), what it was sent ("received N"), and how often a handshake was
 * completed ("admitted N"). */
#include "base/file.h"
#include "wire/keys.h"
#include "wire/messages.h"
#include "wire/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

typedef struct stranger {
    const char   *endpoint, *how;
    fq_public_key server;
    fq_keypair   *keys;
    uint64_t      sent, received, admitted;
    double        said;
    fq_buffer     hello, beat, request;
} stranger;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_ms(long ms) {
    const struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static bool is(const stranger *s, const char *how) {
    return strcmp(s->how, how) == 0;
}

static void report(stranger *s) {
    if (seconds() - s->said < 1.0)
        return;
    s->said = seconds();
    printf("sent %" PRIu64 " received %" PRIu64 " admitted %" PRIu64 "\n", s->sent, s->received,
           s->admitted);
    fflush(stdout);
}

/* ---- ZeroMQ ---- */
static bool secure(const stranger *s, void *socket) {
    unsigned char wrong[FQ_KEY_BYTES];
    memcpy(wrong, fq_keypair_public(s->keys)->bytes, sizeof wrong); /* a key, but not its own */
    if (is(s, "null"))
        return true;
    if (is(s, "plain"))
        return zmq_setsockopt(socket, ZMQ_PLAIN_USERNAME, "admin", 5) == 0 &&
               zmq_setsockopt(socket, ZMQ_PLAIN_PASSWORD, "admin", 5) == 0;
    return zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, is(s, "misled") ? wrong : s->server.bytes,
                          FQ_KEY_BYTES) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, fq_keypair_secret(s->keys), FQ_KEY_BYTES) ==
               0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, fq_keypair_public(s->keys)->bytes,
                          FQ_KEY_BYTES) == 0;
}

static bool send_frames(stranger *s, void *socket, const fq_buffer *head, int frames) {
    bool whole = true;
    for (int i = 0; whole && i < frames; i++)
        whole = zmq_send(socket, i == 0 ? head->data : NULL, i == 0 ? head->size : 0,
                         ZMQ_DONTWAIT | (i + 1 < frames ? ZMQ_SNDMORE : 0)) >= 0;
    s->sent += whole;
    return whole;
}

static void count_events(stranger *s, void *monitor) {
    unsigned char frame[256];
    for (int n; (n = zmq_recv(monitor, frame, sizeof frame, ZMQ_DONTWAIT)) >= 0;) {
        uint16_t event;
        memcpy(&event, frame, sizeof event);
        s->admitted += n == 6 && event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    }
}

static void speak(stranger *s, void *socket) {
    static unsigned char large[1 << 20];
    if (is(s, "bulky")) {
        for (int i = 0; s->admitted > 0 && i < 1000; i++)
            (void)zmq_send(socket, large, sizeof large, i < 999 ? ZMQ_SNDMORE : 0);
        s->sent += s->admitted > 0;
        sleep_ms(s->admitted > 0 ? 2000 : 1);
    } else if (is(s, "odd")) {
        for (int i = 0; i < 200; i++)
            (void)send_frames(s, socket, &s->beat, i % 2 == 0 ? 1 : 3);
        sleep_ms(1);
    } else if (is(s, "deaf")) {
        (void)send_frames(s, socket, s->sent == 0 ? &s->hello : &s->request, 2);
        sleep_ms(1);
    } else {
        (void)send_frames(s, socket, s->sent == 0 ? &s->hello : &s->beat, 2);
        sleep_ms(10);
    }
}

/* One socket; ZeroMQ connects it again and again. */
static int knock_with_zmq(stranger *s) {
    void     *context = zmq_ctx_new();
    void     *socket = zmq_socket(context, ZMQ_DEALER), *monitor = zmq_socket(context, ZMQ_PAIR);
    const int wait_ms = 100, most = is(s, "deaf") ? 1 : 1000;
    if (!secure(s, socket) || zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &wait_ms, sizeof wait_ms) ||
        zmq_setsockopt(socket, ZMQ_SNDHWM, &most, sizeof most) ||
        zmq_setsockopt(socket, ZMQ_RCVHWM, &most, sizeof most) ||
        zmq_socket_monitor(socket, "inproc://events", ZMQ_EVENT_HANDSHAKE_SUCCEEDED) ||
        zmq_connect(monitor, "inproc://events") || zmq_connect(socket, s->endpoint)) {
        fprintf(stderr, "stranger: %s\n", zmq_strerror(zmq_errno()));
        return 1;
    }
    for (;;) {
        char byte;
        count_events(s, monitor);
        speak(s, socket);
        while (!is(s, "deaf") && zmq_recv(socket, &byte, 1, ZMQ_DONTWAIT) >= 0)
            s->received++;
        report(s);
    }
}

/* ---- bare TCP ---- */
static int dial(const stranger *s) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    char               host[64];
    unsigned           port;
    if (sscanf(s->endpoint, "tcp://%63[^:]:%u", host, &port) != 2 ||
        inet_pton(AF_INET, host, &to.sin_addr) != 1)
        return -1;
    to.sin_port = htons((uint16_t)port);
    int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (out >= 0 && connect(out, (struct sockaddr *)&to, sizeof to) != 0) {
        close(out);
        return -1;
    }
    return out;
}

/* Count what comes, for so long or until the other side ends it. */
static void listen_to(stranger *s, int descriptor, int ms) {
    struct pollfd ready = {.fd = descriptor, .events = POLLIN};
    char          bytes[4096];
    ssize_t       n = 1;
    for (int passed = 0; n > 0 && passed < ms; passed += 100) {
        if (poll(&ready, 1, 100) > 0)
            n = recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
        report(s);
    }
}

static _Noreturn void knock_with_tcp(stranger *s) {
    /* Signature, version 3.1, mechanism, as a client; then a CURVE HELLO that is cut short. */
    unsigned char       greeting[64] = {0xff, 0, 0, 0,   0,   0,   0,   0,  1,
                                        0x7f, 3, 1, 'C', 'U', 'R', 'V', 'E'};
    const unsigned char hello[] = {4, 200, 5, 'H', 'E', 'L', 'L', 'O', 1, 0};
    unsigned char       noise[1 << 16];
    uint32_t            word = 12345;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)((word = word * 1664525U + 1013904223U) >> 24);
    int idle[200];
    for (size_t i = 0; is(s, "idle") && i < 200; i++)
        idle[i] = dial(s);
    for (uint64_t n = 0;; n++) {
        int descriptor = dial(s);
        if (descriptor >= 0 && is(s, "garbage"))
            s->sent += send(descriptor, noise, sizeof noise, MSG_NOSIGNAL) > 0;
        if (descriptor >= 0 && is(s, "greeting"))
            s->sent += send(descriptor, greeting, 11, MSG_NOSIGNAL) > 0;
        if (descriptor >= 0 && is(s, "halfway"))
            s->sent += send(descriptor, greeting, sizeof greeting, MSG_NOSIGNAL) > 0 &&
                       send(descriptor, hello, sizeof hello, MSG_NOSIGNAL) > 0;
        if (descriptor >= 0 && !is(s, "scan"))
            listen_to(s, descriptor, is(s, "garbage") ? 100 : 2000);
        if (descriptor >= 0)
            close(descriptor);
        for (size_t i = 0; is(s, "idle") && i < 200; i++) { /* whoever was shown out comes again */
            char byte;
            if (idle[i] >= 0 && recv(idle[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0) {
                close(idle[i]);
                idle[i] = dial(s);
            }
        }
        sleep_ms(is(s, "scan") && n < 500 ? 1 : 100);
        report(s);
    }
}

/* ---- set-up ---- */
static fq_status prepare(stranger *s, const char *home, const char *client) {
    const fq_hosted  hosted = {.client = strtoull(client, NULL, 10), .examples = 1};
    const fq_message hello = {.kind = FQ_HELLO,
                              .of.hello = {.major = FQ_WIRE_MAJOR,
                                           .minor = FQ_WIRE_MINOR,
                                           .software = "stranger",
                                           .simulation = true,
                                           .n_hosted = 1,
                                           .hosted = (fq_hosted *)(uintptr_t)&hosted}};
    const fq_message beat = {.kind = FQ_HEARTBEAT, .of.heartbeat.count = 1};
    const fq_message request = {.kind = FQ_MODEL_REQUEST,
                                .of.model_part = {.bytes = FQ_CHUNK_BYTES}};
    FQ_TRY(fq_encode_message(&hello, &s->hello));
    FQ_TRY(fq_encode_message(&beat, &s->beat));
    FQ_TRY(fq_encode_message(&request, &s->request));
    if (home == NULL)
        return fq_keypair_create(&s->keys);
    char path[PATH_MAX];
    fq_path_join(home, "client.key", path);
    return fq_keypair_load(&s->keys, path);
}

int main(int argc, char **argv) {
    static const char *const over_tcp[] = {"garbage", "greeting", "halfway", "scan", "idle"};
    if (argc < 4) {
        fprintf(stderr, "usage: stranger tcp://ADDRESS:PORT SERVER_KEY HOW [HOME [CLIENT]]\n");
        return 2;
    }
    stranger s = {.endpoint = argv[1], .how = argv[3]};
    if (fq_public_key_parse(argv[2], &s.server) != FQ_OK ||
        prepare(&s, argc > 4 ? argv[4] : NULL, argc > 5 ? argv[5] : "0") != FQ_OK) {
        fprintf(stderr, "stranger: %s\n", fq_status_text());
        return 1;
    }
    for (size_t i = 0; i < sizeof over_tcp / sizeof *over_tcp; i++)
        if (is(&s, over_tcp[i]))
            knock_with_tcp(&s);
    return knock_with_zmq(&s);
}

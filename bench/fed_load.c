/* Many clients in one process, to load a coordinator: each has a key, a connection and a session of
 * its own and speaks the real protocol, with the real encryption; only the training is left out (an
 * update is zeros, coded as the settings say).
 *
 *     fedq-load keys N SEED-FILE                 N lines for clients.txt, and the secret keys
 *     fedq-load run N SEED-FILE tcp://HOST:PORT SERVER-KEY
 *
 * Says on stderr, once a second, how many are connected, joined, and have sent how much; ends when
 * all have heard that the run is over.
 */
#include "base/clock.h"
#include "base/file.h"
#include "experiment/experiment.h"
#include "wire/codec.h"
#include "wire/messages.h"
#include "wire/socket.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* What the updates of all are made of. */
typedef struct fleet {
    fq_experiment *experiment;
    fq_document   *document;
    fq_model      *model;
    fq_blocks      blocks;
    fq_arena       coded, message;
    fq_packed      zeros[FQ_MAX_VECTORS];
    unsigned char  run[FQ_RUN_ID_BYTES];
    uint32_t       heartbeat_ms;
    fq_public_key  server;
    uint64_t       sent, accepted, refused, joins, over;
} fleet;

typedef struct loader {
    fq_keypair *keys;
    fq_dialer  *dialer;
    uint64_t    connections, id;
    bool        joined, over;
    double      beat, hello;
    /* the plan at hand */
    fq_wire_plan   plan;
    uint64_t       have, total;
    unsigned char  digest[FQ_DIGEST_BYTES];
    unsigned char *model;
    fq_buffer      sealed;
} loader;

static void stop(const char *what) {
    fprintf(stderr, "fedq-load: %s: %s\n", what, fq_status_text());
    exit(1);
}

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static bool send_message(loader *l, const fq_message *message, fq_cbytes body) {
    fq_buffer head = {0};
    bool      sent = fq_encode_message(message, &head) == FQ_OK &&
                fq_dialer_send(l->dialer, (fq_cbytes){head.data, head.size}, body) == FQ_OK;
    fq_buffer_fini(&head);
    return sent;
}

static void say_hello(loader *l) {
    fq_hosted  one = {.examples = 512};
    fq_message message = {.kind = FQ_HELLO,
                          .of.hello = {.major = FQ_WIRE_MAJOR,
                                       .minor = FQ_WIRE_MINOR,
                                       .software = "fedq-load",
                                       .n_hosted = 1,
                                       .hosted = &one}};
    l->joined = false;
    l->hello = fq_now();
    (void)send_message(l, &message, (fq_cbytes){0});
}

/* The first welcome tells what updates look like. */
static void learn(fleet *f, const fq_welcome *welcome) {
    f->experiment = malloc(sizeof *f->experiment);
    fq_shape shape = {.c = welcome->channels, .h = welcome->height, .w = welcome->width};
    if (f->experiment == NULL ||
        fq_document_parse(&f->document, "settings", welcome->settings) != FQ_OK ||
        fq_experiment_load(f->document, f->experiment) != FQ_OK ||
        fq_setup_model(f->experiment, shape, welcome->classes, &f->model) != FQ_OK)
        stop("settings");
    const fq_coding *upload = &f->experiment->recipe.upload;
    size_t           size = fq_model_size(f->model), n = f->experiment->recipe.algorithm->n_up;
    float           *zeros = calloc(size, sizeof *zeros);
    if (zeros == NULL || fq_blocks_of_model(f->model, upload->block, &f->blocks) != FQ_OK ||
        fq_arena_init(&f->coded, n * fq_quantize_arena_bytes(upload->quantizer, upload->bits,
                                                             upload->zstd, size, f->blocks.n)) !=
            FQ_OK)
        stop("update");
    for (size_t v = 0; v < n; v++) {
        fq_rng rng = fq_rng_stream(0, FQ_RNG_ROUNDING, 0, 0, 0, 0);
        if (fq_quantize(upload->quantizer, upload->bits, upload->zstd, zeros, f->blocks, &rng,
                        &f->coded, &f->zeros[v]) != FQ_OK)
            stop("update");
    }
    free(zeros);
    memcpy(f->run, welcome->run, sizeof f->run);
    f->heartbeat_ms = welcome->heartbeat_ms;
}

static void request_model(loader *l) {
    fq_message message = {.kind = FQ_MODEL_REQUEST,
                          .of.model_part = {.round = l->plan.round,
                                            .model_bits = l->plan.model_bits,
                                            .offset = l->have,
                                            .bytes = FQ_CHUNK_BYTES}};
    (void)send_message(l, &message, (fq_cbytes){0});
}

static void make_update(fleet *f, loader *l) {
    fq_update  update = {.client = l->id,
                         .round = l->plan.round,
                         .n_examples = 500,
                         .n_steps = 1,
                         .n_vectors = f->experiment->recipe.algorithm->n_up};
    fq_binding binding = {.round = l->plan.round, .client = l->id};
    fq_buffer  plain = {0};
    memcpy(update.vectors, f->zeros, sizeof update.vectors);
    memcpy(binding.run, f->run, sizeof binding.run);
    memcpy(binding.model, l->plan.model, sizeof binding.model);
    l->sealed.size = 0;
    if (fq_encode_update(&update, f->experiment->recipe.upload.block, &plain) != FQ_OK ||
        fq_seal(l->keys, &f->server, &binding, (fq_cbytes){plain.data, plain.size}, &l->sealed) !=
            FQ_OK)
        stop("seal");
    fq_buffer_fini(&plain);
}

static fq_message part_of(const loader *l, fq_message_kind kind, uint64_t offset) {
    fq_message message = {.kind = kind,
                          .of.update_part = {.round = l->plan.round,
                                             .client = l->id,
                                             .total = l->sealed.size,
                                             .offset = offset,
                                             .model_bits = l->plan.model_bits}};
    memcpy(message.of.update_part.nonce, l->sealed.data, FQ_SEAL_NONCE_BYTES);
    return message;
}

static void take_chunk(fleet *f, loader *l, const fq_model_part *part, fq_cbytes body) {
    if (part->round != l->plan.round || part->offset != l->have || l->model == NULL ||
        body.size > l->plan.model_bytes - l->have)
        return;
    memcpy(l->model + l->have, body.data, body.size);
    l->have += body.size;
    if (l->have < l->plan.model_bytes) {
        request_model(l);
        return;
    }
    unsigned char digest[FQ_DIGEST_BYTES];
    fq_digest((fq_cbytes){l->model, (size_t)l->have}, digest);
    if (memcmp(digest, l->plan.model, sizeof digest) != 0)
        stop("the model has another digest than the plan");
    free(l->model);
    l->model = NULL;
    make_update(f, l);
    fq_message offer = part_of(l, FQ_UPDATE_OFFER, 0);
    (void)send_message(l, &offer, (fq_cbytes){0});
}

static void take_message(fleet *f, loader *l, const fq_arrival *arrival) {
    fq_message message;
    fq_arena_reset(&f->message);
    if (fq_decode_message(arrival->head, &f->message, &message) != FQ_OK)
        stop("message");
    switch (message.kind) {
    case FQ_WELCOME:
        if (f->experiment == NULL)
            learn(f, &message.of.welcome);
        l->id = message.of.welcome.client;
        l->joined = true;
        f->joins++;
        break;
    case FQ_PLAN:
        if (message.of.plan.n_clients != 1 || message.of.plan.clients[0] != l->id)
            stop("a plan for somebody else");
        l->plan = message.of.plan;
        l->have = 0;
        free(l->model);
        l->model = malloc((size_t)l->plan.model_bytes);
        request_model(l);
        break;
    case FQ_MODEL_CHUNK: take_chunk(f, l, &message.of.model_part, arrival->body); break;
    case FQ_UPDATE_WANT: {
        uint64_t   at = message.of.update_part.offset, left = l->sealed.size - at;
        size_t     size = left < FQ_CHUNK_BYTES ? (size_t)left : FQ_CHUNK_BYTES;
        fq_message chunk = part_of(l, FQ_UPDATE_CHUNK, at);
        if (send_message(l, &chunk, (fq_cbytes){l->sealed.data + at, size}))
            f->sent += size;
        break;
    }
    case FQ_RECEIPT:
        f->accepted += message.of.receipt.reason == FQ_REASON_NONE;
        f->refused += message.of.receipt.reason != FQ_REASON_NONE;
        break;
    case FQ_REFUSAL:
        if (message.of.refusal.reason == FQ_REASON_NOT_JOINED)
            say_hello(l);
        break;
    case FQ_RUN_OVER:
        f->over += !l->over;
        l->over = true;
        break;
    default: break;
    }
}

static void turn(fleet *f, loader *l) {
    bool       message, fd;
    fq_arrival arrival;
    if (fq_dialer_wait(l->dialer, 0, -1, &message, &fd) != FQ_OK)
        stop("wait");
    if (fq_dialer_connections(l->dialer) != l->connections) {
        l->connections = fq_dialer_connections(l->dialer);
        say_hello(l);
    }
    while (message && fq_dialer_receive(l->dialer, &arrival) == FQ_OK)
        take_message(f, l, &arrival);
    double now = fq_now();
    if (!l->joined && l->connections > 0 && now - l->hello > 3.0)
        say_hello(l);
    if (l->joined && !l->over && now - l->beat > f->heartbeat_ms / 1000.0) {
        fq_message beat = {.kind = FQ_HEARTBEAT};
        (void)send_message(l, &beat, (fq_cbytes){0});
        l->beat = now;
    }
}

static int run(size_t n, const char *file, const char *endpoint, const char *server_key) {
    fleet           f = {0};
    fq_dialer_room *room;
    loader         *loaders = calloc(n, sizeof *loaders);
    struct rlimit   files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (loaders == NULL || fq_public_key_parse(server_key, &f.server) != FQ_OK ||
        fq_arena_init(&f.message, FQ_MESSAGE_ARENA_BYTES) != FQ_OK ||
        fq_dialer_room_create(&room, 1, (int)n) != FQ_OK)
        stop("start");
    for (size_t i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%.4000s/%zu.key", file, i);
        const fq_dialer_options options = {.endpoint = endpoint,
                                           .server = &f.server,
                                           .retry_ms = 500,
                                           .retry_max_ms = 5000,
                                           .max_frame_bytes = FQ_MAX_HEAD_BYTES,
                                           .queue = 16,
                                           .room = room};
        if (fq_keypair_load(&loaders[i].keys, path) != FQ_OK)
            stop("key");
        fq_dialer_options own = options;
        own.keys = loaders[i].keys;
        if (fq_dialer_create(&loaders[i].dialer, &own) != FQ_OK)
            stop("dial");
    }
    double told = fq_now(), began = told;
    while (f.over < n) {
        for (size_t i = 0; i < n; i++)
            turn(&f, &loaders[i]);
        if (fq_now() - told > 1.0) {
            size_t connected = 0, joined = 0;
            for (size_t i = 0; i < n; i++) {
                connected += fq_dialer_now(loaders[i].dialer) == FQ_DIALER_CONNECTED;
                joined += loaders[i].joined;
            }
            told = fq_now();
            fprintf(stderr,
                    "seconds=%.1f connected=%zu joined=%zu joins=%" PRIu64 " accepted=%" PRIu64
                    " refused=%" PRIu64 " mib_sent=%.1f over=%" PRIu64 "\n",
                    told - began, connected, joined, f.joins, f.accepted, f.refused,
                    (double)f.sent * 0x1p-20, f.over);
            if (f.over > 0 && connected < n / 100)
                break; /* the coordinator has gone */
        }
        nap();
    }
    _exit(0); /* thousands of sockets need not be taken down one by one */
}

static int make_keys(size_t n, const char *folder) {
    for (size_t i = 0; i < n; i++) {
        fq_keypair *keys;
        char        path[4096], text[FQ_KEY_TEXT];
        snprintf(path, sizeof path, "%.4000s/%zu.key", folder, i);
        if (fq_keypair_create(&keys) != FQ_OK || fq_keypair_save(keys, path) != FQ_OK)
            stop("keys");
        fq_public_key_text(fq_keypair_public(keys), text);
        printf("load-%zu %s active\n", i, text);
        fq_keypair_destroy(&keys);
    }
    return 0;
}

int main(int argc, char **argv) {
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc == 4 && strcmp(argv[1], "keys") == 0 && n > 0)
        return make_keys(n, argv[3]);
    if (argc == 6 && strcmp(argv[1], "run") == 0 && n > 0)
        return run(n, argv[3], argv[4], argv[5]);
    fprintf(stderr, "usage: fedq-load keys N FOLDER | run N FOLDER tcp://HOST:PORT SERVER-KEY\n");
    return 2;
}

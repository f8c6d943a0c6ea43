/* A registered client that does not do what it should: it joins, takes its plans, and commits the
 * same offence in every round. Where an offence is not an update, it then says that its training
 * diverged, so that a round does not wait for it.
 *
 *   hostile_client HOME CLIENT OFFENCE
 *
 * HOME is of `fedq-client init`; CLIENT the one that it stands for. Ends when the run is over.
 */
#include "base/file.h"
#include "client/home.h"
#include "experiment/experiment.h"
#include "newer.h"
#include "train/client_turn.h"
#include "wire/codec.h"
#include "wire/messages.h"
#include "wire/socket.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum offence {
    NONE, /* an honest client whose training diverges */
    ONCE, /* an update of zeros in the first round it is asked, then as NONE */
    NOT_A_NUMBER,
    INFINITE,
    HUGE_VALUES, /* 1e30 */
    SHAPE,       /* one value too few */
    DIGEST,      /* made for another model */
    EXAMPLES,    /* claims a million times what it has */
    OTHER,       /* says inside that it is another client's */
    REPLAY,      /* an update of zeros, and its sealed bytes again in all later rounds */
    TRUNCATED,   /* the sealed bytes but for the last ten */
    BEYOND,      /* a chunk that goes on after the end */
    UNASKED,     /* a chunk of another peer's client */
    FOREIGN,     /* an offer for another peer's client */
    ORDER,       /* what only a coordinator may say */
    INSIST,      /* FOREIGN, a hundred times a second */
    FLOOD,       /* 10,000 frames of garbage a second */
    KNOCK,       /* FLOOD, without ever having joined */
    NEWER, /* honest, an update of zeros each round; one minor version newer: fields that we do not
              know in every message */
    MAJOR, /* of the next major version */
    SMALL, /* has a kilobyte of memory, it says */
    N_OFFENCES,
} offence;
static const char *const offence_names[] = {
    "none",     "once",   "nan",    "infinity",  "huge",   "shape",   "digest",
    "examples", "other",  "replay", "truncated", "beyond", "unasked", "foreign",
    "order",    "insist", "flood",  "knock",     "newer",  "major",   "small"};

typedef struct hostile {
    const char      *home;
    uint64_t         client;
    offence          offence;
    fq_client_config config;
    fq_public_key    server;
    fq_keypair      *keys;
    fq_dialer       *dialer;
    fq_arena         arena;
    fq_buffer        head;
    uint64_t         connections, frames;
    bool             joined, over;
    unsigned char    run[FQ_RUN_ID_BYTES];
    fq_experiment   *experiment;
    fq_document     *document;
    fq_setup         setup;
    uint32_t         next_round; /* the first that it has not been asked for */
    fq_update_part   part;       /* of the offer at hand */
    fq_buffer        sealed;
} hostile;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool say(hostile *h, const fq_message *message, fq_cbytes body) {
    h->head.size = 0;
    return fq_encode_message(message, &h->head) == FQ_OK &&
           (h->offence != NEWER || test_make_newer(&h->head) == FQ_OK) &&
           fq_dialer_send(h->dialer, (fq_cbytes){h->head.data, h->head.size}, body) == FQ_OK;
}

static void say_hello(hostile *h) {
    fq_hosted  hosted = {.client = h->client, .examples = 1};
    fq_message hello = {.kind = FQ_HELLO,
                        .of.hello = {.major = FQ_WIRE_MAJOR + (h->offence == MAJOR),
                                     .minor = FQ_WIRE_MINOR + (h->offence == NEWER),
                                     .software = "hostile",
                                     .memory_bytes = h->offence == SMALL ? 1024 : 0,
                                     .simulation = true,
                                     .n_hosted = 1,
                                     .hosted = &hosted}};
    (void)say(h, &hello, (fq_cbytes){0});
}

static fq_status take_welcome(hostile *h, const fq_welcome *welcome) {
    h->joined = true;
    printf("welcome minor=%" PRIu32 "\n", welcome->minor);
    memcpy(h->run, welcome->run, sizeof h->run);
    if (h->experiment != NULL)
        return FQ_OK;
    h->experiment = malloc(sizeof *h->experiment);
    if (h->experiment == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for settings");
    FQ_TRY(fq_document_parse(&h->document, "settings", welcome->settings));
    FQ_TRY(fq_experiment_load(h->document, h->experiment));
    return fq_setup_create(h->experiment, &h->setup);
}

/* ---- updates ---- */
static float value_of(offence kind) {
    switch (kind) {
    case NOT_A_NUMBER: return NAN;
    case INFINITE: return INFINITY;
    case HUGE_VALUES: return 1e30F;
    default: return 0.0F;
    }
}

/* A float32 body that honest code would not make. */
static fq_status make_update(const hostile *h, const fq_wire_plan *plan, fq_buffer *plain) {
    const fq_recipe *recipe = &h->experiment->recipe;
    size_t           n = fq_model_size(h->setup.model) - (h->offence == SHAPE);
    float           *values = calloc(n, sizeof *values);
    if (values == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for an update");
    for (size_t i = 0; i < n; i++)
        values[i] = value_of(h->offence);
    fq_update update = {.client = h->client + (h->offence == OTHER),
                        .round = plan->round,
                        .n_examples = fq_partition_shard(h->setup.partition, h->client).n,
                        .n_steps = 1,
                        .n_vectors = recipe->algorithm->n_up};
    if (h->offence == EXAMPLES)
        update.n_examples *= 1000000;
    for (size_t v = 0; v < update.n_vectors; v++)
        update.vectors[v] =
            (fq_packed){.quantizer = fq_quantizer_find("float32"),
                        .bits = 32,
                        .n = n,
                        .body_bytes = n * sizeof *values,
                        .body = {(const unsigned char *)values, n * sizeof *values}};
    fq_status status = fq_encode_update(&update, recipe->upload.block, plain);
    free(values);
    return status;
}

static fq_status seal_update(hostile *h, const fq_wire_plan *plan) {
    fq_buffer  plain = {0};
    fq_binding binding = {.round = plan->round, .client = h->client};
    memcpy(binding.run, h->run, sizeof binding.run);
    memcpy(binding.model, plan->model, sizeof binding.model);
    if (h->offence == DIGEST)
        binding.model[0] ^= 1;
    fq_status status = make_update(h, plan, &plain);
    h->sealed.size = 0;
    if (status == FQ_OK)
        status =
            fq_seal(h->keys, &h->server, &binding, (fq_cbytes){plain.data, plain.size}, &h->sealed);
    fq_buffer_fini(&plain);
    if (h->offence == TRUNCATED)
        h->sealed.size -= 10;
    return status;
}

static void offer(hostile *h, uint32_t round, uint64_t client, uint64_t total) {
    h->part = (fq_update_part){.round = round, .client = client, .total = total};
    if (h->sealed.size > 0)
        memcpy(h->part.nonce, h->sealed.data, FQ_SEAL_NONCE_BYTES);
    (void)say(h, &(fq_message){.kind = FQ_UPDATE_OFFER, .of.update_part = h->part}, (fq_cbytes){0});
}

static void send_chunk(hostile *h, fq_update_part part, fq_cbytes body) {
    (void)say(h, &(fq_message){.kind = FQ_UPDATE_CHUNK, .of.update_part = part}, body);
}

static void offend(hostile *h, uint32_t round) {
    static const unsigned char something[64] = {1, 2, 3};
    const fq_cbytes            body = {something, sizeof something};
    fq_update_part             foreign = {.round = round, .total = 1000};
    switch (h->offence) {
    case UNASKED: send_chunk(h, foreign, body); break;
    case INSIST:
    case FOREIGN: offer(h, round, 0, 1000); break;
    case ORDER: (void)say(h, &(fq_message){.kind = FQ_ROUND_OVER}, (fq_cbytes){0}); break;
    default: break;
    }
}

static fq_status take_plan(hostile *h, const fq_wire_plan *plan) {
    bool updates = (h->offence >= NOT_A_NUMBER && h->offence <= BEYOND) || h->offence == ONCE ||
                   h->offence == NEWER;
    bool first = h->next_round == 0;
    if (plan->round < h->next_round)
        return FQ_OK; /* the same plan again */
    h->next_round = plan->round + 1;
    if (updates && (first || (h->offence != REPLAY && h->offence != ONCE)))
        FQ_TRY(seal_update(h, plan));
    offend(h, plan->round);
    offer(h, plan->round, h->client, updates && (first || h->offence != ONCE) ? h->sealed.size : 0);
    return FQ_OK;
}

static void take_want(hostile *h, const fq_update_part *part) {
    if (part->client != h->client || part->offset > h->sealed.size || part->total != h->part.total)
        return;
    fq_update_part chunk = h->part;
    chunk.offset = part->offset;
    size_t left = h->sealed.size - (size_t)part->offset;
    size_t size = left < FQ_CHUNK_BYTES ? left : FQ_CHUNK_BYTES;
    if (h->offence == BEYOND) {
        chunk.offset = h->sealed.size - 1;
        send_chunk(h, chunk, (fq_cbytes){h->sealed.data, size});
        offer(h, chunk.round, h->client, 0);
    } else {
        send_chunk(h, chunk, (fq_cbytes){h->sealed.data + part->offset, size});
    }
}

/* ---- the loop ---- */
static fq_status take_message(hostile *h, const fq_arrival *arrival) {
    fq_message message;
    fq_arena_reset(&h->arena);
    FQ_TRY(fq_decode_message(arrival->head, &h->arena, &message));
    switch (message.kind) {
    case FQ_WELCOME: return take_welcome(h, &message.of.welcome);
    case FQ_PLAN: return take_plan(h, &message.of.plan);
    case FQ_UPDATE_WANT: take_want(h, &message.of.update_part); break;
    case FQ_REFUSAL:
        printf("refusal reason=%s\n", fq_reason_name(message.of.refusal.reason));
        if (message.of.refusal.reason == FQ_REASON_NOT_JOINED && h->offence != KNOCK)
            say_hello(h);
        break;
    case FQ_RECEIPT:
        printf("receipt round=%" PRIu32 " reason=%s\n", message.of.receipt.round + 1,
               fq_reason_name(message.of.receipt.reason));
        break;
    case FQ_RUN_OVER: h->over = true; break;
    default: break;
    }
    return FQ_OK;
}

/* As many frames as are due; what the socket does not take is not made up for. */
static void flood(hostile *h, double since) {
    static const unsigned char garbage[100] = {0xff, 0x01, 0x80};
    uint64_t                   due = (uint64_t)(10000.0 * (seconds() - since));
    for (; h->frames < due; h->frames++)
        if (fq_dialer_send(h->dialer, (fq_cbytes){garbage, sizeof garbage}, (fq_cbytes){0}) !=
            FQ_OK)
            break;
    h->frames = due;
}

static fq_status loop(hostile *h) {
    double since = seconds(), beat = 0.0;
    while (!h->over) {
        bool       message, unused;
        fq_arrival arrival;
        FQ_TRY(fq_dialer_wait(h->dialer, 5, -1, &message, &unused));
        if (fq_dialer_connections(h->dialer) != h->connections) {
            h->connections = fq_dialer_connections(h->dialer);
            printf("connected\n");
            if (h->offence != KNOCK)
                say_hello(h);
        }
        while (message && fq_dialer_receive(h->dialer, &arrival) == FQ_OK)
            FQ_TRY(take_message(h, &arrival));
        bool connected = fq_dialer_now(h->dialer) == FQ_DIALER_CONNECTED;
        if (connected && (h->offence == KNOCK || (h->offence == FLOOD && h->joined)))
            flood(h, since);
        if (connected && h->joined && seconds() - beat > (h->offence == INSIST ? 0.01 : 0.2)) {
            beat = seconds();
            if (h->offence == INSIST)
                offend(h, h->next_round);
            (void)say(h, &(fq_message){.kind = FQ_HEARTBEAT}, (fq_cbytes){0});
        }
        fflush(stdout);
    }
    return FQ_OK;
}

static fq_status start(hostile *h) {
    char             path[PATH_MAX];
    fq_data_settings data;
    bool             has_data;
    FQ_TRY(fq_home_read(h->home, &h->config, &data, &has_data, &h->server));
    fq_path_join(h->home, "client.key", path);
    FQ_TRY(fq_keypair_load(&h->keys, path));
    FQ_TRY(fq_arena_init(&h->arena, FQ_MESSAGE_ARENA_BYTES));
    const fq_dialer_options dialer = {.endpoint = h->config.server,
                                      .server = &h->server,
                                      .keys = h->keys,
                                      .retry_ms = 200,
                                      .retry_max_ms = 1000,
                                      .max_frame_bytes = FQ_MAX_HEAD_BYTES,
                                      .queue = 1000};
    return fq_dialer_create(&h->dialer, &dialer);
}

int main(int argc, char **argv) {
    hostile h = {0};
    while (argc == 4 && h.offence < N_OFFENCES && strcmp(offence_names[h.offence], argv[3]) != 0)
        h.offence++;
    if (argc != 4 || h.offence == N_OFFENCES) {
        fprintf(stderr, "usage: hostile_client HOME CLIENT OFFENCE\n");
        return 2;
    }
    h.home = argv[1];
    h.client = strtoull(argv[2], NULL, 10);
    fq_status status = start(&h);
    if (status == FQ_OK)
        status = loop(&h);
    if (status != FQ_OK)
        fprintf(stderr, "hostile_client: %s\n", fq_status_text());
    fq_dialer_destroy(&h.dialer);
    fq_keypair_destroy(&h.keys);
    fq_setup_fini(&h.setup);
    fq_document_destroy(&h.document);
    free(h.experiment);
    fq_buffer_fini(&h.sealed);
    fq_buffer_fini(&h.head);
    fq_arena_fini(&h.arena);
    return status == FQ_OK ? 0 : 1;
}

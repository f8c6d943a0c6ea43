#include "coordinator.h"

#include "newer.h"
#include "suite.h"
#include "wire/codec.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static void must(fq_status status) {
    if (status == FQ_OK)
        return;
    fprintf(stderr, "scripted coordinator: %s\n", fq_status_text());
    exit(1);
}

static bool admit(void *context, const fq_public_key *key, const char *address) {
    (void)address;
    return fq_public_key_equal(key, &((coordinator *)context)->client);
}

void coordinator_begin(coordinator *c, const char *settings) {
    *c = (coordinator){0};
    fq_tiny_create(&c->tiny, settings);
    must(fq_experiment_write(c->tiny.experiment, &c->settings));
    must(fq_keypair_create(&c->keys));
    must(fq_arena_init(&c->arena, FQ_MESSAGE_ARENA_BYTES));
    const fq_listener_options options = {.endpoint = "tcp://127.0.0.1:*",
                                         .keys = c->keys,
                                         .admit = admit,
                                         .context = c,
                                         .io_threads = 1,
                                         .max_frame_bytes = FQ_MAX_HEAD_BYTES,
                                         .queue = 256};
    must(fq_listener_create(&c->listener, &options));
    fq_plan plan; /* opened once, for the model as it travels */
    must(fq_round_open(c->tiny.server, (const uint64_t[]){0, 1}, 2, 1000, &plan));
}

void coordinator_end(coordinator *c) {
    for (size_t k = 0; k < MOST_CLIENTS; k++)
        fq_buffer_fini(&c->arriving[k]);
    fq_listener_destroy(&c->listener);
    fq_keypair_destroy(&c->keys);
    fq_buffer_fini(&c->settings);
    fq_buffer_fini(&c->head);
    fq_arena_fini(&c->arena);
    fq_tiny_destroy(&c->tiny);
}

void coordinator_restart(coordinator *c, mood how, uint32_t rounds, uint64_t n_clients) {
    c->mood = how;
    c->rounds = rounds;
    c->round = 0;
    c->n_clients = n_clients;
    c->run[0]++;
    c->hellos = c->offers = c->changed = c->requests = c->unsealed = 0;
    memset(c->taken, 0, sizeof c->taken);
    memset(c->kept_back, 0, sizeof c->kept_back);
    memset(c->digest, 0, sizeof c->digest);
}

static void model_of(const coordinator *c, uint32_t round, fq_buffer *out) {
    size_t           n;
    const fq_packed *download = fq_round_download(c->tiny.server, &n);
    const fq_levels  levels = {0};
    must(fq_encode_model(round, &levels, &download[0], &download[1], n - 1,
                         c->tiny.experiment->server.download.block, out));
}

static void digest_of(const coordinator *c, uint32_t round, unsigned char out[FQ_DIGEST_BYTES],
                      uint64_t *bytes) {
    fq_buffer model = {0};
    model_of(c, round, &model);
    fq_digest((fq_cbytes){model.data, model.size}, out);
    *bytes = model.size;
    fq_buffer_fini(&model);
}

/* ---- sending ---- */
static void say(coordinator *c, const fq_route *route, const fq_message *message, fq_shared *body) {
    c->head.size = 0;
    must(fq_encode_message(message, &c->head));
    if (c->mood == NEWER)
        must(test_make_newer(&c->head));
    (void)!fq_listener_send(c->listener, route, (fq_cbytes){c->head.data, c->head.size}, body);
}

static void welcome(coordinator *c, const fq_route *route) {
    const fq_dataset *set = c->tiny.setup.dataset;
    fq_shape          shape = fq_dataset_shape(set);
    fq_message        message = {.kind = FQ_WELCOME,
                                 .of.welcome = {.settings = {c->settings.data, c->settings.size},
                                                .channels = (uint32_t)shape.c,
                                                .height = (uint32_t)shape.h,
                                                .width = (uint32_t)shape.w,
                                                .classes = fq_dataset_classes(set),
                                                .heartbeat_ms = 200,
                                                .window = 2}};
    fq_welcome       *w = &message.of.welcome;
    memcpy(w->run, c->run, sizeof w->run);
    say(c, route, &message, NULL);
}

static void plan(coordinator *c, const fq_route *route, uint32_t round) {
    uint64_t   clients[MOST_CLIENTS];
    fq_message message = {.kind = FQ_PLAN,
                          .of.plan = {.round = round, .clients = clients, .time_left_ms = 60000}};
    for (uint64_t k = 0; k < c->n_clients; k++)
        if (!c->taken[round][k])
            clients[message.of.plan.n_clients++] = k;
    digest_of(c, round, message.of.plan.model, &message.of.plan.model_bytes);
    say(c, route, &message, NULL);
}

static void receipt(coordinator *c, const fq_route *route, const fq_update_part *of,
                    fq_reason reason) {
    fq_message message = {
        .kind = FQ_RECEIPT,
        .of.receipt = {.round = of->round, .client = of->client, .reason = reason}};
    snprintf(message.of.receipt.text, sizeof message.of.receipt.text, "a \"text\"\n with lines");
    say(c, route, &message, NULL);
}

static void refuse(coordinator *c, const fq_route *route, fq_reason reason) {
    fq_message message = {.kind = FQ_REFUSAL, .of.refusal = {.reason = reason, .text = "no more"}};
    say(c, route, &message, NULL);
}

static void round_over(coordinator *c, const fq_route *route, uint32_t round) {
    fq_message message = {.kind = FQ_ROUND_OVER, .of.round_over = round};
    say(c, route, &message, NULL);
}

static void run_over(coordinator *c, const fq_route *route) {
    fq_message message = {.kind = FQ_RUN_OVER, .of.run_over = {.rounds = c->rounds}};
    memset(message.of.run_over.hash, c->mood == ROGUE ? '\n' : 'a', 64);
    say(c, route, &message, NULL);
}

/* None of this may end the client, or change what it sends. */
static void nonsense(coordinator *c, const fq_route *route) {
    static unsigned char garbage[] = "\xff\xff not a message";
    uint64_t             far[] = {0, 1000000}, first[] = {0};
    fq_message           odd_plan = {.kind = FQ_PLAN,
                                     .of.plan = {.round = c->round, .clients = far, .n_clients = 2}};
    digest_of(c, c->round, odd_plan.of.plan.model, &odd_plan.of.plan.model_bytes);
    say(c, route, &odd_plan, NULL); /* a client that is not the run's */
    odd_plan.of.plan.clients = first;
    odd_plan.of.plan.n_clients = 1;
    odd_plan.of.plan.model_bytes = UINT64_MAX / 2;
    say(c, route, &odd_plan, NULL); /* a model that no memory holds */
    odd_plan.of.plan.model_bytes = 0;
    say(c, route, &odd_plan, NULL);
    for (uint32_t round = 0; round < 3; round++) {
        fq_update_part of = {.round = round, .client = 1u << round, .total = 1u << 30};
        fq_message     want = {.kind = FQ_UPDATE_WANT, .of.update_part = of};
        fq_message     chunk = {.kind = FQ_MODEL_CHUNK,
                                .of.model_part = {.round = round, .offset = UINT64_MAX - 5}};
        say(c, route, &want, NULL);
        say(c, route, &chunk, NULL);
        if (round > c->round)
            receipt(c, route, &of, FQ_REASON_NONE);
        round_over(c, route, 1000 + round);
    }
    fq_message echo = {.kind = FQ_UPDATE_OFFER}; /* what only a client says */
    say(c, route, &echo, NULL);
    (void)!fq_listener_send(c->listener, route, (fq_cbytes){garbage, sizeof garbage}, NULL);
}

static void go_on(coordinator *c, const fq_route *route) {
    if (c->mood == ROGUE)
        nonsense(c, route);
    if (c->mood == NEWER)
        (void)!fq_listener_send(c->listener, route,
                                (fq_cbytes){test_newer_kind, sizeof test_newer_kind}, NULL);
    if (c->round == c->rounds)
        run_over(c, route);
    else
        plan(c, route, c->round);
}

/* ---- receiving ---- */
static void take_request(coordinator *c, const fq_route *route, const fq_model_part *part) {
    fq_buffer  model = {0}, body = {0};
    fq_shared *shared;
    c->requests++;
    model_of(c, part->round, &model);
    size_t size = part->offset < model.size ? model.size - (size_t)part->offset : 0;
    size = size < FQ_CHUNK_BYTES ? size : FQ_CHUNK_BYTES;
    fq_put_bytes(&body, model.data + (size > 0 ? part->offset : 0), size);
    must(fq_shared_create(&shared, &body));
    fq_message message = {.kind = FQ_MODEL_CHUNK, .of.model_part = *part};
    message.of.model_part.bytes = (uint32_t)size;
    say(c, route, &message, shared);
    fq_shared_release(&shared);
    fq_buffer_fini(&model);
}

static void take_offer(coordinator *c, const fq_route *route, const fq_update_part *part) {
    c->offers++;
    if (c->mood == HASTY && c->round == 0) {
        round_over(c, route, 0);
        c->round = 1;
        go_on(c, route);
    }
    if (c->mood == UNIMPRESSED && part->round == 0) {
        receipt(c, route, part, FQ_REASON_TOO_LARGE);
        c->taken[0][part->client] = true;
        c->round = 1;
        go_on(c, route);
        return;
    }
    if (c->taken[part->round][part->client] || part->round != c->round) {
        receipt(c, route, part,
                c->taken[part->round][part->client] ? FQ_REASON_NONE : FQ_REASON_LATE);
        return;
    }
    c->arriving[part->client].size = 0;
    fq_message want = {.kind = FQ_UPDATE_WANT, .of.update_part = *part};
    say(c, route, &want, NULL);
}

static void note(coordinator *c, const fq_update_part *part, fq_cbytes plain) {
    static const unsigned char none[FQ_DIGEST_BYTES];
    unsigned char             *kept = c->digest[part->round][part->client];
    unsigned char              digest[FQ_DIGEST_BYTES];
    fq_digest(plain, digest);
    c->changed += memcmp(kept, none, sizeof none) != 0 && memcmp(kept, digest, sizeof digest) != 0;
    memcpy(kept, digest, sizeof digest);
}

static bool is_round_full(const coordinator *c) {
    for (uint64_t k = 0; k < c->n_clients; k++)
        if (!c->taken[c->round][k])
            return false;
    return true;
}

static void take_update(coordinator *c, const fq_route *route, const fq_update_part *part) {
    fq_buffer     *sealed = &c->arriving[part->client];
    unsigned char *plain = malloc(sealed->size);
    fq_binding     binding = {.round = part->round, .client = part->client};
    uint64_t       bytes;
    memcpy(binding.run, c->run, sizeof binding.run);
    digest_of(c, part->round, binding.model, &bytes);
    if (plain == NULL || fq_unseal(c->keys, &c->client, &binding,
                                   (fq_cbytes){sealed->data, sealed->size}, plain) != FQ_OK) {
        c->unsealed++;
        receipt(c, route, part, FQ_REASON_UNSEALED);
        free(plain);
        return;
    }
    note(c, part, (fq_cbytes){plain, sealed->size - FQ_SEAL_OVERHEAD});
    free(plain);
    c->taken[part->round][part->client] = true;
    bool lost = c->mood == FORGETFUL && !c->kept_back[part->round][part->client];
    c->kept_back[part->round][part->client] = true;
    if (c->mood == REVOKED)
        refuse(c, route, FQ_REASON_REVOKED);
    else if (!lost)
        receipt(c, route, part, FQ_REASON_NONE);
    c->deaf = lost;
    if (is_round_full(c)) {
        c->round++;
        if (!lost)
            go_on(c, route);
    }
}

static void take_chunk(coordinator *c, const fq_route *route, const fq_update_part *part,
                       fq_cbytes body) {
    fq_buffer *sealed = &c->arriving[part->client];
    if (part->round != c->round || c->taken[part->round][part->client] ||
        part->offset != sealed->size)
        return;
    fq_put_bytes(sealed, body.data, body.size);
    if (sealed->size == part->total) {
        take_update(c, route, part);
        return;
    }
    fq_message want = {.kind = FQ_UPDATE_WANT, .of.update_part = *part};
    want.of.update_part.offset = sealed->size;
    say(c, route, &want, NULL);
}

static void take(coordinator *c, const fq_arrival *arrival) {
    fq_message            message;
    const fq_update_part *part = &message.of.update_part;
    fq_arena_reset(&c->arena);
    must(fq_decode_message(arrival->head, &c->arena, &message));
    bool about_update = message.kind == FQ_UPDATE_OFFER || message.kind == FQ_UPDATE_CHUNK;
    if (about_update && (part->round >= MOST_ROUNDS || part->client >= MOST_CLIENTS)) {
        c->unsealed++;
        return;
    }
    if (c->deaf && message.kind != FQ_HELLO) {
        refuse(c, &arrival->route, FQ_REASON_NOT_JOINED);
        return;
    }
    c->deaf = false;
    switch (message.kind) {
    case FQ_HELLO:
        c->hellos++;
        if (c->mood == NOT_YOURS || c->mood == OTHER) {
            refuse(c, &arrival->route, c->mood == OTHER ? FQ_REASON_VERSION : FQ_REASON_NOT_YOURS);
        } else {
            welcome(c, &arrival->route);
            go_on(c, &arrival->route);
        }
        break;
    case FQ_MODEL_REQUEST: take_request(c, &arrival->route, &message.of.model_part); break;
    case FQ_UPDATE_OFFER: take_offer(c, &arrival->route, part); break;
    case FQ_UPDATE_CHUNK: take_chunk(c, &arrival->route, part, arrival->body); break;
    default: break; /* heartbeats, goodbyes */
    }
}

int coordinator_serve(coordinator *c, pid_t client) {
    enum { STEP_MS = 10, PATIENCE_S = 20 };
    time_t begin = time(NULL);
    int    status;
    while (waitpid(client, &status, WNOHANG) == 0) {
        bool       message, unused;
        fq_arrival arrival;
        must(fq_listener_wait(c->listener, STEP_MS, -1, &message, &unused));
        while (fq_listener_receive(c->listener, &arrival) == FQ_OK)
            take(c, &arrival);
        if (difftime(time(NULL), begin) > PATIENCE_S) {
            kill(client, SIGKILL);
            waitpid(client, &status, 0);
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#include "server/service.h"

#include "base/file.h"
#include "program/program.h"
#include "server/service_impl.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int64_t TICK_MS = 20, BOARD_MS = 500, ROSTER_MS = 200;
enum { QUEUE = 64, MESSAGES_A_TURN = 256 };

int64_t service_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void service_fail(service *s, fq_status status) {
    if (s->status != FQ_OK)
        return;
    s->status = status;
    snprintf(s->reason, sizeof s->reason, "%s", fq_status_text());
}

/* ---- who may connect ---- */
static void load_peers(service *s) {
    char quoted[FQ_LOG_QUOTED];
    if (peers_load(s) != FQ_OK)
        fq_log_write(s->options->log, FQ_LOG_ERROR, "clients_unreadable", "text=%s",
                     fq_log_quote(fq_status_text(), quoted));
}

static bool admit(void *context, const fq_public_key *key, const char *address) {
    service *s = context;
    load_peers(s);
    peer *p = peer_of_key(s, key);
    if (p != NULL && !p->entry.revoked && service_now_ms() >= p->banned_until_ms)
        return true;
    char text[FQ_KEY_TEXT];
    fq_public_key_text(key, text);
    s->strangers++;
    const char *why = p == NULL ? "unknown" : (p->entry.revoked ? "revoked" : "banned");
    fq_log_write(s->options->log, FQ_LOG_WARN, "not_admitted", "key=%s address=%s why=%s", text,
                 address, why);
    fq_log_write(s->options->audit, FQ_LOG_WARN, "not_admitted", "key=%s address=%s why=%s", text,
                 address, why);
    return false;
}

/* ---- messages ---- */
static void dispatch(service *s, peer *p, const fq_arrival *arrival, const fq_message *message) {
    switch (message->kind) {
    case FQ_HELLO: peer_hello(s, p, arrival, &message->of.hello); return;
    case FQ_HEARTBEAT:
        peer_send(s, p, message, NULL);
        if (s->phase == TRAINING && p->planned != s->plan.round + 1)
            send_plan(s, p);
        return;
    case FQ_MODEL_REQUEST: model_request(s, p, &message->of.model_part); return;
    case FQ_UPDATE_OFFER: upload_offer(s, p, &message->of.update_part); return;
    case FQ_UPDATE_CHUNK: upload_chunk(s, p, &message->of.update_part, arrival->body); return;
    case FQ_BYE:
        p->joined = false;
        p->away = true;
        p->session.state = FQ_SESSION_NEW; /* it may say hello again */
        fq_log_write(s->options->log, FQ_LOG_INFO, "client_left", "client=%s", p->entry.name);
        return;
    default: peer_refuse(s, p, &arrival->route, FQ_REASON_ORDER, "not a client's message", 0);
    }
}

static void take_message(service *s, const fq_arrival *arrival) {
    peer      *p = peer_of_key(s, &arrival->sender);
    fq_message message;
    int64_t    now = service_now_ms();
    s->messages++;
    s->bytes_in += arrival->head.size + arrival->body.size;
    if (p == NULL || p->entry.revoked || now < p->banned_until_ms) {
        if (p == NULL || p->drop_ms == 0)
            fq_listener_drop(s->listener, arrival->connection);
        return;
    }
    p->bytes_in += arrival->head.size + arrival->body.size;
    p->connection = arrival->connection;
    fq_arena_reset(&s->arena);
    fq_status decoded = arrival->two_frames
                            ? fq_decode_message(arrival->head, &s->arena, &message)
                            : fq_fail(FQ_EPROTO, "a message has two frames, head and body");
    char      text[FQ_MAX_TEXT];
    snprintf(text, sizeof text, "%s", decoded == FQ_OK ? "" : fq_status_text());
    /* A hello begins a connection anew, whatever was before it. */
    bool hello = decoded == FQ_OK && message.kind == FQ_HELLO;
    if (hello || p->session.state == FQ_SESSION_LEFT)
        p->session.state = FQ_SESSION_NEW;
    bool known = hello || (p->joined && fq_route_equal(&p->route, &arrival->route));
    if (!known && decoded == FQ_OK) {
        peer_refuse(s, p, &arrival->route, FQ_REASON_NOT_JOINED, "say hello first", 0);
        p->route = p->route.size == 0 ? arrival->route : p->route;
    }
    fq_status legal = fq_session_take(&p->session, decoded == FQ_OK ? message.kind : 0, now);
    if (legal == FQ_ELIMIT) {
        p->route = arrival->route;
        peer_drop(s, p, FQ_REASON_FLOOD, "too many messages");
        return;
    }
    if (decoded != FQ_OK || (known && legal != FQ_OK)) {
        s->illegal++;
        peer_refuse(s, p, &arrival->route, decoded != FQ_OK ? FQ_REASON_MALFORMED : FQ_REASON_ORDER,
                    decoded != FQ_OK ? text : fq_status_text(), 0);
    } else if (known) {
        peer_heard(p);
        dispatch(s, p, arrival, &message);
    }
    if (p->strikes >= (uint64_t)s->config->max_refusals) {
        p->route = arrival->route;
        peer_drop(s, p, FQ_REASON_FLOOD, "too many refused messages");
    }
}

/* ---- the board ---- */
static fq_peer_state state_of(const service *s, const peer *p) {
    fq_peer_state state = FQ_PEER_JOINED;
    uint32_t      id = (uint32_t)(p - s->peers);
    if (p->entry.revoked)
        return FQ_PEER_REVOKED;
    if (!peer_is_here(p))
        return FQ_PEER_AWAY;
    for (size_t i = 0; i < s->n_seats; i++)
        if (s->seats[i].peer == id && s->seats[i].state != SEAT_JUDGED)
            return FQ_PEER_WORKING;
        else if (s->seats[i].peer == id)
            state = FQ_PEER_DONE;
    return state;
}

static void show_peer(const service *s, const peer *p, fq_board_peer *out) {
    *out = (fq_board_peer){.state = state_of(s, p),
                           .first_client = p->n_hosted > 0 ? p->hosted[0] : 0,
                           .n_clients = p->n_hosted,
                           .n_widths = p->n_widths,
                           .heard_ms = p->heard_ms < 0 ? -1 : service_now_ms() - p->heard_ms,
                           .accepted = p->accepted,
                           .refused = p->refused,
                           .bytes_in = p->bytes_in,
                           .bytes_out = p->bytes_out,
                           .cpu_s = 1e-3 * (double)p->cpu_ms,
                           .joules = 1e-3 * (double)p->millijoules};
    snprintf(out->name, sizeof out->name, "%s", p->entry.name);
    snprintf(out->software, sizeof out->software, "%s", p->software);
    fq_public_key_text(&p->entry.key, out->key);
    memcpy(out->widths, p->widths, sizeof out->widths);
    memcpy(out->refusals, p->refusals, sizeof out->refusals);
}

static const char *phase_name(const service *s) {
    static const char *const names[] = {"gathering", "training", "closing", "finished"};
    return s->paused ? "paused" : names[s->phase];
}

/* Kept, since the crew writes the figures while a round is closed. */
static void note_accuracy(service *s) {
    const fq_figure *figures;
    size_t           n = fq_run_figures(s->options->run, &figures);
    s->float_accuracy = s->low_accuracy = -1.0;
    s->low_bits = 32;
    for (size_t i = 0; i < n; i++) {
        if (figures[i].activation_bits != 32)
            continue;
        if (figures[i].weight_bits == 32)
            s->float_accuracy = figures[i].accuracy;
        if (figures[i].weight_bits <= s->low_bits) {
            s->low_bits = figures[i].weight_bits;
            s->low_accuracy = figures[i].accuracy;
        }
    }
}

/* For `fedq-server status`, also of a coordinator that is gone. */
static void write_status(service *s, const fq_board *board) {
    char      path[PATH_MAX];
    fq_buffer json = {0};
    fq_path_join(s->options->folder, "status.json", path);
    if (fq_board_json(board, &json) == FQ_OK)
        (void)!fq_file_replace(path, (fq_cbytes){json.data, json.size}, false);
    fq_buffer_fini(&json);
}

static void show(service *s) {
    const fq_experiment *e = s->experiment;
    fq_board             board = {.round = s->round,
                                  .rounds = (uint32_t)e->train.rounds,
                                  .asked = s->n_seats,
                                  .accepted = s->n_accepted,
                                  .refused = s->n_judged - s->n_accepted,
                                  .deadline_ms = s->phase == TRAINING ? s->deadline_ms - service_now_ms() : -1,
                                  .uptime_s = (double)(service_now_ms() - s->began_ms) / 1000.0,
                                  .loss = s->loss,
                                  .bytes_in = s->bytes_in,
                                  .bytes_out = s->bytes_out,
                                  .messages = s->messages,
                                  .illegal = s->illegal,
                                  .strangers = s->strangers,
                                  .n_peers = s->n_peers};
    snprintf(board.name, sizeof board.name, "%.63s", e->head.name);
    snprintf(board.phase, sizeof board.phase, "%s", phase_name(s));
    snprintf(board.note, sizeof board.note, "%s", s->paused ? s->why_paused : "");
    snprintf(board.hash, sizeof board.hash, "%s", s->result->hash);
    snprintf(board.page, sizeof board.page, "%s", s->options->page);
    memcpy(board.refusals, s->refusals, sizeof board.refusals);
    if (s->rounds_done > 0)
        board.seconds_per_round = s->seconds_sum / s->rounds_done;
    if (s->phase != CLOSING)
        note_accuracy(s);
    board.float_accuracy = s->float_accuracy;
    board.low_accuracy = s->low_accuracy;
    board.low_bits = s->low_bits;
    board.peers = calloc(s->n_peers == 0 ? 1 : s->n_peers, sizeof *board.peers);
    if (board.peers == NULL)
        return;
    for (size_t i = 0; i < s->n_peers; i++)
        show_peer(s, &s->peers[i], &board.peers[i]);
    (void)!fq_board_put(s->options->place, &board);
    write_status(s, &board);
    fq_board_fini(&board);
}

/* ---- start and end ---- */
static bool is_loopback(const char *listen) {
    static const char *const names[] = {"tcp://127.", "tcp://[::1]", "tcp://localhost:"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(listen, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Which clients counted in which round, from the database: answers to receipts that were lost. */
static fq_status remember(void *context, uint32_t round, const fq_client_row *client) {
    service *s = context;
    if (client->client < s->n_clients && strcmp(client->verdict, "accepted") == 0)
        s->last_accepted[client->client] = round;
    return FQ_OK;
}

static fq_status remember_receipts(service *s) {
    char      path[PATH_MAX];
    fq_store *store;
    fq_path_join(s->options->folder, "run.db", path);
    FQ_TRY(fq_store_open_read(&store, path));
    fq_status status = fq_store_each_client(store, remember, s);
    fq_status closed = fq_store_close(&store);
    return status == FQ_OK ? closed : status;
}

static fq_status prepare(service *s) {
    const fq_service_options *options = s->options;
    size_t                    seats = s->experiment->server.cohort;
    bool                      allowed = s->config->simulated == FQ_SIMULATED_YES ||
                   (s->config->simulated == FQ_SIMULATED_AUTO && is_loopback(s->config->listen));
    s->simulated = allowed && options->setup->partition != NULL; /* there is a split to stand for */
    s->n_clients = s->experiment->server.clients;
    s->server = fq_run_server(options->run);
    s->round = fq_server_round(s->server);
    s->loss = (double)NAN;
    s->owner = malloc(s->n_clients * sizeof *s->owner);
    s->examples = calloc(s->n_clients, sizeof *s->examples);
    s->last_accepted = calloc(s->n_clients, sizeof *s->last_accepted);
    s->given_up = calloc(s->n_clients, sizeof *s->given_up);
    s->seats = calloc(seats, sizeof *s->seats);
    s->rows = calloc(seats, sizeof *s->rows);
    if (s->owner == NULL || s->examples == NULL || s->last_accepted == NULL ||
        s->given_up == NULL || s->seats == NULL || s->rows == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %" PRIu64 " clients", s->n_clients);
    memset(s->owner, 0xff, s->n_clients * sizeof *s->owner);
    FQ_TRY(fq_run_id_read(options->folder, s->run));
    FQ_TRY(fq_experiment_write(s->experiment, &s->settings));
    FQ_TRY(fq_arena_init(&s->arena, FQ_MESSAGE_ARENA_BYTES));
    FQ_TRY(uploads_prepare(s));
    FQ_TRY(peers_load(s));
    FQ_TRY(remember_receipts(s));
    FQ_TRY(fq_journal_open(&s->journal, options->folder));
    FQ_TRY(fq_crew_create(&s->crew, options->workers));
    FQ_TRY(rounds_restore(s));
    const fq_listener_options listener = {.endpoint = s->config->listen,
                                          .keys = options->keys,
                                          .admit = admit,
                                          .context = s,
                                          .io_threads = (int)s->config->io_threads,
                                          .max_frame_bytes = FQ_MAX_HEAD_BYTES,
                                          .queue = QUEUE};
    FQ_TRY(fq_listener_create(&s->listener, &listener));
    fq_log_write(options->log, FQ_LOG_INFO, "listening",
                 "endpoint=%s registered=%zu clients=%" PRIu64 " simulated=%d round=%" PRIu32,
                 fq_listener_endpoint(s->listener), s->n_peers, s->n_clients, s->simulated,
                 s->round);
    return FQ_OK;
}

/* Jobs that have begun are ended and handed back, so that what they hold is freed. */
static void wait_for_crew(service *s) {
    while (s->crew != NULL && fq_crew_busy(s->crew) > 0) {
        struct pollfd ready = {.fd = fq_crew_descriptor(s->crew), .events = POLLIN};
        (void)poll(&ready, 1, 100);
        fq_crew_finish(s->crew);
    }
}

static void release(service *s) {
    wait_for_crew(s);
    fq_crew_destroy(&s->crew);
    models_forget(s);
    uploads_forget(s);
    uploads_free(s);
    fq_listener_destroy(&s->listener);
    fq_journal_close(&s->journal);
    peers_free(s);
    free(s->owner);
    free(s->examples);
    free(s->last_accepted);
    free(s->given_up);
    free(s->seats);
    free(s->rows);
    fq_buffer_fini(&s->settings);
    fq_buffer_fini(&s->head);
    fq_arena_fini(&s->arena);
}

/* Everybody who was there has said goodbye, or enough time has gone by. */
static bool has_lingered(const service *s) {
    if (service_now_ms() >= s->linger_ms)
        return true;
    for (size_t i = 0; i < s->n_peers; i++)
        if (peer_is_here(&s->peers[i]))
            return false;
    return true;
}

static void drop_hoarders(service *s) {
    char address[FQ_ADDRESS_BYTES];
    while (fq_listener_drop_hoarder(s->listener, address)) {
        s->illegal++;
        fq_log_write(s->options->log, FQ_LOG_WARN, "connection_dropped",
                     "address=%s text=\"a message without an end\"", address);
        fq_log_write(s->options->audit, FQ_LOG_WARN, "connection_dropped", "address=%s", address);
    }
}

static void tick(service *s) {
    int64_t now = service_now_ms();
    if (now - s->roster_ms >= ROSTER_MS) {
        s->roster_ms = now;
        load_peers(s);
        peers_tick(s);
        drop_hoarders(s);
    }
    rounds_tick(s);
    if (now - s->board_ms >= BOARD_MS) {
        s->board_ms = now;
        show(s);
    }
}

static fq_status loop(service *s) {
    int64_t next = 0;
    while (s->status == FQ_OK && !(s->phase == FINISHED && has_lingered(s))) {
        bool message, crew;
        FQ_TRY(
            fq_listener_wait(s->listener, TICK_MS, fq_crew_descriptor(s->crew), &message, &crew));
        if (crew)
            fq_crew_finish(s->crew);
        for (int i = 0; message && i < MESSAGES_A_TURN; i++) {
            fq_arrival arrival;
            if (fq_listener_receive(s->listener, &arrival) != FQ_OK)
                break;
            take_message(s, &arrival);
        }
        if (crew || service_now_ms() >= next) {
            tick(s);
            next = service_now_ms() + TICK_MS / 2;
        }
        if (fq_interrupted())
            return fq_fail(FQ_ESTATE, "interrupted in round %" PRIu32 " of %lld", s->round + 1,
                           (long long)s->experiment->train.rounds);
    }
    return s->status == FQ_OK ? FQ_OK : fq_fail(s->status, "%s", s->reason);
}

fq_status fq_service_run(const fq_service_options *options, fq_run_result *result) {
    service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a service");
    *result = (fq_run_result){0};
    s->options = options;
    s->config = options->config;
    s->experiment = options->experiment;
    s->result = result;
    s->began_ms = service_now_ms();
    s->float_accuracy = s->low_accuracy = -1.0;
    fq_status status = prepare(s);
    if (status == FQ_OK)
        status = loop(s);
    if (status == FQ_OK)
        show(s);
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", fq_status_text());
    release(s);
    free(s);
    return status == FQ_OK ? FQ_OK : fq_fail(status, "%s", reason);
}

#include "server/service_impl.h"
#include "train/client_turn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const int64_t DROP_MS = 200; /* for the refusal to leave before the connection is closed */

/* ---- the list ---- */
static int by_key(const void *a, const void *b, void *peers) {
    const peer *all = peers;
    return memcmp(&all[*(const uint32_t *)a].entry.key, &all[*(const uint32_t *)b].entry.key,
                  sizeof(fq_public_key));
}

peer *peer_of_key(service *s, const fq_public_key *key) {
    size_t low = 0, high = s->n_peers;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        peer  *p = &s->peers[s->by_key[middle]];
        int    order = memcmp(&p->entry.key, key, sizeof *key);
        if (order == 0)
            return p;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void audit(service *s, const char *event, const peer *p, const char *more) {
    char key[FQ_KEY_TEXT];
    fq_public_key_text(&p->entry.key, key);
    fq_log_write(s->options->audit, FQ_LOG_INFO, event, "name=%s key=%s %s", p->entry.name, key,
                 more);
}

/* What it trained goes to nobody, until somebody says hello for it. */
static void release_hosted(service *s, peer *p) {
    for (size_t i = 0; i < p->n_hosted; i++)
        if (s->owner[p->hosted[i]] == (uint32_t)(p - s->peers))
            s->owner[p->hosted[i]] = NOBODY;
    free(p->hosted);
    p->hosted = NULL;
    p->n_hosted = 0;
}

static void take_list(service *s, const fq_roster *roster) {
    for (size_t i = 0; i < roster->n; i++) {
        peer *p = &s->peers[i];
        bool  known = i < s->n_peers, revoked = roster->entries[i].revoked;
        if (known && !p->entry.revoked && revoked) {
            p->entry.revoked = true;
            audit(s, "revoked", p, "");
            fq_log_write(s->options->log, FQ_LOG_WARN, "client_revoked", "name=%s", p->entry.name);
            peer_drop(s, p, FQ_REASON_REVOKED, "revoked by the operator");
            for (size_t k = 0; k < p->n_hosted; k++)
                s->given_up[p->hosted[k]] = true; /* no round waits for it to come back */
            release_hosted(s, p);
        } else if (!known) {
            *p = (peer){.entry = roster->entries[i], .heard_ms = -1, .away = true, .able = true};
        }
    }
    s->n_peers = roster->n;
    for (size_t i = 0; i < roster->n; i++)
        s->by_key[i] = (uint32_t)i;
    if (roster->n > 1)
        qsort_r(s->by_key, roster->n, sizeof *s->by_key, by_key, s->peers);
}

fq_status peers_load(service *s) {
    uint64_t stamp = fq_roster_stamp(s->options->folder);
    if (stamp == s->roster_stamp)
        return FQ_OK;
    fq_roster roster;
    fq_status status = fq_roster_read(s->options->folder, &roster);
    if (status == FQ_OK && roster.n < s->n_peers)
        status = fq_fail(FQ_EPROTO, "clients.txt has lost clients: %zu were there, %zu are",
                         s->n_peers, roster.n);
    for (size_t i = 0; status == FQ_OK && i < s->n_peers; i++)
        if (!fq_public_key_equal(&roster.entries[i].key, &s->peers[i].entry.key))
            status =
                fq_fail(FQ_EPROTO, "clients.txt: client %s has another key or place than it had",
                        s->peers[i].entry.name);
    if (status == FQ_OK && roster.n > s->n_peers) {
        peer     *peers = realloc(s->peers, roster.n * sizeof *peers);
        uint32_t *order = peers == NULL ? NULL : realloc(s->by_key, roster.n * sizeof *order);
        s->peers = peers == NULL ? s->peers : peers;
        s->by_key = order == NULL ? s->by_key : order;
        if (order == NULL)
            status = fq_fail(FQ_ENOMEM, "no memory for %zu clients", roster.n);
    }
    if (status == FQ_OK)
        take_list(s, &roster);
    if (status == FQ_OK || status == FQ_EPROTO) /* a bad list is complained of once */
        s->roster_stamp = stamp;
    fq_roster_fini(&roster);
    return status;
}

void peers_free(service *s) {
    for (size_t i = 0; i < s->n_peers; i++)
        free(s->peers[i].hosted);
    free(s->peers);
    free(s->by_key);
}

/* ---- sending ---- */
static bool send_to(service *s, peer *p, const fq_route *route, const fq_message *message,
                    fq_shared *body) {
    s->head.size = 0;
    if (route->size == 0 || fq_encode_message(message, &s->head) != FQ_OK)
        return false;
    fq_cbytes head = {s->head.data, s->head.size};
    if (fq_listener_send(s->listener, route, head, body) != FQ_OK)
        return false;
    size_t bytes = head.size + (body == NULL ? 0 : fq_shared_bytes(body).size);
    p->bytes_out += bytes;
    s->bytes_out += bytes;
    return true;
}

bool peer_send(service *s, peer *p, const fq_message *message, fq_shared *body) {
    return send_to(s, p, &p->route, message, body);
}

void peer_count_refusal(service *s, peer *p, fq_reason reason) {
    p->refusals[reason]++;
    s->refusals[reason]++;
    p->refused++;
}

void peer_refuse(service *s, peer *p, const fq_route *route, fq_reason reason, const char *text,
                 uint32_t retry_ms) {
    fq_message message = {.kind = FQ_REFUSAL,
                          .of.refusal = {.reason = reason, .retry_ms = retry_ms}};
    snprintf(message.of.refusal.text, sizeof message.of.refusal.text, "%s", text);
    (void)send_to(s, p, route, &message, NULL);
    if (reason == FQ_REASON_BUSY || reason == FQ_REASON_NOT_JOINED)
        return; /* nobody's fault */
    peer_count_refusal(s, p, reason);
    p->strikes++;
    char quoted[FQ_LOG_QUOTED];
    fq_log_write(s->options->log, FQ_LOG_WARN, "refused", "client=%s reason=%s text=%s",
                 p->entry.name, fq_reason_name(reason), fq_log_quote(text, quoted));
    audit(s, "refused", p, fq_reason_name(reason));
}

/* Judge what it has been asked, so that the round does not wait for it. */
static void give_up_seats(service *s, const peer *p, fq_reason reason, const char *text) {
    for (size_t i = 0; i < s->n_seats; i++)
        if (s->seats[i].peer == (uint32_t)(p - s->peers) &&
            (s->seats[i].state == SEAT_ASKED || s->seats[i].state == SEAT_RECEIVING))
            seat_judge(s, &s->seats[i], reason, text);
}

void peer_drop(service *s, peer *p, fq_reason reason, const char *text) {
    int64_t ban_ms = (int64_t)(1000.0 * s->config->ban_s);
    give_up_seats(s, p, reason, text);
    if (p->route.size == 0 && p->connection == FQ_NO_CONNECTION)
        return; /* not here, or on its way out */
    peer_refuse(s, p, &p->route, reason, text, (uint32_t)ban_ms);
    p->drop_ms = service_now_ms() + DROP_MS;
    p->route.size = 0;
    p->joined = false;
    p->away = true;
    p->strikes = 0;
    p->session.state = FQ_SESSION_LEFT;
    p->banned_until_ms = service_now_ms() + ban_ms;
    fq_log_write(s->options->log, FQ_LOG_WARN, "client_dropped", "client=%s reason=%s",
                 p->entry.name, fq_reason_name(reason));
    audit(s, "dropped", p, fq_reason_name(reason));
}

/* ---- presence ---- */
bool peer_is_here(const peer *p) {
    return p->joined && !p->away && !p->entry.revoked;
}

void peer_heard(peer *p) {
    p->heard_ms = service_now_ms();
    p->away = false;
}

void peers_tick(service *s) {
    int64_t limit = (int64_t)(3000.0 * s->config->heartbeat_s), now = service_now_ms();
    for (size_t i = 0; i < s->n_peers; i++) {
        peer *p = &s->peers[i];
        if (p->drop_ms != 0 && now >= p->drop_ms) {
            fq_listener_drop(s->listener, p->connection);
            p->connection = FQ_NO_CONNECTION;
            p->drop_ms = 0;
        }
        if (p->joined && !p->away && now - p->heard_ms > limit) {
            p->away = true;
            fq_log_write(s->options->log, FQ_LOG_INFO, "client_away",
                         "client=%s silent_ms=%" PRId64, p->entry.name, now - p->heard_ms);
        }
    }
}

/* ---- hello ---- */
/* May this peer train client k? Another peer's client changes hands only if that one is away. */
static bool may_host(const service *s, const peer *p, uint64_t k) {
    if (k >= s->n_clients)
        return false;
    uint32_t owner = s->owner[k];
    return owner == NOBODY || owner == (uint32_t)(p - s->peers) || !peer_is_here(&s->peers[owner]);
}

/* FQ_REASON_NONE, or why not, with a text. */
static fq_reason judge_hello(const service *s, const peer *p, const fq_hello *hello, char *text,
                             size_t capacity) {
    if (hello->major != FQ_WIRE_MAJOR) {
        snprintf(text, capacity, "protocol %u.%u; this coordinator speaks %d.%d",
                 (unsigned)hello->major, (unsigned)hello->minor, FQ_WIRE_MAJOR, FQ_WIRE_MINOR);
        return FQ_REASON_VERSION;
    }
    if (hello->simulation && !s->simulated) {
        snprintf(text, capacity, "%s",
                 s->options->setup->partition == NULL
                     ? "the coordinator has no training examples, so there are no simulated clients"
                     : "standing for simulated clients is not allowed here (simulated: in "
                       "server.yaml)");
        return FQ_REASON_NOT_YOURS;
    }
    uint64_t own = (uint64_t)(p - s->peers);
    for (size_t i = 0; i < hello->n_hosted; i++) {
        uint64_t k = hello->simulation ? hello->hosted[i].client : own;
        /* Of the experiment's own split the coordinator knows the sizes itself. */
        if (!hello->simulation &&
            (hello->hosted[i].examples == 0 ||
             hello->hosted[i].examples / 2 >= s->experiment->server.limits.max_examples)) {
            snprintf(text, capacity,
                     "client %" PRIu64 " says it has %" PRIu32 " examples; 1 to %" PRIu64
                     " are allowed (aggregate.max_examples)",
                     k, hello->hosted[i].examples, s->experiment->server.limits.max_examples);
            return FQ_REASON_TOO_LARGE;
        }
        if (!may_host(s, p, k)) {
            snprintf(text, capacity,
                     k >= s->n_clients
                         ? "client %" PRIu64 " is beyond the run's %" PRIu64 " (data.clients)"
                         : "client %" PRIu64 " of %" PRIu64 " is trained by another peer",
                     k, s->n_clients);
            return FQ_REASON_NOT_YOURS;
        }
    }
    if (hello->n_hosted == 0 || (!hello->simulation && hello->n_hosted != 1)) {
        snprintf(text, capacity, "a hello for %zu clients", hello->n_hosted);
        return FQ_REASON_MALFORMED;
    }
    return FQ_REASON_NONE;
}

static uint32_t examples_of(const service *s, const fq_hello *hello, size_t i, uint64_t k) {
    if (!hello->simulation)
        return (uint32_t)fq_example_bucket(hello->hosted[i].examples);
    return (uint32_t)fq_example_bucket(fq_partition_shard(s->options->setup->partition, k).n);
}

static fq_status take_hosted(service *s, peer *p, const fq_hello *hello) {
    uint32_t  id = (uint32_t)(p - s->peers);
    uint64_t *hosted = calloc(hello->n_hosted, sizeof *hosted);
    if (hosted == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu clients of a peer", hello->n_hosted);
    release_hosted(s, p);
    p->hosted = hosted;
    p->n_hosted = hello->n_hosted;
    for (size_t i = 0; i < hello->n_hosted; i++) {
        uint64_t k = hello->simulation ? hello->hosted[i].client : id;
        hosted[i] = k;
        s->owner[k] = id;
        s->examples[k] = examples_of(s, hello, i, k);
        s->given_up[k] = false;
        seat *t = seat_of(s, k);
        if (t != NULL && t->state != SEAT_JUDGING)
            t->peer = id;
    }
    return FQ_OK;
}

static void send_welcome(service *s, peer *p, const fq_hello *hello) {
    const fq_dataset *set = s->options->setup->dataset;
    fq_shape          shape = fq_dataset_shape(set);
    const uint32_t    ours = FQ_WIRE_MINOR;
    fq_message        message = {.kind = FQ_WELCOME};
    fq_welcome       *welcome = &message.of.welcome;
    *welcome = (fq_welcome){
        .minor = hello->minor < ours ? hello->minor : ours,
        .client = (uint64_t)(p - s->peers),
        .settings = {s->settings.data, s->settings.size},
        .channels = (uint32_t)shape.c,
        .height = (uint32_t)shape.h,
        .width = (uint32_t)shape.w,
        .classes = fq_dataset_classes(set),
        .heartbeat_ms = (uint32_t)(1000.0 * s->config->heartbeat_s),
        .window = (uint32_t)s->config->window,
    };
    welcome->n_norm = fq_dataset_normalization(set, welcome->mean, welcome->std);
    memcpy(welcome->run, s->run, sizeof s->run);
    peer_send(s, p, &message, NULL);
}

/* What a turn of the largest client takes, against what the peer says it has. */
static bool has_memory(const service *s, const fq_hello *hello) {
    size_t   need, largest = 1;
    uint64_t limit = s->experiment->server.limits.max_examples;
    if (hello->memory_bytes == 0)
        return true;
    for (size_t i = 0; i < hello->n_hosted; i++)
        if (hello->hosted[i].examples > largest)
            largest = hello->hosted[i].examples;
    if (largest > limit)
        largest = (size_t)limit;
    return fq_worker_bytes(s->options->setup->model, &s->experiment->recipe, largest, &need) ==
               FQ_OK &&
           need <= hello->memory_bytes;
}

void peer_hello(service *s, peer *p, const fq_arrival *arrival, const fq_hello *hello) {
    char      text[256] = "", quoted[FQ_LOG_QUOTED];
    fq_reason reason = judge_hello(s, p, hello, text, sizeof text);
    if (reason == FQ_REASON_NONE && take_hosted(s, p, hello) != FQ_OK)
        reason = FQ_REASON_BUSY;
    if (reason != FQ_REASON_NONE) {
        p->joined = false;
        p->session.state = FQ_SESSION_NEW;
        peer_refuse(s, p, &arrival->route, reason, text, 5000);
        return;
    }
    p->route = arrival->route;
    p->connection = arrival->connection;
    p->joined = true;
    p->session.state = FQ_SESSION_JOINED;
    snprintf(p->software, sizeof p->software, "%s", hello->software);
    p->n_widths = hello->n_widths;
    memcpy(p->widths, hello->widths, sizeof p->widths);
    p->model_bits = hello->model_bits;
    p->able = has_memory(s, hello);
    fq_log_write(s->options->log, FQ_LOG_INFO, "client_joined",
                 "client=%s address=%s hosts=%zu first=%" PRIu64 " software=%s able=%d",
                 p->entry.name, arrival->address, p->n_hosted, p->hosted[0],
                 fq_log_quote(p->software, quoted), p->able);
    audit(s, "joined", p, arrival->address);
    send_welcome(s, p, hello);
    if (s->phase == TRAINING)
        send_plan(s, p);
    if (s->phase == FINISHED) {
        fq_message over = {.kind = FQ_RUN_OVER, .of.run_over.rounds = s->result->rounds};
        memcpy(over.of.run_over.hash, s->result->hash, sizeof over.of.run_over.hash);
        peer_send(s, p, &over, NULL);
    }
}

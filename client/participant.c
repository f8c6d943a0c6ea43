#include "client/participant.h"

#include "base/clock.h"
#include "base/crew.h"
#include "client/status.h"
#include "program/program.h"
#include "wire/socket.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int64_t TICK_MS = 50, STATUS_MS = 2000, GATES_MS = 1000;
static const int64_t RETRY_MS = 3000; /* of a hello, and of a turn that the disk had no room for */
/* Nothing is lost on a living connection but what finds a queue full, so asking again is rare, and
 * over a slow link it would only stand in line behind what is under way. */
static const int64_t ASK_AGAIN_MS = 20000, ASK_AGAIN_MOST_MS = 60000;
enum { QUEUE = 64 };

/* ---- hours ---- */
/* "HH:MM" -> minutes, up to 24:00; moves past it. */
static bool read_time(const char **at, int *minutes) {
    const char *t = *at;
    for (int i = 0; i < 5; i++)
        if (i == 2 ? t[i] != ':' : t[i] < '0' || t[i] > '9')
            return false;
    int hour = 10 * (t[0] - '0') + t[1] - '0', minute = 10 * (t[3] - '0') + t[4] - '0';
    *minutes = 60 * hour + minute;
    *at = t + 5;
    return minute < 60 && *minutes <= 24 * 60;
}

fq_status fq_hours_add(fq_hours *hours, const char *text) {
    const char *at = text;
    int         begin, end;
    if (!read_time(&at, &begin) || *at++ != '-' || !read_time(&at, &end) || *at != '\0' ||
        begin >= 24 * 60 || begin == end)
        return fq_fail(FQ_EINVAL, "--window: '%s' is not HH:MM-HH:MM", text);
    if (hours->n == FQ_MAX_HOURS)
        return fq_fail(FQ_EINVAL, "--window: at most %d", FQ_MAX_HOURS);
    hours->of[hours->n].begin = begin;
    hours->of[hours->n++].end = end;
    return FQ_OK;
}

bool fq_hours_allow(const fq_hours *hours, int minute) {
    for (size_t i = 0; i < hours->n; i++) {
        int begin = hours->of[i].begin, end = hours->of[i].end;
        if (begin <= end ? minute >= begin && minute < end : minute >= begin || minute < end)
            return true;
    }
    return hours->n == 0;
}

/* ---- the participant ---- */
typedef enum stage {
    WAITING,  /* for the model, for an earlier receipt, for the hour */
    TRAINING, /* on a thread of the crew */
    READY,    /* in the outbox, to be offered */
    DONE,     /* has its receipt */
} stage;

/* When to ask again for what has not come. */
typedef struct patience {
    int64_t due_ms, pause_ms;
} patience;

/* An update on its way: of this round's plan, or left over from before. */
typedef struct item {
    struct item *next;
    fq_outgoing  outgoing; /* sealed.size 0: not trained yet, or diverged */
    stage        stage;
    bool         diverged, old; /* old: of no plan at hand */
    uint64_t     sent, wanted;  /* bytes sent, bytes that have arrived */
    bool         is_wanted;     /* the coordinator has asked for it on this connection */
    patience     answer;        /* to the offer, or to the chunks */
    int64_t      retry_ms;      /* not trained before this time */
} item;

typedef struct participant {
    const fq_participant_options *options;
    fq_participant_result        *result;
    fq_dialer                    *dialer;
    fq_crew                      *crew;
    fq_work                      *work;
    fq_arena                      arena;
    fq_buffer                     head;
    unsigned char                 run[FQ_RUN_ID_BYTES];
    bool                          joined, told_refused;
    fq_dialer_trouble             told_trouble;
    uint64_t                      connections, beats;
    uint32_t                      window;
    int64_t                       heartbeat_ms, beat_ms, hello_ms, status_ms;
    fq_status                     status;
    char                          reason[1024];
    fq_client_status              shown; /* status.json */
    fq_device                     device;
    bool                          gates_open;
    int64_t                       gates_ms; /* when they were looked at */
    char                          why[FQ_WHY_BYTES];
    item                         *items;
    /* Plans so far. A turn of an earlier one that no thread has begun yet is not begun. */
    atomic_uint_fast64_t plans;
    /* the plan at hand */
    bool           planned, model_ready;
    fq_wire_plan   plan; /* but for its list */
    unsigned char *model;
    uint64_t       have, asked;
    patience       chunk; /* the next part of the model */
    size_t         training;
    /* a plan that came while turns of the one before were going on */
    bool         next_planned;
    fq_wire_plan next;
} participant;

/* A turn on a thread of the crew. */
typedef struct turn {
    fq_job       job;
    participant *p;
    item        *item;
    uint64_t     of_plan;
    fq_binding   binding;
    uint8_t      model_bits;
    fq_outgoing  outgoing;
    fq_status    status;
    char         text[512];
} turn;

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Something has come: patience begins anew. */
static void wait_anew(patience *w) {
    w->pause_ms = ASK_AGAIN_MS;
    w->due_ms = now_ms() + w->pause_ms;
}

/* Nothing has come, and it was asked for again. */
static void wait_longer(patience *w) {
    w->pause_ms = 2 * w->pause_ms < ASK_AGAIN_MOST_MS ? 2 * w->pause_ms : ASK_AGAIN_MOST_MS;
    w->due_ms = now_ms() + w->pause_ms;
}

static void fail(participant *p, fq_status status) {
    if (p->status != FQ_OK)
        return;
    p->status = status;
    snprintf(p->reason, sizeof p->reason, "%s", fq_status_text());
}

static bool send_message(participant *p, const fq_message *message, fq_cbytes body) {
    p->head.size = 0;
    return fq_encode_message(message, &p->head) == FQ_OK &&
           fq_dialer_send(p->dialer, (fq_cbytes){p->head.data, p->head.size}, body) == FQ_OK;
}

/* ---- hello ---- */
static void say_hello(participant *p) {
    const fq_participant_options *options = p->options;
    size_t                        n = options->work.simulation ? (size_t)options->work.n : 1;
    fq_hosted                    *hosted = calloc(n, sizeof *hosted);
    fq_message                    message = {.kind = FQ_HELLO};
    fq_hello                     *hello = &message.of.hello;
    *hello = (fq_hello){.major = FQ_WIRE_MAJOR,
                        .minor = FQ_WIRE_MINOR,
                        .software = "fedq-client " FQ_VERSION,
                        .simulation = options->work.simulation,
                        .n_hosted = n,
                        .hosted = hosted,
                        .model_bits = options->model_bits,
                        .memory_bytes = options->work.max_bytes};
    for (size_t i = 0; i < options->work.widths.n && i < FQ_MAX_WIDTHS; i++)
        hello->widths[hello->n_widths++] = (uint8_t)options->work.widths.v[i];
    for (size_t i = 0; hosted != NULL && i < n; i++)
        hosted[i] = (fq_hosted){.client = options->work.first + i,
                                .examples = options->work.simulation
                                                ? 1
                                                : (uint32_t)fq_example_bucket(options->examples)};
    if (hosted != NULL)
        (void)send_message(p, &message, (fq_cbytes){0});
    free(hosted);
    p->joined = false;
    p->hello_ms = now_ms();
}

/* ---- items ---- */
static item *find_item(const participant *p, uint32_t round, uint64_t client) {
    for (item *i = p->items; i != NULL; i = i->next)
        if (i->outgoing.binding.round == round && i->outgoing.binding.client == client)
            return i;
    return NULL;
}

static item *add_item(participant *p, const fq_binding *binding, uint8_t model_bits) {
    item *i = calloc(1, sizeof *i);
    if (i == NULL)
        return NULL;
    i->outgoing.binding = *binding;
    i->outgoing.model_bits = model_bits;
    i->next = p->items;
    p->items = i;
    return i;
}

static void remove_item(participant *p, item *gone) {
    for (item **at = &p->items; *at != NULL; at = &(*at)->next)
        if (*at == gone) {
            *at = gone->next;
            fq_outgoing_fini(&gone->outgoing);
            free(gone);
            return;
        }
}

/* Is another update of this client still without its receipt? Its state is not settled then. */
static bool is_unsettled(const participant *p, const item *of) {
    for (const item *i = p->items; i != NULL; i = i->next)
        if (i != of && i->outgoing.binding.client == of->outgoing.binding.client &&
            i->stage != DONE)
            return true;
    return false;
}

static void offer(participant *p, item *i) {
    fq_message message = {.kind = FQ_UPDATE_OFFER,
                          .of.update_part = {.round = i->outgoing.binding.round,
                                             .client = i->outgoing.binding.client,
                                             .total = i->outgoing.sealed.size,
                                             .model_bits = i->outgoing.model_bits,
                                             .cpu_ms = i->outgoing.cpu_ms,
                                             .millijoules = i->outgoing.millijoules}};
    if (i->outgoing.sealed.size > 0)
        memcpy(message.of.update_part.nonce, i->outgoing.sealed.data, FQ_SEAL_NONCE_BYTES);
    (void)send_message(p, &message, (fq_cbytes){0});
}

/* For the first time on this connection. */
static void offer_anew(participant *p, item *i) {
    i->is_wanted = false;
    wait_anew(&i->answer);
    offer(p, i);
}

/* As many chunks as the window allows. */
static void pump(participant *p, item *i) {
    uint64_t limit = i->wanted + (uint64_t)p->window * FQ_CHUNK_BYTES;
    while (i->is_wanted && i->sent < i->outgoing.sealed.size && i->sent < limit) {
        uint64_t   left = i->outgoing.sealed.size - i->sent;
        size_t     size = left < FQ_CHUNK_BYTES ? (size_t)left : FQ_CHUNK_BYTES;
        fq_message message = {.kind = FQ_UPDATE_CHUNK,
                              .of.update_part = {.round = i->outgoing.binding.round,
                                                 .client = i->outgoing.binding.client,
                                                 .total = i->outgoing.sealed.size,
                                                 .offset = i->sent,
                                                 .model_bits = i->outgoing.model_bits}};
        memcpy(message.of.update_part.nonce, i->outgoing.sealed.data, FQ_SEAL_NONCE_BYTES);
        if (!send_message(p, &message, (fq_cbytes){i->outgoing.sealed.data + i->sent, size}))
            return;
        i->sent += size;
        wait_anew(&i->answer);
    }
}

/* ---- training ---- */
/* A turn with its price. */
static fq_status take_counted_turn(turn *t, size_t thread) {
    const char *root = t->p->device.root;
    fq_energy   before, after;
    fq_energy_read(root, &before);
    double    begin = fq_thread_seconds();
    fq_status status = fq_work_turn(t->p->work, thread, &t->binding, t->model_bits, &t->outgoing);
    t->outgoing.cpu_ms = (uint64_t)llround(1e3 * (fq_thread_seconds() - begin));
    fq_energy_read(root, &after);
    double joules = fq_energy_between(&before, &after);
    t->outgoing.millijoules = isnan(joules) ? 0 : (uint64_t)llround(1e3 * joules);
    return status;
}

static void take_turn(fq_job *job, size_t thread) {
    turn *t = (turn *)job;
    bool  wanted = !fq_interrupted() && atomic_load(&t->p->plans) == t->of_plan;
    t->status = !wanted ? fq_fail(FQ_ESTATE, "no longer wanted") : take_counted_turn(t, thread);
    snprintf(t->text, sizeof t->text, "%s", t->status == FQ_OK ? "" : fq_status_text());
}

static void turn_done(fq_job *job) {
    turn        *t = (turn *)job;
    participant *p = t->p;
    char         quoted[FQ_LOG_QUOTED];
    p->training--;
    if (t->status == FQ_OK) {
        t->item->outgoing = t->outgoing;
        t->item->stage = READY;
        p->shown.cpu_ms += (int64_t)t->outgoing.cpu_ms;
        p->shown.millijoules += (int64_t)t->outgoing.millijoules;
        fq_log_write(p->options->log, FQ_LOG_INFO, "trained",
                     "round=%" PRIu32 " client=%" PRIu64 " cpu_s=%.3f joules=%.1f",
                     t->binding.round + 1, t->binding.client, 1e-3 * (double)t->outgoing.cpu_ms,
                     1e-3 * (double)t->outgoing.millijoules);
        offer_anew(p, t->item);
    } else if (t->status == FQ_ENONFINITE) {
        fq_log_write(p->options->log, FQ_LOG_WARN, "diverged",
                     "round=%" PRIu32 " client=%" PRIu64 " text=%s", t->binding.round + 1,
                     t->binding.client, fq_log_quote(t->text, quoted));
        t->item->diverged = true;
        t->item->stage = READY;
        offer_anew(p, t->item);
    } else if (t->status == FQ_EIO) { /* the disk is full, say: the turn is taken again */
        fq_log_write(p->options->log, FQ_LOG_ERROR, "outbox_failed", "text=%s",
                     fq_log_quote(t->text, quoted));
        t->item->stage = WAITING;
        t->item->retry_ms = now_ms() + RETRY_MS;
        if (t->item->old)
            remove_item(p, t->item);
    } else if (t->status == FQ_ESTATE) {
        t->item->stage = WAITING;
        if (t->item->old)
            remove_item(p, t->item);
    } else {
        fail(p, fq_fail(t->status, "%s", t->text));
    }
    free(t);
}

static bool is_hour(const participant *p) {
    time_t    now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    return fq_hours_allow(&p->options->hours, 60 * local.tm_hour + local.tm_min);
}

static void log_gate(const participant *p) {
    char quoted[FQ_LOG_QUOTED];
    if (p->gates_open)
        fq_log_write(p->options->log, FQ_LOG_INFO, "gate_open", "text=\"takes part again\"");
    else
        fq_log_write(p->options->log, FQ_LOG_INFO, "gate_closed", "text=%s",
                     fq_log_quote(p->why, quoted));
}

/* By hour and gates; asked at every tick, the system's files are read now and then. */
static bool may_take_part(participant *p) {
    if (p->gates_ms == 0 || now_ms() - p->gates_ms >= GATES_MS) {
        bool was_open = p->gates_open;
        p->gates_ms = now_ms();
        p->gates_open = fq_device_allows(&p->device, &p->options->gates, p->why);
        if (p->gates_open != was_open)
            log_gate(p);
    }
    if (!is_hour(p)) {
        snprintf(p->why, sizeof p->why, "outside its hours");
        return false;
    }
    return p->gates_open;
}

static void start_turns(participant *p) {
    if (!p->model_ready || !may_take_part(p))
        return;
    for (item *i = p->items; i != NULL; i = i->next) {
        bool mine = i->stage == WAITING && !i->old && i->outgoing.binding.round == p->plan.round;
        if (!mine || is_unsettled(p, i) || now_ms() < i->retry_ms)
            continue;
        turn *t = calloc(1, sizeof *t);
        if (t == NULL)
            return;
        *t = (turn){.job = {.work = take_turn, .done = turn_done},
                    .p = p,
                    .item = i,
                    .of_plan = atomic_load(&p->plans),
                    .binding = i->outgoing.binding,
                    .model_bits = i->outgoing.model_bits};
        i->stage = TRAINING;
        p->training++;
        fq_crew_add(p->crew, &t->job);
    }
}

/* ---- plan and model ---- */
static void forget_plan(participant *p) {
    atomic_fetch_add(&p->plans, 1);
    for (item *i = p->items, *next; i != NULL; i = next) {
        next = i->next;
        if (i->stage == WAITING || i->stage == DONE)
            remove_item(p, i);
        else
            i->old = true; /* finished work is offered until it has its receipt */
    }
    free(p->model);
    p->model = NULL;
    p->planned = p->model_ready = false;
}

static void request_model(participant *p) {
    uint64_t limit = p->have + (uint64_t)p->window * FQ_CHUNK_BYTES;
    while (p->asked < p->plan.model_bytes && p->asked < limit) {
        fq_message message = {.kind = FQ_MODEL_REQUEST,
                              .of.model_part = {.round = p->plan.round,
                                                .model_bits = p->plan.model_bits,
                                                .offset = p->asked,
                                                .bytes = FQ_CHUNK_BYTES}};
        if (!send_message(p, &message, (fq_cbytes){0}))
            return;
        p->asked += FQ_CHUNK_BYTES;
    }
}

static void take_clients(participant *p, const fq_wire_plan *plan) {
    for (size_t k = 0; k < plan->n_clients; k++) {
        item *i = find_item(p, plan->round, plan->clients[k]);
        if (i != NULL) { /* trained already, in this life or an earlier one */
            i->old = false;
            continue;
        }
        fq_binding binding = {.round = plan->round, .client = plan->clients[k]};
        memcpy(binding.run, p->run, sizeof binding.run);
        memcpy(binding.model, plan->model, sizeof binding.model);
        if (add_item(p, &binding, plan->model_bits) == NULL)
            fail(p, fq_fail(FQ_ENOMEM, "no memory for a plan of %zu clients", plan->n_clients));
    }
}

static bool needs_model(const participant *p) {
    for (const item *i = p->items; i != NULL; i = i->next)
        if (i->stage == WAITING && !i->old)
            return true;
    return false;
}

static void begin_plan(participant *p, const fq_wire_plan *plan) {
    bool same = p->planned && p->plan.round == plan->round &&
                memcmp(p->plan.model, plan->model, sizeof plan->model) == 0 &&
                p->plan.model_bytes == plan->model_bytes;
    if (!same) {
        forget_plan(p);
        p->plan = *plan;
        p->planned = true;
        p->shown.round = (int64_t)plan->round + 1;
        p->have = p->asked = 0;
        fq_log_write(p->options->log, FQ_LOG_INFO, "planned",
                     "round=%" PRIu32 " clients=%zu model_bytes=%" PRIu64 " time_left_ms=%" PRId64,
                     plan->round + 1, plan->n_clients, plan->model_bytes, plan->time_left_ms);
    }
    p->asked = p->have;
    wait_anew(&p->chunk);
    take_clients(p, plan);
    if (!p->model_ready && needs_model(p))
        request_model(p);
}

/* Does the plan ask for what we are and for a model that may be? */
static bool is_possible(const participant *p, const fq_wire_plan *plan) {
    for (size_t k = 0; k < plan->n_clients; k++)
        if (!fq_work_hosts(p->work, plan->clients[k])) {
            fq_log_write(p->options->log, FQ_LOG_WARN, "plan_ignored",
                         "round=%" PRIu32 " client=%" PRIu64 " text=\"is not one of ours\"",
                         plan->round + 1, plan->clients[k]);
            return false;
        }
    if (plan->model_bytes > 0 && plan->model_bytes <= fq_work_most_model_bytes(p->work))
        return true;
    fq_log_write(p->options->log, FQ_LOG_WARN, "plan_ignored",
                 "round=%" PRIu32 " model_bytes=%" PRIu64 " most=%" PRIu64, plan->round + 1,
                 plan->model_bytes, fq_work_most_model_bytes(p->work));
    return false;
}

static void keep_for_later(participant *p, const fq_wire_plan *plan) {
    uint64_t *clients = calloc(plan->n_clients, sizeof *clients);
    free(p->next.clients);
    p->next = *plan;
    p->next.clients = clients;
    p->next_planned = clients != NULL;
    if (clients != NULL)
        memcpy(clients, plan->clients, plan->n_clients * sizeof *clients);
}

static void take_plan(participant *p, const fq_wire_plan *plan) {
    if (!is_possible(p, plan))
        return;
    p->next_planned = false;
    bool same = p->planned && p->plan.round == plan->round;
    if (!same && p->training > 0) {
        /* The decoded model is in use until the last turn of the round before has ended. */
        forget_plan(p);
        keep_for_later(p, plan);
    } else {
        begin_plan(p, plan);
    }
}

/* What was under way then has no answer any more; an offer has one: counted, or late. */
static void take_round_over(participant *p, uint32_t round) {
    if (p->planned && p->plan.round == round)
        forget_plan(p);
    if (p->next_planned && p->next.round == round)
        p->next_planned = false;
    for (item *i = p->items; i != NULL; i = i->next)
        if (i->stage == READY && i->outgoing.binding.round == round)
            offer_anew(p, i);
}

static void take_model(participant *p) {
    unsigned char digest[FQ_DIGEST_BYTES];
    fq_cbytes     message = {p->model, (size_t)p->plan.model_bytes};
    fq_digest(message, digest);
    if (memcmp(digest, p->plan.model, sizeof digest) != 0) {
        fq_log_write(p->options->log, FQ_LOG_WARN, "model_damaged", "round=%" PRIu32,
                     p->plan.round + 1);
        p->have = p->asked = 0;
        return;
    }
    fq_status status = fq_work_begin_round(p->work, p->plan.round, message);
    free(p->model);
    p->model = NULL;
    if (status != FQ_OK)
        fail(p, status);
    else
        p->model_ready = true;
}

static void take_chunk(participant *p, const fq_model_part *part, fq_cbytes body) {
    if (!p->planned || p->model_ready || p->training > 0 || part->round != p->plan.round ||
        part->model_bits != p->plan.model_bits || part->offset != p->have || body.size == 0 ||
        body.size > p->plan.model_bytes - p->have)
        return;
    if (p->model == NULL)
        p->model = malloc((size_t)p->plan.model_bytes);
    if (p->model == NULL) {
        fail(p,
             fq_fail(FQ_ENOMEM, "no memory for a model of %" PRIu64 " bytes", p->plan.model_bytes));
        return;
    }
    memcpy(p->model + p->have, body.data, body.size);
    p->have += body.size;
    wait_anew(&p->chunk);
    if (p->have == p->plan.model_bytes)
        take_model(p);
    else
        request_model(p);
}

/* ---- what the coordinator says ---- */
static void wait_for_crew(participant *p) {
    while (p->crew != NULL && fq_crew_busy(p->crew) > 0) {
        struct pollfd ready = {.fd = fq_crew_descriptor(p->crew), .events = POLLIN};
        (void)poll(&ready, 1, 100);
        fq_crew_finish(p->crew);
    }
}

/* Turns that go on use the work, so they end first. */
static void leave_run(participant *p) {
    forget_plan(p);
    wait_for_crew(p);
    p->next_planned = false;
    while (p->items != NULL)
        remove_item(p, p->items);
    fq_work_destroy(&p->work);
}

static void load_outbox(participant *p) {
    fq_outgoing *entries;
    size_t       n, damaged;
    fq_status    status = fq_outbox_read(p->options->work.home, &entries, &n, &damaged);
    if (status != FQ_OK) {
        fail(p, status);
        return;
    }
    fq_home_tidy(p->options->work.home);
    for (size_t e = 0; e < n; e++) {
        const fq_binding *binding = &entries[e].binding;
        bool              ours = memcmp(binding->run, p->run, sizeof p->run) == 0;
        if (!ours) { /* of a run that is over */
            fq_outbox_remove(p->options->work.home, binding);
            fq_state_discard(p->options->work.home, binding);
        }
        /* What is of other clients of this run waits until they take part again. */
        item *i = ours && fq_work_hosts(p->work, binding->client)
                      ? add_item(p, binding, entries[e].model_bits)
                      : NULL;
        if (i == NULL) {
            fq_outgoing_fini(&entries[e]);
            continue;
        }
        i->outgoing = entries[e];
        i->stage = READY;
        i->old = true;
    }
    free(entries);
    if (n + damaged > 0)
        fq_log_write(p->options->log, FQ_LOG_INFO, "outbox", "entries=%zu damaged=%zu", n, damaged);
}

/* Counts go on if it is the run of last time. */
static void show_run(participant *p) {
    char id[sizeof p->shown.run_id];
    for (size_t i = 0; i < sizeof p->run; i++)
        snprintf(id + 2 * i, 3, "%02x", p->run[i]);
    if (strcmp(id, p->shown.run_id) != 0)
        p->shown = (fq_client_status){.heard_s = p->shown.heard_s};
    memcpy(p->shown.run_id, id, sizeof id);
    snprintf(p->shown.run, sizeof p->shown.run, "%s", fq_work_experiment(p->work)->head.name);
}

static void take_welcome(participant *p, const fq_welcome *welcome) {
    p->heartbeat_ms = welcome->heartbeat_ms;
    p->window = welcome->window;
    p->joined = true;
    p->shown.over = false;
    if (p->work == NULL || memcmp(p->run, welcome->run, sizeof p->run) != 0) {
        leave_run(p);
        memcpy(p->run, welcome->run, sizeof p->run);
        fq_status status = fq_work_create(&p->work, &p->options->work, welcome);
        if (status != FQ_OK) {
            fail(p, status);
            return;
        }
        show_run(p);
        load_outbox(p);
        fq_log_write(p->options->log, FQ_LOG_INFO, "joined",
                     "run=%s parameters=%zu memory_mib=%.1f threads=%zu",
                     fq_work_experiment(p->work)->head.name,
                     (size_t)fq_model_parameters(fq_work_model(p->work)),
                     (double)fq_work_bytes(p->work) * 0x1p-20, p->options->work.threads);
    } else {
        fq_log_write(p->options->log, FQ_LOG_INFO, "rejoined", "outbox=%d", p->items != NULL);
    }
    for (item *i = p->items; i != NULL; i = i->next)
        if (i->stage == READY)
            offer_anew(p, i);
}

static void take_want(participant *p, const fq_update_part *part) {
    item *i = find_item(p, part->round, part->client);
    if (i == NULL || i->stage != READY || i->outgoing.sealed.size == 0 ||
        i->outgoing.sealed.size != part->total || part->offset > part->total ||
        memcmp(i->outgoing.sealed.data, part->nonce, sizeof part->nonce) != 0)
        return;
    /* From where it was cut, or where the coordinator begins again; a want that comes twice changes
     * nothing. */
    if (!i->is_wanted || part->offset < i->wanted || part->offset > i->sent)
        i->sent = part->offset;
    i->is_wanted = true;
    i->wanted = part->offset;
    wait_anew(&i->answer);
    pump(p, i);
}

static void take_receipt(participant *p, const fq_receipt *receipt) {
    item *i = find_item(p, receipt->round, receipt->client);
    char  quoted[FQ_LOG_QUOTED];
    if (i == NULL || i->stage != READY)
        return;
    const char *home = p->options->work.home;
    bool        accepted = receipt->reason == FQ_REASON_NONE;
    /* The state moves before the entry goes: after a crash in between, both are done again. */
    if (accepted && fq_state_commit(home, &i->outgoing.binding) != FQ_OK) {
        fail(p, FQ_EIO);
        return;
    }
    if (!accepted)
        fq_state_discard(home, &i->outgoing.binding);
    fq_outbox_remove(home, &i->outgoing.binding);
    p->result->accepted += accepted;
    p->result->refused += !accepted;
    p->shown.accepted += accepted;
    p->shown.refused += !accepted;
    p->shown.refusals[receipt->reason]++;
    fq_log_write(
        p->options->log, accepted ? FQ_LOG_INFO : FQ_LOG_WARN, accepted ? "accepted" : "refused",
        "round=%" PRIu32 " client=%" PRIu64 " reason=%s text=%s", receipt->round + 1,
        receipt->client, fq_reason_name(receipt->reason), fq_log_quote(receipt->text, quoted));
    i->stage = DONE;
    fq_outgoing_fini(&(fq_outgoing){.sealed = i->outgoing.sealed});
    i->outgoing.sealed = (fq_cbytes){0};
    if (i->old)
        remove_item(p, i);
}

static void take_refusal(participant *p, const fq_refusal *refusal) {
    char quoted[FQ_LOG_QUOTED];
    if (refusal->reason == FQ_REASON_NOT_JOINED) {
        if (now_ms() - p->hello_ms > 200 && may_take_part(p))
            say_hello(p);
        return;
    }
    fq_log_write(p->options->log, FQ_LOG_WARN, "refusal", "reason=%s retry_ms=%" PRIu32 " text=%s",
                 fq_reason_name(refusal->reason), refusal->retry_ms,
                 fq_log_quote(refusal->text, quoted));
    if (refusal->reason == FQ_REASON_BUSY) {
        p->chunk.due_ms = now_ms() + refusal->retry_ms;
        for (item *i = p->items; i != NULL; i = i->next)
            i->answer.due_ms = now_ms() + refusal->retry_ms;
    }
    if (refusal->reason == FQ_REASON_VERSION || refusal->reason == FQ_REASON_REVOKED)
        fail(p, fq_fail(FQ_EAUTH, "the coordinator refuses us: %s", refusal->text));
    if (refusal->reason == FQ_REASON_NOT_YOURS && !p->joined)
        fail(p, fq_fail(FQ_EINVAL, "the coordinator refuses us: %s", refusal->text));
}

static void take_run_over(participant *p, const fq_run_end *end) {
    char quoted[FQ_LOG_QUOTED];
    bool is_hash = strspn(end->hash, "0123456789abcdef") == 64;
    p->result->rounds = end->rounds;
    snprintf(p->result->hash, sizeof p->result->hash, "%s", is_hash ? end->hash : "unknown");
    p->shown.over = true;
    p->shown.rounds = end->rounds;
    memcpy(p->shown.hash, p->result->hash, sizeof p->shown.hash);
    fq_log_write(p->options->log, FQ_LOG_INFO, "run_over", "rounds=%" PRIu32 " sha256=%s",
                 end->rounds, fq_log_quote(end->hash, quoted));
}

static void take_message(participant *p, const fq_arrival *arrival) {
    fq_message message;
    fq_arena_reset(&p->arena);
    char quoted[FQ_LOG_QUOTED];
    if (fq_decode_message(arrival->head, &p->arena, &message) != FQ_OK) {
        fq_log_write(p->options->log, FQ_LOG_WARN, "unreadable", "text=%s",
                     fq_log_quote(fq_status_text(), quoted));
        return;
    }
    p->shown.heard_s = (int64_t)time(NULL);
    switch (message.kind) {
    case FQ_WELCOME: take_welcome(p, &message.of.welcome); break;
    case FQ_REFUSAL: take_refusal(p, &message.of.refusal); break;
    case FQ_PLAN:
        if (p->joined && p->work != NULL)
            take_plan(p, &message.of.plan);
        break;
    case FQ_MODEL_CHUNK: take_chunk(p, &message.of.model_part, arrival->body); break;
    case FQ_UPDATE_WANT: take_want(p, &message.of.update_part); break;
    case FQ_RECEIPT: take_receipt(p, &message.of.receipt); break;
    case FQ_ROUND_OVER: take_round_over(p, message.of.round_over); break;
    case FQ_RUN_OVER: take_run_over(p, &message.of.run_over); break;
    case FQ_HEARTBEAT: break;
    default:
        fq_log_write(p->options->log, FQ_LOG_WARN, "unexpected", "kind=%s",
                     fq_message_name(message.kind));
    }
}

/* ---- the loop ---- */
static void watch_connection(participant *p) {
    if (fq_dialer_now(p->dialer) == FQ_DIALER_REFUSED && !p->told_refused) {
        char key[FQ_KEY_TEXT];
        fq_public_key_text(fq_keypair_public(p->options->work.keys), key);
        fq_log_write(p->options->log, FQ_LOG_ERROR, "not_admitted",
                     "text=\"not on the coordinator's list of clients; there: fedq-server clients "
                     "add DIR %s %s\"",
                     p->options->name, key);
        p->told_refused = true;
    }
    fq_dialer_trouble trouble = fq_dialer_trouble_of(p->dialer);
    if (trouble != p->told_trouble && trouble != FQ_DIALER_NO_TROUBLE && !p->told_refused)
        fq_log_write(p->options->log, FQ_LOG_WARN, "not_connected", "server=%s text=\"%s\"",
                     p->options->server,
                     trouble == FQ_DIALER_NOBODY
                         ? "nobody answers there; trying again and again"
                         : "who answers there does not shake hands; is server_key in client.yaml "
                           "that of this coordinator?");
    p->told_trouble = trouble;
    if (fq_dialer_connections(p->dialer) != p->connections) {
        p->connections = fq_dialer_connections(p->dialer);
        p->told_refused = false;
        fq_log_write(p->options->log, FQ_LOG_INFO, "connected", "server=%s", p->options->server);
        p->joined = false;
        p->hello_ms = 0;
        p->status_ms = 0; /* what status.json says of it is old */
    }
    if (!p->joined && p->connections > 0 && may_take_part(p) &&
        (p->hello_ms == 0 || now_ms() - p->hello_ms > RETRY_MS))
        say_hello(p);
}

static void say_goodbye(participant *p) {
    fq_message bye = {.kind = FQ_BYE};
    if (p->joined)
        (void)send_message(p, &bye, (fq_cbytes){0});
}

static void write_status(participant *p) {
    fq_client_status *shown = &p->shown;
    p->status_ms = now_ms();
    shown->connected = fq_dialer_now(p->dialer) == FQ_DIALER_CONNECTED;
    shown->joined = p->joined && shown->connected;
    shown->training = (int64_t)p->training;
    snprintf(shown->gate, sizeof shown->gate, "%s", may_take_part(p) ? "" : p->why);
    shown->outbox = 0;
    for (const item *i = p->items; i != NULL; i = i->next)
        shown->outbox += i->stage == READY;
    (void)!fq_client_status_write(p->options->work.home, shown);
}

/* Outside its hours, or behind a closed gate, a client is no part of the federation, so that no
 * round waits for it. It stays connected; a turn that is going on ends, and what is finished is
 * still delivered. */
static void keep_gates(participant *p) {
    if (may_take_part(p) || !p->joined || p->training > 0)
        return;
    for (const item *i = p->items; i != NULL; i = i->next)
        if (i->stage == READY)
            return;
    p->next_planned = false;
    forget_plan(p);
    say_goodbye(p);
    p->joined = false;
    if (!is_hour(p))
        fq_log_write(p->options->log, FQ_LOG_INFO, "out_of_hours",
                     "text=\"back when the window opens\"");
}

/* Between its rounds a client keeps little more than its data and the model. */
static void rest(participant *p) {
    if (p->work == NULL || p->training > 0 || (p->planned && needs_model(p)))
        return;
    fq_work_rest(p->work);
}

static void tick(participant *p) {
    int64_t now = now_ms();
    watch_connection(p);
    if (p->joined && now - p->beat_ms >= p->heartbeat_ms) {
        fq_message beat = {
            .kind = FQ_HEARTBEAT,
            .of.heartbeat = {.count = ++p->beats, .training = (uint32_t)p->training}};
        (void)send_message(p, &beat, (fq_cbytes){0});
        p->beat_ms = now;
    }
    if (p->next_planned && p->training == 0) {
        p->next_planned = false;
        begin_plan(p, &p->next);
    }
    if (p->joined && p->planned && !p->model_ready && needs_model(p) &&
        (p->asked == p->have || now >= p->chunk.due_ms)) {
        p->asked = p->have;
        wait_longer(&p->chunk);
        request_model(p);
    }
    for (item *i = p->items; p->joined && i != NULL; i = i->next) {
        if (i->stage != READY)
            continue;
        if (now >= i->answer.due_ms) {
            wait_longer(&i->answer);
            offer(p, i);
        } else {
            pump(p, i);
        }
    }
    start_turns(p);
    rest(p);
    keep_gates(p);
    if (now - p->status_ms > STATUS_MS)
        write_status(p);
}

static fq_status loop(participant *p) {
    while (p->status == FQ_OK) {
        bool message, crew;
        FQ_TRY(fq_dialer_wait(p->dialer, TICK_MS, fq_crew_descriptor(p->crew), &message, &crew));
        if (crew)
            fq_crew_finish(p->crew);
        watch_connection(p);
        fq_arrival arrival;
        while (message && p->status == FQ_OK && fq_dialer_receive(p->dialer, &arrival) == FQ_OK)
            take_message(p, &arrival);
        tick(p);
        if (p->shown.over && !p->options->keep)
            return FQ_OK;
        if (fq_interrupted())
            return fq_fail(FQ_ESTATE, "interrupted");
    }
    return fq_fail(p->status, "%s", p->reason);
}

static fq_status start(participant *p) {
    const fq_participant_options *options = p->options;
    const fq_dialer_options       dialer = {.endpoint = options->server,
                                            .server = options->work.server,
                                            .keys = options->work.keys,
                                            .retry_ms = 200,
                                            .retry_max_ms = 30000,
                                            .max_frame_bytes = FQ_MAX_HEAD_BYTES,
                                            .queue = QUEUE};
    if (fq_client_status_read(options->work.home, &p->shown) != FQ_OK)
        fq_log_write(options->log, FQ_LOG_WARN, "status_damaged", "text=\"counts begin at 0\"");
    p->shown.connected = p->shown.joined = p->shown.over = false;
    FQ_TRY(fq_arena_init(&p->arena, FQ_MESSAGE_ARENA_BYTES));
    FQ_TRY(fq_crew_create(&p->crew, options->work.threads));
    return fq_dialer_create(&p->dialer, &dialer);
}

fq_status fq_participant_run(const fq_participant_options *options, fq_participant_result *result) {
    participant *p = calloc(1, sizeof *p);
    if (p == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a participant");
    *result = (fq_participant_result){0};
    p->options = options;
    p->result = result;
    fq_device_init(&p->device, options->root == NULL ? "" : options->root);
    p->gates_open = true;
    fq_status status = start(p);
    if (status == FQ_OK)
        status = loop(p);
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", fq_status_text());
    forget_plan(p);
    wait_for_crew(p);
    if (p->dialer != NULL) {
        say_goodbye(p);
        write_status(p);
    }
    leave_run(p);
    fq_crew_destroy(&p->crew);
    fq_dialer_destroy(&p->dialer);
    free(p->next.clients);
    fq_buffer_fini(&p->head);
    fq_arena_fini(&p->arena);
    free(p);
    return status == FQ_OK ? FQ_OK : fq_fail(status, "%s", reason);
}

#include "server/service_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- seats ---- */
seat *seat_of(service *s, uint64_t client) {
    size_t low = 0, high = s->n_seats;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->seats[middle].client < client)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n_seats && s->seats[low].client == client ? &s->seats[low] : NULL;
}

void send_plan(service *s, peer *p) {
    uint32_t            id = (uint32_t)(p - s->peers);
    const model_format *format;
    uint64_t           *clients = calloc(s->n_seats, sizeof *clients);
    size_t              n = 0;
    for (size_t i = 0; clients != NULL && i < s->n_seats; i++)
        if (s->seats[i].peer == id && s->seats[i].state != SEAT_JUDGED)
            clients[n++] = s->seats[i].client;
    if (n > 0 && model_of_bits(s, p->model_bits, &format) == FQ_OK) {
        fq_message message = {.kind = FQ_PLAN,
                              .of.plan = {.round = s->plan.round,
                                          .n_clients = n,
                                          .clients = clients,
                                          .model_bytes = format->bytes,
                                          .model_bits = p->model_bits,
                                          .time_left_ms = s->deadline_ms - service_now_ms()}};
        memcpy(message.of.plan.model, format->digest, sizeof format->digest);
        if (peer_send(s, p, &message, NULL))
            p->planned = s->plan.round + 1;
    }
    free(clients);
}

/* ---- who is asked ---- */
static bool is_available(const service *s, uint64_t k) {
    uint32_t owner = s->owner[k];
    return owner != NOBODY && peer_is_here(&s->peers[owner]) && s->peers[owner].able;
}

/* Is a missing client worth waiting for? Not if it was missing already when a gathering ended, if
 * its peer was revoked, or if it is here and has not the memory. */
static bool is_expected(const service *s, uint64_t k) {
    uint32_t owner = s->owner[k];
    bool     unable = owner != NOBODY && peer_is_here(&s->peers[owner]) && !s->peers[owner].able;
    return !s->given_up[k] && !unable;
}

static size_t cohort_size(const service *s) {
    double asked = ceil(s->config->over_selection * (double)s->experiment->train.clients_per_round);
    return asked > (double)s->n_clients ? (size_t)s->n_clients : (size_t)asked;
}

/* A place in a queue that depends on nothing but seed, round and client. */
static uint64_t priority_of(const service *s, uint64_t k) {
    fq_rng rng =
        fq_rng_stream((uint64_t)s->experiment->head.seed, FQ_RNG_COHORT, s->round, k, 1, 0);
    return fq_rng_u64(&rng);
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

typedef struct candidate {
    uint64_t priority, client;
} candidate;

static int by_priority(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    return ascending(&x->client, &y->client);
}

/* Keep those of `cohort` that are here and fill their places from the others that are; returns how
 * many there are then. */
static size_t fill_places(const service *s, uint64_t *cohort, size_t n, candidate *others) {
    size_t kept = 0, n_others = 0;
    for (size_t i = 0; i < n; i++)
        if (is_available(s, cohort[i]))
            cohort[kept++] = cohort[i];
    size_t next = 0;
    for (uint64_t k = 0; k < s->n_clients; k++) {
        while (next < kept && cohort[next] < k)
            next++;
        if ((next < kept && cohort[next] == k) || !is_available(s, k))
            continue;
        others[n_others++] = (candidate){.priority = priority_of(s, k), .client = k};
    }
    qsort(others, n_others, sizeof *others, by_priority);
    for (size_t i = 0; kept < n && i < n_others; i++)
        cohort[kept++] = others[i].client;
    qsort(cohort, kept, sizeof *cohort, ascending);
    return kept;
}

/* The cohort of the next round, if it can begin: the draw that a simulation makes, as soon as all
 * of it is here; when waiting has not helped, whoever is here. 0: not yet. */
static size_t muster(service *s, uint64_t *cohort, candidate *others) {
    size_t n = cohort_size(s), missing = 0, hoped_for = 0;
    if (fq_cohort_sample((uint64_t)s->experiment->head.seed, s->round, s->n_clients, n, cohort) !=
        FQ_OK)
        return 0;
    for (size_t i = 0; i < n; i++) {
        bool here = is_available(s, cohort[i]);
        missing += !here;
        hoped_for += !here && is_expected(s, cohort[i]);
    }
    if (missing == 0)
        return n;
    if (hoped_for > 0 && service_now_ms() < s->gather_ms)
        return 0;
    double needed = ceil(s->config->quorum * (double)s->experiment->train.clients_per_round);
    size_t quorum = needed < 1.0 ? 1 : (size_t)needed, here = 0;
    for (uint64_t k = 0; k < s->n_clients; k++)
        here += is_available(s, k);
    if (here < quorum)
        return 0;
    for (size_t i = 0; i < n; i++)
        s->given_up[cohort[i]] |= !is_available(s, cohort[i]);
    return fill_places(s, cohort, n, others);
}

/* ---- opening ---- */
static void take_seats(service *s, const fq_journal_round *round) {
    memset(s->rows, 0, cohort_size(s) * sizeof *s->rows);
    memset(s->seats, 0, cohort_size(s) * sizeof *s->seats);
    s->n_seats = round->n;
    s->n_judged = s->n_accepted = s->arriving = 0;
    for (size_t i = 0; i < round->n; i++) {
        const fq_journal_member *member = &round->members[i];
        s->seats[i] =
            (seat){.client = member->client, .examples = member->examples, .peer = member->peer};
        s->rows[i] = (fq_client_row){.client = member->client, .n_examples = member->examples};
        snprintf(s->rows[i].verdict, sizeof s->rows[i].verdict, "missing");
    }
}

/* The server's half of the round, and the model that goes out. */
static fq_status open_round(service *s, const fq_journal_round *round) {
    uint64_t *cohort = calloc(2 * round->n, sizeof *cohort), examples = 0;
    if (cohort == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a cohort of %zu clients", round->n);
    uint64_t *sizes = cohort + round->n;
    for (size_t i = 0; i < round->n; i++) {
        cohort[i] = round->members[i].client;
        sizes[i] = round->members[i].examples;
        examples += round->members[i].examples;
    }
    take_seats(s, round);
    models_forget(s);
    fq_status           status = fq_round_open(s->server, cohort, round->n, examples, &s->plan);
    const model_format *format;
    if (status == FQ_OK)
        fq_round_size_clients(s->server, sizes, &s->plan);
    if (status == FQ_OK)
        status = model_of_bits(s, 0, &format);
    free(cohort);
    if (status != FQ_OK)
        return status;
    s->wanted = (size_t)s->experiment->train.clients_per_round;
    if (s->wanted > round->n)
        s->wanted = round->n;
    s->round_began_ms = service_now_ms();
    s->deadline_ms = s->round_began_ms + (int64_t)(1000.0 * s->config->deadline_s);
    s->phase = TRAINING;
    return FQ_OK;
}

static void announce(service *s) {
    fq_log_write(s->options->log, FQ_LOG_INFO, "round_opened",
                 "round=%" PRIu32 " asked=%zu deadline_s=%g model_bytes=%" PRIu64,
                 s->plan.round + 1, s->n_seats, s->config->deadline_s, s->formats[0].bytes);
    for (size_t i = 0; i < s->n_peers; i++)
        if (peer_is_here(&s->peers[i]))
            send_plan(s, &s->peers[i]);
}

void pause_run(service *s, const char *why) {
    char quoted[FQ_LOG_QUOTED];
    if (!s->paused)
        fq_log_write(s->options->log, FQ_LOG_ERROR, "paused", "reason=%s",
                     fq_log_quote(why, quoted));
    snprintf(s->why_paused, sizeof s->why_paused, "%s", why);
    s->paused = true;
    s->retry_ms = service_now_ms() + PAUSE_MS;
}

void resume_run(service *s) {
    if (s->paused)
        fq_log_write(s->options->log, FQ_LOG_INFO, "resumed", "rounds=%" PRIu32, s->round);
    s->paused = false;
}

static void try_to_open(service *s) {
    size_t             n = cohort_size(s);
    uint64_t          *cohort = calloc(n, sizeof *cohort);
    candidate         *others = calloc(s->n_clients, sizeof *others);
    fq_journal_member *members = calloc(n, sizeof *members);
    if (cohort != NULL && others != NULL && members != NULL &&
        (n = muster(s, cohort, others)) > 0) {
        for (size_t i = 0; i < n; i++)
            members[i] = (fq_journal_member){.client = cohort[i],
                                             .examples = s->examples[cohort[i]],
                                             .peer = s->owner[cohort[i]]};
        const fq_journal_round round = {.round = s->round, .n = n, .members = members};
        fq_status              status = fq_journal_begin(s->journal, &round);
        if (status == FQ_EIO) {
            pause_run(s, fq_status_text());
        } else {
            if (status == FQ_OK)
                status = open_round(s, &round);
            if (status == FQ_OK) {
                resume_run(s);
                announce(s);
            } else {
                service_fail(s, status);
            }
        }
    }
    free(cohort);
    free(others);
    free(members);
}

static fq_status take_again(void *context, const fq_journal_update *update) {
    service *s = context;
    seat    *t = seat_of(s, update->client);
    char     text[160];
    if (t == NULL || t->state == SEAT_JUDGED || update->model_bits >= N_FORMATS ||
        update->sealed.size <= FQ_SEAL_OVERHEAD || update->sealed.size > s->max_update_bytes)
        return FQ_OK;
    const model_format *format;
    FQ_TRY(model_of_bits(s, update->model_bits, &format));
    t->model_bits = update->model_bits;
    fq_reason reason = take_update(s, 0, t, &s->peers[t->peer].entry.key, update->sealed, false,
                                   &s->rows[t - s->seats], text);
    seat_judge(s, t, reason, text);
    return FQ_OK;
}

fq_status rounds_restore(service *s) {
    const fq_journal_round *found = fq_journal_round_of(s->journal);
    if (found->n == 0 || found->round != s->round || found->n > cohort_size(s))
        return FQ_OK;
    for (size_t i = 0; i < found->n; i++)
        if (found->members[i].client >= s->n_clients || found->members[i].peer >= s->n_peers)
            return fq_fail(FQ_EPROTO, "round.journal names clients that are not in clients.txt");
    for (size_t i = 0; i < found->n; i++)
        s->examples[found->members[i].client] = (uint32_t)found->members[i].examples;
    FQ_TRY(open_round(s, found));
    FQ_TRY(fq_journal_each(s->journal, take_again, s));
    fq_log_write(s->options->log, FQ_LOG_INFO, "round_restored",
                 "round=%" PRIu32 " asked=%zu accepted=%zu", s->plan.round + 1, s->n_seats,
                 s->n_accepted);
    return FQ_OK;
}

/* ---- closing ---- */
static void close_work(fq_job *job, size_t worker) {
    service *s = (service *)((char *)job - offsetof(service, closing));
    (void)worker;
    fq_round_summary summary;
    s->closed = s->saving ? fq_run_save(s->options->run)
                          : fq_run_close_round(s->options->run, &s->round_row, s->rows, s->n_seats,
                                               &summary);
    snprintf(s->closed_text, sizeof s->closed_text, "%s",
             s->closed == FQ_OK ? "" : fq_status_text());
}

static void tell_round_is_over(service *s) {
    fq_message over = {.kind = FQ_ROUND_OVER, .of.round_over = s->plan.round};
    for (size_t i = 0; i < s->n_peers; i++) {
        bool owes = false;
        for (size_t t = 0; t < s->n_seats && !owes; t++)
            owes = s->seats[t].peer == i && s->seats[t].state != SEAT_JUDGED;
        if (owes && s->peers[i].joined)
            peer_send(s, &s->peers[i], &over, NULL);
    }
}

static void finish_run(service *s) {
    fq_status status = fq_run_finish(s->options->run, s->result);
    if (status != FQ_OK) {
        if (status == FQ_EIO)
            pause_run(s, fq_status_text()); /* and once more, a second later */
        else
            service_fail(s, status);
        return;
    }
    resume_run(s);
    s->phase = FINISHED;
    s->linger_ms = service_now_ms() + (int64_t)(1000.0 * s->config->linger_s);
    fq_message over = {.kind = FQ_RUN_OVER, .of.run_over.rounds = s->result->rounds};
    memcpy(over.of.run_over.hash, s->result->hash, sizeof over.of.run_over.hash);
    for (size_t i = 0; i < s->n_peers; i++)
        if (s->peers[i].joined)
            peer_send(s, &s->peers[i], &over, NULL);
    fq_log_write(s->options->log, FQ_LOG_INFO, "run_finished", "rounds=%" PRIu32 " sha256=%s",
                 s->result->rounds, s->result->hash);
}

static void gather(service *s) {
    s->phase = GATHERING;
    s->gather_ms = service_now_ms() + (int64_t)(1000.0 * s->config->gather_s);
    if (fq_run_over(s->options->run))
        finish_run(s);
}

static void close_done(fq_job *job) {
    service *s = (service *)((char *)job - offsetof(service, closing));
    if (s->closed == FQ_EIO) {
        pause_run(s, s->closed_text);
        s->saving = true;
        return;
    }
    if (s->closed != FQ_OK) {
        service_fail(s, fq_fail(s->closed, "%s", s->closed_text));
        return;
    }
    s->saving = false;
    s->round = s->round_row.round;
    s->loss = s->round_row.loss;
    s->rounds_done++;
    resume_run(s);
    s->seconds_sum += (double)(service_now_ms() - s->round_began_ms) / 1000.0;
    fq_log_write(s->options->log, FQ_LOG_INFO, "round_closed",
                 "round=%" PRIu32 " accepted=%zu asked=%zu loss=%.4f bytes_in=%" PRIu64
                 " bytes_out=%" PRIu64 " seconds=%.2f",
                 s->round, s->n_accepted, s->n_seats, s->loss, s->round_row.bytes_up,
                 s->round_row.bytes_down, (double)(service_now_ms() - s->round_began_ms) / 1000.0);
    uploads_forget(s);
    models_forget(s);
    s->n_seats = 0;
    gather(s);
}

/* Of the model as this peer gets it. */
static uint64_t bytes_for(const service *s, const peer *p) {
    uint64_t bytes = s->formats[p->model_bits].bytes;
    return bytes > 0 ? bytes : s->formats[0].bytes;
}

static void start_closing(service *s) {
    const fq_recipe *recipe = &s->experiment->recipe;
    uint64_t         vector = fq_model_size(s->options->setup->model) * sizeof(float);
    s->round_row =
        (fq_round_row){.round = s->plan.round + 1,
                       .n_asked = (uint32_t)s->n_seats,
                       .bytes_down_raw = s->n_seats * (1 + recipe->algorithm->n_down) * vector,
                       .seconds_train = (double)(service_now_ms() - s->round_began_ms) / 1000.0};
    for (size_t i = 0; i < s->n_seats; i++) {
        s->round_row.bytes_down += bytes_for(s, &s->peers[s->seats[i].peer]);
        s->round_row.bytes_up += s->rows[i].bytes_up;
        s->round_row.bytes_up_raw +=
            s->rows[i].bytes_up == 0 ? 0 : recipe->algorithm->n_up * vector;
    }
    tell_round_is_over(s);
    s->phase = CLOSING;
    s->saving = false;
    s->closing = (fq_job){.work = close_work, .done = close_done};
    fq_crew_add(s->crew, &s->closing);
}

static bool is_round_over(const service *s) {
    for (size_t i = 0; i < s->n_seats; i++)
        if (s->seats[i].state == SEAT_JUDGING)
            return false; /* its verdict is a moment away */
    if (s->n_judged == s->n_seats || s->n_accepted >= s->wanted)
        return true;
    return service_now_ms() >= s->deadline_ms && !s->paused;
}

void rounds_tick(service *s) {
    if (s->phase == GATHERING && fq_run_over(s->options->run)) {
        if (!s->paused || service_now_ms() >= s->retry_ms)
            finish_run(s);
    } else if (s->phase == GATHERING && (!s->paused || service_now_ms() >= s->retry_ms)) {
        if (s->gather_ms == 0)
            gather(s);
        if (s->phase == GATHERING)
            try_to_open(s);
    } else if (s->phase == TRAINING && is_round_over(s)) {
        start_closing(s);
    } else if (s->phase == CLOSING && s->saving && s->paused && service_now_ms() >= s->retry_ms &&
               fq_crew_busy(s->crew) == 0) {
        s->retry_ms = service_now_ms() + PAUSE_MS;
        fq_crew_add(s->crew, &s->closing);
    }
}

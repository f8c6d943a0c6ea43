#include "server/service_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What one thread of the crew needs to open and decode an update. */
struct scratch {
    fq_arena       arena;
    unsigned char *plain; /* [max_update_bytes] */
};

/* An update that is complete, on its way through the crew. */
typedef struct judging {
    fq_job         job;
    service       *service;
    uint32_t       round;
    seat           seat; /* a copy; owns seat.bytes */
    fq_public_key  key;  /* of its sender */
    fq_client_row *row;
    fq_reason      reason;
    char           text[160];
} judging;

/* ---- set-up ---- */
fq_status uploads_prepare(service *s) {
    const fq_recipe *recipe = &s->experiment->recipe;
    const fq_coding *upload = &recipe->upload;
    size_t           size = fq_model_size(s->options->setup->model);
    FQ_TRY(fq_blocks_of_model(s->options->setup->model, upload->block, &s->upload_blocks));
    size_t body = upload->quantizer->body_bytes(size, s->upload_blocks.n, upload->bits);
    s->max_update_bytes = recipe->algorithm->n_up * (body + 256) + 1024 + FQ_SEAL_OVERHEAD;
    s->scratch = calloc(s->options->workers, sizeof *s->scratch);
    if (s->scratch == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu workers", s->options->workers);
    for (size_t i = 0; i < s->options->workers; i++) {
        struct scratch *own = &s->scratch[i];
        FQ_TRY(fq_arena_init(&own->arena, fq_decode_arena_bytes(s->max_update_bytes)));
        own->plain = malloc(s->max_update_bytes);
        if (own->plain == NULL)
            return fq_fail(FQ_ENOMEM, "no memory for an update of %zu bytes", s->max_update_bytes);
    }
    return FQ_OK;
}

void uploads_free(service *s) {
    for (size_t i = 0; s->scratch != NULL && i < s->options->workers; i++) {
        fq_arena_fini(&s->scratch[i].arena);
        free(s->scratch[i].plain);
    }
    free(s->scratch);
    fq_blocks_free(&s->upload_blocks);
}

void uploads_forget(service *s) {
    for (size_t i = 0; i < s->n_seats; i++) {
        free(s->seats[i].bytes);
        s->seats[i].bytes = NULL;
    }
    s->arriving = 0;
}

/* ---- the verdict, on any thread ---- */
static fq_reason reason_of(fq_status status) {
    switch (status) {
    case FQ_EAUTH: return FQ_REASON_UNSEALED;
    case FQ_ENONFINITE: return FQ_REASON_NONFINITE;
    case FQ_ELIMIT: return FQ_REASON_TOO_LARGE;
    case FQ_EPROTO: return FQ_REASON_WRONG_SHAPE;
    case FQ_ESTALE: return FQ_REASON_STALE;
    default: return FQ_REASON_MALFORMED;
    }
}

static fq_status open_and_decode(service *s, struct scratch *own, const seat *t,
                                 const fq_public_key *sender, fq_cbytes sealed, fq_update *update) {
    const fq_recipe *recipe = &s->experiment->recipe;
    fq_binding       binding = {.round = s->plan.round, .client = t->client};
    memcpy(binding.run, s->run, sizeof binding.run);
    memcpy(binding.model, s->formats[t->model_bits].digest, sizeof binding.model);
    FQ_TRY(fq_unseal(s->options->keys, sender, &binding, sealed, own->plain));
    const fq_expected expected = {.size = fq_model_size(s->options->setup->model),
                                  .blocks = s->upload_blocks,
                                  .block = recipe->upload.block,
                                  .n_vectors = recipe->algorithm->n_up,
                                  .limits = &s->experiment->server.limits};
    fq_arena_reset(&own->arena);
    FQ_TRY(fq_decode_update((fq_cbytes){own->plain, sealed.size - FQ_SEAL_OVERHEAD}, &expected,
                            &own->arena, update));
    if (update->client != t->client || update->round != s->plan.round)
        return fq_fail(FQ_ESTALE,
                       "an update of client %" PRIu64 " and round %" PRIu32
                       " came for client %" PRIu64 " and round %" PRIu32,
                       update->client, update->round, t->client, s->plan.round);
    if (update->n_examples > t->examples)
        return fq_fail(FQ_ELIMIT,
                       "client %" PRIu64 " claims %" PRIu64
                       " examples; its hello said at most %" PRIu64,
                       t->client, update->n_examples, t->examples);
    return FQ_OK;
}

fq_reason take_update(service *s, size_t worker, const seat *t, const fq_public_key *sender,
                      fq_cbytes sealed, bool journal, fq_client_row *row, char text[160]) {
    fq_update               update;
    const fq_journal_update record = {
        .client = t->client, .model_bits = t->model_bits, .sealed = sealed};
    fq_status status = open_and_decode(s, &s->scratch[worker], t, sender, sealed, &update);
    text[0] = '\0';
    if (status == FQ_OK) {
        row->n_examples = update.n_examples;
        row->n_steps = update.n_steps;
        row->loss = update.loss;
        row->drift = update.drift;
        row->bytes_up = sealed.size - FQ_SEAL_OVERHEAD;
    }
    /* On disk before it counts: what the sums hold can be made again from the journal. */
    if (status == FQ_OK && journal && fq_journal_add(s->journal, &record) != FQ_OK) {
        snprintf(text, 160, "%s", fq_status_text());
        return FQ_REASON_BUSY;
    }
    if (status == FQ_OK)
        status = fq_round_accept(s->server, worker, &update);
    if (status == FQ_OK)
        return FQ_REASON_NONE;
    snprintf(text, 160, "%s", fq_status_text());
    return reason_of(status);
}

/* ---- the crew's job ---- */
static void grant_waiting(service *s);

static void judge(fq_job *job, size_t worker) {
    judging *j = (judging *)job;
    j->reason = take_update(j->service, worker, &j->seat, &j->key,
                            (fq_cbytes){j->seat.bytes, j->seat.total}, true, j->row, j->text);
}

static void judged(fq_job *job) {
    judging *j = (judging *)job;
    service *s = j->service;
    seat    *t = seat_of(s, j->seat.client);
    s->arriving -= j->seat.total < s->arriving ? j->seat.total : s->arriving;
    free(j->seat.bytes);
    if (j->reason == FQ_REASON_BUSY) { /* the disk: the client keeps its update and asks again */
        t->state = SEAT_ASKED;
        pause_run(s, j->text);
        peer *p = &s->peers[t->peer];
        peer_refuse(s, p, &p->route, FQ_REASON_BUSY, "the coordinator's disk is full", PAUSE_MS);
    } else {
        resume_run(s);
        seat_judge(s, t, j->reason, j->text);
    }
    free(j);
    grant_waiting(s);
}

static void start_judging(service *s, seat *t) {
    judging *j = calloc(1, sizeof *j);
    if (j == NULL) { /* ask for it again later */
        t->state = SEAT_ASKED;
        free(t->bytes);
        t->bytes = NULL;
        s->arriving -= t->total;
        return;
    }
    *j = (judging){.job = {.work = judge, .done = judged},
                   .service = s,
                   .round = s->plan.round,
                   .seat = *t,
                   .key = s->peers[t->peer].entry.key,
                   .row = &s->rows[t - s->seats]};
    t->bytes = NULL;
    t->state = SEAT_JUDGING;
    fq_crew_add(s->crew, &j->job);
}

/* ---- what clients say ---- */
static void send_want(service *s, const seat *t) {
    peer      *p = &s->peers[t->peer];
    fq_message message = {.kind = FQ_UPDATE_WANT,
                          .of.update_part = {.round = s->plan.round,
                                             .client = t->client,
                                             .total = t->total,
                                             .offset = t->have,
                                             .model_bits = t->model_bits}};
    memcpy(message.of.update_part.nonce, t->nonce, sizeof t->nonce);
    peer_send(s, p, &message, NULL);
}

/* Room for the seat's update, or a place in the queue. */
static void grant(service *s, seat *t) {
    size_t limit = (size_t)s->config->upload_mib << 20;
    t->queued = s->arriving > 0 && s->arriving + t->total > limit;
    if (t->queued)
        return;
    t->bytes = malloc(t->total);
    t->queued = t->bytes == NULL;
    if (t->queued)
        return;
    t->have = 0;
    t->state = SEAT_RECEIVING;
    s->arriving += t->total;
    send_want(s, t);
}

static void grant_waiting(service *s) {
    for (size_t i = 0; i < s->n_seats; i++)
        if (s->seats[i].queued && s->seats[i].state == SEAT_ASKED)
            grant(s, &s->seats[i]);
}

static void send_receipt(service *s, peer *p, uint32_t round, uint64_t client, fq_reason reason,
                         const char *text) {
    fq_message message = {.kind = FQ_RECEIPT,
                          .of.receipt = {.round = round, .client = client, .reason = reason}};
    snprintf(message.of.receipt.text, sizeof message.of.receipt.text, "%s", text);
    peer_send(s, p, &message, NULL);
}

/* An update for a round that is not open: if it was counted then, its receipt was lost. */
static void answer_old_offer(service *s, peer *p, const fq_update_part *part) {
    bool counted = part->client < s->n_clients &&
                   s->owner[part->client] == (uint32_t)(p - s->peers) &&
                   s->last_accepted[part->client] == part->round + 1;
    bool      late = part->round < s->round || s->phase != TRAINING;
    fq_reason reason = counted ? FQ_REASON_NONE : (late ? FQ_REASON_LATE : FQ_REASON_STALE);
    send_receipt(s, p, part->round, part->client, reason, counted ? "" : "its round is not open");
    if (!counted)
        peer_count_refusal(s, p, reason);
}

void upload_offer(service *s, peer *p, const fq_update_part *part) {
    if (s->phase != TRAINING || part->round != s->plan.round) {
        answer_old_offer(s, p, part);
        return;
    }
    seat *t = seat_of(s, part->client);
    if (t == NULL || t->peer != (uint32_t)(p - s->peers)) {
        bool mine =
            part->client < s->n_clients && s->owner[part->client] == (uint32_t)(p - s->peers);
        fq_reason reason = mine ? FQ_REASON_NOT_ASKED : FQ_REASON_NOT_YOURS;
        send_receipt(s, p, part->round, part->client, reason, "not asked in this round");
        peer_count_refusal(s, p, reason);
        p->strikes++;
        return;
    }
    if (t->state == SEAT_JUDGED) {
        send_receipt(s, p, part->round, part->client, t->reason, t->text);
        return;
    }
    if (t->state == SEAT_JUDGING)
        return; /* the receipt is on its way */
    if (s->paused && service_now_ms() < s->retry_ms) {
        peer_refuse(s, p, &p->route, FQ_REASON_BUSY, "the coordinator's disk is full", PAUSE_MS);
        return;
    }
    if (part->total == 0) {
        seat_judge(s, t, FQ_REASON_NONFINITE, "training diverged");
        return;
    }
    const model_format *format;
    if (part->total <= FQ_SEAL_OVERHEAD || part->total > s->max_update_bytes) {
        char text[128];
        snprintf(text, sizeof text, "an update of %" PRIu64 " bytes; at most %zu are possible",
                 part->total, s->max_update_bytes);
        seat_judge(s, t, FQ_REASON_TOO_LARGE, text);
        return;
    }
    if (part->model_bits >= N_FORMATS || model_of_bits(s, part->model_bits, &format) != FQ_OK) {
        seat_judge(s, t, FQ_REASON_STALE, "trained on a model that was not sent");
        return;
    }
    if (t->state == SEAT_RECEIVING && memcmp(t->nonce, part->nonce, sizeof t->nonce) == 0 &&
        t->total == part->total) {
        send_want(s, t); /* from where it was cut */
        return;
    }
    if (t->state == SEAT_RECEIVING) {
        free(t->bytes);
        t->bytes = NULL;
        s->arriving -= t->total;
        t->state = SEAT_ASKED;
    }
    memcpy(t->nonce, part->nonce, sizeof t->nonce);
    t->total = (size_t)part->total;
    t->model_bits = part->model_bits;
    t->cpu_ms = part->cpu_ms;
    t->millijoules = part->millijoules;
    grant(s, t);
}

void upload_chunk(service *s, peer *p, const fq_update_part *part, fq_cbytes body) {
    if (s->phase != TRAINING || part->round != s->plan.round)
        return; /* of a round that is over */
    seat *t = seat_of(s, part->client);
    if (t == NULL || t->peer != (uint32_t)(p - s->peers)) {
        peer_refuse(s, p, &p->route, t == NULL ? FQ_REASON_NOT_ASKED : FQ_REASON_NOT_YOURS,
                    "a part of an update that was not asked for", 0);
        return;
    }
    if (t->state != SEAT_RECEIVING || memcmp(t->nonce, part->nonce, sizeof t->nonce) != 0)
        return; /* of an offer that is over */
    if (part->offset > t->total || body.size > t->total - part->offset) {
        peer_refuse(s, p, &p->route, FQ_REASON_MALFORMED, "a part beyond the end of the update", 0);
        return;
    }
    if (part->offset == t->have && body.size > 0 && body.size <= FQ_CHUNK_BYTES) {
        memcpy(t->bytes + t->have, body.data, body.size);
        t->have += body.size;
    } else if (body.size > FQ_CHUNK_BYTES || body.size == 0) {
        peer_refuse(s, p, &p->route, FQ_REASON_MALFORMED, "a chunk of an impossible size", 0);
        return;
    }
    if (t->have < t->total)
        send_want(s, t);
    else if (memcmp(t->bytes, t->nonce, sizeof t->nonce) == 0)
        start_judging(s, t);
    else
        seat_judge(s, t, FQ_REASON_UNSEALED, "the sealed bytes do not begin with their nonce");
}

void seat_judge(service *s, seat *t, fq_reason reason, const char *text) {
    peer          *p = &s->peers[t->peer];
    fq_client_row *row = &s->rows[t - s->seats];
    char           quoted[FQ_LOG_QUOTED];
    if (t->state == SEAT_RECEIVING) {
        free(t->bytes);
        t->bytes = NULL;
        s->arriving -= t->total < s->arriving ? t->total : s->arriving;
    }
    t->state = SEAT_JUDGED;
    t->queued = false;
    t->reason = reason;
    snprintf(t->text, sizeof t->text, "%s", text);
    snprintf(row->verdict, sizeof row->verdict, "%s",
             reason == FQ_REASON_NONE ? "accepted" : fq_reason_name(reason));
    s->n_judged++;
    if (reason == FQ_REASON_NONE) {
        s->n_accepted++;
        p->accepted++;
        p->cpu_ms += t->cpu_ms;
        p->millijoules += t->millijoules;
        p->strikes = 0;
        s->last_accepted[t->client] = s->plan.round + 1;
    } else {
        peer_count_refusal(s, p, reason);
        p->strikes++;
    }
    fq_log_write(
        s->options->log, reason == FQ_REASON_NONE ? FQ_LOG_DEBUG : FQ_LOG_WARN,
        reason == FQ_REASON_NONE ? "update_accepted" : "update_refused",
        "round=%" PRIu32 " client=%" PRIu64 " peer=%s reason=%s cpu_s=%.3f joules=%.1f text=%s",
        s->plan.round + 1, t->client, p->entry.name, fq_reason_name(reason),
        1e-3 * (double)t->cpu_ms, 1e-3 * (double)t->millijoules, fq_log_quote(text, quoted));
    send_receipt(s, p, s->plan.round, t->client, reason, text);
}

/* What the parts of the service share. One thread, the loop's, touches all of it, except where a
 * job says otherwise. */
#ifndef FQ_SERVER_SERVICE_IMPL_H
#define FQ_SERVER_SERVICE_IMPL_H

#include "base/crew.h"
#include "server/journal.h"
#include "server/roster.h"
#include "server/service.h"
#include "wire/codec.h"
#include "wire/socket.h"

typedef struct service service;

/* ---- peers (server/peers.c): who is registered, and who of them is here ---- */
typedef struct peer {
    fq_roster_entry entry;
    fq_route        route;
    fq_connection   connection;
    bool            joined, away; /* said hello; not heard of for three heartbeats */
    uint32_t        planned;      /* rounds (from 1): the last whose plan has left for it */
    fq_session      session;
    int64_t         heard_ms, banned_until_ms;
    int64_t         drop_ms; /* when its connection is closed: it gets the reason first; 0: stays */
    uint64_t       *hosted;  /* [n_hosted] clients that it trains */
    size_t          n_hosted;
    char            software[64];
    size_t          n_widths;
    uint8_t         widths[FQ_MAX_WIDTHS], model_bits;
    bool            able; /* has the memory that a turn needs, as far as it says */
    uint64_t        strikes, accepted, refused, bytes_in, bytes_out;
    uint64_t        cpu_ms, millijoules; /* of the updates accepted, as it says */
    uint64_t        refusals[FQ_REASON_END];
} peer;

static const uint32_t NOBODY = UINT32_MAX;

fq_status peers_load(service *s); /* anew, if the list has changed */
void      peers_free(service *s);
peer     *peer_of_key(service *s, const fq_public_key *key);
bool      peer_is_here(const peer *p);
void      peer_hello(service *s, peer *p, const fq_arrival *arrival, const fq_hello *hello);
void      peer_heard(peer *p);
void      peers_tick(service *s); /* who has gone quiet? */
void      peer_drop(service *s, peer *p, fq_reason reason, const char *text);
/* Send, without waiting. false: its queue is full, or it is gone. What is lost that way a client
 * asks for again, and plans are sent again with its heartbeat. */
bool peer_send(service *s, peer *p, const fq_message *message, fq_shared *body);
void peer_count_refusal(service *s, peer *p, fq_reason reason);
void peer_refuse(service *s, peer *p, const fq_route *route, fq_reason reason, const char *text,
                 uint32_t retry_ms);

/* ---- models (server/models.c): the model of the open round, coded once for each format ---- */
typedef struct model_format {
    unsigned char digest[FQ_DIGEST_BYTES];
    uint64_t      bytes;
    size_t        n_chunks;
    fq_shared   **chunks; /* [n_chunks] NULL: not made yet */
} model_format;

enum { N_FORMATS = 9 }; /* 0: as the settings say; 1 to 8 bits */
/* Makes it on first use. */
fq_status model_of_bits(service *s, uint8_t bits, const model_format **out);
void      models_forget(service *s);
void      model_request(service *s, peer *p, const fq_model_part *part);

/* ---- rounds (server/rounds.c): gathering, opening, closing ---- */
typedef enum seat_state { SEAT_ASKED, SEAT_RECEIVING, SEAT_JUDGING, SEAT_JUDGED } seat_state;
/* One client of the open round's cohort. */
typedef struct seat {
    uint64_t       client, examples;
    uint32_t       peer;
    seat_state     state;
    bool           queued; /* offered; waits for room */
    fq_reason      reason;
    char           text[160];
    unsigned char  nonce[FQ_SEAL_NONCE_BYTES];
    uint8_t        model_bits;
    uint64_t       cpu_ms, millijoules; /* of the turn, as offered */
    unsigned char *bytes;               /* [total] the sealed update as far as it has come */
    size_t         total, have;
} seat;

typedef enum phase { GATHERING, TRAINING, CLOSING, FINISHED } phase;

enum { PAUSE_MS = 1000 }; /* between tries to write to a full disk */
/* The disk did not take what had to be written: nothing is acknowledged until it does. */
void      pause_run(service *s, const char *why);
void      resume_run(service *s);
void      rounds_tick(service *s);
fq_status rounds_restore(service *s); /* the round that was open when the process ended */
seat     *seat_of(service *s, uint64_t client);
void      seat_judge(service *s, seat *t, fq_reason reason, const char *text);
void      send_plan(service *s, peer *p);

/* ---- uploads (server/uploads.c) ---- */
fq_status uploads_prepare(service *s);
void      uploads_free(service *s);
void      upload_offer(service *s, peer *p, const fq_update_part *part);
void      upload_chunk(service *s, peer *p, const fq_update_part *part, fq_cbytes body);
void      uploads_forget(service *s); /* of a round that is over */
/* Open, decode and count a sealed update; `worker` names the scratch. Any thread. */
fq_reason take_update(service *s, size_t worker, const seat *t, const fq_public_key *sender,
                      fq_cbytes sealed, bool journal, fq_client_row *row, char text[160]);

/* ---- all of it ---- */
struct service {
    const fq_service_options *options;
    const fq_server_config   *config;
    fq_experiment            *experiment;
    fq_server                *server;
    fq_listener              *listener;
    fq_crew                  *crew;
    fq_journal               *journal;
    fq_arena                  arena; /* of the message at hand */
    fq_buffer                 settings, head;
    unsigned char             run[FQ_RUN_ID_BYTES];
    bool                      simulated;
    fq_status                 status; /* not FQ_OK: the loop ends */
    char                      reason[1024];
    int64_t                   began_ms, board_ms, roster_ms;

    peer     *peers; /* [n_peers] by id */
    size_t    n_peers;
    uint32_t *by_key; /* [n_peers] ids in the order of keys */
    uint64_t  roster_stamp;
    uint64_t  n_clients;
    uint32_t *owner;         /* [n_clients] id of the peer that trains it, or NOBODY */
    uint32_t *examples;      /* [n_clients] at most, as its hello said */
    uint32_t *last_accepted; /* [n_clients] rounds (from 1) that its last update counted in */
    bool     *given_up;      /* [n_clients] not waited for: was missing when a gathering ended */
    uint64_t  messages, illegal, strangers, bytes_in, bytes_out;
    uint64_t  refusals[FQ_REASON_END];

    phase          phase;
    bool           paused; /* the disk did not take what had to be written */
    char           why_paused[256];
    int64_t        retry_ms, gather_ms, deadline_ms, round_began_ms, linger_ms;
    seat          *seats; /* [n_seats] ascending clients */
    fq_client_row *rows;  /* [n_seats] */
    size_t         n_seats, wanted, n_accepted, n_judged;
    fq_plan        plan;
    model_format   formats[N_FORMATS];
    fq_job         closing;
    fq_round_row   round_row;
    fq_status      closed;
    char           closed_text[512];
    bool           saving; /* the job at hand saves a closed round again */
    /* As the loop knows them; the crew counts on and writes the row while it closes a round. */
    uint32_t round; /* rounds closed */
    double   loss;  /* of the last one; NaN: none yet */
    double   seconds_sum;
    uint32_t rounds_done;
    double   float_accuracy, low_accuracy; /* of the last evaluation; negative: none */
    int      low_bits;

    size_t          max_update_bytes, arriving; /* bytes that grants have been given for */
    struct scratch *scratch;                    /* [workers] */
    fq_blocks       upload_blocks;
    fq_run_result  *result;
};

int64_t service_now_ms(void);
void    service_fail(service *s, fq_status status); /* with the text at hand: the loop ends */

#endif

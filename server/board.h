/* What the coordinator shows of itself: the service writes a new state of the board a few times a
 * second, the HTTP threads (server/http.c) and `status` read the last one. Plain data, copied under
 * one lock, so that no reader can hold up the service.
 */
#ifndef FQ_SERVER_BOARD_H
#define FQ_SERVER_BOARD_H

#include "wire/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FQ_NAME_BYTES = 64 };

typedef enum fq_peer_state {
    FQ_PEER_AWAY,    /* registered, not connected */
    FQ_PEER_JOINED,  /* connected, nothing to do */
    FQ_PEER_WORKING, /* asked in the open round, no verdict yet */
    FQ_PEER_DONE,    /* all its clients of the open round have a verdict */
    FQ_PEER_REVOKED,
} fq_peer_state;
extern const char *const fq_peer_state_names[]; /* away joined working done revoked */

typedef struct fq_board_peer {
    char          name[FQ_NAME_BYTES];
    char          key[FQ_KEY_TEXT];
    fq_peer_state state;
    uint64_t      first_client, n_clients; /* n_clients: 0 until it has said hello */
    char          software[64];
    size_t        n_widths;
    uint8_t       widths[FQ_MAX_WIDTHS]; /* n_widths 0: all */
    int64_t       heard_ms;              /* since its last message; -1: never in this process */
    uint64_t      accepted, refused, bytes_in, bytes_out;
    double        cpu_s, joules; /* of its accepted updates, as it says; 0: it does not say */
    uint64_t      refusals[FQ_REASON_END]; /* by reason */
} fq_board_peer;

typedef struct fq_board {
    char     name[FQ_NAME_BYTES], phase[32]; /* gathering, training, closing, paused, finished */
    char     note[256];                      /* why it is paused, say; "" */
    uint32_t round, rounds;                  /* closed so far, in all */
    size_t   asked, accepted, refused;       /* of the open round */
    int64_t  deadline_ms;                    /* left; -1: no round is open */
    double   uptime_s, seconds_per_round;    /* the latter: mean over this process, 0: none yet */
    double   loss;                           /* of the last round; NaN: none yet */
    double   float_accuracy, low_accuracy;   /* of the last evaluation; negative: none yet */
    int      low_bits;
    /* messages: received, whatever they are; strangers: connections not admitted */
    uint64_t       bytes_in, bytes_out, messages, illegal, strangers;
    uint64_t       refusals[FQ_REASON_END];
    char           hash[65];  /* of the final model; "" until then */
    char           page[128]; /* where it is served; "" if nowhere */
    size_t         n_peers;
    fq_board_peer *peers; /* [n_peers] */
} fq_board;

typedef struct fq_board_place fq_board_place;
FQ_MUST_CHECK fq_status       fq_board_place_create(fq_board_place **out);
void                          fq_board_place_destroy(fq_board_place **place);
/* Copies `board`, peers included. */
FQ_MUST_CHECK fq_status fq_board_put(fq_board_place *place, const fq_board *board);
/* A copy whose peers the caller frees with fq_board_fini. */
FQ_MUST_CHECK fq_status fq_board_get(fq_board_place *place, fq_board *out);
void                    fq_board_fini(fq_board *board);
/* Append the board as one JSON document (docs/observability.md names its members), without a
 * newline. */
FQ_MUST_CHECK fq_status fq_board_json(const fq_board *board, fq_buffer *out);

/* ---- HTTP (server/http.c), the only user of libmicrohttpd ---- */
typedef struct fq_http fq_http;
typedef struct fq_http_options {
    const char     *address; /* 127.0.0.1 */
    uint16_t        port;    /* 0: any free one */
    fq_board_place *place;
    const char     *folder; /* of the run: run.db for the charts of the page */
    /* Names under which browsers may ask, besides the address, "localhost" and, if every address
     * is listened on, any numeric one: a page of another site whose name was made to point here
     * must not read anything. Without port; a proxy's public name, say. */
    const char *const *names; /* [n_names], borrowed for the call */
    size_t             n_names;
} fq_http_options;
/* Threads of its own. FQ_EIO: cannot bind, with address, port and reason. FQ_EINVAL: no such
 * address. */
FQ_MUST_CHECK fq_status fq_http_start(fq_http **out, const fq_http_options *options);
uint16_t                fq_http_port(const fq_http *http);
void                    fq_http_stop(fq_http **http);

#endif

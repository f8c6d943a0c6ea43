/* What coordinator and client say to each other, as plain structs, to protobuf bytes and back; and
 * the legal order of it. docs/wire.md has the grammar; proto/fq.proto the fields.
 *
 * A message is a head (this file) and, for chunks, a body of raw bytes beside it. Decoding checks
 * every count before it believes it; unknown fields of a newer minor version are ignored.
 */
#ifndef FQ_WIRE_MESSAGES_H
#define FQ_WIRE_MESSAGES_H

#include "base/arena.h"
#include "base/bytes.h"
#include "wire/seal.h"

enum {
    FQ_WIRE_MAJOR = 1, /* peers of another major version do not talk */
    FQ_WIRE_MINOR = 0, /* a newer minor version only adds fields */
    FQ_MAX_HEAD_BYTES = 1 << 20,
    FQ_MESSAGE_ARENA_BYTES = 4 << 20, /* in which any head decodes */
    FQ_MAX_HOSTED = 65536,            /* clients that one peer may stand for */
    FQ_MAX_WIDTHS = 9,
    FQ_MAX_TEXT = 512,
    FQ_MAX_SETTINGS_BYTES = 256 * 1024,
    FQ_MAX_CHANNELS = 16,
    FQ_CHUNK_BYTES = 256 * 1024,
};

typedef enum fq_message_kind {
    FQ_HELLO = 1,     /* client: who and what I am */
    FQ_WELCOME,       /* coordinator: the run that you have joined */
    FQ_REFUSAL,       /* coordinator: not that, and why */
    FQ_HEARTBEAT,     /* both */
    FQ_PLAN,          /* coordinator: train these clients in this round */
    FQ_MODEL_REQUEST, /* client: send me a part of the model */
    FQ_MODEL_CHUNK,   /* coordinator, with a body */
    FQ_UPDATE_OFFER,  /* client: an update is ready */
    FQ_UPDATE_WANT,   /* coordinator: send it, from here */
    FQ_UPDATE_CHUNK,  /* client, with a body */
    FQ_RECEIPT,       /* coordinator: the verdict on an update, final */
    FQ_ROUND_OVER,    /* coordinator: stop training for this round */
    FQ_RUN_OVER,      /* coordinator: nothing more will come */
    FQ_BYE,           /* client: I leave */
} fq_message_kind;

/* Why something was refused; on the wire as these numbers, in tables as fq_reason_name. */
typedef enum fq_reason {
    FQ_REASON_NONE = 0,
    FQ_REASON_MALFORMED = 1,    /* does not decode */
    FQ_REASON_ORDER = 2,        /* not legal now */
    FQ_REASON_VERSION = 3,      /* another major version */
    FQ_REASON_NOT_JOINED = 4,   /* say hello first */
    FQ_REASON_NOT_YOURS = 5,    /* that client is another peer's, or beyond the run's */
    FQ_REASON_NOT_ASKED = 6,    /* that client is not in this round's cohort */
    FQ_REASON_LATE = 7,         /* the round is closed */
    FQ_REASON_STALE = 8,        /* of another run or model */
    FQ_REASON_UNSEALED = 9,     /* does not open */
    FQ_REASON_NONFINITE = 10,   /* NaN or infinity */
    FQ_REASON_TOO_LARGE = 11,   /* values, examples or bytes beyond the limits */
    FQ_REASON_WRONG_SHAPE = 12, /* of another network */
    FQ_REASON_FLOOD = 13,       /* too many messages */
    FQ_REASON_REVOKED = 14,
    FQ_REASON_BUSY = 15, /* try again after retry_ms */
    FQ_REASON_END,
} fq_reason;
const char *fq_reason_name(fq_reason reason); /* "non-finite"; "unknown" for what is none */

typedef struct fq_hosted {
    uint64_t client;   /* the id that it wants; ignored unless the hello is of a simulation */
    uint32_t examples; /* rounded up to a power of two: the coordinator need not know more */
} fq_hosted;

typedef struct fq_hello {
    uint32_t   major, minor;
    char       software[64];
    bool       simulation; /* stands for clients of the experiment's own split */
    size_t     n_hosted;   /* 1 for a device; FQ_MAX_HOSTED fit, whatever their ids */
    fq_hosted *hosted;     /* [n_hosted] ascending ids */
    size_t     n_widths;   /* of weights that it can run; 0: all */
    uint8_t    widths[FQ_MAX_WIDTHS];
    uint8_t    model_bits;   /* at which it wants the model; 0: as the settings say */
    uint64_t   memory_bytes; /* that it may use; 0: unknown */
} fq_hello;

typedef struct fq_welcome {
    uint32_t      minor; /* the lower of the two */
    unsigned char run[FQ_RUN_ID_BYTES];
    uint64_t      client;                           /* of a device: the id that it has */
    fq_cbytes     settings;                         /* resolved settings.yaml */
    uint32_t      channels, height, width, classes; /* of an example */
    size_t        n_norm;
    float         mean[FQ_MAX_CHANNELS], std[FQ_MAX_CHANNELS];
    uint32_t      heartbeat_ms, window; /* chunks on the way at once */
} fq_welcome;

typedef struct fq_refusal {
    fq_reason reason;
    uint32_t  retry_ms; /* 0: do not */
    char      text[FQ_MAX_TEXT];
} fq_refusal;

typedef struct fq_heartbeat {
    uint64_t count;
    uint32_t training; /* clients at work just now */
} fq_heartbeat;

typedef struct fq_wire_plan {
    uint32_t      round;
    size_t        n_clients;
    uint64_t     *clients; /* [n_clients] of this peer, ascending */
    unsigned char model[FQ_DIGEST_BYTES];
    uint64_t      model_bytes; /* of the model message that chunks make up */
    uint8_t       model_bits;  /* 0: as the settings say */
    int64_t       time_left_ms;
} fq_wire_plan;

/* Also the head of a model chunk, whose body is `bytes` long. */
typedef struct fq_model_part {
    uint32_t round;
    uint8_t  model_bits;
    uint64_t offset;
    uint32_t bytes;
} fq_model_part;

/* Offer, want and chunk speak of one sealed update. */
typedef struct fq_update_part {
    uint32_t      round;
    uint64_t      client;
    unsigned char nonce[FQ_SEAL_NONCE_BYTES]; /* names the sealed bytes: their first ones */
    uint64_t      total;                      /* bytes */
    uint64_t      offset; /* want: everything before it has arrived; chunk: where the body goes */
    uint8_t       model_bits;
    /* offer: what the turn took; 0: not known. At most FQ_MAX_COST, whatever a peer says. */
    uint64_t cpu_ms, millijoules;
} fq_update_part;
#define FQ_MAX_COST ((uint64_t)1 << 40)

typedef struct fq_receipt {
    uint32_t  round;
    uint64_t  client;
    fq_reason reason; /* none: accepted, and on disk */
    char      text[FQ_MAX_TEXT];
} fq_receipt;

typedef struct fq_run_end {
    uint32_t rounds;
    char     hash[65]; /* SHA-256 of model.fq */
} fq_run_end;

typedef struct fq_message {
    fq_message_kind kind;
    union {
        fq_hello       hello;
        fq_welcome     welcome;
        fq_refusal     refusal;
        fq_heartbeat   heartbeat;
        fq_wire_plan   plan;
        fq_model_part  model_part;  /* request, chunk */
        fq_update_part update_part; /* offer, want, chunk */
        fq_receipt     receipt;
        uint32_t       round_over;
        fq_run_end     run_over;
    } of;
} fq_message;

/* Append the head to `out`. FQ_ENOMEM; FQ_ELIMIT: more than FQ_MAX_HEAD_BYTES. */
FQ_MUST_CHECK fq_status fq_encode_message(const fq_message *message, fq_buffer *out);
/* The lists and settings of `out` lie in `arena`. FQ_EPROTO: not a message of ours, with what was
 * found; FQ_ELIMIT: beyond the limits above; FQ_ENONFINITE; FQ_ENOMEM: the arena is smaller than
 * FQ_MESSAGE_ARENA_BYTES. `out` is then all zero. */
FQ_MUST_CHECK fq_status fq_decode_message(fq_cbytes head, fq_arena *arena, fq_message *out);
const char             *fq_message_name(fq_message_kind kind); /* "update-offer" */

/* ---- the legal order, one of these for each peer at the coordinator ---- */
typedef enum fq_session_state {
    FQ_SESSION_NEW,    /* connected, nothing said */
    FQ_SESSION_JOINED, /* hello was answered by welcome */
    FQ_SESSION_LEFT,   /* bye, or dropped */
} fq_session_state;

typedef struct fq_session {
    fq_session_state state;
    /* More than this is a flood. Tokens refill with time; garbage costs more than one. */
    double   tokens;
    int64_t  refilled_ms;
    uint64_t received, illegal; /* messages */
} fq_session;

enum { FQ_SESSION_RATE = 2000, FQ_SESSION_BURST = 8000, FQ_GARBAGE_COST = 40 };

void fq_session_begin(fq_session *session, int64_t now_ms);
/* May this kind come now? FQ_EPROTO: not in this order; FQ_ELIMIT: a flood. The caller then refuses
 * or drops. `kind` 0 stands for bytes that did not decode. A bye leads to LEFT, in which nothing is
 * legal; what else changes the state is the caller's verdict on a hello. */
FQ_MUST_CHECK fq_status fq_session_take(fq_session *session, fq_message_kind kind, int64_t now_ms);

#endif

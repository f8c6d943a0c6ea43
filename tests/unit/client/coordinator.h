/* A coordinator that plays a script, and counts what a client sends it. The model is the same in
 * every round, so what an update says depends on the round and on the client's own state alone. */
#ifndef FQ_TESTS_COORDINATOR_H
#define FQ_TESTS_COORDINATOR_H

#include "tiny.h"
#include "wire/messages.h"
#include "wire/socket.h"

#include <sys/types.h>

enum { MOST_ROUNDS = 64, MOST_CLIENTS = 32 };

typedef enum mood {
    KIND,        /* as it should be */
    ROGUE,       /* before every plan, everything that makes no sense */
    HASTY,       /* the first round is over when its first update is offered */
    NOT_YOURS,   /* refuses the hello for good */
    REVOKED,     /* refuses after the first update */
    FORGETFUL,   /* it ends and comes back before each receipt */
    UNIMPRESSED, /* refuses every update of round 0 as too large */
    NEWER, /* of a later minor version: unknown fields in every message, and unknown messages */
    OTHER, /* of another major version, and says so */
} mood;

typedef struct coordinator {
    mood          mood;
    bool          deaf;          /* until the next hello, as one that has just come back */
    uint32_t      rounds, round; /* round: rounds closed so far */
    uint64_t      n_clients;     /* 0 .. n - 1, all asked in each round */
    fq_keypair   *keys;
    fq_listener  *listener;
    fq_tiny       tiny;
    fq_buffer     settings;
    fq_public_key client;
    unsigned char run[FQ_RUN_ID_BYTES];
    fq_buffer     head, arriving[MOST_CLIENTS];
    fq_arena      arena;
    bool          taken[MOST_ROUNDS][MOST_CLIENTS], kept_back[MOST_ROUNDS][MOST_CLIENTS];
    unsigned char digest[MOST_ROUNDS][MOST_CLIENTS][FQ_DIGEST_BYTES]; /* of the plain update */
    size_t hellos, offers, changed, requests, unsealed; /* changed: another update than before */
} coordinator;

/* Ends the test program if it cannot be. */
void coordinator_begin(coordinator *c, const char *settings);
void coordinator_end(coordinator *c);
/* A run from the start, with another id. */
void coordinator_restart(coordinator *c, mood how, uint32_t rounds, uint64_t n_clients);
/* Until that process ends -> its exit code, or -1 and a dead process after 20 s. */
int coordinator_serve(coordinator *c, pid_t client);

#endif

/* Encrypted sockets: the coordinator listens, clients dial. The only user of ZeroMQ.
 *
 * CurveZMQ, always: a client dials with the coordinator's public key pinned, and the coordinator
 * asks `admit` about each client's key before a single frame of it is taken (ZAP). A message is a
 * head, which is small, and a body, which may be empty. Neither side blocks in send or receive.
 * A socket belongs to the thread that made it.
 */
#ifndef FQ_WIRE_SOCKET_H
#define FQ_WIRE_SOCKET_H

#include "base/bytes.h"
#include "wire/keys.h"

#include <stdint.h>

/* Bytes that many sends share without copying; counted references, freed with the last. */
typedef struct fq_shared fq_shared;
/* Takes over the buffer's memory. FQ_ENOMEM: the buffer is left alone. */
FQ_MUST_CHECK fq_status fq_shared_create(fq_shared **out, fq_buffer *buffer);
fq_shared              *fq_shared_keep(fq_shared *shared); /* one more reference */
void                    fq_shared_release(fq_shared **shared);
fq_cbytes               fq_shared_bytes(const fq_shared *shared);

enum { FQ_ROUTE_BYTES = 16, FQ_ADDRESS_BYTES = 64 };

/* A connection as the coordinator addresses it; a peer that connects anew gets a new one. */
typedef struct fq_route {
    unsigned char bytes[FQ_ROUTE_BYTES];
    uint8_t       size;
} fq_route;
bool fq_route_equal(const fq_route *a, const fq_route *b);

/* What fq_listener_drop takes; of one TCP connection, never of a later one. */
typedef uint64_t fq_connection;
#define FQ_NO_CONNECTION 0

/* What has come in; valid until the next receive. */
typedef struct fq_arrival {
    fq_route      route;  /* listener only, like the next three */
    fq_public_key sender; /* proven by the handshake, whatever the message says */
    char          address[FQ_ADDRESS_BYTES]; /* of the peer, for people */
    fq_connection connection;                /* FQ_NO_CONNECTION: it has ended already */
    bool          two_frames; /* else head and body are empty, and the frames are thrown away */
    fq_cbytes     head, body;
} fq_arrival;

/* ---- coordinator ---- */
typedef struct fq_listener fq_listener;

typedef struct fq_listener_options {
    const char       *endpoint; /* tcp://ADDRESS:PORT; port * takes a free one */
    const fq_keypair *keys;
    /* May this key connect? Called on the listener's thread, within fq_listener_wait. */
    bool (*admit)(void *context, const fq_public_key *key, const char *address);
    void  *context;
    int    io_threads;
    size_t max_frame_bytes; /* a larger frame ends its connection before it is read */
    int    queue;           /* messages waiting for one slow peer, each way; more are not taken */
} fq_listener_options;

FQ_MUST_CHECK fq_status fq_listener_create(fq_listener **out, const fq_listener_options *options);
void                    fq_listener_destroy(fq_listener **listener);
const char             *fq_listener_endpoint(const fq_listener *listener); /* with the real port */

/* Wait until a message is there, `fd` (or -1) is readable, or the time is over; answers questions
 * of admission meanwhile. Interrupted by a signal or a question: FQ_OK, with neither. */
FQ_MUST_CHECK fq_status fq_listener_wait(fq_listener *listener, int64_t timeout_ms, int fd,
                                         bool *message_ready, bool *fd_ready);
/* FQ_ETIMEOUT: none is there. */
FQ_MUST_CHECK fq_status fq_listener_receive(fq_listener *listener, fq_arrival *out);
/* `body` may be NULL; it is shared, not copied. FQ_ETIMEOUT: the peer's queue is full, or the peer
 * is gone. */
FQ_MUST_CHECK fq_status fq_listener_send(fq_listener *listener, const fq_route *route,
                                         fq_cbytes head, fq_shared *body);
/* Close the connection that an arrival came by, if it is still there. Messages on their way to it
 * are lost; those that have arrived are still received. */
void fq_listener_drop(fq_listener *listener, fq_connection connection);
/* ZeroMQ keeps the frames of a message until all of them are there, and does not limit how many. So
 * close a connection that has sent more than FQ_HOARD_BYTES since its last whole message; to be
 * called a few times a second. false: there is none (any more); else the address of one. */
enum { FQ_HOARD_BYTES = 32 << 20 };
bool fq_listener_drop_hoarder(fq_listener *listener, char address[FQ_ADDRESS_BYTES]);

/* ---- client ---- */
typedef struct fq_dialer fq_dialer;

typedef enum fq_dialer_state {
    FQ_DIALER_CONNECTING, /* trying, for ever, with growing pauses that differ between clients */
    FQ_DIALER_CONNECTED,
    FQ_DIALER_REFUSED, /* the last attempt reached a coordinator that does not admit our key */
} fq_dialer_state;

/* Why attempts fail, since the last connection. */
typedef enum fq_dialer_trouble {
    FQ_DIALER_NO_TROUBLE,
    FQ_DIALER_NOBODY,       /* the name is not known, or nobody listens there */
    FQ_DIALER_NO_HANDSHAKE, /* somebody does, who is not the coordinator of that key, or is gone at
                               once */
} fq_dialer_trouble;

/* Threads and descriptors that many dialers of one process share. */
typedef struct fq_dialer_room fq_dialer_room;
FQ_MUST_CHECK fq_status       fq_dialer_room_create(fq_dialer_room **out, int io_threads,
                                                    int most_dialers);
void                          fq_dialer_room_destroy(fq_dialer_room **room); /* after its dialers */

typedef struct fq_dialer_options {
    const char          *endpoint; /* tcp://HOST:PORT */
    const fq_public_key *server;
    const fq_keypair    *keys;                   /* must live as long as the dialer */
    int64_t              retry_ms, retry_max_ms; /* > 0: first and longest pause between attempts */
    size_t               max_frame_bytes;
    int                  queue;
    fq_dialer_room      *room; /* NULL: one of its own */
} fq_dialer_options;

FQ_MUST_CHECK fq_status fq_dialer_create(fq_dialer **out, const fq_dialer_options *options);
void                    fq_dialer_destroy(fq_dialer **dialer); /* gives queued messages a second */
/* As the listener's. Also returns early when the state changes. Attempts are made from within it.
 */
FQ_MUST_CHECK fq_status fq_dialer_wait(fq_dialer *dialer, int64_t timeout_ms, int fd,
                                       bool *message_ready, bool *fd_ready);
FQ_MUST_CHECK fq_status fq_dialer_receive(fq_dialer *dialer, fq_arrival *out);
/* FQ_ETIMEOUT: the queue is full. */
FQ_MUST_CHECK fq_status fq_dialer_send(fq_dialer *dialer, fq_cbytes head, fq_cbytes body);
fq_dialer_state         fq_dialer_now(const fq_dialer *dialer);
fq_dialer_trouble       fq_dialer_trouble_of(const fq_dialer *dialer);
/* Counts completed handshakes: a change means a new connection, which must say hello again. */
uint64_t fq_dialer_connections(const fq_dialer *dialer);

#endif

/* A question of the ZeroMQ Authentication Protocol (RFC 27): may this key connect? Apart from the
 * socket that it comes by, so that it can be tested with any bytes. */
#ifndef FQ_WIRE_ZAP_H
#define FQ_WIRE_ZAP_H

#include "wire/socket.h"

/* Version, request, domain, address, identity, mechanism, key. */
enum { FQ_ZAP_FRAMES = 7 };

/* frames [FQ_ZAP_FRAMES], of which min(n, FQ_ZAP_FRAMES) have come -> key, and the address as one
 * printable word. false: it is not about a CURVE key. */
bool fq_zap_read(const fq_cbytes *frames, size_t n, fq_public_key *key,
                 char address[FQ_ADDRESS_BYTES]);

#endif

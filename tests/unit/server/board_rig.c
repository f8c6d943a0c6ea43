#include "board_rig.h"

#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hostile_texts[N_HOSTILE] = {
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><script>document.title=\"owned\"</script>",
    "a\"b\\c\nfedq_owned 1\n{}",
    "caf\xe9 \xf0\x9f\x90\x9d \xed\xa0\x80",
    "\xe2\x80\xae\144esrever &amp; \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
    "WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW",
};

static void fill_peer(fq_board_peer *peer, size_t p, uint32_t tick) {
    static const uint8_t widths[4][3] = {{0}, {8}, {8, 4}, {8, 4, 2}};
    if (p < N_HOSTILE)
        snprintf(peer->name, sizeof peer->name, "%s", hostile_texts[p]);
    else
        snprintf(peer->name, sizeof peer->name, "sensor-%03zu", p);
    snprintf(peer->software, sizeof peer->software, "%s",
             p < N_HOSTILE ? hostile_texts[N_HOSTILE - 1 - p] : "fedq-client 0.1.0");
    snprintf(peer->key, sizeof peer->key, "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{%03zu", p);
    peer->state = (fq_peer_state)(p % 11 == 0   ? FQ_PEER_AWAY
                                  : p % 17 == 1 ? FQ_PEER_REVOKED
                                                : FQ_PEER_JOINED + (p + tick) % 3);
    bool met = peer->state != FQ_PEER_AWAY || p % 2 == 0;
    peer->heard_ms = met ? (int64_t)(p % 7) * 800 * (peer->state == FQ_PEER_AWAY ? 900 : 1) : -1;
    peer->first_client = 8 * p;
    peer->n_clients = !met ? 0 : p % 3 == 0 ? 1 : 8;
    peer->n_widths = p % 4;
    memcpy(peer->widths, widths[p % 4], sizeof widths[0]);
    peer->accepted = met ? tick / 10 + p : 0;
    peer->refusals[FQ_REASON_LATE] = p % 5 == 4 ? 2 : 0;
    peer->refusals[FQ_REASON_NONFINITE] = p % 13 == 5 ? 1 : 0;
    peer->refused = peer->refusals[FQ_REASON_LATE] + peer->refusals[FQ_REASON_NONFINITE];
    peer->bytes_in = 61900 * peer->accepted;
    peer->bytes_out = 246900 * peer->accepted;
}

void fake_board_make(fq_board *out, uint32_t tick, size_t n_peers) {
    *out = (fq_board){.round = tick / 10,
                      .rounds = 40,
                      .asked = 20,
                      .accepted = 2 * (tick % 10),
                      .refused = tick % 10 > 5,
                      .deadline_ms = 10000 - 1000 * (int64_t)(tick % 10),
                      .uptime_s = tick,
                      .seconds_per_round = 10,
                      .loss = 0.4 + 1.0 / (1 + tick),
                      .float_accuracy = 0.87,
                      .low_accuracy = 0.79,
                      .low_bits = 2,
                      .messages = 9,
                      .illegal = 3,
                      .strangers = 7,
                      .n_peers = n_peers,
                      .peers = calloc(n_peers + 1, sizeof *out->peers)};
    CU_ASSERT_PTR_NOT_NULL_FATAL(out->peers);
    strcpy(out->name, "factory-floor");
    strcpy(out->phase, tick % 10 == 9 ? "closing" : "training");
    for (size_t p = 0; p < n_peers; p++) {
        fill_peer(&out->peers[p], p, tick);
        out->bytes_in += out->peers[p].bytes_in;
        out->bytes_out += out->peers[p].bytes_out;
        for (size_t r = 0; r < FQ_REASON_END; r++)
            out->refusals[r] += out->peers[p].refusals[r];
    }
    out->refusals[FQ_REASON_NOT_ASKED] += 4;
}

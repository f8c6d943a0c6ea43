/* A web server over a made-up coordinator, for looking at its page and for tests/integration:
 *
 *     live_board FOLDER SECONDS [PEERS [PHASE]]
 *
 * writes the page's address to FOLDER/url and moves on once a second, ten steps to a round, until
 * SECONDS are over. PHASE: stays in it, with a note. */
#include "board_rig.h"
#include "report_rig.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **arguments; /* a CUnit case has none of its own */

static void close_round(const char *folder, uint32_t rounds) {
    char next[600], from[700], to[700];
    snprintf(next, sizeof next, "%s/next", folder);
    snprintf(from, sizeof from, "%s/run.db", next);
    snprintf(to, sizeof to, "%s/run.db", folder);
    fake_run_write(&(fake_run){.folder = next,
                               .name = "factory-floor",
                               .label = "",
                               .robustness = "mqat",
                               .seed = 1,
                               .rounds = rounds,
                               .every = 2,
                               .loss_per_bit = 0.1,
                               .changed_steps = 1});
    CU_ASSERT_EQUAL(rename(from, to), 0);
}

static void serve(void) {
    const char     *folder = arguments[1], *phase = arguments[3] != NULL ? arguments[4] : NULL;
    uint32_t        seconds = (uint32_t)atoi(arguments[2]);
    size_t          n_peers = arguments[3] != NULL ? (size_t)atoi(arguments[3]) : 25;
    fq_board_place *place;
    fq_http        *http;
    char            path[600], url[64];
    FQ_ASSERT_OK(fq_board_place_create(&place));
    FQ_ASSERT_OK(fq_http_start(
        &http, &(fq_http_options){.address = "127.0.0.1", .place = place, .folder = folder}));
    for (uint32_t tick = 80; tick < 80 + seconds; tick++) {
        fq_board board;
        fake_board_make(&board, tick, n_peers);
        if (phase != NULL) {
            snprintf(board.phase, sizeof board.phase, "%s", phase);
            strcpy(board.note, "no room on the disk for round 9: 12 MB free, 40 MB needed");
        }
        if (tick == 80 || tick % 10 == 0)
            close_round(folder, board.round);
        FQ_ASSERT_OK(fq_board_put(place, &board));
        fq_board_fini(&board);
        if (tick == 80) {
            snprintf(path, sizeof path, "%s/url", folder);
            snprintf(url, sizeof url, "http://127.0.0.1:%u/", fq_http_port(http));
            fq_test_write(path, url, strlen(url));
        }
        sleep(1);
    }
    fq_http_stop(&http);
    fq_board_place_destroy(&place);
}

int main(int n, char **given) {
    static const fq_case cases[] = {{"serves", serve}, {NULL, NULL}};
    if (n < 3 || n > 5) {
        fprintf(stderr, "Usage: %s FOLDER SECONDS [PEERS [PHASE]]\n", given[0]);
        return 2;
    }
    arguments = given;
    return fq_run_suite("live board", cases);
}

/* A coordinator that never ran: boards with plausible figures, and names that would do harm if they
 * were taken for anything but text. */
#ifndef FQ_TESTS_BOARD_RIG_H
#define FQ_TESTS_BOARD_RIG_H

#include "server/board.h"

enum { N_HOSTILE = 6 };
extern const char *const hostile_texts[N_HOSTILE];

/* `tick` goes on by one for each step; a round takes ten. The first peers are hostile. End with
 * fq_board_fini. */
void fake_board_make(fq_board *out, uint32_t tick, size_t n_peers);

#endif

#include "server/board.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const char *const fq_peer_state_names[] = {"away", "joined", "working", "done", "revoked", NULL};

/* A board that does not change any more. Readers copy it outside of the lock, so that the lock is
 * held for a few instructions whatever the number of peers. */
typedef struct snapshot {
    size_t   holders; /* under the lock of the place */
    fq_board board;
} snapshot;

struct fq_board_place {
    pthread_mutex_t lock;
    snapshot       *last; /* holds one of its `holders` */
};

static fq_status copy(fq_board *to, const fq_board *from) {
    *to = *from;
    to->peers = NULL;
    if (from->n_peers == 0)
        return FQ_OK;
    size_t bytes;
    if (fq_size_mul(from->n_peers, sizeof *from->peers, &bytes))
        to->peers = malloc(bytes);
    if (to->peers == NULL) {
        to->n_peers = 0;
        return fq_fail(FQ_ENOMEM, "no memory for a board of %zu peers", from->n_peers);
    }
    memcpy(to->peers, from->peers, bytes);
    return FQ_OK;
}

void fq_board_fini(fq_board *board) {
    free(board->peers);
    board->peers = NULL;
    board->n_peers = 0;
}

static void release(fq_board_place *place, snapshot *shot) {
    pthread_mutex_lock(&place->lock);
    bool unused = --shot->holders == 0;
    pthread_mutex_unlock(&place->lock);
    if (!unused)
        return;
    fq_board_fini(&shot->board);
    free(shot);
}

fq_status fq_board_place_create(fq_board_place **out) {
    *out = NULL;
    fq_board_place *place = calloc(1, sizeof *place);
    snapshot       *first = calloc(1, sizeof *first);
    if (place == NULL || first == NULL || pthread_mutex_init(&place->lock, NULL) != 0) {
        free(place);
        free(first);
        return fq_fail(FQ_ENOMEM, "no memory for a board");
    }
    *first = (snapshot){.holders = 1,
                        .board = {.phase = "starting",
                                  .deadline_ms = -1,
                                  .loss = (double)NAN,
                                  .float_accuracy = -1,
                                  .low_accuracy = -1}};
    place->last = first;
    *out = place;
    return FQ_OK;
}

void fq_board_place_destroy(fq_board_place **slot) {
    fq_board_place *place = *slot;
    *slot = NULL;
    if (place == NULL)
        return;
    release(place, place->last);
    pthread_mutex_destroy(&place->lock);
    free(place);
}

fq_status fq_board_put(fq_board_place *place, const fq_board *board) {
    snapshot *next = calloc(1, sizeof *next);
    if (next == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a board");
    next->holders = 1;
    fq_status status = copy(&next->board, board);
    if (status != FQ_OK) {
        free(next);
        return status;
    }
    pthread_mutex_lock(&place->lock);
    snapshot *before = place->last;
    place->last = next;
    pthread_mutex_unlock(&place->lock);
    release(place, before);
    return FQ_OK;
}

fq_status fq_board_get(fq_board_place *place, fq_board *out) {
    pthread_mutex_lock(&place->lock);
    snapshot *shot = place->last;
    shot->holders++;
    pthread_mutex_unlock(&place->lock);
    fq_status status = copy(out, &shot->board);
    release(place, shot);
    return status;
}

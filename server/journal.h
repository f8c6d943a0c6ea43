/* What the coordinator has taken in the open round, on disk before it is acknowledged: the cohort,
 * then each sealed update as it came. After a crash the round is opened again and the updates are
 * taken again, in any order; a record that was cut short was never acknowledged and is dropped.
 *
 *   file    "FQJRNL1\n" record*
 *   record  u32 kind, u32 size, body [size], u32 CRC-32 of kind, size and body; little-endian
 */
#ifndef FQ_SERVER_JOURNAL_H
#define FQ_SERVER_JOURNAL_H

#include "base/bytes.h"
#include "wire/seal.h"

typedef struct fq_journal fq_journal;

typedef struct fq_journal_member {
    uint64_t client;
    uint64_t examples; /* at most; fixes the scale of the exact sums */
    uint32_t peer;     /* id in the roster of who trains it */
} fq_journal_member;

/* One member for each client asked, ascending. */
typedef struct fq_journal_round {
    uint32_t           round;
    size_t             n;
    fq_journal_member *members;
} fq_journal_round;

typedef struct fq_journal_update {
    uint64_t  client;
    uint8_t   model_bits;
    fq_cbytes sealed;
} fq_journal_update;
typedef fq_status fq_journal_visit(void *context, const fq_journal_update *update);

/* Open DIR/round.journal, made if not there; what is cut short at its end is cut off. FQ_EPROTO: it
 * is not ours. */
FQ_MUST_CHECK fq_status fq_journal_open(fq_journal **out, const char *folder);
void                    fq_journal_close(fq_journal **journal);
/* The round that the file holds; n is 0 if it holds none. members: heap memory of the journal. */
const fq_journal_round *fq_journal_round_of(const fq_journal *journal);
/* Each update that the file holds, in the order they came. */
FQ_MUST_CHECK fq_status fq_journal_each(fq_journal *journal, fq_journal_visit *visit,
                                        void *context);
/* Begin anew with this round. Durable; FQ_EIO: the disk is full, say: the file is as before or
 * empty. */
FQ_MUST_CHECK fq_status fq_journal_begin(fq_journal *journal, const fq_journal_round *round);
/* Add an update. It is on disk when this returns FQ_OK; after FQ_EIO the file is as before.
 * Thread-safe; calls that come at once share one wait for the disk. */
FQ_MUST_CHECK fq_status fq_journal_add(fq_journal *journal, const fq_journal_update *update);

#endif

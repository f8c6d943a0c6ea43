/* Who may join: names, public keys and ids, in one file of the coordinator's folder (clients.txt).
 *
 * Commands change the file under a lock and in one step; a running coordinator sees that it has
 * changed and reads it anew, so an addition or a revocation takes effect within a second.
 */
#ifndef FQ_SERVER_ROSTER_H
#define FQ_SERVER_ROSTER_H

#include "server/board.h"

typedef struct fq_roster_entry {
    char          name[FQ_NAME_BYTES];
    fq_public_key key;
    bool          revoked; /* stays in the list, so that its id is never given to another */
} fq_roster_entry;

/* Entry i has id i, for ever. */
typedef struct fq_roster {
    size_t           n;
    fq_roster_entry *entries; /* [n] heap memory */
} fq_roster;

enum { FQ_ROSTER_MOST = 1 << 20 };

/* No file is an empty list. FQ_EPROTO names line and fault. */
FQ_MUST_CHECK fq_status fq_roster_read(const char *folder, fq_roster *out);
FQ_MUST_CHECK fq_status fq_roster_parse(fq_cbytes text, fq_roster *out);
void                    fq_roster_fini(fq_roster *roster); /* also of a zeroed struct */
/* FQ_ESTATE: the name or the key is there already. FQ_EINVAL: no proper name. */
FQ_MUST_CHECK fq_status fq_roster_add(const char *folder, const char *name,
                                      const fq_public_key *key);
/* FQ_EINVAL: no client of that name, with the nearest. Revoking twice is no error. */
FQ_MUST_CHECK fq_status fq_roster_revoke(const char *folder, const char *name);
/* A number that changes with the file: cheap enough to ask several times a second. */
uint64_t fq_roster_stamp(const char *folder);

const fq_roster_entry *fq_roster_find(const fq_roster *roster, const fq_public_key *key);

#endif

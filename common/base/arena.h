/* A bump allocator: measure, reserve once, allocate, reset. Nothing in it outlives its reset.
 *
 * A measuring arena (fq_arena_measure) hands out no memory but counts, so that the same set-up code
 * first says how much it needs and then takes it.
 */
#ifndef FQ_BASE_ARENA_H
#define FQ_BASE_ARENA_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { FQ_ALIGN = 64 }; /* one cache line, and the widest vector register */

typedef struct fq_arena {
    unsigned char *memory; /* NULL while measuring */
    size_t         capacity, used, peak;
    bool           exhausted; /* an allocation failed since the last reset */
} fq_arena;

FQ_MUST_CHECK fq_status fq_arena_init(fq_arena *arena, size_t bytes); /* FQ_ENOMEM */
void                    fq_arena_fini(fq_arena *arena);               /* also of a zeroed struct */

/* `count` elements of `size` bytes, aligned to FQ_ALIGN, not cleared. NULL, and `exhausted` set,
 * when full or when the product overflows. A measuring arena always returns NULL and never is
 * exhausted. */
void *fq_arena_alloc(fq_arena *arena, size_t count, size_t size);
#define FQ_ARENA_NEW(arena, type, count) ((type *)fq_arena_alloc((arena), (count), sizeof(type)))

void   fq_arena_reset(fq_arena *arena);
size_t fq_arena_mark(const fq_arena *arena);
void   fq_arena_rewind(fq_arena *arena, size_t mark); /* frees all that came after the mark */

/* An arena that only counts; `peak` says the bytes needed. */
fq_arena fq_arena_measure(void);

/* FQ_ENOMEM with a text if any allocation since the reset failed. */
FQ_MUST_CHECK fq_status fq_arena_check(const fq_arena *arena);

#endif

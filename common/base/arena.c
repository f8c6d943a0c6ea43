#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>

fq_status fq_arena_init(fq_arena *arena, size_t bytes) {
    *arena = (fq_arena){0};
    if (bytes == 0)
        bytes = FQ_ALIGN;
    if (bytes > SIZE_MAX - FQ_ALIGN)
        return fq_fail(FQ_ENOMEM, "an arena of %zu bytes is impossible", bytes);
    bytes = (bytes + FQ_ALIGN - 1) / FQ_ALIGN * FQ_ALIGN;
    arena->memory = aligned_alloc(FQ_ALIGN, bytes);
    if (arena->memory == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for an arena of %zu bytes", bytes);
    arena->capacity = bytes;
    return FQ_OK;
}

void fq_arena_fini(fq_arena *arena) {
    free(arena->memory);
    *arena = (fq_arena){0};
}

fq_arena fq_arena_measure(void) {
    return (fq_arena){.capacity = SIZE_MAX};
}

void *fq_arena_alloc(fq_arena *arena, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - FQ_ALIGN) {
        arena->exhausted = true;
        return NULL;
    }
    bytes = (bytes + FQ_ALIGN - 1) / FQ_ALIGN * FQ_ALIGN;
    if (bytes > arena->capacity - arena->used) {
        arena->exhausted = true;
        return NULL;
    }
    void *memory = arena->memory == NULL ? NULL : arena->memory + arena->used;
    arena->used += bytes;
    if (arena->used > arena->peak)
        arena->peak = arena->used;
    return memory;
}

void fq_arena_reset(fq_arena *arena) {
    arena->used = 0;
    arena->exhausted = false;
}

size_t fq_arena_mark(const fq_arena *arena) {
    return arena->used;
}

void fq_arena_rewind(fq_arena *arena, size_t mark) {
    arena->used = mark;
}

fq_status fq_arena_check(const fq_arena *arena) {
    if (arena->exhausted)
        return fq_fail(FQ_ENOMEM, "an arena of %zu bytes is too small", arena->capacity);
    return FQ_OK;
}

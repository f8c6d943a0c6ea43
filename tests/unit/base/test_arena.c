#include "base/arena.h"
#include "suite.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Something that sets itself up from an arena, as a model's workspace does. */
static double *set_up(fq_arena *arena) {
    (void)FQ_ARENA_NEW(arena, char, 3);
    (void)FQ_ARENA_NEW(arena, float, 100);
    return FQ_ARENA_NEW(arena, double, 7);
}

static void test_measure(void) {
    fq_arena measuring = fq_arena_measure();
    CU_ASSERT_PTR_NULL(set_up(&measuring));
    FQ_ASSERT_OK(fq_arena_check(&measuring));
    CU_ASSERT_EQUAL(measuring.peak, 64 + 448 + 64);

    fq_arena arena;
    FQ_ASSERT_OK(fq_arena_init(&arena, measuring.peak));
    double *x = set_up(&arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    for (int i = 0; i < 7; i++)
        x[i] = i;
    FQ_ASSERT_OK(fq_arena_check(&arena));
    CU_ASSERT_EQUAL(arena.used, arena.capacity);
    fq_arena_fini(&arena);
    fq_arena_fini(&arena);
}

static void test_alignment(void) {
    fq_arena arena;
    FQ_ASSERT_OK(fq_arena_init(&arena, 4096));
    unsigned char *previous = NULL;
    for (size_t size = 1; size < 150; size += 29) {
        unsigned char *at = fq_arena_alloc(&arena, 1, size);
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        CU_ASSERT_EQUAL((uintptr_t)at % FQ_ALIGN, 0);
        CU_ASSERT_TRUE(previous == NULL || at > previous);
        memset(at, 0xAB, size);
        previous = at;
    }
    fq_arena_fini(&arena);
}

static void test_exhaustion(void) {
    fq_arena arena;
    FQ_ASSERT_OK(fq_arena_init(&arena, 1));
    CU_ASSERT_EQUAL(arena.capacity, 64);
    CU_ASSERT_PTR_NULL(FQ_ARENA_NEW(&arena, char, 65));
    FQ_ASSERT_FAILS(fq_arena_check(&arena), FQ_ENOMEM, "64 bytes is too small");
    CU_ASSERT_PTR_NOT_NULL(FQ_ARENA_NEW(&arena, char, 64));
    CU_ASSERT_TRUE(arena.exhausted);
    fq_arena_reset(&arena);
    FQ_ASSERT_OK(fq_arena_check(&arena));
    CU_ASSERT_PTR_NULL(fq_arena_alloc(&arena, SIZE_MAX / 2, 3)); /* the product overflows */
    CU_ASSERT_TRUE(arena.exhausted);
    fq_arena_reset(&arena);
    CU_ASSERT_PTR_NULL(fq_arena_alloc(&arena, SIZE_MAX, 1)); /* rounding up would overflow */
    CU_ASSERT_TRUE(arena.exhausted);
    fq_arena_fini(&arena);
    FQ_ASSERT_FAILS(fq_arena_init(&arena, SIZE_MAX), FQ_ENOMEM, "impossible");
    fq_arena_fini(&arena);
}

static void test_rewind(void) {
    fq_arena arena;
    FQ_ASSERT_OK(fq_arena_init(&arena, 1024));
    int *kept = FQ_ARENA_NEW(&arena, int, 1);
    *kept = 42;
    size_t mark = fq_arena_mark(&arena);
    void  *first = FQ_ARENA_NEW(&arena, char, 500);
    fq_arena_rewind(&arena, mark);
    void *second = FQ_ARENA_NEW(&arena, char, 500);
    CU_ASSERT_PTR_EQUAL(first, second);
    CU_ASSERT_EQUAL(*kept, 42);
    CU_ASSERT_EQUAL(arena.peak, 64 + 512);
    fq_arena_reset(&arena);
    CU_ASSERT_EQUAL(arena.used, 0);
    CU_ASSERT_EQUAL(arena.peak, 64 + 512);
    fq_arena_fini(&arena);
}

int main(void) {
    static const fq_case cases[] = {{"what was measured is enough", test_measure},
                                    {"memory is aligned and apart", test_alignment},
                                    {"a full arena says so until its reset", test_exhaustion},
                                    {"a rewind frees what came later", test_rewind},
                                    {NULL, NULL}};
    return fq_run_suite("arena", cases);
}

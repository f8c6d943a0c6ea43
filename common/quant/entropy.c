/* zstd, and the only user of it. Its static workspaces come from the arena, so that a client's turn
 * allocates nothing; a context sees one vector, so results depend on nothing that came before. */
#define ZSTD_STATIC_LINKING_ONLY
#include "quant/quantizer_impl.h"

#include <zstd.h>

/* The gain lies in the unequal frequencies of the codes, hardly in repeated strings: level 1 is as
 * small as the slow ones here. */
enum { LEVEL = 1 };

static size_t compress_workspace(size_t n) {
    return ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(LEVEL, n, 0));
}

size_t fq_zstd_workspace(size_t n) {
    size_t there = compress_workspace(n), back = ZSTD_estimateDCtxSize();
    return there > back ? there : back;
}

static fq_status reserve(fq_arena *arena, size_t size, void **out) {
    *out = fq_arena_alloc(arena, size, 1);
    if (*out == NULL)
        return fq_fail(FQ_ENOMEM, "no room for a zstd workspace of %zu bytes in an arena of %zu",
                       size, arena->capacity);
    return FQ_OK;
}

fq_status fq_zstd_compress(fq_cbytes src, unsigned char *dst, size_t *size, fq_arena *arena) {
    size_t mark = fq_arena_mark(arena), workspace_bytes = compress_workspace(src.size);
    void  *workspace;
    FQ_TRY(reserve(arena, workspace_bytes, &workspace));
    ZSTD_CCtx *context = ZSTD_initStaticCCtx(workspace, workspace_bytes);
    size_t     result = ZSTD_compressCCtx(context, dst, src.size - 1, src.data, src.size, LEVEL);
    fq_arena_rewind(arena, mark);
    *size = ZSTD_isError(result) ? 0 : result; /* the one error that can be: dst is full */
    return FQ_OK;
}

fq_status fq_zstd_check(fq_cbytes frame, size_t n) {
    unsigned long long content = ZSTD_getFrameContentSize(frame.data, frame.size);
    if (content == ZSTD_CONTENTSIZE_ERROR || content == ZSTD_CONTENTSIZE_UNKNOWN)
        return fq_fail(FQ_EPROTO, "%zu bytes are not a zstd frame that says its size", frame.size);
    if (content != n)
        return fq_fail(FQ_EPROTO, "zstd frame holds %llu bytes, expected %zu", content, n);
    if (ZSTD_findFrameCompressedSize(frame.data, frame.size) != frame.size)
        return fq_fail(FQ_EPROTO, "%zu bytes are not exactly one zstd frame", frame.size);
    return FQ_OK;
}

fq_status fq_zstd_decompress(fq_cbytes frame, unsigned char *dst, size_t n, fq_arena *arena) {
    size_t mark = fq_arena_mark(arena), workspace_bytes = ZSTD_estimateDCtxSize();
    void  *workspace;
    FQ_TRY(reserve(arena, workspace_bytes, &workspace));
    ZSTD_DCtx *context = ZSTD_initStaticDCtx(workspace, workspace_bytes);
    size_t     result = ZSTD_decompressDCtx(context, dst, n, frame.data, frame.size);
    fq_arena_rewind(arena, mark);
    if (ZSTD_isError(result))
        return fq_fail(FQ_EPROTO, "zstd frame does not unpack: %s", ZSTD_getErrorName(result));
    if (result != n)
        return fq_fail(FQ_EPROTO, "zstd frame unpacks to %zu bytes, expected %zu", result, n);
    return FQ_OK;
}

/* Coded vectors from outside: any bytes at every row and width are refused or give finite values,
 * and what an encoder makes of them comes back.
 *
 * Input: row, bits, block size (0: one block), number of values (2 bytes), flags (bit 0: zstd),
 * body. */
#include "fuzz.h"
#include "quant/quantizer.h"

#include <math.h>
#include <string.h>

enum { HEADER = 6, MAX_VALUES = 2048 };

static bool is(const fq_packed *packed, const char *name) {
    return strcmp(packed->quantizer->name, name) == 0;
}

static size_t cut_blocks(size_t n, size_t block, size_t *ends) {
    size_t count = 0;
    for (size_t end = 0; end < n;) {
        end = block == 0 || n - end < block ? n : end + block;
        ends[count++] = end;
    }
    return count;
}

/* Decoded values are coded again: the float formats and kept values are the same, the others come
 * within a step, of a norm or of a peak. */
static void check_round_trip(const fq_packed *packed, fq_blocks blocks, fq_arena *arena,
                             const float *x) {
    static float y[MAX_VALUES];
    fq_packed    again;
    fq_rng       rng = fq_rng_stream(1, FQ_RNG_ROUNDING, 0, 0, 0, 0);
    fq_status    status =
        fq_quantize(packed->quantizer, packed->bits, packed->zstd, x, blocks, &rng, arena, &again);
    FUZZ_CHECK(status == FQ_OK);
    FUZZ_CHECK(again.body_bytes == packed->body_bytes);
    FUZZ_CHECK(fq_dequantize(&again, blocks, arena, y) == FQ_OK);
    if (packed->bits >= 16) {
        FUZZ_CHECK(memcmp(x, y, packed->n * sizeof *x) == 0);
        return;
    }
    const bool kept = is(packed, "topk"), budget = is(packed, "fedfq"), norm = is(packed, "qsgd");
    for (size_t block = 0, i = 0; block < blocks.n; block++) {
        size_t begin = i;
        double peak = 0.0, squares = 0.0;
        for (; i < blocks.ends[block]; i++) {
            peak = fmax(peak, fabs((double)x[i]));
            squares += (double)x[i] * (double)x[i];
        }
        double levels = packed->bits == 1 ? 0.5 : (double)((1 << (packed->bits - 1)) - 1);
        if (kept)
            peak = 0.0;
        if (budget)
            levels = 1.0; /* of a block without bits all is lost */
        /* The smallest floats have no finer scale. */
        double step = (norm ? sqrt(squares) : peak) / levels * (1.0 + 1e-5) + 128.0 * 0x1p-149;
        for (size_t j = begin; j < i; j++)
            FUZZ_CHECK(fabs((double)x[j] - (double)y[j]) <= step);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static float  y[MAX_VALUES];
    static size_t ends[MAX_VALUES];
    if (size < HEADER)
        return 0;
    size_t rows = 1;
    while (fq_quantizers[rows] != NULL)
        rows++;
    const fq_quantizer *row = fq_quantizers[data[0] % rows];
    unsigned            widths = (unsigned)(row->max_bits - row->min_bits + 1);
    size_t              n = 1 + ((size_t)data[3] | (size_t)data[4] << 8) % MAX_VALUES;
    fq_blocks           blocks = {.ends = ends, .n = cut_blocks(n, data[2], ends)};
    fq_packed           packed = {.quantizer = row,
                                  .bits = (uint8_t)(row->min_bits + data[1] % widths),
                                  .zstd = (data[5] & 1U) != 0,
                                  .n = n,
                                  .body = {.data = data + HEADER, .size = size - HEADER}};
    packed.body_bytes = row->body_bytes(n, blocks.n, packed.bits);
    fq_arena arena;
    /* Room for the unpacked input and for coding it again. */
    size_t room = 2 * fq_quantize_arena_bytes(row, packed.bits, true, n, blocks.n);
    FUZZ_CHECK(fq_arena_init(&arena, room) == FQ_OK);
    if (fq_dequantize(&packed, blocks, &arena, y) == FQ_OK) {
        for (size_t i = 0; i < n; i++)
            FUZZ_CHECK(isfinite(y[i]));
        check_round_trip(&packed, blocks, &arena, y);
    }
    fq_arena_fini(&arena);
    return 0;
}

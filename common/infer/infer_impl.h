/* A model lowered to integer operations: lower.c makes them, run.c runs them, simulate.c says what
 * they mean. */
#ifndef FQ_INFER_INFER_IMPL_H
#define FQ_INFER_INFER_IMPL_H

#include "infer/infer.h"
#include "infer/int_kernels.h"

enum {
    FQ_WIDE_TOP = 32767,   /* codes of 16 bits are symmetric */
    FQ_NORM_FRACTION = 8,  /* fractional bits of a normalized value before its shift is added */
    FQ_NORM_VALUES = 65536 /* at most in a group of group norm */
};

/* How a value is held: position-major, [H, W, C], so that a row of a window is contiguous. */
typedef enum fq_holding {
    FQ_NARROW, /* uint8_t, scale (q - zero): enters a layer with weights */
    FQ_WIDE,   /* int16_t, scale q: everything else */
    FQ_LOGITS, /* int32_t, scale q */
} fq_holding;

typedef struct fq_form {
    fq_holding holding;
    double     scale;
    int32_t    zero, top; /* codes are 0..top, or -top..top */
} fq_form;

/* factor * 2^-shift = about the ratio of two scales; |factor| < 2^22, shift 1..53. A product with
 * an int32 and its rounding are exact in int64, and in double. */
typedef struct fq_ratio {
    int32_t factor;
    uint8_t shift;
} fq_ratio;

typedef enum fq_op_kind {
    FQ_OP_MATMUL, /* conv2d, dense */
    FQ_OP_NARROW, /* a wide value onto the grid of a site */
    FQ_OP_CLAMP,  /* relu, relu6 that could not be joined to the operation before */
    FQ_OP_MAX_POOL,
    FQ_OP_AVERAGE, /* avg_pool2d, global_avg_pool */
    FQ_OP_ADD,
    FQ_OP_SHORTCUT,
    FQ_OP_NORM,      /* group_norm */
    FQ_OP_TRANSPOSE, /* flatten: [H, W, C] -> [C, H, W] */
} fq_op_kind;

typedef struct fq_operand {
    size_t   place; /* in the workspace, bytes */
    fq_shape shape;
    fq_form  form;
} fq_operand;

typedef struct fq_op {
    fq_op_kind kind;
    fq_operand in[2], out;
    size_t     kernel_h, kernel_w, stride, pad, groups;
    int32_t    low, high; /* results are clipped to these codes */
    fq_ratio   ratio[2];  /* of scales, in / out; of ADD one for each input, equal shifts */
    /* MATMUL: weight m = stored * unit + least; row [in_c / groups, kernel_h, kernel_w] */
    const unsigned char *packed;
    unsigned             bits;
    int32_t              unit, least;
    size_t               row;
    unsigned             groups_of_16; /* `groups` of int_kernels.h */
    int32_t             *offset; /* [out_c] what the zero point of the input adds to the sum */
    fq_ratio            *ratios; /* [out_c] */
    int64_t             *bias;   /* [out_c] in units of 2^-shift of the result's code */
    /* NORM: scale_c / out scale = gain_c 2^-gain_shift, shift_c / out scale = shift_c 2^-8 */
    int32_t *gain, *shift;
    int      gain_shift;
    uint64_t epsilon; /* n^2 epsilon / scale^2 */
} fq_op;

struct fq_infer {
    fq_allocator          allocator;
    const fq_int_kernels *kernels;
    size_t                bytes, packed_bytes, workspace;
    size_t                n_ops;
    fq_op                *ops;
    fq_operand            input, output;
    size_t                scratch;    /* place in the workspace */
    size_t                padded_row; /* of the largest MATMUL */
};

/* Pixels that a matrix product takes at a time; of few, rows are not arranged but taken one by one.
 */
enum { FQ_PIXEL_BLOCK = 32, FQ_FEW_PIXELS = 4 };
static inline size_t fq_padded_row(size_t row) {
    return (row + FQ_INT_STEP - 1) / FQ_INT_STEP * FQ_INT_STEP;
}

/* round(x * ratio), halves up */
static inline int64_t fq_rescale(int64_t x, fq_ratio ratio) {
    return (x * ratio.factor + ((int64_t)1 << (ratio.shift - 1))) >> ratio.shift;
}

static inline int32_t fq_clip(int64_t x, int32_t low, int32_t high) {
    return (int32_t)(x < low ? low : x > high ? high : x);
}

static inline int32_t fq_form_low(const fq_form *form) {
    return form->holding == FQ_NARROW ? 0 : -form->top;
}

/* Code of an input value: as fake quantization finds it, q = clip(rne(x / scale) + zero). */
int32_t fq_form_code(const fq_form *form, float x);

/* Group norm: 1 / sqrt(v), v > 0, as root * 2^-48 * 2^twice; root is of 24 bits. */
typedef struct fq_root {
    int64_t root;
    int     twice;
} fq_root;
fq_root fq_inverse_root(uint64_t v);
/* round(x * 2^-shift), halves up, to at most +-2^40 */
int64_t fq_scale_down(int64_t x, int shift);

#endif

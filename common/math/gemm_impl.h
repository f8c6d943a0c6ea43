/* How the BLIS sub-configuration is picked; apart from gemm.c for its test. */
#ifndef FQ_MATH_GEMM_IMPL_H
#define FQ_MATH_GEMM_IMPL_H

#include <stdbool.h>

typedef enum fq_vendor { FQ_VENDOR_OTHER, FQ_VENDOR_INTEL, FQ_VENDOR_AMD } fq_vendor;

typedef struct fq_processor {
    fq_vendor vendor;
    unsigned  family;
    bool      avx2;   /* and FMA */
    bool      avx512; /* F, BW, CD, DQ, VL */
} fq_processor;

/* Value for BLIS_ARCH_TYPE (an arch_t of blis.h), or -1: BLIS does well by itself, or has nothing
 * for this processor. */
int fq_blis_arch(const fq_processor *processor);

#endif

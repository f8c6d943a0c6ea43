/* The rows of the table of integer kernels; int_kernels.c chooses among them. */
#ifndef FQ_INFER_INT_KERNELS_IMPL_H
#define FQ_INFER_INT_KERNELS_IMPL_H

#include "infer/int_kernels.h"

extern const fq_int_kernels fq_int_kernels_plain, fq_int_kernels_baseline;
#if defined(__x86_64__)
extern const fq_int_kernels fq_int_kernels_avx2, fq_int_kernels_vnni;
#endif

/* Codes one by one, whatever their place. */
void fq_unpack_plain(const unsigned char *packed, const unsigned char *end, size_t first, size_t n,
                     unsigned bits, int32_t unit, int32_t least, int8_t *out);

#endif

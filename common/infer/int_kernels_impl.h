/* The rows of the table of integer kernels; int_kernels.c chooses among them. */
#ifndef FQ_INFER_INT_KERNELS_IMPL_H
#define FQ_INFER_INT_KERNELS_IMPL_H

#include "infer/int_kernels.h"

extern const fq_int_kernels fq_int_kernels_plain;

#endif

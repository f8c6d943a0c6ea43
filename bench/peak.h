/* What the machine could do at best, for shares of it. */
#ifndef FQ_BENCH_PEAK_H
#define FQ_BENCH_PEAK_H

#include "base/status.h"

/* 1e9 floating-point operations a second of one core: fused multiply-adds on registers alone, two
 * operations each, with the registers of the row of kernels in use. The best of many short bursts
 * that take `seconds` in all. */
double fq_peak_gflops(double seconds);

/* memcpy of a block far larger than the caches: 1e9 bytes copied a second (each is read once and
 * written once), the best of the repetitions. */
FQ_MUST_CHECK fq_status fq_peak_copy(double seconds, double *gigabytes_per_second);

#endif

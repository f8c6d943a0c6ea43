/* Seconds of a clock that only goes forward, for figures that are reported and for how often to
 * save; never for what is computed. */
#ifndef FQ_BASE_CLOCK_H
#define FQ_BASE_CLOCK_H

double fq_now(void);

#endif

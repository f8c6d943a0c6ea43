/* Seconds of a clock that only goes forward, for figures that are reported and for how often to
 * save; never for what is computed. */
#ifndef FQ_BASE_CLOCK_H
#define FQ_BASE_CLOCK_H

double fq_now(void);

/* Processor time of all threads of this process, of the calling thread: other work on the machine
 * does not lengthen it. */
double fq_process_seconds(void);
double fq_thread_seconds(void);

#endif

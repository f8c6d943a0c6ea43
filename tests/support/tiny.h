/* A tiny federation for tests: an experiment from YAML text, set up. */
#ifndef FQ_TESTS_TINY_H
#define FQ_TESTS_TINY_H

#include "experiment/experiment.h"

typedef struct fq_tiny {
    fq_document   *document;
    fq_experiment *experiment;
    fq_setup       setup;
    fq_pool       *pool;
    fq_server     *server;
} fq_tiny;

/* Ends the test program with a message if the text is not a good experiment. */
void fq_tiny_create(fq_tiny *tiny, const char *yaml);
void fq_tiny_destroy(fq_tiny *tiny);
/* Run `rounds` rounds with that many workers, all clients of each cohort answering. */
void fq_tiny_run(fq_tiny *tiny, uint32_t rounds, size_t workers);

#endif

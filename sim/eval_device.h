/* Evaluation of a model that is quantized already: as its device computes it, in integers, and as
 * training and `eval` of a float model do, fake-quantized in float32 on the grids of the file. */
#ifndef FQ_SIM_EVAL_DEVICE_H
#define FQ_SIM_EVAL_DEVICE_H

#include "sim/operand.h"

typedef struct fq_device_figures {
    int    weight_bits, activation_bits; /* the least of the file's */
    size_t examples;
    double accuracy[2], loss[2]; /* fake-quantized; integer */
    size_t same_class;           /* examples on which both agree */
} fq_device_figures;

/* `on` is of integers and has its data. The same figures for any number of workers. */
FQ_MUST_CHECK fq_status fq_device_evaluate(const fq_operand_model *on, fq_device_figures *out);

#endif

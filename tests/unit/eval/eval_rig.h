/* Small data sets and networks for the tests of eval/. */
#ifndef FQ_TESTS_EVAL_RIG_H
#define FQ_TESTS_EVAL_RIG_H

#include "eval/evaluate.h"

/* Defaults of the settings, as if read from a file that has none. */
fq_eval_settings eval_defaults(void);

/* Write an npy data set to a folder: n examples of `features` values and their labels; prefix "" or
 * "test_". */
void eval_write_npy(const char *folder, const char *prefix, const float *x, const uint16_t *labels,
                    size_t n, size_t features);

/* A data set with its partition over 5 clients. */
typedef struct eval_data {
    fq_data_settings settings;
    fq_dataset      *set;
    fq_partition    *partition;
} eval_data;
eval_data eval_open_npy(const char *folder);
eval_data eval_open_synthetic(void); /* 20 features, 4 classes, 500 test examples */
void      eval_close(eval_data *data);

/* conv2d, batch_norm, relu, dropout, dense over 20 channels of one pixel, or without the two in the
 * middle. */
fq_model *eval_conv_model(bool batch_norm);

#endif

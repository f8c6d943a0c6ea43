/* The operand RUN_OR_MODEL: a model, the settings that go with it, and the data they name. */
#ifndef FQ_SIM_OPERAND_H
#define FQ_SIM_OPERAND_H

#include "base/cli.h"
#include "base/pool.h"
#include "experiment/experiment.h"
#include "model/modelfile.h"

#include <limits.h>

typedef struct fq_operand_model {
    char           path[PATH_MAX], settings[PATH_MAX]; /* settings.yaml beside it, or "" */
    fq_model      *model;
    float         *w;
    fq_provenance  from;
    bool           quantized, integer; /* the file has codes; and ranges of activations with them */
    fq_document   *document;
    fq_experiment *experiment;
    fq_dataset    *dataset;
    fq_partition  *partition;
    fq_pool       *pool;
} fq_operand_model;

/* An option whose text becomes the value of a key; of a list, in brackets. */
typedef struct fq_option_key {
    const char *option, *key;
    bool        list;
} fq_option_key;

/* Find and read the model: model.fq of a run's folder, or the file itself. */
FQ_MUST_CHECK fq_status fq_operand_read(const char *operand, fq_operand_model *out);
/* Settings: those of the run if there are any, then what the model says, then --data, the n options
 * of `keys`, and --set, which may name keys under data and evaluate. */
FQ_MUST_CHECK fq_status fq_operand_settings(const fq_cli *cli, const fq_option_key *keys, size_t n,
                                            fq_operand_model *out);
/* Open the data, which must fit the model, divide what there is to train on, and start the workers.
 */
FQ_MUST_CHECK fq_status fq_operand_data(size_t workers, fq_data_use use, fq_operand_model *out);
void                    fq_operand_fini(fq_operand_model *operand); /* also of a zeroed struct */

#endif

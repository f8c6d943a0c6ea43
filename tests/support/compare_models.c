/* compare_models A B: the largest difference of two models' values, as a part of the largest value
 * of A. */
#include "model/modelfile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    fq_model     *model[2] = {NULL, NULL};
    float        *w[2] = {NULL, NULL};
    fq_provenance from;
    for (int i = 0; i < 2; i++)
        if (argc != 3 || fq_modelfile_read(argv[1 + i], &model[i], &w[i], &from) != FQ_OK) {
            fprintf(stderr, "compare_models: %s\n", argc != 3 ? "two files" : fq_status_text());
            return 2;
        }
    size_t n = fq_model_size(model[0]);
    double largest = 0.0, difference = 0.0;
    if (n != fq_model_size(model[1]))
        return 2;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)w[0][i]));
        difference = fmax(difference, fabs((double)w[0][i] - (double)w[1][i]));
    }
    printf("%.3g\n", difference / largest);
    for (int i = 0; i < 2; i++) {
        fq_model_destroy(&model[i]);
        free(w[i]);
    }
    return 0;
}

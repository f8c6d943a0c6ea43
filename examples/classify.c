/* Classify raw bytes with a model of fedq:
 *
 *     cc classify.c $(pkg-config --cflags --libs fedq) -o classify
 *     ./classify m.fq pictures.bin          one line for each picture: its class
 */
#include <fedq.h>
#include <stdio.h>
#include <stdlib.h>

static int classify(fedq_session *session, const fedq_info *info, FILE *in) {
    size_t         size = (size_t)info->channels * info->height * info->width, best;
    unsigned char *picture = malloc(size);
    int            failed = picture == NULL;
    while (!failed && fread(picture, 1, size, in) == size) {
        failed = fedq_run_bytes(session, picture, NULL, &best) != FEDQ_OK;
        if (!failed)
            printf("%zu\n", best);
    }
    free(picture);
    return failed;
}

int main(int argc, char **argv) {
    fedq_model   *model = NULL;
    fedq_session *session = NULL;
    fedq_info     info;
    FILE         *in = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (in == NULL) {
        fprintf(stderr, "usage: classify MODEL.fq PICTURES\n");
        return 2;
    }
    int failed = fedq_model_open(argv[1], NULL, &model) != FEDQ_OK ||
                 fedq_session_open(model, &session) != FEDQ_OK;
    if (!failed) {
        fedq_model_info(model, &info);
        fprintf(stderr, "libfedq %s: %s arithmetic, %zu bytes of model, %zu of session\n",
                fedq_version(), info.integer ? "integer" : "float", info.model_bytes,
                fedq_session_bytes(session));
        failed = classify(session, &info, in);
    }
    if (failed)
        fprintf(stderr, "classify: %s\n", fedq_error());
    fedq_session_close(session);
    fedq_model_close(model);
    fclose(in);
    return failed;
}

#include "bench/bench.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "math/gemm.h"
#include "math/kernels.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ---- */
fq_status fq_bench_real(const fq_cli *cli, const char *name, double min, double max,
                        double fallback, double *out) {
    const char *text = fq_cli_text(cli, name, NULL);
    char       *end = NULL;
    *out = fallback;
    if (text == NULL)
        return FQ_OK;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= min && value <= max))
        return fq_fail(FQ_EINVAL, "--%s: '%s' is not allowed; expected a number from %g to %g",
                       name, text, min, max);
    *out = value;
    return FQ_OK;
}

/* ---- statistics ---- */
static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

fq_spread fq_spread_of(double *x, size_t n) {
    if (n == 0)
        return (fq_spread){0};
    qsort(x, n, sizeof *x, by_size);
    return (fq_spread){.n = n,
                       .low = x[0],
                       .quarter = x[n / 4],
                       .median = n % 2 == 1 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]),
                       .three_quarters = x[n - 1 - n / 4],
                       .high = x[n - 1]};
}

fq_status fq_bench_repeat(fq_bench_work *work, void *context, double seconds, fq_spread *out) {
    enum { AT_LEAST = 3, AT_MOST = 4096 };
    double taken[AT_MOST], began = fq_now();
    size_t n = 0;
    FQ_TRY(work(context));
    for (; n < AT_MOST && (n < AT_LEAST || fq_now() - began < seconds); n++) {
        double start = fq_now();
        FQ_TRY(work(context));
        taken[n] = fq_now() - start;
        if (fq_interrupted())
            return fq_fail(FQ_ESTATE, "interrupted");
    }
    *out = fq_spread_of(taken, n);
    return FQ_OK;
}

/* ---- data ---- */
static fq_status write_array(const char *folder, const char *name, const char *type,
                             const char *dims, const void *values, size_t size) {
    /* NumPy's format 1.0: magic, version, length of the header, and a header that ends at a
     * multiple of 64 with a line feed. */
    enum { HEAD = 128 };
    char      path[PATH_MAX], text[HEAD];
    fq_buffer file = {0};
    int       length = snprintf(text, sizeof text,
                                "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, dims);
    memset(text + length, ' ', sizeof text - (size_t)length);
    text[HEAD - 10 - 1] = '\n';
    fq_put_bytes(&file, "\x93NUMPY\x01\x00\x76\x00", 10);
    fq_put_bytes(&file, text, HEAD - 10);
    fq_put_bytes(&file, values, size);
    fq_path_join(folder, name, path);
    fq_status status = file.failed
                           ? fq_fail(FQ_ENOMEM, "no memory for %s", path)
                           : fq_file_replace(path, (fq_cbytes){file.data, file.size}, false);
    fq_buffer_fini(&file);
    return status;
}

/* Value i of the pattern of class c: a smooth function of both, different for each class. */
static float pattern(size_t i, size_t c) {
    return sinf(0.37f * (float)i + 1.7f * (float)c) + cosf(0.011f * (float)(i * (c + 1)));
}

/* n examples whose users begin at `user`, as `prefix`features.npy and `prefix`labels.npy. */
static fq_status write_part(const fq_made_data *data, const char *folder, const char *prefix,
                            size_t n, bool users) {
    const size_t features = fq_shape_count(data->shape);
    size_t       size;
    char         name[64], dims[96];
    fq_status    status;
    if (!fq_size_mul(n, features, &size))
        return fq_fail(FQ_ELIMIT, "%zu examples of %zu bytes are too many", n, features);
    unsigned char *x = malloc(size);
    uint16_t      *y = malloc(n * sizeof *y);
    uint32_t      *who = malloc(n * sizeof *who);
    float         *noise = malloc(features * sizeof *noise);
    float         *patterns = malloc(data->classes * features * sizeof *patterns);
    if (x == NULL || y == NULL || who == NULL || noise == NULL || patterns == NULL) {
        status = fq_fail(FQ_ENOMEM, "no memory for %zu examples", n);
        goto done;
    }
    for (size_t c = 0; c < data->classes; c++)
        for (size_t f = 0; f < features; f++)
            patterns[c * features + f] = pattern(f, c);
    for (size_t i = 0; i < n; i++) {
        fq_rng rng = fq_rng_stream(data->seed, FQ_RNG_DATA, 0, i, 0, users ? 0 : 1);
        who[i] = (uint32_t)(i / (data->examples == 0 ? 1 : data->examples));
        y[i] = users && fq_rng_below(&rng, 2) == 0
                   ? (uint16_t)((2 * who[i] + fq_rng_below(&rng, 2)) % data->classes)
                   : (uint16_t)fq_rng_below(&rng, data->classes);
        fq_rng_fill_normal(&rng, noise, features);
        for (size_t f = 0; f < features; f++) {
            float value = 128.0f + 5.0f * patterns[y[i] * features + f] + 40.0f * noise[f];
            x[i * features + f] = (unsigned char)fminf(fmaxf(value, 0.0f), 255.0f);
        }
    }
    snprintf(dims, sizeof dims, "%zu, %u, %u, %u", n, data->shape.c, data->shape.h, data->shape.w);
    snprintf(name, sizeof name, "%sfeatures.npy", prefix);
    FQ_GO(status, write_array(folder, name, "|u1", dims, x, size));
    snprintf(dims, sizeof dims, "%zu,", n);
    snprintf(name, sizeof name, "%slabels.npy", prefix);
    FQ_GO(status, write_array(folder, name, "<u2", dims, y, n * sizeof *y));
    if (users)
        FQ_GO(status, write_array(folder, "users.npy", "<u4", dims, who, n * sizeof *who));
done:
    free(x);
    free(y);
    free(who);
    free(noise);
    free(patterns);
    return status;
}

fq_made_data fq_made_data_for(const char *model) {
    fq_made_data data = {.shape = {1, 28, 28}, .classes = 10, .clients = 1, .seed = 1};
    if (strncmp(model, "resnet", 6) == 0 || strcmp(model, "lenet5_gn") == 0)
        data.shape = (fq_shape){3, 32, 32};
    if (strcmp(model, "femnist_cnn") == 0)
        data.classes = 62;
    return data;
}

fq_status fq_made_data_write(const fq_made_data *data, const char *folder) {
    FQ_TRY(fq_folder_make(folder));
    FQ_TRY(write_part(data, folder, "", (size_t)(data->clients * data->examples), true));
    if (data->test_examples == 0)
        return FQ_OK;
    return write_part(data, folder, "test_", (size_t)data->test_examples, false);
}

/* ---- folders ---- */
fq_status fq_bench_folder_make(char path[PATH_MAX]) {
    const char *root = getenv("TMPDIR");
    fq_path_join(root == NULL || root[0] == '\0' ? "/tmp" : root, "fedq-bench-XXXXXX", path);
    if (mkdtemp(path) == NULL)
        return fq_fail(FQ_EIO, "cannot make the folder %s: %s", path, strerror(errno));
    return FQ_OK;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

void fq_bench_folder_remove(const char *path) {
    if (path[0] != '\0')
        (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- settings ---- */
fq_status fq_bench_experiment(const fq_cli *cli, const char *yaml, fq_experiment **out) {
    fq_document *document = NULL;
    fq_status    status;
    *out = malloc(sizeof **out);
    if (*out == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the settings");
    FQ_GO(status, fq_document_parse(&document, "fedq-bench",
                                    (fq_cbytes){(const unsigned char *)yaml, strlen(yaml)}));
    for (size_t i = 0; i < fq_cli_count(cli, "set"); i++)
        FQ_GO(status, fq_document_set(document, fq_cli_nth(cli, "set", i)));
    FQ_GO(status, fq_experiment_load(document, *out));
done:
    fq_document_destroy(&document);
    if (status != FQ_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- results ---- */
void fq_bench_identify(json_t *result) {
    char processor[256];
    fq_processor_name(processor, sizeof processor);
    json_object_set_new(result, "kernels", json_string(fq_kernels_get()->name));
    json_object_set_new(result, "blis", json_string(fq_gemm_kernel()));
    json_object_set_new(result, "processor", json_string(processor));
    json_object_set_new(result, "processors", json_integer((json_int_t)fq_processors()));
    json_object_set_new(result, "version", json_string(FQ_VERSION));
    json_object_set_new(result, "build", json_string(FQ_BUILD));
}

static void print_text(json_t *result) {
    const char *key;
    json_t     *value;
    json_object_foreach(result, key, value) {
        if (json_is_real(value)) {
            printf("%-28s %.6g\n", key, json_real_value(value));
            continue;
        }
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        printf("%-28s %s\n", key,
               json_is_string(value) ? json_string_value(value)
               : text == NULL        ? "?"
                                     : text);
        free(text);
    }
}

int fq_bench_print(const fq_cli *cli, fq_status status, json_t *result) {
    int code = FQ_EXIT_OK;
    if (status == FQ_OK && result == NULL)
        status = fq_fail(FQ_ENOMEM, "no memory for the result");
    if (status != FQ_OK) {
        code = fq_command_failed(cli, status);
    } else if (fq_cli_has(cli, "json")) {
        json_dumpf(result, stdout, JSON_REAL_PRECISION(7));
        putchar('\n');
    } else {
        print_text(result);
    }
    json_decref(result);
    return code;
}

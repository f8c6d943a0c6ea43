#include "eval_rig.h"

#include "base/bytes.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

fq_eval_settings eval_defaults(void) {
    fq_document     *document;
    fq_eval_settings settings;
    FQ_ASSERT_OK(fq_document_parse(&document, "defaults", (fq_cbytes){NULL, 0}));
    FQ_ASSERT_OK(fq_section_load(document, NULL, "evaluate", fq_eval_keys, NULL, &settings));
    fq_document_destroy(&document);
    return settings;
}

static void write_array(const char *path, const char *type, size_t rows, size_t columns,
                        const void *data, size_t size) {
    fq_buffer file = {0};
    char      shape[64], header[118];
    if (columns > 0)
        snprintf(shape, sizeof shape, "%zu, %zu", rows, columns);
    else
        snprintf(shape, sizeof shape, "%zu,", rows);
    int used = snprintf(header, sizeof header,
                        "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", type, shape);
    fq_put_bytes(&file, "\x93NUMPY\x01\x00\x76\x00", 10);
    fq_put_bytes(&file, header, (size_t)used);
    while (file.size < 127)
        fq_put_u8(&file, ' ');
    fq_put_u8(&file, '\n');
    fq_put_bytes(&file, data, size);
    fq_test_write(path, file.data, file.size);
    fq_buffer_fini(&file);
}

void eval_write_npy(const char *folder, const char *prefix, const float *x, const uint16_t *labels,
                    size_t n, size_t features) {
    char path[512];
    snprintf(path, sizeof path, "%s/%sfeatures.npy", folder, prefix);
    write_array(path, "<f4", n, features, x, n * features * sizeof *x);
    snprintf(path, sizeof path, "%s/%slabels.npy", folder, prefix);
    write_array(path, "<u2", n, 0, labels, n * sizeof *labels);
}

static eval_data open_data(const char *yaml) {
    fq_document *document;
    eval_data    data = {0};
    FQ_ASSERT_OK(fq_document_parse(&document, "test",
                                   (fq_cbytes){(const unsigned char *)yaml, strlen(yaml)}));
    FQ_ASSERT_OK(fq_section_load(document, fq_document_root(document), "data", fq_data_keys, NULL,
                                 &data.settings));
    fq_document_destroy(&document);
    FQ_ASSERT_OK(fq_dataset_open(&data.settings, 7, &data.set));
    FQ_ASSERT_OK(fq_partition_create(&data.partition, data.set, &data.settings, 7));
    return data;
}

eval_data eval_open_npy(const char *folder) {
    char yaml[512];
    snprintf(yaml, sizeof yaml, "{set: npy, path: \"%s\", clients: 5, split: iid, normalize: none}",
             folder);
    return open_data(yaml);
}

eval_data eval_open_synthetic(void) {
    return open_data("{set: synthetic, clients: 5, split: natural, features: 20, classes: 4, "
                     "examples: 60, test_examples: 500}");
}

void eval_close(eval_data *data) {
    fq_partition_destroy(&data->partition);
    fq_dataset_close(&data->set);
}

static const char with_norm[] = "[{layer: conv2d, out: 3, kernel: 3, pad: 1}, {layer: batch_norm}, "
                                "{layer: relu}, {layer: dropout}, "
                                "{layer: flatten}, {layer: dense, out: 4}]";
static const char without_norm[] = "[{layer: conv2d, out: 3, kernel: 3, pad: 1}, {layer: relu}, "
                                   "{layer: flatten}, {layer: dense, out: 4}]";

fq_model *eval_conv_model(bool batch_norm) {
    const char       *yaml = batch_norm ? with_norm : without_norm;
    fq_document      *document;
    static fq_network network;
    char              wrapped[512];
    int               size = snprintf(wrapped, sizeof wrapped, "{model: %s}", yaml);
    network = (fq_network){.input = {20, 1, 1}, .n_classes = 4};
    FQ_ASSERT_OK(fq_document_parse(&document, "test",
                                   (fq_cbytes){(const unsigned char *)wrapped, (size_t)size}));
    const fq_node *list = fq_node_find(fq_document_root(document), "model");
    network.n_layers = fq_node_count(list);
    for (size_t i = 0; i < network.n_layers; i++)
        FQ_ASSERT_OK(fq_section_load(document, fq_node_at(list, i), "model", fq_layer_keys, NULL,
                                     &network.layers[i]));
    fq_document_destroy(&document);
    fq_model *model;
    FQ_ASSERT_OK(fq_model_create(&model, &network, NULL, 0));
    return model;
}

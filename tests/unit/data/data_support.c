#include "data_support.h"

#include "base/file.h"

#include <stdlib.h>
#include <zlib.h>

fq_data_settings test_data_settings(const char *set, const char *folder) {
    fq_document     *document;
    fq_data_settings settings = {0};
    FQ_ASSERT_OK(
        fq_document_parse(&document, "defaults", (fq_cbytes){(const unsigned char *)"", 0}));
    FQ_ASSERT_OK(fq_section_load(document, NULL, "data", fq_data_keys, NULL, &settings));
    fq_document_destroy(&document);
    snprintf(settings.set, sizeof settings.set, "%s", set);
    snprintf(settings.path, sizeof settings.path, "%s", folder == NULL ? "" : fq_test_path(folder));
    return settings;
}

const char *test_make_folder(const char *name) {
    const char *path = fq_test_path(name);
    FQ_ASSERT_OK(fq_folder_make(path));
    return path;
}

static void path_of(const char *folder, const char *name, char out[512]) {
    snprintf(out, 512, "%s/%s", test_make_folder(folder), name);
}

void test_write_file(const char *folder, const char *name, const fq_buffer *bytes) {
    char path[512];
    path_of(folder, name, path);
    fq_test_write(path, bytes->data, bytes->size);
}

void test_write_text(const char *folder, const char *name, const char *text) {
    char path[512];
    path_of(folder, name, path);
    fq_test_write(path, text, strlen(text));
}

void test_write_packed(const char *folder, const char *name, const fq_buffer *bytes) {
    char path[512];
    path_of(folder, name, path);
    gzFile file = gzopen(path, "wb");
    if (file == NULL || gzwrite(file, bytes->data, (unsigned)bytes->size) != (int)bytes->size ||
        gzclose(file) != Z_OK) {
        perror(path);
        exit(1);
    }
}

void test_put_big_endian(fq_buffer *out, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
        fq_put_u8(out, (uint8_t)(value >> shift));
}

void test_put_idx(fq_buffer *out, unsigned rank, const uint32_t *dims, size_t n,
                  uint8_t (*value)(size_t i)) {
    test_put_big_endian(out, 0x0800 + rank);
    for (unsigned i = 0; i < rank; i++)
        test_put_big_endian(out, dims[i]);
    for (size_t i = 0; i < n; i++)
        fq_put_u8(out, value(i));
}

void test_put_npy(fq_buffer *out, const char *dictionary, const void *data, size_t size) {
    size_t length = strlen(dictionary) + 1, padding = (64 - (10 + length) % 64) % 64;
    fq_put_bytes(out, "\x93NUMPY\x01\x00", 8);
    fq_put_u8(out, (uint8_t)(length + padding));
    fq_put_u8(out, (uint8_t)((length + padding) >> 8));
    fq_put_bytes(out, dictionary, length - 1);
    for (size_t i = 0; i < padding; i++)
        fq_put_u8(out, ' ');
    fq_put_u8(out, '\n');
    fq_put_bytes(out, data, size);
}

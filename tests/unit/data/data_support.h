/* What the tests of data share: settings with the documented defaults, and small files. */
#ifndef FQ_TESTS_DATA_SUPPORT_H
#define FQ_TESTS_DATA_SUPPORT_H

#include "base/bytes.h"
#include "data/dataset.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

/* The defaults of fq_data_keys, for set `set` in `folder` (of this test program's own). */
fq_data_settings test_data_settings(const char *set, const char *folder);

/* A subfolder of the test folder, made; valid until the next fq_test_path but three. */
const char *test_make_folder(const char *name);

/* Write folder/name in the test folder, as it is or packed by gzip. */
void test_write_file(const char *folder, const char *name, const fq_buffer *bytes);
void test_write_packed(const char *folder, const char *name, const fq_buffer *bytes);
void test_write_text(const char *folder, const char *name, const char *text);

/* IDX of unsigned bytes: magic, `rank` dimensions, then n bytes made by value(i). */
void test_put_idx(fq_buffer *out, unsigned rank, const uint32_t *dims, size_t n,
                  uint8_t (*value)(size_t i));
void test_put_big_endian(fq_buffer *out, uint32_t value);

/* An array file of version 1.0: dictionary as given, padded as NumPy does, then the data. */
void test_put_npy(fq_buffer *out, const char *dictionary, const void *data, size_t size);

#endif

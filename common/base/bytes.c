#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fq_buffer_fini(fq_buffer *buffer) {
    free(buffer->data);
    *buffer = (fq_buffer){0};
}

unsigned char *fq_buffer_grow(fq_buffer *buffer, size_t size) {
    size_t needed;
    if (buffer->failed || !fq_size_add(buffer->size, size, &needed)) {
        buffer->failed = true;
        return NULL;
    }
    if (needed > buffer->capacity) {
        size_t capacity = buffer->capacity < 256 ? 256 : buffer->capacity;
        while (capacity < needed)
            capacity = capacity > SIZE_MAX / 2 ? needed : 2 * capacity;
        unsigned char *data = realloc(buffer->data, capacity);
        if (data == NULL) {
            buffer->failed = true;
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    unsigned char *place = buffer->data + buffer->size;
    buffer->size = needed;
    return place;
}

void fq_put_bytes(fq_buffer *buffer, const void *data, size_t size) {
    if (size == 0)
        return;
    unsigned char *place = fq_buffer_grow(buffer, size);
    if (place != NULL)
        memcpy(place, data, size);
}

static void put_little_endian(fq_buffer *buffer, uint64_t value, size_t size) {
    unsigned char *place = fq_buffer_grow(buffer, size);
    for (size_t i = 0; place != NULL && i < size; i++)
        place[i] = (unsigned char)(value >> (8 * i));
}

void fq_put_u8(fq_buffer *buffer, uint8_t value) {
    put_little_endian(buffer, value, 1);
}

void fq_put_u32(fq_buffer *buffer, uint32_t value) {
    put_little_endian(buffer, value, 4);
}

void fq_put_u64(fq_buffer *buffer, uint64_t value) {
    put_little_endian(buffer, value, 8);
}

void fq_put_f64(fq_buffer *buffer, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    fq_put_u64(buffer, bits);
}

void fq_put_text(fq_buffer *buffer, const char *text) {
    size_t length = strlen(text);
    fq_put_u32(buffer, (uint32_t)length);
    fq_put_bytes(buffer, text, length);
}

void fq_put_format(fq_buffer *buffer, const char *format, ...) {
    char   *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    const int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size < 0) { /* `text` is undefined then */
        buffer->failed = true;
        return;
    }
    fq_put_bytes(buffer, text, (size_t)size);
    free(text);
}

void fq_put_floats(fq_buffer *buffer, const float *x, size_t n) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    fq_put_bytes(buffer, x, n * sizeof *x);
#else
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        fq_put_u32(buffer, bits);
    }
#endif
}

void fq_put_padding(fq_buffer *buffer, size_t alignment) {
    while (!buffer->failed && buffer->size % alignment != 0)
        fq_put_u8(buffer, 0);
}

fq_reader fq_reader_of(fq_cbytes bytes) {
    const unsigned char *end = bytes.size > 0 ? bytes.data + bytes.size : bytes.data; /* NULL + 0 */
    return (fq_reader){.at = bytes.data, .begin = bytes.data, .end = end};
}

size_t fq_reader_left(const fq_reader *reader) {
    return (size_t)(reader->end - reader->at);
}

const unsigned char *fq_get_bytes(fq_reader *reader, size_t size) {
    if (reader->failed || size > fq_reader_left(reader)) {
        reader->failed = true;
        return NULL;
    }
    const unsigned char *place = reader->at;
    reader->at += size;
    return place;
}

static uint64_t get_little_endian(fq_reader *reader, size_t size) {
    const unsigned char *place = fq_get_bytes(reader, size);
    uint64_t             value = 0;
    for (size_t i = 0; place != NULL && i < size; i++)
        value |= (uint64_t)place[i] << (8 * i);
    return value;
}

uint8_t fq_get_u8(fq_reader *reader) {
    return (uint8_t)get_little_endian(reader, 1);
}

uint32_t fq_get_u32(fq_reader *reader) {
    return (uint32_t)get_little_endian(reader, 4);
}

uint64_t fq_get_u64(fq_reader *reader) {
    return get_little_endian(reader, 8);
}

double fq_get_f64(fq_reader *reader) {
    uint64_t bits = fq_get_u64(reader);
    double   value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void fq_get_text(fq_reader *reader, char *out, size_t capacity) {
    uint32_t             length = fq_get_u32(reader);
    const unsigned char *place = fq_get_bytes(reader, length);
    out[0] = '\0';
    if (place == NULL)
        return;
    if (length >= capacity || memchr(place, 0, length) != NULL) {
        reader->failed = true;
        return;
    }
    memcpy(out, place, length);
    out[length] = '\0';
}

void fq_get_floats(fq_reader *reader, float *out, size_t n) {
    size_t bytes;
    if (!fq_size_mul(n, sizeof *out, &bytes)) {
        reader->failed = true;
        return;
    }
    const unsigned char *place = fq_get_bytes(reader, bytes);
    if (place == NULL)
        return;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out, place, bytes);
#else
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)place[4 * i] | (uint32_t)place[4 * i + 1] << 8 |
                        (uint32_t)place[4 * i + 2] << 16 | (uint32_t)place[4 * i + 3] << 24;
        memcpy(&out[i], &bits, sizeof bits);
    }
#endif
}

void fq_skip_padding(fq_reader *reader, size_t alignment) {
    size_t past = (size_t)(reader->at - reader->begin) % alignment;
    if (past != 0)
        (void)fq_get_bytes(reader, alignment - past);
}

bool fq_size_mul(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

bool fq_size_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

/* Little-endian reading and writing with bounds, and size arithmetic that says when it overflows.
 * Every file and message format of ours is written and read through these two cursors. */
#ifndef FQ_BASE_BYTES_H
#define FQ_BASE_BYTES_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fq_cbytes {
    const unsigned char *data;
    size_t               size;
} fq_cbytes;

/* Heap-owned growing buffer; zero it to begin, free(data) or fq_buffer_fini to end. An append that
 * finds no memory sets `failed` and all later ones do nothing: check once at the end. */
typedef struct fq_buffer {
    unsigned char *data;
    size_t         size, capacity;
    bool           failed;
} fq_buffer;

void fq_buffer_fini(fq_buffer *buffer);
/* Room for `size` more bytes, which the caller fills; NULL if there is no memory. */
unsigned char *fq_buffer_grow(fq_buffer *buffer, size_t size);
void           fq_put_bytes(fq_buffer *buffer, const void *data, size_t size);
void           fq_put_u8(fq_buffer *buffer, uint8_t value);
void           fq_put_u32(fq_buffer *buffer, uint32_t value);
void           fq_put_u64(fq_buffer *buffer, uint64_t value);
void           fq_put_f64(fq_buffer *buffer, double value);
void           fq_put_text(fq_buffer *buffer, const char *text); /* u32 length, then the bytes */
/* As printf writes it, without a NUL. */
void fq_put_format(fq_buffer *buffer, const char *format, ...) FQ_PRINTF(2, 3);
void fq_put_floats(fq_buffer *buffer, const float *x, size_t n);
void fq_put_padding(fq_buffer *buffer, size_t alignment); /* zeros up to a multiple */

/* A reader that ran past its end stays `failed` and yields zeros: check once after a group of
 * reads. */
typedef struct fq_reader {
    const unsigned char *at, *begin, *end;
    bool                 failed;
} fq_reader;

fq_reader fq_reader_of(fq_cbytes bytes);
size_t    fq_reader_left(const fq_reader *reader);
uint8_t   fq_get_u8(fq_reader *reader);
uint32_t  fq_get_u32(fq_reader *reader);
uint64_t  fq_get_u64(fq_reader *reader);
double    fq_get_f64(fq_reader *reader);
/* Borrowed bytes, NULL if fewer are left. */
const unsigned char *fq_get_bytes(fq_reader *reader, size_t size);
/* Copies at most capacity - 1 bytes and ends them with NUL; a longer text, or one with a NUL in it,
 * fails the reader. */
void fq_get_text(fq_reader *reader, char *out, size_t capacity);
void fq_get_floats(fq_reader *reader, float *out, size_t n);
void fq_skip_padding(fq_reader *reader, size_t alignment); /* relative to `begin` */

/* false on overflow; *out is untouched then. */
FQ_MUST_CHECK bool fq_size_mul(size_t a, size_t b, size_t *out);
FQ_MUST_CHECK bool fq_size_add(size_t a, size_t b, size_t *out);

#endif

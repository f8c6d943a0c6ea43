/* libfedq: run a model of fedq on a device.
 *
 *     fedq_model *model;
 *     fedq_session *session;
 *     if (fedq_model_open("m.fq", NULL, &model) != FEDQ_OK) puts(fedq_error());
 *     if (fedq_session_open(model, &session) != FEDQ_OK) puts(fedq_error());
 *     fedq_run_bytes(session, pixels, logits, &best);
 *     fedq_session_close(session);
 *     fedq_model_close(model);
 *
 * A model that `fedq-sim export` quantized runs in integers, with its weights packed; one of floats
 * in float32. Results do not depend on threads, and those of integers not on the processor either.
 *
 * The library never ends the process, prints nothing, and keeps no state but two things: which
 * instruction set is used, chosen once (FQ_KERNELS in the environment forces one), and the text of
 * the last failure of each thread. A model is read-only and may be shared by threads; a session
 * belongs to one thread at a time. Only opening takes memory; running takes none.
 *
 * Everything here is of version 1 of the interface (symbols FEDQ_1); later ones only add.
 */
#ifndef FEDQ_H
#define FEDQ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fedq_status {
    FEDQ_OK = 0,
    FEDQ_EINVAL = 1,     /* an argument is impossible, or the model cannot run */
    FEDQ_ENOMEM = 2,     /* no memory */
    FEDQ_EIO = 3,        /* the file cannot be read */
    FEDQ_EFORMAT = 4,    /* the file is not a model, or damaged */
    FEDQ_ELIMIT = 5,     /* the model is larger than a limit */
    FEDQ_ENONFINITE = 6, /* a value is not a finite number */
} fedq_status;

typedef struct fedq_model   fedq_model;
typedef struct fedq_session fedq_session;

/* Where memory that a model or a session keeps comes from. Reading a file takes some from malloc
 * for a moment, and a float model keeps its values in memory from malloc. */
typedef struct fedq_allocator {
    void *context;
    void *(*allocate)(void *context, size_t size); /* aligned as malloc does; NULL: no memory */
    void (*release)(void *context, void *memory);
} fedq_allocator;

typedef struct fedq_info {
    uint32_t channels, height, width; /* of an example */
    uint32_t classes;
    int      integer;     /* 1: runs in integers; 0: in float32 */
    size_t   model_bytes; /* codes or values, and tables */
} fedq_info;

/* "0.1.0" */
const char *fedq_version(void);
/* What failed last on this thread, one line; valid until the next failure on it. */
const char *fedq_error(void);

/* Maps the file until the model is closed. `allocator` may be NULL: malloc and free. *out is NULL
 * after a failure. */
fedq_status fedq_model_open(const char *path, const fedq_allocator *allocator, fedq_model **out);
/* The bytes of a file in memory, which must stay there until the model is closed. */
fedq_status fedq_model_open_bytes(const void *bytes, size_t size, const fedq_allocator *allocator,
                                  fedq_model **out);
/* After its sessions; NULL is nothing. */
void fedq_model_close(fedq_model *model);
void fedq_model_info(const fedq_model *model, fedq_info *out);

fedq_status fedq_session_open(const fedq_model *model, fedq_session **out);
void        fedq_session_close(fedq_session *session); /* NULL is nothing */
/* Bytes that a session holds. */
size_t fedq_session_bytes(const fedq_session *session);

/* One example [channels, height, width] -> logits [classes], and the class with the largest one in
 * *best; either may be NULL. Values are raw: what the training subtracted and divided by is done
 * here; bytes are divided by 255 first. */
fedq_status fedq_run_floats(fedq_session *session, const float *x, float *logits, size_t *best);
fedq_status fedq_run_bytes(fedq_session *session, const uint8_t *x, float *logits, size_t *best);

#ifdef __cplusplus
}
#endif

#endif

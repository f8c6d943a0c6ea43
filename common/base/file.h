/* Files whole: read with a limit, mapped, or replaced in one step. The only user of zlib. */
#ifndef FQ_BASE_FILE_H
#define FQ_BASE_FILE_H

#include "base/bytes.h"
#include "base/status.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Read a file or a pipe that has a writer, unpacking it if it is gzip. More than `limit` bytes
 * unpacked: FQ_ELIMIT. The caller frees out->data with free(). Errors name the path and the reason.
 */
FQ_MUST_CHECK fq_status fq_file_read(const char *path, size_t limit, fq_cbytes *out);

/* Map a file for reading; end with fq_file_unmap. An empty file is FQ_EPROTO. */
FQ_MUST_CHECK fq_status fq_file_map(const char *path, fq_cbytes *out);
void                    fq_file_unmap(fq_cbytes *bytes);

/* Replace `path` by `bytes` in one step: a reader sees the old file or the new one, never a part,
 * and a failure leaves the old one. `durable`: it survives a power cut once this returns (fsync of
 * file and folder); without it, it survives the end of this process at any instant. */
FQ_MUST_CHECK fq_status fq_file_replace(const char *path, fq_cbytes bytes, bool durable);

/* Make `path` in one step, durable; FQ_ESTATE if there is one, which stays as it is. */
FQ_MUST_CHECK fq_status fq_file_make(const char *path, fq_cbytes bytes, mode_t mode);

/* Write all of `bytes` from that offset of an open file on; `path` is for the error. FQ_EIO: some
 * of them may be there. */
FQ_MUST_CHECK fq_status fq_file_write_at(int file, const char *path, fq_cbytes bytes, uint64_t at);

bool fq_file_exists(const char *path);

/* folder/name. One that would be too long becomes one that cannot be opened, so that whoever opens
 * it says so. */
void fq_path_join(const char *folder, const char *name, char out[PATH_MAX]);

/* Make a folder and its parents. FQ_EIO names the part that failed. */
FQ_MUST_CHECK fq_status fq_folder_make(const char *path);
/* Make durable that the file `path` is, or is no longer, in its folder. */
FQ_MUST_CHECK fq_status fq_folder_sync_of(const char *path);

uint32_t
fq_crc32(fq_cbytes bytes); /* CRC-32 of zlib: against accidents of storage, not attackers */

#endif

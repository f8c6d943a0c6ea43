/* What a power cut may take from a program's files: all that no sync has made durable. A file's
 * bytes are durable after a sync of the file, names after a sync of their folder. */
#ifndef FQ_TESTS_UNSYNCED_H
#define FQ_TESTS_UNSYNCED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* `spare`: an empty folder on the same disk as the files. Before it: nothing is remembered. Ends
 * the program if memory is short. */
void unsynced_begin(const char *spare);

/* Each before the change. */
void unsynced_write(int file, off_t offset, size_t size);
void unsynced_cut(int file, off_t size);
void unsynced_make(const char *path); /* a file, a folder or a link */
void unsynced_remove(const char *path);
void unsynced_rename(const char *from, const char *to);

/* The change that was announced last did not happen. */
void unsynced_failed(void);

/* After a sync of a file or a folder. */
void unsynced_forget(int file);

/* The power is cut. `names`: they are lost too; else they were written before the bytes, as file
 * systems may do. */
void unsynced_undo(bool names);

#endif

#include "server/journal.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MAGIC[8] = "FQJRNL1\n";
enum { RECORD_ROUND = 1, RECORD_UPDATE = 2, RECORD_FRAME = 12 };

struct fq_journal {
    char             path[PATH_MAX];
    int              file;
    off_t            size; /* of what is whole; writes go here */
    fq_journal_round round;
    pthread_mutex_t  mutex;
    pthread_cond_t   synced;
    bool             syncing;
    uint64_t         written, safe; /* updates added, and how many of them are on disk */
};

static void forget_round(fq_journal *journal) {
    free(journal->round.members);
    journal->round = (fq_journal_round){0};
}

/* ---- reading ---- */
/* The next whole record; false at the end, or where a record is cut short or damaged. */
static bool next_record(fq_reader *reader, uint32_t *kind, fq_cbytes *body) {
    const unsigned char *begin = reader->at;
    if (fq_reader_left(reader) < RECORD_FRAME)
        return false;
    *kind = fq_get_u32(reader);
    uint32_t size = fq_get_u32(reader);
    if (fq_reader_left(reader) < (size_t)size + 4) {
        reader->at = begin;
        return false;
    }
    *body = (fq_cbytes){fq_get_bytes(reader, size), size};
    if (fq_get_u32(reader) == fq_crc32((fq_cbytes){begin, (size_t)size + 8}))
        return true;
    reader->at = begin;
    return false;
}

static fq_status read_round(fq_cbytes body, fq_journal_round *out) {
    fq_reader reader = fq_reader_of(body);
    uint32_t  round = fq_get_u32(&reader);
    size_t    n = fq_get_u32(&reader);
    if (n == 0 || reader.failed || fq_reader_left(&reader) != n * 20)
        return fq_fail(FQ_EPROTO, "a cohort of %zu clients in %zu bytes", n, body.size);
    fq_journal_member *members = calloc(n, sizeof *members);
    if (members == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a cohort of %zu clients", n);
    for (size_t i = 0; i < n; i++) {
        members[i].client = fq_get_u64(&reader);
        members[i].examples = fq_get_u64(&reader);
        members[i].peer = fq_get_u32(&reader);
    }
    *out = (fq_journal_round){.round = round, .n = n, .members = members};
    return FQ_OK;
}

static bool read_update(fq_cbytes body, fq_journal_update *out) {
    fq_reader reader = fq_reader_of(body);
    *out = (fq_journal_update){.client = fq_get_u64(&reader), .model_bits = fq_get_u8(&reader)};
    out->sealed = (fq_cbytes){reader.at, fq_reader_left(&reader)};
    return !reader.failed;
}

/* The whole file in memory, which the caller frees. */
static fq_status read_file(const fq_journal *journal, unsigned char **out, size_t *size) {
    struct stat info;
    if (fstat(journal->file, &info) != 0)
        return fq_fail(FQ_EIO, "cannot read %s: %s", journal->path, strerror(errno));
    size_t whole = (size_t)info.st_size, have = 0;
    *out = malloc(whole == 0 ? 1 : whole);
    if (*out == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %s of %zu bytes", journal->path, whole);
    while (have < whole) {
        ssize_t n = pread(journal->file, *out + have, whole - have, (off_t)have);
        if (n <= 0) {
            free(*out);
            return fq_fail(FQ_EIO, "cannot read %s: %s", journal->path,
                           n == 0 ? "it shrinks" : strerror(errno));
        }
        have += (size_t)n;
    }
    *size = whole;
    return FQ_OK;
}

/* Walk the records: the round is remembered, updates go to `visit` if there is one. */
static fq_status walk(fq_journal *journal, fq_journal_visit *visit, void *context) {
    unsigned char *bytes;
    size_t         size;
    FQ_TRY(read_file(journal, &bytes, &size));
    fq_status status = FQ_OK;
    fq_reader reader = fq_reader_of((fq_cbytes){bytes, size});
    if (size >= sizeof MAGIC && memcmp(fq_get_bytes(&reader, sizeof MAGIC), MAGIC, 8) != 0)
        status = fq_fail(FQ_EPROTO, "%s is not a journal of ours", journal->path);
    uint32_t  kind;
    fq_cbytes body;
    journal->size = size < sizeof MAGIC ? 0 : (off_t)sizeof MAGIC;
    while (status == FQ_OK && size >= sizeof MAGIC && next_record(&reader, &kind, &body)) {
        fq_journal_update update;
        if (kind == RECORD_ROUND && visit == NULL) {
            forget_round(journal);
            status = read_round(body, &journal->round);
        } else if (kind == RECORD_UPDATE && visit != NULL && read_update(body, &update)) {
            status = visit(context, &update);
        }
        journal->size = reader.at - reader.begin;
    }
    free(bytes);
    return status;
}

fq_status fq_journal_open(fq_journal **out, const char *folder) {
    *out = NULL;
    fq_journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for a journal");
    fq_path_join(folder, "round.journal", journal->path);
    pthread_mutex_init(&journal->mutex, NULL);
    pthread_cond_init(&journal->synced, NULL);
    journal->file = open(journal->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    fq_status status = journal->file < 0
                           ? fq_fail(FQ_EIO, "cannot open %s: %s", journal->path, strerror(errno))
                           : walk(journal, NULL, NULL);
    if (status == FQ_OK && ftruncate(journal->file, journal->size) != 0)
        status = fq_fail(FQ_EIO, "cannot cut %s: %s", journal->path, strerror(errno));
    if (status == FQ_OK) /* it may be new, and its records are worth nothing without its name */
        status = fq_folder_sync_of(journal->path);
    *out = journal;
    if (status != FQ_OK)
        fq_journal_close(out);
    return status;
}

void fq_journal_close(fq_journal **slot) {
    fq_journal *journal = *slot;
    if (journal == NULL)
        return;
    if (journal->file >= 0)
        close(journal->file);
    forget_round(journal);
    pthread_mutex_destroy(&journal->mutex);
    pthread_cond_destroy(&journal->synced);
    free(journal);
    *slot = NULL;
}

const fq_journal_round *fq_journal_round_of(const fq_journal *journal) {
    return &journal->round;
}

fq_status fq_journal_each(fq_journal *journal, fq_journal_visit *visit, void *context) {
    return walk(journal, visit, context);
}

/* ---- writing ---- */
static void put_record(fq_buffer *out, uint32_t kind, const fq_buffer *body) {
    size_t begin = out->size;
    fq_put_u32(out, kind);
    fq_put_u32(out, (uint32_t)body->size);
    fq_put_bytes(out, body->data, body->size);
    if (!out->failed)
        fq_put_u32(out, fq_crc32((fq_cbytes){out->data + begin, out->size - begin}));
}

/* Bytes at the end of what is whole; on failure nothing is left of them. */
static fq_status append(fq_journal *journal, const fq_buffer *bytes) {
    if (bytes->failed)
        return fq_fail(FQ_ENOMEM, "no memory for a record of the journal");
    fq_status status =
        fq_file_write_at(journal->file, journal->path, (fq_cbytes){bytes->data, bytes->size},
                         (uint64_t)journal->size);
    if (status == FQ_OK)
        journal->size += (off_t)bytes->size;
    else
        (void)!ftruncate(journal->file, journal->size);
    return status;
}

fq_status fq_journal_begin(fq_journal *journal, const fq_journal_round *round) {
    fq_buffer          body = {0}, bytes = {0};
    fq_journal_member *members = malloc(round->n * sizeof *members);
    fq_put_u32(&body, round->round);
    fq_put_u32(&body, (uint32_t)round->n);
    for (size_t i = 0; i < round->n; i++) {
        fq_put_u64(&body, round->members[i].client);
        fq_put_u64(&body, round->members[i].examples);
        fq_put_u32(&body, round->members[i].peer);
    }
    fq_put_bytes(&bytes, MAGIC, sizeof MAGIC);
    put_record(&bytes, RECORD_ROUND, &body);
    fq_status status = FQ_OK;
    if (members == NULL || body.failed)
        status = fq_fail(FQ_ENOMEM, "no memory for a cohort of %zu clients", round->n);
    /* What the file held belongs to a round that is closed: cut it off before writing. */
    if (status == FQ_OK && ftruncate(journal->file, 0) != 0)
        status = fq_fail(FQ_EIO, "cannot cut %s: %s", journal->path, strerror(errno));
    if (status == FQ_OK) {
        journal->size = 0;
        forget_round(journal);
        status = append(journal, &bytes);
    }
    if (status == FQ_OK && fsync(journal->file) != 0)
        status = fq_fail(FQ_EIO, "cannot sync %s: %s", journal->path, strerror(errno));
    if (status == FQ_OK) {
        memcpy(members, round->members, round->n * sizeof *members);
        journal->round =
            (fq_journal_round){.round = round->round, .n = round->n, .members = members};
    } else {
        free(members);
    }
    fq_buffer_fini(&body);
    fq_buffer_fini(&bytes);
    return status;
}

/* Wait until update number `mine` is on disk. Whoever finds nobody syncing syncs for all that have
 * been written so far. */
static fq_status wait_until_safe(fq_journal *journal, uint64_t mine) {
    fq_status status = FQ_OK;
    while (status == FQ_OK && journal->safe < mine) {
        if (journal->syncing) {
            pthread_cond_wait(&journal->synced, &journal->mutex);
            continue;
        }
        uint64_t written = journal->written;
        journal->syncing = true;
        pthread_mutex_unlock(&journal->mutex);
        int failed = fdatasync(journal->file) == 0 ? 0 : errno;
        pthread_mutex_lock(&journal->mutex);
        journal->syncing = false;
        if (failed == 0)
            journal->safe = written;
        else
            status = fq_fail(FQ_EIO, "cannot sync %s: %s", journal->path, strerror(failed));
        pthread_cond_broadcast(&journal->synced);
    }
    return status;
}

fq_status fq_journal_add(fq_journal *journal, const fq_journal_update *update) {
    fq_buffer body = {0}, bytes = {0};
    fq_put_u64(&body, update->client);
    fq_put_u8(&body, update->model_bits);
    fq_put_bytes(&body, update->sealed.data, update->sealed.size);
    put_record(&bytes, RECORD_UPDATE, &body);
    bytes.failed |= body.failed;
    pthread_mutex_lock(&journal->mutex);
    fq_status status = append(journal, &bytes);
    if (status == FQ_OK)
        status = wait_until_safe(journal, ++journal->written);
    pthread_mutex_unlock(&journal->mutex);
    fq_buffer_fini(&body);
    fq_buffer_fini(&bytes);
    return status;
}

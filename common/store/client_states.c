/* states-G.fq: a head, then records of equal length in order of time, the last one of a client
 * being its state. G, the generation, counts the times that the live records moved to a new file.
 * Numbers are in the machine's order: a run goes on with the same bytes on the same kind of machine
 * only. */
#include "store/client_states.h"

#include "base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char     MAGIC[8] = {'F', 'Q', 'S', 'T', 'A', 'T', 'E', '\n'};
static const uint32_t ORDER = UINT32_C(0x01020304);
enum { VERSION = 1 };

typedef struct file_head {
    char     magic[8];
    uint32_t version, order;
    uint64_t generation, values;
} file_head;

/* Followed by the values; the checksum is of both, itself being zero. */
typedef struct record {
    uint64_t client;
    uint32_t round, crc;
    float    x[];
} record;

/* Where a client's state is. Open addressing, at most two thirds full; `at` is 0 where nobody is.
 */
typedef struct place {
    uint64_t client, at; /* number of the record, from 1 */
} place;

struct fq_client_states {
    char            folder[PATH_MAX], path[PATH_MAX];
    int             file;
    size_t          values, record_bytes, workers;
    uint64_t        clients;
    record        **scratch; /* [workers] */
    pthread_mutex_t mutex;   /* of what follows */
    fq_states_mark  mark;    /* generation and records of the file */
    place          *places;  /* [mask + 1] */
    uint64_t        mask, live;
    uint64_t        former; /* generation of a file that the checkpoint on disk may need; 0: none */
};

static void path_of(const char *folder, uint64_t generation, char out[PATH_MAX]) {
    char name[48];
    snprintf(name, sizeof name, "states-%" PRIu64 ".fq", generation);
    fq_path_join(folder, name, out);
}

/* ---- files ---- */
static fq_status read_at(int file, const char *path, void *data, size_t size, uint64_t at) {
    char *to = data;
    while (size > 0) {
        ssize_t got = pread(file, to, size, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fq_fail(FQ_EIO, "cannot read %s: %s", path, strerror(errno));
        if (got == 0)
            return fq_fail(FQ_EPROTO, "%s: ends within a client's state", path);
        to += got;
        size -= (size_t)got;
        at += (uint64_t)got;
    }
    return FQ_OK;
}

static uint64_t offset_of(const fq_client_states *states, uint64_t at) {
    return sizeof(file_head) + (at - 1) * states->record_bytes;
}

/* A new file of that generation, with nothing but its head. */
static fq_status create_file(const fq_client_states *states, uint64_t generation,
                             char path[PATH_MAX], int *file) {
    file_head head = {
        .version = VERSION, .order = ORDER, .generation = generation, .values = states->values};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    path_of(states->folder, generation, path);
    *file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (*file < 0)
        return fq_fail(FQ_EIO, "cannot create %s: %s", path, strerror(errno));
    return fq_file_write_at(*file, path, (fq_cbytes){(const unsigned char *)&head, sizeof head}, 0);
}

fq_status fq_client_states_remove(const char *folder, uint64_t generation) {
    DIR *entries = opendir(folder);
    if (entries == NULL && (errno == ENOENT || errno == ENOTDIR))
        return FQ_OK;
    if (entries == NULL)
        return fq_fail(FQ_EIO, "cannot read folder %s: %s", folder, strerror(errno));
    fq_status      status = FQ_OK;
    struct dirent *entry;
    while (status == FQ_OK && (entry = readdir(entries)) != NULL) {
        static const char begin[] = "states-";
        char              path[PATH_MAX], other[PATH_MAX];
        if (strncmp(entry->d_name, begin, sizeof begin - 1) != 0)
            continue;
        uint64_t found = strtoull(entry->d_name + sizeof begin - 1, NULL, 10);
        fq_path_join(folder, entry->d_name, path);
        path_of(folder, found, other);
        if (found == generation || strcmp(path, other) != 0) /* ours, or none of our names */
            continue;
        if (unlink(path) != 0 && errno != ENOENT)
            status = fq_fail(FQ_EIO, "cannot remove %s: %s", path, strerror(errno));
    }
    closedir(entries);
    return status;
}

/* ---- who is where; under the mutex, or alone ---- */
static place *find(const place *places, uint64_t mask, uint64_t client) {
    uint64_t i = (client * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
    while (places[i].at != 0 && places[i].client != client)
        i = (i + 1) & mask;
    return (place *)(uintptr_t)&places[i];
}

static fq_status grow(fq_client_states *states) {
    uint64_t mask = 2 * states->mask + 1;
    place   *places = calloc((size_t)mask + 1, sizeof *places);
    if (places == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for the states of %" PRIu64 " clients", states->live);
    for (uint64_t i = 0; i <= states->mask; i++)
        if (states->places[i].at != 0)
            *find(places, mask, states->places[i].client) = states->places[i];
    free(states->places);
    states->places = places;
    states->mask = mask;
    return FQ_OK;
}

static fq_status set_place(fq_client_states *states, uint64_t client, uint64_t at) {
    place *p = find(states->places, states->mask, client);
    if (p->at == 0) {
        if (3 * (states->live + 1) > 2 * (states->mask + 1)) {
            FQ_TRY(grow(states));
            p = find(states->places, states->mask, client);
        }
        states->live++;
    }
    *p = (place){.client = client, .at = at};
    return FQ_OK;
}

/* ---- records ---- */
static uint32_t checksum(const fq_client_states *states, record *r) {
    uint32_t kept = r->crc;
    r->crc = 0;
    uint32_t crc = fq_crc32((fq_cbytes){(const unsigned char *)r, states->record_bytes});
    r->crc = kept;
    return crc;
}

static fq_status write_record(const fq_client_states *states, int file, const char *path,
                              uint64_t at, const record *r) {
    return fq_file_write_at(file, path, (fq_cbytes){(const unsigned char *)r, states->record_bytes},
                            offset_of(states, at));
}

static fq_status read_record(const fq_client_states *states, uint64_t at, record *r) {
    FQ_TRY(read_at(states->file, states->path, r, states->record_bytes, offset_of(states, at)));
    if (r->crc != checksum(states, r))
        return fq_fail(FQ_EPROTO, "%s: the checksum of record %" PRIu64 " is wrong", states->path,
                       at);
    return FQ_OK;
}

/* `last`: the round of the record before it. */
static fq_status check_record(const fq_client_states *states, uint64_t at, const record *r,
                              uint32_t last) {
    if (r->round < last)
        return fq_fail(FQ_EPROTO,
                       "%s: record %" PRIu64 " is of round %" PRIu32
                       ", the one before it of %" PRIu32,
                       states->path, at, r->round, last);
    if (r->client >= states->clients)
        return fq_fail(FQ_EPROTO,
                       "%s: record %" PRIu64 " is of client %" PRIu64 "; there are %" PRIu64,
                       states->path, at, r->client, states->clients);
    for (size_t i = 0; i < states->values; i++)
        if (!isfinite(r->x[i]))
            return fq_fail(FQ_ENONFINITE, "%s: record %" PRIu64 " has values that are not finite",
                           states->path, at);
    return FQ_OK;
}

/* ---- opening ---- */
static fq_status check_head(const fq_client_states *states, fq_states_mark mark) {
    file_head   head;
    struct stat info;
    FQ_TRY(read_at(states->file, states->path, &head, sizeof head, 0));
    if (memcmp(head.magic, MAGIC, sizeof MAGIC) != 0)
        return fq_fail(FQ_EPROTO, "%s: not a file of clients' states", states->path);
    if (head.order != ORDER || head.version != VERSION)
        return fq_fail(FQ_EPROTO,
                       "%s: of another version or another kind of machine; this program reads %d",
                       states->path, VERSION);
    if (head.generation != mark.generation || head.values != states->values)
        return fq_fail(FQ_EPROTO,
                       "%s: generation %" PRIu64 " with %" PRIu64
                       " values a client, expected %" PRIu64 " with %zu",
                       states->path, head.generation, head.values, mark.generation, states->values);
    if (fstat(states->file, &info) != 0)
        return fq_fail(FQ_EIO, "cannot look at %s: %s", states->path, strerror(errno));
    uint64_t records = ((uint64_t)info.st_size - sizeof head) / states->record_bytes;
    if (records < mark.records)
        return fq_fail(FQ_EPROTO,
                       "%s: has %" PRIu64 " records, and the checkpoint counts on %" PRIu64,
                       states->path, records, mark.records);
    return FQ_OK;
}

/* Read the log up to the mark, and forget what is after it. */
static fq_status read_log(fq_client_states *states, fq_states_mark mark) {
    path_of(states->folder, mark.generation, states->path);
    states->file = open(states->path, O_RDWR | O_CLOEXEC);
    if (states->file < 0)
        return fq_fail(FQ_EIO, "cannot open %s: %s", states->path, strerror(errno));
    FQ_TRY(check_head(states, mark));
    uint32_t last = 0;
    for (uint64_t at = 1; at <= mark.records; at++) {
        record *r = states->scratch[0];
        FQ_TRY(read_record(states, at, r));
        FQ_TRY(check_record(states, at, r, last));
        FQ_TRY(set_place(states, r->client, at));
        last = r->round;
    }
    states->mark = mark;
    if (ftruncate(states->file, (off_t)offset_of(states, mark.records + 1)) != 0)
        return fq_fail(FQ_EIO, "cannot shorten %s: %s", states->path, strerror(errno));
    return FQ_OK;
}

static fq_status prepare(fq_client_states *states, const char *folder, size_t values) {
    if (!fq_size_mul(values, sizeof(float), &states->record_bytes) ||
        !fq_size_add(states->record_bytes, sizeof(record), &states->record_bytes))
        return fq_fail(FQ_ENOMEM, "no memory for a client's state of %zu values", values);
    if ((size_t)snprintf(states->folder, sizeof states->folder, "%s", folder) >=
        sizeof states->folder)
        return fq_fail(FQ_EINVAL, "the name of the run's folder is too long");
    states->values = values;
    states->mask = 15;
    states->places = calloc((size_t)states->mask + 1, sizeof *states->places);
    states->scratch = calloc(states->workers, sizeof *states->scratch);
    bool there = states->places != NULL && states->scratch != NULL;
    for (size_t i = 0; there && i < states->workers; i++)
        there = (states->scratch[i] = calloc(1, states->record_bytes)) != NULL;
    return there ? FQ_OK
                 : fq_fail(FQ_ENOMEM, "no memory for clients' states of %zu values", values);
}

fq_status fq_client_states_open(fq_client_states **out, const char *folder, size_t values,
                                uint64_t clients, size_t workers, fq_states_mark mark) {
    *out = NULL;
    assert(values > 0 && workers > 0);
    fq_client_states *states = calloc(1, sizeof *states);
    if (states == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for clients' states");
    pthread_mutex_init(&states->mutex, NULL);
    states->file = -1;
    states->clients = clients;
    states->workers = workers;
    fq_status status = prepare(states, folder, values);
    if (status == FQ_OK && mark.generation > 0) {
        status = read_log(states, mark);
    } else if (status == FQ_OK) {
        states->mark = (fq_states_mark){.generation = 1};
        status = create_file(states, 1, states->path, &states->file);
    }
    if (status == FQ_OK)
        status = fq_client_states_remove(folder, states->mark.generation);
    if (status != FQ_OK)
        fq_client_states_close(&states);
    *out = states;
    return status;
}

void fq_client_states_close(fq_client_states **slot) {
    fq_client_states *states = *slot;
    if (states == NULL)
        return;
    if (states->file >= 0)
        close(states->file);
    for (size_t i = 0; states->scratch != NULL && i < states->workers; i++)
        free(states->scratch[i]);
    free(states->scratch);
    free(states->places);
    pthread_mutex_destroy(&states->mutex);
    free(states);
    *slot = NULL;
}

/* ---- a client's turn ---- */
fq_status fq_client_states_get(fq_client_states *states, size_t worker, uint64_t client,
                               float **x) {
    record *r = states->scratch[worker];
    assert(client < states->clients);
    pthread_mutex_lock(&states->mutex);
    uint64_t at = find(states->places, states->mask, client)->at;
    pthread_mutex_unlock(&states->mutex);
    *x = r->x;
    if (at == 0) {
        memset(r->x, 0, states->values * sizeof *r->x);
        return FQ_OK;
    }
    FQ_TRY(read_record(states, at, r));
    if (r->client != client)
        return fq_fail(FQ_EPROTO, "%s: record %" PRIu64 " is of client %" PRIu64 ", not %" PRIu64,
                       states->path, at, r->client, client);
    return FQ_OK;
}

fq_status fq_client_states_put(fq_client_states *states, size_t worker, uint64_t client,
                               uint32_t round) {
    record *r = states->scratch[worker];
    r->client = client;
    r->round = round;
    r->crc = checksum(states, r);
    pthread_mutex_lock(&states->mutex);
    uint64_t  at = states->mark.records + 1;
    fq_status status = set_place(states, client, at);
    if (status == FQ_OK)
        states->mark.records = at;
    pthread_mutex_unlock(&states->mutex);
    return status == FQ_OK ? write_record(states, states->file, states->path, at, r) : status;
}

/* ---- between rounds ---- */
static fq_status sync_file(int file, const char *path) {
    if (fdatasync(file) != 0)
        return fq_fail(FQ_EIO, "cannot sync %s: %s", path, strerror(errno));
    return FQ_OK;
}

static int by_time(const void *a, const void *b) {
    const place *const *x = a, *const *y = b;
    return ((*x)->at > (*y)->at) - ((*x)->at < (*y)->at);
}

/* Copy the records of `order` [live] to a new file, numbered from 1. */
static fq_status copy_live(const fq_client_states *states, place *const *order, char path[PATH_MAX],
                           int *file) {
    record *r = states->scratch[0];
    FQ_TRY(create_file(states, states->mark.generation + 1, path, file));
    for (uint64_t i = 0; i < states->live; i++) {
        FQ_TRY(read_record(states, order[i]->at, r));
        FQ_TRY(write_record(states, *file, path, i + 1, r));
    }
    FQ_TRY(sync_file(*file, path));
    return fq_folder_sync_of(path);
}

/* Move to a new file with nothing but live records. The old one stays until the checkpoint counts
 * on the new one. */
static fq_status move(fq_client_states *states) {
    char    path[PATH_MAX];
    int     file = -1;
    place **order = malloc((size_t)states->live * sizeof(place *));
    if (order == NULL)
        return fq_fail(FQ_ENOMEM, "no memory to tidy up the states of %" PRIu64 " clients",
                       states->live);
    uint64_t n = 0;
    for (uint64_t i = 0; i <= states->mask; i++)
        if (states->places[i].at != 0)
            order[n++] = &states->places[i];
    assert(n == states->live);
    qsort(order, (size_t)n, sizeof(place *), by_time);
    fq_status status = copy_live(states, order, path, &file);
    if (status == FQ_OK) {
        for (uint64_t i = 0; i < n; i++)
            order[i]->at = i + 1;
        close(states->file);
        states->file = file;
        memcpy(states->path, path, sizeof path);
        states->former = states->mark.generation;
        states->mark = (fq_states_mark){.generation = states->mark.generation + 1, .records = n};
    } else if (file >= 0) {
        close(file);
        unlink(path);
    }
    free(order);
    return status;
}

fq_status fq_client_states_mark(fq_client_states *states, bool durable, fq_states_mark *mark) {
    /* A second move before the first is settled would leave two files that may be needed. */
    if (durable && states->former == 0 && states->mark.records - states->live > states->live)
        FQ_TRY(move(states));
    else if (durable)
        FQ_TRY(sync_file(states->file, states->path));
    *mark = states->mark;
    return FQ_OK;
}

void fq_client_states_settle(fq_client_states *states) {
    char path[PATH_MAX];
    if (states->former == 0)
        return;
    path_of(states->folder, states->former, path);
    unlink(path); /* if it stays, the next one to open the folder removes it */
    states->former = 0;
}

/* ---- sizes ---- */
static size_t times(size_t a, size_t b) {
    size_t product;
    return fq_size_mul(a, b, &product) ? product : SIZE_MAX;
}

static size_t plus(size_t a, size_t b) {
    size_t sum;
    return fq_size_add(a, b, &sum) ? sum : SIZE_MAX;
}

size_t fq_client_states_memory(size_t values, uint64_t trained, size_t workers) {
    /* While the table grows, the old one and one of twice its size are there; the old one is two
     * thirds full then. */
    size_t places = times(9 * sizeof(place) / 2, (size_t)trained);
    size_t scratch = times(workers, times(values, sizeof(float)));
    return plus(places, scratch);
}

size_t fq_client_states_disk(size_t values, uint64_t trained) {
    return times(3, times(plus(sizeof(record), times(values, sizeof(float))), (size_t)trained));
}

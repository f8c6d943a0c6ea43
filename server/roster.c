#include "server/roster.h"

#include "base/config.h"
#include "base/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char FILE_NAME[] = "clients.txt";
static const char HEAD[] = "# name, public key, active or revoked; the order gives the ids\n";

static bool is_name(const char *text) {
    size_t n = strlen(text);
    if (n == 0 || n >= FQ_NAME_BYTES || text[0] == '-')
        return false;
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && strchr("._-", *text) == NULL)
            return false;
    return true;
}

static const fq_roster_entry *find_name(const fq_roster *roster, const char *name) {
    for (size_t i = 0; i < roster->n; i++)
        if (strcmp(roster->entries[i].name, name) == 0)
            return &roster->entries[i];
    return NULL;
}

const fq_roster_entry *fq_roster_find(const fq_roster *roster, const fq_public_key *key) {
    for (size_t i = 0; i < roster->n; i++)
        if (fq_public_key_equal(&roster->entries[i].key, key))
            return &roster->entries[i];
    return NULL;
}

/* ---- the file ---- */
static fq_status parse_line(const char *line, size_t number, fq_roster_entry *out) {
    char name[FQ_NAME_BYTES + 1], key[FQ_KEY_TEXT + 1], state[16], rest;
    *out = (fq_roster_entry){0};
    if (sscanf(line, "%64s %65s %15s %c", name, key, state, &rest) != 3)
        return fq_fail(FQ_EPROTO, "line %zu: expected a name, a key and a state", number);
    if (!is_name(name))
        return fq_fail(FQ_EPROTO, "line %zu: '%s' is not a name", number, name);
    if (fq_public_key_parse(key, &out->key) != FQ_OK) {
        fq_add_context("line %zu", number);
        return FQ_EPROTO;
    }
    out->revoked = strcmp(state, "revoked") == 0;
    if (!out->revoked && strcmp(state, "active") != 0)
        return fq_fail(FQ_EPROTO, "line %zu: '%s' is neither active nor revoked", number, state);
    snprintf(out->name, sizeof out->name, "%.63s", name);
    return FQ_OK;
}

static fq_status append(fq_roster *roster, const fq_roster_entry *entry) {
    if (roster->n == FQ_ROSTER_MOST)
        return fq_fail(FQ_ELIMIT, "more than %d clients", FQ_ROSTER_MOST);
    if (roster->entries == NULL ||
        (roster->n & (roster->n - 1)) == 0) { /* room for the next power of two */
        size_t           room = roster->n == 0 ? 1 : 2 * roster->n;
        fq_roster_entry *more = realloc(roster->entries, room * sizeof *more);
        if (more == NULL)
            return fq_fail(FQ_ENOMEM, "no memory for %zu clients", room);
        roster->entries = more;
    }
    roster->entries[roster->n++] = *entry;
    return FQ_OK;
}

/* Names or keys that occur twice, found by sorting: a long list is read as fast as a short one. */
static int by_name(const void *a, const void *b) {
    return strcmp(((const fq_roster_entry *)a)->name, ((const fq_roster_entry *)b)->name);
}
static int by_key(const void *a, const void *b) {
    return memcmp(&((const fq_roster_entry *)a)->key, &((const fq_roster_entry *)b)->key,
                  sizeof(fq_public_key));
}

static fq_status check_unique(const fq_roster *roster) {
    if (roster->n < 2)
        return FQ_OK;
    int (*const orders[])(const void *, const void *) = {by_name, by_key};
    fq_roster_entry *sorted = malloc(roster->n * sizeof *sorted);
    if (sorted == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for %zu clients", roster->n);
    fq_status status = FQ_OK;
    for (size_t o = 0; status == FQ_OK && o < 2; o++) {
        memcpy(sorted, roster->entries, roster->n * sizeof *sorted);
        qsort(sorted, roster->n, sizeof *sorted, orders[o]);
        for (size_t i = 1; status == FQ_OK && i < roster->n; i++)
            if (orders[o](&sorted[i - 1], &sorted[i]) == 0)
                status = fq_fail(FQ_EPROTO, "client %s is there twice, by name or by key",
                                 sorted[i].name);
    }
    free(sorted);
    return status;
}

fq_status fq_roster_parse(fq_cbytes text, fq_roster *out) {
    *out = (fq_roster){0};
    fq_status status = FQ_OK;
    size_t    at = 0, number = 0;
    while (status == FQ_OK && at < text.size) {
        const unsigned char *end = memchr(text.data + at, '\n', text.size - at);
        size_t length = end == NULL ? text.size - at : (size_t)(end - (text.data + at));
        char   line[256];
        number++;
        if (length >= sizeof line || memchr(text.data + at, '\0', length) != NULL) {
            status = fq_fail(FQ_EPROTO, "line %zu is not a client", number);
            break;
        }
        memcpy(line, text.data + at, length);
        line[length] = '\0';
        at += length + (end != NULL);
        if (line[0] == '#' || line[strspn(line, " \t\r")] == '\0')
            continue;
        fq_roster_entry entry;
        status = parse_line(line, number, &entry);
        if (status == FQ_OK)
            status = append(out, &entry);
    }
    if (status == FQ_OK)
        status = check_unique(out);
    if (status != FQ_OK)
        fq_roster_fini(out);
    return status;
}

fq_status fq_roster_read(const char *folder, fq_roster *out) {
    char path[PATH_MAX];
    fq_path_join(folder, FILE_NAME, path);
    *out = (fq_roster){0};
    if (!fq_file_exists(path))
        return FQ_OK;
    fq_cbytes text;
    FQ_TRY(fq_file_read(path, (size_t)FQ_ROSTER_MOST * 160, &text));
    fq_status status = fq_roster_parse(text, out);
    if (status != FQ_OK)
        fq_add_context("%s", path);
    free((void *)(uintptr_t)text.data);
    return status;
}

void fq_roster_fini(fq_roster *roster) {
    free(roster->entries);
    *roster = (fq_roster){0};
}

static fq_status write_file(const char *folder, const fq_roster *roster) {
    char      path[PATH_MAX], key[FQ_KEY_TEXT];
    fq_buffer text = {0};
    fq_put_bytes(&text, HEAD, sizeof HEAD - 1);
    for (size_t i = 0; i < roster->n; i++) {
        const fq_roster_entry *entry = &roster->entries[i];
        fq_public_key_text(&entry->key, key);
        fq_put_format(&text, "%s %s %s\n", entry->name, key, entry->revoked ? "revoked" : "active");
    }
    fq_path_join(folder, FILE_NAME, path);
    fq_status status = text.failed ? fq_fail(FQ_ENOMEM, "no memory for the list of clients")
                                   : fq_file_replace(path, (fq_cbytes){text.data, text.size}, true);
    fq_buffer_fini(&text);
    return status;
}

/* Two commands at once take turns; the lock goes with the descriptor. */
static fq_status lock(const char *folder, int *descriptor) {
    char path[PATH_MAX];
    fq_path_join(folder, "clients.lock", path);
    *descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*descriptor < 0)
        return fq_fail(FQ_EIO, "cannot open %s: %s", path, strerror(errno));
    while (flock(*descriptor, LOCK_EX) != 0)
        if (errno != EINTR) {
            close(*descriptor);
            return fq_fail(FQ_EIO, "cannot lock %s: %s", path, strerror(errno));
        }
    return FQ_OK;
}

fq_status fq_roster_add(const char *folder, const char *name, const fq_public_key *key) {
    if (!is_name(name))
        return fq_fail(FQ_EINVAL,
                       "'%s' is not a name: 1 to %d letters, digits, dots, dashes or underscores, "
                       "not a dash first",
                       name, FQ_NAME_BYTES - 1);
    int       descriptor;
    fq_roster roster;
    FQ_TRY(lock(folder, &descriptor));
    fq_status       status = fq_roster_read(folder, &roster);
    fq_roster_entry entry = {.key = *key};
    snprintf(entry.name, sizeof entry.name, "%s", name);
    const fq_roster_entry *same = status == FQ_OK ? fq_roster_find(&roster, key) : NULL;
    if (status == FQ_OK && find_name(&roster, name) != NULL)
        status =
            fq_fail(FQ_ESTATE, "there is a client %s already; give this one another name", name);
    else if (same != NULL)
        status = fq_fail(FQ_ESTATE, "client %s has that key already%s", same->name,
                         same->revoked ? ", and is revoked; make a new key" : "");
    if (status == FQ_OK)
        status = append(&roster, &entry);
    if (status == FQ_OK)
        status = write_file(folder, &roster);
    fq_roster_fini(&roster);
    close(descriptor);
    return status;
}

static fq_status no_such_client(const fq_roster *roster, const char *name) {
    const char **names = calloc(roster->n + 1, sizeof *names);
    const char  *nearest = NULL;
    for (size_t i = 0; names != NULL && i < roster->n; i++)
        names[i] = roster->entries[i].name;
    if (names != NULL)
        nearest = fq_nearest(name, names);
    fq_status status = fq_fail(FQ_EINVAL, "no client is named '%s'%s%s%s", name,
                               nearest == NULL ? "" : "; did you mean ",
                               nearest == NULL ? "" : nearest, nearest == NULL ? "" : "?");
    free(names);
    return status;
}

fq_status fq_roster_revoke(const char *folder, const char *name) {
    int       descriptor;
    fq_roster roster;
    FQ_TRY(lock(folder, &descriptor));
    fq_status status = fq_roster_read(folder, &roster);
    if (status == FQ_OK && find_name(&roster, name) == NULL)
        status = no_such_client(&roster, name);
    for (size_t i = 0; status == FQ_OK && i < roster.n; i++)
        roster.entries[i].revoked |= strcmp(roster.entries[i].name, name) == 0;
    if (status == FQ_OK)
        status = write_file(folder, &roster);
    fq_roster_fini(&roster);
    close(descriptor);
    return status;
}

uint64_t fq_roster_stamp(const char *folder) {
    char        path[PATH_MAX];
    struct stat info;
    fq_path_join(folder, FILE_NAME, path);
    if (stat(path, &info) != 0)
        return 0;
    /* The file is replaced as a whole, so a new one has a new inode, or a new time. */
    return (uint64_t)info.st_ino * 1000003U ^ (uint64_t)info.st_mtim.tv_nsec ^
           (uint64_t)info.st_mtim.tv_sec * 1000000000U ^ (uint64_t)info.st_size << 40;
}

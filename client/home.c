#include "client/home.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY(field) .offset = offsetof(fq_client_config, field)
const fq_key fq_client_keys[] = {
    {.name = "server",
     .type = FQ_TYPE_TEXT,
     KEY(server),
     .help = "tcp://HOST:PORT of the coordinator."},
    {.name = "server_key", .type = FQ_TYPE_TEXT, KEY(server_key), .help = "Its public key."},
    {.name = "name", .type = FQ_TYPE_TEXT, KEY(name), .help = "Of this client, for people."},
    {.name = "widths",
     .type = FQ_TYPE_INTS,
     KEY(widths),
     .min = 1,
     .max = 32,
     .help = "Bit-widths of weights that this device can run; empty: all."},
    {.name = "model_bits",
     .type = FQ_TYPE_INT,
     KEY(model_bits),
     .fallback = "0",
     .min = 0,
     .max = 8,
     .help = "Bits per value at which the model is wanted; 0: as the run's settings say."},
    {.name = NULL},
};

static const unsigned char OUTBOX_MAGIC[8] = {'F', 'Q', 'O', 'U', 'T', '1', '\n', 0};
static const unsigned char STATE_MAGIC[8] = {'F', 'Q', 'S', 'T', 'A', '1', '\n', 0};
enum {
    MAX_FILE_BYTES = 1 << 30, /* of outbox and state; no network of ours comes near */
    NAME_BYTES = 96,
};

/* ---- making and reading the folder ---- */
static fq_status check_server(const char *server) {
    const char *port = strrchr(server, ':');
    char       *end = NULL;
    long        number = port == NULL || strncmp(server, "tcp://", 6) != 0 || port < server + 7
                             ? 0
                             : strtol(port + 1, &end, 10);
    if (number < 1 || number > 65535 || *end != '\0' || strlen(server) > 200)
        return fq_fail(FQ_EINVAL, "server: '%s' is not an address; expected tcp://HOST:PORT",
                       server);
    return FQ_OK;
}

static fq_status make_folder(const char *home, const char *name) {
    char path[PATH_MAX];
    fq_path_join(home, name, path);
    FQ_TRY(fq_folder_make(path));
    return chmod(path, 0700) == 0
               ? FQ_OK
               : fq_fail(FQ_EIO, "cannot close %s to others: %s", path, strerror(errno));
}

/* What an init that was cut short leaves; nothing else is taken over, and closed to others. */
static bool is_ours(const char *name) {
    static const char *const names[] = {
        ".", "..", "outbox", "state", "client.yaml", "client.yaml.part", "client.key.part"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static fq_status check_free(const char *home) {
    char path[PATH_MAX];
    fq_path_join(home, "client.key", path);
    if (fq_file_exists(path))
        return fq_fail(FQ_ESTATE, "%s is a client's folder already; name another one", home);
    DIR *entries = opendir(home);
    if (entries == NULL)
        return FQ_OK; /* not there; whatever else it is, making it will say */
    fq_status            status = FQ_OK;
    const struct dirent *entry;
    while (status == FQ_OK && (entry = readdir(entries)) != NULL)
        if (!is_ours(entry->d_name))
            status = fq_fail(FQ_ESTATE, "%s is not empty (%.60s); name a new folder", home,
                             entry->d_name);
    closedir(entries);
    return status;
}

static fq_status write_config(const char *home, const char *server, const char *server_key,
                              const char *name) {
    static const char more[] =
        "\n# This device's own examples; all of them are used for training.\n"
        "# data: {set: npy, path: /var/lib/fedq/data}\n"
        "\n# When this device may take part; docs/deploy.md.\n"
        "# gates: {on_power: true, busy: 0.5, unmetered: true, celsius: 75}\n";
    char             path[PATH_MAX];
    fq_client_config config = {0};
    fq_buffer        yaml = {0};
    snprintf(config.server, sizeof config.server, "%s", server);
    snprintf(config.server_key, sizeof config.server_key, "%s", server_key);
    snprintf(config.name, sizeof config.name, "%s", name);
    fq_section_write(&yaml, fq_client_keys, &config, 0);
    fq_put_bytes(&yaml, more, sizeof more - 1);
    fq_path_join(home, "client.yaml", path);
    fq_status status = yaml.failed ? fq_fail(FQ_ENOMEM, "no memory for client.yaml")
                                   : fq_file_replace(path, (fq_cbytes){yaml.data, yaml.size}, true);
    fq_buffer_fini(&yaml);
    return status;
}

fq_status fq_home_make(const char *home, const char *server, const char *server_key,
                       const char *name, fq_public_key *key) {
    char          path[PATH_MAX];
    fq_public_key pinned;
    fq_keypair   *keys = NULL;
    FQ_TRY(check_server(server));
    if (fq_public_key_parse(server_key, &pinned) != FQ_OK ||
        fq_public_key_check(&pinned) != FQ_OK) {
        fq_add_context("--server-key");
        return FQ_EINVAL;
    }
    if (strlen(name) > 63)
        return fq_fail(FQ_EINVAL, "--name: at most 63 characters");
    FQ_TRY(check_free(home));
    fq_path_join(home, "client.key", path);
    FQ_TRY(make_folder(home, ""));
    FQ_TRY(make_folder(home, "outbox"));
    FQ_TRY(make_folder(home, "state"));
    FQ_TRY(write_config(home, server, server_key, name));
    FQ_TRY(fq_keypair_create(&keys));
    fq_status status = fq_keypair_save(keys, path); /* last: a folder with a key is whole */
    *key = *fq_keypair_public(keys);
    fq_keypair_destroy(&keys);
    return status;
}

fq_status fq_home_read(const char *home, fq_client_config *config, fq_data_settings *data,
                       bool *has_data, fq_public_key *server_key) {
    static const char *const subsections[] = {"data", "gates", NULL};
    char                     path[PATH_MAX], key[PATH_MAX];
    fq_document             *document = NULL;
    fq_path_join(home, "client.yaml", path);
    fq_path_join(home, "client.key", key);
    if (!fq_file_exists(path))
        return fq_fail(FQ_EINVAL,
                       "%s is not a client's folder; make one with: fedq-client init %s --server "
                       "tcp://HOST:PORT --server-key KEY",
                       home, home);
    if (!fq_file_exists(key))
        return fq_fail(FQ_EINVAL,
                       "%s has no client.key: its init was cut short; make it anew with: "
                       "fedq-client init %s --server tcp://HOST:PORT --server-key KEY",
                       home, home);
    FQ_TRY(fq_document_read(&document, path));
    const fq_node *root = fq_document_root(document);
    fq_status      status;
    FQ_GO(status, fq_section_load(document, root, "", fq_client_keys, subsections, config));
    const fq_node *section = fq_node_find(root, "data");
    *has_data = section != NULL;
    FQ_GO(status, fq_section_load(document, section, "data", fq_data_keys, NULL, data));
    FQ_GO(status, fq_data_settings_check(data));
    FQ_GO(status, fq_section_load(document, fq_node_find(root, "gates"), "gates", fq_gates_keys,
                                  NULL, &config->gates));
    data->use = FQ_USE_TRAIN;
    if (check_server(config->server) != FQ_OK ||
        fq_public_key_parse(config->server_key, server_key) != FQ_OK) {
        fq_add_context("%s", path);
        status = FQ_EINVAL;
    }
done:
    fq_document_destroy(&document);
    return status;
}

/* ---- outbox ---- */
static void name_of(const char *folder, const fq_binding *binding, const char *ending,
                    char out[NAME_BYTES]) {
    snprintf(out, NAME_BYTES, "%s/%08" PRIx32 "-%" PRIu64 "%s", folder, binding->round,
             binding->client, ending);
}

static void put_binding(fq_buffer *out, const fq_binding *binding) {
    fq_put_bytes(out, binding->run, sizeof binding->run);
    fq_put_u32(out, binding->round);
    fq_put_bytes(out, binding->model, sizeof binding->model);
    fq_put_u64(out, binding->client);
}

static void get_binding(fq_reader *reader, fq_binding *out) {
    const unsigned char *run = fq_get_bytes(reader, sizeof out->run);
    if (run != NULL)
        memcpy(out->run, run, sizeof out->run);
    out->round = fq_get_u32(reader);
    const unsigned char *model = fq_get_bytes(reader, sizeof out->model);
    if (model != NULL)
        memcpy(out->model, model, sizeof out->model);
    out->client = fq_get_u64(reader);
}

/* Magic, what `fill` adds, CRC-32 of all that, in one step. */
static fq_status write_checked(const char *home, const char *name, fq_buffer *bytes) {
    char path[PATH_MAX];
    if (!bytes->failed)
        fq_put_u32(bytes, fq_crc32((fq_cbytes){bytes->data, bytes->size}));
    fq_path_join(home, name, path);
    fq_status status = bytes->failed
                           ? fq_fail(FQ_ENOMEM, "no memory for %s", path)
                           : fq_file_replace(path, (fq_cbytes){bytes->data, bytes->size}, true);
    fq_buffer_fini(bytes);
    return status;
}

/* A reader of what is between magic and checksum. */
static fq_status read_checked(fq_cbytes bytes, const unsigned char magic[8], fq_reader *reader) {
    if (bytes.size < 12 || memcmp(bytes.data, magic, 8) != 0)
        return fq_fail(FQ_EPROTO, "not a file of this kind");
    fq_reader tail = fq_reader_of((fq_cbytes){bytes.data + bytes.size - 4, 4});
    if (fq_get_u32(&tail) != fq_crc32((fq_cbytes){bytes.data, bytes.size - 4}))
        return fq_fail(FQ_EPROTO, "its checksum is wrong");
    *reader = fq_reader_of((fq_cbytes){bytes.data + 8, bytes.size - 12});
    return FQ_OK;
}

fq_status fq_outbox_put(const char *home, const fq_outgoing *outgoing) {
    char      name[NAME_BYTES];
    fq_buffer bytes = {0};
    fq_put_bytes(&bytes, OUTBOX_MAGIC, sizeof OUTBOX_MAGIC);
    put_binding(&bytes, &outgoing->binding);
    fq_put_u8(&bytes, outgoing->model_bits);
    fq_put_u64(&bytes, outgoing->sealed.size);
    fq_put_bytes(&bytes, outgoing->sealed.data, outgoing->sealed.size);
    name_of("outbox", &outgoing->binding, ".update", name);
    return write_checked(home, name, &bytes);
}

fq_status fq_outbox_parse(fq_cbytes bytes, fq_outgoing *out) {
    fq_reader reader;
    *out = (fq_outgoing){0};
    FQ_TRY(read_checked(bytes, OUTBOX_MAGIC, &reader));
    get_binding(&reader, &out->binding);
    out->model_bits = fq_get_u8(&reader);
    uint64_t size = fq_get_u64(&reader);
    if (reader.failed || size != fq_reader_left(&reader) || size <= FQ_SEAL_OVERHEAD ||
        out->model_bits > 8)
        return fq_fail(FQ_EPROTO, "an update of %" PRIu64 " bytes in %zu", size, bytes.size);
    unsigned char *copy = malloc((size_t)size);
    if (copy == NULL)
        return fq_fail(FQ_ENOMEM, "no memory for an update of %" PRIu64 " bytes", size);
    memcpy(copy, fq_get_bytes(&reader, (size_t)size), (size_t)size);
    out->sealed = (fq_cbytes){copy, (size_t)size};
    return FQ_OK;
}

void fq_outgoing_fini(fq_outgoing *outgoing) {
    free((void *)(uintptr_t)outgoing->sealed.data);
    *outgoing = (fq_outgoing){0};
}

static fq_status read_entry(const char *path, fq_outgoing *out) {
    fq_cbytes bytes;
    FQ_TRY(fq_file_read(path, MAX_FILE_BYTES, &bytes));
    fq_status status = fq_outbox_parse(bytes, out);
    free((void *)(uintptr_t)bytes.data);
    return status;
}

fq_status fq_outbox_read(const char *home, fq_outgoing **out, size_t *n, size_t *n_damaged) {
    char folder[PATH_MAX], path[PATH_MAX];
    fq_path_join(home, "outbox", folder);
    *out = NULL;
    *n = *n_damaged = 0;
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return errno == ENOENT ? FQ_OK
                               : fq_fail(FQ_EIO, "cannot read %s: %s", folder, strerror(errno));
    fq_status      status = FQ_OK;
    struct dirent *entry;
    while (status == FQ_OK && (entry = readdir(entries)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (length < 8 || strcmp(entry->d_name + length - 7, ".update") != 0)
            continue;
        fq_outgoing *more = realloc(*out, (*n + 1) * sizeof *more);
        if (more == NULL) {
            status = fq_fail(FQ_ENOMEM, "no memory for the outbox");
            break;
        }
        *out = more;
        fq_path_join(folder, entry->d_name, path);
        status = read_entry(path, &(*out)[*n]);
        if (status == FQ_OK) {
            ++*n;
        } else if (status == FQ_EPROTO ||
                   status == FQ_ELIMIT) { /* of no use to anybody: the turn is taken again */
            unlink(path);
            ++*n_damaged;
            status = FQ_OK;
        }
    }
    closedir(entries);
    if (status != FQ_OK) {
        for (size_t i = 0; i < *n; i++)
            fq_outgoing_fini(&(*out)[i]);
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return status;
}

void fq_outbox_remove(const char *home, const fq_binding *binding) {
    char name[NAME_BYTES], path[PATH_MAX];
    name_of("outbox", binding, ".update", name);
    fq_path_join(home, name, path);
    unlink(path);
}

/* ---- state ---- */
static void state_path(const char *home, const fq_binding *binding, bool staged,
                       char out[PATH_MAX]) {
    char name[NAME_BYTES];
    if (staged)
        name_of("state", binding, ".next", name);
    else
        snprintf(name, sizeof name, "state/%" PRIu64, binding->client);
    fq_path_join(home, name, out);
}

fq_status fq_state_parse(fq_cbytes bytes, const fq_binding *binding, float *state, size_t n) {
    fq_reader  reader;
    fq_binding found;
    memset(state, 0, n * sizeof *state);
    FQ_TRY(read_checked(bytes, STATE_MAGIC, &reader));
    get_binding(&reader, &found);
    uint64_t count = fq_get_u64(&reader);
    if (reader.failed)
        return fq_fail(FQ_EPROTO, "a state of %zu bytes", bytes.size);
    if (memcmp(found.run, binding->run, sizeof found.run) != 0)
        return FQ_OK; /* what another run left is none of this one's */
    if (found.client != binding->client)
        return fq_fail(FQ_EPROTO, "the state of client %" PRIu64, found.client);
    if (count != n || fq_reader_left(&reader) != n * sizeof *state)
        return fq_fail(FQ_EPROTO, "%" PRIu64 " values; %zu are needed", count, n);
    fq_get_floats(&reader, state, n);
    return FQ_OK;
}

fq_status fq_state_load(const char *home, const fq_binding *binding, float *state, size_t n) {
    char      path[PATH_MAX];
    fq_cbytes bytes;
    memset(state, 0, n * sizeof *state);
    state_path(home, binding, false, path);
    if (!fq_file_exists(path))
        return FQ_OK;
    FQ_TRY(fq_file_read(path, MAX_FILE_BYTES, &bytes));
    fq_status status = fq_state_parse(bytes, binding, state, n);
    free((void *)(uintptr_t)bytes.data);
    if (status != FQ_OK)
        fq_add_context("%s", path);
    return status;
}

fq_status fq_state_stage(const char *home, const fq_binding *binding, const float *state,
                         size_t n) {
    char      name[NAME_BYTES];
    fq_buffer bytes = {0};
    fq_put_bytes(&bytes, STATE_MAGIC, sizeof STATE_MAGIC);
    put_binding(&bytes, binding);
    fq_put_u64(&bytes, n);
    fq_put_floats(&bytes, state, n);
    name_of("state", binding, ".next", name);
    return write_checked(home, name, &bytes);
}

fq_status fq_state_commit(const char *home, const fq_binding *binding) {
    char from[PATH_MAX], to[PATH_MAX];
    state_path(home, binding, true, from);
    state_path(home, binding, false, to);
    if (rename(from, to) != 0 && errno != ENOENT) /* gone: this was done before */
        return fq_fail(FQ_EIO, "cannot replace %s: %s", to, strerror(errno));
    /* Also after a process that ended between these two lines: the outbox entry goes next, and
     * must not go to disk before. */
    return fq_folder_sync_of(to);
}

void fq_state_discard(const char *home, const fq_binding *binding) {
    char path[PATH_MAX];
    state_path(home, binding, true, path);
    unlink(path);
}

/* ---- after turns that were cut short ---- */
static bool ends_with(const char *name, const char *ending) {
    size_t length = strlen(name), more = strlen(ending);
    return length > more && strcmp(name + length - more, ending) == 0;
}

static bool has_entry(const char *home, const char *staged) {
    char name[NAME_BYTES], path[PATH_MAX];
    int  stem = (int)(strlen(staged) - strlen(".next"));
    if (snprintf(name, sizeof name, "outbox/%.*s.update", stem, staged) >= (int)sizeof name)
        return false; /* no name of ours is that long */
    fq_path_join(home, name, path);
    return fq_file_exists(path);
}

static void tidy_folder(const char *home, const char *name) {
    char folder[PATH_MAX], path[PATH_MAX];
    fq_path_join(home, name, folder);
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return;
    const struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        bool orphan = ends_with(entry->d_name, ".next") && !has_entry(home, entry->d_name);
        if (!orphan && !ends_with(entry->d_name, ".part"))
            continue;
        fq_path_join(folder, entry->d_name, path);
        unlink(path);
    }
    closedir(entries);
}

void fq_home_tidy(const char *home) {
    tidy_folder(home, "outbox");
    tidy_folder(home, "state");
}

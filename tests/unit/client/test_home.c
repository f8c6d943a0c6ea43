#include "base/file.h"
#include "client/home.h"
#include "client/participant.h"
#include "client/status.h"
#include "suite.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 5 };
static const char SERVER[] = "tcp://fed.example.org:7740";
static const char SERVER_KEY[] = "1f0c3b7a9d5e2846f1aa0b64c7de935018f2ab6cd4397e105c8b2af7639d1e44";
static const fq_binding BINDING = {.run = {1, 2}, .round = 7, .model = {3}, .client = 12345678901};

static unsigned mode_of(const char *home, const char *name) {
    char        path[PATH_MAX];
    struct stat info;
    fq_path_join(home, name, path);
    return stat(path, &info) == 0 ? info.st_mode & 0777 : 0;
}

static bool is_there(const char *home, const char *name) {
    char path[PATH_MAX];
    fq_path_join(home, name, path);
    return fq_file_exists(path);
}

static size_t files_in(const char *home, const char *name) {
    char path[PATH_MAX];
    fq_path_join(home, name, path);
    DIR   *folder = opendir(path);
    size_t n = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(folder);
    return n;
}

static const char *make(const char *name) {
    const char   *home = fq_test_path(name);
    fq_public_key key;
    FQ_ASSERT_OK(fq_home_make(home, SERVER, SERVER_KEY, "kitchen", &key));
    return home;
}

/* ---- the folder ---- */
static void test_make(void) {
    const char      *home = make("made");
    char             path[PATH_MAX];
    fq_client_config config;
    fq_data_settings data;
    bool             has_data;
    fq_public_key    pinned, key, expected;
    fq_keypair      *keys;
    CU_ASSERT_EQUAL(mode_of(home, ""), 0700);
    CU_ASSERT_EQUAL(mode_of(home, "client.key"), 0600);
    FQ_ASSERT_OK(fq_home_read(home, &config, &data, &has_data, &pinned));
    CU_ASSERT_STRING_EQUAL(config.server, SERVER);
    CU_ASSERT_STRING_EQUAL(config.name, "kitchen");
    CU_ASSERT_EQUAL(config.widths.n, 0);
    CU_ASSERT_FALSE(has_data);
    FQ_ASSERT_OK(fq_public_key_parse(SERVER_KEY, &expected));
    CU_ASSERT(fq_public_key_equal(&pinned, &expected));
    /* The key of a folder stays. */
    fq_path_join(home, "client.key", path);
    FQ_ASSERT_OK(fq_keypair_load(&keys, path));
    FQ_ASSERT_FAILS(fq_home_make(home, SERVER, SERVER_KEY, "kitchen", &key), FQ_ESTATE, "already");
    fq_public_key before = *fq_keypair_public(keys);
    fq_keypair_destroy(&keys);
    FQ_ASSERT_OK(fq_keypair_load(&keys, path));
    CU_ASSERT(fq_public_key_equal(&before, fq_keypair_public(keys)));
    fq_keypair_destroy(&keys);
}

static void test_make_not(void) {
    static const char *const addresses[] = {
        "fed.example.org:7740", "tcp://fed.example.org", "",
        "tcp://:7740",          "tcp://host:0",          "tcp://host:65536",
        "tcp://host:77x",       "udp://host:7740"};
    const char   *home = fq_test_path("not-made");
    fq_public_key key;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
        FQ_ASSERT_FAILS(fq_home_make(home, addresses[i], SERVER_KEY, "a", &key), FQ_EINVAL,
                        "tcp://HOST:PORT");
    FQ_ASSERT_FAILS(fq_home_make(home, SERVER, "1f0c", "a", &key), FQ_EINVAL, "--server-key");
    FQ_ASSERT_FAILS(
        fq_home_make(home, SERVER, SERVER_KEY,
                     "this is a name that is longer than the sixty-three characters of a list",
                     &key),
        FQ_EINVAL, "63");
    CU_ASSERT_FALSE(fq_file_exists(home));
}

/* Somebody's folder is neither taken over nor closed to others; an init that was cut short is gone
 * on with. */
static void test_make_in_a_folder(void) {
    const char   *theirs = fq_test_path("theirs"), *half = fq_test_path("half");
    fq_public_key key;
    CU_ASSERT_EQUAL_FATAL(mkdir(theirs, 0755), 0);
    fq_test_write(fq_test_path("theirs/letter.txt"), "x", 1);
    FQ_ASSERT_FAILS(fq_home_make(theirs, SERVER, SERVER_KEY, "a", &key), FQ_ESTATE, "letter.txt");
    CU_ASSERT_EQUAL(mode_of(theirs, ""), 0755);
    CU_ASSERT_EQUAL(files_in(theirs, ""), 1);
    CU_ASSERT_EQUAL_FATAL(mkdir(half, 0755), 0);
    CU_ASSERT_EQUAL_FATAL(mkdir(fq_test_path("half/outbox"), 0755), 0);
    FQ_ASSERT_OK(fq_home_make(half, SERVER, SERVER_KEY, "a", &key));
    CU_ASSERT_EQUAL(mode_of(half, ""), 0700);
}

static void test_read_settings(void) {
    const char      *home = make("settings");
    char             path[PATH_MAX], text[1024];
    fq_client_config config;
    fq_data_settings data;
    bool             has_data;
    fq_public_key    key;
    fq_path_join(home, "client.yaml", path);
    snprintf(text, sizeof text,
             "server: %s\nserver_key: %s\nwidths: [2, 4, 8]\nmodel_bits: 4\n"
             "data: {set: npy, path: /data}\n",
             SERVER, SERVER_KEY);
    fq_test_write(path, text, strlen(text));
    FQ_ASSERT_OK(fq_home_read(home, &config, &data, &has_data, &key));
    CU_ASSERT(has_data);
    CU_ASSERT_STRING_EQUAL(data.path, "/data");
    CU_ASSERT_EQUAL(config.widths.n, 3);
    CU_ASSERT_EQUAL(config.model_bits, 4);
    static const struct {
        const char *line, *said;
    } bad[] = {{"widths: [0]", "widths"},        {"model_bits: 9", "model_bits"},
               {"sever: x", "server"},           {"data: {set: nqy}", "npy"},
               {"data: {pth: x}", "path"},       {"server_key: 12", "client.yaml"},
               {"server: host:1", "client.yaml"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bool own = strncmp(bad[i].line, "server", 6) == 0;
        snprintf(text, sizeof text, "%s\n%s%s\n%s%s\n", bad[i].line,
                 own && bad[i].line[6] == ':' ? "# " : "server: ", SERVER,
                 own && bad[i].line[6] == '_' ? "# " : "server_key: ", SERVER_KEY);
        fq_test_write(path, text, strlen(text));
        FQ_ASSERT_FAILS(fq_home_read(home, &config, &data, &has_data, &key), FQ_EINVAL,
                        bad[i].said);
    }
    FQ_ASSERT_FAILS(fq_home_read(fq_test_path("nowhere"), &config, &data, &has_data, &key),
                    FQ_EINVAL, "fedq-client init");
}

/* ---- outbox ---- */
static fq_outgoing outgoing_of(const fq_binding *binding, unsigned char fill) {
    fq_outgoing out = {.binding = *binding, .model_bits = 3};
    fq_buffer   bytes = {0};
    for (int i = 0; i < FQ_SEAL_OVERHEAD + 100; i++)
        fq_put_u8(&bytes, (uint8_t)(fill + i));
    out.sealed = (fq_cbytes){bytes.data, bytes.size};
    return out;
}

static bool same_outgoing(const fq_outgoing *a, const fq_outgoing *b) {
    return memcmp(a->binding.run, b->binding.run, sizeof a->binding.run) == 0 &&
           memcmp(a->binding.model, b->binding.model, sizeof a->binding.model) == 0 &&
           a->binding.round == b->binding.round && a->binding.client == b->binding.client &&
           a->model_bits == b->model_bits && a->sealed.size == b->sealed.size &&
           memcmp(a->sealed.data, b->sealed.data, a->sealed.size) == 0;
}

static void test_outbox(void) {
    const char *home = make("outbox");
    fq_binding  other = BINDING;
    fq_outgoing first = outgoing_of(&BINDING, 1), second, *found;
    size_t      n, damaged;
    other.client = 4;
    second = outgoing_of(&other, 2);
    FQ_ASSERT_OK(fq_outbox_put(home, &first));
    FQ_ASSERT_OK(fq_outbox_put(home, &second));
    FQ_ASSERT_OK(fq_outbox_put(home, &second)); /* again: still one */
    FQ_ASSERT_OK(fq_outbox_read(home, &found, &n, &damaged));
    CU_ASSERT_EQUAL_FATAL(n, 2);
    CU_ASSERT_EQUAL(damaged, 0);
    size_t at = found[0].binding.client == 4 ? 0 : 1;
    CU_ASSERT(same_outgoing(&found[at], &second));
    CU_ASSERT(same_outgoing(&found[1 - at], &first));
    for (size_t i = 0; i < n; i++)
        fq_outgoing_fini(&found[i]);
    free(found);
    fq_outbox_remove(home, &other);
    fq_outbox_remove(home, &other);
    CU_ASSERT_EQUAL(files_in(home, "outbox"), 1);
    fq_outgoing_fini(&first);
    fq_outgoing_fini(&second);
}

/* Every prefix and every changed byte is seen; the file goes, the others stay. */
static void test_outbox_damage(void) {
    const char *home = make("damage");
    char        path[PATH_MAX];
    fq_outgoing first = outgoing_of(&BINDING, 1), parsed, *found;
    fq_cbytes   bytes;
    size_t      n, damaged;
    FQ_ASSERT_OK(fq_outbox_put(home, &first));
    fq_path_join(home, "outbox/00000007-12345678901.update", path);
    FQ_ASSERT_OK(fq_file_read(path, 4096, &bytes));
    unsigned char *copy = malloc(bytes.size);
    for (size_t size = 0; size < bytes.size; size++) {
        unsigned char *exact = malloc(size + 1); /* a read past the end is one past the block */
        memcpy(exact, bytes.data, size);
        CU_ASSERT_EQUAL(fq_outbox_parse((fq_cbytes){exact, size}, &parsed), FQ_EPROTO);
        free(exact);
    }
    for (size_t at = 0; at < bytes.size; at++) {
        memcpy(copy, bytes.data, bytes.size);
        copy[at] ^= 0x10;
        CU_ASSERT_EQUAL(fq_outbox_parse((fq_cbytes){copy, bytes.size}, &parsed), FQ_EPROTO);
    }
    fq_test_write(path, copy, bytes.size);
    fq_binding other = BINDING;
    other.client = 4;
    fq_outgoing second = outgoing_of(&other, 2);
    FQ_ASSERT_OK(fq_outbox_put(home, &second));
    FQ_ASSERT_OK(fq_outbox_read(home, &found, &n, &damaged));
    CU_ASSERT_EQUAL_FATAL(n, 1);
    CU_ASSERT_EQUAL(damaged, 1);
    CU_ASSERT(same_outgoing(&found[0], &second));
    CU_ASSERT_EQUAL(files_in(home, "outbox"), 1);
    fq_outgoing_fini(&found[0]);
    free(found);
    free(copy);
    free((void *)(uintptr_t)bytes.data);
    fq_outgoing_fini(&first);
    fq_outgoing_fini(&second);
}

/* ---- state ---- */
static void test_state(void) {
    const char *home = make("state");
    const float one[N] = {1, -2, 3, -4, 5}, two[N] = {9, 8, 7, 6, 5}, zero[N] = {0};
    float       found[N] = {1, 1, 1, 1, 1};
    fq_binding  next = BINDING;
    next.round++;
    FQ_ASSERT_OK(fq_state_load(home, &BINDING, found, N));
    CU_ASSERT_EQUAL(memcmp(found, zero, sizeof zero), 0);
    /* staged is not there yet; committed is, also when it is done twice */
    FQ_ASSERT_OK(fq_state_stage(home, &BINDING, one, N));
    FQ_ASSERT_OK(fq_state_load(home, &next, found, N));
    CU_ASSERT_EQUAL(memcmp(found, zero, sizeof zero), 0);
    FQ_ASSERT_OK(fq_state_commit(home, &BINDING));
    FQ_ASSERT_OK(fq_state_commit(home, &BINDING));
    FQ_ASSERT_OK(fq_state_load(home, &next, found, N));
    CU_ASSERT_EQUAL(memcmp(found, one, sizeof one), 0);
    /* refused */
    FQ_ASSERT_OK(fq_state_stage(home, &next, two, N));
    fq_state_discard(home, &next);
    FQ_ASSERT_OK(fq_state_commit(home, &next));
    FQ_ASSERT_OK(fq_state_load(home, &next, found, N));
    CU_ASSERT_EQUAL(memcmp(found, one, sizeof one), 0);
    /* another client, another run, another size */
    fq_binding other = BINDING;
    other.client = 1;
    FQ_ASSERT_OK(fq_state_load(home, &other, found, N));
    CU_ASSERT_EQUAL(memcmp(found, zero, sizeof zero), 0);
    other = BINDING;
    other.run[0] = 77;
    FQ_ASSERT_OK(fq_state_load(home, &other, found, N));
    CU_ASSERT_EQUAL(memcmp(found, zero, sizeof zero), 0);
    FQ_ASSERT_FAILS(fq_state_load(home, &next, found, N - 1), FQ_EPROTO, "4 are needed");
}

static void test_state_damage(void) {
    const char *home = make("state-damage");
    const float one[N] = {1, -2, 3, -4, 5};
    float       found[N];
    char        path[PATH_MAX];
    fq_cbytes   bytes;
    FQ_ASSERT_OK(fq_state_stage(home, &BINDING, one, N));
    FQ_ASSERT_OK(fq_state_commit(home, &BINDING));
    fq_path_join(home, "state/12345678901", path);
    FQ_ASSERT_OK(fq_file_read(path, 4096, &bytes));
    unsigned char *copy = malloc(bytes.size);
    for (size_t size = 0; size < bytes.size; size++) {
        unsigned char *exact = malloc(size + 1);
        memcpy(exact, bytes.data, size);
        CU_ASSERT_EQUAL(fq_state_parse((fq_cbytes){exact, size}, &BINDING, found, N), FQ_EPROTO);
        free(exact);
    }
    for (size_t at = 0; at < bytes.size; at++) {
        memcpy(copy, bytes.data, bytes.size);
        copy[at] ^= 0x10;
        CU_ASSERT_EQUAL(fq_state_parse((fq_cbytes){copy, bytes.size}, &BINDING, found, N),
                        FQ_EPROTO);
    }
    /* It is said which file it is: whoever operates the device has to decide. */
    fq_test_write(path, copy, bytes.size);
    FQ_ASSERT_FAILS(fq_state_load(home, &BINDING, found, N), FQ_EPROTO, "state/12345678901");
    free(copy);
    free((void *)(uintptr_t)bytes.data);
}

/* Staged states wait for their entry's receipt; without an entry they are nobody's. */
static void test_tidy(void) {
    const char *home = make("tidy");
    const float one[N] = {1};
    fq_binding  orphan = BINDING, done = BINDING;
    fq_outgoing entry = outgoing_of(&BINDING, 1);
    orphan.round = 8;
    done.round = 6;
    FQ_ASSERT_OK(fq_state_stage(home, &done, one, N));
    FQ_ASSERT_OK(fq_state_commit(home, &done));
    FQ_ASSERT_OK(fq_state_stage(home, &BINDING, one, N));
    FQ_ASSERT_OK(fq_outbox_put(home, &entry));
    FQ_ASSERT_OK(fq_state_stage(home, &orphan, one, N));
    fq_test_write(fq_test_path("tidy/state/00000009-3.next.part"), "x", 1);
    fq_test_write(fq_test_path("tidy/outbox/00000009-3.update.part"), "x", 1);
    fq_home_tidy(home);
    CU_ASSERT_EQUAL(files_in(home, "state"), 2);
    CU_ASSERT(is_there(home, "state/12345678901"));
    CU_ASSERT(is_there(home, "state/00000007-12345678901.next"));
    CU_ASSERT_EQUAL(files_in(home, "outbox"), 1);
    fq_outgoing_fini(&entry);
}

/* ---- status ---- */
static void test_status(void) {
    const char      *home = make("status");
    char             path[PATH_MAX];
    fq_client_status found, shown = {.run_id = "00112233445566778899aabbccddeeff",
                                     .run = "say \"hi\" \\ \x01",
                                     .connected = true,
                                     .round = 12,
                                     .training = 2,
                                     .outbox = 3,
                                     .accepted = 40,
                                     .refused = 3,
                                     .refusals = {[FQ_REASON_LATE] = 2, [FQ_REASON_NONFINITE] = 1},
                                     .heard_s = 1700000000};
    FQ_ASSERT_OK(fq_client_status_read(home, &found));
    CU_ASSERT_EQUAL(found.accepted, 0);
    FQ_ASSERT_OK(fq_client_status_write(home, &shown));
    FQ_ASSERT_OK(fq_client_status_read(home, &found));
    CU_ASSERT_STRING_EQUAL(found.run, shown.run);
    CU_ASSERT_STRING_EQUAL(found.run_id, shown.run_id);
    CU_ASSERT(found.connected && !found.joined && !found.over);
    CU_ASSERT_EQUAL(found.round, 12);
    CU_ASSERT_EQUAL(found.outbox, 3);
    CU_ASSERT_EQUAL(found.refusals[FQ_REASON_LATE], 2);
    CU_ASSERT_EQUAL(found.refusals[FQ_REASON_NONFINITE], 1);
    CU_ASSERT_EQUAL(found.heard_s, 1700000000);
    static const char *const bad[] = {"{",
                                      "[]",
                                      "{\"round\": -1}",
                                      "{\"refusals\": 3}",
                                      "{\"refusals\": {\"late\": \"x\"}}",
                                      "{\"run_id\": \"00112233445566778899aabbccddeeff0\"}"};
    fq_path_join(home, "status.json", path);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fq_test_write(path, bad[i], strlen(bad[i]));
        CU_ASSERT_NOT_EQUAL(fq_client_status_read(home, &found), FQ_OK);
        CU_ASSERT_EQUAL(found.round, 0);
    }
}

/* ---- hours ---- */
static void test_hours(void) {
    fq_hours hours = {0};
    CU_ASSERT(fq_hours_allow(&hours, 0));
    FQ_ASSERT_OK(fq_hours_add(&hours, "22:30-06:00"));
    FQ_ASSERT_OK(fq_hours_add(&hours, "12:00-12:30"));
    CU_ASSERT(fq_hours_allow(&hours, 22 * 60 + 30));
    CU_ASSERT(fq_hours_allow(&hours, 0));
    CU_ASSERT(fq_hours_allow(&hours, 5 * 60 + 59));
    CU_ASSERT_FALSE(fq_hours_allow(&hours, 6 * 60));
    CU_ASSERT(fq_hours_allow(&hours, 12 * 60));
    CU_ASSERT_FALSE(fq_hours_allow(&hours, 12 * 60 + 30));
    CU_ASSERT_FALSE(fq_hours_allow(&hours, 22 * 60 + 29));
    hours = (fq_hours){0};
    FQ_ASSERT_OK(fq_hours_add(&hours, "00:00-24:00"));
    CU_ASSERT(fq_hours_allow(&hours, 0) && fq_hours_allow(&hours, 24 * 60 - 1));
    static const char *const bad[] = {"",
                                      "8-9",
                                      "08:00",
                                      "24:00-01:00",
                                      "08:60-09:00",
                                      "08:00-24:30",
                                      "-1:00-08:00",
                                      "08:00-09:00x",
                                      "aa:00-09:00",
                                      "10:00-10:00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FQ_ASSERT_FAILS(fq_hours_add(&hours, bad[i]), FQ_EINVAL, "HH:MM-HH:MM");
    while (hours.n < FQ_MAX_HOURS)
        FQ_ASSERT_OK(fq_hours_add(&hours, "08:00-09:00"));
    FQ_ASSERT_FAILS(fq_hours_add(&hours, "08:00-09:00"), FQ_EINVAL, "at most");
}

int main(void) {
    static const fq_case cases[] = {
        {"a new folder: modes, settings, one key for ever", test_make},
        {"addresses, keys and names that are none", test_make_not},
        {"a folder of somebody else stays as it is", test_make_in_a_folder},
        {"client.yaml, good and bad", test_read_settings},
        {"the outbox gives back what was put in", test_outbox},
        {"a damaged entry is seen, whatever byte it is", test_outbox_damage},
        {"a state is staged, then committed or discarded", test_state},
        {"a damaged state is seen, whatever byte it is", test_state_damage},
        {"what cut-short turns left is cleared, and nothing else", test_tidy},
        {"status.json comes back", test_status},
        {"hours of the day", test_hours},
        {NULL, NULL}};
    return fq_run_suite("home", cases);
}

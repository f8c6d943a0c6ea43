#include "wire/keys.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A key file: "FQKEY1\n", secret key [32], public key [32], CRC-32 of all that. */
static const char MAGIC[7] = "FQKEY1\n";
enum { FILE_BYTES = sizeof MAGIC + 2 * FQ_KEY_BYTES + 4 };

struct fq_keypair {
    bool          locked;
    fq_public_key public_key;
    unsigned char secret[FQ_KEY_BYTES];
};

_Static_assert(FQ_KEY_BYTES == crypto_box_PUBLICKEYBYTES, "keys are libsodium's");
_Static_assert(FQ_KEY_BYTES == crypto_box_SECRETKEYBYTES, "keys are libsodium's");

bool fq_public_key_equal(const fq_public_key *a, const fq_public_key *b) {
    return memcmp(a->bytes, b->bytes, FQ_KEY_BYTES) == 0;
}

void fq_public_key_text(const fq_public_key *key, char out[FQ_KEY_TEXT]) {
    sodium_bin2hex(out, FQ_KEY_TEXT, key->bytes, FQ_KEY_BYTES);
}

fq_status fq_public_key_parse(const char *text, fq_public_key *out) {
    size_t        length = strlen(text), used;
    unsigned char bytes[FQ_KEY_BYTES];
    if (length != FQ_KEY_TEXT - 1)
        return fq_fail(FQ_EINVAL, "a key has %d hexadecimal digits; '%.70s' has %zu characters",
                       FQ_KEY_TEXT - 1, text, length);
    if (sodium_hex2bin(bytes, sizeof bytes, text, length, NULL, &used, NULL) != 0 ||
        used != sizeof bytes)
        return fq_fail(FQ_EINVAL, "'%s' is not a key: only the digits 0-9 and a-f belong in one",
                       text);
    memcpy(out->bytes, bytes, sizeof bytes);
    return FQ_OK;
}

/* With a point of low order everybody's shared secret is zero, which libsodium refuses. */
fq_status fq_public_key_check(const fq_public_key *key) {
    unsigned char secret[FQ_KEY_BYTES] = {1}, shared[FQ_KEY_BYTES];
    if (crypto_scalarmult(shared, secret, key->bytes) == 0)
        return FQ_OK;
    return fq_fail(FQ_EINVAL, "that is not the key of anybody: a point of low order");
}

/* Guarded pages: locked, out of core dumps, wiped when freed. */
static fq_status allocate(fq_keypair **out) {
    if (sodium_init() < 0)
        return fq_fail(FQ_ESTATE, "libsodium finds no source of random numbers");
    *out = sodium_malloc(sizeof **out);
    if (*out == NULL)
        return fq_fail(FQ_ENOMEM, "no locked memory for a key pair (limit: ulimit -l)");
    (*out)->locked = sodium_mlock(*out, sizeof **out) == 0; /* sodium_malloc does not tell */
    return FQ_OK;
}

fq_status fq_keypair_create(fq_keypair **out) {
    *out = NULL;
    FQ_TRY(allocate(out));
    crypto_box_keypair((*out)->public_key.bytes, (*out)->secret);
    sodium_mprotect_readonly(*out);
    return FQ_OK;
}

bool fq_keypair_is_locked(const fq_keypair *pair) {
    return pair->locked;
}

void fq_keypair_destroy(fq_keypair **pair) {
    sodium_free(*pair);
    *pair = NULL;
}

const fq_public_key *fq_keypair_public(const fq_keypair *pair) {
    return &pair->public_key;
}

const unsigned char *fq_keypair_secret(const fq_keypair *pair) {
    return pair->secret;
}

static void write_u32(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

fq_status fq_keypair_save(const fq_keypair *pair, const char *path) {
    unsigned char bytes[FILE_BYTES];
    memcpy(bytes, MAGIC, sizeof MAGIC);
    memcpy(bytes + sizeof MAGIC, pair->secret, FQ_KEY_BYTES);
    memcpy(bytes + sizeof MAGIC + FQ_KEY_BYTES, pair->public_key.bytes, FQ_KEY_BYTES);
    write_u32(bytes + FILE_BYTES - 4, fq_crc32((fq_cbytes){bytes, FILE_BYTES - 4}));
    fq_status status = fq_file_make(path, (fq_cbytes){bytes, sizeof bytes}, 0600);
    sodium_memzero(bytes, sizeof bytes);
    return status;
}

static fq_status check_owner(int file, const char *path) {
    struct stat info;
    if (fstat(file, &info) != 0)
        return fq_fail(FQ_EIO, "cannot read %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return fq_fail(FQ_EPROTO, "%s is not a file", path);
    if (info.st_uid != geteuid())
        return fq_fail(FQ_EAUTH, "%s belongs to another user (%u); a secret key must be one's own",
                       path, (unsigned)info.st_uid);
    if ((info.st_mode & 077) != 0)
        return fq_fail(
            FQ_EAUTH,
            "%s has mode %04o: others than its owner can reach the secret key; if nobody "
            "has, chmod 600 it, else make a new one",
            path, (unsigned)(info.st_mode & 07777));
    return FQ_OK;
}

static fq_status parse(const unsigned char *bytes, size_t size, const char *path,
                       fq_keypair *pair) {
    unsigned char crc[4], derived[FQ_KEY_BYTES];
    if (size != FILE_BYTES || memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return fq_fail(FQ_EPROTO, "%s is not a key file", path);
    write_u32(crc, fq_crc32((fq_cbytes){bytes, FILE_BYTES - 4}));
    if (memcmp(crc, bytes + FILE_BYTES - 4, 4) != 0)
        return fq_fail(FQ_EPROTO, "%s is damaged: its checksum is wrong", path);
    memcpy(pair->secret, bytes + sizeof MAGIC, FQ_KEY_BYTES);
    memcpy(pair->public_key.bytes, bytes + sizeof MAGIC + FQ_KEY_BYTES, FQ_KEY_BYTES);
    if (crypto_scalarmult_base(derived, pair->secret) != 0 ||
        memcmp(derived, pair->public_key.bytes, FQ_KEY_BYTES) != 0)
        return fq_fail(FQ_EPROTO, "%s: its public key does not belong to its secret key", path);
    return FQ_OK;
}

fq_status fq_keypair_load(fq_keypair **out, const char *path) {
    *out = NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return fq_fail(FQ_EIO, "cannot open %s: %s", path, strerror(errno));
    unsigned char bytes[FILE_BYTES + 1];
    size_t        size = 0;
    fq_status     status = check_owner(file, path);
    while (status == FQ_OK && size < sizeof bytes) {
        ssize_t n = read(file, bytes + size, sizeof bytes - size);
        if (n < 0 && errno != EINTR)
            status = fq_fail(FQ_EIO, "cannot read %s: %s", path, strerror(errno));
        else if (n == 0)
            break;
        else if (n > 0)
            size += (size_t)n;
    }
    close(file);
    if (status == FQ_OK)
        status = allocate(out);
    if (status == FQ_OK)
        status = parse(bytes, size, path, *out);
    sodium_memzero(bytes, sizeof bytes);
    if (status != FQ_OK)
        fq_keypair_destroy(out);
    else
        sodium_mprotect_readonly(*out);
    return status;
}

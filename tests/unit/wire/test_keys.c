#include "base/file.h"
#include "key_rig.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_text(void) {
    fq_public_key key, back;
    char          text[FQ_KEY_TEXT];
    for (int i = 0; i < FQ_KEY_BYTES; i++)
        key.bytes[i] = (unsigned char)(i * 8);
    fq_public_key_text(&key, text);
    CU_ASSERT_STRING_EQUAL(text,
                           "0008101820283038404850586068707880889098a0a8b0b8c0c8d0d8e0e8f0f8");
    FQ_ASSERT_OK(fq_public_key_parse(text, &back));
    CU_ASSERT_TRUE(fq_public_key_equal(&key, &back));
    back.bytes[31] ^= 1;
    CU_ASSERT_FALSE(fq_public_key_equal(&key, &back));
}

static void test_bad_text(void) {
#define SIXTY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab"
    static const struct {
        const char *text, *says;
    } table[] = {
        {"", "64 hexadecimal digits"},
        {SIXTY "cde", "63 characters"},
        {SIXTY "cdef0", "65 characters"},
        {SIXTY "cdeg", "0-9 and a-f"},
        {SIXTY "cde ", "0-9 and a-f"},
        {SIXTY "cde\n", "0-9 and a-f"},
        {"0x" SIXTY "ab", "0-9 and a-f"},
        {SIXTY ":abc", "0-9 and a-f"},
        {"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "40 characters"}, /* Z85 */
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fq_public_key key = {{7}}, before = key;
        FQ_ASSERT_FAILS(fq_public_key_parse(table[i].text, &key), FQ_EINVAL, table[i].says);
        CU_ASSERT_TRUE(fq_public_key_equal(&key, &before));
    }
    fq_public_key upper, lower;
    FQ_ASSERT_OK(fq_public_key_parse(SIXTY "cdef", &lower));
    FQ_ASSERT_OK(fq_public_key_parse(
        "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF", &upper));
    CU_ASSERT_TRUE(fq_public_key_equal(&upper, &lower));
#undef SIXTY
}

static void test_pairs_differ(void) {
    fq_keypair *a, *b, *none = NULL;
    FQ_ASSERT_OK(fq_keypair_create(&a));
    FQ_ASSERT_OK(fq_keypair_create(&b));
    CU_ASSERT_FALSE(fq_public_key_equal(fq_keypair_public(a), fq_keypair_public(b)));
    CU_ASSERT_NOT_EQUAL(memcmp(fq_keypair_secret(a), fq_keypair_secret(b), FQ_KEY_BYTES), 0);
    fq_keypair_destroy(&a);
    fq_keypair_destroy(&b);
    fq_keypair_destroy(&none);
    CU_ASSERT_PTR_NULL(a);
}

static void test_file(void) {
    const char *path = fq_test_path("file.key");
    fq_keypair *made, *other, *read;
    struct stat info;
    mode_t      before = umask(0); /* the mode is ours, not the mask's */
    FQ_ASSERT_OK(fq_keypair_create(&made));
    FQ_ASSERT_OK(fq_keypair_create(&other));
    FQ_ASSERT_OK(fq_keypair_save(made, path));
    umask(before);
    CU_ASSERT_EQUAL_FATAL(stat(path, &info), 0);
    CU_ASSERT_EQUAL(info.st_mode & 07777, 0600);
    CU_ASSERT_EQUAL(info.st_size, FQ_TEST_KEY_FILE);
    FQ_ASSERT_FAILS(fq_keypair_save(other, path), FQ_ESTATE, "there already");
    FQ_ASSERT_OK(fq_keypair_load(&read, path)); /* still the first */
    CU_ASSERT_TRUE(fq_public_key_equal(fq_keypair_public(read), fq_keypair_public(made)));
    CU_ASSERT_EQUAL(memcmp(fq_keypair_secret(read), fq_keypair_secret(made), FQ_KEY_BYTES), 0);
    fq_keypair_destroy(&read);
    fq_keypair_destroy(&made);
    fq_keypair_destroy(&other);
}

static void test_link_is_not_followed(void) {
    const char *target = fq_test_path("target.key"), *path = fq_test_path("link.key");
    fq_keypair *pair;
    FQ_ASSERT_OK(fq_keypair_create(&pair));
    CU_ASSERT_EQUAL_FATAL(symlink(target, path), 0);
    FQ_ASSERT_FAILS(fq_keypair_save(pair, path), FQ_ESTATE, "there already");
    CU_ASSERT_FALSE(fq_file_exists(target));
    FQ_ASSERT_FAILS(fq_keypair_save(pair, fq_test_path("no/such/folder.key")), FQ_EIO,
                    "No such file");
    fq_keypair_destroy(&pair);
}

/* The first pair's file, good in itself. */
static const char *good_file(unsigned char bytes[FQ_TEST_KEY_FILE]) {
    const char   *path = fq_test_path("case.key");
    unsigned char secret[FQ_KEY_BYTES];
    fq_test_secret(0, secret);
    fq_test_key_file(secret, fq_test_public[0], bytes);
    unlink(path); /* a file of another case may have another mode or owner */
    fq_test_write(path, bytes, FQ_TEST_KEY_FILE);
    CU_ASSERT_EQUAL_FATAL(chmod(path, 0600), 0);
    return path;
}

static void test_modes(void) {
    unsigned char bytes[FQ_TEST_KEY_FILE];
    const char   *path = good_file(bytes);
    fq_keypair   *pair;
    for (mode_t bit = 1; bit <= 040; bit <<= 1) {
        CU_ASSERT_EQUAL_FATAL(chmod(path, 0600 | bit), 0);
        FQ_ASSERT_FAILS(fq_keypair_load(&pair, path), FQ_EAUTH, "others than its owner");
        CU_ASSERT_PTR_NULL(pair);
    }
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL_FATAL(chmod(path, i == 0 ? 0400 : 0600), 0);
        FQ_ASSERT_OK(fq_keypair_load(&pair, path));
        fq_keypair_destroy(&pair);
    }
}

static void test_other_owner(void) {
    unsigned char bytes[FQ_TEST_KEY_FILE];
    const char   *path = good_file(bytes);
    fq_keypair   *pair;
    /* Root gives the file away; others take one that root has. */
    if (geteuid() != 0)
        path = "/etc/passwd";
    else
        CU_ASSERT_EQUAL_FATAL(chown(path, 1, 1), 0);
    FQ_ASSERT_FAILS(fq_keypair_load(&pair, path), FQ_EAUTH, "another user");
    CU_ASSERT_PTR_NULL(pair);
}

static void refuse(const unsigned char *bytes, size_t size, const char *says) {
    const char *path = fq_test_path("case.key");
    fq_keypair *pair;
    unlink(path);
    fq_test_write(path, bytes, size);
    CU_ASSERT_EQUAL_FATAL(chmod(path, 0600), 0);
    FQ_ASSERT_FAILS(fq_keypair_load(&pair, path), FQ_EPROTO, says);
    CU_ASSERT_PTR_NULL(pair);
}

static void test_damaged_files(void) {
    unsigned char bytes[FQ_TEST_KEY_FILE + 1], secret[FQ_KEY_BYTES];
    (void)good_file(bytes);
    for (size_t size = 0; size < FQ_TEST_KEY_FILE; size++)
        refuse(bytes, size, "not a key file");
    bytes[FQ_TEST_KEY_FILE] = 0;
    refuse(bytes, FQ_TEST_KEY_FILE + 1, "not a key file");
    for (size_t i = 0; i < FQ_TEST_KEY_FILE; i++) {
        bytes[i] ^= 0x10;
        refuse(bytes, FQ_TEST_KEY_FILE, i < 7 ? "not a key file" : "checksum");
        bytes[i] ^= 0x10;
    }
    fq_test_secret(0, secret);
    fq_test_key_file(fq_test_public[0], secret, bytes); /* swapped halves */
    refuse(bytes, FQ_TEST_KEY_FILE, "does not belong");
    fq_test_key_file(secret, fq_test_public[1], bytes); /* of two pairs */
    refuse(bytes, FQ_TEST_KEY_FILE, "does not belong");
}

static void test_no_file(void) {
    fq_keypair *pair;
    FQ_ASSERT_FAILS(fq_keypair_load(&pair, fq_test_path("none.key")), FQ_EIO, "none.key");
    FQ_ASSERT_FAILS(fq_keypair_load(&pair, fq_test_folder()), FQ_EPROTO, "is not a file");
    CU_ASSERT_EQUAL_FATAL(mkfifo(fq_test_path("pipe.key"), 0600), 0); /* must not wait for bytes */
    FQ_ASSERT_FAILS(fq_keypair_load(&pair, fq_test_path("pipe.key")), FQ_EPROTO, "is not a file");
}

/* Keys of the points whose order divides 8 (RFC 7748, section 6.1). */
static void test_low_order(void) {
    static const char *const low[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};
    fq_public_key key;
    for (size_t i = 0; i < sizeof low / sizeof *low; i++) {
        FQ_ASSERT_OK(fq_public_key_parse(low[i], &key));
        FQ_ASSERT_FAILS(fq_public_key_check(&key), FQ_EINVAL, "low order");
    }
    fq_keypair *pair;
    FQ_ASSERT_OK(fq_keypair_create(&pair));
    FQ_ASSERT_OK(fq_public_key_check(fq_keypair_public(pair)));
    fq_keypair_destroy(&pair);
}

/* Exit code of a process that makes a pair: 0 locked, 1 not. */
static int make_a_pair(bool may_lock) {
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        fq_keypair         *pair;
        if (!may_lock &&
            (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (geteuid() == 0 && setuid(65534) != 0)))
            _exit(3);
        if (fq_keypair_create(&pair) != FQ_OK)
            _exit(2);
        bool locked = fq_keypair_is_locked(pair);
        fq_keypair_destroy(&pair);
        _exit(locked ? 0 : 1);
    }
    int status = 0;
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Sanitizers make locking succeed without doing it. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
static const bool                           sanitized = true;
#elif defined                               __has_feature
static const bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
static const bool sanitized = false;
#endif

static void test_locked(void) {
    struct rlimit limit;
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (geteuid() == 0 || limit.rlim_cur >= 1 << 16)
        CU_ASSERT_EQUAL(make_a_pair(true), 0);
    if (!sanitized)
        CU_ASSERT_EQUAL(make_a_pair(false), 1); /* usable all the same, and it is known */
}

static void test_another_implementation(void) {
    for (int which = 0; which < 2; which++) {
        fq_keypair   *pair = fq_test_keypair(which);
        unsigned char secret[FQ_KEY_BYTES];
        fq_test_secret(which, secret);
        CU_ASSERT_EQUAL(memcmp(fq_keypair_public(pair)->bytes, fq_test_public[which], FQ_KEY_BYTES),
                        0);
        CU_ASSERT_EQUAL(memcmp(fq_keypair_secret(pair), secret, FQ_KEY_BYTES), 0);
        fq_keypair_destroy(&pair);
    }
}

int main(void) {
    static const fq_case cases[] = {
        {"a public key as text and back", test_text},
        {"text that is no key", test_bad_text},
        {"no two pairs are alike", test_pairs_differ},
        {"a file, its mode, and no second one over it", test_file},
        {"a link in the place of the file", test_link_is_not_followed},
        {"every bit of the mode for others", test_modes},
        {"a file of another user", test_other_owner},
        {"cut, flipped, swapped", test_damaged_files},
        {"no file, a folder, a pipe", test_no_file},
        {"points of low order", test_low_order},
        {"memory that may be locked, and that may not", test_locked},
        {"keys of another implementation", test_another_implementation},
        {NULL, NULL},
    };
    return fq_run_suite("keys", cases);
}

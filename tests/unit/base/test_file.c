#include "base/file.h"
#include "suite.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static void free_bytes(fq_cbytes bytes) {
    free((void *)(uintptr_t)bytes.data);
}

static fq_cbytes bytes_of(const char *text) {
    return (fq_cbytes){(const unsigned char *)text, strlen(text)};
}

static bool holds(const char *path, const char *text) {
    fq_cbytes got;
    if (fq_file_read(path, 1 << 20, &got) != FQ_OK)
        return false;
    bool same = got.size == strlen(text) && memcmp(got.data, text, got.size) == 0;
    free_bytes(got);
    return same;
}

static size_t count_entries(const char *folder) {
    size_t n = 0;
    DIR   *entries = opendir(folder);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(entries);
    return n;
}

static void test_read(void) {
    const char *path = fq_test_path("plain");
    fq_test_write(path, "hello", 5);
    CU_ASSERT_TRUE(holds(path, "hello"));
    fq_cbytes got;
    FQ_ASSERT_OK(fq_file_read(path, 5, &got));
    free_bytes(got);
    FQ_ASSERT_FAILS(fq_file_read(path, 4, &got), FQ_ELIMIT, "plain has more than 4 bytes");
    CU_ASSERT_PTR_NULL(got.data);
    FQ_ASSERT_FAILS(fq_file_read(path, 0, &got), FQ_ELIMIT, "more than 0 bytes");
    fq_test_write(path, "", 0);
    CU_ASSERT_TRUE(holds(path, ""));
    FQ_ASSERT_FAILS(fq_file_read(fq_test_path("none"), 9, &got), FQ_EIO, "No such file");
    FQ_ASSERT_FAILS(fq_file_read(fq_test_folder(), 9, &got), FQ_EIO, "not a regular file");
}

/* A pipe is read if somebody writes to it, and never waited for if nobody does. */
static void test_pipes(void) {
    const char *path = fq_test_path("pipe");
    fq_cbytes   got;
    CU_ASSERT_EQUAL_FATAL(mkfifo(path, 0600), 0);
    FQ_ASSERT_FAILS(fq_file_read(path, 100, &got), FQ_EIO, "pipe that nobody writes to");
    FQ_ASSERT_FAILS(fq_file_map(path, &got), FQ_EIO, "not a regular file");
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    CU_ASSERT_EQUAL(write(ends[1], "hello", 5), 5);
    close(ends[1]);
    char name[32];
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    CU_ASSERT_TRUE(holds(name, "hello"));
    close(ends[0]);
}

/* 100,000 bytes that do not compress to nothing. */
static void fill(unsigned char *data, size_t n) {
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525U + 1013904223U;
        data[i] = (unsigned char)(state >> 28);
    }
}

static void test_read_gzip(void) {
    enum { N = 100000 };
    static unsigned char data[N], packed[2 * N];
    fill(data, N);
    const char *path = fq_test_path("data.gz");
    gzFile      file = gzopen(path, "wb");
    CU_ASSERT_EQUAL_FATAL(gzwrite(file, data, N), N);
    CU_ASSERT_EQUAL_FATAL(gzclose(file), Z_OK);
    fq_cbytes got;
    FQ_ASSERT_OK(fq_file_read(path, N, &got));
    CU_ASSERT_EQUAL_FATAL(got.size, N);
    CU_ASSERT_EQUAL(memcmp(got.data, data, N), 0);
    free_bytes(got);
    FQ_ASSERT_FAILS(fq_file_read(path, N - 1, &got), FQ_ELIMIT, "more than 99999 bytes");

    fq_cbytes raw;
    FQ_ASSERT_OK(fq_file_map(path, &raw));
    size_t size = raw.size;
    memcpy(packed, raw.data, size);
    fq_file_unmap(&raw);
    fq_test_write(path, packed, size / 2);
    FQ_ASSERT_FAILS(fq_file_read(path, N, &got), FQ_EPROTO, "damaged gzip file");
    fq_test_write(path, packed, size - 1);
    FQ_ASSERT_FAILS(fq_file_read(path, N, &got), FQ_EPROTO, "damaged gzip file");
    packed[size / 2] ^= 0x10;
    fq_test_write(path, packed, size);
    FQ_ASSERT_FAILS(fq_file_read(path, N, &got), FQ_EPROTO, "damaged gzip file");
}

static void test_map(void) {
    const char *path = fq_test_path("mapped");
    fq_test_write(path, "hello", 5);
    fq_cbytes got;
    FQ_ASSERT_OK(fq_file_map(path, &got));
    CU_ASSERT_EQUAL(got.size, 5);
    CU_ASSERT_EQUAL(memcmp(got.data, "hello", 5), 0);
    fq_file_unmap(&got);
    CU_ASSERT_PTR_NULL(got.data);
    fq_file_unmap(&got);
    fq_test_write(path, "", 0);
    FQ_ASSERT_FAILS(fq_file_map(path, &got), FQ_EPROTO, "is empty");
    FQ_ASSERT_FAILS(fq_file_map(fq_test_path("none"), &got), FQ_EIO, "No such file");
}

static void test_replace(void) {
    FQ_ASSERT_OK(fq_folder_make(fq_test_path("replace")));
    const char *path = fq_test_path("replace/file");
    FQ_ASSERT_OK(fq_file_replace(path, bytes_of("first"), false));
    CU_ASSERT_TRUE(holds(path, "first"));
    fq_cbytes old;
    FQ_ASSERT_OK(fq_file_map(path, &old));
    FQ_ASSERT_OK(fq_file_replace(path, bytes_of("the second"), true));
    CU_ASSERT_TRUE(holds(path, "the second"));
    /* Who had the old file open still reads the old file, whole. */
    CU_ASSERT_EQUAL(old.size, 5);
    CU_ASSERT_EQUAL(memcmp(old.data, "first", 5), 0);
    fq_file_unmap(&old);
    FQ_ASSERT_OK(fq_file_replace(path, (fq_cbytes){0}, true));
    CU_ASSERT_TRUE(holds(path, ""));
    CU_ASSERT_EQUAL(count_entries(fq_test_path("replace")), 1);
}

static void test_make(void) {
    FQ_ASSERT_OK(fq_folder_make(fq_test_path("make")));
    char        path[PATH_MAX];
    struct stat info;
    snprintf(path, sizeof path, "%s", fq_test_path("make/file"));
    /* What an end of the process has left is no obstacle, and who may read it, or does, reads
     * nothing of the new file. */
    fq_test_write(fq_test_path("make/file.part"), "half of so", 10);
    CU_ASSERT_EQUAL(chmod(fq_test_path("make/file.part"), 0644), 0);
    CU_ASSERT_EQUAL(link(fq_test_path("make/file.part"), fq_test_path("other")), 0);
    FQ_ASSERT_OK(fq_file_make(path, bytes_of("first"), 0600));
    FQ_ASSERT_FAILS(fq_file_make(path, bytes_of("second"), 0600), FQ_ESTATE, "there already");
    CU_ASSERT_EQUAL_FATAL(stat(path, &info), 0);
    CU_ASSERT_EQUAL(info.st_size, 5);
    CU_ASSERT_EQUAL(info.st_mode & 07777, 0600);
    CU_ASSERT_TRUE(holds(fq_test_path("other"), "half of so"));
    CU_ASSERT_EQUAL(count_entries(fq_test_path("make")), 1);
}

static void test_write_at(void) {
    const char *path = fq_test_path("write-at");
    fq_test_write(path, "first second", 12);
    int file = open(path, O_RDWR | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(file >= 0);
    FQ_ASSERT_OK(fq_file_write_at(file, path, bytes_of("SECOND third"), 6));
    CU_ASSERT_TRUE(holds(path, "first SECOND third"));
    FQ_ASSERT_OK(fq_file_write_at(file, path, (fq_cbytes){0}, 100));
    CU_ASSERT_TRUE(holds(path, "first SECOND third"));
    close(file);
    file = open("/dev/full", O_RDWR | O_CLOEXEC);
    CU_ASSERT_TRUE_FATAL(file >= 0);
    FQ_ASSERT_FAILS(fq_file_write_at(file, "/dev/full", bytes_of("x"), 0), FQ_EIO,
                    "cannot write /dev/full: No space left");
    close(file);
}

static void test_failed_replace(void) {
    FQ_ASSERT_FAILS(fq_file_replace(fq_test_path("none/file"), bytes_of("x"), true), FQ_EIO,
                    "none/file.part: No such file");
    FQ_ASSERT_OK(fq_folder_make(fq_test_path("failed/taken/inner")));
    FQ_ASSERT_FAILS(fq_file_replace(fq_test_path("failed/taken"), bytes_of("x"), false), FQ_EIO,
                    "cannot rename");
    CU_ASSERT_EQUAL(count_entries(fq_test_path("failed")), 1); /* no part is left */
    char longest[PATH_MAX + 10];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    FQ_ASSERT_FAILS(fq_file_replace(longest, bytes_of("x"), false), FQ_EINVAL, "path too long");
}

static void test_folders(void) {
    FQ_ASSERT_OK(fq_folder_make(fq_test_path("a/b//c/")));
    FQ_ASSERT_OK(fq_folder_make(fq_test_path("a/b/c")));
    CU_ASSERT_TRUE(fq_file_exists(fq_test_path("a/b/c")));
    CU_ASSERT_FALSE(fq_file_exists(fq_test_path("a/b/d")));
    fq_test_write(fq_test_path("a/file"), "", 0);
    FQ_ASSERT_FAILS(fq_folder_make(fq_test_path("a/file")), FQ_EIO, "a/file: Not a directory");
    FQ_ASSERT_FAILS(fq_folder_make(fq_test_path("a/file/x")), FQ_EIO, "Not a directory");
    FQ_ASSERT_FAILS(fq_folder_make(""), FQ_EINVAL, "no name");
    FQ_ASSERT_FAILS(fq_folder_make("/proc/none/x"), FQ_EIO, "cannot make folder /proc/none");
    FQ_ASSERT_OK(fq_folder_make("/"));
}

static void test_crc(void) {
    CU_ASSERT_EQUAL(fq_crc32(bytes_of("123456789")), 0xcbf43926);
    CU_ASSERT_EQUAL(fq_crc32(bytes_of("")), 0);
}

/* A device stays a device. */
static void test_devices_are_not_replaced(void) {
    struct stat info;
    FQ_ASSERT_OK(fq_file_replace("/dev/null", (fq_cbytes){(const unsigned char *)"x", 1}, false));
    CU_ASSERT_EQUAL_FATAL(stat("/dev/null", &info), 0);
    CU_ASSERT_TRUE(S_ISCHR(info.st_mode));
    FQ_ASSERT_FAILS(fq_file_replace("/dev/full", (fq_cbytes){(const unsigned char *)"x", 1}, false),
                    FQ_EIO, "/dev/full");
}

int main(void) {
    static const fq_case cases[] = {{"read whole, within a limit", test_read},
                                    {"pipes", test_pipes},
                                    {"read gzip, refuse damaged gzip", test_read_gzip},
                                    {"map", test_map},
                                    {"replace in one step", test_replace},
                                    {"a file is made once", test_make},
                                    {"write in the middle", test_write_at},
                                    {"a failed replace leaves nothing", test_failed_replace},
                                    {"make folders", test_folders},
                                    {"CRC-32 of the standard's check text", test_crc},
                                    {"devices are not replaced", test_devices_are_not_replaced},
                                    {NULL, NULL}};
    return fq_run_suite("file", cases);
}

/* A log of clients' states from outside: any bytes are refused and stay as they are, or are cut to
 * the records that were asked for, every one of which can be read.
 *
 * Input: records asked for; flags (bit 0: head and checksums go in as they are, else they are put
 * right first, since they would refuse nearly every input); the file. */
#include "base/file.h"
#include "fuzz.h"
#include "store/client_states.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VALUES = 2, CLIENTS = 5, HEAD = 32, RECORD = 16 + 4 * VALUES, AS_IS = 1 };

static void put_right(unsigned char *file, size_t size) {
    static const uint32_t numbers[] = {1, 0x01020304};
    static const uint64_t wide[] = {1, VALUES};
    memcpy(file, "FQSTATE\n", 8);
    memcpy(file + 8, numbers, sizeof numbers);
    memcpy(file + 16, wide, sizeof wide);
    for (size_t at = HEAD; at + RECORD <= size; at += RECORD) {
        memset(file + at + 12, 0, 4);
        uint32_t crc = fq_crc32((fq_cbytes){file + at, RECORD});
        memcpy(file + at + 12, &crc, sizeof crc);
    }
}

static size_t size_of(const char *path) {
    struct stat info;
    FUZZ_CHECK(stat(path, &info) == 0);
    return (size_t)info.st_size;
}

static void check_accepted(fq_client_states *states, const unsigned char *file, size_t size,
                           size_t records, const char *path) {
    FUZZ_CHECK(size >= HEAD + records * RECORD && size_of(path) == HEAD + records * RECORD);
    for (uint64_t client = 0; client < CLIENTS; client++) {
        float x[VALUES] = {0}, *found;
        for (size_t at = HEAD; at < HEAD + records * RECORD; at += RECORD) {
            uint64_t whose;
            memcpy(&whose, file + at, sizeof whose);
            FUZZ_CHECK(whose < CLIENTS);
            if (whose == client)
                memcpy(x, file + at + 16, sizeof x);
        }
        FUZZ_CHECK(fq_client_states_get(states, 0, client, &found) == FQ_OK);
        FUZZ_CHECK(memcmp(found, x, sizeof x) == 0);
        FUZZ_CHECK(isfinite(found[0]) && isfinite(found[1]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char              path[PATH_MAX], folder[] = "/tmp/fedq-fuzz-states-XXXXXX";
    fq_client_states *states;
    if (size < 2)
        return 0;
    const fq_states_mark mark = {.generation = 1, .records = data[0]};
    const bool           as_is = (data[1] & AS_IS) != 0;
    size -= 2;
    unsigned char *file = malloc(size < HEAD ? HEAD : size);
    FUZZ_CHECK(file != NULL);
    memcpy(file, data + 2, size);
    if (!as_is && size >= HEAD)
        put_right(file, size);
    FUZZ_CHECK(mkdtemp(folder) != NULL);
    fq_path_join(folder, "states-1.fq", path);
    FUZZ_CHECK(fq_file_replace(path, (fq_cbytes){file, size}, false) == FQ_OK);
    if (fq_client_states_open(&states, folder, VALUES, CLIENTS, 1, mark) == FQ_OK)
        check_accepted(states, file, size, mark.records, path);
    else
        FUZZ_CHECK(states == NULL && fq_status_text()[0] != '\0' && size_of(path) == size);
    fq_client_states_close(&states);
    FUZZ_CHECK(unlink(path) == 0 && rmdir(folder) == 0);
    free(file);
    return 0;
}

/* The files of a coordinator's folder: the list of clients, the journal of the open round, and
 * server.yaml.
 *
 * Input: what it is (0 clients, 1 journal, 2 settings; of a journal bit 6: an update is added, and
 * bit 7: checksums go in as they are, else they are put right first), then the bytes. */
#include "base/file.h"
#include "fuzz.h"
#include "server/folder.h"
#include "server/journal.h"
#include "server/roster.h"
#include "suite.h"

#include <string.h>
#include <unistd.h>

enum { CLIENTS, JOURNAL, SETTINGS, KINDS, ADD = 0x40, CHECKSUM_AS_IS = 0x80 };

static void check_clients(fq_cbytes bytes) {
    fq_roster roster;
    fq_status status = fq_roster_parse(bytes, &roster);
    FUZZ_CHECK(status == FQ_OK || status == FQ_EPROTO || status == FQ_ELIMIT);
    FUZZ_CHECK(status == FQ_OK || (roster.n == 0 && roster.entries == NULL));
    for (size_t i = 0; i < roster.n; i++) { /* no two are alike, and each is found */
        const fq_roster_entry *entry = &roster.entries[i];
        FUZZ_CHECK(entry->name[0] != '\0' && memchr(entry->name, '\0', sizeof entry->name) != NULL);
        FUZZ_CHECK(fq_roster_find(&roster, &entry->key) == entry);
    }
    fq_roster_fini(&roster);
}

/* The checksums of all records whose frame is there. */
static void put_right(unsigned char *bytes, size_t size) {
    for (size_t at = 8; at < size && size - at >= 12;) {
        uint32_t body = (uint32_t)bytes[at + 4] | (uint32_t)bytes[at + 5] << 8 |
                        (uint32_t)bytes[at + 6] << 16 | (uint32_t)bytes[at + 7] << 24;
        if (size - at - 12 < body)
            return;
        uint32_t crc = fq_crc32((fq_cbytes){bytes + at, (size_t)body + 8});
        for (size_t i = 0; i < 4; i++)
            bytes[at + 8 + body + i] = (unsigned char)(crc >> (8 * i));
        at += (size_t)body + 12;
    }
}

static fq_status count(void *context, const fq_journal_update *update) {
    size_t *n = context;
    ++*n;
    FUZZ_CHECK(update->sealed.size == 0 || update->sealed.data != NULL);
    return FQ_OK;
}

/* What was read is there again when it is opened once more, with an update more. */
static void check_journal(fq_cbytes bytes, bool add) {
    static const unsigned char sealed[3] = {1, 2, 3};
    const fq_journal_update    update = {.client = 9, .sealed = {sealed, sizeof sealed}};
    fq_journal                *journal;
    size_t                     before = 0, after = 0;
    remove(fq_test_path("round.journal"));
    fq_test_write(fq_test_path("round.journal"), bytes.data, bytes.size);
    fq_status status = fq_journal_open(&journal, fq_test_path(""));
    FUZZ_CHECK((status == FQ_OK) == (journal != NULL));
    if (status != FQ_OK) {
        FUZZ_CHECK(status == FQ_EPROTO && fq_status_text()[0] != '\0');
        return;
    }
    fq_journal_round round = *fq_journal_round_of(journal);
    FUZZ_CHECK((round.n == 0) == (round.members == NULL));
    FUZZ_CHECK(fq_journal_each(journal, count, &before) == FQ_OK);
    add = add && round.n > 0; /* updates belong to a round */
    FUZZ_CHECK(!add || fq_journal_add(journal, &update) == FQ_OK);
    fq_journal_close(&journal);
    FUZZ_CHECK(fq_journal_open(&journal, fq_test_path("")) == FQ_OK);
    FUZZ_CHECK(fq_journal_round_of(journal)->n == round.n);
    FUZZ_CHECK(fq_journal_each(journal, count, &after) == FQ_OK);
    FUZZ_CHECK(after == before + add);
    fq_journal_close(&journal);
}

static void check_settings(fq_cbytes bytes) {
    fq_server_config config;
    remove(fq_test_path("server.yaml"));
    fq_test_write(fq_test_path("server.yaml"), bytes.data, bytes.size);
    fq_status status = fq_server_config_read(fq_test_path(""), &config);
    if (status == FQ_OK) {
        FUZZ_CHECK(strncmp(config.listen, "tcp://", 6) == 0);
        FUZZ_CHECK(config.over_selection >= 1 && config.quorum >= 0 && config.quorum <= 1);
        FUZZ_CHECK(config.deadline_s > 0 && config.window >= 1);
    } else {
        FUZZ_CHECK(fq_status_text()[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    unsigned       kind = (data[0] & 0x3fU) % KINDS;
    unsigned char *copy = malloc(size);
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    if (kind == JOURNAL && (data[0] & CHECKSUM_AS_IS) == 0)
        put_right(copy, size - 1);
    fq_cbytes bytes = {copy, size - 1};
    if (kind == CLIENTS)
        check_clients(bytes);
    else if (kind == JOURNAL)
        check_journal(bytes, (data[0] & ADD) != 0);
    else
        check_settings(bytes);
    free(copy);
    return 0;
}

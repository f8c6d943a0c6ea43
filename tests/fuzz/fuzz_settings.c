/* A settings file, and after a NUL an assignment as --set has it: parsed, set, loaded against rows
 * of every type; what could be loaded is written, and reads back as the same text. */
#include "base/config.h"
#include "fuzz.h"

#include <string.h>

typedef struct section {
    bool     flag;
    int64_t  whole, bounded;
    double   real, positive;
    char     text[FQ_TEXT_BYTES];
    int      choice;
    fq_ints  ints;
    fq_reals reals;
    fq_words words, members;
} section;

static const char *const CHOICES[] = {"fedavg", "fedprox", "scaffold", NULL};
static const char *const SUBSECTIONS[] = {"train", "data", NULL};
static const fq_key      KEYS[] = {
         {"flag", FQ_TYPE_BOOL, offsetof(section, flag), "true", 0, 0, NULL, "H"},
         {"whole", FQ_TYPE_INT, offsetof(section, whole), "-3", 0, 0, NULL, "H"},
         {"bounded", FQ_TYPE_INT, offsetof(section, bounded), "1", 1, 100, NULL, "H"},
         {"real", FQ_TYPE_REAL, offsetof(section, real), "0.1", 0, 0, NULL, "H"},
         {"positive", FQ_TYPE_REAL, offsetof(section, positive), "1e-3", 0, 1000, NULL, "H"},
         {"text", FQ_TYPE_TEXT, offsetof(section, text), NULL, 0, 0, NULL, "H"},
         {"choice", FQ_TYPE_CHOICE, offsetof(section, choice), "fedprox", 0, 0, CHOICES, "H"},
         {"ints", FQ_TYPE_INTS, offsetof(section, ints), "[2, 3, 4]", 1, 32, NULL, "H"},
         {"reals", FQ_TYPE_REALS, offsetof(section, reals), "0.5", 0, 0, NULL, "H"},
         {"words", FQ_TYPE_WORDS, offsetof(section, words), "[a, \"1\"]", 0, 0, NULL, "H"},
         {"members", FQ_TYPE_WORDS, offsetof(section, members), "fedavg", 0, 0, CHOICES, "H"},
         {NULL, 0, 0, NULL, 0, 0, NULL, NULL},
};

/* Whatever is refused is refused with one line of text. */
static bool accepted(fq_status status) {
    if (status == FQ_OK)
        return true;
    FUZZ_CHECK(fq_status_text()[0] != '\0' && strchr(fq_status_text(), '\n') == NULL);
    return false;
}

static void reload(const section *loaded) {
    fq_buffer    first = {0}, second = {0};
    fq_document *document;
    section      back;
    fq_section_write(&first, KEYS, loaded, 0);
    FUZZ_CHECK(!first.failed);
    bool read =
        accepted(fq_document_parse(&document, "written", (fq_cbytes){first.data, first.size}));
    FUZZ_CHECK(read);
    read = accepted(fq_section_load(document, fq_document_root(document), "", KEYS, NULL, &back));
    FUZZ_CHECK(read);
    fq_section_write(&second, KEYS, &back, 0);
    FUZZ_CHECK(second.size == first.size && memcmp(first.data, second.data, first.size) == 0);
    FUZZ_CHECK(strcmp(back.text, loaded->text) == 0);
    fq_document_destroy(&document);
    fq_buffer_fini(&first);
    fq_buffer_fini(&second);
}

static void set(fq_document *document, const uint8_t *data, size_t size) {
    char assignment[512];
    if (size >= sizeof assignment)
        size = sizeof assignment - 1;
    memcpy(assignment, data, size);
    assignment[size] = '\0';
    (void)accepted(fq_document_set(document, assignment));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    size_t         length = end != NULL ? (size_t)(end - data) : size;
    fq_document   *document, *copy;
    if (!accepted(fq_document_parse(&document, "input", (fq_cbytes){data, length})))
        return 0;
    if (end != NULL)
        set(document, end + 1, size - length - 1);
    char shown[2][64];
    fq_node_print(fq_document_root(document), shown[0], sizeof shown[0]);
    FUZZ_CHECK(accepted(fq_document_copy(&copy, document)));
    fq_document_destroy(&document);
    fq_node_print(fq_document_root(copy), shown[1], sizeof shown[1]);
    FUZZ_CHECK(strcmp(shown[0], shown[1]) == 0);
    section loaded;
    if (accepted(fq_section_load(copy, fq_document_root(copy), "", KEYS, SUBSECTIONS, &loaded)))
        reload(&loaded);
    fq_document_destroy(&copy);
    return 0;
}

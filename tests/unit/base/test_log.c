#include "base/log.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

/* What open_memstream fills in. */
static char  *text;
static size_t size;

static char *written(const fq_log_level level, const char *value) {
    char   quoted[FQ_LOG_QUOTED];
    fq_log log = {.file = open_memstream(&text, &size), .level = FQ_LOG_INFO};
    fq_log_write(&log, level, "tried", "round=%d text=%s", 7, fq_log_quote(value, quoted));
    fclose(log.file);
    return text;
}

static void test_line(void) {
    char *line = written(FQ_LOG_WARN, "plain-word");
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "Z warn event=tried round=7 text=plain-word\n"));
    free(line);
}

static void test_level(void) {
    char *line = written(FQ_LOG_DEBUG, "x");
    CU_ASSERT_STRING_EQUAL(line, "");
    free(line);
}

static void test_quoting(void) {
    char *line = written(FQ_LOG_INFO, "two \"words\"\nlevel=forged\x7f");
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "text=\"two \\\"words\\\"\\x0alevel=forged\\x7f\"\n"));
    CU_ASSERT_PTR_EQUAL(strchr(line, '\n') + 1, line + strlen(line));
    free(line);
    char out[FQ_LOG_QUOTED];
    CU_ASSERT_STRING_EQUAL(fq_log_quote("", out), "\"\"");
}

static void test_long_lines_end(void) {
    char *long_text = malloc(5001), quoted[FQ_LOG_QUOTED];
    memset(long_text, ' ', 5000);
    long_text[5000] = '\0';
    CU_ASSERT_TRUE(strlen(fq_log_quote(long_text, quoted)) < FQ_LOG_QUOTED);
    memset(long_text, 'a', 5000);
    fq_log log = {.file = open_memstream(&text, &size), .level = FQ_LOG_INFO};
    fq_log_write(&log, FQ_LOG_INFO, "long", "text=%s", long_text);
    fclose(log.file);
    CU_ASSERT_TRUE(size < 2100 && text[size - 1] == '\n');
    free(text);
    free(long_text);
}

int main(void) {
    static const fq_case cases[] = {{"a line", test_line},
                                    {"less urgent lines are left out", test_level},
                                    {"values from outside cannot forge lines", test_quoting},
                                    {"long lines are cut and end", test_long_lines_end},
                                    {NULL, NULL}};
    return fq_run_suite("log", cases);
}

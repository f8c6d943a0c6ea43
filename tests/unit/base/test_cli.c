#include "base/cli.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fq_option RUN_OPTIONS[] = {
    {"set", 's', "KEY=VALUE", true, "Override a setting, as in train.rounds=20; may be repeated."},
    {"seed", 0, "N", false, "Seed of all randomness (default: that of the file)."},
    {"out", 'o', "DIR", false, "Folder for the results."},
    {"resume", 'r', NULL, false, "Continue a run that was interrupted."},
    {NULL, 0, NULL, false, NULL}};
static const fq_option   COMMON_OPTIONS[] = {{"json", 'j', NULL, false, "Write JSON to stdout."},
                                             {"quiet", 'q', NULL, false, "Only errors."},
                                             {NULL, 0, NULL, false, NULL}};
static const char *const RUN_TEXT[] = {"Reads the settings in FILE.yaml, trains, evaluates at "
                                       "every bit-width asked for, and writes the "
                                       "model. Results are the same for any number of workers.",
                                       "A line may begin with .dots or a \\backslash or a 'quote'.",
                                       NULL};
static const fq_example  RUN_EXAMPLES[] = {
     {"fedq-demo run mqat.yaml --set train.rounds=20", "A short run."}, {NULL, NULL}};
static const fq_command COMMANDS[] = {
    {"run", "FILE.yaml", "Run an experiment", RUN_TEXT, RUN_OPTIONS, RUN_EXAMPLES},
    {"report", "RUN...", "Write a report of several runs", NULL, NULL, NULL},
    {"list", "[KIND]", "List what there is", NULL, NULL, NULL},
    {"status", "", "Show the state", NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL, NULL}};
static const char *const       PROGRAM_TEXT[] = {"Simulates a federation.", NULL};
static const char *const       ENVIRONMENT[] = {"FEDQ_DATA\tWhere data sets are looked for.", NULL};
static const fq_manual_section SECTIONS[] = {{"ENVIRONMENT", ENVIRONMENT}, {NULL, NULL}};
static const char *const       SEE_ALSO[] = {"fedq-server(1)", "fedq-client(1)", NULL};
static const fq_program        PROGRAM = {.name = "fedq-demo",
                                          .version = "0.1.0",
                                          .date = "2025-01-31",
                                          .summary = "federated training for tests",
                                          .description = PROGRAM_TEXT,
                                          .commands = COMMANDS,
                                          .options = COMMON_OPTIONS,
                                          .sections = SECTIONS,
                                          .see_also = SEE_ALSO};

enum { MOST_WORDS = 16, TEXT_BYTES = 16384 };

typedef struct result {
    fq_cli         cli;
    fq_cli_outcome outcome;
    char           out[TEXT_BYTES], err[TEXT_BYTES];
    char          *argv[MOST_WORDS + 1];
    char           line[512];
} result;

/* Parse "run a.yaml --seed 3"; words are parted by blanks. */
static void parse(result *r, const char *line) {
    memset(r, 0, sizeof *r);
    int argc = 0;
    r->argv[argc++] = (char *)(uintptr_t) "fedq-demo";
    snprintf(r->line, sizeof r->line, "%s", line);
    for (char *word = strtok(r->line, " "); word != NULL; word = strtok(NULL, " "))
        r->argv[argc++] = word;
    FILE *out = fmemopen(r->out, sizeof r->out, "w"), *err = fmemopen(r->err, sizeof r->err, "w");
    CU_ASSERT_TRUE_FATAL(out != NULL && err != NULL);
    r->outcome = fq_cli_parse(&r->cli, &PROGRAM, argc, r->argv, out, err);
    fclose(out);
    fclose(err);
}

static void test_options(void) {
    result r;
    parse(&r, "-q run --set a.b=1 file.yaml -s=x --seed=7 -orun1 -sc=d -r");
    CU_ASSERT_EQUAL_FATAL(r.outcome, FQ_CLI_COMMAND);
    CU_ASSERT_STRING_EQUAL(r.cli.command->name, "run");
    CU_ASSERT_EQUAL(r.cli.n_operands, 1);
    CU_ASSERT_STRING_EQUAL(r.cli.operands[0], "file.yaml");
    CU_ASSERT_EQUAL(fq_cli_count(&r.cli, "set"), 3);
    CU_ASSERT_STRING_EQUAL(fq_cli_nth(&r.cli, "set", 0), "a.b=1");
    CU_ASSERT_STRING_EQUAL(fq_cli_nth(&r.cli, "set", 1), "=x");
    CU_ASSERT_STRING_EQUAL(fq_cli_nth(&r.cli, "set", 2), "c=d");
    CU_ASSERT_PTR_NULL(fq_cli_nth(&r.cli, "set", 3));
    CU_ASSERT_STRING_EQUAL(fq_cli_text(&r.cli, "out", "runs"), "run1");
    CU_ASSERT_TRUE(fq_cli_has(&r.cli, "quiet") && fq_cli_has(&r.cli, "resume"));
    CU_ASSERT_FALSE(fq_cli_has(&r.cli, "json"));
    uint64_t seed = 0;
    FQ_ASSERT_OK(fq_cli_u64(&r.cli, "seed", 0, 100, &seed));
    CU_ASSERT_EQUAL(seed, 7);
    CU_ASSERT_STRING_EQUAL(r.err, "");
    fq_cli_fini(&r.cli);
    fq_cli_fini(&r.cli);

    parse(&r, "run -rqj -o d -- --file.yaml");
    CU_ASSERT_EQUAL(r.outcome, FQ_CLI_COMMAND);
    CU_ASSERT_STRING_EQUAL(r.cli.operands[0], "--file.yaml");
    CU_ASSERT_TRUE(fq_cli_has(&r.cli, "resume") && fq_cli_has(&r.cli, "quiet") &&
                   fq_cli_has(&r.cli, "json"));
    CU_ASSERT_STRING_EQUAL(fq_cli_text(&r.cli, "out", NULL), "d");
    seed = 5;
    FQ_ASSERT_OK(fq_cli_u64(&r.cli, "seed", 0, 1, &seed));
    CU_ASSERT_EQUAL(seed, 5);
    fq_cli_fini(&r.cli);

    parse(&r, "run - --set --seed");
    CU_ASSERT_EQUAL(r.outcome, FQ_CLI_COMMAND);
    CU_ASSERT_STRING_EQUAL(r.cli.operands[0], "-");
    CU_ASSERT_STRING_EQUAL(fq_cli_text(&r.cli, "set", NULL), "--seed");
    fq_cli_fini(&r.cli);
}

static void test_operands(void) {
    static const struct {
        const char *line;
        size_t      n;
    } rows[] = {
        {"report a", 1}, {"report a b c d", 4}, {"list", 0}, {"list models", 1}, {"status", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        result r;
        parse(&r, rows[i].line);
        CU_ASSERT_EQUAL(r.outcome, FQ_CLI_COMMAND);
        CU_ASSERT_EQUAL(r.cli.n_operands, rows[i].n);
        fq_cli_fini(&r.cli);
    }
}

static void test_wrong(void) {
    static const struct {
        const char *line, *error;
    } rows[] = {
        {"", "fedq-demo: a command is missing; try 'fedq-demo --help'\n"},
        {"rum", "fedq-demo: unknown command 'rum'; did you mean 'run'? Try 'fedq-demo --help'\n"},
        {"frobnicate", "fedq-demo: unknown command 'frobnicate'; try 'fedq-demo --help'\n"},
        {"run x --foo", "fedq-demo run: unknown option --foo; try 'fedq-demo run --help'\n"},
        {"run x --sead=3",
         "fedq-demo run: unknown option --sead; did you mean --seed? Try 'fedq-demo run --help'\n"},
        {"run x -rz", "fedq-demo run: unknown option -z; try 'fedq-demo run --help'\n"},
        {"run x --seed",
         "fedq-demo run: --seed needs a value: --seed=N; try 'fedq-demo run --help'\n"},
        {"run x -o", "fedq-demo run: -o needs a value: -o DIR; try 'fedq-demo run --help'\n"},
        {"run x --resume=1",
         "fedq-demo run: --resume takes no value; try 'fedq-demo run --help'\n"},
        {"run x --seed 1 --seed 2",
         "fedq-demo run: --seed is given twice; try 'fedq-demo run --help'\n"},
        {"run", "fedq-demo run: FILE.yaml is missing; try 'fedq-demo run --help'\n"},
        {"report", "fedq-demo report: RUN is missing; try 'fedq-demo report --help'\n"},
        {"run x y", "fedq-demo run: 'y' is one operand too many; try 'fedq-demo run --help'\n"},
        {"status x",
         "fedq-demo status: 'x' is one operand too many; try 'fedq-demo status --help'\n"},
        {"--seed 3 run x", "fedq-demo: unknown option --seed; try 'fedq-demo --help'\n"},
        {"status --seed 3",
         "fedq-demo status: unknown option --seed; try 'fedq-demo status --help'\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        result r;
        parse(&r, rows[i].line);
        CU_ASSERT_EQUAL(r.outcome, FQ_CLI_WRONG);
        if (strcmp(r.err, rows[i].error) != 0)
            fprintf(stderr, "of: %s\nsaid: %s", rows[i].line, r.err);
        CU_ASSERT_STRING_EQUAL(r.err, rows[i].error);
        CU_ASSERT_STRING_EQUAL(r.out, "");
        fq_cli_fini(&r.cli);
    }
}

static void test_wrong_numbers(void) {
    static const char *const lines[] = {"run x --seed 0",
                                        "run x --seed 65",
                                        "run x --seed ten",
                                        "run x --seed -1",
                                        "run x --seed 1e3",
                                        "run x --seed=",
                                        "run x --seed 99999999999999999999999"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        result   r;
        uint64_t seed = 5;
        parse(&r, lines[i]);
        CU_ASSERT_EQUAL(r.outcome, FQ_CLI_COMMAND);
        FQ_ASSERT_FAILS(fq_cli_u64(&r.cli, "seed", 1, 64, &seed), FQ_EINVAL,
                        "is not a whole number from 1 to 64");
        CU_ASSERT_EQUAL(seed, 5);
        FILE *err = fmemopen(r.err, sizeof r.err, "w");
        CU_ASSERT_EQUAL(fq_cli_wrong(&r.cli, err), FQ_EXIT_USAGE);
        fclose(err);
        CU_ASSERT_EQUAL(strncmp(r.err, "fedq-demo run: --seed: '", 24), 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(r.err, "from 1 to 64; try 'fedq-demo run --help'\n"));
        fq_cli_fini(&r.cli);
    }
}

static void check_width(const char *text) {
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        CU_ASSERT_TRUE(n <= 80);
        CU_ASSERT_TRUE(n == 0 || line[n - 1] != ' ');
        line += n + (line[n] == '\n');
    }
}

static void test_help(void) {
    result r;
    parse(&r, "--help");
    CU_ASSERT_EQUAL(r.outcome, FQ_CLI_HELP);
    CU_ASSERT_STRING_EQUAL(r.err, "");
    check_width(r.out);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "\n  run FILE.yaml             Run an experiment\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "\n  -q, --quiet               Only errors.\n"));
    CU_ASSERT_PTR_NULL(strstr(r.out, "--seed"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(r.out, "\nEnvironment:\n  FEDQ_DATA                 Where data sets"));
    fq_cli_fini(&r.cli);

    static const char *const same[] = {"run --help", "--help run", "run -h", "run x y z -rh"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        parse(&r, same[i]);
        CU_ASSERT_EQUAL(r.outcome, FQ_CLI_HELP);
        fq_cli_fini(&r.cli);
        check_width(r.out);
        CU_ASSERT_EQUAL(
            strncmp(r.out, "Usage: fedq-demo run [OPTION]... FILE.yaml\n\nRun an experiment.\n",
                    63),
            0);
        for (const fq_option *option = RUN_OPTIONS; option->name != NULL; option++)
            CU_ASSERT_PTR_NOT_NULL(strstr(r.out, option->name));
        CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "\n      --seed=N              Seed of all"));
        CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "\n  -j, --json "));
        CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "--set train.rounds=20\n      A short run.\n"));
    }
}

static void test_version(void) {
    result r;
    parse(&r, "--version --json");
    CU_ASSERT_EQUAL(r.outcome, FQ_CLI_VERSION);
    CU_ASSERT_STRING_EQUAL(r.out, "");
    fq_cli_fini(&r.cli);
    parse(&r, "--version --only-of-a-command"); /* the program looks for it */
    CU_ASSERT_EQUAL(r.outcome, FQ_CLI_VERSION);
    CU_ASSERT_STRING_EQUAL(r.err, "");
    fq_cli_fini(&r.cli);
    FILE *out = fmemopen(r.out, sizeof r.out, "w");
    fq_cli_version(&PROGRAM, out);
    fclose(out);
    CU_ASSERT_STRING_EQUAL(r.out, "fedq-demo 0.1.0\n");
}

static bool has_program(const char *name) {
    char command[100];
    snprintf(command, sizeof command, "command -v %s >/dev/null", name);
    return system(command) == 0;
}

/* 0 if the program finds nothing to say about the page. */
static int run_checker(const char *program, const char *page) {
    char command[1024];
    snprintf(command, sizeof command, "w=$(%s '%s' 2>&1); echo \"$w\" >&2; test -z \"$w\"", program,
             page);
    return system(command);
}

static void test_manual(void) {
    const char *path = fq_test_path("fedq-demo.1");
    FILE       *out = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    fq_cli_man(&PROGRAM, out);
    fclose(out);
    static char text[TEXT_BYTES];
    FILE       *in = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    static const char *const parts[] = {
        ".TH FEDQ\\-DEMO 1 \"2025-01-31\" \"fedq-demo 0.1.0\" \"User Commands\"\n",
        ".SH NAME\nfedq\\-demo \\- federated training for tests\n",
        ".SH SYNOPSIS\n\\fBfedq\\-demo run\\fR [\\fIOPTION\\fR]... \\fIFILE.yaml\\fR\n",
        "\\fB\\-o\\fR, \\fB\\-\\-out\\fR=\\fIDIR\\fR\nFolder for the results.\n",
        "or a \\ebackslash or a \\(aqquote\\(aq.\n",
        ".SH ENVIRONMENT\n.TP\n\\fBFEDQ_DATA\\fR\nWhere data sets",
        ".SH EXAMPLES\n.TP\n\\fBfedq\\-demo run mqat.yaml",
        ".SH SEE ALSO\n\\fBfedq\\-server\\fR(1),\n\\fBfedq\\-client\\fR(1)\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(text, parts[i]) == NULL)
            fprintf(stderr, "missing: %s", parts[i]);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, parts[i]));
    }
    if (has_program("mandoc"))
        CU_ASSERT_EQUAL(run_checker("mandoc -Tlint -W warning", path), 0);
    if (has_program("groff"))
        CU_ASSERT_EQUAL(run_checker("groff -ww -man -Tutf8 -z", path), 0);
}

int main(void) {
    static const fq_case cases[] = {{"options in all their forms", test_options},
                                    {"operands as the table says", test_operands},
                                    {"wrong usage", test_wrong},
                                    {"numbers within bounds", test_wrong_numbers},
                                    {"help", test_help},
                                    {"version", test_version},
                                    {"the manual page", test_manual},
                                    {NULL, NULL}};
    return fq_run_suite("cli", cases);
}

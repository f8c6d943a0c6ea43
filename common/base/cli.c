#include "base/cli.h"

#include "base/config.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const fq_option HELP = {"help", 'h', NULL, false, "Show this help and end."};
static const fq_option VERSION = {"version", 0, NULL, false, "Show the version and end."};
static const fq_option NO_OPTIONS[] = {{0}};

enum { COLUMNS = 80, LABEL_COLUMNS = 28, LABEL_BYTES = 128, MOST_NAMES = 128 };

static const fq_option *options_of(const fq_option *table) {
    return table != NULL ? table : NO_OPTIONS;
}

/* ---- parsing ---- */

/* "fedq-sim run", or "fedq-sim" while the command is not known. */
static void put_who(const fq_cli *cli, FILE *file) {
    bool named = cli->command != NULL;
    fprintf(file, "%s%s%s", cli->program->name, named ? " " : "", named ? cli->command->name : "");
}

static fq_cli_outcome wrong(const fq_cli *cli, FILE *err, const char *format, ...) FQ_PRINTF(3, 4);

/* The text ends with "?" if it holds a suggestion. */
static fq_cli_outcome wrong(const fq_cli *cli, FILE *err, const char *format, ...) {
    char    text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t length = strlen(text);
    put_who(cli, err);
    fprintf(err, ": %s%s '", text, length > 0 && text[length - 1] == '?' ? " Try" : "; try");
    put_who(cli, err);
    fputs(" --help'\n", err);
    return FQ_CLI_WRONG;
}

int fq_cli_wrong(const fq_cli *cli, FILE *err) {
    wrong(cli, err, "%s", fq_status_text());
    return FQ_EXIT_USAGE;
}

/* The row at `index` of all options that are valid now, NULL past the last. */
static const fq_option *option_at(const fq_cli *cli, size_t index) {
    const fq_option *const tables[] = {
        options_of(cli->command != NULL ? cli->command->options : NULL),
        options_of(cli->program->options)};
    for (size_t t = 0; t < 2; t++)
        for (const fq_option *option = tables[t]; option->name != NULL; option++)
            if (index-- == 0)
                return option;
    return index == 0 ? &HELP : index == 1 ? &VERSION : NULL;
}

static const fq_option *find_name(const fq_cli *cli, const char *name, size_t length) {
    const fq_option *option;
    for (size_t i = 0; (option = option_at(cli, i)) != NULL; i++)
        if (strncmp(option->name, name, length) == 0 && option->name[length] == '\0')
            return option;
    return NULL;
}

static const fq_option *find_letter(const fq_cli *cli, char letter) {
    const fq_option *option;
    for (size_t i = 0; (option = option_at(cli, i)) != NULL; i++)
        if (option->letter == letter)
            return option;
    return NULL;
}

static fq_cli_outcome wrong_name(const fq_cli *cli, FILE *err, const char *name, size_t length) {
    char        word[64];
    const char *names[MOST_NAMES + 1], *nearest;
    size_t      n = 0;
    for (const fq_option *option; n < MOST_NAMES && (option = option_at(cli, n)) != NULL;)
        names[n++] = option->name;
    names[n] = NULL;
    snprintf(word, sizeof word, "%.*s", length < sizeof word ? (int)length : 63, name);
    nearest = fq_nearest(word, names);
    if (nearest != NULL)
        return wrong(cli, err, "unknown option --%s; did you mean --%s?", word, nearest);
    return wrong(cli, err, "unknown option --%s", word);
}

static fq_cli_outcome keep(fq_cli *cli, FILE *err, const fq_option *option, const char *text) {
    if (!option->repeatable && fq_cli_has(cli, option->name) && option->argument != NULL)
        return wrong(cli, err, "--%s is given twice", option->name);
    cli->values[cli->n_values++] = (fq_cli_value){option, text};
    return FQ_CLI_COMMAND;
}

/* "--name", "--name=value"; *used says whether `next` was taken for the value. */
static fq_cli_outcome parse_long(fq_cli *cli, FILE *err, const char *word, const char *next,
                                 bool *used) {
    const char      *name = word + 2, *equals = strchr(name, '=');
    size_t           length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const fq_option *option = find_name(cli, name, length);
    if (option == NULL)
        return wrong_name(cli, err, name, length);
    if (option->argument == NULL && equals != NULL)
        return wrong(cli, err, "--%s takes no value", option->name);
    const char *text = option->argument == NULL ? NULL : equals != NULL ? equals + 1 : next;
    if (option->argument != NULL && text == NULL)
        return wrong(cli, err, "--%s needs a value: --%s=%s", option->name, option->name,
                     option->argument);
    *used = text != NULL && text == next;
    return keep(cli, err, option, text);
}

/* "-q", "-qv", "-o value", "-ovalue". */
static fq_cli_outcome parse_short(fq_cli *cli, FILE *err, const char *word, const char *next,
                                  bool *used) {
    for (const char *at = word + 1; *at != '\0'; at++) {
        const fq_option *option = find_letter(cli, *at);
        if (option == NULL)
            return wrong(cli, err, "unknown option -%c", *at);
        if (option->argument == NULL) {
            fq_cli_outcome outcome = keep(cli, err, option, NULL);
            if (outcome != FQ_CLI_COMMAND)
                return outcome;
            continue;
        }
        const char *text = at[1] != '\0' ? at + 1 : next;
        if (text == NULL)
            return wrong(cli, err, "-%c needs a value: -%c %s", *at, *at, option->argument);
        *used = text == next;
        return keep(cli, err, option, text);
    }
    return FQ_CLI_COMMAND;
}

static fq_cli_outcome parse_command(fq_cli *cli, FILE *err, const char *word) {
    const char *names[MOST_NAMES + 1], *nearest;
    size_t      n = 0;
    for (const fq_command *command = cli->program->commands; command->name != NULL; command++) {
        if (strcmp(command->name, word) == 0) {
            cli->command = command;
            return FQ_CLI_COMMAND;
        }
        if (n < MOST_NAMES)
            names[n++] = command->name;
    }
    names[n] = NULL;
    nearest = fq_nearest(word, names);
    if (nearest != NULL)
        return wrong(cli, err, "unknown command '%.60s'; did you mean '%s'?", word, nearest);
    return wrong(cli, err, "unknown command '%.60s'", word);
}

/* How many operands a command takes; SIZE_MAX: any number. */
static void count_operands(const char *operands, size_t *least, size_t *most) {
    *least = *most = 0;
    for (const char *at = operands + strspn(operands, " "); *at != '\0'; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        bool   repeated = length > 3 && memmem(at, length, "...", 3) != NULL;
        *least += *at != '[';
        if (repeated)
            *most = SIZE_MAX;
        else if (*most != SIZE_MAX)
            ++*most;
        at += length;
    }
}

static fq_cli_outcome check_operands(const fq_cli *cli, FILE *err) {
    const char *operands = cli->command->operands;
    size_t      least, most;
    count_operands(operands, &least, &most);
    if (cli->n_operands > most)
        return wrong(cli, err, "'%.200s' is one operand too many", cli->operands[most]);
    if (cli->n_operands >= least)
        return FQ_CLI_COMMAND;
    for (size_t i = 0;; i++) {
        operands += strspn(operands, " ");
        size_t length = strcspn(operands, " ");
        if (i == cli->n_operands) {
            length -= length > 3 && strncmp(operands + length - 3, "...", 3) == 0 ? 3 : 0;
            return wrong(cli, err, "%.*s is missing", (int)length, operands);
        }
        operands += length;
    }
}

static fq_cli_outcome parse_words(fq_cli *cli, int argc, char *const *argv, FILE *err) {
    bool options_ended = false;
    for (int i = 1; i < argc; i++) {
        const char    *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool           used_next = false;
        fq_cli_outcome outcome = FQ_CLI_COMMAND;
        if (!options_ended && strcmp(word, "--") == 0)
            options_ended = true;
        else if (!options_ended && strncmp(word, "--", 2) == 0)
            outcome = parse_long(cli, err, word, next, &used_next);
        else if (!options_ended && word[0] == '-' && word[1] != '\0')
            outcome = parse_short(cli, err, word, next, &used_next);
        else if (cli->command == NULL)
            outcome = parse_command(cli, err, word);
        else
            cli->operands[cli->n_operands++] = word;
        if (outcome != FQ_CLI_COMMAND || fq_cli_has(cli, VERSION.name))
            return outcome;
        i += used_next;
    }
    return FQ_CLI_COMMAND;
}

/* Every letter of a bundle may be an option of its own. */
static size_t most_values(int argc, char *const *argv) {
    size_t n = 1;
    for (int i = 1; i < argc; i++)
        n += strlen(argv[i]) + 1;
    return n;
}

fq_cli_outcome fq_cli_parse(fq_cli *cli, const fq_program *program, int argc, char *const *argv,
                            FILE *out, FILE *err) {
    *cli = (fq_cli){.program = program};
    cli->values = calloc(most_values(argc, argv), sizeof *cli->values);
    cli->operands = calloc((size_t)argc + 1, sizeof *cli->operands);
    if (cli->values == NULL || cli->operands == NULL)
        return wrong(cli, err, "no memory for %d arguments", argc);
    fq_cli_outcome outcome = parse_words(cli, argc, argv, err);
    if (outcome != FQ_CLI_COMMAND)
        return outcome;
    if (fq_cli_has(cli, HELP.name)) {
        fq_cli_help(program, cli->command, out);
        return FQ_CLI_HELP;
    }
    if (fq_cli_has(cli, VERSION.name))
        return FQ_CLI_VERSION;
    if (cli->command == NULL)
        return wrong(cli, err, "a command is missing");
    return check_operands(cli, err);
}

void fq_cli_fini(fq_cli *cli) {
    free(cli->values);
    free(cli->operands);
    *cli = (fq_cli){.program = cli->program};
}

const char *fq_cli_nth(const fq_cli *cli, const char *name, size_t index) {
    for (size_t i = 0; i < cli->n_values; i++)
        if (strcmp(cli->values[i].option->name, name) == 0 && index-- == 0)
            return cli->values[i].text;
    return NULL;
}

size_t fq_cli_count(const fq_cli *cli, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < cli->n_values; i++) {
        assert(cli->values[i].option != NULL);
        n += strcmp(cli->values[i].option->name, name) == 0;
    }
    return n;
}

bool fq_cli_has(const fq_cli *cli, const char *name) {
    return fq_cli_count(cli, name) > 0;
}

const char *fq_cli_text(const fq_cli *cli, const char *name, const char *fallback) {
    const char *text = fq_cli_nth(cli, name, 0);
    return text != NULL ? text : fallback;
}

fq_status fq_cli_u64(const fq_cli *cli, const char *name, uint64_t min, uint64_t max,
                     uint64_t *value) {
    const char *text = fq_cli_text(cli, name, NULL);
    if (text == NULL)
        return FQ_OK;
    size_t digits = strspn(text, "0123456789");
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (digits == 0 || text[digits] != '\0' || errno == ERANGE || number < min || number > max)
        return fq_fail(FQ_EINVAL,
                       "--%s: '%.60s' is not a whole number from %" PRIu64 " to %" PRIu64, name,
                       text, min, max);
    *value = number;
    return FQ_OK;
}

/* ---- help ---- */

/* Columns that n bytes of UTF-8 take. */
static size_t columns(const char *text, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* Words of `text` up to column 80; further lines begin at `indent`. `column` is where we are. */
static void put_wrapped(FILE *out, const char *text, size_t indent, size_t column) {
    bool first = true;
    for (text += strspn(text, " "); *text != '\0'; text += strspn(text, " ")) {
        size_t length = strcspn(text, " "), width = columns(text, length);
        if (!first && column + 1 + width > COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        fprintf(out, "%s%.*s", first ? "" : " ", (int)length, text);
        column += width + !first;
        first = false;
        text += length;
    }
    fputc('\n', out);
}

static void put_paragraphs(FILE *out, const char *const *paragraphs) {
    for (; paragraphs != NULL && *paragraphs != NULL; paragraphs++) {
        fputc('\n', out);
        put_wrapped(out, *paragraphs, 0, 0);
    }
}

static void put_row(FILE *out, const char *label, const char *text, size_t width) {
    size_t column = 2 + columns(label, strlen(label));
    fprintf(out, "  %s", label);
    if (column + 2 > width) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", (int)(width - column), "");
    put_wrapped(out, text, width, width);
}

static void option_label(const fq_option *option, char label[LABEL_BYTES]) {
    char letter[8] = "    ";
    if (option->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(label, LABEL_BYTES, "%s--%s%s%s", letter, option->name,
             option->argument != NULL ? "=" : "", option->argument != NULL ? option->argument : "");
}

static void put_options(FILE *out, const fq_option *option) {
    char label[LABEL_BYTES];
    for (; option->name != NULL; option++) {
        option_label(option, label);
        put_row(out, label, option->help, LABEL_COLUMNS);
    }
}

static void put_examples(FILE *out, const fq_example *example) {
    if (example == NULL)
        return;
    fputs("\nExamples:\n", out);
    for (; example->line != NULL; example++) {
        fprintf(out, "  %s\n", example->line);
        if (example->what != NULL) {
            fputs("      ", out);
            put_wrapped(out, example->what, 6, 6);
        }
    }
}

static void put_commands(FILE *out, const fq_command *command) {
    fputs("\nCommands:\n", out);
    for (; command->name != NULL; command++) {
        char label[LABEL_BYTES];
        snprintf(label, sizeof label, "%s %s", command->name, command->operands);
        put_row(out, label, command->summary, LABEL_COLUMNS);
    }
}

/* "EXIT STATUS" -> "Exit status:", its list and its paragraphs. */
static void put_sections(FILE *out, const fq_manual_section *section) {
    for (; section != NULL && section->heading != NULL; section++) {
        fputc('\n', out);
        for (const char *at = section->heading; *at != '\0'; at++)
            fputc(at == section->heading ? *at : tolower((unsigned char)*at), out);
        fputs(":\n", out);
        for (const char *const *text = section->paragraphs; *text != NULL; text++) {
            char        term[LABEL_BYTES] = "";
            const char *tab = strchr(*text, '\t');
            if (tab != NULL)
                snprintf(term, sizeof term, "%.*s", (int)(tab - *text), *text);
            if (tab != NULL)
                put_row(out, term, tab + 1, LABEL_COLUMNS);
            else
                put_wrapped(out, *text, 0, 0);
        }
    }
}

void fq_cli_help(const fq_program *program, const fq_command *command, FILE *out) {
    if (command != NULL)
        fprintf(out, "Usage: %s %s [OPTION]...%s%s\n\n%s.\n", program->name, command->name,
                command->operands[0] != '\0' ? " " : "", command->operands, command->summary);
    else
        fprintf(out, "Usage: %s COMMAND [OPTION]... [OPERAND]...\n\n%c%s.\n", program->name,
                toupper((unsigned char)program->summary[0]), program->summary + 1);
    put_paragraphs(out, command != NULL ? command->description : program->description);
    if (command == NULL)
        put_commands(out, program->commands);
    fputs("\nOptions:\n", out);
    if (command != NULL)
        put_options(out, options_of(command->options));
    put_options(out, options_of(program->options));
    put_options(out, (const fq_option[]){HELP, VERSION, {0}});
    if (command == NULL)
        put_sections(out, program->sections);
    put_examples(out, command != NULL ? command->examples : program->examples);
    if (command == NULL)
        fprintf(out, "\n'%s COMMAND --help' shows the options of a command.\n", program->name);
}

void fq_cli_version(const fq_program *program, FILE *out) {
    fprintf(out, "%s %s\n", program->name, program->version);
}

/* ---- manual page ---- */

/* Text so that troff takes no character of it for its own. */
static void put_troff(FILE *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool begins = i == 0 || text[i - 1] == '\n';
        switch (text[i]) {
        case '\\': fputs("\\e", out); break;
        case '-': fputs("\\-", out); break;
        case '\'': fputs("\\(aq", out); break;
        case '`': fputs("\\(ga", out); break;
        case '^': fputs("\\(ha", out); break;
        case '~': fputs("\\(ti", out); break;
        case '.': fputs(begins ? "\\&." : ".", out); break;
        default: fputc(text[i], out);
        }
    }
}

static void put_font(FILE *out, char font, const char *text, size_t n) {
    if (n == 0)
        return;
    fprintf(out, "\\f%c", font);
    put_troff(out, text, n);
    fputs("\\fR", out);
}

/* A line of running text; sentences on lines of their own, as troff wants them. */
static void put_text(FILE *out, const char *text) {
    for (const char *end; (end = strstr(text, ". ")) != NULL && isupper((unsigned char)end[2]);
         text = end + 2) {
        put_troff(out, text, (size_t)(end - text) + 1);
        fputc('\n', out);
    }
    put_troff(out, text, strlen(text));
    fputc('\n', out);
}

static void put_manual_paragraphs(FILE *out, const char *const *paragraphs, bool after_text) {
    for (; paragraphs != NULL && *paragraphs != NULL; paragraphs++) {
        const char *tab = strchr(*paragraphs, '\t');
        if (tab != NULL) {
            fputs(".TP\n", out);
            put_font(out, 'B', *paragraphs, (size_t)(tab - *paragraphs));
            fputc('\n', out);
        } else if (after_text) {
            fputs(".PP\n", out);
        }
        put_text(out, tab != NULL ? tab + 1 : *paragraphs);
        after_text = true;
    }
}

static void put_manual_options(FILE *out, const fq_option *option) {
    for (; option->name != NULL; option++) {
        fputs(".TP\n", out);
        if (option->letter != 0)
            fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
        fputs("\\fB\\-\\-", out);
        put_troff(out, option->name, strlen(option->name));
        fputs("\\fR", out);
        if (option->argument != NULL) {
            fputc('=', out);
            put_font(out, 'I', option->argument, strlen(option->argument));
        }
        fputc('\n', out);
        put_text(out, option->help);
    }
}

/* "fedq-sim run [OPTION]... FILE.yaml" */
static void put_synopsis(FILE *out, const fq_program *program, const fq_command *command) {
    char words[LABEL_BYTES];
    snprintf(words, sizeof words, "%s %s", program->name, command->name);
    put_font(out, 'B', words, strlen(words));
    fprintf(out, " [\\fIOPTION\\fR]...%s", command->operands[0] != '\0' ? " " : "");
    put_font(out, 'I', command->operands, strlen(command->operands));
    fputc('\n', out);
}

static void put_manual_examples(FILE *out, const fq_example *example) {
    for (; example != NULL && example->line != NULL; example++) {
        fputs(example->what != NULL ? ".TP\n" : ".PP\n", out);
        put_font(out, 'B', example->line, strlen(example->line));
        fputc('\n', out);
        if (example->what != NULL)
            put_text(out, example->what);
    }
}

static bool has_examples(const fq_program *program) {
    bool found = program->examples != NULL;
    for (const fq_command *command = program->commands; command->name != NULL; command++)
        found = found || command->examples != NULL;
    return found;
}

static void put_manual_command(FILE *out, const fq_program *program, const fq_command *command) {
    fputs(".SS ", out);
    put_troff(out, command->name, strlen(command->name));
    fputc('\n', out);
    put_synopsis(out, program, command);
    fputs(".PP\n", out);
    put_troff(out, command->summary, strlen(command->summary));
    fputs(".\n", out);
    put_manual_paragraphs(out, command->description, true);
    put_manual_options(out, options_of(command->options));
}

static void put_heading(FILE *out, const char *heading) {
    fputs(".SH ", out);
    put_troff(out, heading, strlen(heading));
    fputc('\n', out);
}

static void put_title(FILE *out, const fq_program *program) {
    fputs(".TH ", out);
    for (const char *at = program->name; *at != '\0'; at++)
        put_troff(out, (const char[]){(char)toupper((unsigned char)*at)}, 1);
    fprintf(out, " 1 \"%s\" \"%s %s\" \"User Commands\"\n", program->date, program->name,
            program->version);
    put_heading(out, "NAME");
    put_troff(out, program->name, strlen(program->name));
    fputs(" \\- ", out);
    put_troff(out, program->summary, strlen(program->summary));
    fputc('\n', out);
}

void fq_cli_man(const fq_program *program, FILE *out) {
    put_title(out, program);
    put_heading(out, "SYNOPSIS");
    for (const fq_command *command = program->commands; command->name != NULL; command++) {
        fputs(command != program->commands ? ".br\n" : "", out);
        put_synopsis(out, program, command);
    }
    put_heading(out, "DESCRIPTION");
    put_manual_paragraphs(out, program->description, false);
    put_heading(out, "COMMANDS");
    for (const fq_command *command = program->commands; command->name != NULL; command++)
        put_manual_command(out, program, command);
    put_heading(out, "OPTIONS");
    put_manual_options(out, options_of(program->options));
    put_manual_options(out, (const fq_option[]){HELP, VERSION, {0}});
    for (const fq_manual_section *s = program->sections; s != NULL && s->heading != NULL; s++) {
        put_heading(out, s->heading);
        put_manual_paragraphs(out, s->paragraphs, false);
    }
    if (has_examples(program))
        put_heading(out, "EXAMPLES");
    put_manual_examples(out, program->examples);
    for (const fq_command *command = program->commands; command->name != NULL; command++)
        put_manual_examples(out, command->examples);
    const char *const *page = program->see_also;
    if (page == NULL || *page == NULL)
        return;
    put_heading(out, "SEE ALSO");
    for (; *page != NULL; page++) {
        size_t name = strcspn(*page, "(");
        put_font(out, 'B', *page, name);
        fprintf(out, "%s%s\n", *page + name, page[1] != NULL ? "," : "");
    }
}

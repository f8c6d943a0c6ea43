#include "base/file.h"
#include "client/commands.h"
#include "client/home.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* The file is JSON of our own, one line; for people it is shown a member a line. */
static void print_plain(const fq_cbytes text) {
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        if (c == ',')
            putchar('\n');
        else if (strchr("{}\"\n", c) == NULL && !(c == ' ' && i > 0 && text.data[i - 1] == ','))
            putchar(c);
    }
    putchar('\n');
}

static fq_status show(const fq_cli *cli) {
    const char      *home = cli->operands[0];
    char             path[PATH_MAX];
    fq_client_config config;
    fq_data_settings data;
    bool             has_data;
    fq_public_key    key;
    fq_cbytes        text;
    struct stat      info;
    FQ_TRY(fq_home_read(home, &config, &data, &has_data, &key));
    fq_home_path(home, "status.json", path);
    if (stat(path, &info) != 0) {
        printf("%s\n", fq_cli_has(cli, "json") ? "{}" : "never run");
        return FQ_OK;
    }
    FQ_TRY(fq_file_read(path, 1 << 16, &text));
    if (fq_cli_has(cli, "json")) {
        fwrite(text.data, 1, text.size, stdout);
    } else {
        printf("coordinator: %s\nwritten: %.0f s ago\n", config.server,
               difftime(time(NULL), info.st_mtime));
        print_plain(text);
    }
    free((void *)(uintptr_t)text.data);
    return FQ_OK;
}

int fq_client_status_command(const fq_cli *cli) {
    fq_status status = show(cli);
    return status == FQ_OK ? FQ_EXIT_OK : fq_client_failed(cli, status);
}

#include "base/file.h"
#include "server/commands.h"
#include "server/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* A running coordinator holds the lock of its folder. */
static bool is_running(const char *folder) {
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    bool held = flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(descriptor);
    return held;
}

static const char *text_of(const json_t *board, const char *key) {
    const char *text = json_string_value(json_object_get(board, key));
    return text == NULL ? "" : text;
}

static long long integer_of(const json_t *board, const char *key) {
    return (long long)json_integer_value(json_object_get(board, key));
}

static void print_peers(const json_t *peers) {
    size_t  i;
    json_t *one;
    if (json_array_size(peers) > 0)
        printf("%-24s %-8s %8s %9s %9s\n", "client", "state", "hosts", "accepted", "refused");
    json_array_foreach(peers, i, one) printf(
        "%-24s %-8s %8lld %9lld %9lld\n", text_of(one, "name"), text_of(one, "state"),
        integer_of(one, "n_clients"), integer_of(one, "accepted"), integer_of(one, "refused"));
}

static fq_status print_status(const fq_cli *cli, const char *folder) {
    char             path[PATH_MAX];
    fq_server_config config;
    fq_cbytes        bytes = {0};
    FQ_TRY(fq_server_config_read(folder, &config));
    bool running = is_running(folder);
    fq_path_join(folder, "status.json", path);
    json_t *board = NULL;
    if (fq_file_exists(path)) {
        FQ_TRY(fq_file_read(path, (size_t)1 << 28, &bytes));
        json_error_t error;
        board = json_loadb((const char *)bytes.data, bytes.size, 0, &error);
        free((void *)(uintptr_t)bytes.data);
        if (board == NULL)
            return fq_fail(FQ_EPROTO, "%s: line %d: %s", path, error.line, error.text);
    } else {
        board = json_object();
    }
    json_object_set_new(board, "running", json_boolean(running));
    json_object_set_new(board, "listen", json_string(config.listen));
    if (fq_cli_has(cli, "json")) {
        char *text = json_dumps(board, JSON_INDENT(2));
        puts(text == NULL ? "{}" : text);
        free(text);
    } else {
        printf("%s: %s, %s\n", folder, running ? "running" : "not running",
               json_object_get(board, "phase") == NULL ? "never started" : text_of(board, "phase"));
        printf("listen   %s\n", config.listen);
        if (running && text_of(board, "page")[0] != '\0')
            printf("page     %s\n", text_of(board, "page"));
        printf("rounds   %lld of %lld\n", integer_of(board, "round"), integer_of(board, "rounds"));
        if (text_of(board, "note")[0] != '\0')
            printf("note     %s\n", text_of(board, "note"));
        if (text_of(board, "hash")[0] != '\0')
            printf("sha256   %s\n", text_of(board, "hash"));
        print_peers(json_object_get(board, "peers"));
    }
    json_decref(board);
    return FQ_OK;
}

int fq_server_status_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    fq_status status = print_status(cli, cli->operands[0]);
    return status == FQ_OK ? FQ_EXIT_OK : fq_command_failed(cli, status);
}

#include "server/commands.h"
#include "server/folder.h"

int fq_server_init_command(const fq_cli *cli, const char *command_line) {
    const char   *folder = cli->operands[0];
    const char   *settings = fq_cli_text(cli, "settings", NULL);
    const char   *listen = fq_cli_text(cli, "listen", NULL);
    fq_public_key key;
    char          text[FQ_KEY_TEXT];
    (void)command_line;
    if (settings == NULL || listen == NULL) {
        (void)fq_fail(FQ_EINVAL, "%s is needed", settings == NULL ? "--settings" : "--listen");
        return fq_cli_wrong(cli, stderr);
    }
    fq_status status = fq_server_folder_make(folder, settings, listen, &key);
    if (status != FQ_OK)
        return fq_command_failed(cli, status);
    fq_public_key_text(&key, text);
    fprintf(stderr,
            "%s is ready. On each client: fedq-client init DIR --server tcp://HOST:PORT "
            "--server-key KEY\n",
            folder);
    printf("public key of this coordinator: %s\n", text);
    return FQ_EXIT_OK;
}

#include "client/commands.h"
#include "client/home.h"

#include <unistd.h>

int fq_client_init_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    const char *server = fq_cli_text(cli, "server", NULL);
    const char *server_key = fq_cli_text(cli, "server-key", NULL);
    char        host[64] = "client", text[FQ_KEY_TEXT];
    if (server == NULL || server_key == NULL) {
        (void)fq_fail(FQ_EINVAL, "%s is needed", server == NULL ? "--server" : "--server-key");
        return fq_cli_wrong(cli, stderr);
    }
    if (gethostname(host, sizeof host) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "client");
    host[sizeof host - 1] = '\0';
    const char   *name = fq_cli_text(cli, "name", host);
    fq_public_key key;
    fq_status     status = fq_home_make(cli->operands[0], server, server_key, name, &key);
    if (status != FQ_OK)
        return fq_command_failed(cli, status);
    fq_public_key_text(&key, text);
    fprintf(stderr, "%s is ready. At the coordinator: fedq-server clients add DIR %s KEY\n",
            cli->operands[0], name);
    printf("public key of this client: %s\n", text);
    return FQ_EXIT_OK;
}

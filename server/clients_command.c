#include "server/commands.h"
#include "server/folder.h"
#include "server/roster.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int wrong(const fq_cli *cli, const char *text) {
    (void)fq_fail(FQ_EINVAL, "%s", text);
    return fq_cli_wrong(cli, stderr);
}

static fq_status list(const fq_cli *cli, const char *folder) {
    fq_roster roster;
    char      key[FQ_KEY_TEXT];
    FQ_TRY(fq_roster_read(folder, &roster));
    json_t *all = json_array();
    for (size_t i = 0; i < roster.n; i++) {
        const fq_roster_entry *entry = &roster.entries[i];
        fq_public_key_text(&entry->key, key);
        if (fq_cli_has(cli, "json"))
            json_array_append_new(all,
                                  json_pack("{s:I, s:s, s:s, s:b}", "id", (json_int_t)i, "name",
                                            entry->name, "key", key, "revoked", entry->revoked));
        else
            printf("%4zu  %-24s %s %s\n", i, entry->name, key,
                   entry->revoked ? "revoked" : "active");
    }
    if (fq_cli_has(cli, "json")) {
        char *text = json_dumps(all, JSON_INDENT(2));
        puts(text == NULL ? "[]" : text);
        free(text);
    } else if (roster.n == 0) {
        fprintf(stderr, "no clients; add one with: fedq-server clients add %s NAME PUBLIC_KEY\n",
                folder);
    }
    json_decref(all);
    fq_roster_fini(&roster);
    return FQ_OK;
}

static fq_status add(const char *folder, const char *name, const char *text) {
    fq_public_key key;
    FQ_TRY(fq_public_key_parse(text, &key));
    FQ_TRY(fq_public_key_check(&key));
    return fq_roster_add(folder, name, &key);
}

int fq_server_clients_command(const fq_cli *cli, const char *command_line) {
    const char      *action = cli->operands[0], *folder = cli->operands[1];
    size_t           n = cli->n_operands;
    fq_server_config config;
    fq_status        status;
    (void)command_line;
    bool is_add = strcmp(action, "add") == 0, is_revoke = strcmp(action, "revoke") == 0;
    if (!is_add && !is_revoke && strcmp(action, "list") != 0)
        return wrong(cli, "the first word is add, list or revoke");
    if (n != (is_add ? 4U : (is_revoke ? 3U : 2U)))
        return wrong(cli, is_add ? "add needs DIR NAME PUBLIC_KEY"
                                 : (is_revoke ? "revoke needs DIR NAME" : "list needs DIR"));
    status = fq_server_config_read(folder, &config);
    if (status == FQ_OK)
        status = is_add      ? add(folder, cli->operands[2], cli->operands[3])
                 : is_revoke ? fq_roster_revoke(folder, cli->operands[2])
                             : list(cli, folder);
    return status == FQ_OK ? FQ_EXIT_OK : fq_command_failed(cli, status);
}

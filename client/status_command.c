#include "base/file.h"
#include "client/commands.h"
#include "client/home.h"
#include "client/status.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* The process that runs holds the folder's lock. */
static bool is_running(const char *home) {
    int folder = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return false;
    bool held = flock(folder, LOCK_SH | LOCK_NB) != 0;
    close(folder);
    return held;
}

static const char *state_of(const fq_client_status *s, bool running) {
    if (s->over)
        return running ? "the run is over, waiting for the next" : "the run is over";
    if (!running)
        return "not running";
    if (!s->connected)
        return "connecting";
    return !s->joined ? "connected" : s->training > 0 ? "training" : "waiting to be asked";
}

static void print_plain(const fq_client_config *config, const fq_client_status *s, bool running) {
    printf("coordinator  %s\n", config->server);
    printf("state        %s\n", state_of(s, running));
    if (s->gate[0] != '\0' && running)
        printf("gate         %s\n", s->gate);
    printf("run          %s\n", s->run[0] == '\0' ? "none joined yet" : s->run);
    if (s->round > 0)
        printf("last round   %" PRId64 "\n", s->round);
    printf("outbox       %" PRId64 "\n", s->outbox);
    printf("accepted     %" PRId64 "\n", s->accepted);
    printf("refused      %" PRId64 "\n", s->refused);
    for (int r = 1; r < FQ_REASON_END; r++)
        if (s->refusals[r] > 0)
            printf("             %" PRId64 " %s\n", s->refusals[r], fq_reason_name((fq_reason)r));
    printf("processor    %.1f s\n", 1e-3 * (double)s->cpu_ms);
    if (s->millijoules > 0)
        printf("energy       %.1f J, of the whole machine while training\n",
               1e-3 * (double)s->millijoules);
    if (s->heard_s > 0)
        printf("last heard   %.0f s ago\n", difftime(time(NULL), (time_t)s->heard_s));
    if (s->over)
        printf("rounds       %" PRId64 "\nsha256       %s\n", s->rounds, s->hash);
}

static fq_status show(const fq_cli *cli) {
    const char      *home = cli->operands[0];
    fq_client_config config;
    fq_data_settings data;
    bool             has_data, running = is_running(home);
    fq_public_key    key;
    fq_client_status status;
    FQ_TRY(fq_home_read(home, &config, &data, &has_data, &key));
    FQ_TRY(fq_client_status_read(home, &status));
    status.connected = status.connected && running;
    status.joined = status.joined && running;
    status.training = running ? status.training : 0;
    if (!fq_cli_has(cli, "json")) {
        print_plain(&config, &status, running);
        return FQ_OK;
    }
    fq_buffer json = {0};
    fq_client_status_json(&status, &json);
    bool whole = !json.failed;
    if (whole)
        fwrite(json.data, 1, json.size, stdout);
    fq_buffer_fini(&json);
    return whole ? FQ_OK : fq_fail(FQ_ENOMEM, "no memory for the status");
}

int fq_client_status_command(const fq_cli *cli, const char *command_line) {
    (void)command_line;
    fq_status status = show(cli);
    return status == FQ_OK ? FQ_EXIT_OK : fq_command_failed(cli, status);
}

/* The board in Prometheus' text format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/): for each metric HELP, TYPE and
 * all its samples together; label values with backslash, quote and newline escaped. */
#include "server/http_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

enum { TEXT_BYTES = 1024, N_STATES = FQ_PEER_REVOKED + 1 };

/* The help texts are ours and need no escapes. */
static void head(fq_buffer *out, const char *name, const char *type, const char *help) {
    fq_put_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_number(fq_buffer *out, double value) {
    if (isnan(value))
        fq_put_format(out, "NaN\n");
    else if (isinf(value))
        fq_put_format(out, value > 0 ? "+Inf\n" : "-Inf\n");
    else
        fq_put_format(out, "%.15g\n", value);
}

/* `label="value"`, escaped. */
static void put_label(fq_buffer *out, const char *label, const char *value) {
    char clean[TEXT_BYTES];
    fq_put_format(out, "%s=\"", label);
    for (const char *at = fq_text_clean(value, clean, sizeof clean); *at != '\0'; at++)
        if (*at == '\n')
            fq_put_bytes(out, "\\n", 2);
        else {
            if (*at == '"' || *at == '\\')
                fq_put_u8(out, '\\');
            fq_put_u8(out, (uint8_t)*at);
        }
    fq_put_u8(out, '"');
}

static void sample(fq_buffer *out, const char *name, const char *label, const char *value,
                   double number) {
    fq_put_format(out, "%s{", name);
    put_label(out, label, value);
    fq_put_format(out, "} ");
    put_number(out, number);
}

static void single(fq_buffer *out, const char *name, const char *type, const char *help,
                   double value) {
    head(out, name, type, help);
    fq_put_format(out, "%s ", name);
    put_number(out, value);
}

static void put_run(const fq_board *board, fq_buffer *out) {
    static const char *const phases[] = {"starting", "gathering", "training",
                                         "closing",  "paused",    "finished"};
    head(out, "fedq_run_info", "gauge",
         "Always 1; the name of the experiment, the version of fedq.");
    fq_put_format(out, "fedq_run_info{");
    put_label(out, "name", board->name);
    fq_put_u8(out, ',');
    put_label(out, "version", FQ_VERSION);
    fq_put_format(out, "} 1\n");
    head(out, "fedq_phase", "gauge", "1 for what the coordinator is doing, 0 for the rest.");
    for (size_t p = 0; p < sizeof phases / sizeof *phases; p++)
        sample(out, "fedq_phase", "phase", phases[p], strcmp(board->phase, phases[p]) == 0);
    single(out, "fedq_uptime_seconds", "gauge", "Since this coordinator started.", board->uptime_s);
    single(out, "fedq_round", "gauge", "Rounds closed so far.", board->round);
    single(out, "fedq_rounds", "gauge", "Rounds of the whole run.", board->rounds);
    single(out, "fedq_round_seconds", "gauge",
           "Mean duration of a round since the coordinator started; 0 before the first.",
           board->seconds_per_round);
    single(out, "fedq_loss", "gauge", "Training loss of the last round; NaN before the first.",
           board->loss);
}

static void put_open_round(const fq_board *board, fq_buffer *out) {
    single(out, "fedq_round_asked", "gauge", "Clients asked in the open round.",
           (double)board->asked);
    single(out, "fedq_round_accepted", "gauge", "Updates accepted in the open round.",
           (double)board->accepted);
    single(out, "fedq_round_refused", "gauge", "Updates refused in the open round.",
           (double)board->refused);
    if (board->deadline_ms >= 0)
        single(out, "fedq_round_left_seconds", "gauge",
               "Until the deadline of the open round; absent while none is open.",
               (double)board->deadline_ms / 1000);
}

static void put_traffic(const fq_board *board, fq_buffer *out) {
    uint64_t accepted = 0;
    for (size_t p = 0; p < board->n_peers; p++)
        accepted += board->peers[p].accepted;
    head(out, "fedq_updates_total", "counter", "Verdicts on updates: accepted, or why not.");
    sample(out, "fedq_updates_total", "verdict", "accepted", (double)accepted);
    for (int r = FQ_REASON_NONE + 1; r < FQ_REASON_END; r++)
        sample(out, "fedq_updates_total", "verdict", fq_reason_name((fq_reason)r),
               (double)board->refusals[r]);
    head(out, "fedq_bytes_total", "counter", "Bytes of messages from (in) and to (out) clients.");
    sample(out, "fedq_bytes_total", "direction", "in", (double)board->bytes_in);
    sample(out, "fedq_bytes_total", "direction", "out", (double)board->bytes_out);
    single(out, "fedq_messages_total", "counter", "Messages from clients, whatever they were.",
           (double)board->messages);
    single(out, "fedq_illegal_messages_total", "counter",
           "Messages that did not decode or were not legal.", (double)board->illegal);
    single(out, "fedq_strangers_total", "counter", "Connections that were not admitted.",
           (double)board->strangers);
}

static void put_peers(const fq_board *board, fq_buffer *out) {
    size_t counts[N_STATES] = {0};
    for (size_t p = 0; p < board->n_peers; p++)
        counts[board->peers[p].state]++;
    head(out, "fedq_peers", "gauge", "Registered peers by state.");
    for (size_t s = 0; s < N_STATES; s++)
        sample(out, "fedq_peers", "state", fq_peer_state_names[s], (double)counts[s]);
    if (board->n_peers == 0)
        return;
    head(out, "fedq_peer_accepted_total", "counter", "Updates accepted, by peer.");
    for (size_t p = 0; p < board->n_peers; p++)
        sample(out, "fedq_peer_accepted_total", "peer", board->peers[p].name,
               (double)board->peers[p].accepted);
    head(out, "fedq_peer_refused_total", "counter", "Updates refused, by peer.");
    for (size_t p = 0; p < board->n_peers; p++)
        sample(out, "fedq_peer_refused_total", "peer", board->peers[p].name,
               (double)board->peers[p].refused);
    head(out, "fedq_peer_cpu_seconds_total", "counter",
         "Processor time of the accepted updates' turns, by peer, as it says.");
    for (size_t p = 0; p < board->n_peers; p++)
        sample(out, "fedq_peer_cpu_seconds_total", "peer", board->peers[p].name,
               board->peers[p].cpu_s);
    head(out, "fedq_peer_joules_total", "counter",
         "Energy that the peer's machine took in those turns, as it says; 0: it cannot tell.");
    for (size_t p = 0; p < board->n_peers; p++)
        sample(out, "fedq_peer_joules_total", "peer", board->peers[p].name, board->peers[p].joules);
    head(out, "fedq_peer_heard_seconds", "gauge",
         "Since a peer's last message; absent if there was none since the coordinator started.");
    for (size_t p = 0; p < board->n_peers; p++)
        if (board->peers[p].heard_ms >= 0)
            sample(out, "fedq_peer_heard_seconds", "peer", board->peers[p].name,
                   (double)board->peers[p].heard_ms / 1000);
}

static void put_accuracy(const fq_run_view *view, fq_buffer *out) {
    single(out, "fedq_evaluated_round", "gauge",
           "Round of the last evaluation; 0 before the first.", view->round);
    if (view->n_figures == 0)
        return;
    head(out, "fedq_accuracy", "gauge",
         "Share of right answers on the test set at the last evaluation; 32 bits are float.");
    for (size_t i = 0; i < view->n_figures; i++) {
        const fq_figure *figure = &view->figures[i];
        fq_put_format(out, "fedq_accuracy{weight_bits=\"%d\",activation_bits=\"%d\",",
                      figure->weight_bits, figure->activation_bits);
        put_label(out, "rule", figure->rule);
        fq_put_format(out, "} ");
        put_number(out, figure->accuracy);
    }
}

static double seconds_of(struct timeval time) {
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

static void put_process(fq_buffer *out) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        single(out, "process_cpu_seconds_total", "counter",
               "CPU time of the coordinator, user and system.",
               seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
    /* Pages: "size resident shared ..." */
    FILE *file = fopen("/proc/self/statm", "re");
    char  line[128], *at;
    if (file == NULL)
        return;
    if (fgets(line, sizeof line, file) != NULL && (at = strchr(line, ' ')) != NULL)
        single(out, "process_resident_memory_bytes", "gauge", "Memory of the coordinator in RAM.",
               (double)strtoull(at, NULL, 10) * (double)sysconf(_SC_PAGESIZE));
    fclose(file);
}

fq_status fq_metrics(const fq_board *board, const fq_run_view *view, fq_buffer *out) {
    put_run(board, out);
    put_open_round(board, out);
    put_traffic(board, out);
    put_peers(board, out);
    if (view != NULL)
        put_accuracy(view, out);
    put_process(out);
    return out->failed ? fq_fail(FQ_ENOMEM, "no memory for the metrics") : FQ_OK;
}

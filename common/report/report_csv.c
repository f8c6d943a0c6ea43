/* Figures as comma-separated values, RFC 4180 with plain line feeds. */
#include "report/report_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put(fq_buffer *out, const char *text) {
    fq_put_bytes(out, text, strlen(text));
}

/* In quotes where the text needs them. */
static void put_text(fq_buffer *out, const char *text) {
    if (strpbrk(text, ",\"\r\n") == NULL) {
        put(out, text);
        return;
    }
    fq_put_u8(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fq_put_u8(out, '"');
        fq_put_u8(out, (uint8_t)*text);
    }
    fq_put_u8(out, '"');
}

static void put_number(fq_buffer *out, double value) {
    char text[40] = "";
    if (isfinite(value))
        snprintf(text, sizeof text, "%.15g", value);
    fq_put_u8(out, ',');
    put(out, text);
}

static void put_count(fq_buffer *out, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, ",%" PRIu64, value);
    put(out, text);
}

static const fq_round_row *find_round(const fq_report_run *run, uint32_t round) {
    for (size_t i = 0; i < run->n_rounds; i++)
        if (run->rounds[i].round == round)
            return &run->rounds[i];
    return NULL;
}

static void put_figure(const fq_report *report, const fq_report_run *run,
                       const fq_report_figure *row, fq_buffer *out) {
    const fq_figure    *figure = &row->figure;
    const fq_round_row *round = find_round(run, row->round);
    put_text(out, run->folder);
    fq_put_u8(out, ',');
    put_text(out, run->row.name);
    fq_put_u8(out, ',');
    put_text(out, report->methods[run->method].name);
    put_count(out, run->row.seed);
    put_count(out, row->round);
    fq_put_u8(out, ',');
    put_text(out, figure->rule);
    put_count(out, (uint64_t)figure->weight_bits);
    put_count(out, (uint64_t)figure->activation_bits);
    put_number(out, figure->accuracy);
    put_number(out, figure->loss);
    put_number(out, figure->noise);
    put_number(out, figure->step_bits);
    put_number(out, round != NULL ? round->loss : (double)NAN);
    put_number(out, round != NULL ? round->drift : (double)NAN);
    put_count(out, fq_report_bytes_up(run, row->round));
    put_count(out, fq_report_bytes_down(run, row->round));
    fq_put_u8(out, '\n');
}

fq_status fq_report_csv(const fq_report *report, fq_buffer *out) {
    put(out, "run,name,method,seed,round,rule,weight_bits,activation_bits,accuracy,loss,noise,"
             "bits_per_weight,train_loss,drift,bytes_up,bytes_down\n");
    for (size_t r = 0; r < report->n_runs; r++)
        for (size_t i = 0; i < report->runs[r].n_figures; i++)
            put_figure(report, &report->runs[r], &report->runs[r].figures[i], out);
    return out->failed ? fq_fail(FQ_ENOMEM, "no memory for a table") : FQ_OK;
}

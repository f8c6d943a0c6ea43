/* Runs that never ran: folders with plausible figures, for the tests of report/. */
#ifndef FQ_TESTS_REPORT_RIG_H
#define FQ_TESTS_REPORT_RIG_H

#include <stdint.h>

typedef struct fake_run {
    const char *folder, *name, *label, *robustness;
    uint64_t    seed;
    uint32_t    rounds, every;
    double      loss_per_bit;          /* accuracy lost at 2 bits; less above */
    const char *settings;              /* text of settings.yaml; NULL: none */
    int         quantized_activations; /* also figures with activations at 8 bits */
    int changed_steps; /* also figures with scaled and with power-of-two steps, at each width */
} fake_run;

void fake_run_write(const fake_run *run);

#endif

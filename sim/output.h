/* What a command leaves of a set of runs: the page, CSV if asked for, and JSON or a table on
 * stdout. */
#ifndef FQ_SIM_OUTPUT_H
#define FQ_SIM_OUTPUT_H

#include "base/cli.h"

/* Before long work: can --csv be written? */
FQ_MUST_CHECK fq_status fq_sim_output_check(const fq_cli *cli);

/* Honours --csv and --json of `cli`. */
FQ_MUST_CHECK fq_status fq_sim_output(const fq_cli *cli, const char *const *folders, size_t n,
                                      const char *page);

/* The page alone. */
FQ_MUST_CHECK fq_status fq_sim_page(const char *const *folders, size_t n, const char *page);

#endif

#!/bin/bash
# Put the results of bench/run.sh into docs/performance.md, between its two marks.
#
#   bench/table.sh [DIR [FILE]]      defaults: bench/results docs/performance.md; - prints the tables
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=${1:-$here/results} file=${2:-$here/../docs/performance.md}

# table GROUP HEAD SELECT: Markdown from the lines of DIR/GROUP.json; j is a line, r its results, m(who, figure) a median.
table() {
    [ -s "$results/$1.json" ] || return 0
    echo "$2"
    head -n 1 <<<"$2" | sed 's/[^|]\{1,\}/---/g'
    sqlite3 -batch -bail :memory: \
        "WITH line AS (SELECT key, value AS j FROM json_each('[' || replace(rtrim(
            CAST(readfile('$results/$1.json') AS TEXT), char(10)), char(10), ',') || ']'))
         SELECT $(sed -E "s/m\((\w+), (\w+)\)/json_extract(j, '\$.results.\1.\2.median')/g" <<<"$3") FROM line ORDER BY key"
    echo
}
# row NAME LABEL: the row of one program in the table of simulations.
row() {
    echo "CASE WHEN m($1, wall_seconds) IS NULL THEN '' ELSE printf('| %s | $2 | %.3g | %.4g | %.4g | %.3g | %.4g | %s |',
        j ->> '\$.benchmark', m($1, wall_seconds), m($1, rounds_per_second), m($1, client_steps_per_second),
        m($1, seconds_first_round), m($1, peak_mib),
        CASE WHEN m($1, accuracy) IS NULL THEN '' ELSE printf('%.1f %%', 100 * m($1, accuracy)) END) || char(10) END"
}

print_tables() {
    sqlite3 -batch :memory: "WITH t(j) AS (SELECT CAST(readfile('$first') AS TEXT))
        SELECT printf('Processor: %s, %d cores; kernels %s, BLIS %s; build %s; fedq %s (%s), %s. Beside it: %s. Load average '
            || 'while measuring from %s on. Medians of %d repetitions in turns; \`bench/run.sh\` makes the figures and '
            || '\`bench/table.sh\` this section.', j ->> '\$.processor', j ->> '\$.processors', j ->> '\$.kernels',
            j ->> '\$.blis', j ->> '\$.build', j ->> '\$.version', j ->> '\$.commit', j ->> '\$.date',
            coalesce(nullif((SELECT group_concat(key || ' ' || value, ', ') FROM json_each(j, '\$.peers')), ''), 'nothing'),
            j ->> '\$.load_average', j ->> '\$.repetitions') FROM t" | fold -s -w 118 | sed 's/ *$//'
    echo
    if [ -s "$results/machine.json" ]; then
        sqlite3 -batch :memory: "WITH t(j) AS (SELECT CAST(readfile('$results/machine.json') AS TEXT))
            SELECT printf('One core at best: %.0f GFLOP/s (multiply-adds on registers), %.1f GB/s copied (memcpy).',
                j ->> '\$.peak_gflops', j ->> '\$.copy_gigabytes_per_second') FROM t"
        echo
    fi
    if [ -s "$results/step.json" ]; then
        echo "### A local step on one thread"
        echo
        echo "W: MQAT of the weights; W+A: of weights and activations. \`fedq-bench step --help\` says what is counted."
        echo
    fi
    table step '| model | ms | PyTorch, ms | PyTorch / fedq | GFLOP/s | share of peak | spread, ms |' \
        "printf('| %s | %.4g | %s | %s | %.1f | %.0f %% | %.4g to %.4g |', j ->> '\$.benchmark',
            m(fedq, ms_per_step_median), CASE WHEN m(torch, ms_per_step_median) IS NULL THEN '' ELSE printf('%.4g', m(torch, ms_per_step_median)) END,
            coalesce(j ->> '\$.times_better_than.torch', ''), m(fedq, gflops), 100 * m(fedq, share_of_peak),
            json_extract(j, '\$.results.fedq.ms_per_step_median.low'),
            json_extract(j, '\$.results.fedq.ms_per_step_median.high'))"
    if [ -s "$results/simulation.json" ]; then
        echo "### Whole simulations"
        echo
        echo "B1: logistic regression, 1,000 clients of 60 examples (1x28x28), 10 a round, batches of 10. B2: the FEMNIST"
        echo "network, 340 clients of 110 (62 classes), 10 a round, batches of 20. B3: 1,000 clients of 50 (3x32x32), 50 a"
        echo "round, batches of 10, 1.63 million parameters. Settings: \`bench/b1.yaml\` and so on. Seconds and memory are of"
        echo "the whole process with all that it starts; rounds a second leave start-up and evaluation out."
        echo
    fi
    table simulation '| | program | s in all | rounds/s | client steps/s | s to the first round | MiB | accuracy |' \
        "trim($(row fedq "fedq-sim, all cores") || $(row fedq_one "fedq-sim, one core") ||
         $(row loop "bare loop in C, one core") || $(row torch "bare loop in PyTorch, one core") ||
         $(row flower "Flower and PyTorch, all cores"), char(10))"
    if [ -s "$results/scale.json" ]; then
        echo "### Many clients"
        echo
        echo "A network of two layers on \`synthetic\`, 30 examples a client on average, one epoch, batches of 10; all cores."
        echo
    fi
    table scale '| | rounds/s | client updates/s | s to the end of a run of one round | MiB | bytes per idle client |' \
        "printf('| %s | %.4g | %.4g | %.3g | %.1f | %.1f |', j ->> '\$.benchmark', m(fedq, rounds_per_second),
            m(fedq, client_updates_per_second), m(fedq, seconds_first_round), m(fedq, peak_mib),
            m(fedq, bytes_per_idle_client))"
    if [ -s "$results/aggregate.json" ]; then
        echo "### Updates"
        echo
        echo "1e9 bytes of float32 a second on one core. Accept: decode, check every value, add exactly."
        echo
    fi
    table aggregate '| | accept | share of memcpy | PyTorch | encode | encode + zstd | unpack + decode | seal | open |' \
        "printf('| %s | %.3g | %.0f %% | %s | %.3g | %.3g | %.3g | %.3g | %.3g |', j ->> '\$.benchmark',
            m(fedq, accept_gbps), 100 * m(fedq, accept_share_of_copy),
            CASE WHEN m(torch, accept_gbps) IS NULL THEN '' ELSE printf('%.3g', m(torch, accept_gbps)) END, m(fedq, encode_gbps),
            m(fedq, encode_zstd_gbps), m(fedq, decode_zstd_gbps), m(fedq, seal_gbps), m(fedq, open_gbps))"
    if [ -s "$results/evaluate.json" ]; then
        echo "### An evaluation in float and at six bit-widths, one core"
        echo
        echo "A width costs a forward pass and the search for the step of least error; in PyTorch the step is by extremes."
        echo
    fi
    table evaluate '| | ms | in float alone, ms | PyTorch, ms | PyTorch / fedq |' \
        "printf('| %s | %.4g | %.4g | %s | %s |', j ->> '\$.benchmark', m(fedq, ms_per_evaluation_median),
            m(fedq, ms_float_only_median), CASE WHEN m(torch, ms_per_evaluation_median) IS NULL THEN '' ELSE printf('%.4g', m(torch, ms_per_evaluation_median)) END,
            coalesce(j ->> '\$.times_better_than.torch', ''))"
}

first=
for group in evaluate aggregate scale simulation step; do
    [ ! -s "$results/$group.json" ] || first=$results/$group.json
done
[ -n "$first" ] || { echo "table.sh: no results in $results; run bench/run.sh first" >&2 && exit 1; }
line=$(mktemp)
trap 'rm -f "$line" "$line".*' EXIT
head -n 1 "$first" >"$line"
first=$line
print_tables | cat -s >"$line.md"
if [ "$file" = - ]; then
    cat "$line.md"
    exit
fi
[ "$(grep -cxE '<!-- /?bench -->' "$file")" -eq 2 ] ||
    { echo "table.sh: $file has no lines <!-- bench --> and <!-- /bench -->" >&2 && exit 1; }
awk -v tables="$line.md" '
    /^<!-- \/bench -->$/ {inside = 0}
    !inside {print}
    /^<!-- bench -->$/ {inside = 1; while ((getline text < tables) > 0) print text}' "$file" >"$line.out"
cat "$line.out" >"$file"

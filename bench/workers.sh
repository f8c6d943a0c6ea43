#!/bin/bash
# What a second worker brings: the same run with 1 and with N workers, in turn, and the medians of their rounds per second.
#
#   bench/workers.sh [BUILD] [N] [REPETITIONS] [KEY=VALUE...]       defaults: build/release, all processors, 5
#
# LeNet-5 on Fashion-MNIST, 100 clients by dirichlet(0.5), 10 a round; KEY=VALUE overrides settings. Seconds are those
# of the rounds, from run.db: training, combining, evaluation and saving, not start-up. One JSON line at the end, with
# the ratio of the medians, and the ratio that the clients' steps allow when the largest go first.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "${1:-$here/build/release}") n=${2:-$(nproc)} repetitions=${3:-5}
sets=()
for setting in "${@:4}"; do sets+=(--set "$setting"); done
work=$(mktemp -d "${TMPDIR:-/tmp}/fedq-workers-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >workers.yaml <<'YAML'
name: workers
seed: 1
data: {set: fashion-mnist, clients: 100, split: dirichlet, alpha: 0.5}
model: lenet5
train: {rounds: 20, clients_per_round: 10, batch: 32, rate: 0.05}
evaluate: {every: 10, weights: [32, 4, 2]}
YAML
median() { sort -g "$1" | awk '{x[NR] = $1} END {print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2}'; }
for ((i = 0; i < repetitions; i++)); do
    for workers in 1 "$n"; do
        "$build/sim/fedq-sim" run workers.yaml "${sets[@]}" --workers "$workers" --out run-$workers --force --quiet >/dev/null
        sqlite3 run-$workers/run.db "select sum(seconds_train + seconds_close + seconds_evaluate + seconds_save) from round" \
            >>seconds-$workers
        echo "$workers workers: $(tail -n 1 seconds-$workers) s"
    done
done
cmp run-1/model.fq run-$n/model.fq
allowed=$(sqlite3 run-1/run.db "select round, n_steps from client_update order by round, n_steps desc" |
    awk -F'|' -v n="$n" '
        function close_round(  i) { for (i = 0; i < n; i++) { if (busy[i] > longest) longest = busy[i]; busy[i] = 0 }
                                    spent += longest; longest = 0 }
        $1 != round { close_round(); round = $1 }
        { free = 0; for (i = 1; i < n; i++) if (busy[i] < busy[free]) free = i; busy[free] += $2; all += $2 }
        END { close_round(); printf "%.3f", all / spent }')
one=$(median seconds-1) many=$(median "seconds-$n")
awk -v one="$one" -v many="$many" -v n="$n" -v allowed="$allowed" 'BEGIN {
    printf "{\"workers\":%d,\"seconds_1\":%.3f,\"seconds_n\":%.3f,\"ratio\":%.3f,\"ratio_that_sizes_allow\":%s}\n",
           n, one, many, one / many, allowed }'

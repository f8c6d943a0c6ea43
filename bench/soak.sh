#!/bin/bash
# Does a long run's memory stay flat? Runs a simulation that keeps all that a run can keep (clients' states, error
# feedback, rows of run.db) for many rounds and looks at its resident memory along the way.
#
#   bench/soak.sh [BUILD] [ROUNDS] [CLIENTS] [COHORT]       defaults: build/release 10000 2000 20
#
# One line for each hundredth of the run: round and resident KiB. One JSON line at the end. Fails if memory
# after the last round is more than 2 MiB above that after a third of the rounds: SQLite's page cache, 2 MB at most,
# may still fill up after that; a leak of a model for each client or round is far more.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "${1:-$here/build/release}") rounds=${2:-10000} clients=${3:-2000} cohort=${4:-20}
bound_kib=2048
work=$(mktemp -d "${TMPDIR:-/tmp}/fedq-soak-XXXXXX")
program=
trap '[ -z "$program" ] || kill "$program" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
every=$(((rounds + 99) / 100))
cat >soak.yaml <<YAML
name: soak
seed: 1
data: {set: synthetic, clients: $clients, features: 60, classes: 10, examples: 20, test_examples: 200}
model: logreg
train: {algorithm: scaffold, rounds: $rounds, clients_per_round: $cohort, batch: 10, rate: 0.01}
upload: {quantizer: stochastic, bits: 4, error_feedback: true}
evaluate: {every: $every, weights: [32, 4]}
YAML
# Nothing is started for a look: the run must not be far ahead of it.
resident() {
    local key value
    while read -r key value; do
        [ "$key" != VmRSS: ] || echo "${value% kB}"
    done <"/proc/$program/status" 2>/dev/null || true
}
mkfifo progress
"$build/sim/fedq-sim" run soak.yaml --out run >result 2>progress &
program=$!
third=0 last=0 at=0
while read -r line; do
    round=${line#*round } round=${round%%/*}
    [[ $round =~ ^[0-9]+$ ]] || { echo "$line" >&2 && continue; }
    kib=$(resident)
    [ -n "$kib" ] || continue # the last line may outlive its process
    echo "$round $kib"
    last=$kib at=$round
    if [ "$third" -eq 0 ] && [ $((3 * round)) -ge "$rounds" ]; then third=$kib; fi
done <progress
wait "$program"
program=
files=$(du -sk run | cut -f1)
echo "{\"rounds\":$rounds,\"clients\":$clients,\"cohort\":$cohort,\"kib_after_a_third\":$third,\"kib_last\":$last,\"last_seen\":$at,\"kib_files\":$files}"
if [ "$third" -eq 0 ] || [ $((last - third)) -gt $bound_kib ]; then
    echo "resident memory went from $third to $last KiB" >&2
    exit 1
fi

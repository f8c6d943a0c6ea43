#!/bin/bash
# Let fuzz targets run, and say how far each came.
#
#   tests/fuzz/run.sh [--seconds N] [--jobs N] [--corpus DIR] [TARGET...]
#
# Every target (or those named) runs for N seconds by the clock, an hour unless told, --jobs of them side by side, from
# its seeds and what an earlier run left in DIR. One CSV line a target on stdout; a finding keeps its input in DIR and
# makes the exit code 1. Builds the preset `fuzz` first (clang).
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=3600 jobs=$(nproc) corpus=build/fuzz/corpus targets=()
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds) seconds=$2; shift ;;
        --jobs) jobs=$2; shift ;;
        --corpus) corpus=$2; shift ;;
        -*) sed -n '2,8s/^# \?//p' "$0" >&2; [ "$1" = --help ] || exit 2; exit 0 ;;
        *) targets+=("$1") ;;
    esac
    shift
done
if [ ${#targets[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        name=${source##*/fuzz_}
        targets+=("${name%.c}")
    done
fi

mkdir -p "$corpus"
if ! { cmake --preset fuzz && cmake --build --preset fuzz; } >"$corpus/build.log" 2>&1; then
    tail -n 20 "$corpus/build.log" >&2
    exit 1
fi

# one TARGET: its run, and its line.
one() {
    local name=$1 log=$corpus/$1.log used executions edges findings=0
    mkdir -p "$corpus/$name"
    TIMEFORMAT='%U %S'
    used=$({ time build/fuzz/tests/fuzz/fuzz_"$name" -max_total_time="$seconds" -timeout=120 -rss_limit_mb=3000 -print_final_stats=1 \
        -artifact_prefix="$corpus/$name-" "$corpus/$name" "tests/fuzz/seeds/$name" >"$log" 2>&1 || true; } 2>&1)
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    grep -qE '^SUMMARY: ' "$log" && findings=1
    echo "$name,$seconds,$(awk '{ printf "%.0f", $1 + $2 }' <<<"$used"),${executions:-},${edges#cov: },$findings"
    return $findings
}
export -f one
export seconds corpus
echo "target,seconds,cpu_seconds,executions,edges,findings"
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'one {}'

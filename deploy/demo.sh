#!/bin/bash
# The main job on a fresh machine: install what is needed, build, train on Fashion-MNIST with and without
# multi-bit quantization-aware training, print accuracy by method and bit-width, say where the report is.
#
#   deploy/demo.sh [options of fedq-sim run]      e.g. --workers 4, --seed 2, --set train.rounds=20
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "demo: $*" >&2; }

deploy/install-deps.sh

mkdir -p build runs
log=build/demo.log
show_progress() { # ninja's "[12/80] ..." as one moving line, or a line for each quarter when not on a terminal
    awk -v terminal="$([ -t 2 ] && echo 1 || echo 0)" '
        match($0, /^\[[0-9]+\/[0-9]+\]/) {
            split(substr($0, 2, RLENGTH - 2), count, "/")
            percent = int(100 * count[1] / count[2])
            if (terminal) printf "\rdemo: building %3d %%", percent
            else if (percent >= next_line) { printf "demo: building %3d %%\n", percent; next_line = percent - percent % 25 + 25 }
            fflush()
        }
        END { if (terminal) print "" }' >&2
}
say "building (everything the compiler says is in $log)"
if ! { cmake --preset release && cmake --build --preset release --target fedq-sim; } 2>&1 | tee "$log" | show_progress; then
    tail -n 40 "$log" >&2
    say "the build failed; its last lines are above, all of them in $log"
    exit 1
fi

# Runs of before are kept: the first is runs/demo, the next runs/demo-2, ...
out=runs/demo
for ((n = 2; ; n++)); do
    [ -e "$out" ] || break
    out=runs/demo-$n
done

say "training; the results go to $out"
exec build/release/sim/fedq-sim run sim/experiments/demo.yaml --out "$out" "$@"

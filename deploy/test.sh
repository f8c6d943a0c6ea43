#!/bin/bash
# Install what the tests need, build in every way that matters, run every test, and say at the end what failed.
#
#   deploy/test.sh             every step below, under 25 minutes on 2 cores
#   deploy/test.sh --quick     ci-gcc alone
#   deploy/test.sh STEP...     only these
#
# Everything runs even if something before it failed; the exit code is 1 if anything did. What a step
# printed is kept in build/test-logs/STEP.log.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

declare -A about=(
    [format]="clang-format has nothing to change"
    [ci-gcc]="gcc, warnings are errors, all tests"
    [ci-clang]="clang, warnings are errors, all tests but the slow ones"
    [tidy]="clang-tidy on all but the tests, findings are errors"
    [asan]="AddressSanitizer and UBSan, all tests but the slow ones"
    [tsan]="ThreadSanitizer, the tests labelled threads"
    [edge]="the static client for x86-64 and aarch64: size, memory, kernels and a federation under qemu"
)
order=(format ci-gcc ci-clang tidy asan tsan edge)
folders=()
for folder in common sim server client tests bench; do
    [ -d "$folder" ] && folders+=("$folder")
done

usage() {
    echo "Usage: $0 [--quick | STEP...]"
    for step in "${order[@]}"; do printf '  %-9s %s\n' "$step" "${about[$step]}"; done
}

steps=("$@")
case "${1-}" in
    "") steps=("${order[@]}") ;;
    --quick) steps=(ci-gcc) ;;
    --help | -h) usage; exit 0 ;;
esac
for step in "${steps[@]}"; do
    [ -n "${about[$step]+known}" ] || { usage >&2; exit 2; }
done

logs=build/test-logs
mkdir -p "$logs"

# The sanitizers of gcc 12 and clang 14 cannot place their shadow memory where a kernel randomises more
# address bits than they know; containers may refuse to switch that off, and mostly do not need it.
fixed_addresses=()
if setarch --addr-no-randomize true 2>/dev/null; then fixed_addresses=(setarch --addr-no-randomize); fi

# Quiet unless it fails: then its last lines are shown.
build() {
    if ! { cmake --preset "$1" && cmake --build --preset "$1"; } >"$logs/$1.build.log" 2>&1; then
        grep -E -A5 'error|FAILED' "$logs/$1.build.log" | head -n 60 || true
        tail -n 20 "$logs/$1.build.log"
        echo "the build of $1 failed: $logs/$1.build.log"
        return 1
    fi
}
sources() { find "${folders[@]}" -name "$1" -not -path '*/build/*' | sort; }

run_step() {
    case "$1" in
        format) sources '*.[ch]' | xargs clang-format --dry-run -Werror ;;
        ci-gcc) build ci-gcc && ctest --preset ci-gcc --no-tests=error ;;
        ci-clang) build ci-clang && ctest --preset ci-clang --no-tests=error -LE slow ;;
        tidy) # the programs' own files, one at a time: clang-tidy 14 carries va_list facts from one to the next
            build ci-clang &&
                sources '*.c' | grep -E '^(common|sim|server|client)/' | sed "s|^|$PWD/|" |
                grep -xFf <(sed -n 's/^ *"file": "\(.*\)",*$/\1/p' build/ci-clang/compile_commands.json) |
                xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p build/ci-clang 2> >(grep -v 'warnings\? generated' >&2) ;;
        asan) build asan && "${fixed_addresses[@]}" ctest --preset asan --no-tests=error -LE slow ;;
        edge) # beside ci-gcc's coordinator
            build ci-gcc && deploy/build-edge.sh x86_64 aarch64 &&
                ctest --preset aarch64 --no-tests=error -R '^test_(kernels|convolution|gemm|bitpack|grid|codec|seal|sgd|infer|int_kernels)' &&
                ctest --preset ci-gcc --no-tests=error --verbose -R '^integration_edge$' ;;
        tsan) build tsan && "${fixed_addresses[@]}" ctest --preset tsan --no-tests=error -L threads ;;
    esac
}

deploy/install-deps.sh --dev || exit 1

failed=()
summary=()
for step in "${steps[@]}"; do
    echo "==== $step: ${about[$step]}"
    begin=$SECONDS
    if run_step "$step" 2>&1 | tee "$logs/$step.log"; then result=ok; else result=FAILED; failed+=("$step"); fi
    closing=$(grep -E '^[0-9]+% tests passed' "$logs/$step.log" | tail -n 1)
    summary+=("$(printf '%-9s %-6s %4d s  %s' "$step" "$result" $((SECONDS - begin)) "${closing:-${about[$step]}}")")
done

echo "==== summary, $SECONDS s"
printf '%s\n' "${summary[@]}"
if [ "${#failed[@]}" -gt 0 ]; then
    echo "failed: ${failed[*]}; what they printed is in $logs"
    exit 1
fi
echo "all passed"

#!/bin/bash
# fedq-bench: every command runs for an instant and says what it should; nothing is said of how fast.
: "${FEDQ_BENCH:?path of fedq-bench}"
FEDQ_SIM=$FEDQ_BENCH
. "$(dirname "$0")/lib.sh"
export TMPDIR=$work

# of EXPRESSION: an SQL expression over j, the JSON that the last call printed.
of() { sqlite3 :memory: "WITH t(j) AS (SELECT CAST(readfile('stdout') AS TEXT)) SELECT $1 FROM t"; }
# has WHAT FIELD...: the last call printed one line of JSON in which each field is a positive number.
has() {
    local what=$1 field
    shift
    succeeded "$what"
    for field in "$@"; do
        [ "$(of "json_type(j, '\$.$field') IN ('integer', 'real') AND json_extract(j, '\$.$field') > 0")" = 1 ] ||
            fail "$what: $field is $(of "json_extract(j, '\$.$field')" 2>&1) in $(head -c 300 stdout)"
    done
    [ "$(wc -l <stdout)" -eq 1 ] || fail "$what: $(wc -l <stdout) lines of JSON"
    pass
}
says() { # says WHAT FIELD VALUE
    local found
    found=$(of "json_extract(j, '\$.$2')")
    if [ "$found" = "$3" ]; then pass; else fail "$1: $2 is '$found', expected '$3'"; fi
}

# ---- help, version, wrong usage
call --help
succeeded --help
commands=(step peak data)
for command in "${commands[@]}"; do
    grep -qw "$command" stdout || fail "--help does not mention $command"
done
for command in "${commands[@]}"; do
    call "$command" --help
    succeeded "$command --help"
done
call --version
succeeded --version
grep -Eq '^fedq-bench [0-9]+\.[0-9]+\.[0-9]+' stdout || fail "--version: $(head -n 1 stdout)"
call stpe
refused "an unknown command" stpe
call step --model nix --json
refused "an unknown network" nix lenet5
call step --seconds 0
refused "no time to measure" --seconds
call step --activations
refused "activations of no method" --activations
call data d --shape 28x28
refused "a shape of two axes" --shape 28x28

# ---- a step: the figures, and that they belong together
figures=(ms_per_step_median ms_per_step_low cpu_ms_per_step_median gflops peak_gflops share_of_peak
    steps_per_second flops_per_step parameters)
call step --model lenet5 --batch 32 --robustness none --threads 1 --seconds 0.05 --json
has step "${figures[@]}"
says step model lenet5
says step batch 32
says step parameters 61706
# conv1 6x25 of 28x28, conv2 16x150 of 10x10, dense 48000 + 10080 + 840; three passes, two in conv1
says step flops_per_step $((2 * 32 * (3 * (117600 + 240000 + 48000 + 10080 + 840) - 117600))).0
[ "$(of "abs(json_extract(j, '\$.gflops') * json_extract(j, '\$.ms_per_step_median') * 1e6 /
    json_extract(j, '\$.flops_per_step') - 1) < 1e-3")" = 1 ] || fail "gflops are not flops over time"
FQ_KERNELS=baseline call step --model lenet5 --batch 8 --seconds 0.02 --json
has "a step on forced kernels" ms_per_step_median
says "a step on forced kernels" kernels baseline
for model in logreg mlp; do
    call step --model $model --batch 10 --robustness mqat --threads 2 --seconds 0.02 --json
    has "a step of $model, quantized" "${figures[@]}"
    says "a step of $model, quantized" robustness mqat
done
call step --model logreg --robustness mqat --activations --seconds 0.02 --json
has "a step with quantized activations" ms_per_step_median
says "a step with quantized activations" activations 1
call step --model logreg --seconds 0.02
succeeded "a step as text"
grep -q '^ms_per_step_median' stdout || fail "no median in the text"

# ---- the machine
call peak --seconds 0.05 --json
has peak peak_gflops copy_gigabytes_per_second

# ---- made-up data can be trained on
call data made --clients 5 --examples 30 --test-examples 50 --shape 2x8x8 --classes 3 --json
has data clients examples

[ -z "$(ls -d "$work"/fedq-bench-* 2>/dev/null)" ] || fail "left behind: $(ls -d "$work"/fedq-bench-*)"
finish

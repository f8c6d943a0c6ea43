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
commands=(step aggregate scale evaluate loop peak data watch)
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

call aggregate --bits 9
refused "a width that no format has" --bits
call scale --clients 10 --cohort 11
refused "a cohort larger than all" --cohort

# ---- updates
for bits in 32 8 2; do
    call aggregate --params 20000 --bits $bits --seconds 0.05 --json
    has "updates of $bits bits" accept_gbps copy_gbps accept_share_of_copy close_gbps encode_gbps encode_zstd_gbps \
        decode_zstd_gbps zstd_bytes_share seal_gbps open_gbps open_payload_gbps bytes_per_update
    says "updates of $bits bits" params 20000
    # a scale for each of the two tensors and the envelope come on top
    [ "$(of "json_extract(j, '\$.bytes_per_update') BETWEEN 20000 * $bits / 8 AND 20000 * $bits / 8 + 200")" = 1 ] ||
        fail "updates of $bits bits: $(of "json_extract(j, '\$.bytes_per_update')") bytes"
done

# ---- many clients
call scale --clients 3000 --cohort 20 --rounds 3 --workers 2 --json
has scale rounds_per_second client_updates_per_second seconds_first_round peak_mib
says scale rounds 3
says scale clients 3000
call scale --clients 100 --cohort 10 --seconds 0.01 --set train.rate=-1 --json
refused "a setting that is wrong" train.rate

# ---- an evaluation
call evaluate --model logreg --examples 100 --weights 8,4,2 --seconds 0.02 --json
has evaluate ms_per_evaluation_median ms_float_only_median passes_per_second
says evaluate figures 4

# ---- the machine
call peak --seconds 0.05 --json
has peak peak_gflops copy_gigabytes_per_second

# ---- made-up data can be trained on
call data made --clients 5 --examples 30 --test-examples 50 --shape 2x8x8 --classes 3 --json
has data clients examples
call loop made --rounds 300 --cohort 2 --batch 10 --rate 0.3 --json
has loop train_seconds rounds_per_second client_steps_per_second
says loop steps 1800
[ "$(of "json_extract(j, '\$.accuracy') > 0.45")" = 1 ] || fail "the bare loop learns nothing: $(cat stdout)"
call loop nowhere
refused "data that are not there" nowhere

# ---- watching a command: its time, its processes, what it prints, how it ends
call watch --json --output printed -- sh -c 'echo hello; sleep 0.3 & sleep 0.3; wait'
has watch wall_seconds peak_mib
[ "$(cat printed)" = hello ] || fail "watch: the command printed '$(cat printed)'"
[ "$(of "json_extract(j, '\$.wall_seconds') >= 0.3")" = 1 ] || fail "watch: $(cat stdout)"
call watch -- sh -c 'exit 3'
refused "a command that fails" "code 3"
call watch --limit 0.2 -- sleep 30
refused "a command that takes too long" 0.2

[ -z "$(ls -d "$work"/fedq-bench-* 2>/dev/null)" ] || fail "left behind: $(ls -d "$work"/fedq-bench-*)"
finish

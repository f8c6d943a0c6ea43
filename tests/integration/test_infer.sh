#!/bin/bash
# A model from training to the device: export, its evaluation in integers, fedq-client infer.
# shellcheck disable=SC2154
. "$(dirname "$0")/lib.sh"
: "${FEDQ_CLIENT:?path of fedq-client}"

infer() { # ARGUMENTS...: sets code, leaves stdout and stderr
    timeout --kill-after=5 120 "$FEDQ_CLIENT" infer "$@" >stdout 2>stderr </dev/null
    code=$?
}
succeeded() { if [ "$code" -eq 0 ]; then pass; else fail "$1: exit code $code: $(head -n 2 stderr)"; fi; }
says() { # WHAT FILE TEXT
    if grep -qF -- "$3" "$2"; then pass; else fail "$1: \"$(head -n 3 "$2")\" does not say \"$3\""; fi
}

images=/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz
[ -f $images ] || skip "Fashion-MNIST is not installed (dataset-fashion-mnist)"

# A LeNet-5, trained for a moment. The whole test set is its test.
rounds=3
[ "${FEDQ_TEST_ROUNDS:-120}" -lt 100 ] && rounds=1
cat >short.yaml <<END
name: short
data: {set: fashion-mnist, clients: 30, split: iid, train_limit: 12000}
model: lenet5
train: {rounds: $rounds, clients_per_round: 10, epochs: 1, batch: 20, rate: 0.1, robustness: [mqat],
        mqat: {bits: [4, 8], activations: [8], ranges: mse}}
evaluate: {every: 100, weights: [32]}
END
call run short.yaml --out run --quiet
succeeded "training"

# ---- integers against fake quantization, all 10,000 examples
check_agreement() { # FILE LEAST
    call eval "$1" --json
    succeeded "eval $1"
    check "eval $1 looks at 10000 examples" grep -q '"test_examples": 10000' stdout
    local same
    same=$(sed -n 's/.*"same_class": \([0-9]*\).*/\1/p' stdout)
    if [ "${same:-0}" -ge "$2" ]; then pass; else fail "$1: the same class for $same of 10000, expected $2"; fi
}
for bits in 8 4 2; do
    call export run --bits $bits -o m$bits.fq
    succeeded "export at $bits bits"
    check_agreement m$bits.fq 9990
done
call export run --bits 8 --activations 6 --granularity channel --activation-ranges minmax -o channel.fq
succeeded "export by channels"
check_agreement channel.fq 9900
call export run --bits 4 --activation-ranges stored -o stored.fq
succeeded "export with the ranges of training"
check_agreement stored.fq 9990

# ---- repeatable, whatever the workers, and small
call export run --bits 4 -j 1 -o again.fq
check "the same bytes with one worker" cmp -s m4.fq again.fq
float=$(stat -c %s run/model.fq) four=$(stat -c %s m4.fq)
check "4 bits take less than a sixth" [ $((four * 6)) -lt "$float" ]
call export run --bits 4 -o m4.fq --json
says "export --json" stdout "\"float_sha256\": \"$(sha256sum run/model.fq | cut -d' ' -f1)\""
says "export --json" stdout "\"sha256\": \"$(sha256sum m4.fq | cut -d' ' -f1)\""

# ---- fedq-client infer
infer m8.fq $images
succeeded "infer"
check "a line for each example" [ "$(wc -l <stdout)" -eq 10000 ]
check "a class and ten logits" [ "$(head -n 1 stdout | wc -w)" -eq 11 ]
cp stdout idx.txt
# What it prints is what eval counts.
right=$(paste -d' ' <(cut -d' ' -f1 idx.txt) <(zcat ${images/images-idx3/labels-idx1} | tail -c +9 | od -An -v -tu1 -w1 | tr -d ' ') |
    awk '$1 == $2' | wc -l)
call eval m8.fq --json
counted=$(tr -d '\n' <stdout | sed 's/.*"integer": *{ *"accuracy": *\([0-9.]*\).*/\1/')
check "eval's accuracy $counted is infer's: $right" awk "BEGIN {exit !($counted * 10000 - $right < 0.5 && $right - $counted * 10000 < 0.5)}"
# The same examples as raw bytes, and as npy.
zcat $images | tail -c +17 | head -c $((784 * 20)) >raw.bin
infer m8.fq raw.bin
check "raw bytes give the same" cmp -s stdout <(head -n 20 idx.txt)
npy() { # SHAPE FILE TYPE: header of version 1.0, padded to 128 bytes, then stdin
    { printf '\x93NUMPY\x01\x00\x76\x00'; printf '%-117s\n' "{'descr': '$3', 'fortran_order': False, 'shape': ($1), }"; cat; } >"$2"
}
npy "20, 1, 28, 28" x.npy '|u1' <raw.bin
infer m8.fq x.npy
check "npy gives the same" cmp -s stdout <(head -n 20 idx.txt)
for kernels in plain baseline; do
    FQ_KERNELS=$kernels infer m4.fq raw.bin
    cp stdout $kernels.txt
done
infer m4.fq raw.bin
check "all kernels give the same" cmp -s stdout plain.txt
check "all kernels give the same" cmp -s stdout baseline.txt
infer run/model.fq raw.bin --json
succeeded "infer of a float model"
says "infer of a float model" stdout '"arithmetic": "float"'
infer m4.fq raw.bin --json
says "infer of a quantized model" stdout '"arithmetic": "integer"'
check "its output is JSON" python3 -m json.tool stdout
call export run --bits 3 --activations 32 -o weights.fq
succeeded "weights alone"
infer weights.fq raw.bin --json
says "weights alone run in float" stdout '"arithmetic": "float"'
call export run --bits 32 -o float.fq
infer float.fq raw.bin
cp stdout float.txt
infer run/model.fq raw.bin
check "a float export is the same function" cmp -s stdout float.txt

# ---- a model that is not one, examples that do not fit
head -c 100 raw.bin >short.bin
infer m8.fq short.bin
[ "$code" -eq 1 ] && pass || fail "too few bytes: exit code $code"
says "too few bytes" stderr "holds 100 values; the model takes examples of 1x28x28"
npy "5, 2, 784, 2" odd.npy '|u1' < <(head -c $((784 * 20)) raw.bin)
infer m8.fq odd.npy
says "an odd shape" stderr "odd.npy holds 15680 values"
npy "1, 784" nan.npy '<f4' < <(printf '\x00\x00\xc0\x7f%.0s' {1..784})
infer m8.fq nan.npy
[ "$code" -eq 1 ] && [ ! -s stdout ] && pass || fail "NaN: exit code $code"
says "NaN" stderr "value 0 of example 0 is not a finite number"
infer raw.bin raw.bin
says "no model" stderr "raw.bin: this is not a model file"
infer m8.fq nothing.npy
says "no input" stderr "nothing.npy"
infer m8.fq raw.bin --raw f64
[ "$code" -eq 2 ] && pass || fail "--raw f64: exit code $code"

# ---- what export refuses
refuse() { # WHAT FRAGMENT ARGUMENTS...
    local what=$1 fragment=$2
    shift 2
    call export "$@"
    refused "$what" "$fragment"
}
refuse "no width" "--bits is missing" run -o x.fq
refuse "no file" "--output is missing" run --bits 4
refuse "9 bits" "--bits 9: expected 1 to 8" run --bits 9 -o x.fq
refuse "0 bits" "--bits" run --bits 0 -o x.fq
refuse "another format" "--format elf: expected one of fq" run --bits 4 --format elf -o x.fq
refuse "a range rule that is none" "is unknown. Known: minmax" run --bits 4 --ranges magic -o x.fq
refuse "two rules" "--ranges: 2 rules" run --bits 4 --ranges mse,minmax -o x.fq
refuse "learned ranges" "expected a rule that is fitted" run --bits 4 --ranges learned -o x.fq
refuse "an odd rule of activations" "--activation-ranges magic" run --bits 4 --activation-ranges magic -o x.fq
refuse "ranges of nothing" "has nothing to quantize" run --bits 32 --ranges mse -o x.fq
refuse "quantizing twice" "m4.fq is quantized already" m4.fq --bits 2 -o x.fq
refuse "float layers with integer activations" "first_last_float" run --bits 4 --set evaluate.layers=first_last_float -o x.fq
refuse "another key" "under data and evaluate only" run --bits 4 --set train.rounds=3 -o x.fq
refuse "a folder that is not there" "nowhere" nowhere --bits 4 -o x.fq
refuse "a file that cannot be" "nowhere" run --bits 4 -o nowhere/x.fq
call eval m4.fq --weights 8
refused "eval of a quantized model at other widths" "evaluated as it is"
check "nothing is left behind" [ ! -e x.fq ]
finish

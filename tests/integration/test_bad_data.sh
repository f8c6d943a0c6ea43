#!/bin/bash
# Data files, models, checkpoints and run databases that are truncated, oversized, damaged or lie about what is
# in them: one clear line, nothing written, no crash, no memory taken on a liar's word.
. "$(dirname "$0")/lib.sh"
limit=60

big_endian() { # 4 bytes
    # shellcheck disable=SC2059
    printf "$(printf '\\x%02x' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)))"
}
byte() {
    # shellcheck disable=SC2059
    printf "$(printf '\\x%02x' "$1")"
}
# Bytes that look random and are the same each time.
noise() { LC_ALL=C awk -v n="$1" -v x="$2" 'BEGIN { while (n-- > 0) { x = (x * 75 + 74) % 65537; printf "%c", x % 256 } }'; }
put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; } # stdin over FILE at OFFSET

idx_images() { big_endian 0x803; big_endian "$1"; big_endian 28; big_endian 28; noise $(($1 * 784)) "$1"; }
idx_labels() {
    big_endian 0x801
    big_endian "$1"
    for ((i = 0; i < $1; i++)); do byte $((i % 10)); done
}
idx_set() { # a fresh, good set in the folder "data"
    rm -rf data && mkdir data
    idx_images 60 >data/train-images-idx3-ubyte
    idx_labels 60 >data/train-labels-idx1-ubyte
    idx_images 20 >data/t10k-images-idx3-ubyte
    idx_labels 20 >data/t10k-labels-idx1-ubyte
}
settings() { # SET, more data keys
    cat >run.yaml <<YAML
name: bad-data
data: {set: $1, path: data, clients: 4, $2}
model: logreg
train: {rounds: 1, clients_per_round: 2, batch: 8}
evaluate: {weights: [32, 4]}
YAML
}
run_refused() { # NAME FRAGMENT...
    call run run.yaml --out out --quiet
    refused "$@"
    [ ! -e out ] || [ -z "$(find out -type f)" ] || fail "$1: leaves files behind"
    rm -rf out
}
run_accepted() {
    call run run.yaml --out out --quiet
    succeeded "$1"
    rm -rf out
}

# ---- IDX
settings mnist 'split: iid'
images=data/train-images-idx3-ubyte
labels=data/train-labels-idx1-ubyte
mkdir data && mkfifo $images
run_refused "a pipe that nobody writes to" "$images" pipe
idx_set
run_accepted "a good IDX set"
gzip data/*
run_accepted "a good IDX set, gzipped"

idx_set; rm $images; run_refused "no images" train-images
idx_set; rm data/t10k-labels-idx1-ubyte; run_refused "no test labels" t10k-labels
idx_set; rm -r data; run_refused "no folder" data
idx_set; : >$images; run_refused "empty images" $images
idx_set; truncate -s 10 $images; run_refused "images end in the header" $images
idx_set; truncate -s 20000 $images; run_refused "images end too early" $images
idx_set; truncate -s -1 $images; run_refused "one byte is missing" $images
idx_set; echo >>$images; run_refused "one byte too many" $images
idx_set; truncate -s -1 $labels; run_refused "one label is missing" $labels
idx_set; idx_labels 59 >$labels; run_refused "a label less than images" 59 60
idx_set; big_endian 0x801 | put $images 0; run_refused "magic of labels" $images
idx_set; big_endian 0xd03 | put $images 0; run_refused "floats, by the magic" $images
idx_set; big_endian 61 | put $images 4; run_refused "says 61 images" $images
idx_set; big_endian 0xffffffff | put $images 4; run_refused "says 4 billion images" $images
idx_set; big_endian 0xffffffff | put $images 8; run_refused "says 4 billion rows" $images
idx_set; for at in 4 8 12; do big_endian 0x80000000 | put $images $at; done
run_refused "sizes whose product overflows" $images
idx_set; big_endian 0 | put $images 4; big_endian 0 | put $labels 4; run_refused "says no images" $images
idx_set; byte 200 | put $labels 30; run_refused "label 200" $labels 200
idx_set; big_endian 14 | put data/t10k-images-idx3-ubyte 8; run_refused "test images of another size" t10k-images
idx_set; rm $images; mkdir $images; run_refused "a folder for images" $images
idx_set; gzip $images; truncate -s -100 $images.gz; run_refused "gzip ends too early" $images.gz
idx_set; gzip $images; head -c 30 /dev/zero | put $images.gz 100; run_refused "gzip with a hole" $images.gz
idx_set; gzip $images; truncate -s 5 $images.gz; run_refused "gzip of 5 bytes" $images.gz
idx_set; rm $images; { idx_images 60; head -c 400000000 /dev/zero; } | gzip -1 >$images.gz
run_refused "gzip with 400 MB too much" $images.gz

# ---- CIFAR-10
cifar_set() {
    rm -rf data && mkdir data
    for ((i = 0; i < 10; i++)); do byte $i; noise 3072 "$i"; done >data/test_batch.bin
    for ((i = 1; i <= 5; i++)); do cp data/test_batch.bin data/data_batch_$i.bin; done
}
settings cifar10 'split: iid'
cifar_set; run_accepted "a good CIFAR-10 set"
cifar_set; rm data/data_batch_3.bin; run_refused "a batch is missing" data_batch_3.bin
cifar_set; truncate -s -1 data/data_batch_2.bin; run_refused "a batch ends too early" data_batch_2.bin
cifar_set; echo >>data/test_batch.bin; run_refused "a batch with a byte more" test_batch.bin
cifar_set; : >data/data_batch_1.bin; run_refused "an empty batch" data_batch_1.bin
cifar_set; byte 10 | put data/data_batch_5.bin 3073; run_refused "label 10 of 10" data_batch_5.bin 10

# ---- npy
npy() { # DTYPE SHAPE: the header; data on stdin
    local header="{'descr': '$1', 'fortran_order': ${3-False}, 'shape': ($2), }"
    printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$header"
    cat
}
npy_set() {
    rm -rf data && mkdir data
    head -c 1600 /dev/zero | npy '<f4' '40, 10' >data/features.npy
    for ((i = 0; i < 40; i++)); do byte $((i % 4)); printf '\0\0\0\0\0\0\0'; done | npy '<i8' '40,' >data/labels.npy
}
settings npy 'split: iid'
npy_set; run_accepted "a good npy set"
npy_set; rm data/labels.npy; run_refused "no labels" labels.npy
npy_set; truncate -s -1 data/features.npy; run_refused "features end too early" features.npy
npy_set; echo >>data/features.npy; run_refused "features with a byte more" features.npy
npy_set; head -c 1600 /dev/zero | npy '<f4' '41, 10' >data/features.npy; run_refused "says 41 rows" features.npy
npy_set; head -c 1600 /dev/zero | npy '<f4' '20, 20' >data/features.npy; run_refused "20 rows, 40 labels" 20 40
npy_set; head -c 1600 /dev/zero | npy '<f4' '4611686018427387904, 4' >data/features.npy
run_refused "rows times columns overflows" features.npy
npy_set; head -c 1600 /dev/zero | npy '<f4' '-40, 10' >data/features.npy; run_refused "negative rows" features.npy
npy_set; head -c 1600 /dev/zero | npy '<c8' '20, 10' >data/features.npy; run_refused "complex numbers" features.npy '<c8'
npy_set; head -c 1600 /dev/zero | npy '|O' '40, 10' >data/features.npy; run_refused "Python objects" features.npy
npy_set; head -c 1600 /dev/zero | npy '<f4' '10, 40' True >data/features.npy; run_refused "Fortran order" features.npy
npy_set; printf 'PK\3\4' | put data/features.npy 0; run_refused "a zip file" features.npy
npy_set; printf '\xff\xff' | put data/features.npy 8; run_refused "header longer than the file" features.npy
npy_set; printf '\xff' | put data/labels.npy 135; run_refused "a negative label" labels.npy
npy_set; printf '\0\0\xc0\x7f' | put data/features.npy 168; run_refused "a feature that is not a number" features.npy

# ---- LEAF
leaf_set() {
    rm -rf data && mkdir -p data/train data/test
    local pixels
    pixels=$(printf '0.5,%.0s' {1..783})0.5
    {
        echo '{"users": ["a", "b", "c", "d"], "num_samples": [2, 2, 2, 2], "user_data": {'
        for user in a b c d; do
            echo "\"$user\": {\"x\": [[$pixels], [$pixels]], \"y\": [0, 61]}$([ $user = d ] || echo ,)"
        done
        echo '}}'
    } >data/train/all_data.json
    cp data/train/all_data.json data/test
}
settings femnist 'split: natural'
leaf=data/train/all_data.json
leaf_set; run_accepted "a good LEAF set"
leaf_set; truncate -s -5 $leaf; run_refused "json ends too early" all_data.json
leaf_set; : >$leaf; run_refused "empty json" all_data.json
leaf_set; echo '[]' >$leaf; run_refused "a json list" all_data.json
leaf_set; echo '{"users": ["a"]}' >$leaf; run_refused "no user_data" user_data
leaf_set; sed -i 's/"y": \[0, 61\]/"y": [0]/' $leaf; run_refused "fewer labels than examples" all_data.json
leaf_set; sed -i 's/61/62/' $leaf; run_refused "label 62 of 62" 62
leaf_set; sed -i '0,/0.5,/s///' $leaf; run_refused "an example of 783 pixels" 783
leaf_set; sed -i '0,/0.5/s//"dark"/' $leaf; run_refused "a word for a pixel" all_data.json
leaf_set; sed -i '0,/0.5/s//1e999/' $leaf; run_refused "a pixel beyond all numbers" all_data.json
leaf_set; sed -i 's/"users": \["a"/"users": ["z"/' $leaf; run_refused "a user without data" z
leaf_set; printf '[%.0s' {1..100000} >$leaf; run_refused "100,000 open brackets" all_data.json
leaf_set; rm -r data/train; run_refused "no train folder" train

# ---- model.fq, checkpoint.fq, run.db
settings_small 6 >small.yaml
call run small.yaml --out good --quiet
succeeded "a small run"
size=$(stat -c %s good/model.fq)
eval_refused() {
    call eval bad.fq --data synthetic
    refused "$@"
}
call eval good/model.fq
succeeded "a good model"
for keep in 0 1 7 8 64 $((size / 2)) $((size - 1)); do
    head -c "$keep" good/model.fq >bad.fq
    eval_refused "model cut to $keep bytes" bad.fq
done
{ cat good/model.fq; echo; } >bad.fq; eval_refused "model with a byte more" bad.fq
for ((i = 0; i < 40; i++)); do
    at=$((i < 20 ? i * 4 : i * size / 40)) # the header closely, the rest by sample
    cp good/model.fq bad.fq
    before=$(od -An -tu1 -j $at -N 1 bad.fq)
    byte $((before ^ 1 << i % 8)) | put bad.fq $at
    eval_refused "model with a bit turned in byte $at" bad.fq
done
for at in 8 12 16 20 24 32 40 48; do
    cp good/model.fq bad.fq
    printf '\xff\xff\xff\x7f' | put bad.fq $at
    eval_refused "model with a size of 2 billion at byte $at" bad.fq
done
noise "$size" 1 >bad.fq; eval_refused "noise for a model" bad.fq
head -c "$size" /dev/zero >bad.fq; eval_refused "zeros for a model" bad.fq
rm bad.fq; eval_refused "no model" bad.fq
call eval small.yaml; refused "settings for a model" small.yaml

# A run that was interrupted, and whose files were damaged since.
settings_small 100000 >long.yaml
interrupted() {
    rm -rf resumed
    cp -r stopped resumed
    rm -f resumed/checkpoint-synced.fq # or the run goes on from there
}
timeout -s KILL 2 "$FEDQ_SIM" run long.yaml --out stopped --quiet >/dev/null 2>&1 </dev/null
[ -s stopped/checkpoint.fq ] || fail "no checkpoint after two seconds"
size=$(stat -c %s stopped/checkpoint.fq 2>/dev/null || echo 0)
resume_refused() {
    local before
    before=$(hash_of resumed/checkpoint.fq)
    call run long.yaml --out resumed --resume --quiet
    refused "$@"
    [ "$(hash_of resumed/checkpoint.fq)" = "$before" ] || fail "$1: the checkpoint has been changed"
}
for keep in 0 10 $((size / 2)) $((size - 1)); do
    interrupted; head -c "$keep" stopped/checkpoint.fq >resumed/checkpoint.fq
    resume_refused "checkpoint cut to $keep bytes" checkpoint.fq
done
for ((i = 0; i < 12; i++)); do
    at=$((i < 6 ? i * 8 : i * size / 12))
    interrupted
    before=$(od -An -tu1 -j $at -N 1 resumed/checkpoint.fq)
    byte $((before ^ 1)) | put resumed/checkpoint.fq $at
    resume_refused "checkpoint with a bit turned in byte $at" checkpoint.fq
done
interrupted; noise 5000 2 >resumed/run.db; rm -f resumed/run.db-*
resume_refused "noise for run.db" run.db
call report resumed -o report.html
refused "report of noise" run.db
[ ! -e report.html ] || fail "report of noise writes report.html"
mkdir empty
call report empty -o report.html
refused "report of an empty folder" empty
finish

#!/bin/bash
# Every block of bad_settings.txt, and some files that cannot be written there, is refused in one clear line
# before anything is written.
. "$(dirname "$0")/lib.sh"
limit=30
table=$here/bad_settings.txt

# try NAME FRAGMENTS ARGUMENTS...: run bad.yaml, expect a refusal and no trace.
try() {
    local name=$1 fragments=()
    IFS='&' read -ra fragments <<<"$2"
    fragments=("${fragments[@]# }")
    fragments=("${fragments[@]% }")
    shift 2
    call run bad.yaml --out out "$@"
    refused "$name" "${fragments[@]}"
    if [ -e out ] && [ -n "$(find out -type f)" ]; then
        fail "$name: leaves files behind: $(find out -type f | tr '\n' ' ')"
    fi
    rm -rf out
}

blocks=0
name=
run_block() {
    [ -n "$name" ] || return 0
    blocks=$((blocks + 1))
    # shellcheck disable=SC2086 # arguments are split on purpose
    try "$name" "$expected" $arguments
}
while IFS= read -r line; do
    case "$line" in
        "=== "*)
            run_block
            IFS="|" read -r name expected arguments <<<"${line#=== }"
            name=${name% }
            : >bad.yaml
            ;;
        "#"*) ;;
        *) echo "$line" >>bad.yaml ;;
    esac
done <"$table"
run_block
[ $blocks -ge 60 ] || fail "only $blocks blocks in $table"

printf 'name: \xff\xfe\n' >bad.yaml
try "not UTF-8" ""
printf 'name: a\0b\n' >bad.yaml
try "a zero byte" ""
{ printf 'train: '; printf '[%.0s' {1..500}; printf ']%.0s' {1..500}; echo; } >bad.yaml
try "500 levels" ""
{ echo 'name: big'; head -c 1200000 /dev/zero | tr '\0' '#'; echo; } >bad.yaml
try "more than 1 MiB" bad.yaml
head -c 4096 /dev/zero >bad.yaml
try "4 KiB of zeros" ""
head -c 4096 "$FEDQ_SIM" >bad.yaml
try "a program" bad.yaml
rm bad.yaml
try "no such file" "bad.yaml & No such file"
mkdir bad.yaml
try "a folder" bad.yaml
rmdir bad.yaml

# What `run` refuses, `check` refuses.
printf 'train: {rounds: -5}\n' >bad.yaml
call check bad.yaml
refused "check of bad settings" train.rounds
echo "$blocks blocks"
finish

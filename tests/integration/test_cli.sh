#!/bin/bash
# The command line: help, exit codes, what goes to stdout and what to stderr, signals, machine-readable output.
. "$(dirname "$0")/lib.sh"
limit=60
commands=(run eval report export check list)
kinds=(models datasets algorithms robustness ranges quantizers aggregators layers kernels)

# ---- help and version: results, so on stdout
for arguments in --help -h; do
    call $arguments
    succeeded "$arguments"
    grep -q '^Usage: ' stdout || fail "$arguments prints no usage on stdout"
    [ ! -s stderr ] || fail "$arguments prints on stderr"
    for command in "${commands[@]}"; do
        grep -qw "$command" stdout || fail "$arguments does not mention $command"
    done
done
for command in "${commands[@]}"; do
    call "$command" --help
    succeeded "$command --help"
    grep -q "^Usage: fedq-sim $command" stdout || fail "$command --help prints no usage"
    [ ! -s stderr ] || fail "$command --help prints on stderr"
done
for option in --workers --seed --set --out --resume --quiet --json; do
    call run --help
    grep -q -- "$option" stdout || fail "run --help does not mention $option"
done
call --version
succeeded --version
grep -Eq '^fedq-sim [0-9]+\.[0-9]+\.[0-9]+' stdout || fail "--version: $(head -n 1 stdout)"

# ---- wrong usage: exit code 2, a line on stderr that says what, and points to --help
usage_error() { # NAME FRAGMENT ARGUMENTS...
    local name=$1 fragment=$2
    shift 2
    call "$@"
    if [ $code -ne 2 ]; then fail "$name: exit code $code, expected 2"; else pass; fi
    [ ! -s stdout ] || fail "$name: prints on stdout"
    grep -qF -- "$fragment" stderr || fail "$name: \"$(head -n 1 stderr)\" does not say \"$fragment\""
    grep -q -- --help stderr || fail "$name: does not point to --help"
    [ "$(wc -l <stderr)" -le 2 ] || fail "$name: $(wc -l <stderr) lines on stderr"
}
settings_small 10 >small.yaml
usage_error "no command" command
usage_error "unknown command" lsit lsit
usage_error "unknown option" --sedd run small.yaml --sedd 3
usage_error "unknown short option" z run small.yaml -z
usage_error "no file" FILE run
usage_error "two files" small.yaml run small.yaml small.yaml
usage_error "option without its value" workers run small.yaml --workers
usage_error "workers: none" workers run small.yaml --workers 0
usage_error "workers: negative" workers run small.yaml --workers -3
usage_error "workers: a word" many run small.yaml --workers many
usage_error "workers: a tail" 2x run small.yaml --workers 2x
usage_error "workers: too many" 1000000 run small.yaml --workers 1000000
usage_error "eval of nothing" MODEL eval
usage_error "report of nothing" RUN report
usage_error "list of nothing" KIND list
usage_error "list of an unknown kind" modles list modles
[ ! -e runs ] || fail "wrong usage makes a folder"

# ---- failures: exit code 1
call run nowhere.yaml
refused "no such file" nowhere.yaml
call run small.yaml --seed lucky
refused "seed: a word" seed lucky
call run small.yaml --seed -1
refused "seed: negative" seed -1
call eval nowhere.fq
refused "no such model" nowhere.fq
call report nowhere -o report.html
refused "no such run" nowhere

# ---- lists
# shellcheck disable=SC2317 # called through check
json_valid() { [ "$(sqlite3 :memory: "select json_valid(cast(readfile('$1') as text))" 2>&1)" = 1 ]; }
for kind in "${kinds[@]}"; do
    call list "$kind"
    succeeded "list $kind"
    [ -s stdout ] || fail "list $kind prints nothing"
    [ ! -s stderr ] || fail "list $kind prints on stderr"
    call list "$kind" --json
    succeeded "list $kind --json"
    if command -v sqlite3 >/dev/null; then check "list $kind --json is JSON" json_valid stdout; fi
done
for word in lenet5 logreg mlp resnet20_gn; do
    call list models
    grep -qw $word stdout || fail "list models does not have $word"
done

# ---- a run: what it leaves, and the table on stdout
call run small.yaml --out out
succeeded run
for file in settings.yaml run.db checkpoint.fq model.fq report.html; do
    [ -s out/$file ] || fail "run leaves no $file"
done
grep -q "$(hash_of out/model.fq)" stdout stderr || fail "the hash of model.fq is not printed"
grep -q report.html stdout stderr || fail "the place of report.html is not printed"
grep -Eq '\b32\b.*\b4\b.*\b2\b|float.*4.*2' stdout || fail "no table by bit-width on stdout"
call run small.yaml --out quiet --quiet
[ ! -s stderr ] || fail "--quiet prints on stderr: $(head -n 1 stderr)"
call run small.yaml --out json --json
succeeded "run --json"
if command -v sqlite3 >/dev/null; then check "run --json prints JSON" json_valid stdout; fi
call run out/settings.yaml --out again --quiet
succeeded "a run of the resolved settings"
same "a run of the resolved settings" out/model.fq again/model.fq
call run small.yaml --set train.rounds=3 --set name=other --out set --quiet
succeeded "--set"
grep -q 'rounds: 3' set/settings.yaml || fail "--set is not in settings.yaml"
(cd "$work" && "$FEDQ_SIM" run small.yaml --quiet >/dev/null 2>&1 </dev/null)
[ -s runs/small-7/model.fq ] || fail "without --out, results are not in runs/NAME-SEED"
call check small.yaml
succeeded check
[ -s stdout ] || fail "check prints nothing"
check "check: the mean holds no updates" grep -qF "added as they come" stdout
check "check: fedavg's clients keep nothing" test -z "$(grep ^disk stdout)"
call check small.yaml --set aggregate.method=median --set train.algorithm=fedprox --set upload.error_feedback=true
check "check: the median holds all updates" grep -qF "all held until the round closes, as median needs" stdout
check "check: clients keep something" grep -q "^disk  .*MiB of" stdout
[ ! -e runs/small-7-2 ] || fail "check makes files"
call eval out
succeeded "eval of a run"
call eval out/model.fq --weights 4,2 --ranges minmax
succeeded "eval of a model"
# Both granularities in one run: rows of the table, the CSV, the JSON and the database; the plain rows stay the same.
call run small.yaml --quiet --out tensor --csv tensor.csv
succeeded "a run evaluated per tensor"
grep -q channel stdout && fail "per-channel rows that nobody asked for"
call run small.yaml --quiet --out both --csv both.csv --set 'evaluate.granularity=[tensor, channel]'
succeeded "a run evaluated in both granularities"
grep -q 'mse/channel' stdout || fail "no per-channel row in the table: $(cat stdout)"
cut -d, -f3-10 tensor.csv | sort > tensor.rows
grep -v /channel both.csv | cut -d, -f3-10 | sort > both.rows
cmp tensor.rows both.rows || fail "per-channel rows change the per-tensor ones"
[ "$(grep -c '/channel' both.csv)" -gt 0 ] || fail "no per-channel row in the CSV"
call run small.yaml --quiet --json --out both.json --set 'evaluate.granularity=[tensor, channel]'
succeeded "--json of both granularities"
grep -q '/channel"' stdout || fail "no per-channel row in the JSON"
call eval both
succeeded "eval of a run with both granularities"
grep -q 'mse/channel' stdout || fail "eval shows no per-channel row: $(cat stdout)"
call eval out/model.fq --weights 4 --granularity tensor,channel
succeeded "eval --granularity"
grep -q 'mse/channel' stdout || fail "eval --granularity shows no per-channel row"
for wrong in --weights=99 --weights=four --weights= --ranges=guess --granularity=pixel --data=nowhere; do
    call eval out/model.fq "$wrong"
    refused "eval $wrong"
done
call report out again -o report.html --csv figures.csv
succeeded report
for file in report.html figures.csv; do [ -s $file ] || fail "report leaves no $file"; done
grep -Eq '(src|href)="?(https?:)?//' report.html && fail "report.html asks the network for something"

# ---- machine-readable, and what is refused before any work
call --version --json
succeeded "--version --json"
grep -q '"version"' stdout || fail "--version --json: $(head -n 1 stdout)"
call run small.yaml --out never --csv nowhere/figures.csv
refused "a CSV file into no folder" nowhere/figures.csv
[ ! -e never ] || fail "trained although the CSV file cannot be written"
call run small.yaml --out never --set train.clients_per_round=400 --quiet
refused "more clients than there are" clients_per_round
[ "$code" -eq 2 ] || fail "settings that do not fit the data: exit code $code, expected 2"
call run small.yaml --out none --quiet --set aggregate.max_value=0.001
refused "every update beyond max_value" aggregate.max_value

# ---- a run that lost a file is not continued, and not emptied
cp -r out lost
rm lost/run.db
call run small.yaml --out lost --resume --quiet
refused "resume without the database" lost/run.db
cp out/run.db lost/run.db
rm lost/checkpoint.fq
call run small.yaml --out lost --resume --quiet
refused "resume without the checkpoint" lost/run.db
cmp -s out/run.db lost/run.db || fail "a refused resume changes run.db"
call run small.yaml --out out --resume --quiet --set train.rate=0.06
refused "resume with other settings" 'rate: 0.05' 'rate: 0.06'
head -c 4096 /dev/urandom >lost/run.db
call run small.yaml --out lost --force --quiet
succeeded "--force over a damaged database"
(ulimit -f 64; "$FEDQ_SIM" run small.yaml --out limited --quiet >stdout 2>stderr </dev/null); code=$?; : >stdout
refused "a limit on the size of files" limited

# ---- signals: stopped cleanly, whole files, and the way to go on is said
settings_small 200 >long.yaml
call run long.yaml --out whole --quiet
succeeded "an undisturbed run"
sed 's/rounds: 200/rounds: 1000000/' long.yaml >endless.yaml
for signal in INT TERM; do
    timeout --preserve-status --signal "$signal" --kill-after=20 1 \
        "$FEDQ_SIM" run endless.yaml --out "stopped-$signal" >stdout 2>stderr </dev/null
    code=$?
    if [ $code -eq 1 ]; then pass; else fail "SIG$signal: exit code $code, expected 1"; fi
    grep -q -- --resume stderr || fail "SIG$signal: does not say how to go on: $(tail -n 2 stderr)"
    [ -s "stopped-$signal/checkpoint.fq" ] || fail "SIG$signal: no checkpoint"
    leftovers=$(find "stopped-$signal" -name '*.tmp*' -o -name '*.part')
    [ -z "$leftovers" ] || fail "SIG$signal: left over: $leftovers"
done
# The way on that is printed works as it stands: begun with --force, it must not begin again, and words with blanks are
# quoted.
timeout --preserve-status --signal INT --kill-after=20 0.6 \
    "$FEDQ_SIM" run endless.yaml --force --out "out of space" --set 'train.robustness=[kure, mqat]' --quiet \
    >stdout 2>stderr </dev/null
hint=$(sed -n 's/.*go on with: //p' stderr)
case "$hint" in
    *--force*) fail "the way on begins again: $hint" ;;
    "fedq-sim run "*--resume) pass ;;
    *) fail "no way on: $(cat stderr)" ;;
esac
before=$(query "out of space/run.db" "select max(round) from round")
eval "timeout --preserve-status --signal INT --kill-after=20 0.6 '$FEDQ_SIM' ${hint#fedq-sim }" >stdout 2>stderr </dev/null
after=$(query "out of space/run.db" "select max(round) from round")
[ "$after" -gt "$before" ] || fail "the way on does not go on: $before rounds, then $after: $(tail -n 1 stderr)"

# Interrupted and continued is the same as undisturbed, whether the signal came before the end or not.
timeout --preserve-status --signal INT --kill-after=20 0.3 \
    "$FEDQ_SIM" run long.yaml --out interrupted --quiet >/dev/null 2>&1 </dev/null
call run long.yaml --out interrupted --resume --quiet
succeeded "resumed after SIGINT"
same "interrupted and resumed" whole/model.fq interrupted/model.fq
finish

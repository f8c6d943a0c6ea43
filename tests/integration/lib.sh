# Shared by the scripts of this folder, each of which is one CTest entry. CTest sets
#   FEDQ_SIM     the program under test
#   FEDQ_SOURCE  the source folder
# shellcheck shell=bash disable=SC2034
set -uo pipefail
: "${FEDQ_SIM:?path of fedq-sim}" "${FEDQ_SOURCE:?the source folder}"
# What the caller has set must not reach the runs of a test.
unset FEDQ_DATA

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/fedq-integration-XXXXXX")
undo=() # commands to run at the end, last first
cleanup() {
    for ((i = ${#undo[@]} - 1; i >= 0; i--)); do eval "${undo[i]}"; done
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1

checks=0
failures=0
pass() { checks=$((checks + 1)); }
fail() {
    checks=$((checks + 1)) failures=$((failures + 1))
    echo "FAILED: $*"
}
# check TEXT COMMAND...: the command succeeds.
check() {
    local text=$1
    shift
    if "$@" >/dev/null 2>&1; then pass; else fail "$text"; fi
}
skip() {
    echo "skipped: $*"
    exit 77
}
finish() {
    echo "$checks checks, $failures failed"
    [ "$failures" -eq 0 ] && [ "$checks" -gt 0 ]
    exit
}

# call ARGUMENTS...: run fedq-sim; sets code, and leaves what it printed in the files stdout and stderr.
call() {
    timeout --kill-after=5 "${limit:-120}" "$FEDQ_SIM" "$@" >stdout 2>stderr </dev/null
    code=$?
}
# refused WHAT FRAGMENT...: the last call failed as it should: exit code 1 or 2, nothing on stdout, one line on
# stderr that contains every fragment.
refused() {
    local what=$1 fragment
    shift
    if [ "$code" -ne 1 ] && [ "$code" -ne 2 ]; then
        fail "$what: exit code $code, expected 1 or 2; stderr: $(head -n 3 stderr)"
        return 1
    fi
    if [ "$(wc -l <stderr)" -ne 1 ]; then
        fail "$what: $(wc -l <stderr) lines on stderr, expected 1: $(head -n 3 stderr)"
        return 1
    fi
    if [ -s stdout ]; then
        fail "$what: prints results: $(head -n 1 stdout)"
        return 1
    fi
    for fragment in "$@"; do
        if ! grep -qF -- "$fragment" stderr; then
            fail "$what: \"$(cat stderr)\" does not say \"$fragment\""
            return 1
        fi
    done
    pass
}
succeeded() {
    if [ "$code" -eq 0 ]; then pass; else fail "$1: exit code $code: $(tail -n 3 stderr)"; fi
}
hash_of() { sha256sum "$1" 2>/dev/null | cut -d' ' -f1; }
# same WHAT FILE FILE
same() {
    if [ -s "$2" ] && [ -s "$3" ] && cmp -s "$2" "$3"; then pass; else fail "$1: $2 and $3 differ"; fi
}
query() { sqlite3 -readonly "$1" "$2"; }

# A run of a second or less on data made on the fly: settings_small ROUNDS > FILE.
settings_small() {
    cat <<YAML
name: small
seed: 7
data: {set: synthetic, clients: 30, features: 20, classes: 5, examples: 40, test_examples: 200}
model: mlp
train:
  algorithm: fedavg
  robustness: [mqat]
  mqat: {bits: [2, 3, 4, 8], ranges: gauss}
  rounds: $1
  clients_per_round: 6
  batch: 8
  rate: 0.05
evaluate: {every: 5, weights: [32, 4, 2]}
YAML
}

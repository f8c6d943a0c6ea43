#!/bin/bash
# Coordinator and clients are killed before and after each change of their files, in the middle of each write, and at
# each message that they send or receive, or lose what they have not synced at the time; then they are started again. The
# final model has always the bytes of a simulation, and run.db its figures. Commands that make or change a folder leave
# the old one, the new one, or one that says what to do.
#   FEDQ_SWEEP        all: every step; a regular expression: those of the lines `ways` below that it matches; unset:
#                     the first step of each kind, and some more
#   FEDQ_SWEEP_LANES  federations at a time (4)
#   FEDQ_SWEEP_KEEP   folder for the results, and for what wrong ones leave
# FEDQ_SUPPORT: folder of libkill_at.so, which counts steps and kills.
. "$(dirname "$0")/fed_lib.sh"
: "${FEDQ_SUPPORT:?folder of libkill_at.so}"
command -v sqlite3 >/dev/null || skip "needs sqlite3"
[ "$(nm -D "$FEDQ_SERVER" | grep -cE '__(asan|tsan)_init')" -eq 0 ] || skip "does not go with sanitizers"
sweep=${FEDQ_SWEEP:-some}
lanes=${FEDQ_SWEEP_LANES:-4}

# What each client keeps from round to round (its control vector, what coding owes) must not part from what counted.
cat >small.yaml <<YAML
name: sweep
seed: 7
data: {set: synthetic, clients: 12, features: 10, classes: 4, examples: 20, test_examples: 100}
model: mlp
train: {algorithm: scaffold, robustness: [mqat], mqat: {bits: [2, 4], ranges: gauss}, rounds: 3, clients_per_round: 4, batch: 8, rate: 0.05}
evaluate: {every: 2, weights: [32, 4]}
upload: {quantizer: stochastic, bits: 4, error_feedback: true, entropy: zstd}
download: {quantizer: float16}
YAML
call run small.yaml --out sim --quiet
succeeded "the simulation"
model=$(hash_of sim/model.fq)
facts() {
    query "$1/run.db" "pragma quick_check; select status, final_hash from run;
                       select round, n_asked, n_accepted, n_refused, loss, drift, update_norm from round order by round;
                       select round, weight_bits, activation_bits, rule, accuracy, loss from evaluation
                       order by round, rule, weight_bits, activation_bits;
                       select round, client, n_examples, n_steps, verdict from client_update order by round, client"
}
facts sim >sim.facts
[ -s sim.facts ] || fail "run.db of the simulation is empty"

# killed_at STEPS HOW NUMBER COMMAND...: what it takes to start a command that is killed there; in `victim`.
killed_at() {
    rm -rf spare
    mkdir spare
    victim=(env "LD_PRELOAD=$FEDQ_SUPPORT/libkill_at.so" "KILL_STEPS=$1" "KILL_HOW=$2" "KILL_AT=$3"
        "KILL_LOG=$PWD/steps" "KILL_SPARE=$PWD/spare" "${@:4}")
}

# ---- federations, each lane with a folder and a port of its own
for ((i = 0; i < lanes; i++)); do
    mkdir lane-$i
    cd lane-$i || exit 1
    make_server fresh ../small.yaml gather_s=60 linger_s=0.5 'http=""'
    make_client fresh-a fresh
    make_client fresh-b fresh
    cd ..
done

# begins ROLE [STEPS HOW NUMBER]: start server, a or b; to be killed there if that is said.
declare -A pid_of
begins() {
    case $1 in
        server) victim=("$FEDQ_SERVER" run fed) ;;
        a) victim=("$FEDQ_CLIENT" run fed-a --simulate-clients 0-5) ;;
        b) victim=("$FEDQ_CLIENT" run fed-b --simulate-clients 6-11) ;;
    esac
    [ $# -lt 4 ] || killed_at "${@:2}" "${victim[@]}"
    start "$1" "${victim[@]}"
    pid_of[$1]=$pid
}

# ends_in SECONDS PID: wait for it to end; its exit code.
ends_in() {
    local end=$((SECONDS + $1))
    until is_gone "$2"; do
        [ $SECONDS -le $end ] || return 124
        sleep 0.02
    done
    wait "$2" 2>/dev/null
}

# point ROLE STEPS HOW NUMBER...: a whole federation in which ROLE is killed at the first number in its first life, at
# the second one in its next. Prints a line: right or wrong, how often it was killed, where.
point() {
    local role=$1 number wrong='' kills=0 who code
    rm -rf fed fed-a fed-b steps ./*.out ./*.err
    for who in '' -a -b; do cp -a "fresh$who" "fed$who"; done
    pids=()
    for who in server a b; do
        [ $who = "$role" ] || begins $who
    done
    for number in "${@:4}" ''; do
        # shellcheck disable=SC2086
        begins "$role" ${number:+"$2" "$3" "$number"}
        [ -n "$number" ] || break
        ends_in 60 "${pid_of[$role]}"
        code=$?
        [ $code -eq 137 ] || break
        kills=$((kills + 1))
    done
    ends_in 60 "${pid_of[server]}"
    code=$?
    [ $code -eq 0 ] || wrong="; the coordinator's exit code is $code: $(tail -n 1 server.err)"
    stop_all 2>/dev/null
    [ "$(hash_of fed/model.fq)" = "$model" ] || wrong="$wrong; another model"
    facts fed >fed.facts 2>&1
    cmp -s fed.facts ../sim.facts || wrong="$wrong; figures: $(diff fed.facts ../sim.facts | head -n 4 | tr '\n' ' ')"
    if [ -n "$wrong" ]; then
        mkdir -p "../wrong/$*"
        cp -a fed fed-a fed-b steps ./*.err "../wrong/$*"
    fi
    echo "${wrong:+wrong}${wrong:-right} $kills of $(($# - 3)): $* ($(tail -n 1 steps))"
}

# Every lanes-th line of `points`.
lane() {
    trap stop_all EXIT
    cd "lane-$1" || exit 1
    awk -v lane="$1" -v lanes="$lanes" 'NR % lanes == lane' ../points >points
    while read -r -u 4 -a line; do point "${line[@]}"; done 4<points
}

# ---- where they can be killed: what an undisturbed life does
for role in server a; do
    for steps in disk wire; do
        cd lane-0 || exit 1
        point $role $steps after 0 >line
        check "$role, undisturbed: $(cat line)" grep -q '^right' line
        mv steps ../$role.$steps
        cd ..
        check "$role: $steps has steps" [ -s $role.$steps ]
        # One line for each way to be killed: role, steps, how, number, and what the step is.
        awk -v role=$role -v steps=$steps '
            function way(how) { print role, steps, how, $1, $2 ":" name }
            {
                name = $3
                if (steps == "disk") gsub(/[0-9a-f]{8,}|[0-9]+/, "#", name)
                if ($2 == "write") way("torn")
                if ($2 != "receive") way("before")
                way("after")
                if (steps == "disk") { way("power"); way("empty") }
            }' $role.$steps >>ways
    done
done
# Killed again, at each step of what follows on a restart, after a kill in the middle of a round.
middle=$(awk '$2 == "write" && $3 == "round.journal" && ++n == 8 {print $1}' server.disk)
for ((i = 1; i <= 60; i++)); do echo server disk torn "$middle" "$i"; done >again
if [ "$sweep" = all ]; then
    cut -d' ' -f1-4 ways | cat - again >points
elif [ "$sweep" != some ]; then
    grep -E -- "$sweep" ways | cut -d' ' -f1-4 >points
else
    # The first step of each kind, torn if it can be, and some more in each way.
    awk '!seen[$1 $2 $5]++' ways >some
    awk '++n[$3] % 47 == 11' ways >>some
    cut -d' ' -f1-4 some >points
    awk 'NR % 20 == 3' again >>points
fi
for ((i = 0; i < lanes; i++)); do lane $i >lane-$i.results 2>lane-$i.messages & done
wait
cat lane-*.results >results
grep '^wrong' results | while read -r line; do echo "FAILED: $line"; done
checks=$((checks + $(wc -l <results))) failures=$((failures + $(grep -c '^wrong' results)))
[ "$(wc -l <results)" -eq "$(wc -l <points)" ] || fail "$(wc -l <results) results of $(wc -l <points) points"
for role in server a; do
    for steps in disk wire; do
        all=$(grep -c ": $role $steps " results)
        [ "$all" -gt 0 ] || continue
        killed=$(grep ": $role $steps " results | grep -vc '^[a-z; ]* 0 of')
        echo "$role, $steps: $(wc -l <$role.$steps) steps, $all points, killed at $killed"
        [ $((killed * 10)) -ge $((all * 8)) ] || fail "$role was not killed often enough"
    done
done
if [ -n "${FEDQ_SWEEP_KEEP-}" ]; then
    mkdir -p wrong "$FEDQ_SWEEP_KEEP"
    cp -a results ways wrong "$FEDQ_SWEEP_KEEP"
fi

# ---- commands
# with_kills WHAT CHECK COMMAND...: killed at each change, before it, half through a write, and by a power cut; before
# each, `prepare` makes the folder anew, and CHECK looks at what is left.
with_kills() {
    local what=$1 look=$2 how n kills=0
    shift 2
    for how in before torn power empty; do
        for ((n = 1; n < 100; n++)); do
            rm -rf made steps
            prepare
            killed_at disk $how $n "$@"
            # timeout ends as its command does, and says so to bash, which would print it.
            { timeout 20 "${victim[@]}" >out 2>err; } 2>/dev/null
            [ $? -eq 137 ] || break
            kills=$((kills + 1))
            at="$what, $how $(tail -n 1 steps)"
            $look
        done
        [ $n -lt 100 ] || fail "$what never ends"
    done
    echo "$what: killed at $kills points"
    [ $kills -gt 10 ] || fail "$what: killed only $kills times"
}
server() { timeout 20 "$FEDQ_SERVER" "$@" >out 2>err </dev/null; }
client() { timeout 20 "$FEDQ_CLIENT" "$@" >out 2>err </dev/null; }
refused_init() { # the last command was refused in one line that says how to go on
    case "$1 $(wc -l <err) $(grep -c ' init made ' err)" in
        "1 1 1" | "2 1 1") pass ;;
        *) fail "$at: exit code $1, and it says: $(cat err)" ;;
    esac
}
key=$(printf '%064d' 7)
init_server=(init made --settings small.yaml --listen tcp://127.0.0.1:7740)
init_client=(init made --server tcp://127.0.0.1:7740 --server-key "$key" --name made)

prepare() { :; }
made_server() {
    if server clients list made; then
        server "${init_server[@]}" && fail "$at: a whole folder is made anew"
    else
        refused_init $?
        server "${init_server[@]}" || fail "$at: it cannot be made anew: $(cat err)"
    fi
    server clients list made || fail "$at: $(cat err)"
    check "$at: the key is whole" [ "$(stat -c %a:%s made/server.key)" = "$(stat -c %a:%s lane-0/fresh/server.key)" ]
    check "$at: the run has a name" [ "$(stat -c %s made/run.id)" = "$(stat -c %s lane-0/fresh/run.id)" ]
    same "$at: settings" small.yaml made/experiment.yaml
}
with_kills "fedq-server init" made_server "$FEDQ_SERVER" "${init_server[@]}"

made_client() {
    if client status made; then
        client "${init_client[@]}" && fail "$at: a whole folder is made anew"
    else
        refused_init $?
        client "${init_client[@]}" || fail "$at: it cannot be made anew: $(cat err)"
    fi
    client status made || fail "$at: $(cat err)"
    check "$at: the key is whole" [ "$(stat -c %a:%s made/client.key)" = "$(stat -c %a:%s lane-0/fresh-a/client.key)" ]
}
with_kills "fedq-client init" made_client "$FEDQ_CLIENT" "${init_client[@]}"

prepare() { cp -a lane-0/fresh made; }
listed() { server clients list made || fail "$at: $(cat err)"; awk '{print $2 ":" $4}' out | tr '\n' ' '; }
added() {
    local list
    list=$(listed)
    case $list in
        "fresh-a:active fresh-b:active ") server clients add made new "$key" || fail "$at: $(cat err)" ;;
        "fresh-a:active fresh-b:active new:active ") pass ;;
        *) fail "$at: the list is $list" ;;
    esac
    check "$at: then it is there" [ "$(listed)" = "fresh-a:active fresh-b:active new:active " ]
}
with_kills "clients add" added "$FEDQ_SERVER" clients add made new "$key"
revoked() {
    local list
    list=$(listed)
    case $list in
        "fresh-a:active fresh-b:active " | "fresh-a:active fresh-b:revoked ") pass ;;
        *) fail "$at: the list is $list" ;;
    esac
    server clients revoke made fresh-b || fail "$at: $(cat err)"
    check "$at: then it is revoked" [ "$(listed)" = "fresh-a:active fresh-b:revoked " ]
}
with_kills "clients revoke" revoked "$FEDQ_SERVER" clients revoke made fresh-b
finish

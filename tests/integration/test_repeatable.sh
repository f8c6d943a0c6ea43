#!/bin/bash
# The same settings and seed give the same bytes: for any number of workers, and for a run that is killed
# (SIGKILL, at random moments) and resumed again and again.
. "$(dirname "$0")/lib.sh"
command -v sqlite3 >/dev/null || skip "needs sqlite3"

RANDOM=${FEDQ_TEST_SEED:-20260} # which moments
rounds=${FEDQ_TEST_ROUNDS:-120}

# What differs between two equal runs is only the clock.
facts() {
    query "$1/run.db" "select round, n_asked, n_accepted, n_refused, loss, drift, update_norm, bytes_up_raw, bytes_up,
                              bytes_down_raw, bytes_down from round order by round"
    query "$1/run.db" "select round, weight_bits, activation_bits, rule, accuracy, loss from evaluation
                       order by round, rule, weight_bits, activation_bits"
    query "$1/run.db" "select round, client, n_examples, n_steps, loss, drift, bytes_up, verdict from client_update
                       order by round, client"
}

# Everything that has to survive a kill: the server's vectors, the clients' own, momentum of none.
cat >plain.yaml <<YAML
$(settings_small "$rounds")
YAML
sed -e 's/algorithm: fedavg/algorithm: scaffold/' -e 's/^name:.*/name: scaffold/' plain.yaml >scaffold.yaml
sed -e 's/algorithm: fedavg/algorithm: fedadam/' -e 's/^name:.*/name: fedadam/' plain.yaml >fedadam.yaml
cat >>fedadam.yaml <<YAML
upload: {quantizer: stochastic, bits: 4, error_feedback: true, entropy: zstd}
YAML

for name in plain scaffold fedadam; do
    for workers in 1 2 5; do
        call run $name.yaml --workers $workers --out $name-$workers --quiet
        succeeded "$name with $workers workers"
    done
    for workers in 2 5; do
        same "$name, 1 and $workers workers" $name-1/model.fq $name-$workers/model.fq
    done
    call run $name.yaml --transport loopback --out $name-loopback --quiet
    succeeded "$name through the bytes of every message"
    same "$name, direct and loopback" $name-1/model.fq $name-loopback/model.fq
    facts $name-1 >$name.facts
    [ -s $name.facts ] || fail "$name: run.db is empty"
    for other in 2 5 loopback; do
        facts $name-$other >other.facts
        same "$name, run.db of 1 worker and of $other" $name.facts other.facts
    done
done
call run plain.yaml --seed 8 --out other-seed --quiet
succeeded "another seed"
if cmp -s plain-1/model.fq other-seed/model.fq; then fail "the seed changes nothing"; else pass; fi

# Killed somewhere in each attempt, until one attempt reaches the end. The time it gets is drawn from what
# an undisturbed run takes, and grows slowly so that this ends on any machine.
for name in plain scaffold fedadam; do
    begin=$(date +%s%N)
    call run $name.yaml --workers 2 --out $name-timed --quiet
    whole_ms=$((($(date +%s%N) - begin) / 1000000))
    kills=0
    attempt=0
    while [ $attempt -lt 400 ]; do
        attempt=$((attempt + 1))
        limit_ms=$((5 + RANDOM % (whole_ms / 3 + 10) + attempt * whole_ms / 100))
        "$FEDQ_SIM" run $name.yaml --workers $((1 + RANDOM % 3)) --out $name-killed --resume --quiet \
            >stdout 2>stderr </dev/null &
        program=$!
        (
            sleep "$(printf '%d.%03d' $((limit_ms / 1000)) $((limit_ms % 1000)))"
            kill -KILL $program 2>/dev/null
        ) &
        killer=$!
        wait $program 2>/dev/null
        code=$?
        kill $killer 2>/dev/null
        wait $killer 2>/dev/null
        if [ $code -eq 137 ]; then
            kills=$((kills + 1))
        elif [ $code -eq 0 ] && [ $kills -lt 3 ]; then
            # It was timed while the machine was busy, and is faster now: again, with less time for each attempt.
            rm -rf "$name-killed"
            kills=0 attempt=0 whole_ms=$((whole_ms / 2))
            [ $whole_ms -gt 10 ] || break
        else
            break
        fi
    done
    echo "$name: killed $kills times"
    succeeded "$name, killed $kills times, then resumed"
    [ $kills -ge 3 ] || fail "$name was killed only $kills times: not a test"
    same "$name, killed $kills times" $name-1/model.fq $name-killed/model.fq
    facts $name-killed >other.facts
    same "$name, run.db after $kills kills" $name.facts other.facts
    counts=$(query $name-killed/run.db "select count(*) || ' ' || count(distinct round) || ' ' || max(round) from round")
    [ "$counts" = "$rounds $rounds $rounds" ] || fail "$name: rounds, distinct, last: $counts, expected $rounds each"
    check "$name: integrity of run.db" test "$(query $name-killed/run.db 'pragma integrity_check')" = ok
    leftovers=$(find $name-killed -name '*.tmp*' -o -name '*.part' -o -name 'checkpoint-synced.fq')
    [ -z "$leftovers" ] || fail "$name: left over: $leftovers"
    # What the clients keep is in one log, or in none, and not in the checkpoint.
    logs=$(find $name-killed -name 'states-*.fq' | wc -l)
    [ "$logs" = "$([ $name = plain ] && echo 0 || echo 1)" ] || fail "$name: $logs logs of clients' states"
    check "$name: a checkpoint holds the server's state alone" \
        test "$(stat -c %s $name-killed/checkpoint.fq)" -lt $((4 * $(stat -c %s $name-killed/model.fq)))
done

# A run that replaces another leaves nothing of it behind.
call run plain.yaml --out scaffold-killed --force --quiet
succeeded "a run in the place of another"
[ -z "$(find scaffold-killed -name 'states-*')" ] || fail "states of the run before are left over"
same "a run in the place of another" plain-1/model.fq scaffold-killed/model.fq

# A finished run resumed is finished: nothing changes.
before=$(hash_of plain-1/model.fq)
call run plain.yaml --out plain-1 --resume --quiet
succeeded "resume of a finished run"
[ "$(hash_of plain-1/model.fq)" = "$before" ] || fail "resume of a finished run changes model.fq"
# And other settings do not continue it.
sed 's/rate: 0.05/rate: 0.06/' plain.yaml >changed.yaml
call run changed.yaml --out plain-1 --resume --quiet
refused "resume with other settings" plain-1
# Without --resume nobody's results are overwritten.
call run plain.yaml --out plain-1 --quiet
refused "a second run into the same folder" plain-1 --resume
[ "$(hash_of plain-1/model.fq)" = "$before" ] || fail "a refused run changes model.fq"
finish

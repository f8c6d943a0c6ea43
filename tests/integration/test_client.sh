#!/bin/bash
# fedq-client from the outside: init, what it refuses, --dry-run, status, a device's own examples, hours, memory.
. "$(dirname "$0")/fed_lib.sh"

client() { # ARGUMENTS...: sets code, leaves stdout and stderr
    timeout --kill-after=5 30 "$FEDQ_CLIENT" "$@" >stdout 2>stderr </dev/null
    code=$?
}
says() { # WHAT FILE TEXT...
    local what=$1 file=$2 text
    shift 2
    for text in "$@"; do
        if grep -qF -- "$text" "$file"; then pass; else fail "$what: \"$(head -n 3 "$file")\" does not say \"$text\""; fi
    done
}
code_is() { if [ "$code" -eq "$2" ]; then pass; else fail "$1: exit code $code, expected $2: $(head -n 2 stderr)"; fi; }

# ---- init
settings_small 8 >plain.yaml
make_server fed plain.yaml gather_s=0.5
client init dev --server "tcp://127.0.0.1:$port" --server-key "$server_key" --name dev
code_is init 0
client_key=$(last_word stdout)
check "the last word is a key" grep -Eqx '[0-9a-f]{64}' <<<"$client_key"
says init stderr "fedq-server clients add DIR dev"
check "the folder is closed to others" [ "$(stat -c %a dev)" = 700 ]
check "the key is closed to others" [ "$(stat -c %a dev/client.key)" = 600 ]
before=$(hash_of dev/client.key)
client init dev --server "tcp://127.0.0.1:$port" --server-key "$server_key"
code_is "init of a folder that is there" 1
check "its key stays" [ "$(hash_of dev/client.key)" = "$before" ]
client init other
code_is "init without a server" 2
client init other --server "127.0.0.1:$port" --server-key "$server_key"
code_is "init with a bad address" 2
client init other --server "tcp://127.0.0.1:$port" --server-key 12
code_is "init with a bad key" 2
check "nothing is made" [ ! -e other ]

# ---- what is refused before anything is sent
for wrong in "--window 8-9" "--window 09:00-09:00" "--max-rss lots" "--max-rss 0" "--threads 0" "--nice 20" \
    "--simulate-clients 9-3" "--simulate-clients -1" "--simulate-clients 0-99999999" "--frobnicate"; do
    # shellcheck disable=SC2086
    client run dev $wrong
    code_is "run $wrong" 2
    says "run $wrong" stderr "--help"
done
client run dev
code_is "run without data" 2
says "run without data" stderr "names no data"
client run dev --data nqy
code_is "run with an unknown reader" 2
says "run with an unknown reader" stderr "npy"
chmod 644 dev/client.key
client run dev --simulate-clients 0-9
code_is "run with a key that others can read" 1
chmod 600 dev/client.key
client run nowhere
code_is "run of nothing" 2
client run dev --dry-run --simulate-clients 0-9
code_is "a dry run before any run" 0
says "a dry run before any run" stdout "unknown until a run has been joined"
client status dev
code_is "status before any run" 0
says "status before any run" stdout "not running" "none joined yet"

# ---- a whole run, and what is known after it
call run plain.yaml --out sim --quiet
"$FEDQ_SERVER" clients add fed dev "$client_key" || fail "clients add"
start_server fed
server=$pid
client run dev --simulate-clients 0-29 --max-rss 2M
code_is "a run that needs more memory" 1
says "a run that needs more memory" stderr "--max-rss"
start_client dev 0-29 --max-rss 100M --quiet
a=$pid
ended coordinator "$server" 60
ended client "$a" 20
same "simulation and federation" sim/model.fq fed/model.fq
check "--quiet is quiet" [ ! -s dev.err ]
says "the end of a run" dev.out "$(hash_of fed/model.fq)" "8 rounds"
client status dev
says "status after a run" stdout "the run is over" "small" "accepted     48" "$(hash_of fed/model.fq)"
client status dev --json
check "status --json" python3 -c 'import json; s = json.load(open("stdout")); assert s["accepted"] == 48 and s["outbox"] == 0 and s["over"] and s["run"] == "small"'
client run dev --dry-run --simulate-clients 0-29 --max-rss 1K
code_is "a dry run after a run" 0
says "a dry run after a run" stdout "parameters" "MiB" "KiB up" "MORE than --max-rss allows"

# ---- a device with examples of its own, in its hours and out of them
python3 - <<'PY' || skip "no python3"
import os, random, struct
random.seed(1)
def npy(path, shape, kind, raw):
    head = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (kind, shape)
    head += ' ' * (63 - (10 + len(head)) % 64) + '\n'
    open(path, 'wb').write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode() + raw)
def make(folder, features):
    os.mkdir(folder)
    labels = [i % 5 for i in range(100)]
    x = [float(j % 5 == y) + random.gauss(0, 0.5) for y in labels for j in range(features)]
    npy(folder + '/features.npy', (100, features), '<f4', struct.pack('<%df' % len(x), *x))
    npy(folder + '/labels.npy', (100,), '<i8', struct.pack('<100q', *labels))
make('mine', 20)
make('narrow', 7)
PY
sed -e 's/clients_per_round: 6/clients_per_round: 1/' -e 's/^name:.*/name: device/' plain.yaml >device.yaml
make_server home device.yaml gather_s=0.2
make_client phone home
start_server home
server=$pid
client run phone --data npy --data-path narrow
code_is "examples of another shape" 2
says "examples of another shape" stderr "7" "20"
away=$(date -d '3 hours' +%H:%M)-$(date -d '4 hours' +%H:%M)
start asleep "$FEDQ_CLIENT" run phone --data npy --data-path mine --window "$away"
a=$pid
check "out of its hours it is connected" wait_for 10 grep -q event=connected asleep.err
sleep 1
check "and does not join" bash -c "! grep -q event=joined asleep.err"
# status.json follows within a second.
check "status while it runs" wait_for 10 bash -c "'$FEDQ_CLIENT' status phone | grep 'state        connected'"
client run phone --data npy --data-path mine
code_is "a second process in the same folder" 1
says "a second process in the same folder" stderr "in use"
kill "$a"
ended "a client after SIGTERM" "$a" 20 1
says "a client after SIGTERM" asleep.err "go on with the same command"
start awake "$FEDQ_CLIENT" run phone --data npy --data-path mine --window "$away" --window 00:00-24:00
a=$pid
ended "the coordinator of a device" "$server" 60
ended "the device" "$a" 20
says "the device" awake.err event=accepted
check "its examples are not in the log" bash -c "! grep -q features awake.err"
finish

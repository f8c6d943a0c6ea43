# A federation of real processes on loopback, for the scripts of this folder. CTest sets, beside what lib.sh wants,
#   FEDQ_SERVER, FEDQ_CLIENT   the programs
# shellcheck shell=bash disable=SC2034,SC2154
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
: "${FEDQ_SERVER:?path of fedq-server}" "${FEDQ_CLIENT:?path of fedq-client}"

pids=() # everything that this script has started and that may still run
stop_all() {
    for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null; done
    wait 2>/dev/null
}
undo+=(stop_all)

last_word() { awk 'END {print $NF}' "$1"; }

free_port() { # a port of loopback that nobody listens at
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null || break
    done
    echo $port
}

# make_server DIR SETTINGS [KEY=VALUE...]: a coordinator's folder; sets port and server_key.
make_server() {
    local dir=$1 settings=$2 pair
    shift 2
    port=$(free_port)
    "$FEDQ_SERVER" init "$dir" --settings "$settings" --listen "tcp://127.0.0.1:$port" >init.out 2>init.err ||
        fail "fedq-server init: $(cat init.err)"
    server_key=$(last_word init.out)
    for pair in heartbeat_s=0.5 linger_s=3 "$@"; do
        sed -i "s|^${pair%%=*}:.*|${pair%%=*}: ${pair#*=}|" "$dir/server.yaml"
    done
}

# make_client DIR SERVER_DIR: a client's folder, registered under the name of the folder.
make_client() {
    "$FEDQ_CLIENT" init "$1" --server "tcp://127.0.0.1:$port" --server-key "$server_key" --name "$(basename "$1")" \
        >init.out 2>init.err || fail "fedq-client init: $(cat init.err)"
    client_key=$(last_word init.out)
    [ "$#" -lt 2 ] || "$FEDQ_SERVER" clients add "$2" "$(basename "$1")" "$client_key" ||
        fail "fedq-server clients add $1"
}

# start NAME COMMAND...: in the background, output to NAME.out and NAME.err (appended); sets pid.
start() {
    local name=$1
    shift
    "$@" >>"$name.out" 2>>"$name.err" </dev/null &
    pid=$!
    pids+=("$pid")
}
start_server() { start "$1" "$FEDQ_SERVER" run "$1"; }
start_client() { start "$1" "$FEDQ_CLIENT" run "$1" --simulate-clients "$2" "${@:3}"; }

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local end=$(($(date +%s) + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.1
    done
}
is_gone() { ! kill -0 "$1" 2>/dev/null; }

# ended WHAT PID SECONDS [CODE]: the process ends by itself with that exit code (0).
ended() {
    local code
    if ! wait_for "$3" is_gone "$2"; then
        fail "$1 does not end"
        return 1
    fi
    wait "$2"
    code=$?
    if [ "$code" -eq "${4:-0}" ]; then pass; else fail "$1: exit code $code, expected ${4:-0}"; fi
}

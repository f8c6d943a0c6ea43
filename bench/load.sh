#!/bin/bash
# Load a coordinator with thousands of encrypted clients on this machine and print what it costs.
#
#   bench/load.sh [BUILD] [CLIENTS] [COHORT] [ROUNDS]       defaults: build/release 2000 200 10
#
# One JSON line on stdout: memory per client, processor time of the idle coordinator, rounds, deadlines missed, and how
# long it takes all clients to come back after the coordinator has been killed.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$here/build/release} n=${2:-2000} cohort=${3:-200} rounds=${4:-10}
work=$(mktemp -d "${TMPDIR:-/tmp}/fedq-load-XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
port=$((20000 + RANDOM % 12000))
make() { # make DIR ROUNDS COHORT CLIENTS: a coordinator's folder with the fleet on its list
    cat >settings.yaml <<YAML
name: load
data: {set: fashion-mnist, clients: $4, split: iid, test_limit: 1000}
model: lenet5
train: {rounds: $2, clients_per_round: $3, batch: 32, rate: 0.05}
upload: {quantizer: stochastic, bits: 8}
evaluate: {every: 100000, weights: [32]}
YAML
    key=$("$build/server/fedq-server" init "$1" --settings settings.yaml --listen tcp://127.0.0.1:$port 2>/dev/null |
        awk '{print $NF}')
    sed -i 's/^gather_s:.*/gather_s: 100000/; s/^linger_s:.*/linger_s: 10/' "$1/server.yaml"
    cp clients.txt "$1/"
}
serve() { # serve DIR LOG
    "$build/server/fedq-server" run "$1" >out 2>"$2" &
    server=$!
    wait_until "grep -qs event=listening $2"
}
fleet() {
    "$build/bench/fedq-load" run "$n" keys tcp://127.0.0.1:$port "$key" 2>load.log &
    load=$!
}
rss_kib() { awk '/VmRSS/ {print $2}' "/proc/$1/status"; }
cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{print int(($14 + $15) * 1000 / hz)}' "/proc/$1/stat"; }
joined() { grep -c event=client_joined "$1" || true; }
wait_until() {
    until eval "$1"; do
        sleep 0.1
        kill -0 "$server" || exit 1
    done
}
since_ms() { echo $((($(date +%s%N) - $1) / 1000000)); }
end() {
    kill -9 "$server" "$load" 2>/dev/null || true
    wait 2>/dev/null || true
}

mkdir keys
"$build/bench/fedq-load" keys "$n" keys >clients.txt

# ---- idle: a cohort of one client more than there is, so that no round can begin
make idle 1 $((n + 1)) $((n + 1))
serve idle log
before=$(rss_kib $server)
begin=$(date +%s%N)
fleet
wait_until "[ \$(joined log) -ge $n ]"
join_ms=$(since_ms "$begin")
sleep 5
cpu=$(cpu_ms $server)
sleep 20
idle_ms=$(($(cpu_ms $server) - cpu))
after=$(rss_kib $server)

# ---- killed: everybody comes back
kill -9 $server
wait $server 2>/dev/null || true
begin=$(date +%s%N)
serve idle log2
wait_until "[ \$(joined log2) -ge $n ]"
rejoin_ms=$(since_ms "$begin")
end

# ---- rounds
make busy "$rounds" "$cohort" "$n"
serve busy log3
fleet
while kill -0 $server 2>/dev/null; do sleep 0.5; done
wait $server
closed=$(grep -c event=round_closed log3)
short=$(grep event=round_closed log3 | sed 's/.*accepted=\([0-9]*\) asked=\([0-9]*\).*/\1 \2/' | awk '$1 != $2 {n++} END {print n + 0}')
seconds=$(grep event=round_closed log3 | sed 's/.*seconds=//' | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
end
echo "{\"clients\": $n, \"cohort\": $cohort, \"rounds\": $closed, \"rounds_short\": $short," \
    "\"seconds_per_round_median\": $seconds, \"join_all_ms\": $join_ms, \"rejoin_all_ms\": $rejoin_ms," \
    "\"kib_per_client\": $(awk -v a=$after -v b=$before -v n=$n 'BEGIN {printf "%.1f", (a - b) / n}')," \
    "\"idle_cpu_percent\": $(awk -v ms=$idle_ms 'BEGIN {printf "%.2f", ms / 200}')}"

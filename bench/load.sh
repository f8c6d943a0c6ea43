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
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"
port=$((20000 + RANDOM % 12000))
cat >settings.yaml <<YAML
name: load
data: {set: fashion-mnist, clients: $n, split: iid, test_limit: 1000}
model: lenet5
train: {rounds: $rounds, clients_per_round: $cohort, batch: 32, rate: 0.05}
upload: {quantizer: stochastic, bits: 8}
evaluate: {every: 1000, weights: [32]}
YAML
key=$("$build/server/fedq-server" init s --settings settings.yaml --listen tcp://127.0.0.1:$port 2>/dev/null | awk '{print $NF}')
sed -i 's/^gather_s:.*/gather_s: 600/; s/^linger_s:.*/linger_s: 10/' s/server.yaml
mkdir keys
"$build/bench/fedq-load" keys "$n" keys >s/clients.txt

rss_kib() { awk '/VmRSS/ {print $2}' "/proc/$1/status"; }
cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{print int(($14 + $15) * 1000 / hz)}' "/proc/$1/stat"; }
joined() { grep -c event=client_joined "$1" || true; }
wait_until() { until eval "$1"; do sleep 0.2; kill -0 "$server" || exit 1; done; }

# ---- all join; more rounds than can begin, since one client stays away: the coordinator is idle
"$build/server/fedq-server" run s >out 2>log & server=$!
wait_until 'grep -q event=listening log'
rss_before=$(rss_kib $server)
begin=$(date +%s%N)
"$build/bench/fedq-load" run "$n" keys tcp://127.0.0.1:$port "$key" 2>load.log & load=$!
wait_until "[ \$(joined log) -ge $n ]"
join_ms=$((($(date +%s%N) - begin) / 1000000))
wait_until "[ \$(grep -c event=round_closed log || true) -ge 3 ]"
rss_after=$(rss_kib $server)

# ---- killed in the middle: everybody comes back
kill -9 $server; wait $server 2>/dev/null || true
begin=$(date +%s%N)
"$build/server/fedq-server" run s >>out 2>log2 & server=$!
wait_until "[ \$(joined log2) -ge $n ]"
storm_ms=$((($(date +%s%N) - begin) / 1000000))
wait $server
cat log log2 >all
closed=$(grep -c event=round_closed all)
short=$(grep event=round_closed all | awk '{a=$0; sub(/.*accepted=/, "", a); sub(/ .*/, "", a); b=$0; sub(/.*asked=/, "", b); sub(/ .*/, "", b); if (a != b) n++} END {print n + 0}')
seconds=$(grep event=round_closed all | sed 's/.*seconds=//' | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
kill $load 2>/dev/null || true

# ---- idle: the same clients, connected, and nothing to do
sed -i 's/^quorum:.*/quorum: 1/' s/server.yaml
rm -rf idle && "$build/server/fedq-server" init idle --settings settings.yaml --listen tcp://127.0.0.1:$((port + 1)) >key2 2>/dev/null
sed -i 's/^gather_s:.*/gather_s: 100000/' idle/server.yaml
# one client more than there is: a draw that is never complete
sed -i "s/clients: $n,/clients: $((n + 1)),/; s/clients_per_round: $cohort/clients_per_round: $((n + 1))/" idle/experiment.yaml
cp s/clients.txt idle/
"$build/server/fedq-server" run idle >out3 2>log3 & server=$!
wait_until 'grep -q event=listening log3'
idle_before=$(rss_kib $server)
"$build/bench/fedq-load" run "$n" keys tcp://127.0.0.1:$((port + 1)) "$(awk '{print $NF}' key2)" 2>load3.log & load=$!
wait_until "[ \$(joined log3) -ge $n ]"
sleep 5
cpu=$(cpu_ms $server)
sleep 20
idle_ms=$((($(cpu_ms $server) - cpu)))
idle_after=$(rss_kib $server)
kill $server $load 2>/dev/null || true
echo "{\"clients\": $n, \"cohort\": $cohort, \"rounds\": $closed, \"rounds_short\": $short, \"seconds_per_round_median\": $seconds, \"join_all_ms\": $join_ms, \"rejoin_all_ms\": $storm_ms, \"rss_kib_before\": $rss_before, \"rss_kib_after\": $rss_after, \"kib_per_idle_client\": $(((idle_after - idle_before) / n)), \"idle_cpu_percent\": $(awk -v ms=$idle_ms 'BEGIN {printf "%.2f", ms / 200}')}"

#!/bin/bash
# Coordinator and clients in network namespaces of their own, with a link between them that loses, delays and reorders
# packets, or, where the kernel has no netem, one that is too narrow and drops what it cannot queue: the bytes of the
# simulation. Needs root, ip and tc.
. "$(dirname "$0")/fed_lib.sh"
[ "$(id -u)" -eq 0 ] || skip "network namespaces need root"
command -v ip >/dev/null && command -v tc >/dev/null || skip "ip or tc is not installed"
near=fq$$n far=fq$$f # at most 15 characters
remove_namespaces() { ip netns del "$near"; ip netns del "$far"; } 2>/dev/null
ip netns add "$near" 2>/dev/null || skip "network namespaces are not allowed here"
undo+=(remove_namespaces)
ip netns add "$far"
ip link add "$near" netns "$near" type veth peer name "$far" netns "$far" 2>/dev/null ||
    skip "virtual links are not allowed here"
spoil() { # NAMESPACE: its end of the link
    tc -n "$1" qdisc add dev "$1" root netem delay 100ms 20ms loss 5% reorder 25% 50% 2>/dev/null && return
    echo "the kernel has no netem; a link of 4 Mbit/s that drops packets instead"
    tc -n "$1" qdisc add dev "$1" root tbf rate 4mbit burst 16k latency 10ms
}
number=1
for name in "$near" "$far"; do
    ip -n "$name" addr add 192.0.2.$number/24 dev "$name"
    ip -n "$name" link set "$name" up
    ip -n "$name" link set lo up
    spoil "$name" || skip "links cannot be spoiled here"
    number=2
done

settings_small 4 >small.yaml
call run small.yaml --out sim --quiet
succeeded "the simulation"
make_server server small.yaml gather_s=60 listen=tcp://192.0.2.1:4711 simulated=yes
for name in a b; do
    make_client $name server
    sed -i 's|^server:.*|server: tcp://192.0.2.1:4711|' $name/client.yaml
done
start server ip netns exec "$near" "$FEDQ_SERVER" run server
server=$pid
start a ip netns exec "$far" "$FEDQ_CLIENT" run a --simulate-clients 0-14
start b ip netns exec "$far" "$FEDQ_CLIENT" run b --simulate-clients 15-29
ended "the coordinator" "$server" 120
same "the simulation, and a federation over a bad link" sim/model.fq server/model.fq
dropped=$(tc -n "$near" -s qdisc show dev "$near" | sed -n 's/.*dropped \([0-9]*\),.*/\1/p')
check "packets were lost" [ "$dropped" -gt 0 ]
finish

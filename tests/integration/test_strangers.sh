#!/bin/bash
# Whoever is not registered delivers nothing to the coordinator, whatever it speaks: raw ZeroMQ and bare TCP, all at
# once. Whoever is, and is then revoked, delivers nothing any more within a second. A federation goes on undisturbed.
# FEDQ_SUPPORT: folder of stranger.
. "$(dirname "$0")/fed_lib.sh"
: "${FEDQ_SUPPORT:?folder of the tests support programs}"

strangers=(unlisted misled null plain garbage greeting halfway scan idle)
# knock NAME HOW [HOME]: in the background, until it is killed.
knock() { start "$1" "$FEDQ_SUPPORT/stranger" "tcp://127.0.0.1:$port" "$server_key" "${@:2}"; }
# of DIR EXPRESSION: of the coordinator's state, as sqlite sees it.
of() { sqlite3 :memory: "select json_extract(readfile('$1/status.json'), '\$.$2')"; }
# of_peer DIR PEER MEMBER
of_peer() {
    sqlite3 :memory: "select json_extract(value, '\$.$3') from json_each(readfile('$1/status.json'), '\$.peers')
        where json_extract(value, '\$.name') = '$2'"
}
resident() { echo $(($(awk '{print $2}' "/proc/$1/statm") * $(getconf PAGESIZE) / 1048576)); } # MiB of a process
told() { tail -n 1 "$1.out" | sed -n "s/.*$2 \([0-9]*\).*/\1/p"; } # what a stranger counts

settings_small 150 >plain.yaml
call run plain.yaml --out sim --quiet
succeeded "the simulation"

# ---- strangers alone: whatever is received now, is theirs
make_server door plain.yaml gather_s=60
make_client friend door
make_client rogue door
start_server door
server=$pid
check "the coordinator listens" wait_for 10 grep -q event=listening door.err
# Sanitizers lock nothing, and keep what is freed.
sanitized=$(nm -D "$FEDQ_SERVER" | grep -c "__[at]san_init")
locked() { [ "$sanitized" -gt 0 ] || [ "$(awk '/^VmLck/ {print $2}' "/proc/$server/status")" -ge 4 ]; }
check "its key is in locked memory" locked
for how in "${strangers[@]}"; do knock "$how" "$how"; done
check "those with a key are turned away" wait_for 20 bash -c "grep -q 'event=not_admitted.*why=unknown' door/audit.log"
sleep 2
many=$(of door strangers)
check "they are counted: $many" [ "${many:-0}" -ge 1 ]
check "no message has come in" [ "$(of door messages)" -eq 0 ]
check "nor a byte" [ "$(of door bytes_in)" -eq 0 ]
for how in unlisted misled null plain; do
    check "$how is never admitted" [ "$(told $how admitted)" -eq 0 ]
    check "$how gets no answer" [ "$(told $how received)" -eq 0 ]
done
for how in garbage greeting halfway; do
    check "$how has sent something" [ "$(told $how sent)" -ge 1 ]
done

# ---- a federation beside them
start_client friend 0-29
a=$pid
ended "the coordinator" "$server" 90
ended "the client" "$a" 20
same "the simulation, and a federation with strangers at the door" sim/model.fq door/model.fq
check "nothing of them was refused as a message" [ "$(of door illegal)" -eq 0 ]
check "the client was connected once" [ "$(grep -c event=connected friend.err)" -eq 1 ]
stop_all

# ---- revoked while it talks, and it goes on talking
settings_small 100000 >long.yaml
make_server live long.yaml
make_client live-friend live
make_client talker live
talker_key=$client_key
start_server live
server=$pid
start_client live-friend 1-29
check "rounds go on" wait_for 30 grep -q event=round_closed live.err
knock talker talker talker
check "a registered client is heard" wait_for 10 bash -c "grep -q 'event=joined name=talker' live/audit.log"
check "and answered" wait_for 10 bash -c "[ \"\$(tail -n 1 talker.out | sed -n 's/.*received \([0-9]*\).*/\1/p')\" -ge 20 ]"
"$FEDQ_SERVER" clients revoke live talker || fail "revoke"
sleep 1
sleep 0.6 # status.json is written twice a second
check "within a second it is out" [ "$(of_peer live talker state)" = revoked ]
heard=$(of_peer live talker bytes_in)
received=$(told talker received)
rounds=$(of live round)
sleep 2.5
check "it is not heard any more" [ "$(of_peer live talker bytes_in)" -eq "$heard" ]
check "it tries to come back" grep -q "event=not_admitted key=$talker_key .*why=revoked" live/audit.log
sleep 1
check "it gets no answers any more" [ "$(told talker received)" -le $((received + 1)) ]
has_more() { [ "$(of live round)" -gt "$rounds" ]; }
check "the others go on, and wait for nobody" wait_for 10 has_more
check "the audit log knows" grep -q "event=revoked name=talker key=$talker_key" live/audit.log
kill "$server"
ended "the coordinator of the revoked" "$server" 20 1
stop_all

# ---- registered, but not speaking as one should
make_server odd long.yaml ban_s=600
make_client odd-friend odd
make_client frames odd
make_client bulky odd
start_server odd
server=$pid
start_client odd-friend 1-29
check "rounds go on beside" wait_for 30 grep -q event=round_closed odd.err
knock frames odd frames
check "messages of one frame and of three are counted and stopped" wait_for 20 grep -q "event=dropped name=frames key=.* flood" odd/audit.log
malformed() { [ "$(of_peer odd frames refusals.malformed)" -ge 1 ]; }
check "by their reason" wait_for 5 malformed
before=$(of odd round)
knock bulky bulky bulky
most=0
for _ in {1..60}; do
    rss=$(resident "$server")
    [ "$rss" -le "$most" ] || most=$rss
    sleep 0.1
done
check "a message of 1,000 MiB is cut off" grep -q event=connection_dropped odd/audit.log
check "messages of 1,000 MiB do not fill the memory: $most MiB" [ "$sanitized" -gt 0 -o "$most" -lt 250 ]
goes_on() { [ "$(of odd round)" -gt "$before" ]; }
check "and the rounds go on" wait_for 30 goes_on
kill "$server"
ended "the coordinator of the odd" "$server" 20 1
stop_all

# ---- those who ask for the model as fast as they may, and read nothing of it
settings_small 6 | sed -e 's/features: 20/features: 2000/' -e 's/clients_per_round: 6/clients_per_round: 30/' >large.yaml
make_server deaf large.yaml gather_s=60
for ((i = 0; i < 8; i++)); do make_client "deaf-$i" deaf; done
make_client deaf-friend deaf
start_server deaf
server=$pid
start_client deaf-friend 8-29
for ((i = 0; i < 8; i++)); do knock "deaf-$i" deaf "deaf-$i" "$i"; done
check "the round is open" wait_for 30 grep -q event=round_opened deaf.err
sleep 2
before=$(resident "$server")
sleep 6
after=$(resident "$server")
check "they have asked for much more than there is room for" [ "$(told deaf-0 sent)" -gt 1000 ]
check "the coordinator's memory does not grow: $before MiB, then $after MiB" [ "$sanitized" -gt 0 -o "$after" -lt $((before + 40)) ]
check "the others are served" wait_for 20 bash -c "[ \$(grep -c event=accepted deaf-friend.err) -eq 22 ]"
kill "$server"
ended "the coordinator of the deaf" "$server" 20 1
finish

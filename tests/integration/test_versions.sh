#!/bin/bash
# A client whose minor version is another than the coordinator's works, one of another major version is told why not.
# (A client older than its coordinator: test_participant.) FEDQ_SUPPORT: folder of hostile_client.
. "$(dirname "$0")/fed_lib.sh"
: "${FEDQ_SUPPORT:?folder of the tests support programs}"

settings_small 4 | sed -e 's/clients_per_round: 6/clients_per_round: 30/' >all.yaml
echo "upload: {quantizer: float32}" >>all.yaml
make_server fed all.yaml gather_s=60
for name in fed-a newer major; do make_client $name fed; done
start_server fed
server=$pid
start_client fed-a 0-28
start major "$FEDQ_SUPPORT/hostile_client" major 29 major
major=$pid
check "another major version is refused" wait_for 10 grep -q "refusal reason=version" major.out
check "and written down" wait_for 10 grep -q "event=refused name=major .*version" fed/audit.log
kill -9 "$major"
start newer "$FEDQ_SUPPORT/hostile_client" newer 29 newer
newer=$pid
ended "the coordinator" "$server" 60
ended "the newer client" "$newer" 20
check "a newer minor version is answered with the older" grep -qx "welcome minor=0" newer.out
check "its updates count" [ "$(query fed/run.db "select count(*) from client_update where client = 29 and verdict = 'accepted'")" -eq 4 ]
check "no message of it was illegal" [ "$(sqlite3 :memory: "select json_extract(readfile('fed/status.json'), '\$.illegal')")" -eq 0 ]
finish

#!/bin/bash
# Output that cannot be written: one clear line, exit code 1, nothing half-written; and a disk that was full is no
# reason to start again once it has room.
. "$(dirname "$0")/lib.sh"
limit=60
settings_small 30 >small.yaml
settings_small 6 >short.yaml

call run small.yaml --out good --quiet
succeeded "a run with room"

# ---- places where nothing can be
echo "in the way" >file
call run short.yaml --out file/below --quiet
refused "a folder below a file" file
call run short.yaml --out file --quiet
refused "a file for a folder" file
[ "$(cat file)" = "in the way" ] || fail "the file that was in the way has been changed"
call run short.yaml --out "$(printf 'x%.0s' {1..300})" --quiet
refused "a name of 300 letters"
ln -s nowhere dangling
call run short.yaml --out dangling/below --quiet
refused "a link to nowhere" dangling
call run short.yaml --out /proc/fedq --quiet
refused "a folder in /proc" /proc/fedq
call report good -o file/report.html
refused "a report below a file" file/report.html
call report good -o nowhere-to/be/found.html
refused "a report into no folder" nowhere-to

# ---- files that are none of our results
cp good/run.db kept.db
call report good -o kept.db
refused "a report over a database" kept.db
call report good -o fine.html --csv kept.db
refused "a CSV file over a database" kept.db
cmp -s good/run.db kept.db || fail "the database has been overwritten"
call report good -o fine.html
call report good -o fine.html
succeeded "a report over a report"

# ---- a device that is full, or closed
"$FEDQ_SIM" list models >/dev/full 2>stderr; code=$?; : >stdout
refused "a list to a full device"
"$FEDQ_SIM" run short.yaml --out full-stdout --quiet --json >/dev/full 2>stderr </dev/null; code=$?; : >stdout
refused "results to a full device"
if mknod full c 1 7 2>/dev/null && ! { echo >full; } 2>/dev/null; then # our own: a mistake must not cost the machine its /dev/full
    call report good -o full
    refused "a report to a full device" full
    [ -c full ] || fail "the report has taken the place of the device"
fi
"$FEDQ_SIM" list models 2>stderr | true
[ ! -s stderr ] || [ "$(wc -l <stderr)" -le 1 ] || fail "a reader that leaves early: $(head -n 2 stderr)"

# ---- a folder that may not be written
mkdir locked
if [ "$(id -u)" -ne 0 ]; then
    chmod 555 locked
    undo+=("chmod 755 '$work/locked'")
elif mount --bind locked locked 2>/dev/null; then # root writes everywhere but on a read-only mount
    undo+=("umount '$work/locked'")
    mount -o remount,ro,bind locked
fi
if touch locked/probe 2>/dev/null; then
    rm locked/probe
    echo "not tested here: a folder that may not be written (root without mounts)"
else
    call run short.yaml --out locked/run --quiet
    refused "a folder that may not be written" locked
    call report good -o locked/report.html
    refused "a report into it" locked/report.html
fi

# ---- a disk of 64 KiB
mkdir small-disk
if ! mount -t tmpfs -o size=64k tmpfs small-disk 2>/dev/null; then
    echo "not tested here: a full disk (needs the right to mount)"
    finish
fi
undo+=("umount '$work/small-disk'")
call run small.yaml --out small-disk/run --quiet
refused "a full disk" small-disk
[ ! -e small-disk/run/model.fq ] || cmp -s small-disk/run/model.fq good/model.fq || fail "half of a model on the full disk"
leftovers=$(find small-disk -name '*.tmp*' -o -name '*.part')
[ -z "$leftovers" ] || fail "left over on the full disk: $leftovers"
mount -o remount,size=64m small-disk
call run small.yaml --out small-disk/run --resume --quiet
succeeded "resumed after the disk got room"
same "the model of a run whose disk was full for a while" good/model.fq small-disk/run/model.fq

# The disk fills up in the middle of a run, wherever that happens to be.
for kib in 96 128 160 192 256 384; do
    rm -rf small-disk/run
    mount -o "remount,size=${kib}k" small-disk || continue
    call run small.yaml --out small-disk/run --quiet
    [ "$code" -eq 0 ] || refused "a disk of $kib KiB" small-disk
    mount -o remount,size=64m small-disk
    call run small.yaml --out small-disk/run --resume --quiet
    succeeded "resumed after $kib KiB"
    same "the model of a run that had $kib KiB for a while" good/model.fq small-disk/run/model.fq
done
finish

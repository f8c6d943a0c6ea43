#!/bin/bash
# Devices with examples of their own, a coordinator that has a test part only, and what each device can: IDX, CIFAR,
# LEAF and npy files, bit-widths, the model at a width of its own, memory, threads, priority; and the size of rounds.
. "$(dirname "$0")/fed_lib.sh"
# FEDQ_SUPPORT: folder of hostile_client.
: "${FEDQ_SUPPORT:?folder of the tests support programs}"
command -v python3 >/dev/null || skip "no python3"

python3 - <<'PY'
import gzip, json, os, random, struct
random.seed(3)
def npy(path, shape, kind, raw):
    head = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (kind, shape)
    head += ' ' * (63 - (10 + len(head)) % 64) + '\n'
    open(path, 'wb').write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode() + raw)
def floats(n, features=20, classes=5):
    labels = [i % classes for i in range(n)]
    return [[float(j % classes == y) + random.gauss(0, 0.3) for j in range(features)] for y in labels], labels
def make_npy(folder, prefix, n):
    os.makedirs(folder, exist_ok=True)
    x, y = floats(n)
    npy(f'{folder}/{prefix}features.npy', (n, 20), '<f4', b''.join(struct.pack('<20f', *row) for row in x))
    npy(f'{folder}/{prefix}labels.npy', (n,), '<i8', struct.pack(f'<{n}q', *y))
def make_leaf(folder, n):
    os.makedirs(folder)
    x, y = floats(n)
    json.dump({'users': ['a'], 'num_samples': [n], 'user_data': {'a': {'x': x, 'y': y}}}, open(folder + '/a.json', 'w'))
def pixels(label, size):
    return bytes((200 if i * 10 // size == label else 20) + random.randrange(40) for i in range(size))
def make_idx(folder, part, n):
    os.makedirs(folder, exist_ok=True)
    labels = [i % 10 for i in range(n)]
    gzip.open(f'{folder}/{part}-images-idx3-ubyte.gz', 'wb').write(
        struct.pack('>IIII', 0x803, n, 28, 28) + b''.join(pixels(y, 784) for y in labels))
    gzip.open(f'{folder}/{part}-labels-idx1-ubyte.gz', 'wb').write(struct.pack('>II', 0x801, n) + bytes(labels))
def make_cifar(folder, file, n):
    os.makedirs(folder, exist_ok=True)
    open(f'{folder}/{file}', 'wb').write(b''.join(bytes([i % 10]) + pixels(i % 10, 3072) for i in range(n)))
os.mkdir('own')
os.chdir('own')
make_npy('npy-test', 'test_', 100)
make_leaf('leaf-test/test', 100)
make_idx('mnist-test', 't10k', 100)
make_cifar('cifar10-test', 'test_batch.bin', 100)
for d in 'ab':
    make_npy(f'npy-{d}', '', 50)
    make_leaf(f'leaf-{d}/train', 50)
    make_idx(f'mnist-{d}', 'train', 50)
    make_cifar(f'cifar10-{d}', 'data_batch_%d.bin' % (ord(d) - 95), 50)
PY

# settings SET ROUNDS: of two devices
settings() {
    cat <<YAML
name: devices
seed: 5
data: {set: $1, path: $PWD/own/$1-test, clients: 2}
model: mlp
train:
  algorithm: fedavg
  robustness: [mqat]
  mqat: {bits: [2, 3, 4, 8]}
  rounds: $2
  clients_per_round: 2
  batch: 10
  rate: 0.1
evaluate: {every: $2, weights: [32, 4]}
YAML
}
# begin SET NAME ROUNDS [LINE-A LINE-B [OPTION...]]: a coordinator with a test part, and two devices; sets server, a, b.
begin() {
    local set=$1 name=$2 rounds=$3
    settings "$set" "$rounds" >$name.yaml
    make_server $name $name.yaml gather_s=60
    for d in a b; do
        make_client $name-$d $name
        echo "data: {set: $set, path: $PWD/own/$set-$d}" >>$name-$d/client.yaml
    done
    [ $# -lt 5 ] || sed -i "s/^${4%%:*}:.*/$4/" $name-a/client.yaml
    [ $# -lt 5 ] || sed -i "s/^${5%%:*}:.*/$5/" $name-b/client.yaml
    start_server $name
    server=$pid
    start $name-a "$FEDQ_CLIENT" run $name-a "${@:6}"
    a=$pid
    start $name-b "$FEDQ_CLIENT" run $name-b
    b=$pid
}
end() {
    ended "coordinator of $1" "$server" 60
    ended "device a of $1" "$a" 20
    ended "device b of $1" "$b" 20
}
# ---- each reader
for set in npy leaf mnist cifar10; do
    begin $set $set 6
    end $set
    check "$set: every update counts" [ "$(query $set/run.db "select count(*) from client_update where verdict = 'accepted'")" -eq 12 ]
    check "$set: all 50 examples of each are used" \
        [ "$(query $set/run.db 'select min(n_examples) || max(n_examples) from client_update')" = 5050 ]
    check "$set: it has learned" [ "$(query $set/run.db 'select max(accuracy) > 0.5 from evaluation')" -eq 1 ]
    call eval $set --weights 32
    succeeded "$set: an evaluation with a test part only"
done

# ---- a test part has no clients to simulate
settings npy 6 >pretend.yaml
make_server pretend pretend.yaml
make_client pretend-a pretend
start_server pretend
server=$pid
start_client pretend-a 0-1
ended "a client that would simulate" $pid 20 2
check "it is told why" grep -q "no training examples" pretend-a.err
kill "$server"
ended "its coordinator" "$server" 20 1

# ---- what a device can run decides what it trains at: one that can all widths and one that can run some do not end
# alike, one that lists what the settings draw from does
begin npy wide 6 "widths: [2, 3, 4, 8]" "widths: [2, 3, 4, 8]"
end wide
same "widths of the settings, and no widths" npy/model.fq wide/model.fq
begin npy narrow 6 "widths: [2, 3, 4, 8]" "widths: [8]"
check "status shows the widths" wait_for 20 bash -c "sqlite3 :memory: \"select json_extract(value, '\\\$.widths') from json_each(readfile('narrow/status.json'), '\\\$.peers')\" | grep -qx '\\[8\\]'"
end narrow
check "a device that cannot run them all trains otherwise" bash -c "! cmp -s npy/model.fq narrow/model.fq"
# All that both can run is 8 bits: the same as if the settings had drawn from 8 alone.
begin npy eight 6 "widths: [8]" "widths: [8]"
end eight
settings npy 6 | sed 's/bits: \[2, 3, 4, 8\]/bits: [8]/' >only.yaml
make_server only only.yaml gather_s=60
for d in a b; do
    make_client only-$d only
    echo "data: {set: npy, path: $PWD/own/npy-$d}" >>only-$d/client.yaml
done
start_server only
server=$pid
start only-a "$FEDQ_CLIENT" run only-a
a=$pid
start only-b "$FEDQ_CLIENT" run only-b
b=$pid
end only
losses() { query "$1/run.db" "select group_concat(printf('%.12f', loss)) from round"; }
check "devices that run 8 bits, and settings that draw 8 bits" [ "$(losses only)" = "$(losses eight)" ]
check "all widths, and 8 bits only" [ "$(losses npy)" != "$(losses eight)" ]

# ---- the model at a width of its own
begin npy slim 6 "model_bits: 0" "model_bits: 4" --nice 5 --threads 2
check "--nice" wait_for 10 bash -c "[ \$(ps -o ni= -p $a) -eq 5 ]"
end slim
bytes_of() { sed -n 's/.*event=planned round=2 .*model_bytes=\([0-9]*\).*/\1/p' "$1"; }
whole=$(bytes_of slim-a.err)
slim=$(bytes_of slim-b.err)
check "4 bits take less than a sixth of 32: $slim, $whole" [ "$((6 * slim))" -lt "$whole" ]
check "both count" [ "$(query slim/run.db "select count(*) from client_update where verdict = 'accepted'")" -eq 12 ]
check "the database has what went down" [ "$(query slim/run.db 'select bytes_down from round where round = 2')" -eq "$((whole + slim))" ]

# ---- who is asked: enough memory, and more than are needed
settings_small 6 >rounds.yaml
make_server few rounds.yaml gather_s=60 over_selection=1.5
make_client few-a few
start_server few
server=$pid
start_client few-a 0-29 --threads 1
ended "coordinator that asks for more" "$server" 60
check "nine are asked" [ "$(query few/run.db 'select min(n_asked) || max(n_asked) from round')" = 99 ]
check "six are enough" [ "$(query few/run.db 'select min(n_accepted) from round')" -eq 6 ]
check "who came too late is told so" bash -c "! grep -q 'event=refused.*reason=[^l]' few-a.err"

# One of the thirty that are drawn is here and has not the memory: it is not asked, and nobody waits for it.
sed -e 's/clients_per_round: 6/clients_per_round: 30/' rounds.yaml >everybody.yaml
make_server able everybody.yaml gather_s=600
for name in able-a small; do make_client $name able; done
start_server able
server=$pid
start small "$FEDQ_SUPPORT/hostile_client" small 29 small
small=$pid
check "who has little memory may join" wait_for 20 grep -q "event=client_joined client=small .*able=0" able.err
start_client able-a 0-28
ended "coordinator of who can" "$server" 60
ended "the small client" "$small" 20
check "who has not the memory is not asked" \
    [ "$(query able/run.db 'select min(n_asked) || max(n_asked) || min(n_accepted) from round')" = 292929 ]

make_server quorum rounds.yaml gather_s=0.3 deadline_s=1 quorum=0.7
make_client quorum-a quorum
start_server quorum
server=$pid
start_client quorum-a 0-3 # four of six; five are the quorum
check "the client is there" wait_for 20 grep -q event=joined quorum-a.err
sleep 2
check "without its quorum a round does not begin" bash -c "! grep -q event=round_opened quorum.err"
make_client quorum-b quorum
start_client quorum-b 4-4
ended "coordinator with a quorum" "$server" 60
check "with it, rounds have five" [ "$(query quorum/run.db 'select min(n_asked) || max(n_accepted) from round')" = 55 ]

# A client that is asked and stays silent, as one in three does that dies while it works.
make_server late rounds.yaml gather_s=60 deadline_s=2 quorum=0.5 heartbeat_s=5
make_client late-a late
make_client late-b late
start_server late
server=$pid
start_client late-b 20-29 --window "$(date -d '3 hours' +%H:%M)-$(date -d '4 hours' +%H:%M)" --window 00:00-24:00
b=$pid
start_client late-a 0-19
check "a round is closed" wait_for 30 grep -q event=round_closed late.err
kill -STOP "$b"
ended "coordinator with a silent client" "$server" 90
kill -9 "$b"
wait "$b" 2>/dev/null
check "a round waits for its deadline, and not longer" [ "$(query late/run.db 'select max(seconds_train) >= 2 from round')" -eq 1 ]
check "it closes without the silent ones" [ "$(query late/run.db "select count(*) > 0 from client_update where verdict = 'missing' and client >= 20")" -eq 1 ]
finish

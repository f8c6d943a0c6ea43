#!/bin/bash
# Measure fedq on this machine, beside the peers that bench/install-peers.sh has put into $FEDQ_PEERS or bench/.venv.
#
#   bench/run.sh [--quick] [--only GROUP]... [--out DIR] [BUILD]       BUILD: build/release
#
# Groups: step simulation scale aggregate evaluate. Ours and the peers take turns within each repetition; what is kept
# are medians over the repetitions, with the lowest and the highest. One row of a table per benchmark on standard output,
# and one line of JSON per benchmark in DIR/GROUP.json: bench/results, or BUILD/bench-results with --quick, which
# measures for an instant and only shows that everything runs. bench/table.sh makes the section of docs/performance.md.
# Needs sqlite3. Let the machine do nothing else meanwhile: the load average is part of the results.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
quick='' out='' build=$root/build/release groups=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=1 ;;
    --only) groups+=("$2") && shift ;;
    --out) out=$2 && shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" && exit ;;
    -*) echo "run.sh: unknown option $1; try --help" >&2 && exit 2 ;;
    *) build=$1 ;;
    esac
    shift
done
[ ${#groups[@]} -gt 0 ] || groups=(step simulation scale aggregate evaluate)
bench=$build/bench/fedq-bench sim=$build/sim/fedq-sim
for program in "$bench" "$sim"; do
    [ -x "$program" ] || { echo "run.sh: there is no $program; build it first, or name the build's folder" >&2 && exit 1; }
done
bench=$(realpath "$bench") sim=$(realpath "$sim")
[ -n "$out" ] || out=${quick:+$build/bench-results}
[ -n "$out" ] || out=$here/results
mkdir -p "$out"
out=$(realpath "$out")

python=${FEDQ_PEERS:-$here/.venv}/bin/python
versions='{}'
if [ -x "$python" ]; then versions=$("$python" "$here/peers/versions.py"); fi
peer() { [[ $versions == *"\"$1\""* ]]; }
peer torch || echo "run.sh: PyTorch is not installed (bench/install-peers.sh); measuring fedq alone" >&2

work=$(mktemp -d "${TMPDIR:-/tmp}/fedq-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export TMPDIR=$work FLWR_HOME=$work/flwr
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE # they slow the peers' NumPy down
seconds=3 repetitions=3
if [ -n "$quick" ]; then seconds=0.2 repetitions=1; fi

# ---- results: one row for each thing that was run ----
db() { sqlite3 -batch -bail "$work/raw.db" "$@"; }
db 'CREATE TABLE raw (id INTEGER PRIMARY KEY, grp, bench, who, j)'
quoted() { printf "'%s'" "${1//\'/\'\'}"; }
# keep GROUP BENCH WHO: the JSON in the file `result` counts.
keep() {
    db "INSERT INTO raw (grp, bench, who, j) VALUES ($(quoted "$1"), $(quoted "$2"), $(quoted "$3"),
        json(CAST(readfile('$work/result') AS TEXT)))"
}
# take GROUP BENCH WHO COMMAND...: run it once and keep the JSON that it prints. A failure is said and left out.
take() {
    local group=$1 bench_name=$2 who=$3
    shift 3
    if "$@" >result 2>log; then
        keep "$group" "$bench_name" "$who"
    else
        echo "run.sh: $bench_name: $who failed: $(grep -v '^$' log | tail -n 1)" >&2
    fi
}
torch_peer() { # torch_peer GROUP BENCH SCRIPT ARGUMENTS...
    local group=$1 bench_name=$2 script=$3
    shift 3
    if peer torch; then take "$group" "$bench_name" torch "$python" "$here/peers/$script" "$@"; fi
}

commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
# The figure that a group is about, and whether less of it is better.
headline() {
    case $1 in
    step) echo ms_per_step_median 1 ;;
    simulation) echo wall_seconds 1 ;;
    scale) echo rounds_per_second 0 ;;
    aggregate) echo accept_gbps 0 ;;
    evaluate) echo ms_per_evaluation_median 1 ;;
    esac
}
# summarize GROUP BENCH: its line of JSON, and its row of the table.
summarize() {
    local group=$1 name=$2 key less load
    read -r key less <<<"$(headline "$group")"
    load=$(cut -d' ' -f1 /proc/loadavg)
    db "WITH figure AS (
            SELECT who, f.key AS key, f.value AS value,
                   row_number() OVER (PARTITION BY who, f.key ORDER BY f.value) AS place,
                   count(*) OVER (PARTITION BY who, f.key) AS n
            FROM raw, json_each(raw.j) AS f
            WHERE grp = $(quoted "$group") AND bench = $(quoted "$name") AND f.type IN ('integer', 'real')),
        median AS (
            SELECT who, key, avg(value) FILTER (WHERE 2 * place IN (n, n + 1, n + 2)) AS median,
                   min(value) AS low, max(value) AS high, n
            FROM figure GROUP BY who, key),
        result AS (
            SELECT who, json_group_object(key, json_object('median', median, 'low', low, 'high', high)) AS figures,
                   max(n) AS n
            FROM median GROUP BY who),
        ours AS (SELECT median FROM median WHERE who = 'fedq' AND key = '$key'),
        ratio AS (
            SELECT who, round(CASE $less WHEN 1 THEN median / (SELECT * FROM ours)
                                         ELSE (SELECT * FROM ours) / median END, 3) AS ratio
            FROM median WHERE key = '$key' AND who <> 'fedq' AND EXISTS (SELECT * FROM ours))
        SELECT json_object('benchmark', $(quoted "$name"), 'group', '$group', 'headline', '$key',
            'processor', (SELECT j ->> '\$.processor' FROM raw WHERE j ->> '\$.processor' IS NOT NULL LIMIT 1),
            'processors', $(nproc),
            'kernels', (SELECT j ->> '\$.kernels' FROM raw WHERE j ->> '\$.kernels' IS NOT NULL LIMIT 1),
            'blis', (SELECT j ->> '\$.blis' FROM raw WHERE j ->> '\$.blis' IS NOT NULL LIMIT 1),
            'build', (SELECT j ->> '\$.build' FROM raw WHERE j ->> '\$.build' IS NOT NULL LIMIT 1),
            'version', (SELECT j ->> '\$.version' FROM raw WHERE j ->> '\$.version' IS NOT NULL LIMIT 1),
            'commit', '$commit', 'date', '$(date -u +%F)', 'load_average', $load,
            'peers', json($(quoted "$versions")), 'repetitions', (SELECT max(n) FROM result),
            'results', (SELECT json_group_object(who, json(figures)) FROM result),
            'times_better_than', (SELECT json_group_object(who, ratio) FROM ratio))" >>"$out/$group.json"
    tail -n 1 "$out/$group.json" >line
    db "WITH t(j) AS (SELECT CAST(readfile('$work/line') AS TEXT))
        SELECT printf('%-34s %-9s %12.5g  %10.5g .. %-10.5g %s', $(quoted "$name"), r.key,
            json_extract(r.value, '\$.$key.median'), json_extract(r.value, '\$.$key.low'),
            json_extract(r.value, '\$.$key.high'),
            coalesce('fedq ' || json_extract(t.j, '\$.times_better_than.' || r.key) || ' x', ''))
        FROM t, json_each(t.j, '\$.results') AS r ORDER BY r.key <> 'fedq', r.key"
}
begin() { # begin GROUP: a fresh file and the head of its table
    local key less
    read -r key less <<<"$(headline "$1")"
    : >"$out/$1.json"
    printf '\n%-34s %-9s %12s  %10s .. %-10s %s\n' "$1" "" "$key" lowest highest better
}

# "B1" etc. with all that it runs; a repetition is one turn of everybody.
repeat() { for ((i = 0; i < repetitions; i++)); do "$@"; done; }

# ---- local steps ----
step_turn() { # step_turn NAME ARGUMENTS...
    local name=$1
    shift
    take step "$name" fedq "$bench" step "$@" --threads 1 --seconds "$seconds" --json
    torch_peer step "$name" step.py "$@" --threads 1 --seconds "$seconds"
}
run_step() {
    local row model batch
    for row in logreg:10 lenet5:32 femnist_cnn:20 resnet20_gn:32 resnet20_bn:32; do
        model=${row%:*} batch=${row#*:}
        while read -r kind arguments; do
            # shellcheck disable=SC2086
            repeat step_turn "$model, $kind" --model "$model" --batch "$batch" $arguments
            summarize step "$model, $kind"
        done <<'ROWS'
float --robustness none
W --robustness mqat
W+A --robustness mqat --activations
ROWS
    done
}

# ---- whole simulations ----
# Time and memory are of the whole process; rounds a second are of the rounds alone.
watched() { "$bench" watch --json --limit 1800 --output inner "$@" >outer; }
simulate() { # simulate WORKERS FILE ROUNDS: fedq-sim, as JSON
    local run=(run "$here/$2" --set "data.path=$work/data" --set "train.rounds=$3" --workers "$1" --quiet --force)
    watched -- "$sim" "${run[@]}" --out run &&
        "$bench" watch --json --output first.txt -- "$sim" "${run[@]}" --set train.rounds=1 --out first-run >first &&
        sqlite3 -readonly run/run.db "
            WITH t AS (SELECT count(*) AS rounds, sum(seconds_train + seconds_close + seconds_save) AS seconds FROM round),
                 s AS (SELECT sum(n_steps) AS steps FROM client_update)
            SELECT json_patch(CAST(readfile('outer') AS TEXT), json_object('rounds', rounds, 'steps', steps,
                'train_seconds', seconds, 'rounds_per_second', rounds / seconds,
                'client_steps_per_second', steps / seconds,
                'seconds_first_round', json_extract(CAST(readfile('first') AS TEXT), '\$.wall_seconds'),
                'accuracy', (SELECT accuracy FROM evaluation WHERE weight_bits = 32 ORDER BY round DESC LIMIT 1)))
            FROM t, s"
}
outside() { # outside COMMAND...: one that prints its own figures
    watched -- "$@" && sqlite3 :memory: \
        "SELECT json_patch(CAST(readfile('outer') AS TEXT), CAST(readfile('inner') AS TEXT))"
}
simulation_turn() { # simulation_turn NAME FILE ROUNDS PEER-ARGUMENTS...
    local name=$1 file=$2 rounds=$3
    shift 3
    take simulation "$name" fedq simulate "$(nproc)" "$file" "$rounds"
    take simulation "$name" fedq_one simulate 1 "$file" "$rounds"
    if [ "$file" = b1.yaml ]; then
        take simulation "$name" loop outside "$bench" loop data --rounds "$rounds" --json
    fi
    if peer torch; then
        take simulation "$name" torch outside "$python" "$here/peers/fedavg.py" data --rounds "$rounds" "$@"
    fi
    if peer torch && peer flwr && peer ray && { [ -z "$quick" ] || [ "$file" = b1.yaml ]; }; then
        take simulation "$name" flower outside "$python" "$here/peers/flower.py" data --rounds "$rounds" "$@"
    fi
}
run_simulation() {
    local b1=100 b2=10 b3=5
    if [ -n "$quick" ]; then b1=2 b2=1 b3=1; fi
    "$bench" data data --shape 1x28x28 --classes 10 --clients 1000 --examples 60 --test-examples 10000 >/dev/null
    repeat simulation_turn B1 b1.yaml $b1 --model logreg --cohort 10 --batch 10 --rate 0.03
    summarize simulation B1
    "$bench" data data --shape 1x28x28 --classes 62 --clients 340 --examples 110 --test-examples 4000 >/dev/null
    repeat simulation_turn B2 b2.yaml $b2 --model femnist_cnn --cohort 10 --batch 20 --rate 0.1
    summarize simulation B2
    "$bench" data data --shape 3x32x32 --classes 10 --clients 1000 --examples 50 --test-examples 2000 >/dev/null
    repeat simulation_turn B3 b3.yaml $b3 --model femnist_cnn --cohort 50 --batch 10 --rate 0.1
    summarize simulation B3
}

# ---- the rest ----
run_scale() {
    local clients cohort all=(10000 100000 1000000) cohorts=(10 100 1000)
    if [ -n "$quick" ]; then all=(10000 1000000) cohorts=(100); fi
    for clients in "${all[@]}"; do
        for cohort in "${cohorts[@]}"; do
            repeat take scale "$clients clients, $cohort a round" fedq \
                "$bench" scale --clients "$clients" --cohort "$cohort" --seconds "$seconds" --json
            summarize scale "$clients clients, $cohort a round"
        done
    done
}
aggregate_turn() { # aggregate_turn NAME PARAMS BITS
    take aggregate "$1" fedq "$bench" aggregate --params "$2" --bits "$3" --seconds "$seconds" --json
    case $3 in 8 | 32) torch_peer aggregate "$1" aggregate.py --params "$2" --bits "$3" --seconds "$seconds" ;; esac
}
run_aggregate() {
    local params bits sizes=(1000000 10000000)
    if [ -n "$quick" ]; then sizes=(1000000); fi
    for params in "${sizes[@]}"; do
        for bits in 32 8 4 2; do
            repeat aggregate_turn "$params values, $bits bits" "$params" "$bits"
            summarize aggregate "$params values, $bits bits"
        done
    done
}
evaluate_turn() { # evaluate_turn MODEL EXAMPLES
    take evaluate "$1, $2 examples" fedq "$bench" evaluate --model "$1" --examples "$2" --seconds "$seconds" --json
    torch_peer evaluate "$1, $2 examples" evaluate.py --model "$1" --examples "$2" --seconds "$seconds"
}
run_evaluate() {
    local row rows=(lenet5:2000 resnet20_gn:500)
    if [ -n "$quick" ]; then rows=(lenet5:200 resnet20_gn:20); fi
    for row in "${rows[@]}"; do
        repeat evaluate_turn "${row%:*}" "${row#*:}"
        summarize evaluate "${row%:*}, ${row#*:} examples"
    done
}

began=$(date +%s)
"$bench" peak --seconds 1 --json >"$out/machine.json"
cat "$out/machine.json"
for group in "${groups[@]}"; do
    declare -F "run_$group" >/dev/null || { echo "run.sh: no group $group; try --help" >&2 && exit 2; }
    begin "$group"
    "run_$group"
done
echo
echo "$(($(date +%s) - began)) s; results in $out"

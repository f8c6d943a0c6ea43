#!/bin/bash
# The commands that the README and the documents show do work. A fenced block counts if the line before its fence
# is the comment "<!-- tested -->"; all blocks of a file run in order in one empty folder, in which the paths of the
# source folder and of the built program are what a reader has.
. "$(dirname "$0")/lib.sh"

mkdir -p build/release/sim
ln -s "$FEDQ_SIM" build/release/sim/fedq-sim
for entry in sim docs README.md; do
    [ -e "$FEDQ_SOURCE/$entry" ] && ln -s "$FEDQ_SOURCE/$entry" .
done
PATH=$(dirname "$FEDQ_SIM"):$(dirname "$FEDQ_SERVER"):$(dirname "$FEDQ_CLIENT"):$PATH

blocks=0
for document in README.md docs/*.md; do
    [ -e "$document" ] || continue
    script=$(awk '
        /^```/ && inside { inside = 0; print ":"; next }
        /^```/ && tested { inside = 1; tested = 0; next }
        /^<!-- tested -->$/ { tested = 1; next }
        { tested = 0 }
        inside { sub(/^\$ /, ""); print }' "$document")
    [ -n "$script" ] || continue
    blocks=$((blocks + $(grep -c '^:$' <<<"$script")))
    if timeout 300 bash -e -u -o pipefail -x -c "$script" >output 2>&1 </dev/null; then
        pass
    else
        fail "$document: $(tail -n 5 output)"
    fi
done
[ $blocks -gt 0 ] || skip "no document has a tested block"
echo "$blocks blocks"
finish

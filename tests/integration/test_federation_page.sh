#!/bin/bash
# The coordinator's page in headless Chromium, at desktop and phone width, while a real federation runs.
. "$(dirname "$0")/fed_lib.sh"
command -v curl >/dev/null || skip "curl is not installed"
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
    skip "no Chromium is installed"

settings_small 100000 >long.yaml
make_server fed long.yaml
make_client fed-a fed
make_client fed-b fed
for i in {1..25}; do make_client "away-$i" fed; done # registered, and not here: a table that scrolls
start_server fed
start_client fed-a 0-14
start_client fed-b 15-29
check "a round has been evaluated" wait_for 30 grep -q "event=round_closed round=5 " fed.err
page=$(sed -n 's/.*event=page url=//p' fed.err)
before=$(grep -c event=round_closed fed.err)
if FEDQ_PAGE_URL=$page bash "$here/test_page.sh" >page.log 2>&1; then pass; else fail "$(cat page.log)"; fi
check "the federation has gone on meanwhile" [ "$(grep -c event=round_closed fed.err)" -gt "$before" ]
finish

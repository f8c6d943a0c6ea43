#!/bin/bash
# The coordinator's page in headless Chromium, at desktop and phone width, over a made-up coordinator; or over
# the one at FEDQ_PAGE_URL, which has evaluated a round by now. FEDQ_LIVE_BOARD: the program that serves the made-up one.
. "$(dirname "$0")/lib.sh"
: "${FEDQ_LIVE_BOARD:?path of live_board}"
command -v curl >/dev/null || skip "curl is not installed"
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    skip "no Chromium is installed"

# browse URL WIDTH FILE: the page's document after some seconds of its own time.
browse() {
    timeout --kill-after=5 90 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
        --user-data-dir="$work/profile" --virtual-time-budget=9000 --window-size="$2",900 --dump-dom "$1" \
        >"$3" 2>"$3.log"
}
count() { grep -oE -- "$1" "$2" | wc -l; }
# least WHAT N FOUND
least() { if [ "$3" -ge "$2" ]; then pass; else fail "$1: $3, expected at least $2"; fi; }

url=${FEDQ_PAGE_URL-}
if [ -z "$url" ]; then
    mkdir run
    "$FEDQ_LIVE_BOARD" run 80 25 >board.log 2>&1 &
    undo+=("kill $! 2>/dev/null")
    for _ in {1..100}; do [ -s run/url ] && break; sleep 0.1; done
    url=$(cat run/url) || { cat board.log; exit 1; }
fi

# ---- as it is served, with its security policy: the table and the charts are there, and names are only text
browse "$url" 1280 desktop.html || fail "Chromium failed: $(tail -n 3 desktop.html.log)"
least "charts" 6 "$(count '<canvas[^>]*role="img"' desktop.html)"
least "rows of clients" 1 "$(count '<tr class="(away|joined|working|done|revoked)"' desktop.html)"
check "the round is shown" grep -qE 'id="round-text">[0-9]+ of [0-9]+ accepted|id="round-text">no round is open' desktop.html
check "the page is live" grep -qE 'id="live"[^>]*>live' desktop.html
check "nothing is lost" grep -qE 'id="lost"[^>]*hidden' desktop.html
if [ -z "${FEDQ_PAGE_URL-}" ]; then
    check "all clients are there" [ "$(count '<tr class="(away|joined|working|done|revoked)"' desktop.html)" -eq 25 ]
    check "a hostile name is text" grep -qF '&lt;img src=x onerror=' desktop.html
    check "no name became an element" bash -c '! grep -q "<img" desktop.html'
    check "no name was run" bash -c '! grep -q "<title>owned" desktop.html'
fi

# ---- in the hands of a reader, on a phone: the same page over answers that were taken from the coordinator, with
# a script that scrolls, switches a line off, lets a round close, and cuts the connection for a while.
for file in page.html: status.json:api/status run.json:api/run; do
    curl -sf "$url${file#*:}" >"${file%:*}" || fail "the coordinator does not answer for /${file#*:}"
done
cat >before.js <<'JS'
const status = STATUS, run = RUN, found = {};
let cut = false, asked = 0;
window.fetch = async path => {
  if (cut) throw new Error("cut");
  asked++;
  return new Response(path === "api/status" ? JSON.stringify(status) : JSON.stringify(run));
};
const sleep = ms => new Promise(done => setTimeout(done, ms));
const place = () => document.getElementById("runs").getBoundingClientRect().top;
const tooWide = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;
async function probe() {
  await sleep(1500);
  found.width = innerWidth;
  found.overflow = tooWide();
  const chart = Chart.getChart(document.querySelector("#by-round canvas")), box = document.querySelector("#clients .wide");
  chart.hide(1);
  document.querySelectorAll("#by-round details, #runs details").forEach(d => { d.open = true; });
  scrollTo(0, document.body.scrollHeight);
  box.scrollTo(60, 50);
  await sleep(100);
  const before = [place(), box.scrollTop, box.scrollLeft], points = chart.data.datasets[0].data.length;
  const grown = run.runs[0], next = grown.rounds.round.at(-1) + 1;
  for (const column of Object.values(grown.rounds)) column.push(column.at(-1));
  for (const series of grown.evaluation)
    for (const [key, column] of Object.entries(series)) if (Array.isArray(column)) column.push(key === "round" ? next : column.at(-1));
  grown.rounds.round[grown.rounds.round.length - 1] = next;
  status.round = next;
  await sleep(1500);
  const now = Chart.getChart(document.querySelector("#by-round canvas"));
  found.new_points = now.data.datasets[0].data.length - points;
  found.still_hidden = !now.isDatasetVisible(1) && now.isDatasetVisible(0);
  found.still_open = [...document.querySelectorAll("#by-round details, #runs details")].every(d => d.open);
  found.moved = [place(), box.scrollTop, box.scrollLeft].map((x, i) => Math.abs(x - before[i])).reduce((a, b) => Math.max(a, b));
  found.scrolled = scrollY > 0 && before[1] > 0;
  found.overflow = Math.max(found.overflow, tooWide());
  const lost = document.getElementById("lost");
  cut = true;
  await sleep(1200);
  found.lost = !lost.hidden && lost.textContent.includes("lost") && document.body.className === "lost";
  found.overflow = Math.max(found.overflow, tooWide());
  cut = false;
  await sleep(1200);
  found.found_again = lost.hidden;
  status.phase = "finished";
  await sleep(1200);
  cut = true;
  await sleep(1200);
  found.ended = !lost.hidden && lost.textContent.includes("finished") && document.body.className === "";
  parent.postMessage(Object.entries(found).map(e => e.join("=")).join(";") + ";", "*");
}
addEventListener("load", probe);
JS
# The data may hold "</script>": escaped as it would be in a page. awk, for the text of the data must not be a pattern.
sed -i 's/</\\u003c/g' status.json run.json
awk 'FNR == 1 { file++ }
     file == 1 { status = status $0 } file == 2 { run = run $0 }
     file == 3 { at = index($0, "STATUS"); if (at) $0 = "const status = " status ", run = " run ", found = {};"; script = script $0 "\n" }
     file == 4 && /http-equiv="Content-Security-Policy"/ { getline; next }
     file == 4 { print }
     file == 4 && /<head>/ { print "<script>" script "</script>" }' \
    status.json run.json before.js page.html >probe.html
for width in 390 1280; do
    # Chromium's windows have a least width; a frame does not.
    cat >frame.html <<HTML
<!doctype html><body><script>addEventListener("message", m => { document.body.dataset.found = m.data; });</script>
<iframe src="probe.html" width="$width" height="844" style="border: 0"></iframe></body>
HTML
    browse "file://$work/frame.html" 1400 "probed-$width.html" || fail "Chromium failed: $(tail -n 3 "probed-$width.html.log")"
    found=$(grep -oE 'data-found="[^"]*"' "probed-$width.html") || fail "the probe did not end: $(tail -n 3 "probed-$width.html.log")"
    for wanted in "width=$width" overflow=0 new_points=1 still_hidden=true still_open=true scrolled=true lost=true found_again=true ended=true; do
        if grep -qF "$wanted;" <<<"$found"; then pass; else fail "at $width px, expected $wanted: $found"; fi
    done
    moved=$(grep -oE 'moved=[0-9]+' <<<"$found")
    if [ "${moved#moved=}" -le 2 ] 2>/dev/null; then pass; else fail "at $width px, an update moved what was read: $found"; fi
done
finish

#!/bin/sh
# Looks at a report of build/analyse in a real browser: sh tests/report_browser.sh REPORT.html
#
# Every section is there, no id twice, nothing is fetched (the page forbids it itself; a breach would be a message on
# the console), the console is empty, and neither a desk's width nor a phone's makes the page scroll sideways. Without
# a Chromium it says so and is content. Exit codes: 1 something is wrong, 2 usage.
set -eu
[ $# -eq 1 ] && [ -f "$1" ] || { echo "usage: sh tests/report_browser.sh REPORT.html" >&2; exit 2; }
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    { echo "report_browser: skipped, there is no chromium (apt-get install chromium)"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0
complain() {
    echo "report_browser: $1: $2" >&2
    wrong=1
}

# The copy may run one script, which leaves in the title what a reader would have to scroll.
sed "s/default-src 'none'/& ; script-src 'unsafe-inline'/; s|</body>|<script>document.title = 'wide ' + \
(document.documentElement.scrollWidth - document.documentElement.clientWidth)</script></body>|" "$1" >"$work/page.html"

for width in 1200 400; do
    "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" --window-size="$width,900" \
        --enable-logging=stderr --dump-dom "file://$work/page.html" >"$work/dom" 2>"$work/log" ||
        complain "$1" "the browser failed"
    grep -q '<title>wide 0</title>' "$work/dom" ||
        complain "$1" "at $width px: $(grep -o '<title>[^<]*</title>' "$work/dom" | head -1) pixels too many"
    if grep CONSOLE "$work/log" >&2; then complain "$1" "messages on the console"; fi
done
for section in models loss activation load training divergence words stability samples; do
    grep -q "<h2 id=\"$section\">" "$work/dom" || complain "$1" "no section $section"
done
twice=$(grep -o ' id="[^"]*"' "$work/dom" | sort | uniq -d)
[ -z "$twice" ] || complain "$1" "more than once: $twice"
if grep -oE '(src|href)="[^"#][^"]*"|url\([^#)][^)]*\)|@import' "$work/dom" | grep -v '^href="data:,"$' >&2; then
    complain "$1" "refers to something outside"
fi
[ "$wrong" -eq 0 ] && echo "report_browser: $1 is in order"
exit "$wrong"

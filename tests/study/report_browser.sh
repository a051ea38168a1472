#!/bin/sh
# Looks at a report of build/analyse or build/gallery in a real browser: sh tests/study/report_browser.sh REPORT.html
#
# At the width of a phone, a small window and a desk, with everything unfolded: nothing reaches over the edge of the
# screen, nothing has to be scrolled sideways, no label of a plot is cut off, a plot is to be seen once, in letters
# that can be read; pictures come up, in their proportions, large enough. Every section is there, no id twice, nothing is fetched (the page forbids it itself; a breach would
# be a message on the console), the console is empty. Without a Chromium it says so and is content. Exit codes: 1
# something is wrong, 2 usage.
set -eu
[ $# -eq 1 ] && [ -f "$1" ] || { echo "usage: sh tests/study/report_browser.sh REPORT.html" >&2; exit 2; }
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    { echo "report_browser: skipped, there is no chromium (apt-get install chromium)"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0
complain() {
    echo "report_browser: $1: $2" >&2
    wrong=1
}

# The copy may run one script, which tells what it found: nothing, or the first few faults. It stands in frames, since
# browsers' windows have a least width.
cat >"$work/look.js" <<'SCRIPT'
const faults = [], all = s => [...document.querySelectorAll(s)], shown = e => e.getClientRects().length > 0;
const name = e => e.tagName + ' "' + e.textContent.trim().replace(/\s+/g, ' ').slice(0, 40) + '"';
const box = e => e.getBoundingClientRect(), width = document.documentElement.clientWidth;
all('details').forEach(d => d.open = true);
if (document.documentElement.scrollWidth > innerWidth) faults.push('the page is to be scrolled');
all('body *').filter(shown).forEach(e => {
    const r = box(e);
    if (r.right > width + 0.5 || r.left < -0.5) faults.push(name(e) + ' reaches from ' + r.left + ' to ' + r.right);
    if (!(e instanceof HTMLElement) || getComputedStyle(e).display === 'inline') return;
    if (e.scrollWidth > e.clientWidth + 1) faults.push(name(e) + ' is to be scrolled');
});
const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
                       Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
all('svg').filter(shown).forEach(svg => {
    const texts = [...svg.querySelectorAll('text')], boxes = texts.map(box), s = box(svg);
    const scale = s.width / svg.viewBox.baseVal.width;
    boxes.forEach((r, i) => {
        if (r.right > s.right + 0.5 || r.left < s.left - 0.5 || r.top < s.top - 0.5 || r.bottom > s.bottom + 0.5)
            faults.push(name(texts[i]) + ' is cut off');
        if (parseFloat(getComputedStyle(texts[i]).fontSize) * scale < 8) faults.push(name(texts[i]) + ' is tiny');
        boxes.slice(0, i).forEach((b, j) => {
            if (over(r, b)) faults.push(name(texts[i]) + ' is over ' + name(texts[j]));
        });
    });
});
all('figure').forEach(f => {
    const n = [...f.querySelectorAll('svg')].filter(shown).length;
    if (n !== 1) faults.push(name(f) + ' shows ' + n + ' plots');
});
all('img').forEach(i => {
    const r = box(i), size = r.width + ' x ' + r.height + ' of ' + i.naturalWidth + ' x ' + i.naturalHeight;
    if (!i.complete || i.naturalWidth === 0) faults.push(i.alt + ' does not come up');
    else if (Math.abs(r.width / r.height - i.naturalWidth / i.naturalHeight) > 0.05 || r.width < 48)
        faults.push(i.alt + ' is ' + size);
});
parent.postMessage(['looked at ' + innerWidth + ': ' + faults.length + ' faults', ...faults.slice(0, 5)].join('; '), '*');
SCRIPT
{
    sed "s/default-src 'none'/& ; script-src 'unsafe-inline'/; /<\/body>/,\$d" "$1"
    echo '<script>' && cat "$work/look.js" && echo '</script></body></html>'
} >"$work/page.html"

{
    echo '<!DOCTYPE html><meta charset="utf-8"><pre id="seen"></pre><script>'
    printf '%s\n' 'onmessage = e => seen.textContent += e.data + "\n"</script>'
    for width in 360 800 1400; do
        echo "<iframe src=\"page.html\" style=\"width:${width}px;height:900px;border:0\"></iframe>"
    done
} >"$work/frames.html"

"$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" --virtual-time-budget=10000 \
    --window-size=1600,900 --enable-logging=stderr --dump-dom "file://$work/frames.html" >"$work/dom" 2>"$work/log" ||
    complain "$1" "the browser failed"
for width in 360 800 1400; do
    grep -q "looked at $width: 0 faults$" "$work/dom" ||
        complain "$1" "at $width px: $(grep -o "looked at $width: .*" "$work/dom" || echo "the page does not come up")"
done
if grep CONSOLE "$work/log" >&2; then complain "$1" "messages on the console"; fi
sections='models loss activation load training divergence words stability samples'
if grep -q '<h2 id="gallery">' "$1"; then sections='models gallery filled retrieval choices experts spread'; fi
for section in $sections; do
    grep -q "<h2 id=\"$section\">" "$1" || complain "$1" "no section $section"
done
twice=$(grep -o ' id="[^"]*"' "$1" | sort | uniq -d)
[ -z "$twice" ] || complain "$1" "more than once: $twice"
if grep -oE '(src|href)="[^"#][^"]*"|url\([^#)][^)]*\)|@import' "$1" | grep -vE '^(href="data:,"|src="data:image/.*)$' >&2
then
    complain "$1" "refers to something outside"
fi
[ "$wrong" -eq 0 ] && echo "report_browser: $1 is in order"
exit "$wrong"

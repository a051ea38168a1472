#!/bin/sh
# make install into a directory of its own, used as its user would: programs far from the source, manual pages, completions,
# the library's example by pkg-config, its names; and make uninstall, which leaves nothing.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "install.sh: $1" >&2
    exit 1
}
has() { command -v "$1" >/dev/null; }

prefix="$work/a b" # DESTDIR may hold blanks, PREFIX may not: it stands in lists
make -s install DESTDIR="$prefix" PREFIX=/p >/dev/null
test -x "$prefix/p/bin/train" || fail "no program below DESTDIR"
grep -q '^prefix=/p$' "$prefix/p/lib/pkgconfig/mhmoe.pc" || fail "DESTDIR is in mhmoe.pc"
make -s uninstall DESTDIR="$prefix" PREFIX=/p
[ -z "$(find "$prefix" ! -type d)" ] || fail "make uninstall leaves $(find "$prefix" ! -type d)"
[ ! -e "$prefix/p/share/mhmoe" ] || fail "make uninstall leaves directories of its own"

prefix=$work/prefix
make -s install PREFIX="$prefix" >/dev/null
PATH=$prefix/bin:$PATH
export PATH PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib" XDG_CACHE_HOME="$work/cache" OMP_NUM_THREADS=2

# Far from any source; the cache is the user's.
mkdir "$work/home"
for i in $(seq 400); do echo "line $i of a text of $((i * i)) words"; done >"$work/home/text.txt"
(cd "$work/home" && train text.txt --vocab 300 --steps 20 --layers 2 --channels 32 --attn-heads 2 --seq 64 >out 2>&1) ||
    fail "train: $(cat "$work/home/out")"
[ -d "$work/cache/mhmoe/cache" ] && [ ! -e "$work/home/data" ] || fail "the cache is not in XDG_CACHE_HOME"

# Manual pages: no warning, and every option of --help.
for page in man1/train.1 man1/sample.1 man5/mhmoe-formats.5; do
    file=$prefix/share/man/$page
    if has groff; then
        groff -ww -man -Tutf8 "$file" 2>"$work/warnings" >/dev/null
        [ ! -s "$work/warnings" ] || fail "$page: $(cat "$work/warnings")"
    fi
    ! has mandoc || mandoc -T lint -W warning "$file" || fail "$page"
done
for program in train sample; do
    page=$prefix/share/man/man1/$program.1
    for option in $($program --help | sed -nE 's/^ +(-., )?--(\[no-\])?([a-z0-9-]+).*/\3/p'); do
        name=$(echo "$option" | sed 's/-/\\\\-/g')
        grep -q "^[^ ]*fB.*$name.fR" "$page" || fail "$program.1 does not tell of --$option"
        for shell in bash-completion/completions/$program zsh/site-functions/_$program fish/vendor_completions.d/$program.fish; do
            grep -q -e "-$option" -e "-l $option " "$prefix/share/$shell" || fail "$shell does not complete --$option"
        done
    done
    bash -n "$prefix/share/bash-completion/completions/$program"
    ! has zsh || zsh -n "$prefix/share/zsh/site-functions/_$program"
    ! has fish || fish -n "$prefix/share/fish/vendor_completions.d/$program.fish"
done

# The library: its example, with the shared and the static one, says the same as ./sample; it shows its header's names.
example=$prefix/share/doc/mhmoe/examples/score.c
flags=$(pkg-config --cflags --libs mhmoe)
${CC:-cc} -Wall -Wextra -Werror -o "$work/score" "$example" $flags
"$work/score" "$work/home/runs/text" "line 7" >"$work/answer"
static=$(pkg-config --static --libs mhmoe | sed "s|-lmhmoe|$prefix/lib/libmhmoe.a|")
${CC:-cc} -o "$work/score-static" "$example" $(pkg-config --cflags mhmoe) $static
"$work/score-static" "$work/home/runs/text" "line 7" | cmp - "$work/answer" || fail "libmhmoe.a and libmhmoe.so differ"
want=$(printf 'line 7' | sample --model "$work/home/runs/text" --score - | sed -n 's/^log-likelihood *\([^ ]*\) .*/\1/p')
grep -qxF -- "log-likelihood $want" "$work/answer" || fail "the example: $(cat "$work/answer"); ./sample: $want"
grep -oE 'mhmoe_[a-z_]+\(' "$prefix/include/libmhmoe.h" | tr -d '(' | sort -u >"$work/names"
nm -D --defined-only "$prefix/lib/libmhmoe.so" | awk '{print $3}' | sort | diff "$work/names" - ||
    fail "libmhmoe.so does not show the header's names"
nm -g --defined-only "$prefix/lib/libmhmoe.a" | awk '$2 ~ /[TDBRC]/ {print $3}' | sort | diff "$work/names" - ||
    fail "libmhmoe.a does not show the header's names"
readelf -d "$prefix/lib/libmhmoe.so" | grep -q 'SONAME.*\[libmhmoe\.so\.1\]' || fail "no soname"
echo "install.sh: all is well"

#!/bin/sh
# The Debian package: built without the suite (it has run), installed, used, removed. Needs root, or sudo.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "package.sh: $1" >&2
    exit 1
}
root=
[ "$(id -u)" -eq 0 ] || root=sudo
version=$(sed -n 's/^#define OPTIONS_VERSION "\([^"]*\)".*/\1/p' src/run/options.h)
head -1 debian/changelog | grep -qF "mhmoe ($version)" || fail "debian/changelog is of another version than $version"

# A copy: a package's files go beside its source.
mkdir "$work/mhmoe"
git ls-files -co --exclude-standard | tar -cf - -T - | tar -xf - -C "$work/mhmoe"
(cd "$work/mhmoe" && DEB_BUILD_OPTIONS="nocheck parallel=2" dpkg-buildpackage -b -us -uc) >"$work/log" 2>&1 ||
    fail "$(tail -30 "$work/log")"
$root dpkg -i "$work"/mhmoe_*.deb "$work"/libmhmoe1_*.deb "$work"/libmhmoe-dev_*.deb >"$work/log" 2>&1 ||
    fail "$(cat "$work/log")"
AUTOPKGTEST_TMP=$work sh debian/tests/library

# The program that runs is the one for this processor.
if [ "$(uname -m)" = x86_64 ]; then
    for level in x86-64 x86-64-v3 x86-64-v4; do
        [ "$level" = x86-64 ] || /lib64/ld-linux-x86-64.so.2 --help | grep -q "$level (supported" || continue
        found=/usr/libexec/mhmoe/$level/train
    done
    cd "$work"
    sleep 3 | /usr/bin/train - --vocab 300 --dry-run >/dev/null 2>&1 & # it waits for its text
    sleep 1
    running=$(readlink "/proc/$!/exe")
    wait || :
    [ "$running" = "$found" ] || fail "$running runs, want $found"
fi
$root dpkg -P mhmoe libmhmoe-dev libmhmoe1 >/dev/null
[ ! -e /usr/libexec/mhmoe ] && [ ! -e /usr/bin/train ] || fail "the packages leave files behind"
echo "package.sh: all is well"

#!/bin/sh
# Installs through apt what the build needs and is not there yet; a second run does nothing.
# sh setup.sh [--ci]     --ci: also what .ci/run needs (a second compiler, what packages and reads manuals)
set -eu

packages="gcc g++ make libsentencepiece-dev libpcre2-dev libjansson-dev zlib1g-dev libpng-dev libxml2-dev libedit-dev
libcmocka-dev"
case "${1-}" in
    '') ;;
    --ci)
        packages="$packages clang libomp-dev debhelper dpkg-dev fakeroot pkgconf groff mandoc zsh fish"
        command -v npm >/dev/null || packages="$packages nodejs npm" # others' nodejs brings npm along
        ;;
    *) echo "setup.sh: unknown argument '$1' (want --ci or nothing)" >&2; exit 2 ;;
esac

# Where there is no apt, or no right to use it, the user has to do it.
give_up() {
    echo "setup.sh: $1. Please install these yourself, then go on with make:" >&2
    echo "  $2" >&2
    exit 1
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    give_up "this system has no apt" \
        "a C and C++ compiler with OpenMP, make, and the headers of sentencepiece, pcre2, jansson, zlib, libpng, libxml2, \
libedit and cmocka"
fi

missing=
for package in $packages; do
    case "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true)" in
        ?i*) ;;
        *) missing="$missing $package" ;;
    esac
done
if [ -z "$missing" ]; then
    echo "setup.sh: everything is installed"
    exit 0
fi

root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || give_up "not root, and there is no sudo" "apt-get install$missing"
    root=sudo
fi
echo "setup.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$root apt-get update -q || give_up "apt-get update failed" "apt-get install$missing"
$root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing ||
    give_up "apt-get install failed" "apt-get install$missing"
echo "setup.sh: done"

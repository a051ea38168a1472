#!/bin/sh
# Fetches a corpus: sh data/corpus.sh NAME leaves it in data/corpora/NAME/, one text file a work.
#
# The text comes out of a Debian package, through apt-get download and dpkg-deb -x: no root, nothing is
# installed. It is verified against the checksums below before it gets its place, so what is there is whole,
# and a second call has nothing to do. README.md here tells the licences. Exit codes: 2 usage, 3 no input.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "corpus.sh: $2" >&2
    exit "$1"
}

extract_austen() {
    make -s "${BUILD:-build}/austen" || fail 3 "cannot build ${BUILD:-build}/austen, which unpacks this corpus"
    "${BUILD:-build}/austen" "$1/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb" "$2"
}

extract_gcide() {
    gzip -dc <"$1/usr/share/dictd/gcide.dict.dz" >"$2/gcide.txt"
}

# Not a text to train on: the index of WordNet, from which build/analyse takes how many senses a word has.
extract_wordnet() {
    cp "$1"/usr/share/wordnet/index.* "$2"
}

# The table. To add a corpus: its case here, and above extract_NAME UNPACKED-PACKAGE TARGET.
name=${1-}
case $name in
austen)
    package=r-cran-janeaustenr
    checksums="7c67b5985c6d0de1efaeb5d342d52cb82c38083c40e2295129e30e87ee690ebe  emma.txt
98bc90519cdf4ef663ad7de2734bb529435ef24f7abbde6bb1a50898871dafe9  mansfield-park.txt
51f91bbe0517db8e65cff009b097ce0a1836124c4e0532ac19e6c0cad982abed  northanger-abbey.txt
8061549557aebd2fd6e353d18d9197cb707029112bd52d4d8b174583a925848a  persuasion.txt
dfc684d4f857fa938268f9ab9c5567b64bd0691251eca959644adeabe6287a4d  pride-and-prejudice.txt
105e1651fe93bed7130078578efd31e0c557d68667ba672ddc876f735b30fe09  sense-and-sensibility.txt"
    ;;
gcide)
    package=dict-gcide
    checksums="802beb667e1fb666203e750f1faea60d5c202ac5430c2083c4180494609f10a7  gcide.txt"
    ;;
wordnet)
    package=wordnet-base
    checksums="a490d99d93d017bf4822fe2f0ffa51fd73911ce271dc7535fade21f8814b5a04  index.noun
e2ac24816c3a8289dcb72aaa9cf8db81fdf25ec34d792bfc96ac5b7a20c8b4ae  index.verb
c9865d7b4d1f805bdef82ccdcea5282436e23083e6f6f1b33e716327c4eda810  index.adj
6f5465ed5758fe9c8a2f7ec17b1300f3aa875756c70ff7cba162f7e71bcf88ea  index.adv"
    ;;
*) fail 2 "usage: sh data/corpus.sh NAME, where NAME is one of: austen gcide wordnet" ;;
esac
target=data/corpora/$name
if [ -d "$target" ]; then exit 0; fi
mkdir -p data/corpora
work=$(mktemp -d "data/corpora/.$name.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/package" "$work/text"

(cd "$work" && apt-get download "$package" && dpkg-deb -x "$package"_*.deb package) >"$work/log" 2>&1 ||
    fail 3 "cannot fetch the package $package with apt-get download; is there a network? try apt-get update"
"extract_$name" "$work/package" "$work/text" || fail 3 "cannot unpack the package $package"
echo "$checksums" >"$work/sums"
(cd "$work/text" && sha256sum --quiet --check ../sums) >&2 ||
    fail 3 "the text in this version of $package is not the one known here; nothing was kept"
mv -T "$work/text" "$target" || [ -d "$target" ]

#!/bin/sh
# Makes questions with choices for ./sample --evaluate, on standard output: sh data/questions.sh SET [OPTION]... [FROM],
# as in
#
#   sh data/questions.sh gloss >gloss.jsonl                          which gloss of WordNet fits the word
#   sh data/questions.sh example --text corpus.txt >example.jsonl    which word fits an example of WordNet
#   sh data/questions.sh last-word held-out.txt >last.jsonl          a last word that occurred before
#   sh data/questions.sh language DIR >language.jsonl                in which language (DIR/NAME/*.txt) a line is
#
# questions.c makes them; build/questions --help lists the options. WordNet is fetched where it is wanted and not there.
set -eu
home=$(cd "$(dirname "$0")" && pwd)
case $home in
*/share/mhmoe) # installed
    questions=${home%/share/mhmoe}/libexec/mhmoe/questions
    wordnet() { sh "$home/corpus.sh" wordnet; }
    ;;
*)
    home=${home%/data}
    build=$(cd "$home" && realpath -m "${BUILD:-build}")
    questions=$build/questions
    make -s -C "$home" BUILD="$build" "$questions" >&2
    wordnet() { sh "$home/data/corpus.sh" wordnet >&2 && echo "$home/data/corpora/wordnet"; }
    ;;
esac
case ${1-} in
gloss | example)
    case " $* " in
    *" --wordnet"*) ;;
    *)
        found=$(wordnet)
        set -- "$@" --wordnet "$found"
        ;;
    esac
    ;;
esac
exec "$questions" "$@"

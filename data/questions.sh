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
home=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$home" && realpath -m "${BUILD:-build}")
make -s -C "$home" BUILD="$build" "$build/questions" >&2
case ${1-} in
gloss | example)
    case " $* " in
    *" --wordnet"*) ;;
    *)
        sh "$home/data/corpus.sh" wordnet
        set -- "$@" --wordnet "$home/data/corpora/wordnet"
        ;;
    esac
    ;;
esac
exec "$build/questions" "$@"

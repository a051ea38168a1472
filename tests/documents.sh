#!/usr/bin/env bash
# Every command of the documents works: each is run, with a small text and few steps, or stands below, in `long`, with
# what runs it instead; and every option that is named exists. A command that does neither fails here, by its text.
#
#   commands    lines of indented and fenced blocks; of numbered paths what is in backquotes and more than a word
#   mentions    what else is in backquotes: of these only the options, targets and scripts are checked
#
# BUILD=build, where the programs are.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build} source=$PWD work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset BUILD MAKEFLAGS MFLAGS # there it is called build
documents="README.md data/README.md docs/MHMOE.md docs/RESULTS.md docs/SPEED.md install/README.md"

# Blocks that are no commands, by their first lines. (Blocks of MHMOE.md are equations, but for lines with a program.)
outputs='training a tokenizer of 4096 pieces
d/captions.tsv    cats/1.png	a cat on a chair'

# Not run here: what runs it | its text.
long=$(cat <<'END'
.ci/run          | sh setup.sh --ci
.ci/run          | sh setup.sh && make test
.ci/run          | sh setup.sh --ci && make test
.ci/run          | sh setup.sh && make -j2
.ci/run          | make test TESTS="layer model"
.ci/run          | make test TESTS="gemm layer"
.ci/run          | .ci/run
.ci/run          | make check-documents
.ci/run          | make check-readers
make test        | sh tests/layout.sh
tests/install.sh | make install
tests/install.sh | make install PREFIX="$HOME/.local"
tests/install.sh | make install PREFIX=/usr DESTDIR=/tmp/stage
tests/install.sh | make uninstall
tests/install.sh | cc -o score library/score.c $(pkg-config --cflags --libs mhmoe)
tests/install.sh | ./score runs/my "It is a truth universally acknowledged"
tests/package.sh | make install LEVELS="x86-64-v3 x86-64-v4"
tests/package.sh | dpkg-buildpackage -b -us -uc
make demo        | make demo
make demo        | sh setup.sh && make demo
make demo-images | make demo-images
make bench       | make bench
make bench-torch | python3 tests/bench/torch_bench.py dense --bf16 --compile --threads 16 --rounds 2 --steps 4
make bench-torch | python3 tests/bench/torch_bench.py 8 32 128 --bf16 --threads 16 --rounds 1 --steps 3
WordNet, fetched | sh data/corpus.sh wordnet
WordNet, fetched | sh data/questions.sh gloss --text my.txt >gloss.jsonl
WordNet, fetched | sh data/questions.sh gloss --count 2000 --text data/corpora/gcide/gcide.txt >gloss.jsonl
WordNet, fetched | sh data/questions.sh example --count 2000 --text data/corpora/gcide/gcide.txt >example.jsonl
make compare     | build/analyse runs/languages/smoe-lr0.002-seed1-steps1600 runs/languages/mhmoe-h2-lr0.004-seed1-steps1600 --windows 680 --out runs/experts
make compare     | build/analyse runs/many/smoe-lr0.004-seed1-steps* runs/many/mhmoe-h2-lr0.004-seed1-steps* --out runs/experts
make compare     | make compare
END
)

# What is written for hours, in seconds. Where an option is given twice the last one holds: see shorten.
few='s/--minutes [0-9]+/--minutes 0.05/
s/--steps [0-9]+/--steps 5/
s/--until [0-9]+/--until 3/
s/--batch [0-9]+/--batch 2/
s/--vocab [0-9]+/--vocab 300/
s/--tokens [0-9]+/--tokens 5/
s/--(pictures|windows) [0-9]+/--\1 5/
s/--task masked/& --codes 16/
s/--preset base/& --layers 2 --channels 32 --attn-heads 2/
s/--layers 12 --channels 768/--layers 4 --channels 96/
s/^build\/analyse .*/& --windows 2/
s/^make compare ARGS="(.*)"$/build\/compare \1 --print-config/
/^build\/gallery/s/ (early|late)/ photos-\1/g
s/^\.\/sample (--score|--evaluate)/.\/sample --model runs\/my \1/'

# shorten COMMAND: with these, and what keeps a new model small.
shorten() {
    local short
    short=$(sed -E "$few" <<<"$1")
    case $1 in
        *--dry-run* | *--print-config* | *--plot* | 'make compare'* | *--resume* | *'&&'*) ;;
        *./train*)
            short="$short --batch 2 --eval-windows 2 --final-windows 2 --sample-tokens 2"
            case $1 in *--minutes*) ;; *) short="$short --steps 3" ;; esac
            case $1 in *--from*) ;; *--task*) ;; *) short="$short --vocab 300 --seq 32" ;; esac
            ;;
    esac
    echo "$short"
}

# extract FILE: its commands and mentions, one a line, behind "command" or "mention" and a tab.
extract() {
    OUTPUTS=$outputs awk -v equations="$(case $1 in *MHMOE.md) echo 1 ;; esac)" '
        BEGIN { n = split(ENVIRON["OUTPUTS"], lines, "\n"); for (i = 1; i <= n; i++) output[lines[i]] = 1 }
        function take(kind, text) { gsub(/  +/, " ", text); sub(/ $/, "", text); if (text != "") print kind "\t" text }
        function spans(    i, n, part) { # of a paragraph, or of an item of a list
            n = split(prose, part, "`")
            for (i = 2; i <= n; i += 2)
                take(prose ~ /^[0-9]+\. / && part[i] ~ /^[^-].* |^\.ci/ ? "command" : "mention", part[i])
            prose = ""
        }
        /^```/ { spans(); fence = !fence; within = 0; next }
        fence || /^    / {
            if (!within) { spans(); is_output = ($0 in output) || (substr($0, 5) in output) }
            within = 1
            sub(/^    /, ""); sub(/  +# .*$/, ""); held = held $0
            if (sub(/\\$/, " ", held)) next
            if (!is_output && (!equations || held ~ /^(\.\/|build\/|make|sh )/)) take("command", held)
            held = ""
            next
        }
        { within = 0 }
        /^$/ || /^([0-9]+\.|\*) / || /^\|/ { spans() }
        { prose = prose (prose == "" ? "" : " ") $0 }
        END { spans() }' "$1"
}

failures=0
tell() { # WHERE COMMAND WHAT
    echo "$1: \`$2\`: $3" >&2
    failures=$((failures + 1))
}

# options_of PROGRAM: all that it has, one a line.
options_of() {
    case $1 in
        setup.sh) grep -oE -- '--[a-z]+' setup.sh ;;
        bench | torch_bench.py) grep -oE -- '"--[a-z0-9-]+' tests/bench/"${1/#bench/bench.c}" | tr -d '"' ;;
        *) "$build/$1" --help | sed -nE 's/^ +(-., )?(--[][a-z0-9-]+).*/\2/p' |
            sed -E 's/(--)\[no-\](.*)/\1\2\n\1no-\2/' ;;
    esac
}
programs="train sample analyse compare gallery questions bench torch_bench.py setup.sh"

# options_check WHERE COMMAND: what looks like an option is one of the programs it names, or if it names none of any.
options_check() {
    local option named
    case $2 in *--*) ;; *) return 0 ;; esac
    named=$(grep -oE "\\b(${programs// /|})\\b" <<<"${2//make compare/compare train}" | sort -u) || named=$programs
    for option in $(grep -oE "(^|[ \"'])--[a-z][a-z0-9-]*" <<<"${2//--\[no-\]/--no-}" | tr -d " \"'"); do
        case $option in --cflags | --libs | --wrap | --logdir) continue ;; esac # of pkg-config, ld, tensorboard
        (cd "$work/options" && grep -qxF -e "$option" -- $named) || tell "$1" "$2" "there is no $option"
    done
}

# try WHERE COMMAND SHORT: runs SHORT.
try() {
    local dir
    dir=$(sed -nE 's/.*\.\/train .*--out (runs\/[^ ]*).*/\1/p' <<<"$3")
    [ -z "$dir" ] || rm -rf "$work/place/$dir" # another document's
    (cd "$work/place" && timeout 300 bash -o pipefail -c "$3" <lines.txt >"$work/said" 2>&1) ||
        tell "$1" "$2" "as \`$3\` it fails with $? and $(tail -n 2 "$work/said")"
}

# target_check WHERE TEXT: a target or a script that is named is there.
target_check() {
    local name=${2#* }
    name=${name%% *}
    case $2 in
        make\ -*) ;;
        make\ *) grep -qxF -e "$name" "$work/targets" || tell "$1" "$2" "there is no target $name" ;;
        sh\ *) [ -f "$name" ] || tell "$1" "$2" "there is no $name" ;;
    esac
    case $2 in *TESTS=\"*) ;; *) return 0 ;; esac
    for name in $(sed 's/.*TESTS="\([^"]*\)".*/\1/' <<<"$2"); do
        [ -f tests/test_$name.c ] || tell "$1" "$2" "there is no test $name"
    done
}

# command_check WHERE COMMAND
command_check() {
    if ! sed 's/^[^|]*| //' <<<"$long" | grep -qxF -e "$2"; then
        case $2 in [A-Z]*=\"*) eval "export $2" ;; *) try "$1" "$2" "$(shorten "$2")" ;; esac
        run=$((run + 1))
        return
    fi
    listed=$((listed + 1))
    echo "$2" >>"$work/found"
    case $2 in build/*) try "$1" "$2" "$2 --print-config" ;; esac
}

# The place where they are run: this source, the corpora's directories, and files of the names that documents use.
place_make() {
    local i name place=$work/place
    mkdir -p "$work/options" "$place/data/corpora"
    for name in "$source"/*; do
        case ${name##*/} in data | runs | build) ;; *) ln -s "$name" "$place/" ;; esac
    done
    for name in "$source"/data/*.*; do ln -s "$name" "$place/data/"; done
    cd "$place"
    ln -s "$source/$build" build
    texts_make
    gzip -c other.txt >more.txt.gz
    mkdir -p corpus languages/{de,en} photos data/corpora/{austen,gcide,multilingual/ja,udhr/{de,en},emoji,stamps}
    for name in corpus languages/{de,en} data/corpora/{austen,multilingual/ja,udhr/en}; do cp my.txt $name/; done
    tr a-y b-z <my.txt >data/corpora/udhr/de/my.txt
    cp my.txt data/corpora/gcide/gcide.txt
    picture_print >cat.png
    for i in $(seq 120); do
        cp cat.png photos/$i.png
        printf '%s.png\ta picture, the number %s\ten\n' $i $i >>photos/captions.tsv
    done
    cp photos/* data/corpora/emoji/
    echo '{"ctx": "Line 3 of", "endings": ["a text", "the year"], "label": 0}' >hellaswag_val.jsonl
    echo '{"goal": "to go on", "sol1": "a line", "sol2": "a word"}' >valid.jsonl
    echo 1 >valid-labels.lst
    make -s train sample build/{train,sample,analyse,compare,gallery,questions,bench,lesson}
    make -npq none 2>/dev/null | sed -nE 's/^([a-z-]+):.*/\1/p' >"$work/targets" || true
    for name in $programs; do (cd "$source" && options_of "$name") >"$work/options/$name"; done
    bash -e -c "$(declare -f models_make); models_make" >"$work/said" 2>&1 || { cat "$work/said" >&2 && exit 1; }
}

# Texts in which a few words come back, and every line is another.
texts_make() {
    local i name words=(kitten puppy chicken falcon badger rabbit donkey ferret)
    for i in $(seq 600); do
        set -- ${words[i % 8]} ${words[(i + i / 8) % 8]} ${words[i / 3 % 8]}
        echo "On day $i the $1 met the $2 near the house, and the $3 with its $((i % 7)) young ones followed the $1."
    done >my.txt
    for name in other big one val english german; do sed "s/house/$name/" my.txt >$name.txt; done
    head -n 60 my.txt >chapter.txt
    head -n 3 my.txt | tee beginnings.txt >lines.txt
}

# A PNG of 64 x 64 pixels: 64 squares, each of another grey.
picture_print() {
    base64 -d <<<"iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAxUlEQVR42u3SEVeDcRyG4fd0BoNgMBgMBkEQDIJgEAyCYBAMBoMgCAbBIBgMgi\
AYDAZBMBgEQRAMBsFgMBgEQTAYBEEwmFzfIOn8z+/6AA/c58kycuTZp0CREmX2sj+Kgf8wkFU44JAjqhxzQo2ImMYPTqlzxjkNLmjSIiKm8YM2\
l1xxTYcbutwSEdP4QY8+d9zzwIAhIyJiGj945IkxE5554ZU3ImIaP5gy4505C5as+CAipvGDT75Ys+GbH37ZEhGTGNgBnXn8cU0S7ugAAAAASU\
VORK5CYII="
}

# Models that documents have at hand.
models_make() {
    local new="--vocab 300 --seq 32 --batch 2 --steps 2 --save-every 1 --keep 2 --eval-windows 2 --final-windows 2"
    ./train data/corpora/austen $new --out runs/austen
    ./train data/corpora/austen $new --ffn smoe --out runs/smoe
    ./train data/corpora/austen $new --out runs/mhmoe
    ./train data/corpora/emoji --task masked --codes 16 --batch 2 --steps 2 --save-every 1 --keep 2 --out runs/emoji
    ./train my.txt $new --block gpt2 --ffn dense --out runs/of-gpt2
    ./sample --model runs/of-gpt2 --export hf --out gpt2
    cp runs/mhmoe/step-00000001.safetensors early.safetensors
    cp runs/mhmoe/step-00000002.safetensors late.safetensors
    cp runs/emoji/step-00000001.safetensors photos-early.safetensors
    for i in photos-late step1500 step5000; do cp runs/emoji/step-00000002.safetensors $i.safetensors; done
}

run=0 listed=0
# Waiting threads sleep: spinning, a step takes ten times as long where another program has one of two processors.
export OMP_NUM_THREADS="${OMP_NUM_THREADS-2}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY-passive}" HOME="$work"
(place_make)
touch "$work/found"
for document in $documents; do
    while IFS=$'\t' read -r kind text <&3; do
        options_check "$document" "$text"
        target_check "$document" "$text"
        [ "$kind" = mention ] || command_check "$document" "$text"
    done 3< <(extract "$document")
done
while read -r text; do
    grep -qxF -e "$text" "$work/found" || tell tests/documents.sh "$text" "it is listed, and in no document"
done < <(sed 's/^[^|]*| //' <<<"$long")
[ "$failures" -eq 0 ] || exit 1
echo "documents.sh: all is well: $run commands run, $listed listed"

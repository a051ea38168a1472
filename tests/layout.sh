#!/bin/sh
# The include rule: programs -> mhmoe, data, tokenizer -> src -> libc, and no file longer than one sitting
# of reading. Prints every line that breaks it. Exit status 1 if there is one.
cd "$(dirname "$0")/.." || exit 1
broken=0

# forbid WHY PATTERN FILE...: no #include in the files may match.
forbid() {
    why=$1 pattern="^[[:space:]]*#[[:space:]]*include[[:space:]]*($2)"
    shift 2
    for file; do
        [ -f "$file" ] || continue
        if grep -nE "$pattern" "$file" | sed "s|^|$file:|; s|\$|   <- $why|" | grep .; then broken=1; fi
    done
}

# Every source file but the tests and those named.
others() {
    for file in *.c *.h src/*.[ch] data/*.[ch] tokenizer/*.[ch] tokenizer/*.cc; do
        case " $* " in *" $file "*) ;; *) echo "$file" ;; esac
    done
}

forbid "src/ stands on libc alone" '"(.*/|mhmoe)|<mhmoe' src/*.[ch]
forbid "tokenizer/ knows only src/" '".*(mhmoe\.h|data/)' tokenizer/*.h tokenizer/*.cc
forbid "data/ knows only tokenizer/ and src/" '".*mhmoe\.h' data/*.[ch]
forbid "the model knows only src/" '"(\.\./)?(data|tokenizer)/' mhmoe.[ch]
forbid "compression is for checkpoints and shards" '<zlib' \
    $(others src/checkpoint.c data/shard.c data/prepare.c data/austen.c)
forbid "SentencePiece is behind tokenizer.h" '[<"].*sentencepiece' $(others tokenizer/spm.cc)

for file in $(others) tests/*.[ch]; do
    [ -f "$file" ] || continue
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 900 ]; then
        echo "$file:901:   <- $((lines)) lines (want at most 900): split it by meaning"
        broken=1
    fi
done
exit $broken

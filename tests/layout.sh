#!/bin/sh
# What stands where: programs (trainer/ is part of ./train) -> mhmoe, data, tokenizer -> src/run -> src/layers ->
# src/math -> src/base -> libc; no file longer than one sitting of reading, no function longer than a screen or two, none
# with more than 7 parameters; one dialect (.clang-format tells it to editors). Prints every line that breaks this. Exit
# status 1 if there is one.
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
    for file in *.c *.h trainer/*.[ch] src/*.[ch] src/*/*.[ch] data/*.[ch] tokenizer/*.[ch] tokenizer/*.cc \
        foreign/*.[ch] library/*.[ch] install/*.c docs/*.c; do
        [ -f "$file" ] || continue
        case " $* " in *" $file "*) ;; *) echo "$file" ;; esac
    done
}

forbid "src/base stands on libc alone" '".*/|[<"]mhmoe' src/base/*.[ch]
forbid "src/math knows only src/base" '"(.*/)?(mhmoe|data/|tokenizer/|tests/|\.\./layers/|\.\./run/|\.\./\.\./)' src/math/*.[ch]
forbid "src/layers knows only src/math and src/base" '"(.*/)?(mhmoe|data/|tokenizer/|tests/|\.\./run/|\.\./\.\./)' \
    src/layers/*.[ch]
forbid "src/run knows only the rest of src/" '"(.*/)?(mhmoe|data/|tokenizer/|tests/|\.\./\.\./)' src/run/*.[ch]
forbid "tokenizer/ knows only src/" '".*(mhmoe\.h|data/)' tokenizer/*.[ch] tokenizer/*.cc
forbid "data/ knows only tokenizer/ and src/" '".*mhmoe\.h' data/*.[ch]
forbid "the model knows only src/" '"(\.\./)?(data|tokenizer)/' mhmoe.[ch]
forbid "foreign/ knows the model, tokenizer/ and src/" '"(.*/)?(data|library)/' foreign/*.[ch]
forbid "PCRE2 is behind byte_level.h" '<pcre2' $(others tokenizer/byte_level.c)
forbid "trainer/ is part of ./train alone" '"(.*/)?trainer/' $(others train.c) tests/*.[ch] tests/*/*.[ch]
forbid "the library is for other programs" '"(.*/)?library/' $(others) tests/study/*.[ch]
forbid "programs and parts do without the tests" '".*tests/' $(others)
forbid "compression is for checkpoints and files of blocks" '<zlib' \
    $(others src/run/checkpoint.c data/blocks.c data/inputs.c data/encoding.c data/austen.c)
forbid "libpng is behind pictures.h" '<png' $(others data/pictures.c)
forbid "libedit is behind lines.h" '<histedit' $(others src/run/lines.c)
forbid "SentencePiece is behind tokenizer.h" '[<"].*sentencepiece' $(others tokenizer/spm.cc)

for file in src/*.[ch]; do
    [ -f "$file" ] || continue
    echo "$file:1:   <- belongs into a folder of src/"
    broken=1
done

for file in $(others) tests/*.[ch] tests/*/*.[ch]; do
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 900 ]; then
        echo "$file:901:   <- $((lines)) lines (want at most 900): split it by meaning"
        broken=1
    fi
done

# lengths FILE...: functions of more than 60 lines, or of more than 7 parameters. A function begins with an unindented
# line that holds a parenthesis and ends with an unindented brace.
lengths() {
    awk '
        function tell(why) { printf "%s:%d:   <- %s\n", FILENAME, first, why; bad = 1 }
        function parameters(head,    i, c, depth, n) {
            gsub(/__attribute__\(\(([^()]|\([^()]*\))*\)\) */, "", head)
            n = 1
            for (i = index(head, "("); i <= length(head); i++) {
                c = substr(head, i, 1)
                if (c == "(") depth++
                if (c == ")" && --depth == 0) break
                if (c == "," && depth == 1) n++
            }
            return n
        }
        FNR == 1 { first = 0 }
        !first && /^[A-Za-z_].*\(/ && !/^(typedef|struct [a-z_]+ \{)/ { first = FNR; head = ""; body = 0 }
        first && !body {
            head = head $0
            if (/;[ ]*(\/\*.*\*\/)?$/) first = 0
            else if (/\{[ ]*(\/\*.*\*\/)?$/ || /\}$/) body = FNR
            if (body && parameters(head) > 7) tell(parameters(head) " parameters (want at most 7)")
            if (body && /\}$/) first = 0
        }
        first && /^\}/ {
            if (FNR - first + 1 > 60) tell(FNR - first + 1 " lines (want at most 60): split it by meaning")
            first = 0
        }
        END { exit bad }' "$@" || broken=1
}
lengths $(others tokenizer/spm.cc) tests/*.[ch] tests/*/*.[ch]

# dialect FILE...: lines of at most 120 columns (bytes, since awks differ), no tabs, no blanks at their ends, no braces
# round one line.
dialect() {
    awk '
        function tell(line, why) { printf "%s:%d:   <- %s\n", FILENAME, line, why; bad = 1 }
        FNR == 1 { braces = 0; first = second = "" }
        braces && !/^ *else/ { tell(FNR - 3, "braces round one line") }
        { braces = 0 }
        length($0) > 120 { tell(FNR, length($0) " columns (want at most 120)") }
        /\t/ { tell(FNR, "a tab") }
        / $/ { tell(FNR, "a blank at the end") }
        /^ +}$/ && first ~ /^ *(if|for|while) .* {$/ && second ~ /;$/ {
            indent = length($0) - 1
            braces = match(first, /[^ ]/) - 1 == indent && match(second, /[^ ]/) - 1 == indent + 4
        }
        { first = second; second = $0 }
        END { exit bad }' "$@" || broken=1
}
dialect $(others) tests/*.[ch] tests/*/*.[ch]
exit $broken

#!/bin/sh
# Runs test programs from the repository's root, TEST_JOBS of them (2) at a time; fails if any of them failed.
# Each prints cmocka's own account, when it is done; the last line here is the sum of them.
# Waiting threads sleep: where there are more threads than processors, spinning would take minutes.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY-passive}"

# LLVM's OpenMP leaves a file for each process that is killed, and a later process of the same number reads it: it dies
# of SIGBUS where the file is empty, as it is where that one might write no files. So those of the dead are removed.
sweep() {
    for file in /dev/shm/__KMP_REGISTERED_LIB_*_*; do
        process=${file##*LIB_}
        [ ! -e "$file" ] || kill -0 "${process%_*}" 2>/dev/null || rm -f "$file"
    done
}

# One program: run.sh --one DIR PROGRAM. One that hangs has failed, and keeps nothing else from being run.
if [ "$1" = --one ]; then
    sweep
    limit=
    if command -v timeout >/dev/null; then limit='timeout --foreground -k 10 1200'; fi
    account="$2/$(basename "$3")"
    if $limit "./$3" >"$account" 2>&1; then
        echo >>"$2/.passed"
    else
        echo "FAILED: $3" | tee -a "$2/.failed" >>"$account"
    fi
    cat "$account"
    exit 0
fi

[ "$#" -gt 0 ] || { echo "no test program is named" >&2; exit 1; }
accounts=$(mktemp -d) || exit 1
trap 'rm -rf "$accounts"' EXIT
touch "$accounts/.passed" "$accounts/.failed"
printf '%s\n' "$@" | xargs -P "${TEST_JOBS-2}" -n 1 sh "$0" --one "$accounts"
cat "$accounts/.failed" >&2
passed=$(wc -l <"$accounts/.passed") failed=$(wc -l <"$accounts/.failed")
echo "$((passed)) passed, $((failed)) failed"
[ "$failed" -eq 0 ] && [ "$passed" -eq "$#" ]

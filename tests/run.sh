#!/bin/sh
# Runs test programs one after another from the repository's root; fails if any of them failed.
# Each prints cmocka's own account; the last line here is the sum of them.
# Waiting threads sleep: where tests use more threads than there are processors, spinning would take minutes.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY-passive}"
# One that hangs has failed, and keeps nothing else from being run.
limit=
if command -v timeout >/dev/null; then limit='timeout --foreground -k 10 1200'; fi
passed=0 failed=0
for program in "$@"; do
    if $limit "./$program"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $program" >&2; fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

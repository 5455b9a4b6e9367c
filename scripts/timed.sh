#!/usr/bin/env bash
# Runs make targets one after the other and says at the end how long each took.
#
#   scripts/timed.sh TARGET...      stops at the first that fails, and fails with it
set -euo pipefail

cd "$(dirname "$0")/.."
report=''
result=0
for target in "$@"; do
    printf '\n==> make %s\n' "$target"
    start=$SECONDS
    outcome=ok
    make --no-print-directory "$target" || { result=$?; outcome=FAILED; }
    report+=$(printf '%8d s  %-8s %s' "$((SECONDS - start))" "$target" "$outcome")$'\n'
    [ "$result" -eq 0 ] || break
done
printf '\n%s%8d s  in all\n' "$report" "$SECONDS"
exit "$result"

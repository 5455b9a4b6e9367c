#!/bin/sh
# Checks licenses, bans, sources and advisories of the dependencies with cargo-deny. What cannot be
# checked here is skipped, and said so.
set -eu

cd "$(dirname "$0")/.."

if ! scripts/cargo.sh deny --version >/dev/null 2>&1; then
    echo "deny: SKIPPED: cargo-deny is not installed (cargo install --locked cargo-deny)" >&2
    exit 0
fi

scripts/cargo.sh deny --locked check bans licenses sources

# The database is a git repository on the network; without a copy of it the check could only fail.
for database in "${CARGO_HOME:-$HOME/.cargo}"/advisory-db*; do
    if [ -d "$database" ]; then
        scripts/cargo.sh deny --locked check --disable-fetch advisories
        exit 0
    fi
done
echo "deny: SKIPPED advisories: there is no advisory database (cargo deny fetch db)" >&2

#!/bin/sh
# What it costs the others when a member that fell far behind is sent the whole state: puts before
# and meanwhile, and how long it takes, beside etcd on the same machine in the same run. Prints one
# Markdown table.
#
#   scripts/bench-snapshot.sh [--quick] [--mib 1024] [--rate 1000]     --help lists the rest
set -eu

cd "$(dirname "$0")/.."
command -v python3 >/dev/null 2>&1 || { echo 'bench: there is no python3' >&2; exit 1; }
PYTHONPATH=scripts/bench_shared exec python3 -B scripts/bench_snapshot "$@"

#!/bin/sh
# What the registry takes: resolves beside a bare echo of the same size, how soon watchers hear that an
# instance is gone, and many instances held alive. Prints one Markdown table.
#
#   scripts/bench-registry.sh [--quick] [--sections abc]     --help lists the rest
set -eu

cd "$(dirname "$0")/.."
command -v python3 >/dev/null 2>&1 || { echo 'bench: there is no python3' >&2; exit 1; }
PYTHONPATH=scripts/bench_shared exec python3 -B scripts/bench_registry "$@"

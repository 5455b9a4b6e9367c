#!/bin/sh
# What clients notice when the leader is killed, stopped, paused or asked to hand over, beside etcd on
# the same machine in the same run. Prints one Markdown table.
#
#   scripts/bench-failover.sh [--quick] [--sections abcde]     --help lists the rest
set -eu

cd "$(dirname "$0")/.."
command -v python3 >/dev/null 2>&1 || { echo 'bench: there is no python3' >&2; exit 1; }
PYTHONPATH=scripts/bench_shared exec python3 -B scripts/bench_failover "$@"

#!/usr/bin/env bash
# First figures: puts and linearizable gets of 100 clients on three local members, one store after the
# other on the same machine, with the same load generator. etcd is left out where Go is missing.
#
#   scripts/bench.sh [DURATION]     how long each measurement takes (10s)
#
# The machine should have nothing else to do. Data are kept below the target folder, on a real disk.
set -euo pipefail

cd "$(dirname "$0")/.."
duration=${1:-10s}
target=$(scripts/cargo.sh where)
quorate=$target/release/quorate
[ -x "$quorate" ] || { echo "bench: build it first: make release" >&2; exit 1; }

folder=$(mktemp -d "$target/bench-XXXXXX")
started=()
stop() {
    [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
    wait
    started=()
}
trap 'stop; rm -rf "$folder"' EXIT

# wait_for ENDPOINTS: until a put works, for at most a minute.
wait_for() {
    for _ in $(seq 600); do
        if "$quorate" --endpoints "$1" put bench/ready yes >/dev/null 2>&1; then
            return
        fi
        sleep 0.1
    done
    echo "bench: no store at $1" >&2
    cat "$folder"/*.log >&2
    exit 1
}

# measure NAME ENDPOINTS
measure() {
    wait_for "$2"
    printf '\n== %s, 100 clients: put\n' "$1"
    "$quorate" --endpoints "$2" bench put --clients 100 --warm-up 2s --duration "$duration"
    printf '\n== %s, 100 clients: linearizable get\n' "$1"
    "$quorate" --endpoints "$2" bench get --clients 100 --warm-up 2s --duration "$duration"
    stop
}

"$quorate" cluster --nodes 3 --client-port-base 42379 --data-dir "$folder/quorate" \
    >"$folder/quorate.log" 2>&1 &
started+=($!)
measure quorate http://127.0.0.1:42379,http://127.0.0.1:42381,http://127.0.0.1:42383

etcd=$(tests/clients/build.sh etcd-peer)
if [ -z "$etcd" ]; then
    echo "bench: etcd is left out" >&2
    exit 0
fi
members=m1=http://127.0.0.1:43380,m2=http://127.0.0.1:43382,m3=http://127.0.0.1:43384
for number in 1 2 3; do
    client=$((43377 + 2 * number))
    "$etcd" --name "m$number" --data-dir "$folder/etcd-$number" --initial-cluster "$members" \
        --client-url "http://127.0.0.1:$client" --peer-url "http://127.0.0.1:$((client + 1))" \
        >"$folder/etcd-$number.log" 2>&1 &
    started+=($!)
done
measure etcd http://127.0.0.1:43379,http://127.0.0.1:43381,http://127.0.0.1:43383

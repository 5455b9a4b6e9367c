#!/bin/sh
# Builds the foreign clients that the tests and benchmarks use: etcd's own Go programs, and clients of
# PyPI and npm. Nothing is built twice: Go compares contents, and the environments of the others are
# keyed by their requirements.
#
#   tests/clients/build.sh [program...]     programs: descriptors scenario etcdctl etcd-peer python
#                                                     python-gateway prometheus promtool
#                                                     stock-aetcd stock-etcd3 stock-node
#
# Without arguments it builds all of them. Each program's path is printed on standard output, in the
# order asked for; everything else goes to standard error. A program whose language is missing here is
# skipped with a line that says so, and prints no path. A build that fails ends the script with 1.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
bin=${QUORATE_CLIENTS_BIN:-${QUORATE_CACHE:-$HOME/.cache/quorate}/bin}
# What the go.mod files ask for; an older Go could only refuse them.
go_minor_min=26

# Go is often installed where no PATH leads.
if ! command -v go >/dev/null 2>&1 && [ -x /usr/local/go/bin/go ]; then
    PATH=$PATH:/usr/local/go/bin
fi

# Programs are built aside and moved into place, so that one in use is replaced whole or not at all.
aside=$bin/.building.$$
trap 'rm -f "$aside"' EXIT
trap 'exit 130' INT TERM

say() {
    printf 'clients: %s\n' "$*" >&2
}

go_usable() {
    command -v go >/dev/null 2>&1 || { missing='there is no go'; return 1; }
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$go_minor_min" ] || { missing="go is older than 1.$go_minor_min"; return 1; }
}

# build_go PROGRAM MODULE PACKAGE
build_go() {
    if ! go_usable; then
        say "SKIPPED $1: $missing"
        return
    fi
    mkdir -p "$bin"
    # Nice, and one package at a time: whoever builds this has other work on these cores.
    (cd "$2" && nice go build -p 1 -trimpath -buildvcs=false -ldflags='-s -w' -o "$aside" "$3") >&2 || {
        say "FAILED $1"
        exit 1
    }
    mv -f "$aside" "$bin/$1"
    printf '%s\n' "$bin/$1"
}

# build_python PROGRAM SCRIPT REQUIREMENTS: stock Python packages, as one command that runs a script in
# an environment of its own.
build_python() {
    python=$(command -v python3) || { say "SKIPPED $1: there is no python3"; return; }
    requirements=$here/python/$3
    key=$({ "$python" -V; cat "$requirements"; } | cksum | cut -d ' ' -f 1)
    venv=$bin/python-$key
    mkdir -p "$bin"
    # Several tests may ask at once, and an environment cannot be made aside and moved.
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$bin/.python.lock"
        flock 9
    fi
    if [ ! -f "$venv/complete" ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv" >&2 || {
            rm -rf "$venv"
            say "SKIPPED $1: python3 cannot make environments (venv is missing)"
            return
        }
        "$venv/bin/pip" install --quiet --disable-pip-version-check \
            --requirement "$requirements" >&2 || {
            rm -rf "$venv"
            say "SKIPPED $1: the packages could not be installed"
            return
        }
        : >"$venv/complete"
    fi
    cat >"$aside" <<EOF
#!/bin/sh
exec "$venv/bin/python" -B -u "$here/python/$2" "\$@"
EOF
    chmod +x "$aside"
    mv -f "$aside" "$bin/$1"
    printf '%s\n' "$bin/$1"
}

# The stock client of npm, with what its lock file names, in a folder of its own.
build_node() {
    if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
        say 'SKIPPED stock-node: there is no node, or no npm'
        return
    fi
    lock=$here/node/package-lock.json
    key=$({ node --version; cat "$lock"; } | cksum | cut -d ' ' -f 1)
    modules=$bin/node-$key
    mkdir -p "$bin"
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$bin/.node.lock"
        flock 9
    fi
    if [ ! -f "$modules/complete" ]; then
        rm -rf "$modules"
        mkdir -p "$modules"
        cp "$here/node/package.json" "$lock" "$modules"
        # No script of a package runs.
        (cd "$modules" && npm ci --ignore-scripts --no-audit --no-fund --silent) >&2 || {
            rm -rf "$modules"
            say 'SKIPPED stock-node: the packages could not be installed'
            return
        }
        : >"$modules/complete"
    fi
    cat >"$aside" <<EOF
#!/bin/sh
NODE_PATH="$modules/node_modules" exec node "$here/node/stock.js" "\$@"
EOF
    chmod +x "$aside"
    mv -f "$aside" "$bin/stock-node"
    printf '%s\n' "$bin/stock-node"
}

# fetch_prometheus PROGRAM: Debian's Prometheus or its promtool: the one that is installed, or the
# program out of its package. The package itself is not installed, for it would start a service.
fetch_prometheus() {
    if command -v "$1" >/dev/null 2>&1; then
        command -v "$1"
        return
    fi
    if [ ! -x "$bin/$1" ]; then
        if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
            say "SKIPPED $1: there is neither a $1 nor apt"
            return
        fi
        mkdir -p "$bin"
        unpacked=$(mktemp -d)
        # Where nobody has fetched the list of packages yet, who may does.
        if ! (cd "$unpacked" && { apt-get -qq download prometheus ||
            { apt-get -qq update && apt-get -qq download prometheus; }; } &&
            dpkg-deb --extract prometheus_*.deb . && mv "usr/bin/$1" "$aside") >&2; then
            rm -rf "$unpacked"
            say "SKIPPED $1: its package could not be fetched"
            return
        fi
        rm -rf "$unpacked"
        mv -f "$aside" "$bin/$1"
    fi
    printf '%s\n' "$bin/$1"
}

[ $# -gt 0 ] || set -- descriptors scenario etcdctl etcd-peer python python-gateway prometheus promtool \
    stock-aetcd stock-etcd3 stock-node
for program in "$@"; do
    case $program in
    descriptors) build_go descriptors "$root/benches/peers" ./descriptors ;;
    etcd-peer) build_go etcd-peer "$root/benches/peers" ./etcd-peer ;;
    scenario) build_go scenario "$here/go" ./scenario ;;
    etcdctl) build_go etcdctl "$here/etcdctl" . ;;
    python) build_python scenario-python scenario.py requirements.txt ;;
    python-gateway) build_python gateway-python gateway.py requirements-gateway.txt ;;
    stock-aetcd) build_python stock-aetcd stock_aetcd.py aetcd.txt ;;
    stock-etcd3) build_python stock-etcd3 stock_etcd3.py etcd3.txt ;;
    stock-node) build_node ;;
    prometheus | promtool) fetch_prometheus "$program" ;;
    *)
        say "unknown program $program"
        exit 2
        ;;
    esac
done

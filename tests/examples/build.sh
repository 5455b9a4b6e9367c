#!/bin/sh
# Builds the examples for the tests that run them, each with its language's ordinary tools.
#
#   tests/examples/build.sh [language...]     languages: go python java node rust
#
# Without arguments it builds all of them. For each, a folder is printed on standard output with
# `stock` and `typed` in it, and `balance` of Go; everything else goes to standard error. The folder is
# in the cache and named after the contents of the example and of registry.proto, so nothing is built
# twice, and nothing is left in the source tree. A language that is missing here is skipped with a line
# that says so, and prints nothing. A build that fails ends the script with 1.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
cache=${QUORATE_CACHE:-$HOME/.cache/quorate}/examples
proto=quorate/registry/v1/registry.proto
# What go.mod asks for; an older Go could only refuse it.
go_minor_min=26
java_min=17
node_min=18

# Go is often installed where no PATH leads.
if ! command -v go >/dev/null 2>&1 && [ -x /usr/local/go/bin/go ]; then
    PATH=$PATH:/usr/local/go/bin
fi

say() {
    printf 'examples: %s\n' "$*" >&2
}

# missing LANGUAGE: says what is missing for it, if something is.
missing() {
    case $1 in
    go)
        command -v go >/dev/null 2>&1 || { echo 'there is no go'; return; }
        minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
        [ "${minor:-0}" -ge "$go_minor_min" ] || { echo "go is older than 1.$go_minor_min"; return; }
        command -v protoc >/dev/null 2>&1 || echo 'there is no protoc'
        ;;
    python)
        command -v python3 >/dev/null 2>&1 || { echo 'there is no python3'; return; }
        python3 -c 'import venv, ensurepip' 2>/dev/null || echo 'python3 cannot make environments (venv is missing)'
        ;;
    java)
        command -v mvn >/dev/null 2>&1 || { echo 'there is no mvn'; return; }
        command -v javac >/dev/null 2>&1 || { echo 'there is no javac'; return; }
        version=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
        [ "${version:-0}" -ge "$java_min" ] || echo "java is older than $java_min"
        ;;
    node)
        command -v npm >/dev/null 2>&1 || { echo 'there is no npm'; return; }
        command -v node >/dev/null 2>&1 || { echo 'there is no node'; return; }
        version=$(node --version | sed -n 's/^v\([0-9]*\).*/\1/p')
        [ "${version:-0}" -ge "$node_min" ] || echo "node is older than $node_min"
        ;;
    rust) command -v cargo >/dev/null 2>&1 || [ -x "$HOME/.cargo/bin/cargo" ] || echo 'there is no cargo' ;;
    esac
}

# launcher PROGRAM COMMAND...: a program in the folder that runs a command.
launcher() {
    program=$1
    shift
    printf '#!/bin/sh\nexec %s "$@"\n' "$*" >"$folder/$program"
    chmod +x "$folder/$program"
}

# Each of these is run in the copy of the example, and leaves its programs in $folder.
build_go() {
    sh generate.sh &&
        nice go build -p 1 -trimpath -buildvcs=false -ldflags='-s -w' -o "$folder/" ./stock ./typed ./balance
}

build_python() {
    python3 -m venv .venv &&
        nice .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt &&
        .venv/bin/python -m grpc_tools.protoc -I ../../proto --python_out=. --grpc_python_out=. "$proto" &&
        launcher stock "$PWD/.venv/bin/python" -B "$PWD/stock.py" &&
        launcher typed "$PWD/.venv/bin/python" -B "$PWD/typed.py"
}

build_java() {
    # Small heaps and quick starts: there are several of them at a time.
    java="java -Xmx96m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp $PWD/target/examples.jar:$PWD/target/lib/*"
    nice mvn --quiet --batch-mode package &&
        launcher stock "$java" dev.quorate.examples.Stock &&
        launcher typed "$java" dev.quorate.examples.Typed
}

build_node() {
    nice npm ci --no-audit --no-fund --ignore-scripts --loglevel=error &&
        launcher stock node "$PWD/stock.js" &&
        launcher typed node "$PWD/typed.js"
}

build_rust() {
    # The libraries are compiled once, whichever version of the example this is.
    CARGO_TARGET_DIR=$cache/rust-target nice "$root/scripts/cargo.sh" build --quiet --locked \
        --manifest-path "$PWD/Cargo.toml" &&
        cp "$cache/rust-target/debug/stock" "$cache/rust-target/debug/typed" "$folder/"
}

# One builder at a time: several tests may ask at once, and they have other work on these cores.
mkdir -p "$cache"
if command -v flock >/dev/null 2>&1; then
    exec 9>"$cache/.lock"
    flock 9
fi
# What nobody has used for a day is of sources that are gone.
find "$cache" -mindepth 1 -maxdepth 1 -type d -name '*-[0-9]*' -mtime +0 -exec rm -rf {} +

[ $# -gt 0 ] || set -- go python java node rust
for language in "$@"; do
    case $language in
    go | python | java | node | rust) ;;
    *)
        say "unknown language $language"
        exit 2
        ;;
    esac
    absent=$(missing "$language")
    if [ -n "$absent" ]; then
        say "SKIPPED $language: $absent"
        continue
    fi
    sources=$(cd "$root" && git ls-files --cached --others --exclude-standard "examples/$language" "proto/$proto")
    key=$(cd "$root" && { cat "$here/build.sh"; for file in $sources; do echo "$file"; cat "$file"; done; } | cksum | cut -d ' ' -f 1)
    folder=$cache/$language-$key
    if [ ! -f "$folder/complete" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        (cd "$root" && for file in $sources; do
            mkdir -p "$folder/$(dirname "$file")"
            cp "$file" "$folder/$file"
        done)
        say "building $language"
        (cd "$folder/examples/$language" && "build_$language") >&2 9>&- || {
            say "FAILED $language"
            exit 1
        }
        : >"$folder/complete"
    fi
    touch "$folder"
    printf '%s\n' "$folder"
done

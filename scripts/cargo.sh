#!/bin/sh
# cargo, with the environment that every build of this project shares.
#
# RocksDB takes many minutes to compile and is compiled anew when any of these variables changes, so
# they are set here and nowhere else; the Makefile calls cargo only through this script. Whatever is
# set already, such as CARGO_TARGET_DIR or CC, is left as it is.
#
#   scripts/cargo.sh ARGUMENT...     cargo with these arguments
#   scripts/cargo.sh where           prints the folder that builds end up in
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

# A missing toolchain is the user's to install: no script here downloads one.
export RUSTUP_AUTO_INSTALL=0
# The raft library brings a protoc of the version it needs, and fails with another.
unset PROTOC

toolchain=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
if ! command -v cargo >/dev/null 2>&1; then
    [ -x "$HOME/.cargo/bin/cargo" ] || {
        echo "there is no cargo: install Rust $toolchain, for instance with rustup (https://rustup.rs)" >&2
        exit 1
    }
    PATH=$PATH:$HOME/.cargo/bin
fi
if ! rustc --version >/dev/null 2>&1; then
    echo "there is no Rust $toolchain: rustup toolchain install $toolchain" \
        "--profile minimal --component rustfmt --component clippy" >&2
    exit 1
fi

if command -v ccache >/dev/null 2>&1; then
    # The build scripts of C and C++ libraries do not read RUSTC_WRAPPER, but these.
    export CC="${CC:-ccache cc}" CXX="${CXX:-ccache c++}"
fi
# Sets ROCKSDB_LIB_DIR and ROCKSDB_STATIC when a compiled RocksDB is in the cache.
eval "$(scripts/rocksdb-cache.sh env)"

if [ "$1" = where ]; then
    # The folder that builds end up in.
    cargo metadata --format-version 1 --no-deps --offline |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
    exit 0
fi

cargo "$@"

case $1 in
build | test | clippy | check | bench | doc | run)
    [ -n "${ROCKSDB_LIB_DIR:-}" ] || scripts/rocksdb-cache.sh store
    ;;
*) ;;
esac

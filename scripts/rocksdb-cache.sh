#!/bin/sh
# Keeps the compiled RocksDB outside of any target folder, because compiling it takes many minutes
# and needs to happen once per machine, not once per clone, profile and target folder.
#
#   scripts/rocksdb-cache.sh        after a build: stores its librocksdb.a in the cache
#   scripts/rocksdb-cache.sh env    prints what to export so that a build takes it from there;
#                                   nothing when it is not there: that build compiles RocksDB
#   scripts/rocksdb-cache.sh make   the same as Makefile lines
#
# Set QUORATE_CACHE to keep it elsewhere than in ~/.cache/quorate. Every cargo call must see the
# same variables: librocksdb-sys is built anew when they change.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${QUORATE_CACHE:-${HOME:?HOME is not set}/.cache/quorate}
target=${CARGO_TARGET_DIR:-$root/target}

version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p;}' "$root/Cargo.lock")
[ -n "$version" ] || { echo "rocksdb-cache: no librocksdb-sys in $root/Cargo.lock" >&2; exit 1; }

# Whatever changes the compiled library goes into its folder's name. Profiles do not: all of them
# compile dependencies with the same flags (see Cargo.toml).
compiler=${CXX:-c++}
flavour=$(
    {
        grep '^rocksdb = ' "$root/Cargo.toml"
        # CXX may be two words, such as "ccache c++".
        # shellcheck disable=SC2086
        $compiler --version 2>/dev/null | head -n 1
        uname -sm
        echo "${CXXFLAGS:-} ${RUSTFLAGS:-} ${ROCKSDB_CXX_STD:-}"
    } | sha256sum | cut -c 1-12
)
folder=$cache/rocksdb-$version-$flavour

# The newest library of this version that a build has left in the target folder.
built() {
    newest=
    for output in "$target"/*/build/librocksdb-sys-*/output; do
        library=${output%/output}/out/librocksdb.a
        [ -f "$library" ] || continue
        grep -q "^cargo:cargo_manifest_dir=.*/librocksdb-sys-$version\$" "$output" || continue
        if [ -z "$newest" ] || [ "$library" -nt "$newest" ]; then
            newest=$library
        fi
    done
    echo "$newest"
}

store() {
    [ ! -f "$folder/librocksdb.a" ] || return 0
    library=$(built)
    if [ -z "$library" ]; then
        echo "rocksdb-cache: no librocksdb.a of $version under $target yet" >&2
        return 0
    fi
    mkdir -p "$folder"
    # Under its final name it is complete: somebody may be linking while somebody else stores.
    copy=$folder/.librocksdb.a.$$
    trap 'rm -f "$copy"' EXIT
    cp "$library" "$copy"
    strip -S "$copy"
    mv "$copy" "$folder/librocksdb.a"
    echo "rocksdb-cache: stored $folder/librocksdb.a" >&2
}

case ${1:-store} in
    store) store ;;
    env)
        if [ -f "$folder/librocksdb.a" ]; then
            echo "export ROCKSDB_LIB_DIR='$folder' ROCKSDB_STATIC=1"
        fi
        ;;
    make)
        if [ -f "$folder/librocksdb.a" ]; then
            echo "export ROCKSDB_LIB_DIR := $folder"
            echo "export ROCKSDB_STATIC := 1"
        fi
        ;;
    *)
        echo "usage: rocksdb-cache.sh [store|env|make]" >&2
        exit 2
        ;;
esac

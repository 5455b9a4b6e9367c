#!/bin/sh
# Installs the system packages that a build needs and that are not here yet, on Debian and Ubuntu.
#
#   scripts/install-packages.sh          for `make run`: what compiling RocksDB and its bindings takes
#   scripts/install-packages.sh tests    for `make test`: also what the test client is generated with,
#                                        and what members are put into networks of their own with
#
# It looks for the tools, not for packages, so it says nothing and takes milliseconds when they are
# there, whatever system this is. It installs as root or through sudo, and otherwise says what to
# install. It never downloads a Rust toolchain.
set -eu

missing=''
# Tools of administrators are not in everybody's path.
PATH=$PATH:/usr/sbin:/sbin

# want COMMAND PACKAGE
want() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

# libclang is a library that bindgen opens while it runs; it has no command to look for.
have_libclang() {
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    for file in /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]*.so* \
        /usr/lib/*-linux-gnu/libclang-*.so* /usr/lib/libclang.so* /usr/lib64/libclang.so* \
        /usr/lib64/llvm*/lib/libclang.so* /usr/local/lib/libclang.so*; do
        [ ! -e "$file" ] || return 0
    done
    return 1
}

want clang clang
have_libclang || missing="$missing libclang-dev"
want cmake cmake
want pkg-config pkg-config
want ccache ccache
want make make
want cc gcc
want c++ g++
if [ "${1:-}" = tests ]; then
    want protoc protobuf-compiler
    want ip iproute2
    want nft nftables
    want nsenter util-linux
    want curl curl
fi

missing=${missing# }
[ -n "$missing" ] || exit 0

fail() {
    # Builds are merely slower without ccache, and tests put proxies between members without the others.
    for package in $missing; do
        case $package in
        ccache | iproute2 | nftables | util-linux) ;;
        *) needed=yes ;;
        esac
    done
    if [ -z "${needed:-}" ]; then
        echo "packages: going on without $missing: $*" >&2
        exit 0
    fi
    echo "packages: missing: $missing" >&2
    echo "packages: $*" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 ||
    fail "there is no apt-get here; install what your system calls them, then try again"

if [ "$(id -u)" -eq 0 ]; then
    as_root=env
elif command -v sudo >/dev/null 2>&1; then
    as_root='sudo env'
else
    fail "neither root nor sudo; ask somebody who is to run: apt-get install $missing"
fi

echo "packages: installing $missing" >&2
# The list of packages may be empty or old, so it is fetched first; both lines are words, not one name.
# shellcheck disable=SC2086
{
    $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $missing
} >&2 || fail "apt-get could not install them; see above"

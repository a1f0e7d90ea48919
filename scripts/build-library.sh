#!/bin/sh
# Builds the C libraries and the command. Places them in target/release, regardless of the target
# directory of cargo.
#
#   scripts/build-library.sh
#
# AR, LD, NM and OBJCOPY are the binutils of that target.
set -eu
cd "$(dirname "$0")/.."
log=target/build.json
mkdir -p target

# cargo reports the paths of its outputs. CARGO_BUILD_TARGET and build.target change them.
build() {
    cargo "$@" --message-format=json-render-diagnostics >"$log"
}
# place FILE: copies the file that cargo has built under this name to target/release.
place() {
    built=$(tr '"' '\n' <"$log" | grep "/$1\$" | tail -n 1)
    if [ ! -f "$built" ] || [ ! -s "$built" ]; then
        echo "ipcq: cargo has not built $1" >&2
        exit 1
    fi
    mkdir -p target/release
    [ "$built" -ef "target/release/$1" ] || cp -p "$built" "target/release/$1"
}

build build --release -p ipcq-cli
place ipcq
# Build the library again without its Rust form (rlib), because only then can it be optimised as a
# whole: it has 3.0 MB instead of 5.4, and its own calls and data need no table.
build rustc --release --lib --crate-type cdylib,staticlib
place libipcq.so
place libipcq.a
scripts/localise.sh target/release/libipcq.a
rm "$log"

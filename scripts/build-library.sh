#!/bin/sh
# Builds the C libraries and the command, in target/release whatever target cargo is set to.
#
#   scripts/build-library.sh
#
# AR, LD, NM and OBJCOPY are the binutils of that target.
set -eu
cd "$(dirname "$0")/.."
log=target/build.json
mkdir -p target

# cargo says where it puts things: CARGO_BUILD_TARGET, and build.target in a configuration, move them.
build() {
    cargo "$@" --message-format=json-render-diagnostics >"$log"
}
# place FILE: what cargo has built under this name, in target/release.
place() {
    built=$(tr '"' '\n' <"$log" | grep "/$1\$" | tail -n 1)
    if [ ! -f "$built" ] || [ ! -s "$built" ]; then
        echo "ipcq: cargo has built no $1" >&2
        exit 1
    fi
    mkdir -p target/release
    [ "$built" -ef "target/release/$1" ] || cp -p "$built" "target/release/$1"
}

build build --release -p ipcq-cli
place ipcq
# The library by itself, for only without its Rust form can it be optimised as a whole: 3.0 MB instead
# of 5.4, and no call or datum of its own by way of a table.
build rustc --release --lib --crate-type cdylib,staticlib
place libipcq.so
place libipcq.a
scripts/localise.sh target/release/libipcq.a
rm "$log"

#!/bin/sh
# Builds the programs that `make bench` runs, in target/bench: the C programs, the Rust peers (each
# separately), and a Python environment. Parts that are not available are left out, with a line in
# target/bench/skipped.
#
#   benches/build.sh PYTHON CC
set -eu
cd "$(dirname "$0")/.."
python=$1 cc=$2
out=$PWD/target/bench
bin=$out/bin
mkdir -p "$bin" "$out/log"
: >"$out/skipped"

skip() {
    echo "$1" >>"$out/skipped"
    echo "bench: skipped: $1"
}

# --- Rust: each peer is a feature, so that a missing peer does not affect the others --------------

peers="--release --locked --manifest-path benches/peers/Cargo.toml"
export CARGO_TARGET_DIR="$PWD/target/peers"
for peer in ipcq ringfire iceoryx2 inprocess; do
    rm -f "$bin/rust-$peer"
    # shellcheck disable=SC2086 # the options are words
    if cargo build $peers --quiet --features "$peer" --lib >"$out/log/$peer" 2>&1 &&
        # Align each function to a cache line. Otherwise a comparison of two functions also compares
        # their addresses: a push of 8 bytes that checks for sleepers took 1.24 times as long as one
        # that does not, and takes 1.08 times as long with the alignment.
        cargo rustc $peers --quiet --features "$peer" --bin "$peer" -- -C llvm-args=-align-all-functions=6 \
            >>"$out/log/$peer" 2>&1; then
        cp "target/peers/release/$peer" "$bin/rust-$peer"
        # The library contains the C functions of ringfire, for the C programs.
        [ "$peer" != ringfire ] || cp target/peers/release/libpeers.so "$bin/libringfire.so"
    else
        skip "$peer (Rust): it cannot be built here, see target/bench/log/$peer"
    fi
done
ringfire=$(cargo metadata --format-version 1 --locked --offline --features ringfire \
    --manifest-path benches/peers/Cargo.toml 2>/dev/null | "$python" -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "ringfire":
        print(os.path.dirname(package["manifest_path"]))' 2>/dev/null || true)
echo "$ringfire" >"$out/ringfire-folder"

# --- C --------------------------------------------------------------------------------------------

flags="-O2 -g -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -Iinclude"
library="-Ltarget/release -lipcq -Wl,-rpath,$PWD/target/release"

# program SOURCE NAME FLAGS...
program() {
    source=benches/c/$1.c name=$bin/$2
    shift 2
    # shellcheck disable=SC2086
    $cc $flags "$source" -o "$name" "$@"
}

# shellcheck disable=SC2086
{
    program floor floor
    for measure in roundtrip stream local feed; do
        program $measure $measure-ipcq '-DPEER_HEADER="peer_ipcq.h"' $library
    done
    program wakeup wakeup $library
    for measure in roundtrip stream; do
        program $measure $measure-pipe '-DPEER_HEADER="peer_fd.h"'
        program $measure $measure-socket '-DPEER_HEADER="peer_fd.h"' -DSOCKET
    done
}
if [ -f "$bin/libringfire.so" ] && [ -n "$ringfire" ]; then
    for measure in roundtrip stream local feed; do
        # Its header is not valid ISO C.
        program $measure $measure-ringfire '-DPEER_HEADER="peer_ringfire.h"' -Wno-pedantic \
            -isystem "$ringfire/include" -L"$bin" -lringfire -Wl,-rpath,"$bin"
    done
fi

# --- Python ---------------------------------------------------------------------------------------

venv=$out/venv
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet install"
if [ ! -f "$venv/.packages" ] || [ benches/requirements.txt -nt "$venv/.packages" ]; then
    # One at a time, so that a missing package does not affect the others.
    grep -v '^#' benches/requirements.txt | while read -r line; do
        echo "$line" >"$out/log/requirement"
        $pip -r "$out/log/requirement" >"$out/log/pip" 2>&1 ||
            echo "$line" >>"$out/log/missing-packages"
    done
    touch "$venv/.packages"
fi
if [ -f "$out/log/missing-packages" ]; then
    while read -r line; do
        skip "${line%%[=;]*} (Python): it cannot be installed here"
    done <"$out/log/missing-packages"
fi
if [ ! -f "$venv/.ipcq" ] || [ target/module/.built -nt "$venv/.ipcq" ]; then
    $pip --no-deps --force-reinstall target/module/*.whl
    touch "$venv/.ipcq"
fi
headers=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
rm -f "$bin/trivial.abi3.so"
$cc -O2 -shared -fPIC -I"$headers" benches/python/trivial.c -o "$bin/trivial.abi3.so" \
    >"$out/log/trivial" 2>&1 ||
    skip "the trivial Python extension: headers are missing, see target/bench/log/trivial"

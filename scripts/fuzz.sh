#!/bin/sh
# Runs the fuzz targets one after the other, each from its corpus in fuzz/corpus. Inputs that reach
# new code are added to the corpus. A finding is stored in fuzz/artifacts.
#
#   scripts/fuzz.sh DURATION [TARGET...]     DURATION: seconds for all targets together
#
# Called by `make fuzz`, which installs cargo-fuzz.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?the number of seconds for all targets}
shift
[ $# -gt 0 ] || set -- open read_fixed read_variable registry produce schema
each=$((seconds / $#))

cargo +nightly --version >/dev/null 2>&1 ||
    { echo "ipcq: make fuzz needs nightly Rust: rustup toolchain install nightly" >&2; exit 1; }
command -v "${CXX:=c++}" >/dev/null ||
    { echo "ipcq: make fuzz needs a C++ compiler: install g++ or clang++, or set CXX" >&2; exit 1; }
export CXX

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export PATH="$PWD/target/tools/bin:$PATH" CARGO_TARGET_DIR="$target/fuzz"
# The directory for the queues. A run that is killed leaves nothing outside of it.
TMPDIR=$(mktemp -d /dev/shm/ipcq-fuzz.XXXXXX || mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT INT TERM
# Without allocation stacks, which the findings do not need, the speed doubles.
export ASAN_OPTIONS=malloc_context_size=0:quarantine_size_mb=16:detect_stack_use_after_return=0

fuzz() { nice cargo +nightly fuzz run --features libfuzzer "$@"; }

found=
for name; do
    # All inputs that have reached new code on this machine, and the part of them that is kept.
    all=$target/fuzz/corpus/$name kept=fuzz/corpus/$name
    mkdir -p "$all" "$kept"
    # A schema is text and needs more bytes.
    case $name in schema) longest=600 ;; *) longest=192 ;; esac
    fuzz "$name" "$all" "$kept" -- -max_total_time="$each" -max_len=$longest -len_control=10 \
        -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 ||
        found="$found $name"
    fuzz "$name" "$kept" "$all" -- -merge=1 -use_counters=0 || found="$found $name"
done
[ -z "$found" ] || { echo "ipcq: findings in fuzz/artifacts:$found" >&2; exit 1; }

#!/bin/sh
# Runs ThreadSanitizer on the library, with a producer and consumers in threads of one process
# (tests/threads.rs).
#
# It covers every access to a mapped file. In this build the handles of a process share one mapping
# (src/os/tsan_mapping.rs), and payloads are copied as atomic words (cfg(ipcq_words)). It also
# covers the private memory that the threads share. It does not cover the memory orderings, because
# the tool does not support fences, and atomic words cannot race. The models test the orderings
# (make model). The memcpy of the platform is not covered either, because this build does not call
# it.
#
# A mutation test shows that the tool can fail: with a plain copy instead of atomic words
# (src/ring/plain.rs, cfg(ipcq_plain)) it must report a race.
#
# It needs a nightly compiler ($TSAN_TOOLCHAIN, or `nightly`). The standard library is not
# instrumented, so the threads of the test synchronise only by starting and joining.
# scripts/tsan.supp lists the locks of the library itself.
set -eu
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
toolchain=${TSAN_TOOLCHAIN:-nightly}
if ! rustc "+$toolchain" --version >/dev/null 2>&1; then
    echo "tsan: the $toolchain compiler is missing, skipped"
    exit 0
fi
flags="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg ipcq_words"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan"
export TSAN_OPTIONS="halt_on_error=1 exitcode=66 suppressions=$PWD/scripts/tsan.supp ${TSAN_OPTIONS:-}"
log=$CARGO_TARGET_DIR/log
mkdir -p "$CARGO_TARGET_DIR"

# run FLAGS ARGUMENTS...
run() {
    RUSTFLAGS=$1
    export RUSTFLAGS
    shift
    cargo "+$toolchain" test --target $target --no-default-features "$@" >"$log" 2>&1
}

if ! run "$flags" --test threads || grep -q "WARNING: ThreadSanitizer" "$log"; then
    cat "$log"
    echo "tsan: failed"
    exit 1
fi
grep received "$log"
echo "tsan: no report"

export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/plain"
if run "$flags --cfg ipcq_plain" --test threads || ! grep -q "WARNING: ThreadSanitizer: data race" "$log"; then
    cat "$log"
    echo "tsan: a plain copy was not reported, so the run above proves nothing"
    exit 1
fi
grep -m 1 -A 1 "WARNING: ThreadSanitizer" "$log"
echo "tsan: the mutation with a plain copy is reported"

#!/bin/sh
# ThreadSanitizer over the library, with a producer and consumers in threads of one process
# (tests/threads.rs).
#
# Covered: every access to a mapped file. In this build the handles of a process share one mapping
# (src/os/tsan_mapping.rs), and payloads are copied as atomic words (cfg(ipcq_words)). Whatever the
# threads race for in memory of their own is covered, too. Not covered: whether the orders are right.
# The tool does not know fences, and atomic words cannot race; the models show that (make model).
# Nor is the platform's memcpy, which this build does not call.
#
# That it can fail is shown by its twin: with one plain copy in the place of atomic words
# (src/ring/plain.rs, cfg(ipcq_plain)) there must be a report.
#
# It needs a nightly compiler ($TSAN_TOOLCHAIN, or `nightly`). The standard library is not built for it,
# so the test uses nothing of that to hand things from thread to thread but starting and joining them;
# scripts/tsan.supp names the locks of the library itself.
set -eu
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
toolchain=${TSAN_TOOLCHAIN:-nightly}
if ! rustc "+$toolchain" --version >/dev/null 2>&1; then
    echo "tsan: there is no $toolchain compiler, skipped"
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
    echo "tsan: a plain copy was not reported, so the run above says nothing"
    exit 1
fi
grep -m 1 -A 1 "WARNING: ThreadSanitizer" "$log"
echo "tsan: the twin with a plain copy is reported"

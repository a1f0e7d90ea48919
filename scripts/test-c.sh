#!/bin/sh
# The C side: the test program plain, under AddressSanitizer and UBSan, under valgrind, and against
# the static library; the C++ layer; each example, also under valgrind.
set -eu
cd "$(dirname "$0")/.."
cc=${CC:-cc} cxx=${CXX:-c++}
out=$PWD/target/c-tests
rm -rf "$out"
mkdir -p "$out"
strict="-std=c11 -D_GNU_SOURCE -g -Wall -Wextra -Wpedantic -Werror -Iinclude"
shared="-Ltarget/release -lipcq -Wl,-rpath,$PWD/target/release"
static="target/release/libipcq.a -lpthread -ldl -lm"

# Runs in an empty directory for its queues, which must be empty again afterwards.
run() {
    name=$1
    shift
    IPCQ_DIR=$(mktemp -d "$out/queues.XXXXXX")
    export IPCQ_DIR
    timeout 300 "$@" >"$out/log" 2>&1 || { cat "$out/log"; echo "test-c: $name failed"; exit 1; }
    rmdir "$IPCQ_DIR" || { ls "$IPCQ_DIR"; echo "test-c: $name left files"; exit 1; }
    echo "test-c: $name passed"
}

# shellcheck disable=SC2086 # the flags are words
{
    $cc $strict tests/c/test_ipcq.c -o "$out/plain" $shared
    $cc $strict tests/c/test_ipcq.c -o "$out/static" $static
    $cc $strict -O1 -fsanitize=address,undefined -fno-sanitize-recover=all tests/c/test_ipcq.c \
        -o "$out/sanitized" $shared
    $cxx -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude tests/c/test_hpp.cpp -o "$out/hpp" $shared
}
run "shared library" "$out/plain"
run "static library" "$out/static"
run "sanitizers" "$out/sanitized"
run "C++ layer" "$out/hpp"
if command -v clang >/dev/null; then
    # shellcheck disable=SC2086
    clang $strict tests/c/test_ipcq.c -o "$out/clang" $shared
    run "clang" "$out/clang"
fi

examples="zero_copy shared_memory variable_length"
for example in $examples; do
    run "$example" "target/examples/$example"
done
if command -v valgrind >/dev/null; then
    valgrind="valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite"
    # shellcheck disable=SC2086
    run "valgrind test_ipcq" $valgrind "$out/plain"
    for example in $examples; do
        # shellcheck disable=SC2086
        run "valgrind $example" $valgrind "target/examples/$example"
    done
    # Two processes; the consumer is started first.
    IPCQ_DIR=$(mktemp -d "$out/queues.XXXXXX")
    export IPCQ_DIR
    # shellcheck disable=SC2086
    timeout 300 $valgrind target/examples/consumer ticks >"$out/consumer.log" 2>&1 &
    # shellcheck disable=SC2086
    timeout 300 $valgrind target/examples/producer ticks 1000
    wait $! || { cat "$out/consumer.log"; echo "test-c: valgrind consumer failed"; exit 1; }
    grep -q 999 "$out/consumer.log"
    echo "test-c: valgrind producer and consumer passed"
else
    echo "test-c: valgrind is missing, its runs are skipped"
fi

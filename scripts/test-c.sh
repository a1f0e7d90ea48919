#!/bin/sh
# The C side: the test program, the C++ layer and the examples, plain, under AddressSanitizer and
# UBSan, under valgrind, by clang; the test program against the static library too.
set -eu
cd "$(dirname "$0")/.."
cc=${CC:-cc} cxx=${CXX:-c++}
out=$PWD/target/c-tests
rm -rf "$out"
mkdir -p "$out"
warnings="-g -Wall -Wextra -Wpedantic -Werror -Iinclude"
shared="-Ltarget/release -lipcq -Wl,-rpath,$PWD/target/release"
static="target/release/libipcq.a -lpthread -ldl -lm"
sanitize="-O1 -fsanitize=address,undefined -fno-sanitize-recover=all"

# An empty directory for the queues of the next program.
directory() {
    IPCQ_DIR=$(mktemp -d "$out/queues.XXXXXX")
    export IPCQ_DIR
}

fail() {
    cat "$out/log"
    echo "test-c: $1 failed"
    exit 1
}

# run WHAT COMMAND...: it must leave no files.
run() {
    what=$1
    shift
    directory
    timeout 300 "$@" >"$out/log" 2>&1 || fail "$what"
    rmdir "$IPCQ_DIR" || { ls "$IPCQ_DIR"; echo "test-c: $what left files"; exit 1; }
    echo "test-c: $what passed"
}

# build FOLDER FLAGS...: the test program, the C++ layer and all examples.
build() {
    folder=$out/$1
    mkdir "$folder"
    shift
    # shellcheck disable=SC2086 # the flags are words
    {
        for source in tests/c/test_ipcq.c tests/c/test_records.c c-examples/*.c; do
            $cc -std=c11 -D_GNU_SOURCE $warnings "$@" "$source" \
                -o "$folder/$(basename "$source" .c)" $shared
        done
        $cxx -std=c++17 $warnings "$@" tests/c/test_hpp.cpp -o "$folder/test_hpp" $shared
    }
}

# programs FOLDER HOW [RUNNER...]: runs what was built there.
programs() {
    folder=$out/$1 how=$2
    shift 2
    for program in test_ipcq test_records test_hpp zero_copy records shared_memory variable_length; do
        run "$program, $how" "$@" "$folder/$program"
    done
    # Two processes; the consumer is started first.
    directory
    timeout 300 "$@" "$folder/consumer" ticks >"$out/log" 2>&1 &
    timeout 300 "$@" "$folder/producer" ticks 1000 >"$out/producer.log" 2>&1 ||
        { cat "$out/producer.log"; fail "producer, $how"; }
    wait $! || fail "consumer, $how"
    tail -n 1 "$out/log" | grep -qx "received 1000, lost 0" || fail "consumer, $how"
    # Three queues, merged.
    directory
    for queue in a b c; do
        timeout 300 "$@" "$folder/producer" $queue 1000 >"$out/producer.log" 2>&1 ||
            { cat "$out/producer.log"; fail "producer, $how"; }
    done
    timeout 300 "$@" "$folder/fan_in" a b c >"$out/log" 2>&1 || fail "fan_in, $how"
    tail -n 1 "$out/log" | grep -qx "received 3000, lost 0" || fail "fan_in, $how"
    # An event loop, and a consumer that sleeps, of one queue.
    timeout 300 "$@" "$folder/poll" a </dev/null >"$out/log" 2>&1 || fail "poll, $how"
    [ "$(grep -c "^message .* 24 bytes" "$out/log")" = 1000 ] || fail "poll, $how"
    timeout 300 "$@" "$folder/blocking" a >"$out/log" 2>&1 || fail "blocking, $how"
    timeout 300 "$@" "$folder/machine" machine 0.1 >"$out/log" 2>&1 || fail "machine, $how"
    echo "test-c: producer, consumer, fan_in, poll, blocking and machine, $how passed"
}

build plain -O2
programs plain plain
# shellcheck disable=SC2086
$cc -std=c11 -D_GNU_SOURCE $warnings tests/c/test_ipcq.c -o "$out/static" $static
run "test_ipcq, static library" "$out/static"

# shellcheck disable=SC2086
if echo 'int main(void){return 0;}' | $cc $sanitize -x c - -o "$out/probe" 2>/dev/null; then
    build sanitized $sanitize
    programs sanitized "ASan and UBSan"
else
    echo "test-c: $cc has no sanitizers, their runs are skipped"
fi
if command -v valgrind >/dev/null; then
    programs plain valgrind valgrind --quiet --error-exitcode=9 --leak-check=full \
        --errors-for-leak-kinds=definite
else
    echo "test-c: valgrind is missing, its runs are skipped"
fi
if command -v clang >/dev/null && command -v clang++ >/dev/null; then
    cc=clang cxx=clang++
    build clang -O2
    programs clang clang
else
    echo "test-c: clang is missing, its runs are skipped"
fi

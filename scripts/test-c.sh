#!/bin/sh
# Builds and runs the C and C++ test programs, the examples, and the example in ipcq.h: plain, under
# AddressSanitizer and UBSan, under valgrind, and with clang. Also runs the examples with signals,
# and a test program against the static library.
set -eu
cd "$(dirname "$0")/.."
cc=${CC:-cc} cxx=${CXX:-c++}
out=$PWD/target/c-tests
rm -rf "$out"
mkdir -p "$out"
warnings="-g -Wall -Wextra -Wpedantic -Werror -Iinclude"
cpp_warnings="$warnings -Wconversion -Wshadow"
# Relative to a program in target/c-tests/*/, because the path of this folder may contain a blank.
shared="-Ltarget/release -lipcq -Wl,-rpath,\$ORIGIN/../../release -pthread"
static="-static target/release/libipcq.a -lpthread -lm -ldl"
sanitize="-O1 -fsanitize=address,undefined -fno-sanitize-recover=all"

# Creates an empty directory for the queues of the next program.
directory() {
    IPCQ_DIR=$(mktemp -d "$out/queues.XXXXXX")
    export IPCQ_DIR
}

fail() {
    cat "$out/log"
    echo "test-c: $1 failed"
    exit 1
}

# run WHAT COMMAND...: runs a program, which must leave no files.
run() {
    what=$1
    shift
    directory
    timeout 300 "$@" >"$out/log" 2>&1 || fail "$what"
    rmdir "$IPCQ_DIR" || { ls "$IPCQ_DIR"; echo "test-c: $what left files"; exit 1; }
    echo "test-c: $what passed"
}

# build FOLDER FLAGS...: builds the test programs and all examples.
build() {
    folder=$out/$1
    mkdir "$folder"
    shift
    # shellcheck disable=SC2086 # the flags are words
    {
        for source in tests/c/test_ipcq.c tests/c/test_records.c tests/c/test_cancel.c \
                tests/c/test_handler.c target/c-tests/ticks.c c-examples/*.c; do
            $cc -std=c11 -D_GNU_SOURCE $warnings "$@" "$source" \
                -o "$folder/$(basename "$source" .c)" $shared
        done
        for source in c-examples/*.cpp; do
            $cxx -std=c++17 $cpp_warnings "$@" "$source" \
                -o "$folder/$(basename "$source" .cpp)_cpp" $shared
        done
        $cxx -std=c++17 $cpp_warnings "$@" tests/c/test_hpp.cpp -o "$folder/test_hpp" $shared
        $cxx -std=c++20 $cpp_warnings "$@" tests/c/test_hpp.cpp -o "$folder/test_hpp20" $shared
    }
}

# programs FOLDER HOW [RUNNER...]: runs the programs in the folder.
programs() {
    folder=$out/$1 how=$2
    shift 2
    for program in test_ipcq test_records test_hpp test_hpp20 zero_copy records shared_memory variable_length; do
        run "$program, $how" "$@" "$folder/$program"
    done
    # Two processes, in C and in C++; the consumer is started first.
    for pair in "consumer producer" "consumer_cpp producer" "consumer producer_cpp"; do
        receiver=${pair% *} sender=${pair#* }
        directory
        timeout 300 "$@" "$folder/$receiver" ticks >"$out/log" 2>&1 &
        timeout 300 "$@" "$folder/$sender" ticks 1000 >"$out/producer.log" 2>&1 ||
            { cat "$out/producer.log"; fail "$sender, $how"; }
        wait $! || fail "$receiver, $how"
        tail -n 1 "$out/log" | grep -q "received 1000, lost 0$" || fail "$receiver, $how"
        grep -qx "pushed 1000 ticks" "$out/producer.log" || fail "$sender, $how"
    done
    # Three queues merged by one consumer.
    directory
    for queue in a b c; do
        timeout 300 "$@" "$folder/producer" $queue 1000 >"$out/producer.log" 2>&1 ||
            { cat "$out/producer.log"; fail "producer, $how"; }
    done
    timeout 300 "$@" "$folder/fan_in" a b c >"$out/log" 2>&1 || fail "fan_in, $how"
    tail -n 1 "$out/log" | grep -qx "received 3000, lost 0" || fail "fan_in, $how"
    # An event loop and a sleeping consumer on the same queue.
    timeout 300 "$@" "$folder/poll" a </dev/null >"$out/log" 2>&1 || fail "poll, $how"
    [ "$(grep -c "^message .* 24 bytes" "$out/log")" = 1000 ] || fail "poll, $how"
    timeout 300 "$@" "$folder/blocking" a >"$out/log" 2>&1 || fail "blocking, $how"
    timeout 300 "$@" "$folder/machine" machine 0.1 >"$out/log" 2>&1 || fail "machine, $how"
    # The example in ipcq.h. The consumer starts first.
    directory
    timeout 300 "$@" "$folder/ticks" receive >"$out/log" 2>&1 &
    timeout 300 "$@" "$folder/ticks" >"$out/producer.log" 2>&1 ||
        { cat "$out/producer.log"; fail "ticks, $how"; }
    wait $! || fail "ticks, $how"
    grep -qx "9.50, 0 lost before" "$out/log" || fail "ticks, $how"
    echo "test-c: producer, consumer, fan_in, poll, blocking, machine and ticks, $how passed"
}

# The background processes.
background=
trap 'kill $background 2>/dev/null || true' EXIT
# with_signals NAME COMMAND...: runs in the background with signals. The output is in NAME.log.
with_signals() {
    name=$1
    shift
    # LD_PRELOAD must be a relative path without a blank.
    env ALARMS="$out/$name.alarms" LD_PRELOAD=target/c-tests/alarms.so "$@" >"$out/$name.log" 2>&1 </dev/null &
    background="$background $!"
}
signal_count() {
    wc -c <"$out/$1.alarms" || echo 0
}
# wait_for_signals NAME...: waits until each process has received 20 more signals.
wait_for_signals() {
    for name; do
        enough=$(($(signal_count "$name") + 20))
        while [ "$(signal_count "$name")" -lt $enough ]; do
            all_run
            sleep 0.01
        done
    done
}
# Checks that no process started with signals has ended.
all_run() {
    # shellcheck disable=SC2086
    kill -0 $background 2>/dev/null || { cat "$out"/*.log >"$out/log"; fail "a program, with signals"; }
}

# signals FOLDER: a harmless signal must not end a loop of the examples in any wait. Ctrl-C must end
# the loops that handle it.
signals() {
    folder=$out/$1
    directory
    # shellcheck disable=SC2086
    $cc -D_GNU_SOURCE $warnings -shared -fPIC tests/c/alarms.c -o "$out/alarms.so"
    receivers="consumer blocking poll fan_in consumer_cpp"
    for receiver in $receivers; do
        : >"$out/$receiver.alarms"
        with_signals $receiver "$folder/$receiver" ticks
    done
    all=$background
    : >"$out/interrupted.alarms"
    with_signals interrupted "$folder/consumer_cpp" ticks
    interrupted=$!
    : >"$out/early.alarms"
    with_signals early "$folder/consumer_cpp" ticks
    early=$!
    wait_for_signals $receivers interrupted early # they wait for the queue
    kill -TERM $early
    wait $early && grep -qx "stopped before the producer started" "$out/early.log" ||
        fail "consumer_cpp, by SIGTERM before the queue exists"
    background="$all $interrupted"
    "$folder/producer" ticks >"$out/producer.log" 2>&1 &
    producer=$!
    background="$background $producer"
    wait_for_signals $receivers interrupted # now they wait for messages, ten per second
    wait_for_signals $receivers interrupted
    kill -INT $interrupted
    wait $interrupted && grep -q "^stopped: received [0-9]*, lost 0$" "$out/interrupted.log" ||
        fail "consumer_cpp, by Ctrl-C"
    kill -INT $producer
    wait $producer || fail "producer, by Ctrl-C"
    pushed=$(sed -n 's/^pushed \([0-9]*\) ticks$/\1/p' "$out/producer.log")
    for process in $all; do
        wait "$process" || { cat "$out"/*.log >"$out/log"; fail "a receiver, with signals"; }
    done
    for receiver in consumer fan_in; do
        grep -qx "received $pushed, lost 0" "$out/$receiver.log" || fail "$receiver, with signals"
    done
    [ "$(grep -c '^message' "$out/poll.log")" = "$pushed" ] || fail "poll, with signals"
    grep -qx "closed: received $pushed, lost 0" "$out/consumer_cpp.log" ||
        fail "consumer_cpp, with signals"
    "$folder/producer_cpp" cpp >"$out/producer.log" 2>&1 &
    producer=$!
    "$folder/consumer_cpp" cpp >"$out/log" 2>&1 &
    until grep -q " ns " "$out/log"; do
        kill -0 $producer $! 2>/dev/null || fail "producer_cpp and consumer_cpp"
        sleep 0.01
    done
    kill -TERM $producer
    wait $producer && grep -q "^pushed [1-9][0-9]* ticks$" "$out/producer.log" ||
        fail "producer_cpp, by SIGTERM"
    wait $! || fail "consumer_cpp, when the producer ends by SIGTERM"
    grep -q "^closed: received [1-9][0-9]*, lost 0$" "$out/log" || fail "consumer_cpp, at the end"
    grep -q '^[0-9]* after' "$out/blocking.log" || fail "blocking, with signals"
    # A producer that waits for free space, and its consumer.
    background=
    : >"$out/pop.alarms"
    with_signals pop "$folder/lossless" pop alice
    wait_for_signals pop
    with_signals push "$folder/lossless" push
    until grep -qx 'alice: 1000' "$out/pop.log"; do
        all_run
        sleep 0.01
    done
    kill $background
    background=
    echo "test-c: the examples, with signals passed"
}

sed -n '/^#include <errno.h>/,/^\*\//p' include/ipcq.h | sed '$d' >"$out/ticks.c"
build plain -O2
programs plain plain
run "test_cancel" "$out/plain/test_cancel"
run "test_handler" "$out/plain/test_handler"
signals plain
scripts/localise.sh target/release/libipcq.a
# shellcheck disable=SC2086
$cc -std=c11 -D_GNU_SOURCE $warnings tests/c/test_ipcq.c -o "$out/static" $static 2>"$out/log" || fail "static"
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

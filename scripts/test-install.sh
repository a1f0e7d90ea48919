#!/bin/sh
# Installs into an empty folder whose name contains a blank, and builds an example against the
# installed files: shared, static, with pkg-config and with CMake, and together with another static
# library written in Rust.
set -eu
cd "$(dirname "$0")/.."
if ! command -v pkg-config >/dev/null; then
    echo "test-install: skipped, pkg-config is missing"
    exit 0
fi
cc=${CC:-cc} source=c-examples/variable_length.c
root="$PWD/target/install test"
rm -rf "$root"
make --no-print-directory install PREFIX=/opt/ipcq DESTDIR="$root" >"$PWD/target/install-test.log"
export PKG_CONFIG_PATH="$root/opt/ipcq/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
export IPCQ_DIR="$root/queues"
mkdir "$IPCQ_DIR"
lib="$root/opt/ipcq/lib"

fail() {
    echo "test-install: $1"
    exit 1
}
# build PROGRAM WORD...: builds the example with these words and the flags from pkg-config, which
# may contain blanks.
build() {
    program=$1
    shift
    eval '$cc "$source" "$@"' "$words" '-o "$root/$program"' 2>"$root/log" ||
        { cat "$root/log"; fail "$program does not link"; }
}
# Prints the name of the shared library that a program needs, if it needs it.
needed() {
    readelf -d "$root/$1" | sed -n 's/.*\[\(libipcq.*\)\]/\1/p'
}
# same PROGRAM: its output must equal that of the shared program.
same() {
    "$root/$1" >"$root/$1.out"
    cmp "$root/shared.out" "$root/$1.out"
}

words=$(pkg-config --cflags --libs ipcq)
build shared
LD_LIBRARY_PATH="$lib" "$root/shared" >"$root/shared.out"
test -s "$root/shared.out"
needed shared | grep -qx 'libipcq\.so\.[0-9]*\.[0-9]*' || fail "the shared library has no version in its name"

words=$(pkg-config --static --cflags --libs ipcq)
build static -static
same static
words="$(pkg-config --cflags ipcq) -lpthread -lm -ldl"
build archive "$lib/libipcq.a"
same archive
test -z "$(needed static)$(needed archive)" || fail "a static program needs the shared library"

# Two libraries that both contain the Rust runtime, in either order. Cross builds skip this, because
# the other library is built for this machine.
cat >"$root/other.rs" <<'RUST'
use std::collections::HashMap;
#[no_mangle]
pub extern "C" fn other(n: i32) -> i32 {
    let map: HashMap<i32, i32> = (0..n).map(|i| (i, i * 2)).collect();
    let sum = std::thread::spawn(move || map.values().sum::<i32>());
    std::panic::set_hook(Box::new(|_| {}));
    sum.join().unwrap() + i32::from(std::panic::catch_unwind(|| panic!()).is_err())
}
RUST
cat >"$root/both.c" <<'C'
#include <ipcq.h>
#include <string.h>
int other(int);
int main(void) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.message_size = 8;
  ipcq_queue *out, *in;
  char text[8];
  return ipcq_open(&out, "both", IPCQ_PRODUCER, &o) < 0 || ipcq_open(&in, "both", IPCQ_CONSUMER, NULL) < 0 ||
         ipcq_push(out, "message", 8) < 0 || ipcq_pop(in, text, 8, NULL) != 8 || strcmp(text, "message") ||
         other(7) != 43;
}
C
if rustc --crate-type staticlib -C opt-level=1 "$root/other.rs" -o "$root/libother.a" 2>/dev/null; then
    source="$root/both.c"
    build both "$lib/libipcq.a" "$root/libother.a"
    "$root/both" || fail "two Rust libraries in one program"
    build both "$root/libother.a" "$lib/libipcq.a"
    "$root/both" || fail "two Rust libraries in one program, in the other order"
else
    echo "test-install: rustc is missing, two Rust libraries in one program are skipped"
fi

if command -v cmake >/dev/null; then
    mkdir "$root/cmake"
    cat >"$root/cmake/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.13)
project(use LANGUAGES C CXX)
find_package(ipcq 0.1 REQUIRED)
find_package(ipcq REQUIRED) # again, as another package would do
add_executable(cmake-shared "$PWD/c-examples/variable_length.c")
target_link_libraries(cmake-shared PRIVATE ipcq::ipcq)
add_executable(cmake-static "$PWD/c-examples/variable_length.c")
target_link_libraries(cmake-static PRIVATE ipcq::static)
add_executable(consumer_cpp "$PWD/c-examples/consumer.cpp")
target_compile_features(consumer_cpp PRIVATE cxx_std_17)
target_link_libraries(consumer_cpp PRIVATE ipcq::ipcq)
CMAKE
    (cmake -S "$root/cmake" -B "$root/cmake/build" -DCMAKE_PREFIX_PATH="$root/opt/ipcq" \
        -DCMAKE_RUNTIME_OUTPUT_DIRECTORY="$root" && cmake --build "$root/cmake/build") >"$root/log" 2>&1 ||
        { cat "$root/log"; fail "CMake"; }
    same cmake-shared
    same cmake-static
    [ "$(needed cmake-shared)" = "$(needed shared)" ] || fail "ipcq::ipcq is not the shared library"
    [ -z "$(needed cmake-static)" ] || fail "ipcq::static is not the static library"
    sed -i 's/ipcq 0.1/ipcq 0.99/' "$root/cmake/CMakeLists.txt"
    if cmake -S "$root/cmake" -B "$root/cmake/newer" -DCMAKE_PREFIX_PATH="$root/opt/ipcq" >"$root/log" 2>&1; then
        fail "CMake accepted this version for a newer one"
    fi
else
    echo "test-install: cmake is missing, its part is skipped"
fi

"$root/opt/ipcq/bin/ipcq" --version
make --no-print-directory uninstall PREFIX=/opt/ipcq DESTDIR="$root" >>"$PWD/target/install-test.log"
left=$(find "$root/opt" ! -type d)
test -z "$left" || fail "uninstall left $left"
echo "test-install: passed"

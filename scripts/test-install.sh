#!/bin/sh
# Installs into an empty folder, builds an example against what was installed, shared and static,
# by pkg-config alone, and runs it.
set -eu
cd "$(dirname "$0")/.."
if ! command -v pkg-config >/dev/null; then
    echo "test-install: skipped, pkg-config is missing"
    exit 0
fi
root=$PWD/target/install-test
rm -rf "$root"
make --no-print-directory install PREFIX=/opt/ipcq DESTDIR="$root" >"$PWD/target/install-test.log"
export PKG_CONFIG_PATH="$root/opt/ipcq/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$root"
export IPCQ_DIR="$root/queues"
mkdir "$IPCQ_DIR"

# shellcheck disable=SC2046 # the flags are words
${CC:-cc} c-examples/variable_length.c -o "$root/shared" $(pkg-config --cflags --libs ipcq)
LD_LIBRARY_PATH="$root/opt/ipcq/lib" "$root/shared" >"$root/shared.out"

cp -r "$root/opt/ipcq/lib" "$root/static-only"
rm "$root"/static-only/*.so*
# shellcheck disable=SC2046
${CC:-cc} c-examples/variable_length.c -o "$root/static" -L"$root/static-only" \
    $(pkg-config --cflags ipcq) -Wl,-Bstatic -lipcq -Wl,-Bdynamic \
    $(pkg-config --libs --static ipcq | tr ' ' '\n' | grep -v -e -lipcq -e '^-L')
"$root/static" >"$root/static.out"

cmp "$root/shared.out" "$root/static.out"
test -s "$root/shared.out"
readelf -d "$root/shared" | grep -q 'libipcq\.so\.[0-9]*\.[0-9]*\]'
"$root/opt/ipcq/bin/ipcq" --version
make --no-print-directory uninstall PREFIX=/opt/ipcq DESTDIR="$root" >>"$PWD/target/install-test.log"
left=$(find "$root/opt" ! -type d)
test -z "$left" || { echo "test-install: uninstall left $left"; exit 1; }
echo "test-install: passed"

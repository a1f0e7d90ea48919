#!/bin/sh
# Builds the library and its tests for aarch64 and runs them under emulation. It needs an x86-64
# machine with apt, and gcc, g++ and binutils for aarch64. Debian's Rust for aarch64 and its
# emulator are downloaded once into target/aarch64. They are not installed.
#
#   scripts/test-aarch64.sh
#
# Exits with 77 if the test cannot run here.
set -eu
cd "$(dirname "$0")/.."
out=$PWD/target/aarch64
triple=aarch64-unknown-linux-gnu
# The oldest release of Debian with a Rust version that Cargo.toml accepts.
release=trixie
packages="rustc libstd-rust-dev:arm64 qemu-user"

fail() {
    echo "test-aarch64: $1" >&2
    exit 1
}
missing() {
    echo "test-aarch64: skipped: $1" >&2
    exit 77
}
case $PWD in *' '*) missing "cargo settings do not support a blank in the path of this folder" ;; esac
[ "$(uname -m)" = x86_64 ] || missing "this machine is not x86-64: on aarch64, run make test"
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || missing "apt-get and dpkg-deb are missing"
for tool in gcc g++ ld; do
    command -v aarch64-linux-gnu-$tool >/dev/null ||
        missing "aarch64-linux-gnu-$tool is missing: install gcc-aarch64-linux-gnu and g++-aarch64-linux-gnu"
done

# --- Rust and the emulator ------------------------------------------------------------------------

root=$out/root
if [ ! -e "$root/.$release" ]; then
    mirror=${IPCQ_DEBIAN:-$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 2>/dev/null |
        grep '/debian/$' | head -n 1)}
    [ -n "$mirror" ] || missing "apt has no Debian source: set IPCQ_DEBIAN to the URL of a mirror"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e $key ] || missing "debian-archive-keyring is missing"
    apt=$out/apt
    rm -rf "$root" "$apt"
    mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    echo "deb [signed-by=$key] $mirror $release main" >"$apt/sources"
    cat >"$apt/conf" <<APT
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::SourceList "$apt/sources";
Dir::Etc::SourceParts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
APT
    # shellcheck disable=SC2086 # the packages are words
    (export APT_CONFIG="$apt/conf" && apt-get -q update &&
        apt-get -q install --download-only --yes $packages) >"$out/apt.log" 2>&1 ||
        { tail -n 5 "$out/apt.log"; missing "apt-get could not fetch $packages of $release from $mirror"; }
    for package in "$apt"/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$root"
    done
    rm -r "$apt"
    touch "$root/.$release"
fi
libraries=$root/usr/lib/x86_64-linux-gnu
cat >"$out/rustc" <<SH
#!/bin/sh
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/usr/bin/rustc" --sysroot "$root/usr" "\$@"
SH
chmod +x "$out/rustc"

# --- build and run --------------------------------------------------------------------------------

# The emulator needs the folder that contains the C library of the compiler.
loader=$(aarch64-linux-gnu-gcc -print-file-name=ld-linux-aarch64.so.1)
emulator="$root/usr/bin/qemu-aarch64 -L $(dirname "$(dirname "$loader")")"
export RUSTC="$out/rustc" CARGO_BUILD_TARGET=$triple CARGO_TARGET_DIR="$out/build"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$emulator" IPCQ_TEST_RUNNER="$emulator"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
# Skip tests that the emulator does not support. It has no seccomp, with which the first four tests
# disable system calls. It lets a child inherit a mapping that is marked MADV_DONTFORK. It starts a
# process more slowly than the next test kills it. It invents the start time of a process, which the
# next test needs. The last three start the command from a shell, with few descriptors or as another
# user, and the emulator does not run there.
# emulator does not run.
skip="--skip a_kernel_without_membarrier_is_enough --skip a_producer_without_membarrier_also_wakes
    --skip descriptors_become_readable_on_an_older_kernel
    --skip one_consumer_waits_on_many_queues_on_an_older_kernel
    --skip a_process_being_started_does_not_keep_the_lock_of_a_closed_producer
    --skip a_bare_clone_keeps_no_lock_of_its_parent
    --skip nothing_is_lost_when_any_process_dies --skip locks_of_a_reader_do_no_harm
    --skip a_directory_that_cannot_be_read_is_an_error --skip top_shows_ten_thousand_queues
    --skip unreadable_queues_are_listed"
check() {
    # shellcheck disable=SC2086 # the options are words
    cargo test --quiet "$@" -- $skip $threads || failed="$failed $*"
}
failed= threads=
check --lib --bins
for file in tests/*.rs cli/tests/*.rs; do
    name=$(basename "$file" .rs)
    case $name in
    steps | races) continue ;; # they need a feature
    threads) cargo test --quiet --test threads || failed="$failed threads" ;;
    *)
        # In these files, no other test may fork at the same time, because starting a process is
        # slow.
        threads=
        ! grep -q 'fork(' "$file" || threads=--test-threads=1
        check --test "$name"
        ;;
    esac
done
[ -z "$failed" ] || fail "failed:$failed"

# The C interface, shared and static.
cargo rustc --lib --crate-type cdylib,staticlib
built=$out/build/$triple/debug
AR=aarch64-linux-gnu-ar LD=aarch64-linux-gnu-ld NM=aarch64-linux-gnu-nm OBJCOPY=aarch64-linux-gnu-objcopy \
    scripts/localise.sh "$built/libipcq.a"
ln -sf libipcq.so "$built/$(aarch64-linux-gnu-readelf -d "$built/libipcq.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"
flags="-g -O1 -Wall -Wextra -Werror -Iinclude -L$built -pthread"
build() {
    compiler=$1 source=$2
    shift 2
    # shellcheck disable=SC2086 # the flags are words
    aarch64-linux-gnu-$compiler $flags "$source" "$@"
}
# run PROGRAM: runs it with an empty folder for its queues. The program must leave the folder empty.
run() {
    IPCQ_DIR=$(mktemp -d "$out/queues.XXXXXX")
    export IPCQ_DIR
    # shellcheck disable=SC2086
    timeout 300 $emulator -E LD_LIBRARY_PATH="$built" "$out/$1" >"$out/log" 2>&1 || { cat "$out/log"; fail "$1 failed"; }
    rmdir "$IPCQ_DIR"
    echo "test-aarch64: $1 passed"
}
for test in test_ipcq test_records test_cancel; do
    build "gcc -std=c11 -D_GNU_SOURCE" tests/c/$test.c -o "$out/$test" -lipcq
    run $test
done
build "g++ -std=c++17" tests/c/test_hpp.cpp -o "$out/test_hpp" -lipcq
run test_hpp
build "gcc -std=c11 -D_GNU_SOURCE" tests/c/test_records.c -o "$out/static" -static "$built/libipcq.a" -lm -ldl
run static
echo "test-aarch64: passed"

#!/bin/sh
# Makes all symbols of the static library local except ipcq_*. A program can then link it together
# with another static library written in Rust, although both contain the Rust runtime. Code that the
# functions of the header do not need is removed.
#
#   scripts/localise.sh LIBRARY
#
# AR, LD, NM and OBJCOPY are the binutils of its target.
set -eu
library=$1
header=$(dirname "$0")/../include/ipcq.h

if [ "$("${AR:-ar}" t "$library")" = ipcq.o ]; then
    exit 0 # done before
fi
work=$(mktemp -d "$library.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Remove sections that only the Rust compiler reads. A plugin of the binutils may fail on them.
echo 'SECTIONS { /DISCARD/ : { *(.llvmbc .llvmcmd) } }' >"$work/script"
# Force the allocation of section groups. Otherwise a linker would keep only one of two libraries'
# copies.
sed -n 's/^IPCQ_[A-Z]* .*[ *]\(ipcq_[a-z_]*\)(.*/-u \1/p' "$header" | xargs \
    "${LD:-ld}" -r --gc-sections --force-group-allocation -T "$work/script" "$library" -o "$work/ipcq.o"
"${OBJCOPY:-objcopy}" --wildcard --keep-global-symbol='ipcq_*' "$work/ipcq.o"
left=$("${NM:-nm}" --extern-only --defined-only "$work/ipcq.o" | grep -v ' ipcq_' || true)
if [ -n "$left" ]; then
    echo "ipcq: $library: global symbols are left: $left" >&2
    exit 1
fi
"${AR:-ar}" rcs "$work/library" "$work/ipcq.o"
# Replace the file. An overwrite would also change its hard link in the folder of cargo.
mv -f "$work/library" "$library"

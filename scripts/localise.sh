#!/bin/sh
# Makes all symbols of the static library local but ipcq_*, so that a program can have it beside
# another static library that was written in Rust: both bring the same runtime. What the functions of
# the header do not need is left out.
#
#   scripts/localise.sh LIBRARY
#
# AR, LD, NM and OBJCOPY are the binutils of its target.
set -eu
library=$1
header=$(dirname "$0")/../include/ipcq.h

if [ "$("${AR:-ar}" t "$library")" = ipcq.o ]; then
    exit 0 # done already
fi
work=$(mktemp -d "$library.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Rust's own objects carry what only its compiler reads, and a plugin of the binutils may choke on it.
echo 'SECTIONS { /DISCARD/ : { *(.llvmbc .llvmcmd) } }' >"$work/script"
# Groups are the means by which a linker keeps one copy of what two libraries bring.
sed -n 's/^IPCQ_[A-Z]* .*[ *]\(ipcq_[a-z_]*\)(.*/-u \1/p' "$header" | xargs \
    "${LD:-ld}" -r --gc-sections --force-group-allocation -T "$work/script" "$library" -o "$work/ipcq.o"
"${OBJCOPY:-objcopy}" --wildcard --keep-global-symbol='ipcq_*' "$work/ipcq.o"
left=$("${NM:-nm}" --extern-only --defined-only "$work/ipcq.o" | grep -v ' ipcq_' || true)
if [ -n "$left" ]; then
    echo "ipcq: $library: global symbols are left: $left" >&2
    exit 1
fi
"${AR:-ar}" rcs "$work/library" "$work/ipcq.o"
mv -f "$work/library" "$library" # not over the old one, which has another name in cargo's folder

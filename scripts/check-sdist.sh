#!/bin/sh
# A source distribution must contain every file that it is built from.
#
#   scripts/check-sdist.sh ipcq-VERSION.tar.gz
set -eu
cd "$(dirname "$0")/.."
list=$(tar -tzf "$1" | sed 's|^[^/]*/||')
{
    # maturin puts the package next to pyproject.toml, where an installer searches for it.
    find bindings/python/python -name '*.py' -o -name '*.pyi' -o -name py.typed | sed 's|^bindings/python/||'
    find src bindings/python/src -name '*.rs' -o -name '*.in'
    echo Cargo.toml Cargo.lock build.rs bindings/python/Cargo.toml pyproject.toml README.md \
        LICENSE-MIT LICENSE-APACHE PKG-INFO | tr ' ' '\n'
} | while read -r file; do
    printf '%s\n' "$list" | grep -Fqx "$file" || { echo "check-sdist: $file is not in $1"; exit 1; }
done

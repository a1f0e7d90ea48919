#!/bin/sh
# Prints one line about a missing build tool, if any is missing.
#
#   scripts/check-tools.sh PYTHON CC
set -u
python=$1 cc=$2
fail() { echo "ipcq: $1" >&2; exit 1; }

command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.85 or later (https://rustup.rs)"
command -v "$cc" >/dev/null || fail "the C compiler '$cc' is missing: install gcc or clang, or set CC"
command -v "$python" >/dev/null || fail "'$python' is missing: install Python 3.11 or later, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: install Python 3.11 or later, or set PYTHON"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "Python's venv module is missing: install it (Debian: python3-venv)"

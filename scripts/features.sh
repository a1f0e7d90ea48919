#!/bin/sh
# Lints and tests the library without any feature, and with each feature alone.
#
#   scripts/features.sh
#
# The feature names come from Cargo.toml. A feature that only tests use (`steps`, or a name with a
# leading underscore) is only linted here, because its tests have a target of their own.
set -eu
cd "$(dirname "$0")/.."
names=$(sed -n '/^\[features\]/,/^\[/s/^\([a-z_][a-z0-9_-]*\) *=.*/\1/p' Cargo.toml | grep -vx default)
[ -n "$names" ] || { echo "features: Cargo.toml lists no feature" >&2; exit 1; }
for name in none $names; do
    case $name in
    none) features= test=1 ;;
    steps | _*) features=$name test= ;;
    *) features=$name test=1 ;;
    esac
    echo "features: ${features:-none}"
    cargo clippy -p ipcq --no-default-features --features "$features" --lib --tests -- -D warnings
    [ -z "$test" ] || cargo test -p ipcq --no-default-features --features "$features" --lib --test queue
done
echo "features: passed with none and with each of" $names

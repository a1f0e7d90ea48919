#!/bin/sh
# Explores the models of the ring protocol (docs/memory-model.md) with loom.
#
#   scripts/model.sh short    the reduced form, for `make test`
#   scripts/model.sh full     all of it
set -eu
cd "$(dirname "$0")/.."
case "${1:-short}" in
    short | full) ;;
    *) echo "usage: $0 short|full" >&2; exit 2 ;;
esac
export IPCQ_MODEL="${1:-short}"
# The flags differ from other builds, so use another folder. Otherwise each build would rebuild
# everything.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export RUSTFLAGS="--cfg loom" CARGO_PROFILE_DEV_OPT_LEVEL=3 RUST_BACKTRACE=0
exec cargo test --no-default-features --lib ring::tests::loom

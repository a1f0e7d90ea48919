#!/bin/sh
# Kills, and stops, a producer at every single step (tests/steps.rs), and one of two processes that use
# the same name (tests/races.rs). The library is built for it
# in a folder of its own, with a feature that nothing else is built with.
set -eu
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/steps"
exec cargo test --no-default-features --features steps --test steps --test races -- --nocapture "$@"

#!/bin/sh
# Kills and stops a producer at every step (tests/steps.rs), and one of two processes that use the
# same name (tests/races.rs). The library is built in its own folder, because no other build has the
# feature.
set -eu
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/steps"
exec cargo test --no-default-features --features steps --test steps --test races -- --nocapture "$@"

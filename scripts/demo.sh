#!/usr/bin/env bash
# Builds the node and shows a small network on this machine: scripts/demo.sh [--check] [argument…]
#
# Everything after the script's name goes to `testnet demo`; --check runs the story, checks each
# step and ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 0
fi

# shellcheck source=scripts/setup.sh
. scripts/setup.sh
cargo build -p node -p testnet
exec "$CARGO_TARGET_DIR/debug/testnet" demo "$@"

#!/usr/bin/env bash
# Runs the tests: scripts/test.sh [--long]
#
# Without an argument: every test of the workspace, NIST's PKITS, a linter over certificates, the model, 1,000
# simulated hours, and a network that is governed while it runs. With --long also the long versions of the
# tests that have one (MEBUKU_LONG=1), formatting, clippy, the mutants, faults and latency on real processes,
# and licences, bans and sources of everything in the tree. All steps run even if one fails; the summary at the
# end names them.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

cargo_deny_version=0.20.2
long=no
case "${1:-}" in
  '') ;;
  --long) long=yes ;;
  -h | --help)
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  *)
    echo "test.sh: unknown argument '$1' (known: --long)" >&2
    exit 2
    ;;
esac

# shellcheck source=scripts/setup.sh
. scripts/setup.sh || exit 1

summary=()
failed=0

# step NAME COMMAND…
step() {
  local name=$1 start=$SECONDS outcome=ok
  shift
  printf '\n== %s\n' "$name"
  "$@" || {
    outcome=FAILED
    failed=1
  }
  summary+=("$(printf '%-7s %5ds  %s' "$outcome" "$((SECONDS - start))" "$name")")
}

# cargo-deny is not part of a toolchain, and the packages of other registries are too old to know
# today's licences: compiled once, kept beside the build directory. One version everywhere, as its
# configuration changes between them.
# shellcheck disable=SC2317 # called through `step`
check_tree() {
  local tools=${MEBUKU_TOOLS_DIR:-$HOME/.cache/mebuku/tools}
  local deny=$tools/bin/cargo-deny
  if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $cargo_deny_version" ]; then
    echo "compiling cargo-deny $cargo_deny_version into $tools (once, some minutes)"
    env -u CARGO_TARGET_DIR cargo install --locked --debug --force \
      --version "$cargo_deny_version" --root "$tools" cargo-deny || return 1
  fi
  # Of other platforms' packages the build has downloaded none.
  cargo fetch --locked || return 1
  # Offline: the tree is on this machine by now, and these three checks need nothing else.
  "$deny" --offline check licenses bans sources
}

if [ "$long" = yes ]; then
  export MEBUKU_LONG=1
  step 'formatting' cargo fmt --all --check
  step 'clippy' cargo clippy --workspace --all-targets -- -D warnings
fi
step 'tests' cargo test --workspace
step 'PKITS' scripts/pkits.sh
step 'certificates' scripts/pkilint.sh
if [ "$long" = yes ]; then
  step 'mutants' cargo test -p simulator --features mutants --test mutants
fi
# As it was just built for the tests: a package by itself would be built anew, with fewer features of its
# dependencies. `faults` starts the node beside it.
testnet=$CARGO_TARGET_DIR/debug/testnet
# Three minutes is what the long run promises; a machine that is slower than any we know may take longer.
within=()
[ "$long" = yes ] && within=(timeout 180)
step 'model' "${within[@]}" "$testnet" model
step 'simulated days' "$testnet" sim --seed 1 --nodes 6 --hours 1000
step 'governing while it runs' "$testnet" govern
if [ "$long" = yes ]; then
  step 'faults' "$testnet" faults --kills 200
  step 'latency' "$testnet" latency
  step 'licences, bans, sources' check_tree
fi

printf '\n== summary\n'
printf '%s\n' "${summary[@]}"
exit "$failed"

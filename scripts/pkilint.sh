#!/usr/bin/env bash
# Lints one certificate of each kind that the network issues: scripts/pkilint.sh
#
# The linter, pkilint, comes from PyPI: installed once, kept beside the build directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

version=0.12.10
tool=${MEBUKU_TOOLS_DIR:-$HOME/.cache/mebuku/tools}/pkilint-$version
if [ ! -x "$tool/bin/lint_pkix_cert" ]; then
  rm -rf "$tool"
  if ! python3 -m venv "$tool" >/dev/null 2>&1; then
    mebuku_install python3 python3-venv
    rm -rf "$tool"
    python3 -m venv "$tool"
  fi
  "$tool/bin/pip" install -q "pkilint==$version"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
MEBUKU_LINT=$folder cargo test -q --workspace --test lint
found=0
for certificate in "$folder"/*.der; do
  findings=$("$tool/bin/lint_pkix_cert" lint -s ERROR -f TEXT "$certificate") || true
  # The linter knows the URI schemes of the web alone; `mebuku:number/name` is a URI of RFC 3986 (scheme and
  # path-rootless), and that is what RFC 5280 section 4.2.1.6 asks for.
  errors=$(grep -E '\((ERROR|FATAL)\)' <<<"$findings" |
    grep -vE 'pkix\.invalid_uri_syntax \(ERROR\): Invalid URI syntax: "mebuku:[0-9]{13}/[a-z0-9-]+"' || true)
  name=$(basename "$certificate" .der)
  if [ -n "$errors" ]; then
    printf '%s:\n%s\n' "$name" "$errors"
    found=1
  else
    echo "$name: no error"
  fi
done
exit "$found"

#!/usr/bin/env bash
# Runs NIST's PKITS against the path validation: scripts/pkits.sh
#
# The suite comes with PyPI's package cryptography-vectors: downloaded once, kept beside the build directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

version=45.0.7
folder=${MEBUKU_TOOLS_DIR:-$HOME/.cache/mebuku/tools}/pkits-$version
suite=$folder/cryptography_vectors/x509/PKITS_data
if [ ! -d "$suite" ]; then
  if ! python3 -m pip --version >/dev/null 2>&1; then
    elevate=()
    [ "$(id -u)" -eq 0 ] || elevate=(sudo)
    mebuku_apt "${elevate[@]}" -- python3 python3-pip || {
      "${elevate[@]}" apt-get update -q
      mebuku_apt "${elevate[@]}" -- python3 python3-pip
    }
  fi
  draft=$folder.part
  rm -rf "$draft"
  mkdir -p "$draft"
  python3 -m pip download -q --no-deps --dest "$draft" "cryptography-vectors==$version"
  # A wheel is a zip file.
  python3 -c 'import glob, sys, zipfile
for wheel in glob.glob(sys.argv[1] + "/*.whl"):
    suite = zipfile.ZipFile(wheel)
    suite.extractall(sys.argv[1], [n for n in suite.namelist() if "/PKITS_data/" in n])' "$draft"
  rm -f "$draft"/*.whl
  rm -rf "$folder"
  mv "$draft" "$folder"
fi
echo "PKITS of cryptography-vectors $version"
MEBUKU_PKITS=$suite cargo test --workspace --test pkits -- --nocapture

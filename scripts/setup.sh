#!/usr/bin/env bash
# Makes a fresh Debian (or Ubuntu) ready to build: system packages with apt, a check for Rust, and
# the place where builds go. Run it as often as you like; source it to get CARGO_TARGET_DIR:
#
#   . scripts/setup.sh
#
# Nothing is downloaded but packages from the registries that apt and cargo are set up with.

mebuku_setup() {
  local rust_needed=1.95 package missing=()

  # The build directory is large and outlives a checkout: keep it outside.
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${MEBUKU_BUILD_DIR:-$HOME/.cache/mebuku/target}}"
  if ! mkdir -p "$CARGO_TARGET_DIR"; then
    echo "setup: cannot create the build directory $CARGO_TARGET_DIR; set MEBUKU_BUILD_DIR to one that can be written" >&2
    return 1
  fi

  if command -v dpkg-query >/dev/null 2>&1; then
    # libclang: bindgen, for RocksDB. The C and C++ compilers: RocksDB and aws-lc.
    for package in build-essential clang libclang-dev pkg-config git curl; do
      mebuku_has "$package" || missing+=("$package")
    done
    mebuku_install "${missing[@]}" || return 1
  else
    echo "setup: no dpkg here; a C++ compiler, clang, libclang, pkg-config and git must be installed" >&2
  fi

  # A fresh login shell may not have cargo on its path yet.
  if ! command -v cargo >/dev/null 2>&1 && [ -x "$HOME/.cargo/bin/cargo" ]; then
    export PATH="$HOME/.cargo/bin:$PATH"
  fi
  local rust_found
  # `|| true`: whoever sources this may stop at the first failing command, before the message below.
  rust_found=$(rustc --version 2>/dev/null | cut -d ' ' -f 2) || true
  if [ -z "$rust_found" ] || ! command -v cargo >/dev/null 2>&1; then
    echo "setup: no Rust here; $rust_needed or later is needed. Get it from https://rustup.rs, then:" >&2
    echo "setup:   rustup toolchain install stable --component rustfmt --component clippy" >&2
    return 1
  fi
  if [ "$(printf '%s\n' "$rust_needed" "$rust_found" | sort -V | head -n 1)" != "$rust_needed" ]; then
    echo "setup: Rust $rust_found is too old; $rust_needed or later is needed: rustup update stable" >&2
    return 1
  fi
  echo "setup: Rust $rust_found, building in $CARGO_TARGET_DIR"
}

# Whether what a package is for is here, by whatever way it came.
mebuku_has() {
  case "$1" in
    build-essential) command -v cc >/dev/null 2>&1 && command -v c++ >/dev/null 2>&1 && command -v make >/dev/null 2>&1 ;;
    clang | git | curl) command -v "$1" >/dev/null 2>&1 ;;
    pkg-config) command -v pkg-config >/dev/null 2>&1 ;;
    python3) command -v python3 >/dev/null 2>&1 ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
    *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
  esac
}

# mebuku_install package… — with apt, as root or through sudo; nothing to do without packages.
mebuku_install() {
  local elevate=()
  [ "$#" -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
      echo "setup: missing: $*. Install them as root: apt-get install $*" >&2
      return 1
    fi
    elevate=(sudo)
  fi
  echo "setup: installing $*"
  # The lists may be missing (a fresh image) or old: refresh once before giving up.
  if ! mebuku_apt "${elevate[@]}" -- "$@"; then
    "${elevate[@]}" apt-get update -q || return 1
    mebuku_apt "${elevate[@]}" -- "$@" || return 1
  fi
}

# mebuku_apt [sudo] -- package…
mebuku_apt() {
  local elevate=()
  while [ "$1" != -- ]; do
    elevate+=("$1")
    shift
  done
  shift
  "${elevate[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

mebuku_setup

# To be sourced: `require_packages PACKAGE...` installs those Debian or Ubuntu packages that are missing, saying so.
# Without the right to install it prints the command to run and exits with 1.

has_package() {
  case $1 in
    g++) command -v g++ > /dev/null ;;
    clang) command -v clang++ > /dev/null ;;
    cmake | make) command -v "$1" > /dev/null ;;
    *) dpkg-query -W -f '${Status}' "$1" 2> /dev/null | grep -q '^install ok installed' ;;
  esac
}

require_packages() {
  if ! command -v apt-get > /dev/null || ! command -v dpkg-query > /dev/null; then
    echo "No apt-get here: nothing is installed. Needed, as Debian calls it: $*"
    return
  fi
  missing=
  for package in "$@"; do
    has_package "$package" || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0

  install="apt-get install -y --no-install-recommends$missing"
  as_root=
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo > /dev/null && { [ -t 0 ] || sudo -n true 2> /dev/null; }; then
      as_root=sudo
    else
      echo "Missing packages, and no right to install them. Please run:"
      echo "  sudo $install"
      exit 1
    fi
  fi
  echo "Installing$missing"
  # A fresh container has no package lists, an old one has stale ones: fetch them first; old ones may do.
  $as_root apt-get update -qq || echo "Could not fetch the package lists; trying with those at hand."
  if ! $as_root env DEBIAN_FRONTEND=noninteractive $install > /dev/null; then
    echo "That failed. Please run:"
    echo "  ${as_root:+$as_root }apt-get update && ${as_root:+$as_root }$install"
    exit 1
  fi
}

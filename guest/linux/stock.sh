#!/bin/sh
# Fetches Debian's own kernel image into the user's cache, without installing it, and prints where
# its vmlinuz is.
#
#   stock.sh            fetch what is not there yet
#   stock.sh --where    only print it; nothing when the package is not known
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pykvm/linux
package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1)
[ -n "$package" ] || { [ "${1:-}" = --where ] || echo "linux-stock: apt-get update" >&2; exit 1; }
version=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
target=$cache/stock-$version
vmlinuz=$target/vmlinuz-${package#linux-image-}
if [ "${1:-}" != --where ] && [ ! -e "$vmlinuz" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT INT TERM
    (cd "$work" && apt-get download -qq "$package" >&2)
    dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work" --wildcards './boot/vmlinuz-*'
    mkdir -p "$target"
    mv "$work"/boot/vmlinuz-* "$target/"
fi
echo "$vmlinuz"

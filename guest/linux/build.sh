#!/bin/sh
# Builds the Linux guest of the tests from Debian's linux-source-6.1 and keeps it in the user's
# cache, by the hash of the source's version, the configuration and the recipe's number.
#
#   build.sh            build what is not there yet, print the directory: vmlinux, bzImage, config
#   build.sh --where    only print it
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=/usr/src/linux-source-6.1.tar.xz
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pykvm/linux
recipe=1 # to be raised when what is done below changes what comes out
packages="linux-source-6.1 gcc make bc bison flex libelf-dev lz4 xz-utils"

version() {
    dpkg-query -W -f '${Version}' linux-source-6.1 2>/dev/null || echo none
}

where() {
    key=$( (echo $recipe; version; cat "$here/config") | sha256sum | cut -c 1-16)
    echo "$cache/6.1-$key"
}

absent() {
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            printf ' %s' "$package"
    done
}

require() {
    wanted=$(absent)
    [ -z "$wanted" ] && return
    if [ "$(id -u)" = 0 ]; then
        echo "linux-guest: installing$wanted" >&2
        apt-get update -qq >&2
        # shellcheck disable=SC2086  (a list of words)
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >&2
    else
        echo "linux-guest: install it: sudo apt-get install$wanted" >&2
        exit 1
    fi
}

if [ "${1:-}" = --where ]; then
    where
    exit 0
fi
require
target=$(where)
if [ ! -e "$target/vmlinux" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT INT TERM
    echo "linux-guest: unpacking $source" >&2
    tar -C "$work" --strip-components=1 -xf "$source"
    export KBUILD_BUILD_TIMESTAMP='2023-01-01' KBUILD_BUILD_USER=pykvm KBUILD_BUILD_HOST=guest
    make -C "$work" -s KCONFIG_ALLCONFIG="$here/config" allnoconfig
    # An option that Kconfig dropped is a mistake in ours, and would only show in some test.
    if grep '^CONFIG' "$here/config" | grep -vxFf "$work/.config" >&2; then
        echo "linux-guest: these options of guest/linux/config did not take effect" >&2
        exit 1
    fi
    echo "linux-guest: building (a few minutes on two cores)" >&2
    nice -n 15 make -C "$work" -s -j "${JOBS:-2}" vmlinux bzImage >&2
    result=$(mktemp -d "$cache/done.XXXXXX")
    chmod 755 "$result"
    cp "$work/vmlinux" "$result/vmlinux.full"
    strip --strip-debug -o "$result/vmlinux" "$result/vmlinux.full"
    rm "$result/vmlinux.full"
    cp "$work/arch/x86/boot/bzImage" "$result/bzImage"
    cp "$work/.config" "$result/config"
    mv -T "$result" "$target" 2>/dev/null || rm -rf "$result" # another build was first
fi
echo "$target"

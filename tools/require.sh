#!/bin/sh
# Names what is missing to build pykvm, with the Debian package that brings it. As root, on a machine
# with apt-get, it installs that instead.
set -eu
python=${1:-python3}
packages=""
missing() { # what, package
    echo "pykvm: $1 is missing (Debian package $2)" >&2
    packages="$packages $2"
}

look() {
    packages=""
    command -v gcc >/dev/null 2>&1 || missing gcc gcc
    if command -v "$python" >/dev/null 2>&1; then
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            { echo "pykvm: $python is older than Python 3.11" >&2; exit 1; }
        "$python" -c 'import venv, ensurepip' 2>/dev/null || missing "$python's venv" python3-venv
        include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
        [ -f "$include/Python.h" ] || missing Python.h python3-dev
    else
        missing "$python" python3
        missing venv python3-venv
        missing Python.h python3-dev
    fi
    [ -f /usr/include/stdio.h ] || missing "the C library's headers" libc6-dev
    [ -f /usr/include/linux/kvm.h ] || missing linux/kvm.h linux-libc-dev
}

look
[ -z "$packages" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "pykvm: installing$packages" >&2
    apt-get update -qq
    # shellcheck disable=SC2086  (a list of words)
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2
    look
    [ -z "$packages" ] && exit 0
fi
echo "pykvm: install it: sudo apt-get install$packages" >&2
exit 1

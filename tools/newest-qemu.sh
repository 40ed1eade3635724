#!/bin/sh
# Fetches the newest QEMU that Debian packages for a suite and its backports into the user's cache, without
# installing anything, and prints the program to start. It brings its own C library and firmware along,
# so it runs beside the system's on any Linux for x86-64 that has apt; root is not needed.
#
#   newest-qemu.sh            fetch it if it is not there yet (about 50 MB, 200 MB unpacked)
#   newest-qemu.sh --where    only print where it is or would be
#
# SUITE=trixie in the environment names another suite. The mirror is the one that apt uses already.
set -eu
home=${XDG_CACHE_HOME:-$HOME/.cache}/pykvm/qemu
program=$home/qemu-system-x86_64
suite=${SUITE:-trixie}
if [ "${1:-}" = --where ] || [ -x "$program" ]; then
    echo "$program"
    exit 0
fi
fail() { echo "newest-qemu: $1" >&2; exit 1; }

command -v apt-get >/dev/null || fail "no apt-get here; give another QEMU with --qemu PATH"
# What apt knows of Debian itself, not of its security archive or of others.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
    sed -n 's|^Debian \(.*/debian/\)$|\1|p' | head -n 1)
[ -n "$mirror" ] || fail "apt has no mirror of Debian's, or no list of it yet: apt-get update"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keys" ] || fail "no $keys (Debian package debian-archive-keyring)"

mkdir -p "$(dirname "$home")"
work=$(mktemp -d "$home.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/made/root/usr"

# An apt of its own: its sources, and a system on which nothing is installed, so that all comes along.
for each in "$suite" "$suite-backports"; do
    echo "deb [arch=amd64 signed-by=$keys] $mirror $each main"
done >"$work/apt/sources.list"
: >"$work/apt/status"
cat >"$work/apt/conf" <<CONF
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$work/apt";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "";
CONF
export APT_CONFIG="$work/apt/conf"
apt-get update -qq >&2
apt-get install -qq -y --download-only -t "$suite-backports" qemu-system-x86 seabios >&2 ||
    apt-get install -qq -y --download-only qemu-system-x86 seabios >&2

# Debian's top-level folders are links into /usr, and packages may still name either.
for each in bin lib lib64 sbin; do
    mkdir "$work/made/root/usr/$each"
    ln -s "usr/$each" "$work/made/root/$each"
done
for each in "$work"/apt/archives/*.deb; do
    [ -e "$each" ] || fail "nothing was fetched"
    dpkg-deb --fsys-tarfile "$each" |
        tar -x --no-same-owner --keep-directory-symlink -C "$work/made/root"
done

# The loader that was fetched, for the libraries that were fetched: no chroot.
cat >"$work/made/qemu-system-x86_64" <<'PROGRAM'
#!/bin/sh
usr=$(dirname "$(readlink -f "$0")")/root/usr
libraries=$usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$libraries/qemu"
exec "$usr/lib64/ld-linux-x86-64.so.2" --argv0 qemu-system-x86_64 \
    --library-path "$libraries:$libraries/pulseaudio" "$usr/bin/qemu-system-x86_64" \
    -L "$usr/share/qemu" -L "$usr/share/seabios" -L "$usr/lib/ipxe/qemu" "$@"
PROGRAM
chmod +x "$work/made/qemu-system-x86_64"
"$work/made/qemu-system-x86_64" --version >&2
rm -rf "$home"
mv "$work/made" "$home"
echo "$program"

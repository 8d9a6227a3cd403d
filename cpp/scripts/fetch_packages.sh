#!/usr/bin/env bash
# Unpacks Debian packages into a folder. Nothing is installed and nothing of the system is changed: apt works with a
# folder of its own, and with package sources derived from the system's own.
#
#   fetch_packages.sh FOLDER PACKAGE...
#   SUITE=trixie fetch_packages.sh FOLDER PACKAGE...     from another release than the system's
#   ARCH=arm64 fetch_packages.sh FOLDER PACKAGE...       for another processor
set -euo pipefail

folder=$1; shift
command -v apt-get > /dev/null || { echo "fetch_packages.sh: there is no apt-get here; install $* yourself" >&2; exit 3; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
arch=${ARCH:-$(dpkg --print-architecture)}
apt="$folder/.apt-${SUITE:-own}-$arch"
mkdir -p "$apt"/{etc/sources.list.d,etc/preferences.d,etc/apt.conf.d,etc/trusted.gpg.d,state/lists/partial,cache/archives/partial}

# Other suites keep their updates under other names; the main suite alone is enough.
derive() {
    if [ -z "${SUITE:-}" ]; then cat "$1"; return; fi
    case "$1" in
        *.sources) awk -v suite="$SUITE" 'BEGIN { RS = ""; ORS = "\n\n" }
            !/-security/ { gsub(/(^|\n)Suites:[^\n]*/, "\nSuites: " suite); sub(/^\n/, ""); print }' "$1" ;;
        *) awk -v suite="$SUITE" '/^deb / && !/-security|-updates|-backports/ {
            i = 2; if ($i ~ /^\[/) { while ($i !~ /\]$/) i++; i++ } $(i + 1) = suite; print }' "$1" ;;
    esac
}
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
    # Only Debian's own sources: others have no such suites.
    if [ -s "$list" ] && grep -q debian-archive-keyring "$list"; then
        derive "$list" > "$apt/etc/sources.list.d/$(basename "$list" | sed 's/^sources.list$/main.list/')"
    elif [ -s "$list" ] && [ "$list" = /etc/apt/sources.list ]; then
        derive "$list" > "$apt/etc/sources.list.d/main.list"
    fi
done
cp -r /etc/apt/trusted.gpg.d/. "$apt/etc/trusted.gpg.d/" 2> /dev/null || true
grep -l Acquire:: /etc/apt/apt.conf.d/* 2> /dev/null | xargs -r cp -t "$apt/etc/apt.conf.d/"  # proxies
cat > "$apt/apt.conf" << END
Dir::Etc "$apt/etc";
Dir::State "$apt/state";
Dir::State::status "/dev/null";
Dir::Cache "$apt/cache";
APT::Architecture "$arch";
APT::Architectures "$arch";
APT::Sandbox::User "root";
Acquire::Languages "none";
END
export APT_CONFIG="$apt/apt.conf"
apt-get -qq update
(cd "$apt/cache/archives" && apt-get -qq download "$@")
for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$folder"
done
rm -rf "$apt"
echo "unpacked into $folder: $*"

#!/usr/bin/env bash
# Build a Debian root that carries Asterisk 22, outside the clone, and print its path.
#
#   tests/switches/rig/build.sh          needs root and Debian; about a minute and 300 MB the first time
#
# Kept in ${CALLCTL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/callctl}/asterisk; built anew when it is missing or
# no longer runs. One build at a time: a second one waits for the first and uses what it made.
set -euo pipefail

cache=${CALLCTL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/callctl}
root=$cache/asterisk
suite=${CALLCTL_ASTERISK_SUITE:-forky}     # the first Debian suite with Asterisk 22
step_timeout_s=900

runs() { [ "$(chroot "$1" /usr/sbin/asterisk -V 2>/dev/null | cut -d. -f1)" = "Asterisk 22" ]; }

in_root() {     # a command in the new root; /proc is mounted in a namespace of its own, so nothing stays behind
  timeout "$step_timeout_s" unshare --mount --propagation private bash -c '
    root=$1; shift
    mount -t proc proc "$root/proc"
    exec chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"' in_root "$root.building" "$@"
}

mirror() { apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | sed 1q; }

build() {
  [ -n "$(mirror)" ] || apt-get -q update     # known once the package lists are
  rm -rf --one-file-system "$root.building" "$root"
  # An older debootstrap has no script for a newer suite; they are all links to this one.
  timeout "$step_timeout_s" debootstrap --variant=minbase \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    "$suite" "$root.building" "$(mirror)" /usr/share/debootstrap/scripts/sid

  # Installing must start no service, and a mirror's snapshot may be older than its own expiry date.
  printf '#!/bin/sh\nexit 101\n' > "$root.building/usr/sbin/policy-rc.d"
  chmod 755 "$root.building/usr/sbin/policy-rc.d"
  printf '%s\n' 'Acquire::Check-Valid-Until "false";' 'Acquire::Languages "none";' \
    > "$root.building/etc/apt/apt.conf.d/90callctl"
  cp -L /etc/resolv.conf "$root.building/etc/resolv.conf"
  printf '127.0.0.1 localhost\n' > "$root.building/etc/hosts"
  in_root apt-get -q update
  in_root apt-get -q install -y --no-install-recommends asterisk asterisk-core-sounds-en-gsm
  in_root apt-get clean
  runs "$root.building" || { echo "$suite does not carry Asterisk 22"; return 1; }
  mv "$root.building" "$root"
}

[ "$(id -u)" = 0 ] || { echo "building Asterisk needs root (debootstrap, chroot)" >&2; exit 1; }
mkdir -p "$cache"
exec 9> "$root.lock"
flock 9
if ! runs "$root"; then
  echo "building Asterisk 22 in $root; log: $root.log" >&2
  # In a process of its own: under `if` or `||` bash would go on after a failed command inside it.
  build > "$root.log" 2>&1 & wait $! || { tail -n 20 "$root.log" >&2; exit 1; }
fi
echo "$root"

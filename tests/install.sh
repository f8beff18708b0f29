#!/usr/bin/env bash
# Install what the tests with real servers need, and build Asterisk: as root on Debian. Elsewhere it only says
# what is missing. Where CI is set, anything missing is a failure.
set -euo pipefail

# command, or module of Kamailio = package
declare -A package=([redis-server]=redis-server [mosquitto]=mosquitto [sipp]=sip-tester [debootstrap]=debootstrap
  [kamailio]=kamailio [evapi.so]=kamailio-extra-modules [http_client.so]=kamailio-utils-modules
  [radclient]=freeradius-utils [acc_radius.so]=kamailio-radius-modules [openssl]=openssl)
PATH=$PATH:/usr/sbin

present() { command -v "$1" || compgen -G "/usr/lib/*/kamailio/modules/$1"; }
absent() { local name; for name in "${!package[@]}"; do present "$name" > /dev/null || echo "$name"; done; }

install() {     # without starting the servers on this machine, which is what Debian's packages do
  local packages=("$@") policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends "${packages[@]}" < /dev/null > /dev/null
}

mapfile -t names < <(absent)
debian_root=$([ "$(id -u)" = 0 ] && command -v apt-get > /dev/null && echo yes || true)
if [ ${#names[@]} -gt 0 ] && [ -n "$debian_root" ]; then
  packages=()
  for name in "${names[@]}"; do packages+=("${package[$name]}"); done
  echo "installing ${packages[*]}"
  install "${packages[@]}"
  mapfile -t names < <(absent)
fi
[ ${#names[@]} -eq 0 ] || echo "!!! not installed, so not tested: ${names[*]}" >&2

if [ -n "$debian_root" ]; then
  "$(dirname "$0")/switches/rig/build.sh" > /dev/null
else
  echo "!!! not root on Debian, so no Asterisk is built: calls through a real one are not tested" >&2
  [ -z "${CI:-}" ]
fi
[ ${#names[@]} -eq 0 ] || [ -z "${CI:-}" ]

#!/usr/bin/env bash
# The peers and tools of `deno task bench:peers`, from Debian 12 and crates.io.
# As root; vhost-device-rng, which takes cargo, goes to the folder that is the
# argument (else .cache/peers), whose bin is to be on the PATH.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-$PWD/.cache/peers}

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends \
  qemu-system-common dpdk-dev fio iproute2 strace linux-perf >/dev/null

if ! command -v cargo >/dev/null; then
  echo "There is no cargo: vhost-device-rng is left out" >&2
  exit 0
fi
cargo install --quiet vhost-device-rng --version 0.1.0 --locked --root "$folder"
echo "export PATH=$folder/bin:\$PATH"

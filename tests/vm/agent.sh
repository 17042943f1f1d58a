#!/bin/sh
# Runs as process 1 of the test guest: mounts the usual file systems, loads the
# modules, and then runs the scripts that come over the virtio-serial port named
# "ringside". A script is one line of base64; an answer is a line of
# "STATUS STDOUT_SIZE STDERR_SIZE" and then both outputs.
export PATH=/usr/bin:/usr/sbin HOME=/ LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
echo "agent: started" >/dev/console
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
while read -r module; do insmod "$module"; done </etc/modules

port=
until [ -n "$port" ]; do
  for directory in /sys/class/virtio-ports/*; do
    [ "$(cat "$directory/name" 2>/dev/null)" = ringside ] || continue
    [ -c "/dev/${directory##*/}" ] && port=/dev/${directory##*/}
  done
  [ -n "$port" ] || usleep 10000
done
exec 3<>"$port"
echo "agent: ready" >/dev/console

mkdir -p /run/agent
while read -r line <&3; do
  echo "$line" | base64 -d >/run/agent/script
  sh /run/agent/script </dev/null >/run/agent/stdout 2>/run/agent/stderr 3>&-
  status=$?
  out=$(stat -c %s /run/agent/stdout)
  err=$(stat -c %s /run/agent/stderr)
  echo "$status $out $err" >&3
  # A script may leave something running that still writes: send what was counted.
  head -c "$out" /run/agent/stdout >&3
  head -c "$err" /run/agent/stderr >&3
done
# The host is gone.
poweroff -f

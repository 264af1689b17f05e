#!/bin/sh
# on_disk.sh KIND IMAGE FOLDER COMMAND...
#
# Runs COMMAND where FOLDER is a disk of that kind, in a mount namespace that this program was started
# in (unshare -m). KIND: ext4; filling, an ext4 that somebody else fills as soon as anything is written
# to it; overlay, as in a container, on an ext4; memory_overlay, on a tmpfs. IMAGE holds the ext4.
# Status: COMMAND's.
set -eu
kind=$1 image=$2 folder=$3
shift 3

overlay() {
  mkdir "$1/lower" "$1/upper" "$1/work"
  mount -t overlay overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$folder"
}

free_blocks() { stat -f -c %a "$folder"; }

fill_after_first_write() {
  start=$(free_blocks) at=0
  while [ "$(free_blocks)" -ge $((start - 64)) ]; do :; done
  for mib in 64 4 1; do
    while fallocate -o ${at}MiB -l ${mib}MiB "$folder/filler" 2>/dev/null; do at=$((at + mib)); done
  done
  dd if=/dev/zero of="$folder/rest" bs=4k 2>/dev/null || :
}

mount --make-rprivate /
case $kind in
  ext4 | filling) mount -o loop "$image" "$folder" ;;
  overlay)
    mount -o loop "$image" "$folder"
    overlay "$folder"
    ;;
  memory_overlay)
    mount -t tmpfs tmpfs "$folder"
    overlay "$folder"
    ;;
esac
filler=
if [ "$kind" = filling ]; then
  fill_after_first_write &
  filler=$!
fi
status=0
"$@" || status=$?
[ -z "$filler" ] || kill "$filler" 2>/dev/null || :
exit $status

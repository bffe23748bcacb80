#!/usr/bin/env bash
# run.sh FS_MOUNT FS_MODEL FS_RACE [FILE [BATS-WORDS...]]: the tests of FILE (fs.bats) in a mount namespace
# of their own, as root or, with a user namespace, as an ordinary user who may open /dev/fuse.
set -euo pipefail
FS_MOUNT=$(realpath "$1") FS_MODEL=$(realpath "$2") FS_RACE=$(realpath "$3")
export FS_MOUNT FS_MODEL FS_RACE
tests=$(dirname "$(realpath "$0")")/${4:-fs.bats}
if [ "$(id -u)" = 0 ]; then
	exec unshare -m --propagation private bats "${@:5}" "$tests"
fi
exec unshare -Urm --propagation private bats "${@:5}" "$tests"

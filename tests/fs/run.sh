#!/usr/bin/env bash
# run.sh FS_MOUNT FS_MODEL: the tests of fs.bats in a mount namespace of their own, as root or, with
# a user namespace, as an ordinary user who may open /dev/fuse.
set -euo pipefail
FS_MOUNT=$(realpath "$1") FS_MODEL=$(realpath "$2")
export FS_MOUNT FS_MODEL
here=$(dirname "$(realpath "$0")")
if [ "$(id -u)" = 0 ]; then
	exec unshare -m --propagation private bats "$here/fs.bats"
fi
exec unshare -Urm --propagation private bats "$here/fs.bats"

#!/usr/bin/env bats
# Few inotify watches: what is not watched is looked at again, and never stale for long.

setup() {
	W=$(mktemp -d /tmp/paddock-fs.XXXXXX)
	mkdir "$W/host" "$W/mnt"
	cd "$W" || return 1
	for d in 0 1 2 3 4 5 6 7; do
		mkdir -p "host/d$d/sub" && echo "old $d" >"host/d$d/f" && echo "$d" >"host/d$d/gone"
		echo "linked $d" >"host/d$d/a" && ln "host/d$d/a" "host/d$d/b"
	done
}

mount_with() {
	coproc FS { FS_RESTART=1 FS_WATCHES=$1 exec "$FS_MOUNT" "$W/host" "$W/mnt" "$(id -u)" 2>"$W/log" 3>&-; }
	FS_IN=${FS[1]} FS_JOB=$FS_PID
	read -r -t 10 -u "${FS[0]}" word _
	[ "$word" = ready ]
}

teardown() {
	cd /
	[ -z "${HOLD_IN:-}" ] || { eval "exec $HOLD_IN>&-" && wait "$HOLD_JOB"; }
	eval "exec $FS_IN>&-" 2>/dev/null
	wait "$FS_JOB" 2>/dev/null
	umount -l "$W/mnt" 2>/dev/null
	[ -n "$BATS_TEST_COMPLETED" ] || cat "$W/log"
	rm -rf "$W"
}

# Until the command succeeds, at most so many milliseconds.
within() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
	done
}

shows() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

# Everything is in the guest's caches.
look() {
	for d in 0 1 2 3 4 5 6 7; do
		cat "mnt/d$d/f" "mnt/d$d/gone" "mnt/d$d/a" "mnt/d$d/b" >/dev/null
		ls -lR "mnt/d$d" >/dev/null
		[ ! -e "mnt/d$d/come" ]
	done
}

change() {
	for d in 0 1 2 3 4 5 6 7; do
		echo "new $d" >"host/d$d/f" && rm "host/d$d/gone" && echo come >"host/d$d/come"
		echo "both $d" >"host/d$d/b" && mv "host/d$d/sub" "host/d$d/moved"
	done
}

all_new() {
	local d
	for d in 0 1 2 3 4 5 6 7; do
		shows "mnt/d$d/f" "new $d" && [ ! -e "mnt/d$d/gone" ] && shows "mnt/d$d/come" come &&
			shows "mnt/d$d/a" "both $d" && [ -d "mnt/d$d/moved" ] && [ ! -e "mnt/d$d/sub" ] &&
			[ "$(cd "mnt/d$d" && echo *)" = "a b come f moved" ] || return 1
	done
}

# The first line of files that stay open all the time, from the guest's pages.
hold_open() {
	coproc HOLD { exec 3>&-; exec python3 -c '
import os, sys
fds = [os.open(p, os.O_RDONLY) for p in sys.argv[1:]]
for fd in fds: os.pread(fd, 100, 0)
print("open", flush=True)
for line in sys.stdin:
    print(",".join(os.pread(fd, 5, 0).decode() for fd in fds), flush=True)' "$@"; }
	HOLD_IN=${HOLD[1]} HOLD_OUT=${HOLD[0]} HOLD_JOB=$HOLD_PID
	read -r -t 10 -u "$HOLD_OUT" word && [ "$word" = open ]
}

held_are() {
	local got
	echo >&"$HOLD_IN" && read -r -t 10 -u "$HOLD_OUT" got && [ "$got" = "$1" ]
}

@test "control: with watches enough everything is seen at once, and nothing is said" {
	mount_with 1000
	look
	hold_open mnt/d0/f mnt/d7/f
	change
	within 500 all_new
	within 500 held_are "new 0,new 7"
	[ ! -s log ]
}

@test "with five watches everything is seen within two seconds; the log says so, once" {
	mount_with 5
	look
	hold_open mnt/d0/f mnt/d7/f
	# Only reads of what is open, which asks for no attributes.
	for d in 0 7; do echo "while open $d" >"host/d$d/f"; done
	within 2500 held_are while,while
	change
	within 2500 all_new
	within 2500 held_are "new 0,new 7"
	[ "$(grep -c 'cannot watch' log)" = 1 ] && [ "$(wc -l <log)" = 1 ]
	[[ "$(cat log)" == *"see fs.inotify.max_user_watches"* ]]
}

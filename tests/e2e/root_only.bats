# users: root
# What only root can look at (processes that are not dumpable) or arrange (mounts).
# shellcheck disable=SC2154

load lib

setup_file() {
	e2e_begin root
	mkdir "$E2E/ws/app" "$E2E/ws/more"
	export PADDOCK_TEST_SECRET=do-not-tell
	make_box box "$E2E/ws/app"
}

teardown_file() {
	if mountpoint -q "$E2E/small"; then # a test failed half-way
		XDG_DATA_HOME=$E2E/small pd rm -f --all || :
		umount -l "$E2E/small"
	fi
	e2e_end
}

@test "no variable of the caller's is in a process that the guest may take over" {
	local pid role
	for role in qemu fs link net resolver signer log; do
		pid=$(role_pid box "$role")
		[ -n "$pid" ]
		lacks "$(tr '\0' '\n' < "/proc/$pid/environ")" do-not-tell
	done
	# The control: the supervisor, which no guest speaks to, has it.
	has "$(tr '\0' '\n' < "/proc/$(role_pid box supervisor)/environ")" do-not-tell
}

# For a QEMU before 8.2, which is given an object of ours that stands for them.
@test "a clone's QEMU comes without the libraries that a sandbox has no use for" {
	local lib maps pid
	pid=$(role_pid box qemu)
	maps=$(cat "/proc/$pid/maps")
	if tr '\0' '\n' < "/proc/$pid/environ" | grep -q '^LD_PRELOAD='; then
		has "$maps" /vm/preload.so
		for lib in libcapstone libpmem libcrypto; do
			has "$(ldd "$(type -P qemu-system-x86_64)")" "$lib"
			lacks "$maps" "$lib"
		done
	fi
	# The control: a library that it has.
	has "$maps" libglib
	lacks "$(cat "$E2E/data/paddock/sandboxes/box/supervisor.log")" "no version information"
}

@test "a full disk: creation says so and leaves nothing, a running machine pauses and goes on" {
	local small=$E2E/small
	mkdir -m 0700 "$small"
	mount -t tmpfs -o size=100k,mode=0700 none "$small"
	mkdir -m 0700 "$small/paddock"
	ln -s "$E2E"/data/paddock/{templates,kernels,snapshots} "$small/paddock/"
	XDG_DATA_HOME=$small run --separate-stderr pd create -q --memory 512m --name tight shell "$E2E/ws/more"
	fails_with 125 "is full: free space"
	equal "$(find "$small/paddock/sandboxes" -mindepth 1)" ""
	mount -o remount,size=12m "$small"
	XDG_DATA_HOME=$small pd create -q --memory 512m --name tight shell "$E2E/ws/more"
	XDG_DATA_HOME=$small pd exec tight sh -c \
		'dd if=/dev/urandom of=/tmp/big bs=1M count=30 && sync && echo written' > "$E2E/dd" 3>&- &
	local writer=$!
	wait_until 60 eval '! XDG_DATA_HOME=$small pd exec -q tight true 2> "$E2E/paused"'
	has "$(cat "$E2E/paused")" "the host's disk is full"
	mount -o remount,size=100m "$small"
	wait "$writer"
	equal "$(tail -n 1 "$E2E/dd")" written
	XDG_DATA_HOME=$small pd rm -f tight
	umount "$small"
}

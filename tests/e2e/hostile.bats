# users: root user
# A guest that is an enemy, from the command line's side: junk on both cables, floods, panics. It may
# lose its own machine; it may not hang a command, fill the host or touch another sandbox.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin hostile
	mkdir "$E2E/ws/app" "$E2E/ws/other" "$E2E/ws/kept"
	echo untouched > "$E2E/ws/other/file"
	echo kept > "$E2E/ws/kept/file"
	make_box bad "$E2E/ws/app" "$E2E/ws/kept:ro"
	make_box good "$E2E/ws/other"
	# Run by the guest's root: takes PID 1's descriptor of a port and writes to it.
	cat > "$E2E/ws/app/port.py" <<-'PY'
		# port.py NAME KIND: NAME link or fs; KIND junk, zeros, flood or half (a length, then nothing)
		import ctypes, glob, os, struct, sys
		name, kind = sys.argv[1:]
		port = next(os.path.basename(os.path.dirname(p)) for p in
		    glob.glob("/sys/class/virtio-ports/*/name") if open(p).read().strip() == "paddock." + name)
		syscall = ctypes.CDLL(None, use_errno=True).syscall
		pid = syscall(434, 1, 0)  # pidfd_open
		fd = next(int(f) for f in os.listdir("/proc/1/fd") if os.readlink("/proc/1/fd/" + f) == "/dev/" + port)
		mine = syscall(438, pid, fd, 0)  # pidfd_getfd
		assert mine >= 0, os.strerror(ctypes.get_errno())
		os.set_blocking(mine, True)
		data = {"junk": os.urandom(65536), "zeros": bytes(65536), "flood": os.urandom(65536),
		    "half": b"\xff\xff\xff\x7f" * 4}[kind]
		open("sent-" + name + kind, "w").close()
		while True:
		    os.write(mine, data)
		    if kind != "flood": break
	PY
}

teardown_file() {
	e2e_end
}

# crash_guest CODE...: reboot(2) with this command, past every service.
crash_guest() {
	pd exec -q -u root bad python3 -c "
import ctypes; ctypes.CDLL(None).reboot(ctypes.c_int(ctypes.c_uint32($1).value))" </dev/null || :
}

good_is_fine() {
	equal "$(PD_LIMIT=60 in_box good 'cat file')" untouched
	equal "$(cat "$E2E/ws/other/file")" untouched
}

# stopped_because TEXT: stopped, says why, holds nothing, and starts again.
stopped_because() {
	wait_until 60 box_is bad stopped
	wait_until 20 no_pids bad
	has "$(inspect_get bad .last_stop)" "$1"
	equal "$(in_box bad 'echo back')" back
	good_is_fine
}

@test "poweroff and reboot of the guest: the sandbox is stopped and says so" {
	note_namespaces
	crash_guest 0x4321fedc
	stopped_because "powered itself off"
	crash_guest 0x01234567
	wait_until 60 box_is bad stopped
	equal "$(in_box bad 'echo back')" back
}

@test "a kernel panic: stopped with a reason, its last words in the log, no hang" {
	local start=$SECONDS
	PD_LIMIT=60 run pd exec -q -u root bad sh -c 'echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; sleep 100'
	equal "$status" 125
	at_most $((SECONDS - start)) 40 seconds
	wait_until 60 box_is bad stopped
	has "$(pd logs bad)" "sysrq triggered crash"
	stopped_because "the guest's kernel panicked: sysrq triggered crash"
}

# On its way to its end it is neither, for a moment.
runs_or_says_why() {
	[ "$(box_status bad)" = running ] || [[ $(inspect_get bad .last_stop) == *line* ]]
}

@test "junk on the link: the machine is lost or not, no command hangs, nothing else is touched" {
	local kind
	for kind in junk zeros half; do
		PD_LIMIT=60 run in_box_root bad 'python3 port.py link "$1"' "$kind"
		[ "$status" != 124 ]
		[ -e "$E2E/ws/app/sent-link$kind" ]
		PD_LIMIT=60 run in_box bad 'echo alive'
		[ "$status" != 124 ]
		good_is_fine
		wait_until 20 runs_or_says_why
		PD_LIMIT=60 pd stop bad
		equal "$(in_box bad 'echo back')" back
	done
}

@test "junk on the tunnel: likewise" {
	local kind
	for kind in junk zeros half; do
		PD_LIMIT=60 run in_box_root bad 'python3 port.py fs "$1"' "$kind"
		[ "$status" != 124 ]
		[ -e "$E2E/ws/app/sent-fs$kind" ]
		good_is_fine
		PD_LIMIT=90 pd stop bad
		equal "$(in_box bad 'echo back > file; cat file')" back
		equal "$(cat "$E2E/ws/app/file")" back
	done
}

# All that is not the writable workspace.
beside() {
	find "$E2E/ws" -path "$E2E/ws/app" -prune -o -printf '%P %y %m %s %n %T@\n' | sort
	cat "$E2E/ws/other/file" "$E2E/ws/kept/file"
}

in_app() {
	find "$E2E/ws/app" ! -name raw ! -name raw-link | sort
}

@test "raw messages of a guest that forges ids, names, offsets and lengths: each refused, the next answered" {
	local fs before inside
	in_box bad true
	fs=$(role_pid bad fs) before=$(beside) inside=$(in_app)
	pd exec -q -i -u root bad sh -c 'cat > /var/tmp/rawfuse.py' < "$E2E_DIR/rawfuse.py"
	has "$(in_box_root bad 'cd /var/tmp && exec python3 rawfuse.py "$@"' "$E2E/ws/app" "$E2E/ws/kept" 2>&1)" " refused"
	# What the control wrote is there, and nothing else; the server is the same, and so is the mount.
	equal "$(cat "$E2E/ws/app/raw")" decent
	equal "$(readlink "$E2E/ws/app/raw-link")" ../other/file
	equal "$(in_app)" "$inside"
	equal "$(beside)" "$before"
	equal "$(role_pid bad fs)" "$fs"
	equal "$(in_box bad 'echo on > after; cat after')" on
	equal "$(cat "$E2E/ws/app/after")" on
	rm "$E2E"/ws/app/{after,raw,raw-link}
	good_is_fine
}

@test "a flood on the tunnel and on the link does not take the host's memory" {
	local port role kb
	for port in fs link; do
		pd exec -d -u root bad sh -c "cd '$E2E/ws/app' && exec timeout 15 python3 port.py $port flood"
		sent() { [ -e "$E2E/ws/app/sent-${port}flood" ] || ! box_is bad running; }
		wait_until 90 sent
		for role in fs link supervisor; do
			kb=$(awk '/^Rss:/ {print $2}' "/proc/$(role_pid bad $role)/smaps_rollup" 2>/dev/null) || :
			at_most "${kb:-0}" 60000 "kB of $role"
		done
		good_is_fine
		PD_LIMIT=120 pd stop bad
		equal "$(in_box bad 'echo back')" back
	done
}

@test "a console flood stays within bounds, and cannot act on the reader's terminal" {
	local bytes
	pd exec -d -u root bad sh -c 'head -c 4000000 /dev/zero | tr "\0" "x" | fold -w 200 > /dev/ttyS0; printf "\033]0;owned\007\033[31mred\r\nlast words\r\n" > /dev/ttyS0'
	flooded() { pd logs bad | tail -n 3 | grep -q "last words"; }
	wait_until 300 flooded
	bytes=$(cat "$E2E"/data/paddock/sandboxes/bad/console.log* | wc -c)
	at_most "$bytes" $((2 << 20)) "bytes of console log"
	equal "$((bytes > 500000))" 1
	equal "$(pd logs bad | tail -n 5 | grep -c $'\e\|\a' || :)" 0
	has "$(pd logs bad | tail -n 5)" "red"
	good_is_fine
}

# L10. The machine has the processors and the memory that it was given, and takes no more of the host.
bad_takes_its_own() {
	local kb
	equal "$(PD_LIMIT=120 in_box bad nproc)" "$(inspect_get bad .cpus)"
	kb=$(awk '/^Rss:/ {print $2}' "/proc/$(role_pid bad qemu)/smaps_rollup")
	at_most "$kb" $((($(inspect_get bad .memory_bytes) >> 10) + 300000)) "kB of QEMU"
}

@test "a fork bomb: the sandbox can still be stopped, the host does not feel it" {
	pd exec -d bad bash -c 'f() { echo >> bombs; f | f & }; f'
	went_off() { [ "$(wc -l < "$E2E/ws/app/bombs")" -gt 100 ]; } 2>/dev/null
	wait_until 60 went_off
	equal "$(PD_LIMIT=60 in_box good 'echo breathing')" breathing
	PD_LIMIT=90 run pd exec -q bad true
	[ "$status" != 124 ]
	note_namespaces
	PD_LIMIT=100 pd stop bad
	equal "$(in_box bad 'echo back')" back
	rm "$E2E/ws/app/bombs"
}

@test "all processors, the disk and the workspace kept busy: the others go on, and so does it" {
	pd exec -d -u root bad bash -c 'for i in $(seq $(($(nproc) * 4))); do while :; do :; done & done
		while :; do dd if=/dev/zero of=/var/tmp/storm bs=1M count=64 conv=fsync; done &
		while head -c 1000000 /dev/zero > storm && sync storm; do echo >> storms; done'
	stormed() { [ -s "$E2E/ws/app/storms" ]; }
	wait_until 120 stormed
	good_is_fine
	bad_takes_its_own
	PD_LIMIT=120 in_box_root bad 'pkill -KILL -f "st[o]rm"'
	equal "$(in_box bad 'rm storm storms; echo back')" back
}

@test "memory: a hog is ended by its own kernel, its sandbox goes on" {
	PD_LIMIT=120 run pd exec -q bad python3 -c 'x = []
while True: x.append(bytearray(50_000_000))'
	[ "$status" != 0 ] && [ "$status" != 124 ]
	equal "$(in_box bad 'echo on')" on
	bad_takes_its_own
	good_is_fine
}

@test "the guest's disk is full: said inside, the sandbox starts all the same" {
	pd rm -f bad
	make_box bad "$E2E/ws/app"
	run in_box_root bad 'fallocate -l 30G /root/big || fallocate -l 18G /root/big && head -c 3000000000 /dev/zero > /root/more'
	has "$output" "No space left on device"
	# fallocate takes nothing on the host.
	at_most "$(inspect_get bad .disk_used_bytes)" 3500000000 "bytes of disk"
	note_namespaces
	pd stop bad
	equal "$(in_box_root bad 'rm -f /root/big /root/more; echo back')" back
}

@test "what the guest calls its programs cannot act on the reader of inspect" {
	pd exec -d bad bash -c "exec -a \$'evil\e]0;x\a' sleep 100"
	pd exec -d bad bash -c 'sleep 101; true' $'\e[31m'
	wait_until 20 sh -c "'$PADDOCK' inspect bad | grep -q 'sleep 101'"
	equal "$(pd inspect bad | grep -c $'\e' || :)" 0
	pd inspect bad | jq -e . >/dev/null
	in_box bad 'pkill sleep'
}

# users: root user
# A sandbox that is new is a clone of a machine that has booted: what clones share, and what never.
# PADDOCK_CLONES=100 lets so many draw random numbers, one after the other.

load lib

setup_file() {
	e2e_begin snapshots
	mkdir "$E2E/ws/app"
	echo data > "$E2E/ws/app/file"
	make_kit > "$E2E/drawing.yaml"
	pd template build -q "$E2E/drawing.yaml" > "$E2E/layer"
	# A store of this file's own: what is broken here is nobody else's.
	rm "$E2E/data/paddock/snapshots"
	pd create --memory 512m --name one "$E2E/drawing.yaml" "$E2E/ws/app" 2> "$E2E/first" >/dev/null
	pd create --memory 512m --name two "$E2E/drawing.yaml" "$E2E/ws/app" 2> "$E2E/second" >/dev/null
}

# A template with a modprobe that leaves a program behind, which draws random numbers, where the machine
# has no name yet. And it waits there until the kernel will not mix its stream anew for seconds
# (drivers/char/random.c of Linux, crng_reseed_interval: after half of the uptime, whole seconds, at
# least one), so that what a clone draws next it has in common with its sisters, unless it was told.
make_kit() {
	cat <<-'YAML'
		name: drawing
		extends: shell
		install:
		  - user: root
		    run: |
		      cat > /etc/draw.py <<'EOF'
		      import os, time
		      def uptime():
		          with open("/proc/uptime") as f:
		              return float(f.read().split()[0])
		      if os.fork() == 0:
		          with open("/var/draws", "w", buffering=1) as f:
		              while True:
		                  f.write(os.getrandom(8).hex() + "\n")
		                  time.sleep(0.005)
		      at = 1
		      while at < uptime() + 5:
		          at += max(1, at // 2)
		          if uptime() < at < uptime() + 5:
		              time.sleep(at + 0.5 - uptime())
		      with open("/var/reseed", "w") as f:
		          f.write(f"{at}\n")
		      EOF
		      cat > /usr/local/sbin/modprobe <<'EOF'
		      #!/bin/sh
		      /usr/sbin/modprobe "$@"
		      read -r name < /proc/sys/kernel/hostname
		      [ "$name" != "(none)" ] || python3 /etc/draw.py </dev/null >/dev/null 2>&1
		      EOF
		      chmod +x /usr/local/sbin/modprobe
		      cat > /usr/bin/bash.new <<'EOF'
		      #!/bin/sh
		      read -r draw < /proc/sys/kernel/random/uuid
		      [ "$*" != "-c true" ] || [ "$(id -u)" = 0 ] || echo "$draw" >> /var/tmp/first-draws
		      exec /usr/bin/bash.real "$@"
		      EOF
		      chmod +x /usr/bin/bash.new
		      ln /usr/bin/bash /usr/bin/bash.real
		      mv /usr/bin/bash.new /usr/bin/bash
		      echo '[ "$(id -u)" != 0 ] || touch "/var/login-$(hostname)"' > /etc/profile.d/mark.sh
	YAML
}

teardown_file() {
	local ok=0
	pd rm -f --all >/dev/null || ok=1
	pd template rm "$(cat "$E2E/layer")" >/dev/null || ok=1
	e2e_end || ok=1
	return "$ok"
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || e2e_tell
}

store() { # the snapshots there are
	find "$E2E/data/paddock/snapshots" -mindepth 1 -maxdepth 1 ! -name ".*"
}

is_clone() {
	tr '\0' '\n' < "/proc/$(role_pid "$1" qemu)/cmdline" | grep -qx -- -incoming
}

differ() { # WHAT SCRIPT
	local a b
	a=$(in_box_root one "$2")
	b=$(in_box_root two "$2")
	[ -n "$a" ] || { echo "$1: nothing" >&2; return 1; }
	[ "$a" != "$b" ] || { echo "$1: both have $a" >&2; return 1; }
}

@test "the first of a shape makes a snapshot, the second is its clone" {
	has "$(cat "$E2E/first")" "for the first time"
	lacks "$(cat "$E2E/second")" "for the first time"
	equal "$(store | wc -l)" 1
	is_clone one
	is_clone two
	equal "$(in_box two 'cat "$WORKSPACE_DIR/file"; hostname')" $'data\ntwo'
	# What the kernel must not use where the processor is emulated (vmm's plan.c).
	[ "$(inspect_get two .accelerator)" != tcg ] ||
		equal "$(in_box two 'grep -owE "cx8|cx16" /proc/cpuinfo | sort -u')" cx8
}

@test "J1, J2: two clones share no secret and no random stream" {
	local id
	# The control: they are copies of one memory, where pid 1 has its stack at one address.
	equal "$(in_box_root one 'grep stack /proc/1/maps')" "$(in_box_root two 'grep stack /proc/1/maps')"
	for id in /etc/machine-id /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; do
		differ "$id" "cat $id"
	done
	differ urandom 'head -c 16 /dev/urandom | od -An -tx1'
	differ random 'head -c 16 /dev/random | od -An -tx1'
	differ getrandom 'python3 -c "import os; print(os.getrandom(16).hex())"'
	differ "Python's random" 'python3 -c "import random; print(random.random())"'
	differ "Python's uuid" 'python3 -c "import uuid; print(uuid.uuid4())"'
	differ OpenSSL 'openssl rand -hex 16'
	differ "a program's canary" 'python3 -c "
import ctypes; g = ctypes.CDLL(None).getauxval; g.restype = ctypes.c_ulong
print(ctypes.string_at(g(25), 16).hex())"'
	differ ssh-keygen 'f=$(mktemp -u); ssh-keygen -q -t ed25519 -N "" -f "$f" && cut -d" " -f2 "$f.pub"'
}

@test "J1: none of a template's programs is in a clone, and none of its profiles has been run" {
	local box
	for box in one two; do
		# The controls: it was there until the machine was saved, and a login runs the profile.
		in_box_root "$box" 'test -s /var/draws && cat /var/draws' > "$E2E/draws.$box"
		in_box_root "$box" 'bash -lc true'
		equal "$(in_box_root "$box" 'pgrep -f "[d]raw.py" || ls /var/login-*')" "/var/login-$box"
	done
	cmp "$E2E/draws.one" "$E2E/draws.two"
}

# guest's warmup.c
@test "J1: what a clone runs by itself draws only after it was told who it is, and once" {
	local box
	if [ "$(inspect_get one .cpus)" = 1 ]; then # there is no such program
		in_box_root one 'test ! -e /var/tmp/first-draws'
		return
	fi
	for box in one two; do
		wait_until 30 in_box_root "$box" 'test -s /var/tmp/first-draws'
		in_box_root "$box" 'cat /var/tmp/first-draws' > "$E2E/first-draws.$box"
		equal "$(wc -l < "$E2E/first-draws.$box")" 1
	done
	! cmp -s "$E2E/first-draws.one" "$E2E/first-draws.two"
}

# What each of so many draws, each kind in a process of its own. The first as soon as it wakes, in
# small pieces: those that have a stream in common do not draw at the same places.
@test "J1: of more clones, on the same processors, none draws what another one draws" {
	local i n=${PADDOCK_CLONES:-3}
	for ((i = 1; i <= n; i++)); do
		pd run -q --memory 512m --name many "$E2E/drawing.yaml" "$E2E/ws/app" -- -c \
			'read -r up _ < /proc/uptime
			dd if=/dev/urandom bs=8 count=2000 status=none | od -An -v -tx8 -w8
			echo "$up $(cat /var/reseed)" >&2' >> "$E2E/early" 2>> "$E2E/when"
		is_clone many
		in_box_root many 'cat /etc/machine-id /proc/sys/kernel/random/boot_id
			head -c 16 /dev/urandom | od -An -tx1
			python3 -c "import os; print(os.getrandom(16).hex())"
			python3 -c "import random; print(random.getrandbits(128))"
			openssl rand -hex 16
			ssh-keygen -q -t ed25519 -N "" -f /root/key && cut -d" " -f2 /root/key.pub'
		pd rm -f many >/dev/null
	done > "$E2E/drawn"
	# On a machine that is too busy for it this shows nothing about ours, and says so.
	equal "$(grep -cE '^[0-9.]+ [0-9]+$' "$E2E/when")" "$n"
	awk '$1 >= $2 {late++} END {if (late) print "# the kernel had reseeded itself: " late " of " NR}' \
		"$E2E/when" >&3
	equal "$(wc -l < "$E2E/early")" $((2000 * n))
	equal "$(sort "$E2E/early" | uniq -d | wc -l)" 0
	equal "$(wc -l < "$E2E/drawn")" $((7 * n))
	equal "$(sort "$E2E/drawn" | uniq -d)" ""
}

@test "the clock of a clone is right" {
	local before after now
	before=$(date +%s)
	now=$(in_box two 'date +%s')
	after=$(date +%s)
	[ "$now" -ge "$before" ] && [ "$now" -le "$after" ]
	# Seconds have the host's length.
	in_box two 'a=$(date +%s%N); sleep 2; b=$(date +%s%N); d=$(((b - a) / 1000000)); [ $d -ge 1990 ]'
}

@test "J8: a snapshot is the user's alone, is not written to, and no page is merged" {
	local dir pid flags
	dir=$(store)
	equal "$(stat -c %a "$E2E/data/paddock/snapshots" "$dir" "$dir/ram" "$dir/state" | paste -sd' ')" \
		"700 700 400 400"
	pid=$(role_pid two qemu)
	# The control: its disk it may write to.
	grep -qE ' /vm/disk rw,' "/proc/$pid/mountinfo"
	grep -qE ' /vm/ram ro,' "/proc/$pid/mountinfo"
	flags=$(cat "/proc/$pid/fdinfo/$(find "/proc/$pid/fd" -lname '*/vm/ram' -printf '%f\n' | head -n 1)" |
		awk '$1 == "flags:" {print $2}')
	equal "$((8#$flags & 3))" 0
	flags=$(awk '/\/vm\/ram$/ {ram = 1} ram && /^VmFlags/ {print; exit}' "/proc/$pid/smaps")
	has "$flags" " wr "
	lacks "$flags" " sh "
	lacks "$flags" " mg"
}

@test "QEMU's heap asks for huge pages, where the kernel gives them to those who ask" {
	local flags
	flags=$(awk '/\[heap\]$/ {heap = 1} heap && /^VmFlags/ {print; exit}' "/proc/$(role_pid two qemu)/smaps")
	has "$flags" " rd " # the control
	# Whether there is one to be had, the kernel knows; hg: it was asked (proc_pid_smaps(5)).
	if grep -qF '[madvise]' /sys/kernel/mm/transparent_hugepage/enabled; then
		has "$flags" " hg"
	else
		lacks "$flags" " hg"
	fi
}

@test "a clone writes nothing into the snapshot, and starts again from its own disk" {
	local dir sum
	dir=$(store)
	sum=$(sha256sum "$dir/ram" "$dir/disk.qcow2")
	in_box_root two 'head -c 20M /dev/urandom > /root/kept; sync; sha256sum < /root/kept' > "$E2E/kept"
	equal "$(sha256sum "$dir/ram" "$dir/disk.qcow2")" "$sum"
	pd stop two >/dev/null
	equal "$(in_box_root two 'sha256sum < /root/kept')" "$(cat "$E2E/kept")"
	run ! is_clone two
}

@test "J7: another shape is another snapshot; one that belongs to another machine is not used" {
	local dir
	pd create -q --memory 513m --name other shell "$E2E/ws/app" >/dev/null
	equal "$(store | wc -l)" 2
	pd rm -f other >/dev/null
	dir=$(grep -l 513M "$E2E"/data/paddock/snapshots/*/snapshot.json)
	# As if QEMU had been another: what is there must not be loaded.
	sed -i 's#qemu bin/qemu-system#qemu bin/other-system#' "$dir"
	grep -q other-system "$dir"
	pd create --memory 513m --name other shell "$E2E/ws/app" 2> "$E2E/again" >/dev/null
	has "$(cat "$E2E/again")" "for the first time"
	pd rm -f other >/dev/null
}

@test "one that does not load is thrown away, and the sandbox starts all the same" {
	local dir
	for dir in $(store); do
		chmod 600 "$dir/state"
		truncate -s 1000 "$dir/state"
	done
	pd create --memory 512m --name cold "$E2E/drawing.yaml" "$E2E/ws/app" 2> "$E2E/thrown" >/dev/null
	equal "$(grep -c "thrown away, it boots cold" "$E2E/thrown")" 1
	equal "$(in_box cold 'cat "$WORKSPACE_DIR/file"')" data
	run ! is_clone cold
	# It is not tried at once again, and what is there is told.
	equal "$(store | wc -l)" 1
	pd rm -f cold >/dev/null
}

@test "template ls tells their size, prune frees it, and clones live on" {
	pd template ls --json | jq -e 'any(.[]; .name == "shell" and .snapshots == 1 and .snapshot_bytes > 0)'
	has "$(pd template prune)" "freed"
	equal "$(find "$E2E/data/paddock/snapshots" -mindepth 1 ! -name .lock)" ""
	equal "$(in_box one 'cat "$WORKSPACE_DIR/file"')" data
	pd template ls --json | jq -e 'all(.[]; .snapshots == 0)'
}

@test "killed while it is made: nothing half-made counts, the next one makes it" {
	local creator
	pd create -q --memory 512m --name half shell "$E2E/ws/app" >/dev/null 2>&1 3>&- &
	creator=$!
	wait_until 120 eval 'test -n "$(find "$E2E"/data/paddock/snapshots -name ram)"'
	wait_until 20 eval 'test -n "$(role_pid half snapshot)"'
	kill_hard "$(role_pid half snapshot)"
	wait "$creator"
	equal "$(store | wc -l)" 0
	# It has booted cold, then.
	equal "$(in_box half 'cat "$WORKSPACE_DIR/file"')" data
	run ! is_clone half
	pd rm -f half >/dev/null
	pd create -q --memory 512m --name half shell "$E2E/ws/app" >/dev/null
	is_clone half
	equal "$(store | wc -l)" 1
	equal "$(find "$E2E/data/paddock/snapshots" -name '.new-*')" ""
}

@test "its supervisor is killed while it is cloned: the next start has all that it had" {
	local creator
	pd create -q --memory 512m --name gone shell "$E2E/ws/app" >/dev/null 2>&1 3>&- &
	creator=$!
	wait_until 60 test -f "$E2E/data/paddock/sandboxes/gone/disk.qcow2"
	kill_hard "$(role_pid gone supervisor)"
	wait "$creator" || :
	equal "$(in_box gone 'cat "$WORKSPACE_DIR/file"')" data
	equal "$(store | wc -l)" 1
}

# users: user; with PADDOCK_E2E_ALL: root
# What stays: over stop, over the sudden death of every process of ours, over a host that restarts.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin persist
	mkdir "$E2E/ws/app" "$E2E/web"
	echo 'from the web' > "$E2E/web/page"
	serve web --dir "$E2E/web"
	# shellcheck disable=SC2154
	make_box box "$E2E/ws/app" --resolve "files.test:80:127.0.0.1:$web_port"
	in_box_root box 'echo kept > /root/kept && sync'
}

teardown_file() {
	e2e_end
}

# Synced data is there, the machine works, and files outside the workspace are as they were.
still_good() {
	equal "$(in_box_root box 'cat /root/kept; echo "$RANDOM" > /root/probe && echo writable')" \
		$'kept\nwritable'
	equal "$(box_status box)" running
}

# After a death: nothing of the sandbox runs, its reason is told, the next command starts it.
comes_back() {
	wait_until 30 box_is box stopped
	wait_until 20 no_pids box
	[ -z "$1" ] || has "$(inspect_get box .last_stop)" "$1"
	has "$(pd ls | grep '^box ')" stopped
	still_good
}

@test "an installed package and files outside the workspace survive stop and run" {
	in_box box 'sudo apt-get -qq update && sudo apt-get -qq install -y --no-install-recommends hello >/dev/null && hello'
	in_box box 'echo note > ~/note; sudo touch /opt/here; crontab -l 2>/dev/null; :'
	note_namespaces
	pd stop box
	no_pids
	equal "$(inspect_get box .last_stop)" stopped
	equal "$(pd run -q --name box -- -c 'hello; cat ~/note; ls /opt/here')" $'Hello, world!\nnote\n/opt/here'
	still_good
}

@test "stop is clean: what was written a moment before is there, unsynced" {
	in_box_root box 'head -c 3000000 /dev/urandom > /root/late; sha256sum < /root/late > /root/sum'
	pd stop box
	equal "$(in_box_root box 'sha256sum -c --quiet - < <(sed s,-,/root/late, /root/sum) && echo same')" same
	equal "$(in_box_root box 'dmesg | grep -ci -e "recovery complete" -e "ext4.*error" || :')" 0
}

@test "kill -9 of the supervisor takes the sandbox along, nothing of it stays" {
	local pids pid
	pids=$(inspect_get box ".processes[]")
	at_most 6 "$(wc -w <<< "$pids")" "processes (more than five are expected)"
	note_namespaces
	kill_hard "$(role_pid box supervisor)"
	for pid in $pids; do wait_until 20 pid_gone "$pid"; done
	wait_until 20 no_pids box
	has "$(inspect_get box .last_stop)" "ended without a word"
	comes_back ""
}

# Adds records to a file of the workspace, each synced before its number is said.
synced_writer() {
	pd exec box python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for i in range(int(sys.argv[2])):
    os.pwrite(fd, b"%07d\n" % i * 512, i * 4096)
    os.fsync(fd)
    print(i, flush=True)' "$@" > "$E2E/ws/acks" 2> "$E2E/ws/acks.err"
}

# Every record up to the last one that was acknowledged.
acknowledged_are_there() {
	local last
	last=$(tail -n 1 "$E2E/ws/acks")
	[ "$last" -ge 2 ]
	cmp <(head -c $(((last + 1) * 4096)) "$E2E/ws/app/$1") \
		<(for i in $(seq -f %07.0f 0 "$last"); do yes "$i" | head -n 512; done)
}

acknowledged() { [ "$(tail -n 1 "$E2E/ws/acks" || echo 0)" -ge "$1" ] 2>/dev/null; }

@test "kill -9 of QEMU while a program writes and syncs" {
	note_namespaces
	synced_writer cut 100000 &
	local writer=$!
	wait_until 30 acknowledged 20
	kill_hard "$(role_pid box qemu)"
	wait "$writer" || :
	acknowledged_are_there cut
	comes_back "the qemu process was ended by signal 9"
}

another_fs() {
	local now
	now=$(role_pid box fs) && [ -n "$now" ] && [ "$now" != "$1" ]
}

kill_fs() {
	local old
	old=$(role_pid box fs)
	kill_hard "$old"
	wait_until 20 another_fs "$old"
}

@test "kill -9 of fs: programs go on, without an error, and so does the machine" {
	local boot
	boot=$(in_box box 'cat /proc/sys/kernel/random/boot_id')
	in_box box 'mkdir t && for i in $(seq 100); do echo $i > t/f$i; done; ls -l t > /dev/null; cat t/* > /dev/null'
	synced_writer whole 300 &
	local writer=$!
	wait_until 30 acknowledged 5
	kill_fs
	echo changed > "$E2E/ws/app/t/f7"
	wait_until 30 acknowledged 100
	kill_fs
	wait "$writer"
	equal "$(cat "$E2E/ws/acks.err")" ""
	equal "$(tail -n 1 "$E2E/ws/acks")" 299
	acknowledged_are_there whole
	equal "$(in_box box 'cat t/f7; cat t/* | wc -l; echo again > f && cat f')" $'changed\n100\nagain'
	equal "$(in_box box 'cat /proc/sys/kernel/random/boot_id')" "$boot"
	has "$(cat "$E2E/data/paddock/sandboxes/box/supervisor.log")" "the fs process was ended by signal 9 (Killed): starting it again"
}

@test "kill -9 of fs, too often: the sandbox says so" {
	note_namespaces
	local n=0 old
	while [ "$n" -lt 11 ] && ! box_is box stopped; do
		old=$(role_pid box fs)
		[ -z "$old" ] || kill -KILL "$old"
		either() { box_is box stopped || another_fs "$old"; }
		wait_until 20 either
		n=$((n + 1))
	done
	comes_back "the fs process was ended by signal 9 (Killed), and does not stay up"
}

@test "kill -9 of link; a command that was running ends and says why" {
	note_namespaces
	pd exec box sh -c 'echo running; exec sleep 1000' > "$E2E/ws/out" 2> "$E2E/ws/err" &
	local pid=$!
	wait_until 20 grep -q running "$E2E/ws/out"
	kill_hard "$(role_pid box link)"
	status=0
	wait "$pid" || status=$?
	equal "$status" 125
	has "$(cat "$E2E/ws/err")" "the connection to sandbox 'box' ended"
	comes_back "the link process was ended by signal 9"
}

fetch() {
	in_box box 'curl -sS -m 20 http://files.test/page'
}

# Tries of the loop in the guest since a mark, by outcome: curl's exit status a line.
tries() {
	tail -n "+$(($1 + 1))" "$E2E/ws/app/tries"
}

count_tries() {
	wc -l < "$E2E/ws/app/tries"
}

@test "kill -9 of net: nothing gets out until it is back, then all works; the machine goes on" {
	local boot old sup mark hits
	boot=$(in_box box 'cat /proc/sys/kernel/random/boot_id')
	equal "$(fetch)" "from the web"
	old=$(role_pid box net)
	sup=$(role_pid box supervisor)
	pd exec -d box sh -c 'while [ ! -e stop ]; do curl -s -m 3 -o /dev/null http://files.test/page; echo $? >> tries; done'
	wait_until 30 grep -qx 0 "$E2E/ws/app/tries" # control: it gets out
	# Stopped, the supervisor cannot start another one.
	kill -STOP "$sup"
	kill_hard "$old"
	mark=$(($(count_tries) + 2)) # the one that was on its way may have got through
	tried_enough() { [ "$(count_tries)" -ge $((mark + 2)) ]; }
	wait_until 60 tried_enough
	hits=$(wc -l < "$E2E/web.log")
	equal "$(tries "$mark" | grep -cx 0 || :)" 0
	equal "$(wc -l < "$E2E/web.log")" "$hits"
	kill -CONT "$sup"
	mark=$(count_tries)
	tried_well() { tries "$mark" | grep -qx 0; }
	wait_until 60 tried_well
	touch "$E2E/ws/app/stop"
	equal "$(fetch)" "from the web"
	equal "$(in_box box 'cat /proc/sys/kernel/random/boot_id')" "$boot"
	[ "$(role_pid box net)" != "$old" ]
}

@test "kill -9 of the resolver: names work again" {
	local old
	old=$(role_pid box resolver)
	kill_hard "$old"
	wait_until 30 fetch
	[ "$(role_pid box resolver)" != "$old" ]
}

@test "the host restarts: everything dies at once, the runtime folder is empty" {
	local pid
	note_namespaces
	in_box_root box 'echo before > /root/reboot; sync'
	for pid in $(inspect_get box ".processes[]"); do kill -KILL "$pid" 2>/dev/null || :; done
	wait_until 20 no_pids box
	rm -rf "$XDG_RUNTIME_DIR/paddock"
	equal "$(box_status box)" stopped
	equal "$(pd run -q --name box -- -c 'sudo cat /root/reboot')" before
	still_good
}

# killed_after SECONDS COMMAND...: starts paddock, kill -9s that process alone after a while.
killed_after() {
	local seconds=$1 pid
	shift
	"$PADDOCK" "$@" </dev/null >/dev/null 2>&1 3>&- &
	pid=$!
	read -rt "$seconds" <> <(:) || :
	# It may have come to its end before.
	kill -KILL "$pid" 2>/dev/null || :
	wait "$pid" 2>/dev/null || :
}

@test "kill -9 of the command in the middle of stop" {
	local t
	for t in 0.01 0.1; do
		pd exec -q box true
		note_namespaces
		killed_after "$t" stop box
		pd stop box
		equal "$(box_status box)" stopped
		no_pids box
	done
	still_good
}

@test "kill -9 of the command in the middle of the boot: the next one finds a good machine" {
	local t
	for t in 0.02 1; do
		note_namespaces
		pd stop box
		killed_after "$t" run --name box -- -c true
		still_good
	done
}

@test "kill -9 of the command in the middle of create" {
	local t
	for t in 0.005 0.01 0.02 0.05; do
		killed_after "$t" create -q -m 512m --name half shell "$E2E/ws/app"
		# Either it is not there, or it is whole.
		if pd ls -q | grep -qx half; then
			equal "$(pd ls --json | jq -r '.sandboxes[] | select(.name == "half").agent')" shell
		fi
		note_namespaces
		pd rm -f half || ! pd ls -q | grep -qx half
		equal "$(pd ls -q)" box
		wait_until 20 no_pids half
		pd ls >/dev/null
		equal "$(ls -A "$E2E/data/paddock/sandboxes")" box
	done
}

@test "kill -9 of the command in the middle of rm: the next rm finishes it" {
	local t
	for t in 0.003 0.03; do
		make_box gone "$E2E/ws/app"
		note_namespaces
		killed_after "$t" rm -f gone
		pd rm -f gone || ! pd ls -q | grep -qx gone
		equal "$(pd ls -q)" box
		wait_until 20 no_pids gone
		pd ls >/dev/null
		equal "$(ls -A "$E2E/data/paddock/sandboxes")" box
		[ ! -e "$XDG_RUNTIME_DIR/paddock/gone" ]
	done
	still_good
}

# users: root user
# Machines that are saved in the midst of their life: suspended and woken, gone back to, copied.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin suspend
	mkdir "$E2E/ws/app"
	echo first > "$E2E/ws/app/kept"
	echo old > "$E2E/ws/app/changed"
	# One that answers nothing: who speaks to it waits.
	python3 -c '
import os, socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
with open(sys.argv[1] + ".new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
kept = []
while True: kept.append(s.accept())
' "$E2E/mute.port" </dev/null >/dev/null 2>&1 3>&- &
	echo $! >> "$E2E/servers"
	wait_until 20 test -s "$E2E/mute.port"
	pd create -q --memory 512m --name zz --network open \
		--resolve "mute.test:9000:127.0.0.1:$(cat "$E2E/mute.port")" shell "$E2E/ws/app" >/dev/null
	# A program of no client's, that counts, holds a file of the workspace, and waits for an answer.
	cat > "$E2E/ws/app/live.py" <<-'PY'
		import os, socket, threading, time
		kept = open("kept")
		def wait():
		    s = socket.create_connection(("mute.test", 9000))
		    s.sendall(b"\0")
		    open("/tmp/connected", "w").close()
		    try: word = "answer" if s.recv(1) else "end"
		    except OSError: word = "reset"
		    with open("/tmp/flow.new", "w") as f: f.write(word)
		    os.rename("/tmp/flow.new", "/tmp/flow")
		threading.Thread(target=wait).start()
		n = 0
		while True:
		    n += 1
		    text = kept.read()
		    with open("/tmp/live.new", "w") as f: f.write(f"{os.getpid()} {n}\n")
		    os.rename("/tmp/live.new", "/tmp/live")
		    if text:
		        with open("/tmp/text", "a") as f: f.write(text)
		    time.sleep(0.1)
	PY
	pd exec -q -d zz python3 live.py
	wait_until 60 in_box zz 'test -e /tmp/connected && grep -q first /tmp/text'
}

teardown_file() {
	e2e_end
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || e2e_tell
}

live() { # SANDBOX: its pid and how often it has been round
	in_box "$1" 'cat /tmp/live'
}

goes_on() { # SANDBOX PID COUNT
	local pid count
	read -r pid count <<< "$(live "$1")"
	[ "$pid" = "$2" ] && [ "$count" -gt "$3" ]
}

@test "suspended: no process and no runtime file is left; woken, every process goes on" {
	local pid count before now after
	read -r pid count <<< "$(live zz)"
	# The control: as long as nothing is reset it waits.
	run ! in_box zz 'test -e /tmp/flow'
	equal "$(pd suspend zz)" zz
	box_is zz suspended
	has "$(pd ls)" suspended
	no_pids zz
	equal "$(pd suspend zz)" zz # as stop, once more is no error
	# As after the host has started anew; meanwhile it works on its files.
	rm -rf "${E2E:?}/run/paddock"
	echo second >> "$E2E/ws/app/kept"
	echo new > "$E2E/ws/app/changed"
	echo made > "$E2E/ws/app/made"
	before=$(date +%s)
	now=$(in_box zz 'date +%s')
	after=$(date +%s)
	[ "$now" -ge "$before" ] && [ "$now" -le "$after" ]
	wait_until 30 goes_on zz "$pid" "$count"
	equal "$(in_box zz 'cat changed made')" $'new\nmade'
	# By the descriptor that it had all along.
	wait_until 30 in_box zz 'grep -q second /tmp/text'
	equal "$(in_box zz 'cat /tmp/text')" $'first\nsecond'
	equal "$(find "$E2E/data/paddock/sandboxes/zz" -name '*suspend*')" ""
	[ -z "$(pd inspect zz | jq -r '.[0].error // empty')" ]
}

@test "J5: its connections are reset, not left to wait" {
	wait_until 30 in_box zz 'test -e /tmp/flow'
	equal "$(in_box zz 'cat /tmp/flow')" reset
	# And new ones are made.
	in_box zz 'exec 3<>/dev/tcp/mute.test/9000'
}

@test "what cannot be loaded stays as it is, and is loaded when it can" {
	local pid count dir=$E2E/data/paddock/sandboxes/zz/suspended
	read -r pid count <<< "$(live zz)"
	pd stop --suspend zz >/dev/null
	cp "$dir/state" "$E2E/state"
	chmod 600 "$dir/state"
	truncate -s 1000 "$dir/state"
	run --separate-stderr pd exec -q zz true
	cp "$E2E/state" "$dir/state"
	fails_with 125 "QEMU does not load it"
	has "$stderr" "paddock suspend --discard zz"
	box_is zz suspended
	cp "$dir/saved.json" "$E2E/saved.json"
	sed -i 's#qemu bin/qemu-system#qemu bin/other-system#' "$dir/saved.json"
	run --separate-stderr pd exec -q zz true
	mv "$E2E/saved.json" "$dir/saved.json"
	fails_with 125 "another than when it was saved"
	has "$stderr" "paddock suspend --discard zz"
	wait_until 60 goes_on zz "$pid" "$count"
}

@test "QEMU is killed while it wakes: nothing was used up, and it wakes" {
	local pid count name
	read -r pid count <<< "$(live zz)"
	pd suspend zz >/dev/null
	for name in qemu-system-x86 qemu-system-x86@state; do
		run -125 killed_once job "$name" it "$PADDOCK" exec -q zz true
		has "$(cat "$E2E/out")" "cannot go on where it was suspended"
		box_is zz suspended
	done
	wait_until 60 goes_on zz "$pid" "$count"
}

@test "killed while it is saved: it goes on, or boots from its disk; nothing half-made is found" {
	local pid count supervisor
	read -r pid count <<< "$(live zz)"
	supervisor=$(role_pid zz supervisor)
	run -125 killed_once "$supervisor" save it "$PADDOCK" suspend zz
	has "$(cat "$E2E/out")" "runs on"
	wait_until 30 goes_on zz "$pid" "$count"
	in_box zz 'echo data > ~/data && sync'
	run ! killed_once "$supervisor" save "$supervisor" "$PADDOCK" suspend zz
	wait_until 20 no_pids zz
	equal "$(in_box zz 'cat ~/data; head -n 1 kept')" $'data\nfirst'
	equal "$(find "$E2E/data/paddock/sandboxes/zz" -name '*suspend*')" ""
}

@test "a disk that went on without it: said, and booted; --discard does so at will" {
	in_box zz 'echo more > ~/more'
	pd suspend zz >/dev/null
	touch "$E2E/data/paddock/sandboxes/zz/disk.qcow2"
	run --separate-stderr pd exec zz cat /home/agent/more
	equal "$output" more
	has "$stderr" "is lost, it boots"
	run --separate-stderr pd suspend --discard zz
	fails_with 125 "running"
	pd suspend zz >/dev/null
	pd suspend --discard zz >/dev/null
	box_is zz stopped
	equal "$(in_box zz 'cat ~/more')" more
}

@test "checkpoint and rollback: memory and disk as they were, the workspace as it is" {
	in_box zz 'echo more > ~/more; sync'
	pd exec -q -d zz sh -c 'echo $$ > /tmp/pid; exec sleep 10000'
	wait_until 20 in_box zz 'test -s /tmp/pid'
	equal "$(pd checkpoint zz clean)" clean
	# It has gone on.
	in_box zz 'kill "$(cat /tmp/pid)"; rm -rf ~/more; echo bad > ~/bad; echo bad > "$WORKSPACE_DIR/made"; sync'
	run --separate-stderr pd checkpoint zz clean
	fails_with 125 "exists already"
	has "$(pd checkpoint ls zz)" clean
	run --separate-stderr pd rollback zz
	equal "$output" zz
	has "$stderr" "the workspaces are left as they are"
	equal "$(in_box zz 'cat ~/more "$WORKSPACE_DIR/made"; ls ~/bad 2>&1 || :; kill -0 "$(cat /tmp/pid)" && echo lives')" \
		$'more\nbad\nls: cannot access \'/home/agent/bad\': No such file or directory\nlives'
	# As often as one likes.
	in_box zz 'rm ~/more; sync'
	pd rollback -q zz clean >/dev/null
	in_box zz 'test -e ~/more'
	# Killed between its renames, of which the disk's is the last: the disk is the one it had.
	in_box zz 'echo now > ~/now; sync'
	run -137 strace -o /dev/null -e trace=rename -e inject=rename:signal=KILL:when=4 \
		"$PADDOCK" rollback -q zz clean
	test -e "$E2E/data/paddock/sandboxes/zz/suspended/saved.json"
	run --separate-stderr pd exec zz cat /home/agent/now
	equal "$output" now
	has "$stderr" "is lost, it boots"
	pd rollback -q zz clean >/dev/null
	equal "$(in_box zz 'cat ~/more; ls ~/now 2>&1 || :; kill -0 "$(cat /tmp/pid)" && echo lives')" \
		$'more\nls: cannot access \'/home/agent/now\': No such file or directory\nlives'
	equal "$(pd checkpoint rm zz clean)" clean
	run --separate-stderr pd rollback zz
	fails_with 125 "has no checkpoint"
}

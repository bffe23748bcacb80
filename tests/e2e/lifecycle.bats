# users: root user
# What several commands at once and other shells do to one sandbox.
# shellcheck disable=SC2154

load lib

setup_file() {
	e2e_begin lifecycle
	mkdir "$E2E/ws/app" "$E2E/ws/more"
	make_box box "$E2E/ws/app"
}

teardown_file() {
	e2e_end
}

@test "kill -9 of the supervisor leaves no process" {
	local pids pid
	pids=$(inspect_get box '.processes[]')
	equal "$(wc -w <<< "$pids")" 8
	kill_hard "$(role_pid box supervisor)"
	for pid in $pids; do wait_until 10 pid_gone "$pid"; done
	pd exec -q box true
}

@test "a shell with another runtime folder finds the same running sandbox" {
	mkdir -m 0700 "$E2E/run2"
	XDG_RUNTIME_DIR=$E2E/run2 run --separate-stderr pd inspect box
	equal "$(jq -r '.[0].status' <<< "$output")" running
	XDG_RUNTIME_DIR=$E2E/run2 run --separate-stderr pd exec -q box cat /proc/sys/kernel/random/boot_id
	equal "$output" "$(in_box box 'cat /proc/sys/kernel/random/boot_id')"
}

@test "a start that meets a stop waits for it and starts anew" {
	local id
	id=$(in_box box 'cat /proc/sys/kernel/random/boot_id')
	pd stop box 3>&- &
	wait_until 20 eval '! box_is box running'
	run --separate-stderr pd exec -q box cat /proc/sys/kernel/random/boot_id
	equal "$status" 0
	[ "$output" != "$id" ]
	wait
}

@test "two starts at once are one" {
	pd stop box
	pd exec -q box cat /proc/sys/kernel/random/boot_id > "$E2E/one" 3>&- &
	pd exec -q box cat /proc/sys/kernel/random/boot_id > "$E2E/two"
	wait $!
	equal "$(cat "$E2E/one")" "$(cat "$E2E/two")"
}

@test "logs -f shows what comes and ends with the sandbox" {
	pd logs -f box > "$E2E/follow" 3>&- &
	local follower=$!
	in_box_root box 'printf "so it goes\033[31m\n" > /dev/console'
	wait_until 20 grep -q 'so it goes' "$E2E/follow"
	lacks "$(cat "$E2E/follow")" $'\033'
	pd stop box
	wait "$follower"
}

@test "run with the options it was made with comes back; it says what an existing one cannot be given" {
	equal "$(pd run -q --name box -m 1g -- -c 'echo again')" again
	run --separate-stderr pd run --name box -m 700m
	fails_with 2 "was made with another --memory"
	run --separate-stderr pd run --name box shell "$E2E/ws/more"
	fails_with 2 "was made without"
	run --separate-stderr pd run shell "$E2E/ws/app" "$E2E/ws/more"
	fails_with 2 "was made without"
	run --separate-stderr pd create --name box shell "$E2E/ws/more"
	fails_with 125 "exists already"
}

@test "--env-file from a pipe" {
	run --separate-stderr pd run -q --name box --env-file <(echo GREETING=hello) -- -c 'echo $GREETING'
	equal "$status" 0
	equal "$output" hello
}

@test "exec -t without -i: Ctrl-C reaches the command" {
	term_open keys
	term_type keys 'paddock exec -q -t box sh -c "echo run""ning; sleep 1000"; echo left=$?'
	line_shows keys running
	term_key keys C-c
	line_shows keys '.*left=130'
	term_close keys
}

@test "template rm leaves the images of sandboxes that it cannot read" {
	local id
	id=$(jq -r .image "$E2E/data/paddock/sandboxes/box/sandbox.json")
	run --separate-stderr pd template rm "$id"
	fails_with 125 "is the base of sandbox 'box'"
	mkdir "$E2E/data/paddock/sandboxes/newer"
	echo '{"version": 99}' > "$E2E/data/paddock/sandboxes/newer/sandbox.json"
	run --separate-stderr pd template rm shell-0123456789ab
	fails_with 125 "newer paddock"
	pd rm -f newer
}

@test "the workspace is gone, or somebody's symlink by now" {
	pd stop box
	mv "$E2E/ws/app" "$E2E/ws/app2"
	run --separate-stderr pd exec -q box true
	fails_with 125 "bring it back"
	ln -s /etc "$E2E/ws/app"
	run --separate-stderr pd exec -q box true
	equal "$status" 125
	has "$stderr" "fs process ended"
	has "$stderr" "ws/app"
	rm "$E2E/ws/app"
	mv "$E2E/ws/app2" "$E2E/ws/app"
	equal "$(in_box box 'echo back')" back
}

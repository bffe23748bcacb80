# users: user; with PADDOCK_E2E_ALL: root
# Several sandboxes: apart from each other, side by side, listed, removed. PADDOCK_E2E_MANY=1: twenty.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin many
	mkdir "$E2E/ws/app"
	make_box one "$E2E/ws/app"
	make_box two "$E2E/ws/app"
}

teardown_file() {
	e2e_end
}

@test "two on one workspace run at once, share it and nothing else" {
	in_box one 'echo from one > shared; echo mine > /tmp/private; sudo hostname changed; sudo touch /etc/one'
	equal "$(in_box two 'cat shared')" "from one"
	in_box two 'echo from two > shared'
	wait_until 10 in_box one 'grep -q "from two" shared'
	run in_box two 'cat /tmp/private /etc/one'
	[ "$status" != 0 ]
	equal "$(in_box two hostname)" two
	local id
	for id in '/proc/sys/kernel/random/boot_id' '/etc/machine-id'; do
		[ "$(in_box one "cat $id")" != "$(in_box two "cat $id")" ] || { echo "$id" >&2; return 1; }
	done
	[ "$(in_box one 'head -c 16 /dev/urandom | base64')" != "$(in_box two 'head -c 16 /dev/urandom | base64')" ]
}

@test "they cannot reach each other by network" {
	in_box one 'python3 -m http.server 8000 >/dev/null 2>&1 & echo started'
	wait_until 20 in_box one 'curl -sf http://127.0.0.1:8000/ >/dev/null' # control: it listens
	local host
	for host in 198.18.0.1 198.18.0.2 one localhost host.docker.internal; do
		run in_box two 'curl -sf -m 10 -o /dev/null "http://$1:8000/"' "$host"
		[ "$status" != 0 ] || { echo "$host" >&2; return 1; }
		[ "$status" != 28 ] || { echo "$host hangs" >&2; return 1; }
	done
	in_box one 'pkill -f http.server'
}

@test "ls, ls -q, --json, inspect tell the same" {
	local json
	equal "$(pd ls -q)" $'one\ntwo'
	equal "$(pd ls | awk 'NR > 1 {print $1, $2, $3}')" $'one shell running\ntwo shell running'
	has "$(pd ls | head -n 1)" SANDBOX
	has "$(pd ls)" "$E2E/ws/app"
	json=$(pd ls --json)
	equal "$(jq -r '.sandboxes[] | "\(.name) \(.agent) \(.status) \(.workspaces[0])"' <<< "$json")" \
		"one shell running $E2E/ws/app"$'\n'"two shell running $E2E/ws/app"
	[[ $(jq -r '.sandboxes[0].created' <<< "$json") =~ ^20[0-9-]+T[0-9:]+Z$ ]]
	equal "$(pd inspect one two | jq -r '.[].name')" $'one\ntwo'
	equal "$(inspect_get one '.processes | keys | sort | join(" ")')" "fs link log net qemu resolver signer supervisor"
}

@test "one starts and stops alone" {
	note_namespaces
	equal "$(pd stop one)" one
	equal "$(box_status one),$(box_status two)" stopped,running
	no_pids one
	equal "$(in_box two 'echo untouched')" untouched
	equal "$(pd run -q --name one -- -c 'cat shared')" "from two"
	equal "$(box_status one),$(box_status two)" running,running
}

@test "a new sandbox takes less than a megabyte of disk, an idle one little memory" {
	local bytes kb=0 role pss
	# Its disk after one boot, and the whole folder.
	bytes=$(($(du -sk "$E2E/data/paddock/sandboxes/two" | cut -f1) * 1024))
	echo "# $bytes bytes on disk after the first boot" >&3
	pd create -q -m 512m --name fresh shell "$E2E/ws/app" >/dev/null
	bytes=$(inspect_get fresh .disk_used_bytes)
	echo "# $bytes bytes of disk when just created" >&3
	note_namespaces
	pd rm -f fresh
	at_most "$bytes" $((1 << 20)) "bytes on disk"
	for role in supervisor fs link net resolver signer log; do
		pss=$(awk '/^Pss:/ {print $2}' "/proc/$(role_pid two $role)/smaps_rollup")
		kb=$((kb + pss))
	done
	echo "# $kb kB of memory for all processes but QEMU" >&3
	at_most "$kb" 15360 "kB of memory"
}

@test "two commands create the same new name at once: both end up in one sandbox" {
	local a b
	pd run -q -m 512m --name race shell "$E2E/ws/app" -- -c 'cat /proc/sys/kernel/random/boot_id' \
		> "$E2E/ws/a" 2> "$E2E/ws/a.err" &
	a=$!
	pd run -q -m 512m --name race shell "$E2E/ws/app" -- -c 'cat /proc/sys/kernel/random/boot_id' \
		> "$E2E/ws/b" 2> "$E2E/ws/b.err" &
	b=$!
	wait "$a" || { cat "$E2E/ws/a.err" >&2; return 1; }
	wait "$b" || { cat "$E2E/ws/b.err" >&2; return 1; }
	equal "$(cat "$E2E/ws/a")" "$(cat "$E2E/ws/b")"
	equal "$(pd ls -q)" $'one\nrace\ntwo'
}

@test "commands that meet: starts and stops of one sandbox at once end in a clear state" {
	local i pids=()
	pd stop race
	for i in 1 2 3; do
		pd exec -q race echo "$i" > "$E2E/ws/c$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	equal "$(cat "$E2E/ws/c1" "$E2E/ws/c2" "$E2E/ws/c3")" $'1\n2\n3'
	pids=()
	for i in 1 2 3; do
		pd stop race > "$E2E/ws/c$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	equal "$(box_status race)" stopped
	no_pids race
}

@test "rm: refuses a running one, -f does not; several; nothing is left of them" {
	run --separate-stderr pd rm two </dev/null
	fails_with 125 "sandbox 'two' is running: paddock rm --force two"
	equal "$(box_status two)" running
	equal "$(pd rm race </dev/null)" race
	note_namespaces
	equal "$(pd rm -f two)" two
	equal "$(pd ls -q)" one
	wait_until 20 no_pids two
	[ ! -e "$E2E/data/paddock/sandboxes/two" ] && [ ! -e "$XDG_RUNTIME_DIR/paddock/two" ]
	run --separate-stderr pd rm -f one two
	equal "$status" 125
	has "$stderr" "no sandbox 'two'"
}

@test "on a terminal rm asks" {
	make_box asked "$E2E/ws/app"
	note_namespaces
	term_open ask
	term_type ask "paddock rm asked; echo status=\$?"
	screen_shows ask "Remove 'asked'"
	screen_shows ask "[y/N]:"
	term_type ask n
	line_shows ask "status=1"
	equal "$(box_status asked)" running
	term_type ask "clear; paddock rm asked; echo status=\$?"
	screen_shows ask "[y/N]:"
	term_type ask y
	line_shows ask "status=0"
	screen_line ask asked
	equal "$(pd ls -q)" ""
	term_close ask
}

# L11. What ends one's role, or all of its machine, is felt by that one alone.
@test "many side by side, started at once, each its own machine; one whose roles are killed; rm --all" {
	local n=4 i ids role others pids=()
	[ -z "${PADDOCK_E2E_MANY:-}" ] || n=20
	pd rm -f --all >/dev/null # where this test runs alone
	for i in $(seq "$n"); do
		pd create -q -m 512m --cpus 1 --name "box$i" shell "$E2E/ws/app" >/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	equal "$(pd ls | grep -c ' running ')" "$n"
	ids=$(for i in $(seq "$n"); do in_box "box$i" 'cat /proc/sys/kernel/random/boot_id'; done)
	equal "$(sort -u <<< "$ids" | wc -l)" "$n"
	note_namespaces
	others=$(seq -f box%g 2 "$n" | xargs "$PADDOCK" inspect | jq -c '.[].processes')
	for role in net fs supervisor; do
		kill_hard "$(role_pid box1 "$role")"
		equal "$(PD_LIMIT=60 in_box box2 'cat /proc/sys/kernel/random/boot_id')" "$(sed -n 2p <<< "$ids")"
	done
	# Control: that one has lost its machine, and has another one now.
	wait_until 30 box_is box1 stopped
	lacks "$ids" "$(in_box box1 'cat /proc/sys/kernel/random/boot_id')"
	equal "$(seq -f box%g 2 "$n" | xargs "$PADDOCK" inspect | jq -c '.[].processes')" "$others"
	note_namespaces
	pd stop box2
	equal "$(pd ls | grep -c ' running ')" $((n - 1))
	equal "$(in_box box1 'echo on')" on
	equal "$(pd rm -f --all | wc -l)" "$n"
	equal "$(pd ls -q)" ""
	leaves_nothing
}

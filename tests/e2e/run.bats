# users: root user
# paddock run: one sandbox around one project, entered again and again.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin run
	mkdir -p "$E2E/ws/my app"
	export APP="$E2E/ws/my app"
	echo hello > "$APP/file"
	# The first run of all, as a user types it. What it says is looked at below.
	(cd "$APP" && K_SHELL=from-shell pd run -m 1g -e K_MADE=1 -e K_SHELL shell -- \
		-c 'echo out; echo err >&2; cat /proc/sys/kernel/random/boot_id') \
		>"$E2E/first.out" 2>"$E2E/first.err"
}

teardown_file() {
	e2e_end
}

go() {
	pd run -q shell "$APP" -- "$@"
}

@test "the first run: progress in plain lines, streams apart, the default name" {
	local out err
	mapfile -t out < "$E2E/first.out"
	err=$(cat "$E2E/first.err")
	equal "${#out[@]}" 2
	equal "${out[0]}" out
	has "$err" "starting the machine"
	equal "$(grep -c '^err$' <<< "$err")" 1
	lacks "$err" $'\r'
	lacks "$err" $'\e'
	if [ "$(inspect_get shell-my-app .accelerator)" = tcg ]; then
		equal "$(grep -ci 'software emulation' <<< "$err")" 1
	fi
	equal "$(pd ls -q)" shell-my-app
}

@test "run again enters the same machine: by folder, by name, from inside the folder" {
	local boot
	boot=$(tail -n 1 "$E2E/first.out")
	boot_id() { pd run -q "$@" -- -c 'cat /proc/sys/kernel/random/boot_id'; }
	equal "$(boot_id shell "$APP")" "$boot"
	equal "$(boot_id shell-my-app)" "$boot"
	equal "$(boot_id --name shell-my-app)" "$boot"
	equal "$(boot_id --name shell-my-app shell)" "$boot"
	cd "$APP"
	equal "$(boot_id shell)" "$boot"
	equal "$(boot_id shell .)" "$boot"
	equal "$(pd ls -q)" shell-my-app
}

@test "exit statuses come back" {
	local code
	for code in 0 1 3 42 126 127 255; do
		run "-$code" go -c "exit $code"
		equal "$status" "$code"
	done
	run -137 go -c 'kill -KILL $$'
	equal "$status" 137
	run -143 go -c 'kill -TERM $$'
	equal "$status" 143
}

@test "the folder is the same absolute path, and the cwd" {
	equal "$(go -c pwd)" "$APP"
	equal "$(go -c 'pwd -P')" "$APP"
	equal "$(go -c 'cat file')" hello
}

@test "relative paths, symlinks, slashes, dots and ~ lead to the same sandbox" {
	ln -sfn "$APP" "$E2E/ws/link"
	cd "$E2E/ws"
	local path
	# shellcheck disable=SC2088 # the tilde is for paddock to expand
	for path in "my app" "./my app/" "link" "link/." "$E2E/home/../ws/my app" "~/../ws/my app"; do
		equal "$(pd run -q shell "$path" -- -c pwd)" "$APP" || { echo "$path" >&2; return 1; }
	done
	equal "$(pd ls -q)" shell-my-app
}

@test "words after --: with a dash to the shell's own, without in its place" {
	equal "$(go -c 'shopt -q login_shell && echo login')" login
	equal "$(go -c 'echo "$0/$1/$2"' a 'b  c')" "a/b  c/"
	equal "$(go printf '<%s>' 'one two' '' '*' $'new\nline')" $'<one two><><*><new\nline>'
}

@test "the environment: of create, of run, of files, of the shell; later wins" {
	equal "$(go -c 'echo $K_MADE $K_SHELL')" "1 from-shell"
	printf '# c\r\nexport FROM_FILE=file\r\nBOTH=file\nCOPIED\n\nSPACED=a b\n' > "$E2E/ws/env"
	equal "$(COPIED=copied pd run -q -e BOTH=word -e K_MADE=2 --env-file "$E2E/ws/env" shell "$APP" \
		-- -c 'echo "$FROM_FILE,$BOTH,$COPIED,$SPACED,$K_MADE"')" "file,word,copied,a b,2"
	# Only for that command.
	equal "$(go -c 'echo "$BOTH,$K_MADE"')" ",1"
	# A KEY that the shell does not have adds nothing; an empty value is one.
	equal "$(EMPTY='' pd run -q -e EMPTY -e NOT_THERE shell "$APP" -- \
		-c 'echo "${EMPTY-unset},${NOT_THERE-unset}"')" ",unset"
	equal "$(pd run -q -e 'ODD=a=b "c" $d' shell "$APP" -- -c 'printf %s "$ODD"')" 'a=b "c" $d'
}

@test "TERM, COLORTERM, LANG, LC_*, TZ come along; nothing else does" {
	equal "$(TERM=vt220 COLORTERM=truecolor LANG=C.UTF-8 LC_TIME=POSIX TZ=Asia/Tokyo SECRET=x \
		pd run -q shell "$APP" -- \
		-c 'echo "$TERM $COLORTERM $LANG $LC_TIME $TZ ${SECRET-none}"; date +%z')" \
		$'vt220 truecolor C.UTF-8 POSIX Asia/Tokyo none\n+0900'
}

@test "standard input: a megabyte through, end of file, none from a closed one" {
	head -c 1048577 /dev/urandom > "$E2E/ws/in"
	equal "$(go -c sha256sum < "$E2E/ws/in")" "$(sha256sum < "$E2E/ws/in")"
	go -c cat < "$E2E/ws/in" | cmp - "$E2E/ws/in"
	equal "$(go -c 'cat; echo end' < /dev/null)" end
	equal "$(go -c 'read -r x; echo "$x"' <<< typed)" typed
}

@test "standard output and error stay apart, whole and in order" {
	run --separate-stderr go -c 'for i in 1 2 3; do echo "o$i"; echo "e$i" >&2; done'
	equal "$output" $'o1\no2\no3'
	equal "$stderr" $'e1\ne2\ne3'
}

@test "twenty megabytes of output arrive unchanged" {
	equal "$(go -c 'python3 -c "
import sys
for i in range(20 * 64): sys.stdout.buffer.write(bytes([i % 251]) * 16384)
"' | sha256sum)" "$(python3 -c "
import sys
for i in range(20 * 64): sys.stdout.buffer.write(bytes([i % 251]) * 16384)
" | sha256sum)"
}

@test "a reader that leaves ends the run, as with any command" {
	local start=$SECONDS
	equal "$(PD_LIMIT=30 go -c 'yes' | head -n 2)" $'y\ny'
	at_most $((SECONDS - start)) 20 seconds
	wait_until 20 in_box shell-my-app '! pgrep -x yes'
}

@test "signals to paddock reach the program" {
	go -c 'trap "echo got; exit 7" TERM; echo ready; while :; do read -rt 0.1 <> <(:); done' \
		> "$E2E/ws/signal" &
	local pid=$! child
	wait_until 20 grep -q ready "$E2E/ws/signal"
	child=$(pgrep -f "^$PADDOCK run -q shell $APP -- -c trap")
	kill -TERM "$child"
	status=0
	wait "$pid" || status=$?
	equal "$status" 7
	equal "$(cat "$E2E/ws/signal")" $'ready\ngot'
}

@test "-d starts, prints the name and runs no agent" {
	equal "$(pd run -q -d shell "$APP")" shell-my-app
	equal "$(inspect_get shell-my-app '.sessions | length')" 0
}

@test "-q is silent, --debug tells" {
	run --separate-stderr go -c true
	equal "$stderr" ""
	pd stop shell-my-app
	run --separate-stderr go -c true
	equal "$status$output$stderr" 0
	pd stop shell-my-app
	run --separate-stderr pd --debug run shell "$APP" -- -c true
	equal "$status" 0
	has "$(pd logs --supervisor shell-my-app)" "started qemu, pid"
	note_namespaces
}

@test "what was given at create is there after stop and run" {
	equal "$(go -c 'echo $K_MADE $K_SHELL')" "1 from-shell"
	equal "$(inspect_get shell-my-app .memory_bytes)" $((1 << 30))
	equal "$(inspect_get shell-my-app '.env | sort | join(" ")')" "K_MADE=1 K_SHELL=from-shell"
	equal "$(inspect_get shell-my-app '.workspaces[0].path')" "$APP"
}

@test "a project in the user's home folder" {
	# The guest's own /root is closed to the agent; the workspace in it must not be.
	local home project
	home=$(getent passwd "$(id -u)" | cut -d: -f6)
	project=$(mktemp -d "$home/paddock-e2e.XXXXXX")
	echo here > "$project/file"
	run pd run -q -m 512m --name at-home shell "$project" -- -c 'pwd; cat file; echo new > made; id -un'
	equal "$output" "$project"$'\nhere\nagent'
	equal "$(stat -c %u "$project/made")" "$(id -u)"
	note_namespaces
	pd rm -f at-home
	rm -r "$project"
}

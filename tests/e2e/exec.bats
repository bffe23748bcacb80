# users: user; with PADDOCK_E2E_ALL: root
# paddock exec, and what the agent finds inside.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin exec
	mkdir "$E2E/ws/app"
	ssh-keygen -q -t ed25519 -N '' -f "$E2E/sign"
	git config --global gpg.format ssh
	git config --global user.signingkey "$E2E/sign"
	git config --global commit.gpgsign true
	export TZ=Europe/Berlin
	make_box web -e FROM_CREATE=yes "$E2E/ws/app"
}

teardown_file() {
	e2e_end
}

agent_uid() {
	if [ "$(id -u)" = 0 ]; then echo 1000; else id -u; fi
}

agent_gid() {
	if [ "$(id -u)" = 0 ]; then echo 1000; else id -g; fi
}

@test "exit statuses come back; 126 and 127 say why" {
	local code
	for code in 0 1 99 255; do
		run "-$code" pd exec web sh -c "exit $code"
		equal "$status" "$code"
	done
	run pd exec web sh -c 'kill -9 $$'
	equal "$status" 137
	run -127 --separate-stderr pd exec web no-such-program
	fails_with 127 "'no-such-program': executable file not found"
	run -127 --separate-stderr pd exec web /no/such/program
	fails_with 127 "No such file or directory"
	run --separate-stderr pd exec web /etc/passwd
	fails_with 126 "Permission denied"
	run --separate-stderr pd exec web /tmp
	fails_with 126 "'/tmp'"
	run -127 --separate-stderr pd exec -w /no/such/folder web true
	has "$stderr" "/no/such/folder"
	run --separate-stderr pd exec -u nosuchuser web true
	fails_with 126 "nosuchuser"
}

@test "words arrive as they are, options behind the name are the command's" {
	equal "$(pd exec web printf '<%s>' -e --env '' 'a  b' '$HOME' '*')" '<-e><--env><><a  b><$HOME><*>'
	equal "$(pd exec web -- printf '<%s>' --help -D)" "<--help><-D>"
	equal "$(pd exec web printf '<%s>' -- x --)" "<--><x><-->"
}

@test "-e, --env-file, -w; what create set is there, the host's own environment is not" {
	echo 'FROM_FILE=f' > "$E2E/ws/env"
	equal "$(A_SECRET=s pd exec -e K=V --env X=Y --env-file "$E2E/ws/env" -w /usr/share web \
		sh -c 'echo $K $X $FROM_FILE $FROM_CREATE ${A_SECRET-none}; pwd')" \
		$'V Y f yes none\n/usr/share'
	equal "$(pd exec web pwd)" "$E2E/ws/app"
	run --separate-stderr pd exec -w relative web true
	fails_with 2 "--workdir 'relative': write an absolute path"
	# Without a terminal there is no TERM, as with docker exec.
	equal "$(pd exec web sh -c 'echo "[$TERM]"')" "[]"
}

@test "-u: agent by default; root, names, uid:gid" {
	equal "$(pd exec web id -un)" agent
	equal "$(pd exec web sh -c 'id -u; id -g')" "$(agent_uid)"$'\n'"$(agent_gid)"
	equal "$(pd exec -u root web sh -c 'id -un; id -gn; echo $HOME')" $'root\nroot\n/root'
	equal "$(pd exec -u 0 web id -u)" 0
	equal "$(pd exec -u agent web sh -c 'id -un; echo $HOME; echo $USER')" $'agent\n/home/agent\nagent'
	equal "$(pd exec -u 4321:8765 web sh -c 'id -u; id -g')" $'4321\n8765'
	equal "$(pd exec -u nobody:agent web sh -c 'id -un; id -gn')" $'nobody\nagent'
	equal "$(pd exec -u root --privileged web id -u)" 0
}

@test "-i passes standard input; without it there is none" {
	equal "$(echo typed | pd exec -i web cat)" typed
	equal "$(echo typed | pd exec web cat)" ""
	head -c 3000000 /dev/urandom > "$E2E/ws/in"
	equal "$(pd exec -i web sha256sum < "$E2E/ws/in")" "$(sha256sum < "$E2E/ws/in")"
	# What the command leaves unread does not hang anything.
	PD_LIMIT=30 run pd exec -i web true < "$E2E/ws/in"
	equal "$status" 0
	# Nor does a standard input that never ends.
	PD_LIMIT=30 run pd exec -i web echo "done" < <(sleep 100)
	equal "$output" "done"
	# exec does not eat the input of the loop around it.
	equal "$(printf 'a\nb\n' | while read -r x; do pd exec web echo "$x"; done)" $'a\nb'
}

@test "-d returns at once and the program goes on" {
	local start=$SECONDS
	PD_LIMIT=20 run pd exec -d web sh -c 'while [ ! -e /tmp/go ]; do sleep 0.2; done; echo went > /tmp/done'
	equal "$status$output" 0
	at_most $((SECONDS - start)) 15 seconds
	equal "$(pd inspect web | jq -r '.[0].sessions | length')" 1
	pd exec web touch /tmp/go
	wait_until 30 pd exec web test -s /tmp/done
	run -127 --separate-stderr pd exec -d web no-such-program
	fails_with 127 "no-such-program"
}

@test "a program that goes to the background does not hold the command up" {
	local start=$SECONDS
	equal "$(PD_LIMIT=30 pd exec web sh -c 'sleep 100 & echo started')" started
	at_most $((SECONDS - start)) 20 seconds
	equal "$(pd exec web pgrep -cx sleep)" 1
	pd exec web pkill -x sleep
}

@test "a client that goes away takes its program with it" {
	pd exec web sh -c 'exec sleep 4242' &
	local child
	wait_until 20 pd exec web pgrep -fx 'sleep 4242'
	child=$(pgrep -f "^$PADDOCK exec web sh -c exec sleep 4242")
	kill -KILL "$child"
	wait_until 20 pd exec web sh -c '! pgrep -fx "sleep 4242"'
}

@test "many at once" {
	local i pids=()
	for i in {1..20}; do
		pd exec -i web sh -c "cat; echo $i" <<< "in $i" > "$E2E/ws/out$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	for i in {1..20}; do
		equal "$(cat "$E2E/ws/out$i")" "in $i"$'\n'"$i"
	done
}

@test "a slow reader holds up nobody else" {
	mkfifo "$E2E/ws/slow"
	pd exec web sh -c 'yes | head -c 50000000' > "$E2E/ws/slow" &
	local pid=$! start
	exec 7< "$E2E/ws/slow"
	head -c 1 <&7 >/dev/null
	start=$SECONDS
	equal "$(PD_LIMIT=30 pd exec web echo through)" through
	equal "$(PD_LIMIT=60 pd exec web sh -c 'yes | head -c 2000000' | wc -c)" 2000000
	at_most $((SECONDS - start)) 60 seconds
	equal "$(($(wc -c <&7) > 49000000))" 1
	exec 7<&-
	wait "$pid"
}

@test "the agent is root by sudo without a password" {
	equal "$(pd exec web sudo id -u)" 0
	equal "$(pd exec web sudo -n whoami)" root
	pd exec web sh -c 'echo x | sudo tee /etc/by-agent >/dev/null && cat /etc/by-agent'
	# A host name that does not resolve would make it complain.
	run --separate-stderr pd exec web sudo true
	equal "$stderr" ""
}

@test "the tools are there and work" {
	run --separate-stderr pd exec web sh -ec '
		for tool in git curl jq rg node npm python3 make gcc docker less vi; do
			command -v $tool >/dev/null || echo "no $tool"
		done
		git --version; curl --version; jq --version; rg --version
		python3 -c "import ssl, sqlite3; print(ssl.OPENSSL_VERSION)"
		make --version; gcc --version; docker --version
		node -e "console.log(6 * 7)"; npm --version'
	equal "$status" 0
	lacks "$output" "no "
	has "$output" 42
}

@test "a sane shell: home, path, job control, locale, history, colours, completion" {
	equal "$(pd exec web bash -lc 'echo $HOME; cd; pwd; umask')" $'/home/agent\n/home/agent\n0022'
	has "$(pd exec web bash -lc 'echo $PATH')" "/home/agent/.local/bin"
	has "$(pd exec web bash -lc 'echo $PATH')" "/usr/bin"
	equal "$(pd exec web bash -lc 'echo $SHELL; test -w ~ && echo mine')" $'/bin/bash\nmine'
	equal "$(pd exec web bash -c 'printf %s ä | wc -m')" 1
	equal "$(pd exec web bash -c 'echo x > /dev/shm/x && echo x > /tmp/x && cat /dev/shm/x /tmp/x')" $'x\nx'
	equal "$(pd exec web bash -c 'exec 3<>/dev/ptmx && echo pty')" pty
	equal "$(pd exec web sh -c 'ulimit -n')" 65536
}

@test "zombies are reaped by PID 1" {
	pd exec web sh -c 'for i in 1 2 3 4 5; do (sh -c "sleep 0.1 &" &); done'
	wait_until 20 pd exec web sh -c '! pgrep -x sleep'
	equal "$(pd exec web sh -c 'ps -eo stat= | grep -c ^Z || :')" 0
}

@test "host name, time, time zone, git identity are the sandbox's and the host's" {
	local there here
	equal "$(pd exec web hostname)" web
	here=$(date +%s)
	there=$(pd exec web date +%s)
	at_most $((there - here)) 20 "seconds ahead"
	at_most $((here - there)) 2 "seconds behind"
	equal "$(pd exec web date +%z)" "$(TZ=Europe/Berlin date +%z)"
	equal "$(pd exec web git config user.name)" "Mina Härtel"
	equal "$(pd exec web git config user.email)" mina@example.org
	equal "$(pd exec -u root web git config user.email)" mina@example.org
	# How the user signs, but no key: and so nothing that would have to be signed.
	equal "$(pd exec web git config gpg.format) $(pd exec web git config user.signingkey)" \
		"ssh key::$(cut -d' ' -f1,2 < "$E2E/sign.pub")"
	equal "$(in_box web 'git init -q ~/repo && cd ~/repo && git commit -q --allow-empty -m x && git log --format="%an %G?"')" \
		"Mina Härtel N"
}

@test "nothing but the sandbox is in there" {
	# One disk, one NIC, the three ports; no other host device.
	equal "$(in_box_root web 'ls /sys/class/net | sort | paste -sd" "' | tr ' ' '\n' |
		grep -cvx -e lo -e eth0 -e docker0)" 0
	equal "$(in_box_root web 'ls /sys/block | grep -c ^vd')" 1
	equal "$(in_box_root web 'ls /sys/bus/pci/devices 2>/dev/null | wc -l')" 0
	equal "$(in_box_root web 'pgrep -c systemd || :')" 0
}

@test "exec starts a stopped sandbox; stop says its name and is no error twice" {
	note_namespaces
	equal "$(pd stop web)" web
	equal "$(box_status web)" stopped
	no_pids
	equal "$(pd stop web)" web
	equal "$(pd exec -q web echo up)" up
	equal "$(box_status web)" running
	# The clock was set anew.
	at_most $(($(pd exec web date +%s) - $(date +%s))) 20 "seconds ahead"
}

# users: root
# After a session with a credential: is its value anywhere but in net's memory?
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin search
	mkdir -p "$E2E/ws/app" "$E2E/secret"
	make_ca api.keyed.test
	serve tls --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key"
	printf 'real-%s%s-of-the-key\n' "$RANDOM" "$RANDOM" > "$E2E/secret/value"
	pd secret set keyed --host api.keyed.test --header x-api-key --env KEYED_API_KEY \
		--command "cat '$E2E/secret/value'" 2>/dev/null
	pd --debug create --memory 512m --name box --resolve "api.keyed.test:443:127.0.0.1:$tls_port" \
		shell "$E2E/ws/app" > "$E2E/create.out" 2>&1
	# It is used, echoed and written down by the guest, as far as that can be.
	in_box box 'for i in 1 2 3; do curl -sS https://api.keyed.test/keys -H "x-api-key: $KEYED_API_KEY"; done > ~/answers
		echo "$KEYED_API_KEY" | tee ~/held; env > ~/env; sync' > "$E2E/secret/held"
}

# The store is the user's and outlives every sandbox.
teardown_file() {
	rm -rf "$E2E/data/paddock/secrets"
	e2e_end
}

count() { # FILE-WITH-TEXT FOLDER-OR-FILE...: files that hold it
	LC_ALL=C grep -rlaF -f "$1" "${@:2}" 2>/dev/null | wc -l
}

@test "no file of the host holds the value: disk, snapshots, logs, network log, state, debug output" {
	equal "$(count "$E2E/secret/value" "$E2E/data" "$E2E/run" "$E2E/create.out" "$E2E/home" "$E2E/ws")" 0
	# Nor what other sandboxes stand on: snapshots of machines, templates. (Folders, behind a link.)
	equal "$(count "$E2E/secret/value" "$E2E/data/paddock/snapshots/" "$E2E/data/paddock/templates/")" 0
	# Control: what the guest holds is on its disk.
	equal "$(count "$E2E/secret/held" "$E2E/data/paddock/sandboxes/box/disk.qcow2")" 1
	[ "$(count "$E2E/secret/held" "$E2E/data/paddock/sandboxes/box/credentials.json")" = 1 ]
}

@test "no argument and no environment of a process holds it" {
	equal "$(ps -eo args | grep -cF -f "$E2E/secret/value" || :)" 0
	for role in supervisor qemu fs link net resolver signer log; do
		equal "$(tr '\0' '\n' < "/proc/$(role_pid box "$role")/environ" | grep -cF -f "$E2E/secret/value" || :)" 0
	done
}

@test "no memory but net's holds it, the guest's included" {
	local role pid
	for role in supervisor qemu fs link resolver signer log; do
		pid=$(role_pid box "$role")
		equal "$role $(python3 "$E2E_DIR/memsearch.py" "$pid" "$E2E/secret/value")" "$role 0"
	done
	# Controls: what the guest holds is in its memory, and net has the value.
	[ "$(python3 "$E2E_DIR/memsearch.py" "$(role_pid box qemu)" "$E2E/secret/held")" -gt 0 ]
	[ "$(python3 "$E2E_DIR/memsearch.py" "$(role_pid box net)" "$E2E/secret/value")" -gt 0 ]
	# It cannot be dumped, nor looked at by the user's other processes.
	equal "$(stat -c %u "/proc/$(role_pid box net)/mem")" 0
}

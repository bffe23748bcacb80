# users: user; with PADDOCK_E2E_ALL: root
# The workspace under load, from both sides: random operations in the guest that must end as on its
# own disk, several programs at once, two sandboxes on one folder.
# PADDOCK_LONG=SECONDS makes the random operations that long.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin files
	MODEL=$(realpath "$(dirname "$PADDOCK")/tests/fs/fs_model")
	export MODEL
	mkdir "$E2E/ws/app"
	cp "$MODEL" "${MODEL%model}race" "$E2E/ws/app/"
	make_box one "$E2E/ws/app"
	make_box two "$E2E/ws/app"
	export W=$E2E/ws/app
}

teardown_file() {
	e2e_end
}

# Whoever has the same rights on its own disk in the guest as the workspace's server on the host.
same_user() {
	if [ "$(id -u)" = 0 ]; then echo root; else echo agent; fi
}

# model BOX NAME SEED OPERATIONS [SECONDS]: in its own folder, with changes on the host.
model() {
	mkdir -p "$W/$2"
	PD_LIMIT=$((${5:-0} + 280)) pd exec -q -u "$(same_user)" "$1" mkdir -p "/var/tmp/plain/$2"
	timeout $((${5:-0} + 280)) "$MODEL" --host "$W/$2" "$PADDOCK" exec -q -i -u "$(same_user)" \
		-e FS_MODEL_SHOW_MS=10000 "$1" "$W/fs_model" "$W/$2" "/var/tmp/plain/$2" "$3" "$4" - "${5:-0}" ||
		{ e2e_tell; return 1; }
}

@test "random operations in the guest agree with its own disk, with changes on the host between them" {
	local seed=${PADDOCK_SEED:-$((RANDOM * 32768 + RANDOM))} jobs=() job
	echo "# seed $seed" >&3
	if [ -n "${PADDOCK_LONG:-}" ]; then
		# Several at once, in two sandboxes on one workspace.
		model one b "$((seed + 1000000))" 1500 "$PADDOCK_LONG" >&3 & jobs+=($!)
		model two c "$((seed + 2000000))" 1500 "$PADDOCK_LONG" >&3 & jobs+=($!)
	fi
	model one a "$seed" 1000 "${PADDOCK_LONG:-0}" >&3
	for job in "${jobs[@]}"; do wait "$job"; done
}

@test "several programs in two sandboxes and on the host: counters, claims, a log, a file replaced" {
	local jobs=() job
	mkdir "$W/race"
	wait_until 10 in_box two '[ -d "$1" ]' "$W/race"
	pd exec -q one "$W/fs_race" "$W/race" one 15 2 & jobs+=($!)
	pd exec -q two "$W/fs_race" "$W/race" two 15 2 & jobs+=($!)
	timeout "$PD_LIMIT" "$W/fs_race" "$W/race" host 15 2
	for job in "${jobs[@]}"; do wait "$job"; done
	"$W/fs_race" --check "$W/race" 90 15
	wait_until 10 pd exec -q one "$W/fs_race" --check "$W/race" 90 15
	wait_until 10 pd exec -q two "$W/fs_race" --check "$W/race" 90 15
}

@test "a lock of one side is everybody's: the host's, this guest's, another guest's" {
	local kind
	echo x > "$W/locked"
	cat > "$W/lock.py" <<-'PY'
		# lock.py KIND FILE [wait]: 0 where it was got; with wait, held until the end of stdin
		import fcntl, sys
		kind, name, *wait = sys.argv[1:]
		f = open(name, "r+")
		lock = fcntl.flock if kind == "flock" else fcntl.lockf
		try:
		    lock(f, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
		except OSError:
		    sys.exit(9)
		if wait:
		    print("held", flush=True)
		    sys.stdin.read()
	PY
	for kind in flock record; do
		coproc HOLD { pd exec -q -i one python3 "$W/lock.py" "$kind" "$W/locked" wait; }
		local in=${HOLD[1]} pid=$HOLD_PID
		read -r -t 60 -u "${HOLD[0]}" word && [ "$word" = held ]
		run python3 "$W/lock.py" "$kind" "$W/locked"
		equal "$status" 9
		run pd exec -q two python3 "$W/lock.py" "$kind" "$W/locked"
		equal "$status" 9
		# Who waits there, can be ended there.
		run in_box two 'timeout 2 python3 "$1/lock.py" "$2" "$1/locked" wait </dev/null' "$W" "$kind"
		equal "$status" 124
		eval "exec $in>&-"
		wait "$pid"
		python3 "$W/lock.py" "$kind" "$W/locked"
		pd exec -q two python3 "$W/lock.py" "$kind" "$W/locked"
	done
}

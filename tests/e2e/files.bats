# users: root user
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
	cp "$MODEL" "$E2E/ws/app/fs_model"
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
		-e FS_MODEL_SHOW_MS=10000 "$1" "$W/fs_model" "$W/$2" "/var/tmp/plain/$2" "$3" "$4" - "${5:-0}"
}

@test "random operations in the guest agree with its own disk, with changes on the host between them" {
	local seed=${PADDOCK_SEED:-$((RANDOM * 32768 + RANDOM))}
	echo "# seed $seed" >&3
	model one a "$seed" 1500 "${PADDOCK_LONG:-0}" >&3
}

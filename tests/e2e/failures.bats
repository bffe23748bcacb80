# users: root user
# What is missing on the host: each failure is one sentence with the cause and the next step, and
# leaves nothing behind. Namespaces of the tests' own take things away; the host stays as it is.
# shellcheck disable=SC2154

load lib

setup_file() {
	e2e_begin failures
	mkdir "$E2E/ws/app"
	# Made once, cannot be started where the tests take something away.
	PD_LIMIT=60 run pd create -q --memory 512m --name box --accel tcg shell "$E2E/ws/app"
	[ "$status" = 0 ] || { echo "$output" >&2; return 1; }
	note_namespaces
	pd stop box
}

teardown_file() {
	e2e_end
}

# without SETUP COMMAND...: in a user and mount namespace in which SETUP (shell, with the rights to
# do so there, but still as the same user: the image depends on it) was run.
without() {
	local setup=$1
	shift
	timeout -k 5 60 unshare --user --map-user="$(id -u)" --map-group="$(id -g)" --keep-caps --mount \
		sh -c "$setup"' && exec "$@"' sh "$@"
}

stopped_and_clean() {
	equal "$(box_status box)" stopped
	no_pids
	equal "$(find "$XDG_RUNTIME_DIR/paddock" -mindepth 1)" ""
}

@test "control: in such a namespace, nothing taken away, it starts" {
	run without : "$PADDOCK" exec box echo works
	equal "$status" 0
	has "$output" works
	run without : "$PADDOCK" stop box
	stopped_and_clean
}

@test "no user namespaces" {
	run without 'echo 0 > /proc/sys/user/max_user_namespaces' "$PADDOCK" exec -q box true
	equal "$status" 125
	has "$output" "namespaces are switched off on this host"
	has "$output" "sudo sysctl user.max_user_namespaces="
	stopped_and_clean
}

@test "no /dev/net/tun" {
	run without 'mount -t tmpfs none /dev/net' "$PADDOCK" exec -q box true
	equal "$status" 125
	has "$output" "/dev/net/tun"
	has "$output" "modprobe tun"
	stopped_and_clean
}

@test "no usable KVM: --accel kvm says why, auto falls back and says so" {
	run --separate-stderr without '{ [ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm; }' \
		"$PADDOCK" create -q --accel kvm --memory 512m --name hard shell "$E2E/ws/app"
	equal "$status" 125
	has "$stderr" "kvm"
	has "$stderr" "--accel tcg"
	run --separate-stderr without '{ [ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm; }' \
		"$PADDOCK" create --name soft shell "$E2E/ws/app"
	equal "$status" 0
	has "$stderr" "software emulation, slow and no security boundary"
	pd rm -f hard soft
}

@test "no QEMU" {
	run --separate-stderr without \
		"mount --bind /dev/null $(realpath "$(command -v qemu-system-x86_64)")" \
		"$PADDOCK" exec -q box true
	fails_with 125 "apt-get install qemu-system-x86"
	stopped_and_clean
}

@test "the disk is full: nothing half-made stays" {
	local full="mount -t tmpfs -o size=64k none '$E2E/data/paddock/sandboxes'"
	run --separate-stderr without "$full" "$PADDOCK" create -q --name fat shell "$E2E/ws/app"
	fails_with 125 "the file system of '$E2E/data/paddock/sandboxes' is full: free space"
	run without "$full" sh -c "'$PADDOCK' create -q --name fat shell '$E2E/ws/app' 2>/dev/null
		ls -A '$E2E/data/paddock/sandboxes'"
	equal "$output" ""
}

@test "the image is gone" {
	mv "$E2E/data/paddock/templates" "$E2E/data/paddock/kept"
	run --separate-stderr pd exec -q box true
	mv "$E2E/data/paddock/kept" "$E2E/data/paddock/templates"
	fails_with 125 "paddock template build"
	stopped_and_clean
}

@test "a workspace is gone" {
	mv "$E2E/ws/app" "$E2E/ws/moved"
	run --separate-stderr pd exec -q box true
	mv "$E2E/ws/moved" "$E2E/ws/app"
	fails_with 125 "workspace '$E2E/ws/app' (bring it back"
	stopped_and_clean
}

@test "paddock-role or paddock-guest is missing, or is no program: the console's last lines are shown" {
	mkdir "$E2E/bin2"
	cp "$PADDOCK" "$E2E/bin2/paddock"
	PADDOCK=$E2E/bin2/paddock run --separate-stderr pd exec -q box true
	fails_with 125 "paddock-role is missing beside '$E2E/bin2'"
	stopped_and_clean
	cp "${PADDOCK%/*}/paddock-role" "$E2E/bin2/"
	PADDOCK=$E2E/bin2/paddock run --separate-stderr pd exec -q box true
	fails_with 125 "paddock-guest is missing beside '$E2E/bin2'"
	stopped_and_clean
	echo junk > "$E2E/bin2/paddock-guest"
	PADDOCK=$E2E/bin2/paddock run --separate-stderr pd exec box true
	equal "$status" 125
	has "$stderr" "paddock: sandbox 'box': the guest's kernel panicked while it started: "
	has "$stderr" "  | "
	has "$(pd logs box)" "Kernel panic"
	stopped_and_clean
	# The shared kernel folder keeps no initramfs of it.
	find -L "$E2E/data/paddock/kernels" -name 'initramfs-*' -newer "$E2E/bin2/paddock-guest" -delete
}

@test "after all that it still starts" {
	equal "$(pd exec -q box echo works)" works
}

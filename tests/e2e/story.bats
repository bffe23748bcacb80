# users: user; with PADDOCK_E2E_ALL: root
# examples/break-it.sh, as it stands: the story that it tells is true.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin story
}

teardown_file() {
	e2e_end
}

story() {
	timeout --foreground -k 5 400 "$E2E_DIR/../../examples/break-it.sh" "$@" </dev/null
}

@test "create, restructure, destroy, rm, a clean machine: the project is whole, and nothing is left" {
	run story "$E2E/ws/shop"
	echo "$output" >&3
	equal "$status" 0
	lacks "$output" "NO:"
	equal "$(grep -c '^   yes: ' <<< "$output")" 8
	# Each step says how long it took.
	equal "$(grep -cE '^   \([0-9]+\.[0-9] s\)$' <<< "$output")" "$(grep -c '== ' <<< "$output")"
	has "$output" "a file for each thing"
	equal "$(cd "$E2E/ws/shop" && git log --format=%s)" $'a file for each thing\none long file'
	equal "$(pd ls -q)" ""
	# A folder with something in it is not its to play with.
	run story "$E2E/ws/shop"
	equal "$status" 1
	has "$output" "is not empty"
}

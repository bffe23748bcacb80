#!/usr/bin/env bash
# run-all.sh BUILD: every test. As root the end-to-end suites run as an ordinary user made for it, and
# what root could change as root, too; PADDOCK_E2E_ALL=1 runs each file as both.
# The last line is "N passed, N failed"; a skipped test counts as failed.
# PADDOCK_CHECK="unit asan static e2e" chooses suites; PADDOCK_E2E="run exec" chooses files and
# PADDOCK_USERS="root user" who runs them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
build=$(realpath "$1")
suites=${PADDOCK_CHECK:-static unit asan e2e}
users=${PADDOCK_USERS:-root user}
passed=0 failed=0
work=$(mktemp -d /tmp/paddock-check.XXXXXX)
chmod 0755 "$work"
tun_mode='' lane=''

finish() {
	[ -z "$lane" ] || kill "$lane"
	[ -z "$tun_mode" ] || chmod "$tun_mode" /dev/net/tun
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

wants() { [[ " $suites " == *" $1 "* ]]; }

count() { # NAME PASSED FAILED SECONDS
	passed=$((passed + $2)) failed=$((failed + $3))
	printf -- '--- %-28s %4d passed %3d failed  %4d s\n' "$1" "$2" "$3" "$4"
}

number() { # LABEL FILE: what meson says of it in its summary
	sed -n "s/^$1: *\([0-9]*\).*/\1/p" "$2" | tail -n 1
}

# Likewise: what failed beside its neighbours is run once more, alone.
meson_suite() { # NAME BUILD
	local start=$SECONDS log=$work/$1.log name=$1 ok total label status=0 failing
	timeout 1200 meson test -C "$2" --no-rebuild --print-errorlogs -t 3 >"$log" 2>&1 || status=$?
	total=0
	for label in Ok Fail 'Unexpected Pass' Skipped Timeout; do
		total=$((total + $(n=$(number "$label" "$log"); echo "${n:-0}")))
	done
	ok=$(number Ok "$log")
	if [ "$status" -ne 0 ] && [ "$total" -gt 0 ]; then
		cat "$log"
		mapfile -t failing < <(sed -nE 's/^ *[0-9]+\/[0-9]+ [^ ]*:[^ ]+ \/ ([^ ]+) +(FAIL|TIMEOUT|ERROR) .*/\1/p' "$log" | sort -u)
		timeout 1200 meson test -C "$2" --no-rebuild --print-errorlogs -t 3 --num-processes 1 \
			"${failing[@]}" >"$log" 2>&1 && ok=$((ok + $(number Ok "$log"))) || cat "$log"
		name="$name (try 2)"
	fi
	[ "$total" -gt 0 ] || { cat "$log"; total=1 ok=0; }
	count "$name" "$ok" $((total - ok)) $((SECONDS - start))
}

asan_suite() {
	local start=$SECONDS
	if ! { [ -f "$build-asan/build.ninja" ] || meson setup "$build-asan" -Db_sanitize=address,undefined \
		-Dbuildtype=debugoptimized; } >"$work/asan-setup.log" 2>&1 ||
		! timeout 1200 ninja -C "$build-asan" >"$work/asan-build.log" 2>&1; then
		tail -n 40 "$work"/asan-*.log
		count asan-build 0 1 $((SECONDS - start))
		return
	fi
	meson_suite unit-asan "$build-asan"
}

static_suite() {
	local tool start bad
	for tool in format shell cppcheck gcc clang analyzer tidy; do
		start=$SECONDS bad=0
		timeout 600 tests/static/run.sh "$tool" "$build" || bad=1
		count "static-$tool" $((1 - bad)) "$bad" $((SECONDS - start))
	done
}

# ok and bad of one TAP log; a file that ends early, or whose clean-up failed, has not passed.
read_tap() { # LOG STATUS
	local plan
	ok=$(grep -c '^ok ' "$1")
	bad=$(grep -c -e '^not ok ' -e '^ok .*# skip' "$1")
	ok=$((ok - $(grep -c '^ok .*# skip' "$1")))
	plan=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$1" | head -n 1)
	if [ $((ok + bad)) -lt "${plan:-1}" ]; then
		bad=$((${plan:-1} - ok))
	elif [ "$2" -ne 0 ] && [ "$bad" -eq 0 ]; then
		bad=1
	fi
}

# A file that fails is run once more: emulated machines on a shared host now and then miss a limit.
# Its log is shown all the same, and the line says that it took two tries.
bats_file() { # NAME FILE COMMAND...: the command ends with bats' own words
	local name=$1 file=$2 start=$SECONDS log ok bad tries=0 status
	shift 2
	log=$work/$name.tap
	while :; do
		tries=$((tries + 1)) status=0
		timeout -k 30 1200 "$@" "$file" >"$log" 2>&1 || status=$?
		read_tap "$log" "$status"
		[ "$bad" -ne 0 ] || break
		cat "$log"
		[ "$tries" -lt 2 ] || break
	done
	[ "$tries" -eq 1 ] || name="$name (try $tries)"
	count "$name" "$ok" "$bad" $((SECONDS - start))
}

# A file's first line says who runs it; behind the semicolon, who runs it with PADDOCK_E2E_ALL alone.
wanted_files() { # USER: root or user
	local f base always='[^;]*'
	[ -z "${PADDOCK_E2E_ALL:-}" ] || always='.*'
	for f in tests/e2e/*.bats; do
		base=$(basename "$f" .bats)
		[ -z "${PADDOCK_E2E:-}" ] || [[ " $PADDOCK_E2E " == *" $base "* ]] || continue
		grep -qE "^# users:$always\b$1\b" "$f" && echo "$f"
	done
}

e2e_here() { # WHO
	local f
	for f in $(wanted_files "$1"); do
		bats_file "e2e-$1-$(basename "$f" .bats)" "$f" env PADDOCK="$build/paddock" bats --tap
	done
}

e2e_root_lane() {
	passed=0 failed=0
	e2e_here root
	echo "$passed $failed" > "$work/root-lane"
}

end_root_lane() {
	local ok bad
	wait "$lane"
	lane=''
	[[ " $users " == *" root "* ]] || return
	read -r ok bad < "$work/root-lane" || bad=1
	passed=$((passed + ${ok:-0})) failed=$((failed + bad))
}

# An ordinary user's set-up: an account with subordinate ids, a copy of programs and tests that it
# may read, and /dev/net/tun as ordinary distributions have it.
e2e_as_user() {
	local user=paddock-test f copy=$work/user
	id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user" || return 1
	grep -q "^$user:" /etc/subuid || usermod --add-subuids 400000-465535 "$user" || return 1
	grep -q "^$user:" /etc/subgid || usermod --add-subgids 400000-465535 "$user" || return 1
	tun_mode=$(stat -c %a /dev/net/tun) && chmod 0666 /dev/net/tun || return 1
	mkdir -p "$copy/tests/fs" &&
		cp -r "$build"/paddock{,-guest,-role,-qemu.so} "$build/doc" "$copy/" &&
		cp "$build/tests/fs/fs_model" "$build/tests/fs/fs_race" "$copy/tests/fs/" &&
		cp -r tests/e2e "$copy/tests/" && cp -r examples "$copy/" &&
		chown -R "$user:" "$copy" || return 1
	for f in $(wanted_files user); do
		bats_file "e2e-user-$(basename "$f" .bats)" "$copy/tests/e2e/$(basename "$f")" \
			setpriv --reuid "$user" --regid "$user" --init-groups --reset-env \
			env -C "$copy" PADDOCK="$copy/paddock" HOME="$(getent passwd "$user" | cut -d: -f6)" \
			USER="$user" LOGNAME="$user" PATH="$PATH" bats --tap
	done
	chmod "$tun_mode" /dev/net/tun && tun_mode=
}

wants static && static_suite
wants unit && meson_suite unit "$build"
wants asan && asan_suite
if wants e2e; then
	if [ "$(id -u)" -eq 0 ]; then
		# Side by side: they have nothing in common, and a machine waits for much.
		[[ " $users " != *" root "* ]] || e2e_root_lane & lane=$!
		[[ " $users " != *" user "* ]] || e2e_as_user || count e2e-user-setup 0 1 0
		end_root_lane
	else
		e2e_here user
	fi
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

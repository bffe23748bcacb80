#!/usr/bin/env bash
# run-all.sh BUILD: every test. As root the end-to-end suites run twice, as root and as an ordinary
# user made for it. The last line is "N passed, N failed"; a skipped test counts as failed.
# PADDOCK_CHECK="unit asan static e2e" chooses suites; PADDOCK_E2E="run exec" chooses files.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
build=$(realpath "$1")
suites=${PADDOCK_CHECK:-static unit asan e2e}
passed=0 failed=0
work=$(mktemp -d /tmp/paddock-check.XXXXXX)
chmod 0755 "$work"
tun_mode=

finish() {
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

meson_suite() { # NAME BUILD
	local start=$SECONDS log=$work/$1.log ok bad=0 label status=0
	timeout 1200 meson test -C "$2" --no-rebuild --print-errorlogs -t 3 >"$log" 2>&1 || status=$?
	ok=$(number Ok "$log")
	for label in Fail 'Unexpected Pass' Skipped Timeout; do
		bad=$((bad + $(n=$(number "$label" "$log"); echo "${n:-0}")))
	done
	[ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	[ "$bad" -eq 0 ] || cat "$log"
	count "$1" "${ok:-0}" "$bad" $((SECONDS - start))
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

bats_file() { # NAME FILE COMMAND...: the command ends with bats' own words
	local name=$1 file=$2 start=$SECONDS log ok bad plan status=0
	shift 2
	log=$work/$name.tap
	timeout -k 30 1500 "$@" "$file" >"$log" 2>&1 || status=$?
	ok=$(grep -c '^ok ' "$log")
	bad=$(grep -c -e '^not ok ' -e '^ok .*# skip' "$log")
	ok=$((ok - $(grep -c '^ok .*# skip' "$log")))
	plan=$(sed -n 's/^1\.\.\([0-9]*\)$/\1/p' "$log" | head -n 1)
	# A file that ends early, or whose clean-up failed, has not passed.
	if [ $((ok + bad)) -lt "${plan:-1}" ]; then
		bad=$((${plan:-1} - ok))
	elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		bad=1
	fi
	[ "$bad" -eq 0 ] || cat "$log"
	count "$name" "$ok" "$bad" $((SECONDS - start))
}

wanted_files() { # USER: root or user
	local f base
	for f in tests/e2e/*.bats; do
		base=$(basename "$f" .bats)
		[ -z "${PADDOCK_E2E:-}" ] || [[ " $PADDOCK_E2E " == *" $base "* ]] || continue
		grep -qE "^# users:.*\b$1\b" "$f" && echo "$f"
	done
}

e2e_here() { # WHO
	local f
	for f in $(wanted_files "$1"); do
		bats_file "e2e-$1-$(basename "$f" .bats)" "$f" env PADDOCK="$build/paddock" bats --tap
	done
}

# An ordinary user's set-up: an account with subordinate ids, a copy of programs and tests that it
# may read, and /dev/net/tun as ordinary distributions have it.
e2e_as_user() {
	local user=paddock-test f copy=$work/user
	id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user" || return 1
	grep -q "^$user:" /etc/subuid || usermod --add-subuids 400000-465535 "$user" || return 1
	grep -q "^$user:" /etc/subgid || usermod --add-subgids 400000-465535 "$user" || return 1
	tun_mode=$(stat -c %a /dev/net/tun) && chmod 0666 /dev/net/tun || return 1
	mkdir "$copy" && cp "$build/paddock" "$build/paddock-guest" "$copy/" &&
		cp -r tests/e2e "$copy/e2e" && chown -R "$user:" "$copy" || return 1
	for f in $(wanted_files user); do
		bats_file "e2e-user-$(basename "$f" .bats)" "$copy/e2e/$(basename "$f")" \
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
		e2e_here root
		e2e_as_user || count e2e-user-setup 0 1 0
	else
		e2e_here user
	fi
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

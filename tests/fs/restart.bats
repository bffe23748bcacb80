#!/usr/bin/env bats
# The server is killed, again and again, and the mount goes on: fs_mount starts it anew on the same
# stream, as the supervisor does. run.sh provides the namespace.

setup() {
	W=$(mktemp -d /tmp/paddock-fs.XXXXXX)
	mkdir "$W/host" "$W/mnt" "$W/plain"
	cd "$W" || return 1
	coproc FS { FS_RESTART=1 exec "$FS_MOUNT" "$W/host" "$W/mnt" "$(id -u)" 2>"$W/log" 3>&-; }
	FS_IN=${FS[1]} FS_JOB=$FS_PID
	read -r -t 10 -u "${FS[0]}" word SERVER
	[ "$word" = ready ]
}

teardown() {
	cd /
	kill -CONT "$FS_JOB"
	[ -z "${HOLDER:-}" ] || kill "$HOLDER" 2>/dev/null || :
	eval "exec $FS_IN>&-" 2>/dev/null
	wait "$FS_JOB" 2>/dev/null
	umount -l "$W/mnt" 2>/dev/null
	[ -n "$BATS_TEST_COMPLETED" ] || cat "$W/log"
	rm -rf "$W"
}

# Until the command succeeds, at most five seconds, or SOON.
soon() {
	local end=$((${EPOCHREALTIME/./} + ${SOON:-5} * 1000000))
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
	done
}

shows() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

another_server() {
	local now
	now=$(pgrep -P "$FS_JOB") && [ "$now" != "$SERVER" ] && NEXT=$now
}

# Kills the server and waits for the next one. crash COMMAND...: which is run while there is none.
crash() {
	kill -STOP "$FS_JOB"
	kill -KILL "$SERVER"
	if [ $# -gt 0 ]; then "$@"; fi
	kill -CONT "$FS_JOB"
	soon another_server
	SERVER=$NEXT
}

# A few kills while the job runs, at moments of chance.
crashes_during() {
	local job=$1 n=0
	while kill -0 "$job" 2>/dev/null && [ "$n" -lt "$2" ]; do
		read -r -t "0.$((RANDOM % 30 + 5))" <> <(:) || :
		crash
		n=$((n + 1))
	done
	CRASHES=$n
}

@test "open files, cached names and attributes, hard links, a file made read-only: all go on" {
	mkdir -p mnt/d/e && for i in 1 2 3; do echo "$i" >"mnt/d/e/f$i"; done
	ln mnt/d/e/f1 mnt/d/hard && ln -s f1 mnt/d/e/soft && mkfifo mnt/d/fifo
	exec 5<mnt/d/e/f2 6>>mnt/d/log
	echo one >&6
	(umask 222 && exec 7>mnt/d/object && crash && echo content >&7) # as git writes its objects
	SERVER=$(pgrep -P "$FS_JOB")
	[ "$(cat host/d/object)" = content ] && [ "$(stat -c %a host/d/object)" = 444 ]
	local before after
	before=$(stat -c '%n %i %h %s %Y %a' mnt/d/* mnt/d/e/*)
	crash
	echo two >&6
	[ "$(cat <&5)" = 2 ]
	[ "$(cat mnt/d/log)" = $'one\ntwo' ]
	after=$(stat -c '%n %i %h %s %Y %a' mnt/d/* mnt/d/e/*)
	diff <(grep -v /log <<<"$before") <(grep -v /log <<<"$after")
	[ "$(readlink mnt/d/e/soft)" = f1 ]
	mv mnt/d/e mnt/g && echo new >mnt/g/f1 && [ "$(cat host/d/hard)" = new ]
	exec 5>&- 6>&-
	rm -r mnt/d mnt/g && [ -z "$(ls -A host)" ]
	# The next one closes what this one opened: nothing piles up.
	crash
	[ -z "$(find "/proc/$SERVER/fd" -lname "$W/host/*")" ]
}

@test "what lost its name while it was open is an I/O error; nothing else suffers" {
	# With O_EXCL: of other writable files each close is told, also that by the end of a program
	# which inherited them, and while the pump is stopped nobody hears it.
	set -C
	exec 5>mnt/gone 6>mnt/kept 7>mnt/moved
	set +C
	rm mnt/gone
	crash mv host/moved host/elsewhere
	run bash -c 'echo x >&5'
	[ "$status" -ne 0 ] && [[ "$output" == *"Input/output error"* ]]
	echo kept >&6 && [ "$(cat host/kept)" = kept ]
	run bash -c 'echo x >&7'
	[ "$status" -ne 0 ] && [[ "$output" == *"Input/output error"* ]]
	exec 5>&- 6>&- 7>&-
	echo again >mnt/gone && [ "$(cat host/gone)" = again ]
	soon shows mnt/elsewhere ""
}

@test "what the host changes while nobody serves is seen" {
	mkdir -p mnt/a/b && for i in 1 2 3 4 5; do echo "$i" >"mnt/a/b/f$i"; done
	cat mnt/a/b/* >/dev/null && ls -l mnt/a mnt/a/b >/dev/null
	run cat mnt/a/b/none
	[ "$status" -ne 0 ]
	exec 5<mnt/a/b/f5
	crash eval 'echo new1 >host/a/b/f1; rm host/a/b/f2; echo new >host/a/b/none
		mv host/a/b/f4 host/a/b/f3; chmod 600 host/a/b/f5; mkdir host/a/dir'
	soon shows mnt/a/b/f1 new1
	soon shows mnt/a/b/none new
	soon shows mnt/a/b/f3 4
	soon eval '[ "$(ls mnt/a/b | xargs)" = "f1 f3 f5 none" ]'
	soon eval '[ "$(stat -c %a mnt/a/b/f5)" = 600 ]'
	soon test -d mnt/a/dir
	[ "$(cat <&5)" = 5 ]
	exec 5<&-
	# And it watches again: a later change comes as fast as ever.
	echo later >host/a/b/f1
	soon shows mnt/a/b/f1 later
}

# holder KIND FILE: locks it (flock, record), says "held", and for a line of stdin writes by the
# descriptor that has the lock, gives the lock back and says "done" or the error.
holder() {
	exec python3 -c '
import errno, fcntl, os, sys
kind, name = sys.argv[1:]
fd = os.open(name, os.O_RDWR)
lock = fcntl.flock if kind == "flock" else fcntl.lockf
lock(fd, fcntl.LOCK_EX)
print("held", flush=True)
for line in sys.stdin:
    said = []
    for what in (lambda: os.write(fd, b"mine"), lambda: lock(fd, fcntl.LOCK_UN)):
        try:
            what()
            said.append("done")
        except OSError as e:
            said.append(errno.errorcode[e.errno])
    print(*said, flush=True)' "$@"
}

# 0 where the lock is there to be had, 1 where somebody has it.
try() {
	if [ "$1" = flock ]; then timeout 30 flock -n "$2" true; else timeout 30 "$BATS_TEST_DIRNAME/lockf.py" -n "$2" true; fi
}

hold() {
	coproc HOLD { holder "$@" 3>&-; }
	HOLD_IN=${HOLD[1]} HOLD_OUT=${HOLD[0]} HOLDER=$HOLD_PID
	read -r -t 30 -u "$HOLD_OUT" word && [ "$word" = held ]
}

hold_end() {
	echo >&"$HOLD_IN"
	read -r -t 30 -u "$HOLD_OUT" SAID
	eval "exec $HOLD_IN>&-"
	wait "$HOLDER"
}

waits() { [ "$(cat "/proc/$1/wchan")" = request_wait_answer ]; }

@test "locks outlive the server: the host does not get them, and who waits for them does" {
	local kind waiter doomed
	echo x >mnt/f
	for kind in flock record; do
		hold "$kind" mnt/f
		holder "$kind" mnt/f </dev/null >out 3>&- &
		waiter=$!
		holder "$kind" mnt/f </dev/null >out2 3>&- &
		doomed=$!
		SOON=30 soon waits "$waiter"
		SOON=30 soon waits "$doomed"
		for _ in 1 2 3; do
			crash
			run try "$kind" host/f
			[ "$status" = 1 ]
			run try "$kind" mnt/f
			[ "$status" = 1 ]
		done
		# Who waits can be ended, though only the server that is killed was told.
		kill -STOP "$SERVER"
		kill -TERM "$doomed"
		kill -KILL "$SERVER"
		soon another_server
		SERVER=$NEXT
		wait "$doomed" || [ $? = 143 ]
		[ ! -s out ]
		hold_end
		[ "$SAID" = "done done" ]
		wait "$waiter"
		[ "$(cat out)" = held ] && [ ! -s out2 ]
		# Nothing is left behind, though the one that heard of its end is no more.
		crash
		try "$kind" host/f && try "$kind" mnt/f
	done
}

@test "a lock that the host took meanwhile is lost: its holder is told at its next step" {
	local kind in out job
	echo x >mnt/f
	for kind in flock record; do
		hold "$kind" mnt/f
		kill -STOP "$FS_JOB"
		kill -KILL "$SERVER"
		coproc OURS { holder "$kind" host/f 3>&-; }
		in=${OURS[1]} out=${OURS[0]} job=$OURS_PID
		read -r -t 30 -u "$out" word && [ "$word" = held ]
		kill -CONT "$FS_JOB"
		soon another_server
		SERVER=$NEXT
		run try "$kind" mnt/f
		[ "$status" = 1 ]
		hold_end
		[ "$SAID" = "EIO EIO" ]
		grep -q 'lost' log
		echo >&"$in" && read -r -t 30 -u "$out" word && [ "$word" = "done done" ]
		eval "exec $in>&-"
		wait "$job"
		# The file itself is as good as ever.
		try "$kind" mnt/f && hold "$kind" mnt/f && hold_end && [ "$SAID" = "done done" ]
	done
}

@test "a listing of 20,000 names goes on where it was" {
	mkdir host/many && (cd host/many && seq 20000 | xargs touch)
	find mnt/many -type f | (
		read -r first
		crash
		{ echo "$first"; cat; } | sort >"$W/listed"
	)
	SERVER=$(pgrep -P "$FS_JOB")
	[ "$(wc -l <"$W/listed")" = 20000 ] && [ "$(uniq "$W/listed" | wc -l)" = 20000 ]
	crash
	[ "$(find mnt/many -type f | wc -l)" = 20000 ]
}

# Appends numbered records until the second file is there, and says which of them were acknowledged. An
# error is tried again.
writer() {
	python3 - "$1" "$2" <<'PY'
import itertools, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o644)
errors = 0
for i in itertools.takewhile(lambda _: not os.path.exists(sys.argv[2]), itertools.count()):
    record = b"%07d\n" % i * 512
    while True:
        try:
            if os.pwrite(fd, record, i * 4096) != 4096: sys.exit("short")
            os.fsync(fd)
            break
        except OSError as e:
            if e.errno != 5: raise
            errors += 1
    print(i, errors, flush=True)
PY
}

@test "killed while a program writes and syncs: what was acknowledged is on the host" {
	writer mnt/data "$W/enough" >"$W/acks" &
	local job=$! n
	crashes_during "$job" 12
	touch "$W/enough"
	wait "$job"
	[ "$CRASHES" = 12 ]
	n=$(wc -l <"$W/acks") && [ "$n" -gt 12 ]
	at_end=$(tail -n 1 "$W/acks")
	[ "${at_end#* }" = 0 ] # a write at its offset is safe to do twice: not even an error
	cmp host/data <(python3 -c "for i in range($n): print(end='%07d\n' % i * 512)")
	cmp mnt/data host/data
}

@test "killed while tar unpacks: success or a clean I/O error, both sides agree" {
	mkdir plain/t && for i in $(seq 40); do
		mkdir "plain/t/d$i" && for k in $(seq 60); do head -c $((RANDOM % 9000)) /dev/urandom >"plain/t/d$i/f$k"; done
		ln "plain/t/d$i/f1" "plain/t/d$i/hard" && ln -s f2 "plain/t/d$i/soft"
	done
	local rounds=0 kills=0
	for round in 1 2; do
		rm -rf mnt/t
		tar -C plain -cf - t | tar -C mnt -xf - 2>"$W/err" &
		job=$!
		crashes_during "$job" 30
		kills=$((kills + CRASHES))
		if ! wait "$job"; then
			# Each process may end over one request.
			[ "$(grep -c 'Input/output error' "$W/err")" -le "$CRASHES" ]
			! grep -v 'Input/output error\|Exiting with failure' "$W/err"
			tar -C plain -cf - t | tar -C mnt -xf -
		fi
		rounds=$round
		diff -r plain/t mnt/t && diff -r plain/t host/t
		cmp <(cd mnt && find . -printf '%p %y %m %n %l %s %i\n' | sort) \
			<(cd host && find . -printf '%p %y %m %n %l %s %i\n' | sort)
	done
	[ "$rounds" = 2 ] && [ "$kills" -ge 3 ]
}

@test "killed while many read and list: every byte is right, nobody hangs" {
	mkdir host/r && for i in $(seq 8); do head -c 3000000 /dev/urandom >"host/r/f$i"; done
	sum=$(cat host/r/f* | sha256sum)
	(
		end=$((SECONDS + 6))
		while [ "$SECONDS" -lt "$end" ]; do
			touch host/r/f* # the guest reads them anew
			[ "$(cat mnt/r/f* | sha256sum)" = "$sum" ] || exit 1
			[ "$(find mnt/r -type f | wc -l)" = 8 ] || exit 2
		done
	) 3>&- &
	local job=$!
	crashes_during "$job" 20
	wait "$job"
	[ "$CRASHES" -ge 5 ]
}

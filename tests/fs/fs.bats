#!/usr/bin/env bats
# Real programs on a workspace that is mounted on this machine's own kernel: fs_mount joins the
# guest's pump and the fs role's server without a machine between. run.sh provides the namespace.

setup() {
	W=$(mktemp -d /tmp/paddock-fs.XXXXXX)
	mkdir "$W/host" "$W/mnt" "$W/plain"
	cd "$W" || return 1
	export HOME=$W GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
		GIT_COMMITTER_EMAIL=a@b
	mount_it
}

# Serves until its stdin, which only this shell holds, ends.
mount_it() {
	coproc FS { exec "$FS_MOUNT" "$W/host" "$W/mnt" "$(id -u)" 2>"$W/log" 3>&-; }
	FS_IN=${FS[1]} FS_JOB=$FS_PID
	read -r -t 10 -u "${FS[0]}" word SERVER
	[ "$word" = ready ]
}

teardown() {
	cd /
	[ -z "${SLOW:-}" ] || kill -CONT "$SLOW" 2>/dev/null
	eval "exec $FS_IN>&-" 2>/dev/null
	wait "$FS_JOB" 2>/dev/null
	umount -l "$W/mnt" "$W/mnt2" "$W/host/slow" 2>/dev/null
	umount -R -l "$W/host" 2>/dev/null
	[ -n "$BATS_TEST_COMPLETED" ] || cat "$W/log"
	rm -rf "$W"
}

# Until the command succeeds, at most a second, or SOON.
soon() {
	local end=$((${EPOCHREALTIME/./} + ${SOON:-1} * 1000000))
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
	done
}

shows() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

@test "git: init, commit, branch, rebase, gc, fsck; nothing to refresh on the other side" {
	git init -q mnt/repo
	cd mnt/repo
	for i in $(seq 60); do mkdir -p "d$((i % 7))"; echo "$i" >"d$((i % 7))/f$i"; done
	git add . && git commit -qm one
	git checkout -qb side && echo side >s && git add s && git commit -qm side
	git checkout -q - && echo main >m && git add m && git commit -qm main
	git checkout -q side && git rebase -q -
	[ "$(git log --oneline | wc -l)" = 3 ]
	git gc -q && git fsck --full
	[ -z "$(git status --porcelain)" ]
	cd "$W/host/repo" && git fsck --full
	# The index is as valid here: no file has to be read again.
	[ -z "$(git diff-files)" ] && [ -z "$(git status --porcelain)" ]
}

@test "git: clones with hard links, on the mount and from it; a checkout on the host is seen" {
	git init -q host/repo && cd host/repo
	for i in $(seq 200); do echo "$i" >"f$i"; done
	git add . && git commit -qm one
	for i in $(seq 200); do echo "new $i" >"f$i"; done
	git commit -qam two
	cd "$W"
	git clone -q mnt/repo mnt/clone
	git clone -q mnt/repo plain/clone
	diff -r --exclude=.git mnt/clone plain/clone
	cat mnt/repo/f* >/dev/null
	git -C host/repo checkout -q HEAD~1
	soon diff -r --exclude=.git host/repo mnt/repo
	[ -z "$(git -C mnt/repo status --porcelain)" ]
	# Both sides commit, one after the other.
	git -C host/repo checkout -q -b both
	soon test -z "$(git -C mnt/repo status --porcelain)"
	for i in 1 2 3 4 5; do
		echo "m$i" >mnt/repo/m && git -C mnt/repo add m && git -C mnt/repo commit -qm "m$i"
		echo "h$i" >host/repo/h && git -C host/repo add h && git -C host/repo commit -qm "h$i"
		soon shows mnt/repo/h "h$i"
	done
	[ "$(git -C mnt/repo log --oneline | wc -l)" = 11 ]
	git -C mnt/repo fsck --full
}

@test "git: worktrees, submodules, bare repositories and gc work; hooks come from nowhere" {
	git config --global protocol.file.allow always
	git init -q mnt/lib && git -C mnt/lib commit -q --allow-empty -m one
	git init -q mnt/app && cd mnt/app
	git submodule --quiet add "$W/mnt/lib" hooks # a name that may mislead
	git commit -qm sub && git branch hooks/pre && git worktree add -q ../tree hooks/pre
	git clone -q --bare . ../bare.git && git clone -q --recurse-submodules . ../copy
	git push -q ../bare.git HEAD:refs/heads/hooks/x
	git -C ../copy gc -q && git -C ../copy fsck --full && git -C ../copy/hooks commit -q --allow-empty -m two
	ls ../copy/.git/hooks/pre-commit.sample ../copy/.git/modules/hooks/hooks/update.sample
	# What tools do that set hooks up, and what an attacker would.
	run pre_commit_install .git/hooks/pre-commit
	[ "$status" -ne 0 ] && [ ! -e .git/hooks/pre-commit ]
	for d in .git ../bare.git ../copy/.git/modules/hooks "$(git -C ../tree rev-parse --git-common-dir)"; do
		run cp /bin/true "$d/hooks/post-commit"
		[[ "$output" == *"Operation not permitted"* ]]
		run cp -p "$d/hooks/pre-commit.sample" "$d/hooks/pre-commit"
		[[ "$output" == *"Operation not permitted"* ]]
	done
	[ -z "$(find "$W/host" -path '*/hooks/*' -perm /111 -type f ! -name '*.sample')" ]
	soon grep -q "refused the guest to write '/app/.git/hooks/pre-commit'" "$W/log"
	cp /bin/true run-me && git add run-me && git commit -qm control && [ -x "$W/host/app/run-me" ]
	cd .. && mv app/.git app/.git2 && mv app/.git2 app/.git && git -C app status --porcelain
	rm -rf app copy bare.git tree lib
	[ -z "$(ls -A "$W/host")" ]
}

pre_commit_install() {
	printf '#!/bin/sh\necho hooked\n' >"$1" && chmod +x "$1"
}

@test "make and gcc: a library and a program of 30 files, built, run, rebuilt after a change" {
	mkdir mnt/p && cd mnt/p
	for i in $(seq 30); do echo "int f$i(void) { return $i; }" >"f$i.c"; done
	{
		for i in $(seq 30); do echo "int f$i(void);"; done
		echo '#include <stdio.h>'
		echo 'int main(void) { int s = 0;'
		for i in $(seq 30); do echo "s += f$i();"; done
		echo 'printf("%d\n", s); return 0; }'
	} >main.c
	cat >Makefile <<'M'
O = $(patsubst %.c,%.o,$(wildcard f*.c))
prog: main.o lib.a
	$(CC) -o $@ $^
lib.a: $O
	ar rcs $@ $^
M
	make -s -j2
	[ "$(./prog)" = 465 ]
	echo 'int f30(void) { return 1030; }' >f30.c
	make -s -j2
	[ "$(./prog)" = 1465 ]
	make -q
	# Busy while it runs, on this side.
	cp /bin/sleep s && ./s 5 &
	soon pgrep -P $$ -x s || true
	run bash -c 'echo x >s'
	[ "$status" -ne 0 ] && [[ "$output" == *"Text file busy"* ]]
	kill %1
}

@test "sqlite: 200 transactions in WAL mode, then in rollback mode, whole on both sides" {
	for mode in wal delete; do
		{
			echo "pragma journal_mode=$mode; create table if not exists t(a, b);"
			for i in $(seq 200); do echo "insert into t values($i, hex(randomblob(200)));"; done
		} | sqlite3 mnt/db >/dev/null
		[ "$(sqlite3 mnt/db 'pragma integrity_check')" = ok ]
		[ "$(sqlite3 host/db 'pragma integrity_check')" = ok ]
	done
	[ "$(sqlite3 host/db 'select count(*) from t')" = 400 ]
}

@test "sqlite: both sides at once, in WAL mode and in rollback mode: no row is lost" {
	cat >rows.py <<-'PY'
		import sqlite3, sys, time
		db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
		end = time.monotonic() + 60
		while True: # for the exclusive lock that this takes SQLite does not wait
		    try:
		        db.execute("pragma journal_mode=" + sys.argv[2])
		        break
		    except sqlite3.OperationalError:
		        if time.monotonic() > end: raise
		db.execute("create table if not exists t(a, b)")
		for n in range(60):
		    db.execute("insert into t values(?, ?)", (sys.argv[3], n))
	PY
	for mode in wal delete; do
		python3 rows.py host/$mode "$mode" host &
		local job=$!
		python3 rows.py mnt/$mode "$mode" guest
		wait "$job"
		for side in host mnt; do
			run sqlite3 $side/$mode 'pragma integrity_check; select count(*) from t'
			[ "$output" = "ok"$'\n'120 ]
		done
	done
}

@test "tar, cp -a, rm -rf: a tree of links, FIFOs, times and modes goes in and out unchanged" {
	mkdir -p plain/t/d/e && cd plain/t
	for i in $(seq 300); do echo "$i" >"d/f$i"; done
	ln d/f1 hard && ln -s d/f1 soft && ln -s /nowhere/x dangling && mkfifo fifo
	printf 'x' >"$(printf 'n\001\377 \n')"
	truncate -s 5G sparse && printf end | dd of=sparse bs=1 seek=5G conv=notrunc status=none
	touch -d '1969-12-31 23:00:00.123456789' old
	chmod 0444 d/f2 && chmod 01777 d/e && chmod 0 d/f3
	cd "$W"
	tar -C plain --format=posix -S -cf - t | tar -C mnt -S -xf -
	list() { (cd "$1" && find . -printf '%p %y %m %n %l %T@ %s %b\n' | grep -av ' d ' | sort); }
	diff <(list plain/t) <(list mnt/t) | head -n 20 | cat -v
	cmp <(list plain/t) <(list mnt/t)
	cmp <(list mnt/t) <(list host/t)
	cp -a mnt/t mnt/copy
	cmp <(list mnt/t) <(list mnt/copy)
	[ "$(tail -c 3 mnt/copy/sparse)" = end ]
	rm -rf mnt/t mnt/copy
	[ -z "$(ls -A host)" ]
}

@test "files: unlinked while open, renamed over, appended from both sides, locked" {
	exec 8>mnt/f && echo one >&8
	rm mnt/f && echo two >&8
	[ "$(cat /proc/self/fd/8)" = "$(printf 'one\ntwo')" ]
	exec 8>&-
	echo old >mnt/a && echo new >mnt/b && mv mnt/b mnt/a && shows host/a new
	exec 8>>mnt/log
	for i in $(seq 20); do echo "guest $i" >&8; echo "host $i" >>host/log; done
	[ "$(wc -l <host/log)" = 40 ]
	soon cmp -s mnt/log host/log
	exec 8>&-
	exec 9>mnt/lock && flock -n 9
	run flock -n mnt/lock true
	[ "$status" -ne 0 ]
	exec 9>&-
	flock -n mnt/lock true
	(umask 077 && echo x >mnt/u && mkdir mnt/v) && [ "$(stat -c %a host/u host/v | xargs)" = "600 700" ]
	chown 12345:12345 mnt/u && [ "$(stat -c %u host/u)" = "$(id -u)" ]
}

# Holds and waits, by each kind of lock, of each side against each.
@test "locks exclude programs on the host, both ways, and who waits is woken" {
	echo x >host/f
	for lock in flock "$BATS_TEST_DIRNAME/lockf.py"; do
		for pair in "mnt host" "host mnt" "mnt mnt"; do
			read -r a b <<<"$pair"
			mkfifo go
			"$lock" "$a/f" sh -c 'echo held >go; read x <go' 3>&- &
			holder=$!
			read -r word <go && [ "$word" = held ]
			run "$lock" -n "$b/f" true
			[ "$status" -eq 1 ]
			"$lock" "$b/f" sh -c "echo got >'$W/out'" 3>&- &
			waiter=$!
			"$lock" "$b/f" true 3>&- &
			doomed=$!
			if [ "$b" = mnt ]; then
				SOON=20 soon eval "[ \$(cat /proc/$waiter/wchan) = request_wait_answer ]"
				SOON=20 soon eval "[ \$(cat /proc/$doomed/wchan) = request_wait_answer ]"
			fi
			# Meanwhile the file system does its work, and who waits can be killed.
			timeout 5 ls mnt >/dev/null
			kill -KILL "$doomed"
			wait "$doomed" || [ $? = 137 ]
			[ ! -e out ]
			echo go >go && wait "$holder" && wait "$waiter"
			[ "$(cat out)" = got ]
			rm go out
			"$lock" -n host/f true && "$lock" -n mnt/f true
		done
	done
}

# race ROUNDS FOLDER:WORKERS...: all at once; then all see the same.
race() {
	local rounds=$1 all=0 jobs=() f
	shift
	for f; do
		timeout 60 "$FS_RACE" "${f%:*}" "${f//\//-}" "$rounds" "${f#*:}" 3>&- &
		jobs+=($!)
		all=$((all + rounds * ${f#*:}))
	done
	for f in "${jobs[@]}"; do wait "$f"; done
	for f; do soon "$FS_RACE" --check "${f%:*}" "$all" "$rounds"; done
}

@test "several programs in one folder, on the mount and on the host: counters, claims, a log" {
	mkdir host/race && soon test -d mnt/race
	race 200 mnt/race:3 host/race:2
}

@test "the corners of a local disk: here, and on the mount" {
	mkdir plain/corners mnt/corners
	"$BATS_TEST_DIRNAME/corners.py" plain/corners
	"$BATS_TEST_DIRNAME/corners.py" mnt/corners
}

@test "a large file is read ahead, 1 MiB at a time" {
	local bdi
	bdi=/sys/class/bdi/$(mountpoint -d mnt)
	[ -w "$bdi/read_ahead_kb" ] || skip "an ordinary user cannot set it"
	echo 1 >host/f
	cat mnt/f # INIT is answered
	[ "$(cat "$bdi/read_ahead_kb")" = 1024 ]
}

@test "a folder of 100,000 files is listed whole, and emptied" {
	mkdir mnt/many && (cd host/many && seq 100000 | xargs touch)
	[ "$(ls -f mnt/many | wc -l)" = 100002 ]
	(cd host/many && seq 10001 100000 | xargs rm)
	soon eval '[ "$(ls -f mnt/many | wc -l)" = 10002 ]'
	[ "$(find mnt/many -type f | wc -l)" = 10000 ]
	(cd mnt/many && find . -type f -delete)
	[ -z "$(ls -A host/many)" ]
}

@test "links out of the workspace lead into the guest's own tree; set-ID and devices do not get in" {
	ln -s /etc/hostname mnt/l && ln -s ../plain/secret mnt/r && echo s >plain/secret
	[ "$(readlink host/l)" = /etc/hostname ]
	cp /bin/true mnt/t && chmod 6755 mnt/t && [ "$(stat -c %a host/t)" = 755 ]
	run mknod mnt/null c 1 3
	[ "$status" -ne 0 ] && [ ! -e host/null ]
	mkfifo mnt/fifo && [ -p host/fifo ]
	run setcap cap_net_raw+ep mnt/t
	[ "$status" -ne 0 ] && [ "$status" -ne 127 ]
}

@test "a server that dies: errors at once, nobody hangs" {
	echo x >mnt/f
	exec 8<mnt/f
	kill -STOP "$SERVER"
	timeout 20 mkdir mnt/g 2>"$W/err" 3>&- &
	maker=$!
	soon eval '[ "$(cat /proc/$(pgrep -P $maker mkdir)/wchan)" = request_wait_answer ]'
	kill -KILL "$SERVER"
	run wait "$maker"
	soon test -s "$W/err"
	[[ "$(cat "$W/err")" != *"File exists"* ]]
	run timeout 5 ls mnt
	[ "$status" -ne 0 ] && [ "$status" -ne 124 ]
	run timeout 5 cat /proc/self/fd/8
	[ "$status" -ne 124 ]
	exec 8<&-
}

@test "a file that hangs on the host holds up nobody else" {
	mkdir slow host/slow
	head -c 4M /dev/urandom >slow/big
	echo other >host/other
	coproc FS2 { exec "$FS_MOUNT" "$W/slow" "$W/host/slow" "$(id -u)" 2>>"$W/log" 3>&-; }
	read -r -t 10 -u "${FS2[0]}" word SLOW
	[ "$word" = ready ]
	local in=${FS2[1]} job=$FS2_PID
	exec 7<mnt/slow/big
	kill -STOP "$SLOW"
	head -c 4096 <&7 >got 3>&- &
	local reader=$!
	soon grep -q '^0 ' "/proc/$reader/syscall"
	[ "$(timeout 5 cat mnt/other)" = other ]
	timeout 5 bash -c 'echo new >mnt/new && mv mnt/new mnt/moved && sync mnt/moved && ls mnt >/dev/null'
	[ "$(cat host/moved)" = new ]
	[ ! -s got ]
	# Nor when a machine is to be saved, which waits for it, and then is not.
	echo later >host/later && soon test -e mnt/later
	kill -USR1 "$FS_JOB"
	SOON=5 soon grep -q '^7 0x[0-9a-f]* 0x2 ' "/proc/$SERVER/syscall" # poll(2), of two
	cat mnt/later >later 3>&- &
	kill -USR2 "$FS_JOB"
	local goes_on=yes
	SOON=5 soon test -s later || goes_on=no
	kill -CONT "$SLOW"
	[ "$goes_on" = yes ]
	wait "$reader"
	cmp -n 4096 got slow/big
	[ -s got ]
	exec 7<&-
	eval "exec $in>&-"
	wait "$job"
}

@test "raw messages that no kernel sends: each refused, the next one answered, the mount goes on" {
	eval "exec $FS_IN>&-"
	wait "$FS_JOB"
	# As in a sandbox: two workspaces, one read-only, and nothing can be made beside them.
	mkdir -p host/ws/app host/ws/kept && echo kept >host/ws/kept/file
	for dir in host host/ws/app host/ws/kept; do mount --bind "$dir" "$dir"; done
	mount -o remount,bind,ro host/ws/kept && mount -o remount,bind,ro host
	mount_it
	run timeout 150 python3 "$BATS_TEST_DIRNAME/../e2e/rawfuse.py" /ws/app /ws/kept "$FS_JOB"
	echo "$output"
	[ "$status" = 0 ] && [[ $output == *" refused" ]]
	# What the decent ones made is there, and nothing else.
	[ "$(cat host/ws/app/raw)" = decent ] && [ "$(readlink host/ws/app/raw-link)" = ../other/file ]
	[ "$(cd host && find . | sort | xargs)" = ". ./ws ./ws/app ./ws/app/raw ./ws/app/raw-link ./ws/kept ./ws/kept/file" ]
	[ "$(cat host/ws/kept/file)" = kept ]
	[ "$(pgrep -P "$FS_JOB")" = "$SERVER" ]
	echo on >mnt/ws/app/after && [ "$(cat host/ws/app/after mnt/ws/app/raw)" = $'on\ndecent' ]
}

@test "the pump's memory does not grow with what was made, listed, locked and removed" {
	local before after
	work() {
		python3 - "$1" <<-'PY'
			import fcntl, os, shutil, sys
			for n in range(int(sys.argv[1])):
			    os.makedirs("mnt/t/a/b")
			    for name in "x", "y", "a/z", "a/b/z":
			        with open("mnt/t/" + name, "w") as f: f.write("data" * 20000)
			    for name in "host/t/host", "host/t/a/host":
			        with open(name, "w") as f: f.write("host")
			    for name in "x", "y", "a/z":
			        with open("mnt/t/" + name) as f:
			            f.read()
			            fcntl.flock(f, fcntl.LOCK_SH)
			    shutil.rmtree("mnt/t")
		PY
	}
	work 20
	before=$(awk '/^VmData/ {print $2}' "/proc/$FS_JOB/status")
	work 60
	after=$(awk '/^VmData/ {print $2}' "/proc/$FS_JOB/status")
	# Each kept buffer would be a megabyte.
	[ $((after - before)) -lt 20000 ] || { echo "$before kB, then $after kB"; false; }
}

@test "random operations agree with a plain folder" {
	for seed in 1 2 3 4 5 6; do
		mkdir -p "plain/$seed" "mnt/$seed"
		timeout 100 "$FS_MODEL" "mnt/$seed" "plain/$seed" "$seed" 6000
	done
}

@test "random operations, with changes on the host between them" {
	for seed in 11 12 13 14 15 16; do
		mkdir -p "plain/$seed" "host/$seed"
		soon test -d "mnt/$seed"
		timeout 100 "$FS_MODEL" "mnt/$seed" "plain/$seed" "$seed" 4000 "host/$seed"
	done
}

@test "two sandboxes on one folder: what one changes the other shows" {
	mkdir mnt2
	coproc FS2 { exec "$FS_MOUNT" "$W/host" "$W/mnt2" "$(id -u)" 2>>"$W/log" 3>&-; }
	read -r -t 10 -u "${FS2[0]}" word _
	[ "$word" = ready ]
	local in=${FS2[1]} job=$FS2_PID
	for seed in 21 22 23; do
		mkdir -p "plain/$seed" "host/$seed"
		soon test -d "mnt/$seed" && soon test -d "mnt2/$seed"
		timeout 100 "$FS_MODEL" "mnt/$seed" "plain/$seed" "$seed" 4000 "mnt2/$seed"
	done
	echo one >mnt/f && soon shows mnt2/f one && echo two >mnt2/f && soon shows mnt/f two
	mkdir host/race && soon test -d mnt/race && soon test -d mnt2/race
	race 100 mnt/race:3 mnt2/race:2 host/race:2
	eval "exec $in>&-"
	wait "$job"
}

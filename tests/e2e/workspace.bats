# users: root user
# The workspace from both sides: the guest's and the host's view of the same files.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin workspace
	local w=$E2E/ws
	mkdir -p "$w/app/sub" "$w/app/vendor" "$w/ro" "$w/Öl & \"Co\" \$x" "$w/private"
	echo app > "$w/app/file"
	echo vendored > "$w/app/vendor/lib"
	echo fixed > "$w/ro/file"
	echo secret > "$w/private/other"
	echo single > "$w/private/single.conf"
	echo 'host secret' > "$E2E/outside"
	make_box ws "$w/app" "$w/ro:ro" "$w/Öl & \"Co\" \$x" "$w/private/single.conf" \
		"$w/app/vendor:readonly"
	export W=$w
}

teardown_file() {
	e2e_end
}

owner() {
	stat -c '%u:%g' "$1"
}

me() {
	echo "$(id -u):$(id -g)"
}

@test "all workspaces are there, at their own paths" {
	equal "$(in_box ws 'cat "$1"' "$W/app/file")" app
	equal "$(in_box ws 'cat "$1"' "$W/ro/file")" fixed
	equal "$(in_box ws 'cd "$1" && echo x > here && pwd' "$W/Öl & \"Co\" \$x")" "$W/Öl & \"Co\" \$x"
	equal "$(cat "$W/Öl & \"Co\" \$x/here")" x
	equal "$(inspect_get ws '.workspaces | map(.read_only | tostring) | join(" ")')" \
		"false true false false true"
}

@test "what agent and root write belongs to the host's user, on both sides" {
	in_box ws 'echo a > by-agent; mkdir dir-agent; ln -s file link-agent'
	in_box_root ws 'cd "$1" && echo r > by-root && mkdir dir-root && ln -s file link-root &&
		chown 0:0 by-agent && chown 4242 dir-agent' "$W/app"
	local name
	for name in by-agent dir-agent link-agent by-root dir-root link-root; do
		equal "$(owner "$W/app/$name")" "$(me)"
		equal "$(in_box ws 'stat -c %U "$1"' "$name")" agent
	done
	equal "$(cat "$W/app/by-agent" "$W/app/by-root")" $'a\nr'
	# The agent can change what root made, as the host's user can.
	in_box ws 'echo more >> by-root && rm -r dir-root'
}

@test "modes pass, umask holds, setuid and the like do not" {
	in_box ws 'touch plain; mkdir d; touch x; chmod 750 x; chmod 2755 d; cp /bin/true suid; chmod 4755 suid'
	equal "$(stat -c %a "$W/app/plain")" 644
	equal "$(stat -c %a "$W/app/x")" 750
	in_box_root ws 'cd "$1"; cp /bin/true rsuid; chmod 6777 rsuid; setcap cap_net_raw+ep rsuid 2>/dev/null; :' "$W/app"
	equal "$(stat -c %a "$W/app/suid")" 755
	equal "$(stat -c %a "$W/app/rsuid")" 777
	equal "$(find "$W/app" -perm /6000 ! -type d)" ""
	equal "$(getfattr -d -m - "$W/app/rsuid" 2>/dev/null | grep -c capability || :)" 0
}

@test "no device comes to the host" {
	in_box_root ws 'cd "$1"; mknod dev c 1 3; mknod blk b 8 0; mkfifo fifo
		python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")"; :' "$W/app" || :
	equal "$(find "$W/app" -type b -o -type c)" ""
}

@test "read-only holds: for the agent, for root, through remount and nesting" {
	run in_box ws 'echo x > "$1/file"' "$W/ro"
	[ "$status" != 0 ]
	run in_box_root ws 'cd "$1"; echo x > file; echo x > new; rm -f file; mv file gone; mkdir d
		chmod 777 file; touch file; mount -o remount,rw "$1"; echo x > file; echo y > new' "$W/ro"
	run in_box_root ws 'm=$(mktemp -d); mount --bind "$1" "$m" && mount -o remount,rw,bind "$m"; echo x > "$m/file"' "$W/ro"
	# A second mount of the tunnel as root pleases: the host's kernel is what says no.
	run in_box_root ws 'echo x > "/run/paddock/fs$1/file"; for f in $(find /run/paddock/fs -path "*ro/file"); do echo x > "$f"; done' "$W/ro"
	equal "$(cat "$W/ro/file")" fixed
	equal "$(ls "$W/ro")" file
	run in_box_root ws 'cd "$1"; echo x > lib; rm -f lib; echo x > new' "$W/app/vendor"
	equal "$(cat "$W/app/vendor/lib")" vendored
	equal "$(ls "$W/app/vendor")" lib
	# Nor by way of the workspace around it.
	run in_box_root ws 'cd "$1" && mv vendor moved && echo x > moved/lib' "$W/app"
	equal "$(cat "$W/app/vendor/lib")" vendored
	# Control: beside them writing works, and the host itself may change them.
	in_box ws 'echo y > "$1/sub/new"' "$W/app"
	echo changed > "$W/ro/file"
	wait_until 20 in_box ws 'grep -q changed "$1/file"' "$W/ro"
	echo fixed > "$W/ro/file"
}

@test "a single file is that file alone, and writing it works" {
	equal "$(in_box ws 'cat "$1"' "$W/private/single.conf")" single
	equal "$(in_box_root ws 'ls -A "$1"' "$W/private")" single.conf
	in_box ws 'echo edited > "$1"' "$W/private/single.conf"
	equal "$(cat "$W/private/single.conf")" edited
	equal "$(in_box_root ws 'find / -xdev -name other -path "*private*"; find /run/paddock -name other; :')" ""
}

@test "nothing of the host beside the workspaces" {
	run in_box_root ws 'cat "$1"' "$E2E/outside"
	[ "$status" != 0 ]
	equal "$(in_box_root ws 'find /run/paddock/fs -maxdepth 20 -name outside; ls "$1"' "$E2E")" ws
	# By dots from inside the tunnel either.
	equal "$(in_box_root ws 'cd "/run/paddock/fs$1" 2>/dev/null && cat ../../outside; :' "$W/app")" ""
}

@test "symlinks are the guest's: they never open the host's files" {
	ln -s /etc/hostname "$W/app/host-made"
	ln -s "$E2E/outside" "$W/app/to-outside"
	in_box ws 'ln -s /etc/shadow shadow; ln -s ../../../../../../etc/hostname up; ln -s /proc/self/root/etc/hostname magic'
	equal "$(in_box_root ws 'cat "$1/host-made" "$1/up"' "$W/app")" $'ws\nws'
	equal "$(in_box_root ws 'cmp "$1/shadow" /etc/shadow && echo own' "$W/app")" own
	run in_box_root ws 'cat "$1/to-outside"' "$W/app"
	[ "$status" != 0 ]
	# Writing through one makes the guest's file, never the host's.
	in_box_root ws 'ln -s /etc/made-by-guest "$1/w" && echo x > "$1/w" && cat /etc/made-by-guest' "$W/app"
	[ ! -e /etc/made-by-guest ]
	run in_box_root ws 'echo x > "$1/to-outside"' "$W/app"
	equal "$(cat "$E2E/outside")" "host secret"
}

@test "what changes on the host is seen inside, at once; and the reverse" {
	echo one > "$W/app/seen"
	equal "$(in_box ws 'cat seen')" one
	local i
	for i in 2 3 4; do
		echo "$i and longer" > "$W/app/seen"
		wait_until 10 in_box ws 'grep -q "^$1 and longer" seen' "$i"
	done
	# Same length, replaced by rename, removed, made anew: as editors and git do.
	echo "5 and longer" > "$W/app/.tmp" && mv "$W/app/.tmp" "$W/app/seen"
	wait_until 10 in_box ws 'grep -q "^5 and longer" seen'
	rm "$W/app/seen"
	wait_until 10 in_box ws '[ ! -e seen ] && ! ls | grep -qx seen'
	mkdir -p "$W/app/a/b/c" && echo deep > "$W/app/a/b/c/d"
	wait_until 10 in_box ws 'grep -q deep a/b/c/d'
	in_box ws 'echo inside > a/b/c/d; mv a/b a/e; : > a/new'
	equal "$(cat "$W/app/a/e/c/d")" inside
	equal "$(ls "$W/app/a")" $'e\nnew'
}

@test "what is written through a mapping is on the host within a second, unasked" {
	cat > "$W/app/map.py" <<-'PY'
		# Writes each line of stdin to where "mapped" is mapped, without a word to the kernel.
		import mmap, sys
		with open("mapped", "r+b") as f:
		    m = mmap.mmap(f.fileno(), 4096)
		print("ready", flush=True)
		for line in sys.stdin:
		    m[:4] = line.strip().encode()
		    print("written", flush=True)
	PY
	truncate -s 4096 "$W/app/mapped"
	coproc MAP { pd exec -q -i ws python3 -u map.py; }
	local in=${MAP[1]} out=${MAP[0]} pid=$MAP_PID word i start all=()
	on_host() { [ "$(head -c 4 "$W/app/mapped" | tr -d '\0')" = "$1" ]; }
	read -r -t 60 -u "$out" word && equal "$word" ready
	for i in 1001 1002 1003 1004 1005; do
		echo "$i" >&"$in"
		read -r -t 30 -u "$out" word && equal "$word" written
		start=${EPOCHREALTIME/./}
		wait_until 10 on_host "$i"
		all+=($(((${EPOCHREALTIME/./} - start) / 1000)))
	done
	eval "exec $in>&-"
	wait "$pid"
	echo "# milliseconds until it is on the host: ${all[*]}" >&3
	# The quickest: on a loaded machine others take their time.
	at_most "$(printf '%s\n' "${all[@]}" | sort -n | head -n 1)" 1000 "milliseconds until a mapped write is on the host"
}

@test "git on both sides of one repository" {
	in_box ws 'mkdir repo && cd repo && git init -q && echo a > a && git add a && git commit -qm "from inside"'
	cd "$W/app/repo"
	equal "$(git log --format='%an <%ae> %s')" "Mina Härtel <mina@example.org> from inside"
	equal "$(git status --porcelain)" ""
	echo b > b && git add b && git commit -qm "from outside" && echo c > c
	equal "$(in_box ws 'cd repo && git log --format=%s && git status --porcelain')" $'from outside\nfrom inside\n?? c'
	# The index that one side wrote is valid on the other: no file has to be read again.
	in_box ws 'cd repo && git add c && git commit -qm more'
	equal "$(git status --porcelain; git diff-index --name-only HEAD)" ""
	in_box ws 'cd repo && git checkout -qb topic && git gc -q && git fsck --no-progress 2>&1'
	git fsck --no-progress
	equal "$(git branch --show-current)" topic
	# Also for root, who is not the owner in there.
	equal "$(in_box_root ws 'cd "$1" && git status --porcelain' "$W/app/repo")" ""
}

@test "a C project: make, incremental, run on the host what was made inside" {
	mkdir "$W/app/c"
	printf '#include <stdio.h>\n#include "n.h"\nint main(void) { printf("%%d\\n", N); }\n' > "$W/app/c/main.c"
	echo '#define N 1' > "$W/app/c/n.h"
	printf 'main: main.o\n\tgcc -static -o $@ $^\nmain.o: main.c n.h\n\tgcc -c -o $@ main.c\n' > "$W/app/c/Makefile"
	in_box ws 'cd c && make -s && ./main'
	equal "$("$W/app/c/main")" 1
	has "$(in_box ws 'cd c && make')" "up to date"
	echo '#define N 2' > "$W/app/c/n.h"
	equal "$(in_box ws 'cd c && make -s && ./main')" 2
}

@test "npm: a package with a program of its own, installed from a folder" {
	mkdir -p "$W/app/js/dep"
	echo '{"name":"dep","version":"1.0.0","bin":{"dep":"cli.js"}}' > "$W/app/js/dep/package.json"
	printf '#!/usr/bin/env node\nconsole.log("dep says " + require("fs").readFileSync("data.txt"))\n' \
		> "$W/app/js/dep/cli.js"
	chmod +x "$W/app/js/dep/cli.js"
	echo '{"name":"app","version":"1.0.0","scripts":{"test":"dep"},"dependencies":{"dep":"file:dep"}}' \
		> "$W/app/js/package.json"
	printf hi > "$W/app/js/data.txt"
	in_box ws 'cd js && npm install --offline --install-links && npm test --silent' > "$E2E/tmp/npm"
	equal "$(tail -n 1 "$E2E/tmp/npm")" "dep says hi"
	rm "$E2E/tmp/npm"
	equal "$(owner "$W/app/js/node_modules/.bin/dep")" "$(me)"
}

@test "a tree of thousands of files: made, counted, moved, removed" {
	in_box ws 'mkdir tree && cd tree && for d in $(seq 20); do mkdir d$d && (cd d$d && touch $(seq 100)); done'
	equal "$(find "$W/app/tree" -type f | wc -l)" 2000
	equal "$(in_box ws 'find tree -type f | wc -l; du -s tree >/dev/null; mv tree tree2; rm -rf tree2; ls -d tree* | wc -l' 2>/dev/null)" $'2000\n0'
	[ ! -e "$W/app/tree2" ]
}

@test "files as programs use them: append, truncate, holes, mmap, locks, rename, O_TMPFILE, xattr" {
	in_box ws 'python3 - <<PY
import fcntl, mmap, os
def check(what, ok):
    if not ok: raise SystemExit("wrong: " + what)
with open("f", "wb") as f: f.write(b"0" * 10000)
with open("f", "ab") as f: f.write(b"1")
check("append", os.path.getsize("f") == 10001)
os.truncate("f", 5000)
check("truncate", open("f", "rb").read() == b"0" * 5000)
with open("f", "r+b") as f:
    m = mmap.mmap(f.fileno(), 5000)
    m[100:105] = b"mmap!"
    m.flush(); m.close()
check("mmap", open("f", "rb").read()[100:105] == b"mmap!")
with open("sparse", "wb") as f:
    f.seek(32 << 20); f.write(b"end")
check("holes", os.path.getsize("sparse") == (32 << 20) + 3 and os.stat("sparse").st_blocks < 1000)
with open("f") as a, open("f") as b:
    fcntl.flock(a, fcntl.LOCK_EX)
    try:
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB); check("flock", False)
    except BlockingIOError: pass
with open("g", "w") as f:
    os.unlink("g"); f.write("x"); f.flush()
    check("unlinked", os.fstat(f.fileno()).st_nlink == 0)
os.link("f", "hard")
check("link", os.stat("f").st_ino == os.stat("hard").st_ino)
os.rename("hard", "moved"); os.replace("moved", "f")
os.mkdir("n" * 255); os.rmdir("n" * 255)
try:
    os.mkdir("n" * 256); check("long name", False)
except OSError as e: check("ENAMETOOLONG", e.errno == 36)
t = os.stat("f").st_mtime_ns
os.utime("f", ns=(1, 1234567890123456789))
check("utime", os.stat("f").st_mtime_ns == 1234567890123456789)
PY'
	equal "$(stat -c '%s %Y' "$W/app/f")" "5000 1234567890"
	equal "$(($(stat -c %b "$W/app/sparse") < 1000))" 1
	equal "$(in_box ws 'cp --sparse=always sparse copy && cmp sparse copy && tail -c 3 copy')" end
}

@test "a full workspace folder is an error inside, and nothing worse" {
	# A file-size limit of the host does not reach the guest; a read-only folder does.
	chmod 555 "$W/app/sub"
	if [ "$(id -u)" = 0 ]; then
		run in_box ws 'touch sub/x'
	else
		run in_box ws 'touch sub/x'
		[ "$status" != 0 ]
		has "$output" "Permission denied"
	fi
	chmod 755 "$W/app/sub"
	in_box ws 'touch sub/x'
}

@test "after stop and start the workspaces are the same" {
	note_namespaces
	pd stop ws
	echo "while stopped" > "$W/app/file"
	equal "$(in_box ws 'cat file; cat "$1"; cat "$2/lib"' "$W/private/single.conf" "$W/app/vendor")" \
		$'while stopped\nedited\nvendored'
	run in_box ws 'echo x > "$1/file"' "$W/ro"
	[ "$status" != 0 ]
}

@test "rm leaves the workspaces as they are" {
	note_namespaces
	local before
	before=$(cd "$W" && find . -printf '%p %s %m\n' | sort | sha256sum)
	pd rm -f ws
	equal "$(cd "$W" && find . -printf '%p %s %m\n' | sort | sha256sum)" "$before"
}

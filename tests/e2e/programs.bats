# users: user; with PADDOCK_E2E_ALL: root
# Real programs in one sandbox on one workspace, with the host at work in it too.
# PADDOCK_REGISTRY=URL adds npm ci and jest of an Express app from that registry, PADDOCK_POSTGRES=1
# a Postgres from Debian's packages whose data are in the workspace (minutes each).
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin programs
	mkdir "$E2E/ws/app" "$E2E/web"
	serve web --dir "$E2E/web"
	local more=()
	if [ -n "${PADDOCK_REGISTRY:-}" ]; then
		more=(--allow-network "$(sed -E 's#^[a-z]+://([^/:]+).*#\1#' <<< "$PADDOCK_REGISTRY")")
	fi
	make_box prog --resolve "registry.test:80:127.0.0.1:$web_port" "${more[@]}" "$E2E/ws/app"
	export W=$E2E/ws/app
}

teardown_file() {
	e2e_end
}

@test "git: the guest commits, rebases and collects garbage while the host commits" {
	in_box prog 'git init -q repo && cd repo && for i in $(seq 40); do mkdir -p d$((i % 5)); echo $i > d$((i % 5))/f$i; done
		git add . && git commit -qm one && git branch host-side && git clone -q . ../clone'
	# A working tree of the host's own: objects, references and packs are shared.
	git -C "$W/repo" worktree add -q "$W/hosts" host-side
	(
		cd "$W/hosts" || exit 1
		for i in $(seq 12); do echo "$i" >> host && git add host && git commit -qm "host $i" || exit 1; done
		git gc -q
	) & local host=$!
	in_box prog 'cd repo && git checkout -qb topic && for i in 1 2 3; do echo $i >> topic && git add topic && git commit -qm "topic $i"; done
		git checkout -q - && echo main > main && git add main && git commit -qm main
		git checkout -q topic && git rebase -q - && git gc -q'
	wait "$host"
	in_box prog 'cd repo && git fsck --full --no-progress && git status --porcelain && git merge -q host-side -m both'
	git -C "$W/repo" fsck --full --no-progress
	equal "$(git -C "$W/repo" status --porcelain)" ""
	equal "$(git -C "$W/repo" rev-list --count topic --)" 18
	equal "$(in_box prog 'cd clone && git pull -q ../repo topic && git rev-list --count HEAD && git fsck --full --no-progress')" 18
}

@test "make -j: parallel build in the workspace, rebuilt after the host's edit, nothing after nothing" {
	mkdir "$W/c"
	for i in $(seq 8); do echo "int f$i(void) { return $i; }" > "$W/c/f$i.c"; done
	{
		for i in $(seq 8); do echo "int f$i(void);"; done
		echo '#include <stdio.h>'
		echo 'int main(void) { printf("%d\n", f1()+f2()+f3()+f4()+f5()+f6()+f7()+f8()); return 0; }'
	} > "$W/c/main.c"
	printf 'prog: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\t$(CC) -o $@ $^\n' > "$W/c/Makefile"
	equal "$(in_box prog 'cd c && make -s -j4 && ./prog')" 36
	echo 'int f8(void) { return 1000; }' > "$W/c/f8.c"
	equal "$(in_box prog 'cd c && make -s -j4 && ./prog && make -q && echo done')" $'1028\ndone'
}

@test "sqlite in WAL mode: two programs in the guest write, the host reads afterwards" {
	cat > "$W/wal.py" <<-'PY'
		import sqlite3, sys
		db = sqlite3.connect("db", timeout=60, isolation_level=None)
		assert db.execute("pragma journal_mode=wal").fetchone()[0] == "wal"
		db.execute("create table if not exists t(who, n)")
		for n in range(25):
		    db.execute("begin immediate")
		    db.execute("insert into t values(?, ?)", (sys.argv[1], n))
		    db.execute("commit")
	PY
	# Two that turn to WAL mode at once are in each other's way, on any disk.
	sqlite3 "$W/db" 'pragma journal_mode=wal' >/dev/null
	in_box prog 'python3 wal.py a & python3 wal.py b && wait %1'
	equal "$(sqlite3 "$W/db" 'pragma integrity_check; select count(*), count(distinct who) from t')" $'ok\n50|2'
	# In rollback mode both sides may write: they wait for each other.
	cat > "$W/roll.py" <<-'PY'
		import sqlite3, sys
		db = sqlite3.connect(sys.argv[2], timeout=60, isolation_level=None)
		for n in range(int(sys.argv[3])):
		    db.execute("begin immediate")
		    (old,) = db.execute("select n from c").fetchone()
		    db.execute("update c set n = ?", (old + 1,))
		    db.execute("insert into t values(?, ?)", (sys.argv[1], n))
		    db.execute("commit")
	PY
	sqlite3 "$W/both" 'create table c(n); insert into c values(0); create table t(who, n)'
	python3 "$W/roll.py" host "$W/both" 60 & local host=$!
	in_box prog 'python3 roll.py guest both 15'
	wait "$host"
	equal "$(sqlite3 "$W/both" 'pragma integrity_check; select n from c; select count(*) from t')" $'ok\n75\n75'
	equal "$(in_box prog 'python3 -c "
import sqlite3
print(sqlite3.connect(\"both\").execute(\"select n from c\").fetchone()[0])"')" 75
	if [ -n "${PADDOCK_POSTGRES:-}" ]; then postgres; fi
}

# It insists on whose its folder is and who else may read it; and what it was told is written stays.
postgres() {
	printf 'name: postgres\npackages: [postgresql]\ncommand: [sh]\n' > "$E2E/postgres.yaml"
	mkdir "$E2E/ws/pg"
	PD_LIMIT=1500 pd run -q --name pg "$E2E/postgres.yaml" "$E2E/ws/pg" -- -c '
		set -eu
		PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGHOST=/tmp/pg PGUSER=agent PGDATABASE=postgres
		export PATH PGHOST PGUSER PGDATABASE
		start() { pg_ctl -D data -l log -w -t 300 -o "-k $PGHOST -h \"\"" start >/dev/null; }
		mkdir "$PGHOST" && initdb -D data -A trust -U agent >/dev/null
		start && pgbench -q -i -s 1 2>/dev/null && pgbench -c 4 -t 25 >/dev/null 2>&1
		pg_ctl -D data -m immediate stop >/dev/null
		start && psql -Atc "select count(*) from pgbench_history"
		pg_ctl -D data -m fast stop >/dev/null' > "$E2E/pg.out" </dev/null
	equal "$(cat "$E2E/pg.out")" 100
	equal "$(stat -c '%U %a' "$E2E/ws/pg/data")" "$(id -un) 700"
	has "$(cat "$E2E/ws/pg/log")" "redo done at"
	pd rm -f pg
}

@test "rsync -a, both ways: nothing is left to copy" {
	in_box prog 'mkdir -p /var/tmp/r/d && cd /var/tmp/r && for i in $(seq 50); do echo $i > d/f$i; done
		ln d/f1 hard; ln -s d/f2 soft; mkfifo fifo; chmod 600 d/f3; touch -d 2001-02-03T04:05:06.789 d/f4
		truncate -s 3M sparse; setfattr -n user.note -v x d/f5 2>/dev/null
		rsync -aHS /var/tmp/r/ "$1/r/" && rsync -aHS --itemize-changes -n /var/tmp/r/ "$1/r/"
		rsync -aHS "$1/r/" /var/tmp/back/ && rsync -aHSc --itemize-changes -n /var/tmp/r/ /var/tmp/back/' "$W" > "$E2E/left"
	equal "$(cat "$E2E/left")" ""
	equal "$(stat -c '%h %a' "$W/r/d/f1" "$W/r/d/f3" | xargs)" "2 644 1 600"
	equal "$(stat -c %y "$W/r/d/f4" | cut -d. -f2 | cut -c1-3)" 789
}

@test "npm ci of a made-up registry's package, and its test" {
	mkdir -p "$E2E/web/tarballs" "$E2E/tiny/package" "$W/js"
	echo '{"name":"tiny","version":"1.2.3","main":"tiny.js","bin":{"tiny":"tiny.js"}}' > "$E2E/tiny/package/package.json"
	printf '#!/usr/bin/env node\nmodule.exports = () => 42;\n' > "$E2E/tiny/package/tiny.js"
	tar -C "$E2E/tiny" -czf "$E2E/web/tarballs/tiny-1.2.3.tgz" package
	local sum
	sum=sha512-$(openssl dgst -sha512 -binary "$E2E/web/tarballs/tiny-1.2.3.tgz" | base64 -w 0)
	cat > "$E2E/web/tiny" <<-JSON
		{"name": "tiny", "dist-tags": {"latest": "1.2.3"}, "versions": {"1.2.3": {"name": "tiny",
		 "version": "1.2.3", "bin": {"tiny": "tiny.js"}, "dist": {"integrity": "$sum",
		 "tarball": "http://registry.test/tarballs/tiny-1.2.3.tgz"}}}}
	JSON
	cat > "$W/js/package-lock.json" <<-JSON
		{"name": "js", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
		 "": {"name": "js", "version": "1.0.0", "dependencies": {"tiny": "1.2.3"}},
		 "node_modules/tiny": {"version": "1.2.3", "integrity": "$sum", "bin": {"tiny": "tiny.js"},
		 "resolved": "http://registry.test/tarballs/tiny-1.2.3.tgz"}}}
	JSON
	echo '{"name": "js", "version": "1.0.0", "scripts": {"test": "node --test"}, "dependencies": {"tiny": "1.2.3"}}' \
		> "$W/js/package.json"
	echo 'require("node:test")("tiny", () => require("node:assert").equal(require("tiny")(), 42))' > "$W/js/tiny.test.js"
	in_box prog 'cd js && npm ci --no-audit --no-fund --registry http://registry.test/ && npm test --silent' > "$E2E/npm"
	has "$(cat "$E2E/npm")" "pass 1"
	equal "$(node -p 'require(process.argv[1])()' "$W/js/node_modules/tiny" 2>/dev/null || echo 42)" 42
	[ -x "$W/js/node_modules/.bin/tiny" ]
	if [ -n "${PADDOCK_REGISTRY:-}" ]; then express; fi
}

# The real thing: about 350 packages.
express() {
	mkdir "$W/express"
	echo '{"name": "x", "version": "1.0.0", "scripts": {"test": "jest"}, "dependencies": {"express": "4"},
		"devDependencies": {"jest": "29", "supertest": "6"}}' > "$W/express/package.json"
	cat > "$W/express/app.test.js" <<-'JS'
		const app = require("express")();
		app.get("/", (req, res) => res.json({ok: true}));
		test("answers", () => require("supertest")(app).get("/").expect(200, {ok: true}));
	JS
	PD_LIMIT=1500 in_box prog 'cd express && npm install --package-lock-only --no-audit --no-fund --registry "$1" &&
		time npm ci --no-audit --no-fund --registry "$1" && npm test 2>&1' "$PADDOCK_REGISTRY" > "$E2E/express"
	tail -n 8 "$E2E/express" >&3
	has "$(cat "$E2E/express")" "1 passed"
}

# quantile PERCENT NUMBER...
quantile() {
	printf '%s\n' "${@:2}" | sort -n | sed -n "$((($# - 2) * $1 / 100 + 1))p"
}

@test "editors on the host: vim and save-by-rename are seen in the guest, how soon" {
	echo one > "$W/edited"
	cat > "$W/see.py" <<-'PY'
		# Says what the file shows, whenever that is something else: looked at all the time.
		import time
		old = ""
		while old != "end\n":
		    with open("edited") as f: new = f.read()
		    if new != old and new.endswith("\n"):
		        print(new, end="", flush=True)
		        old = new
		    time.sleep(0.001)
	PY
	coproc SEE { pd exec -q prog python3 -u see.py; }
	local out=${SEE[0]} pid=$SEE_PID word i changed all=()
	read -r -t 60 -u "$out" word && equal "$word" one
	for i in $(seq "${PADDOCK_EDITS:-12}"); do
		case $((i % 4)) in
		0) vim -u NONE -i NONE -N -es -c "call setline(1, 'line$i')" -c wq "$W/edited" ;;
		1) vim -u NONE -i NONE -N -es -c 'set backup backupcopy=no' -c "call setline(1, 'line$i')" -c wq "$W/edited" ;;
		2) echo "line$i" > "$W/.edited.tmp" && mv "$W/.edited.tmp" "$W/edited" ;;
		3) echo "line$i" > "$W/edited" ;;
		esac
		equal "$(cat "$W/edited")" "line$i"
		# With its way back to here, that is.
		while [ "$word" != "line$i" ]; do read -r -t 30 -u "$out" word; done
		word=${EPOCHREALTIME/./} changed=$(stat -c %.6Z "$W/edited")
		all+=($(((word - ${changed/./}) / 1000)))
	done
	echo end > "$W/edited"
	wait "$pid"
	echo "# milliseconds until seen: median $(quantile 50 "${all[@]}"), p95 $(quantile 95 "${all[@]}"), of ${#all[@]}: ${all[*]}" >&3
	at_most "$(quantile 50 "${all[@]}")" 1000 "milliseconds until an edit is seen"
}

@test "watchers in the guest hear of the host's changes by looking, and are told to look" {
	equal "$(in_box prog 'echo $CHOKIDAR_USEPOLLING $WATCHFILES_FORCE_POLLING')" "1 1"
	equal "$(pd exec -q -e CHOKIDAR_USEPOLLING=0 prog sh -c 'echo $CHOKIDAR_USEPOLLING')" 0
	echo first > "$W/watched"
	cat > "$W/watch.js" <<-'JS'
		// Polling as chokidar does it: says each content that it comes to see.
		const fs = require("fs");
		fs.watchFile("watched", {interval: 100}, () => console.log("saw " + fs.readFileSync("watched", "utf8").trim()));
		fs.watch("own", () => console.log("own"));
		console.log("ready");
		process.stdin.resume().on("end", () => process.exit());
	JS
	: > "$W/own"
	coproc WATCH { pd exec -q -i prog node watch.js; }
	local in=${WATCH[1]} pid=$WATCH_PID word
	read -r -t 60 -u "${WATCH[0]}" word && equal "$word" ready
	echo second > "$W/.w" && mv "$W/.w" "$W/watched"
	read -r -t 20 -u "${WATCH[0]}" word && equal "$word" "saw second"
	# inotify itself: what the guest's own programs do.
	in_box prog 'echo x >> own'
	read -r -t 20 -u "${WATCH[0]}" word && equal "$word" own
	eval "exec $in>&-"
	wait "$pid"
	# tail -f knows that it has to look.
	coproc TAIL { pd exec -q -i prog sh -c 'tail -n 1 -f watched & cat >/dev/null; kill $!'; }
	in=${TAIL[1]} pid=$TAIL_PID
	read -r -t 60 -u "${TAIL[0]}" word && equal "$word" second
	echo third >> "$W/watched"
	read -r -t 20 -u "${TAIL[0]}" word && equal "$word" third
	eval "exec $in>&-"
	wait "$pid" || :
}

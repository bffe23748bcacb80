# users: user; with PADDOCK_E2E_ALL: root
# Forks of a running sandbox: what goes on in them, and what is another's from then on.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin fork
	export XDG_CONFIG_HOME=$E2E/config
	mkdir -p "$E2E/ws/app" "$XDG_CONFIG_HOME/paddock/kits"
	make_ca api.keyed.test
	serve tls --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key" --keys "$E2E/tls.keys"
	VALUE=real-$RANDOM$RANDOM-of-the-key
	cat > "$XDG_CONFIG_HOME/paddock/kits/keyed.yaml" <<-'YAML'
		name: keyed
		extends: shell
		network: {allow: [api.keyed.test]}
		credentials:
		  - name: keyed
		    env: [KEYED_API_KEY]
		    hosts: [api.keyed.test]
		    header: x-api-key
		    placeholder: sk-keyed-
	YAML
	KEYED_API_KEY=$VALUE pd create -q --memory 512m --name zz --network locked -p 8080 \
		--resolve "api.keyed.test:443:127.0.0.1:$tls_port" keyed "$E2E/ws/app" >/dev/null
	# Draws as fast as it can: what two of them draw alike is shared.
	cat > "$E2E/ws/app/draw.py" <<-'PY'
		import os
		with open("/tmp/draws", "w", buffering=1) as f:
		    for n in range(1000000):
		        f.write(os.getrandom(8).hex() + "\n")
		        if n % 100 == 0 and os.path.exists("/tmp/enough"):
		            break
	PY
	in_box zz 'echo kept > ~/kept'
	pd exec -q -d zz python3 draw.py
	wait_until 60 in_box zz 'test -s /tmp/draws'
	pd fork -q zz one two > "$E2E/forked"
	declare -px VALUE >> "$BATS_FILE_TMPDIR/world"
	export VALUE
}

teardown_file() {
	e2e_end
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || e2e_tell
}

draws() { # SANDBOX: ends its program, and takes what it has drawn
	in_box "$1" 'touch /tmp/enough; while pgrep -f "draw[.]py" >/dev/null; do sleep 0.1; done; cat /tmp/draws' \
		> "$E2E/draws.$1"
}

has_drawn() { # SANDBOX LINES
	[ "$(in_box "$1" 'wc -l < /tmp/draws')" -gt "$2" ]
}

@test "J1: a program that draws random numbers goes on in each, and draws others" {
	local box lines ram
	equal "$(cat "$E2E/forked")" $'one\ntwo'
	lines=$(in_box two 'wc -l < /tmp/draws')
	for box in one two; do
		wait_until 60 has_drawn "$box" $((lines + 200))
	done
	for box in zz one two; do
		draws "$box"
	done
	ram=$(find "/proc/$(role_pid one qemu)/fd" -lname '*/ram*' | head -n 1)
	python3 - "$ram" "$E2E"/draws.{zz,one,two} <<-'PY'
		import itertools, mmap, sys
		with open(sys.argv[1], "rb") as f:
		    saved = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
		drawn = [open(name).read().split() for name in sys.argv[2:]]
		for a, b in itertools.combinations(drawn, 2):
		    past = next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)
		    # The control: up to the fork it was one program.
		    assert past > 10, "they have no past in common"
		    # The last may not have been written yet, and one may lie across two pages.
		    assert any(saved.find(d.encode()) >= 0 for d in a[past - 5:past - 1]), \
		        "what both have drawn is not all in the memory that was saved"
		    assert min(len(a), len(b)) - past > 200, "it does not go on"
		    same = set(a[past:]) & set(b[past:])
		    assert not same, f"{len(same)} numbers are drawn by two"
	PY
}

@test "J1, J2: what is new in each shares no identity and no random stream" {
	local box
	for box in zz one two; do
		in_box_root "$box" 'cd /root && rm -f key key.pub
			echo name "$(hostname)"
			echo machine-id "$(cat /etc/machine-id)"
			echo boot_id "$(cat /proc/sys/kernel/random/boot_id)"
			echo authorities "$(sha256sum < /etc/ssl/certs/ca-certificates.crt)"
			echo urandom "$(head -c 16 /dev/urandom | od -An -tx1)"
			echo OpenSSL "$(openssl rand -hex 16)"
			python3 -c "import os, random; print(\"getrandom\", os.getrandom(16).hex()); print(\"Python\", random.random())"
			ssh-keygen -q -t ed25519 -N "" -f key && echo ssh-keygen "$(cut -d" " -f2 key.pub)"'
	done > "$E2E/identities"
	equal "$(wc -l < "$E2E/identities")" 27
	equal "$(sort "$E2E/identities" | uniq -d)" ""
	# The control: one kernel's boot, which goes on in all of them.
	for box in zz one two; do
		in_box_root "$box" 'head -n 1 /proc/1/maps'
	done > "$E2E/maps"
	equal "$(sort -u "$E2E/maps" | wc -l)" 1
}

@test "its memory and disk are its own, mapped from one file; the workspace is shared" {
	local box
	in_box one 'echo other > ~/kept; echo of one > from-one'
	equal "$(in_box zz 'cat ~/kept from-one')" $'kept\nof one'
	equal "$(in_box two 'cat ~/kept')" kept
	for box in one two; do
		awk '/\/ram/ {print $5; exit}' "/proc/$(role_pid "$box" qemu)/maps"
	done > "$E2E/inodes"
	equal "$(wc -l < "$E2E/inodes")" 2
	equal "$(sort -u "$E2E/inodes" | wc -l)" 1
	equal "$(find "$E2E/data/paddock/sandboxes" -name '*suspend*' -o -path '*/checkpoints/*')" ""
}

@test "J4: a fork has the policy, no credential, no port; run gives it new placeholders" {
	local held
	held=$(in_box zz 'echo "$KEYED_API_KEY"')
	[[ $held == sk-keyed-????????* ]]
	# As the original's programs do, which go on there.
	in_box one 'curl -sS https://api.keyed.test/held -H "x-api-key: $1"' "$held" >/dev/null
	equal "$(tail -n 1 "$E2E/tls.keys")" "/held $held -"
	equal "$(in_box one 'echo "[$KEYED_API_KEY]"')" "[]"
	# The control.
	in_box zz 'curl -sS https://api.keyed.test/held -H "x-api-key: $1"' "$held" >/dev/null
	equal "$(tail -n 1 "$E2E/tls.keys")" "/held $VALUE -"
	KEYED_API_KEY=$VALUE pd run -q --name one -- -c \
		'echo "$KEYED_API_KEY"; curl -sS https://api.keyed.test/new' > "$E2E/new"
	equal "$(tail -n 1 "$E2E/tls.keys")" "/new $VALUE -"
	[[ $(head -n 1 "$E2E/new") == sk-keyed-????????* ]]
	[ "$(head -n 1 "$E2E/new")" != "$held" ]
	has "$(pd ports zz)" 8080
	lacks "$(pd ports one)" 8080
	# From here on each has its own.
	equal "$(pd network ls one)" "$(pd network ls zz)"
	pd network deny one api.keyed.test >/dev/null
	run in_box one 'curl -sS -o /dev/null -w "%{http_code}" https://api.keyed.test/keys'
	equal "$output" 403
	equal "$(in_box zz 'curl -sS -o /dev/null -w "%{http_code}" https://api.keyed.test/keys')" 200
	has "$(pd network log one)" api.keyed.test
	lacks "$(pd network log two)" api.keyed.test
}

@test "names that are taken or of no use, and a sandbox that does not run: said, and nothing is made" {
	run --separate-stderr pd fork zz new one
	fails_with 125 "exists already"
	run --separate-stderr pd fork zz new new
	fails_with 2 "write each name once"
	run --separate-stderr pd fork zz a/b
	fails_with 2 "'a/b'"
	run --separate-stderr pd fork -n 0 zz
	fails_with 2 "from 1 to 100"
	run --separate-stderr pd fork -n 1 zz new newer
	fails_with 2 "2 names"
	run --separate-stderr pd fork none
	fails_with 125 "none"
	pd rm -f one >/dev/null
	pd stop two >/dev/null
	run --separate-stderr pd fork two new
	fails_with 125 "is not running"
	equal "$(pd ls -q)" $'two\nzz'
	pd rm -f two >/dev/null
}

@test "--clone-workspace: each has a copy as of that moment, at the same path; programs go on in it" {
	local app=$E2E/ws/app box
	cat > "$app/hold.py" <<-'PY'
		import os, time
		held = open("held", "a+", buffering=1)
		held.write("from before\n")
		while not os.path.exists("/tmp/go"):
		    time.sleep(0.1)
		held.write("by " + open("/proc/sys/kernel/hostname").read())
		held.seek(0)
		open("/tmp/seen", "w").write(held.read())
	PY
	in_box zz 'git init -q . && git add draw.py && git commit -qm one && echo changed >> draw.py
		echo new > untracked && mkdir -p deep/er && echo kept > deep/er/file && ln deep/er/file other
		cat deep/er/file draw.py >/dev/null'
	pd exec -q -d zz python3 hold.py
	wait_until 60 grep -qs before "$app/held"
	run --separate-stderr pd fork -q --clone-workspace zz cc dd
	equal "$status $output" $'0 cc\ndd'
	for box in cc dd; do
		# Whole, and neither the original nor the other.
		equal "$(in_box "$box" 'pwd; git status --porcelain draw.py untracked; cat deep/er/file; stat -c %h other')" \
			"$app"$'\n M draw.py\n?? untracked\nkept\n2'
		in_box "$box" 'touch /tmp/go; echo "$HOSTNAME" > mine; git commit -qam "by $HOSTNAME"'
		wait_until 60 in_box "$box" '[ -s /tmp/seen ]'
		equal "$(in_box "$box" 'cat /tmp/seen')" $'from before\n'"by $box"
		equal "$(cat "$app-$box/mine")" "$box"
		equal "$(cat "$app-$box/held")" $'from before\n'"by $box"
		equal "$(git -c safe.directory='*' -C "$app-$box" log -1 --format=%s)" "by $box"
		# What the host does there is seen, also of what had been read before the fork.
		echo host > "$app-$box/deep/er/file"
		wait_until 10 in_box "$box" 'grep -q host deep/er/file other'
	done
	equal "$(cat "$app/held" "$app/deep/er/file")" $'from before\nkept'
	[ ! -e "$app/mine" ]
	equal "$(git -c safe.directory='*' -C "$app" log -1 --format=%s)" one
	equal "$(in_box zz 'touch /tmp/go; cat deep/er/file')" kept
	# The control: the original goes on where it was.
	wait_until 60 grep -q "by zz" "$app/held"
	lacks "$(cat "$app-cc/held")" "by zz"
	has "$(pd ls)" "$app-cc"
	# It is so after a boot, and the folder is the user's.
	pd stop cc >/dev/null
	equal "$(in_box cc 'pwd; cat mine')" "$app"$'\ncc'
	equal "$(pd run -q keyed "$app-cc" -- -c hostname)" cc
	run --separate-stderr pd fork --clone-workspace zz cc-2
	equal "$status" 0
	has "$stderr" "$app-cc-2"
	mv "$app-dd" "$app-ee"
	run --separate-stderr pd fork --clone-workspace zz ee
	fails_with 125 "'$app-ee'"
	run --separate-stderr pd rm -f cc dd cc-2
	has "$stderr" "$app-cc"
	equal "$(cat "$app-cc/mine" "$app-ee/mine")" $'cc\ndd'
	equal "$(find "$E2E/ws" -name '*.incomplete')" ""
	rm -rf "$app"-??*
}

# being_forked NAME: its supervisor is there, in $supervisor.
being_forked() {
	supervisor=$(role_pid "$1" supervisor)
	[ -n "$supervisor" ]
} 2>/dev/null

@test "one of the forks is killed while it wakes: there is none, and the original goes on" {
	local job supervisor
	pd fork -q zz -n 2 > "$E2E/out" 2>&1 3>&- &
	job=$!
	wait_until 120 being_forked zz-3
	kill_hard "$supervisor"
	wait "$job" && return 1
	has "$(cat "$E2E/out")" "sandbox 'zz-3'"
	lacks "$(pd ls -q)" zz-
	equal "$(in_box zz 'cat ~/kept')" kept
}

@test "fork is killed: the original goes on, and what was made can be seen, woken and removed" {
	local job made name
	"$PADDOCK" fork -q zz new newer >/dev/null 2>&1 3>&- &
	job=$!
	wait_until 120 test -d "$E2E/data/paddock/sandboxes/new"
	kill -KILL "$job"
	wait "$job" || :
	equal "$(in_box zz 'cat ~/kept')" kept
	made=$(pd ls -q | grep '^new') # the second one may have been begun
	has "$made" new
	for name in $made; do
		equal "$(in_box "$name" 'hostname; cat ~/kept')" "$name"$'\nkept'
		pd rm -f "$name" >/dev/null
	done
	# And the next one finds nothing in its way, and leaves nothing behind.
	equal "$(pd fork -q zz)" zz-2
	equal "$(find "$E2E/data/paddock/sandboxes" -path '*/checkpoints/*')" ""
}

@test "QEMU is killed while it is saved for a fork: no fork is there, and the original boots" {
	in_box zz 'echo last > ~/last; sync'
	run -125 killed_once "$(role_pid zz supervisor)" save "$(role_pid zz qemu)" \
		"$PADDOCK" fork -q zz never
	wait_until 20 box_is zz stopped
	lacks "$(pd ls -q)" never
	equal "$(in_box zz 'cat ~/kept ~/last')" $'kept\nlast'
	equal "$(find "$E2E/data/paddock/sandboxes" -path '*/checkpoints/*')" ""
}

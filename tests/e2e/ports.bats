# users: user; with PADDOCK_E2E_ALL: root
# Published ports: from the host's loopback to the sandbox's own.
# shellcheck disable=SC2154

load lib

setup_file() {
	e2e_begin ports
	mkdir "$E2E/ws/app"
	make_box web -p 3000 -p 0:4000/tcp6 "$E2E/ws/app"
	# An echo for each connection, a server that speaks first and closes, one on ::1 alone.
	cat > "$E2E/ws/app/serve.py" <<-'PY'
		import socketserver, sys, threading, socket
		class Echo(socketserver.BaseRequestHandler):
		    def handle(self):
		        while (data := self.request.recv(65536)):
		            self.request.sendall(data)
		class Hello(socketserver.BaseRequestHandler):
		    def handle(self):
		        self.request.sendall(b"hello\n" + b"x" * 3000000)
		class Server(socketserver.ThreadingTCPServer):
		    daemon_threads = allow_reuse_address = True
		class Server6(Server):
		    address_family = socket.AF_INET6
		servers = [Server(("127.0.0.1", 3000), Echo), Server6(("::1", 4000), Echo), Server(("0.0.0.0", 5000), Hello)]
		for s in servers:
		    threading.Thread(target=s.serve_forever).start()
		open("up", "w").close()
	PY
	pd exec -d web python3 serve.py
	wait_until 60 test -e "$E2E/ws/app/up"
}

teardown_file() {
	e2e_end
}

host_port() { # SANDBOX_PORT [BOX]
	pd ports "${2:-web}" --json | jq -r ".ports[] | select(.sandbox_port == $1) | .host_port" | head -n 1
}

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# talk HOST PORT: stdin there and back, as Python's socket sees it.
talk() {
	timeout 60 python3 -c '
import socket, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
s.settimeout(40)
data = sys.stdin.buffer.read()
def send():
    s.sendall(data)
threading.Thread(target=send).start()
got = b""
while len(got) < len(data) or not data:
    more = s.recv(65536)
    if not more: break
    got += more
sys.stdout.buffer.write(got)' "$@"
}

# says_all PORT: the server that speaks first is heard to its end.
says_all() {
	[ "$(talk 127.0.0.1 "$1" < /dev/null | wc -c)" = 3000006 ]
}

@test "bytes go both ways, unchanged, over IPv4 and IPv6" {
	head -c 2000000 /dev/urandom > "$E2E/sent"
	talk 127.0.0.1 "$(host_port 3000)" < "$E2E/sent" | cmp - "$E2E/sent"
	equal "$(talk ::1 "$(host_port 4000)" <<< six)" six
}

@test "many at once, each its own" {
	local i port pids=()
	port=$(host_port 3000)
	for i in $(seq 20); do
		talk 127.0.0.1 "$port" <<< "number $i" > "$E2E/got.$i" &
		pids+=($!)
	done
	wait "${pids[@]}"
	for i in $(seq 20); do
		equal "$(cat "$E2E/got.$i")" "number $i"
	done
}

@test "ports lists what is published, what listens, and how to publish that" {
	run pd ports web
	has "$output" "127.0.0.1:$(host_port 3000)->3000/tcp4  open"
	has "$output" "5000  paddock ports web --publish 5000:5000"
	has "$(pd ls)" "127.0.0.1:$(host_port 3000)->3000/tcp4"
	equal "$(pd ports web --json | jq -c '.ports[0] | [.host_ip, .protocol, .open, .listens]')" '["127.0.0.1","tcp4",true,true]'
}

@test "publish and unpublish a running one's; what came through an unpublished port is cut" {
	local port other
	port=$(free_port)
	pd ports web --publish "$port:5000" > /dev/null
	says_all "$port"
	# Open while it is taken away.
	exec {other}<> "/dev/tcp/127.0.0.1/$(host_port 3000)"
	echo before >&"$other"
	read -r -t 30 line <&"$other"
	equal "$line" before
	pd ports web --unpublish 3000 > /dev/null
	run timeout 20 cat <&"$other"
	[ "$status" -ne 124 ]
	exec {other}>&-
	equal "$(host_port 3000)" ""
	run --separate-stderr pd ports web --unpublish 3000
	fails_with 125 "'3000' is not published"
}

@test "a taken port is said, and nothing of that change is kept" {
	local port
	port=$(host_port 5000)
	run --separate-stderr pd ports web --publish 0:3000 --publish "$port:3000/tcp4" --publish "127.0.0.1:$port:4000"
	fails_with 125 "host port $port is taken by another program"
	equal "$(host_port 3000)" ""
	run --separate-stderr pd ports web --publish 70000:1
	fails_with 2 "70000:1"
	run --separate-stderr pd ports web --publish 53:53/udp
	fails_with 2 "only TCP ports"
}

@test "nothing listens in the sandbox: the client is reset, not kept" {
	local port
	port=$(free_port)
	pd ports web --publish "$port:6000" > /dev/null
	has "$(pd ports web)" "->6000/tcp4  nothing listens on it in the sandbox"
	run talk 127.0.0.1 "$port" <<< x
	[ "$status" -ne 0 ]
	has "$output" "reset"
}

@test "only the loopback of the host listens, and the sandbox cannot reach what it publishes through the host" {
	local port address
	port=$(host_port 5000)
	address=$(ip -4 -o addr show scope global | awk '{split($4, a, "/"); print a[1]; exit}')
	[ -n "$address" ]
	run talk "$address" "$port" < /dev/null
	[ "$status" -ne 0 ]
	has "$output" "refused"
	run in_box web 'curl -sf --max-time 5 "http://host.docker.internal:$1"' "$port"
	[ "$status" -ne 0 ]
}

@test "publications come back with the sandbox; a port taken meanwhile is said and the rest works" {
	local port taken server
	port=$(host_port 5000) taken=$(host_port 6000)
	pd stop web
	has "$(pd ports web)" "127.0.0.1:$port->5000/tcp4  stopped"
	run talk 127.0.0.1 "$port" < /dev/null
	[ "$status" -ne 0 ]
	python3 -c 'import socket, sys, time
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
s.accept()' "$taken" > "$E2E/taken" 3>&- &
	server=$!
	wait_until 20 grep -q up "$E2E/taken"
	run pd exec web true
	has "$output" "host port $taken is taken"
	kill "$server"
	has "$(pd ports web)" "127.0.0.1:$port->5000/tcp4"
	pd exec -d web python3 serve.py
	wait_until 60 says_all "$port"
}

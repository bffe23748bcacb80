# users: user; with PADDOCK_E2E_ALL: root
# TLS that is looked into, in a real guest: rules with methods and paths over HTTPS, the page that says a
# denial, the sandbox's own authority. Servers on the host's loopback stand for the world.
# PADDOCK_JAVA=1 adds a Java of Debian's packages (minutes, most of them downloads) and needs a javac on the host;
# docker.bats has Java in containers.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin intercept
	mkdir -p "$E2E/ws/app" "$E2E/web/secret"
	echo 'from the web' > "$E2E/web/page"
	echo 'nobody shall read it' > "$E2E/web/secret/page"
	make_ca files.test plain.test h2.test h2plain.test
	serve tls --dir "$E2E/web" --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key"
	# An origin that speaks HTTP/2, of the package nghttp2-server.
	serve_command h2 nghttpd -a 127.0.0.1 -d "$E2E/web" PORT "$E2E/ca/leaf.key" "$E2E/ca/leaf.pem"
	make_box tls --network locked --resolve "files.test:443:127.0.0.1:$tls_port" \
		--resolve "plain.test:443:127.0.0.1:$tls_port" \
		--resolve "h2.test:443:127.0.0.1:$h2_port" --resolve "h2plain.test:443:127.0.0.1:$h2_port" "$E2E/ws/app"
	pd network deny tls files.test --method POST
	pd network deny tls files.test --path '/secret/**'
	pd network deny tls h2.test --path '/secret/**'
}

teardown_file() {
	e2e_end
}

# what CURL_ARGS: the status, then the body.
what() {
	in_box tls 'curl -sS -m 30 -w "%{http_code} " -o /tmp/body "$@"; cat /tmp/body' "$@"
}

issuer() {
	in_box tls 'curl -sS -m 30 -v -o /dev/null "$1" 2>&1 | grep -i "issuer:"' "$1"
}

fetch_by_java() {
	in_box java 'java Fetch https://files.test/page'
} 2>/dev/null

# Its list of authorities is its own: from the kit, and where it is installed later.
java() {
	printf 'name: java\npackages: [default-jre-headless]\ncommand: [sh]\n' > "$E2E/java.yaml"
	cat > "$E2E/Fetch.java" <<-'JAVA'
		import java.net.URI;
		import java.net.http.*;
		class Fetch {
		    public static void main(String[] words) throws Exception {
		        HttpRequest q = HttpRequest.newBuilder(URI.create(words[0])).build();
		        System.out.print(HttpClient.newHttpClient().send(q, HttpResponse.BodyHandlers.ofString()).body());
		    }
		}
	JAVA
	# To compile takes an emulated machine longer than all the rest.
	javac -d "$E2E/ws/app" "$E2E/Fetch.java"
	PD_LIMIT=1800 pd create -q --name java --allow-network files.test --resolve "files.test:443:127.0.0.1:$tls_port" \
		"$E2E/java.yaml" "$E2E/ws/app" >/dev/null
	pd network deny java files.test --method POST
	# The list is made in the background after the start.
	wait_until 300 fetch_by_java
	equal "$(fetch_by_java)" "from the web"
	# The control: with a list of others it does not. (With one that is not there or no file, Java takes its own.)
	keytool -importcert -noprompt -storetype JKS -keystore "$E2E/ws/app/others" -storepass changeit -file "$E2E/ca/ca.pem"
	run in_box java 'java -Djavax.net.ssl.trustStore=others Fetch https://files.test/page'
	[ "$status" -ne 0 ]
	has "$output" "PKIX path building failed"
	# What the package does when it comes into a sandbox.
	in_box_root java 'rm /etc/ssl/certs/java/cacerts; dpkg-trigger --no-await update-ca-certificates-java-fresh
		dpkg --triggers-only --pending' >/dev/null
	equal "$(fetch_by_java)" "from the web"
	pd rm -f java >/dev/null
}

@test "methods and paths decide over HTTPS, and every client trusts what it sees" {
	equal "$(what https://files.test/page)" "200 from the web"
	local before
	before=$(wc -l < "$E2E/tls.log")
	run what -d x https://files.test/echo
	has "$output" "403 "
	has "$output" "paddock network allow tls files.test"
	run what https://files.test/secret/page
	has "$output" "403 "
	run what --path-as-is https://files.test/x/../secret/page
	has "$output" "403 "
	equal "$(wc -l < "$E2E/tls.log")" "$before"
	equal "$(in_box tls 'python3 -c "
import urllib.request
print(urllib.request.urlopen(\"https://files.test/page\", timeout=30).read().decode().strip())"')" "from the web"
	equal "$(in_box tls 'node -e "
fetch(\"https://files.test/page\").then(r => r.text()).then(t => console.log(t.trim()))"')" "from the web"
	# The one that pip brings; by itself it has a list of its own.
	equal "$(in_box tls 'python3 -c "
from pip._vendor import requests
print(requests.get(\"https://files.test/page\", timeout=30).text.strip())"')" "from the web"
	equal "$(in_box_root tls 'wget -qO - https://files.test/page')" "from the web"
	equal "$(in_box tls 'curl -sS -m 60 https://files.test/bytes/3000000 | wc -c')" 3000000
	if [ -n "${PADDOCK_JAVA:-}" ]; then java; fi
}

@test "HTTP/2 on both sides, many requests in one connection, each of them judged" {
	local all
	equal "$(in_box tls 'curl -sS -m 30 -w "%{http_version}" https://h2.test/page')" "from the web
2"
	head -c 5000000 /dev/zero > "$E2E/web/large"
	all=$(in_box tls 'curl -sS -m 60 --parallel -o /tmp/a -o /tmp/b -o /tmp/c -w "%{http_version} %{http_code} %{size_download}\n" \
		https://h2.test/large https://h2.test/secret/page https://h2.test/large' | sort)
	equal "$(cut -d" " -f1,2 <<< "$all")" "2 200
2 200
2 403"
	equal "$(grep -c "^2 200 5000000$" <<< "$all")" 2
	has "$(in_box tls 'cat /tmp/b')" "Blocked by the network policy of sandbox tls"
}

@test "only what a rule needs is looked into" {
	has "$(issuer https://files.test/page)" "Paddock sandbox tls"
	has "$(issuer https://plain.test/page)" "A company that looks into TLS"
	equal "$(what https://plain.test/secret/page)" "200 nobody shall read it"
	# HTTP/2 that is not looked into.
	has "$(issuer https://h2plain.test/page)" "A company that looks into TLS"
	equal "$(in_box tls 'curl -sS -m 30 -w "%{http_version}" https://h2plain.test/page')" "from the web
2"
}

@test "git clones over it" {
	git init -q --bare "$E2E/web/repo.git"
	git clone -q "$E2E/web/repo.git" "$E2E/web/work" 2>/dev/null
	(cd "$E2E/web/work" && echo x > x && git add x && git commit -qm first && git push -q origin HEAD:main)
	git -C "$E2E/web/repo.git" update-server-info
	in_box tls 'git clone -q https://files.test/repo.git clone && cd clone && git log --format=%s' > "$E2E/tmp/log"
	equal "$(cat "$E2E/tmp/log")" first
	rm "$E2E/tmp/log"
}

@test "a WebSocket passes where its request may" {
	equal "$(in_box tls 'python3 - <<PY
import socket, ssl
s = ssl.create_default_context().wrap_socket(socket.create_connection(("files.test", 443), 30), server_hostname="files.test")
s.sendall(b"GET /ws HTTP/1.1\r\nHost: files.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
head = b""
while b"\r\n\r\n" not in head: head += s.recv(1)
s.sendall(b"there and back")
got = b""
while len(got) < 14: got += s.recv(14)
print(head.split()[1].decode(), got.decode())
PY')" "101 there and back"
	equal "$(in_box tls 'node --experimental-websocket -e "
const s = new WebSocket(\"wss://files.test/ws\");
s.onopen = () => s.send(\"a message\");
s.onmessage = m => { console.log(m.data); s.close(); };
s.onerror = e => { console.log(e.message); process.exit(1); };"')" "a message"
}

@test "a denied host says so inside of TLS, in text and in JSON, also through CONNECT" {
	run what https://denied.test/x
	has "$output" "403 Blocked by the network policy of sandbox tls: denied.test:443"
	has "$output" "paddock network allow tls denied.test:443"
	run what -H 'Accept: application/json' https://denied.test/x
	has "$output" '"error":"blocked"'
	# A client that believes nobody learns it, too, and at once.
	run in_box tls 'curl -sS -m 20 --cacert /dev/null https://denied.test/'
	[ "$status" != 0 ] && [ "$status" != 28 ]
}

@test "the log has the requests, with method and path" {
	what https://files.test/page?q=do-not-log
	logged() {
		pd network log tls --json | jq -se 'any(.[]; .type == "http" and .host == "files.test" and
			.port == 443 and .method == "GET" and .path == "/page")' >/dev/null
	}
	wait_until 20 logged
	lacks "$(pd network log tls --json)" do-not-log
}

@test "the signer or the net role is killed: the next connection works, and the same rules decide" {
	local old role
	works() { [ "$(what https://files.test/page)" = "200 from the web" ]; }
	for role in signer net; do
		old=$(role_pid tls "$role")
		kill_hard "$old"
		wait_until 60 works
		[ "$(role_pid tls "$role")" != "$old" ]
		run what https://files.test/secret/page
		has "$output" "403 "
	done
}

@test "the authority stays through a restart, and its key out of the guest and unreadable" {
	local before key file=$E2E/data/paddock/sandboxes/tls/ca.pem
	before=$(issuer https://files.test/page)
	equal "$(stat -c %a "$file")" 600
	key=$(grep -A1 'BEGIN PRIVATE KEY' "$file" | tail -n 1)
	[ -n "$key" ]
	pd stop tls
	equal "$(issuer https://files.test/page)" "$before"
	equal "$(in_box_root tls 'grep -rlF "$1" /etc /usr/local /run /tmp /root 2>/dev/null | wc -l' "$key")" 0
	# Control: what is looked for would be found.
	[ "$(in_box_root tls 'echo "$1" > /root/control; grep -rlF "$1" /etc /root | wc -l' "$key")" = 1 ]
}

@test "a bypass rule keeps TLS closed, and what then cannot be seen is denied" {
	pd network proxy tls --bypass-host files.test --bypass-host plain.test
	run in_box tls 'curl -sS -m 30 https://files.test/page'
	[ "$status" != 0 ] && [ "$status" != 28 ]
	has "$(pd network log tls --blocked)" "bypass"
	run pd network check tls https://files.test/page
	equal "$status" 1
	has "$output" "a bypass rule keeps them from being seen"
	# Control: where no rule needs requests it just passes.
	equal "$(what https://plain.test/page)" "200 from the web"
	run pd network check tls https://h2.test/page
	has "$output" "its TLS is looked into"
}

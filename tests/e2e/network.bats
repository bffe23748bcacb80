# users: user; with PADDOCK_E2E_ALL: root
# The policy: rules, presets, change while it runs, what stays. Two kinds of destination are at
# hand: names that --resolve gives to a server on the host (allowed until a rule denies them), and
# that server as the host's own service, host.docker.internal (denied until a rule allows it).
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin network
	export XDG_CONFIG_HOME=$E2E/config
	mkdir "$E2E/ws/app" "$E2E/web"
	echo 'from the web' > "$E2E/web/page"
	make_ca files.test
	serve web --dir "$E2E/web"
	serve tls --dir "$E2E/web" --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key"
	make_box pol --resolve "files.test:80:127.0.0.1:$web_port" \
		--resolve "files.test:443:127.0.0.1:$tls_port" \
		--resolve "kept.test:80:127.0.0.1:$web_port" "$E2E/ws/app"
	cat > "$E2E/ws/app/hold.py" <<-'PY'
		# hold.py NAME HOST: holds a connection; on NAME.ask it asks for the page on it. Its story is in NAME.
		import os, select, socket, sys
		name, host = sys.argv[1:]
		def tell(word):
		    with open(name + ".new", "w") as f: f.write(word)
		    os.rename(name + ".new", name)
		s = socket.create_connection((host, 80), 20)
		def page():
		    s.sendall(f"GET /page HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
		    got = b""
		    while b"from the web" not in got and (more := s.recv(1000)): got += more
		    return b" 200 " in got
		page()
		tell("open")
		while not os.path.exists(name + ".ask"):
		    if select.select([s], [], [], 0.1)[0]:
		        try: s.recv(1)
		        except ConnectionResetError: tell("reset")
		        else: tell("ended")
		        sys.exit()
		tell("answered" if page() else "silent")
	PY
}

teardown_file() {
	e2e_end
}

# fetch URL [CURL-ARGS...]: the page, or "refused at once" (a reset, or a page that says so); anything
# else is what curl says.
fetch() {
	in_box pol 'start=$SECONDS; out=$(curl -sSf -m 20 "$@" 2>&1) && echo "$out" && exit; code=$?
		((SECONDS - start < 15)) && [[ $code =~ ^(7|22|35|52|55|56)$ ]] && echo "refused at once" || echo "$code: $out"' "$@"
}

gets() {
	equal "$(fetch "$@")" "from the web"
}

refused() {
	equal "$(fetch "$@")" "refused at once"
}

allowed_is() {
	run --separate-stderr pd network check pol "$1"
	equal "${lines[0]}" "$2"
}

net_restarted() {
	local now
	now=$(role_pid pol net)
	[ -n "$now" ] && [ "$now" != "$1" ]
}

holds() {
	[ "$(cat "$E2E/ws/app/$1" 2>/dev/null)" = "$2" ]
}

host_page() {
	echo "http://host.docker.internal:$web_port/page"
}

@test "balanced is the default: registries, code hosts and agents, and what --resolve names" {
	equal "$(pd network ls pol --json | jq -r .preset)" balanced
	allowed_is https://x.npmjs.org/pkg "Allowed: x.npmjs.org:443"
	allowed_is ssh://git@github.com "Allowed: github.com:22"
	allowed_is https://api.anthropic.com/v1 "Allowed: api.anthropic.com:443"
	allowed_is https://evil.test "Denied: evil.test:443"
	allowed_is 203.0.113.9:22 "Denied: 203.0.113.9:22"
	has "$output" "paddock network allow pol 203.0.113.9:22"
	allowed_is http://files.test/page "Allowed: files.test:80"
	gets http://files.test/page
	gets https://files.test/page
	# What it says of these is what happens to them.
	refused http://evil.test/
	refused http://203.0.113.9/
	refused "$(host_page)"
}

@test "a rule is obeyed by the next connection: allowed, taken away, denied" {
	refused "$(host_page)"
	equal "$(pd network allow pol "localhost:$web_port")" "allow localhost:$web_port"
	gets "$(host_page)"
	gets "http://gateway.docker.internal:$web_port/page"
	# That port and no other; and no other name for it.
	refused "https://host.docker.internal:$tls_port/page" -k
	refused "http://127.0.0.1.evil.test:$web_port/page"
	equal "$(pd network rm pol "localhost:$web_port")" "allow localhost:$web_port"
	refused "$(host_page)"
	pd network deny pol files.test:80
	refused http://files.test/page
	gets https://files.test/page
	pd network rm pol files.test:80
	gets http://files.test/page
}

@test "no preset and no star opens the host or what is not the Internet" {
	pd network proxy pol --policy allow --allow-host '*' --allow-host '*:80'
	equal "$(pd network ls pol --json | jq -r .default)" allow
	refused "$(host_page)"
	refused http://10.0.0.1/
	refused http://169.254.169.254/latest/meta-data/
	run pd network check pol http://169.254.169.254/
	equal "$status" 1
	has "$output" "metadata address"
	pd network rm pol '*' '*:80'
	pd network proxy pol --policy balanced
	refused http://evil.test/
	gets http://files.test/page
}

@test "a destination is what was connected to, not what is said about it" {
	# A13, B1: an allowed name at an address of one's own choice.
	refused http://files.test/page --resolve files.test:80:203.0.113.9
	refused https://files.test/page --resolve files.test:443:203.0.113.9
	in_box_root pol 'echo "203.0.113.9 files.test" >> /etc/hosts'
	refused http://files.test/page
	in_box_root pol 'sed "/203.0.113.9/d" /etc/hosts > /tmp/hosts && cat /tmp/hosts > /etc/hosts'
	gets http://files.test/page
	# D1: no variable sends it anywhere else.
	gets http://files.test/page --noproxy '*'
	refused http://evil.test/ --noproxy '*'
}

@test "tightened while a connection is open: it is cut, others go on" {
	local name
	for name in cut kept; do
		pd exec -d pol python3 hold.py "$name" "$([ "$name" = cut ] && echo files.test || echo kept.test)" >/dev/null
	done
	wait_until 30 holds cut open
	wait_until 30 holds kept open
	pd network deny pol files.test
	wait_until 10 holds cut reset
	refused http://files.test/page
	touch "$E2E/ws/app/kept.ask"
	wait_until 20 holds kept answered
	pd network rm pol files.test
	gets http://files.test/page
}

@test "what stays: over a new net role, stop and start, and death" {
	local before
	pd network deny pol files.test:80
	before=$(role_pid pol net)
	kill_hard "$before"
	wait_until 20 net_restarted "$before"
	refused http://files.test/page
	gets https://files.test/page
	# One that does not answer any more does not keep the rules of before.
	before=$(role_pid pol net)
	kill -STOP "$before"
	pd network deny pol files.test:443
	wait_until 20 net_restarted "$before"
	refused https://files.test/page
	pd network rm pol files.test:443
	gets https://files.test/page
	before=$(pd network ls pol --json)
	pd stop pol
	# A stopped one is changed as well.
	pd network allow pol "localhost:$web_port"
	gets "$(host_page)"
	refused http://files.test/page
	kill_hard "$(role_pid pol supervisor)"
	wait_until 30 box_is pol stopped
	refused http://files.test/page
	gets "$(host_page)"
	pd network rm pol "localhost:$web_port"
	equal "$(pd network ls pol --json)" "$before"
	pd network rm pol files.test:80
	gets http://files.test/page
}

# Whatever of the caller's could be meant to weaken something: set to that, or empty.
weakened() {
	http_proxy=http://127.0.0.1:$web_port HTTP_PROXY=http://127.0.0.1:$web_port ALL_PROXY=http://127.0.0.1:$web_port \
		no_proxy='*' NO_PROXY='*' PADDOCK_NETWORK=open PADDOCK_POLICY=open NODE_EXTRA_CA_CERTS='' \
		HOSTALIASES='' RES_OPTIONS='' LD_LIBRARY_PATH='' TERM='' LANG='' pd "$@"
}

# L7, L8: the policy is the sandbox's, whoever comes in, and whatever his environment says.
@test "no way in goes around it, and no variable of the caller's weakens it" {
	cat > "$E2E/ws/app/both.sh" <<-'SH'
		for url in http://files.test/page https://files.test/page; do
			curl -sS -m 20 -o /dev/null -w '%{http_code} ' "$url"
		done
	SH
	pd network deny pol files.test:80
	pd stop pol # the first of them starts it
	equal "$(weakened exec -q pol sh both.sh)" "403 200 "
	equal "$(weakened exec -q -u root pol sh both.sh)" "403 200 "
	equal "$(weakened exec -q -t pol sh both.sh)" "403 200 "
	equal "$(weakened run -q --name pol -- -c 'sh both.sh')" "403 200 "
	weakened exec -d pol sh -c 'sh both.sh > both.new; mv both.new both.out' >/dev/null
	wait_until 30 holds both.out "403 200 "
	pd stop pol
	equal "$(weakened run -q --name pol -- -c 'sh both.sh')" "403 200 "
	pd network rm pol files.test:80
	gets http://files.test/page
}

@test "a policy that cannot be read: nothing is allowed, and the line is told" {
	local file=$E2E/data/paddock/sandboxes/pol/policy.json
	cp "$file" "$E2E/tmp/policy"
	printf '{\n"version": 1,\n"preset": open\n}\n' > "$file"
	run --separate-stderr pd network allow pol a.test
	equal "$status" 2
	has "$stderr" "line 3"
	pd stop pol
	run --separate-stderr pd run -d --name pol
	equal "$status" 0
	has "$stderr" "nothing is allowed on the network"
	has "$stderr" "line 3"
	refused http://evil.npmjs.org/
	sed -i 's/"version":1/"version": 2/; s/"version": 1/"version": 2/' "$E2E/tmp/policy"
	cp "$E2E/tmp/policy" "$file"
	run --separate-stderr pd network proxy pol --policy allow
	has "$stderr" "use a newer paddock"
	equal "$(jq .version "$file")" 2
	sed -i 's/"version": 2/"version": 1/' "$file"
	rm "$E2E/tmp/policy"
	pd network allow pol "localhost:$web_port"
	gets "$(host_page)"
	pd network rm pol "localhost:$web_port"
}

@test "rules in words: listed, replaced, removed, refused" {
	local words
	pd network proxy pol --policy deny --allow-host '*.example.com' --allow-host 'Bücher.example:443' \
		--block-cidr 192.0.2.0/24 --bypass-host pinned.test
	equal "$(pd network ls pol --json | jq -c '[.preset] + [.rules[] | select(.from == "sandbox") | .decision + " " + .resource]')" \
		'["locked","allow *.example.com","allow xn--bcher-kva.example:443","deny 192.0.2.0/24","bypass pinned.test"]'
	has "$(pd network ls pol)" "xn--bcher-kva.example:443"
	allowed_is https://bücher.example/ "Allowed: xn--bcher-kva.example:443"
	allowed_is https://WWW.Example.COM./ "Allowed: www.example.com:443"
	allowed_is https://example.com/ "Denied: example.com:443"
	# B8: letters that look alike are others.
	allowed_is https://www.ехample.com/ "Denied: www.xn--ample-ywe6i.com:443"
	pd network allow pol api.test --method GET,HEAD --path '/v1/**'
	allowed_is https://api.test/v1/x?y "Allowed: api.test:443"
	allowed_is https://api.test/v2/x "Denied: api.test:443"
	allowed_is https://api.test/v1/../v2 "Denied: api.test:443"
	run pd network check pol https://api.test/v1/x --method DELETE
	equal "$status" 1
	allowed_is api.test:443 "Depends on the request: api.test:443"
	equal "$(pd network check pol https://api.test/v1/x --json | jq -r '.decision + " " + .rule')" \
		"allowed api.test --method GET,HEAD --path /v1/**"
	equal "$(pd network rm pol api.test)" "allow api.test --method GET,HEAD --path /v1/**"
	pd network allow pol '*.github.com'
	equal "$(pd network deny pol '*.github.com')" "deny *.github.com"
	equal "$(pd network ls pol --json | jq '[.rules[] | select(.resource == "*.github.com")] | length')" 1
	pd network proxy pol --policy balanced
	allowed_is api.github.com "Denied: api.github.com:443"
	pd network rm pol '*.github.com'
	allowed_is api.github.com "Allowed: api.github.com:443"
	run --separate-stderr pd network rm pol '*.github.com'
	fails_with 125 "is a rule of the preset balanced: paddock network deny pol '*.github.com' closes it"
	while IFS='|' read -r words text; do
		# shellcheck disable=SC2086
		run --separate-stderr pd network $words
		fails_with 2 "$text" || { echo "network $words" >&2; return 1; }
	done <<-'CASES'
		allow pol a.test:65536|a port is a number from 1 to 65535
		allow pol a.test:4294967739|a port is a number from 1 to 65535
		allow pol a.test:53/udp|DNS is answered by the sandbox itself
		allow pol a.test/udp|UDP is opened for one port
		allow pol localhost|opened by its port: localhost:8080
		allow pol host.docker.internal:80|named localhost:PORT
		allow pol a.*.test|a star stands alone
		allow pol https://a.test/|write the host alone
		allow pol 10.0.0.0/8 --method GET|methods and paths go with host names
		deny pol a.test --path /a/../b|a path pattern begins with '/'
	CASES
	run --separate-stderr pd network rm pol nothing.test
	fails_with 125 "no rule 'nothing.test': see paddock network ls pol"
}

@test "new sandboxes: the user's default, --network, and rules at the start" {
	equal "$(pd network default --json | jq -r .preset)" balanced
	pd network default locked --allow-host first.test
	mkdir -p "$E2E/ws/new"
	run --separate-stderr pd create -q --network wide --name new shell "$E2E/ws/new"
	fails_with 2 "--network 'wide': write open, balanced or locked"
	make_box new --deny-network second.test --allow-network "localhost:$web_port" "$E2E/ws/new"
	pd network default --reset
	equal "$(pd network ls new --json | jq -c '[.preset] + [.rules[] | .decision + " " + .resource]')" \
		"[\"locked\",\"allow first.test\",\"deny second.test\",\"allow localhost:$web_port\"]"
	equal "$(in_box new 'curl -sS -m 20 "$1"' "$(host_page)")" "from the web"
	# Entered again with other words, it has them from then on.
	equal "$(pd run -q --name new --network open -- -c 'echo in')" in
	equal "$(pd network ls new --json | jq -r .preset)" open
	pd rm -f new
	# Two commands at once both count.
	local i
	for i in 1 2 3 4 5 6; do pd network allow pol "h$i.test" >/dev/null & done
	wait
	equal "$(pd network ls pol --json | jq '[.rules[] | select(.resource | test("^h[1-6].test$"))] | length')" 6
}

# users: user; with PADDOCK_E2E_ALL: root
# The sandbox's own Docker: starts at first use, builds, runs, pulls, keeps. No host Docker involved.
# PADDOCK_JAVA=1 adds images with a Java, which a JDK on the host makes (jlink, javac, keytool).
# shellcheck disable=SC2154,SC2016,SC2030,SC2031

load lib

# The longest steps here take half a minute where there is no KVM.
export PD_LIMIT=300

# A registry with one image, of which the config and the layer are made here.
make_registry() {
	local dir=$E2E/registry blobs=$E2E/registry/blobs layer diff config manifest
	mkdir -p "$blobs" "$dir/tiny" "$E2E/layer"
	put() { # FILE: stores it, prints sha256-HEX
		local sum
		sum=$(sha256sum < "$1" | cut -d' ' -f1)
		cp "$1" "$blobs/sha256-$sum"
		echo "sha256-$sum"
	}
	cp "$(command -v busybox)" "$E2E/layer/busybox"
	echo 'pulled over the network' > "$E2E/layer/hello"
	tar -C "$E2E/layer" --owner=0 --group=0 -cf "$E2E/layer.tar" busybox hello
	diff=sha256:$(sha256sum < "$E2E/layer.tar" | cut -d' ' -f1)
	gzip -n "$E2E/layer.tar"
	layer=$(put "$E2E/layer.tar.gz")
	printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["/busybox","cat","/hello"]},"rootfs":{"type":"layers","diff_ids":["%s"]}}' \
		"$diff" > "$E2E/config.json"
	config=$(put "$E2E/config.json")
	printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":%s}]}' \
		"${config/-/:}" "$(stat -c %s "$E2E/config.json")" \
		"${layer/-/:}" "$(stat -c %s "$E2E/layer.tar.gz")" > "$E2E/manifest.json"
	manifest=$(put "$E2E/manifest.json")
	echo "$manifest" > "$dir/tiny/latest"
}

# A registry that takes images, too, of the package docker-registry.
serve_hub() {
	cat > "$E2E/hub.sh" <<-'SH'
		cat > "$E2E/hub.yml" <<YML
		version: 0.1
		log: {level: error, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $E2E/hub}}
		http: {addr: "127.0.0.1:$1", tls: {certificate: $E2E/ca/leaf.pem, key: $E2E/ca/leaf.key}}
		YML
		exec docker-registry serve "$E2E/hub.yml"
	SH
	serve_command hub sh "$E2E/hub.sh" PORT
}

setup_file() {
	e2e_begin docker
	mkdir "$E2E/ws/app" "$E2E/web"
	echo 'from the web' > "$E2E/web/page"
	make_ca files.test registry.test hub.test
	serve web --dir "$E2E/web"
	serve reg --registry "$E2E/registry" --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key"
	serve_hub
	make_box dock "$E2E/ws/app" --resolve "files.test:80:127.0.0.1:$web_port" \
		--resolve "registry.test:443:127.0.0.1:$reg_port" --resolve "hub.test:443:127.0.0.1:$hub_port" \
		--resolve "registry-1.docker.io:443:127.0.0.1:$reg_port"
	# So TLS to it is looked into.
	pd network deny dock hub.test --method DELETE
	make_registry
	# A root file system of one program, in the workspace.
	mkdir -p "$E2E/ws/app/root/bin" "$E2E/ws/app/root/etc" "$E2E/ws/app/root/tmp"
	cp "$E2E/layer/busybox" "$E2E/ws/app/root/bin/"
	local tool
	for tool in sh cat echo wget date nc chroot; do
		ln -s busybox "$E2E/ws/app/root/bin/$tool"
	done
}

teardown_file() {
	e2e_end
}

@test "the daemon is not there until it is used, and then answers, also where it fails at first" {
	equal "$(in_box_root dock 'pgrep -c dockerd || :')" 0
	in_box_root dock 'mv /usr/sbin/dockerd /usr/sbin/dockerd.real; install -m 0755 /dev/stdin /usr/sbin/dockerd <<-"SH"
		#!/bin/sh
		echo x >> /run/starts
		[ "$(wc -l < /run/starts)" -gt 3 ] || exit 1
		exec /usr/sbin/dockerd.real "$@"
	SH'
	# A client waits for two starts, and does not hang when the second one fails as well.
	run in_box dock 'curl -sS --unix-socket /run/docker.sock http://docker/_ping'
	has "$output" "curl: ("
	equal "$(in_box_root dock 'wc -l < /run/starts')" 2
	equal "$(in_box dock 'curl -sS --unix-socket /run/docker.sock http://docker/_ping')" OK
	equal "$(in_box_root dock 'wc -l < /run/starts; mv /usr/sbin/dockerd.real /usr/sbin/dockerd')" 4
	has "$(in_box dock 'docker ps')" "CONTAINER ID"
	equal "$(in_box_root dock 'pgrep -c dockerd; pgrep -xc containerd')" $'1\n1'
	# It is no host's: nothing outside listens for it, and it knows this machine alone.
	equal "$(in_box dock 'docker info --format "{{.Driver}} {{.CgroupVersion}} {{.Name}}"')" "overlay2 2 dock"
}

@test "docker import, docker run: output, exit status, standard input" {
	in_box dock 'tar -C root -c . | docker import - box >/dev/null && docker images --format "{{.Repository}}"'
	equal "$(in_box dock 'docker run --rm box echo from a container')" "from a container"
	run in_box dock 'docker run --rm box sh -c "exit 17"'
	equal "$status" 17
	equal "$(pd exec -i dock docker run --rm -i box cat <<< 'through and through')" "through and through"
}

# An old QEMU that emulates does not bear that the kernel patches what another processor runs: the guest panicked
# within seconds where there was traffic. The stacks are of those who have it do so.
@test "netfilter, device programs and CPU quotas: the kernel was patched for them at the boot, and is not now" {
	local stacks
	stacks=$(in_box_root dock 'mount -t tracefs tracefs /sys/kernel/tracing && cd /sys/kernel/tracing &&
		echo "p:patched __jump_label_update" > kprobe_events && echo 1 > options/stacktrace &&
		echo 1 > events/kprobes/patched/enable &&
		unshare -n iptables -A FORWARD -j ACCEPT && unshare -n ip6tables -t nat -A POSTROUTING -j ACCEPT &&
		docker run --rm --cpus 0.5 box echo run >&2 &&
		sysctl -qw kernel.bpf_stats_enabled=1 && sysctl -qw kernel.bpf_stats_enabled=0 &&
		echo 0 > events/kprobes/patched/enable && cat trace')
	has "$stacks" bpf_stats_handler # control: a key that is switched now, of code that nobody runs
	lacks "$stacks" nf_register_net_hook
	lacks "$stacks" cgroup_bpf
	lacks "$stacks" cfs_bandwidth
}

@test "docker run with the workspace: files come out as the host's user's" {
	in_box dock 'docker run --rm -v "$PWD:/w" box sh -c "echo made > /w/by-container; cat /w/by-container"'
	equal "$(cat "$E2E/ws/app/by-container")" made
	equal "$(stat -c %u "$E2E/ws/app/by-container")" "$(id -u)"
}

@test "docker build" {
	printf 'FROM box\nCOPY word /word\nRUN cat /word > /twice && cat /word >> /twice\nCMD ["cat","/twice"]\n' \
		> "$E2E/ws/app/Dockerfile"
	echo word > "$E2E/ws/app/word"
	echo root > "$E2E/ws/app/.dockerignore"
	in_box dock 'docker build -q -t built . >/dev/null'
	equal "$(in_box dock 'docker run --rm built')" $'word\nword'
}

@test "K8: an image that the disk has no room for is refused as such; the machine and its Docker go on" {
	printf 'FROM box\nRUN busybox dd if=/dev/zero of=/big bs=1M count=400\n' > "$E2E/ws/app/Dockerfile.big"
	run in_box_root dock 'fallocate -l $(($(stat -f -c "%f * %S" /) - 150000000)) /var/full
		docker build --progress plain -f Dockerfile.big . || docker run --rm built
		rm /var/full'
	has "${output,,}" "no space left on device"
	has "$output" $'word\nword'
	# The control: with room for it, it is built.
	sed -i 's/count=400/count=1/' "$E2E/ws/app/Dockerfile.big"
	in_box dock 'docker build -q -f Dockerfile.big -t big . >/dev/null && docker rmi big >/dev/null'
}

@test "containers reach the network by name, and in builds" {
	equal "$(in_box dock 'docker run --rm box wget -q -O - http://files.test/page')" "from the web"
	printf 'FROM box\nRUN wget -q -O /got http://files.test/page\nCMD ["cat","/got"]\n' \
		> "$E2E/ws/app/Dockerfile.net"
	in_box dock 'docker build -q -f Dockerfile.net -t net . >/dev/null'
	equal "$(in_box dock 'docker run --rm net')" "from the web"
}

@test "what is refused outside is refused in a container, at once, on every network" {
	local network hits
	hits=$(grep -c page "$E2E/web.log")
	for network in bridge host; do
		equal "$(in_box dock 'docker run --rm --network "$1" box sh -c "
			for where in 10.0.0.1 192.168.1.1 169.254.169.254 198.18.0.1:$2; do
				start=\$(date +%s)
				wget -q -T 15 -O - http://\$where/page 2>/dev/null && echo \$where answered
				[ \$((\$(date +%s) - start)) -lt 8 ] || echo \$where late
			done
			wget -q -O - http://files.test/page"' "$network" "$web_port")" "from the web" # control
	done
	equal "$(grep -c page "$E2E/web.log")" $((hits + 2))
}

@test "docker pull, by TLS from a registry whose authority the host trusts" {
	in_box dock 'docker pull -q registry.test/tiny'
	equal "$(in_box dock 'docker run --rm registry.test/tiny')" "pulled over the network"
	has "$(cat "$E2E/reg.log")" "HEAD /v2/tiny/manifests/latest docker/"
}

@test "push, pull and build with a registry whose TLS is looked into: the daemon trusts the sandbox's authority" {
	in_box dock 'docker tag box hub.test/team/box && docker push -q hub.test/team/box && docker rmi hub.test/team/box' >/dev/null
	equal "$(in_box dock 'docker run --rm -q hub.test/team/box echo pulled')" pulled
	printf 'FROM hub.test/team/box\nRUN echo built > /built\nCMD ["cat","/built"]\n' > "$E2E/ws/app/Dockerfile.hub"
	in_box dock 'docker build -q --pull -f Dockerfile.hub -t hub . >/dev/null && docker run --rm hub'  > "$E2E/tmp/hub"
	equal "$(cat "$E2E/tmp/hub")" built
	rm "$E2E/tmp/hub"
	# It was looked into: requests are in the log, and the one that a rule denies did not get there.
	equal "$(pd network log dock --json | jq -s 'any(.[]; .type == "http" and .host == "hub.test" and .method == "PUT")')" true
	has "$(in_box dock 'curl -sS -m 60 -X DELETE https://hub.test/v2/team/box/manifests/latest')" "Blocked by"
	equal "$(in_box dock 'curl -sS -m 60 -o /dev/null -w "%{http_code}" https://hub.test/v2/team/box/manifests/latest')" 200
}

AUTHORITY=/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt

# An image of these programs and their libraries, with one authority of the world's.
make_image() {
	local name=$1
	shift
	in_box dock 'AUTHORITY=$1; name=$2; shift 2; files=$(which "$@") &&
		tar -chP $files "$AUTHORITY" $(ldd $files | grep -o "/[^ :]*" | sort -u | grep "\.so") |
		docker import - "$name" >/dev/null' "$AUTHORITY" "$name" "$@"
}

@test "containers of unchanged images trust it, run and in builds, and images stay unchanged" {
	make_image tools curl wget sleep
	equal "$(in_box dock 'docker run --rm tools curl -sS -m 60 https://hub.test/v2/')" "{}"
	equal "$(in_box dock 'docker run --rm --user 1234 --read-only tools wget -q -T 60 -O - https://hub.test/v2/')" "{}"
	# Control: they do look at certificates, and what the caller sets stays.
	run in_box dock 'docker run --rm -e CURL_CA_BUNDLE="$1" tools curl -sS -m 60 https://hub.test/v2/' "$AUTHORITY"
	has "$output" "curl: (60)"
	run in_box dock 'docker run --rm -e SYSTEM_WGETRC=/dev/null tools wget -T 60 -O - https://hub.test/v2/'
	has "$output" "not trusted"
	in_box dock 'docker run -d --name long tools sleep 600 >/dev/null'
	equal "$(in_box dock 'docker exec long curl -sS -m 60 https://hub.test/v2/')" "{}"
	in_box dock 'docker rm -f long >/dev/null'
	printf 'FROM tools\nRUN ["curl", "-sS", "-m", "60", "-o", "/got", "https://hub.test/v2/"]\n' > "$E2E/ws/app/Dockerfile.tls"
	in_box dock 'docker build -q -f Dockerfile.tls -t fetched . >/dev/null'
	# Of the layer that this made: what was fetched, and nothing of ours.
	equal "$(in_box_root dock 'cd "$(docker inspect fetched --format "{{.GraphDriver.Data.UpperDir}}")" &&
		cat got && find . -path "*paddock*" && docker inspect fetched tools --format "{{.Config.Env}}" | grep CERT')" "{}"
}

# A list of Java's (JKS) without an entry.
make_java_list() {
	python3 - "$1" <<-'PY'
		import hashlib, sys
		head = bytes.fromhex("feedfeed0000000200000000")
		digest = hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + head).digest()
		open(sys.argv[1], "wb").write(head + digest)
	PY
}

# The two last layers of an image: what is in them, and which of that has something of the sandbox's.
layers() {
	in_box_root dock 'for d in $(docker inspect "$1" --format "{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}" |
			cut -d: -f1,2 --output-delimiter=" "); do
		(cd "$d" && find . ! -type d -printf "%y %f\n" | sort && grep -rl paddock-ca . || :)
	done' "$1"
}

# An image of a Java and its libraries, with the authorities of its own JDK alone.
make_java_image() {
	local root=$E2E/java lib
	mkdir -p "$root/opt/java" "$root/tmp"
	jlink --add-modules java.base,java.net.http,jdk.crypto.ec --strip-debug --output "$root/opt/java/openjdk"
	for lib in $(find "$root/opt" -type f -exec ldd {} + 2>/dev/null | grep -o '/[^ :)]*\.so[^ :)]*' | grep -v "^$root" | sort -u); do
		install -D "$lib" "$root$lib"
	done
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
	javac -d "$root" "$E2E/Fetch.java"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -out "$root/mine.pem" -subj /CN=mine 2>/dev/null
	cp "$root/opt/java/openjdk/lib/security/cacerts" "$E2E/ws/app/cacerts"
	tar -C "$root" --owner=0 --group=0 -cf "$E2E/ws/app/java.tar" .
	in_box dock 'docker import -c "ENV PATH=/opt/java/openjdk/bin" java.tar java >/dev/null && rm java.tar'
}

# A JVM trusts it, and what keytool imports in a build is kept.
java_in_containers() {
	make_java_image
	equal "$(in_box dock 'docker run --rm java java -cp / Fetch https://hub.test/v2/')" "{}"
	# Control: with the image's own list it does not.
	run in_box dock 'docker run --rm -v "$PWD/cacerts:/opt/java/openjdk/lib/security/cacerts" java java -cp / Fetch https://hub.test/v2/'
	[ "$status" -ne 0 ]
	has "$output" "PKIX path building failed"
	cat > "$E2E/ws/app/Dockerfile.java" <<-'DOCKER'
		FROM java
		RUN ["java", "-cp", "/", "Fetch", "https://hub.test/v2/"]
		RUN ["keytool", "-importcert", "-noprompt", "-cacerts", "-storepass", "changeit", "-alias", "mine", "-file", "/mine.pem"]
	DOCKER
	in_box dock 'docker build -q -f Dockerfile.java -t imported . >/dev/null'
	in_box_root dock 'cd "$(docker inspect imported --format "{{.GraphDriver.Data.UpperDir}}")" &&
		cat opt/java/openjdk/lib/security/cacerts > "$1/cacerts"' "$E2E/ws/app"
	keytool -list -keystore "$E2E/ws/app/cacerts" -storepass changeit > "$E2E/list"
	has "$(cat "$E2E/list")" "mine, "
	lacks "$(cat "$E2E/list")" paddock-ca
}

@test "Java's list in a container has the sandbox's authority; what a container or a build step does there is its own" {
	local list=/opt/java/openjdk/lib/security builder
	make_java_list "$E2E/ws/app/cacerts"
	echo x > "$E2E/ws/app/other"
	printf 'FROM box\nCOPY cacerts other %s/\n' "$list" > "$E2E/ws/app/Dockerfile.jre"
	in_box dock 'docker build -q -f Dockerfile.jre -t jre . >/dev/null'
	run in_box dock 'docker run --rm --user 1234 --read-only jre sh -c "cat $1/cacerts; echo > $1/other"' "$list"
	has "$output" paddock-ca-1
	has "$output" "Read-only file system"
	# Controls: the image's own has it not, and what the caller mounts in its place stays.
	equal "$(in_box dock 'docker run --rm -v "$PWD/cacerts:$1/cacerts" jre cat "$1/cacerts" | cmp - cacerts && echo same' "$list")" same
	# As keytool and package managers write it: in its place, by another name, removed.
	cat > "$E2E/ws/app/Dockerfile.import" <<-DOCKER
		FROM jre
		RUN cd $list && cat cacerts > /seen && busybox cp cacerts new && busybox mv new cacerts && \
			busybox rm other && echo y > added && busybox mkdir more && echo z > more/z
		RUN echo > /touched
	DOCKER
	for builder in 1 ${PADDOCK_JAVA:+0}; do
		in_box dock 'DOCKER_BUILDKIT=$1 docker build -q --no-cache -f Dockerfile.import -t imported . >/dev/null' "$builder"
		equal "$(layers imported)" "f touched
c other
f added
f cacerts
f seen
f z
./seen"
	done
	in_box dock 'docker run --name writer jre sh -c "cd $1; cat cacerts > /seen; echo mine > cacerts"
		docker commit writer written >/dev/null; docker rm writer >/dev/null' "$list"
	equal "$(layers written)" "f cacerts
f seen
./seen
f cacerts
f other"
	equal "$(in_box dock 'docker run --rm -v "$PWD/cacerts:/x" written cat "$1/cacerts"' "$list")" mine
	equal "$(in_box_root dock 'ls /run/paddock/java')" ""
	if [ -n "${PADDOCK_JAVA:-}" ]; then java_in_containers; fi
	in_box dock 'docker rmi -f written imported jre ${1:+java} >/dev/null' "${PADDOCK_JAVA:-}"
}

# K4, K5: the guest's root at most, whose disk and daemon are the sandbox's own.
@test "a privileged container has the sandbox's machine, not the host" {
	echo 'not for guests' > "$E2E/outside"
	equal "$(in_box dock 'docker run --rm --privileged --pid host --network host -v /:/h box sh -c "
		cat /h/etc/hostname; cat /h\$1/outside 2>/dev/null; echo app > /h\$1/ws/app/by-root" sh "$1"' "$E2E")" dock
	equal "$(cat "$E2E/ws/app/by-root")" app # control: what is shared is there
	equal "$(in_box dock 'docker run --rm --privileged -v /:/h box chroot /h docker info --format "{{.Name}}"')" dock
	in_box dock 'docker run --rm --privileged -v /:/h box chroot /h cat /proc/mounts' > "$E2E/mounts"
	lacks "$(cut -d" " -f2 "$E2E/mounts" | sort -u)" "$E2E/data"
	has "$(cat "$E2E/mounts")" "$E2E/ws/app"
}

@test "published ports of a container are reached inside the sandbox" {
	in_box dock 'docker run -d --rm --name server -p 8080:80 box sh -c "while :; do echo served | nc -l -p 80; done" >/dev/null'
	wait_until 30 in_box dock 'curl -s --http0.9 -m 5 http://127.0.0.1:8080/ | grep -q served'
	in_box dock 'docker rm -f server >/dev/null'
}

@test "containerd is killed: it is started anew, and the daemon goes on with it" {
	in_box dock 'docker run -d --rm --name survivor box sh -c "nc -l -p 80" >/dev/null'
	in_box_root dock 'pkill -KILL -x containerd'
	wait_until 60 in_box dock 'docker run --rm box echo back 2>/dev/null | grep -qx back'
	equal "$(in_box dock 'docker ps --format "{{.Names}}"; docker rm -f survivor')" $'survivor\nsurvivor'
}

@test "containerd ends at each of its starts: a client is told after two of them, and does not hang" {
	in_box_root dock 'mv /usr/bin/containerd /usr/bin/containerd.real; install -m 0755 /dev/stdin /usr/bin/containerd <<-"SH"
		#!/bin/sh
		echo x >> /run/containerd-starts
		exit 3
	SH
	pkill -KILL -x containerd'
	# The daemon goes with it, and so does not wait for one that is not to come.
	wait_until 60 in_box_root dock '! pgrep -x dockerd >/dev/null'
	in_box_root dock 'rm -f /run/containerd-starts'
	run in_box dock 'curl -sS -m 50 --unix-socket /run/docker.sock http://docker/_ping'
	has "$output" "curl: (5" # 52, 56: it was closed; 28: it was not
	equal "$(in_box_root dock 'wc -l < /run/containerd-starts; mv /usr/bin/containerd.real /usr/bin/containerd')" 2
	equal "$(in_box dock 'curl -sS --unix-socket /run/docker.sock http://docker/_ping')" OK
}

@test "K7: whatever the daemon is told, a registry or mirror at the host or in its network is refused" {
	local hits where
	hits=$(wc -l < "$E2E/web.log")
	in_box_root dock 'mkdir -p /etc/docker; printf "%s" "$1" > /etc/docker/daemon.json; pkill dockerd
		while pgrep dockerd; do read -rt 0.2 <> <(:) || :; done' "$(
		jq -n --arg host "198.18.0.1:$web_port" --arg name "host.docker.internal:$web_port" \
			'{"insecure-registries": [$host, $name, "10.0.0.1:80", "169.254.169.254:80"],
			  "registry-mirrors": ["http://\($host)"]}'
	)" >/dev/null
	for where in "198.18.0.1:$web_port" "host.docker.internal:$web_port" 10.0.0.1:80 169.254.169.254:80; do
		run in_box dock 'timeout 60 docker pull -q "$1/tiny"' "$where"
		equal "$status" 1
	done
	# By way of the mirror; the hub itself is a server here that is not it.
	run in_box dock 'timeout 60 docker pull -q tiny'
	equal "$status" 1
	equal "$(wc -l < "$E2E/web.log")" "$hits"
	has "$(pd network log dock --json | jq -r '"\(.decision) \(.host):\(.port)"')" "blocked 10.0.0.1:80"
	# Control: the same daemon.
	in_box dock 'docker rmi -f registry.test/tiny; docker pull -q registry.test/tiny' >/dev/null
	equal "$(in_box dock 'docker info --format "{{.RegistryConfig.Mirrors}}"')" "[http://198.18.0.1:$web_port/]"
	in_box_root dock 'rm /etc/docker/daemon.json'
}

@test "images, stopped containers and volumes are there after stop and start" {
	in_box dock 'docker run --name kept -v vol:/v box sh -c "echo data > /v/d; echo layer > /l"'
	note_namespaces
	pd stop dock
	in_box_root dock 'pgrep -c dockerd || :' # started anew, on first use again
	equal "$(in_box dock 'docker images --format "{{.Repository}}" | sort | paste -sd" "')" \
		"box built fetched hub hub.test/team/box net registry.test/tiny tools"
	equal "$(in_box dock 'docker run --rm -v vol:/v box cat /v/d')" data
	equal "$(in_box dock 'docker ps -a --format "{{.Names}}"; docker cp kept:/l - | tar -xO')" $'kept\nlayer'
}

@test "and after kill -9 of QEMU, what was synced" {
	in_box_root dock sync
	note_namespaces
	kill_hard "$(role_pid dock qemu)"
	wait_until 30 box_is dock stopped
	equal "$(in_box dock 'docker start -a kept; docker logs kept; docker cp kept:/l - | tar -xO')" layer
}

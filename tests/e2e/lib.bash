# Shared by the end-to-end tests: each file has a world of its own below $E2E (home, data, runtime
# and temporary folders), and only the machine image and its snapshots are shared between files and
# between runs.
#
#   setup_file() { e2e_begin NAME; ...; }
#   teardown_file() { e2e_end; }    # removes every sandbox, then fails if anything of them is left
#
# PADDOCK            the program under test (default: build/paddock of this checkout)
# PADDOCK_TEST_DATA  the XDG_DATA_HOME that holds the machine image (default: a folder below /var/tmp)
# shellcheck shell=bash disable=SC2154 # bats sets status, output, stderr

bats_require_minimum_version 1.5.0

E2E_DIR=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
PADDOCK=$(realpath "${PADDOCK:-$E2E_DIR/../../build/paddock}")
export E2E_DIR PADDOCK

# The limit of one command, seconds: far above what a loaded machine without KVM needs.
PD_LIMIT=${PD_LIMIT:-180}

e2e_begin() {
	local shared=${PADDOCK_TEST_DATA:-/var/tmp/paddock-test-data-$(id -u)}

	[ -x "$PADDOCK" ] || { echo "no program at '$PADDOCK': build it, or set PADDOCK" >&2; return 1; }
	# Without a template of its own: what TMPDIR may hold is not the sandbox's business.
	E2E=$(mktemp -d "/tmp/paddock-e2e-$1.XXXXXX")
	mkdir -m 0700 "$E2E/run" "$E2E/data" "$E2E/data/paddock"
	mkdir "$E2E/home" "$E2E/ws" "$E2E/tmp" "$E2E/bin"
	ln -s "$PADDOCK" "$E2E/bin/paddock"
	cat > "$E2E/home/.gitconfig" <<-'GIT'
		[user]
			name = Mina Härtel
			email = mina@example.org
		[init]
			defaultBranch = main
	GIT
	E2E_TMUX=$E2E/tmux.sock
	# The image is built once for all. Progress of a first build is worth seeing: on descriptor 3.
	XDG_DATA_HOME=$shared XDG_RUNTIME_DIR=$E2E/run "$PADDOCK" template build >"$E2E/image" 2>&3 ||
		{ echo "the machine image was not built" >&2; return 1; }
	mkdir -p "$shared/paddock/snapshots" && chmod 0700 "$shared/paddock/snapshots"
	ln -s "$shared"/paddock/{templates,kernels,snapshots} "$E2E/data/paddock/"
	unset "${!LC_@}" XDG_CONFIG_HOME GIT_CONFIG_GLOBAL TZ COLORTERM NO_COLOR
	export E2E E2E_TMUX HOME=$E2E/home XDG_DATA_HOME=$E2E/data XDG_RUNTIME_DIR=$E2E/run
	export TMPDIR=$E2E/tmp PATH=$E2E/bin:$PATH LANG=C.UTF-8 TERM=xterm-256color
	shared_things > "$E2E/before"
	# Where setup_file fails later on, bats gives its variables to nobody.
	declare -px E2E E2E_TMUX HOME XDG_DATA_HOME XDG_RUNTIME_DIR TMPDIR PATH > "$BATS_FILE_TMPDIR/world"
}

# paddock, with a limit: no test hangs. Its own status passes, 124 means that the limit was hit.
pd() {
	timeout --foreground -k 5 "$PD_LIMIT" "$PADDOCK" "$@"
}

# in_box SANDBOX SCRIPT [ARGS...]: bash as the agent; out_root the same as root.
in_box() {
	local box=$1 script=$2
	shift 2
	pd exec -q "$box" bash -c "$script" bash "$@"
}

in_box_root() {
	local box=$1 script=$2
	shift 2
	pd exec -q -u root "$box" bash -c "$script" bash "$@"
}

# make_box NAME WORKSPACE... : made, running, quiet, small.
make_box() {
	local name=$1
	shift
	pd create -q --memory 1g --name "$name" shell "$@" >/dev/null
}

# inspect_get SANDBOX FILTER: one value of `paddock inspect`.
inspect_get() {
	pd inspect "$1" | jq -r ".[0]$2"
}

box_status() {
	inspect_get "$1" .status
}

box_is() {
	[ "$(box_status "$1")" = "$2" ]
}

# role_pid SANDBOX ROLE: supervisor, qemu, fs, link, net, resolver, signer, log.
role_pid() {
	inspect_get "$1" ".processes[\"$2\"] // empty"
}

# wait_until SECONDS COMMAND...: polls; the only place where tests wait.
wait_until() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		if [ "$SECONDS" -ge "$deadline" ]; then
			echo "gave up waiting for: $*" >&2
			return 1
		fi
		read -rt 0.1 <> <(:) || :
	done
}

pid_gone() {
	[ ! -d "/proc/$1" ] || [[ $(cat "/proc/$1/stat" 2>/dev/null) == *') Z '* ]]
}

kill_hard() {
	kill -KILL "$1" && wait_until 20 pid_gone "$1"
}

# killed_once ROOT NAME VICTIM COMMAND...: as soon as a process of this name is there below ROOT (a
# pid, or "job": the command itself), VICTIM (a pid, or "it") ends by force. NAME@FILE: once it has
# begun to read a file of that name, while its parent stands still, which so takes no step more until
# then. What the command says is in $E2E/out; the result is its own. It does not wait between its
# looks: what it waits for is short.
killed_once() {
	python3 - "$E2E/out" "$@" <<-'PY'
		import os, signal, subprocess, sys, time

		out, root, name, victim = sys.argv[1:5]
		name, _, file = name.partition("@")
		with open(out, "w") as f:
		    job = subprocess.Popen(sys.argv[5:], stdin=subprocess.DEVNULL, stdout=f, stderr=f)

		def read(path):
		    try:
		        with open(path) as f:
		            return f.read()
		    except OSError:
		        return ""

		def below(pid):
		    for child in read(f"/proc/{pid}/task/{pid}/children").split():
		        yield child
		        yield from below(child)

		def position(pid):
		    """In the file; None: it is not open."""
		    try:
		        for fd in os.listdir(f"/proc/{pid}/fd"):
		            if os.readlink(f"/proc/{pid}/fd/{fd}").endswith("/" + file):
		                return int(read(f"/proc/{pid}/fdinfo/{fd}").split()[1])
		    except (OSError, IndexError):
		        pass
		    return None

		def parent(pid):
		    return int(read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])

		def let_it_read(pid, end):
		    seen, at = False, None
		    while not at and not (seen and at is None) and time.monotonic() < end:
		        at = position(pid)
		        seen = seen or at is not None

		end = time.monotonic() + 60
		while time.monotonic() < end:
		    for pid in below(job.pid if root == "job" else root):
		        if read(f"/proc/{pid}/comm") == name + "\n":
		            stopped = parent(pid) if file else None
		            if stopped:
		                os.kill(stopped, signal.SIGSTOP)
		                let_it_read(pid, end)
		            os.kill(int(pid if victim == "it" else victim), signal.SIGKILL)
		            if stopped:
		                os.kill(stopped, signal.SIGCONT)
		            sys.exit(job.wait(60))
		job.kill()
		sys.exit("there was none")
	PY
}

# equal ACTUAL EXPECTED / has TEXT PART / lacks TEXT PART: assertions that say what they saw.
equal() {
	[ "$1" = "$2" ] || { printf 'got      %q\nexpected %q\n' "$1" "$2" >&2; return 1; }
}

has() {
	[[ $1 == *"$2"* ]] || { printf 'no %q in:\n%s\n' "$2" "$1" >&2; return 1; }
}

lacks() {
	[[ $1 != *"$2"* ]] || { printf '%q is in:\n%s\n' "$2" "$1" >&2; return 1; }
}

at_most() { # VALUE LIMIT WHAT
	[ "$1" -le "$2" ] || { echo "$3: $1, at most $2 wanted" >&2; return 1; }
}

# fails_with STATUS TEXT: of the last `run --separate-stderr`: one sentence on stderr, nothing else.
fails_with() {
	equal "$status" "$1" || { echo "$stderr" >&2; return 1; }
	equal "$output" ""
	has "$stderr" "$2"
	[[ $stderr == "paddock: "* ]] || { printf 'not our sentence: %s\n' "$stderr" >&2; return 1; }
	equal "$(wc -l <<< "$stderr")" 1
}

# ---- a server on the host's loopback -------------------------------------------------------------

# serve NAME [OPTIONS of server.py]: port in ${NAME}_port, requests in $E2E/NAME.log.
serve() {
	serve_program "$1" server.py "${@:2}"
}

# serve_program NAME PROGRAM [OPTIONS]: the same with another program of this folder.
serve_program() {
	local name=$1 program=$2
	shift 2
	python3 "$E2E_DIR/$program" --port-file "$E2E/$name.port" --log "$E2E/$name.log" "$@" \
		</dev/null >"$E2E/$name.out" 2>&1 3>&- &
	echo $! >> "$E2E/servers"
	wait_until 20 test -s "$E2E/$name.port"
	export "${name}_port=$(cat "$E2E/$name.port")"
}

# serve_command NAME COMMAND...: any program, told its port as PORT in its words.
serve_command() {
	local name=$1 port
	shift
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	"${@//PORT/$port}" </dev/null >"$E2E/$name.out" 2>&1 3>&- &
	echo $! >> "$E2E/servers"
	wait_until 20 listens "$port"
	export "${name}_port=$port"
}

listens() {
	(exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# serve_udp NAME: sends every datagram back; port in ${NAME}_port.
serve_udp() {
	local name=$1
	python3 -c '
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
with open(sys.argv[1] + ".new", "w") as f: f.write(str(s.getsockname()[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
while True:
    data, peer = s.recvfrom(70000)
    s.sendto(data, peer)
' "$E2E/$name.port" </dev/null >"$E2E/$name.out" 2>&1 3>&- &
	echo $! >> "$E2E/servers"
	wait_until 20 test -s "$E2E/$name.port"
	export "${name}_port=$(cat "$E2E/$name.port")"
}

# make_ca NAME...: an authority that the host trusts from here on, and a leaf for these names, in
# $E2E/ca: ca.pem, leaf.pem, leaf.key.
make_ca() {
	local dir=$E2E/ca bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
	mkdir "$dir"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-keyout "$dir/ca.key" -out "$dir/ca.pem" -subj '/CN=A company that looks into TLS' \
		-addext 'basicConstraints=critical,CA:TRUE' \
		-addext 'keyUsage=critical,keyCertSign,cRLSign' 2>/dev/null
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/leaf.key" \
		-out "$dir/leaf.csr" -subj "/CN=$1" 2>/dev/null
	printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' \
		"$(printf 'DNS:%s\n' "$@" | paste -sd,)" > "$dir/leaf.ext"
	openssl x509 -req -in "$dir/leaf.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -days 2 \
		-CAcreateserial -extfile "$dir/leaf.ext" -out "$dir/leaf.pem" 2>/dev/null
	cat "$bundle" "$dir/ca.pem" > "$dir/bundle.pem"
	export SSL_CERT_FILE=$dir/bundle.pem
}

# ---- a terminal ----------------------------------------------------------------------------------

tm() {
	tmux -S "$E2E_TMUX" -f /dev/null "$@"
}

# term_open NAME: a bash in a terminal of 100x30; its prompt is "host$ ".
term_open() {
	# tmux keeps descriptors that it is not told to close, and bats waits for those.
	(
		unset TMUX
		cd "$E2E" &&
			tm new-session -d -s "$1" -x 100 -y 30 \
				"env PS1='host\$ ' HISTFILE= bash --norc --noprofile" 3>&- 4>&-
	)
	wait_until 20 screen_has "$1" 'host$'
}

# term_type NAME TEXT: types it and Enter. term_key NAME KEY...: tmux's names of keys.
term_type() {
	tm send-keys -t "$1" -l -- "$2" && tm send-keys -t "$1" Enter
}

term_key() {
	local name=$1
	shift
	tm send-keys -t "$name" "$@"
}

screen() {
	tm capture-pane -p -t "$1"
}

screen_has() {
	[[ $(screen "$1") == *"$2"* ]]
}

screen_shows() { # NAME TEXT [SECONDS]
	wait_until "${3:-30}" screen_has "$1" "$2" || { screen "$1" | cat -s >&2; return 1; }
}

# screen_line NAME REGEX: a line that matches as a whole, so that echoed commands do not count.
screen_line() {
	screen "$1" | grep -qE "^($2) *\$"
}

line_shows() { # NAME REGEX [SECONDS]
	wait_until "${3:-30}" screen_line "$1" "$2" || { screen "$1" | cat -s >&2; return 1; }
}

term_close() {
	tm kill-session -t "$1"
}

# The command that runs in the foreground of this terminal.
term_child() {
	pgrep -P "$(tm display-message -p -t "$1" '#{pane_pid}')"
}

# ---- nothing may be left -------------------------------------------------------------------------

# Every process of a sandbox holds its lock, a file in its folder (which rm renames to .NAME.*); its
# beginnings and strays have at least our environment. With an argument, only of that sandbox.
box_pids() {
	local f all=${E2E:?}/data/paddock/sandboxes name=${1:-}
	{
		find /proc/[0-9]*/fd \( -lname "$all/${name:+$name/}*" -o -lname "$all/.${name:-.}.*" \) || : # some have ended
		[ -n "$name" ] || grep -lzxF "XDG_RUNTIME_DIR=$E2E/run" /proc/[0-9]*/environ | while read -r f; do
			grep -lzE '^(paddock|.*/qemu-system-[^/]*)$' "${f%environ}cmdline" || :
		done
	} 2>/dev/null | cut -d/ -f3 | sort -u
}

# Remembers the namespaces of all that runs, to be looked for after the end.
note_namespaces() {
	local pid
	for pid in $(box_pids); do
		find "/proc/$pid/ns" -printf '%l\n' 2>/dev/null
	done | grep -vxFf <(find /proc/self/ns -printf '%l\n') | grep ':' | sort -u \
		>> "$E2E/namespaces" || :
}

# Without a process of ours, one can only be kept by a mount. (The numbers alone prove nothing: the
# kernel gives them anew, perhaps to a sandbox of somebody else's.)
namespaces_left() {
	[ -s "$E2E/namespaces" ] || return 1
	cat /proc/[0-9]*/mountinfo 2>/dev/null | awk '$4 ~ /^[a-z]+:/ {print $4}' | sort -u |
		grep -xFf "$E2E/namespaces"
}

no_pids() {
	[ -z "$(box_pids "${1:-}")" ]
}

show_left() {
	echo "$1" >&2
	shift
	printf '%s\n' "$*" | sed 's/^/    /' >&2
	return 1
}

shared_things() {
	find /dev/shm /sys/class/net -mindepth 1 -maxdepth 1 | sort
}

# After rm of everything: no process, namespace, mount, device, socket or file.
leaves_nothing() {
	local ok=0 left
	wait_until 20 no_pids ||
		show_left "processes are left:" "$(ps -o pid,ppid,args -p "$(box_pids | paste -sd,)")" || ok=1
	left=$(namespaces_left) || :
	[ -z "$left" ] || show_left "namespaces are left:" "$left" || ok=1
	left=$(grep -sF "$E2E" /proc/[0-9]*/mountinfo) || :
	[ -z "$left" ] || show_left "mounts are left:" "$left" || ok=1
	left=$(find "$E2E/run/paddock" -mindepth 1 2>/dev/null) || :
	[ -z "$left" ] || show_left "runtime files are left:" "$left" || ok=1
	left=$(find "$E2E/data/paddock" -mindepth 1 -maxdepth 1 ! -name templates ! -name kernels \
		! -name snapshots ! -name sandboxes; find "$E2E/data/paddock/sandboxes" -mindepth 1 2>/dev/null) || :
	[ -z "$left" ] || show_left "state is left:" "$left" || ok=1
	left=$(find "$E2E/tmp" -mindepth 1)
	[ -z "$left" ] || show_left "temporary files are left:" "$left" || ok=1
	left=$(find "$E2E/home" -mindepth 1 ! -name .gitconfig)
	[ -z "$left" ] || show_left "the home folder was written to:" "$left" || ok=1
	left=$(shared_things | comm -13 "$E2E/before" -)
	[ -z "$left" ] || show_left "shared memory or network devices are left:" "$left" || ok=1
	return "$ok"
}

# What a test that failed leaves to look at.
e2e_tell() {
	local dir
	for dir in "$E2E"/data/paddock/sandboxes/*/; do
		[ -d "$dir" ] || continue
		echo "== ${dir%/}: $(cat "$dir/last-stop" 2>/dev/null)" >&2
		tail -n 15 "$dir/supervisor.log" "$dir/console.log" 2>/dev/null | cat -v >&2
	done
}

e2e_end() {
	local ok=0 pid
	# Never a step without it: what follows removes sandboxes and ends processes.
	# shellcheck disable=SC1090
	if [ -z "${E2E:-}" ]; then
		[ -f "$BATS_FILE_TMPDIR/world" ] || return 0
		source <(sed 's/^declare -x/declare -gx/' "$BATS_FILE_TMPDIR/world")
	fi
	[[ $E2E == /tmp/paddock-e2e-* && $XDG_DATA_HOME == "$E2E/data" ]] || return 1
	note_namespaces
	tm kill-server 2>/dev/null || :
	pd rm -f --all >/dev/null || ok=1
	if [ -f "$E2E/servers" ]; then
		while read -r pid; do kill "$pid" 2>/dev/null || :; done < "$E2E/servers"
	fi
	leaves_nothing || ok=1
	# Whatever went wrong, the next file does not suffer from it.
	for pid in $(box_pids); do kill -KILL "$pid" || :; done
	rm -rf "$E2E"
	return "$ok"
}

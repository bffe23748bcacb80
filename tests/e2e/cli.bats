# users: user; with PADDOCK_E2E_ALL: root
# The command line's grammar and messages, as far as no machine is needed for them.
# shellcheck disable=SC2154

load lib

setup_file() {
	e2e_begin cli
	mkdir "$E2E/ws/app"
}

teardown_file() {
	e2e_end
}

verbs() {
	pd --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

@test "without a command: the help, and the status of wrong usage" {
	run --separate-stderr pd
	equal "$status" 2
	has "$output" "Usage: paddock COMMAND"
	has "$output" "paddock run claude ~/my-project"
}

@test "help names every command, and each has its own" {
	local verb count=0
	for verb in run create exec attach ls inspect logs stop rm network template completion version help; do
		has "$(verbs)" "$verb"
	done
	for verb in $(verbs); do
		run --separate-stderr pd "$verb" --help
		equal "$status" 0
		has "$output" "Usage: paddock $verb"
		equal "$(pd help "$verb")" "$output"
		equal "$(pd "$verb" -h)" "$output"
		count=$((count + 1))
	done
	[ "$count" -ge 15 ]
	for verb in proxy allow deny rm ls check default; do
		has "$(pd network --help)" "  network $verb "
		has "$(pd network "$verb" --help)" "Usage: paddock network $verb"
		equal "$(pd help network "$verb")" "$(pd network "$verb" -h)"
	done
	has "$(pd run --help)" "--memory SIZE"
	has "$(pd run --help)" "--env KEY[=VALUE]"
}

@test "version, as text and as JSON" {
	local version
	version=$(pd version)
	[[ $version =~ ^"paddock version "[0-9]+\.[0-9]+\.[0-9]+$ ]]
	equal "$(pd --version)" "$version"
	equal "$(pd version --json | jq -r .version)" "${version#paddock version }"
}

@test "aliases: list is ls, remove is rm" {
	equal "$(pd list -q)" "$(pd ls -q)"
	equal "$(pd remove --help)" "$(pd rm --help)"
}

@test "wrong words are told in one sentence, status 2" {
	local words
	while IFS='|' read -r words text; do
		# shellcheck disable=SC2086
		run --separate-stderr pd $words
		fails_with 2 "$text" || { echo "paddock $words" >&2; return 1; }
	done <<-'CASES'
		frobnicate|unknown command 'frobnicate': see paddock --help
		--frob ls|unknown option '--frob': see paddock --help
		help frobnicate|unknown command 'frobnicate'
		ls --frob|unknown option '--frob': see paddock ls --help
		ls -z|unknown option '-z': see paddock ls --help
		ls --json=yes|option '--json' takes no value
		run --memory|option '--memory' needs a value: --memory SIZE
		run -m|option '-m' needs a value: -m SIZE
		run|write: paddock run AGENT [WORKSPACE...] or paddock run SANDBOX
		run nobody|no agent and no sandbox is called 'nobody': agents are shell, claude, codex
		create|write: paddock create
		create shell|write: paddock create
		create nobody .|no agent is called 'nobody': there are shell, claude
		create --pull never shell .|--pull 'never': write always or missing
		create ./no-kit.yaml .|there is no kit at './no-kit.yaml'
		kit frobnicate|unknown command 'kit frobnicate': see paddock kit --help
		kit check|write: paddock kit check
		kit inspect|write: paddock kit inspect
		exec|write: paddock exec
		exec box|write: paddock exec
		attach|write: paddock attach
		attach box one|'one' is no session number
		attach box|attach needs a terminal
		exec -it box true|--tty needs a terminal
		stop|write: paddock stop
		rm|write: paddock rm
		inspect|write: paddock inspect
		logs|write: paddock logs
		template|write: paddock template
		template rm|write: paddock template rm
		network frobnicate|unknown command 'network frobnicate': see paddock network --help
		network proxy|write: paddock network proxy
		network proxy box|write: paddock network proxy
		network proxy box --policy maybe|'maybe' is no policy: write allow (open), deny (locked) or balanced
		network proxy box --allow-host|option '--allow-host' needs a value: --allow-host HOST
		network allow box|write: paddock network allow
		network deny box|write: paddock network deny
		network rm box|write: paddock network rm
		network ls|write: paddock network ls
		network check box|write: paddock network check
		network check box ftp://x|'ftp://x': write a URL of http, https, ssh, or HOST:PORT
		network default maybe|'maybe' is no preset: write open, balanced or locked
		completion|write: paddock completion bash
		completion tcsh|write: paddock completion bash
	CASES
}

@test "no sandboxes: ls says what to do, -q and --json stay machine-readable" {
	has "$(pd ls)" "No sandboxes found."
	has "$(pd ls)" "paddock run claude"
	equal "$(pd ls -q)" ""
	equal "$(pd ls --json | jq -c .)" '{"sandboxes":[]}'
	run --separate-stderr pd rm --all
	equal "$status" 0
	equal "$output$stderr" ""
}

@test "unknown sandboxes: status 125 and the next step, nothing left of the question" {
	local verb
	for verb in "network ls nosuch" "network check nosuch a.test" "network allow nosuch a.test" \
		"network proxy nosuch --policy allow" "exec nosuch true" "stop nosuch" "rm nosuch" "rm -f nosuch" "inspect nosuch" \
		"logs nosuch" "run --name nosuch"; do
		# shellcheck disable=SC2086
		run --separate-stderr pd $verb
		fails_with 125 "no sandbox 'nosuch': see paddock ls" || { echo "$verb" >&2; return 1; }
	done
	equal "$(find "$XDG_RUNTIME_DIR/paddock" -mindepth 1)" ""
}

@test "names that are no names reach no file" {
	local name verb
	mkdir -p "$E2E/data/paddock/sandboxes"
	touch "$E2E/data/paddock/witness"
	for name in .. ../witness . x -x .hidden 'a b' 'a/b' "a;b" "$(printf 'a\nb')" \
		"$(printf 'n%.0s' {1..64})"; do
		for verb in stop rm inspect logs; do
			run --separate-stderr pd "$verb" -- "$name"
			[ "$status" = 2 ] || { printf '%s %q: %s\n' "$verb" "$name" "$status" >&2; return 1; }
			run --separate-stderr pd "$verb" "$name"
			[ "$status" = 2 ] || { printf '%s %q: %s\n' "$verb" "$name" "$status" >&2; return 1; }
		done
		run --separate-stderr pd create --name="$name" shell "$E2E/ws/app"
		fails_with 2 "is no sandbox name: use 2 to 63 letters"
	done
	rm "$E2E/data/paddock/witness"
}

@test "a missing workspace is not made without asking, and a script is not asked" {
	local verb
	for verb in run create; do
		run --separate-stderr pd "$verb" shell "$E2E/ws/missing" </dev/null
		fails_with 125 "workspace '$E2E/ws/missing' does not exist: create it with mkdir first"
	done
	[ ! -e "$E2E/ws/missing" ]
	equal "$(pd ls -q)" ""
}

ask_for() { # NAME
	term_type offer "clear; paddock run -m 1k shell '$E2E/ws/$1/deep'; echo status=\$?"
	screen_shows offer "$1/deep' does not exist. Create it? [y/N]:"
}

@test "a missing workspace is offered for creation on a terminal: no, then yes" {
	term_open offer
	# Each time another folder: what was asked before may still be on the screen.
	ask_for first
	has "$(screen offer | tr -d '\n')" "Workspace '$E2E/ws/first/deep' does not exist."
	term_type offer n
	line_shows offer "status=125"
	[ ! -e "$E2E/ws/first" ]
	# Enter alone is no.
	ask_for second
	term_key offer Enter
	line_shows offer "status=125"
	[ ! -e "$E2E/ws/second" ]
	ask_for third
	term_type offer y
	line_shows offer "status=2"
	screen_has offer "--memory '1k'"
	[ -d "$E2E/ws/third/deep" ]
	term_close offer
}

@test "what cannot be a workspace says why" {
	touch "$E2E/ws/file"
	mkfifo "$E2E/ws/fifo"
	run --separate-stderr pd create shell "$E2E/ws/file"
	fails_with 125 "the first workspace must be a folder, '$E2E/ws/file' is a file"
	run --separate-stderr pd create shell "$E2E/ws/app" "$E2E/ws/fifo"
	fails_with 125 "'$E2E/ws/fifo' is neither a folder nor a file"
	run --separate-stderr pd create shell "$E2E/ws/app" "$E2E/ws/../ws/app/:ro"
	fails_with 2 "'$E2E/ws/app' is named twice"
	for place in / /etc /usr/bin /proc /dev; do
		run --separate-stderr pd create shell "$place"
		fails_with 2 "'$(realpath "$place")' cannot be a workspace"
	done
	run --separate-stderr pd create shell ""
	fails_with 2 "an empty workspace path"
	mkdir "$E2E/ws/$(printf 'bell\a')"
	run --separate-stderr pd create shell "$E2E/ws/$(printf 'bell\a')"
	fails_with 2 "not printable UTF-8"
}

@test "a workspace that holds paddock's own state is refused, in both directions" {
	for place in "$E2E" "$E2E/data" "$E2E/data/paddock" "$E2E/data/paddock/sandboxes" "$E2E/run" \
		"$E2E/run/paddock"; do
		[ -d "$place" ]
		run --separate-stderr pd create shell "$place"
		fails_with 2 "Paddock keeps its own state in" || { echo "$place" >&2; return 1; }
	done
	# Also as a further one, and through a symlink.
	ln -s "$E2E/data" "$E2E/ws/link"
	run --separate-stderr pd create shell "$E2E/ws/app" "$E2E/ws/link"
	fails_with 2 "Paddock keeps its own state in"
}

@test "resources: errors name the limits" {
	local value
	for value in 100m 100t x 0 -1 99999999999999999999g; do
		run --separate-stderr pd create --memory="$value" shell "$E2E/ws/app"
		fails_with 2 "--memory '$value': write a size such as 2g, at least 512m, at most "
	done
	for value in 0 9999 two 1.5; do
		run --separate-stderr pd create --cpus "$value" shell "$E2E/ws/app"
		fails_with 2 "--cpus '$value': write a number from 1 to $(nproc --all), the host's CPUs"
	done
	for value in 1g 99999t big; do
		run --separate-stderr pd create -q --disk "$value" shell "$E2E/ws/app"
		fails_with 2 "--disk '$value': write a size such as 40g, at least 20"
	done
	run --separate-stderr pd create --accel warp shell "$E2E/ws/app"
	fails_with 2 "--accel 'warp': write kvm, tcg or auto"
	equal "$(pd ls -q)" ""
}

@test "variables, files of variables, --resolve: what is malformed is named" {
	run --separate-stderr pd create -e =x shell "$E2E/ws/app"
	fails_with 2 "-e: write KEY=VALUE, or KEY to copy the shell's value"
	run --separate-stderr pd create --env-file "$E2E/none" shell "$E2E/ws/app"
	fails_with 125 "--env-file: open '$E2E/none': No such file or directory"
	printf 'GOOD=1\n# comment\n\nBAD KEY=2\n' > "$E2E/ws/env"
	run --separate-stderr pd create --env-file "$E2E/ws/env" shell "$E2E/ws/app"
	fails_with 2 "'$E2E/ws/env' line 4: write KEY=VALUE"
	for value in x host:80 host:0:1.2.3.4 host:99999:1.2.3.4 host:80:nonsense; do
		run --separate-stderr pd create --resolve "$value" shell "$E2E/ws/app"
		fails_with 2 "--resolve '$value': write HOST:PORT:ADDRESS"
	done
	for verb in run exec; do
		run --separate-stderr pd "$verb" --detach-keys hyper-x "$(
			[ "$verb" = run ] && echo shell || echo box
		)" "$E2E/ws/app"
		fails_with 2 "--detach-keys 'hyper-x': write letters or ctrl-a"
	done
	equal "$(pd ls -q)" ""
}

@test "a runtime folder that others could have prepared is refused" {
	mkdir -p "$E2E/open/paddock"
	chmod 0755 "$E2E/open/paddock"
	XDG_RUNTIME_DIR=$E2E/open run --separate-stderr pd ls
	fails_with 125 "'$E2E/open/paddock' must be a folder of yours with mode 0700"
	rmdir "$E2E/open/paddock"
	ln -s "$E2E/run/paddock" "$E2E/open/paddock"
	XDG_RUNTIME_DIR=$E2E/open run --separate-stderr pd ls
	fails_with 125 "'$E2E/open/paddock' must be a folder, no link: remove it"
	rm -r "$E2E/open"
}

@test "state: private to the user" {
	pd ls >/dev/null
	equal "$(stat -c %a "$XDG_RUNTIME_DIR/paddock")" 700
	HOME=$E2E/home2 XDG_DATA_HOME='' pd ls >/dev/null
	equal "$(stat -c %a "$E2E/home2/.local/share/paddock")" 700
	rm -r "$E2E/home2"
}

@test "a record of a newer paddock, or a damaged one, is shown, refused and kept" {
	local dir=$E2E/data/paddock/sandboxes
	mkdir -p "$dir/newer" "$dir/damaged"
	echo '{"version":99,"name":"newer"}' > "$dir/newer/sandbox.json"
	echo '{"version":1,"na' > "$dir/damaged/sandbox.json"
	has "$(pd ls | grep ^newer)" broken
	has "$(pd ls | grep ^newer)" newer
	has "$(pd ls | grep ^damaged)" broken
	equal "$(pd ls --json | jq -r '.sandboxes[].status' | sort -u)" broken
	run --separate-stderr pd exec newer true
	fails_with 125 "newer"
	run --separate-stderr pd run --name newer
	fails_with 125 "newer"
	equal "$(cat "$dir/newer/sandbox.json")" '{"version":99,"name":"newer"}'
	equal "$(pd rm -f newer damaged)" $'newer\ndamaged'
	equal "$(ls -A "$dir")" ""
}

@test "a reader that is gone or full: an error, not silence" {
	run --separate-stderr sh -c "'$PADDOCK' version > /dev/full"
	equal "$status" 125
	has "$stderr" "No space left on device"
}

@test "completion: from the same tables, works when sourced" {
	local script
	script=$(pd completion bash)
	bash -n <<< "$script"
	complete_words() {
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		COMPREPLY=()
		_paddock
		printf '%s\n' "${COMPREPLY[@]}"
	}
	# shellcheck disable=SC1090
	source <(echo "$script")
	equal "$(complete_words paddock ins)" inspect
	equal "$(complete_words paddock run --mem)" --memory
	equal "$(complete_words paddock ls --j)" --json
	equal "$(complete_words paddock network pr)" proxy
	equal "$(complete_words paddock network proxy --po)" --policy
	mkdir -p "$E2E/data/paddock/sandboxes/shell-app"
	has "$(complete_words paddock stop shell)" shell-app
	rmdir "$E2E/data/paddock/sandboxes/shell-app"
}

@test "the manual page: no warning, and every command and option in it" {
	local page=${PADDOCK%/*}/doc/paddock.1 text verb option
	equal "$(mandoc -T lint -W warning "$page")" ""
	text=$(mandoc -T utf8 "$page" | col -b)
	for verb in $(verbs); do
		has "$text" "paddock $verb"
		for option in $(pd "$verb" --help | grep -oE -- '--[a-z-]+' | sort -u); do
			has "$text" "$option"
		done
	done
	for verb in proxy allow deny rm ls check default; do
		has "$text" "paddock network $verb"
		for option in $(pd network "$verb" --help | grep -oE -- '--[a-z-]+' | sort -u); do
			has "$text" "$option"
		done
	done
	has "$text" "EXIT STATUS"
}

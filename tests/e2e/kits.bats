# users: root user
# Agents are kits: checked, extended, run; what they install is a layer that sandboxes share.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin kits
	export XDG_CONFIG_HOME=$E2E/config
	mkdir -p "$XDG_CONFIG_HOME/paddock/kits" "$E2E/ws/app" "$E2E/ws/my \"odd\" \$app" "$E2E/kits"
	cd "$E2E/kits" || return
	# What it installs is new in each run, so that its layer is built here.
	cat > tiny.yaml <<-YAML
		name: tiny
		description: for tests
		install:
		  - echo "\$(id -un) \$(pwd) \$FROM_KIT" > ~/as-agent
		  - user: root
		    run: |
		      id -u > /etc/as-root
		      echo $RANDOM$RANDOM-$E2E > /etc/this-run
		files:
		  - path: ~/.tiny/conf.json
		    mode: "0600"
		    content: |
		      {"folder": "\${WORKSPACE_JSON}"}
		command: [sh, -c, 'echo "\$0 \$*"; cat']
		args: [default, args]
		env: {FROM_KIT: kit, BOTH: kit}
	YAML
	printf 'name: child\nextends: ./tiny.yaml\nenv: {BOTH: child}\ncommand: [env]\n' > child.yaml
	printf 'name: mine\nextends: shell\nenv: {MINE: "1"}\n' > "$XDG_CONFIG_HOME/paddock/kits/mine.yaml"
	pd run -m 1g -e BOTH=option ./tiny.yaml "$E2E/ws/app" >"$E2E/first.out" 2>"$E2E/first.err" \
		</dev/null
}

teardown_file() {
	local ok=0 template
	pd rm -f --all >/dev/null || ok=1
	for template in $(pd template ls --json | jq -r '.[] | select(.name == "tiny" or .name == "child") | .id'); do
		pd template rm "$template" >/dev/null || ok=1
	done
	e2e_end || ok=1
	return "$ok"
}

tiny_layers() {
	pd template ls --json | jq -r '.[] | select(.name == "tiny") | .id'
}

@test "a kit by its path: installed inside as agent and as root, its command, arguments and variables" {
	local err
	err=$(cat "$E2E/first.err")
	has "$err" "kit tiny: install step 1 of 2"
	has "$err" "keeping the template"
	equal "$(cat "$E2E/first.out")" "default args"
	equal "$(in_box tiny-app 'cat ~/as-agent /etc/as-root')" "agent /home/agent kit
0"
	# -e goes before the kit's; every session has them.
	equal "$(in_box tiny-app 'echo "$FROM_KIT $BOTH"')" "kit option"
	equal "$(inspect_get tiny-app .agent)" tiny
	# Nothing of the install ran on the host, and its sandbox is gone.
	[ ! -e "$HOME/as-agent" ]
	[ ! -e /etc/as-root ]
	equal "$(pd ls -q)" tiny-app
}

@test "words after -- are appended to the arguments or replace them" {
	equal "$(pd run -q ./tiny.yaml "$E2E/ws/app" -- --more </dev/null)" "default args --more"
	equal "$(pd run -q tiny-app -- other words </dev/null)" "other words"
	equal "$(echo piped | pd run -q tiny-app -- two words)" "two words
piped"
}

@test "its files are in the home with their mode, written once" {
	equal "$(in_box tiny-app 'cat ~/.tiny/conf.json')" "{\"folder\": \"$E2E/ws/app\"}"
	equal "$(in_box tiny-app 'stat -c "%a %U" ~/.tiny/conf.json')" "600 agent"
	in_box tiny-app 'echo changed > ~/.tiny/conf.json'
	pd run -q tiny-app -- x </dev/null
	equal "$(in_box tiny-app 'cat ~/.tiny/conf.json')" changed
}

@test "a second sandbox stands on the same layer, with an odd path in a file; the disk stays its own" {
	local odd="$E2E/ws/my \"odd\" \$app"
	in_box tiny-app 'echo mine > ~/only-here; sudo rm /etc/as-root'
	run --separate-stderr pd create --memory 1g --name second ./tiny.yaml "$odd"
	equal "$status" 0
	lacks "$stderr" "install step"
	equal "$(tiny_layers | wc -l)" 1
	equal "$(inspect_get second .image)" "$(tiny_layers)"
	equal "$(in_box second 'cat /etc/as-root; ls ~')" "0
as-agent"
	equal "$(in_box second 'jq -r .folder ~/.tiny/conf.json')" "$odd"
	[ "$(in_box second 'cat /etc/machine-id')" != "$(in_box tiny-app 'cat /etc/machine-id')" ]
	pd rm -f second >/dev/null
}

@test "a sandbox keeps its kit: it says that the file has changed, and runs without it" {
	sed -i 's/default, args/changed, args/' tiny.yaml
	run --separate-stderr pd run ./tiny.yaml "$E2E/ws/app" </dev/null
	equal "$status" 0
	equal "$output" "default args"
	has "$stderr" "the kit 'tiny' has changed since sandbox 'tiny-app' was made"
	mv tiny.yaml away.yaml
	equal "$(pd run -q tiny-app </dev/null)" "default args"
	mv away.yaml tiny.yaml
	run --separate-stderr pd run --pull always ./tiny.yaml "$E2E/ws/app" </dev/null
	fails_with 2 "made with another --pull"
}

@test "templates: a layer in use and a base with layers stay; an unused layer goes" {
	local layer base
	layer=$(tiny_layers)
	base=$(pd template ls --json | jq -r ".[] | select(.id == \"$layer\") | .base")
	has "$base" shell-
	run --separate-stderr pd template rm "$layer"
	fails_with 125 "is the base of sandbox 'tiny-app'"
	pd stop tiny-app >/dev/null
	pd rm -f tiny-app >/dev/null
	run --separate-stderr pd template rm "$base"
	fails_with 125 "is the base of template"
	pd template rm "$layer" >/dev/null
	equal "$(tiny_layers)" ""
}

@test "an install step that fails: its last words, no template, no sandbox" {
	printf 'name: tiny\ninstall: ["echo first; echo went wrong >&2; exit 7"]\ncommand: [x]\n' > bad.yaml
	run --separate-stderr pd create -q ./bad.yaml "$E2E/ws/app"
	fails_with 125 "kit 'tiny': install step 1 of 1: exit status 7: went wrong (all of it is in "
	equal "$(pd ls -q)" ""
	equal "$(tiny_layers)" ""
}

@test "Ctrl-C while a kit is installed leaves nothing" {
	local pid
	printf 'name: tiny\ninstall: [echo started; sleep 600]\ncommand: [x]\n' > slow.yaml
	"$PADDOCK" create ./slow.yaml "$E2E/ws/app" >/dev/null 2>"$E2E/slow.err" 3>&- &
	pid=$!
	wait_until 60 grep -q '^started' "$XDG_DATA_HOME/paddock/templates/kit-tiny.log"
	equal "$(pd ls -q)" kit-tiny.build
	kill -TERM "$pid"
	wait "$pid" || :
	equal "$(pd ls -q)" ""
	no_pids kit-tiny.build
}

@test "one's own kits by name, what they extend, and any command without a kit" {
	equal "$(cd "$E2E/ws/app" && pd run -q -m 1g mine -- -c 'echo "$MINE $PWD"')" "1 $E2E/ws/app"
	# The same machine for whatever is to run; its name is the shell's.
	equal "$(cd "$E2E/ws/app" && pd run -q -m 1g -- basename "$E2E/ws/app")" app
	equal "$(pd ls -q)" "mine-app
shell-app"
	equal "$(pd inspect mine-app | jq -r '.[0].image')" "$(pd inspect shell-app | jq -r '.[0].image')"
	pd rm -f mine-app shell-app >/dev/null
}

@test "kit check says the place, kit inspect what a kit is with all that it extends" {
	printf 'name: x\nnpm: [left-pad]\ncommands: [x]\n' > wrong.yaml
	run --separate-stderr pd kit check ./wrong.yaml ./child.yaml claude
	equal "$status" 1
	equal "$output" "child: ok
claude: ok"
	has "$stderr" "./wrong.yaml:3:1: unknown key 'commands'"
	run --separate-stderr pd run ./wrong.yaml "$E2E/ws/app"
	fails_with 2 "./wrong.yaml:3:1: unknown key 'commands'"
	equal "$(pd kit inspect --json ./child.yaml | jq -c '[.name, .env.BOTH, .env.FROM_KIT, .command, .args]')" \
		'["child","child","kit",["env"],null]'
	pd kit inspect --json ./child.yaml > whole.yaml
	equal "$(pd kit check ./whole.yaml)" "child: ok"
	printf 'name: broken\n' > "$XDG_CONFIG_HOME/paddock/kits/broken.yaml"
	equal "$(pd kit ls --json | jq -c '[.[] | select(.name == "mine" or .name == "broken" or .name == "claude") | [.name, .built_in]]')" \
		'[["broken",false],["mine",false],["claude",true]]'
	has "$(pd kit ls)" "broken: kit 'broken' has nothing to run"
}

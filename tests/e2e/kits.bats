# users: user; with PADDOCK_E2E_ALL: root
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
		  - |
		    echo "\$(id -un) \$(pwd) \$FROM_KIT" > ~/as-agent
		    mkdir -p ~/.npm ~/.cache/pip ~/.cache/unpacked
		    package() { mkdir -p "\$1" && echo "\$2" > "\$1/package.json"; }
		    mkdir -p ~/.local/lib/node_modules && cd ~/.local/lib/node_modules
		    package named-musl '{"libc": ["musl"]}'
		    cd named-musl
		    package node_modules/for-musl '{"libc": ["musl"]}'
		    package node_modules/@scope/for-musl '{"libc": "musl"}'
		    package node_modules/@scope/for-glibc '{"libc": ["glibc"]}'
		    package node_modules/@scope/for-glibc/node_modules/for-musl '{"libc": ["musl", "other"]}'
		    package node_modules/for-glibc/test '{"libc": ["musl"]}'
		    package node_modules/for-both '{"libc": ["musl", "glibc"]}'
		    package node_modules/for-all-but-musl '{"libc": ["!musl"]}'
		    package node_modules/for-any '{"libc": []}'
		    package node_modules/that-speaks-of-it '{"keywords": ["libc"]}'
		    package node_modules/that-is-broken '{"libc": ["musl"]'
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
	# What a step unpacks is kept; what an installer would use another time is not.
	equal "$(in_box tiny-app 'ls ~/.cache; ls -d ~/.npm 2>/dev/null')" unpacked
	# Of npm's packages those that are for musl alone are gone, but not what was asked for by name.
	equal "$(in_box tiny-app 'cd ~/.local/lib/node_modules && find . -name package.json | sort')" "\
./named-musl/node_modules/@scope/for-glibc/package.json
./named-musl/node_modules/for-all-but-musl/package.json
./named-musl/node_modules/for-any/package.json
./named-musl/node_modules/for-both/package.json
./named-musl/node_modules/for-glibc/test/package.json
./named-musl/node_modules/that-is-broken/package.json
./named-musl/node_modules/that-speaks-of-it/package.json
./named-musl/package.json"
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

@test "one's own settings go in when asked for: never keys, never through links, never back" {
	local own=$HOME/.paddock-e2e err
	printf 'name: tiny\nextends: shell\nfiles: [{path: ~/.paddock-e2e/s.json, content: "{\\"mode\\": \\"kit\\"}"}]\nsettings:\n  - ~/.paddock-e2e/NOTES.md\n  - ~/.paddock-e2e/skills\n  - {path: ~/.paddock-e2e/s.json, keys: [model, mode]}\n' > settings.yaml
	mkdir -p "$own/skills/a"
	echo 'say please' > "$own/NOTES.md"
	printf '#!/bin/sh\necho from a skill\n' > "$own/skills/a/run"
	chmod +x "$own/skills/a/run"
	echo '{"claudeAiOauth": {"accessToken": "x"}}' > "$own/skills/.credentials.json"
	echo 'use sk-ant-api03-Kq0Zb1Xc2Vd3Nf4Mg5 for it' > "$own/skills/a/SKILL.md"
	ln -s /etc/hostname "$own/skills/a/host"
	echo '{"model": "large", "mode": "own", "env": {"SECRET": "word"}}' > "$own/s.json"
	cp -r "$own" "$E2E/own-before"
	run --separate-stderr pd run -m 1g --with-settings --name with ./settings.yaml "$E2E/ws/app" -- \
		-c 'cd ~/.paddock-e2e && cat NOTES.md && skills/a/run && jq -c . s.json' </dev/null
	equal "$status" 0
	equal "$output" 'say please
from a skill
{"model":"large","mode":"kit"}'
	has "$stderr" "note: your settings are copied in: 3 files"
	has "$stderr" "note: not copied in: ~/.paddock-e2e/skills/.credentials.json: its name is that of a secret"
	has "$stderr" "note: not copied in: ~/.paddock-e2e/skills/a/SKILL.md: it holds what looks like a key"
	has "$stderr" "note: not copied in: ~/.paddock-e2e/skills/a/host: it is a symbolic link"
	run in_box with 'grep -rE "sk-ant|accessToken|word" ~; find ~ -name ".cred*" -o -name host'
	equal "$output" ""
	# What changes inside stays inside, until the host's has changed.
	in_box with 'echo changed > ~/.paddock-e2e/NOTES.md'
	equal "$(pd run -q --name with -- -c 'cat ~/.paddock-e2e/NOTES.md' </dev/null)" changed
	diff -r "$E2E/own-before" "$own"
	echo 'say thanks' > "$own/NOTES.md"
	equal "$(pd run -q --name with -- -c 'cat ~/.paddock-e2e/NOTES.md' </dev/null)" "say thanks"
	# Nothing goes where nobody asked, and what takes nothing says so.
	pd create -q -m 1g --name without ./settings.yaml "$E2E/ws/app" >/dev/null
	equal "$(in_box without 'ls ~/.paddock-e2e')" s.json
	run --separate-stderr pd run --with-settings --name without </dev/null
	fails_with 2 "made with another --with-settings"
	run --separate-stderr pd create --with-settings shell "$E2E/ws/app"
	fails_with 2 "the kit 'shell' names no settings"
	rm -rf "$own"
	pd rm -f with without >/dev/null
}

@test "a kit that changes gets another layer; each sandbox stays on its own; two agents share a project" {
	local first second
	printf 'name: tiny\ninstall: ["echo one > ~/version"]\ncommand: [cat, version]\nargs: []\n' > versions.yaml
	printf 'name: child\nextends: ./versions.yaml\n' > other.yaml
	pd create -q -m 1g --name one ./versions.yaml "$E2E/ws/app" >/dev/null
	sed -i 's/echo one/echo two/' versions.yaml
	pd create -q -m 1g --name two ./versions.yaml "$E2E/ws/app" >/dev/null
	first=$(inspect_get one .image) second=$(inspect_get two .image)
	[ "$first" != "$second" ]
	equal "$(in_box one 'cat ~/version') $(in_box two 'cat ~/version')" "one two"
	# They see the same project, and nothing of each other.
	in_box one 'echo of one > shared; echo of one > ~/own'
	equal "$(in_box two 'cat shared; ls ~')" $'of one\nversion'
	# --pull always: the same kit, built anew beside the layer that is in use.
	run --separate-stderr pd create -m 1g --pull always --name three ./versions.yaml "$E2E/ws/app"
	equal "$status" 0
	has "$stderr" "kit tiny: install step 1 of 1"
	[ "$(inspect_get three .image)" != "$second" ]
	equal "$(inspect_get two .image) $(in_box two 'cat ~/version')" "$second two"
	rm "$E2E/ws/app/shared"
	pd rm -f one two three >/dev/null
}

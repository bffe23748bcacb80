# users: user; with PADDOCK_E2E_ALL: root
# What a workspace may do to the host later, and what of it stays the sandbox's own (--shadow).
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin guard
	mkdir -p "$E2E/ws/app/node_modules"
	echo host > "$E2E/ws/app/node_modules/host"
	echo '{}' > "$E2E/ws/app/package.json"
	git init -q "$E2E/ws/app"
	echo node_modules > "$E2E/ws/app/.git/info/exclude"
	make_box box "$E2E/ws/app" --shadow node_modules --shadow target
	export APP=$E2E/ws/app
}

teardown_file() {
	e2e_end
}

@test "--shadow: on the machine's own disk, the agent's, at the same path; the host's folder is left alone" {
	equal "$(inspect_get box '.shadows | join(" ")')" "$APP/node_modules $APP/target"
	equal "$(in_box box 'ls -A node_modules target; stat -c %U node_modules target; ls | xargs; stat -f -c %T node_modules')" \
		$'node_modules:\n\ntarget:\nagent\nagent\nnode_modules package.json target\next2/ext3'
	# As a package manager does it: a staging folder, links, renames, executables.
	in_box box 'set -e
		mkdir -p node_modules/.staging/left-pad node_modules/.bin
		echo "console.log(1)" > node_modules/.staging/left-pad/index.js
		mv node_modules/.staging/left-pad node_modules/left-pad
		ln -s ../left-pad/index.js node_modules/.bin/pad
		chmod +x node_modules/left-pad/index.js
		cp -r node_modules/left-pad target/built && ln node_modules/left-pad/index.js node_modules/hard
		test "$(cat node_modules/.bin/pad)" = "console.log(1)"
		! rmdir target 2>/dev/null && ! mv node_modules elsewhere 2>/dev/null
		echo in-workspace > beside'
	equal "$(ls -A "$APP/node_modules")" host
	[ ! -e "$APP/target" ]
	equal "$(cat "$APP/beside")" in-workspace # control
	# Nor is it to be seen where the mount is taken away, by root.
	equal "$(in_box_root box 'unshare -m sh -c "umount $1 && ls -A $1; echo x > $1/x"; :' "$APP/node_modules" 2>/dev/null)" ""
	equal "$(ls -A "$APP/node_modules")" host
}

@test "--shadow: lasts over changes on the host, stop and run" {
	rm -r "$APP/node_modules"
	mkdir "$APP/target" && echo host > "$APP/target/host"
	equal "$(in_box box 'ls target; cat node_modules/.bin/pad')" $'built\nconsole.log(1)'
	note_namespaces
	pd stop box
	equal "$(pd run -q --shadow target --name box -- -c 'ls target; cat node_modules/.bin/pad')" \
		$'built\nconsole.log(1)'
	run --separate-stderr pd run -q --shadow dist --name box -- -c true
	fails_with 2 "was made with another --shadow"
	run --separate-stderr pd create -q --name bad --shadow ../x shell "$APP"
	fails_with 2 "without '..'"
}

# session SCRIPT: without -q; what it says behind the machine's own words on stderr.
session() {
	run --separate-stderr pd exec box bash -c "$1"
	equal "$status" 0
}

@test "git hooks cannot be written; what else the host may run is told at the session's end, and by diff" {
	session 'git add package.json && git commit -qm one && git log --oneline | wc -l'
	equal "$output" 1 # control: git works
	equal "$stderr" ""
	session '! echo evil > .git/hooks/pre-commit; ! cp .git/hooks/pre-commit.sample .git/hooks/pre-commit
		mv .git .git2 && ! install -m 755 /bin/true .git2/hooks/post-checkout; mv .git2 .git
		git config core.fsmonitor ./evil; git config user.name x
		mkdir .vscode && echo "{}" > .vscode/tasks.json; echo data > ordinary
		printf "\033]0;x\007" > "$(printf "\033[2J.code-workspace")"' 2>/dev/null
	has "$stderr" "Operation not permitted"
	has "$stderr" "refused   hook    .git/hooks/pre-commit"
	has "$stderr" "refused   hook    .git2/hooks/post-checkout"
	has "$stderr" "added     git     .git/config: core.fsmonitor = ./evil"
	has "$stderr" "added     editor  .vscode/tasks.json"
	has "$stderr" 'added     editor  \x1b[2J.code-workspace'
	lacks "$stderr" ordinary
	lacks "$stderr" user.name
	lacks "$stderr" $'\e'
	[ -z "$(find "$APP/.git/hooks" -type f ! -name '*.sample')" ]
	has "$(pd logs --supervisor box)" "refused the guest to write '$APP/.git/hooks/pre-commit'"
	session true
	equal "$stderr" ""
	local before
	before=$(pd diff --json box)
	equal "$(jq -r '.complete, (.changes[] | select(.key == "core.fsmonitor") | .value, .change)' <<< "$before" | xargs)" \
		"true ./evil added"
	# Written a moment before the stop, and nobody asked in between.
	in_box box 'rm .vscode/tasks.json; echo "use flake" > .envrc'
	note_namespaces
	pd stop box
	equal "$(pd diff box | sed 's/ \+/ /g' | sort)" "$(sort <<- 'EOF'
		refused hook .git/hooks/pre-commit (2 times)
		refused hook .git2/hooks/post-checkout
		added git .git/config: core.fsmonitor = ./evil
		added editor \x1b[2J.code-workspace
		added shell .envrc
	EOF
	)"
	# The next run of the machine goes on with it.
	in_box box 'rm .envrc; git config --unset core.fsmonitor; rm ./*.code-workspace'
	equal "$(pd diff box | grep -cv '^refused' || :)" 0
}

@test "--allow-hooks: the guest may, and it is told" {
	mkdir "$E2E/ws/free" && git init -q "$E2E/ws/free"
	make_box free "$E2E/ws/free" --allow-hooks
	run --separate-stderr pd exec free bash -c 'install -m 755 /bin/true .git/hooks/pre-commit'
	equal "$status" 0
	has "$stderr" "added     hook    .git/hooks/pre-commit"
	[ -x "$E2E/ws/free/.git/hooks/pre-commit" ]
	run --separate-stderr pd run -q --name box --allow-hooks
	fails_with 2 "was made with another --allow-hooks"
}

# what_it_may SANDBOX: all of a sandbox that a file could widen, without its name and folder.
what_it_may() {
	inspect_get "$1" '| {agent, image, read_only: .workspaces | map(.read_only), cpus, memory_bytes, disk_bytes,
		env, resolve, ports, allow_hooks, with_settings, shadows}'
	pd network ls "$1" | sed "s/$1/NAME/g"
}

@test "files of our own kind in a workspace are not read, but where the command names them" {
	local dir=$E2E/ws/ours name
	mkdir -p "$dir"/{.paddock/kits,kits,paddock/kits,.config/paddock/kits,.devcontainer} "$E2E/ws/bare"
	cat > "$dir/shell.yaml" <<-'YAML'
		name: shell
		extends: shell
		env: {FROM_WORKSPACE: "1"}
		network: {allow: ["evil.test"]}
	YAML
	for name in .paddock.yaml .paddock.yml paddock.yaml paddock.yml .paddock/{config,kit,shell,kits/shell}.yaml \
		{kits,paddock/kits,.config/paddock/kits}/shell.yaml; do
		cp "$dir/shell.yaml" "$dir/$name"
	done
	for name in .paddock.json paddock.json .paddock/{config,sandbox,policy}.json sandbox.json policy.json \
		.devcontainer/devcontainer.json; do
		printf '{"version": 1, "workspaces": [{"path": "/etc"}], "mounts": ["source=/etc,target=/etc"], "ports": ["8080"],
			"env": {"FROM_WORKSPACE": "1"}, "allow_hooks": true, "default": "allow", "initializeCommand": "touch %s/ran"}' \
			"$E2E" > "$dir/$name"
	done
	echo 'FROM_WORKSPACE=1' | tee "$dir/.env" > "$dir/.paddock.env"
	# From within the folder, as one does.
	(cd "$dir" && make_box ours .)
	make_box bare "$E2E/ws/bare"
	equal "$(what_it_may ours)" "$(what_it_may bare)"
	equal "$(inspect_get ours '.workspaces | map(.path) | join(" ")')" "$dir"
	equal "$(in_box ours 'echo "${FROM_WORKSPACE:-none}"')" none
	[ ! -e "$E2E/ran" ]
	pd rm -f ours bare
	# Control: named by its path it counts.
	(cd "$dir" && pd create -q --memory 1g --name ours ./shell.yaml . >/dev/null)
	equal "$(in_box ours 'echo "$FROM_WORKSPACE"')" 1
	has "$(what_it_may ours)" evil.test
	pd rm -f ours
}

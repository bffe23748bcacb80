# users: root user
# What of a workspace stays the sandbox's own (--shadow).
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin guard
	mkdir -p "$E2E/ws/app/node_modules"
	echo host > "$E2E/ws/app/node_modules/host"
	echo '{}' > "$E2E/ws/app/package.json"
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

# users: root
# Real agents, from the npm registry: installed by their kits, and at their prompt without a question.
# Claude Code always; with PADDOCK_E2E_AGENTS=1 the others whose first screen is known. (Amp asks for a
# log-in before its prompt where it has no key.)
# shellcheck disable=SC2154,SC2016

load lib

# NAME|text on its first screen, once it waits for a prompt
agents() {
	echo 'claude|bypass permissions on'
	[ -z "${PADDOCK_E2E_AGENTS:-}" ] || cat <<-'OTHERS'
		codex|Ask Codex
		amp|log in to Amp
	OTHERS
}

setup_file() {
	e2e_begin agents
	mkdir "$E2E/ws/project"
	echo '# A project' > "$E2E/ws/project/README.md"
}

teardown_file() {
	e2e_end
}

@test "agents start straight at their prompt, in the project, with permissions skipped" {
	local name text
	while IFS='|' read -r name text; do
		# The template is kept for later runs, as the machine image is.
		PD_LIMIT=1100 pd create -m 2g --name "$name-box" "$name" "$E2E/ws/project" </dev/null >&3 2>&3
		in_box "$name-box" "$name --version" </dev/null
		term_open "$name"
		term_type "$name" "paddock run -q $name-box"
		screen_shows "$name" "$text" 90
		screen "$name" | cat -s >&3
		term_key "$name" C-p C-q
		screen_shows "$name" 'host$'
		term_close "$name"
		pd rm -f "$name-box" >/dev/null
	done < <(agents)
}

# users: root
# Real agents, from the npm registry: installed by their kits, and at their prompt without a question.
# Claude Code always; with PADDOCK_E2E_AGENTS=1 (or names of agents) also at work: their models are a
# stand-in (standin.py) that is reached under the real names. That takes many minutes without KVM.
# shellcheck disable=SC2154,SC2016

load lib

# The templates are kept for later runs, as the machine image is; the first run builds them.
export PD_LIMIT=1100

# What each is called with to work by itself, its key's variable, and a text of its first screen.
prompt_of() { # AGENT
	case $1 in
	claude | copilot | gemini) echo "-p" ;;
	codex) echo "exec --skip-git-repo-check" ;;
	opencode) echo "run" ;;
	esac
}

key_of() { # AGENT: the variable that holds its key on the host
	case $1 in
	claude | opencode) echo ANTHROPIC_API_KEY ;;
	codex) echo OPENAI_API_KEY ;;
	copilot) echo COPILOT_GITHUB_TOKEN ;;
	gemini) echo GEMINI_API_KEY ;;
	esac
}

api_of() {
	case $1 in
	claude | opencode) echo api.anthropic.com ;;
	codex) echo api.openai.com ;;
	copilot) echo api.githubcopilot.com ;;
	gemini) echo generativelanguage.googleapis.com ;;
	esac
}

screen_of() {
	case $1 in
	claude) echo "bypass permissions on" ;;
	codex) echo "YOLO mode" ;;
	gemini) echo "Type your message" ;;
	opencode) echo "Ask anything" ;;
	copilot) echo "Allow All" ;;
	amp) echo "Would you like to log in to Amp?" ;;
	esac
}

wanted() { # the agents that are to be seen at work; shop: claude once more, at a longer work
	case ${PADDOCK_E2E_AGENTS:-} in
	1) echo claude shop codex gemini opencode copilot amp ;;
	*) echo "${PADDOCK_E2E_AGENTS:-}" ;;
	esac
}

# Whose place the stand-in takes.
HOSTS=(api.anthropic.com api.openai.com generativelanguage.googleapis.com chatgpt.com api.github.com github.com
	api.githubcopilot.com)

setup_file() {
	e2e_begin agents
	mkdir "$E2E/ws/project" "$E2E/ws/shop"
	echo '# A project' > "$E2E/ws/project/README.md"
	printf 'sk-ant-api03-real-%s%s-of-the-host\n' "$RANDOM" "$RANDOM" > "$E2E/key"
	make_ca "${HOSTS[@]}"
	cp "$(command -v busybox)" "$E2E/ws/shop/busybox"
	jq -n --rawfile app /dev/stdin --rawfile check <(shop_test) '{
		"build the shop": [
			{write: ["app.js", $app]},
			{write: ["test/app.test.js", $check]},
			{write: ["package.json", "{\"name\": \"shop\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"node --test\"}}\n"]},
			{run: "npm install --no-audit --no-fund --silent express && npm test"},
			{run: "npm install -g --silent semver && semver -i minor 1.2.3"},
			{write: ["Dockerfile", "FROM scratch\nCOPY busybox /busybox\nCOPY app.js /app.js\nCMD [\"/busybox\", \"wc\", \"-l\", \"/app.js\"]\n"]},
			{run: "docker build -q -t shop . && docker run --rm shop"},
			{say: "The shop is built."}],
		"write a greeting": [
			{write: ["greeting.txt", "hello\n"]},
			{run: "cat greeting.txt; uname -n"},
			{say: "The greeting is written."}],
		"count to two": [{run: "echo one; echo two"}, {say: "Counted to two."}]}' > "$E2E/script.json" <<-'JS'
		const express = require('express');
		const app = express();
		app.get('/price/:cents', (req, res) => res.json({ price: (req.params.cents / 100).toFixed(2) }));
		module.exports = app;
	JS
	serve_program model standin.py --script "$E2E/script.json" --tls "$E2E/ca/leaf.pem" "$E2E/ca/leaf.key"
}

teardown_file() {
	e2e_end
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || e2e_tell
}

shop_test() {
	cat <<-'JS'
		const test = require('node:test');
		const assert = require('node:assert');
		const app = require('../app.js');
		test('a price', async () => {
		  const server = app.listen(0);
		  const answer = await fetch(`http://127.0.0.1:${server.address().port}/price/250`);
		  assert.deepStrictEqual(await answer.json(), { price: '2.50' });
		  server.close();
		});
	JS
}

# make_agent AGENT WORKSPACE [OPTIONS]: its sandbox AGENT-box, in which the APIs are the stand-in's.
make_agent() {
	local agent=$1 workspace=$2 host names=()
	shift 2
	for host in "${HOSTS[@]}"; do
		names+=(--resolve "$host:443:127.0.0.1:$model_port")
	done
	(
		export "$(key_of "$agent")=$(cat "$E2E/key")"
		pd create -m 2g --name "$agent-box" "${names[@]}" "$@" "$agent" "$workspace" </dev/null >&3 2>&3
	)
}

# told PHRASE JQ-FILTER: of the requests that the stand-in got for this prompt.
told() {
	jq -s --arg phrase "$1" "[.[] | select(.phrase == \$phrase)] | $2" "$E2E/model.log"
}

# On its own: two tools used, the result on the host, the model asked with the key that the guest has
# not got, in any file or in its memory.
works_alone() { # AGENT WORKSPACE
	local agent=$1 words held
	read -ra words <<< "$(prompt_of "$agent")"
	pd run -q "$agent-box" -- "${words[@]}" 'Please write a greeting.' </dev/null
	equal "$(cat "$2/greeting.txt")" hello
	has "$(told 'write a greeting' '.[-1].result')" "$agent-box"
	equal "$(told 'write a greeting' '[.[].key | ltrimstr("Bearer ")] | unique | tostring')" \
		"\"[\\\"$(cat "$E2E/key")\\\"]\""
	held=$(in_box "$agent-box" "printenv $(key_of "$agent")")
	[ -n "$held" ]
	lacks "$held" "$(cat "$E2E/key")"
	in_box "$agent-box" sync
	equal "$(grep -caF -f "$E2E/key" "$E2E/data/paddock/sandboxes/$agent-box/disk.qcow2" || :)" 0
	equal "$(python3 "$E2E_DIR/memsearch.py" "$(role_pid "$agent-box" qemu)" "$E2E/key")" 0
}

# Interactive: no question before its prompt, a typed prompt works, and the session outlives its terminal.
works_at_its_prompt() { # AGENT
	local agent=$1
	term_open "$agent"
	term_type "$agent" "paddock run -q $agent-box"
	screen_shows "$agent" "$(screen_of "$agent")" 400
	screen "$agent" | cat -s >&3
	tm send-keys -t "$agent" -l 'Please count to two.'
	screen_shows "$agent" 'count to two' 60
	term_key "$agent" Enter
	screen_shows "$agent" 'Counted to two.' 400
	term_key "$agent" C-p C-q
	screen_shows "$agent" 'host$'
	term_key "$agent" C-l
	term_type "$agent" "paddock attach $agent-box"
	screen_shows "$agent" 'Counted to two.' 60
	term_key "$agent" C-p C-q
	screen_shows "$agent" 'detached: take it up'
	term_close "$agent"
}

# Files, npm, the tests of an Express project, a global package, a Docker image: many minutes without KVM.
builds_a_shop() {
	local global shop=$E2E/ws/shop
	host_packages() { ls "$(HOME=$BATS_TEST_TMPDIR npm root -g)"; }
	global=$(host_packages)
	make_agent claude "$shop"
	has "$(pd run -q claude-box -- -p 'Please build the shop.' </dev/null)" "The shop is built."
	# What came of the steps, as the model saw it when it was asked for the next one.
	told 'build the shop' '.[] | select(.result) | "\(.step): \(.result)"' >&3
	has "$(told 'build the shop' 'map(select(.step == 4))[-1].result')" "pass 1"
	has "$(told 'build the shop' 'map(select(.step == 5))[-1].result')" "1.3.0"
	has "$(told 'build the shop' 'map(select(.step == 7))[-1].result')" "4 /app.js"
	# The project on the host holds the result, and it is the host user's.
	equal "$(cd "$shop" && ls -A | paste -sd' ')" "Dockerfile app.js busybox node_modules package-lock.json package.json test"
	[ -f "$shop/node_modules/express/package.json" ]
	equal "$(find "$shop" ! -uid "$(id -u)" | wc -l)" 0
	# The host has nothing else: what was installed and built is the sandbox's. (teardown looks at the home.)
	equal "$(host_packages)" "$global"
	equal "$(in_box claude-box 'docker images --format "{{.Repository}}"; semver 1.0.0')" $'shop\n1.0.0'
	pd rm -f claude-box >/dev/null
}

# The hosts that it tried.
tried() { # AGENT
	pd network log "$1-box" --json | jq -r '"\(.decision) \(.host):\(.port)"'
}

tried_has() { # AGENT TEXT
	[[ $(tried "$1") == *"$2"* ]]
}

# The API says where to report to. The kit's options keep copilot from it; without them, the control, it tries,
# and a rule refuses it.
tells_nobody() {
	lacks "$(tried copilot)" telemetry
	has "$(in_box copilot-box "copilot --yolo -p 'Please write a greeting.'" </dev/null)" "The greeting is written."
	wait_until 60 tried_has copilot "blocked telemetry.githubcopilot.com:443"
}

# It asks for a log-in, for which there is no stand-in: installed, and what it shows first.
shows_itself() { # AGENT
	local agent=$1
	pd create -m 2g --name "$agent-box" "$agent" "$E2E/ws/project" </dev/null >&3 2>&3
	in_box "$agent-box" "$agent --version" </dev/null >&3
	term_open "$agent"
	term_type "$agent" "paddock run -q $agent-box"
	screen_shows "$agent" "$(screen_of "$agent")" 300
	screen "$agent" | cat -s >&3
	term_close "$agent"
	pd rm -f "$agent-box" >/dev/null
}

# Installed, at work by itself, the log with the hosts that it tried, at its prompt.
works() { # AGENT
	local agent=$1 workspace=$E2E/ws/$1
	mkdir -p "$workspace"
	make_agent "$agent" "$workspace"
	# What it unpacks at its first start, its layer has.
	[ "$agent" != copilot ] || in_box copilot-box 'ls ~/.cache/copilot/pkg/*/*/' </dev/null >/dev/null
	in_box "$agent-box" "$agent --version" </dev/null >&3
	works_alone "$agent" "$workspace"
	equal "$(ls -A "$workspace")" greeting.txt
	equal "$(stat -c %u "$workspace/greeting.txt")" "$(id -u)"
	tried "$agent" | sort | uniq -c >&3
	has "$(tried "$agent")" "allowed $(api_of "$agent"):443"
	works_at_its_prompt "$agent"
	[ "$agent" != copilot ] || tells_nobody
	# It has kept something in its folder, but no second copy of itself.
	[ "$agent" != codex ] || in_box codex-box 'ls -d ~/.codex/sessions && [ ! -e ~/.codex/packages ]'
	pd rm -f "$agent-box" >/dev/null
}

@test "agents start straight at their prompt, in the project, with permissions skipped; asked for, they work" {
	local agent
	# The template is kept for later runs, as the machine image is.
	pd create -m 2g --name claude-box claude "$E2E/ws/project" </dev/null >&3 2>&3
	in_box claude-box 'claude --version' </dev/null
	term_open claude
	term_type claude 'paddock run -q claude-box'
	screen_shows claude "$(screen_of claude)" 180
	screen claude | cat -s >&3
	term_key claude C-p C-q
	screen_shows claude 'host$'
	term_close claude
	pd rm -f claude-box >/dev/null
	for agent in $(wanted); do
		case $agent in
		shop) builds_a_shop ;;
		amp) shows_itself "$agent" ;;
		*) works "$agent" ;;
		esac
	done
}

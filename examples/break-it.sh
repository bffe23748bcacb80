#!/usr/bin/env bash
# The whole point, in one go: an agent's machine may be wrecked, the project stays.
#
#   examples/break-it.sh [KEEP-FOLDER]
#
# Makes a small project in a temporary folder (or in KEEP-FOLDER, which stays), gives it a machine, lets
# "the agent" restructure it, installs things, destroys the machine's system, throws the machine away
# and gets a clean one. The agent is the shell here, so that it takes no account and little time; with
# "claude" for "shell" and a prompt for the commands it is the same story.
#
# PADDOCK   the program (default: paddock)
set -euo pipefail

paddock=${PADDOCK:-paddock}
box=break-it-$$
began=$(date +%s%N) last=$began

say() { # what comes now; how long the last step took stands behind it
	printf '\n\e[1m== %s\e[0m\n' "$*"
}

took() {
	local now
	now=$(date +%s%N)
	printf '   (%d.%d s)\n' $(((now - last) / 1000000000)) $(((now - last) / 100000000 % 10))
	last=$now
}

show() { # a command as one would type it
	printf '$ %s\n' "$*"
}

agent() { # what the agent does: a script of shell, in the project, in the sandbox
	printf '%s\n' "$1" | sed 's/^/  agent> /'
	"$paddock" run -q "$box" -- -ec "$1" </dev/null
}

expect() { # WHAT COMMAND...: says so, and ends the story if it is not so
	local what=$1
	shift
	if "$@" >/dev/null 2>&1; then
		printf '   yes: %s\n' "$what"
	else
		printf '   NO:  %s\n' "$what" >&2
		exit 1
	fi
}

not() {
	! "$@"
}

clean_up() {
	"$paddock" rm -f "$box" >/dev/null 2>&1 || :
	[ -z "${temporary:-}" ] || rm -rf "$temporary"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say 'A project on your computer: one long file, and a test'
if [ -n "${1:-}" ]; then
	mkdir -p "$1"
	project=$(realpath "$1")
else
	temporary=$(mktemp -d)
	project=$(realpath "$temporary")/shop
	mkdir "$project"
fi
cd "$project"
[ -z "$(ls -A)" ] || { echo "'$project' is not empty" >&2; exit 1; }
cat > shop.js <<'JS'
function price(cents) { return (cents / 100).toFixed(2); }
function total(items) { return items.reduce((sum, i) => sum + i.cents * i.count, 0); }
function receipt(items) { return items.map(i => `${i.count} x ${i.name}`).join('\n') + `\ntotal ${price(total(items))}`; }
module.exports = { price, total, receipt };
JS
cat > check.js <<'JS'
const { receipt } = require(process.argv[2] || './shop.js');
const said = receipt([{ name: 'tea', cents: 250, count: 2 }, { name: 'cake', cents: 399, count: 1 }]);
if (said !== '2 x tea\n1 x cake\ntotal 8.99') throw new Error(said);
console.log('the shop works');
JS
git init -q
git add .
git -c user.name=You -c user.email=you@example.org commit -q -m 'one long file'
ls -1
took

say 'It gets a machine of its own'
show paddock create --name "$box" shell "$project"
"$paddock" create --name "$box" shell "$project" </dev/null
took

say 'The agent restructures the project, and tries what it made'
agent 'mkdir src
for f in price total receipt; do grep "^function $f" shop.js > src/$f.js; echo "module.exports = $f;" >> src/$f.js; done
sed -i "1i const price = require(\"./price\"), total = require(\"./total\");" src/receipt.js
echo "module.exports = { price: require(\"./src/price\"), total: require(\"./src/total\"), receipt: require(\"./src/receipt\") };" > shop.js
node check.js'
took

say 'It is on your computer at once, and it is yours'
git status --short
expect 'the new files are here' test -f src/receipt.js
expect 'they belong to you' test "$(stat -c %u src/receipt.js)" = "$(id -u)"
took

say 'The agent is root on its machine: it installs something, then everything goes wrong'
agent 'echo "echo a tool for everybody" | sudo tee /usr/local/bin/tool >/dev/null; sudo chmod +x /usr/local/bin/tool; tool
sudo rm -rf /etc /usr/bin /usr/sbin /usr/lib/x86_64-linux-gnu /var/lib/dpkg 2>/dev/null || :'
took

say 'That machine is done for'
expect 'no program starts in it any more' not "$paddock" exec -q "$box" ls /
expect 'your computer has its own /usr and /etc' test -x /usr/bin/env -a -f /etc/passwd
took

say 'Your project does not care'
expect 'every file is here' test -f src/price.js -a -f src/total.js -a -f src/receipt.js -a -f check.js
expect 'git agrees' git fsck --no-progress
took

say 'Throw the machine away, take a new one'
show paddock rm -f "$box"
"$paddock" rm -f "$box"
show paddock create --name "$box" shell "$project"
"$paddock" create -q --name "$box" shell "$project" </dev/null
took

say 'It is clean, and the work goes on where it was'
expect 'the tool is gone with its machine' not "$paddock" exec -q "$box" sh -c 'command -v tool'
agent 'node check.js
git add .
git commit -q -m "a file for each thing"
git log --oneline'
expect 'your own git sees the commit' git log -1 --grep 'a file for each thing' --format=%s
took

last=$began
say 'All of it'
took

#!/bin/sh
# try.sh PADDOCK: the main job once, on a project of its own that is removed afterwards.
set -eu
paddock=$1
project=$(mktemp -d "${TMPDIR:-/tmp}/paddock-try.XXXXXX")
name=try-$$

finish() {
	"$paddock" rm -f "$name" >/dev/null 2>&1 || true
	rm -rf "$project"
}
trap finish EXIT
trap 'exit 130' INT TERM

echo 'int main(void) { return 42; }' > "$project/answer.c"
echo "==> $paddock template build"
"$paddock" template build
echo "==> $paddock run --name $name shell $project -- -c '...'"
status=0
"$paddock" run --name "$name" shell "$project" -- -c '
	echo "this is $(id -un) on $(uname -nr), in $(pwd)"
	gcc -o answer answer.c
	./answer' || status=$?
echo "==> its exit status came back: $status (42 is right)"
[ "$status" -eq 42 ]
echo "==> what it built is here and belongs to $(id -un):"
ls -l "$project"
[ "$(stat -c %u "$project/answer")" -eq "$(id -u)" ]
echo "==> again, in the same machine"
"$paddock" run -q --name "$name" -- -c 'echo "up for $(cut -d" " -f1 /proc/uptime) s"'
"$paddock" ls
echo "==> $paddock rm -f $name"
"$paddock" rm -f "$name"
echo "It works. Yours: $paddock run shell ~/my-project"

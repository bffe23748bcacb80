#!/bin/sh
# make-man.sh PADDOCK PAGE.in: the page with its @COMMANDS@ line replaced.
set -eu
sed '/^@COMMANDS@$/,$d' "$2"
"$1" help --mdoc
sed '1,/^@COMMANDS@$/d' "$2"

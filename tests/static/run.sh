#!/usr/bin/env bash
# run.sh TOOL BUILD: reads the tree with one tool; a finding is a failure. TOOL is one of
#   format: clang-format, by .clang-format
#   shell: every shell script and bats file
#   cppcheck: src/, less what cppcheck.suppress excuses
#   gcc, clang: every C file compiles without a warning, in BUILD-gcc and BUILD-clang
#   analyzer: gcc -fanalyzer over src/, in BUILD-analyzer
#   tidy: clang-tidy over src/, by .clang-tidy
#
# Each version of a tool has its own opinions. The tree is read with those of Debian 12; what another
# version finds is shown and not counted, and a clang-format of another version is not asked at all.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
build=$(realpath -m "${2:?}")
jobs=$(nproc)

version() { "$@" --version | grep -oE '[0-9]+\.[0-9]+' | head -n 1; }

# $1: the reference's version or its beginning; the rest: the tool
is_reference() {
	local want=$1
	shift
	[[ "$(version "$@")." == "$want".* ]]
}

counted() { # STATUS WANT TOOL
	[ "$1" -ne 0 ] || return 0
	is_reference "$2" "$3" && return 1
	echo "static: $3 $(version "$3") is not $2: what it finds is not counted"
}

run_format() {
	local files
	if ! is_reference 14 clang-format; then
		echo "static: clang-format $(version clang-format) is not 14: not asked"
		return 0
	fi
	mapfile -t files < <(git ls-files '*.c' '*.h')
	clang-format --dry-run -Werror "${files[@]}"
}

run_shell() {
	local scripts bad=0
	mapfile -t scripts < <(git ls-files | xargs grep -lE '^#!.*\b(ba)?sh$' 2>/dev/null)
	shellcheck -S warning "${scripts[@]}" || bad=1
	mapfile -t scripts < <(git ls-files '*.bats')
	[ ${#scripts[@]} -eq 0 ] || shellcheck -S warning -s bats "${scripts[@]}" || bad=1
	mapfile -t scripts < <(git ls-files '*.bash')
	[ ${#scripts[@]} -eq 0 ] || shellcheck -S warning -s bash "${scripts[@]}" || bad=1
	# Texts that get their variables (SC2154) from the plan before they run.
	shellcheck -S warning -s sh -e SC2154 src/image/hooks/*.sh || bad=1
	return "$bad"
}

run_cppcheck() {
	local dir includes=()
	for dir in src/*/ src/*/include; do
		includes+=(-I "$dir")
	done
	cppcheck -q -j "$jobs" --error-exitcode=1 --enable=warning,performance,portability \
		--library=posix,tests/static/cppcheck.cfg \
		--suppressions-list=tests/static/cppcheck.suppress \
		--std=c11 -D_GNU_SOURCE -DPADDOCK_VERSION='""' "${includes[@]}" src
	counted $? 2.10 cppcheck
}

objects() { # FOLDER FILTER: one object of each source
	jq -r "map(select(.output | $2)) | unique_by(.file)[].output" "$1/compile_commands.json"
}

# Where a warning is an error, no object is left behind to hide it from the next run.
compile() { # FOLDER FILTER CC MESON-OPTION...
	local folder=$1 filter=$2 cc=$3 log status
	shift 3
	log=$(mktemp) || return 2
	if [ ! -f "$folder/build.ninja" ] && ! CC=$cc meson setup "$folder" -Dwerror=true "$@" >"$log" 2>&1; then
		cat "$log"
		rm -rf "$log" "$folder"
		return 2
	fi
	# The first line makes compile_commands.json new where a meson.build has changed.
	ninja -C "$folder" build.ninja >"$log" 2>&1 &&
		objects "$folder" "$filter" | xargs ninja -C "$folder" -j "$jobs" -k 0 >"$log" 2>&1
	status=$?
	[ "$status" -eq 0 ] || grep -vE '^\[[0-9]+/[0-9]+\]|^ninja: Entering' "$log"
	rm -f "$log"
	return "$status"
}

run_gcc() {
	compile "$build-gcc" true gcc
	counted $? 12 gcc
}

run_clang() {
	compile "$build-clang" true clang
	counted $? 14 clang
}

# use-of-uninitialized-value: gcc 12 loses the initialisation of a variable whose cleanup function
# it inlines. clang's analyzer, which tidy runs, looks for the same and gets it right.
run_analyzer() {
	compile "$build-analyzer" 'startswith("src/")' gcc \
		-Dc_args='-fanalyzer -Wno-analyzer-use-of-uninitialized-value'
	counted $? 12 gcc
}

# One file per process: where it is given several, clang-tidy 14 takes every va_list of all but the
# first for uninitialised.
run_tidy() {
	# For compile_commands.json and the generated headers; whether it compiles is not asked here.
	compile "$build-clang" 'startswith("src/")' clang >/dev/null
	git ls-files 'src/*.c' | xargs -P "$jobs" -n 1 clang-tidy --quiet --warnings-as-errors='*' \
		-p "$build-clang" 2>&1 | sed -E '/^[0-9]+ warnings? (generated|treated)/d'
	counted $? 14 clang-tidy
}

case ${1:-} in
format | shell | cppcheck | gcc | clang | analyzer | tidy) "run_$1" ;;
*)
	echo "run.sh: no tool '${1:-}'" >&2
	exit 2
	;;
esac

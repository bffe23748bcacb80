#!/bin/sh
# setup.sh build|try|check|bench: installs what that needs and is missing (Debian 12/13, Ubuntu 24.04).
# As root, or through sudo; where neither is possible it names the packages and fails.
set -eu

build='meson ninja-build pkg-config gcc libc6-dev libuv1-dev libnghttp2-dev libjansson-dev
	libyaml-dev libseccomp-dev libnftables-dev libcap-dev libidn2-dev libsqlite3-dev libssl-dev'
run='qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring uidmap e2fsprogs dpkg xz-utils zstd
	tar git ca-certificates'
check='libcmocka-dev bats cpio tmux jq curl python3 git gcc clang clang-format clang-tidy
	cppcheck shellcheck mandoc bsdextrautils iproute2
	docker-registry nghttp2-server ngtcp2-server openssh-client openssh-server redis-server procps psmisc strace util-linux busybox-static sudo file openssl make sqlite3 libcap2-bin attr'
# What the benches compare with.
bench='bubblewrap haproxy mitmproxy podman squid-openssl tinyproxy'

case ${1:-build} in
build) packages=$build ;;
try) packages="$build $run" ;;
check) packages="$build $run $check" ;;
bench) packages="$build $run $bench" ;;
*)
	echo "setup.sh: write build, try, check or bench" >&2
	exit 2
	;;
esac

missing=
for p in $packages; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) || true
	[ "$state" = installed ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
	as_root=
elif command -v sudo >/dev/null 2>&1; then
	as_root=sudo
else
	echo "setup.sh: as root, run: apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
# shellcheck disable=SC2086 # lists of words
{
	$as_root apt-get update -qq
	# RUNLEVEL: no server of these is started (invoke-rc.d(8)), now or at boot: tests and benches
	# start their own. One that was there before stays as it is.
	$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
		apt-get install -y -qq --no-install-recommends $missing
	if [ -d /run/systemd/system ]; then
		for pair in docker-registry:docker-registry ngtcp2-server:ngtcp2d openssh-server:ssh \
			redis-server:redis-server haproxy:haproxy squid-openssl:squid tinyproxy:tinyproxy; do
			case "$missing " in
			*" ${pair%:*} "*) $as_root systemctl disable --quiet --now "${pair#*:}" || true ;;
			esac
		done
	fi
} </dev/null

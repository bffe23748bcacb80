# customize.sh: mmdebstrap's customize hook. Runs as the image's root, outside the chroot, whose path is $1.
# The plan puts these assignments before it: uid gid kernel boot_modules apt_conf
# shellcheck shell=sh disable=SC2154
set -eu
root=${1:?}
in_image() { env --unset=TMPDIR LC_ALL=C chroot "$root" "$@"; }

# The kernel is unpacked, not installed: there is no boot loader and no initramfs-tools in here.
mkdir "$root/tmp/kernel"
depends=$(APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-cache depends --important "$kernel")
package=$(printf '%s\n' "$depends" | sed -n 's/^ *Depends: \(linux-image-[^ <>]*\)$/\1/p' | head -n 1)
[ -n "$package" ] || { echo "E: $kernel names no kernel package" >&2; exit 1; }
echo "I: downloading $package" >&2
(cd "$root/tmp/kernel" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q download "$package")
dpkg-deb -x "$root/tmp/kernel/"*.deb "$root/tmp/kernel/tree"
for vmlinuz in "$root/tmp/kernel/tree/boot/vmlinuz-"*; do release=${vmlinuz##*/vmlinuz-}; done
modules=$root/tmp/kernel/tree/lib/modules
[ -d "$modules" ] || modules=$root/tmp/kernel/tree/usr/lib/modules
mkdir -p "$root/usr/lib/modules"
mv "$modules/$release" "$root/usr/lib/modules/"
rm -f "$root/usr/lib/modules/$release/build" "$root/usr/lib/modules/$release/source"
# Loading an xz-packed module costs a software-emulated guest more than its bytes on the disk.
find "$root/usr/lib/modules/$release" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 xz -d
in_image depmod "$release"

# What a boot needs, in the order of loading: modprobe resolves it, aliases and built-ins included.
boot=$root/boot/paddock
mkdir -p "$boot/modules"
cp "$vmlinuz" "$boot/vmlinuz"
dpkg-deb -f "$root/tmp/kernel/"*.deb Version > "$boot/version"
printf '%s\n' "$release" > "$boot/release"
for m in $boot_modules; do
	in_image modprobe --set-version "$release" --ignore-install --show-depends "$m" \
		>> "$root/tmp/depends"
done
sed -n 's/^insmod \([^ ]*\).*/\1/p' "$root/tmp/depends" | awk '!seen[$0]++' \
	> "$root/tmp/boot-modules"
while read -r path; do
	cp "$root$path" "$boot/modules/"
	printf '/modules/%s\n' "${path##*/}"
done < "$root/tmp/boot-modules" > "$boot/modules/modules.list"
cp "$root/etc/ssl/certs/ca-certificates.crt" "$boot/ca-certificates.crt"
rm -rf "$root/tmp/kernel" "$root/tmp/depends" "$root/tmp/boot-modules"

# The user. Ids that the image already uses are taken over: the host's user decides.
taken=$(in_image getent passwd "$uid" | cut -d: -f1) || true
[ -z "$taken" ] || in_image userdel --force "$taken"
in_image getent group "$gid" >/dev/null || in_image groupadd --gid "$gid" agent
in_image groupadd --force --system docker
in_image useradd --no-create-home --home-dir /home/agent --shell /bin/bash --uid "$uid" \
	--gid "$gid" --groups sudo,docker --comment 'coding agent' --no-log-init agent
# Ownership of the home is written by pack.sh: the namespace may not have the host user's id.
mkdir -p "$root/home/agent/.local/bin"
cp "$root/etc/skel/.bashrc" "$root/etc/skel/.profile" "$root/etc/skel/.bash_logout" \
	"$root/home/agent/"
# As root in the guest one is root; as agent, global npm packages go to where PATH already looks.
echo "prefix=/home/agent/.local" > "$root/home/agent/.npmrc"

cat > "$root/etc/sudoers.d/agent" <<-'EOF'
	agent ALL=(ALL:ALL) NOPASSWD:ALL
	Defaults:agent env_keep += "HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy"
	Defaults:agent env_keep += "SSL_CERT_FILE NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE PIP_CERT"
	Defaults:agent env_keep += "CURL_CA_BUNDLE GIT_SSL_CAINFO BASH_ENV IS_SANDBOX COLORTERM TZ"
EOF
chmod 0440 "$root/etc/sudoers.d/agent"

# Sourced by every bash: BASH_ENV names it for scripts, these two for interactive and login shells.
cat > "$root/etc/sandbox-persistent.sh" <<-'EOF'
	# Sourced by every bash in this sandbox. Lines such as: export KEY=value
EOF
echo '[ -r /etc/sandbox-persistent.sh ] && . /etc/sandbox-persistent.sh' \
	> "$root/etc/profile.d/sandbox-persistent.sh"
# Debian's own does the same with two more programs: half the time of a command in a machine that is up.
cat > "$root/etc/profile" <<-'EOF'
	if [ "${EUID:-$(id -u)}" -eq 0 ]; then
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	else
		PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games
	fi
	export PATH
	[ -z "${PS1-}" ] || [ -z "${BASH-}" ] || [ "$BASH" = /bin/sh ] || . /etc/bash.bashrc
	for i in /etc/profile.d/*.sh; do
		[ ! -r "$i" ] || . "$i"
	done
	unset i
EOF
cat >> "$root/etc/bash.bashrc" <<-'EOF'

	[ -r /etc/sandbox-persistent.sh ] && . /etc/sandbox-persistent.sh
EOF

# Workspaces belong to another user from git's point of view when root looks at them.
printf '[safe]\n\tdirectory = *\n' > "$root/etc/gitconfig"
# A machine that is thrown away needs no protection from pip.
printf '[global]\nbreak-system-packages = true\ndisable-pip-version-check = true\n' \
	> "$root/etc/pip.conf"
printf 'update-notifier=false\nfund=false\naudit=false\n' > "$root/etc/npmrc"
in_image update-alternatives --quiet --install /usr/bin/vim vim /usr/bin/vim.tiny 10
rm -f "$root/etc/localtime"
ln -s /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
echo 'LANG=C.UTF-8' > "$root/etc/default/locale"
printf '%s\n' "$apt_conf" > "$root/etc/apt/apt.conf.d/90paddock"

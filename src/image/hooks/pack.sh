# pack.sh: runs after mmdebstrap, as the image's root, outside the image, whose path is $1.
# The plan puts these assignments before it: uid gid disk_bytes
# Descriptors: 3 disk (a file of the right size), 4 boot files (tar).
# shellcheck shell=sh disable=SC2154
set -eu
umask 022
root=${1:?}

# mmdebstrap's own plug for this name is gone only now.
printf '#!/bin/sh\n# Nothing starts by being installed: there is no service manager in here.\nexit 101\n' \
	> "$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
cat > "$root/etc/dpkg/dpkg.cfg.d/90paddock" <<-'EOF'
	path-exclude=/usr/share/man/*.gz
	path-exclude=/usr/share/doc/*
	path-include=/usr/share/doc/*/copyright
	path-exclude=/usr/share/info/*
	path-exclude=/usr/share/locale/*
	path-include=/usr/share/locale/locale.alias
EOF
rm -f "$root/etc/resolv.conf"
echo 'nameserver 198.18.0.1' > "$root/etc/resolv.conf"
echo 'sandbox' > "$root/etc/hostname"
printf '127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"
: > "$root/etc/machine-id"
: > "$root/etc/fstab"
rm -rf "${root:?}"/dev/* "$root"/run/* "$root"/tmp/* "$root"/var/tmp/* "$root/var/cache/apt"/*.bin \
	"$root/var/cache/debconf"/*-old "$root/var/lib/dpkg"/*-old "$root"/var/log/*.log \
	"$root/var/log/apt"/*
mkdir -p "$root/run/lock"

echo 'I: exporting the kernel' >&2
tar -C "$root/boot/paddock" -cf - vmlinuz version release ca-certificates.crt modules >&4
rm -rf "$root/boot/paddock"

echo 'I: writing the disk' >&2
# Pinned rather than the host's mke2fs.conf, so that every host makes the same disk. A small
# journal, because its blocks end up in every sandbox's overlay; tables are left to be zeroed never
# (the guest mounts with noinit_itable).
features=none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg
features=$features,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum
mke2fs -q -F -t ext4 -b 4096 -I 256 -i 16384 -m 1 -J size=32 -L paddock -O "$features" \
	-E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 \
	-d "$root" /proc/self/fd/3 "$((disk_bytes / 4096))"
# The agent's own files: by debugfs, because its id may lie outside of this namespace.
{
	echo /etc/sandbox-persistent.sh
	cd "$root" && find home/agent -printf '/%p\n'
} | while read -r path; do
	printf 'set_inode_field %s uid %s\nset_inode_field %s gid %s\n' "$path" "$uid" "$path" "$gid"
done > "$root/tmp/owners"
debugfs -w -f "$root/tmp/owners" /proc/self/fd/3 > "$root/tmp/debugfs.log" 2>&1
if grep -v -e '^debugfs: ' -e '^debugfs [0-9]' "$root/tmp/debugfs.log" >&2; then
	echo 'E: the ownership of /home/agent was not written' >&2
	exit 1
fi

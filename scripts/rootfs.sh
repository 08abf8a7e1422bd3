#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# rootfs.sh OUT RUN [DIR]...: write the initramfs OUT: busybox, init.c as PID 1,
# RUN as /run.sh, and the contents of each DIR below /.

. "$(dirname "$0")/common.sh"

entries_of_dir()
{
	local dir=$1 path

	(cd "$dir" && find . -mindepth 1 -type d -printf '%P\n' | sort) | while read -r path; do
		printf 'dir /%s 0755 0 0\n' "$path"
	done
	(cd "$dir" && find . -type f -printf '%P\n' | sort) | while read -r path; do
		printf 'file /%s %s %s 0 0\n' "$path" "$dir/$path" "$([ -x "$dir/$path" ] && echo 0755 || echo 0644)"
	done
}

busybox_links()
{
	/bin/busybox --list | while read -r applet; do
		[ "$applet" = busybox ] || printf 'slink /bin/%s busybox 0755 0 0\n' "$applet"
	done
}

list_entries()
{
	local what

	for what in bin sbin dev proc sys tmp run usr usr/bin usr/sbin etc; do
		printf 'dir /%s 0755 0 0\n' "$what"
	done
	printf 'nod /dev/console 0600 0 0 c 5 1\n'
	printf 'file /init %s 0755 0 0\n' "$INIT"
	printf 'file /run.sh %s 0755 0 0\n' "$RUN"
	for what; do
		entries_of_dir "$what"
	done
	printf 'file /bin/busybox /bin/busybox 0755 0 0\n'
	printf 'file /usr/bin/perl %s 0755 0 0\n' "$TOP/scripts/guest_perl"
	printf 'slink /usr/bin/env /bin/busybox 0755 0 0\n'
	busybox_links
}

find_work
OUT=$1
RUN=$2
shift 2
INIT=$WORK/init
CPIO=$(kernel_dir)/usr/gen_init_cpio
if [ ! -e "$INIT" ] || [ "$TOP/scripts/init.c" -nt "$INIT" ]; then
	gcc -Wall -Wextra -Werror -O2 -static -o "$INIT.new" "$TOP/scripts/init.c" ||
		die "$EX_MACHINERY" "cannot build scripts/init.c: is libc6-dev installed?"
	mv "$INIT.new" "$INIT"
fi
list_entries "$@" >"$OUT.list"
"$CPIO" -t 0 "$OUT.list" >"$OUT" || die "$EX_MACHINERY" "cannot write $OUT"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# source.sh: make the pristine kernel source at $WORK/base/src, from Debian's
# linux-source-6.12, or from the user's tree KSRC, which is only read.

. "$(dirname "$0")/common.sh"

unpack_debian()
{
	[ -d "$WORK/base/src" ] && return
	rm -rf "$WORK/base/src.new"
	mkdir -p "$WORK/base/src.new"
	note "unpacking $TARBALL"
	tar -C "$WORK/base/src.new" --strip-components=1 -xf "$TARBALL" ||
		die "$EX_MACHINERY" "cannot unpack $TARBALL: is the disk full, or the package broken?"
	mv "$WORK/base/src.new" "$WORK/base/src"
	: >"$WORK/base/src.complete"
}

# The files that git tracks or would track, from the working tree: without build
# products, with the user's uncommitted changes.
list_git_tree()
{
	GIT_OPTIONAL_LOCKS=0 git -C "$KSRC" ls-files -z --cached --others --exclude-standard |
		while IFS= read -r -d '' file; do
			[ -e "$KSRC/$file" ] || [ -L "$KSRC/$file" ] || continue
			printf '%s\0' "$file"
		done
}

# Both compare contents and give changed files a new timestamp, as make compares
# timestamps, and the user's may be older than our last build. They print what they
# changed.
copy_git_tree()
{
	local list=$WORK/ksrc.list

	list_git_tree | sort -z >"$list"
	[ -s "$list" ] || die "$EX_USAGE" "KSRC='$KSRC' is a git tree without files"
	rsync -rlp --checksum --out-format=%n --from0 --files-from="$list" "$KSRC/" "$WORK/base/src/"
	(cd "$WORK/base/src" && find . \( -type f -o -type l \) -printf '%P\0') | sort -z |
		comm -z -13 "$list" - | (cd "$WORK/base/src" && xargs -0 -r rm -fv --)
}

copy_plain_tree()
{
	rsync -rlp --checksum --delete --out-format=%n \
		--exclude=/.git --exclude=/.config --exclude=/include/config \
		--exclude=/include/generated --exclude='/arch/*/include/generated' \
		--exclude='*.o' --exclude='*.a' --exclude='*.ko' --exclude='.*.cmd' \
		--exclude='/vmlinux*' --exclude='/linux' --exclude='/.tmp_*' \
		"$KSRC/" "$WORK/base/src/"
}

copy_ksrc()
{
	local top copy=copy_plain_tree

	top=$(GIT_OPTIONAL_LOCKS=0 git -C "$KSRC" rev-parse --show-toplevel 2>/dev/null || :)
	[ "$top" != "$KSRC" ] || copy=copy_git_tree
	note "copying $KSRC"
	mkdir -p "$WORK/base/src"
	"$copy" >"$WORK/ksrc.changed" ||
		die "$EX_MACHINERY" "cannot copy KSRC='$KSRC' to $WORK/base/src"
	[ ! -s "$WORK/ksrc.changed" ] || : >"$WORK/base/src.complete"
}

check_variables
find_work
lock_source
if [ -n "$KSRC" ]; then
	copy_ksrc
else
	unpack_debian
fi

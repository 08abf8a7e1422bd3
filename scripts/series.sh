#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series.sh: make $WORK/patched/src from $WORK/base/src, the overlays and the
# patches: the series without LEAVE_OUT, then EXTRA_PATCHES. All patches are first
# applied to a copy of the files concerned, so a patch that does not apply leaves
# the tree unchanged. Only files that differ are replaced, to keep the next build
# as short as possible. For UML's base kernel make $WORK/base-um/src in the same
# way, with the patches of scripts/um alone; BOTH=1 makes both.

. "$(dirname "$0")/common.sh"

# is_called PATCH NAME: does NAME, with or without folder, number and ".patch", match?
is_called()
{
	local path=${1%.patch} file name=${2%.patch}

	file=${path##*/}
	case $name in
	"$path"|"$file"|"${file#[0-9][0-9][0-9][0-9]-}") return 0 ;;
	esac
	return 1
}

left_out()
{
	local out

	for out in $LEAVE_OUT; do
		if is_called "$1" "$out"; then
			return 0
		fi
	done
	return 1
}

check_leave_out()
{
	local out patch known

	for out in $LEAVE_OUT; do
		known=
		while read -r patch; do
			if is_called "$patch" "$out"; then
				known=1
			fi
		done < <(series_patches)
		[ -n "$known" ] ||
			usage_error "LEAVE_OUT: '$out' is not a patch of the series, which are: $(series_patches | tr '\n' ' ')"
	done
}

check_extra_patches()
{
	local patch

	for patch in $EXTRA_PATCHES; do
		[ -r "$patch" ] || usage_error "EXTRA_PATCHES: cannot read '$patch': give a path from the current directory"
		[ -n "$(patch_files "$patch")" ] ||
			usage_error "EXTRA_PATCHES: '$patch' changes no file with -p1 paths (a/FILE and b/FILE)"
	done
}

# The patches to apply, one per line: NAME and PATH.
wanted_patches()
{
	local patch

	if [ "$TREE" = base-um ]; then
		return
	fi
	series_patches | while read -r patch; do
		left_out "$patch" || printf '%s %s\n' "$patch" "$TOP/$patch"
	done
	for patch in $EXTRA_PATCHES; do
		printf '%s %s\n' "$patch" "$patch"
	done
}

stage_files()
{
	local file name path overlay

	[ "$TREE" != patched ] || series_overlays | while read -r overlay; do
		overlay_files "$overlay" | while read -r file; do
			mkdir -p "$STAGE/$(dirname "$file")"
			cp "$TOP/$file" "$STAGE/$file"
		done
	done
	{
		um_patches
		wanted_patches
	} | while read -r name path; do
		patch_files "$path"
	done | sort -u | while read -r file; do
		if [ -e "$STAGE/$file" ] || [ ! -e "$WORK/base/src/$file" ]; then
			continue
		fi
		mkdir -p "$STAGE/$(dirname "$file")"
		cp -p "$WORK/base/src/$file" "$STAGE/$file"
	done
}

# Report which file and hunk of a patch moved, or did not apply, from the output of
# patch(1).
report_patch()
{
	local name=$1 log=$2

	awk -v name="$name" '
	/^(checking|patching) file / { file = $3 }
	/^Hunk #[0-9]+ FAILED/ {
		printf "%s: %s: hunk %d does not apply\n", name, file, substr($2, 2)
	}
	/^Hunk #[0-9]+ succeeded/ {
		hunk = substr($2, 2)
		sub(/^Hunk #[0-9]+ succeeded /, "")
		printf "%s: %s: hunk %d moved: applied %s\n", name, file, hunk, $0
	}
	/No file to patch|an.t find file|Reversed|malformed|garbage|already exists/ {
		printf "%s: %s: %s\n", name, file, $0
	}' "$log"
}

# What UML needs to run on this processor. Skipped if it does not apply: other kernels
# may already have it.
um_patches()
{
	local patch

	for patch in "$TOP"/scripts/um/*.patch; do
		printf '%s %s\n' "${patch#"$TOP/"}" "$patch"
	done
}

apply_um_patches()
{
	local name path

	while read -r name path; do
		if apply_patch "$STAGE" --dry-run <"$path" >/dev/null 2>&1; then
			apply_patch "$STAGE" <"$path" >/dev/null
		else
			note "$name does not apply to $(source_name) and is left out: its header says where UML does not run without"
		fi
	done < <(um_patches)
}

apply_patches()
{
	local name path log=$STAGE.log failed=

	while read -r name path; do
		if apply_patch "$STAGE" \
			<"$path" >"$log" 2>&1; then
			report_patch "$name" "$log" | while read -r line; do note "$line"; done
			continue
		fi
		report_patch "$name" "$log" | grep -v ' moved: ' >&2 || cat "$log" >&2
		failed=$name
		break
	done < <(wanted_patches)
	[ -z "$failed" ] ||
		die "$EX_MACHINERY" "$failed does not apply to $(source_name); nothing was changed. Rebase it in the tree that 'make tree' makes, or choose another source"
}

# Replace a file of the tree, without writing through a hard link into the base tree,
# and with a new timestamp, so that make sees the change.
replace()
{
	mkdir -p "$(dirname "$2")"
	cp "$1" "$2.fuse_wb-new"
	mv "$2.fuse_wb-new" "$2"
}

install_stage()
{
	local tree=$WORK/$TREE/src old=$WORK/$TREE/files file

	if [ ! -e "$WORK/$TREE/complete" ] || [ "$WORK/base/src.complete" -nt "$WORK/$TREE/complete" ]; then
		mkdir -p "$WORK/$TREE"
		if [ -e "$tree" ]; then
			# Exclude files that patches have changed: with new timestamps, nearly
			# everything would be rebuilt. They are compared below.
			touch "$old"
			rsync -a --delete --exclude-from=<(sed 's#^#/#' "$old") \
				--link-dest="$WORK/base/src" "$WORK/base/src/" "$tree/"
		else
			rm -rf "$tree.new" "$old"
			cp -al "$WORK/base/src" "$tree.new"
			mv "$tree.new" "$tree"
		fi
		: >"$WORK/$TREE/complete"
	fi
	(cd "$STAGE" && find . -type f -printf '%P\n') | sort >"$STAGE.files"
	# First record what is about to differ, so that it can be restored after an
	# interrupted run.
	touch "$old"
	sort -u "$old" "$STAGE.files" >"$old.new"
	mv "$old.new" "$old"
	while read -r file; do
		if [ -e "$STAGE/$file" ]; then
			cmp -s "$STAGE/$file" "$tree/$file" || replace "$STAGE/$file" "$tree/$file"
		elif [ -e "$WORK/base/src/$file" ]; then
			cmp -s "$WORK/base/src/$file" "$tree/$file" || replace "$WORK/base/src/$file" "$tree/$file"
		else
			rm -f "$tree/$file"
		fi
	done <"$old"
	mv "$STAGE.files" "$old"
}

check_variables
find_work
lock_source
check_leave_out
check_extra_patches
STAGE=$WORK/stage
for TREE in patched base-um; do
	[ "$TREE" != base-um ] || [ "$(kernel_tree)" = base-um ] ||
		[ "${BOTH:-}$ARCH" = 1um ] || continue
	rm -rf "$STAGE"
	mkdir -p "$STAGE"
	stage_files
	apply_um_patches
	apply_patches
	install_stage
	rm -rf "$STAGE" "$STAGE.log"
done

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# each_patch.sh: apply the series patch by patch, build after each patch all that it
# may have broken, for x86_64 with W=1 and sparse, and fail on a failed build or a new
# warning. A file that only includes a changed header is not compiled to its end, which
# takes half of the time. At the end of each group of the series, which may be sent on its
# own, build for UML as well. The two halves of the series and UML run concurrently, each
# in its own tree: most patches change a single file, and its build uses one processor.

. "$(dirname "$0")/common.sh"

build()
{
	kmake -C "$TREE" O="$OBJ" ARCH="$ARCH" W=1 C=1 CC="$TOP/scripts/changed.sh gcc" \
		CHECK="$TOP/scripts/changed.sh sparse" "$@"
}

configure()
{
	mkdir -p "$OBJ"
	cp "$WORK/patched/$ARCH/.config" "$OBJ/.config"
	"$TREE/scripts/config" --file "$OBJ/.config" -e KUNIT -e FUSE_WB_KUNIT_TEST
	build olddefconfig prepare
}

entry_files()
{
	case $1 in
	+*) overlay_files "${1#+}" ;;
	*) patch_files "$TOP/$1" ;;
	esac
}

# Restore the tree to its state without any patch. No file that the patches touch may
# be hard-linked to the base tree.
restore_base()
{
	local file

	if [ ! -e "$EACH/complete" ] || [ "$WORK/base/src.complete" -nt "$EACH/complete" ]; then
		rm -rf "$TREE"
		mkdir -p "$EACH"
		cp -al "$WORK/base/src" "$TREE"
		: >"$EACH/complete"
	fi
	touch "$EACH/files"
	{
		cat "$EACH/files"
		series_entries | while read -r entry; do
			entry_files "$entry"
		done
	} | sort -u >"$EACH/files.new"
	mv "$EACH/files.new" "$EACH/files"
	while read -r file; do
		if [ ! -e "$WORK/base/src/$file" ]; then
			rm -f "$TREE/$file"
		elif [ "$WORK/base/src/$file" -ef "$TREE/$file" ] || ! cmp -s "$WORK/base/src/$file" "$TREE/$file"; then
			rm -f "$TREE/$file"
			cp "$WORK/base/src/$file" "$TREE/$file"
		fi
	done <"$EACH/files"
}

apply_entry()
{
	local entry=$1 file

	case $entry in
	+*)
		overlay_files "${entry#+}" | while read -r file; do
			mkdir -p "$TREE/$(dirname "$file")"
			cp "$TOP/$file" "$TREE/$file"
		done
		;;
	*)
		apply_patch "$TREE" <"$TOP/$entry" ||
			die "$EX_FAIL" "$entry does not apply"
		;;
	esac
}

# The objects that the series touches, if the kernel of this architecture has them.
# Find them once, as other runs may build there later.
find_objects()
{
	local file

	while read -r file; do
		case $file in
		fs/fuse/* | lib/kunit-fuse/*) ;;
		*.c) [ ! -e "$WORK/patched/$ARCH/${file%.c}.o" ] || printf '%s\n' "${file%.c}.o" ;;
		esac
	done <"$EACH/files" >"$EACH/objects"
}

objects()
{
	printf '%s\n' fs/fuse/
	cat "$EACH/objects"
	! grep -q kunit-fuse "$TREE/lib/Makefile" || printf '%s\n' lib/kunit-fuse/
}

# The objects that an entry can have changed: all of them if it changes a header or a
# Makefile outside of fs/fuse. make takes seconds to find that an object is up to date.
objects_of()
{
	local file all=''

	while read -r file; do
		case $file in
		Documentation/* | MAINTAINERS | tools/*) ;;
		fs/fuse/*) printf '%s\n' fs/fuse/ ;;
		lib/kunit-fuse/*) objects | grep -xF lib/kunit-fuse/ || : ;;
		*.c) grep -xF "${file%.c}.o" "$EACH/objects" || : ;;
		*) all=1 ;;
		esac
	done < <(entry_files "$1")
	[ -z "$all" ] || objects
}

# warnings OBJECT...: build, and print the warnings without parts that differ from build to
# build.
warnings()
{
	local log=$EACH/log

	[ $# -gt 0 ] || return 0
	if ! build "$@" >"$log" 2>&1; then
		grep -E 'error|Error' "$log" | head -n 20 >&2
		return 1
	fi
	grep -E '(warning|error):' "$log" | sed -E 's#^[^ ]*/src/##; s/:[0-9]+(:[0-9]+)?:/:/' | sort -u || :
}

# The last entry of each group of the series.
group_ends()
{
	awk '/^# \[/ { if (last != "") print last; last = "" }
	     /^(#\+|[^#])/ { last = $0 }
	     END { print last }' "$TOP/series" | sed 's/^#+ */+/'
}

# The entries after which PART builds.
entries_built()
{
	local half=$((($(series_entries | wc -l) + 1) / 2))

	case $1 in
	# Not head: it would end before all entries are written, and fail the pipe.
	first-half) series_entries | sed -n "1,${half}p" ;;
	second-half) series_entries | tail -n "+$((half + 1))" ;;
	um) group_ends ;;
	esac
}

# build_base ENTRY: build all objects before the first entry after which PART builds. Only
# what warns here may warn later.
build_base()
{
	local targets

	# Objects of a previous run are not rebuilt, and would not warn.
	objects | sed "s#^#$OBJ/#" | xargs -r rm -rf
	mapfile -t targets < <(objects)
	CHANGED=
	warnings "${targets[@]}" >"$EACH/warnings" ||
		die "$EX_FAIL" "what comes before $1 does not build for $ARCH"
}

# Apply all entries, and build after those of PART. The other half builds the entries
# before the first of them. CHANGED, for changed.sh, is what changed since the last build.
check_part()
{
	local part=$1 built entry new targets
	local base=''
	local -x CHANGED=

	built=$(entries_built "$part")
	restore_base
	find_objects
	configure
	while read -r entry; do
		if [ -z "$base" ] && { [ "$part" = um ] || grep -qxF -e "$entry" <<<"$built"; }; then
			build_base "$entry"
			base=1
		fi
		apply_entry "$entry"
		CHANGED+="${CHANGED:+ }$(entry_files "$entry" | sed -n '/\.c$/p' | paste -s -d ' ')"
		grep -qxF -e "$entry" <<<"$built" || continue
		echo "$ARCH: $entry"
		# For UML, entries before this one were not built.
		if [ "$part" = um ]; then
			mapfile -t targets < <(objects)
		else
			mapfile -t targets < <(objects_of "$entry" | sort -u)
		fi
		warnings "${targets[@]}" >"$EACH/new" || die "$EX_FAIL" "$entry breaks the build for $ARCH"
		new=$(sort "$EACH/new" | comm -13 "$EACH/warnings" -)
		[ -z "$new" ] || die "$EX_FAIL" "$entry brings new warnings for $ARCH:"$'\n'"$new"
		CHANGED=
	done < <(series_entries)
}

find_work
export ARCH
lock_kernels
for ARCH in um x86_64; do
	[ -e "$WORK/patched/$ARCH/mm/vmscan.o" ] ||
		usage_error "build the $ARCH kernel first: make kselftest ARCH=$ARCH"
	"$TOP/scripts/kernel.sh" config
done
unlock_kernels
declare -A parts
for part in um first-half second-half; do
	ARCH=x86_64
	[ "$part" != um ] || ARCH=um
	EACH=$WORK/each/$part
	TREE=$EACH/src
	OBJ=$EACH/obj
	mkdir -p "$EACH"
	start check_part "$part" 2>"$EACH/errors"
	parts[$child]=$part
done
status=0
for pid in "${!parts[@]}"; do
	ended=0
	finish "$pid" || ended=$?
	if [ "$ended" != 0 ]; then
		echo "fuse_wb: ${parts[$pid]}: ended with status $ended" >>"$WORK/each/${parts[$pid]}/errors"
		status=$ended
	fi
done
# Repeat the errors at the end: those of one part may be far up in the output.
[ "$status" = 0 ] || tail -n 20 "$WORK"/each/*/errors >&2
exit "$status"

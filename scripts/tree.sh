#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tree.sh make	make a git tree of the series at $O/tree: a commit for the pristine
#		kernel, one for each patch and one for each overlay
# tree.sh refresh	turn the commits of that tree into patches, overlays and series
# tree.sh check	fail if the two differ
# tree.sh mbox	write the series, or GROUP, as mailboxes for git am, with cover letters
#
# A patch has the name that git format-patch gives it, in the folder of the maintainer
# who would take it. A note in refs/notes/series tells which patch or overlay a commit is;
# git keeps it when the commit is amended or rebased. A commit without one is new.

. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/mbox.sh"

# Where changes are expected. Tracking the whole kernel would take a minute and twice
# the disk space; refresh reports changed files that are not tracked.
TRACKED=(Documentation/{admin-guide/mm,filesystems,mm} MAINTAINERS block fs include init io_uring kernel lib mm tools/testing)

tgit()
{
	git -C "$TREE" -c core.hooksPath=/dev/null "$@"
}

name_commit()
{
	tgit notes --ref=series add -f -m "$1" HEAD >/dev/null 2>&1
}

make_base()
{
	git -C "$TREE" init -q -b fuse_wb
	tgit config user.name "$(git -C "$TOP" config user.name)"
	tgit config user.email "$(git -C "$TOP" config user.email)"
	tgit config notes.rewriteRef refs/notes/series
	tgit config status.showUntrackedFiles no
	tgit config core.excludesFile /dev/null
	# As in the kernel's .gitattributes, which a small tree lacks.
	echo '*.[ch] diff=cpp' >"$TREE/.git/info/attributes"
	# One pack instead of thousands of loose objects: this halves the time.
	tgit -c core.bigFileThreshold=1 -c core.compression=1 -c core.fsync=none add -f "$@"
	tgit commit -q -m "$(source_name)"
	tgit tag base
}

# The comment directly above an overlay in the series is its commit message: the first
# line is the subject.
overlay_message()
{
	awk -v entry="#+ $1" '
	$0 == entry { printf "%s\n", text; exit }
	/^# / { text = text (text == "" ? "" : NR == first + 1 ? "\n\n" : "\n") substr($0, 3); if (!first) first = NR; next }
	{ text = ""; first = 0 }' "$TOP/series"
}

commit_overlay()
{
	local path=$1 file

	overlay_files "$path" | while read -r file; do
		mkdir -p "$TREE/$(dirname "$file")"
		cp -p "$TOP/$file" "$TREE/$file"
		tgit add -f "$file"
	done
	tgit diff --cached --quiet || overlay_message "$path" | tgit commit -q -s -F -
	name_commit "+$path"
}

commit_patch()
{
	local patch=$1 log=$TREE.log

	if ! apply_patch "$TREE" <"$TOP/$patch" >"$log" 2>&1; then
		cat "$log" >&2
		die "$EX_MACHINERY" "$patch does not apply to $(source_name)"
	fi
	patch_files "$TOP/$patch" | while read -r file; do
		tgit add -f -A -- "$file"
	done
	git mailinfo -b "$TREE.msg" "$TREE.diff" <"$TOP/$patch" >"$TREE.info"
	{
		sed -n 's/^Subject: //p' "$TREE.info"
		echo
		cat "$TREE.msg"
	} | tgit commit -q --author="$(sed -n 's/^Author: //p' "$TREE.info") <$(sed -n 's/^Email: //p' "$TREE.info")>" -F -
	name_commit "$patch"
	rm -f "$log" "$TREE.msg" "$TREE.diff" "$TREE.info"
}

commit_series()
{
	local entry

	while read -r entry; do
		case $entry in
		+*) commit_overlay "${entry#+}" ;;
		*) commit_patch "$entry" ;;
		esac
	done < <(series_entries)
	: >"$TREE/.git/fuse_wb-complete"
}

make_tree()
{
	local tracked=() file

	if [ -e "$TREE" ]; then
		[ ! -e "$TREE/.git/fuse_wb-complete" ] ||
			usage_error "$TREE is there already, maybe with work in it: remove it first, or choose another O="
		rm -rf "$TREE"
	fi
	mkdir -p "$TREE"
	cp -a --reflink=auto "$WORK/base/src/." "$TREE/"
	for file in "${TRACKED[@]}"; do
		[ ! -e "$TREE/$file" ] || tracked+=("$file")
	done
	make_base "${tracked[@]}"
	commit_series
	note "the series is at $TREE, a commit for each patch. Edit, commit, then 'make refresh'"
}

# Make a tree of only the files that the series touches, for comparison.
make_small_tree()
{
	local file

	rm -rf "$TREE"
	mkdir -p "$TREE"
	series_patches | while read -r file; do
		patch_files "$TOP/$file"
	done | sort -u | while read -r file; do
		[ -e "$WORK/base/src/$file" ] || continue
		mkdir -p "$TREE/$(dirname "$file")"
		cp "$WORK/base/src/$file" "$TREE/$file"
	done
	make_base .
	commit_series
}

# The folder for the patch of a new commit: that of the maintainer who would take it.
new_folder()
{
	case $(tgit diff-tree --no-commit-id --name-only -r "$1" | grep -v '^Documentation/' | sed -E 's#^(fs/fuse|fs|mm|lib)/.*#\1#; s#^include/.*##' | sort -u | sed '/^$/d' | head -n 1) in
	fs/fuse) echo fs/fuse ;;
	fs) echo fs ;;
	lib) echo lib ;;
	*) echo mm ;;
	esac
}

# write_patch COMMIT NUMBER FOLDER: write the patch of a commit, and print its path. It has
# no object ids, as those change with every point release, and no versions.
write_patch()
{
	local file

	file=$(tgit format-patch -1 -k --start-number "$2" -o "$3" --zero-commit --no-signature --no-renames "$1")
	sed -i -E -e '1{/^From 0/d}' -e '/^Date: /d' -e '/^index [0-9a-f]+\.\.[0-9a-f]+/d' "$file"
	printf '%s\n' "$file"
}

check_clean()
{
	local dirty

	[ ! -e "$TREE/.git/rebase-merge" ] ||
		usage_error "a rebase is in progress in $TREE: finish it first (git -C $TREE status)"
	dirty=$(tgit status --porcelain -uno)
	[ -z "$dirty" ] || die "$EX_USAGE" "commit or stash these changes in $TREE first:"$'\n'"$dirty"
	dirty=$(cd "$TREE" && find . -path ./.git -prune -o -type f -newer .git/fuse_wb-complete -printf '%P\n' |
		while read -r file; do
			tgit ls-files --error-unmatch "$file" >/dev/null 2>&1 || printf '%s\n' "$file"
		done | grep -Ev '\.(o|cmd|a|ko|mod|orig|rej|swp)$|~$' | head -n 10) || :
	[ -z "$dirty" ] || note "not tracked in $TREE, so not in any patch (git add -f those that should be):"$'\n'"$dirty"
}

# Write the commits of the tree as patches, overlays and series below $1, and the patches
# whose name has changed to $1/renames. The numbers are those of the mailbox.
export_tree()
{
	local out=$1 commit name new overlays file number=0

	mkdir -p "$out"
	: >"$out/entries"
	: >"$out/renames"
	overlays=$(series_overlays)
	for commit in $(tgit rev-list --reverse base..fuse_wb); do
		name=$(tgit notes --ref=series show "$commit" 2>/dev/null | head -n 1) || :
		case $name in
		+*)
			;;
		*)
			if only_overlay "$commit" "$overlays"; then
				continue
			fi
			new=$(write_patch "$commit" $((number + 1)) \
				"$out/$(if [ -n "$name" ]; then dirname "$name"; else new_folder "$commit"; fi)")
			new=${new#"$out/"}
			[ "$name" = "$new" ] || printf '%s %s %s\n' "$commit" "$new" "$name" >>"$out/renames"
			name=$new
			;;
		esac
		number=$((number + 1))
		printf '%s\n' "$name" >>"$out/entries"
	done
	for name in $overlays; do
		tgit ls-tree -r --name-only fuse_wb -- "$name" | while read -r file; do
			mkdir -p "$out/$(dirname "$file")"
			tgit cat-file blob "fuse_wb:$file" >"$out/$file"
			[ "$(tgit ls-tree fuse_wb -- "$file" | cut -d' ' -f1)" != 100755 ] || chmod +x "$out/$file"
		done
	done
}

# Does a commit change files of overlays only? One that changes both is refused.
only_overlay()
{
	local commit=$1 path file inside='' outside=''

	while read -r file; do
		for path in $2; do
			case $file in
			"$path"|"$path"/*) inside=$file; continue 2 ;;
			esac
		done
		outside=$file
	done < <(tgit diff-tree --no-commit-id --name-only -r "$commit")
	if [ -n "$inside" ] && [ -n "$outside" ]; then
		die "$EX_USAGE" "commit $(tgit show -s --format='%h (%s)' "$commit") changes $inside, which this repository keeps whole, and $outside, which becomes a patch: split it"
	fi
	[ -n "$inside" ]
}

# rename_patches RENAMES: update the files of this repository that name a renamed patch.
rename_patches()
{
	local commit new old names=$O/renames

	while read -r commit new old; do
		tgit notes --ref=series add -f -m "$new" "$commit" >/dev/null 2>&1
		[ -z "$old" ] || printf '%s %s\n' "$old" "$new"
	done <"$1" >"$names"
	cut -d' ' -f1 "$names" | while read -r old; do
		rm -f "${TOP:?}/$old"
	done
	[ ! -s "$names" ] || git -C "$TOP" grep -zlF -f <(cut -d' ' -f1 "$names") -- . ':!*.patch' |
		(cd "$TOP" && python3 -c '
import re, sys
new = dict(line.split() for line in open(sys.argv[1]))
old = re.compile("|".join(map(re.escape, new)))
for name in sys.stdin.read().rstrip("\0").split("\0"):
    with open(name, "r+", encoding="utf-8") as file:
        text = old.sub(lambda match: new[match.group()], file.read())
        file.seek(0)
        file.write(text)
        file.truncate()
' "$names") || die "$EX_MACHINERY" "could not rename these patches everywhere: $(cat "$names")"
	rm -f "$names"
}

refresh()
{
	local out=$TREE.out name file

	[ -e "$TREE/.git/fuse_wb-complete" ] || usage_error "there is no tree at $TREE: run 'make tree' first"
	check_clean
	rm -rf "$out"
	export_tree "$out"
	rename_patches "$out/renames"
	series_patches | while read -r name; do
		grep -qxF "$name" "$out/entries" || { note "removing $name"; rm -f "${TOP:?}/$name"; }
	done
	for name in $(series_overlays); do
		overlay_files "$name" | while read -r file; do
			[ -e "$out/$file" ] || { note "removing $file"; rm -f "${TOP:?}/$file"; }
		done
	done
	(cd "$out" && find . -type f ! -path ./entries ! -path ./renames -printf '%P\n') | while read -r file; do
		if ! cmp -s "$out/$file" "$TOP/$file"; then
			note "writing $file"
			mkdir -p "$TOP/$(dirname "$file")"
			cp "$out/$file" "$TOP/$file"
		fi
	done
	write_series "$out/entries"
	rm -rf "$out"
}

# Keep the comments of the series: insert a new entry after the one that it follows.
write_series()
{
	local new=$O/series.new

	awk '
	FNR == 1 { pass++ }
	pass == 1 { order[++n] = $0; next }
	{ entry = "" }
	/^#\+ / || /^[^#]/ {
		entry = $0; sub(/^#\+ */, "+", entry); sub(/[ \t]+$/, "", entry)
	}
	pass == 2 { if (entry != "") old[entry]; next }
	entry == "" { print; next }
	{
		if (!i) emit_new()
		if (order[i + 1] == entry) { i++; print; emit_new() }
	}
	END { emit_new() }
	function emit_new(    e) {
		while (i < n && !(order[i + 1] in old)) {
			e = order[++i]; sub(/^\+/, "#+ ", e); print e
		}
	}' "$1" "$TOP/series" "$TOP/series" >"$new"
	if ! diff <(grep -v '^+' "$1") <(grep -v '^#' "$new" | sed '/^$/d') >/dev/null; then
		note "the order of the commits changed, so series loses its comments: put them back"
		sed 's/^+/#+ /' "$1" >"$new"
	fi
	cmp -s "$new" "$TOP/series" || { note "writing series"; cp "$new" "$TOP/series"; }
	rm -f "$new"
}

# Line numbers and context change with every point release, so those of @@ lines are
# ignored in the comparison.
check()
{
	local out=$TREE.out file status=0

	rm -rf "$out"
	export_tree "$out"
	diff <(series_entries) "$out/entries" || status=1
	while read -r file; do
		diff -u --label "$file" --label "$file, refreshed" \
			<(sed -E 's/^@@ -[0-9,]+ \+[0-9,]+ @@.*/@@/' "$TOP/$file") \
			<(sed -E 's/^@@ -[0-9,]+ \+[0-9,]+ @@.*/@@/' "$out/$file") || status=1
	done < <(cd "$out" && find . -type f ! -path ./entries ! -path ./renames -printf '%P\n')
	rm -rf "$out"
	[ "$status" = 0 ] || die "$EX_FAIL" "the patches are not what 'make refresh' writes: run 'make tree', then 'make refresh', and commit"
}

check_variables
lock_build
"$TOP/scripts/deps.sh" source
find_work
TREE=$O/tree
case ${1:-} in
make)
	"$TOP/scripts/source.sh"
	make_tree
	;;
refresh)
	refresh
	;;
check)
	"$TOP/scripts/source.sh"
	TREE=$O/tree.check
	make_small_tree
	check
	rm -rf "$TREE"
	;;
mbox)
	"$TOP/scripts/source.sh"
	check_group
	# Make a new tree: commits of $O/tree that were not refreshed are not part of it.
	TREE=$O/tree.mbox
	make_small_tree
	write_mboxes
	rm -rf "$TREE"
	;;
*)
	usage_error "tree.sh: '${1:-}' is not known: use make, refresh, check or mbox"
	;;
esac

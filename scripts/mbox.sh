# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Write the series, or a group of it, as mailboxes for git am with cover letters, from the
# git tree made by tree.sh. A line "# [GROUP] SUBJECT" of the series begins a group;
# scripts/cover/GROUP is its cover letter, scripts/cover/all that of the whole series.

GROUP=${GROUP:-all}

list_groups()
{
	sed -n -E 's/^# \[([a-z-]+)\] .*/\1/p' "$TOP/series"
}

check_group()
{
	case $GROUP in
	all|each) ;;
	*)
		# Not -q: a sed that is not read to its end would fail.
		list_groups | grep -xF -e "$GROUP" >/dev/null ||
			usage_error "GROUP: '$GROUP' is no group of the series, which are: $(list_groups | tr '\n' ' ')(or 'each' of them)"
		;;
	esac
}

# The numbers of the first and the last entry of a group, from 1.
group_range()
{
	awk -v wanted="$1" '
	/^# \[/ { group = substr($2, 2, length($2) - 2); next }
	/^#\+ / || /^[^#]/ { n++; if (group == wanted) { if (!first) first = n; last = n } }
	END { print first, last }' "$TOP/series"
}

# What the patches apply to: a commit if the source is a git tree.
print_base()
{
	local commit

	if [ -n "$KSRC" ] && commit=$(git -C "$KSRC" rev-parse HEAD 2>/dev/null); then
		printf 'base-commit: %s\n' "$commit"
	else
		printf 'Based on %s.\n' "$(source_name)"
	fi
}

# The recipients of the patches of a range: the maintainers of the existing files. A new
# folder is always sent with a patch to the existing file that hooks it up.
list_recipients()
{
	tgit log --format= --name-only "$1" | sort -u | while read -r file; do
		[ ! -e "$WORK/base/src/$file" ] || printf '%s\n' "$file"
	done | (cd "$WORK/base/src" && xargs -d '\n' ./scripts/get_maintainer.pl -f --no-git \
		--no-git-fallback --no-rolestats)
}

# write_mbox COVER NAME RANGE: write the mails of the patches to one file and the cover
# letter to another, as b4 does: git am rejects a mail without a patch.
write_mbox()
{
	local cover=$1 mbox=$O/$2.mbox letter=$O/$2.cover range=$3 all=$O/$2.all recipients

	mapfile -t recipients < <(list_recipients "$range" | sed 's/^/--cc=/')
	[ "${#recipients[@]}" -gt 0 ] ||
		die "$EX_MACHINERY" "get_maintainer.pl of $WORK/base/src finds no recipients for $cover"
	tgit config branch.fuse_wb.description "$(cat "$TOP/scripts/cover/$cover")

$(print_base)"
	tgit format-patch -q --stdout --cover-letter --cover-from-description=subject \
		--no-renames --no-signature --zero-commit "${recipients[@]}" "$range" >"$all"
	awk -v cover="$letter" -v mbox="$mbox" '
	/^From 0000000000/ { out = n++ ? mbox : cover }
	{ print >out }' "$all"
	rm -f "$all"
	note "$mbox: $(grep -c '^From 0\{40\} ' "$mbox") patches for git am; the cover letter: $letter"
}

write_group()
{
	local first last

	read -r first last < <(group_range "$1")
	tgit checkout -q -B fuse_wb "$(sed -n "${last}p" "$TREE.commits")"
	write_mbox "$1" "fuse_wb-$1" "$(if [ "$first" = 1 ]; then echo base; else sed -n "$((first - 1))p" "$TREE.commits"; fi)..fuse_wb"
}

write_mboxes()
{
	local group

	tgit rev-list --reverse base..fuse_wb >"$TREE.commits"
	case $GROUP in
	all) write_mbox all fuse_wb base..fuse_wb ;;
	each)
		for group in $(list_groups); do
			write_group "$group"
		done
		;;
	*) write_group "$GROUP" ;;
	esac
	rm -f "$TREE.commits"
}

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series.sh and tree.sh, in a copy of this repository and on a small kernel tree:
# the files that the series touches and nothing else.

. "$(dirname "$0")/tap.sh"

REPO=$SCRATCH/repo
export KSRC=$SCRATCH/ksrc O=$SCRATCH/build
unset EXTRA_PATCHES LEAVE_OUT

copy_repo()
{
	mkdir -p "$REPO"
	git -C "$SCRIPTS/.." ls-files -z --cached --others --exclude-standard |
		rsync -a --from0 --ignore-missing-args --files-from=- "$SCRIPTS/../" "$REPO/"
	git -C "$REPO" init -q
	git -C "$REPO" config user.name "$1"
	git -C "$REPO" config user.email "$2"
	git -C "$REPO" add -A
	git -C "$REPO" commit -q -m "A copy"
}

make_ksrc()
{
	local patch file

	rm -rf "$KSRC"
	(cd "$REPO" && grep '^[^#]' series && ls scripts/um/*.patch) | while read -r patch; do
		sed -n -E 's#^--- a/([^\t]*).*#\1#p' "$REPO/$patch"
	done | sort -u | while read -r file; do
		mkdir -p "$KSRC/$(dirname "$file")"
		cp "$KUNIT_TREE/$file" "$KSRC/$file"
	done
	# The files by which get_maintainer.pl recognizes the top of a kernel tree.
	mkdir -p "$KSRC"/{Documentation,arch,drivers,init,ipc,scripts}
	touch "$KSRC"/{COPYING,CREDITS,Kbuild,Makefile,README}
	cp "$KUNIT_TREE/scripts/get_maintainer.pl" "$KSRC/scripts"
}

# The state of a tree, including modification times.
picture()
{
	(cd "$1" && find . -type f -printf '%P %T@ %m\n' | sort && find . -type f -exec cksum {} + | sort)
}

apply()
{
	{ "$REPO/scripts/source.sh" && "$REPO/scripts/series.sh"; } >"$SCRATCH/out" 2>&1
}

tree()
{
	"$REPO/scripts/tree.sh" "$@" >"$SCRATCH/out" 2>&1
}

copy_repo "A Tester" tester@example.org
make_ksrc
before=$(picture "$KSRC")

apply
is $? 0 "the series applies"
patched=$(echo "$O"/ksrc-*)/patched/src
base=$(echo "$O"/ksrc-*)/base/src
grep -q AS_WRITEBACK_MAY_BLOCK "$patched/include/linux/pagemap.h"
ok $? "the patched tree has the flag"
grep -q AS_WRITEBACK_MAY_BLOCK "$base/include/linux/pagemap.h"
is $? 1 "the base tree has not"
[ -e "$patched/lib/kunit-fuse/Kconfig" ]
ok $? "the patched tree has the overlays"
is "$(picture "$KSRC")" "$before" "the user's tree is as it was"

first=$(picture "$patched")
apply
is "$(picture "$patched")" "$first" "a second run changes nothing"

khugepaged=$(cd "$REPO/mm" && echo 00*-mm-khugepaged-don-t-wait-*)
LEAVE_OUT=mm/$khugepaged apply
is $? 0 "a patch can be left out"
! grep -q collapse_lock_folio "$patched/mm/khugepaged.c"
ok $? "and its lines are not there then"
[ "$patched/mm/khugepaged.c" -nt "$REPO/series" ]
ok $? "and is newer than what was built from it before"
LEAVE_OUT=${khugepaged#00??-} apply
is $? 0 "and named without folder and number"
! grep -q collapse_lock_folio "$patched/mm/khugepaged.c"
ok $? "which does the same"
LEAVE_OUT=no-such-patch apply
is $? 2 "LEAVE_OUT of an unknown patch is wrong usage"
says "$SCRATCH/out" "'no-such-patch' is not a patch of the series" "and names it"

mkdir -p "$SCRATCH/extra/"{a,b}/fs/fuse
cp "$patched/fs/fuse/file.c" "$SCRATCH/extra/a/fs/fuse/"
sed '$a /* put on top */' "$patched/fs/fuse/file.c" >"$SCRATCH/extra/b/fs/fuse/file.c"
(cd "$SCRATCH/extra" && diff -u a/fs/fuse/file.c b/fs/fuse/file.c >extra.patch)
EXTRA_PATCHES=$SCRATCH/extra/extra.patch apply
is $? 0 "a patch can be put on top"
grep -q 'put on top' "$patched/fs/fuse/file.c"
ok $? "and is in the tree"
apply
grep -q 'put on top' "$patched/fs/fuse/file.c"
is $? 1 "and gone without it"
EXTRA_PATCHES=$SCRATCH/missing.patch apply
is $? 2 "EXTRA_PATCHES that cannot be read is wrong usage"

first=$(picture "$patched" | grep -v 'mm/vmscan[.]c')
sed -i '1i /* moved */\n/* moved */' "$KSRC/mm/vmscan.c"
echo new >"$KSRC/new.c"
apply
is $? 0 "moved context applies"
says "$SCRATCH/out" 'mm/0002-.*: mm/vmscan.c: hunk 1 moved' "and is reported"
grep -q 'moved' "$patched/mm/vmscan.c"
ok $? "a file that is patched follows the user's"
is "$(picture "$patched" | grep -v -e 'mm/vmscan[.]c' -e 'new[.]c')" \
	"$first" "and no other file is touched, so that little is compiled again"
[ -e "$patched/new.c" ]
ok $? "but for what is new"
rm "$KSRC/new.c"
apply
[ ! -e "$patched/new.c" ]
ok $? "or gone"

sed -i 's/default 2 if 64BIT/default 6 if 64BIT/' "$KSRC/arch/um/Kconfig"
apply
is $? 0 "a kernel to which a patch for UML does not apply is taken as it is"
says "$SCRATCH/out" '^fuse_wb: scripts/um/um-make-room.* does not apply to' "which is said"
grep -q 'default 6 if 64BIT' "$patched/arch/um/Kconfig"
ok $? "and none of its hunks is there"

sed -i 's/PAGECACHE_TAG_WRITEBACK/SOMETHING_ELSE/' "$KSRC/fs/fs-writeback.c"
first=$(picture "$patched")
apply
is $? 69 "a patch that does not apply stops everything"
says "$SCRATCH/out" '^fs/0003-.*: fs/fs-writeback.c: hunk 1 does not apply' "and is named with file and hunk"
is "$(picture "$patched")" "$first" "and the tree is as it was"
O=$KSRC/build apply
is $? 2 "a build directory in the user's tree is refused"

make_ksrc
tree make
is $? 0 "make tree"
is "$(git -C "$O/tree" log --format=%s base.. | wc -l)" "$(grep -c -e '^[^#]' -e '^#+ ' "$REPO/series")" "a commit for each patch and overlay"
tree refresh
is $? 0 "refresh without a change"
is "$(git -C "$REPO" diff)" "" "changes nothing"

am()
{
	git -C "$SCRATCH/am" -c user.name="A Tester" -c user.email=tester@example.org "$@"
}

# Files that differ between the result of git am and the patched tree.
am_differences()
{
	(cd "$SCRATCH/am" && find . -path ./.git -prune -o -type f -print | sort |
		while read -r file; do cmp "$file" "$patched/$file"; done 2>&1)
}

tree mbox
is $? 0 "make mbox"
apply
cp -r "$KSRC" "$SCRATCH/am"
cat "$REPO"/scripts/um/*.patch | patch -s -p1 -d "$SCRATCH/am"
am init -q
am add -f -A
am commit -q -m base
am tag base
am am -q <"$O/fuse_wb.mbox" >"$SCRATCH/out" 2>&1
is $? 0 "git am takes the mailbox"
is "$(am_differences)" "" "and makes the patched tree of it"
says "$O/fuse_wb.cover" "^Subject: \[PATCH 00/[0-9]+\] $(head -n 1 "$REPO/scripts/cover/all" | cut -c1-40)" \
	"the cover letter has the subject of scripts/cover/all"
says "$O/fuse_wb.cover" '^ +linux-fsdevel@vger.kernel.org' "and the recipients"
says "$O/fuse_wb.cover" "^Based on $KSRC" "and what the series is for"

GROUP=each tree mbox
is $? 0 "a mailbox for each group"
am reset -q --hard base
for group in $(sed -n 's/^# \[\(.*\)\] .*/\1/p' "$REPO/series"); do
	am am -q <"$O/fuse_wb-$group.mbox" || echo "# $group"
done >"$SCRATCH/out" 2>&1
is "$(cat "$SCRATCH/out")" "" "git am takes one after the other"
is "$(am_differences)" "" "and makes the patched tree of them"
rm "$O"/fuse_wb*
GROUP=speed tree mbox
is "$? $(cd "$O" && echo fuse_wb*)" "0 fuse_wb-speed.cover fuse_wb-speed.mbox" "a mailbox for one group"
says "$O/fuse_wb-speed.cover" "^Subject: \[PATCH 0/[0-9]\] $(head -n 1 "$REPO/scripts/cover/speed" | cut -c1-40)" \
	"has its own cover letter"
GROUP=none tree mbox
is $? 2 "a group that is not known is wrong usage"
says "$SCRATCH/out" "'none' is no group of the series, which are: may-block writeback" "and those that are known are named"

sed -i 's/may never end/might never end/' "$O/tree/include/linux/pagemap.h"
tree refresh
is $? 2 "refresh refuses uncommitted changes"
echo "/* one more */" >>"$O/tree/lib/kunit-fuse/mapping_flags_kunit.c"
git -C "$O/tree" commit -q -m "more of the suite" lib/kunit-fuse/mapping_flags_kunit.c
git -C "$O/tree" commit -q -a -m "mm: change a comment

Signed-off-by: A Tester <tester@example.org>"
tree refresh
is $? 0 "refresh with a new patch and a changed overlay"
new=$(tail -n 1 "$REPO/series")
is "$new" "$(printf 'mm/%04d-mm-change-a-comment.patch' "$(grep -c -e '^[^#]' -e '^#+ ' "$REPO/series")")" \
	"the new patch is last in the series, with its number"
says "$REPO/$new" '^Subject: mm: change a comment$' "and has the commit's message"
says "$REPO/lib/kunit-fuse/mapping_flags_kunit.c" 'one more' "the overlay has the change"
is "$(grep -c '^#' "$REPO/series")" "$(git -C "$REPO" show HEAD:series | grep -c '^#')" "series keeps its comments"
tree check
is $? 0 "the check passes after that"
sed -i 's/^Subject: mm: change/Subject: mm:  change/' "$REPO/$new"
tree check
is $? 1 "the check fails when a patch is edited by hand"

git -C "$O/tree" -c sequence.editor='sed -i s/^pick/edit/' rebase -q -i HEAD~1 2>/dev/null
tree refresh
is $? 2 "refresh refuses half of a series, as in a rebase"
git -C "$O/tree" rebase --abort

# Files that name a patch are updated when a new subject changes its name.
printf '%s\n' "see $new" >"$REPO/notes.md"
git -C "$REPO" add notes.md
git -C "$O/tree" commit -q --amend -m "mm: change one comment

Signed-off-by: A Tester <tester@example.org>"
tree refresh
is $? 0 "refresh with another subject"
is "$(tail -n 1 "$REPO/series")" "${new/-a-/-one-}" "the patch has another name"
is "$(cat "$REPO/notes.md")" "see ${new/-a-/-one-}" "and so has it where files name it"
[ ! -e "$REPO/$new" ]
ok $? "and the old file is gone"
end_tests

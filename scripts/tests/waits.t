#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# waits.py on a tree with two functions, a list with one place and a table with one row.

. "$(dirname "$0")/tap.sh"

FILE=$SCRATCH/tree/fs/fuse/file.c
DOC=$SCRATCH/fuse-waits
LIST=$DOC/places
mkdir -p "$(dirname "$FILE")" "$DOC"

waits()
{
	"$SCRIPTS/waits.py" "$@" >"$SCRATCH/out" 2>&1
}

# source_file STATEMENT: the tree, where the second function has this statement.
source_file()
{
	cat >"$FILE" <<-SOURCE
		/* folio_lock(folio) in a comment is no call */
		static int fuse_first(struct folio *folio,
				      const char *text)
		{
			folio_wait_writeback(folio);
			return strcmp(text, "folio_lock(folio)");
		}

		static void fuse_second(struct folio *folio)
		{
			$1
		}
	SOURCE
}

# table PLACE: the only row of the only document.
table()
{
	cat >"$DOC/locks.rst" <<-TABLE
		.. list-table:: Waits
		   :header-rows: 1

		   * - Place
		     - Who waits
		   * - $1, fs/fuse/file.c,
		       with a lock
		     - no_function() of this column is looked up
	TABLE
}

source_file "folio_unlock(folio);"
table "fuse_first()"
waits --write "$SCRATCH/tree" "$LIST"
is $? 0 "the list is written"
is "$(cat "$LIST")" "$(printf 'fs/fuse/file.c\tfuse_first\tfolio_wait_writeback')" "it has the place"
waits "$SCRATCH/tree" "$LIST"
is $? 0 "a tree and its list agree"
is "$(cat "$SCRATCH/out")" "" "and nothing is said"

source_file "folio_lock(folio);"
waits "$SCRATCH/tree" "$LIST"
is $? 1 "a new wait fails"
is "$(cat "$SCRATCH/out")" "fs/fuse/file.c: fuse_second() calls folio_lock(): not in LIST, say in Documentation/filesystems/fuse-waits who waits there" \
	"it is named, and what to do"

source_file "down_write(&folio->mapping->fc->killsb);"
waits "$SCRATCH/tree" "$LIST"
is $? 1 "a new lock fails"
says "$SCRATCH/out" '^fs/fuse/file.c: fuse_second\(\) calls down_write\(\): not in LIST' "and is named"

source_file "folio_unlock(folio);"
sed -i 's/folio_wait_writeback(folio)/folio_unlock(folio)/' "$FILE"
waits "$SCRATCH/tree" "$LIST"
is $? 1 "a wait that is gone fails"
is "$(cat "$SCRATCH/out")" "fs/fuse/file.c: fuse_first() calls folio_wait_writeback(): in LIST, but not in TREE any more" \
	"and is named"

source_file "folio_unlock(folio);"
table "fuse_first() and fuse_third()"
waits "$SCRATCH/tree" "$LIST"
is $? 1 "a row about no function fails"
is "$(cat "$SCRATCH/out")" "fuse-waits/locks.rst: fuse_third() is not in TREE" "and is named"
table "fuse_first() and fuse_second()"
waits "$SCRATCH/tree" "$LIST"
is $? 0 "a row about two functions passes"

waits "$SCRATCH/tree"
is $? 2 "one argument is wrong usage"
says "$SCRATCH/out" '^waits.py: want: waits.py \[--write\] TREE LIST$' "and is explained"
waits "$SCRATCH/missing" "$LIST"
is $? 2 "a tree that is not there is wrong usage"
says "$SCRATCH/out" "$SCRATCH/missing is no directory" "and is named"
waits "$DOC" "$LIST"
is $? 2 "a directory without sources is wrong usage"
says "$SCRATCH/out" "$DOC is no kernel source tree" "and is named"
waits "$SCRATCH/tree" "$DOC/missing"
is $? 2 "a list that is not there is wrong usage"
says "$SCRATCH/out" "cannot read $DOC/missing: No such file" "and is named"
echo "fs/fuse/file.c fuse_first" >"$LIST"
waits "$SCRATCH/tree" "$LIST"
is $? 2 "a line without tabs is wrong usage"
says "$SCRATCH/out" "$LIST: want FILE, FUNCTION and CALLEE" "and the list is named"
end_tests

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# documents.py on a repository of two documents, then on this one.

. "$(dirname "$0")/tap.sh"

REPO=$SCRATCH/repo
SELFTEST=$REPO/tools/testing/selftests/fuse_wb

documents()
{
	"$SCRIPTS/documents.py" "$@" >"$SCRATCH/out" 2>&1
}

# finds TEXT COMPLAINT TITLE: with TEXT in the README, expect this complaint.
finds()
{
	printf '%b\n' "$1" >"$REPO/README.md"
	documents "$REPO" "$SCRATCH/tree"
	is "$(cat "$SCRATCH/out")" "${2:+README.md: $2}" "$3"
}

mkdir -p "$SELFTEST" "$REPO/scripts" "$REPO/mm" "$SCRATCH/tree/Documentation/filesystems"
git init -q "$REPO"
cat >"$REPO/Makefile" <<-'MAKEFILE'
	kselftest: ## run all
		@scripts/run.sh "$$CMD"

	# Variables, with their defaults:
	#   TESTS=       globs
	#   MEM=4096 CPUS=2
MAKEFILE
printf '#!/bin/sh\n: makes made.log\n' >"$REPO/scripts/run.sh"
cp "$REPO/scripts/run.sh" "$REPO/scripts/data.sh"
chmod +x "$REPO/scripts/run.sh"
echo 'TEST_F(wb, sync_waits) { getenv("FUSE_WB_SEED"); }' >"$SELFTEST/wb_test.c"
touch "$REPO/mm/one.patch" "$SCRATCH/tree/Documentation/filesystems/fuse.rst"

finds "\`make kselftest\`, \`TESTS=\`, \`scripts/run.sh\`, \`mm/*.patch\`, \`made.log\`" "" \
	"what is there is not complained about"
finds "\`wb_test\`, \`sync_waits\`, \`my_test\`, \`build/x\`, [a](mm/one.patch)" "" \
	"nor tests, examples, what is built, and links"
finds "\tmake kselftest TESTS='wb_test:*' CPUS=1 FUSE_WB_SEED=1 CMD='a b' # all" "" \
	"nor a command with variables"
finds "Documentation/filesystems/fuse.rst and wb_test:wb.sync_waits." "" \
	"nor a page of the kernel and a test in a file"

finds "\tmake kunit" "the Makefile has no target kunit" "a target is missed"
finds "say \`make kunit TESTS=*\`" "the Makefile has no target kunit" "between backquotes, too"
finds "\tmake kselftest TEST=x" "the Makefile has no variable TEST" "a variable is missed"
finds "\`TEST=\`" "there is no variable TEST=" "and alone"
finds "\tmake kselftest TESTS=none" "TESTS=none names nothing" "a test to run is missed"
finds "\tmake kselftest TESTS='wb_test:*.none'" "TESTS=wb_test:*.none names nothing" \
	"and one of a program"
finds "\tscripts/walk.sh now" "there is no scripts/walk.sh" "a script is missed"
finds "\tscripts/data.sh now" "scripts/data.sh cannot be run" "a script has to be executable"
finds "\tmake -C tools/testing/selftests TARGETS=fuse" "tools/testing/selftests has no fuse" \
	"a folder of selftests is missed"
finds "\`mm/two.patch\`" "there is no mm/two.patch" "a path is missed"
finds "\`notes.txt\`" "there is no file notes.txt" "a file is missed"
finds "[a](mm/two.patch)" "there is no mm/two.patch to link to" "a link is missed"
finds "\`sync_returns\`" "there is no sync_returns but in documents" "a test is missed"
finds "wb_test:wb.sync_returns" "there is no test wb_test:wb.sync_returns" "and one in a file"
finds "Documentation/filesystems/fuse-io.rst" "there is no Documentation/filesystems/fuse-io.rst" \
	"a page of the kernel is missed"
finds "$(printf 'x%.0s' {1..101})" "line 1 has more than 100 columns" "a long line is found"
finds "\t$(printf 'x%.0s' {1..93})" "line 1 has more than 100 columns" "a tab has eight columns"
finds "$(printf 'x\\n%.0s' {1..200})x" "201 lines: want at most 200" "a long README is found"
printf 'x\n' >"$REPO/README.md"
printf 'Run::\n\n\tmake kunit\n' >"$SELFTEST/README.rst"
documents "$REPO"
is $? 1 "a complaint fails"
is "$(cat "$SCRATCH/out")" \
	"tools/testing/selftests/fuse_wb/README.rst: the Makefile has no target kunit" \
	"a document is named with its folder"

documents
is $? 2 "no argument is wrong usage"
documents "$SCRATCH/missing"
is $? 2 "a folder that is not there is wrong usage"
says "$SCRATCH/out" '^documents.py: want: documents.py TOP' "and is explained"

documents "$SCRIPTS/.." ${KUNIT_TREE:+"$KUNIT_TREE"}
is "$(cat "$SCRATCH/out")" "" "this repository's documents name what is there"
end_tests

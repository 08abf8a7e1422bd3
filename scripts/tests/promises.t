#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# promises.py in a repository with one promise, one test, one mutant and one patch.

. "$(dirname "$0")/tap.sh"

REPO=$SCRATCH/repo
SELFTEST=$REPO/tools/testing/selftests/fuse_wb
MUTANTS=$REPO/scripts/tests/mutants/one

promises()
{
	"$REPO/scripts/promises.py" "$@" >"$SCRATCH/out" 2>&1
}

# complains TEXT TITLE: check fails and prints TEXT; then restore the repository.
complains()
{
	promises check
	is "$? $(cat "$SCRATCH/out")" "1 $1" "$2"
	repository
}

repository()
{
	printf '# Head\n\n# Sync\nsync\tfsync waits\n' >"$SELFTEST/promises"
	: >"$SELFTEST/expected"
	printf '#include "wb.h"\n/* Promise: sync */\nTEST_F(wb, fsync_waits)\n{\n}\n' >"$SELFTEST/wb_test.c"
	printf 'no-wait\tfs/sync.c\ts/a/b/\twb_test:wb.fsync_waits\n' >"$MUTANTS"
	printf 'no-patch\t-\tfs/wait.patch\twb_test:wb.fsync_waits\n' >>"$MUTANTS"
	printf '# [waits] fs: wait for all\nfs/wait.patch\n' >"$REPO/series"
	printf 'Subject: fs: wait\n for it\n\nWait.\n\nLater kernels have the\nsame.\n' \
		>"$REPO/fs/wait.patch"
}

mkdir -p "$SELFTEST" "$REPO/fs" "$REPO/lib/kunit-fuse" "$(dirname "$MUTANTS")"
cp "$SCRIPTS"/{promises,verdict,durations}.py "$REPO/scripts"
repository
promises check
is $? 1 "pages that are not there are old"
is "$(cat "$SCRATCH/out")" "scripts/tests/promises.md is old: run make promises
scripts/tests/patches.md is old: run make promises" "and are named"
promises
is "$? $(cat "$SCRATCH/out")" "0 " "the pages are written"
promises check
is "$? $(cat "$SCRATCH/out")" "0 " "and are new"
is "$(grep -A 5 '^## Sync' "$REPO/scripts/tests/promises.md")" "## Sync

- \`sync\`: fsync waits
  - **wb_test**: \`fsync_waits\`
  - mutants: \`no-wait\`, \`no-patch\`" "a promise has its tests and mutants"
is "$(grep -A 5 '^### waits' "$REPO/scripts/tests/patches.md")" "### waits: fs: wait for all

- fs: wait for it
  - \`fs/wait.patch\`
  - Later kernels have the same." "a patch has its group, subject and what later kernels have"
is "$(tail -n 2 "$REPO/scripts/tests/patches.md")" "- \`fs/wait.patch\`
  - **wb_test**: \`fsync_waits\`" "and the tests that fail without it"

printf 'sync\t%s\n' "$(seq -s ' ' 99)" | sed '1i # Head\n\n# Sync' >"$SELFTEST/promises"
promises
is "$(awk 'length > 100' "$REPO/scripts/tests/promises.md")" "" "no line has more than 100 columns"
repository
promises

sed -i 's/Promise: sync/Promise: sink/' "$SELFTEST/wb_test.c"
complains 'wb_test: fsync_waits: tools/testing/selftests/fuse_wb/promises has no promise "sink"
tools/testing/selftests/fuse_wb/promises: no test says "Promise: sync"
scripts/tests/promises.md is old: run make promises' "a promise that is misspelt"
printf 'TEST_F(wb, close_waits)\n{\n}\n' >>"$SELFTEST/wb_test.c"
complains "wb_test: close_waits: no kernel of scripts/tests/mutants breaks it" \
	"a test that no mutant breaks"
sed -i 's/^no-wait\(.*\)fsync_waits/no-wait\1fsync_hangs/' "$MUTANTS"
complains "scripts/tests/mutants: no-wait: no test is called wb_test:wb.fsync_hangs
scripts/tests/promises.md is old: run make promises" "a mutant of no test"
sed -i 's#fs/wait.patch#fs/wake.patch#' "$MUTANTS"
complains "scripts/tests/mutants: no-patch: the series has no patch fs/wake.patch
scripts/tests/patches.md is old: run make promises" "a mutant of no patch"
sed 's/sync/close/' "$SELFTEST/wb_test.c" >"$SELFTEST/other_test.c"
sed -i 's/Promise: close/Promise: sync/' "$SELFTEST/other_test.c"
printf 'base\tfail\t*:wb.*\t# no wait\n' >"$SELFTEST/expected"
promises
complains "tools/testing/selftests/fuse_wb/expected: *:wb.* names tests of other_test and wb_test: name the program" \
	"what is expected of tests of two programs"
promises write
is $? 2 "an argument that is not known is wrong usage"
end_tests

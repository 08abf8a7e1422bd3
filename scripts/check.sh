#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh: all that CI runs. Stops at the first step that fails, as each depends
# on the steps before, and counts every test that was run.

. "$(dirname "$0")/steps.sh"

STEPS=15

check_variables
# Most steps run concurrently with another one, so a test may have to wait longer.
export JOBS=${JOBS:-1} FUSE_WB_WAIT_SECONDS=${FUSE_WB_WAIT_SECONDS:-16}
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests judge bench check
find_work

check 1 "source and series" prepare
# prove runs one process at a time, which leaves a processor to the next two steps.
begin_prove 2 "tests of the scripts" scripts/tests/{verdict,series,list_tests,regress,waits}.t \
	scripts/tests/{documents,promises,follow,steps,plan,common,habits,kselftest,changed}.t
scripts_tests=$child
check 3 "patches are what make refresh writes" "$TOP/scripts/tree.sh" check
check 4 "lint" "$TOP/scripts/lint.sh"
run 5 "KUnit under UML" kunit.sh ARCH=um
end_prove 2 "tests of the scripts" "$scripts_tests"
check 6 "KUnit cases fail on a kernel whose writeback never ends" env ARCH=um \
	"$TOP/scripts/mutants.sh" writeback-never-ends
# A guest does not keep two processors busy, so it runs concurrently with a build. The
# UML kernel was built by step 5, so the UML guest starts first; the two runs take turns
# at building the tests.
begin_beside 7 "kselftests, UML, patched" kselftest.sh ARCH=um
um_run=$child
await_guests 7 "$um_run"
begin_beside 8 "kselftests, x86_64, patched" kselftest.sh ARCH=x86_64
patched_run=$child
end_beside 7 "$um_run"
# Needed only at the end: nice keeps it from slowing down the guests.
begin 9 "each patch builds without a new warning" nice -n 15 "$TOP/scripts/each_patch.sh"
each_patch=$child
end_beside 8 "$patched_run"
run 10 "KUnit, x86_64" kunit.sh ARCH=x86_64
# Builds the base kernel. Its guests run for a minute or two, concurrently with step 12 and
# with step 13, which counts instructions, not time. It has to end before a mutant is applied
# to the patched tree.
begin_beside 11 "what a user can observe, x86_64, base against patched" \
	regress.sh ARCH=x86_64
regress_run=$child
begin_prove 12 "tests of the guest" scripts/tests/guest.t
guest_tests=$child
check 13 "no more instructions a page than scripts/bench/figures allows" \
	"$TOP/scripts/bench.sh" guard
end_prove 12 "tests of the guest" "$guest_tests"
end_beside 11 "$regress_run"
# Most tests of direct I/O fail on base, each only at its deadline.
NOT_ON_BASE="!aio_test !aio_attr_test !background_test !beside_test !direct_test"
NOT_ON_BASE+=" !drop_test !iomode_test !killable_test !late_test !mixed_test"
NOT_ON_BASE+=" !otrunc_killed_test !passthrough_parallel_test !pin_test !pin_stale_test"
NOT_ON_BASE+=" !privs_test !room_test"
NOT_ON_BASE+=" !shared_lock_test !signal_test !splice_direct_test !starve_test"
NOT_ON_BASE+=" !submit_test !submit_killed_test !unread_test !uring_test"
# So do these tests of stuck servers; that is known from the code of base, and was not
# measured yet.
NOT_ON_BASE+=" !collapse_test !compaction_test !evict_test !killable_lock_test !memcg_test"
NOT_ON_BASE+=" !migration_wait_test !name_killed_test !offline_wait_test !poison_test"
NOT_ON_BASE+=" !remount_test !steal_test"
# On base, the OOM killer may come before the flusher, and end all processes of the guest.
NOT_ON_BASE+=" !pressure_test:machine.*"
# With two guests, one can run while a test in the other waits for its deadline. The tests
# that pass have deadlines as well, so nothing else may take much of the processors.
begin_beside 14 "kselftests, x86_64, base: exactly the listed ones fail" \
	kselftest.sh ARCH=x86_64 KERNEL=base EXPECT=base JOBS=2 \
	TESTS="$NOT_ON_BASE"
base_run=$child
check 15 "kselftests fail on a kernel whose fsync does not wait" nice -n 15 env ARCH=x86_64 \
	"$TOP/scripts/mutants.sh" fsync-returns-at-once
end_beside 14 "$base_run"
end_check 9 "each patch builds without a new warning" "$each_patch"
end 0

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh: all that CI runs. Stops at the first step that fails, as each relies
# on those before, and counts every test that was run.

. "$(dirname "$0")/common.sh"

STEPS=15

passed=0
failed=0
skipped=0

# count PASSED FAILED SKIPPED
count()
{
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

# count_results RESULTS: add what a run counted.
count_results()
{
	read -r p f s < <(python3 -c '
import json, sys
r = json.load(open(sys.argv[1]))
expected = sum(t.get("expected", False) for t in r["tests"])
print(r["passed"] + expected, r["failed"] - expected, r["skipped"])
' "$1/results.json")
	count "$p" "$f" "$s"
}

end()
{
	local status=$1

	stop_children
	note "all of it took $(elapsed "$SECONDS")"
	echo "$passed passed, $failed failed, $skipped skipped"
	exit "$status"
}

# check N TITLE COMMAND...: one step that counts as one test.
check()
{
	local n=$1 title=$2 status=0

	shift 2
	step "$n/$STEPS" "$title" "$@" || status=$?
	if [ "$status" != 0 ]; then
		count 0 1 0
		end "$status"
	fi
	count 1 0 0
}

# begin_run N TITLE SCRIPT VARIABLE=VALUE...: start a run that leaves a results
# folder; its pid is in $child.
begin_run()
{
	local n=$1 title=$2 script=$3

	shift 3
	note "[$n/$STEPS] $title"
	rm -f "$O/logs/step-$n.results"
	start env RESULTS_FILE="$O/logs/step-$n.results" "$@" "$TOP/scripts/$script"
}

# end_run N PID [LOG]: wait for it, and show the log but for the tests that pass.
end_run()
{
	local n=$1 pid=$2 log=${3:-} status=0 results

	finish "$pid" || status=$?
	[ -z "$log" ] || grep -v '^  ok ' "$log" >&2
	results=$(cat "$O/logs/step-$n.results" 2>/dev/null) || :
	if [ ! -e "$results/results.json" ]; then
		count 0 1 0
		end "$EX_MACHINERY"
	fi
	count_results "$results"
	[ "$status" = 0 ] || end "$status"
}

run()
{
	begin_run "$@"
	end_run "$1" "$child"
}

# A run beside the steps between its beginning, with the words of begin_run, and its
# end, with those of end_run: what it says is shown then. It has to share the
# processors, so give it time.
begin_beside()
{
	begin_run "$@" TIMEOUT=1800 >"$O/logs/step-$1.log" 2>&1
	note "[$1/$STEPS] $2: begun, beside the next steps"
}

end_beside()
{
	note "[$1/$STEPS] waiting for its end, so far: $(tail -n 1 "$O/logs/step-$1.log")"
	end_run "$1" "$2" "$O/logs/step-$1.log"
}

# begin N TITLE COMMAND...: start a step beside the next ones, its output in a log.
begin()
{
	local n=$1 title=$2

	shift 2
	note "[$n/$STEPS] $title: begun, beside the next steps"
	start "$@" >"$O/logs/step-$n.log" 2>&1
}

# end_check N TITLE PID: wait for such a step, which counts as one test.
end_check()
{
	local n=$1 title=$2 status=0 log=$O/logs/step-$1.log

	note "[$n/$STEPS] waiting for its end, so far: $(tail -n 1 "$log")"
	finish "$3" || status=$?
	if [ "$status" != 0 ]; then
		tail -n 25 "$log" >&2
		count 0 1 0
		end "$status"
	fi
	count 1 0 0
	note "[$n/$STEPS] $title: done"
}

# begin_prove N TITLE FILE...: start TAP programs, beside the steps until end_prove.
begin_prove()
{
	local n=$1 title=$2

	shift 2
	begin "$n" "$title" env -C "$TOP" KUNIT_TREE="$WORK/base/src" \
		prove --timer --verbose --merge "$@"
}

# end_prove N TITLE PID: wait for them, and count each of their tests.
end_prove()
{
	local n=$1 title=$2 status=0 log=$O/logs/step-$1.log

	finish "$3" || status=$?
	count "$(grep -c '^ok ' "$log")" "$(grep -c '^not ok ' "$log")" 0
	if [ "$status" != 0 ]; then
		grep -A 25 '^not ok' "$log" >&2 || tail -n 25 "$log" >&2
		[ "$failed" -gt 0 ] || count 0 1 0
		end "$EX_FAIL"
	fi
	note "[$n/$STEPS] $title: $(tail -n 1 "$log")"
}

check_variables
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests judge bench check
find_work

check 1 "source and series" prepare
# One process after the other: it leaves a processor to the next two steps.
begin_prove 2 "tests of the scripts" \
	scripts/tests/{verdict,series,list_tests,regress,waits,documents,promises}.t
scripts_tests=$child
check 3 "patches are what make refresh writes" "$TOP/scripts/tree.sh" check
check 4 "lint" "$TOP/scripts/lint.sh"
run 5 "KUnit under UML" kunit.sh ARCH=um
end_prove 2 "tests of the scripts" "$scripts_tests"
check 6 "KUnit cases fail on a kernel whose writeback never ends" env ARCH=um \
	"$TOP/scripts/mutants.sh" writeback-never-ends
# A guest does not keep two processors busy: what needs a compiler goes beside it.
begin_beside 7 "kselftests, x86_64, patched" kselftest.sh ARCH=x86_64
patched_run=$child
run 8 "kselftests, UML, patched" kselftest.sh ARCH=um
# It has time until all else is done, and takes none from the guests.
begin 9 "each patch builds without a new warning" nice -n 15 "$TOP/scripts/each_patch.sh"
each_patch=$child
end_beside 7 "$patched_run"
run 10 "KUnit, x86_64" kunit.sh ARCH=x86_64
# It builds the base kernel; beside a measurement that counts instructions. It has to end
# before a mutant stands in the patched tree.
begin_beside 11 "what a user can observe, x86_64, base against patched" \
	regress.sh ARCH=x86_64
regress_run=$child
check 12 "no more instructions a page than scripts/bench/figures allows" \
	"$TOP/scripts/bench.sh" guard
end_beside 11 "$regress_run"
# Most tests of direct I/O fail on base, and each waits for its deadline to do so.
NOT_ON_BASE="!aio_test !aio_attr_test !background_test !beside_test !direct_test"
NOT_ON_BASE+=" !drop_test !iomode_test !killable_test !late_test !mixed_test"
NOT_ON_BASE+=" !otrunc_killed_test !passthrough_parallel_test !pin_test !pin_stale_test"
NOT_ON_BASE+=" !privs_test !room_test"
NOT_ON_BASE+=" !shared_lock_test !signal_test !splice_direct_test !starve_test"
NOT_ON_BASE+=" !submit_test !submit_killed_test !unread_test !uring_test"
# So do these, of stuck servers; what base does there was read, not measured yet.
NOT_ON_BASE+=" !collapse_test !compaction_test !evict_test !killable_lock_test !memcg_test"
NOT_ON_BASE+=" !migration_wait_test !name_killed_test !offline_wait_test !poison_test"
NOT_ON_BASE+=" !remount_test !steal_test"
begin_beside 13 "kselftests, x86_64, base: exactly the listed ones fail" \
	kselftest.sh ARCH=x86_64 KERNEL=base EXPECT=base \
	TESTS="$NOT_ON_BASE"
base_run=$child
check 14 "kselftests fail on a kernel whose fsync does not wait" env ARCH=x86_64 \
	"$TOP/scripts/mutants.sh" fsync-returns-at-once
begin_prove 15 "tests of the guest" scripts/tests/guest.t
end_prove 15 "tests of the guest" "$child"
end_beside 13 "$base_run"
end_check 9 "each patch builds without a new warning" "$each_patch"
end 0

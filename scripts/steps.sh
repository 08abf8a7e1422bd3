# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The functions of check.sh: sequential and concurrent steps, their test counts, and how
# long they take. Source it first, in place of common.sh.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

STEPS=1			# number of steps; the caller sets it
titles=()
mkdir -p "$O/logs"
passed=0
failed=0
skipped=0
failures=		# repeated by end(), so that the end of a log tells the reason

# count PASSED FAILED SKIPPED
count()
{
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

# count_results RESULTS: add the counts of a run.
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

# timed N COMMAND...: run a command, and record how long it took, and its user and system
# time. A signal that ends this shell ends the command as well, and the command is waited
# for.
timed()
{
	local n=$1 status=0 stopped='' TIMEFORMAT='%0R %0U %0S'

	shift
	trap 'stopped=1' INT TERM HUP
	{ time "$@" 2>&3 || status=$?; } 3>&2 2>"$O/logs/step-$n.took"
	[ -z "$stopped" ] || rm -f "$O/logs/step-$n.took"
	return "$status"
}

# entitle N TITLE: a step begins: set its title, and drop its recorded time.
entitle()
{
	titles[$1]=$2
	rm -f "$O/logs/step-$1.took"
}

# "SECONDS USER SYSTEM N TITLE" of each step that has ended, in the order of the steps.
list_times()
{
	local n

	for n in "${!titles[@]}"; do
		[ ! -s "$O/logs/step-$n.took" ] ||
			printf '%s %d %s\n' "$(cat "$O/logs/step-$n.took")" "$n" "${titles[n]}"
	done
}

# How long the steps took, and the slowest three. Some run concurrently: the time of the
# processors tells which of them make the others wait.
report_times()
{
	local seconds user system n title slowest=''

	while read -r seconds user system n title; do
		note "$(printf '[%d/%d] took %s, %s of processors: %s' "$n" "$STEPS" \
			"$(elapsed "$seconds")" "$(elapsed $((user + system)))" "$title")"
	done < <(list_times)
	while read -r seconds user system n title; do
		slowest+="${slowest:+, }$title ($(elapsed "$seconds"))"
	done < <(list_times | sort -s -k 1,1nr | head -n 3)
	[ -z "$slowest" ] || note "the slowest: $slowest"
}

end()
{
	local status=$1

	stop_children
	report_times
	note "all of it took $(elapsed "$SECONDS")"
	[ -z "$failures" ] || printf '%s\n' "$failures" >&2
	echo "$passed passed, $failed failed, $skipped skipped"
	exit "$status"
}

# fail N [TEXT]: record that a step failed, and why.
fail()
{
	failures=$(note "[$1/$STEPS] FAILED: ${titles[$1]}${2:+$'\n'$2}" 2>&1)
}

# list_problems RESULTS: the problems of a run, with the last lines of its failed tests.
list_problems()
{
	python3 -c '
import json, sys
r = json.load(open(sys.argv[1]))
for line in r["problems"][:10]:
    print("   ", line)
for test in [t for t in r["tests"] if t["status"] == "fail" and not t.get("expected")][:3]:
    print("   ", test["name"] + ":")
    for line in test["log"][-8:]:
        print("       ", line)
' "$1/results.json"
}

# check N TITLE COMMAND...: one step that counts as one test.
check()
{
	local n=$1 title=$2 status=0

	shift 2
	entitle "$n" "$title"
	step "$n/$STEPS" "$title" timed "$n" "$@" || status=$?
	if [ "$status" != 0 ]; then
		count 0 1 0
		fail "$n"
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
	entitle "$n" "$title"
	rm -f "$O/logs/step-$n.results"
	start timed "$n" env RESULTS_FILE="$O/logs/step-$n.results" "$@" "$TOP/scripts/$script"
}

# end_run N PID [LOG]: wait for it, and show the log without the tests that pass.
end_run()
{
	local n=$1 pid=$2 log=${3:-} status=0 results

	finish "$pid" || status=$?
	[ -z "$log" ] || grep -v '^  ok ' "$log" >&2
	results=$(cat "$O/logs/step-$n.results" 2>/dev/null) || :
	if [ ! -e "$results/results.json" ]; then
		count 0 1 0
		fail "$n" "    it left no results.json"
		end "$EX_MACHINERY"
	fi
	count_results "$results"
	[ "$status" != 0 ] || return 0
	fail "$n" "$(list_problems "$results")"
	end "$status"
}

run()
{
	begin_run "$@"
	end_run "$1" "$child"
}

# A run concurrent with the steps between begin_beside and end_beside, which take the
# arguments of begin_run and end_run. Its output is shown at its end. It has to share
# the processors, hence the long TIMEOUT.
begin_beside()
{
	begin_run "$@" TIMEOUT=1800 >"$O/logs/step-$1.log" 2>&1
	note "[$1/$STEPS] $2: begun, beside the next steps"
}

end_beside()
{
	watch_end "$2" "$O/logs/step-$1.log" "[$1/$STEPS] waiting for its end"
	end_run "$1" "$2" "$O/logs/step-$1.log"
}

# await_guests N PID: wait until such a run has built all it needs and starts its guests.
await_guests()
{
	while kill -0 "$2" 2>/dev/null && ! grep -q 'tests in the guest' "$O/logs/step-$1.log"; do
		sleep 0.2
	done
}

# begin N TITLE COMMAND...: start a step concurrently with the next ones, its output in
# a log.
begin()
{
	local n=$1 title=$2

	shift 2
	note "[$n/$STEPS] $title: begun, beside the next steps"
	entitle "$n" "$title"
	start timed "$n" "$@" >"$O/logs/step-$n.log" 2>&1
}

# end_check N TITLE PID: wait for such a step, which counts as one test.
end_check()
{
	local n=$1 title=$2 status=0 log=$O/logs/step-$1.log

	watch_end "$3" "$log" "[$n/$STEPS] waiting for its end"
	finish "$3" || status=$?
	if [ "$status" != 0 ]; then
		tail -n 25 "$log" >&2
		count 0 1 0
		fail "$n" "$(tail -n 10 "$log")"
		end "$status"
	fi
	count 1 0 0
	note "[$n/$STEPS] $title: done"
}

# begin_prove N TITLE FILE...: start TAP programs, concurrent with the steps until
# end_prove.
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
		fail "$n" "$(grep -A 8 '^not ok' "$log" | head -n 20)"
		end "$EX_FAIL"
	fi
	note "[$n/$STEPS] $title: $(tail -n 1 "$log")"
}

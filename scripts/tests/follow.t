#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# follow.py on made-up output of guests: the order in which results are shown, and the
# durations.

. "$(dirname "$0")/tap.sh"

# plan GUEST PROGRAM TEST...: the tests of a program in the plan.
plan()
{
	local guest=$1 program=$2

	shift 2
	printf "$guest $program %s\n" "$@" >>"$SCRATCH/plan"
}

# begin ARGUMENT...: follow guests 1 and 2.
begin()
{
	rm -rf "$SCRATCH"/{1,2,ended}
	mkdir -p "$SCRATCH"/{1,2}
	# Not in the background process: await() could see the output of the previous one.
	: >"$SCRATCH/shown"
	"$SCRIPTS/follow.py" "$SCRATCH" --plan "$SCRATCH/plan" --known "$SCRATCH/known/um" \
		--durations "$SCRATCH/durations" "$@" 2>"$SCRATCH/shown" &
	follower=$!
}

# say GUEST LINE...
say()
{
	printf '%s\n' "${@:2}" >>"$SCRATCH/$1/out.txt"
}

# program GUEST PROGRAM TEST...: the whole output of a program that passes.
program()
{
	local guest=$1 program=$2 test

	shift 2
	say "$guest" "# selftests: fuse_wb: $program" "# TAP version 13"
	for test; do
		say "$guest" "# #  RUN           $test ..." "# #            OK  $test" "# ok 1 $test"
	done
	say "$guest" "ok 1 selftests: fuse_wb: $program"
}

# await TEXT: wait until it is shown; complain if that takes too long.
await()
{
	local left=100

	until grep -qF -e "$1" "$SCRATCH/shown" || [ "$left" = 0 ]; do
		sleep 0.1
		left=$((left - 1))
	done
	[ "$left" -gt 0 ] || echo "# '$1' was not shown in 10 s"
}

# end: wait for the follower to show all and end.
end()
{
	: >"$SCRATCH/ended"
	wait "$follower"
	is $? 0 "$1: exit status"
}

plan 1 a_test one.x one.y
plan 2 b_test two.x
plan 1 c_test three.x
begin
program 2 b_test two.x
say 1 'TAP version 13' '1..2' '# selftests: fuse_wb: a_test' '# #  RUN           one.x ...' '# ok 1 one.x'
await one.x
is "$(cat "$SCRATCH/shown")" "  ok one.x" "a result is shown at once, and none before its turn"
say 1 '# #  RUN           one.y ...'
sleep 0.5
say 1 '# # a.c:5:one.y:Expected 1 == 2' '# # a.c:6:one.y:the log:' '# not ok 2 one.y' \
	'not ok 1 selftests: fuse_wb: a_test # exit=1'
program 1 c_test three.x
await three.x
is "$(cat "$SCRATCH/shown")" "$(printf '  ok one.x\n  not ok one.y\n\ta.c:5:one.y:Expected 1 == 2\n  ok two.x\n  ok three.x')" \
	"all are shown in order, and why one failed"
end "two guests"
is "$(cut -d' ' -f2 "$SCRATCH/durations" | sort | paste -sd' ')" \
	"a_test a_test:one.x a_test:one.y b_test b_test:two.x c_test c_test:three.x" \
	"tests and programs have durations"
awk '$2 == "a_test:one.y" { one = $1 } $2 == "a_test" { all = $1 } END { exit !(one >= 0.4 && all >= one) }' \
	"$SCRATCH/durations"
ok $? "that of a test is the time from its beginning to its result"
is "$(sort "$SCRATCH/known/um")" "$(grep -e ':one.x' -e ':two.x' -e ':three.x' "$SCRATCH/durations" | sort)" \
	"those of tests that passed are kept for other runs"

begin --expect
say 1 '# selftests: fuse_wb: a_test' '# #  RUN           one.x ...' '# # a.c:5:one.x:Expected' \
	'# not ok 1 one.x # SKIP no reason' '# #  RUN           one.y ...'
: >"$SCRATCH/1/ended"
program 2 b_test two.x
await two.x
is "$(cat "$SCRATCH/shown")" "$(printf '  not ok one.x # SKIP no reason\n  ok two.x')" \
	"a guest that is over holds nothing up, and reasons of expected failures are not shown"
end "a guest that died"
grep -q 'one.y' "$SCRATCH/durations"
is $? 1 "a test without an end has no duration"
says "$SCRATCH/known/um" 'a_test:one.x$' "and one that failed keeps the one that it had"

begin --repeat 2
program 1 a_test one.x one.y
program 1 c_test three.x
program 1 a_test one.x one.y
say 2 'TAP version 13'
end "a guest that never said a thing"
is "$(tr -d ' \n' <"$SCRATCH/shown")" "okone.xokone.yokthree.xokone.xokone.y" "what there is is shown at the end"
is "$(grep -c 'a_test:one.x' "$SCRATCH/durations")" 2 "a test that is repeated has all its durations"
is "$(grep -c 'a_test:one.x' "$SCRATCH/known/um")" 1 "and the last of them is kept"
end_tests

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# habits.py on functions with one habit each, and on functions without any.

. "$(dirname "$0")/tap.sh"

mkdir "$SCRATCH/tests"
: >"$SCRATCH/allowed"

habits()
{
	"$SCRIPTS/habits.py" "$SCRATCH/allowed" "$SCRATCH/tests" >"$SCRATCH/out" 2>&1
}

# finds WHAT TITLE STATEMENT...: a function with these statements
finds()
{
	local what=$1 title=$2

	shift 2
	{
		echo 'static int fn(void)'
		echo '{'
		printf '\t%s\n' "$@"
		echo '}'
	} >"$SCRATCH/tests/one.c"
	habits
	is "$? $(sed -n -E 's/^one.c: fn\(\) (sleeps|lets|reads|gives).*/\1/p' "$SCRATCH/out" | paste -sd' ')" \
		"$what" "$title"
}

DEADLINE='__u64 deadline = wait_deadline();'
finds "1 sleeps" "usleep(3)" 'usleep(1000);'
finds "1 sleeps" "sleep(3)" 'sleep(1);'
finds "1 sleeps" "nanosleep(2)" 'nanosleep(&ts, NULL);'
finds "1 sleeps" "poll(2) of nothing" 'poll(NULL, 0, 100);'
finds "1 sleeps" "msleep()" 'msleep(10);'
finds "0 " "poll(2) of something" 'poll(&p, 1, 100);'
finds "0 " "a word that is slept on" 'word_sleep(&word, 0, wait_deadline());'
finds "0 " "sleep(3) in a comment" '/* no sleep(1) here */'
finds "1 lets" "a loop of sched_yield(2)" 'while (!done())' '	sched_yield();'
finds "1 lets" "one of ticks" 'while (!done())' '	schedule_timeout_uninterruptible(1);'
finds "1 gives" "a deadline without a word" "$DEADLINE" 'while (!done() && now_usec() < deadline)' '	sched_yield();'
finds "1 gives" "one of jiffies" 'unsigned long end = jiffies + WAIT;' \
	'while (!done() && time_before(jiffies, end))' '	schedule_timeout_uninterruptible(1);'
finds "0 " "a deadline that is told of" "$DEADLINE" 'while (!done() && now_usec() < deadline)' '	sched_yield();' \
	'fprintf(stderr, "# awaited in vain: the end\n");'
finds "0 " "a deadline that is asserted" "$DEADLINE" 'while (!done())' '	ASSERT_GT(deadline, now_usec()) {' \
	'		TH_LOG("not done");' '	}'
finds "1 reads" "a time that is compared" '__u64 before = now_usec();' 'go();' 'EXPECT_LT(now_usec() - before, 1000);'
finds "1 reads" "the time of files" 'clock_gettime(CLOCK_REALTIME, &now);'
finds "1 reads sleeps" "two habits" 'usleep(1);' 'time(NULL);'
is "$(grep -c "or say in $SCRATCH/allowed why it may\$" "$SCRATCH/out")" 2 "what to do is said of each"

printf 'TEST_F(area, a_fact)\n{\n\tusleep(1);\n}\n\nTEST(other_fact)\n{\n\tusleep(1);\n}\n' >"$SCRATCH/tests/one.c"
printf '# comment\n\none.c a_fact sleep # reason\n' >"$SCRATCH/allowed"
habits
is $? 1 "one of two tests is allowed"
is "$(cut -d' ' -f1,2 "$SCRATCH/out")" "one.c: other_fact()" "and the other is named"
echo 'one.c other_fact sleep # reason' >>"$SCRATCH/allowed"
habits
is "$? $(cat "$SCRATCH/out")" "0 " "both are"
echo 'one.c other_fact clock # reason' >>"$SCRATCH/allowed"
habits
is $? 1 "what is not there any more"
is "$(cat "$SCRATCH/out")" "$SCRATCH/allowed: one.c other_fact clock: is not there any more" "is named"
echo 'one.c other_fact clock' >"$SCRATCH/allowed"
habits
is $? 2 "a line without a reason is wrong usage"
says "$SCRATCH/out" 'allowed:1: want "FILE FUNCTION WHAT # REASON"' "and says so"
"$SCRIPTS/habits.py" "$SCRATCH/none" "$SCRATCH/tests" 2>"$SCRATCH/out"
is $? 2 "a list that is not there is wrong usage"
: >"$SCRATCH/allowed"
"$SCRIPTS/habits.py" "$SCRATCH/allowed" "$SCRATCH" 2>"$SCRATCH/out"
is $? 2 "a folder without a C file is wrong usage"
"$SCRIPTS/habits.py" "$SCRATCH/allowed" 2>"$SCRATCH/out"
is $? 2 "so is no folder"
end_tests

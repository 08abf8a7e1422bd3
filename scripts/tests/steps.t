#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# steps.sh with steps that only take time: what is reported, and that no process is
# left running.

. "$(dirname "$0")/tap.sh"

# steps LINE...: run these lines in place of those of check.sh.
steps()
{
	{
		printf '#!/bin/bash\n. %q\nSTEPS=4\n' "$SCRIPTS/steps.sh"
		printf '%s\n' "$@"
	} >"$SCRATCH/steps"
	O=$SCRATCH/build bash "$SCRATCH/steps" >"$SCRATCH/out" 2>"$SCRATCH/err"
}

# times: the lines at the end, without the seconds, which differ between machines.
times()
{
	sed -n -E 's/^fuse_wb: //; /^\[[0-9]+.[0-9]+\] took |^the slowest/s/0:0[0-9]/0:0N/gp' "$SCRATCH/err"
}

# The times differ by seconds, as a busy machine may add one to each.
steps 'begin 2 "beside" sleep 7' 'pid=$child' 'check 1 "first" sleep 2' 'check 3 "third" sleep 4' \
	'end_check 2 "beside" "$pid"' 'check 4 "fourth" true' 'end 0'
is $? 0 "all steps pass: exit status"
is "$(cat "$SCRATCH/out")" "4 passed, 0 failed, 0 skipped" "the counts stand alone"
is "$(times)" "[1/4] took 0:0N, 0:0N of processors: first
[2/4] took 0:0N, 0:0N of processors: beside
[3/4] took 0:0N, 0:0N of processors: third
[4/4] took 0:0N, 0:0N of processors: fourth
the slowest: beside (0:0N), third (0:0N), first (0:0N)" "each step with its time, and the slowest three"
seconds=$(sed -n 's/.*\[2.4\] took 0:0\([0-9]\).*/\1/p' "$SCRATCH/err")
[ "$seconds" -ge 7 ]
ok $? "a step that runs beside others has its own time"

# Two processes that run concurrently, each for two seconds of a processor.
burn='timeout -s KILL 60 bash -c "ulimit -t 2; while :; do :; done"'
steps "check 1 burns bash -c '$burn & $burn; wait; :'" 'check 2 idle sleep 1' 'end 0'
says "$SCRATCH/err" '^fuse_wb: \[1/4\] took 0:[0-9]*, 0:0[345] of processors: burns$' \
	"the time of all processors of a step"
says "$SCRATCH/err" '^fuse_wb: \[2/4\] took 0:0[0-9], 0:00 of processors: idle$' "of that step alone"

steps 'begin 1 "beside" sleep 1' 'pid=$child' 'check 2 "longer" sleep 6' 'end_check 1 "beside" "$pid"' 'end 0'
says "$SCRATCH/err" '^fuse_wb: the slowest: longer \(0:0[0-9]\), beside \(0:0[1-5]\)$' \
	"which does not count what it is waited for"

steps "begin 1 beside sleep 98765.$$" 'check 2 "fails" false' 'check 3 "never" true'
is $? 1 "a step that fails ends it: exit status"
is "$(cat "$SCRATCH/out")" "0 passed, 1 failed, 0 skipped" "and is counted"
is "$(times)" "[2/4] took 0:0N, 0:0N of processors: fails
the slowest: fails (0:0N)" "what was stopped has no time"
is "$(pgrep -f -c "sleep 98765.$$\$")" 0 "and does not run any more"
says "$SCRATCH/err" '^fuse_wb: \[2/4\] FAILED: fails$' "the last words name it"

mkdir "$SCRATCH/results"
cat >"$SCRATCH/results/results.json" <<'EOF'
{ "passed": 3, "failed": 2, "skipped": 1, "problems": [ "stat.times failed" ], "tests": [
 { "name": "stat.size", "status": "fail", "expected": true, "log": [ "listed" ] },
 { "name": "stat.times", "status": "fail", "expected": false, "log": [ "mtime: 7, not 8" ] } ] }
EOF
steps 'titles[3]=run' "printf '%s\n' '$SCRATCH/results' >\"\$O/logs/step-3.results\"" 'start false' \
	'end_run 3 "$child"'
is $? 1 "a run that fails ends it: exit status"
is "$(cat "$SCRATCH/out")" "4 passed, 1 failed, 1 skipped" "what is listed to fail has passed"
is "$(sed -n '/FAILED/,$p' "$SCRATCH/err")" "fuse_wb: [3/4] FAILED: run
    stat.times failed
    stat.times:
        mtime: 7, not 8" "the last words say which test failed, and why"
end_tests

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of common.sh: the lock of a build directory, and waiting for one of several
# commands.

. "$(dirname "$0")/tap.sh"

export O=$SCRATCH/build LOCK_TIMEOUT=30
unset FUSE_WB_LOCKED IMAGE

# script NAME LINE...: a script that sources common.sh and runs these lines. It logs what
# it does with say, to one log for all scripts.
script()
{
	{
		printf '. %q\n' "$SCRIPTS/common.sh"
		printf 'say() { printf "%%s %%s\\n" %q "$*" >>%q; }\n' "$1" "$SCRATCH/said"
		# until_said TEXT: wait for a line of another, 20 s at most.
		printf 'until_said() { for _ in $(seq 200); do ! grep -qxF -e "$1" %q || return 0; sleep 0.1; done; say "missed: $1"; }\n' \
			"$SCRATCH/said"
		printf '%s\n' "${@:2}"
	} >"$SCRATCH/$1"
}

# together NAME...: run scripts concurrently; their statuses are in $statuses.
together()
{
	local name pids=()

	: >"$SCRATCH/said"
	for name; do
		bash "$SCRATCH/$name" 2>"$SCRATCH/$name.err" &
		pids+=($!)
	done
	statuses=
	for name in "${pids[@]}"; do
		wait "$name"
		statuses+="$? "
	done
}

script first 'lock_making' 'say makes' 'until_said "second is waiting"' 'say made' 'unlock_build' \
	'until_said "second has made"'
# The error output of a second script goes before all else.
script second 'until_said "first makes"' \
	'note() { case $* in *"waiting until it has"*) say "is waiting" ;; esac; }' \
	'lock_making' 'say makes' 'unlock_build' 'say "has made"'
together first second
is "$statuses" "0 0 " "two that make something: exit status"
is "$(cat "$SCRATCH/said")" "$(printf '%s\n' 'first makes' 'second is waiting' 'first made' 'second makes' 'second has made')" \
	"the second waits until the first has made it, and goes on while the first runs"

script all 'lock_build' 'say makes' 'until_said "late has ended"'
script late 'until_said "all makes"' 'trap "say has ended" EXIT' 'lock_making' 'say makes'
together all late
is "$statuses" "0 69 " "one that needs the folder to its end: a second one is refused"
says "$SCRATCH/late.err" "another run is using $O: wait for it, or choose another directory with O=$" "and told why"
is "$(grep -c 'late makes' "$SCRATCH/said")" 0 "and makes nothing"

script slow 'lock_making' 'say makes' 'until_said "late has ended"'
script late 'LOCK_TIMEOUT=1' 'until_said "slow makes"' 'trap "say has ended" EXIT' 'lock_making' 'say makes'
together slow late
is "$statuses" "0 69 " "one that makes for too long: a second one does not wait for ever"
says "$SCRATCH/late.err" 'is making a kernel in .* for 1 s' "and says how long it has"

script inner 'lock_build' 'say makes' 'unlock_build'
script outer 'lock_build' "bash $(printf %q "$SCRATCH/inner")" 'until_said "late has ended"'
script late 'until_said "inner makes"' 'trap "say has ended" EXIT' 'lock_making'
together outer late
is "$statuses" "0 69 " "what a run calls has its lock, and does not give it away"

script one 'start sleep 98764' 'slow=$child' 'start bash -c "exit 7"' 'quick=$child' 'status=0' \
	'finish_one "$slow" "$quick" || status=$?' '[ "$child" = "$quick" ] && say "$status"' \
	'say "${#children[@]} left"' 'stop_children'
together one
is "$(cat "$SCRATCH/said")" "$(printf 'one 7\none 1 left')" "the first that ends, its status, and the others"

script many "for i in 1 2 3; do start sleep 98763.$$; done" 'kill -TERM $$' 'finish_one "${children[@]}"'
together many
is "$statuses" "143 " "ended while several run: exit status"
is "$(pgrep -f -c "sleep 98763.$$\$")" 0 "and none of them does any more"

echo kernel >"$SCRATCH/vmlinux"
script copy 'kernel_image() { echo '"$(printf %q "$SCRATCH/vmlinux")"'; }' \
	'keep_kernel '"$(printf %q "$SCRATCH/copy.of")" 'echo other >"$(kernel_image)"' 'say "$IMAGE $(cat "$IMAGE")"'
together copy
is "$(cat "$SCRATCH/said")" "copy $SCRATCH/copy.of kernel" "guests have a kernel that stays as it was"

script ccache 'say "${CCACHE_DIR-is the default}"'
env -u CCACHE_DIR bash "$SCRATCH/ccache"
is "$(tail -n 1 "$SCRATCH/said")" "ccache is the default" "the cache of the compiler is the user's own"
CCACHE_DIR=/a/cache bash "$SCRATCH/ccache"
is "$(tail -n 1 "$SCRATCH/said")" "ccache /a/cache" "wherever it is"

script jobs 'check_variables'
JOBS=none bash "$SCRATCH/jobs" 2>"$SCRATCH/jobs.err"
is $? 2 "JOBS=none is wrong usage"
says "$SCRATCH/jobs.err" "JOBS='none' is not a number from 1" "and says so"
end_tests

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kselftest.sh: the main job. Fetch, apply, build, boot, run the fuse_wb tests,
# and print the verdict.

. "$(dirname "$0")/common.sh"

STEPS=6

# As many guests as processors and memory allow. One guest rarely keeps two processors
# busy.
default_jobs()
{
	local jobs memory

	jobs=$(nproc)
	memory=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	[ "$jobs" -le $((memory / MEM)) ] || jobs=$((memory / MEM))
	[ "$jobs" -ge 2 ] || jobs=2
	printf '%d' "$jobs"
}

# The tests of a guest: "PROGRAM NAME" lines.
tests_of_guest()
{
	sed -n "s/^$1 //p" "$RESULTS/plan"
}

# The tests of a program, for its command line.
program_arguments()
{
	local guest=$1 program=$2 variable

	variable=$(printf '%s' "$program" | tr -c '[:alnum:]_' _ | tr '[:lower:]' '[:upper:]')
	printf 'export KSELFTEST_%s_ARGS="%s"\n' "$variable" \
		"$(tests_of_guest "$guest" | awk -v p="$program" '$1 == p { printf "-r %s ", $2 }')"
}

# The script for the guest.
run_script()
{
	local guest=$1 programs program name

	mapfile -t programs < <(tests_of_guest "$guest" | cut -d' ' -f1 | uniq)
	echo 'cd /kselftest || exit'
	# Parameters of random tests, see fsx.h, and of all tests, see wait.h.
	for name in FUSE_WB_SEED FUSE_WB_ROUNDS FUSE_WB_WAIT_SECONDS; do
		[ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
	done
	[ -z "${EXPECT:-}" ] || echo 'export FUSE_WB_QUICK=/kselftest/quick'
	for program in "${programs[@]}"; do
		program_arguments "$guest" "$program"
	done
	echo "for run in \$(seq $REPEAT); do"
	echo "	./run_kselftest.sh$(printf ' -t fuse_wb:%s' "${programs[@]}") || exit"
	echo 'done'
	# kmemleak ignores objects younger than five seconds.
	[ "$DEBUG" != kmemleak ] ||
		echo 'sleep 6; echo scan >/sys/kernel/debug/kmemleak; cat /sys/kernel/debug/kmemleak >&2'
}

# Set guests, in the order in which they start.
choose_tests()
{
	local guest

	"$TOP/scripts/list_tests.py" "$INSTALLED" "$TESTS" >"$RESULTS/chosen"
	"$TOP/scripts/plan.py" "$RESULTS/chosen" --jobs "$JOBS" --known "$KNOWN" \
		--alone "$TOP/scripts/alone" >"$RESULTS/plan"
	sed -E 's/^[^ ]+ ([^ ]+) /\1:/' "$RESULTS/plan" >"$RESULTS/wanted"
	mapfile -t guests < <(cut -d' ' -f1 "$RESULTS/plan" | awk '!seen[$0]++')
	for guest in "${guests[@]}"; do
		mkdir -p "$RESULTS/$guest"
		run_script "$guest" >"$RESULTS/$guest/run.sh"
	done
}

# Of the chosen tests, those that are expected to fail: they wait for what never happens.
list_quick()
{
	local conditions

	read -ra conditions <<<"$ARCH $EXPECT"
	PYTHONPATH=$TOP/scripts python3 -c '
import sys
import verdict
expected = verdict.read_expected(sys.argv[1], sys.argv[2:])
for name in sys.stdin.read().split():
    if verdict.matches(name, expected["fail"] + expected["may-fail"]):
        print(name)
' "$TOP/$SELFTEST/expected" "${conditions[@]}" <"$RESULTS/wanted"
}

make_initrds()
{
	local guest dir

	mkdir -p "$RESULTS/root" &&
	cp -r "$INSTALLED" "$RESULTS/root/kselftest" || return
	# The initramfs stays in memory, and could fill a memory block that a test needs.
	strip "$RESULTS/root/kselftest/fuse_wb/"*_test || return
	[ -z "${EXPECT:-}" ] || list_quick >"$RESULTS/root/kselftest/quick" || return
	for guest in "${guests[@]}"; do
		dir=$RESULTS/$guest
		"$TOP/scripts/rootfs.sh" "$dir/initrd" "$dir/run.sh" "$RESULTS/root" || return
	done
}

# Show results as they arrive, until end_follow.
follow()
{
	start "$TOP/scripts/follow.py" "$RESULTS" --plan "$RESULTS/plan" --repeat "$REPEAT" \
		--jobs "$JOBS" --durations "$RESULTS/durations" --known "$KNOWN" ${EXPECT:+--expect}
	follower=$child
}

end_follow()
{
	: >"$RESULTS/ended"
	finish "$follower" || note "follow.py failed: not all results were shown, and how long tests took is not known"
}

# begin_guest GUEST SLOT: boot it; running[] has its slot and name.
begin_guest()
{
	local guest=$1 slot=$2 dir=$RESULTS/$1 version=${1#boot-}

	version=${version%%-*}
	touch "$dir/out.txt"
	# Without CGROUP=, a test can mount the controller as a legacy hierarchy.
	start env CGROUP="${version#v1}" GUEST_SLOT="$slot" "$TOP/scripts/guest.sh" "$dir" "$dir/initrd"
	running[$child]="$slot $guest"
	[ "$V" = 0 ] || tail -n +1 -F --pid="$child" "$dir/console.txt" >&2 2>/dev/null &
}

# Wait for one of the running guests, and free its slot.
end_guest()
{
	local status=0 slot guest

	finish_one "${!running[@]}" || status=$?
	read -r slot guest <<<"${running[$child]}"
	unset "running[$child]"
	free+=("$slot")
	: >"$RESULTS/$guest/ended"
	[ "$status" -le "$guest_status" ] || guest_status=$status
}

# Boot all guests, at most JOBS simultaneously.
run_guests()
{
	local guest

	mapfile -t free < <(seq 0 $((JOBS - 1)))
	for guest in "${guests[@]}"; do
		[ "${#free[@]}" -gt 0 ] || end_guest
		begin_guest "$guest" "${free[0]}"
		free=("${free[@]:1}")
	done
	while [ "${#running[@]}" -gt 0 ]; do
		end_guest
	done
}

# Concatenate the output of all guests for one verdict, with a newline after a line that
# a guest could not complete. With JOBS=1 the files of the single guest are not kept.
collect()
{
	local guest pair dir

	for guest in "${guests[@]}"; do
		dir=$RESULTS/$guest
		for pair in out:test.log console:dmesg.txt err:err.txt emulator:emulator.txt; do
			awk 1 "$dir/${pair%:*}.txt" >>"$RESULTS/${pair#*:}"
		done
		if [ "$JOBS" = 1 ] || [ "${#guests[@]}" = 1 ]; then
			rm -rf "$dir"
		else
			rm -rf "$dir"/{initrd,initrd.list,run.sh,uml,ended,status.txt}
		fi
	done
}

judge()
{
	local name settings=() conditions=()

	for name in ARCH KERNEL DEBUG EXTRA_PATCHES LEAVE_OUT MEM CPUS ICOUNT TESTS REPEAT JOBS; do
		settings+=(--setting "$name=${!name}")
	done
	# Concurrent guests end in any order.
	[ "$JOBS" = 1 ] || settings+=(--in-order)
	settings+=(--setting "SOURCE=$(source_name)")
	# A test that fails on a broken kernel is a failure, unless the caller expects
	# it: EXPECT names conditions of the file "expected".
	for name in $ARCH ${EXPECT:-}; do
		conditions+=(--condition "$name")
	done
	"$TOP/scripts/verdict.py" "$RESULTS" --kernel "$WORK/base/src" \
		--splats "$TOP/scripts/splats" --guest-status "$guest_status" \
		--durations "$RESULTS/durations" \
		--expected "$TOP/$SELFTEST/expected" --wanted "$RESULTS/wanted" \
		"${conditions[@]}" "${settings[@]}"
}

check_variables
lock_making
"$TOP/scripts/deps.sh" source kernel guest tests judge
find_work
INSTALLED=$WORK/selftests/install
KNOWN=$O/durations/$ARCH-$KERNEL${DEBUG:+-$DEBUG}
new_results kselftest
JOBS=${JOBS:-$(default_jobs)}

lock_kernels
step "1/$STEPS" "source and series" prepare || exit
step "2/$STEPS" "$ARCH kernel, $KERNEL${DEBUG:+, $DEBUG}" "$TOP/scripts/kernel.sh" || exit "$EX_MACHINERY"
step "3/$STEPS" "tests" build_tests || exit "$EX_MACHINERY"
choose_tests
step "4/$STEPS" "initramfs" make_initrds || exit "$EX_MACHINERY"
keep_kernel "$RESULTS/kernel"
unlock_kernels
unlock_build
note "[5/$STEPS] $(wc -l <"$RESULTS/chosen") tests in the guest ..."
guest_status=0
declare -A running=()
follow
run_guests
end_follow
collect
note "[6/$STEPS] verdict"
status=0
judge || status=$?
rm -rf "$RESULTS"/{root,kernel,ended,chosen,wanted,plan,durations}
find "$RESULTS" -empty -name '*.txt' -delete
note "results: $RESULTS"
exit "$status"

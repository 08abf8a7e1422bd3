#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kselftest.sh: the main job. Fetch, apply, build, boot, run the fuse_wb tests,
# and print the verdict.

. "$(dirname "$0")/common.sh"

STEPS=6

# The tests of a boot: "PROGRAM NAME" lines. A test whose variant is called v2_*
# needs the memory controller in cgroup v2. It cannot be moved there while the
# guest runs, see cgroup.h, so such tests have a boot of their own.
tests_of_boot()
{
	local match=-v

	[ "$1" != v2 ] || match=-e
	grep "$match" ' [^ ]*[.]v2_' "$RESULTS/chosen" || :
}

# The tests of a program, for its command line.
program_arguments()
{
	local boot=$1 program=$2 variable

	variable=$(printf '%s' "$program" | tr -c '[:alnum:]_' _ | tr '[:lower:]' '[:upper:]')
	printf 'export KSELFTEST_%s_ARGS="%s"\n' "$variable" \
		"$(tests_of_boot "$boot" | awk -v p="$program" '$1 == p { printf "-r %s ", $2 }')"
}

# What the guest is to run.
run_script()
{
	local boot=$1 programs program name

	mapfile -t programs < <(tests_of_boot "$boot" | cut -d' ' -f1 | uniq)
	echo 'cd /kselftest || exit'
	# What random tests read; see fsx.h.
	for name in FUSE_WB_SEED FUSE_WB_ROUNDS; do
		[ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
	done
	for program in "${programs[@]}"; do
		program_arguments "$boot" "$program"
	done
	echo "for run in \$(seq $REPEAT); do"
	echo "	./run_kselftest.sh$(printf ' -t fuse_wb:%s' "${programs[@]}") || exit"
	echo 'done'
	# What is younger than five seconds does not count as a leak.
	[ "$DEBUG" != kmemleak ] ||
		echo 'sleep 6; echo scan >/sys/kernel/debug/kmemleak; cat /sys/kernel/debug/kmemleak >&2'
}

# Sets boots, those that have a test.
choose_tests()
{
	local boot

	"$TOP/scripts/list_tests.py" "$INSTALLED" "$TESTS" >"$RESULTS/chosen"
	sed 's/ /:/' "$RESULTS/chosen" >"$RESULTS/wanted"
	boots=()
	for boot in v1 v2; do
		[ -n "$(tests_of_boot "$boot")" ] || continue
		boots+=("$boot")
		mkdir -p "$RESULTS/boot-$boot"
		run_script "$boot" >"$RESULTS/boot-$boot/run.sh"
	done
}

make_initrds()
{
	local boot dir

	mkdir -p "$RESULTS/root" &&
	cp -r "$INSTALLED" "$RESULTS/root/kselftest" || return
	# It stays in memory, and may fill a block that a test wants for itself.
	strip "$RESULTS/root/kselftest/fuse_wb/"*_test || return
	for boot in "${boots[@]}"; do
		dir=$RESULTS/boot-$boot
		"$TOP/scripts/rootfs.sh" "$dir/initrd" "$dir/run.sh" "$RESULTS/root" || return
	done
}

# The tests of all guests in the order in which they are shown.
plan()
{
	local boot

	for boot in "${boots[@]}"; do
		tests_of_boot "$boot" | sed "s/^/boot-$boot /"
	done
}

# Show results while they come, until end_follow.
follow()
{
	plan >"$RESULTS/plan"
	start "$TOP/scripts/follow.py" "$RESULTS" --plan "$RESULTS/plan" --repeat "$REPEAT" \
		--durations "$RESULTS/durations" \
		--known "$O/durations/$ARCH-$KERNEL${DEBUG:+-$DEBUG}" ${EXPECT:+--expect}
	follower=$child
}

end_follow()
{
	: >"$RESULTS/ended"
	finish "$follower" || note "follow.py failed: not all results were shown, and how long tests took is not known"
}

# One boot. What several say is judged as one: their files are put together, with
# an end to a line that the guest could not complete.
run_guest()
{
	local boot=$1 dir=$RESULTS/boot-$1 status=0 pair console

	touch "$dir/out.txt"
	# Without CGROUP=, a test may mount the controller as a legacy hierarchy.
	start env CGROUP="${boot#v1}" "$TOP/scripts/guest.sh" "$dir" "$dir/initrd"
	[ "$V" = 0 ] || tail -n +1 -F --pid="$child" "$dir/console.txt" >&2 2>/dev/null &
	console=$!
	finish "$child" || status=$?
	wait "$console"
	: >"$dir/ended"
	[ "$status" -le "$guest_status" ] || guest_status=$status
	for pair in out:test.log console:dmesg.txt err:err.txt emulator:emulator.txt; do
		awk 1 "$dir/${pair%:*}.txt" >>"$RESULTS/${pair#*:}"
	done
}

judge()
{
	local name settings=() conditions=()

	for name in ARCH KERNEL DEBUG EXTRA_PATCHES LEAVE_OUT MEM CPUS ICOUNT TESTS REPEAT; do
		settings+=(--setting "$name=${!name}")
	done
	settings+=(--setting "SOURCE=$(source_name)")
	# What fails on a broken kernel is a failure, unless the caller wants to
	# see exactly that: EXPECT names conditions of the file "expected".
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
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests judge
find_work
INSTALLED=$WORK/selftests/install
new_results kselftest

lock_kernels
step "1/$STEPS" "source and series" prepare || exit
step "2/$STEPS" "$ARCH kernel, $KERNEL${DEBUG:+, $DEBUG}" "$TOP/scripts/kernel.sh" || exit "$EX_MACHINERY"
step "3/$STEPS" "tests" build_tests || exit "$EX_MACHINERY"
choose_tests
step "4/$STEPS" "initramfs" make_initrds || exit "$EX_MACHINERY"
unlock_kernels
note "[5/$STEPS] $(wc -l <"$RESULTS/chosen") tests in the guest ..."
guest_status=0
follow
for boot in "${boots[@]}"; do
	run_guest "$boot"
done
end_follow
note "[6/$STEPS] verdict"
status=0
judge || status=$?
rm -rf "$RESULTS"/{root,ended,boot-v1,boot-v2,chosen,wanted,plan,durations}
find "$RESULTS" -empty -name '*.txt' -delete
note "results: $RESULTS"
exit "$status"

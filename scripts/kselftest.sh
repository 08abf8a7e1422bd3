#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kselftest.sh: the main job. Fetch, apply, build, boot, run the fuse_wb tests,
# and print the verdict.

. "$(dirname "$0")/common.sh"

STEPS=6

# The tests are built from the patched tree for both kernels: base has none.
build_tests()
{
	kmake -C "$WORK/patched/src/tools/testing/selftests" O="$WORK/selftests" \
		TARGETS=fuse_wb INSTALL_PATH="$INSTALLED" install || return
	[ -s "$INSTALLED/kselftest-list.txt" ] ||
		die "$EX_MACHINERY" "no fuse_wb program was built: is libfuse3-dev installed?"
}

# For each program, the tests that TESTS leaves of it.
program_arguments()
{
	local program=$1 variable

	variable=$(printf '%s' "$program" | tr -c '[:alnum:]_' _ | tr '[:lower:]' '[:upper:]')
	printf 'export KSELFTEST_%s_ARGS="%s"\n' "$variable" \
		"$(awk -v p="$program" '$1 == p { printf "-r %s ", $2 }' "$RESULTS/chosen")"
}

choose_tests()
{
	local programs program name

	"$TOP/scripts/list_tests.py" "$INSTALLED" "$TESTS" >"$RESULTS/chosen"
	sed 's/ /:/' "$RESULTS/chosen" >"$RESULTS/wanted"
	mapfile -t programs < <(cut -d' ' -f1 "$RESULTS/chosen" | uniq)
	{
		echo 'cd /kselftest || exit'
		# What random tests read; see fsx.h.
		for name in FUSE_WB_SEED FUSE_WB_ROUNDS; do
			[ -z "${!name:-}" ] || printf 'export %s=%q\n' "$name" "${!name}"
		done
		if [ -n "$TESTS" ]; then
			for program in "${programs[@]}"; do
				program_arguments "$program"
			done
		fi
		echo "for run in \$(seq $REPEAT); do"
		echo "	./run_kselftest.sh$(printf ' -t fuse_wb:%s' "${programs[@]}") || exit"
		echo 'done'
		# What is younger than five seconds does not count as a leak.
		[ "$DEBUG" != kmemleak ] ||
			echo 'sleep 6; echo scan >/sys/kernel/debug/kmemleak; cat /sys/kernel/debug/kmemleak >&2'
	} >"$RESULTS/run.sh"
}

make_initrd()
{
	mkdir -p "$RESULTS/root" &&
	cp -r "$INSTALLED" "$RESULTS/root/kselftest" &&
	"$TOP/scripts/rootfs.sh" "$RESULTS/initrd" "$RESULTS/run.sh" "$RESULTS/root"
}

# Show results while they come: one line for each test.
follow()
{
	tail -n +1 -f --pid="$1" "$RESULTS/out.txt" 2>/dev/null |
		sed -u -n -E 's/^# (ok|not ok) [0-9]+ (.*)/  \1 \2/p' >&2
}

run_guest()
{
	touch "$RESULTS/out.txt"
	start "$TOP/scripts/guest.sh" "$RESULTS" "$RESULTS/initrd"
	[ "$V" = 0 ] || tail -n +1 -F --pid="$child" "$RESULTS/console.txt" >&2 2>/dev/null &
	follow "$child" &
	guest_status=0
	finish "$child" || guest_status=$?
	wait
}

judge()
{
	local name settings=() conditions=()

	mv "$RESULTS/out.txt" "$RESULTS/test.log"
	mv "$RESULTS/console.txt" "$RESULTS/dmesg.txt"
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
		--expected "$TOP/$SELFTEST/expected" --wanted "$RESULTS/wanted" \
		"${conditions[@]}" "${settings[@]}"
}

check_variables
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests judge
find_work
INSTALLED=$WORK/selftests/install
new_results kselftest

step "1/$STEPS" "source and series" prepare || exit
step "2/$STEPS" "$ARCH kernel, $KERNEL${DEBUG:+, $DEBUG}" "$TOP/scripts/kernel.sh" || exit "$EX_MACHINERY"
step "3/$STEPS" "tests" build_tests || exit "$EX_MACHINERY"
choose_tests
step "4/$STEPS" "initramfs" make_initrd || exit "$EX_MACHINERY"
note "[5/$STEPS] $(wc -l <"$RESULTS/chosen") tests in the guest ..."
run_guest
note "[6/$STEPS] verdict"
status=0
judge || status=$?
rm -rf "$RESULTS"/{root,initrd,initrd.list,run.sh,chosen,wanted,status.txt,uml}
find "$RESULTS" -empty -name '*.txt' -delete
note "results: $RESULTS"
exit "$status"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kunit.sh: run the suites of lib/kunit-fuse in the kernel of the kselftests through
# the kernel's own kunit.py, and leave the results where the other runs do.

export ARCH=${ARCH:-um}
. "$(dirname "$0")/common.sh"

STEPS=4

# kunit VERB ARGUMENT...: kunit.py works in the tree that contains it.
kunit()
{
	local verb=$1

	shift
	cd "$WORK/patched/src" || return
	env -u V -u O -u ARCH -u DEBUG -u TESTS ./tools/testing/kunit/kunit.py "$verb" \
		--arch="$ARCH" --build_dir="$BUILD" "$@"
}

run_kunit()
{
	local arguments=("--timeout=$TIMEOUT") run

	case $ARCH in
	um) arguments+=("--kernel_args=uml_dir=$BUILD/uml/" --kernel_args=time-travel) ;;
	x86_64)
		arguments+=("--qemu_config=$TOP/scripts/kunit_qemu.py")
		# Under emulation, a schedule takes a tenth of a second.
		SCHEDULES=${SCHEDULES:-100}
		;;
	esac
	[ -z "$SCHEDULES" ] || arguments+=("--kernel_args=fuse_wb_kunit.schedules=$SCHEDULES")
	[ -z "$SEED" ] || arguments+=("--kernel_args=fuse_wb_kunit.seed=$SEED")
	[ -z "$TESTS" ] || arguments+=("$TESTS")
	for run in $(seq "$REPEAT"); do
		rm -f "$BUILD/test.log"
		kunit exec "${arguments[@]}" || kunit_status=$?
		if [ ! -e "$BUILD/test.log" ]; then
			note "run $run left no log"
			break
		fi
		cat "$BUILD/test.log" >>"$RESULTS/test.log"
	done
}

judge()
{
	local guest=0

	if grep -q 'Kernel panic' "$RESULTS/test.log"; then
		guest=$EX_PANIC
	elif [ "$kunit_status" != 0 ] && ! grep -qE '^(not )?ok ' "$RESULTS/test.log"; then
		guest=$EX_MACHINERY
	fi
	cp "$RESULTS/test.log" "$RESULTS/dmesg.txt"
	"$TOP/scripts/verdict.py" "$RESULTS" --kernel "$WORK/base/src" --format kunit \
		--splats "$TOP/scripts/splats" --guest-status "$guest" \
		--expected "$TOP/lib/kunit-fuse/expected" --condition "$ARCH" \
		--setting "ARCH=$ARCH" --setting "DEBUG=$DEBUG" --setting "TESTS=$TESTS" \
		--setting "REPEAT=$REPEAT" --setting "SEED=$SEED" --setting "SCHEDULES=$SCHEDULES" --setting "SOURCE=$(source_name)"
}

check_variables
[ -z "$SCHEDULES" ] || check_number SCHEDULES "$SCHEDULES" 20000
[ -z "$SEED" ] || check_number SEED "$SEED" 1
[ "$KERNEL" = patched ] || usage_error "KERNEL=base has no KUnit suites: they test what the series adds"
lock_build
"$TOP/scripts/deps.sh" source kernel judge
[ "$ARCH" = um ] || "$TOP/scripts/deps.sh" guest
find_work
BUILD=$(kernel_dir)
new_results kunit

lock_kernels
step "1/$STEPS" "source and series" prepare || exit
step "2/$STEPS" "$ARCH kernel, $KERNEL${DEBUG:+, $DEBUG}" "$TOP/scripts/kernel.sh" suites || exit "$EX_MACHINERY"
unlock_kernels
note "[3/$STEPS] suites of lib/kunit-fuse"
kunit_status=0
run_kunit
note "[4/$STEPS] verdict"
status=0
judge || status=$?
[ "$status" != 0 ] || status=$kunit_status
note "results: $RESULTS"
exit "$status"
